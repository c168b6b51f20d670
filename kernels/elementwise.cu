// Elementwise functions of one to four float operands, and their sums. (What exists for every dtype: elementwise_any.cu.)
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

#define SUM(F)                                                                                              \
    template __global__ void map_sum<f::F, f32>(ElementwiseParams, f64*, const f32*, const f32*, const f32*, const f32*); \
    template __global__ void map_sum<f::F, f16>(ElementwiseParams, f64*, const f16*, const f16*, const f16*, const f16*); \
    template __global__ void map_sum<f::F, bf16>(ElementwiseParams, f64*, const bf16*, const bf16*, const bf16*, const bf16*);
SUM(squared_error) SUM(absolute_error) SUM(huber) SUM(bce_logits) SUM(bce_logits_weighted) SUM(bce) SUM(kl_div)
SUM(kl_div_log)

template __global__ void finish_sum<f32>(f32*, const f64*, u32, f64);
template __global__ void finish_sum<f16>(f16*, const f64*, u32, f64);
template __global__ void finish_sum<bf16>(bf16*, const f64*, u32, f64);
