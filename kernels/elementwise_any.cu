// What exists for elements of every dtype: relations, selection, copies, fills, casts, and arithmetic of integers.
//
// Layout: operands strided over one row-major index space (a stride of 0 broadcasts); casts and fills also contiguous.
// Floor: bytes, each operand read once and the result written once over DRAM bandwidth. Copies move in the widest units in
// which both sides lie together, at most 16 bytes.
// An output may be one of its operands, element for element: no pointer is __restrict__.

#include "common/strided.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;

DEVICE u64 thread_index() { return static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; }
DEVICE u64 thread_count() { return static_cast<u64>(gridDim.x) * THREADS; }

// ---- Kernels ----

// The value that a relation looks at: halves widened, which is exact.
template <class T>
DEVICE T compared(T x) {
    return x;
}
DEVICE f32 compared(f16 x) { return to_f32(x); }
DEVICE f32 compared(bf16 x) { return to_f32(x); }

// Whether a relation of two values holds. NaN equals nothing, not even itself.
template <class V>
DEVICE bool holds(u32 relation, V x, V y) {
    switch (relation) {
        case RELATION_EQ: return x == y;
        case RELATION_NE: return x != y;
        case RELATION_LT: return x < y;
        case RELATION_LE: return x <= y;
        case RELATION_GT: return x > y;
        case RELATION_GE: return x >= y;
        case RELATION_AND: return (x != V(0)) && (y != V(0));
        case RELATION_OR: return (x != V(0)) || (y != V(0));
        default: return (x != V(0)) != (y != V(0));
    }
}

// out = 1 where the relation holds, else 0.
template <class T>
__global__ void __launch_bounds__(THREADS)
    compare_strided(StridedParams p, u32 relation, u8* out, const T* x, const T* y) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<2>(p, static_cast<u32>(i));
        out[at.out] = holds(relation, compared(x[at.operands[0]]), compared(y[at.operands[1]]));
    }
}

// out = mask ? x : y; T is any type of that size.
template <class T>
__global__ void __launch_bounds__(THREADS)
    select_strided(StridedParams p, void* out, const u8* mask, const void* x, const void* y) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<3>(p, static_cast<u32>(i));
        const T* from = static_cast<const T*>(mask[at.operands[0]] ? x : y);
        static_cast<T*>(out)[at.out] = from[mask[at.operands[0]] ? at.operands[1] : at.operands[2]];
    }
}

// Copies between layouts; T is any type of that size.
template <class T>
__global__ void __launch_bounds__(THREADS) copy_strided(StridedParams p, void* out, const void* x) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<1>(p, static_cast<u32>(i));
        static_cast<T*>(out)[at.out] = static_cast<const T*>(x)[at.operands[0]];
    }
}

// Copies whose input runs along another dimension than the output: dimension 0 is the output's innermost, dimension 1
// the input's. A tile of both passes through shared memory, so that both sides move whole sectors.
template <class T>
__global__ void __launch_bounds__(THREADS) copy_transposed(StridedParams p, void* out, const void* x) {
    constexpr u32 TILE = 32;
    // One column more, so that a column of the tile lies in as many banks as a row.
    __shared__ T tile[TILE][TILE + 1];
    u32 columns = p.sizes[0].divisor, rows = p.sizes[1].divisor;
    u32 across = (columns + TILE - 1) / TILE, down = (rows + TILE - 1) / TILE;
    u32 lane = threadIdx.x % TILE, first = threadIdx.x / TILE;
    for (u32 job = blockIdx.x; job < p.count; job += gridDim.x) {
        u32 column = job % across * TILE, row = job / across % down * TILE;
        u32 outer = job / across / down;
        i64 from = 0, to = 0;
        for (u32 dim = 2; dim < p.rank; ++dim) {
            u32 quotient = divide(outer, p.sizes[dim]);
            i64 remainder = outer - quotient * p.sizes[dim].divisor;
            from += remainder * p.operands[0][dim];
            to += remainder * p.out[dim];
            outer = quotient;
        }
        for (u32 i = first; i < TILE; i += THREADS / TILE) {
            if (row + lane < rows && column + i < columns) {
                i64 at = from + static_cast<i64>(row + lane) * p.operands[0][1];
                tile[i][lane] = static_cast<const T*>(x)[at + static_cast<i64>(column + i) * p.operands[0][0]];
            }
        }
        __syncthreads();
        for (u32 i = first; i < TILE; i += THREADS / TILE) {
            if (row + i < rows && column + lane < columns) {
                i64 at = to + static_cast<i64>(row + i) * p.out[1];
                static_cast<T*>(out)[at + static_cast<i64>(column + lane) * p.out[0]] = tile[lane][i];
            }
        }
        __syncthreads();
    }
}

// Writes one value of SIZE bytes everywhere; the value is given as its bits, repeated to fill a word.
template <u32 SIZE>
__global__ void __launch_bounds__(THREADS) fill(void* out, u64 bits, u64 count) {
    Vector<u64> value = {{bits, bits}};
    u64 vectors = count * SIZE / 16;
    for (u64 i = thread_index(); i < vectors; i += thread_count()) {
        static_cast<Vector<u64>*>(out)[i] = value;
    }
    for (u64 i = vectors * 16 + thread_index(); i < count * SIZE; i += thread_count()) {
        static_cast<u8*>(out)[i] = static_cast<u8>(bits >> (i % SIZE * 8));
    }
}

// f32 with the bits that i64 has beyond it folded into the last one, so that rounding once more to a half does as
// rounding once (round to odd).
DEVICE f32 nearly(i64 x) {
    f32 y = __ll2float_rz(x);
    return __float2ll_rz(y) == x ? y : __uint_as_float(__float_as_uint(y) | 1);
}

DEVICE i64 saturated(f32 x, i64) { return x != x ? 0 : __float2ll_rz(x); }
DEVICE u32 saturated(f32 x, u32) { return x != x ? 0 : __float2uint_rz(x); }
DEVICE u8 saturated(f32 x, u8) {
    u32 y = saturated(x, 0u);
    return static_cast<u8>(y > 255 ? 255 : y);
}

template <class T>
constexpr bool FLOAT = false;
template <>
constexpr bool FLOAT<f32> = true;
template <>
constexpr bool FLOAT<f16> = true;
template <>
constexpr bool FLOAT<bf16> = true;

// To floats: rounded once, to the nearest, ties to even. From floats to integers: truncated and saturated, NaN to 0.
// From integers to narrower ones: the low bits.
template <class To, class From>
DEVICE To convert(From x) {
    if constexpr (FLOAT<From> && FLOAT<To>) {
        return from_f32<To>(to_f32(x));
    } else if constexpr (FLOAT<From>) {
        return saturated(to_f32(x), To());
    } else if constexpr (!FLOAT<To>) {
        return static_cast<To>(x);
    } else if constexpr (sizeof(To) == 4) {
        return __ll2float_rn(static_cast<i64>(x));
    } else {
        return from_f32<To>(nearly(static_cast<i64>(x)));
    }
}

// Four elements that move in one access.
template <class T>
struct alignas(4 * sizeof(T)) Four {
    T lanes[4];
};

template <class To, class From>
__global__ void __launch_bounds__(THREADS) cast(ElementwiseParams p, To* out, const From* x) {
    u64 done = 0;
    if (reinterpret_cast<u64>(out) % sizeof(Four<To>) == 0 && reinterpret_cast<u64>(x) % sizeof(Four<From>) == 0) {
        done = p.count / 4 * 4;
        for (u64 i = thread_index(); i < p.count / 4; i += thread_count()) {
            Four<From> from = reinterpret_cast<const Four<From>*>(x)[i];
            Four<To> to;
#pragma unroll
            for (u32 lane = 0; lane < 4; ++lane) {
                to.lanes[lane] = convert<To>(from.lanes[lane]);
            }
            reinterpret_cast<Four<To>*>(out)[i] = to;
        }
    }
    for (u64 i = done + thread_index(); i < p.count; i += thread_count()) {
        out[i] = convert<To>(x[i]);
    }
}

template <class To, class From>
__global__ void __launch_bounds__(THREADS) cast_strided(StridedParams p, To* out, const From* x) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<1>(p, static_cast<u32>(i));
        out[at.out] = convert<To>(x[at.operands[0]]);
    }
}

DEVICE i64 integer(u32 operation, i64 a, i64 b, i64 x, i64 y) {
    // Wrapping arithmetic, as two's complement does it.
    u64 ux = static_cast<u64>(x), uy = static_cast<u64>(y);
    switch (operation) {
        case INTEGER_ADD: return static_cast<i64>(ux + uy);
        case INTEGER_SUB: return static_cast<i64>(ux - uy);
        case INTEGER_MUL: return static_cast<i64>(ux * uy);
        case INTEGER_MAXIMUM: return x > y ? x : y;
        case INTEGER_MINIMUM: return x < y ? x : y;
        case INTEGER_NEG: return static_cast<i64>(0 - ux);
        case INTEGER_ABS: return x < 0 ? static_cast<i64>(0 - ux) : x;
        case INTEGER_SIGN: return (x > 0) - (x < 0);
        case INTEGER_SQUARE: return static_cast<i64>(ux * ux);
        case INTEGER_AFFINE: return static_cast<i64>(ux * static_cast<u64>(a) + static_cast<u64>(b));
        default: return x < a ? (a < b ? a : b) : (x < b ? x : b);
    }
}

// Operations of integers, in 64 bits; y is not read by those of one operand.
template <class T>
__global__ void __launch_bounds__(THREADS)
    map_integer(StridedParams p, u32 operation, i64 a, i64 b, T* out, const T* x, const T* y) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<2>(p, static_cast<u32>(i));
        i64 first = static_cast<i64>(x[at.operands[0]]);
        i64 second = operation <= INTEGER_MINIMUM ? static_cast<i64>(y[at.operands[1]]) : first;
        out[at.out] = static_cast<T>(integer(operation, a, b, first, second));
    }
}

// ---- Instantiations ----

#define COMPARE(T) template __global__ void compare_strided<T>(StridedParams, u32, u8*, const T*, const T*);
COMPARE(f32) COMPARE(f16) COMPARE(bf16) COMPARE(i64) COMPARE(u32) COMPARE(u8)

#define MOVES(T)                                                                                           \
    template __global__ void select_strided<T>(StridedParams, void*, const u8*, const void*, const void*); \
    template __global__ void copy_strided<T>(StridedParams, void*, const void*);                           \
    template __global__ void copy_transposed<T>(StridedParams, void*, const void*);
MOVES(u8) MOVES(u16) MOVES(u32) MOVES(u64)
typedef Vector<u64> u128;
template __global__ void copy_strided<u128>(StridedParams, void*, const void*);

#define FILL(SIZE) template __global__ void fill<SIZE>(void*, u64, u64);
FILL(1) FILL(2) FILL(4) FILL(8)

#define CAST(To, From)                                                                \
    template __global__ void cast<To, From>(ElementwiseParams, To*, const From*);     \
    template __global__ void cast_strided<To, From>(StridedParams, To*, const From*);
CAST(f32, f16) CAST(f32, bf16) CAST(f32, i64) CAST(f32, u32) CAST(f32, u8)
CAST(f16, f32) CAST(f16, bf16) CAST(f16, i64) CAST(f16, u32) CAST(f16, u8)
CAST(bf16, f32) CAST(bf16, f16) CAST(bf16, i64) CAST(bf16, u32) CAST(bf16, u8)
CAST(i64, f32) CAST(i64, f16) CAST(i64, bf16) CAST(i64, u32) CAST(i64, u8)
CAST(u32, f32) CAST(u32, f16) CAST(u32, bf16) CAST(u32, i64) CAST(u32, u8)
CAST(u8, f32) CAST(u8, f16) CAST(u8, bf16) CAST(u8, i64) CAST(u8, u32)

#define INTEGER(T) template __global__ void map_integer<T>(StridedParams, u32, i64, i64, T*, const T*, const T*);
INTEGER(i64) INTEGER(u32) INTEGER(u8)
