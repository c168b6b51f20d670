// Reading and adding by index: gather and rows by number, scatter-add, segment sums, triangles, one-hot rows.
//
// Layout: any strides where a kernel walks StridedParams, else contiguous. Indices are i64, u32 or u8; one out of range is
// reported to the host, and nothing is read or written for it.
// Floor: bytes; gather reads an index and an element and writes one. Adding sorts the destinations first (sort.cu), then
// adds each destination's sources in their order, in stretches of CHUNK whose sums are added in order: no atomics, and the
// same bits every time.
// Gradients: what is added is added to what stands there (convention `+=`).

#include "common/report.cuh"
#include "common/strided.cuh"
#include "common/types.cuh"
#include "common/wide.cuh"

constexpr u32 THREADS = 256;
// Sources that one thread adds up in a row.
constexpr u32 CHUNK = 64;

DEVICE u64 thread_index() { return static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; }
DEVICE u64 thread_count() { return static_cast<u64>(gridDim.x) * THREADS; }

// Whether an index is below the bound; otherwise it is reported.
template <class I>
DEVICE bool valid(const IndexParams& p, I index, Report* report) {
    i64 wide = static_cast<i64>(index);
    if (wide >= 0 && wide < p.bound) {
        return true;
    }
    complain(report, p.operation, REPORT_INDEX, wide, p.bound);
    return false;
}

// out = x[lane + index·step]: operand 0 is where each output's lane begins in x, operand 1 the index. T is any type of that
// size.
template <class T, class I>
__global__ void __launch_bounds__(THREADS)
    gather(StridedParams s, IndexParams p, void* out, const void* x, const I* index, Report* report) {
    for (u64 i = thread_index(); i < s.count; i += thread_count()) {
        Offsets at = offsets<2>(s, static_cast<u32>(i));
        I k = index[at.operands[1]];
        T value = {};
        if (valid(p, k, report)) {
            value = static_cast<const T*>(x)[at.operands[0] + static_cast<i64>(k) * p.step];
        }
        static_cast<T*>(out)[at.out] = value;
    }
}

// The destination of each source, lane + index·step, with the source's number; one out of range gets the number behind the
// last destination. Operand 0 is where each source's lane begins, operand 1 the index.
template <class I>
__global__ void __launch_bounds__(THREADS)
    destinations(StridedParams s, IndexParams p, u64* keys, u32* sources, const I* index, Report* report) {
    for (u64 i = thread_index(); i < s.count; i += thread_count()) {
        Offsets at = offsets<2>(s, static_cast<u32>(i));
        I k = index[at.operands[1]];
        bool good = valid(p, k, report);
        u64 source = static_cast<u64>(at.out);
        keys[source] = good ? static_cast<u64>(at.operands[0] + static_cast<i64>(k) * p.step) : p.destinations;
        sources[source] = static_cast<u32>(source);
    }
}

// ---- Segment sums over sorted destinations ----

template <class T>
DEVICE T narrow(f32 x) {
    return from_f32<T>(x);
}
template <class T>
DEVICE T narrow(i64 x) {
    return static_cast<T>(x);
}

// A chunk of sorted sources in one column: the runs of one destination that begin and end in it are added to out; the run
// that comes in from the chunk before leaves its sum in `incoming`, the one that goes on into the next in `outgoing`. A run
// that does both is an incoming one.
template <class T>
__global__ void __launch_bounds__(THREADS)
    add_runs(SegmentParams p, T* out, typename Wide<T>::type* incoming, typename Wide<T>::type* outgoing,
             const u64* keys, const u32* sources, const T* rows) {
    typedef typename Wide<T>::type A;
    u32 columns = static_cast<u32>(p.columns), jobs = static_cast<u32>((p.count + CHUNK - 1) / CHUNK) * columns;
    for (u32 job = blockIdx.x * THREADS + threadIdx.x; job < jobs; job += gridDim.x * THREADS) {
        u32 chunk = job / columns, column = job % columns;
        u64 first = static_cast<u64>(chunk) * CHUNK, last = first + CHUNK < p.count ? first + CHUNK : p.count;
        bool entered = first > 0 && keys[first - 1] == keys[first];
        u64 key = keys[first];
        A sum = A(0);
#pragma unroll 1
        for (u64 i = first; i < last; ++i) {
            sum = plus(sum, widen(rows[sources[i] * p.columns + column]));
            bool ends = i + 1 == p.count || keys[i + 1] != key;
            if (!ends) {
                continue;
            }
            if (entered) {
                incoming[job] = sum;
            } else if (key < p.destinations) {
                T* to = out + key * p.columns + column;
                *to = narrow<T>(plus(widen(*to), sum));
            }
            entered = false;
            sum = A(0);
            key = i + 1 < p.count ? keys[i + 1] : 0;
        }
        if (last < p.count && keys[last] == keys[last - 1]) {
            if (entered) {
                incoming[job] = sum;
            } else {
                outgoing[job] = sum;
            }
        }
    }
}

// Completes the runs that cross chunks: the thread of the chunk where a run begins adds what the next ones hold of it.
template <class T>
__global__ void __launch_bounds__(THREADS)
    join_runs(SegmentParams p, T* out, const typename Wide<T>::type* incoming, const typename Wide<T>::type* outgoing,
              const u64* keys) {
    typedef typename Wide<T>::type A;
    u32 columns = static_cast<u32>(p.columns), jobs = static_cast<u32>((p.count + CHUNK - 1) / CHUNK) * columns;
    for (u32 job = blockIdx.x * THREADS + threadIdx.x; job < jobs; job += gridDim.x * THREADS) {
        u32 chunk = job / columns, column = job % columns;
        u64 first = static_cast<u64>(chunk) * CHUNK, next = first + CHUNK;
        if (next >= p.count || keys[next] != keys[next - 1]) {
            continue;
        }
        u64 key = keys[next];
        // Not the first chunk of the run, or a run of indices that were reported.
        if ((keys[first] == key && first > 0 && keys[first - 1] == key) || key >= p.destinations) {
            continue;
        }
        A sum = outgoing[job];
        for (u64 at = next, other = chunk + 1; at < p.count && keys[at] == key; at += CHUNK, ++other) {
            sum = plus(sum, incoming[other * p.columns + column]);
        }
        T* to = out + key * p.columns + column;
        *to = narrow<T>(plus(widen(*to), sum));
    }
}

// 1 where a sorted key differs from the one before.
__global__ void __launch_bounds__(THREADS) mark_first(u64 count, u8* first, const u64* keys) {
    for (u64 i = thread_index(); i < count; i += thread_count()) {
        first[i] = i == 0 || keys[i] != keys[i - 1];
    }
}

// Gives the sorted keys the number of their run, and each run its key.
__global__ void __launch_bounds__(THREADS)
    number_runs(u64 count, u64* keys, i64* unique, const u8* first, const i64* numbers) {
    for (u64 i = thread_index(); i < count; i += thread_count()) {
        u64 number = static_cast<u64>(numbers[i]) - 1;
        if (first[i] != 0) {
            unique[number] = static_cast<i64>(keys[i]);
        }
        keys[i] = number;
    }
}

// ---- Triangles and one-hot rows ----

// The lower or upper triangle of (…, rows, columns), zeros elsewhere.
template <class T>
__global__ void __launch_bounds__(THREADS) triangle(TriangleParams p, void* out, const void* x) {
    for (u64 i = thread_index(); i < p.count; i += thread_count()) {
        i64 column = static_cast<i64>(i % p.columns), row = static_cast<i64>(i / p.columns % p.rows);
        bool keep = p.upper != 0 ? column - row >= p.diagonal : column - row <= p.diagonal;
        static_cast<T*>(out)[i] = keep ? static_cast<const T*>(x)[i] : T(0);
    }
}

template <class I>
__global__ void __launch_bounds__(THREADS)
    one_hot(u64 count, IndexParams p, i64* out, const I* index, Report* report) {
    u64 classes = static_cast<u64>(p.bound);
    for (u64 i = thread_index(); i < count * classes; i += thread_count()) {
        I k = index[i / classes];
        out[i] = valid(p, k, report) && static_cast<u64>(k) == i % classes;
    }
}

// ---- Instantiations ----

typedef Vector<u64> u128;
#define GATHER(T, I)                                                                                          \
    template __global__ void gather<T, I>(StridedParams, IndexParams, void*, const void*, const I*, Report*);
#define INDEX(I)                                                                                             \
    GATHER(u8, I) GATHER(u16, I) GATHER(u32, I) GATHER(u64, I) GATHER(u128, I)                               \
    template __global__ void destinations<I>(StridedParams, IndexParams, u64*, u32*, const I*, Report*);     \
    template __global__ void one_hot<I>(u64, IndexParams, i64*, const I*, Report*);
INDEX(i64) INDEX(u32) INDEX(u8)

#define SUMS(T)                                                                                                \
    template __global__ void add_runs<T>(SegmentParams, T*, typename Wide<T>::type*, typename Wide<T>::type*,  \
                                         const u64*, const u32*, const T*);                                    \
    template __global__ void join_runs<T>(SegmentParams, T*, const typename Wide<T>::type*,                    \
                                          const typename Wide<T>::type*, const u64*);
SUMS(f32) SUMS(f16) SUMS(bf16) SUMS(i64) SUMS(u32) SUMS(u8)

#define TRIANGLE(T) template __global__ void triangle<T>(TriangleParams, void*, const void*);
TRIANGLE(u8) TRIANGLE(u16) TRIANGLE(u32) TRIANGLE(u64)
