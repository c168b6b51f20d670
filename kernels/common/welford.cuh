// Running mean and squares about it (Welford 1962), and their merging (Chan, Golub and LeVeque 1979).
#pragma once

#include "common/types.cuh"

struct Welford {
    f32 count = 0.0f;
    f32 mean = 0.0f;
    // Σ (x − mean)².
    f32 squares = 0.0f;

    // `scale` is 1/(count + 1): one for all that are counted alike.
    DEVICE void add(f32 x, f32 scale) {
        f32 before = x - mean;
        count += 1.0f;
        mean = __fmaf_rn(before, scale, mean);
        squares = __fmaf_rn(before, x - mean, squares);
    }

    DEVICE void merge(const Welford& other) {
        if (other.count == 0.0f) return;
        f32 total = count + other.count;
        f32 share = __fdiv_rn(other.count, total);
        f32 distance = other.mean - mean;
        mean = __fmaf_rn(distance, share, mean);
        squares += __fmaf_rn(distance * distance, count * share, other.squares);
        count = total;
    }

    // L neighbours at once: their own mean and squares first.
    template <u32 L>
    DEVICE void take(const f32 (&x)[L]) {
        Welford pack;
        pack.count = static_cast<f32>(L);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) pack.mean += x[lane];
        pack.mean *= 1.0f / L;
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            f32 distance = x[lane] - pack.mean;
            pack.squares = __fmaf_rn(distance, distance, pack.squares);
        }
        merge(pack);
    }

    DEVICE Welford from_lane_above(u32 lanes) const {
        Welford other;
        other.count = __shfl_down_sync(0xffffffffu, count, lanes);
        other.mean = __shfl_down_sync(0xffffffffu, mean, lanes);
        other.squares = __shfl_down_sync(0xffffffffu, squares, lanes);
        return other;
    }

    // Lane 0 gets the warp's, merged as a tree.
    DEVICE void merge_warp() {
#pragma unroll
        for (u32 lanes = 16; lanes > 0; lanes /= 2) merge(from_lane_above(lanes));
    }
};
