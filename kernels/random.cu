// Fills of random numbers, dropout and sampling by weight.
//
// Layout: contiguous. Element i takes its words from block first + i/4 (first + i for gamma, whose rejected attempts count
// in the counter's third word), so the result depends on no grid; the bits are the CPU device's. In a captured graph a
// number in device memory moves the first block from replay to replay.
// Floor: bytes, count·sizeof(T) (twice that for dropout) over DRAM bandwidth; a Philox block is about 60 integer
// operations for four elements.
// Gradient: dropout's is the same call on the gradient (convention `=`); no mask is stored.

#include "common/philox.cuh"
#include "common/report.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;

DEVICE u64 thread_index() { return static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; }
DEVICE u64 first_block(u64 first, u64 offset) {
    return offset == 0 ? first : first + *reinterpret_cast<const u64*>(offset);
}
DEVICE u64 thread_count() { return static_cast<u64>(gridDim.x) * THREADS; }

// Four elements that move in one access.
template <class T>
struct alignas(4 * sizeof(T)) Four {
    T lanes[4];
};

template <class T>
DEVICE bool fours(const T* x) {
    return reinterpret_cast<u64>(x) % sizeof(Four<T>) == 0;
}

template <class T>
DEVICE Four<T> load_four(const T* x, u64 i, u64 count) {
    Four<T> v = {};
    if (i + 4 <= count && fours(x)) {
        return reinterpret_cast<const Four<T>*>(x)[i / 4];
    }
    for (u32 lane = 0; lane < 4 && i + lane < count; ++lane) {
        v.lanes[lane] = x[i + lane];
    }
    return v;
}

template <class T>
DEVICE void store_four(T* out, u64 i, u64 count, Four<T> v) {
    if (i + 4 <= count && fours(out)) {
        reinterpret_cast<Four<T>*>(out)[i / 4] = v;
        return;
    }
    for (u32 lane = 0; lane < 4 && i + lane < count; ++lane) {
        out[i + lane] = v.lanes[lane];
    }
}

template <class T>
constexpr u32 DIGITS = 24;
template <>
constexpr u32 DIGITS<f16> = 11;
template <>
constexpr u32 DIGITS<bf16> = 8;

// ---- Fills ----

// Uniform from a in steps of b; what rounding brings to `high` or beyond becomes `low`.
template <class T>
__global__ void __launch_bounds__(THREADS) uniform(RandomParams p, T* out, f32 low, f32 high) {
    u64 first = first_block(p.first, p.offset);
    for (u64 i = 4 * thread_index(); i < p.count; i += 4 * thread_count()) {
        Words words = philox(p.key0, p.key1, first + i / 4, 0);
        Four<T> v;
#pragma unroll
        for (u32 lane = 0; lane < 4; ++lane) {
            T x = from_f32<T>(__fmaf_rn(unit(words.w[lane], DIGITS<T>), p.b, p.a));
            v.lanes[lane] = to_f32(x) >= high ? from_f32<T>(low) : x;
        }
        store_four(out, i, p.count, v);
    }
}

// Normal with mean a and standard deviation b.
template <class T>
__global__ void __launch_bounds__(THREADS) normal(RandomParams p, T* out) {
    u64 first = first_block(p.first, p.offset);
    for (u64 i = 4 * thread_index(); i < p.count; i += 4 * thread_count()) {
        Words words = philox(p.key0, p.key1, first + i / 4, 0);
        Four<T> v;
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            Pair pair = normal_pair(words.w[2 * half], words.w[2 * half + 1]);
            v.lanes[2 * half] = from_f32<T>(__fmaf_rn(pair.first, p.b, p.a));
            v.lanes[2 * half + 1] = from_f32<T>(__fmaf_rn(pair.second, p.b, p.a));
        }
        store_four(out, i, p.count, v);
    }
}

// 1 where the word is below the threshold.
template <class T>
__global__ void __launch_bounds__(THREADS) bernoulli(RandomParams p, T* out) {
    u64 first = first_block(p.first, p.offset);
    for (u64 i = 4 * thread_index(); i < p.count; i += 4 * thread_count()) {
        Words words = philox(p.key0, p.key1, first + i / 4, 0);
        Four<T> v;
#pragma unroll
        for (u32 lane = 0; lane < 4; ++lane) {
            v.lanes[lane] = from_f32<T>(words.w[lane] < p.threshold ? 1.0f : 0.0f);
        }
        store_four(out, i, p.count, v);
    }
}

// 1 with the probability that stands in the same place.
template <class T>
__global__ void __launch_bounds__(THREADS) bernoulli_each(RandomParams p, T* out, const T* probability) {
    u64 first = first_block(p.first, p.offset);
    for (u64 i = 4 * thread_index(); i < p.count; i += 4 * thread_count()) {
        Words words = philox(p.key0, p.key1, first + i / 4, 0);
        Four<T> v = load_four(probability, i, p.count);
#pragma unroll
        for (u32 lane = 0; lane < 4; ++lane) {
            f64 below = static_cast<f64>(to_f32(v.lanes[lane])) * 4294967296.0;
            v.lanes[lane] = from_f32<T>(static_cast<f64>(words.w[lane]) < below ? 1.0f : 0.0f);
        }
        store_four(out, i, p.count, v);
    }
}

// A gamma variate of shape a and scale b (Marsaglia and Tsang 2000, "A simple method for generating gamma variables").
template <class T>
__global__ void __launch_bounds__(THREADS) gamma(RandomParams p, T* out) {
    u64 first = first_block(p.first, p.offset);
    f32 third = __fdiv_rn(1.0f, 3.0f);
    bool small = p.a < 1.0f;
    f32 d = __fsub_rn(small ? __fadd_rn(p.a, 1.0f) : p.a, third);
    f32 c = __fdiv_rn(third, __fsqrt_rn(d));
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        f32 boost = 1.0f, result = d;
        // An attempt is rejected once in twenty times at most; the end is never reached.
        for (u32 k = 0; k != 0xffffffffu; ++k) {
            Words words = philox(p.key0, p.key1, first + i, k);
            if (k == 0 && small) {
                boost = exact_exp(__fdiv_rn(exact_log(positive(words.w[3])), p.a));
            }
            f32 x = normal_pair(words.w[0], words.w[1]).first;
            f32 root = __fmaf_rn(c, x, 1.0f);
            if (root <= 0.0f) {
                continue;
            }
            f32 v = __fmul_rn(__fmul_rn(root, root), root);
            f32 inner = __fadd_rn(__fsub_rn(1.0f, v), exact_log(v));
            f32 limit = __fmaf_rn(__fmul_rn(0.5f, x), x, __fmul_rn(d, inner));
            if (exact_log(positive(words.w[2])) < limit) {
                result = __fmul_rn(__fmul_rn(d, v), boost);
                break;
            }
        }
        out[i] = from_f32<T>(__fmul_rn(result, p.b));
    }
}

// ---- Dropout; out may be x ----

template <class T>
__global__ void __launch_bounds__(THREADS) dropout(RandomParams p, T* out, const T* x) {
    u64 first = first_block(p.first, p.offset);
    for (u64 i = 4 * thread_index(); i < p.count; i += 4 * thread_count()) {
        Words words = philox(p.key0, p.key1, first + i / 4, 0);
        Four<T> v = load_four(x, i, p.count);
#pragma unroll
        for (u32 lane = 0; lane < 4; ++lane) {
            bool dropped = words.w[lane] < p.threshold;
            v.lanes[lane] = from_f32<T>(dropped ? 0.0f : __fmul_rn(to_f32(v.lanes[lane]), p.a));
        }
        store_four(out, i, p.count, v);
    }
}

// ---- Sampling by weight, on integer prefix sums; a block for each row ----

// Weights become integers below 2^bits, the largest between 2^(bits − 1) and that: counts holds them, ends the sums up to
// and including each.
template <class T>
DEVICE bool whole(const MultinomialParams& p, const T* weights, u64* counts, u64* ends, u64* total) {
    __shared__ f32 largest[THREADS];
    __shared__ u64 sums[THREADS];
    f32 most = 0.0f;
    bool wrong = false;
    for (u64 i = threadIdx.x; i < p.n; i += THREADS) {
        f32 w = to_f32(weights[i]);
        wrong = wrong || !(w >= 0.0f) || __float_as_uint(w) == 0x7f800000u;
        most = w > most ? w : most;
    }
    largest[threadIdx.x] = most;
    if (__syncthreads_or(wrong)) {
        return false;
    }
    for (u32 width = THREADS / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) {
            f32 other = largest[threadIdx.x + width];
            largest[threadIdx.x] = other > largest[threadIdx.x] ? other : largest[threadIdx.x];
        }
        __syncthreads();
    }
    if (largest[0] == 0.0f) {
        return false;
    }
    // Exact: a power of two between 2^-128 and 2^211.
    i32 exponent = static_cast<i32>(static_cast<u64>(__double_as_longlong(static_cast<f64>(largest[0]))) >> 52) - 1023;
    f64 scale = __longlong_as_double(static_cast<i64>(p.bits - exponent - 1 + 1023) << 52);
    // Each thread adds up neighbours, then starts from what stands before them.
    u64 share = (p.n + THREADS - 1) / THREADS;
    u64 first = share * threadIdx.x, last = first + share < p.n ? first + share : p.n;
    u64 sum = 0;
    for (u64 i = first; i < last; ++i) {
        counts[i] = static_cast<u64>(__double2ll_rz(static_cast<f64>(to_f32(weights[i])) * scale));
        sum += counts[i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    u64 end = 0;
    for (u32 thread = 0; thread < threadIdx.x; ++thread) {
        end += sums[thread];
    }
    for (u64 i = first; i < last; ++i) {
        end += counts[i];
        ends[i] = end;
    }
    if (threadIdx.x == THREADS - 1) {
        *total = end;
    }
    __syncthreads();
    return true;
}

DEVICE u64 target(const MultinomialParams& p, u64 row, u64 sample, u64 total) {
    Words words = philox(p.key0, p.key1, first_block(p.first, p.offset) + row * p.samples + sample, 0);
    return __umul64hi(words.w[0] | static_cast<u64>(words.w[1]) << 32, total);
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    multinomial(MultinomialParams p, i64* out, const T* weights, u64* counts, u64* ends, Report* report) {
    __shared__ u64 total;
    u64 row = blockIdx.x;
    out += row * p.samples;
    counts += row * p.n;
    ends += row * p.n;
    if (!whole(p, weights + row * p.n, counts, ends, &total)) {
        for (u64 j = threadIdx.x; j < p.samples; j += THREADS) {
            out[j] = 0;
        }
        if (threadIdx.x == 0) {
            complain(report, p.operation, REPORT_WEIGHTS, static_cast<i64>(row), 0);
        }
        return;
    }
    if (p.replacement != 0) {
        for (u64 j = threadIdx.x; j < p.samples; j += THREADS) {
            // The first index whose end lies beyond the target.
            u64 wanted = target(p, row, j, total), low = 0, high = p.n;
            while (low < high) {
                u64 middle = (low + high) / 2;
                bool before = ends[middle] <= wanted;
                low = before ? middle + 1 : low;
                high = before ? high : middle;
            }
            out[j] = static_cast<i64>(low);
        }
        return;
    }
    // Without replacement each draw changes the weights of the next: one thread draws, over stretches whose sums it keeps.
    __shared__ u64 stretches[THREADS];
    u64 share = (p.n + THREADS - 1) / THREADS;
    u64 first = share * threadIdx.x, last = first + share < p.n ? first + share : p.n;
    stretches[threadIdx.x] = 0;
    for (u64 i = first; i < last; ++i) {
        stretches[threadIdx.x] += counts[i];
    }
    __syncthreads();
    if (threadIdx.x != 0) {
        return;
    }
    for (u64 j = 0; j < p.samples; ++j) {
        if (total == 0) {
            complain(report, p.operation, REPORT_SAMPLES, static_cast<i64>(p.samples), static_cast<i64>(j));
            for (; j < p.samples; ++j) {
                out[j] = 0;
            }
            return;
        }
        u64 wanted = target(p, row, j, total), stretch = 0;
        while (wanted >= stretches[stretch]) {
            wanted -= stretches[stretch];
            ++stretch;
        }
        u64 index = stretch * share;
        while (wanted >= counts[index]) {
            wanted -= counts[index];
            ++index;
        }
        total -= counts[index];
        stretches[stretch] -= counts[index];
        counts[index] = 0;
        out[j] = static_cast<i64>(index);
    }
}

// ---- Instantiations ----

#define FLOAT(T)                                                                          \
    template __global__ void uniform<T>(RandomParams, T*, f32, f32);                      \
    template __global__ void normal<T>(RandomParams, T*);                                 \
    template __global__ void bernoulli<T>(RandomParams, T*);                              \
    template __global__ void bernoulli_each<T>(RandomParams, T*, const T*);               \
    template __global__ void gamma<T>(RandomParams, T*);                                  \
    template __global__ void dropout<T>(RandomParams, T*, const T*);                      \
    template __global__ void multinomial<T>(MultinomialParams, i64*, const T*, u64*, u64*, Report*);
FLOAT(f32) FLOAT(f16) FLOAT(bf16)
