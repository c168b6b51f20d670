// Optimizer steps over many tensors at once, in place, and the sum of squares of many gradients.
//
// Layout: contiguous parameters and states, listed in a table of slots in device memory; a block takes CHUNK elements of one
// slot, found by its number. Parameters and gradients are f32, f16 or bf16, states f32, arithmetic f32 with one rounding of
// the new parameter; the operations are those of src/kernels/optimizer/rules.rs.
// Floor: bytes, each parameter, gradient and state read once and each parameter and state written once (AdamW with f32
// parameters: 28 a parameter) over DRAM bandwidth, in 16-byte accesses (8 for halves).

#include "common/activation.cuh"
#include "common/block.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;
constexpr u32 CHUNK = 4096;

// Four elements that move in one access.
template <class T>
struct alignas(4 * sizeof(T)) Four {
    T lanes[4];
};

// The slot that a block belongs to: the last one that does not begin behind it.
DEVICE const OptimizerSlot& slot_of(const OptimizerSlot* slots, u32 count, u64 block) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        bool behind = slots[middle].first > block;
        low = behind ? low : middle;
        high = behind ? middle : high;
    }
    return slots[low];
}

// ---- The rules: one element with its gradient and state ----

struct Element {
    f32 p;
    f32 state[3];
};

DEVICE f32 clipped(const OptimizerSlot& s, f32 g) {
    f32 bound = s.constants[OPTIMIZER_BOUND];
    return minimum(maximum(g * s.constants[OPTIMIZER_SCALE], -bound), bound);
}

DEVICE void sgd(const OptimizerSlot& s, Element& e, f32 g) {
    g = clipped(s, g) + e.p * s.constants[OPTIMIZER_DECAY];
    e.p = e.p - s.constants[OPTIMIZER_RATE] * g;
}

DEVICE void momentum(const OptimizerSlot& s, Element& e, f32 g) {
    g = clipped(s, g) + e.p * s.constants[OPTIMIZER_DECAY];
    f32 mu = s.constants[OPTIMIZER_MOMENTUM];
    bool first = (s.flags & OPTIMIZER_FIRST) != 0, nesterov = (s.flags & OPTIMIZER_NESTEROV) != 0;
    f32 velocity = first ? g : e.state[0] * mu + g * s.constants[OPTIMIZER_UNDAMPED];
    e.state[0] = velocity;
    e.p = e.p - s.constants[OPTIMIZER_RATE] * (nesterov ? g + velocity * mu : velocity);
}

// Adam, AdamW and, with the largest mean square so far, AMSGrad.
DEVICE void adam(const OptimizerSlot& s, Element& e, f32 g, bool keep_largest) {
    g = clipped(s, g);
    if ((s.flags & OPTIMIZER_DECOUPLED) != 0) {
        e.p = e.p * s.constants[OPTIMIZER_DECAY];
    } else {
        g = g + e.p * s.constants[OPTIMIZER_DECAY];
    }
    f32 m = e.state[0] + (g - e.state[0]) * s.constants[OPTIMIZER_NEW_MEAN];
    f32 v = e.state[1] * s.constants[OPTIMIZER_OLD_SQUARE] + g * g * s.constants[OPTIMIZER_NEW_SQUARE];
    e.state[0] = m;
    e.state[1] = v;
    if (keep_largest) {
        v = maximum(e.state[2], v);
        e.state[2] = v;
    }
    f32 denominator = __fdiv_rn(__fsqrt_rn(v), s.constants[OPTIMIZER_BIAS]) + s.constants[OPTIMIZER_EPSILON];
    e.p = e.p - s.constants[OPTIMIZER_RATE] * __fdiv_rn(m, denominator);
}

DEVICE void update(const OptimizerSlot& s, Element& e, f32 g) {
    switch (s.rule) {
        case OPTIMIZER_SGD: return sgd(s, e, g);
        case OPTIMIZER_SGD_MOMENTUM: return momentum(s, e, g);
        case OPTIMIZER_ADAM: return adam(s, e, g, false);
        default: return adam(s, e, g, true);
    }
}

DEVICE u32 states(u32 rule) {
    return rule == OPTIMIZER_SGD ? 0 : (rule == OPTIMIZER_SGD_MOMENTUM ? 1 : (rule == OPTIMIZER_ADAM ? 2 : 3));
}

DEVICE f32* state(const OptimizerSlot& s, u32 which) { return reinterpret_cast<f32*>(s.state[which]); }

// ---- Kernels ----

// One element that lies alone.
template <class T>
DEVICE void update_at(const OptimizerSlot& s, u64 at, f32 g) {
    T* p = reinterpret_cast<T*>(s.param) + at;
    Element e = {to_f32(*p), {}};
    u32 count = states(s.rule);
#pragma unroll
    for (u32 which = 0; which < 3; ++which) {
        e.state[which] = which < count ? state(s, which)[at] : 0.0f;
    }
    update(s, e, g);
    *p = from_f32<T>(e.p);
#pragma unroll
    for (u32 which = 0; which < 3; ++which) {
        if (which < count) {
            state(s, which)[at] = e.state[which];
        }
    }
}

// Four neighbours; the gradient is aligned as well.
template <class T>
DEVICE void update_four(const OptimizerSlot& s, u64 at) {
    Four<T>* param = reinterpret_cast<Four<T>*>(reinterpret_cast<T*>(s.param) + at);
    Four<T> p = *param, g = *reinterpret_cast<const Four<T>*>(reinterpret_cast<const T*>(s.grad) + at);
    Four<f32> old[3] = {};
    u32 count = states(s.rule);
#pragma unroll
    for (u32 which = 0; which < 3; ++which) {
        if (which < count) {
            old[which] = *reinterpret_cast<Four<f32>*>(state(s, which) + at);
        }
    }
#pragma unroll
    for (u32 lane = 0; lane < 4; ++lane) {
        Element e = {to_f32(p.lanes[lane]), {old[0].lanes[lane], old[1].lanes[lane], old[2].lanes[lane]}};
        update(s, e, to_f32(g.lanes[lane]));
        p.lanes[lane] = from_f32<T>(e.p);
#pragma unroll
        for (u32 which = 0; which < 3; ++which) {
            old[which].lanes[lane] = e.state[which];
        }
    }
    *param = p;
#pragma unroll
    for (u32 which = 0; which < 3; ++which) {
        if (which < count) {
            *reinterpret_cast<Four<f32>*>(state(s, which) + at) = old[which];
        }
    }
}

// The place of a row among the ascending row numbers of a row-sparse gradient; its count where it is not there.
DEVICE u64 find_row(const i64* indices, u64 count, u64 row) {
    u64 low = 0, high = count;
    while (low < high) {
        u64 middle = (low + high) / 2;
        bool before = indices[middle] < static_cast<i64>(row);
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return low < count && indices[low] == static_cast<i64>(row) ? low : count;
}

template <class T>
__global__ void __launch_bounds__(THREADS) step(const OptimizerSlot* slots, u32 count) {
    const OptimizerSlot& s = slot_of(slots, count, blockIdx.x);
    u64 first = (blockIdx.x - s.first) * CHUNK, last = first + CHUNK < s.count ? first + CHUNK : s.count;
    const T* grad = reinterpret_cast<const T*>(s.grad);
    if (s.indices == 0) {
        bool aligned = reinterpret_cast<u64>(grad) % sizeof(Four<T>) == 0;
        u64 fours = aligned ? (last - first) / 4 * 4 : 0;
        for (u64 i = first + 4 * threadIdx.x; i < first + fours; i += 4 * THREADS) {
            update_four<T>(s, i);
        }
        for (u64 i = first + fours + threadIdx.x; i < last; i += THREADS) {
            update_at<T>(s, i, to_f32(grad[i]));
        }
        return;
    }
    const i64* indices = reinterpret_cast<const i64*>(s.indices);
    for (u64 i = first + threadIdx.x; i < last; i += THREADS) {
        u64 row = i / s.row, column = i % s.row;
        if ((s.flags & OPTIMIZER_TOUCH) != 0) {
            // Elements of the gradient's rows only.
            update_at<T>(s, static_cast<u64>(indices[row]) * s.row + column, to_f32(grad[i]));
        } else {
            u64 found = find_row(indices, s.rows, row);
            update_at<T>(s, i, found < s.rows ? to_f32(grad[found * s.row + column]) : 0.0f);
        }
    }
}

// Each block's sum of squares: sixteen numbers of a thread in f32, the rest in f64.
template <class T>
__global__ void __launch_bounds__(THREADS) squares(const OptimizerSlot* slots, u32 count, f64* sums) {
    __shared__ f64 shared[THREADS];
    const OptimizerSlot& s = slot_of(slots, count, blockIdx.x);
    u64 first = (blockIdx.x - s.first) * CHUNK, last = first + CHUNK < s.count ? first + CHUNK : s.count;
    const T* grad = reinterpret_cast<const T*>(s.grad);
    bool aligned = reinterpret_cast<u64>(grad) % sizeof(Four<T>) == 0;
    f32 sum = 0.0f;
    // The same elements for each thread whether or not they are aligned.
    for (u64 i = first + 4 * threadIdx.x; i < last; i += 4 * THREADS) {
        Four<T> g = {};
        if (aligned && i + 4 <= last) {
            g = *reinterpret_cast<const Four<T>*>(grad + i);
        } else {
            for (u32 lane = 0; lane < 4 && i + lane < last; ++lane) {
                g.lanes[lane] = grad[i + lane];
            }
        }
#pragma unroll
        for (u32 lane = 0; lane < 4; ++lane) {
            f32 x = to_f32(g.lanes[lane]);
            sum = __fmaf_rn(x, x, sum);
        }
    }
    f64 total = tree_sum<THREADS>(shared, static_cast<f64>(sum));
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = total;
    }
}

// out = Σ sums: one block.
__global__ void __launch_bounds__(THREADS) total(f64* out, const f64* sums, u64 count) {
    __shared__ f64 shared[THREADS];
    f64 sum = 0.0;
    for (u64 i = threadIdx.x; i < count; i += THREADS) {
        sum += sums[i];
    }
    sum = tree_sum<THREADS>(shared, sum);
    if (threadIdx.x == 0) {
        out[0] = sum;
    }
}

// ---- Instantiations ----

#define FLOAT(T)                                                                   \
    template __global__ void step<T>(const OptimizerSlot*, u32);                   \
    template __global__ void squares<T>(const OptimizerSlot*, u32, f64*);
FLOAT(f32) FLOAT(f16) FLOAT(bf16)
