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

/** The weight of a norm is given (or its gradient wanted). */
static const u32 NORM_WEIGHT = 1;
/** It is f32, whatever the input is. */
static const u32 NORM_WEIGHT_F32 = 2;
/** The bias is given (or its gradient wanted). */
static const u32 NORM_BIAS = 4;
/** It is f32, whatever the input is. */
static const u32 NORM_BIAS_F32 = 8;
/** A residual is added. */
static const u32 NORM_RESIDUAL = 16;
/** The mean is subtracted. */
static const u32 NORM_CENTERED = 32;
/** The gradient of the input is wanted. */
static const u32 NORM_INPUT_GRADIENT = 64;
/** The gradients of the parameters are wanted. */
static const u32 NORM_PARAMETER_GRADIENTS = 128;
/** The gradient of the residual is wanted. */
static const u32 NORM_RESIDUAL_GRADIENT = 256;
/** The result is max(x, 0). */
static const u32 NORM_RELU = 512;
/** The statistics are constants. */
static const u32 NORM_FIXED = 1024;

/** Rows that are normalised: layer, RMS and group norm. */
typedef struct LayerNormParams {
    /** Rows. */
    u64 rows;
    /** Elements of a row. */
    u32 width;
    /** NORM_*. */
    u32 flags;
    /** Elements of a channel, where parameters belong to channels; divisor 0 where they belong to columns. */
    Divisor length;
    /** Channels in all. */
    u32 channels;
    /** Channels of a row. */
    u32 row_channels;
    /** Added to the variance. */
    f32 eps;
} LayerNormParams;

/** Partial sums of two parameters' gradients, (parts, 2, width). */
typedef struct PartialSumsParams {
    /** How many are added up. */
    u32 parts;
    /** Parameters. */
    u32 width;
    /** Gradients that are wanted, and which of them are f32: NORM_WEIGHT, NORM_BIAS and their _F32. */
    u32 flags;
} PartialSumsParams;

/** A softmax along the middle axis of (outer, width, inner). */
typedef struct SoftmaxParams {
    /** The product of the axes before. */
    u64 outer;
    /** The product of the axes after. */
    u64 inner;
    /** The extent of the axis. */
    u32 width;
    /** Threads that share a row: a power of two up to 32, or a whole block. */
    u32 lanes;
    /** 1 where the logarithm is wanted. */
    u32 log;
    /** Zero. */
    u32 reserved;
} SoftmaxParams;

/** Targets are probabilities, not classes. */
static const u32 TARGETS_PROBABILITIES = 1;
/** Classes have weights. */
static const u32 TARGETS_WEIGHTED = 2;
/** A part of each target is spread over all classes. */
static const u32 TARGETS_SMOOTHED = 4;

/** A cross-entropy of rows of logits. */
typedef struct CrossEntropyParams {
    /** Rows. */
    u64 rows;
    /** Logits of a row. */
    u32 classes;
    /** Threads that share a row: a power of two up to 32, or a whole block. */
    u32 lanes;
    /** TARGETS_*. */
    u32 flags;
    /** What smoothing gives each class: smoothing / classes. */
    f32 uniform;
    /** What it leaves to the target: 1 - smoothing. */
    f32 sharp;
    /** What smoothing gives a row in all, weighted. */
    f32 smoothed;
} CrossEntropyParams;

/** A batch norm over (samples, channels, length). */
typedef struct BatchNormParams {
    /** N. */
    u64 samples;
    /** C. */
    u32 channels;
    /** L. */
    u32 length;
    /** Accesses that a channel's run of a sample takes. */
    Divisor accesses;
    /** NORM_*. */
    u32 flags;
    /** Parts that a channel's elements (or a column's samples) are summed in. */
    u32 parts;
    /** Added to the variance. */
    f32 eps;
} BatchNormParams;

/** An attention without a mask. */
static const u32 ATTENTION_MASK_NONE = 0;
/** A mask of u8: 0 where a key does not count. */
static const u32 ATTENTION_MASK_KEEP = 1;
/** A mask that is added to the scores. */
static const u32 ATTENTION_MASK_ADD = 2;

/** An attention; strides are in elements, of the axes batch, head, row, column. */
typedef struct AttentionParams {
    /** Sequences. */
    u32 batch;
    /** Heads of the queries. */
    u32 heads;
    /** Heads of keys and values. */
    u32 kv_heads;
    /** Heads of queries that share one of keys and values. */
    u32 shared;
    /** Queries of a head. */
    u32 queries;
    /** Keys of a head. */
    u32 keys;
    /** Columns of queries and keys. */
    u32 dim;
    /** Columns of values and of the result. */
    u32 value_dim;
    /** 1 where query i sees keys 0 to i only. */
    u32 causal;
    /** ATTENTION_MASK_*. */
    u32 mask_kind;
    /** What scores are multiplied by. */
    f32 scale;
    /** Zero. */
    u32 reserved;
    /** Strides of the queries. */
    i64 q[4];
    /** Strides of the keys. */
    i64 k[4];
    /** Strides of the values. */
    i64 v[4];
    /** Strides of the mask. */
    i64 mask[4];
    /** Strides of the result. */
    i64 out[4];
    /** Strides of the result's gradient. */
    i64 dout[4];
} AttentionParams;

/** The rotary embedding of (batch, heads, rows, 2·half). */
typedef struct RotaryParams {
    /** Rows in all: batch · heads · rows. */
    u64 count;
    /** Heads. */
    u32 heads;
    /** Rows of a head. */
    u32 rows;
    /** Half of the columns. */
    u32 half;
    /** Threads that share a row: a power of two up to the block's 256. */
    u32 lanes;
    /** NORM_WEIGHT_F32 and NORM_BIAS_F32 where the cosines and the sines are f32. */
    u32 flags;
    /** 1, or -1 to turn back: the factor of the sines. */
    f32 sign;
    /** Strides of the input in elements: batch, head, row, column. */
    i64 x[4];
} RotaryParams;

#endif
