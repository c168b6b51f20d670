// Optimizer steps over many tensors at once, in place, and the sum of squares of many gradients.
//
// Layout: contiguous parameters and states, listed in a table of slots in device memory; a block takes CHUNK elements of one
// slot, found by its number. Parameters and gradients are f32, f16 or bf16 (each slot says which), states and master weights
// f32. Arithmetic is f32 with one rounding of the new parameter; the operations, none of them fused, are those of
// src/kernels/optimizer/rules.rs, so that both devices give the same bits.
// What differs from step to step is read from device memory at fixed addresses: `block` (bounds and rates, from the host),
// `found` (the factor that clips, and whether to skip the step, from `total`) and each slot's count of updates, which every
// block of a slot has for itself. So a captured graph of a step can be replayed.
// Floor: bytes, each parameter, gradient and state read once and each parameter and state written once over DRAM bandwidth, in
// 16-byte accesses (8 for halves). AdamW: 28 a parameter of f32, and of bf16 with master weights (the parameter is only
// written); `squares` 4 or 2 a parameter.

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

// A copy of the slot that a block belongs to, the last one that does not begin behind it: what a kernel writes might be the
// table, for all that the compiler knows.
DEVICE OptimizerSlot slot_of(const OptimizerSlot* slots, u32 count, u64 block) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        bool behind = slots[middle].first > block;
        low = behind ? low : middle;
        high = behind ? middle : high;
    }
    return slots[low];
}

// ---- The numbers of one slot's update ----

// In f32, as the rules take them; each rule has its own share of them.
struct Numbers {
    f32 scale, bound, decay, rate, momentum, fresh, old_square, fresh_square, bias, epsilon, l1, l2;
    bool first;
};

// By squaring, as on the host.
DEVICE f64 power(f64 base, u64 exponent) {
    f64 result = 1.0;
    for (; exponent != 0; exponent >>= 1) {
        result = (exponent & 1) != 0 ? __dmul_rn(result, base) : result;
        base = __dmul_rn(base, base);
    }
    return result;
}

// The slot's options for its update number `t`, from 1, at the group's rate; in f64, then rounded.
DEVICE Numbers numbers(const OptimizerSlot& s, u64 t, f64 rate, f64 scale, f64 bound) {
    Numbers n = {};
    f64 decay = s.options[OPTIMIZER_DECAY], momentum = s.options[OPTIMIZER_MOMENTUM], square = s.options[OPTIMIZER_SQUARE];
    n.scale = static_cast<f32>(scale);
    n.bound = static_cast<f32>(bound);
    n.epsilon = static_cast<f32>(s.options[OPTIMIZER_EPSILON]);
    n.momentum = static_cast<f32>(momentum);
    n.old_square = static_cast<f32>(square);
    n.fresh_square = static_cast<f32>(1.0 - square);
    n.first = t == 1;
    if (s.rule == OPTIMIZER_SGD_MOMENTUM) {
        n.fresh = static_cast<f32>(1.0 - s.options[OPTIMIZER_DAMPENING]);
    } else if (s.rule == OPTIMIZER_ADAM || s.rule == OPTIMIZER_AMSGRAD) {
        n.fresh = static_cast<f32>(1.0 - momentum);
        decay = (s.flags & OPTIMIZER_DECOUPLED) != 0 ? __dadd_rn(1.0, -__dmul_rn(rate, decay)) : decay;
        rate = __ddiv_rn(rate, 1.0 - power(momentum, t));
        n.bias = static_cast<f32>(__dsqrt_rn(1.0 - power(square, t)));
    } else if (s.rule == OPTIMIZER_LION) {
        n.fresh = static_cast<f32>(1.0 - momentum);
        decay = __dadd_rn(1.0, -__dmul_rn(rate, decay));
    } else if (s.rule == OPTIMIZER_ADAGRAD) {
        rate = __ddiv_rn(rate, __dadd_rn(1.0, __dmul_rn(static_cast<f64>(t - 1), s.options[OPTIMIZER_RATE_DECAY])));
    } else if (s.rule == OPTIMIZER_FTRL) {
        n.l1 = static_cast<f32>(momentum);
        n.l2 = static_cast<f32>(__dadd_rn(__dmul_rn(2.0, square), __ddiv_rn(s.options[OPTIMIZER_BETA], rate)));
        rate = __ddiv_rn(1.0, rate);
    }
    n.decay = static_cast<f32>(decay);
    n.rate = static_cast<f32>(rate);
    return n;
}

// ---- The rules: one element with its gradient and state ----

struct Element {
    f32 p;
    f32 state[3];
};

DEVICE f32 mul(f32 a, f32 b) { return __fmul_rn(a, b); }
DEVICE f32 add(f32 a, f32 b) { return __fadd_rn(a, b); }
DEVICE f32 sub(f32 a, f32 b) { return __fadd_rn(a, -b); }

DEVICE f32 clipped(const Numbers& n, f32 g) { return minimum(maximum(mul(g, n.scale), -n.bound), n.bound); }

DEVICE void sgd(const Numbers& n, Element& e, f32 g) { e.p = sub(e.p, mul(n.rate, add(g, mul(e.p, n.decay)))); }

DEVICE void momentum(const Numbers& n, u32 flags, Element& e, f32 g) {
    g = add(g, mul(e.p, n.decay));
    f32 velocity = n.first ? g : add(mul(e.state[0], n.momentum), mul(g, n.fresh));
    e.state[0] = velocity;
    e.p = sub(e.p, mul(n.rate, (flags & OPTIMIZER_NESTEROV) != 0 ? add(g, mul(velocity, n.momentum)) : velocity));
}

DEVICE f32 mean_square(const Numbers& n, f32 old, f32 g) {
    return add(mul(old, n.old_square), mul(mul(g, g), n.fresh_square));
}

// Adam, AdamW and, with the largest mean square so far, AMSGrad.
DEVICE void adam(const Numbers& n, u32 flags, Element& e, f32 g, bool keep_largest) {
    if ((flags & OPTIMIZER_DECOUPLED) != 0) {
        e.p = mul(e.p, n.decay);
    } else {
        g = add(g, mul(e.p, n.decay));
    }
    f32 m = add(e.state[0], mul(sub(g, e.state[0]), n.fresh));
    f32 v = mean_square(n, e.state[1], g);
    e.state[0] = m;
    e.state[1] = v;
    if (keep_largest) {
        v = maximum(e.state[2], v);
        e.state[2] = v;
    }
    f32 denominator = add(__fdiv_rn(__fsqrt_rn(v), n.bias), n.epsilon);
    e.p = sub(e.p, mul(n.rate, __fdiv_rn(m, denominator)));
}

DEVICE void adagrad(const Numbers& n, Element& e, f32 g) {
    g = add(g, mul(e.p, n.decay));
    e.state[0] = add(e.state[0], mul(g, g));
    e.p = sub(e.p, mul(n.rate, __fdiv_rn(g, add(__fsqrt_rn(e.state[0]), n.epsilon))));
}

// The mean of squares, then the mean (if centered) and the velocity (if there is one).
DEVICE void rmsprop(const Numbers& n, u32 flags, Element& e, f32 g) {
    g = add(g, mul(e.p, n.decay));
    f32 v = mean_square(n, e.state[0], g);
    e.state[0] = v;
    bool centered = (flags & OPTIMIZER_CENTERED) != 0;
    if (centered) {
        f32 mean = add(e.state[1], mul(sub(g, e.state[1]), n.fresh_square));
        e.state[1] = mean;
        v = maximum(sub(v, mul(mean, mean)), 0.0f);
    }
    f32 direction = __fdiv_rn(g, add(__fsqrt_rn(v), n.epsilon));
    if ((flags & OPTIMIZER_VELOCITY) != 0) {
        f32 velocity = add(mul(centered ? e.state[2] : e.state[1], n.momentum), direction);
        e.state[1] = centered ? e.state[1] : velocity;
        e.state[2] = centered ? velocity : e.state[2];
        direction = velocity;
    }
    e.p = sub(e.p, mul(n.rate, direction));
}

// The sum of squares and the sum of what pulls the parameter from 0; `rate` is the inverse of the group's.
DEVICE void ftrl(const Numbers& n, Element& e, f32 g) {
    // At a rate of 0 nothing moves.
    if (n.rate - n.rate != 0.0f) return;
    f32 root = __fsqrt_rn(add(e.state[0], mul(g, g)));
    f32 sigma = mul(sub(root, __fsqrt_rn(e.state[0])), n.rate);
    f32 z = sub(add(e.state[1], g), mul(sigma, e.p));
    e.state[0] = add(e.state[0], mul(g, g));
    e.state[1] = z;
    f32 excess = sub(z, minimum(maximum(z, -n.l1), n.l1));
    e.p = __fdiv_rn(-excess, add(mul(root, n.rate), n.l2));
}

// The sign of a mean of gradients that is nearer to the last one than the mean that is kept; 0 and NaN are their own signs.
DEVICE void lion(const Numbers& n, Element& e, f32 g) {
    f32 c = add(mul(e.state[0], n.momentum), mul(g, n.fresh));
    f32 sign = c > 0.0f ? 1.0f : c < 0.0f ? -1.0f : c;
    e.p = sub(mul(e.p, n.decay), mul(n.rate, sign));
    e.state[0] = add(mul(e.state[0], n.old_square), mul(g, n.fresh_square));
}

// RULE is one of OPTIMIZER_* that name rules.
template <u32 RULE>
DEVICE void update(const Numbers& n, u32 flags, Element& e, f32 g) {
    g = clipped(n, g);
    if (RULE == OPTIMIZER_SGD) return sgd(n, e, g);
    if (RULE == OPTIMIZER_SGD_MOMENTUM) return momentum(n, flags, e, g);
    if (RULE == OPTIMIZER_ADAM) return adam(n, flags, e, g, false);
    if (RULE == OPTIMIZER_AMSGRAD) return adam(n, flags, e, g, true);
    if (RULE == OPTIMIZER_ADAGRAD) return adagrad(n, e, g);
    if (RULE == OPTIMIZER_RMSPROP) return rmsprop(n, flags, e, g);
    if (RULE == OPTIMIZER_LION) return lion(n, e, g);
    ftrl(n, e, g);
}

// The most numbers of state; a pointer tells whether RMSprop has its last two.
template <u32 RULE>
constexpr i32 STATES = RULE == OPTIMIZER_SGD ? 0
                       : RULE == OPTIMIZER_SGD_MOMENTUM || RULE == OPTIMIZER_ADAGRAD || RULE == OPTIMIZER_LION ? 1
                       : RULE == OPTIMIZER_ADAM || RULE == OPTIMIZER_FTRL ? 2 : 3;

// ---- Loads and stores by the slot's type ----

template <class T>
DEVICE T* at(u64 base, u64 index) {
    return reinterpret_cast<T*>(base) + index;
}

DEVICE f32 load(u64 base, u32 dtype, u64 index) {
    if (dtype == OPTIMIZER_F32) return *at<const f32>(base, index);
    if (dtype == OPTIMIZER_F16) return to_f32(*at<const f16>(base, index));
    return to_f32(*at<const bf16>(base, index));
}

DEVICE void store(u64 base, u32 dtype, u64 index, f32 value) {
    if (dtype == OPTIMIZER_F32) {
        *at<f32>(base, index) = value;
    } else if (dtype == OPTIMIZER_F16) {
        *at<f16>(base, index) = from_f32<f16>(value);
    } else {
        *at<bf16>(base, index) = from_f32<bf16>(value);
    }
}

DEVICE Four<f32> load_wide(u64 base, u64 index) {
    Four<f32> x;
    asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.lanes[0]), "=f"(x.lanes[1]), "=f"(x.lanes[2]), "=f"(x.lanes[3])
                 : "l"(base + 4 * index)
                 : "memory");
    return x;
}

// Left to the compiler, the stores of a struct's elements stay four.
DEVICE void store_wide(u64 base, u64 index, const Four<f32>& x) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(base + 4 * index), "f"(x.lanes[0]), "f"(x.lanes[1]), "f"(x.lanes[2]), "f"(x.lanes[3])
                 : "memory");
}

template <class T>
DEVICE Four<f32> load_halves(u64 base, u64 index) {
    Four<T> x;
    asm volatile("ld.global.v4.u16 {%0, %1, %2, %3}, [%4];"
                 : "=h"(x.lanes[0].bits), "=h"(x.lanes[1].bits), "=h"(x.lanes[2].bits), "=h"(x.lanes[3].bits)
                 : "l"(base + 2 * index)
                 : "memory");
    return {to_f32(x.lanes[0]), to_f32(x.lanes[1]), to_f32(x.lanes[2]), to_f32(x.lanes[3])};
}

template <class T>
DEVICE void store_halves(u64 base, u64 index, const Four<f32>& x) {
    asm volatile("st.global.v4.u16 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(base + 2 * index), "h"(from_f32<T>(x.lanes[0]).bits), "h"(from_f32<T>(x.lanes[1]).bits),
                   "h"(from_f32<T>(x.lanes[2]).bits), "h"(from_f32<T>(x.lanes[3]).bits)
                 : "memory");
}

// Four neighbours, aligned to as many bytes as they have.
DEVICE Four<f32> load_four(u64 base, u32 dtype, u64 index) {
    if (dtype == OPTIMIZER_F32) return load_wide(base, index);
    return dtype == OPTIMIZER_F16 ? load_halves<f16>(base, index) : load_halves<bf16>(base, index);
}

DEVICE void store_four(u64 base, u32 dtype, u64 index, const Four<f32>& four) {
    if (dtype == OPTIMIZER_F32) {
        store_wide(base, index, four);
    } else if (dtype == OPTIMIZER_F16) {
        store_halves<f16>(base, index, four);
    } else {
        store_halves<bf16>(base, index, four);
    }
}

DEVICE u64 element_size(u32 dtype) { return dtype == OPTIMIZER_F32 ? 4 : 2; }

// ---- Kernels ----

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

// One element that lies alone.
template <u32 RULE>
DEVICE void update_at(const OptimizerSlot& s, const Numbers& n, u64 index, f32 g) {
    bool master = s.master != 0;
    Element e = {load(master ? s.master : s.param, master ? OPTIMIZER_F32 : s.dtype, index), {}};
#pragma unroll
    for (i32 which = 0; which < STATES<RULE>; ++which) {
        e.state[which] = s.state[which] != 0 ? *at<f32>(s.state[which], index) : 0.0f;
    }
    update<RULE>(n, s.flags, e, g);
    store(s.param, s.dtype, index, e.p);
    if (master) {
        *at<f32>(s.master, index) = e.p;
    }
#pragma unroll
    for (i32 which = 0; which < STATES<RULE>; ++which) {
        if (s.state[which] != 0) {
            *at<f32>(s.state[which], index) = e.state[which];
        }
    }
}

// Four neighbours; the gradient is aligned as well.
template <u32 RULE>
DEVICE void update_four(const OptimizerSlot& s, const Numbers& n, u64 index) {
    bool master = s.master != 0;
    Four<f32> g = load_four(s.grad, s.dtype, index);
    Four<f32> p = load_four(master ? s.master : s.param, master ? OPTIMIZER_F32 : s.dtype, index);
    Four<f32> states[3] = {};
#pragma unroll
    for (i32 which = 0; which < STATES<RULE>; ++which) {
        if (s.state[which] != 0) {
            states[which] = load_wide(s.state[which], index);
        }
    }
#pragma unroll
    for (u32 lane = 0; lane < 4; ++lane) {
        Element e = {p.lanes[lane], {states[0].lanes[lane], states[1].lanes[lane], states[2].lanes[lane]}};
        update<RULE>(n, s.flags, e, g.lanes[lane]);
        p.lanes[lane] = e.p;
#pragma unroll
        for (i32 which = 0; which < STATES<RULE>; ++which) {
            states[which].lanes[lane] = e.state[which];
        }
    }
    store_four(s.param, s.dtype, index, p);
    if (master) {
        store_wide(s.master, index, p);
    }
#pragma unroll
    for (i32 which = 0; which < STATES<RULE>; ++which) {
        if (s.state[which] != 0) {
            store_wide(s.state[which], index, states[which]);
        }
    }
}

// Elements `first` to `last` of a slot, by all threads of the block.
template <u32 RULE>
DEVICE void sweep(const OptimizerSlot& s, const Numbers& n, u64 first, u64 last) {
    const i64* indices = reinterpret_cast<const i64*>(s.indices);
    bool aligned = indices == nullptr && s.grad % (4 * element_size(s.dtype)) == 0;
    u64 fours = aligned && first < last ? (last - first) / 4 * 4 : 0;
#pragma unroll 1
    for (u64 i = first + 4 * threadIdx.x; i < first + fours; i += 4 * THREADS) {
        update_four<RULE>(s, n, i);
    }
#pragma unroll 1
    for (u64 i = first + fours + threadIdx.x; i < last; i += THREADS) {
        // Of the parameter and of the gradient; no place in the gradient is a zero.
        u64 to = i, from = i;
        bool absent = false;
        if (indices != nullptr) {
            u64 row = i / s.row, column = i % s.row;
            if ((s.flags & OPTIMIZER_TOUCH) != 0) {
                // Elements of the gradient's rows only.
                to = static_cast<u64>(indices[row]) * s.row + column;
            } else {
                u64 place = find_row(indices, s.rows, row);
                from = place * s.row + column;
                absent = place == s.rows;
            }
        }
        update_at<RULE>(s, n, to, absent ? 0.0f : load(s.grad, s.dtype, from));
    }
}

// Without `found` nothing is scaled and nothing skipped.
__global__ void __launch_bounds__(THREADS)
    step(const OptimizerSlot* slots, u32 count, const f64* block, const f64* found) {
    __shared__ Numbers shared;
    if (found != nullptr && found[OPTIMIZER_SKIP] != 0.0) {
        return;
    }
    const OptimizerSlot s = slot_of(slots, count, blockIdx.x);
    if (threadIdx.x == 0) {
        // Each block counts for itself: nobody else may still need the old count.
        i64* updates = at<i64>(s.counts, blockIdx.x - s.first);
        u64 t = static_cast<u64>(*updates) + 1;
        f64 scale = found != nullptr ? found[OPTIMIZER_SCALE] : 1.0;
        shared = numbers(s, t, block[OPTIMIZER_RATES + s.group], scale, block[OPTIMIZER_BOUND]);
        *updates = static_cast<i64>(t);
    }
    __syncthreads();
    const Numbers n = shared;
    u64 first = (blockIdx.x - s.first) * CHUNK, last = first + CHUNK < s.count ? first + CHUNK : s.count;
    switch (s.rule) {
        case OPTIMIZER_SGD: return sweep<OPTIMIZER_SGD>(s, n, first, last);
        case OPTIMIZER_SGD_MOMENTUM: return sweep<OPTIMIZER_SGD_MOMENTUM>(s, n, first, last);
        case OPTIMIZER_ADAM: return sweep<OPTIMIZER_ADAM>(s, n, first, last);
        case OPTIMIZER_AMSGRAD: return sweep<OPTIMIZER_AMSGRAD>(s, n, first, last);
        case OPTIMIZER_ADAGRAD: return sweep<OPTIMIZER_ADAGRAD>(s, n, first, last);
        case OPTIMIZER_RMSPROP: return sweep<OPTIMIZER_RMSPROP>(s, n, first, last);
        case OPTIMIZER_LION: return sweep<OPTIMIZER_LION>(s, n, first, last);
        default: return sweep<OPTIMIZER_FTRL>(s, n, first, last);
    }
}

// Each block's sum of squares: sixteen numbers of a thread in f32, the rest in f64. It is finite where all numbers are.
__global__ void __launch_bounds__(THREADS) squares(const OptimizerSlot* slots, u32 count, f64* sums) {
    __shared__ f64 shared[THREADS];
    const OptimizerSlot s = slot_of(slots, count, blockIdx.x);
    u64 all = s.indices == 0 ? s.count : s.rows * s.row;
    u64 first = (blockIdx.x - s.first) * CHUNK, last = first + CHUNK < all ? first + CHUNK : all;
    bool aligned = s.grad % (4 * element_size(s.dtype)) == 0;
    f32 sum = 0.0f;
    f64 wide = 0.0;
    // The same elements for each thread whether or not they are aligned.
    for (u64 i = first + 4 * threadIdx.x; i < last; i += 4 * THREADS) {
        Four<f32> g = {};
        if (aligned && i + 4 <= last) {
            g = load_four(s.grad, s.dtype, i);
        } else {
            for (u32 lane = 0; lane < 4 && i + lane < last; ++lane) {
                g.lanes[lane] = load(s.grad, s.dtype, i + lane);
            }
        }
        f32 four = 0.0f;
#pragma unroll
        for (u32 lane = 0; lane < 4; ++lane) {
            four = __fmaf_rn(g.lanes[lane], g.lanes[lane], four);
        }
        // Squares beyond f32.
        if (four > 1e38f) {
#pragma unroll
            for (u32 lane = 0; lane < 4; ++lane) {
                wide += static_cast<f64>(g.lanes[lane]) * static_cast<f64>(g.lanes[lane]);
            }
        } else {
            sum += four;
        }
    }
    f64 total = tree_sum<THREADS>(shared, static_cast<f64>(sum) + wide);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = total;
    }
}

// From the blocks' sums: the norm of all gradients together, the factor that brings it below the bound (PyTorch's
// clip_grad_norm_) and, with a loss scale, whether to skip the step, and the next scale (PyTorch's GradScaler). Gradients are
// of the loss times the scale; `norm` is of the loss itself. `steps` has the steps since the scale changed and those that were
// skipped. One block.
__global__ void __launch_bounds__(THREADS) total(f64* found, f32* norm, const f64* sums, u64 count, const f64* block,
                                                 f32* loss_scale, i64* steps, LossScaling scaling) {
    __shared__ f64 shared[THREADS];
    f64 sum = 0.0;
    for (u64 i = threadIdx.x; i < count; i += THREADS) {
        sum += sums[i];
    }
    sum = tree_sum<THREADS>(shared, sum);
    if (threadIdx.x != 0) {
        return;
    }
    f64 inverse = loss_scale != nullptr ? __ddiv_rn(1.0, static_cast<f64>(*loss_scale)) : 1.0;
    f64 size = __dmul_rn(__dsqrt_rn(sum), inverse);
    f64 factor = block != nullptr ? __ddiv_rn(block[OPTIMIZER_MAX_NORM], __dadd_rn(size, 1e-6)) : 1.0;
    bool finite = sum - sum == 0.0;
    *norm = static_cast<f32>(size);
    found[OPTIMIZER_SCALE] = __dmul_rn(factor >= 1.0 ? 1.0 : factor, inverse);
    found[OPTIMIZER_SKIP] = loss_scale != nullptr && !finite ? 1.0 : 0.0;
    if (loss_scale == nullptr) {
        return;
    }
    if (!finite) {
        *loss_scale = static_cast<f32>(__dmul_rn(static_cast<f64>(*loss_scale), scaling.backoff));
        steps[0] = 0;
        steps[1] += 1;
    } else if (steps[0] + 1 >= scaling.interval) {
        f32 grown = static_cast<f32>(__dmul_rn(static_cast<f64>(*loss_scale), scaling.growth));
        *loss_scale = grown - grown == 0.0f ? grown : *loss_scale;
        steps[0] = 0;
    } else {
        steps[0] += 1;
    }
}
