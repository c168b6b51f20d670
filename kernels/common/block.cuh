// What the threads of a block do together, in an order that depends on the block's size only.
#pragma once

#include "common/types.cuh"

// The sum of every thread's value, in the first thread, by halving; all threads of the block call it. `shared` may be
// used again after the next barrier.
template <u32 THREADS, class A>
DEVICE A tree_sum(A (&shared)[THREADS], A value) {
    shared[threadIdx.x] = value;
    __syncthreads();
#pragma unroll
    for (u32 width = THREADS / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) {
            value = value + shared[threadIdx.x + width];
            shared[threadIdx.x] = value;
        }
        __syncthreads();
    }
    return value;
}

// Shuffles of any type made of 4-byte words, by all lanes of the warp.
template <class A>
DEVICE A shuffle_down(A value, u32 by) {
    u32 words[sizeof(A) / 4];
    memcpy(words, &value, sizeof(A));
#pragma unroll
    for (u32 i = 0; i < sizeof(A) / 4; ++i) {
        words[i] = __shfl_down_sync(0xffffffffu, words[i], by);
    }
    memcpy(&value, words, sizeof(A));
    return value;
}

template <class A>
DEVICE A shuffle_up(A value, u32 by) {
    u32 words[sizeof(A) / 4];
    memcpy(words, &value, sizeof(A));
#pragma unroll
    for (u32 i = 0; i < sizeof(A) / 4; ++i) {
        words[i] = __shfl_up_sync(0xffffffffu, words[i], by);
    }
    memcpy(&value, words, sizeof(A));
    return value;
}
