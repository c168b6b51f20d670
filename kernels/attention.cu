// Scaled dot-product attention, softmax(scale·Q·Kᵀ + mask)·V, forward and backward, and rotary position embedding.
//
// Layout: Q (B, H, Tq, D), K (B, Hkv, Tk, D), V (B, Hkv, Tk, Dv), the mask (B, H, Tq, Tk), all by strides; the result
// and the gradients are contiguous. Query head h reads head h/(H/Hkv) of keys and values. Head dimensions up to 256.
// Floor: 4·B·H·Tq·Tk·D operations forward (half if causal), 2.5 times that backward; bytes Q + K + V + O and 4 for each
// query's log of the sum. The matrix of scores exists in tiles only.
// Algorithm: FlashAttention-2 (Dao 2023): a block has a tile of queries and walks the keys with a running softmax, in
// powers of two with scale·log2(e) folded into the scores. The backward computes the scores again from the log of the
// sum: one kernel has a tile of keys and walks the queries of all heads that share it (dK, dV), another has a tile of
// queries and walks the keys (dQ). Every sum is taken by one thread in ascending order: no atomics.
// Gradients: convention `=`. These kernels multiply on the ordinary cores, in f32, whatever the operands are.

#include "common/attention.cuh"
#include "common/vector.cuh"
#include "common/warp.cuh"

constexpr u32 THREADS = 256;
// Threads are 16 × 16 over a tile: thread (y, x) has rows y + 16·i and columns x + 16·j of scores.
constexpr u32 SIDE = 16;

// D columns of an operand in shared memory. The padding keeps rows aligned, and puts neighbouring rows into different
// banks for 16-byte reads.
template <u32 D>
struct Line {
    static constexpr u32 STRIDE = D + 4;
    // A thread's columns of a result: RUNS runs of WIDTH neighbours, WIDTH·16 apart.
    static constexpr u32 WIDTH = D / SIDE < 4 ? D / SIDE : 4;
    static constexpr u32 RUNS = D / (SIDE * WIDTH);

    static DEVICE u32 column(u32 run, u32 e) { return run * SIDE * WIDTH + threadIdx.x % SIDE * WIDTH + e; }
};

// A head's rows `first` to `first + ROWS` into shared memory; zero beyond `rows` and `columns`.
template <u32 ROWS, u32 D, class T>
DEVICE void load_tile(f32* to, const T* from, const i64 (&strides)[4], u32 first, u32 rows, u32 columns) {
// Unrolled further, the addresses of loads in flight take registers from the sums.
#pragma unroll 4
    for (u32 i = threadIdx.x; i < ROWS * D; i += THREADS) {
        u32 row = i / D;
        u32 column = i % D;
        bool exists = first + row < rows && column < columns;
        const T* at = from + static_cast<i64>(first + row) * strides[2] + static_cast<i64>(column) * strides[3];
        to[row * Line<D>::STRIDE + column] = exists ? to_f32(*at) : 0.0f;
    }
}

// sum[i][j] = row y + 16·i of `a` times row x + 16·j of `b`.
template <u32 R, u32 C, u32 D>
DEVICE void multiply_rows(f32 (&sum)[R][C], const f32* a, const f32* b, u32 depth) {
    constexpr u32 STRIDE = Line<D>::STRIDE;
    const f32* row_a = a + threadIdx.x / SIDE * STRIDE;
    const f32* row_b = b + threadIdx.x % SIDE * STRIDE;
#pragma unroll
    for (u32 i = 0; i < R; ++i) {
#pragma unroll
        for (u32 j = 0; j < C; ++j) sum[i][j] = 0.0f;
    }
#pragma unroll 2
    for (u32 d = 0; d < depth; d += 4) {
        float4 left[R], right[C];
#pragma unroll
        for (u32 i = 0; i < R; ++i) left[i] = *reinterpret_cast<const float4*>(row_a + i * SIDE * STRIDE + d);
#pragma unroll
        for (u32 j = 0; j < C; ++j) right[j] = *reinterpret_cast<const float4*>(row_b + j * SIDE * STRIDE + d);
#pragma unroll
        for (u32 i = 0; i < R; ++i) {
#pragma unroll
            for (u32 j = 0; j < C; ++j) {
                sum[i][j] = __fmaf_rn(left[i].x, right[j].x, sum[i][j]);
                sum[i][j] = __fmaf_rn(left[i].y, right[j].y, sum[i][j]);
                sum[i][j] = __fmaf_rn(left[i].z, right[j].z, sum[i][j]);
                sum[i][j] = __fmaf_rn(left[i].w, right[j].w, sum[i][j]);
            }
        }
    }
}

// A thread's share of a matrix of R·16 rows and D columns.
template <u32 R, u32 D>
struct Accumulator {
    f32 sum[R][Line<D>::RUNS][Line<D>::WIDTH] = {};

    // Adds p·v: p is (rows, depth), or (depth, rows) where TRANSPOSED; v is (depth, D).
    template <bool TRANSPOSED>
    DEVICE void add(const f32* p, u32 stride_p, const f32* v, u32 depth) {
        u32 y = threadIdx.x / SIDE;
#pragma unroll 2
        for (u32 k = 0; k < depth; ++k) {
            f32 left[R];
#pragma unroll
            for (u32 i = 0; i < R; ++i) {
                left[i] = TRANSPOSED ? p[k * stride_p + y + i * SIDE] : p[(y + i * SIDE) * stride_p + k];
            }
#pragma unroll
            for (u32 run = 0; run < Line<D>::RUNS; ++run) {
                f32 right[Line<D>::WIDTH];
                load_pack<Line<D>::WIDTH>(v + k * Line<D>::STRIDE + Line<D>::column(run, 0), right);
#pragma unroll
                for (u32 i = 0; i < R; ++i) {
#pragma unroll
                    for (u32 e = 0; e < Line<D>::WIDTH; ++e) {
                        sum[i][run][e] = __fmaf_rn(left[i], right[e], sum[i][run][e]);
                    }
                }
            }
        }
    }

    // Writes rows of `columns` elements, times a factor for each row.
    template <class T>
    DEVICE void write(T* to, u32 first, u32 rows, u32 columns, const f32 (&factor)[R]) const {
#pragma unroll
        for (u32 i = 0; i < R; ++i) {
            u32 row = first + threadIdx.x / SIDE + i * SIDE;
            if (row >= rows) continue;
#pragma unroll
            for (u32 run = 0; run < Line<D>::RUNS; ++run) {
#pragma unroll
                for (u32 e = 0; e < Line<D>::WIDTH; ++e) {
                    u32 column = Line<D>::column(run, e);
                    if (column < columns) {
                        to[static_cast<u64>(row) * columns + column] = from_f32<T>(sum[i][run][e] * factor[i]);
                    }
                }
            }
        }
    }
};

// ---- Forward ----

// A block for each tile of ROWS queries of a head; tiles that see most keys come first.
template <class T, u32 D, u32 ROWS, u32 KEYS>
__global__ void __launch_bounds__(THREADS)
    forward(AttentionParams p, T* out, f32* lse, const T* q, const T* k, const T* v, const void* mask) {
    constexpr u32 R = ROWS / SIDE;
    constexpr u32 C = KEYS / SIDE;
    constexpr u32 SCORES = KEYS + 4;
    extern __shared__ float4 memory[];
    f32* shared_q = reinterpret_cast<f32*>(memory);
    f32* shared_kv = shared_q + ROWS * Line<D>::STRIDE;
    f32* shared_p = shared_kv + KEYS * Line<D>::STRIDE;

    u32 tiles = (p.queries + ROWS - 1) / ROWS;
    u32 head = blockIdx.x / tiles;
    u32 first = (tiles - 1 - blockIdx.x % tiles) * ROWS;
    u32 b = head / p.heads;
    u32 h = head % p.heads;
    u32 y = threadIdx.x / SIDE;
    u32 x = threadIdx.x % SIDE;
    const T* head_k = k + head_start(p.k, b, h / p.shared);
    const T* head_v = v + head_start(p.v, b, h / p.shared);
    i64 mask_start = head_start(p.mask, b, h);
    u32 depth = (p.dim + 3) / 4 * 4;
    load_tile<ROWS, D>(shared_q, q + head_start(p.q, b, h), p.q, first, p.queries, p.dim);

    Accumulator<R, D> result;
    f32 max[R], sum[R];
#pragma unroll
    for (u32 i = 0; i < R; ++i) {
        max[i] = Largest::neutral();
        sum[i] = 0.0f;
    }
    u32 visible = visible_keys(p, first + ROWS);
    for (u32 key = 0; key < visible; key += KEYS) {
        load_tile<KEYS, D>(shared_kv, head_k, p.k, key, p.keys, p.dim);
        __syncthreads();
        f32 scores[R][C];
        multiply_rows<R, C, D>(scores, shared_q, shared_kv, depth);
#pragma unroll
        for (u32 i = 0; i < R; ++i) {
            f32 top = max[i];
#pragma unroll
            for (u32 j = 0; j < C; ++j) {
                scores[i][j] = masked_score<T>(p, mask, mask_start, first + y + i * SIDE, key + x + j * SIDE, scores[i][j]);
                top = Largest::apply(top, scores[i][j]);
            }
            top = over_lanes<Largest>(top, SIDE);
            // Where all keys so far are masked, any finite number keeps 2^−∞ = 0.
            f32 base = top == Largest::neutral() ? 0.0f : top;
            f32 factor = exp2f(max[i] - base);
            max[i] = top;
            sum[i] *= factor;
#pragma unroll
            for (u32 j = 0; j < C; ++j) {
                f32 exponential = exp2f(scores[i][j] - base);
                sum[i] += exponential;
                shared_p[(y + i * SIDE) * SCORES + x + j * SIDE] = exponential;
            }
#pragma unroll
            for (u32 run = 0; run < Line<D>::RUNS; ++run) {
#pragma unroll
                for (u32 e = 0; e < Line<D>::WIDTH; ++e) result.sum[i][run][e] *= factor;
            }
        }
        __syncthreads();
        load_tile<KEYS, D>(shared_kv, head_v, p.v, key, p.keys, p.value_dim);
        __syncthreads();
        result.template add<false>(shared_p, SCORES, shared_kv, lesser(KEYS, visible - key));
        __syncthreads();
    }
    f32 factor[R];
#pragma unroll
    for (u32 i = 0; i < R; ++i) {
        f32 total = over_lanes<Sum>(sum[i], SIDE);
        bool none = max[i] == Largest::neutral();
        factor[i] = none ? 0.0f : __frcp_rn(total);
        u32 query = first + y + i * SIDE;
        if (x == 0 && query < p.queries) {
            lse[static_cast<u64>(head) * p.queries + query] =
                none ? -Largest::neutral() : __fmaf_rn(max[i], LN_2, logf(total));
        }
    }
    result.write(out + static_cast<u64>(head) * p.queries * p.value_dim, first, p.queries, p.value_dim, factor);
}

// ---- Backward ----

// Σ dout·out of each query: a warp each.
template <class T>
__global__ void __launch_bounds__(THREADS)
    output_products(AttentionParams p, f32* delta, const T* out, const T* dout) {
    u64 row = static_cast<u64>(blockIdx.x) * (THREADS / 32) + threadIdx.x / 32;
    u64 head = row / p.queries;
    u32 query = static_cast<u32>(row - head * p.queries);
    u32 b = static_cast<u32>(head / p.heads);
    u32 h = static_cast<u32>(head % p.heads);
    f32 sum = 0.0f;
    if (b < p.batch) {
        const T* of_out = out + head_start(p.out, b, h) + query * p.out[2];
        const T* of_dout = dout + head_start(p.dout, b, h) + query * p.dout[2];
        for (u32 column = threadIdx.x % 32; column < p.value_dim; column += 32) {
            sum = __fmaf_rn(to_f32(of_out[column * p.out[3]]), to_f32(of_dout[column * p.dout[3]]), sum);
        }
    }
    sum = over_lanes<Sum>(sum);
    if (b < p.batch && threadIdx.x % 32 == 0) delta[row] = sum;
}

// A tile of queries against a tile of keys, all in shared memory: the probabilities and the scores' gradients
// p·(dout·v − delta), without the scale.
template <class T, u32 D, u32 R, u32 C>
DEVICE void score_gradients(const AttentionParams& p, const void* mask, i64 mask_start, u32 first_query, u32 first_key,
                            const f32* shared_q, const f32* shared_k, const f32* shared_dout, const f32* shared_v,
                            const f32 (&lse)[R], const f32 (&delta)[R], f32 (&probability)[R][C],
                            f32 (&gradient)[R][C]) {
    multiply_rows<R, C, D>(probability, shared_q, shared_k, (p.dim + 3) / 4 * 4);
    multiply_rows<R, C, D>(gradient, shared_dout, shared_v, (p.value_dim + 3) / 4 * 4);
#pragma unroll
    for (u32 i = 0; i < R; ++i) {
#pragma unroll
        for (u32 j = 0; j < C; ++j) {
            u32 query = first_query + threadIdx.x / SIDE + i * SIDE;
            u32 key = first_key + threadIdx.x % SIDE + j * SIDE;
            f32 score = masked_score<T>(p, mask, mask_start, query, key, probability[i][j]);
            probability[i][j] = exp2f(score - lse[i]);
            gradient[i][j] = probability[i][j] * (gradient[i][j] - delta[i]);
        }
    }
}

// The logs of the sums, in powers of two, and the products of the thread's queries. A query that does not exist has no
// probability anywhere, as one that sees no key.
template <u32 R>
DEVICE void load_rows(const AttentionParams& p, u32 head, u32 first, const f32* lse, const f32* delta, f32 (&of_lse)[R],
                      f32 (&of_delta)[R]) {
#pragma unroll
    for (u32 i = 0; i < R; ++i) {
        u32 query = first + threadIdx.x / SIDE + i * SIDE;
        bool exists = query < p.queries;
        u64 at = static_cast<u64>(head) * p.queries + query;
        of_lse[i] = exists ? lse[at] * LOG2_E : -Largest::neutral();
        of_delta[i] = exists ? delta[at] : 0.0f;
    }
}

// dK and dV of a tile of keys.
template <class T, u32 D, u32 ROWS, u32 KEYS>
__global__ void __launch_bounds__(THREADS)
    backward_keys(AttentionParams p, T* dk, T* dv, const T* q, const T* k, const T* v, const void* mask, const T* dout,
                  const f32* lse, const f32* delta) {
    constexpr u32 R = ROWS / SIDE;
    constexpr u32 C = KEYS / SIDE;
    constexpr u32 SCORES = KEYS + 4;
    extern __shared__ float4 memory[];
    f32* shared_k = reinterpret_cast<f32*>(memory);
    f32* shared_v = shared_k + KEYS * Line<D>::STRIDE;
    f32* shared_q = shared_v + KEYS * Line<D>::STRIDE;
    f32* shared_dout = shared_q + ROWS * Line<D>::STRIDE;
    f32* shared_p = shared_dout + ROWS * Line<D>::STRIDE;
    f32* shared_ds = shared_p + ROWS * SCORES;

    u32 tiles = (p.keys + KEYS - 1) / KEYS;
    u32 kv_head = blockIdx.x / tiles;
    u32 first_key = blockIdx.x % tiles * KEYS;
    u32 b = kv_head / p.kv_heads;
    load_tile<KEYS, D>(shared_k, k + head_start(p.k, b, kv_head % p.kv_heads), p.k, first_key, p.keys, p.dim);
    load_tile<KEYS, D>(shared_v, v + head_start(p.v, b, kv_head % p.kv_heads), p.v, first_key, p.keys, p.value_dim);
    Accumulator<C, D> of_k, of_v;
    u32 y = threadIdx.x / SIDE;
    u32 x = threadIdx.x % SIDE;
    // Queries before the first key do not see it.
    u32 first_query = p.causal ? first_key / ROWS * ROWS : 0;
    for (u32 own = 0; own < p.shared; ++own) {
        u32 h = kv_head % p.kv_heads * p.shared + own;
        for (u32 query = first_query; query < p.queries; query += ROWS) {
            __syncthreads();
            load_tile<ROWS, D>(shared_q, q + head_start(p.q, b, h), p.q, query, p.queries, p.dim);
            load_tile<ROWS, D>(shared_dout, dout + head_start(p.dout, b, h), p.dout, query, p.queries, p.value_dim);
            f32 of_lse[R], of_delta[R], probability[R][C], gradient[R][C];
            load_rows<R>(p, b * p.heads + h, query, lse, delta, of_lse, of_delta);
            __syncthreads();
            score_gradients<T, D, R, C>(p, mask, head_start(p.mask, b, h), query, first_key, shared_q, shared_k,
                                        shared_dout, shared_v, of_lse, of_delta, probability, gradient);
#pragma unroll
            for (u32 i = 0; i < R; ++i) {
#pragma unroll
                for (u32 j = 0; j < C; ++j) {
                    shared_p[(y + i * SIDE) * SCORES + x + j * SIDE] = probability[i][j];
                    shared_ds[(y + i * SIDE) * SCORES + x + j * SIDE] = gradient[i][j];
                }
            }
            __syncthreads();
            u32 count = lesser(ROWS, p.queries - query);
            of_v.template add<true>(shared_p, SCORES, shared_dout, count);
            of_k.template add<true>(shared_ds, SCORES, shared_q, count);
        }
    }
    f32 one[C], scale[C];
#pragma unroll
    for (u32 i = 0; i < C; ++i) {
        one[i] = 1.0f;
        scale[i] = p.scale;
    }
    of_v.write(dv + static_cast<u64>(kv_head) * p.keys * p.value_dim, first_key, p.keys, p.value_dim, one);
    of_k.write(dk + static_cast<u64>(kv_head) * p.keys * p.dim, first_key, p.keys, p.dim, scale);
}

// dQ of a tile of queries.
template <class T, u32 D, u32 ROWS, u32 KEYS>
__global__ void __launch_bounds__(THREADS, 1)
    backward_queries(AttentionParams p, T* dq, const T* q, const T* k, const T* v, const void* mask, const T* dout,
                     const f32* lse, const f32* delta) {
    constexpr u32 R = ROWS / SIDE;
    constexpr u32 C = KEYS / SIDE;
    constexpr u32 SCORES = KEYS + 4;
    extern __shared__ float4 memory[];
    f32* shared_k = reinterpret_cast<f32*>(memory);
    f32* shared_v = shared_k + KEYS * Line<D>::STRIDE;
    f32* shared_q = shared_v + KEYS * Line<D>::STRIDE;
    f32* shared_dout = shared_q + ROWS * Line<D>::STRIDE;
    f32* shared_ds = shared_dout + ROWS * Line<D>::STRIDE;

    u32 tiles = (p.queries + ROWS - 1) / ROWS;
    u32 head = blockIdx.x / tiles;
    u32 first = (tiles - 1 - blockIdx.x % tiles) * ROWS;
    u32 b = head / p.heads;
    u32 h = head % p.heads;
    u32 y = threadIdx.x / SIDE;
    u32 x = threadIdx.x % SIDE;
    load_tile<ROWS, D>(shared_q, q + head_start(p.q, b, h), p.q, first, p.queries, p.dim);
    load_tile<ROWS, D>(shared_dout, dout + head_start(p.dout, b, h), p.dout, first, p.queries, p.value_dim);
    f32 of_lse[R], of_delta[R];
    load_rows<R>(p, head, first, lse, delta, of_lse, of_delta);
    Accumulator<R, D> result;
    u32 visible = visible_keys(p, first + ROWS);
    for (u32 key = 0; key < visible; key += KEYS) {
        load_tile<KEYS, D>(shared_k, k + head_start(p.k, b, h / p.shared), p.k, key, p.keys, p.dim);
        load_tile<KEYS, D>(shared_v, v + head_start(p.v, b, h / p.shared), p.v, key, p.keys, p.value_dim);
        __syncthreads();
        f32 probability[R][C], gradient[R][C];
        score_gradients<T, D, R, C>(p, mask, head_start(p.mask, b, h), first, key, shared_q, shared_k, shared_dout,
                                    shared_v, of_lse, of_delta, probability, gradient);
#pragma unroll
        for (u32 i = 0; i < R; ++i) {
#pragma unroll
            for (u32 j = 0; j < C; ++j) shared_ds[(y + i * SIDE) * SCORES + x + j * SIDE] = gradient[i][j];
        }
        __syncthreads();
        result.template add<false>(shared_ds, SCORES, shared_k, lesser(KEYS, visible - key));
        __syncthreads();
    }
    f32 scale[R];
#pragma unroll
    for (u32 i = 0; i < R; ++i) scale[i] = p.scale;
    result.write(dq + static_cast<u64>(head) * p.queries * p.dim, first, p.queries, p.dim, scale);
}

// ---- Rotary position embedding ----

// y₁ = x₁·cos − x₂·sin, y₂ = x₂·cos + x₁·sin of the halves of each row (Su et al. 2021, RoFormer).
template <class T>
__global__ void __launch_bounds__(THREADS)
    rotary(RotaryParams p, T* y, const T* x, const void* cosines, const void* sines) {
    u64 row = static_cast<u64>(blockIdx.x) * (THREADS / p.lanes) + threadIdx.x / p.lanes;
    if (row >= p.count) return;
    u64 head = row / p.rows;
    u64 position = row - head * p.rows;
    const T* from = x + static_cast<i64>(head / p.heads) * p.x[0] + static_cast<i64>(head % p.heads) * p.x[1] +
                    static_cast<i64>(position) * p.x[2];
    T* to = y + row * 2 * p.half;
    for (u32 column = threadIdx.x % p.lanes; column < p.half; column += p.lanes) {
        f32 cosine = parameter<T>(cosines, p.flags & NORM_WEIGHT_F32, position * p.half + column);
        f32 sine = parameter<T>(sines, p.flags & NORM_BIAS_F32, position * p.half + column) * p.sign;
        f32 first = to_f32(from[column * p.x[3]]);
        f32 second = to_f32(from[(static_cast<i64>(column) + p.half) * p.x[3]]);
        to[column] = from_f32<T>(first * cosine - second * sine);
        to[p.half + column] = from_f32<T>(second * cosine + first * sine);
    }
}

// ---- Instantiations ----

#define FORWARD(T, D, ROWS, KEYS)                                                                                    \
    template __global__ void forward<T, D, ROWS, KEYS>(AttentionParams, T*, f32*, const T*, const T*, const T*,      \
                                                       const void*);
#define BACKWARD(T, D, ROWS, KEYS)                                                                                   \
    template __global__ void backward_keys<T, D, ROWS, KEYS>(AttentionParams, T*, T*, const T*, const T*, const T*,  \
                                                             const void*, const T*, const f32*, const f32*);         \
    template __global__ void backward_queries<T, D, ROWS, KEYS>(AttentionParams, T*, const T*, const T*, const T*,   \
                                                                const void*, const T*, const f32*, const f32*);
// Tiles as src/kernels/attention/plan.rs has them: shared memory within 99 KB.
#define TYPES(T)                                                                                                     \
    FORWARD(T, 32, 64, 64) FORWARD(T, 64, 64, 64) FORWARD(T, 128, 64, 32) FORWARD(T, 256, 32, 32)                    \
    BACKWARD(T, 32, 32, 64) BACKWARD(T, 64, 32, 64) BACKWARD(T, 128, 32, 32) BACKWARD(T, 256, 16, 16)                \
    template __global__ void output_products<T>(AttentionParams, f32*, const T*, const T*);                          \
    template __global__ void rotary<T>(RotaryParams, T*, const T*, const void*, const void*);
TYPES(f32) TYPES(f16) TYPES(bf16)
