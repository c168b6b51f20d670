// Tiles of operands in shared memory, and their product on the tensor cores by the warps of a block (sm_80 and later).
//
// A tile is made of lines of 16-byte chunks: lines are rows (of A; columns of B) with K contiguous, or steps of K with
// the rows contiguous. Chunks are swizzled (xor by the line), so that the eight addresses of an 8×8 matrix fall into
// different banks in either direction.
#pragma once

#include "common/async_copy.cuh"
#include "common/mma.cuh"
#include "common/types.cuh"

// Rows × DEPTH numbers of T, of A or of B (whose rows here are its columns).
template <class T, u32 ROWS, u32 DEPTH, bool ROWS_CONTIGUOUS>
struct OperandTile {
    static constexpr u32 EACH = 16 / sizeof(T);
    static constexpr u32 LINES = ROWS_CONTIGUOUS ? DEPTH : ROWS;
    static constexpr u32 CHUNKS = (ROWS_CONTIGUOUS ? ROWS : DEPTH) / EACH;
    static constexpr u32 BYTES = LINES * CHUNKS * 16;
    // 32 bytes of K at a time: 16 numbers of two bytes, 8 of four.
    static constexpr u32 STEP = 32 / sizeof(T);
    static constexpr u32 STEPS = DEPTH / STEP;

    // The place of a chunk, in bytes.
    static DEVICE u32 at(u32 line, u32 chunk) {
        constexpr u32 SPAN = CHUNKS < 8 ? CHUNKS : 8;
        // 32-bit numbers of four lines at a time are read one by one where the rows are contiguous.
        constexpr u32 TURN = ROWS_CONTIGUOUS && sizeof(T) == 4 ? 2 : 1;
        return (line * CHUNKS + (chunk ^ line * TURN / (8 / SPAN) % SPAN)) * 16;
    }

    // One 32-bit number.
    static DEVICE u32 word(u32 shared, u32 k, u32 row) {
        u32 value;
        u32 from = shared + at(k, row / EACH) + row % EACH * 4;
        asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(from) : "memory");
        return to_tf32(value);
    }

    // The fragment of A for 16 rows and one step of K.
    static DEVICE void load_a(u32 (&a)[4], u32 shared, u32 row, u32 step) {
        u32 lane = threadIdx.x % 32;
        if constexpr (!ROWS_CONTIGUOUS) {
            ldmatrix(a, shared + at(row + lane % 16, step * 2 + lane / 16));
            round(a);
        } else if constexpr (sizeof(T) == 2) {
            ldmatrix_transposed(a, shared + at(step * STEP + lane % 8 + lane / 16 * 8, row / EACH + lane / 8 % 2));
        } else {
            u32 k = step * STEP + lane % 4;
            row += lane / 4;
            a[0] = word(shared, k, row);
            a[1] = word(shared, k, row + 8);
            a[2] = word(shared, k + 4, row);
            a[3] = word(shared, k + 4, row + 8);
        }
    }

    // The fragments of B for 16 columns: two numbers for the first eight, two for the others.
    static DEVICE void load_b(u32 (&b)[4], u32 shared, u32 column, u32 step) {
        u32 lane = threadIdx.x % 32;
        if constexpr (!ROWS_CONTIGUOUS) {
            ldmatrix(b, shared + at(column + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2));
            round(b);
        } else if constexpr (sizeof(T) == 2) {
            ldmatrix_transposed(b, shared + at(step * STEP + lane % 16, column / EACH + lane / 16));
        } else {
            u32 k = step * STEP + lane % 4;
            column += lane / 4;
            b[0] = word(shared, k, column);
            b[1] = word(shared, k + 4, column);
            b[2] = word(shared, k, column + 8);
            b[3] = word(shared, k + 4, column + 8);
        }
    }

    static DEVICE void round(u32 (&fragment)[4]) {
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (u32 i = 0; i < 4; ++i) fragment[i] = to_tf32(fragment[i]);
        }
    }
};

// Up to 16 / sizeof(T) numbers of T as a chunk; zero beyond.
template <class T>
DEVICE void store_chunk(u32 shared, const T* from, i32 exist) {
    u32 words[4] = {};
#pragma unroll
    for (i32 i = 0; i < static_cast<i32>(16 / sizeof(T)); ++i) {
        if (i >= exist) continue;
        if constexpr (sizeof(T) == 2) {
            words[i / 2] |= static_cast<u32>(from[i].bits) << (i % 2 * 16);
        } else {
            words[i] = __float_as_uint(from[i]);
        }
    }
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared), "r"(words[0]), "r"(words[1]), "r"(words[2]),
                 "r"(words[3])
                 : "memory");
}

// A thread's share of an operand's tiles, of a matrix stored in lines; moves along K. VECTOR: every line starts at a
// multiple of 16 bytes, and copies run beside the threads; else numbers are read one by one.
template <class Tile, class T, bool ROWS_CONTIGUOUS, bool VECTOR, u32 THREADS>
struct MatrixLoader {
    static constexpr u32 LINE_STEP = THREADS / Tile::CHUNKS;
    static_assert(THREADS % Tile::CHUNKS == 0 && Tile::LINES % LINE_STEP == 0, "every thread loads whole chunks");
    static constexpr i32 DEPTH = ROWS_CONTIGUOUS ? Tile::LINES : Tile::CHUNKS * Tile::EACH;

    // The thread's first chunk of the next tile.
    const T* from;
    i64 stride;
    // Lines that exist from there on, and numbers of a line.
    i32 lines_left;
    i32 inner_left;

    DEVICE MatrixLoader(const T* matrix, i64 stride, i32 first_row, i32 rows, i32 first_k, i32 end_k) : stride(stride) {
        i32 line = threadIdx.x / Tile::CHUNKS + (ROWS_CONTIGUOUS ? first_k : first_row);
        i32 inner = threadIdx.x % Tile::CHUNKS * Tile::EACH + (ROWS_CONTIGUOUS ? first_row : first_k);
        from = matrix + line * stride + inner;
        lines_left = (ROWS_CONTIGUOUS ? end_k : rows) - line;
        inner_left = (ROWS_CONTIGUOUS ? rows : end_k) - inner;
    }

    // Fills a tile and moves on to the next.
    DEVICE void load(u32 shared) {
        i32 inner = max(0, min(inner_left, static_cast<i32>(Tile::EACH)));
#pragma unroll
        for (u32 i = 0; i < Tile::LINES / LINE_STEP; ++i) {
            u32 to = shared + Tile::at(threadIdx.x / Tile::CHUNKS + i * LINE_STEP, threadIdx.x % Tile::CHUNKS);
            i32 exist = static_cast<i32>(i * LINE_STEP) < lines_left ? inner : 0;
            const T* chunk = from + i * LINE_STEP * stride;
            if constexpr (VECTOR) {
                copy_async_16(to, chunk, exist * sizeof(T));
            } else {
                store_chunk(to, chunk, exist);
            }
        }
        if constexpr (ROWS_CONTIGUOUS) {
            from += DEPTH * stride;
            lines_left -= DEPTH;
        } else {
            from += DEPTH;
            inner_left -= DEPTH;
        }
    }
};

// The sums of a warp: 16·I rows by 16·J columns.
template <u32 I, u32 J>
struct WarpSums {
    f32 sum[I][2 * J][4];

    DEVICE void clear() {
#pragma unroll
        for (u32 i = 0; i < I; ++i) {
#pragma unroll
            for (u32 j = 0; j < 2 * J; ++j) {
#pragma unroll
                for (u32 x = 0; x < 4; ++x) sum[i][j][x] = 0.0f;
            }
        }
    }

    // Adds the product of two tiles, of which the warp's part starts at a row and a column.
    template <class T, class A, class B>
    DEVICE void multiply(u32 shared_a, u32 shared_b, u32 row, u32 column) {
#pragma unroll
        for (u32 step = 0; step < A::STEPS; ++step) {
            u32 a[I][4], b[J][4];
#pragma unroll
            for (u32 i = 0; i < I; ++i) A::load_a(a[i], shared_a, row + 16 * i, step);
#pragma unroll
            for (u32 j = 0; j < J; ++j) B::load_b(b[j], shared_b, column + 16 * j, step);
#pragma unroll
            for (u32 i = 0; i < I; ++i) {
#pragma unroll
                for (u32 j = 0; j < 2 * J; ++j) {
                    u32 b0 = b[j / 2][j % 2 * 2];
                    u32 b1 = b[j / 2][j % 2 * 2 + 1];
                    if constexpr (sizeof(T) == 2) {
                        mma_m16n8k16<T>(sum[i][j], a[i], b0, b1);
                    } else {
                        mma_m16n8k8(sum[i][j], a[i], b0, b1);
                    }
                }
            }
        }
    }

    // Floats of shared memory that a warp needs to give its sums away.
    static constexpr u32 SLAB_STRIDE = 16 * J + 8;
    static constexpr u32 SLAB = 16 * SLAB_STRIDE;

    // The next 16 rows, from the sums into the warp's own `slab`; the sums move up, for indexed by a loop they would
    // leave the registers.
    DEVICE void next_rows(f32* slab) {
        u32 lane = threadIdx.x % 32;
        // The rows before have been read.
        __syncwarp();
#pragma unroll
        for (u32 j = 0; j < 2 * J; ++j) {
            f32* at = slab + lane / 4 * SLAB_STRIDE + j * 8 + lane % 4 * 2;
            *reinterpret_cast<float2*>(at) = make_float2(sum[0][j][0], sum[0][j][1]);
            *reinterpret_cast<float2*>(at + 8 * SLAB_STRIDE) = make_float2(sum[0][j][2], sum[0][j][3]);
#pragma unroll
            for (u32 later = 1; later < I; ++later) {
#pragma unroll
                for (u32 x = 0; x < 4; ++x) sum[later - 1][j][x] = sum[later][j][x];
            }
        }
        __syncwarp();
    }

    // Calls put(run of eight columns, row, column) for everything. The loops stay loops: unrolled, an epilogue's code
    // would be there I·J times. The sums are used up.
    template <class Put>
    DEVICE void put_runs(f32* slab, Put put) {
#pragma unroll 1
        for (u32 i = 0; i < I; ++i) {
            next_rows(slab);
#pragma unroll 1
            for (u32 index = threadIdx.x % 32; index < 16 * 2 * J; index += 32) {
                u32 row = index / (2 * J);
                u32 column = index % (2 * J) * 8;
                const float4* from = reinterpret_cast<const float4*>(slab + row * SLAB_STRIDE + column);
                // Every other four lanes take the second half first: eight lanes then read from all banks once.
                u32 first = index / 4 % 2;
                float4 one = from[first];
                float4 other = from[first ^ 1];
                float4 low = first ? other : one;
                float4 high = first ? one : other;
                f32 run[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
                put(run, i * 16 + row, column);
            }
        }
    }

    // Calls put(sum, row, column) for everything, lanes along the columns. The sums are used up.
    template <class Put>
    DEVICE void put_each(f32* slab, Put put) {
#pragma unroll 1
        for (u32 i = 0; i < I; ++i) {
            next_rows(slab);
#pragma unroll 1
            for (u32 row = 0; row < 16; ++row) {
#pragma unroll
                for (u32 column = threadIdx.x % 32; column < 16 * J; column += 32) {
                    put(slab[row * SLAB_STRIDE + column], i * 16 + row, column);
                }
            }
        }
    }
};
