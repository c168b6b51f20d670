// Batch norm over (N, C, L), with an optional residual and relu in the same pass, forward and backward.
//
// Layout: row-major. Where runs (a channel of a sample) are long, a block walks runs of one channel; where they are
// short, rows of C·L columns are walked by samples, a thread to each column (or to L neighbours). COLUMNS says which.
// Floor: bytes; forward 3·b·E in training and 2·b·E with fixed statistics, backward 5·b·E and 3·b·E; a residual and a
// relu's result add theirs.
// Statistics: a Welford triple per thread, merged as a tree in the warp and then in order, first over a block and then
// over the blocks' partial results: never E[x²] − E[x]². They are taken of distances to the channel's first element, so
// that a mean far from zero costs no digits of the variance. The order is a function of the shape.
// Gradients: convention `=`. L is the number of elements of one access: 16 bytes' worth, where allowed, else 1.

#include "common/activation.cuh"
#include "common/divisor.cuh"
#include "common/vector.cuh"
#include "common/warp.cuh"
#include "common/welford.cuh"

constexpr u32 THREADS = 256;
// Samples that a block walks at a time by columns: one to each of its warps.
constexpr u32 SLICES = THREADS / 32;

// The elements that a thread takes: channel blockIdx.x (or 32·L columns from blockIdx.x on), part blockIdx.y.
template <bool COLUMNS, u32 L>
struct Walk {
    // By columns: the thread's first, and how many there are. By channels: the channel.
    u64 first;
    u64 columns;
    bool exists;

    DEVICE explicit Walk(const BatchNormParams& p) {
        columns = static_cast<u64>(p.channels) * p.length;
        first = COLUMNS ? (static_cast<u64>(blockIdx.x) * 32 + threadIdx.x % 32) * L : blockIdx.x;
        exists = !COLUMNS || first < columns;
    }

    // The channel of lane `lane`.
    DEVICE u32 channel(const BatchNormParams& p, u32 lane) const {
        return static_cast<u32>(COLUMNS ? (first + lane) / p.length : first);
    }

    // Calls f with the offset of each access, in order.
    template <class F>
    DEVICE void each(const BatchNormParams& p, F f) const {
        if (!exists) return;
        if (COLUMNS) {
            for (u64 n = blockIdx.y * SLICES + threadIdx.x / 32; n < p.samples; n += p.parts * SLICES) {
                f(n * columns + first);
            }
        } else {
            u64 count = p.samples * p.accesses.divisor;
            u64 share = (count + p.parts - 1) / p.parts;
            u64 end = share * (blockIdx.y + 1) < count ? share * (blockIdx.y + 1) : count;
            for (u64 i = share * blockIdx.y + threadIdx.x; i < end; i += THREADS) {
                u32 n = divide(static_cast<u32>(i), p.accesses);
                u32 at = static_cast<u32>(i) - n * p.accesses.divisor;
                f((static_cast<u64>(n) * p.channels + first) * p.length + at * L);
            }
        }
    }
};

// Constants of a thread's channels: one, or one for each lane by columns.
template <class T, u32 L>
DEVICE void of_channels(const BatchNormParams& p, const u32 (&channels)[L], const void* from, u32 given, u32 wide,
                        f32 missing, f32 (&values)[L]) {
#pragma unroll
    for (u32 i = 0; i < L; ++i) {
        values[i] = p.flags & given ? parameter<T>(from, p.flags & wide, channels[i]) : missing;
    }
}

// ---- Statistics ----

// The channel's first element.
template <class T>
DEVICE f32 origin_of(const BatchNormParams& p, const T* x, u32 channel) {
    return to_f32(x[static_cast<u64>(channel) * p.length]);
}

// Partial (count, mean, squares) of distances to the origin: (parts, 3, channels or columns).
template <bool COLUMNS, class T, u32 L>
__global__ void __launch_bounds__(THREADS) statistics(BatchNormParams p, f32* partials, const T* x) {
    constexpr u32 OWN = COLUMNS ? L : 1;
    __shared__ f32 shared[3][SLICES][COLUMNS ? 32 * L : 1];
    Walk<COLUMNS, L> walk(p);
    Welford own[OWN];
    f32 origin[OWN];
#pragma unroll
    for (u32 i = 0; i < OWN; ++i) origin[i] = walk.exists ? origin_of(p, x, walk.channel(p, i)) : 0.0f;
    walk.each(p, [&](u64 at) {
        f32 values[L];
        load_pack<L>(x + at, values);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) values[lane] -= origin[COLUMNS ? lane : 0];
        if (COLUMNS) {
            f32 scale = __frcp_rn(own[0].count + 1.0f);
#pragma unroll
            for (u32 lane = 0; lane < OWN; ++lane) own[lane].add(values[lane], scale);
        } else {
            own[0].take(values);
        }
    });
    u32 slice = threadIdx.x / 32;
    u32 at = COLUMNS ? threadIdx.x % 32 * OWN : 0;
    if (!COLUMNS) own[0].merge_warp();
    if (COLUMNS || threadIdx.x % 32 == 0) {
#pragma unroll
        for (u32 lane = 0; lane < OWN; ++lane) {
            shared[0][slice][at + lane] = own[lane].count;
            shared[1][slice][at + lane] = own[lane].mean;
            shared[2][slice][at + lane] = own[lane].squares;
        }
    }
    __syncthreads();
    if (slice != 0 || !walk.exists || (!COLUMNS && threadIdx.x != 0)) return;
    u64 width = COLUMNS ? walk.columns : p.channels;
#pragma unroll
    for (u32 lane = 0; lane < OWN; ++lane) {
        for (u32 other = 1; other < SLICES; ++other) {
            Welford theirs;
            theirs.count = shared[0][other][at + lane];
            theirs.mean = shared[1][other][at + lane];
            theirs.squares = shared[2][other][at + lane];
            own[lane].merge(theirs);
        }
        f32* out = partials + static_cast<u64>(blockIdx.y) * 3 * width + walk.first + lane;
        out[0] = own[lane].count;
        out[width] = own[lane].mean;
        out[2 * width] = own[lane].squares;
    }
}

DEVICE f32 reciprocal_deviation(f32 var, f32 eps) { return __frcp_rn(__fsqrt_rn(var + eps)); }

// A warp for each channel merges its `span` columns of all parts.
template <class T>
__global__ void __launch_bounds__(THREADS)
    finish_statistics(BatchNormParams p, u32 span, f32* mean, f32* var, f32* rstd, const f32* partials, const T* x) {
    u32 channel = blockIdx.x * SLICES + threadIdx.x / 32;
    bool exists = channel < p.channels;
    u64 width = static_cast<u64>(p.channels) * span;
    Welford own;
    for (u32 i = threadIdx.x % 32; exists && i < p.parts * span; i += 32) {
        u32 part = i / span;
        const f32* from = partials + part * 3 * width + static_cast<u64>(channel) * span + (i - part * span);
        Welford theirs;
        theirs.count = from[0];
        theirs.mean = from[width];
        theirs.squares = from[2 * width];
        own.merge(theirs);
    }
    own.merge_warp();
    if (!exists || threadIdx.x % 32 != 0) return;
    // Of no elements: 0/0.
    f32 variance = __fdiv_rn(own.squares, own.count);
    mean[channel] = own.count == 0.0f ? variance : own.mean + origin_of(p, x, channel);
    var[channel] = variance;
    rstd[channel] = reciprocal_deviation(variance, p.eps);
}

// Statistics that are given, of type T or (NORM_WEIGHT_F32, NORM_BIAS_F32) f32.
template <class T>
__global__ void __launch_bounds__(THREADS)
    fixed_statistics(BatchNormParams p, f32* mean, f32* var, f32* rstd, const void* given_mean, const void* given_var) {
    u32 channel = blockIdx.x * THREADS + threadIdx.x;
    if (channel >= p.channels) return;
    f32 variance = parameter<T>(given_var, p.flags & NORM_BIAS_F32, channel);
    mean[channel] = parameter<T>(given_mean, p.flags & NORM_WEIGHT_F32, channel);
    var[channel] = variance;
    rstd[channel] = reciprocal_deviation(variance, p.eps);
}

// ---- Forward ----

template <bool COLUMNS, class T, u32 L>
__global__ void __launch_bounds__(THREADS)
    normalise(BatchNormParams p, T* y, const T* x, const T* residual, const f32* mean, const f32* rstd,
              const void* weight, const void* bias) {
    constexpr u32 OWN = COLUMNS ? L : 1;
    Walk<COLUMNS, L> walk(p);
    if (!walk.exists) return;
    f32 center[OWN], scale[OWN], w[OWN], b[OWN];
    u32 channels[OWN];
#pragma unroll
    for (u32 i = 0; i < OWN; ++i) {
        channels[i] = walk.channel(p, i);
        center[i] = mean[channels[i]];
        scale[i] = rstd[channels[i]];
    }
    of_channels<T>(p, channels, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, w);
    of_channels<T>(p, channels, bias, NORM_BIAS, NORM_BIAS_F32, 0.0f, b);
    walk.each(p, [&](u64 at) {
        f32 values[L], other[L];
        load_pack<L>(x + at, values);
        if (p.flags & NORM_RESIDUAL) load_pack<L>(residual + at, other);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            u32 i = COLUMNS ? lane : 0;
            f32 value = __fmaf_rn((values[lane] - center[i]) * scale[i], w[i], b[i]);
            if (p.flags & NORM_RESIDUAL) value += other[lane];
            values[lane] = p.flags & NORM_RELU ? relu(value) : value;
        }
        store_pack<L>(y + at, values);
    });
}

// ---- Backward ----

// The gradient before the relu: what comes in, where the result y is above 0.
template <class T, u32 L>
DEVICE void load_gradient(const BatchNormParams& p, const T* dy, const T* y, u64 at, f32 (&g)[L]) {
    load_pack<L>(dy + at, g);
    if (p.flags & NORM_RELU) {
        f32 result[L];
        load_pack<L>(y + at, result);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) g[lane] = result[lane] > 0.0f ? g[lane] : 0.0f;
    }
}

// Partial Σ g·normal and Σ g: (parts, 2, channels or columns).
template <bool COLUMNS, class T, u32 L>
__global__ void __launch_bounds__(THREADS)
    gradient_sums(BatchNormParams p, f32* partials, const T* x, const T* dy, const T* y, const f32* mean,
                  const f32* rstd) {
    constexpr u32 OWN = COLUMNS ? L : 1;
    __shared__ f32 shared[2][SLICES][COLUMNS ? 32 * L : 32];
    Walk<COLUMNS, L> walk(p);
    f32 center[OWN], scale[OWN];
    f32 along[OWN] = {};
    f32 direct[OWN] = {};
#pragma unroll
    for (u32 i = 0; i < OWN; ++i) {
        u32 channel = walk.exists ? walk.channel(p, i) : 0;
        center[i] = mean[channel];
        scale[i] = rstd[channel];
    }
    walk.each(p, [&](u64 at) {
        f32 values[L], g[L];
        load_pack<L>(x + at, values);
        load_gradient<T, L>(p, dy, y, at, g);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            u32 i = COLUMNS ? lane : 0;
            along[i] = __fmaf_rn(g[lane], (values[lane] - center[i]) * scale[i], along[i]);
            direct[i] += g[lane];
        }
    });
    u64 width = COLUMNS ? walk.columns : p.channels;
    f32* out = partials + static_cast<u64>(blockIdx.y) * 2 * width + walk.first;
    if (COLUMNS) {
        u32 slice = threadIdx.x / 32;
        u32 at = threadIdx.x % 32 * OWN;
#pragma unroll
        for (u32 i = 0; i < OWN; ++i) {
            shared[0][slice][at + i] = along[i];
            shared[1][slice][at + i] = direct[i];
        }
        __syncthreads();
        if (slice != 0 || !walk.exists) return;
#pragma unroll
        for (u32 i = 0; i < OWN; ++i) {
            for (u32 other = 1; other < SLICES; ++other) {
                along[i] += shared[0][other][at + i];
                direct[i] += shared[1][other][at + i];
            }
            out[i] = along[i];
            out[width + i] = direct[i];
        }
    } else {
        along[0] = over_block<Sum>(along[0], shared[0][0]);
        direct[0] = over_block<Sum>(direct[0], shared[1][0]);
        if (threadIdx.x != 0) return;
        out[0] = along[0];
        out[width] = direct[0];
    }
}

// A warp for each channel adds up its `span` columns of all parts: totals (2, channels), and the gradients of weight
// and bias where they are wanted.
template <class T>
__global__ void __launch_bounds__(THREADS)
    finish_sums(BatchNormParams p, u32 span, f32* totals, void* dweight, void* dbias, const f32* partials) {
    u32 channel = blockIdx.x * SLICES + threadIdx.x / 32;
    bool exists = channel < p.channels;
    u64 width = static_cast<u64>(p.channels) * span;
    f32 along = 0.0f;
    f32 direct = 0.0f;
    for (u32 i = threadIdx.x % 32; exists && i < p.parts * span; i += 32) {
        u32 part = i / span;
        const f32* from = partials + part * 2 * width + static_cast<u64>(channel) * span + (i - part * span);
        along += from[0];
        direct += from[width];
    }
    along = over_lanes<Sum>(along);
    direct = over_lanes<Sum>(direct);
    if (!exists || threadIdx.x % 32 != 0) return;
    totals[channel] = along;
    totals[p.channels + channel] = direct;
    if (p.flags & NORM_WEIGHT) write_parameter<T>(dweight, p.flags & NORM_WEIGHT_F32, channel, along);
    if (p.flags & NORM_BIAS) write_parameter<T>(dbias, p.flags & NORM_BIAS_F32, channel, direct);
}

// dx = weight·rstd·(g − mean(g) − normal·mean(g·normal)), without the means where the statistics are fixed; and g itself
// for the residual.
template <bool COLUMNS, class T, u32 L>
__global__ void __launch_bounds__(THREADS)
    gradient(BatchNormParams p, T* dx, T* dresidual, const T* x, const T* dy, const T* y, const f32* mean,
             const f32* rstd, const void* weight, const f32* totals) {
    constexpr u32 OWN = COLUMNS ? L : 1;
    Walk<COLUMNS, L> walk(p);
    if (!walk.exists) return;
    f32 center[OWN], scale[OWN], w[OWN], along[OWN], direct[OWN];
    u32 channels[OWN];
    f32 count = static_cast<f32>(p.samples * p.length);
#pragma unroll
    for (u32 i = 0; i < OWN; ++i) {
        channels[i] = walk.channel(p, i);
        center[i] = mean[channels[i]];
        scale[i] = rstd[channels[i]];
        along[i] = p.flags & NORM_FIXED ? 0.0f : __fdiv_rn(totals[channels[i]], count);
        direct[i] = p.flags & NORM_FIXED ? 0.0f : __fdiv_rn(totals[p.channels + channels[i]], count);
    }
    of_channels<T>(p, channels, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, w);
    walk.each(p, [&](u64 at) {
        f32 g[L];
        load_gradient<T, L>(p, dy, y, at, g);
        if (p.flags & NORM_RESIDUAL_GRADIENT) store_pack<L>(dresidual + at, g);
        if (p.flags & NORM_INPUT_GRADIENT) {
            f32 values[L];
            load_pack<L>(x + at, values);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                u32 i = COLUMNS ? lane : 0;
                f32 normal = (values[lane] - center[i]) * scale[i];
                values[lane] = w[i] * scale[i] * (g[lane] - direct[i] - normal * along[i]);
            }
            store_pack<L>(dx + at, values);
        }
    });
}

// ---- Instantiations ----

#define WALKS(COLUMNS, T, L)                                                                                         \
    template __global__ void statistics<COLUMNS, T, L>(BatchNormParams, f32*, const T*);                             \
    template __global__ void normalise<COLUMNS, T, L>(BatchNormParams, T*, const T*, const T*, const f32*,           \
                                                      const f32*, const void*, const void*);                        \
    template __global__ void gradient_sums<COLUMNS, T, L>(BatchNormParams, f32*, const T*, const T*, const T*,       \
                                                          const f32*, const f32*);                                   \
    template __global__ void gradient<COLUMNS, T, L>(BatchNormParams, T*, T*, const T*, const T*, const T*,          \
                                                     const f32*, const f32*, const void*, const f32*);
#define TYPES(T, WIDE)                                                                                               \
    WALKS(false, T, 1) WALKS(false, T, WIDE) WALKS(true, T, 1) WALKS(true, T, WIDE)                                  \
    template __global__ void finish_statistics<T>(BatchNormParams, u32, f32*, f32*, f32*, const f32*, const T*);     \
    template __global__ void fixed_statistics<T>(BatchNormParams, f32*, f32*, f32*, const void*, const void*);       \
    template __global__ void finish_sums<T>(BatchNormParams, u32, f32*, void*, void*, const f32*);
TYPES(f32, 4) TYPES(f16, 8) TYPES(bf16, 8)
