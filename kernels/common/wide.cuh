// What numbers are summed in: floats in f32, integers in i64, whose sums and products wrap as two's complement does.
#pragma once

#include "common/types.cuh"

template <class T>
struct Wide {
    typedef i64 type;
};
template <>
struct Wide<f32> {
    typedef f32 type;
};
template <>
struct Wide<f16> {
    typedef f32 type;
};
template <>
struct Wide<bf16> {
    typedef f32 type;
};

DEVICE f32 widen(f32 x) { return x; }
DEVICE f32 widen(f16 x) { return to_f32(x); }
DEVICE f32 widen(bf16 x) { return to_f32(x); }
DEVICE i64 widen(i64 x) { return x; }
DEVICE i64 widen(u32 x) { return x; }
DEVICE i64 widen(u8 x) { return x; }

DEVICE f32 plus(f32 a, f32 b) { return a + b; }
DEVICE i64 plus(i64 a, i64 b) { return static_cast<i64>(static_cast<u64>(a) + static_cast<u64>(b)); }
DEVICE f32 times(f32 a, f32 b) { return a * b; }
DEVICE i64 times(i64 a, i64 b) { return static_cast<i64>(static_cast<u64>(a) * static_cast<u64>(b)); }
