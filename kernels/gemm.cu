// Matrix products in IEEE f32 on the ordinary cores: out = activation(alpha·op(A)·op(B) + beta·C + bias) + residual.
//
// Layout: row-major, batched; op transposes or not, so A is stored M×K or K×M and B is K×N or N×K. Any size, any
// alignment; 16-byte loads where VECTOR says that addresses and row strides allow them.
// Floor: 2·M·N·K/P operations; DRAM bytes as a wave covers rows and columns.
// Algorithm: a block computes a tile of 64Q×64Q from slices of K in shared memory, two buffers deep: the next slice is
// in registers while the present one is multiplied. A thread holds Q×Q quads of 4×4 (register tiling as described by
// S. Boehm, "How to Optimize a CUDA Matmul Kernel", 2022). K is summed in ascending order by one thread.
// The output may be C or the residual, element for element: no pointer is __restrict__.

#include "common/activation.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;
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

    DEVICE Slice(const f32* matrix, i64 stride, i32 first_row, i32 rows, i32 k) {
        i32 line = threadIdx.x / PER_LINE;
        i32 quad = threadIdx.x % PER_LINE * 4;
        if (ROWS_CONTIGUOUS) {
            at = matrix + line * stride + (first_row + quad);
            rows_left = rows - (first_row + quad);
            k_left = k - line;
        } else {
            at = matrix + (first_row + line) * stride + quad;
            rows_left = first_row + line < rows ? 4 : 0;
            k_left = k - quad;
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
__global__ void __launch_bounds__(THREADS, 2) gemm(GemmParams p, f32* out, const f32* a, const f32* b, const f32* c,
                                                   const f32* bias, const f32* residual) {
    using A = Slice<Q, TRANSPOSE_A, VECTOR>;
    using B = Slice<Q, !TRANSPOSE_B, VECTOR>;
    constexpr u32 SIDE = Tile<Q>::SIDE;
    constexpr u32 DEPTH = Tile<Q>::DEPTH;
    static_assert(2 * DEPTH * Tile<Q>::STRIDE >= THREADS * Q * 4, "the epilogue's rows fit into the slices of A");
    __shared__ alignas(16) f32 shared_a[2][DEPTH][Tile<Q>::STRIDE];
    __shared__ alignas(16) f32 shared_b[2][DEPTH][Tile<Q>::STRIDE];

    u32 column_tiles = (p.n + SIDE - 1) / SIDE;
    i32 first_row = blockIdx.x / column_tiles * SIDE;
    i32 first_column = blockIdx.x % column_tiles * SIDE;
    u32 warp = threadIdx.x / 32;
    u32 lane = threadIdx.x % 32;
    // Quad (i, j) of the thread starts at row_at + 16·i and column_at + 32·j of the tile.
    u32 row_at = warp / WARP_COLUMNS * (16 * Q) + lane / LANE_COLUMNS * 4;
    u32 column_at = warp % WARP_COLUMNS * (32 * Q) + lane % LANE_COLUMNS * 4;

    for (i32 matrix = blockIdx.z; matrix < p.batch; matrix += gridDim.z) {
        f32 sum[Q * 4][Q * 4] = {};

        A slice_a(a + matrix * p.batch_a, p.lda, first_row, p.m, p.k);
        B slice_b(b + matrix * p.batch_b, p.ldb, first_column, p.n, p.k);
        float4 next_a = slice_a.load(p.lda);
        float4 next_b = slice_b.load(p.ldb);
        A::store(shared_a[0], next_a);
        B::store(shared_b[0], next_b);
        __syncthreads();

        u32 buffer = 0;
        for (i32 first_k = 0; first_k < p.k; first_k += DEPTH) {
            bool more = first_k < p.k - static_cast<i32>(DEPTH);
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

        f32* matrix_out = out + matrix * p.batch_o;
        const f32* matrix_c = c + matrix * p.batch_c;
        const f32* matrix_r = residual + matrix * p.batch_r;
        // The epilogue is a loop, for unrolled its code and registers would not fit beside the sums: a thread passes
        // its first row through a place of its own in the slices' memory, and moves the other rows up.
        __syncthreads();
        f32* stage = &shared_a[0][0][0] + threadIdx.x;
#pragma unroll 1
        for (u32 i = 0; i < Q * 4; ++i) {
#pragma unroll
            for (u32 j = 0; j < Q * 4; ++j) {
                stage[j * THREADS] = sum[0][j];
#pragma unroll
                for (u32 later = 1; later < Q * 4; ++later) sum[later - 1][j] = sum[later][j];
            }
            i32 row = first_row + row_at + i / 4 * 16 + i % 4;
            if (row >= p.m) continue;
#pragma unroll 1
            for (u32 j = 0; j < Q * 4; ++j) {
                i32 column = first_column + column_at + j / 4 * 32 + j % 4;
                if (column >= p.n) continue;
                f32 value = p.alpha * stage[j * THREADS];
                if (p.beta != 0.0f) value = __fmaf_rn(p.beta, matrix_c[row * p.ldc + column], value);
                if (p.has_bias) value += bias[column];
                value = activate(p.activation, value);
                if (p.has_residual) value += matrix_r[row * p.ldr + column];
                matrix_out[row * p.ldo + column] = value;
            }
        }
        // The next matrix overwrites what slower warps may still be reading.
        __syncthreads();
    }
}

// ---- Instantiations ----

#define MAKE(Q, TA, TB, VECTOR)                                                                                      \
    template __global__ void gemm<Q, TA, TB, VECTOR>(GemmParams, f32*, const f32*, const f32*, const f32*, const f32*, \
                                                     const f32*);
#define MAKE_LAYOUTS(Q, VECTOR) \
    MAKE(Q, false, false, VECTOR) MAKE(Q, false, true, VECTOR) MAKE(Q, true, false, VECTOR) MAKE(Q, true, true, VECTOR)
MAKE_LAYOUTS(1, false)
MAKE_LAYOUTS(1, true)
MAKE_LAYOUTS(2, false)
MAKE_LAYOUTS(2, true)
