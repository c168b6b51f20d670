// The epilogue of products (EpilogueParams), on runs of neighbouring columns of a row.
#pragma once

#include "common/activation.cuh"
#include "common/types.cuh"

// Two numbers rounded into one register, the first in the lower half.
template <class T>
DEVICE u32 pack(f32 low, f32 high);

template <>
DEVICE u32 pack<f16>(f32 low, f32 high) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

template <>
DEVICE u32 pack<bf16>(f32 low, f32 high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// A register's numbers of T as f32: `to` takes 4 / sizeof(T) of them.
DEVICE void unpack(u32 word, f32* to, f32) { to[0] = __uint_as_float(word); }

DEVICE void unpack(u32 word, f32* to, f16) {
    to[0] = to_f32(f16{static_cast<u16>(word)});
    to[1] = to_f32(f16{static_cast<u16>(word >> 16)});
}

DEVICE void unpack(u32 word, f32* to, bf16) {
    to[0] = __uint_as_float(word << 16);
    to[1] = __uint_as_float(word & 0xffff0000u);
}

// Whether a run of LANES numbers of T is made of whole 16-byte vectors.
template <class T, u32 LANES>
constexpr bool WHOLE_VECTORS = LANES * sizeof(T) % 16 == 0;

// Reads the `exist` first numbers of a run, `stride` apart; by 16 bytes where `vector` says that it may.
template <class T, u32 LANES>
DEVICE void load_run(const T* at, i64 stride, bool vector, u32 exist, f32 (&to)[LANES]) {
    if constexpr (WHOLE_VECTORS<T, LANES>) {
        if (vector && exist == LANES) {
#pragma unroll
            for (u32 i = 0; i < LANES * sizeof(T) / 16; ++i) {
                uint4 words = reinterpret_cast<const uint4*>(at)[i];
                constexpr u32 EACH = 4 / sizeof(T);
                f32* part = to + i * 4 * EACH;
                unpack(words.x, part, T{});
                unpack(words.y, part + EACH, T{});
                unpack(words.z, part + 2 * EACH, T{});
                unpack(words.w, part + 3 * EACH, T{});
            }
            return;
        }
    }
#pragma unroll
    for (u32 i = 0; i < LANES; ++i) to[i] = i < exist ? to_f32(at[i * stride]) : 0.0f;
}

// Writes the `exist` first numbers of a run, rounded to T.
template <class T, u32 LANES>
DEVICE void store_run(T* at, bool vector, u32 exist, const f32 (&from)[LANES]) {
    if constexpr (WHOLE_VECTORS<T, LANES>) {
        if (vector && exist == LANES) {
#pragma unroll
            for (u32 i = 0; i < LANES * sizeof(T) / 16; ++i) {
                if constexpr (sizeof(T) == 4) {
                    reinterpret_cast<float4*>(at)[i] =
                        make_float4(from[i * 4], from[i * 4 + 1], from[i * 4 + 2], from[i * 4 + 3]);
                } else {
                    const f32* part = from + i * 8;
                    reinterpret_cast<uint4*>(at)[i] = make_uint4(pack<T>(part[0], part[1]), pack<T>(part[2], part[3]),
                                                                 pack<T>(part[4], part[5]), pack<T>(part[6], part[7]));
                }
            }
            return;
        }
    }
#pragma unroll
    for (u32 i = 0; i < LANES; ++i) {
        if (i < exist) at[i] = from_f32<T>(from[i]);
    }
}

// Makes outputs of the sums of a run, of which the first `exist` exist. The pointers are to its first number; those that
// the parameters do not ask for are not touched.
template <class T, u32 LANES>
DEVICE void finish(const EpilogueParams& p, f32 (&value)[LANES], u32 exist, T* out, T* before, const T* bias,
                   const T* residual) {
    f32 other[LANES];
#pragma unroll
    for (u32 i = 0; i < LANES; ++i) value[i] *= p.alpha;
    if (p.beta != 0.0f) {
        load_run<T, LANES>(out, 1, p.vector, exist, other);
#pragma unroll
        for (u32 i = 0; i < LANES; ++i) value[i] = __fmaf_rn(p.beta, other[i], value[i]);
    }
    if (p.has_bias) {
        load_run<T, LANES>(bias, p.bias_stride, false, exist, other);
#pragma unroll
        for (u32 i = 0; i < LANES; ++i) value[i] += other[i];
    }
    if (p.has_residual) {
        load_run<T, LANES>(residual, p.residual_column, p.vector_residual, exist, other);
#pragma unroll
        for (u32 i = 0; i < LANES; ++i) value[i] += other[i];
    }
    if (p.has_before) store_run<T, LANES>(before, p.vector, exist, value);
    if (p.activation != ACTIVATION_NONE) {
        // A loop that turns the run around, for the activations' code is long and registers have no index.
#pragma unroll 1
        for (u32 turn = 0; turn < LANES; ++turn) {
            f32 first = activate(p.activation, value[0]);
#pragma unroll
            for (u32 i = 1; i < LANES; ++i) value[i - 1] = value[i];
            value[LANES - 1] = first;
        }
    }
    store_run<T, LANES>(out, p.vector, exist, value);
}
