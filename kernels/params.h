/* The structs that host and device share: plain, laid out alike by every compiler: no size_t, no bool, no empty
   struct, and explicit padding. `cargo xtask codegen` writes their Rust side, src/kernels/params.rs. */
#ifndef WARPSMITH_PARAMS_H
#define WARPSMITH_PARAMS_H

typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;

/** The most dimensions that a strided kernel walks; the host merges neighbours first. */
static const u32 MAX_RANK = 8;

/** The most operands of an elementwise function. */
static const u32 MAX_OPERANDS = 4;

/** A contiguous elementwise call. */
typedef struct ElementwiseParams {
    /** Elements of the output. */
    u64 count;
    /** First constant of the operation: slope, exponent, lower bound. */
    f32 a;
    /** Second constant of the operation: upper bound. */
    f32 b;
} ElementwiseParams;

/** Division of a number below 2^31 by a constant as a product and a shift
    (Granlund and Montgomery 1994, "Division by Invariant Integers using Multiplication"). */
typedef struct Divisor {
    /** The number to divide by. */
    u32 divisor;
    /** ceil(2^(31 + ceil(log2 divisor)) / divisor). */
    u32 multiplier;
    /** ceil(log2 divisor) - 1; unused for divisor 1. */
    u32 shift;
} Divisor;

/** An elementwise call over strided operands: element i of the row-major index space lies at the sum of index times
    stride, in elements. A stride of 0 broadcasts. */
typedef struct StridedParams {
    /** Elements of the index space; below 2^31. */
    u32 count;
    /** Dimensions that are used; the innermost is dimension 0. */
    u32 rank;
    /** Sizes, innermost first. */
    Divisor sizes[MAX_RANK];
    /** First constant of the operation. */
    f32 a;
    /** Second constant of the operation. */
    f32 b;
    /** Strides of the output, innermost first. */
    i64 out[MAX_RANK];
    /** Strides of the operands. */
    i64 operands[MAX_OPERANDS][MAX_RANK];
} StridedParams;

/** No activation after a matrix product. */
static const u32 ACTIVATION_NONE = 0;
/** max(x, 0). */
static const u32 ACTIVATION_RELU = 1;
/** GELU by the error function. */
static const u32 ACTIVATION_GELU = 2;
/** GELU by tanh. */
static const u32 ACTIVATION_GELU_TANH = 3;

/** out = activation(alpha·A·B + beta·C + bias) + residual, for each matrix of a batch; row-major, strides in elements. */
typedef struct GemmParams {
    /** Rows of A and of the output. */
    i32 m;
    /** Columns of B and of the output. */
    i32 n;
    /** Columns of A, rows of B. */
    i32 k;
    /** Matrices in the batch. */
    i32 batch;
    /** Row stride of A as stored. */
    i64 lda;
    /** Row stride of B as stored. */
    i64 ldb;
    /** Row stride of C. */
    i64 ldc;
    /** Row stride of the output. */
    i64 ldo;
    /** Row stride of the residual. */
    i64 ldr;
    /** From one matrix of the batch to the next: A; 0 shares it. */
    i64 batch_a;
    /** The same for B. */
    i64 batch_b;
    /** The same for C. */
    i64 batch_c;
    /** The same for the output. */
    i64 batch_o;
    /** The same for the residual. */
    i64 batch_r;
    /** Factor of the product. */
    f32 alpha;
    /** Factor of C; where it is 0, C is not read. */
    f32 beta;
    /** One of ACTIVATION_*. */
    u32 activation;
    /** 1 where bias (n numbers) is added to each row, 0 where the pointer is not read. */
    u32 has_bias;
    /** 1 where the residual is added, 0 where the pointer is not read. */
    u32 has_residual;
    /** Zero. */
    u32 reserved;
} GemmParams;

#endif
