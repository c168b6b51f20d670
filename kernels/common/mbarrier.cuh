// Barriers in shared memory that count arrivals and bytes (mbarrier; sm_90 and later). Addresses are of shared memory.
#pragma once

#include "common/types.cuh"

// Makes a barrier whose phase ends after so many arrivals. The other threads, and copies, may use it after
// barrier_init_fence by the same thread and a barrier of the block.
DEVICE void barrier_init(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

DEVICE void barrier_arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and lets the phase end only after so many more bytes were copied.
DEVICE void barrier_arrive_expect(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits for the end of the phase with this parity: phases are even and odd in turn, from 0 on. Before the first one
// ends, the odd one counts as ended.
DEVICE void barrier_wait(u32 barrier, u32 parity) {
    u32 ended;
    do {
        asm volatile(
            "{\n\t.reg .pred ended;\n\tmbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n\t"
            "selp.u32 %0, 1, 0, ended;\n\t}"
            : "=r"(ended)
            : "r"(barrier), "r"(parity)
            : "memory");
    } while (!ended);
}

// A place in a ring of STAGES stages, each with a barrier that is passed once a round.
template <u32 STAGES>
struct Ring {
    u32 stage = 0;
    // The parity of the round.
    u32 parity = 0;

    DEVICE void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};
