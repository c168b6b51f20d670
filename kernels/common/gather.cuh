// The windows of a convolution as an operand of a matrix product: which element of an image stands where, and the
// gathering of it while a tile is loaded. An address is the sum of a part that depends on the column and one that
// depends on k, and so are the positions along H and W that say whether it is padding.
#pragma once

#include "common/types.cuh"

constexpr u32 FORWARD = 0;
constexpr u32 INPUT = 1;
constexpr u32 WEIGHT = 2;

constexpr u32 THREADS = 128;
constexpr u32 COLUMNS = 128;

// ---- Which element of which window ----

// What an index of the columns or of K contributes: to an address, and to a position along H and W.
struct alignas(16) Place {
    i64 offset;
    i32 y;
    i32 x;
};

// Added to any position it stays outside every image.
constexpr i32 OUTSIDE = -(1 << 30);

// The product that a block works on: ConvParams, narrowed to its group and phase.
struct Problem {
    u32 columns;
    u32 depth;
    // Extents of the middle and of the innermost digit of a column's index and of k.
    u32 column_sizes[2];
    u32 k_sizes[2];
    i64 a_start;
    i64 b_start;
    i64 out_start;
    i32 y;
    i32 x;
};

// Of the positions phase, phase + stride, …: how many there are, which taps reach them (first, first + step, …), and the
// output that the first tap of the first position reads.
struct Phase {
    u32 positions;
    u32 taps;
    u32 first;
    i32 output;
};

DEVICE Phase phase_of(u32 phase, u32 len, u32 kernel, u32 stride, u32 padding, u32 dilation, u32 step) {
    Phase result = {phase < len ? (len - phase + stride - 1) / stride : 0, 0, 0, 0};
    for (u32 tap = 0; tap < min(step, kernel); ++tap) {
        i32 distance = static_cast<i32>(phase + padding) - static_cast<i32>(tap * dilation);
        if (distance % static_cast<i32>(stride) == 0) {
            result.first = tap;
            result.taps = (kernel - tap + step - 1) / step;
            result.output = distance / static_cast<i32>(stride);
        }
    }
    return result;
}

template <u32 DIRECTION>
DEVICE Problem problem_of(const ConvParams& p, u32 index) {
    Problem result;
    u32 group = index % p.groups;
    result.a_start = group * p.a_group;
    result.b_start = group * p.b_group + p.b_start;
    result.out_start = group * p.out_group;
    result.y = p.y_start;
    result.x = p.x_start;
    if constexpr (DIRECTION == INPUT) {
        u32 phase = index / p.groups;
        Phase v = phase_of(phase / p.phases_x, p.input_y, p.kernel_y, p.stride_y, p.padding_y, p.dilation_y, p.step_y);
        Phase h = phase_of(phase % p.phases_x, p.input_x, p.kernel_x, p.stride_x, p.padding_x, p.dilation_x, p.step_x);
        result.column_sizes[0] = v.positions;
        result.column_sizes[1] = h.positions;
        result.k_sizes[0] = v.taps;
        result.k_sizes[1] = h.taps;
        // From one tap to the next, one output, one position: strides by the steps that they are given for.
        result.a_start += v.first * (p.a_k[1] / p.step_y) + h.first * (p.a_k[2] / p.step_x);
        result.b_start += v.output * p.b_column[1] + h.output * p.b_column[2];
        result.out_start += phase / p.phases_x * (p.out_column[1] / p.stride_y) +
                            phase % p.phases_x * (p.out_column[2] / p.stride_x);
        result.y = v.output;
        result.x = h.output;
    } else {
        result.column_sizes[0] = p.column_sizes[1];
        result.column_sizes[1] = p.column_sizes[2];
        result.k_sizes[0] = p.k_sizes[1];
        result.k_sizes[1] = p.k_sizes[2];
    }
    result.columns = p.column_sizes[0] * result.column_sizes[0] * result.column_sizes[1];
    result.depth = p.k_sizes[0] * result.k_sizes[0] * result.k_sizes[1];
    return result;
}

struct Digits {
    u32 outer, middle, inner;

    DEVICE Digits(u32 index, const u32 (&sizes)[2])
        : outer(index / sizes[1] / sizes[0]), middle(index / sizes[1] % sizes[0]), inner(index % sizes[1]) {}

    DEVICE i64 offset(const i64 (&strides)[3]) const {
        return outer * strides[0] + middle * strides[1] + inner * strides[2];
    }
};

// The place of a column of B.
DEVICE Place column_place(const ConvParams& p, const Problem& problem, u32 column) {
    if (column >= problem.columns) return {0, OUTSIDE, OUTSIDE};
    Digits digits(column, problem.column_sizes);
    return {digits.offset(p.b_column), static_cast<i32>(digits.middle) * p.column_y + problem.y,
            static_cast<i32>(digits.inner) * p.column_x + problem.x};
}

// One thread's part of the tiles of A (weights, or y's gradient) and of B (the windows), on its way to shared memory.
template <class T, u32 DIRECTION, u32 ROWS, u32 DEPTH>
struct Gather {
    // A is contiguous along k, and so are the windows where k runs over pixels: there the lanes run along k, and over
    // LINES rows or columns at a time. Elsewhere pixels run along the columns, of which each thread takes one.
    static constexpr u32 LINES = THREADS / DEPTH;
    T a[ROWS / LINES];
    T b[COLUMNS / LINES];

    // `columns`: the places of the tile's columns. `steps`: room for DEPTH places of each warp.
    DEVICE void load(const ConvParams& p, const Problem& problem, const T* from_a, const T* from_b,
                     const Place* columns, Place* steps, u32 first_row, u32 first_k, u32 end_k) {
        u32 k = first_k + threadIdx.x % DEPTH;
        u32 line = threadIdx.x / DEPTH;
        i64 place_a = 0;
        Place place_b = {0, OUTSIDE, OUTSIDE};
        if (k < end_k) {
            Digits digits(k, problem.k_sizes);
            place_a = digits.offset(p.a_k);
            place_b = {digits.offset(p.b_k), static_cast<i32>(digits.middle) * p.k_y,
                       static_cast<i32>(digits.inner) * p.k_x};
        }
        const T* base_a = from_a + problem.a_start + place_a;
        const T* base_b = from_b + problem.b_start;
#pragma unroll
        for (u32 i = 0; i < ROWS / LINES; ++i) {
            u32 row = first_row + line + i * LINES;
            a[i] = k < end_k && row < p.rows ? base_a[row * p.a_row] : T{};
        }
        if constexpr (DIRECTION == WEIGHT) {
#pragma unroll
            for (u32 i = 0; i < COLUMNS / LINES; ++i) b[i] = element(p, base_b, columns[line + i * LINES], place_b);
        } else {
            Place* own = steps + threadIdx.x / 32 * DEPTH;
            // The warp has read the places of the slice before.
            __syncwarp();
            if (threadIdx.x % 32 < DEPTH) own[threadIdx.x % DEPTH] = place_b;
            __syncwarp();
            Place column = columns[threadIdx.x];
#pragma unroll
            for (u32 i = 0; i < DEPTH; ++i) b[i] = element(p, base_b, column, own[i]);
        }
    }

    static DEVICE T element(const ConvParams& p, const T* base, const Place& column, const Place& k) {
        u32 y = static_cast<u32>(column.y) + static_cast<u32>(k.y);
        u32 x = static_cast<u32>(column.x) + static_cast<u32>(k.x);
        return y < p.limit_y && x < p.limit_x ? base[column.offset + k.offset] : T{};
    }
};

// What a block keeps of its columns: their places in B and in the output (-1 beyond the last).
struct ColumnTables {
    Place places[COLUMNS];
    i64 out[COLUMNS];
    Place steps[THREADS];

    DEVICE void fill(const ConvParams& p, const Problem& problem, u32 first_column) {
        u32 column = first_column + threadIdx.x;
        places[threadIdx.x] = column_place(p, problem, column);
        out[threadIdx.x] =
            column < problem.columns ? problem.out_start + Digits(column, problem.column_sizes).offset(p.out_column) : -1;
    }
};
