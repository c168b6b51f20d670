// Pooling over windows of planes: maximum with its position, average, adaptive average.
//
// Layout: contiguous (planes, H, W), fewer than 2^31 elements a launch. Sums are f32, rounded once.
// Floor: bytes, one read of the input and one write of the outputs (and positions) over DRAM bandwidth; neighbouring
// windows meet in cache.
// Gradients (convention `=`): a thread for each input position gathers from the outputs whose windows hold it, in their
// order, so that nothing is added atomically.

#include "common/block.cuh"
#include "common/types.cuh"

constexpr u32 THREADS = 256;

DEVICE u32 thread_index() { return blockIdx.x * THREADS + threadIdx.x; }
DEVICE u32 thread_count() { return gridDim.x * THREADS; }

DEVICE i32 least(i32 a, i32 b) { return a < b ? a : b; }
DEVICE i32 most(i32 a, i32 b) { return a > b ? a : b; }
DEVICE i32 divide_up(i32 a, i32 b) { return (a + b - 1) / b; }

// ⌊o·length/outputs⌋, or rounded up, for extents below 2^16.
DEVICE i32 part(i32 o, i32 length, i32 outputs, bool up) {
    u32 rest = static_cast<u32>(o) * static_cast<u32>(length % outputs) + (up ? static_cast<u32>(outputs) - 1 : 0);
    return o * (length / outputs) + static_cast<i32>(rest / static_cast<u32>(outputs));
}

// ---- Maximum ----

struct Taps {
    i32 from;
    i32 to;
    i32 start;
};

// The taps of output o along an axis that read one of its positions; tap t reads start + t·dilation.
DEVICE Taps taps(const PoolParams& p, u32 axis, i32 o) {
    i32 length = static_cast<i32>(p.input[axis]);
    i32 start = o * static_cast<i32>(p.stride[axis]) - static_cast<i32>(p.padding[axis]), dilation = p.dilation[axis];
    i32 from = start < 0 ? divide_up(-start, dilation) : 0;
    i32 to = start < length ? divide_up(length - start, dilation) : 0;
    to = least(to, p.kernel[axis]);
    return {least(from, to), to, start};
}

// The largest of each window, the first of equals, and its position in the plane; a NaN is larger than every number.
template <class T, class I>
__global__ void __launch_bounds__(THREADS) max_pool(PoolParams p, T* out, I* positions, const T* x) {
    u32 plane_size = p.input[0] * p.input[1], outputs = p.output[0] * p.output[1];
    for (u32 i = thread_index(); i < p.planes * outputs; i += thread_count()) {
        const T* plane = x + i / outputs * plane_size;
        Taps down = taps(p, 0, static_cast<i32>(i % outputs / p.output[1]));
        Taps across = taps(p, 1, static_cast<i32>(i % p.output[1]));
        f32 best = __uint_as_float(0xff800000u);
        i32 row = down.from < down.to ? down.start + down.from * p.dilation[0] : 0;
        i32 column = across.from < across.to ? across.start + across.from * p.dilation[1] : 0;
        i32 place = row * p.input[1] + column;
        for (i32 t = down.from; t < down.to; ++t) {
            i32 line = (down.start + t * p.dilation[0]) * p.input[1] + across.start;
            for (i32 s = across.from; s < across.to; ++s) {
                i32 at = line + s * p.dilation[1];
                f32 v = to_f32(plane[at]);
                if (v > best || v != v) {
                    best = v;
                    place = at;
                }
            }
        }
        out[i] = from_f32<T>(best);
        positions[i] = static_cast<I>(place);
    }
}

template <class T>
__global__ void __launch_bounds__(THREADS) max_pool_backward(PoolParams p, T* dx, const T* g, const u32* positions) {
    u32 plane_size = p.input[0] * p.input[1], outputs = p.output[0] * p.output[1];
    for (u32 i = thread_index(); i < p.planes * plane_size; i += thread_count()) {
        u32 plane = i / plane_size, place = i % plane_size;
        i32 row = static_cast<i32>(place / p.input[1] + p.padding[0]);
        i32 column = static_cast<i32>(place % p.input[1] + p.padding[1]);
        i32 stride[] = {static_cast<i32>(p.stride[0]), static_cast<i32>(p.stride[1])};
        i32 height = static_cast<i32>(p.output[0]), width = static_cast<i32>(p.output[1]);
        f32 sum = 0.0f;
        // From the last tap to the first: outputs in their order.
        for (i32 t = static_cast<i32>(p.kernel[0]) - 1; t >= 0; --t) {
            i32 y = row - t * static_cast<i32>(p.dilation[0]);
            if (y < 0 || y % stride[0] != 0 || y / stride[0] >= height) {
                continue;
            }
            u32 line = plane * outputs + static_cast<u32>(y / stride[0] * width);
            for (i32 s = static_cast<i32>(p.kernel[1]) - 1; s >= 0; --s) {
                i32 z = column - s * static_cast<i32>(p.dilation[1]);
                if (z < 0 || z % stride[1] != 0 || z / stride[1] >= width) {
                    continue;
                }
                u32 at = line + static_cast<u32>(z / stride[1]);
                sum += positions[at] == place ? to_f32(g[at]) : 0.0f;
            }
        }
        dx[i] = from_f32<T>(sum);
    }
}

// ---- Average ----

struct Span {
    i32 from;
    i32 to;
    // How many an average counts along the axis.
    i32 count;
};

// The positions that output o reads along an axis.
DEVICE Span span(const PoolParams& p, u32 axis, i32 o) {
    i32 length = p.input[axis], outputs = p.output[axis];
    if (p.adaptive != 0) {
        i32 from = part(o, length, outputs, false), to = part(o + 1, length, outputs, true);
        return {from, to, to - from};
    }
    // The window is cut at the padding's end, then at the input's.
    i32 padding = p.padding[axis], start = o * p.stride[axis];
    i32 end = least(start + p.kernel[axis], length + 2 * padding);
    i32 from = most(start - padding, 0), to = most(least(end - padding, length), 0);
    from = least(from, to);
    return {from, to, p.divisor == POOL_PADDED ? end - start : to - from};
}

DEVICE f32 scale(const PoolParams& p, const Span& rows, const Span& columns) {
    return __frcp_rn(p.divisor == POOL_FIXED ? p.fixed : static_cast<f32>(rows.count) * static_cast<f32>(columns.count));
}

// LANES threads for each output: one, or a warp where windows are large.
template <class T, u32 LANES>
__global__ void __launch_bounds__(THREADS) average_pool(PoolParams p, T* out, const T* x) {
    u32 plane_size = p.input[0] * p.input[1], outputs = p.output[0] * p.output[1];
    u32 lane = threadIdx.x % LANES;
    for (u32 i = thread_index() / LANES; i < p.planes * outputs; i += thread_count() / LANES) {
        const T* plane = x + i / outputs * plane_size;
        Span rows = span(p, 0, static_cast<i32>(i % outputs / p.output[1]));
        Span columns = span(p, 1, static_cast<i32>(i % p.output[1]));
        f32 sum = 0.0f;
        if constexpr (LANES == 1) {
            for (i32 row = rows.from; row < rows.to; ++row) {
                for (i32 column = columns.from; column < columns.to; ++column) {
                    sum += to_f32(plane[row * p.input[1] + column]);
                }
            }
        } else {
            i32 width = columns.to - columns.from, area = (rows.to - rows.from) * width;
            for (i32 k = lane; k < area; k += LANES) {
                sum += to_f32(plane[(rows.from + k / width) * p.input[1] + columns.from + k % width]);
            }
            for (u32 by = LANES / 2; by > 0; by /= 2) {
                sum += shuffle_down(sum, by);
            }
        }
        if (lane == 0) {
            out[i] = from_f32<T>(sum * scale(p, rows, columns));
        }
    }
}

// The outputs that read position i along an axis.
DEVICE Span readers(const PoolParams& p, u32 axis, i32 i) {
    i32 length = p.input[axis], outputs = p.output[axis];
    if (p.adaptive != 0) {
        return {part(i, outputs, length, false), part(i + 1, outputs, length, true), 0};
    }
    i32 at = i + p.padding[axis], kernel = p.kernel[axis], stride = p.stride[axis];
    i32 from = at < kernel ? 0 : (at - kernel) / stride + 1;
    return {from, least(at / stride + 1, outputs), 0};
}

template <class T>
__global__ void __launch_bounds__(THREADS) average_pool_backward(PoolParams p, T* dx, const T* g) {
    u32 plane_size = p.input[0] * p.input[1], outputs = p.output[0] * p.output[1];
    for (u32 i = thread_index(); i < p.planes * plane_size; i += thread_count()) {
        u32 place = i % plane_size;
        Span down = readers(p, 0, static_cast<i32>(place / p.input[1]));
        Span across = readers(p, 1, static_cast<i32>(place % p.input[1]));
        f32 sum = 0.0f;
        for (i32 y = down.from; y < down.to; ++y) {
            Span rows = span(p, 0, y);
            const T* line = g + i / plane_size * outputs + y * p.output[1];
#pragma unroll 1
            for (i32 z = across.from; z < across.to; ++z) {
                sum += to_f32(line[z]) * scale(p, rows, span(p, 1, z));
            }
        }
        dx[i] = from_f32<T>(sum);
    }
}

// ---- Instantiations ----

#define POOL(T)                                                                                    \
    template __global__ void max_pool<T, u32>(PoolParams, T*, u32*, const T*);                     \
    template __global__ void max_pool<T, i64>(PoolParams, T*, i64*, const T*);                     \
    template __global__ void max_pool_backward<T>(PoolParams, T*, const T*, const u32*);           \
    template __global__ void average_pool<T, 1>(PoolParams, T*, const T*);                         \
    template __global__ void average_pool<T, 32>(PoolParams, T*, const T*);                        \
    template __global__ void average_pool_backward<T>(PoolParams, T*, const T*);
POOL(f32) POOL(f16) POOL(bf16)
