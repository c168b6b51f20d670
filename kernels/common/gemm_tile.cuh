// What the kernels of gemm.cu share: which tile a block computes, where matrices of a batch lie, where sums go.
#pragma once

#include "common/epilogue.cuh"
#include "common/types.cuh"

// Rows of tiles that neighbouring blocks walk together, so that what a wave reads of A and B fits the L2 cache.
constexpr u32 ROWS_TOGETHER = 8;

// The first row and column of a tile of ROWS×COLUMNS.
template <u32 ROWS, u32 COLUMNS>
DEVICE void place_tile(const GemmParams& p, u32 tile, i32& first_row, i32& first_column) {
    u32 row_tiles = (p.m + ROWS - 1) / ROWS;
    u32 column_tiles = (p.n + COLUMNS - 1) / COLUMNS;
    u32 group = tile / (ROWS_TOGETHER * column_tiles);
    u32 inside = tile % (ROWS_TOGETHER * column_tiles);
    u32 rows = min(row_tiles - group * ROWS_TOGETHER, ROWS_TOGETHER);
    first_row = (group * ROWS_TOGETHER + inside % rows) * ROWS;
    first_column = inside / rows * COLUMNS;
}

// The first element of a matrix of the batch, from the strides of both batch axes.
DEVICE i64 matrix_at(const GemmParams& p, u32 matrix, i64 outer, i64 inner) {
    return matrix / p.inner * outer + matrix % p.inner * inner;
}

// Takes the sums of one matrix: through the epilogue to the output, or as they are to the splits' memory.
template <class T>
struct Output {
    T* out;
    T* before;
    f32* partial;
    const T* bias;
    const T* residual;

    DEVICE Output(const GemmParams& p, u32 matrix, u32 split, T* out, T* before, f32* partial, const T* bias,
                  const T* residual) {
        i64 len = static_cast<i64>(p.m) * p.n;
        this->out = out + matrix * len;
        this->before = before + matrix * len;
        this->partial = partial + (static_cast<i64>(split) * p.batch + matrix) * len;
        this->bias = bias;
        this->residual = residual + matrix_at(p, matrix, p.outer_residual, p.inner_residual);
    }

    // LANES neighbouring columns of a row; those outside the matrix are dropped.
    template <u32 LANES>
    DEVICE void put(const GemmParams& p, f32 (&run)[LANES], i32 row, i32 column) {
        if (row >= p.m || column >= p.n) return;
        u32 exist = min(LANES, static_cast<u32>(p.n - column));
        i64 at = static_cast<i64>(row) * p.n + column;
        if (p.split < p.k) {
            // The splits' memory starts at a multiple of 16 bytes, and so does a row whose length is one of 4.
            store_run<f32, LANES>(partial + at, p.n % 4 == 0, exist, run);
            return;
        }
        const EpilogueParams& e = p.epilogue;
        finish<T, LANES>(e, run, exist, out + at, before + at, bias + column * e.bias_stride,
                         residual + row * e.residual_row + column * e.residual_column);
    }
};
