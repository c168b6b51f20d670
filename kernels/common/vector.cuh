// Runs of neighbours moved in one access and widened to f32: L is 1, or as many elements as 16 bytes have.
#pragma once

#include "common/types.cuh"

template <class T, u32 L>
struct alignas(L * sizeof(T)) Pack {
    T lanes[L];
};

template <u32 L, class T>
DEVICE void load_pack(const T* at, f32 (&values)[L]) {
    Pack<T, L> pack = *reinterpret_cast<const Pack<T, L>*>(at);
#pragma unroll
    for (u32 lane = 0; lane < L; ++lane) values[lane] = to_f32(pack.lanes[lane]);
}

template <u32 L, class T>
DEVICE void store_pack(T* at, const f32 (&values)[L]) {
    Pack<T, L> pack;
#pragma unroll
    for (u32 lane = 0; lane < L; ++lane) pack.lanes[lane] = from_f32<T>(values[lane]);
    *reinterpret_cast<Pack<T, L>*>(at) = pack;
}

// A parameter vector of the input's type T, or of f32 where `wide`.
template <class T>
DEVICE f32 parameter(const void* from, bool wide, u64 index) {
    return wide ? static_cast<const f32*>(from)[index] : to_f32(static_cast<const T*>(from)[index]);
}

// L of them from `index` on, which the host has found aligned.
template <class T, u32 L>
DEVICE void parameters(const void* from, bool wide, u64 index, f32 (&values)[L]) {
    if (!wide) return load_pack<L>(static_cast<const T*>(from) + index, values);
    constexpr u32 QUAD = L < 4 ? L : 4;
#pragma unroll
    for (u32 quad = 0; quad < L; quad += QUAD) {
        f32 part[QUAD];
        load_pack<QUAD>(static_cast<const f32*>(from) + index + quad, part);
#pragma unroll
        for (u32 lane = 0; lane < QUAD; ++lane) values[quad + lane] = part[lane];
    }
}

// Writes a gradient of a parameter, of type T or f32.
template <class T>
DEVICE void write_parameter(void* to, bool wide, u64 index, f32 value) {
    if (wide) {
        static_cast<f32*>(to)[index] = value;
    } else {
        static_cast<T*>(to)[index] = from_f32<T>(value);
    }
}
