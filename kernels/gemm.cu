// Matrix products: out = activation(alpha·op(A)·op(B) + beta·out + bias + residual), of batches.
//
// Layout: row-major; op transposes or not, so A is stored M×K or K×M and B is K×N or N×K, any distance between lines;
// the output is contiguous. Any size; 16-byte loads where VECTOR says that addresses and strides allow them.
// Floor: 2·M·N·K/P operations; DRAM bytes = waves·(rows + columns that a wave covers)·K·b + M·N·b.
//
// gemm_simt (f32, IEEE, on the ordinary cores): a block computes a tile of 64Q×64Q from slices of K in shared memory,
// two buffers deep: the next slice is in registers while the present one is multiplied. A thread holds Q×Q quads of 4×4
// (register tiling as described by S. Boehm, "How to Optimize a CUDA Matmul Kernel", 2022).
//
// gemm_mma (f16 and bf16; f32 as TF32, rounded to nearest; on the tensor cores): four warps compute a tile of SIDE×SIDE, a
// quarter each, from STAGES slices of K that are copied beside the computation (cp.async), one barrier a slice.
// Products are exact, sums are f32. (Hopper's own: gemm_wgmma.cu.)
//
// Where M·N is small, K is split among blocks, which store their sums for gemm_sum_splits to add in order: the bits
// depend on the plan only. Sums are f32, over K in ascending order.
// No pointer is __restrict__: the output is read before it is written (beta).

#include "common/epilogue.cuh"
#include "common/gemm_tile.cuh"
#include "common/mma_tile.cuh"
#include "common/types.cuh"

// ---- f32 on the ordinary cores ----

constexpr u32 SIMT_THREADS = 256;
// Eight warps as 4 × 2, lanes as 4 × 8, a quad of 4×4 each: 64×64 for each step of Q.
constexpr u32 WARP_COLUMNS = 2;
constexpr u32 LANE_COLUMNS = 8;

template <u32 Q>
struct Tile {
    static constexpr u32 SIDE = 64 * Q;
    // One 16-byte load of A and one of B for each thread and slice.
    static constexpr u32 DEPTH = 16 / Q;
    // Four more, so that the transposing stores of a warp fall into different banks.
    static constexpr u32 STRIDE = SIDE + 4;
};

// Four neighbours along the contiguous direction, of which `exist` exist; zero beyond.
template <bool VECTOR>
DEVICE float4 load_quad(const f32* at, i32 exist) {
    if (VECTOR && exist >= 4) return *reinterpret_cast<const float4*>(at);
    float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (exist > 0) quad.x = at[0];
    if (exist > 1) quad.y = at[1];
    if (exist > 2) quad.z = at[2];
    if (exist > 3) quad.w = at[3];
    return quad;
}

// One thread's share of the slices of A (or of B): rows are the M (or N) direction.
// ROWS_CONTIGUOUS: stored K×rows, so the quad runs along the rows; else stored rows×K, and it runs along K.
template <u32 Q, bool ROWS_CONTIGUOUS, bool VECTOR>
struct Slice {
    static constexpr i32 DEPTH = Tile<Q>::DEPTH;
    static constexpr u32 PER_LINE = (ROWS_CONTIGUOUS ? Tile<Q>::SIDE : Tile<Q>::DEPTH) / 4;

    // Where this thread's next quad starts.
    const f32* at;
    // How many of its rows exist, if ROWS_CONTIGUOUS; else whether its row does (4 or 0).
    i32 rows_left;
    // How much of K is left from the quad on.
    i32 k_left;

    DEVICE Slice(const f32* matrix, i64 stride, i32 first_row, i32 rows, i32 first_k, i32 end_k) {
        i32 line = threadIdx.x / PER_LINE;
        i32 quad = threadIdx.x % PER_LINE * 4;
        if (ROWS_CONTIGUOUS) {
            at = matrix + (first_k + line) * stride + (first_row + quad);
            rows_left = rows - (first_row + quad);
            k_left = end_k - (first_k + line);
        } else {
            at = matrix + (first_row + line) * stride + (first_k + quad);
            rows_left = first_row + line < rows ? 4 : 0;
            k_left = end_k - (first_k + quad);
        }
    }

    // The present quad; then moves on by a slice.
    DEVICE float4 load(i64 stride) {
        i32 exist = ROWS_CONTIGUOUS ? (k_left > 0 ? rows_left : 0) : (rows_left > 0 ? k_left : 0);
        float4 quad = load_quad<VECTOR>(at, exist);
        at += ROWS_CONTIGUOUS ? DEPTH * stride : DEPTH;
        k_left -= DEPTH;
        return quad;
    }

    // Shared memory holds the slice as DEPTH lines of rows.
    static DEVICE void store(f32 (*shared)[Tile<Q>::STRIDE], float4 quad) {
        u32 line = threadIdx.x / PER_LINE;
        u32 at = threadIdx.x % PER_LINE * 4;
        if (ROWS_CONTIGUOUS) {
            *reinterpret_cast<float4*>(&shared[line][at]) = quad;
        } else {
            shared[at][line] = quad.x;
            shared[at + 1][line] = quad.y;
            shared[at + 2][line] = quad.z;
            shared[at + 3][line] = quad.w;
        }
    }
};

template <u32 Q, bool TRANSPOSE_A, bool TRANSPOSE_B, bool VECTOR>
__global__ void __launch_bounds__(SIMT_THREADS, 2)
    gemm_simt(GemmParams p, f32* out, f32* before, f32* partial, const f32* a, const f32* b, const f32* bias,
              const f32* residual) {
    using A = Slice<Q, TRANSPOSE_A, VECTOR>;
    using B = Slice<Q, !TRANSPOSE_B, VECTOR>;
    constexpr u32 SIDE = Tile<Q>::SIDE;
    constexpr u32 DEPTH = Tile<Q>::DEPTH;
    static_assert(2 * DEPTH * Tile<Q>::STRIDE >= SIMT_THREADS * Q * 4, "the epilogue's rows fit into the slices of A");
    __shared__ alignas(16) f32 shared_a[2][DEPTH][Tile<Q>::STRIDE];
    __shared__ alignas(16) f32 shared_b[2][DEPTH][Tile<Q>::STRIDE];

    i32 first_row, first_column;
    place_tile<SIDE, SIDE>(p, blockIdx.x, first_row, first_column);
    i32 begin_k = blockIdx.y * p.split;
    i32 end_k = min(p.k, begin_k + p.split);
    u32 warp = threadIdx.x / 32;
    u32 lane = threadIdx.x % 32;
    // Quad (i, j) of the thread starts at row_at + 16·i and column_at + 32·j of the tile.
    u32 row_at = warp / WARP_COLUMNS * (16 * Q) + lane / LANE_COLUMNS * 4;
    u32 column_at = warp % WARP_COLUMNS * (32 * Q) + lane % LANE_COLUMNS * 4;

    for (i32 matrix = blockIdx.z; matrix < p.batch; matrix += gridDim.z) {
        f32 sum[Q * 4][Q * 4] = {};

        A slice_a(a + matrix_at(p, matrix, p.outer_a, p.inner_a), p.lda, first_row, p.m, begin_k, end_k);
        B slice_b(b + matrix_at(p, matrix, p.outer_b, p.inner_b), p.ldb, first_column, p.n, begin_k, end_k);
        float4 next_a = slice_a.load(p.lda);
        float4 next_b = slice_b.load(p.ldb);
        A::store(shared_a[0], next_a);
        B::store(shared_b[0], next_b);
        __syncthreads();

        u32 buffer = 0;
        for (i32 first_k = begin_k; first_k < end_k; first_k += DEPTH) {
            bool more = first_k < end_k - static_cast<i32>(DEPTH);
            if (more) {
                next_a = slice_a.load(p.lda);
                next_b = slice_b.load(p.ldb);
            }
// Unrolled further, the loads of later steps would not fit beside the sums.
#pragma unroll 2
            for (u32 k = 0; k < DEPTH; ++k) {
                f32 left[Q * 4], right[Q * 4];
#pragma unroll
                for (u32 i = 0; i < Q; ++i) {
                    *reinterpret_cast<float4*>(&left[i * 4]) =
                        *reinterpret_cast<const float4*>(&shared_a[buffer][k][row_at + 16 * i]);
                    *reinterpret_cast<float4*>(&right[i * 4]) =
                        *reinterpret_cast<const float4*>(&shared_b[buffer][k][column_at + 32 * i]);
                }
#pragma unroll
                for (u32 i = 0; i < Q * 4; ++i) {
#pragma unroll
                    for (u32 j = 0; j < Q * 4; ++j) sum[i][j] = __fmaf_rn(left[i], right[j], sum[i][j]);
                }
            }
            if (more) {
                // The other buffer was last read before the barrier that ended the previous step.
                A::store(shared_a[buffer ^ 1], next_a);
                B::store(shared_b[buffer ^ 1], next_b);
                __syncthreads();
                buffer ^= 1;
            }
        }

        Output<f32> to(p, matrix, blockIdx.y, out, before, partial, bias, residual);
        // The epilogue is a loop, for unrolled its code and registers would not fit beside the sums: a thread passes
        // its first row through a place of its own in the slices' memory, and moves the other rows up.
        __syncthreads();
        float4* stage = reinterpret_cast<float4*>(&shared_a[0][0][0]) + threadIdx.x;
#pragma unroll 1
        for (u32 i = 0; i < Q * 4; ++i) {
#pragma unroll
            for (u32 j = 0; j < Q; ++j) {
                stage[j * SIMT_THREADS] =
                    make_float4(sum[0][j * 4], sum[0][j * 4 + 1], sum[0][j * 4 + 2], sum[0][j * 4 + 3]);
            }
#pragma unroll
            for (u32 j = 0; j < Q * 4; ++j) {
#pragma unroll
                for (u32 later = 1; later < Q * 4; ++later) sum[later - 1][j] = sum[later][j];
            }
            i32 row = first_row + row_at + i / 4 * 16 + i % 4;
#pragma unroll 1
            for (u32 j = 0; j < Q; ++j) {
                float4 quad = stage[j * SIMT_THREADS];
                f32 run[4] = {quad.x, quad.y, quad.z, quad.w};
                to.put<4>(p, run, row, first_column + column_at + 32 * j);
            }
        }
        // The next matrix overwrites what slower warps may still be reading.
        __syncthreads();
    }
}

// ---- f16, bf16 and TF32 on the tensor cores ----

constexpr u32 MMA_THREADS = 128;

template <class T, u32 SIDE, u32 STAGES, bool TRANSPOSE_A, bool TRANSPOSE_B, bool VECTOR>
__global__ void __launch_bounds__(MMA_THREADS, SIDE == 128 ? 2 : 3)
    gemm_mma(GemmParams p, T* out, T* before, f32* partial, const T* a, const T* b, const T* bias, const T* residual) {
    // 64 or 128 bytes of K: a slice of both operands takes 16 KiB.
    constexpr u32 DEPTH = 8192 / SIDE / sizeof(T);
    using TileA = OperandTile<T, SIDE, DEPTH, TRANSPOSE_A>;
    using TileB = OperandTile<T, SIDE, DEPTH, !TRANSPOSE_B>;
    using Sums = WarpSums<SIDE / 32, SIDE / 32>;
    constexpr u32 STAGE = TileA::BYTES + TileB::BYTES;
    static_assert(STAGES * STAGE >= MMA_THREADS / 32 * Sums::SLAB * 4, "the epilogue's slabs fit into the stages");
    extern __shared__ uint4 stages[];
    u32 shared = shared_address(stages);

    i32 first_row, first_column;
    place_tile<SIDE, SIDE>(p, blockIdx.x, first_row, first_column);
    i32 begin_k = blockIdx.y * p.split;
    i32 end_k = min(p.k, begin_k + p.split);
    u32 slices = (end_k - begin_k + DEPTH - 1) / DEPTH;
    u32 warp = threadIdx.x / 32;
    u32 row_at = warp / 2 * (SIDE / 2);
    u32 column_at = warp % 2 * (SIDE / 2);

    for (i32 matrix = blockIdx.z; matrix < p.batch; matrix += gridDim.z) {
        MatrixLoader<TileA, T, TRANSPOSE_A, VECTOR, MMA_THREADS> load_a(
            a + matrix_at(p, matrix, p.outer_a, p.inner_a), p.lda, first_row, p.m, begin_k, end_k);
        MatrixLoader<TileB, T, !TRANSPOSE_B, VECTOR, MMA_THREADS> load_b(
            b + matrix_at(p, matrix, p.outer_b, p.inner_b), p.ldb, first_column, p.n, begin_k, end_k);
        // A group of copies for every slice, empty past the last, so that counting groups counts slices.
        u32 asked = 0;
        auto ask = [&]() {
            if (asked < slices) {
                u32 stage = shared + asked % STAGES * STAGE;
                load_a.load(stage);
                load_b.load(stage + TileA::BYTES);
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

        Output<T> to(p, matrix, blockIdx.y, out, before, partial, bias, residual);
        sums.put_runs(reinterpret_cast<f32*>(stages) + warp * Sums::SLAB, [&](f32(&run)[8], u32 row, u32 column) {
            to.template put<8>(p, run, first_row + row_at + row, first_column + column_at + column);
        });
        // The next matrix overwrites what slower warps may still be reading.
        __syncthreads();
    }
}

// ---- Sums of a split K ----

template <class T>
__global__ void __launch_bounds__(256) gemm_sum_splits(GemmParams p, T* out, T* before, const f32* partial,
                                                       const T* bias, const T* residual) {
    u32 matrix_len = static_cast<u32>(p.m) * p.n;
    u32 count = matrix_len * p.batch;
    u32 splits = (p.k + p.split - 1) / p.split;
    for (u32 at = blockIdx.x * blockDim.x + threadIdx.x; at < count; at += gridDim.x * blockDim.x) {
        f32 sum[1] = {partial[at]};
        for (u32 split = 1; split < splits; ++split) sum[0] += partial[static_cast<u64>(split) * count + at];
        u32 matrix = at / matrix_len;
        u32 row = at % matrix_len / p.n;
        u32 column = at % p.n;
        const EpilogueParams& e = p.epilogue;
        const T* residual_at = residual + matrix_at(p, matrix, p.outer_residual, p.inner_residual) +
                               row * e.residual_row + column * e.residual_column;
        finish<T, 1>(e, sum, 1, out + at, before + at, bias + column * e.bias_stride, residual_at);
    }
}

// ---- Instantiations ----

#define MAKE(Q, TA, TB, VECTOR)                                                                                       \
    template __global__ void gemm_simt<Q, TA, TB, VECTOR>(GemmParams, f32*, f32*, f32*, const f32*, const f32*,       \
                                                          const f32*, const f32*);
#define MAKE_LAYOUTS(Q, VECTOR) \
    MAKE(Q, false, false, VECTOR) MAKE(Q, false, true, VECTOR) MAKE(Q, true, false, VECTOR) MAKE(Q, true, true, VECTOR)
MAKE_LAYOUTS(1, false)
MAKE_LAYOUTS(1, true)
MAKE_LAYOUTS(2, false)
MAKE_LAYOUTS(2, true)

#define MAKE_MMA(T, SIDE, STAGES, TA, TB, VECTOR)                                                                  \
    template __global__ void gemm_mma<T, SIDE, STAGES, TA, TB, VECTOR>(GemmParams, T*, T*, f32*, const T*, const T*, \
                                                                       const T*, const T*);
#define MAKE_MMA_LAYOUTS(T, SIDE, STAGES, VECTOR)                                                      \
    MAKE_MMA(T, SIDE, STAGES, false, false, VECTOR) MAKE_MMA(T, SIDE, STAGES, false, true, VECTOR)     \
    MAKE_MMA(T, SIDE, STAGES, true, false, VECTOR) MAKE_MMA(T, SIDE, STAGES, true, true, VECTOR)
#define MAKE_MMA_TILES(T)                                                   \
    MAKE_MMA_LAYOUTS(T, 128, 3, true)                                       \
    MAKE_MMA_LAYOUTS(T, 64, 3, true) MAKE_MMA_LAYOUTS(T, 64, 3, false)
MAKE_MMA_LAYOUTS(f16, 128, 4, true)
MAKE_MMA_LAYOUTS(bf16, 128, 4, true)
MAKE_MMA_TILES(f16)
MAKE_MMA_TILES(bf16)
MAKE_MMA_TILES(f32)

#define MAKE_SUM(T) \
    template __global__ void gemm_sum_splits<T>(GemmParams, T*, T*, const f32*, const T*, const T*);
MAKE_SUM(f32)
MAKE_SUM(f16)
MAKE_SUM(bf16)
