// Matrix products of f16 and bf16 by Hopper's warpgroup instructions and its tensor memory accelerator: as gemm.cu,
// where every line of A and B starts at a multiple of 16 bytes.
// architectures: 90a
//
// A block of three warpgroups computes tiles of 128×COLUMNS, one after the other (persistent, in grouped order): a
// thread of the first copies slices of 64 of K of both operands into STAGES stages (TMA, 128-byte swizzle), the other
// two multiply 64 rows each (wgmma). Each stage has two barriers: `full` counts its bytes, `empty` the warps that are
// done with it. While a product runs, its predecessor's stage is given back, and the copies run ahead into the next
// tile during the epilogue. Ragged edges are the zeros that TMA fills in.
//
// Floor: 2·M·N·K/P. From shared memory an instruction reads (64 + COLUMNS)·16 numbers for 64·COLUMNS·16 products: at
// 256 columns 10 KiB in 128 cycles, 80 bytes a cycle of the 128 that there are; at 128 columns 96. DRAM as in gemm.cu.
// On the virtual H100: a wgmma for each 64·COLUMNS·16 products and no other arithmetic in the loop, no bank conflict in
// any layout or in the epilogue; of the sectors moved 96 % are needed with rows of 144 bytes, which start inside
// sectors.
//
// Where K is split, gemm_sum_splits of gemm.cu adds the parts. No pointer is __restrict__.

#include "common/async_copy.cuh"
#include "common/gemm_tile.cuh"
#include "common/mbarrier.cuh"
#include "common/tma.cuh"
#include "common/types.cuh"
#include "common/wgmma.cuh"

constexpr u32 ROWS = 128;
constexpr u32 DEPTH = 64;
// A producer and two consumers.
constexpr u32 GROUP = 128;
constexpr u32 THREADS = 3 * GROUP;
// Of the 65,536 registers: 128 × 40 and 256 × 232; the launch has 168 for each thread.
constexpr u32 PRODUCER_REGISTERS = 40;
constexpr u32 CONSUMER_REGISTERS = 232;
// Bytes of 64 lines of 128.
constexpr u32 CHUNK = 64 * 128;

// What a block does next: tiles, then parts of K, then matrices.
struct Item {
    i32 first_row;
    i32 first_column;
    u32 split;
    u32 matrix;
    i32 begin_k;
    u32 slices;
};

template <u32 COLUMNS>
struct Schedule {
    u32 tiles;
    u32 splits;

    DEVICE explicit Schedule(const GemmParams& p) {
        tiles = ((p.m + ROWS - 1) / ROWS) * ((p.n + COLUMNS - 1) / COLUMNS);
        splits = (p.k + p.split - 1) / p.split;
    }

    DEVICE u32 items(const GemmParams& p) const { return tiles * splits * p.batch; }

    DEVICE Item item(const GemmParams& p, u32 index) const {
        Item item;
        place_tile<ROWS, COLUMNS>(p, index % tiles, item.first_row, item.first_column);
        item.split = index / tiles % splits;
        item.matrix = index / tiles / splits;
        item.begin_k = item.split * p.split;
        item.slices = (min(p.k, item.begin_k + p.split) - item.begin_k + DEPTH - 1) / DEPTH;
        return item;
    }
};

// Copies a slice of an operand: rows of which K is contiguous in one box, or boxes of 64 rows of which each step of K
// is.
template <u32 TILE_ROWS, bool TRANSPOSED>
DEVICE void load_slice(u32 shared, const CUtensorMap& map, i32 row, i32 k, i32 inner, i32 outer, u32 barrier) {
    if constexpr (TRANSPOSED) {
#pragma unroll
        for (u32 chunk = 0; chunk < TILE_ROWS / 64; ++chunk) {
            tma_load(shared + chunk * CHUNK, map, row + chunk * 64, k, inner, outer, barrier);
        }
    } else {
        tma_load(shared, map, k, row, inner, outer, barrier);
    }
}

// Floats of shared memory through which a warp turns its sums into runs of eight columns: 16 rows of 32 columns.
constexpr u32 SLAB_COLUMNS = 32;
constexpr u32 SLAB_STRIDE = SLAB_COLUMNS + 8;
constexpr u32 SLAB = 16 * SLAB_STRIDE;

template <class T, u32 COLUMNS>
DEVICE void put_sums(const GemmParams& p, Output<T>& to, f32 (&sum)[COLUMNS / 2], f32* slab, i32 first_row,
                     i32 first_column) {
    constexpr u32 PARTS = COLUMNS / SLAB_COLUMNS;
    u32 lane = threadIdx.x % 32;
#pragma unroll 1
    for (u32 part = 0; part < PARTS; ++part) {
        // The part before has been read.
        __syncwarp();
        f32* at = slab + lane / 4 * SLAB_STRIDE + lane % 4 * 2;
        // Indexed by the loop the sums would leave the registers.
#pragma unroll
        for (u32 known = 0; known < PARTS; ++known) {
            if (known != part) continue;
#pragma unroll
            for (u32 j = 0; j < SLAB_COLUMNS / 8; ++j) {
                const f32* four = sum + known * 16 + j * 4;
                *reinterpret_cast<float2*>(at + j * 8) = make_float2(four[0], four[1]);
                *reinterpret_cast<float2*>(at + j * 8 + 8 * SLAB_STRIDE) = make_float2(four[2], four[3]);
            }
        }
        __syncwarp();
#pragma unroll 1
        for (u32 index = lane; index < 16 * SLAB_COLUMNS / 8; index += 32) {
            u32 row = index / 4;
            u32 column = index % 4 * 8;
            const float4* from = reinterpret_cast<const float4*>(slab + row * SLAB_STRIDE + column);
            // Every other four lanes take the second half first: eight lanes then read from all banks once.
            u32 first = row % 2;
            float4 one = from[first];
            float4 other = from[first ^ 1];
            float4 low = first ? other : one;
            float4 high = first ? one : other;
            f32 run[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            to.template put<8>(p, run, first_row + row, first_column + part * SLAB_COLUMNS + column);
        }
    }
}

template <class T, u32 COLUMNS, u32 STAGES, bool TRANSPOSE_A, bool TRANSPOSE_B>
__global__ void __launch_bounds__(THREADS, 1)
    gemm_wgmma(GemmParams p, const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, T* out,
               T* before, f32* partial, const T* bias, const T* residual) {
    constexpr u32 A_BYTES = ROWS * DEPTH * sizeof(T);
    constexpr u32 STAGE = A_BYTES + COLUMNS * DEPTH * sizeof(T);
    // A swizzle of 128 bytes repeats after 1,024. Behind the stages are the consumers' slabs, and the barriers.
    extern __shared__ __align__(1024) unsigned char shared[];
    u32 stages = shared_address(shared);
    u32 full = stages + STAGES * STAGE + 8 * SLAB * sizeof(f32);
    u32 empty = full + STAGES * 8;
    if (threadIdx.x == 0) {
        tma_prefetch(a);
        tma_prefetch(b);
        for (u32 stage = 0; stage < STAGES; ++stage) {
            barrier_init(full + stage * 8, 1);
            barrier_init(empty + stage * 8, 2 * GROUP / 32);
        }
        barrier_init_fence();
    }
    __syncthreads();

    Schedule<COLUMNS> schedule(p);
    u32 items = schedule.items(p);
    Ring<STAGES> ring;
    u32 group = threadIdx.x / GROUP;
    if (group == 0) {
        give_up_registers<PRODUCER_REGISTERS>();
        if (threadIdx.x != 0) return;
        for (u32 index = blockIdx.x; index < items; index += gridDim.x) {
            Item item = schedule.item(p, index);
            // Along an axis that the whole batch shares an operand's map has one matrix.
            i32 outer = item.matrix / p.inner;
            i32 inner = item.matrix % p.inner;
            i32 inner_a = p.inner_a ? inner : 0, outer_a = p.outer_a ? outer : 0;
            i32 inner_b = p.inner_b ? inner : 0, outer_b = p.outer_b ? outer : 0;
            for (u32 slice = 0; slice < item.slices; ++slice) {
                u32 stage = stages + ring.stage * STAGE;
                u32 barrier = full + ring.stage * 8;
                i32 k = item.begin_k + slice * DEPTH;
                barrier_wait(empty + ring.stage * 8, ring.parity ^ 1);
                barrier_arrive_expect(barrier, STAGE);
                load_slice<ROWS, TRANSPOSE_A>(stage, a, item.first_row, k, inner_a, outer_a, barrier);
                load_slice<COLUMNS, !TRANSPOSE_B>(stage + A_BYTES, b, item.first_column, k, inner_b, outer_b, barrier);
                ring.advance();
            }
        }
        return;
    }

    take_registers<CONSUMER_REGISTERS>();
    using Product = Wgmma<T, COLUMNS, TRANSPOSE_A, !TRANSPOSE_B>;
    // Bytes along K of 16 numbers, or of 16 lines.
    constexpr u32 STEP_A = TRANSPOSE_A ? 16 * 128 : 32;
    constexpr u32 STEP_B = TRANSPOSE_B ? 32 : 16 * 128;
    u32 consumer = group - 1;
    u32 warp = threadIdx.x % GROUP / 32;
    bool arrives = threadIdx.x % 32 == 0;
    f32* slab = reinterpret_cast<f32*>(shared + STAGES * STAGE) + (consumer * 4 + warp) * SLAB;
    f32 sum[COLUMNS / 2] = {};
    for (u32 index = blockIdx.x; index < items; index += gridDim.x) {
        Item item = schedule.item(p, index);
        u32 previous = 0;
        for (u32 slice = 0; slice < item.slices; ++slice) {
            u32 from = stages + ring.stage * STAGE;
            u64 matrix_a = matrix_descriptor(from + consumer * CHUNK, CHUNK);
            u64 matrix_b = matrix_descriptor(from + A_BYTES, CHUNK);
            barrier_wait(full + ring.stage * 8, ring.parity);
            wgmma_fence();
#pragma unroll
            for (u32 step = 0; step < DEPTH / 16; ++step) {
                // What the sums hold of the tile before does not count.
                Product::multiply(sum, matrix_a + step * STEP_A / 16, matrix_b + step * STEP_B / 16, slice + step);
            }
            wgmma_commit();
            // The slice before is done with: this warp gives its stage back.
            wgmma_wait<1>();
            if (arrives && slice > 0) barrier_arrive(empty + previous * 8);
            previous = ring.stage;
            ring.advance();
        }
        wgmma_finish(sum);
        if (arrives) barrier_arrive(empty + previous * 8);

        Output<T> to(p, item.matrix, item.split, out, before, partial, bias, residual);
        put_sums<T, COLUMNS>(p, to, sum, slab, item.first_row + consumer * 64 + warp * 16, item.first_column);
    }
}

// ---- Instantiations ----

#define MAKE(T, COLUMNS, STAGES, TA, TB)                                                                              \
    template __global__ void gemm_wgmma<T, COLUMNS, STAGES, TA, TB>(GemmParams, const __grid_constant__ CUtensorMap,  \
                                                                    const __grid_constant__ CUtensorMap, T*, T*,      \
                                                                    f32*, const T*, const T*);
#define MAKE_LAYOUTS(T, COLUMNS, STAGES)                                            \
    MAKE(T, COLUMNS, STAGES, false, false) MAKE(T, COLUMNS, STAGES, false, true)    \
    MAKE(T, COLUMNS, STAGES, true, false) MAKE(T, COLUMNS, STAGES, true, true)
MAKE_LAYOUTS(f16, 256, 4)
MAKE_LAYOUTS(bf16, 256, 4)
MAKE_LAYOUTS(f16, 128, 6)
MAKE_LAYOUTS(bf16, 128, 6)
