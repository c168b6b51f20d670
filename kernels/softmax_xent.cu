// Softmax and log-softmax along an axis, and the cross-entropy of logits fused with them, forward and backward.
//
// Layout: softmax over (outer, width, inner), row-major; rows where inner is 1. Losses over rows × classes.
// Everything is computed in f32; exponentials are of differences to the maximum, never of the logits themselves.
// Floor: bytes; softmax 2·b·E and its backward 3·b·E where a row fits into registers (else the input is read again, as
// a rule out of the cache); the loss b·E, its gradient 2·b·E, which may be written over the logits.
// The loss reads each logit once: a running maximum and a sum rescaled to it (Milakov and Gimelshein 2018, "Online
// normalizer calculation for softmax").
// Gradients: convention `=`. The gradient's output may be the logits, element for element: no pointer is __restrict__.
// L is the number of elements of one access: what 16 bytes hold, where addresses and widths allow it, else 1.

#include "common/report.cuh"
#include "common/vector.cuh"
#include "common/warp.cuh"

// Rows of up to 32 threads share blocks of this many.
constexpr u32 THREADS = 128;

// The threads that share a row: `lanes` neighbours, or the whole block.
struct RowTeam {
    u64 row;
    u32 thread;
    u32 lanes;

    DEVICE explicit RowTeam(u32 threads_of_row) : lanes(threads_of_row) {
        bool whole = lanes > 32;
        row = whole ? blockIdx.x : static_cast<u64>(blockIdx.x) * (THREADS / lanes) + threadIdx.x / lanes;
        thread = whole ? threadIdx.x : threadIdx.x % lanes;
    }

    // All threads of the block must arrive; `shared` as in over_block.
    template <class F>
    DEVICE f32 reduce(f32 value, f32* shared) const {
        return lanes > 32 ? over_block<F>(value, shared) : over_lanes<F>(value, lanes);
    }
};

DEVICE bool nothing(f32 maximum) { return maximum == Largest::neutral(); }

// The maximum so far and the sum of exponentials of distances to it.
struct Online {
    f32 max = Largest::neutral();
    f32 sum = 0.0f;

    template <u32 L>
    DEVICE void take(const f32 (&x)[L]) {
        f32 top = max;
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) top = Largest::apply(top, x[lane]);
        // −∞ alone adds nothing, and has no distance to itself.
        if (nothing(top)) return;
        sum *= expf(max - top);
        max = top;
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) sum += expf(x[lane] - top);
    }

    // The sum for another maximum, at least this one.
    DEVICE f32 below(f32 top) const { return nothing(max) ? 0.0f : sum * expf(max - top); }
};

// exp(x − max)/sum, or its logarithm (x − max) − ln sum: `end` is 1/sum or ln sum. Where all are −∞, 0/0 tells so.
DEVICE f32 normalised(f32 x, f32 max, f32 end, bool log) { return log ? (x - max) - end : expf(x - max) * end; }

DEVICE f32 end_of(f32 sum, bool log) { return log ? logf(sum) : __frcp_rn(sum); }

// ---- Softmax of rows ----

// A row in registers: at most N elements a thread. Single accesses take more registers, so fewer threads have them.
template <class T, u32 L, u32 N>
__global__ void __launch_bounds__(L == 1 ? 512 : 1024) softmax_rows(SoftmaxParams p, T* y, const T* x) {
    __shared__ f32 scratch[2][32];
    RowTeam team(p.lanes);
    bool exists = team.row < p.outer;
    u64 start = team.row * p.width;
    u32 step = p.lanes * L;
    f32 held[N / L][L];
    f32 max = Largest::neutral();
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        u32 column = team.thread * L + i * step;
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) held[i][lane] = Largest::neutral();
        if (exists && column < p.width) {
            load_pack<L>(x + start + column, held[i]);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) max = Largest::apply(max, held[i][lane]);
        }
    }
    max = team.reduce<Largest>(max, scratch[0]);
    f32 sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        bool inside = team.thread * L + i * step < p.width;
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) {
            held[i][lane] -= max;
            f32 exponential = expf(held[i][lane]);
            if (inside) sum += exponential;
            if (!p.log) held[i][lane] = exponential;
        }
    }
    sum = team.reduce<Sum>(sum, scratch[1]);
    f32 end = end_of(sum, p.log);
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        u32 column = team.thread * L + i * step;
        if (exists && column < p.width) {
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                held[i][lane] = p.log ? held[i][lane] - end : held[i][lane] * end;
            }
            store_pack<L>(y + start + column, held[i]);
        }
    }
}

// A row of any width, a block each, read twice.
template <class T, u32 L>
__global__ void __launch_bounds__(1024) softmax_rereading(SoftmaxParams p, T* y, const T* x) {
    __shared__ f32 scratch[2][32];
    u64 start = static_cast<u64>(blockIdx.x) * p.width;
    Online online;
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L];
        load_pack<L>(x + start + column, values);
        online.take(values);
    }
    f32 max = over_block<Largest>(online.max, scratch[0]);
    f32 end = end_of(over_block<Sum>(online.below(max), scratch[1]), p.log);
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 values[L];
        load_pack<L>(x + start + column, values);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) values[lane] = normalised(values[lane], max, end, p.log);
        store_pack<L>(y + start + column, values);
    }
}

// ---- Softmax of columns (inner above 1) ----

// Where a column of the middle axis starts.
DEVICE u64 column_start(const SoftmaxParams& p, u64 column) {
    u64 outer = column / p.inner;
    return outer * p.width * p.inner + (column - outer * p.inner);
}

// A block has 32 neighbouring columns, each walked by eight threads, whose sums are added in order.
template <class T>
__global__ void __launch_bounds__(256) softmax_columns(SoftmaxParams p, T* y, const T* x) {
    __shared__ f32 maxima[8][32];
    __shared__ f32 sums[8][32];
    u32 lane = threadIdx.x % 32;
    u32 slice = threadIdx.x / 32;
    u64 column = static_cast<u64>(blockIdx.x) * 32 + lane;
    bool exists = column < p.outer * p.inner;
    u64 start = column_start(p, column);
    Online online;
    if (exists) {
        for (u32 place = slice; place < p.width; place += 8) {
            f32 value[1] = {to_f32(x[start + place * p.inner])};
            online.take(value);
        }
    }
    maxima[slice][lane] = online.max;
    __syncthreads();
    f32 max = maxima[0][lane];
#pragma unroll
    for (u32 other = 1; other < 8; ++other) max = Largest::apply(max, maxima[other][lane]);
    sums[slice][lane] = online.below(max);
    __syncthreads();
    f32 sum = sums[0][lane];
#pragma unroll
    for (u32 other = 1; other < 8; ++other) sum += sums[other][lane];
    f32 end = end_of(sum, p.log);
    if (!exists) return;
    for (u32 place = slice; place < p.width; place += 8) {
        u64 at = start + place * p.inner;
        y[at] = from_f32<T>(normalised(to_f32(x[at]), max, end, p.log));
    }
}

// ---- Backward of softmax: dx = y·(dy − Σ y·dy), or dy − exp(y)·Σ dy for the logarithm ----

DEVICE f32 summand(f32 y, f32 dy, bool log) { return log ? dy : y * dy; }
DEVICE f32 input_gradient(f32 y, f32 dy, f32 sum, bool log) { return log ? dy - expf(y) * sum : y * (dy - sum); }

template <class T, u32 L, u32 N>
__global__ void __launch_bounds__(512) softmax_rows_backward(SoftmaxParams p, T* dx, const T* y, const T* dy) {
    __shared__ f32 scratch[32];
    RowTeam team(p.lanes);
    bool exists = team.row < p.outer;
    u64 start = team.row * p.width;
    u32 step = p.lanes * L;
    f32 held_y[N / L][L], held_dy[N / L][L];
    f32 sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        u32 column = team.thread * L + i * step;
        if (exists && column < p.width) {
            load_pack<L>(y + start + column, held_y[i]);
            load_pack<L>(dy + start + column, held_dy[i]);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) sum += summand(held_y[i][lane], held_dy[i][lane], p.log);
        }
    }
    sum = team.reduce<Sum>(sum, scratch);
#pragma unroll
    for (u32 i = 0; i < N / L; ++i) {
        u32 column = team.thread * L + i * step;
        if (exists && column < p.width) {
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                held_dy[i][lane] = input_gradient(held_y[i][lane], held_dy[i][lane], sum, p.log);
            }
            store_pack<L>(dx + start + column, held_dy[i]);
        }
    }
}

template <class T, u32 L>
__global__ void __launch_bounds__(1024)
    softmax_rereading_backward(SoftmaxParams p, T* dx, const T* y, const T* dy) {
    __shared__ f32 scratch[32];
    u64 start = static_cast<u64>(blockIdx.x) * p.width;
    f32 sum = 0.0f;
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 of_y[L], of_dy[L];
        load_pack<L>(y + start + column, of_y);
        load_pack<L>(dy + start + column, of_dy);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) sum += summand(of_y[lane], of_dy[lane], p.log);
    }
    sum = over_block<Sum>(sum, scratch);
    for (u32 column = threadIdx.x * L; column < p.width; column += blockDim.x * L) {
        f32 of_y[L], of_dy[L];
        load_pack<L>(y + start + column, of_y);
        load_pack<L>(dy + start + column, of_dy);
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) of_dy[lane] = input_gradient(of_y[lane], of_dy[lane], sum, p.log);
        store_pack<L>(dx + start + column, of_dy);
    }
}

template <class T>
__global__ void __launch_bounds__(256) softmax_columns_backward(SoftmaxParams p, T* dx, const T* y, const T* dy) {
    __shared__ f32 sums[8][32];
    u32 lane = threadIdx.x % 32;
    u32 slice = threadIdx.x / 32;
    u64 column = static_cast<u64>(blockIdx.x) * 32 + lane;
    bool exists = column < p.outer * p.inner;
    u64 start = column_start(p, column);
    f32 sum = 0.0f;
    if (exists) {
        for (u32 place = slice; place < p.width; place += 8) {
            u64 at = start + place * p.inner;
            sum += summand(to_f32(y[at]), to_f32(dy[at]), p.log);
        }
    }
    sums[slice][lane] = sum;
    __syncthreads();
    sum = sums[0][lane];
#pragma unroll
    for (u32 other = 1; other < 8; ++other) sum += sums[other][lane];
    if (!exists) return;
    for (u32 place = slice; place < p.width; place += 8) {
        u64 at = start + place * p.inner;
        dx[at] = from_f32<T>(input_gradient(to_f32(y[at]), to_f32(dy[at]), sum, p.log));
    }
}

// ---- Cross-entropy ----

// What all classes of a row are compared with: q = weight·(sharp·target + uniform); for class targets without the
// target, which only its class gets. `spreads` says whether it is zero everywhere.
template <class T, u32 L>
DEVICE void spread_targets(const CrossEntropyParams& p, const T* probabilities, const f32* weight, u64 start,
                           u32 column, f32 (&q)[L]) {
    if (p.flags & TARGETS_PROBABILITIES) {
        load_pack<L>(probabilities + start + column, q);
    } else {
#pragma unroll
        for (u32 lane = 0; lane < L; ++lane) q[lane] = 0.0f;
    }
#pragma unroll
    for (u32 lane = 0; lane < L; ++lane) {
        q[lane] = __fmaf_rn(q[lane], p.sharp, p.uniform);
        if (p.flags & TARGETS_WEIGHTED) q[lane] *= weight[column + lane];
    }
}

DEVICE bool spreads(const CrossEntropyParams& p) { return p.flags & (TARGETS_PROBABILITIES | TARGETS_SMOOTHED); }

// What the row's own class adds to q.
DEVICE f32 of_class(const CrossEntropyParams& p, const f32* weight, i64 label) {
    return p.flags & TARGETS_WEIGHTED ? p.sharp * weight[label] : p.sharp;
}

// A row's class; -1 where the row counts for nothing, as one does whose label is no class: that is reported, by the first
// kernel that meets it.
DEVICE i64 class_of(const CrossEntropyParams& p, const i64* labels, u64 row, Report* report) {
    i64 label = labels[row];
    if ((p.flags & TARGETS_IGNORED) && label == p.ignored) return -1;
    if (label >= 0 && label < static_cast<i64>(p.classes)) return label;
    if (report) {
        i64 place = static_cast<i64>(row < 0x7fffffff ? row : 0x7fffffff);
        complain(report, p.operation, REPORT_LABEL, label, place << 32 | p.classes);
    }
    return -1;
}

// The gradient of a row's loss.
template <class T>
DEVICE f32 upstream_of(const CrossEntropyParams& p, const T* upstream, const f32* divisor, u64 row) {
    f32 up = to_f32(upstream[p.flags & LOSS_REDUCED ? 0 : row]);
    return p.flags & LOSS_MEAN ? __fdiv_rn(up, *divisor) : up;
}

// The losses and the logs of the sums of exponentials. A row that counts for nothing has loss 0.
template <class T, u32 L>
__global__ void __launch_bounds__(1024)
    cross_entropy(CrossEntropyParams p, f32* losses, f32* lse, const T* logits, const T* probabilities,
                  const i64* labels, const f32* weight, Report* report) {
    __shared__ f32 scratch[4][32];
    RowTeam team(p.lanes);
    bool exists = team.row < p.rows;
    u64 start = team.row * p.classes;
    Online online;
    f32 total = 0.0f;
    f32 product = 0.0f;
    // Products are of distances to the first logit: nothing is lost where all are large.
    f32 origin = 0.0f;
    if (exists && spreads(p)) {
        f32 first = to_f32(logits[start]);
        if (fabsf(first) <= 3.4028234663852886e38f) origin = first;
    }
    if (exists) {
        for (u32 column = team.thread * L; column < p.classes; column += p.lanes * L) {
            f32 x[L];
            load_pack<L>(logits + start + column, x);
            online.take(x);
            if (spreads(p)) {
                f32 q[L];
                spread_targets<T, L>(p, probabilities, weight, start, column, q);
#pragma unroll
                for (u32 lane = 0; lane < L; ++lane) {
                    total += q[lane];
                    product = __fmaf_rn(q[lane], x[lane] - origin, product);
                }
            }
        }
    }
    f32 max = team.reduce<Largest>(online.max, scratch[0]);
    f32 log_sum = logf(team.reduce<Sum>(online.below(max), scratch[1]));
    if (spreads(p)) {
        total = team.reduce<Sum>(total, scratch[2]);
        product = team.reduce<Sum>(product, scratch[3]);
    }
    if (!exists || team.thread != 0) return;
    lse[team.row] = max + log_sum;
    f32 loss = total == 0.0f ? 0.0f : total * ((max - origin) + log_sum) - product;
    if (!(p.flags & TARGETS_PROBABILITIES)) {
        i64 label = class_of(p, labels, team.row, report);
        // The difference to the maximum first: nothing is lost where the logits are large.
        loss = label < 0 ? 0.0f
                         : __fmaf_rn(of_class(p, weight, label), (max - to_f32(logits[start + label])) + log_sum, loss);
    }
    losses[team.row] = loss;
}

// Whether the sum of what all classes are compared with is not known beforehand: q has to be added up.
DEVICE bool adds_up(const CrossEntropyParams& p) {
    const u32 weighted = TARGETS_WEIGHTED | TARGETS_SMOOTHED;
    return (p.flags & TARGETS_PROBABILITIES) || (p.flags & weighted) == weighted;
}

// upstream·(total·exp(x − lse) − q), total = Σ q. blockIdx.y is the part of the row. `logits` may be `gradient`.
template <class T, u32 L>
__global__ void __launch_bounds__(1024)
    cross_entropy_gradient(CrossEntropyParams p, T* gradient, const T* logits, const T* probabilities,
                           const i64* labels, const f32* weight, const f32* lse, const T* upstream,
                           const f32* divisor) {
    __shared__ f32 scratch[32];
    RowTeam team(p.lanes);
    bool exists = team.row < p.rows;
    u64 start = team.row * p.classes;
    f32 own = 0.0f;
    i64 label = -1;
    f32 total = p.smoothed;
    bool ignored = false;
    if (adds_up(p)) {
        total = 0.0f;
        for (u32 column = team.thread * L; exists && column < p.classes; column += p.lanes * L) {
            f32 q[L];
            spread_targets<T, L>(p, probabilities, weight, start, column, q);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) total += q[lane];
        }
        total = team.reduce<Sum>(total, scratch);
    }
    if (exists && !(p.flags & TARGETS_PROBABILITIES)) {
        label = class_of(p, labels, team.row, nullptr);
        ignored = label < 0;
        if (!ignored) own = of_class(p, weight, label);
        total += own;
    }
    if (!exists) return;
    f32 up = upstream_of(p, upstream, divisor, team.row);
    f32 scale = up * total;
    f32 below = lse[team.row];
    for (u64 column = (static_cast<u64>(blockIdx.y) * p.lanes + team.thread) * L; column < p.classes;
         column += static_cast<u64>(gridDim.y) * p.lanes * L) {
        f32 x[L];
        if (ignored) {
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) x[lane] = 0.0f;
        } else {
            f32 q[L];
            load_pack<L>(logits + start + column, x);
            spread_targets<T, L>(p, probabilities, weight, start, static_cast<u32>(column), q);
#pragma unroll
            for (u32 lane = 0; lane < L; ++lane) {
                if (column + lane == static_cast<u64>(label)) q[lane] += own;
                x[lane] = scale * expf(x[lane] - below) - up * q[lane];
            }
        }
        store_pack<L>(gradient + start + column, x);
    }
}

// ---- Negative log-likelihood ----

// −weight·x at each row's label; 0 where the row counts for nothing.
template <class T>
__global__ void __launch_bounds__(256)
    nll(CrossEntropyParams p, f32* losses, const T* x, const i64* labels, const f32* weight, Report* report) {
    u64 row = static_cast<u64>(blockIdx.x) * 256 + threadIdx.x;
    if (row >= p.rows) return;
    i64 label = class_of(p, labels, row, report);
    losses[row] = label < 0 ? 0.0f : -to_f32(x[row * p.classes + label]) * of_class(p, weight, label);
}

// The gradient of the log-probabilities: zero but at the labels.
template <class T>
__global__ void __launch_bounds__(256)
    nll_gradient(CrossEntropyParams p, T* gradient, const i64* labels, const f32* weight, const T* upstream,
                 const f32* divisor) {
    u64 count = p.rows * p.classes;
    for (u64 at = static_cast<u64>(blockIdx.x) * 256 + threadIdx.x; at < count;
         at += static_cast<u64>(gridDim.x) * 256) {
        u64 row = at / p.classes;
        i64 label = class_of(p, labels, row, nullptr);
        bool own = label >= 0 && at - row * p.classes == static_cast<u64>(label);
        f32 up = own ? -upstream_of(p, upstream, divisor, row) : 0.0f;
        gradient[at] = from_f32<T>(own ? up * of_class(p, weight, label) : 0.0f);
    }
}

// ---- The losses of all rows as one number; one block ----

constexpr u32 REDUCING = 1024;

// Σ losses, divided under LOSS_MEAN by the weights of the rows' classes, of ignored rows none (by the number of rows
// where targets are probabilities). Added in f64, in an order that the number of rows decides.
template <class T>
__global__ void __launch_bounds__(REDUCING)
    reduce_losses(CrossEntropyParams p, T* out, f32* divisor, const f32* losses, const i64* labels, const f32* weight,
                  Report* report) {
    __shared__ f64 totals[REDUCING];
    __shared__ f64 divisors[REDUCING];
    bool mean = p.flags & LOSS_MEAN;
    bool labelled = !(p.flags & TARGETS_PROBABILITIES);
    bool counted = false;
    f64 total = 0.0, sum = 0.0;
    for (u64 row = threadIdx.x; row < p.rows; row += REDUCING) {
        total += static_cast<f64>(losses[row]);
        if (mean && labelled) {
            i64 label = class_of(p, labels, row, nullptr);
            if (label >= 0) {
                counted = true;
                sum += p.flags & TARGETS_WEIGHTED ? static_cast<f64>(weight[label]) : 1.0;
            }
        }
    }
    totals[threadIdx.x] = total;
    divisors[threadIdx.x] = sum;
    bool any = __syncthreads_or(counted);
    for (u32 width = REDUCING / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) {
            totals[threadIdx.x] += totals[threadIdx.x + width];
            divisors[threadIdx.x] += divisors[threadIdx.x + width];
        }
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    if (!mean) {
        *out = from_f32<T>(static_cast<f32>(totals[0]));
        return;
    }
    if (labelled && !any) complain(report, p.operation, REPORT_NOTHING, static_cast<i64>(p.rows), 0);
    f64 by = labelled ? divisors[0] : static_cast<f64>(p.rows);
    *out = from_f32<T>(static_cast<f32>(totals[0] / by));
    *divisor = static_cast<f32>(by);
}

// ---- Instantiations ----

#define LANES(T, L)                                                                                                   \
    template __global__ void softmax_rows<T, L, 8>(SoftmaxParams, T*, const T*);                                      \
    template __global__ void softmax_rows<T, L, 16>(SoftmaxParams, T*, const T*);                                     \
    template __global__ void softmax_rereading<T, L>(SoftmaxParams, T*, const T*);                                    \
    template __global__ void softmax_rows_backward<T, L, 8>(SoftmaxParams, T*, const T*, const T*);                   \
    template __global__ void softmax_rows_backward<T, L, 16>(SoftmaxParams, T*, const T*, const T*);                  \
    template __global__ void softmax_rereading_backward<T, L>(SoftmaxParams, T*, const T*, const T*);                 \
    template __global__ void cross_entropy<T, L>(CrossEntropyParams, f32*, f32*, const T*, const T*, const i64*,      \
                                                 const f32*, Report*);                                                \
    template __global__ void cross_entropy_gradient<T, L>(CrossEntropyParams, T*, const T*, const T*, const i64*,     \
                                                          const f32*, const f32*, const T*, const f32*);
#define TYPES(T)                                                                                                      \
    template __global__ void softmax_columns<T>(SoftmaxParams, T*, const T*);                                         \
    template __global__ void softmax_columns_backward<T>(SoftmaxParams, T*, const T*, const T*);                      \
    template __global__ void nll<T>(CrossEntropyParams, f32*, const T*, const i64*, const f32*, Report*);             \
    template __global__ void nll_gradient<T>(CrossEntropyParams, T*, const i64*, const f32*, const T*, const f32*);   \
    template __global__ void reduce_losses<T>(CrossEntropyParams, T*, f32*, const f32*, const i64*, const f32*,       \
                                              Report*);
LANES(f32, 1) LANES(f32, 4) LANES(f16, 1) LANES(f16, 8) LANES(bf16, 1) LANES(bf16, 8)
TYPES(f32) TYPES(f16) TYPES(bf16)
