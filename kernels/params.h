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

/** What becomes of a sum of products on its way to the output:
    activation(alpha·sum + beta·(old output) + bias + residual). */
typedef struct EpilogueParams {
    /** Factor of the sum. */
    f32 alpha;
    /** Factor of what the output held before; where it is 0, that is not read. */
    f32 beta;
    /** One of ACTIVATION_*. */
    u32 activation;
    /** 1 where the bias is added, 0 where the pointer is not read. */
    u32 has_bias;
    /** 1 where the residual is added, 0 where the pointer is not read. */
    u32 has_residual;
    /** 1 where the values before the activation are stored, 0 where the pointer is not written. */
    u32 has_before;
    /** 1 where every row of the output (and of the values before) starts at a multiple of 16 bytes. */
    u32 vector;
    /** 1 where the same holds of the residual, whose columns are neighbours. */
    u32 vector_residual;
    /** From one number of the bias to the next. */
    i64 bias_stride;
    /** From one row of the residual to the next. */
    i64 residual_row;
    /** From one column of the residual to the next. */
    i64 residual_column;
} EpilogueParams;

/** A batch of matrix products; the output is row-major and contiguous, strides are in elements. Matrix i of the batch is
    number i % inner of the inner axis and i / inner of the outer one. */
typedef struct GemmParams {
    /** Rows of A and of the output. */
    i32 m;
    /** Columns of B and of the output. */
    i32 n;
    /** Columns of A, rows of B. */
    i32 k;
    /** Matrices in the batch. */
    i32 batch;
    /** Matrices of the inner batch axis. */
    i32 inner;
    /** How much of K a block sums up, a multiple of the tile's depth; less than K where K is split. */
    i32 split;
    /** From one line of A as stored to the next. */
    i64 lda;
    /** From one line of B as stored to the next. */
    i64 ldb;
    /** From one matrix of the outer batch axis to the next: A; 0 shares it. */
    i64 outer_a;
    /** The same for the inner axis. */
    i64 inner_a;
    /** Outer stride of B. */
    i64 outer_b;
    /** Inner stride of B. */
    i64 inner_b;
    /** Outer stride of the residual. */
    i64 outer_residual;
    /** Inner stride of the residual. */
    i64 inner_residual;
    /** What becomes of the sums. */
    EpilogueParams epilogue;
} GemmParams;

/** A convolution as one matrix product per group and phase: of A (rows × k) and a gathered B (k × columns). Indices of
    columns and of k are read as three digits, outermost first; strides are in elements. */
typedef struct ConvParams {
    /** Strides of k's digits in A. */
    i64 a_k[3];
    /** Strides of k's digits in B. */
    i64 b_k[3];
    /** Strides of a column's digits in B. */
    i64 b_column[3];
    /** Strides of a column's digits in the output. */
    i64 out_column[3];
    /** From one row of A to the next. */
    i64 a_row;
    /** From one row of the output to the next. */
    i64 out_row;
    /** From one group's A to the next. */
    i64 a_group;
    /** From one group's B to the next. */
    i64 b_group;
    /** From one group's output to the next. */
    i64 out_group;
    /** The element of B at position 0 of tap 0: negative by the padding. */
    i64 b_start;
    /** Elements of the output. */
    i64 out_len;
    /** Extents of a column's digits; of the gradient of the input, the outermost alone. */
    u32 column_sizes[3];
    /** Extents of k's digits; of the gradient of the input, the outermost alone. */
    u32 k_sizes[3];
    /** Rows of a group. */
    u32 rows;
    /** Groups. */
    u32 groups;
    /** Phases of the input's positions, in all; 1 but for the gradient of the input. */
    u32 phases;
    /** Phases along W. */
    u32 phases_x;
    /** How much of k a block sums up, a multiple of the tile's depth. */
    u32 split;
    /** Parts of k. */
    u32 splits;
    /** 1 where a bias per row is added, 0 where the pointer is not read. */
    u32 has_bias;
    /** Positions along H of what B is gathered from; others are padding. */
    u32 limit_y;
    /** Positions along W. */
    u32 limit_x;
    /** H of position 0 and tap 0. */
    i32 y_start;
    /** W of position 0 and tap 0. */
    i32 x_start;
    /** Along H from a column's middle digit to the next. */
    i32 column_y;
    /** Along W from a column's last digit to the next. */
    i32 column_x;
    /** Along H from k's middle digit to the next. */
    i32 k_y;
    /** Along W from k's last digit to the next. */
    i32 k_x;
    /** H of x. */
    u32 input_y;
    /** W of x. */
    u32 input_x;
    /** Taps along H. */
    u32 kernel_y;
    /** Taps along W. */
    u32 kernel_x;
    /** Stride along H. */
    u32 stride_y;
    /** Stride along W. */
    u32 stride_x;
    /** Padding along H. */
    u32 padding_y;
    /** Padding along W. */
    u32 padding_x;
    /** Dilation along H. */
    u32 dilation_y;
    /** Dilation along W. */
    u32 dilation_x;
    /** From one tap along H that reaches a phase to the next: the stride over its common divisor with the dilation. */
    u32 step_y;
    /** The same along W. */
    u32 step_x;
    /** Zero. */
    u32 reserved;
} ConvParams;

/** Windows over the planes of a batch. */
typedef struct WindowParams {
    /** Images. */
    u32 batch;
    /** Channels of x. */
    u32 channels;
    /** Channels of y. */
    u32 outputs;
    /** H of x. */
    u32 input_y;
    /** W of x. */
    u32 input_x;
    /** H of y. */
    u32 output_y;
    /** W of y. */
    u32 output_x;
    /** Taps along H. */
    u32 kernel_y;
    /** Taps along W. */
    u32 kernel_x;
    /** Stride along H. */
    u32 stride_y;
    /** Stride along W. */
    u32 stride_x;
    /** Padding along H. */
    u32 padding_y;
    /** Padding along W. */
    u32 padding_x;
    /** Dilation along H. */
    u32 dilation_y;
    /** Dilation along W. */
    u32 dilation_x;
    /** 1 where a bias per channel of the output is added, 0 where the pointer is not read. */
    u32 has_bias;
} WindowParams;

#endif
