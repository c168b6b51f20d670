// Elementwise functions of one and two operands, comparisons, selection, copies and casts.
//
// Layout: contiguous operands of equal size, or operands strided over one row-major index space (a stride of 0
// broadcasts) with a strided output. Arithmetic is f32; f16 and bf16 are rounded once, when stored.
// Floor: bytes, (operands + 1)·count·sizeof(T) over DRAM bandwidth; contiguous operands move in 16-byte accesses.
// Gradients: `Xxx_backward` take (dy, x), or (dy, y) where the derivative is cheaper from the output, and write dx
// (gradient convention `=`). An output may be one of its operands, element for element: no pointer is __restrict__.

#include "common/activation.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;

// ---- Functors of one operand; p.a and p.b are their constants ----

#define UNARY(Name, expression)                                                  \
    struct Name {                                                                \
        static DEVICE f32 apply(f32 x, f32 a, f32 b) { return (expression); }    \
    };

UNARY(Neg, -x)
UNARY(Abs, fabsf(x))
// Zero and NaN map to themselves.
UNARY(Sign, x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x))
UNARY(Exp, expf(x))
UNARY(Expm1, expm1f(x))
UNARY(Log, logf(x))
UNARY(Log1p, log1pf(x))
UNARY(Log2, log2f(x))
UNARY(Exp2, exp2f(x))
UNARY(Sqrt, __fsqrt_rn(x))
UNARY(Rsqrt, rsqrtf(x))
UNARY(Recip, __frcp_rn(x))
UNARY(Square, x* x)
UNARY(Sin, sinf(x))
UNARY(Cos, cosf(x))
UNARY(Tan, tanf(x))
UNARY(Tanh, tanhf(x))
UNARY(Erf, erff(x))
UNARY(Sigmoid, sigmoid(x))
UNARY(Relu, relu(x))
UNARY(LeakyRelu, x < 0.0f ? a * x : x)
UNARY(Elu, x < 0.0f ? a * expm1f(x) : x)
UNARY(Gelu, gelu(x))
UNARY(GeluTanh, gelu_tanh(x))
UNARY(Silu, x* sigmoid(x))
// log(1 + e^(a·x))/a without overflow: max(z, 0) + log1p(e^-|z|), z = a·x.
UNARY(Softplus, (fmaxf(a * x, 0.0f) + log1pf(expf(-fabsf(a * x)))) / a)
UNARY(Floor, floorf(x))
UNARY(Ceil, ceilf(x))
UNARY(Trunc, truncf(x))
// Halves go to the even neighbour, as NumPy and PyTorch round.
UNARY(Round, rintf(x))
UNARY(Clamp, x < a ? a : (x > b ? b : x))
UNARY(AddScalar, x + a)
UNARY(MulScalar, x* a)
UNARY(PowScalar, powf(x, a))
UNARY(Affine, __fmaf_rn(x, a, b))

// ---- Functors of two operands ----

#define BINARY(Name, expression)                                                        \
    struct Name {                                                                       \
        static DEVICE f32 apply(f32 x, f32 y, f32 a, f32 b) { return (expression); }    \
    };

BINARY(Add, x + y)
BINARY(Sub, x - y)
BINARY(Mul, x* y)
BINARY(Div, __fdiv_rn(x, y))
BINARY(Pow, powf(x, y))
// A NaN in either operand is the result.
BINARY(Maximum, x != x ? x : (y > x || y != y ? y : x))
BINARY(Minimum, x != x ? x : (y < x || y != y ? y : x))
// x + a·y.
BINARY(AddScaled, __fmaf_rn(a, y, x))

// Backwards: x is dy, y the saved input or output.
BINARY(ReluBackward, y > 0.0f ? x : 0.0f)
BINARY(LeakyReluBackward, y > 0.0f ? x : a * x)
BINARY(EluBackward, y > 0.0f ? x : x * a * expf(y))
BINARY(GeluBackward, x* gelu_slope(y))
BINARY(GeluTanhBackward, x* gelu_tanh_slope(y))
BINARY(SiluBackward, x * (sigmoid(y) * (1.0f + y * (1.0f - sigmoid(y)))))
BINARY(SoftplusBackward, x* sigmoid(a* y))
// y is the saved output.
BINARY(SigmoidBackward, x * (y * (1.0f - y)))
BINARY(TanhBackward, x * (1.0f - y * y))

#define COMPARISON(Name, operator_)                                   \
    struct Name {                                                     \
        static DEVICE u8 apply(f32 x, f32 y) { return x operator_ y; } \
    };

COMPARISON(Equal, ==)
COMPARISON(NotEqual, !=)
COMPARISON(Less, <)
COMPARISON(LessEqual, <=)
COMPARISON(Greater, >)
COMPARISON(GreaterEqual, >=)

// ---- Index arithmetic of strided operands ----

// n / d.divisor for n < 2^31.
DEVICE u32 divide(u32 n, Divisor d) { return d.divisor == 1 ? n : __umulhi(n, d.multiplier) >> d.shift; }

struct Offsets {
    i64 out, x, y, z;
};

DEVICE Offsets offsets(const StridedParams& p, u32 index) {
    Offsets at = {0, 0, 0, 0};
#pragma unroll
    for (u32 dim = 0; dim < MAX_RANK; ++dim) {
        if (dim < p.rank) {
            u32 quotient = divide(index, p.sizes[dim]);
            i64 remainder = index - quotient * p.sizes[dim].divisor;
            at.out += remainder * p.out[dim];
            at.x += remainder * p.x[dim];
            at.y += remainder * p.y[dim];
            at.z += remainder * p.z[dim];
            index = quotient;
        }
    }
    return at;
}

DEVICE u64 thread_index() { return static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; }
DEVICE u64 thread_count() { return static_cast<u64>(gridDim.x) * THREADS; }

// ---- Kernels ----

template <class F, class T>
__global__ void __launch_bounds__(THREADS) unary(ElementwiseParams p, T* out, const T* x) {
    u64 done = 0;
    if (aligned_16(out) && aligned_16(x)) {
        u64 vectors = p.count / Vector<T>::LANES;
        for (u64 i = thread_index(); i < vectors; i += thread_count()) {
            Vector<T> v = reinterpret_cast<const Vector<T>*>(x)[i];
#pragma unroll
            for (u32 lane = 0; lane < Vector<T>::LANES; ++lane) {
                v.lanes[lane] = from_f32<T>(F::apply(to_f32(v.lanes[lane]), p.a, p.b));
            }
            reinterpret_cast<Vector<T>*>(out)[i] = v;
        }
        done = vectors * Vector<T>::LANES;
    }
    for (u64 i = done + thread_index(); i < p.count; i += thread_count()) {
        out[i] = from_f32<T>(F::apply(to_f32(x[i]), p.a, p.b));
    }
}

template <class F, class T>
__global__ void __launch_bounds__(THREADS) binary(ElementwiseParams p, T* out, const T* x, const T* y) {
    u64 done = 0;
    if (aligned_16(out) && aligned_16(x) && aligned_16(y)) {
        u64 vectors = p.count / Vector<T>::LANES;
        for (u64 i = thread_index(); i < vectors; i += thread_count()) {
            Vector<T> v = reinterpret_cast<const Vector<T>*>(x)[i];
            Vector<T> w = reinterpret_cast<const Vector<T>*>(y)[i];
#pragma unroll
            for (u32 lane = 0; lane < Vector<T>::LANES; ++lane) {
                v.lanes[lane] = from_f32<T>(F::apply(to_f32(v.lanes[lane]), to_f32(w.lanes[lane]), p.a, p.b));
            }
            reinterpret_cast<Vector<T>*>(out)[i] = v;
        }
        done = vectors * Vector<T>::LANES;
    }
    for (u64 i = done + thread_index(); i < p.count; i += thread_count()) {
        out[i] = from_f32<T>(F::apply(to_f32(x[i]), to_f32(y[i]), p.a, p.b));
    }
}

template <class F, class T>
__global__ void __launch_bounds__(THREADS) binary_strided(StridedParams p, T* out, const T* x, const T* y) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets(p, static_cast<u32>(i));
        out[at.out] = from_f32<T>(F::apply(to_f32(x[at.x]), to_f32(y[at.y]), p.a, p.b));
    }
}

// 1 where the comparison holds, else 0; comparisons with NaN are false but for !=.
template <class F, class T>
__global__ void __launch_bounds__(THREADS) compare_strided(StridedParams p, u8* out, const T* x, const T* y) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets(p, static_cast<u32>(i));
        out[at.out] = F::apply(to_f32(x[at.x]), to_f32(y[at.y]));
    }
}

// out = condition ? y : z; T is any type of that size.
template <class T>
__global__ void __launch_bounds__(THREADS)
    select_strided(StridedParams p, T* out, const u8* condition, const T* y, const T* z) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets(p, static_cast<u32>(i));
        out[at.out] = condition[at.x] ? y[at.y] : z[at.z];
    }
}

// Copies between layouts; T is any type of that size.
template <class T>
__global__ void __launch_bounds__(THREADS) copy_strided(StridedParams p, T* out, const T* x) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        Offsets at = offsets(p, static_cast<u32>(i));
        out[at.out] = x[at.x];
    }
}

// Writes one value everywhere; T is any type of that size, and the value its bits.
template <class T>
__global__ void __launch_bounds__(THREADS) fill_strided(StridedParams p, T* out, u64 bits) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        out[offsets(p, static_cast<u32>(i)).out] = static_cast<T>(bits);
    }
}

// Between f32, f16 and bf16: rounded to the nearest, ties to even.
template <class To, class From>
__global__ void __launch_bounds__(THREADS) cast(ElementwiseParams p, To* out, const From* x) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        out[i] = from_f32<To>(to_f32(x[i]));
    }
}

// ---- Instantiations ----

#define FOR_FLOATS(MACRO, Name) MACRO(Name, f32) MACRO(Name, f16) MACRO(Name, bf16)

#define MAKE_UNARY(F, T) template __global__ void unary<F, T>(ElementwiseParams, T*, const T*);
#define MAKE_BINARY(F, T) template __global__ void binary<F, T>(ElementwiseParams, T*, const T*, const T*);
#define MAKE_BROADCAST(F, T) template __global__ void binary_strided<F, T>(StridedParams, T*, const T*, const T*);
#define MAKE_COMPARE(F, T) template __global__ void compare_strided<F, T>(StridedParams, u8*, const T*, const T*);

FOR_FLOATS(MAKE_UNARY, Neg)
FOR_FLOATS(MAKE_UNARY, Abs)
FOR_FLOATS(MAKE_UNARY, Sign)
FOR_FLOATS(MAKE_UNARY, Exp)
FOR_FLOATS(MAKE_UNARY, Expm1)
FOR_FLOATS(MAKE_UNARY, Log)
FOR_FLOATS(MAKE_UNARY, Log1p)
FOR_FLOATS(MAKE_UNARY, Log2)
FOR_FLOATS(MAKE_UNARY, Exp2)
FOR_FLOATS(MAKE_UNARY, Sqrt)
FOR_FLOATS(MAKE_UNARY, Rsqrt)
FOR_FLOATS(MAKE_UNARY, Recip)
FOR_FLOATS(MAKE_UNARY, Square)
FOR_FLOATS(MAKE_UNARY, Sin)
FOR_FLOATS(MAKE_UNARY, Cos)
FOR_FLOATS(MAKE_UNARY, Tan)
FOR_FLOATS(MAKE_UNARY, Tanh)
FOR_FLOATS(MAKE_UNARY, Erf)
FOR_FLOATS(MAKE_UNARY, Sigmoid)
FOR_FLOATS(MAKE_UNARY, Relu)
FOR_FLOATS(MAKE_UNARY, LeakyRelu)
FOR_FLOATS(MAKE_UNARY, Elu)
FOR_FLOATS(MAKE_UNARY, Gelu)
FOR_FLOATS(MAKE_UNARY, GeluTanh)
FOR_FLOATS(MAKE_UNARY, Silu)
FOR_FLOATS(MAKE_UNARY, Softplus)
FOR_FLOATS(MAKE_UNARY, Floor)
FOR_FLOATS(MAKE_UNARY, Ceil)
FOR_FLOATS(MAKE_UNARY, Trunc)
FOR_FLOATS(MAKE_UNARY, Round)
FOR_FLOATS(MAKE_UNARY, Clamp)
FOR_FLOATS(MAKE_UNARY, AddScalar)
FOR_FLOATS(MAKE_UNARY, MulScalar)
FOR_FLOATS(MAKE_UNARY, PowScalar)
FOR_FLOATS(MAKE_UNARY, Affine)

#define FOR_FLOATS_BOTH(F) FOR_FLOATS(MAKE_BINARY, F) FOR_FLOATS(MAKE_BROADCAST, F)
FOR_FLOATS_BOTH(Add)
FOR_FLOATS_BOTH(Sub)
FOR_FLOATS_BOTH(Mul)
FOR_FLOATS_BOTH(Div)
FOR_FLOATS_BOTH(Pow)
FOR_FLOATS_BOTH(Maximum)
FOR_FLOATS_BOTH(Minimum)
FOR_FLOATS_BOTH(AddScaled)

FOR_FLOATS(MAKE_BINARY, ReluBackward)
FOR_FLOATS(MAKE_BINARY, LeakyReluBackward)
FOR_FLOATS(MAKE_BINARY, EluBackward)
FOR_FLOATS(MAKE_BINARY, GeluBackward)
FOR_FLOATS(MAKE_BINARY, GeluTanhBackward)
FOR_FLOATS(MAKE_BINARY, SiluBackward)
FOR_FLOATS(MAKE_BINARY, SoftplusBackward)
FOR_FLOATS(MAKE_BINARY, SigmoidBackward)
FOR_FLOATS(MAKE_BINARY, TanhBackward)

FOR_FLOATS(MAKE_COMPARE, Equal)
FOR_FLOATS(MAKE_COMPARE, NotEqual)
FOR_FLOATS(MAKE_COMPARE, Less)
FOR_FLOATS(MAKE_COMPARE, LessEqual)
FOR_FLOATS(MAKE_COMPARE, Greater)
FOR_FLOATS(MAKE_COMPARE, GreaterEqual)

#define MAKE_MOVES(T)                                                                                      \
    template __global__ void select_strided<T>(StridedParams, T*, const u8*, const T*, const T*);          \
    template __global__ void copy_strided<T>(StridedParams, T*, const T*);                                 \
    template __global__ void fill_strided<T>(StridedParams, T*, u64);
MAKE_MOVES(u8)
MAKE_MOVES(u16)
MAKE_MOVES(u32)
MAKE_MOVES(u64)

#define MAKE_CAST(To, From) template __global__ void cast<To, From>(ElementwiseParams, To*, const From*);
MAKE_CAST(f32, f16)
MAKE_CAST(f32, bf16)
MAKE_CAST(f16, f32)
MAKE_CAST(f16, bf16)
MAKE_CAST(bf16, f32)
MAKE_CAST(bf16, f16)
