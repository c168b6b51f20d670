// Tensor core instructions of sm_80 and later, for one warp: ldmatrix and mma.sync (PTX ISA, "Warp-level matrix
// instructions"). With g = lane / 4 and t = lane % 4, of m16n8: the accumulator holds (g, 2t), (g, 2t+1), (g+8, 2t),
// (g+8, 2t+1).
#pragma once

#include "common/types.cuh"

// Four 8×8 matrices of 16-bit numbers; lane l gives the shared address of row l % 8 of matrix l / 8 (16 bytes,
// aligned). Lane l gets row g, columns 2t and 2t+1 of each. The same bytes are 8×4 matrices of 32-bit numbers, of which
// a lane gets row g, column t.
DEVICE void ldmatrix(u32 (&to)[4], u32 shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared)
                 : "memory");
}

// The same, each matrix transposed (16-bit numbers only): lane l gets column g, rows 2t and 2t+1.
DEVICE void ldmatrix_transposed(u32 (&to)[4], u32 shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared)
                 : "memory");
}

// sum += A·B for A of 16×16 and B of 16×8 in T (f16, bf16), accumulated in f32.
// A: (g, 2t..), (g+8, 2t..), (g, 2t+8..), (g+8, 2t+8..); B: rows 2t.. and 2t+8.. of column g; two numbers a register.
template <class T>
DEVICE void mma_m16n8k16(f32 (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1);

template <>
DEVICE void mma_m16n8k16<f16>(f32 (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
DEVICE void mma_m16n8k16<bf16>(f32 (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// An f32 rounded to TF32 (ties away from zero); mma would truncate what is passed raw.
DEVICE u32 to_tf32(u32 bits) {
    u32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
    return rounded;
}

// sum += A·B for A of 16×8 and B of 8×8 in TF32. A: (g, t), (g+8, t), (g, t+4), (g+8, t+4); B: rows t and t+4 of
// column g.
DEVICE void mma_m16n8k8(f32 (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
