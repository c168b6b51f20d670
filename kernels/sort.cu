// Stable sorting by radix: of rows of values, and of numbers that the index family groups by.
//
// Layout: contiguous. Each element becomes a 64-bit key that orders as it does, with its position; passes of eight bits
// from the lowest on move both (a least-significant-digit radix sort), and where rows are sorted the last passes go by the
// row, so one sort serves any number of rows. A tile of elements is ranked by a block, its warps one after the other, with
// no atomics.
// Floor: bytes; this moves 36 per element and pass.

#include "common/types.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / 32;
constexpr u32 DIGITS = 256;
// Elements that a thread ranks.
constexpr u32 ROUNDS = 16;
constexpr u32 TILE = THREADS * ROUNDS;

DEVICE u64 thread_index() { return static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; }
DEVICE u64 thread_count() { return static_cast<u64>(gridDim.x) * THREADS; }

// ---- Keys ----

// The bits of a float, ordered as integers: negative numbers reversed below positive ones, −0 as 0, NaN last.
DEVICE u32 float_key(f32 x) {
    u32 bits = __float_as_uint(x + 0.0f);
    u32 key = bits >> 31 == 1 ? ~bits : bits | 0x80000000u;
    return x != x ? 0xffffffffu : key;
}

DEVICE u64 ordered(f32 x) { return float_key(x); }
DEVICE u64 ordered(f16 x) { return float_key(to_f32(x)); }
DEVICE u64 ordered(bf16 x) { return float_key(to_f32(x)); }
DEVICE u64 ordered(i64 x) { return static_cast<u64>(x) ^ 0x8000000000000000ull; }
DEVICE u64 ordered(u32 x) { return x; }
DEVICE u64 ordered(u8 x) { return x; }

template <class T>
__global__ void __launch_bounds__(THREADS) keys(SortParams p, u64* keys, u32* positions, const T* x) {
    // Keys of 32-bit values use the lower half only.
    u64 flip = p.descending == 0 ? 0 : (sizeof(T) == 8 ? ~0ull : 0xffffffffull);
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        keys[i] = ordered(x[i]) ^ flip;
        positions[i] = static_cast<u32>(i);
    }
}

// ---- A pass ----

// Eight bits of the key from p.shift on; from 64 on those of the row.
DEVICE u32 digit(const SortParams& p, u64 key, u32 position) {
    u64 from = p.shift < 64 ? key >> p.shift : static_cast<u64>(position / p.length) >> (p.shift - 64);
    return static_cast<u32>(from) % DIGITS;
}

// How often each digit comes in each tile: counts[digit][tile].
__global__ void __launch_bounds__(THREADS)
    count_digits(SortParams p, u32* counts, const u64* keys, const u32* positions) {
    __shared__ u32 found[DIGITS];
    for (u64 tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        found[threadIdx.x] = 0;
        __syncthreads();
        for (u32 round = 0; round < ROUNDS; ++round) {
            u64 i = tile * TILE + round * THREADS + threadIdx.x;
            if (i < p.count) {
                // Of whole numbers, whose order of adding shows nowhere.
                atomicAdd(&found[digit(p, keys[i], positions[i])], 1u);
            }
        }
        __syncthreads();
        counts[threadIdx.x * p.tiles + tile] = found[threadIdx.x];
        __syncthreads();
    }
}

// Turns the counts of each digit into the sums of those before, and gives its total: a block for each digit.
__global__ void __launch_bounds__(THREADS) sum_digits(SortParams p, u32* counts, u32* totals) {
    __shared__ u32 sums[THREADS];
    counts += static_cast<u64>(blockIdx.x) * p.tiles;
    u32 before = 0;
    for (u64 first = 0; first < p.tiles; first += THREADS) {
        u64 i = first + threadIdx.x;
        u32 own = i < p.tiles ? counts[i] : 0;
        u32 sum = own;
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (u32 width = 1; width < THREADS; width *= 2) {
            u32 other = threadIdx.x >= width ? sums[threadIdx.x - width] : 0;
            __syncthreads();
            sum += other;
            sums[threadIdx.x] = sum;
            __syncthreads();
        }
        if (i < p.tiles) {
            counts[i] = before + sum - own;
        }
        before += sums[THREADS - 1];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        totals[blockIdx.x] = before;
    }
}

// Moves each element to where its digit, its tile and its place in the tile say.
__global__ void __launch_bounds__(THREADS)
    move(SortParams p, u64* to_keys, u32* to_positions, const u64* keys, const u32* positions, const u32* counts,
         const u32* totals) {
    __shared__ u32 seen[WARPS][DIGITS];
    __shared__ u32 starts[DIGITS];
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // Where each digit's elements begin: the sum of the totals before.
    u32 start = totals[threadIdx.x];
    u32 own = start;
    starts[threadIdx.x] = start;
    __syncthreads();
    for (u32 width = 1; width < DIGITS; width *= 2) {
        u32 other = threadIdx.x >= width ? starts[threadIdx.x - width] : 0;
        __syncthreads();
        start += other;
        starts[threadIdx.x] = start;
        __syncthreads();
    }
    start -= own;
    for (u64 tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        for (u32 w = 0; w < WARPS; ++w) {
            seen[w][threadIdx.x] = 0;
        }
        __syncthreads();
        // A warp's elements are neighbours, taken in order: each is ranked behind those of its digit before it.
        u64 first = tile * TILE + warp * 32 * ROUNDS;
        u32 ranks[ROUNDS];
#pragma unroll
        for (u32 round = 0; round < ROUNDS; ++round) {
            u64 i = first + round * 32 + lane;
            u32 d = i < p.count ? digit(p, keys[i], positions[i]) : DIGITS;
            u32 peers = __match_any_sync(0xffffffffu, d);
            u32 before = d < DIGITS ? seen[warp][d] : 0;
            __syncwarp();
            if (d < DIGITS && lane + 1 == 32 - static_cast<u32>(__clz(static_cast<i32>(peers)))) {
                seen[warp][d] = before + static_cast<u32>(__popc(peers));
            }
            __syncwarp();
            ranks[round] = before + static_cast<u32>(__popc(peers & ((1u << lane) - 1)));
        }
        __syncthreads();
        u32 base = start + counts[threadIdx.x * p.tiles + tile];
        for (u32 w = 0; w < WARPS; ++w) {
            u32 here = seen[w][threadIdx.x];
            seen[w][threadIdx.x] = base;
            base += here;
        }
        __syncthreads();
#pragma unroll
        for (u32 round = 0; round < ROUNDS; ++round) {
            u64 i = first + round * 32 + lane;
            if (i < p.count) {
                u64 key = keys[i];
                u32 position = positions[i];
                u32 at = seen[warp][digit(p, key, position)] + ranks[round];
                to_keys[at] = key;
                to_positions[at] = position;
            }
        }
        __syncthreads();
    }
}

// The first p.limit values of each sorted row, and their positions in it.
template <class T>
__global__ void __launch_bounds__(THREADS)
    take(SortParams p, T* values, i64* indices, const T* x, const u32* positions) {
    u64 outputs = p.count / p.length * p.limit;
    for (u64 i = thread_index(); i < outputs; i += thread_count()) {
        u32 row = static_cast<u32>(i / p.limit), place = static_cast<u32>(i % p.limit);
        u32 position = positions[static_cast<u64>(row) * p.length + place];
        values[i] = x[position];
        indices[i] = static_cast<i64>(position - row * p.length);
    }
}

// ---- Instantiations ----

#define SORTABLE(T)                                                                   \
    template __global__ void keys<T>(SortParams, u64*, u32*, const T*);               \
    template __global__ void take<T>(SortParams, T*, i64*, const T*, const u32*);
SORTABLE(f32) SORTABLE(f16) SORTABLE(bf16) SORTABLE(i64) SORTABLE(u32) SORTABLE(u8)
