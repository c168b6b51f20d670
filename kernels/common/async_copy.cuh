// cp.async: copies from global to shared memory that run beside the thread (sm_80 and later).
#pragma once

#include "common/types.cuh"

// The address of shared memory as the instructions of its own state space take it.
DEVICE u32 shared_address(const void* pointer) { return static_cast<u32>(__cvta_generic_to_shared(pointer)); }

// Copies `bytes` bytes (0 to 16) from an address that is a multiple of 16, and zeroes the rest of 16; the L1 cache is
// passed by.
DEVICE void copy_async_16(u32 shared, const void* global, u32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

// Copies `bytes` bytes (0 or 4) from an address that is a multiple of 4, and zeroes the rest of 4.
DEVICE void copy_async_4(u32 shared, const void* global, u32 bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

// Closes the group of this thread's copies since the last one; it may be empty.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's groups are still running. Other threads see what was copied only after
// a barrier that follows.
template <u32 PENDING>
DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
