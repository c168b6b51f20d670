// Elementwise functions of one to four operands, comparisons, selection, copies, fills and casts.
//
// Layout: contiguous operands of equal size, or operands strided over one row-major index space (a stride of 0
// broadcasts). Arithmetic is f32; f16 and bf16 are rounded once, when stored.
// Floor: bytes, (operands + 1)·count·sizeof(T) over DRAM bandwidth; contiguous operands move in 16-byte accesses.
// Gradients: a backward takes the gradient g first, then what the forward saved, its input x or its output y, and
// writes the input's gradient (convention `=`). An output may be one of its operands, element for element: no pointer
// is __restrict__.
// The functors have the names and definitions of src/kernels/elementwise/functions.

#include "common/activation.cuh"
#include "common/block.cuh"
#include "common/strided.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;

// ---- Functors; a and b are the constants, in the order of the Rust struct's fields ----

#define ARGS1(x0) f32 x0, f32, f32, f32
#define ARGS2(x0, x1) f32 x0, f32 x1, f32, f32
#define ARGS3(x0, x1, x2) f32 x0, f32 x1, f32 x2, f32
#define ARGS4(x0, x1, x2, x3) f32 x0, f32 x1, f32 x2, f32 x3

#define FUNCTOR(name, arity, arguments, expression)                                       \
    struct name {                                                                         \
        static constexpr u32 ARITY = arity;                                               \
        static DEVICE f32 apply(arguments, f32 a, f32 b) { return (expression); }         \
    };
#define MAP1(name, x0, expression) FUNCTOR(name, 1, ARGS1(x0), expression)
#define MAP2(name, x0, x1, expression) FUNCTOR(name, 2, ARGS2(x0, x1), expression)
#define MAP3(name, x0, x1, x2, expression) FUNCTOR(name, 3, ARGS3(x0, x1, x2), expression)
#define MAP4(name, x0, x1, x2, x3, expression) FUNCTOR(name, 4, ARGS4(x0, x1, x2, x3), expression)

DEVICE f32 signum(f32 x) { return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x); }
DEVICE f32 clamped(f32 x, f32 low, f32 high) { return minimum(maximum(x, low), high); }

// tanh(ln(1 + e^x)) = e(e + 2)/(e(e + 2) + 2), e = e^x; by e^-x for positive x, where e^x may overflow.
DEVICE f32 mish_gate(f32 x) {
    f32 e = expf(-fabsf(x));
    f32 above = x < 0.0f ? e * (e + 2.0f) : __fmaf_rn(2.0f, e, 1.0f);
    f32 rest = x < 0.0f ? 2.0f : 2.0f * e * e;
    return __fdiv_rn(above, above + rest);
}

DEVICE f32 gelu_slope(f32 x) {
    f32 density = 0.39894228040143268f * expf(-0.5f * x * x);
    return __fmaf_rn(x, density, normal_cdf(x));
}

DEVICE f32 gelu_tanh_slope(f32 x) {
    f32 s = gelu_gate(x);
    f32 slope = 1.5957691216057308f * (0.134145f * x * x + 1.0f);
    // 0·∞ where the gate has closed and x² has overflowed: the slope is the gate's 0 or 1.
    f32 rest = 1.0f - s;
    return s == 0.0f || rest == 0.0f ? s : __fmaf_rn(x * slope * rest, s, s);
}

namespace f {

// Arithmetic.
MAP2(add, x, y, x + y)
MAP2(sub, x, y, x - y)
MAP2(mul, x, y, x* y)
MAP2(div, x, y, __fdiv_rn(x, y))
MAP3(mul_add, x, y, z, __fmaf_rn(x, y, z))
MAP2(add_relu, x, y, ::relu(x + y))
MAP1(neg, x, -x)
MAP1(abs, x, fabsf(x))
MAP2(abs_backward, g, x, g* signum(x))
MAP1(sign, x, signum(x))
MAP1(square, x, x* x)
MAP2(square_backward, g, x, (g + g) * x)
MAP1(recip, x, __frcp_rn(x))
MAP2(recip_backward, g, y, -(g * y * y))
MAP1(sqrt, x, __fsqrt_rn(x))
MAP2(sqrt_backward, g, y, __fdiv_rn(g, y + y))
MAP1(rsqrt, x, __frcp_rn(__fsqrt_rn(x)))
MAP2(rsqrt_backward, g, y, -0.5f * g * (y * y * y))
MAP1(floor, x, floorf(x))
MAP1(ceil, x, ceilf(x))
MAP1(round, x, rintf(x))
MAP1(trunc, x, truncf(x))
MAP2(maximum, x, y, ::maximum(x, y))
MAP2(minimum, x, y, ::minimum(x, y))
MAP3(greater_backward, g, x, y, x == y ? 0.5f * g : (x < y ? 0.0f : g))
MAP1(affine, x, x* a + b)
MAP1(div_scalar, x, __fdiv_rn(x, a))
MAP2(lerp, x, y, a < 0.5f ? x + a * (y - x) : y - (1.0f - a) * (y - x))
MAP1(clamp, x, clamped(x, a, b))
MAP2(clamp_backward, g, x, x >= a && x <= b ? g : 0.0f)
MAP2(div_or_zero, x, y, y == 0.0f ? 0.0f : __fdiv_rn(x, y))
MAP2(scaled_sign, x, g, x > 0.0f ? g : (x < 0.0f ? -g : x * 0.0f))
MAP3(scaled_exp_difference, x, y, g, x == y ? g : g * expf(x - y))
MAP2(equal, x, y, x == y ? 1.0f : 0.0f)

// Exponentials, logarithms, powers, trigonometric and error functions.
MAP1(exp, x, expf(x))
MAP1(exp2, x, exp2f(x))
MAP2(exp2_backward, g, y, 0.69314718055994531f * g * y)
MAP1(expm1, x, expm1f(x))
MAP2(expm1_backward, g, y, __fmaf_rn(g, y, g))
MAP1(log, x, logf(x))
MAP1(log2, x, log2f(x))
MAP2(log2_backward, g, x, __fdiv_rn(g, x * 0.69314718055994531f))
MAP1(log1p, x, log1pf(x))
MAP2(log1p_backward, g, x, __fdiv_rn(g, 1.0f + x))
MAP1(sin, x, sinf(x))
MAP2(sin_backward, g, x, g* cosf(x))
MAP1(cos, x, cosf(x))
MAP2(cos_backward, g, x, -(g * sinf(x)))
MAP1(tan, x, tanf(x))
MAP2(tan_backward, g, y, g* __fmaf_rn(y, y, 1.0f))
MAP1(erf, x, erff(x))
MAP2(erf_backward, g, x, 1.1283791670955126f * g * expf(-(x * x)))
MAP2(pow, x, y, powf(x, y))
MAP3(pow_base_backward, g, x, y, y == 0.0f ? 0.0f : g * y * powf(x, y - 1.0f))
MAP3(pow_exponent_backward, g, x, y, x == 0.0f && y >= 0.0f ? 0.0f : g * powf(x, y) * logf(x))
MAP1(powf, x, ::powf(x, a))
MAP2(powf_backward, g, x, a == 0.0f ? 0.0f : g * a * ::powf(x, a - 1.0f))

// Activations.
MAP1(relu, x, ::relu(x))
MAP2(relu_backward, g, y, y <= 0.0f ? 0.0f : g)
MAP1(sigmoid, x, ::sigmoid(x))
MAP2(sigmoid_backward, g, y, g*(y*(1.0f - y)))
MAP1(log_sigmoid, x, -::softplus(-x))
MAP2(log_sigmoid_backward, g, x, g* ::sigmoid(-x))
MAP1(tanh, x, tanhf(x))
MAP2(tanh_backward, g, y, g*(1.0f - y) * (1.0f + y))
MAP1(gelu, x, ::gelu(x))
MAP2(gelu_backward, g, x, g* gelu_slope(x))
MAP1(gelu_tanh, x, ::gelu_tanh(x))
MAP2(gelu_tanh_backward, g, x, g* gelu_tanh_slope(x))
MAP1(silu, x, x* ::sigmoid(x))
MAP2(silu_backward, g, x, g*(::sigmoid(x) * __fmaf_rn(x, ::sigmoid(-x), 1.0f)))
MAP1(softplus, x, ::softplus(x))
MAP2(softplus_backward, g, x, g* ::sigmoid(x))
MAP1(hardswish, x, x* __fdiv_rn(clamped(x + 3.0f, 0.0f, 6.0f), 6.0f))
MAP2(hardswish_backward, g, x, x <= -3.0f ? 0.0f : (x >= 3.0f ? g : g * (__fdiv_rn(x, 3.0f) + 0.5f)))
MAP1(hardsigmoid, x, __fdiv_rn(clamped(x + 3.0f, 0.0f, 6.0f), 6.0f))
MAP2(hardsigmoid_backward, g, x, x > -3.0f && x < 3.0f ? __fdiv_rn(g, 6.0f) : 0.0f)
MAP1(mish, x, x* mish_gate(x))
MAP2(mish_backward, g, x,
     g* __fmaf_rn(x* ::sigmoid(x), (1.0f - mish_gate(x)) * (1.0f + mish_gate(x)), mish_gate(x)))
MAP1(leaky_relu, x, x > 0.0f ? x : x * a)
MAP2(leaky_relu_backward, g, x, x > 0.0f ? g : g * a)
MAP1(elu, x, x > 0.0f ? x * b : b * a * expm1f(x))
MAP2(elu_backward, g, x, x > 0.0f ? g * b : g * (b * a * expf(x)))

// Losses of an input x and a target t.
MAP2(squared_error, x, t, (x - t) * (x - t))
MAP3(squared_error_backward, g, x, t, (a + a) * g * (x - t))
MAP2(absolute_error, x, t, fabsf(x - t))
MAP3(absolute_error_backward, g, x, t, x - t == 0.0f ? 0.0f : (x - t < 0.0f ? -(a * g) : a * g))
MAP2(huber, x, t,
     b*(fabsf(x - t) <= a ? 0.5f * fabsf(x - t) * fabsf(x - t) : a*(fabsf(x - t) - 0.5f * a)))
MAP3(huber_backward, g, x, t, b* g* clamped(x - t, -a, a))
MAP2(bce_logits, x, t, __fmaf_rn(1.0f - t, ::softplus(x), t * ::softplus(-x)))
MAP3(bce_logits_backward, g, x, t, a* g*((1.0f - t) * ::sigmoid(x) - t * ::sigmoid(-x)))
MAP3(bce_logits_weighted, x, t, p, __fmaf_rn(1.0f - t, ::softplus(x), p * t * ::softplus(-x)))
MAP4(bce_logits_weighted_backward, g, x, t, p,
     a* g*((1.0f - t) * ::sigmoid(x) - p * t * ::sigmoid(-x)))
MAP2(bce, x, t, (t - 1.0f) * ::maximum(log1pf(-x), -100.0f) - t * ::maximum(logf(x), -100.0f))
MAP3(bce_backward, g, x, t, __fdiv_rn(a* g*(x - t), ::maximum((1.0f - x) * x, 1e-12f)))
MAP2(kl_div, x, t, t == 0.0f ? 0.0f : t * (logf(t) - x))
MAP3(kl_div_backward, g, x, t, -(a * g * t))
MAP2(kl_div_log, x, t, expf(t) * (t - x))
MAP3(kl_div_log_backward, g, x, t, -(a * g * expf(t)))

}  // namespace f

// Relations of two values of any type; their result is 1 or 0. NaN equals nothing, not even itself.
#define RELATION(name, expression)                  \
    struct name {                                   \
        template <class V>                          \
        static DEVICE u8 holds(V x, V y) {          \
            return (expression);                    \
        }                                           \
    };

namespace r {

RELATION(eq, x == y)
RELATION(ne, x != y)
RELATION(lt, x < y)
RELATION(le, x <= y)
RELATION(gt, x > y)
RELATION(ge, x >= y)
RELATION(logical_and, (x != V(0)) && (y != V(0)))
RELATION(logical_or, (x != V(0)) || (y != V(0)))
RELATION(logical_xor, (x != V(0)) != (y != V(0)))

}  // namespace r

DEVICE u64 thread_index() { return static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; }
DEVICE u64 thread_count() { return static_cast<u64>(gridDim.x) * THREADS; }

// ---- Kernels ----

// An operand of a contiguous kernel: one number for each element, or one for all of them.
template <class T>
struct Operand {
    const T* x;
    // 0 for one number, else 1.
    u32 step;

    DEVICE Operand(const T* x, const ElementwiseParams& p, u32 index) : x(x), step(~p.scalars >> index & 1) {}

    // The elements of the i-th vector.
    DEVICE Vector<T> load(u64 i) const {
        if (step != 0) {
            return reinterpret_cast<const Vector<T>*>(x)[i];
        }
        Vector<T> v;
#pragma unroll
        for (u32 lane = 0; lane < Vector<T>::LANES; ++lane) {
            v.lanes[lane] = x[0];
        }
        return v;
    }
    DEVICE T at(u64 i) const { return x[i * step]; }
    DEVICE bool fits() const { return step == 0 || aligned_16(x); }
};

// The operands of a functor; those that it does not take are not read.
template <class F, class T>
struct Operands {
    static constexpr u32 ARITY = F::ARITY;
    Operand<T> o0, o1, o2, o3;

    DEVICE Operands(const ElementwiseParams& p, const T* x0, const T* x1, const T* x2, const T* x3)
        : o0(x0, p, 0), o1(x1, p, 1), o2(x2, p, 2), o3(x3, p, 3) {}

    DEVICE static f32 apply(const ElementwiseParams& p, T v0, T v1, T v2, T v3) {
        return F::apply(to_f32(v0), to_f32(v1), to_f32(v2), to_f32(v3), p.a, p.b);
    }
    // Whether the operands' vectors can be loaded.
    DEVICE bool fit() const {
        return o0.fits() && (ARITY < 2 || o1.fits()) && (ARITY < 3 || o2.fits()) && (ARITY < 4 || o3.fits());
    }
    // The results of the i-th vector.
    DEVICE void vector(const ElementwiseParams& p, u64 i, f32 (&results)[Vector<T>::LANES]) const {
        Vector<T> v0 = o0.load(i);
        Vector<T> v1 = ARITY < 2 ? v0 : o1.load(i);
        Vector<T> v2 = ARITY < 3 ? v0 : o2.load(i);
        Vector<T> v3 = ARITY < 4 ? v0 : o3.load(i);
#pragma unroll
        for (u32 lane = 0; lane < Vector<T>::LANES; ++lane) {
            results[lane] = apply(p, v0.lanes[lane], v1.lanes[lane], v2.lanes[lane], v3.lanes[lane]);
        }
    }
    DEVICE f32 element(const ElementwiseParams& p, u64 i) const {
        T v0 = o0.at(i);
        return apply(p, v0, ARITY < 2 ? v0 : o1.at(i), ARITY < 3 ? v0 : o2.at(i), ARITY < 4 ? v0 : o3.at(i));
    }
};

template <class F, class T>
__global__ void __launch_bounds__(THREADS)
    map(ElementwiseParams p, T* out, const T* x0, const T* x1, const T* x2, const T* x3) {
    constexpr u32 LANES = Vector<T>::LANES;
    Operands<F, T> operands(p, x0, x1, x2, x3);
    // A thread for each vector, and for each element beyond them.
    u64 i = thread_index();
    if (i < p.vectors) {
        f32 results[LANES];
        operands.vector(p, i, results);
        Vector<T> packed;
#pragma unroll
        for (u32 lane = 0; lane < LANES; ++lane) {
            packed.lanes[lane] = from_f32<T>(results[lane]);
        }
        reinterpret_cast<Vector<T>*>(out)[i] = packed;
        return;
    }
    i += p.vectors * (LANES - 1);
    if (i < p.count) {
        out[i] = from_f32<T>(operands.element(p, i));
    }
}

// Each block's sum of the functor over its share of the elements: f32 within a vector, f64 beyond. Which elements a
// thread takes depends on the count and the grid only, never on alignment.
template <class F, class T>
__global__ void __launch_bounds__(THREADS)
    map_sum(ElementwiseParams p, f64* sums, const T* x0, const T* x1, const T* x2, const T* x3) {
    constexpr u32 LANES = Vector<T>::LANES;
    __shared__ f64 shared[THREADS];
    Operands<F, T> operands(p, x0, x1, x2, x3);
    u64 vectors = p.count / LANES;
    f64 sum = 0.0;
    bool fit = operands.fit();
    for (u64 i = thread_index(); i < vectors; i += thread_count()) {
        f32 results[LANES];
        if (fit) {
            operands.vector(p, i, results);
        } else {
            for (u32 lane = 0; lane < LANES; ++lane) {
                results[lane] = operands.element(p, i * LANES + lane);
            }
        }
#pragma unroll
        for (u32 width = LANES / 2; width > 0; width /= 2) {
#pragma unroll
            for (u32 lane = 0; lane < width; ++lane) {
                results[lane] += results[lane + width];
            }
        }
        sum += results[0];
    }
    for (u64 i = vectors * LANES + thread_index(); i < p.count; i += thread_count()) {
        sum += operands.element(p, i);
    }
    sum = tree_sum<THREADS>(shared, sum);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
    }
}

// out = scale · Σ sums: one block.
template <class T>
__global__ void __launch_bounds__(THREADS) finish_sum(T* out, const f64* sums, u32 count, f64 scale) {
    __shared__ f64 shared[THREADS];
    f64 sum = 0.0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) {
        sum += sums[i];
    }
    sum = tree_sum<THREADS>(shared, sum);
    if (threadIdx.x == 0) {
        out[0] = from_f64<T>(sum * scale);
    }
}

template <class F, class T>
__global__ void __launch_bounds__(THREADS)
    map_strided(StridedParams p, T* out, const T* x0, const T* x1, const T* x2, const T* x3) {
    constexpr u32 ARITY = F::ARITY;
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<ARITY>(p, static_cast<u32>(i));
        f32 v0 = to_f32(x0[at.operands[0]]);
        f32 v1 = ARITY < 2 ? v0 : to_f32(x1[at.operands[1]]);
        f32 v2 = ARITY < 3 ? v0 : to_f32(x2[at.operands[2]]);
        f32 v3 = ARITY < 4 ? v0 : to_f32(x3[at.operands[3]]);
        out[at.out] = from_f32<T>(F::apply(v0, v1, v2, v3, p.a, p.b));
    }
}

// The value that a relation looks at: halves widened, which is exact.
template <class T>
DEVICE T compared(T x) {
    return x;
}
DEVICE f32 compared(f16 x) { return to_f32(x); }
DEVICE f32 compared(bf16 x) { return to_f32(x); }

template <class R, class T>
__global__ void __launch_bounds__(THREADS) compare_strided(StridedParams p, u8* out, const T* x, const T* y) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets<2>(p, static_cast<u32>(i));
        out[at.out] = R::holds(compared(x[at.operands[0]]), compared(y[at.operands[1]]));
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

#define MAP(F, T) \
    template __global__ void map<f::F, T>(ElementwiseParams, T*, const T*, const T*, const T*, const T*);
#define BROADCAST(F, T) \
    template __global__ void map_strided<f::F, T>(StridedParams, T*, const T*, const T*, const T*, const T*);
#define CONTIGUOUS(F) MAP(F, f32) MAP(F, f16) MAP(F, bf16)
#define STRIDED(F) BROADCAST(F, f32) BROADCAST(F, f16) BROADCAST(F, bf16)

CONTIGUOUS(add) CONTIGUOUS(sub) CONTIGUOUS(mul) CONTIGUOUS(div) CONTIGUOUS(mul_add) CONTIGUOUS(add_relu)
CONTIGUOUS(neg) CONTIGUOUS(abs) CONTIGUOUS(abs_backward) CONTIGUOUS(sign) CONTIGUOUS(square)
CONTIGUOUS(square_backward) CONTIGUOUS(recip) CONTIGUOUS(recip_backward) CONTIGUOUS(sqrt) CONTIGUOUS(sqrt_backward)
CONTIGUOUS(rsqrt) CONTIGUOUS(rsqrt_backward) CONTIGUOUS(floor) CONTIGUOUS(ceil) CONTIGUOUS(round) CONTIGUOUS(trunc)
CONTIGUOUS(maximum) CONTIGUOUS(minimum) CONTIGUOUS(greater_backward) CONTIGUOUS(affine) CONTIGUOUS(div_scalar)
CONTIGUOUS(lerp) CONTIGUOUS(clamp) CONTIGUOUS(clamp_backward) CONTIGUOUS(div_or_zero) CONTIGUOUS(scaled_sign)
CONTIGUOUS(scaled_exp_difference) CONTIGUOUS(equal)

CONTIGUOUS(exp) CONTIGUOUS(exp2) CONTIGUOUS(exp2_backward) CONTIGUOUS(expm1) CONTIGUOUS(expm1_backward)
CONTIGUOUS(log) CONTIGUOUS(log2) CONTIGUOUS(log2_backward) CONTIGUOUS(log1p) CONTIGUOUS(log1p_backward)
CONTIGUOUS(sin) CONTIGUOUS(sin_backward) CONTIGUOUS(cos) CONTIGUOUS(cos_backward) CONTIGUOUS(tan)
CONTIGUOUS(tan_backward) CONTIGUOUS(erf) CONTIGUOUS(erf_backward) CONTIGUOUS(pow) CONTIGUOUS(pow_base_backward)
CONTIGUOUS(pow_exponent_backward) CONTIGUOUS(powf) CONTIGUOUS(powf_backward)

CONTIGUOUS(relu) CONTIGUOUS(relu_backward) CONTIGUOUS(sigmoid) CONTIGUOUS(sigmoid_backward) CONTIGUOUS(log_sigmoid)
CONTIGUOUS(log_sigmoid_backward) CONTIGUOUS(tanh) CONTIGUOUS(tanh_backward) CONTIGUOUS(gelu) CONTIGUOUS(gelu_backward)
CONTIGUOUS(gelu_tanh) CONTIGUOUS(gelu_tanh_backward) CONTIGUOUS(silu) CONTIGUOUS(silu_backward) CONTIGUOUS(softplus)
CONTIGUOUS(softplus_backward) CONTIGUOUS(hardswish) CONTIGUOUS(hardswish_backward) CONTIGUOUS(hardsigmoid)
CONTIGUOUS(hardsigmoid_backward) CONTIGUOUS(mish) CONTIGUOUS(mish_backward) CONTIGUOUS(leaky_relu)
CONTIGUOUS(leaky_relu_backward) CONTIGUOUS(elu) CONTIGUOUS(elu_backward)

CONTIGUOUS(squared_error) CONTIGUOUS(squared_error_backward) CONTIGUOUS(absolute_error)
CONTIGUOUS(absolute_error_backward) CONTIGUOUS(huber) CONTIGUOUS(huber_backward) CONTIGUOUS(bce_logits)
CONTIGUOUS(bce_logits_backward) CONTIGUOUS(bce_logits_weighted) CONTIGUOUS(bce_logits_weighted_backward)
CONTIGUOUS(bce) CONTIGUOUS(bce_backward) CONTIGUOUS(kl_div) CONTIGUOUS(kl_div_backward) CONTIGUOUS(kl_div_log)
CONTIGUOUS(kl_div_log_backward)

// What broadcasts as a rule; the rest is given contiguous copies where it must.
STRIDED(add) STRIDED(sub) STRIDED(mul) STRIDED(div) STRIDED(mul_add) STRIDED(add_relu) STRIDED(maximum)
STRIDED(minimum) STRIDED(pow) STRIDED(scaled_sign) STRIDED(scaled_exp_difference) STRIDED(equal)

#define COMPARE(R, T) template __global__ void compare_strided<r::R, T>(StridedParams, u8*, const T*, const T*);
#define RELATIONS(T)                                                                                        \
    COMPARE(eq, T) COMPARE(ne, T) COMPARE(lt, T) COMPARE(le, T) COMPARE(gt, T) COMPARE(ge, T)               \
    COMPARE(logical_and, T) COMPARE(logical_or, T) COMPARE(logical_xor, T)
RELATIONS(f32) RELATIONS(f16) RELATIONS(bf16) RELATIONS(i64) RELATIONS(u32) RELATIONS(u8)

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

#define SUM(F)                                                                                              \
    template __global__ void map_sum<f::F, f32>(ElementwiseParams, f64*, const f32*, const f32*, const f32*, const f32*); \
    template __global__ void map_sum<f::F, f16>(ElementwiseParams, f64*, const f16*, const f16*, const f16*, const f16*); \
    template __global__ void map_sum<f::F, bf16>(ElementwiseParams, f64*, const bf16*, const bf16*, const bf16*, const bf16*);
SUM(squared_error) SUM(absolute_error) SUM(huber) SUM(bce_logits) SUM(bce_logits_weighted) SUM(bce) SUM(kl_div)
SUM(kl_div_log)

template __global__ void finish_sum<f32>(f32*, const f64*, u32, f64);
template __global__ void finish_sum<f16>(f16*, const f64*, u32, f64);
template __global__ void finish_sum<bf16>(bf16*, const f64*, u32, f64);
