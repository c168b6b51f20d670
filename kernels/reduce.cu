// Reductions over any axes, extremes with their positions, and scans.
//
// Layout: any strides; the kept axes and the reduced axes are merged apart on the host. A block has X outputs and Y threads
// for each: along memory run either the threads of one output (rows) or those of neighbouring outputs (columns). Few
// outputs of many elements are cut into parts, which a second kernel merges.
// Floor: bytes, one read of the input over DRAM bandwidth.
// Every result is a function of shape, strides and values: a thread takes groups of elements, combined in an order that X, Y
// and the number of parts decide, and those follow from the shape. Floats accumulate in f32, integers in i64.

#include "common/activation.cuh"
#include "common/block.cuh"
#include "common/strided.cuh"
#include "common/types.cuh"
#include "common/wide.cuh"

constexpr u32 THREADS = 256;
// Elements that a thread takes at a time: a 16-byte access of the float types.
template <class T>
constexpr u32 GROUP = sizeof(T) == 2 ? 8 : 4;

DEVICE void store(f32* out, f32 x) { *out = x; }
DEVICE void store(f16* out, f32 x) { *out = from_f32<f16>(x); }
DEVICE void store(bf16* out, f32 x) { *out = from_f32<bf16>(x); }
DEVICE void store(i64* out, i64 x) { *out = x; }
DEVICE void store(u32* out, i64 x) { *out = static_cast<u32>(x); }
DEVICE void store(u8* out, f32 x) { *out = static_cast<u8>(x); }
DEVICE void store(u8* out, i64 x) { *out = static_cast<u8>(x); }

DEVICE bool is_nan(f32 x) { return x != x; }
DEVICE bool is_nan(i64) { return false; }

DEVICE f32 infinity() { return __uint_as_float(0x7f800000u); }
constexpr i64 LOWEST = -0x7fffffffffffffffll - 1;

// ---- What is computed: a state, how a group joins it, how two states merge, and the result ----
//
// `first` is the index of the group's first element among those of its output; `count` of the group are there.

// A fold of single numbers: `empty` changes nothing, elements become `of(x)`, two become `join(a, b)`.
template <class A, class F>
struct Fold {
    typedef A Number;
    A value;

    DEVICE static Fold empty() { return {F::empty()}; }
    template <u32 G>
    DEVICE void step(const A (&x)[G], u64, u32 count) {
        A lanes[G];
#pragma unroll
        for (u32 lane = 0; lane < G; ++lane) {
            lanes[lane] = lane < count ? F::of(x[lane]) : F::empty();
        }
#pragma unroll
        for (u32 width = G / 2; width > 0; width /= 2) {
#pragma unroll
            for (u32 lane = 0; lane < width; ++lane) {
                lanes[lane] = F::join(lanes[lane], lanes[lane + width]);
            }
        }
        value = F::join(value, lanes[0]);
    }
    DEVICE static Fold merge(Fold a, Fold b) { return {F::join(a.value, b.value)}; }
    DEVICE A result(const ReduceParams& p) const { return F::finish(value, p); }
};

#define FOLD(name, empty_value, of_value, join_value, finish_value)                    \
    template <class A>                                                                 \
    struct name##_fold {                                                               \
        DEVICE static A empty() { return empty_value; }                                \
        DEVICE static A of(A x) { return of_value; }                                   \
        DEVICE static A join(A a, A b) { return join_value; }                          \
        DEVICE static A finish(A x, const ReduceParams& p) { return finish_value; }    \
    };                                                                                 \
    template <class A>                                                                 \
    using name = Fold<A, name##_fold<A>>;

DEVICE f32 divided(f32 x, const ReduceParams& p) { return p.divisor == 1.0f ? x : __fdiv_rn(x, p.divisor); }
DEVICE i64 divided(i64 x, const ReduceParams&) { return x; }
DEVICE f32 lowest(f32) { return -infinity(); }
DEVICE i64 lowest(i64) { return LOWEST; }
DEVICE f32 highest(f32) { return infinity(); }
DEVICE i64 highest(i64) { return ~LOWEST; }
DEVICE f32 larger(f32 a, f32 b) { return maximum(a, b); }
DEVICE i64 larger(i64 a, i64 b) { return a > b ? a : b; }
DEVICE f32 smaller(f32 a, f32 b) { return minimum(a, b); }
DEVICE i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

FOLD(sum, A(0), x, plus(a, b), divided(x, p))
FOLD(product, A(1), x, times(a, b), x)
FOLD(largest, lowest(A(0)), x, larger(a, b), x)
FOLD(smallest, highest(A(0)), x, smaller(a, b), x)
FOLD(norm1, A(0), fabsf(x), a + b, x)
FOLD(norm2, A(0), x* x, a + b, __fsqrt_rn(x))
// 1 if any element is not 0, and if every one is not.
FOLD(any_set, A(0), x != A(0) ? A(1) : A(0), larger(a, b), x)
FOLD(all_set, A(1), x != A(0) ? A(1) : A(0), smaller(a, b), x)

// ln Σ eˣ, shifted by the largest x so far (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax").
template <class A>
struct logsumexp {
    typedef f32 Number;
    f32 most;
    f32 total;

    DEVICE static logsumexp empty() { return {-infinity(), 0.0f}; }
    // An infinite maximum must not be subtracted from itself; with 0 in its place exp and ln give it back.
    DEVICE static f32 shift(f32 most) { return fabsf(most) < infinity() ? most : 0.0f; }
    DEVICE void rescale(f32 to) {
        f32 from = shift(most);
        most = to;
        total = total == 0.0f || from == shift(to) ? total : total * expf(from - shift(to));
    }
    template <u32 G>
    DEVICE void step(const f32 (&x)[G], u64, u32 count) {
        f32 top = most;
#pragma unroll
        for (u32 lane = 0; lane < G; ++lane) {
            top = lane < count ? maximum(top, x[lane]) : top;
        }
        rescale(top);
        f32 added = 0.0f;
#pragma unroll
        for (u32 lane = 0; lane < G; ++lane) {
            added += lane < count ? expf(x[lane] - shift(top)) : 0.0f;
        }
        total += added;
    }
    DEVICE static logsumexp merge(logsumexp a, logsumexp b) {
        f32 top = maximum(a.most, b.most);
        a.rescale(top);
        b.rescale(top);
        return {top, a.total + b.total};
    }
    DEVICE f32 result(const ReduceParams&) const { return logf(total) + shift(most); }
};

// Σ (x − mean)² in one pass: the mean and the squares of groups, merged (Chan, Golub and LeVeque 1979, "Updating formulae
// and a pairwise algorithm for computing sample variances").
template <class A>
struct variance {
    typedef f32 Number;
    f32 count;
    f32 mean;
    f32 squares;

    DEVICE static variance empty() { return {0.0f, 0.0f, 0.0f}; }
    template <u32 G>
    DEVICE void step(const f32 (&x)[G], u64, u32 members) {
        f32 total = 0.0f;
#pragma unroll
        for (u32 lane = 0; lane < G; ++lane) {
            total += lane < members ? x[lane] : 0.0f;
        }
        variance group = {static_cast<f32>(members), 0.0f, 0.0f};
        group.mean = members == G ? total * (1.0f / G) : __fdiv_rn(total, group.count);
#pragma unroll
        for (u32 lane = 0; lane < G; ++lane) {
            f32 d = x[lane] - group.mean;
            group.squares = lane < members ? __fmaf_rn(d, d, group.squares) : group.squares;
        }
        *this = merge(*this, group);
    }
    DEVICE static variance merge(variance a, variance b) {
        if (b.count == 0.0f) {
            return a;
        }
        if (a.count == 0.0f) {
            return b;
        }
        f32 count = a.count + b.count, d = b.mean - a.mean, share = __fdiv_rn(b.count, count);
        return {count, __fmaf_rn(d, share, a.mean), a.squares + b.squares + d * d * (a.count * share)};
    }
    DEVICE f32 result(const ReduceParams& p) const {
        f32 value = __fdiv_rn(squares, p.divisor);
        return p.root != 0 ? __fsqrt_rn(value) : value;
    }
};

// The extreme and its position: NaN before every number, the lowest position of equals.
template <class A, bool MAX>
struct Extreme {
    typedef A Number;
    A value;
    i64 index;

    DEVICE static Extreme empty() { return {A(0), -1}; }
    DEVICE static bool before(A a, A b) { return (MAX ? a > b : a < b) || (is_nan(a) && !is_nan(b)); }
    template <u32 G>
    DEVICE void step(const A (&x)[G], u64 first, u32 count) {
#pragma unroll
        for (u32 lane = 0; lane < G; ++lane) {
            // A thread meets its elements in order, so an equal one never comes before.
            if (lane < count && (index < 0 || before(x[lane], value))) {
                value = x[lane];
                index = static_cast<i64>(first + lane);
            }
        }
    }
    DEVICE static Extreme merge(Extreme a, Extreme b) {
        if (a.index < 0 || b.index < 0) {
            return a.index < 0 ? b : a;
        }
        bool second = before(b.value, a.value) || (!before(a.value, b.value) && b.index < a.index);
        return second ? b : a;
    }
    DEVICE A result(const ReduceParams&) const { return value; }
};
template <class A>
using argmax = Extreme<A, true>;
template <class A>
using argmin = Extreme<A, false>;

template <class S>
DEVICE void store_index(const S&, i64*, u64) {}
template <class A, bool MAX>
DEVICE void store_index(const Extreme<A, MAX>& state, i64* indices, u64 output) {
    indices[output] = state.index;
}

// ---- The walk ----

// Where an index lies; of more than one axis, below 2^31.
DEVICE i64 element(const Axes& axes, u64 index) {
    if (axes.rank == 1) {
        return static_cast<i64>(index) * axes.strides[0];
    }
    i64 at = 0;
    u32 rest = static_cast<u32>(index);
#pragma unroll 1
    for (u32 dim = 0; dim < axes.rank; ++dim) {
        u32 quotient = divide(rest, axes.sizes[dim]);
        at += static_cast<i64>(rest - quotient * axes.sizes[dim].divisor) * axes.strides[dim];
        rest = quotient;
    }
    return at;
}

// A group that lies together in memory.
template <class T>
struct alignas(sizeof(T) * GROUP<T> < 16 ? sizeof(T) * GROUP<T> : 16) Chunk {
    T lanes[GROUP<T>];
};

// The elements of a group, widened.
template <class T, class A>
DEVICE void load(const ReduceParams& p, const T* row, u64 first, u32 count, A (&x)[GROUP<T>]) {
    if (p.runs == 0 || count < GROUP<T>) {
#pragma unroll
        for (u32 lane = 0; lane < GROUP<T>; ++lane) {
            x[lane] = lane < count ? widen(row[element(p.reduced, first + lane)]) : A(0);
        }
        return;
    }
    // The group does not leave the innermost reduced axis.
    row += element(p.reduced, first);
    Chunk<T> chunk;
    if (p.vectors != 0) {
        chunk = *reinterpret_cast<const Chunk<T>*>(row);
    } else {
#pragma unroll
        for (u32 lane = 0; lane < GROUP<T>; ++lane) {
            chunk.lanes[lane] = row[lane * p.reduced.strides[0]];
        }
    }
#pragma unroll
    for (u32 lane = 0; lane < GROUP<T>; ++lane) {
        x[lane] = widen(chunk.lanes[lane]);
    }
}

// Merges the states of the Y threads of each output, in the one of y = 0.
template <class S>
DEVICE S combine(const ReduceParams& p, S state) {
    __shared__ S states[THREADS];
    u32 y = p.rows != 0 ? threadIdx.x % p.y : threadIdx.x / p.x;
    u32 step = p.rows != 0 ? 1 : p.x;
    if (p.rows != 0) {
        // Threads of an output are neighbours: within a warp they need no memory.
        for (u32 width = (p.y < 32 ? p.y : 32) / 2; width > 0; width /= 2) {
            state = S::merge(state, shuffle_down(state, width));
        }
        if (p.y <= 32) {
            return state;
        }
        if (threadIdx.x % 32 == 0) {
            states[threadIdx.x / 32] = state;
        }
        __syncthreads();
        if (y == 0) {
            for (u32 warp = 1; warp < p.y / 32; ++warp) {
                state = S::merge(state, states[threadIdx.x / 32 + warp]);
            }
        }
        __syncthreads();
        return state;
    }
    for (u32 width = p.y / 2; width > 0; width /= 2) {
        states[threadIdx.x] = state;
        __syncthreads();
        if (y < width) {
            state = S::merge(state, states[threadIdx.x + width * step]);
        }
        __syncthreads();
    }
    return state;
}

template <class S, class Out>
DEVICE void write(const ReduceParams& p, const S& state, Out* out, i64* indices, u64 output) {
    store(out + output, state.result(p));
    store_index(state, indices, output);
}

// Where p.parts is 1 the results, else the states of each part: states[part][output].
template <template <class> class R, class T, class Out>
__global__ void __launch_bounds__(THREADS)
    reduce(ReduceParams p, Out* out, i64* indices, void* states, const T* input) {
    typedef typename Wide<T>::type A;
    typedef R<A> S;
    u32 x = p.rows != 0 ? threadIdx.x / p.y : threadIdx.x % p.x;
    u32 y = p.rows != 0 ? threadIdx.x % p.y : threadIdx.x / p.x;
    u32 outputs = static_cast<u32>(p.outputs), tiles = (outputs + p.x - 1) / p.x;
    for (u32 job = blockIdx.x; job < tiles * p.parts; job += gridDim.x) {
        u32 part = job / tiles, output = job % tiles * p.x + x;
        u64 start = part * p.share, end = start + p.share < p.count ? start + p.share : p.count;
        S state = S::empty();
        if (output < outputs) {
            const T* row = input + element(p.kept, output);
#pragma unroll 1
            for (u64 first = start + y * GROUP<T>; first < end; first += static_cast<u64>(p.y) * GROUP<T>) {
                A values[GROUP<T>];
                u32 count = end - first < GROUP<T> ? static_cast<u32>(end - first) : GROUP<T>;
                load(p, row, first, count, values);
                state.step(values, first, count);
            }
        }
        state = combine(p, state);
        if (y == 0 && output < outputs) {
            if (p.parts == 1) {
                write(p, state, out, indices, output);
            } else {
                static_cast<S*>(states)[part * p.outputs + output] = state;
            }
        }
    }
}

// Merges the states of the parts, which were made of elements widened to A: a warp for each output.
template <template <class> class R, class A, class Out>
__global__ void __launch_bounds__(THREADS) merge(ReduceParams p, Out* out, i64* indices, const void* states) {
    typedef R<A> S;
    u32 lane = threadIdx.x % 32;
    for (u64 output = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) / 32; output < p.outputs;
         output += static_cast<u64>(gridDim.x) * (THREADS / 32)) {
        S state = S::empty();
        for (u64 part = lane; part < p.parts; part += 32) {
            state = S::merge(state, static_cast<const S*>(states)[part * p.outputs + output]);
        }
        for (u32 width = 16; width > 0; width /= 2) {
            state = S::merge(state, shuffle_down(state, width));
        }
        if (lane == 0) {
            write(p, state, out, indices, output);
        }
    }
}

// ---- Scans of contiguous lanes: (outer, n, inner) ----

template <class A>
struct Sum {
    DEVICE static A empty() { return A(0); }
    DEVICE static A join(A a, A b) { return plus(a, b); }
};
template <class A>
struct Product {
    DEVICE static A empty() { return A(1); }
    DEVICE static A join(A a, A b) { return times(a, b); }
};

// A block for each lane: threads scan ITEMS neighbours, then the block their totals, chunk after chunk.
template <template <class> class F, class T, class Out>
__global__ void __launch_bounds__(THREADS) scan_lanes(ScanParams p, Out* out, const T* input) {
    typedef typename Wide<T>::type A;
    constexpr u32 ITEMS = 4;
    __shared__ A totals[THREADS / 32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u64 job = blockIdx.x; job < p.outer * p.inner; job += gridDim.x) {
        u64 base = job / p.inner * p.n * p.inner + job % p.inner;
        A carry = F<A>::empty();
        for (u64 chunk = 0; chunk < p.n; chunk += THREADS * ITEMS) {
            A x[ITEMS];
            A total = F<A>::empty();
#pragma unroll
            for (u32 item = 0; item < ITEMS; ++item) {
                u64 k = chunk + threadIdx.x * ITEMS + item;
                u64 at = base + (p.reverse != 0 ? p.n - 1 - k : k) * p.inner;
                total = k < p.n ? F<A>::join(total, widen(input[at])) : total;
                x[item] = total;
            }
            // Inclusive scans of the threads' totals in each warp (Hillis and Steele 1986), then over the warps.
            A scanned = total;
            for (u32 width = 1; width < 32; width *= 2) {
                A before = shuffle_up(scanned, width);
                scanned = lane >= width ? F<A>::join(before, scanned) : scanned;
            }
            if (lane == 31) {
                totals[warp] = scanned;
            }
            A before = shuffle_up(scanned, 1);
            before = lane == 0 ? F<A>::empty() : before;
            __syncthreads();
            A prefix = carry;
            for (u32 w = 0; w < warp; ++w) {
                prefix = F<A>::join(prefix, totals[w]);
            }
            before = F<A>::join(prefix, before);
            for (u32 w = 0; w < THREADS / 32; ++w) {
                carry = F<A>::join(carry, totals[w]);
            }
#pragma unroll
            for (u32 item = 0; item < ITEMS; ++item) {
                u64 k = chunk + threadIdx.x * ITEMS + item;
                u64 at = base + (p.reverse != 0 ? p.n - 1 - k : k) * p.inner;
                if (k < p.n) {
                    store(out + at, F<A>::join(before, x[item]));
                }
            }
            __syncthreads();
        }
    }
}

// A thread for each lane; neighbouring lanes are neighbours in memory.
template <template <class> class F, class T, class Out>
__global__ void __launch_bounds__(THREADS) scan_columns(ScanParams p, Out* out, const T* input) {
    typedef typename Wide<T>::type A;
    for (u64 job = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; job < p.outer * p.inner;
         job += static_cast<u64>(gridDim.x) * THREADS) {
        u64 base = job / p.inner * p.n * p.inner + job % p.inner;
        A total = F<A>::empty();
        for (u64 k = 0; k < p.n; ++k) {
            u64 at = base + (p.reverse != 0 ? p.n - 1 - k : k) * p.inner;
            total = F<A>::join(total, widen(input[at]));
            store(out + at, total);
        }
    }
}

// The gradient of running products: out[i] = Π_{k<i} x[k] · Σ_{j≥i} g[j] Π_{i<k≤j} x[k], without a division, so that zeros
// are exact. A thread for each lane; `before` keeps the products unrounded.
template <class T>
__global__ void __launch_bounds__(THREADS)
    cumprod_backward(ScanParams p, T* out, f32* before, const T* x, const T* g) {
    for (u64 job = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; job < p.outer * p.inner;
         job += static_cast<u64>(gridDim.x) * THREADS) {
        u64 base = job / p.inner * p.n * p.inner + job % p.inner;
        f32 product = 1.0f;
        for (u64 k = 0; k < p.n; ++k) {
            before[base + k * p.inner] = product;
            product *= to_f32(x[base + k * p.inner]);
        }
        f32 after = 0.0f;
        for (u64 k = p.n; k-- > 0;) {
            u64 at = base + k * p.inner;
            after += to_f32(g[at]);
            out[at] = from_f32<T>(before[at] * after);
            after *= to_f32(x[at]);
        }
    }
}

// ---- Instantiations ----

#define REDUCE(R, T, Out) template __global__ void reduce<R, T, Out>(ReduceParams, Out*, i64*, void*, const T*);
#define MERGE(R, A, Out) template __global__ void merge<R, A, Out>(ReduceParams, Out*, i64*, const void*);

#define FLOAT(MAKE, T, Out)                                                                    \
    MAKE(sum, T, Out) MAKE(product, T, Out) MAKE(largest, T, Out) MAKE(smallest, T, Out)       \
    MAKE(norm1, T, Out) MAKE(norm2, T, Out) MAKE(logsumexp, T, Out) MAKE(variance, T, Out)
FLOAT(REDUCE, f32, f32) FLOAT(REDUCE, f16, f16) FLOAT(REDUCE, f16, f32) FLOAT(REDUCE, bf16, bf16)
FLOAT(REDUCE, bf16, f32)
FLOAT(MERGE, f32, f32) FLOAT(MERGE, f32, f16) FLOAT(MERGE, f32, bf16)

#define FLAGS(MAKE, T) MAKE(any_set, T, u8) MAKE(all_set, T, u8)
FLAGS(REDUCE, f32) FLAGS(REDUCE, f16) FLAGS(REDUCE, bf16) FLAGS(REDUCE, i64) FLAGS(REDUCE, u32) FLAGS(REDUCE, u8)
FLAGS(MERGE, f32) FLAGS(MERGE, i64)

#define PLACES(MAKE, T, Out) MAKE(argmax, T, Out) MAKE(argmin, T, Out)
PLACES(REDUCE, f32, f32) PLACES(REDUCE, f16, f16) PLACES(REDUCE, bf16, bf16) PLACES(REDUCE, i64, i64)
PLACES(REDUCE, u32, u32) PLACES(REDUCE, u8, u8)
PLACES(MERGE, f32, f32) PLACES(MERGE, f32, f16) PLACES(MERGE, f32, bf16) PLACES(MERGE, i64, i64) PLACES(MERGE, i64, u32)
PLACES(MERGE, i64, u8)

#define SUMS(MAKE, T) MAKE(sum, T, i64) MAKE(product, T, i64)
SUMS(REDUCE, i64) SUMS(REDUCE, u32) SUMS(REDUCE, u8) SUMS(MERGE, i64)
#define BOUNDS(MAKE, T, Out) MAKE(largest, T, Out) MAKE(smallest, T, Out)
BOUNDS(REDUCE, i64, i64) BOUNDS(REDUCE, u32, u32) BOUNDS(REDUCE, u8, u8)
BOUNDS(MERGE, i64, i64) BOUNDS(MERGE, i64, u32) BOUNDS(MERGE, i64, u8)

#define SCAN(F, T, Out)                                                                    \
    template __global__ void scan_lanes<F, T, Out>(ScanParams, Out*, const T*);            \
    template __global__ void scan_columns<F, T, Out>(ScanParams, Out*, const T*);
#define SCANS(T, Out) SCAN(Sum, T, Out) SCAN(Product, T, Out)
SCANS(f32, f32) SCANS(f16, f16) SCANS(bf16, bf16) SCANS(i64, i64) SCANS(u32, i64) SCANS(u8, i64)

#define BACKWARD(T) template __global__ void cumprod_backward<T>(ScanParams, T*, f32*, const T*, const T*);
BACKWARD(f32) BACKWARD(f16) BACKWARD(bf16)
