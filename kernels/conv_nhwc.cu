// Convolutions of images whose channels are neighbours in memory (channels last), and their gradients, in f16 and bf16
// on the tensor cores; as in PyTorch, cross-correlations.
//
// Layout: x (N, H, W, C), weight (O, KH, KW, C/groups), y (N, OH, OW, O), contiguous; channels of a group are multiples
// of eight, and every pointer one of 16 bytes. (conv.cu computes the rest of them.)
// Floor: 2·N·O·OH·OW·(C/groups)·KH·KW/P operations; b·(|x| + |w| + |y|) bytes.
// Gradients overwrite (`=`).
//
// A block computes a tile of ROWS×COLUMNS of an implicit product, of which k runs over taps and then channels, so that
// 16 bytes of an operand always lie together, and are copied beside the computation (cp.async) or zeroed for padding:
//   forward:                rows (n,p),  columns o,         k (kh,kw,c): x[n, p moved by (kh,kw), c] · w[o,kh,kw,c]
//   gradient of the input:  rows (n,q),  columns c,         k (kh,kw,o): gy[n, q moved by -(kh,kw), o] · w[o,kh,kw,c]
//   gradient of the weight: rows o,      columns (kh,kw,c), k (n,p):     gy[n,p,o] · x[n, p moved by (kh,kw), c]
// The input's positions fall into phases where there are strides, as in conv.cu; the weight's gradient is split along
// its k, whose parts conv_sum_splits adds in order.

#include "common/async_copy.cuh"
#include "common/epilogue.cuh"
#include "common/gather.cuh"
#include "common/mma_tile.cuh"
#include "common/types.cuh"

constexpr u32 ROWS = 128;
constexpr u32 WIDTH = 64;
constexpr u32 DEPTH = 32;
constexpr u32 STAGES = 3;

// The pixels that rows (of the weight's gradient: steps of k) stand for, and where each reads a tap: at
// start + pixel·step + tap·move, in an image of `high`×`wide` with `channels`.
struct Sliding {
    // Pixels of a row's image, taps of k.
    u32 pixels_y, pixels_x, taps_y, taps_x;
    i32 start_y, start_x, step_y, step_x, move_y, move_x;
    u32 high, wide, channels;
    // The tap of the weight that number 0 is, and from one to the next.
    u32 first_y, first_x, each_y, each_x;

    // Where pixel (n, y, x) reads a tap, before the channel; negative for padding.
    DEVICE i64 read(u32 image, u32 y, u32 x, u32 tap_y, u32 tap_x) const {
        u32 row = static_cast<u32>(start_y + static_cast<i32>(y) * step_y + static_cast<i32>(tap_y) * move_y);
        u32 column = static_cast<u32>(start_x + static_cast<i32>(x) * step_x + static_cast<i32>(tap_x) * move_x);
        if (row >= high || column >= wide) return -1;
        return ((static_cast<i64>(image) * high + row) * wide + column) * channels;
    }
};

DEVICE u32 common_divisor(u32 a, u32 b) {
    while (b != 0) {
        u32 rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

template <u32 DIRECTION>
DEVICE Sliding sliding(const WindowParams& p, u32 phase, u32 phases_x) {
    Sliding s;
    if constexpr (DIRECTION == INPUT) {
        u32 each_y = p.stride_y / common_divisor(p.stride_y, p.dilation_y);
        u32 each_x = p.stride_x / common_divisor(p.stride_x, p.dilation_x);
        Phase v = phase_of(phase / phases_x, p.input_y, p.kernel_y, p.stride_y, p.padding_y, p.dilation_y, each_y);
        Phase h = phase_of(phase % phases_x, p.input_x, p.kernel_x, p.stride_x, p.padding_x, p.dilation_x, each_x);
        s = {v.positions, h.positions, v.taps, h.taps, v.output, h.output, 1, 1,
             -static_cast<i32>(each_y * p.dilation_y / p.stride_y),
             -static_cast<i32>(each_x * p.dilation_x / p.stride_x),
             p.output_y, p.output_x, p.outputs, v.first, h.first, each_y, each_x};
    } else {
        s = {p.output_y, p.output_x, p.kernel_y, p.kernel_x, -static_cast<i32>(p.padding_y),
             -static_cast<i32>(p.padding_x), static_cast<i32>(p.stride_y), static_cast<i32>(p.stride_x),
             static_cast<i32>(p.dilation_y), static_cast<i32>(p.dilation_x), p.input_y, p.input_x, p.channels,
             0, 0, 1, 1};
    }
    return s;
}

// The image and position of a pixel.
struct Pixel {
    u32 image, y, x;
};

DEVICE Pixel pixel_of(const Sliding& s, u32 index) {
    return {index / s.pixels_x / s.pixels_y, index / s.pixels_x % s.pixels_y, index % s.pixels_x};
}

// Copies eight numbers from `matrix` + `at`, or zeroes them where `at` is negative.
template <class T>
DEVICE void copy_eight(u32 shared, const T* matrix, i64 at) {
    copy_async_16(shared, at < 0 ? matrix : matrix + at, at < 0 ? 0 : 16);
}

// A thread's share of an operand whose rows are pixels and whose k is taps, then channels.
template <class T, class Tile>
struct PixelRows {
    static constexpr u32 LINE_STEP = THREADS / Tile::CHUNKS;
    static constexpr u32 EACH = Tile::LINES / LINE_STEP;
    Pixel pixels[EACH];

    DEVICE PixelRows(const Sliding& s, u32 first_row) {
#pragma unroll
        for (u32 i = 0; i < EACH; ++i) pixels[i] = pixel_of(s, first_row + threadIdx.x / Tile::CHUNKS + i * LINE_STEP);
    }

    DEVICE void load(u32 shared, const Sliding& s, const T* images, u32 first_row, u32 rows, u32 k, u32 depth,
                     u32 each) {
        k += threadIdx.x % Tile::CHUNKS * Tile::EACH;
        u32 tap = k / each;
        u32 channel = k % each;
#pragma unroll
        for (u32 i = 0; i < EACH; ++i) {
            u32 line = threadIdx.x / Tile::CHUNKS + i * LINE_STEP;
            i64 at = -1;
            if (k < depth && first_row + line < rows) {
                at = s.read(pixels[i].image, pixels[i].y, pixels[i].x, tap / s.taps_x, tap % s.taps_x);
                if (at >= 0) at += channel;
            }
            copy_eight(shared + Tile::at(line, threadIdx.x % Tile::CHUNKS), images, at);
        }
    }
};

// Copies a tile whose lines are steps of k, by `place`, which gives where a line and eight neighbours along it start.
template <class T, class Tile, class Place>
DEVICE void load_lines(u32 shared, const T* matrix, Place place) {
    constexpr u32 LINE_STEP = THREADS / Tile::CHUNKS;
#pragma unroll
    for (u32 i = 0; i < Tile::LINES / LINE_STEP; ++i) {
        u32 line = threadIdx.x / Tile::CHUNKS + i * LINE_STEP;
        u32 chunk = threadIdx.x % Tile::CHUNKS;
        copy_eight(shared + Tile::at(line, chunk), matrix, place(line, chunk * Tile::EACH));
    }
}

template <class T, u32 DIRECTION>
__global__ void __launch_bounds__(THREADS, 3)
    conv_nhwc(WindowParams p, u32 groups, u32 phases_x, u32 phases, u32 split, T* out, f32* partial, const T* images,
              const T* other, const T* bias) {
    // Of the weight's gradient both operands' lines are steps of k.
    using TileA = OperandTile<T, ROWS, DEPTH, DIRECTION == WEIGHT>;
    using TileB = OperandTile<T, WIDTH, DEPTH, DIRECTION != FORWARD>;
    using Sums = WarpSums<ROWS / 32, WIDTH / 32>;
    constexpr u32 STAGE = TileA::BYTES + TileB::BYTES;
    static_assert(STAGES * STAGE >= THREADS / 32 * Sums::SLAB * 4, "the epilogue's slabs fit into the stages");
    __shared__ uint4 stages[STAGES * STAGE / 16];
    // Where the tile's rows start in the output.
    __shared__ i64 row_starts[ROWS];
    u32 shared = shared_address(stages);
    u32 inputs = p.channels / groups;
    u32 outputs = p.outputs / groups;
    u32 kernel = p.kernel_y * p.kernel_x;
    u32 warp = threadIdx.x / 32;
    u32 row_at = warp / 2 * (ROWS / 2);
    u32 column_at = warp % 2 * (WIDTH / 2);

    for (u32 index = blockIdx.z; index < groups * phases; index += gridDim.z) {
        u32 group = index % groups;
        u32 phase = index / groups;
        Sliding s = sliding<DIRECTION>(p, phase, phases_x);
        u32 pixels = p.batch * s.pixels_y * s.pixels_x;
        // Channels of a tap.
        u32 each = DIRECTION == INPUT ? outputs : inputs;
        u32 taps = s.taps_y * s.taps_x;
        u32 rows = DIRECTION == WEIGHT ? outputs : pixels;
        u32 columns = DIRECTION == FORWARD ? outputs : DIRECTION == INPUT ? inputs : kernel * inputs;
        u32 depth = DIRECTION == WEIGHT ? pixels : taps * each;
        u32 column_tiles = (columns + WIDTH - 1) / WIDTH;
        u32 first_column = blockIdx.x % column_tiles * WIDTH;
        u32 first_row = blockIdx.x / column_tiles * ROWS;
        // Phases have different numbers of pixels; the grid is of the largest.
        if (first_row >= rows) continue;
        u32 begin_k = blockIdx.y * split;
        u32 end_k = min(depth, begin_k + split);
        u32 slices = begin_k < end_k ? (end_k - begin_k + DEPTH - 1) / DEPTH : 0;

        u32 row = first_row + threadIdx.x;
        if constexpr (DIRECTION == WEIGHT) {
            row_starts[threadIdx.x] = static_cast<i64>(group * outputs + row) * columns;
        } else if constexpr (DIRECTION == FORWARD) {
            row_starts[threadIdx.x] = static_cast<i64>(row) * p.outputs + group * outputs;
        } else {
            Pixel pixel = pixel_of(s, row);
            u32 y = pixel.y * p.stride_y + phase / phases_x;
            u32 x = pixel.x * p.stride_x + phase % phases_x;
            row_starts[threadIdx.x] =
                ((static_cast<i64>(pixel.image) * p.input_y + y) * p.input_x + x) * p.channels + group * inputs;
        }

        // The operands of this group. `images` are read around pixels, `other` is the weight or y's gradient.
        const T* of_images = images + group * (DIRECTION == INPUT ? outputs : inputs);
        const T* of_other = DIRECTION == WEIGHT ? other + group * outputs
                                                : other + static_cast<i64>(group) * outputs * kernel * inputs;
        PixelRows<T, OperandTile<T, ROWS, DEPTH, false>> pixel_rows(s, first_row);
        u32 asked = 0;
        auto ask = [&]() {
            if (asked < slices) {
                u32 stage = shared + asked % STAGES * STAGE;
                u32 stage_b = stage + TileA::BYTES;
                u32 k = begin_k + asked * DEPTH;
                if constexpr (DIRECTION != WEIGHT) {
                    pixel_rows.load(stage, s, of_images, first_row, rows, k, end_k, each);
                }
                if constexpr (DIRECTION == FORWARD) {
                    load_lines<T, TileB>(stage_b, of_other, [&](u32 line, u32 inner) -> i64 {
                        u32 column = first_column + line;
                        if (column >= columns || k + inner >= end_k) return -1;
                        return static_cast<i64>(column) * depth + k + inner;
                    });
                } else if constexpr (DIRECTION == INPUT) {
                    load_lines<T, TileB>(stage_b, of_other, [&](u32 line, u32 inner) -> i64 {
                        if (k + line >= end_k || first_column + inner >= columns) return -1;
                        u32 tap = (k + line) / each;
                        u32 tap_y = s.first_y + tap / s.taps_x * s.each_y;
                        u32 tap_x = s.first_x + tap % s.taps_x * s.each_x;
                        u32 output = (k + line) % each;
                        u32 position = tap_y * p.kernel_x + tap_x;
                        return (static_cast<i64>(output) * kernel + position) * inputs + first_column + inner;
                    });
                } else {
                    load_lines<T, TileA>(stage, of_other, [&](u32 line, u32 inner) -> i64 {
                        if (k + line >= end_k || first_row + inner >= rows) return -1;
                        return static_cast<i64>(k + line) * p.outputs + first_row + inner;
                    });
                    load_lines<T, TileB>(stage_b, of_images, [&](u32 line, u32 inner) -> i64 {
                        u32 column = first_column + inner;
                        if (k + line >= end_k || column >= columns) return -1;
                        Pixel pixel = pixel_of(s, k + line);
                        u32 tap = column / inputs;
                        i64 at = s.read(pixel.image, pixel.y, pixel.x, tap / p.kernel_x, tap % p.kernel_x);
                        return at < 0 ? -1 : at + column % inputs;
                    });
                }
            }
            ++asked;
            copy_async_commit();
        };
#pragma unroll
        for (u32 i = 0; i < STAGES - 1; ++i) ask();

        Sums sums;
        sums.clear();
        for (u32 slice = 0; slice < slices; ++slice) {
            copy_async_wait<STAGES - 2>();
            // Behind it this slice is there for all, and all have read the stage that is filled next.
            __syncthreads();
            ask();
            u32 stage = shared + slice % STAGES * STAGE;
            sums.template multiply<T, TileA, TileB>(stage, stage + TileA::BYTES, row_at, column_at);
        }
        copy_async_wait<0>();
        __syncthreads();

        bool parts = split < depth;
        sums.put_runs(reinterpret_cast<f32*>(stages) + warp * Sums::SLAB, [&](f32(&run)[8], u32 row, u32 column) {
            row += row_at;
            column += first_column + column_at;
            // Channels are multiples of eight: runs are whole.
            if (first_row + row >= rows || column >= columns) return;
            i64 at = row_starts[row] + column;
            if (parts) {
                i64 len = static_cast<i64>(p.outputs) * columns;
                store_run<f32, 8>(partial + blockIdx.y * len + at, true, 8, run);
                return;
            }
            if (p.has_bias) {
                const T* from = bias + group * columns + column;
#pragma unroll
                for (u32 i = 0; i < 8; ++i) run[i] += to_f32(from[i]);
            }
            store_run<T, 8>(out + at, true, 8, run);
        });
        // The next group's slices and starts overwrite what slower warps may still be reading.
        __syncthreads();
    }
}

// ---- Instantiations ----

#define MAKE(T, DIRECTION)                                                                                         \
    template __global__ void conv_nhwc<T, DIRECTION>(WindowParams, u32, u32, u32, u32, T*, f32*, const T*, const T*, \
                                                     const T*);
#define MAKE_DIRECTIONS(T) MAKE(T, FORWARD) MAKE(T, INPUT) MAKE(T, WEIGHT)
MAKE_DIRECTIONS(f16)
MAKE_DIRECTIONS(bf16)
