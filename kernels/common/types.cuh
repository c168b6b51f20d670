// What kernels need in place of CUDA's headers: number types, conversions, 16-byte vectors.
#pragma once

#include "params.h"

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef short i16;

#define DEVICE __device__ __forceinline__

// IEEE 754 binary16 and bfloat16, as storage: all arithmetic is in f32.
struct f16 {
    u16 bits;
};
struct bf16 {
    u16 bits;
};

DEVICE f32 to_f32(f32 x) { return x; }

DEVICE f32 to_f32(f16 x) {
    f32 y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

DEVICE f32 to_f32(bf16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }

// Rounds to the nearest, ties to even; from_f32<T> names the target.
template <class T>
DEVICE T from_f32(f32 x);

template <>
DEVICE f32 from_f32<f32>(f32 x) {
    return x;
}

template <>
DEVICE f16 from_f32<f16>(f32 x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

template <>
DEVICE bf16 from_f32<bf16>(f32 x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

template <class T>
DEVICE T from_f64(f64 x);

template <>
DEVICE f32 from_f64<f32>(f64 x) {
    return __double2float_rn(x);
}

template <>
DEVICE f16 from_f64<f16>(f64 x) {
    f16 y;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(y.bits) : "d"(x));
    return y;
}

template <>
DEVICE bf16 from_f64<bf16>(f64 x) {
    // Toward zero first, with what is lost folded into the last bit: the second rounding then does as one.
    f32 y = __double2float_rz(x);
    if (static_cast<f64>(y) != x && x == x) {
        y = __uint_as_float(__float_as_uint(y) | 1);
    }
    return from_f32<bf16>(y);
}

// As many elements as one 16-byte access moves.
template <class T>
struct alignas(16) Vector {
    static constexpr u32 LANES = 16 / sizeof(T);
    T lanes[LANES];
};

template <class A>
DEVICE bool aligned_16(const A* a) {
    return (reinterpret_cast<u64>(a) & 15) == 0;
}
