// Products of a warpgroup (four warps) on operands in shared memory, beside the threads (wgmma; sm_90a alone). PTX ISA,
// "Asynchronous Warpgroup Level Matrix Instructions". Warp w of the four holds rows 16w to 16w+15 of the 64, spread as
// mma.sync's accumulators are: with g = lane / 4 and t = lane % 4, sum[4j..4j+3] are (g, 8j+2t), (g, 8j+2t+1),
// (g+8, 8j+2t), (g+8, 8j+2t+1).
#pragma once

#include "common/types.cuh"

// An operand with a swizzle of 128 bytes, as TMA writes it, at a multiple of 1,024 bytes (or some way along K from
// there): lines of 128 bytes, eight lines together. Lines are rows with 64 numbers of K; or steps of K with 64 rows, of
// which the next 64 lie `next_rows` bytes further.
DEVICE u64 matrix_descriptor(u32 shared, u32 next_rows) {
    constexpr u64 SWIZZLE_128 = 1ull << 62;
    constexpr u64 EIGHT_LINES = static_cast<u64>(1024 / 16) << 32;
    return SWIZZLE_128 | EIGHT_LINES | static_cast<u64>(next_rows / 16) << 16 | (shared & 0x3ffff) / 16;
}

// Before the first product, and wherever the sums were touched since the last.
DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes the group of the products since the last.
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups are still running.
template <u32 PENDING>
DEVICE void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// The same for all groups, after which the sums may be read.
template <u32 N>
DEVICE void wgmma_finish(f32 (&sum)[N]) {
    wgmma_wait<0>();
#pragma unroll
    for (u32 i = 0; i < N; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}

// Registers of each thread of the warpgroup from here on; multiples of 8 from 24 to 256.
template <u32 REGISTERS>
DEVICE void give_up_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <u32 REGISTERS>
DEVICE void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

#define WGMMA_SUMS_8(d, i)                                                                                      \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define WGMMA_SUMS(d, i) \
    WGMMA_SUMS_8(d, i), WGMMA_SUMS_8(d, i + 8), WGMMA_SUMS_8(d, i + 16), WGMMA_SUMS_8(d, i + 24)

// m64n128k16: %0 to %63 are the sums, then the descriptors of A and B, and whether the sums count.
#define WGMMA_N128(TYPE) \
    asm volatile("{\n\t.reg .pred add;\n\tsetp.ne.b32 add, %66, 0;\n\t"                             \
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " {"                  \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"   \
                 "}, %64, %65, add, 1, 1, %67, %68;\n\t}"                                           \
                 : WGMMA_SUMS(sum, 0), WGMMA_SUMS(sum, 32)                                          \
                 : "l"(a), "l"(b), "r"(add), "n"(TRANSPOSE_A), "n"(TRANSPOSE_B))

// m64n256k16: %0 to %127 are the sums, then the descriptors of A and B, and whether the sums count.
#define WGMMA_N256(TYPE) \
    asm volatile("{\n\t.reg .pred add;\n\tsetp.ne.b32 add, %130, 0;\n\t"                                          \
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " {"                                \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                         \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "               \
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "               \
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "               \
                 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "               \
                 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "               \
                 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "   \
                 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127" \
                 "}, %128, %129, add, 1, 1, %131, %132;\n\t}"                                                     \
                 : WGMMA_SUMS(sum, 0), WGMMA_SUMS(sum, 32), WGMMA_SUMS(sum, 64), WGMMA_SUMS(sum, 96)              \
                 : "l"(a), "l"(b), "r"(add), "n"(TRANSPOSE_A), "n"(TRANSPOSE_B))

// sum = A·B, or sum + A·B if `add`, of 64×16 and 16×COLUMNS numbers of T (f16, bf16), accumulated in f32. TRANSPOSE:
// the lines of the operand are steps of K.
template <class T, u32 COLUMNS, bool TRANSPOSE_A, bool TRANSPOSE_B>
struct Wgmma;

template <bool TRANSPOSE_A, bool TRANSPOSE_B>
struct Wgmma<f16, 128, TRANSPOSE_A, TRANSPOSE_B> {
    static DEVICE void multiply(f32 (&sum)[64], u64 a, u64 b, u32 add) { WGMMA_N128("f16"); }
};

template <bool TRANSPOSE_A, bool TRANSPOSE_B>
struct Wgmma<bf16, 128, TRANSPOSE_A, TRANSPOSE_B> {
    static DEVICE void multiply(f32 (&sum)[64], u64 a, u64 b, u32 add) { WGMMA_N128("bf16"); }
};

template <bool TRANSPOSE_A, bool TRANSPOSE_B>
struct Wgmma<f16, 256, TRANSPOSE_A, TRANSPOSE_B> {
    static DEVICE void multiply(f32 (&sum)[128], u64 a, u64 b, u32 add) { WGMMA_N256("f16"); }
};

template <bool TRANSPOSE_A, bool TRANSPOSE_B>
struct Wgmma<bf16, 256, TRANSPOSE_A, TRANSPOSE_B> {
    static DEVICE void multiply(f32 (&sum)[128], u64 a, u64 b, u32 add) { WGMMA_N256("bf16"); }
};
