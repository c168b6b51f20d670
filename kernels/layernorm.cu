// Layer norm, RMS norm and group norm of rows, with an optional residual added before, forward and backward.
//
// Layout: rows × width, row-major. Parameters belong to columns, or (group norm) to channels, runs of `length` elements
// that follow each other through the rows. Everything is computed in f32.
// Floor: bytes; forward 2·b·rows·width (4 with a residual and its sum), backward 3·b·rows·width and the f32 partials.
// A row is read once and held in registers by a warp or a block; the variance is taken about the mean in a second pass
// over the registers, never as E[x²] − E[x]². Rows that do not fit are read again, out of the cache as a rule.
// Gradients: convention `=`. The sums over rows of dweight and dbias are kept by each team for the rows it takes
// (Ba et al. 2016; the order is a function of the shape) and added up by partial_sums in a fixed order.
// L is the number of elements of one access: what 16 bytes hold, where addresses and widths allow it, else 1.

#include "common/strided.cuh"
#include "common/vector.cuh"
#include "common/warp.cuh"

constexpr u32 WARPS = 4;

// The index of the parameter of a row's element; rows follow each other through all channels.
struct Channels {
    u32 first;

    DEVICE Channels(const LayerNormParams& p, u64 row)
        : first(p.length.divisor == 0 ? 0 : static_cast<u32>(row * p.row_channels % p.channels)) {}

    DEVICE u32 of(const LayerNormParams& p, u32 column) const { return first + divide(column, p.length); }
};

// L parameters for the row's elements from `column` on; `missing` where there are none.
template <class T, u32 L>
DEVICE void of_columns(const LayerNormParams& p, const Channels& channels, const void* from, u32 given, u32 wide,
                       f32 missing, u32 column, f32 (&values)[L]) {
    if (!(p.flags & given)) {
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) values[lane] = missing;
    } else if (p.length.divisor == 0) {
        parameters<T, L>(from, p.flags & wide, column, values);
    } else {
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            values[lane] = parameter<T>(from, p.flags & wide, channels.of(p, column + lane));
        }
    }
}

// ---- Forward ----

// What is normalised: x, or x + residual rounded as it is stored, which the backward reads.
template <class T, u32 L>
DEVICE void load_input(const LayerNormParams& p, const T* x, const T* residual, T* sum, u64 at, f32 (&values)[L]) {
    load_pack<L>(x + at, values);
    if (p.flags & NORM_RESIDUAL) {
        f32 other[L];
        load_pack<L>(residual + at, other);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) values[lane] = to_f32(from_f32<T>(values[lane] + other[lane]));
        store_pack<L>(sum + at, values);
    }
}

template <class T, u32 L>
DEVICE void store_normal(const LayerNormParams& p, const Channels& channels, T* y, u64 at, u32 column, f32 mean,
                         f32 rstd, const void* weight, const void* bias, f32 (&values)[L]) {
    f32 w[L], b[L];
    of_columns<T, L>(p, channels, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, column, w);
    of_columns<T, L>(p, channels, bias, NORM_BIAS, NORM_BIAS_F32, 0.0f, column, b);
#pragma unroll
    for (u32 lane = 0; lane < L; ++lane) values[lane] = __fmaf_rn((values[lane] - mean) * rstd, w[lane], b[lane]);
    store_pack<L>(y + at, values);
}

// A row in registers: at most N elements a thread.
template <class T, u32 L, bool WARP, u32 N>
__global__ void __launch_bounds__(WARP ? WARPS * 32 : 1024)
    forward(LayerNormParams p, T* y, T* sum, f32* mean, f32* rstd, const T* x, const T* residual, const void* weight,
            const void* bias) {
    using Threads = Team<WARP>;
    __shared__ f32 scratch[2][WARP ? 1 : 32];
    u64 row = Threads::index();
    if (row >= p.rows) return;
    u64 start = row * p.width;
    u32 step = Threads::threads() * L;
    f32 held[N / L][L];
    f32 total = 0.0f;
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        u32 column = Threads::thread() * L + i * step;
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) held[i][lane] = 0.0f;
        if (column < p.width) {
            load_input<T, L>(p, x, residual, sum, start + column, held[i]);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) total += held[i][lane];
        }
    }
    f32 width = static_cast<f32>(p.width);
    f32 center = 0.0f;
    if (p.flags & NORM_CENTERED) center = __fdiv_rn(Threads::template reduce<Sum>(total, scratch[0]), width);
    f32 squares = 0.0f;
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        if (Threads::thread() * L + i * step < p.width) {
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                f32 distance = held[i][lane] - center;
                squares = __fmaf_rn(distance, distance, squares);
            }
        }
    }
    squares = Threads::template reduce<Sum>(squares, scratch[1]);
    f32 scale = __frcp_rn(__fsqrt_rn(__fdiv_rn(squares, width) + p.eps));
    if (Threads::thread() == 0) {
        mean[row] = center;
        rstd[row] = scale;
    }
    Channels channels(p, row);
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        u32 column = Threads::thread() * L + i * step;
        if (column < p.width) {
            store_normal<T, L>(p, channels, y, start + column, column, center, scale, weight, bias, held[i]);
        }
    }
}

// A row of any width, a block each, read three times.
template <class T, u32 L>
__global__ void __launch_bounds__(1024)
    forward_rereading(LayerNormParams p, T* y, T* sum, f32* mean, f32* rstd, const T* x, const T* residual,
                      const void* weight, const void* bias) {
    __shared__ f32 scratch[2][32];
    u64 row = blockIdx.x;
    u64 start = row * p.width;
    // What the second and third pass read: each thread what it has written itself.
    const T* input = p.flags & NORM_RESIDUAL ? sum : x;
    f32 width = static_cast<f32>(p.width);
    f32 total = 0.0f;
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L];
        load_input<T, L>(p, x, residual, sum, start + column, values);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) total += values[lane];
    }
    f32 center = 0.0f;
    if (p.flags & NORM_CENTERED) center = __fdiv_rn(over_block<Sum>(total, scratch[0]), width);
    f32 squares = 0.0f;
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L];
        load_pack<L>(input + start + column, values);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            f32 distance = values[lane] - center;
            squares = __fmaf_rn(distance, distance, squares);
        }
    }
    squares = over_block<Sum>(squares, scratch[1]);
    f32 scale = __frcp_rn(__fsqrt_rn(__fdiv_rn(squares, width) + p.eps));
    if (threadIdx.x == 0) {
        mean[row] = center;
        rstd[row] = scale;
    }
    Channels channels(p, row);
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L];
        load_pack<L>(input + start + column, values);
        store_normal<T, L>(p, channels, y, start + column, column, center, scale, weight, bias, values);
    }
}

// ---- Backward, parameters by columns ----

// dx = rstd·(g − mean(g) − normal·mean(g·normal)), g = dy·weight; without the first mean where it was not subtracted.
// A team takes every count()-th row and keeps the sums of its columns' dweight and dbias.
template <class T, u32 L, bool WARP, u32 N>
__global__ void __launch_bounds__(WARP ? WARPS * 32 : (N > 8 ? 384 : 512))
    backward(LayerNormParams p, T* dx, f32* partials, const T* x, const T* dy, const f32* mean, const f32* rstd,
             const void* weight) {
    using Threads = Team<WARP>;
    __shared__ f32 scratch[2][WARP ? 1 : 32];
    __shared__ f32 merged[WARP ? WARPS : 1][2][WARP ? 32 * N : 1];
    u32 step = Threads::threads() * L;
    f32 dweight[N / L][L] = {};
    f32 dbias[N / L][L] = {};
    Channels none(p, 0);
    f32 width = static_cast<f32>(p.width);
    for (u64 row = Threads::index(); row < p.rows; row += Threads::count()) {
        u64 start = row * p.width;
        f32 normal[N / L][L], g[N / L][L];
        f32 center = mean[row];
        f32 scale = rstd[row];
        f32 direct = 0.0f;
        f32 along = 0.0f;
#pragma unroll
        for (u32 i = 0; i < N / L; ++i) {
            u32 column = Threads::thread() * L + i * step;
            if (column >= p.width) continue;
            f32 w[L];
            load_pack<L>(x + start + column, normal[i]);
            load_pack<L>(dy + start + column, g[i]);
            of_columns<T, L>(p, none, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, column, w);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                normal[i][lane] = (normal[i][lane] - center) * scale;
                dweight[i][lane] = __fmaf_rn(normal[i][lane], g[i][lane], dweight[i][lane]);
                dbias[i][lane] += g[i][lane];
                g[i][lane] *= w[lane];
                direct += g[i][lane];
                along = __fmaf_rn(g[i][lane], normal[i][lane], along);
            }
        }
        if (!(p.flags & NORM_INPUT_GRADIENT)) continue;
        // Two places in turn: who reads one has passed the barrier behind the reads of the other, in the next row too.
        direct = Threads::template reduce<Sum>(direct, scratch[0]);
        along = __fdiv_rn(Threads::template reduce<Sum>(along, scratch[1]), width);
        direct = p.flags & NORM_CENTERED ? __fdiv_rn(direct, width) : 0.0f;
#pragma unroll
        for (u32 i = 0; i < N / L; ++i) {
            u32 column = Threads::thread() * L + i * step;
            if (column >= p.width) continue;
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                g[i][lane] = scale * (g[i][lane] - direct - normal[i][lane] * along);
            }
            store_pack<L>(dx + start + column, g[i]);
        }
    }
    if (!(p.flags & NORM_PARAMETER_GRADIENTS)) return;
    f32* out = partials + static_cast<u64>(blockIdx.x) * 2 * p.width;
    if (WARP) {
        u32 warp = threadIdx.x / 32;
#pragma unroll
        for (u32 i = 0; i < N / L; ++i) {
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                u32 column = Threads::thread() * L + i * step + lane;
                merged[warp][0][column] = dweight[i][lane];
                merged[warp][1][column] = dbias[i][lane];
            }
        }
        __syncthreads();
        for (u32 at = threadIdx.x; at < 2 * p.width; at += WARPS * 32) {
            u32 which = at >= p.width;
            u32 column = at - which * p.width;
            f32 total = merged[0][which][column];
#pragma unroll
            for (u32 other = 1; other < WARPS; ++other) total += merged[other][which][column];
            out[at] = total;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < N / L; ++i) {
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                u32 column = Threads::thread() * L + i * step + lane;
                if (column < p.width) {
                    out[column] = dweight[i][lane];
                    out[p.width + column] = dbias[i][lane];
                }
            }
        }
    }
}

// dx of rows of any width, a block each, which reads x and dy twice.
template <class T, u32 L>
__global__ void __launch_bounds__(1024)
    backward_rereading(LayerNormParams p, T* dx, const T* x, const T* dy, const f32* mean, const f32* rstd,
                       const void* weight) {
    __shared__ f32 scratch[2][32];
    u64 start = static_cast<u64>(blockIdx.x) * p.width;
    f32 center = mean[blockIdx.x];
    f32 scale = rstd[blockIdx.x];
    f32 width = static_cast<f32>(p.width);
    Channels none(p, 0);
    f32 direct = 0.0f;
    f32 along = 0.0f;
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L], g[L], w[L];
        load_pack<L>(x + start + column, values);
        load_pack<L>(dy + start + column, g);
        of_columns<T, L>(p, none, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, column, w);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            direct = __fmaf_rn(g[lane], w[lane], direct);
            along = __fmaf_rn(g[lane] * w[lane], (values[lane] - center) * scale, along);
        }
    }
    direct = over_block<Sum>(direct, scratch[0]);
    along = __fdiv_rn(over_block<Sum>(along, scratch[1]), width);
    direct = p.flags & NORM_CENTERED ? __fdiv_rn(direct, width) : 0.0f;
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L], g[L], w[L];
        load_pack<L>(x + start + column, values);
        load_pack<L>(dy + start + column, g);
        of_columns<T, L>(p, none, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, column, w);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            values[lane] = scale * (g[lane] * w[lane] - direct - (values[lane] - center) * scale * along);
        }
        store_pack<L>(dx + start + column, values);
    }
}

// Partial dweight and dbias for those rows: a thread has L columns, blockIdx.y every gridDim.y-th row.
template <class T, u32 L>
__global__ void __launch_bounds__(256)
    column_partials(LayerNormParams p, f32* partials, const T* x, const T* dy, const f32* mean, const f32* rstd) {
    u64 column = (static_cast<u64>(blockIdx.x) * 256 + threadIdx.x) * L;
    if (column >= p.width) return;
    f32 dweight[L] = {};
    f32 dbias[L] = {};
    for (u64 row = blockIdx.y; row < p.rows; row += gridDim.y) {
        f32 values[L], g[L];
        load_pack<L>(x + row * p.width + column, values);
        load_pack<L>(dy + row * p.width + column, g);
        f32 center = mean[row];
        f32 scale = rstd[row];
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            dweight[lane] = __fmaf_rn((values[lane] - center) * scale, g[lane], dweight[lane]);
            dbias[lane] += g[lane];
        }
    }
    f32* out = partials + static_cast<u64>(blockIdx.y) * 2 * p.width + column;
#pragma unroll
    for (u32 lane = 0; lane < L; ++lane) {
        out[lane] = dweight[lane];
        out[p.width + lane] = dbias[lane];
    }
}

// ---- Backward, parameters by channels ----

// Σ dy·normal and Σ dy of every channel's run, written as (samples, 2, channels): the partial dweight and dbias.
// `lanes` neighbours (a power of two below 32) take a run, or the whole block where it is 256.
template <class T, u32 L>
__global__ void __launch_bounds__(256)
    channel_sums(LayerNormParams p, u32 lanes, f32* sums, const T* x, const T* dy, const f32* mean, const f32* rstd) {
    __shared__ f32 scratch[2][32];
    u64 run = (static_cast<u64>(blockIdx.x) * 256 + threadIdx.x) / lanes;
    u32 thread = threadIdx.x % lanes;
    u64 row = run / p.row_channels;
    bool exists = row < p.rows;
    u32 length = p.length.divisor;
    f32 along = 0.0f;
    f32 direct = 0.0f;
    if (exists) {
        f32 center = mean[row];
        f32 scale = rstd[row];
        u64 start = run * length;
        for (u32 at = thread * L; at < length; at += lanes * L) {
            f32 values[L], g[L];
            load_pack<L>(x + start + at, values);
            load_pack<L>(dy + start + at, g);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                along = __fmaf_rn((values[lane] - center) * scale, g[lane], along);
                direct += g[lane];
            }
        }
    }
    if (lanes == 256) {
        along = over_block<Sum>(along, scratch[0]);
        direct = over_block<Sum>(direct, scratch[1]);
    } else {
        along = over_lanes<Sum>(along, lanes);
        direct = over_lanes<Sum>(direct, lanes);
    }
    if (exists && thread == 0) {
        u64 sample = run / p.channels;
        u64 channel = run % p.channels;
        sums[sample * 2 * p.channels + channel] = along;
        sums[(sample * 2 + 1) * p.channels + channel] = direct;
    }
}

// dx from the channels' sums: blockIdx.x is the row, blockIdx.y the part of it.
template <class T, u32 L>
__global__ void __launch_bounds__(256)
    channel_gradient(LayerNormParams p, T* dx, const f32* sums, const T* x, const T* dy, const f32* mean,
                     const f32* rstd, const void* weight) {
    __shared__ f32 scratch[2][32];
    u64 row = blockIdx.x;
    u64 start = row * p.width;
    Channels channels(p, row);
    const f32* of_row = sums + row * p.row_channels / p.channels * 2 * p.channels + channels.first;
    f32 along = 0.0f;
    f32 direct = 0.0f;
    for (u32 channel = threadIdx.x; channel < p.row_channels; channel += 256) {
        f32 w = p.flags & NORM_WEIGHT ? parameter<T>(weight, p.flags & NORM_WEIGHT_F32, channels.first + channel) : 1.0f;
        along = __fmaf_rn(w, of_row[channel], along);
        direct = __fmaf_rn(w, of_row[p.channels + channel], direct);
    }
    f32 width = static_cast<f32>(p.width);
    along = __fdiv_rn(over_block<Sum>(along, scratch[0]), width);
    direct = __fdiv_rn(over_block<Sum>(direct, scratch[1]), width);
    f32 center = mean[row];
    f32 scale = rstd[row];
    for (u64 column = (static_cast<u64>(blockIdx.y) * 256 + threadIdx.x) * L; column < p.width;
         column += static_cast<u64>(gridDim.y) * 256 * L) {
        f32 values[L], g[L], w[L];
        load_pack<L>(x + start + column, values);
        load_pack<L>(dy + start + column, g);
        of_columns<T, L>(p, channels, weight, NORM_WEIGHT, NORM_WEIGHT_F32, 1.0f, static_cast<u32>(column), w);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            values[lane] = scale * (w[lane] * g[lane] - direct - (values[lane] - center) * scale * along);
        }
        store_pack<L>(dx + start + column, values);
    }
}

// ---- Sums of partials ----

// A block has 32 columns of one of the two gradients (blockIdx.y), each summed by eight threads, whose sums are added
// in order.
template <class T>
__global__ void __launch_bounds__(256)
    partial_sums(PartialSumsParams p, void* dweight, void* dbias, const f32* partials) {
    __shared__ f32 sums[8][32];
    u32 lane = threadIdx.x % 32;
    u32 slice = threadIdx.x / 32;
    u64 column = static_cast<u64>(blockIdx.x) * 32 + lane;
    bool bias = blockIdx.y == 1;
    if (!(p.flags & (bias ? NORM_BIAS : NORM_WEIGHT))) return;
    f32 total = 0.0f;
    if (column < p.width) {
        for (u32 part = slice; part < p.parts; part += 8) {
            total += partials[(static_cast<u64>(part) * 2 + bias) * p.width + column];
        }
    }
    sums[slice][lane] = total;
    __syncthreads();
    if (slice != 0 || column >= p.width) return;
#pragma unroll
    for (u32 other = 1; other < 8; ++other) total += sums[other][lane];
    write_parameter<T>(bias ? dbias : dweight, p.flags & (bias ? NORM_BIAS_F32 : NORM_WEIGHT_F32), column, total);
}

// ---- Instantiations ----

#define FORWARD(T, L, WARP, N)                                                                                      \
    template __global__ void forward<T, L, WARP, N>(LayerNormParams, T*, T*, f32*, f32*, const T*, const T*,        \
                                                    const void*, const void*);
#define BACKWARD(T, L, WARP, N)                                                                                     \
    template __global__ void backward<T, L, WARP, N>(LayerNormParams, T*, f32*, const T*, const T*, const f32*,     \
                                                     const f32*, const void*);
#define LANES(T, L)                                                                                                 \
    FORWARD(T, L, true, 8) FORWARD(T, L, false, 16) BACKWARD(T, L, true, 8)                                         \
    template __global__ void forward_rereading<T, L>(LayerNormParams, T*, T*, f32*, f32*, const T*, const T*,       \
                                                     const void*, const void*);                                     \
    template __global__ void backward_rereading<T, L>(LayerNormParams, T*, const T*, const T*, const f32*,          \
                                                      const f32*, const void*);                                     \
    template __global__ void column_partials<T, L>(LayerNormParams, f32*, const T*, const T*, const f32*,           \
                                                   const f32*);                                                     \
    template __global__ void channel_sums<T, L>(LayerNormParams, u32, f32*, const T*, const T*, const f32*,         \
                                                const f32*);                                                        \
    template __global__ void channel_gradient<T, L>(LayerNormParams, T*, const f32*, const T*, const T*,            \
                                                    const f32*, const f32*, const void*);
#define WIDE(T, L)                                                                                                  \
    LANES(T, L) FORWARD(T, L, true, 32) BACKWARD(T, L, true, 16) BACKWARD(T, L, false, 16)
// Single accesses take more registers: fewer elements are held.
#define NARROW(T) LANES(T, 1) BACKWARD(T, 1, false, 8)
NARROW(f32) WIDE(f32, 4) NARROW(f16) WIDE(f16, 8) NARROW(bf16) WIDE(bf16, 8)

#define SUMS(T) template __global__ void partial_sums<T>(PartialSumsParams, void*, void*, const f32*);
SUMS(f32) SUMS(f16) SUMS(bf16)
