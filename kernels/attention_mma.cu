// Scaled dot-product attention in f16 and bf16 on the tensor cores, forward and backward, for operands whose rows are
// aligned to 16 bytes; others, and head dimensions above 128 backward, go through attention.cu.
//
// Layout: as attention.cu; columns are contiguous, head dimensions multiples of 8, up to 256.
// Floor: 4·B·H·Tq·Tk·D operations (half if causal), on tensor cores; 2^x on the special function units, which for D = 64
// take as long.
// Algorithm: FlashAttention-2 (Dao 2023). Four warps have 16 queries each; a tile of keys and one of values are copied
// asynchronously, each while the other is multiplied. The scores, and the probabilities rounded to the operands' type,
// never leave the registers: the accumulator's layout of a pair of 16×8 tiles is the layout of A of the next product.
// Shared memory: rows of D elements in chunks of 16 bytes, chunk c of row r at c xor (r mod 8): neither the copies nor
// ldmatrix meet a bank twice.

#include "common/async_copy.cuh"
#include "common/attention.cuh"
#include "common/mma.cuh"
#include "common/warp.cuh"

constexpr u32 THREADS = 128;
constexpr u32 ROWS = 64;

// Where chunk `chunk` of row `row` lies in a tile of D columns of 2 bytes.
template <u32 D>
DEVICE u32 chunk_at(u32 row, u32 chunk) {
    return (row * (D / 8) + (chunk ^ (row & 7))) * 16;
}

// Starts the copy of a head's rows `first` to `first + COUNT`; zero beyond `rows` and `columns`.
template <u32 COUNT, u32 D, class T>
DEVICE void copy_tile(u32 shared, const T* from, i64 stride, u32 first, u32 rows, u32 columns) {
    constexpr u32 CHUNKS = D / 8;
#pragma unroll 4
    for (u32 i = threadIdx.x; i < COUNT * CHUNKS; i += THREADS) {
        u32 row = i / CHUNKS;
        u32 chunk = i % CHUNKS;
        bool exists = first + row < rows && chunk * 8 < columns;
        const T* at = exists ? from + static_cast<i64>(first + row) * stride + chunk * 8 : from;
        copy_async_16(shared + chunk_at<D>(row, chunk), at, exists ? 16 : 0);
    }
}

template <class T>
DEVICE u32 pack_pair(f32 low, f32 high) {
    return static_cast<u32>(from_f32<T>(low).bits) | static_cast<u32>(from_f32<T>(high).bits) << 16;
}

// sum[tile] = rows `first` to `first + 16` of `a` times rows 8·tile on of `b`, over all columns.
template <class T, u32 D, u32 TILES>
DEVICE void multiply_rows(f32 (&sum)[TILES][4], u32 a, u32 first, u32 b) {
    u32 lane = threadIdx.x % 32;
#pragma unroll
    for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) sum[tile][e] = 0.0f;
    }
#pragma unroll
    for (u32 step = 0; step < D / 16; ++step) {
        u32 left[4];
        ldmatrix(left, a + chunk_at<D>(first + lane % 16, step * 2 + lane / 16));
#pragma unroll
        for (u32 pair = 0; pair < TILES / 2; ++pair) {
            u32 right[4];
            ldmatrix(right, b + chunk_at<D>(pair * 16 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
            mma_m16n8k16<T>(sum[pair * 2], left, right[0], right[1]);
            mma_m16n8k16<T>(sum[pair * 2 + 1], left, right[2], right[3]);
        }
    }
}

// result += p·b for 16 rows of p in registers, rounded to T, and rows of `b` in shared memory.
template <class T, u32 D, u32 TILES>
DEVICE void accumulate(f32 (&result)[D / 8][4], const f32 (&p)[TILES][4], u32 b) {
    u32 lane = threadIdx.x % 32;
#pragma unroll
    for (u32 step = 0; step < TILES / 2; ++step) {
        u32 left[4] = {pack_pair<T>(p[step * 2][0], p[step * 2][1]), pack_pair<T>(p[step * 2][2], p[step * 2][3]),
                       pack_pair<T>(p[step * 2 + 1][0], p[step * 2 + 1][1]),
                       pack_pair<T>(p[step * 2 + 1][2], p[step * 2 + 1][3])};
#pragma unroll
        for (u32 pair = 0; pair < D / 16; ++pair) {
            u32 right[4];
            ldmatrix_transposed(right, b + chunk_at<D>(step * 16 + lane % 16, pair * 2 + lane / 16));
            mma_m16n8k16<T>(result[pair * 2], left, right[0], right[1]);
            mma_m16n8k16<T>(result[pair * 2 + 1], left, right[2], right[3]);
        }
    }
}

// Writes 16 rows of `columns` elements, times a factor; the thread's are `row` and `row + 8`.
template <class T, u32 D>
DEVICE void write_rows(T* to, const f32 (&result)[D / 8][4], u32 row, u32 rows, u32 columns, f32 factor) {
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        if (row + half * 8 >= rows) continue;
#pragma unroll
        for (u32 tile = 0; tile < D / 8; ++tile) {
            if (tile * 8 < columns) {
                u32 pair = pack_pair<T>(result[tile][half * 2] * factor, result[tile][half * 2 + 1] * factor);
                u64 at = static_cast<u64>(row + half * 8) * columns + tile * 8 + threadIdx.x % 4 * 2;
                *reinterpret_cast<u32*>(to + at) = pair;
            }
        }
    }
}

// ---- Forward ----

// A block for each tile of queries of a head; tiles that see most keys come first.
template <class T, u32 D, u32 KEYS>
__global__ void __launch_bounds__(THREADS)
    forward(AttentionParams p, T* out, f32* lse, const T* q, const T* k, const T* v, const void* mask) {
    constexpr u32 TILES = KEYS / 8;
    extern __shared__ uint4 memory[];
    u32 shared_q = shared_address(memory);
    u32 shared_k = shared_q + ROWS * D * 2;
    u32 shared_v = shared_k + KEYS * D * 2;

    u32 tiles = (p.queries + ROWS - 1) / ROWS;
    u32 head = blockIdx.x / tiles;
    u32 first = (tiles - 1 - blockIdx.x % tiles) * ROWS;
    u32 b = head / p.heads;
    u32 h = head % p.heads;
    u32 warp = threadIdx.x / 32;
    u32 lane = threadIdx.x % 32;
    // The thread's rows of scores: `row` and `row + 8`; its columns of each 16×8 tile: `column` and `column + 1`.
    u32 row = first + warp * 16 + lane / 4;
    u32 column = lane % 4 * 2;
    const T* head_k = k + head_start(p.k, b, h / p.shared);
    const T* head_v = v + head_start(p.v, b, h / p.shared);
    i64 mask_start = head_start(p.mask, b, h);
    u32 visible = visible_keys(p, first + ROWS);

    f32 result[D / 8][4] = {};
    f32 max[2] = {Largest::neutral(), Largest::neutral()};
    f32 sum[2] = {};
    copy_tile<ROWS, D>(shared_q, q + head_start(p.q, b, h), p.q[2], first, p.queries, p.dim);
    copy_tile<KEYS, D>(shared_k, head_k, p.k[2], 0, p.keys, p.dim);
    copy_async_commit();
    for (u32 key = 0; key < visible; key += KEYS) {
        copy_tile<KEYS, D>(shared_v, head_v, p.v[2], key, p.keys, p.value_dim);
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        f32 scores[TILES][4];
        multiply_rows<T, D>(scores, shared_q, warp * 16, shared_k);
        // The keys are read: the next may be copied over them.
        __syncthreads();
        if (key + KEYS < visible) copy_tile<KEYS, D>(shared_k, head_k, p.k[2], key + KEYS, p.keys, p.dim);
        copy_async_commit();

        bool all_count = p.mask_kind == ATTENTION_MASK_NONE && key + KEYS <= p.keys &&
                         (!p.causal || key + KEYS - 1 <= first + warp * 16);
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            f32 top = max[half];
#pragma unroll
            for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
                for (u32 e = 0; e < 2; ++e) {
                    f32& score = scores[tile][half * 2 + e];
                    score = all_count ? score * (p.scale * LOG2_E)
                                      : masked_score<T>(p, mask, mask_start, row + half * 8, key + tile * 8 + column + e,
                                                        score);
                    top = Largest::apply(top, score);
                }
            }
            top = over_lanes<Largest>(top, 4);
            // Where all keys so far are masked, any finite number keeps 2^−∞ = 0.
            f32 base = top == Largest::neutral() ? 0.0f : top;
            f32 factor = exp2f(max[half] - base);
            max[half] = top;
            sum[half] *= factor;
#pragma unroll
            for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
                for (u32 e = 0; e < 2; ++e) {
                    f32& score = scores[tile][half * 2 + e];
                    score = exp2f(score - base);
                    sum[half] += score;
                }
            }
#pragma unroll
            for (u32 tile = 0; tile < D / 8; ++tile) {
                result[tile][half * 2] *= factor;
                result[tile][half * 2 + 1] *= factor;
            }
        }

        copy_async_wait<1>();
        __syncthreads();
        accumulate<T, D>(result, scores, shared_v);
        // The values are read: the next may be copied over them.
        __syncthreads();
    }
    copy_async_commit();
    copy_async_wait<0>();
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        f32 total = over_lanes<Sum>(sum[half], 4);
        u32 query = row + half * 8;
        bool none = max[half] == Largest::neutral();
        f32 factor = none ? 0.0f : __frcp_rn(total);
        u64 at = static_cast<u64>(head) * p.queries + query;
        if (lane % 4 == 0 && query < p.queries) {
            lse[at] = none ? -Largest::neutral() : __fmaf_rn(max[half], LN_2, logf(total));
        }
#pragma unroll
        for (u32 tile = 0; tile < D / 8; ++tile) {
            result[tile][half * 2] *= factor;
            result[tile][half * 2 + 1] *= factor;
        }
    }
    T* of_head = out + static_cast<u64>(head) * p.queries * p.value_dim;
    write_rows<T, D>(of_head, result, row, p.queries, p.value_dim, 1.0f);
}

// ---- Backward ----

// dK and dV of a tile of 64 keys; each warp has 16 of them as its rows, and QUERIES queries at a time as columns.
template <class T, u32 D, u32 QUERIES>
__global__ void __launch_bounds__(THREADS)
    backward_keys(AttentionParams p, T* dk, T* dv, const T* q, const T* k, const T* v, const void* mask, const T* dout,
                  const f32* lse, const f32* delta) {
    constexpr u32 TILES = QUERIES / 8;
    extern __shared__ uint4 memory[];
    u32 shared_k = shared_address(memory);
    u32 shared_v = shared_k + ROWS * D * 2;
    u32 shared_q = shared_v + ROWS * D * 2;
    u32 shared_dout = shared_q + QUERIES * D * 2;

    u32 tiles = (p.keys + ROWS - 1) / ROWS;
    u32 kv_head = blockIdx.x / tiles;
    u32 first = blockIdx.x % tiles * ROWS;
    u32 b = kv_head / p.kv_heads;
    u32 warp = threadIdx.x / 32;
    u32 lane = threadIdx.x % 32;
    u32 row = first + warp * 16 + lane / 4;
    u32 column = lane % 4 * 2;
    copy_tile<ROWS, D>(shared_k, k + head_start(p.k, b, kv_head % p.kv_heads), p.k[2], first, p.keys, p.dim);
    copy_tile<ROWS, D>(shared_v, v + head_start(p.v, b, kv_head % p.kv_heads), p.v[2], first, p.keys, p.value_dim);
    f32 of_k[D / 8][4] = {};
    f32 of_v[D / 8][4] = {};
    // Queries before the first key do not see it.
    u32 first_query = p.causal ? first / QUERIES * QUERIES : 0;
    for (u32 own = 0; own < p.shared; ++own) {
        u32 h = kv_head % p.kv_heads * p.shared + own;
        i64 mask_start = head_start(p.mask, b, h);
        u64 rows = (static_cast<u64>(b) * p.heads + h) * p.queries;
        for (u32 query = first_query; query < p.queries; query += QUERIES) {
            __syncthreads();
            copy_tile<QUERIES, D>(shared_q, q + head_start(p.q, b, h), p.q[2], query, p.queries, p.dim);
            copy_tile<QUERIES, D>(shared_dout, dout + head_start(p.dout, b, h), p.dout[2], query, p.queries,
                                  p.value_dim);
            copy_async_commit();
            copy_async_wait<0>();
            __syncthreads();
            f32 probability[TILES][4], gradient[TILES][4];
            multiply_rows<T, D>(probability, shared_k, warp * 16, shared_q);
            multiply_rows<T, D>(gradient, shared_v, warp * 16, shared_dout);
#pragma unroll
            for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
                for (u32 e = 0; e < 2; ++e) {
                    u32 of = query + tile * 8 + column + e;
                    bool exists = of < p.queries;
                    // A query that does not exist has no probability anywhere, as one that sees no key.
                    f32 of_lse = exists ? lse[rows + of] * LOG2_E : -Largest::neutral();
                    f32 of_delta = exists ? delta[rows + of] : 0.0f;
#pragma unroll
                    for (u32 half = 0; half < 2; ++half) {
                        f32& own_p = probability[tile][half * 2 + e];
                        f32& own_g = gradient[tile][half * 2 + e];
                        own_p = exp2f(masked_score<T>(p, mask, mask_start, of, row + half * 8, own_p) - of_lse);
                        own_g = own_p * (own_g - of_delta);
                    }
                }
            }
            accumulate<T, D>(of_v, probability, shared_dout);
            accumulate<T, D>(of_k, gradient, shared_q);
        }
    }
    copy_async_commit();
    copy_async_wait<0>();
    write_rows<T, D>(dv + static_cast<u64>(kv_head) * p.keys * p.value_dim, of_v, row, p.keys, p.value_dim, 1.0f);
    write_rows<T, D>(dk + static_cast<u64>(kv_head) * p.keys * p.dim, of_k, row, p.keys, p.dim, p.scale);
}

// dQ of a tile of 64 queries; each warp has 16 of them as its rows, and KEYS keys at a time as columns.
template <class T, u32 D, u32 KEYS>
__global__ void __launch_bounds__(THREADS)
    backward_queries(AttentionParams p, T* dq, const T* q, const T* k, const T* v, const void* mask, const T* dout,
                     const f32* lse, const f32* delta) {
    constexpr u32 TILES = KEYS / 8;
    extern __shared__ uint4 memory[];
    u32 shared_q = shared_address(memory);
    u32 shared_dout = shared_q + ROWS * D * 2;
    u32 shared_k = shared_dout + ROWS * D * 2;
    u32 shared_v = shared_k + KEYS * D * 2;

    u32 tiles = (p.queries + ROWS - 1) / ROWS;
    u32 head = blockIdx.x / tiles;
    u32 first = (tiles - 1 - blockIdx.x % tiles) * ROWS;
    u32 b = head / p.heads;
    u32 h = head % p.heads;
    u32 warp = threadIdx.x / 32;
    u32 lane = threadIdx.x % 32;
    u32 row = first + warp * 16 + lane / 4;
    u32 column = lane % 4 * 2;
    i64 mask_start = head_start(p.mask, b, h);
    copy_tile<ROWS, D>(shared_q, q + head_start(p.q, b, h), p.q[2], first, p.queries, p.dim);
    copy_tile<ROWS, D>(shared_dout, dout + head_start(p.dout, b, h), p.dout[2], first, p.queries, p.value_dim);
    f32 of_lse[2], of_delta[2];
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        u32 query = row + half * 8;
        bool exists = query < p.queries;
        u64 at = static_cast<u64>(head) * p.queries + query;
        of_lse[half] = exists ? lse[at] * LOG2_E : -Largest::neutral();
        of_delta[half] = exists ? delta[at] : 0.0f;
    }
    f32 result[D / 8][4] = {};
    u32 visible = visible_keys(p, first + ROWS);
    for (u32 key = 0; key < visible; key += KEYS) {
        copy_tile<KEYS, D>(shared_k, k + head_start(p.k, b, h / p.shared), p.k[2], key, p.keys, p.dim);
        copy_tile<KEYS, D>(shared_v, v + head_start(p.v, b, h / p.shared), p.v[2], key, p.keys, p.value_dim);
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        f32 probability[TILES][4], gradient[TILES][4];
        multiply_rows<T, D>(probability, shared_q, warp * 16, shared_k);
        multiply_rows<T, D>(gradient, shared_dout, warp * 16, shared_v);
#pragma unroll
        for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                u32 half = e / 2;
                u32 of = key + tile * 8 + column + e % 2;
                f32 score = masked_score<T>(p, mask, mask_start, row + half * 8, of, probability[tile][e]);
                gradient[tile][e] = exp2f(score - of_lse[half]) * (gradient[tile][e] - of_delta[half]);
            }
        }
        accumulate<T, D>(result, gradient, shared_k);
        __syncthreads();
    }
    copy_async_commit();
    copy_async_wait<0>();
    write_rows<T, D>(dq + static_cast<u64>(head) * p.queries * p.dim, result, row, p.queries, p.dim, p.scale);
}

// ---- Instantiations; tiles as src/kernels/attention/plan.rs has them ----

#define FORWARD(T, D, KEYS)                                                                                     \
    template __global__ void forward<T, D, KEYS>(AttentionParams, T*, f32*, const T*, const T*, const T*,       \
                                                 const void*);
#define BACKWARD(T, D, COLUMNS)                                                                                 \
    template __global__ void backward_keys<T, D, COLUMNS>(AttentionParams, T*, T*, const T*, const T*,          \
                                                          const T*, const void*, const T*, const f32*,          \
                                                          const f32*);                                          \
    template __global__ void backward_queries<T, D, COLUMNS>(AttentionParams, T*, const T*, const T*, const T*, \
                                                             const void*, const T*, const f32*, const f32*);
#define TYPES(T) FORWARD(T, 64, 64) FORWARD(T, 128, 64) FORWARD(T, 256, 32) BACKWARD(T, 64, 64) BACKWARD(T, 128, 32)
TYPES(f16) TYPES(bf16)
