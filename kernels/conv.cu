// Convolutions over two axes as implicit matrix products, and their gradients; as in PyTorch, cross-correlations.
//
// Layout: x (N, C, H, W), weight (O, C/groups, KH, KW), y (N, O, OH, OW), contiguous; products also of any other order of
// the axes (channels last: conv_nhwc.cu has the better loads). P = OH·OW.
// Floor: 2·N·O·P·(C/groups)·KH·KW/P_peak operations; b·(|x| + |w| + |y|) bytes.
// Gradients overwrite (`=`).
//
// conv_mma (f16, bf16; tensor cores) and conv_simt (f32, IEEE) compute a product per group. The matrix of windows never
// exists: its elements are gathered from x (or from y's gradient) while a tile is loaded, for an address is the sum of a
// part that depends on the column and one that depends on k:
//   forward:               y[o][n,p]     = Σ over (c,kh,kw) of w[o][c,kh,kw] · x[n, c, p moved by (kh,kw)]
//   gradient of the input: gx[c][n,q]    = Σ over (o,kh,kw) of w[o][c,kh,kw] · gy[n, o, q moved by -(kh,kw)]
//   gradient of the weight: gw[o][c,kh,kw] = Σ over (n,p) of gy[n, o, p] · x[n, c, p moved by (kh,kw)]
// With strides the input's positions fall into phases, each reached by its own taps: every phase is a product of its own,
// without a multiplication by a zero that the stride inserted. The weight's gradient is split along N·P among blocks;
// conv_sum_splits adds the parts in order.
//
// depthwise_*: one channel a group has no products to share; threads read their windows directly.
// im2col, col2im: the matrix of windows after all, (N, C·KH·KW, P), as the simple way to convolve.

#include "common/gather.cuh"
#include "common/mma_tile.cuh"
#include "common/types.cuh"

// Takes one sum: with its row's bias to the output, or as it is to the splits' memory.
template <class T>
DEVICE void put(const ConvParams& p, T* out, f32* partial, const T* bias, u32 group, u32 row, i64 column, f32 value) {
    if (row >= p.rows || column < 0) return;
    i64 at = row * p.out_row + column;
    if (p.splits > 1) {
        partial[blockIdx.y * p.out_len + at] = value;
        return;
    }
    if (p.has_bias) value += to_f32(bias[group * p.rows + row]);
    out[at] = from_f32<T>(value);
}

// ---- Products on the tensor cores ----

DEVICE void store_half(u32 shared, u16 bits) {
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(shared), "h"(bits) : "memory");
}

template <class T, u32 DIRECTION, u32 ROWS>
__global__ void __launch_bounds__(THREADS, 2)
    conv_mma(ConvParams p, T* out, f32* partial, const T* a, const T* b, const T* bias) {
    constexpr u32 DEPTH = 32;
    using TileA = OperandTile<T, ROWS, DEPTH, false>;
    using TileB = OperandTile<T, COLUMNS, DEPTH, false>;
    // Four warps as 2 × 2, or side by side where there are few rows.
    constexpr u32 WARP_COLUMNS = ROWS == 64 ? 2 : 4;
    constexpr u32 WARP_ROWS = 4 / WARP_COLUMNS;
    using Sums = WarpSums<ROWS / WARP_ROWS / 16, COLUMNS / WARP_COLUMNS / 16>;
    using Load = Gather<T, DIRECTION, ROWS, DEPTH>;
    constexpr u32 STAGE = TileA::BYTES + TileB::BYTES;
    constexpr u32 SLABS = 4 * Sums::SLAB * 4;
    __shared__ uint4 stages[(2 * STAGE > SLABS ? 2 * STAGE : SLABS) / 16];
    __shared__ ColumnTables tables;
    u32 shared = shared_address(stages);

    u32 row_tiles = (p.rows + ROWS - 1) / ROWS;
    u32 first_row = blockIdx.x % row_tiles * ROWS;
    u32 first_column = blockIdx.x / row_tiles * COLUMNS;
    u32 warp = threadIdx.x / 32;
    u32 row_at = warp / WARP_COLUMNS * (ROWS / WARP_ROWS);
    u32 column_at = warp % WARP_COLUMNS * (COLUMNS / WARP_COLUMNS);

    for (u32 index = blockIdx.z; index < p.groups * p.phases; index += gridDim.z) {
        Problem problem = problem_of<DIRECTION>(p, index);
        // Phases have different numbers of columns; the grid is of the largest.
        if (first_column >= problem.columns) continue;
        u32 begin_k = blockIdx.y * p.split;
        u32 end_k = min(problem.depth, begin_k + p.split);
        tables.fill(p, problem, first_column);
        __syncthreads();
        Load load;
        load.load(p, problem, a, b, tables.places, tables.steps, first_row, begin_k, end_k);
        Sums sums;
        sums.clear();
        u32 stage = shared;
        for (u32 k = begin_k; k < end_k; k += DEPTH) {
#pragma unroll
            for (u32 i = 0; i < ROWS / Load::LINES; ++i) {
                u32 to = stage + TileA::at(threadIdx.x / DEPTH + i * Load::LINES, threadIdx.x % DEPTH / 8);
                store_half(to + threadIdx.x % 8 * 2, load.a[i].bits);
            }
            u32 stage_b = stage + TileA::BYTES;
            if constexpr (DIRECTION == WEIGHT) {
#pragma unroll
                for (u32 i = 0; i < COLUMNS / Load::LINES; ++i) {
                    u32 to = stage_b + TileB::at(threadIdx.x / DEPTH + i * Load::LINES, threadIdx.x % DEPTH / 8);
                    store_half(to + threadIdx.x % 8 * 2, load.b[i].bits);
                }
            } else {
#pragma unroll
                for (u32 i = 0; i < DEPTH / 8; ++i) store_chunk(stage_b + TileB::at(threadIdx.x, i), load.b + 8 * i, 8);
            }
            // Behind it the stage is there for all, and the other one has been read by all.
            __syncthreads();
            if (k + DEPTH < end_k) {
                load.load(p, problem, a, b, tables.places, tables.steps, first_row, k + DEPTH, end_k);
            }
            sums.template multiply<T, TileA, TileB>(stage, stage_b, row_at, column_at);
            stage ^= shared ^ (shared + STAGE);
        }
        __syncthreads();
        sums.put_each(reinterpret_cast<f32*>(stages) + warp * Sums::SLAB, [&](f32 value, u32 row, u32 column) {
            put<T>(p, out, partial, bias, index % p.groups, first_row + row_at + row, tables.out[column_at + column],
                   value);
        });
        // The next group's slices overwrite what slower warps may still be reading.
        __syncthreads();
    }
}

// ---- Products on the ordinary cores ----

template <u32 DIRECTION>
__global__ void __launch_bounds__(THREADS, 3)
    conv_simt(ConvParams p, f32* out, f32* partial, const f32* a, const f32* b, const f32* bias) {
    constexpr u32 ROWS = 64;
    constexpr u32 DEPTH = 16;
    using Load = Gather<f32, DIRECTION, ROWS, DEPTH>;
    // Four more, so that lanes along k store into different banks.
    __shared__ alignas(16) f32 shared_a[2][DEPTH][ROWS + 4];
    __shared__ alignas(16) f32 shared_b[2][DEPTH][COLUMNS + 4];
    __shared__ ColumnTables tables;

    u32 row_tiles = (p.rows + ROWS - 1) / ROWS;
    u32 first_row = blockIdx.x % row_tiles * ROWS;
    u32 first_column = blockIdx.x / row_tiles * COLUMNS;
    // A thread has two quads of rows, 32 apart, by two of columns, 64 apart.
    u32 row_at = threadIdx.x / 16 * 4;
    u32 column_at = threadIdx.x % 16 * 4;

    for (u32 index = blockIdx.z; index < p.groups * p.phases; index += gridDim.z) {
        Problem problem = problem_of<DIRECTION>(p, index);
        // Phases have different numbers of columns; the grid is of the largest.
        if (first_column >= problem.columns) continue;
        u32 begin_k = blockIdx.y * p.split;
        u32 end_k = min(problem.depth, begin_k + p.split);
        tables.fill(p, problem, first_column);
        __syncthreads();
        Load load;
        load.load(p, problem, a, b, tables.places, tables.steps, first_row, begin_k, end_k);
        f32 sum[8][8] = {};
        u32 buffer = 0;
        for (u32 k = begin_k; k < end_k; k += DEPTH) {
            u32 step = threadIdx.x % DEPTH;
            u32 line = threadIdx.x / DEPTH;
#pragma unroll
            for (u32 i = 0; i < ROWS / Load::LINES; ++i) shared_a[buffer][step][line + i * Load::LINES] = load.a[i];
#pragma unroll
            for (u32 i = 0; i < COLUMNS / Load::LINES; ++i) {
                if (DIRECTION == WEIGHT) {
                    shared_b[buffer][step][line + i * Load::LINES] = load.b[i];
                } else {
                    shared_b[buffer][i][threadIdx.x] = load.b[i];
                }
            }
            // Behind it the slice is there for all, and the other buffer has been read by all.
            __syncthreads();
            if (k + DEPTH < end_k) {
                load.load(p, problem, a, b, tables.places, tables.steps, first_row, k + DEPTH, end_k);
            }
#pragma unroll 2
            for (u32 inner = 0; inner < DEPTH; ++inner) {
                f32 left[8], right[8];
#pragma unroll
                for (u32 i = 0; i < 2; ++i) {
                    *reinterpret_cast<float4*>(&left[i * 4]) =
                        *reinterpret_cast<const float4*>(&shared_a[buffer][inner][row_at + 32 * i]);
                    *reinterpret_cast<float4*>(&right[i * 4]) =
                        *reinterpret_cast<const float4*>(&shared_b[buffer][inner][column_at + 64 * i]);
                }
#pragma unroll
                for (u32 i = 0; i < 8; ++i) {
#pragma unroll
                    for (u32 j = 0; j < 8; ++j) sum[i][j] = __fmaf_rn(left[i], right[j], sum[i][j]);
                }
            }
            buffer ^= 1;
        }
        u32 group = index % p.groups;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
#pragma unroll
            for (u32 j = 0; j < 8; ++j) {
                put<f32>(p, out, partial, bias, group, first_row + row_at + i / 4 * 32 + i % 4,
                         tables.out[column_at + j / 4 * 64 + j % 4], sum[i][j]);
            }
        }
        // The next group's tables and slices overwrite what slower warps may still be reading.
        __syncthreads();
    }
}

// ---- Sums of a split K ----

template <class T>
__global__ void __launch_bounds__(256) conv_sum_splits(u64 count, u32 splits, T* out, const f32* partial) {
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    for (u64 at = blockIdx.x * static_cast<u64>(blockDim.x) + threadIdx.x; at < count; at += stride) {
        f32 sum = partial[at];
        for (u32 split = 1; split < splits; ++split) sum += partial[split * count + at];
        out[at] = from_f32<T>(sum);
    }
}

// ---- One channel a group ----

// y: a thread for each output.
template <class T>
__global__ void __launch_bounds__(256)
    depthwise_forward(WindowParams p, T* y, const T* x, const T* weight, const T* bias) {
    u64 count = static_cast<u64>(p.batch) * p.outputs * p.output_y * p.output_x;
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    for (u64 at = blockIdx.x * static_cast<u64>(blockDim.x) + threadIdx.x; at < count; at += stride) {
        u32 column = at % p.output_x;
        u64 rest = at / p.output_x;
        u32 row = rest % p.output_y;
        u64 plane = rest / p.output_y;
        u32 output = plane % p.outputs;
        u64 image = plane / p.outputs;
        const T* from = x + (image * p.channels + output / (p.outputs / p.channels)) * p.input_y * p.input_x;
        const T* taps = weight + static_cast<u64>(output) * p.kernel_y * p.kernel_x;
        f32 sum = 0.0f;
        for (u32 i = 0; i < p.kernel_y; ++i) {
            u32 r = row * p.stride_y + i * p.dilation_y - p.padding_y;
            if (r >= p.input_y) continue;
            for (u32 j = 0; j < p.kernel_x; ++j) {
                u32 c = column * p.stride_x + j * p.dilation_x - p.padding_x;
                if (c >= p.input_x) continue;
                f32 value = to_f32(from[static_cast<u64>(r) * p.input_x + c]);
                sum = __fmaf_rn(to_f32(taps[i * p.kernel_x + j]), value, sum);
            }
        }
        if (p.has_bias) sum += to_f32(bias[output]);
        y[at] = from_f32<T>(sum);
    }
}

// The output along one axis that reads `position` at a tap; the count of outputs or more where there is none.
DEVICE u32 reading(u32 position, u32 tap, u32 stride, u32 padding, u32 dilation) {
    u32 shifted = position + padding - tap * dilation;
    // Below 2^31, unless the tap lies before the first output.
    return shifted % stride == 0 && shifted < 1u << 31 ? shifted / stride : 0xffffffffu;
}

// x's gradient: a thread for each input, over the outputs of its channel.
template <class T>
__global__ void __launch_bounds__(256)
    depthwise_input(WindowParams p, T* x, const T* grad, const T* weight, const T* bias) {
    u64 count = static_cast<u64>(p.batch) * p.channels * p.input_y * p.input_x;
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    u32 each = p.outputs / p.channels;
    u64 pixels = static_cast<u64>(p.output_y) * p.output_x;
    for (u64 at = blockIdx.x * static_cast<u64>(blockDim.x) + threadIdx.x; at < count; at += stride) {
        u32 column = at % p.input_x;
        u64 rest = at / p.input_x;
        u32 row = rest % p.input_y;
        u64 plane = rest / p.input_y;
        u32 channel = plane % p.channels;
        const T* from = grad + (plane / p.channels * p.outputs + channel * each) * pixels;
        const T* taps = weight + static_cast<u64>(channel) * each * p.kernel_y * p.kernel_x;
        f32 sum = 0.0f;
        for (u32 output = 0; output < each; ++output) {
            for (u32 i = 0; i < p.kernel_y; ++i) {
                u32 r = reading(row, i, p.stride_y, p.padding_y, p.dilation_y);
                if (r >= p.output_y) continue;
                for (u32 j = 0; j < p.kernel_x; ++j) {
                    u32 c = reading(column, j, p.stride_x, p.padding_x, p.dilation_x);
                    if (c >= p.output_x) continue;
                    f32 value = to_f32(from[output * pixels + static_cast<u64>(r) * p.output_x + c]);
                    sum = __fmaf_rn(to_f32(taps[(output * p.kernel_y + i) * p.kernel_x + j]), value, sum);
                }
            }
        }
        if (p.has_bias) sum += to_f32(bias[channel]);
        x[at] = from_f32<T>(sum);
    }
}

// The weight's gradient: a block for each weight; threads sum every 256th pixel, then the block adds in a tree.
template <class T>
__global__ void __launch_bounds__(256) depthwise_weight(WindowParams p, T* weight, const T* x, const T* grad) {
    __shared__ f32 sums[256];
    u32 taps = p.kernel_y * p.kernel_x;
    u64 pixels = static_cast<u64>(p.output_y) * p.output_x;
    u64 count = p.batch * pixels;
    for (u64 at = blockIdx.x; at < static_cast<u64>(p.outputs) * taps; at += gridDim.x) {
        u32 output = at / taps;
        u32 i = at % taps / p.kernel_x;
        u32 j = at % p.kernel_x;
        u32 channel = output / (p.outputs / p.channels);
        f32 sum = 0.0f;
        for (u64 index = threadIdx.x; index < count; index += 256) {
            u64 image = index / pixels;
            u32 pixel = index % pixels;
            u32 r = pixel / p.output_x * p.stride_y + i * p.dilation_y - p.padding_y;
            u32 c = pixel % p.output_x * p.stride_x + j * p.dilation_x - p.padding_x;
            if (r >= p.input_y || c >= p.input_x) continue;
            f32 value = to_f32(x[((image * p.channels + channel) * p.input_y + r) * p.input_x + c]);
            sum = __fmaf_rn(to_f32(grad[(image * p.outputs + output) * pixels + pixel]), value, sum);
        }
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (u32 half = 128; half > 0; half /= 2) {
            if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0) weight[at] = from_f32<T>(sums[0]);
        // The next weight's sums overwrite what the first thread may still be reading.
        __syncthreads();
    }
}

// ---- The matrix of windows ----

// cols (N, C·KH·KW, P): a thread for each element; zero for padding.
template <class T>
__global__ void __launch_bounds__(256) im2col(WindowParams p, T* cols, const T* x) {
    u64 count = static_cast<u64>(p.batch) * p.channels * p.kernel_y * p.kernel_x * p.output_y * p.output_x;
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    for (u64 at = blockIdx.x * static_cast<u64>(blockDim.x) + threadIdx.x; at < count; at += stride) {
        u64 rest = at / p.output_x;
        u32 column = at % p.output_x;
        u32 row = rest % p.output_y;
        rest /= p.output_y;
        u32 j = rest % p.kernel_x;
        rest /= p.kernel_x;
        u32 i = rest % p.kernel_y;
        u64 plane = rest / p.kernel_y;
        u32 r = row * p.stride_y + i * p.dilation_y - p.padding_y;
        u32 c = column * p.stride_x + j * p.dilation_x - p.padding_x;
        cols[at] = r < p.input_y && c < p.input_x ? x[(plane * p.input_y + r) * p.input_x + c] : T{};
    }
}

// Its transpose: a thread for each element of x, which adds up what its windows hold of it, taps in ascending order.
template <class T>
__global__ void __launch_bounds__(256) col2im(WindowParams p, T* x, const T* cols) {
    u64 count = static_cast<u64>(p.batch) * p.channels * p.input_y * p.input_x;
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    u64 pixels = static_cast<u64>(p.output_y) * p.output_x;
    for (u64 at = blockIdx.x * static_cast<u64>(blockDim.x) + threadIdx.x; at < count; at += stride) {
        u32 column = at % p.input_x;
        u64 rest = at / p.input_x;
        u32 row = rest % p.input_y;
        const T* from = cols + rest / p.input_y * p.kernel_y * p.kernel_x * pixels;
        f32 sum = 0.0f;
        for (u32 i = 0; i < p.kernel_y; ++i) {
            u32 r = reading(row, i, p.stride_y, p.padding_y, p.dilation_y);
            if (r >= p.output_y) continue;
            for (u32 j = 0; j < p.kernel_x; ++j) {
                u32 c = reading(column, j, p.stride_x, p.padding_x, p.dilation_x);
                if (c >= p.output_x) continue;
                sum += to_f32(from[(i * p.kernel_x + j) * pixels + static_cast<u64>(r) * p.output_x + c]);
            }
        }
        x[at] = from_f32<T>(sum);
    }
}

// ---- Instantiations ----

#define MAKE_MMA(T, DIRECTION, ROWS)                                                                               \
    template __global__ void conv_mma<T, DIRECTION, ROWS>(ConvParams, T*, f32*, const T*, const T*, const T*);
#define MAKE_MMA_DIRECTIONS(T, ROWS) MAKE_MMA(T, FORWARD, ROWS) MAKE_MMA(T, INPUT, ROWS) MAKE_MMA(T, WEIGHT, ROWS)
MAKE_MMA_DIRECTIONS(f16, 64)
MAKE_MMA_DIRECTIONS(f16, 32)
MAKE_MMA_DIRECTIONS(bf16, 64)
MAKE_MMA_DIRECTIONS(bf16, 32)

#define MAKE_SIMT(DIRECTION) \
    template __global__ void conv_simt<DIRECTION>(ConvParams, f32*, f32*, const f32*, const f32*, const f32*);
MAKE_SIMT(FORWARD)
MAKE_SIMT(INPUT)
MAKE_SIMT(WEIGHT)

#define MAKE_REST(T)                                                                                       \
    template __global__ void conv_sum_splits<T>(u64, u32, T*, const f32*);                                 \
    template __global__ void depthwise_forward<T>(WindowParams, T*, const T*, const T*, const T*);         \
    template __global__ void depthwise_input<T>(WindowParams, T*, const T*, const T*, const T*);           \
    template __global__ void depthwise_weight<T>(WindowParams, T*, const T*, const T*);                    \
    template __global__ void im2col<T>(WindowParams, T*, const T*);                                        \
    template __global__ void col2im<T>(WindowParams, T*, const T*);
MAKE_REST(f32)
MAKE_REST(f16)
MAKE_REST(bf16)
