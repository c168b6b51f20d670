// Sums and maxima over the threads of a warp or a block. Every thread gets the same bits, and the order depends on the
// number of threads only.
#pragma once

#include "common/types.cuh"

struct Sum {
    static DEVICE f32 neutral() { return 0.0f; }
    static DEVICE f32 apply(f32 a, f32 b) { return a + b; }
};

// NaN wins.
struct Largest {
    static DEVICE f32 neutral() { return __int_as_float(0xff800000); }
    static DEVICE f32 apply(f32 a, f32 b) { return a != a ? a : (b > a || b != b ? b : a); }
};

// Over groups of `lanes` neighbours, a power of two; all lanes of the warp must arrive.
template <class F>
DEVICE f32 over_lanes(f32 value, u32 lanes = 32) {
    for (u32 distance = lanes / 2; distance > 0; distance /= 2) {
        value = F::apply(value, __shfl_xor_sync(0xffffffffu, value, distance));
    }
    return value;
}

// Over a block of whole warps, at most 32. `shared` has 32 places that nobody has read or written since the last
// barrier; they are free again after the next one.
template <class F>
DEVICE f32 over_block(f32 value, f32* shared) {
    u32 lane = threadIdx.x % 32;
    value = over_lanes<F>(value);
    if (lane == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    return over_lanes<F>(lane < blockDim.x / 32 ? shared[lane] : F::neutral());
}

// The threads that share a row: a warp each (blocks of several rows), or a whole block.
template <bool WARP>
struct Team {
    // This thread's number in the team, and the team's size.
    static DEVICE u32 thread() { return WARP ? threadIdx.x % 32 : threadIdx.x; }
    static DEVICE u32 threads() { return WARP ? 32 : blockDim.x; }
    // The team's number in the grid, and how many there are.
    static DEVICE u64 index() {
        return WARP ? static_cast<u64>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32 : blockIdx.x;
    }
    static DEVICE u64 count() { return WARP ? static_cast<u64>(gridDim.x) * (blockDim.x / 32) : gridDim.x; }

    template <class F>
    static DEVICE f32 reduce(f32 value, f32* shared) {
        return WARP ? over_lanes<F>(value) : over_block<F>(value, shared);
    }
};
