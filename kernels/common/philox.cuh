// Random words from counters, and numbers from words, with the bits that the CPU device gives: every operation is an
// integer one or IEEE +, ×, ÷, √ or fma with one rounding, none of which the compiler may join.
#pragma once

#include "common/types.cuh"

// ---- Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") ----

struct Words {
    u32 w[4];
};

// The four words of a 64-bit block number and an attempt, under a key.
DEVICE Words philox(u32 key0, u32 key1, u64 block, u32 attempt) {
    u32 c0 = static_cast<u32>(block), c1 = static_cast<u32>(block >> 32), c2 = attempt, c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        u32 high0 = __umulhi(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
        u32 high1 = __umulhi(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
    return {{c0, c1, c2, c3}};
}

// ---- Functions of src/device/cpu/math, f32 ----

template <u32 K>
DEVICE f32 polynomial(f32 x, const f32 (&c)[K]) {
    f32 y = c[K - 1];
#pragma unroll
    for (int i = int(K) - 2; i >= 0; --i) {
        y = __fmaf_rn(y, x, c[i]);
    }
    return y;
}

constexpr f32 EXACT_LN2_HIGH = 0.693359375f;
constexpr f32 EXACT_LN2_LOW = -2.12194440e-4f;

DEVICE f32 exact_log(f32 x) {
    bool small = x < 1.17549435e-38f;
    u32 bits = __float_as_uint(small ? __fmul_rn(x, 8388608.0f) : x) - 0x3f3504f3u;
    i32 exponent = static_cast<i32>(bits) >> 23;
    f32 f = __fsub_rn(__uint_as_float((bits & 0x7fffffu) + 0x3f3504f3u), 1.0f);
    f32 e = __fsub_rn(__int2float_rn(exponent), small ? 23.0f : 0.0f);
    const f32 c[] = {0.3333333f,   -0.24999997f, 0.20000716f,  -0.16667803f, 0.14249058f,
                     -0.12425687f, 0.1168542f,   -0.11479734f, 0.06971612f};
    f32 p = polynomial(f, c);
    f32 y = __fmaf_rn(e, EXACT_LN2_LOW, __fmul_rn(__fmul_rn(f, f), __fmul_rn(f, p)));
    y = __fmaf_rn(__fmul_rn(-0.5f, f), f, y);
    y = __fmaf_rn(e, EXACT_LN2_HIGH, __fadd_rn(f, y));
    f32 infinity = __uint_as_float(0x7f800000u);
    return x > 0.0f ? (x < infinity ? y : x) : (x == 0.0f ? -infinity : __uint_as_float(0x7fc00000u));
}

DEVICE f32 power_of_two(i32 n) { return __uint_as_float(static_cast<u32>(n + 127) << 23); }

DEVICE f32 exact_exp(f32 x) {
    constexpr f32 ROUND = 12582912.0f;
    x = x < -104.0f ? -104.0f : (x > 89.0f ? 89.0f : x);
    f32 rounded = __fmaf_rn(x, 1.44269504088896341f, ROUND);
    f32 n = __fsub_rn(rounded, ROUND);
    f32 r = __fmaf_rn(n, -EXACT_LN2_LOW, __fmaf_rn(n, -EXACT_LN2_HIGH, x));
    const f32 c[] = {0.5f, 0.16666667f, 0.041666463f, 0.0083333105f, 0.0013933731f, 0.0001989108f};
    f32 e = __fmaf_rn(__fmul_rn(r, r), polynomial(r, c), r);
    i32 exponent = static_cast<i32>(__float_as_uint(rounded) - __float_as_uint(ROUND));
    i32 half = exponent >> 1;
    return __fmul_rn(__fmul_rn(__fadd_rn(1.0f, e), power_of_two(half)), power_of_two(exponent - half));
}

// ---- Numbers ----

// Uniform in [0, 1) with that many binary digits.
DEVICE f32 unit(u32 word, u32 digits) {
    return __fmul_rn(__int2float_rn(static_cast<i32>(word >> (32 - digits))), __uint_as_float((127 - digits) << 23));
}

// Uniform in (0, 1].
DEVICE f32 positive(u32 word) {
    constexpr f32 STEP = 2.3283064365386963e-10f;
    return __fmaf_rn(__uint2float_rn(word), STEP, STEP / 2.0f);
}

struct Pair {
    f32 first;
    f32 second;
};

// Two independent standard normal numbers (Box and Muller 1958): √(−2 ln u) times a uniform direction.
DEVICE Pair normal_pair(u32 length, u32 angle) {
    f32 radius = __fsqrt_rn(__fmul_rn(-2.0f, exact_log(positive(length))));
    // Sine and cosine of n + f quarter turns, |f| ≤ 1/2.
    u32 n = (angle + (1u << 29)) >> 30;
    f32 f = __fmul_rn(__int2float_rn(static_cast<i32>(angle - (n << 30))), 9.31322574615478515625e-10f);
    f32 z = __fmul_rn(f, f);
    const f32 sine[] = {1.5707964f, -0.6459641f, 0.07969258f, -0.0046812664f, 0.0001582063f};
    const f32 cosine[] = {1.0f, -1.2337005f, 0.2536692f, -0.02086007f, 0.00090362807f};
    f32 s = __fmul_rn(f, polynomial(z, sine)), c = polynomial(z, cosine);
    f32 turned_s = (n & 1) == 0 ? s : c, turned_c = (n & 1) == 0 ? c : s;
    turned_s = (n & 2) == 0 ? turned_s : -turned_s;
    turned_c = ((n ^ n >> 1) & 1) == 0 ? turned_c : -turned_c;
    return {__fmul_rn(radius, turned_c), __fmul_rn(radius, turned_s)};
}
