// The tensor memory accelerator: boxes of arrays copied to shared memory beside the threads (sm_90 and later).
#pragma once

#include "common/types.cuh"

// What `TensorMap` of the Rust side is; passed as `const __grid_constant__ CUtensorMap`.
struct alignas(64) CUtensorMap {
    u64 opaque[16];
};

// Brings a map into the cache that it is read from.
DEVICE void tma_prefetch(const CUtensorMap& map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Copies the map's box at (x, y, z, w), innermost first, to shared memory; what lies outside the array is zero, and
// counts too. The bytes count at `barrier`.
DEVICE void tma_load(u32 shared, const CUtensorMap& map, i32 x, i32 y, i32 z, i32 w, u32 barrier) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
        "[%6];" ::"r"(shared),
        "l"(&map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(barrier)
        : "memory");
}
