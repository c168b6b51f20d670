/* The structs that host and device share: plain, laid out alike by every compiler: no size_t, no bool, no empty
   struct, and explicit padding. `cargo xtask codegen` writes their Rust side, src/kernels/params.rs. */
#ifndef WARPSMITH_PARAMS_H
#define WARPSMITH_PARAMS_H

typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

/** The most dimensions that a strided kernel walks; the host merges neighbours first. */
static const u32 MAX_RANK = 8;

/** The most operands of an elementwise function. */
static const u32 MAX_OPERANDS = 4;

/** A contiguous elementwise call. */
typedef struct ElementwiseParams {
    /** Elements of the output. */
    u64 count;
    /** 16-byte vectors that the operands and the output may be accessed in, from the first element on. */
    u64 vectors;
    /** First constant of the operation: slope, exponent, lower bound. */
    f32 a;
    /** Second constant of the operation: upper bound. */
    f32 b;
    /** Bit i is set where operand i is one number for all elements. */
    u32 scalars;
    /** Zero. */
    u32 reserved;
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

/** x = y. Relations are 1 or 0. */
static const u32 RELATION_EQ = 0;
/** x ≠ y. */
static const u32 RELATION_NE = 1;
/** x < y. */
static const u32 RELATION_LT = 2;
/** x ≤ y. */
static const u32 RELATION_LE = 3;
/** x > y. */
static const u32 RELATION_GT = 4;
/** x ≥ y. */
static const u32 RELATION_GE = 5;
/** Neither is 0. */
static const u32 RELATION_AND = 6;
/** One is not 0. */
static const u32 RELATION_OR = 7;
/** Exactly one is not 0. */
static const u32 RELATION_XOR = 8;

/** x + y. Operations of integers are in 64 bits, wrapped to the type. */
static const u32 INTEGER_ADD = 0;
/** x − y. */
static const u32 INTEGER_SUB = 1;
/** x · y. */
static const u32 INTEGER_MUL = 2;
/** The larger. */
static const u32 INTEGER_MAXIMUM = 3;
/** The smaller; the last one of two operands. */
static const u32 INTEGER_MINIMUM = 4;
/** −x. */
static const u32 INTEGER_NEG = 5;
/** |x|. */
static const u32 INTEGER_ABS = 6;
/** −1, 0 or 1. */
static const u32 INTEGER_SIGN = 7;
/** x². */
static const u32 INTEGER_SQUARE = 8;
/** a·x + b. */
static const u32 INTEGER_AFFINE = 9;
/** Limited to a..b. */
static const u32 INTEGER_CLAMP = 10;

/** What a kernel complains of to the host: nothing. */
static const u32 REPORT_NONE = 0;
/** The first complaint of a kernel that met a wrong value. */
typedef struct Report {
    /** What is wrong, as the operation numbers it; REPORT_NONE for nothing. */
    u32 kind;
    /** The host's number of the operation. */
    u32 operation;
    /** The wrong value. */
    i64 value;
    /** What it is held against. */
    i64 bound;
} Report;

/** An index at or above the bound, or negative. */
static const u32 REPORT_INDEX = 1;
/** A row of weights with a negative or infinite one or NaN, or none above 0. */
static const u32 REPORT_WEIGHTS = 2;
/** More samples (value) than positive weights (bound). */
static const u32 REPORT_SAMPLES = 3;
/** A label (value) that is no class; the bound's low half is the number of classes, its high half the row. */
static const u32 REPORT_LABEL = 4;
/** A mean over rows (value) of which none counts. */
static const u32 REPORT_NOTHING = 5;

/** A walk over axes: an index in row-major order lies at the sum of coordinate times stride, in elements. */
typedef struct Axes {
    /** Axes that are used; the innermost is axis 0. */
    u32 rank;
    /** Zero. */
    u32 reserved;
    /** Extents, innermost first. */
    Divisor sizes[MAX_RANK];
    /** Strides, innermost first. */
    i64 strides[MAX_RANK];
} Axes;

/** A reduction. */
typedef struct ReduceParams {
    /** Results; below 2^31. */
    u64 outputs;
    /** Elements behind each; below 2^31 unless they are one axis. */
    u64 count;
    /** Elements of a part: a multiple of the group. */
    u64 share;
    /** Parts that the elements behind an output are cut into. */
    u32 parts;
    /** Outputs of a block; a power of two. */
    u32 x;
    /** Threads of an output; a power of two. */
    u32 y;
    /** 1 where the threads of one output are neighbours, 0 where those of neighbouring outputs are. */
    u32 rows;
    /** 1 where a group never leaves the innermost reduced axis. */
    u32 runs;
    /** 1 where such a group is one access. */
    u32 vectors;
    /** 1 for the root of a variance. */
    u32 root;
    /** What sums and squared deviations are divided by. */
    f32 divisor;
    /** Where each output's elements begin. */
    Axes kept;
    /** Where they lie from there. */
    Axes reduced;
} ReduceParams;

/** A scan along the middle of (outer, n, inner). */
typedef struct ScanParams {
    /** Extent outside of the axis. */
    u64 outer;
    /** Extent of the axis. */
    u64 n;
    /** Extent inside of the axis. */
    u64 inner;
    /** 1 to start from the end. */
    u32 reverse;
    /** Zero. */
    u32 reserved;
} ScanParams;

/** A fill with random numbers. */
typedef struct RandomParams {
    /** Elements. */
    u64 count;
    /** The first block of counters. */
    u64 first;
    /** Address of a number that is added to it; 0 for none. */
    u64 offset;
    /** Words below this make an event; up to 2^32. */
    u64 threshold;
    /** The key. */
    u32 key0;
    /** The key's second word. */
    u32 key1;
    /** First constant of the distribution. */
    f32 a;
    /** Second constant of the distribution. */
    f32 b;
} RandomParams;

/** Sampling from rows of weights. */
typedef struct MultinomialParams {
    /** Weights of a row. */
    u64 n;
    /** Samples of a row. */
    u64 samples;
    /** The first block of counters. */
    u64 first;
    /** Address of a number that is added to it; 0 for none. */
    u64 offset;
    /** The key. */
    u32 key0;
    /** The key's second word. */
    u32 key1;
    /** Weights become integers below 2^bits. */
    i32 bits;
    /** 1 where an index may come again. */
    u32 replacement;
    /** The host's number of the operation, for reports. */
    u32 operation;
    /** Zero. */
    u32 reserved;
} MultinomialParams;

/** Sorting of rows by radix. */
typedef struct SortParams {
    /** Elements of all rows; below 2^32. */
    u64 count;
    /** Tiles that they are cut into. */
    u64 tiles;
    /** Elements of a row. */
    u32 length;
    /** Elements of each row that are wanted. */
    u32 limit;
    /** The lowest bit of a pass; from 64 on, bits of the row's number. */
    u32 shift;
    /** 1 for the largest first. */
    u32 descending;
} SortParams;

/** What an index is held against and what it steps over. */
typedef struct IndexParams {
    /** Indices are at least 0 and below this. */
    i64 bound;
    /** Elements from one index to the next. */
    i64 step;
    /** Destinations in all, where sources are sorted by them. */
    u64 destinations;
    /** The host's number of the operation, for reports. */
    u32 operation;
    /** Zero. */
    u32 reserved;
} IndexParams;

/** Sums of sources with one destination. */
typedef struct SegmentParams {
    /** Sources; below 2^32. */
    u64 count;
    /** Numbers of a source; times the chunks of sources below 2^31. */
    u64 columns;
    /** Destinations; a source with a higher one is left out. */
    u64 destinations;
} SegmentParams;

/** Triangles of matrices. */
typedef struct TriangleParams {
    /** Elements in all. */
    u64 count;
    /** Rows of a matrix. */
    u64 rows;
    /** Columns of a matrix. */
    u64 columns;
    /** Column less row of the last diagonal that is kept. */
    i64 diagonal;
    /** 1 for the upper triangle. */
    u32 upper;
    /** Zero. */
    u32 reserved;
} TriangleParams;

/** An average divides by the positions of its window inside the input or its padding. */
static const u32 POOL_PADDED = 0;
/** An average divides by the positions of its window inside the input. */
static const u32 POOL_INSIDE = 1;
/** An average divides by a given number. */
static const u32 POOL_FIXED = 2;

/** A pool over planes; pairs are for H and W. */
typedef struct PoolParams {
    /** Channels times images. */
    u32 planes;
    /** What an average divides by under POOL_FIXED. */
    f32 fixed;
    /** Extents of the input. */
    u32 input[2];
    /** Extents of the output. */
    u32 output[2];
    /** Taps of a window. */
    u32 kernel[2];
    /** From one output to the next. */
    u32 stride[2];
    /** Positions before the first. */
    u32 padding[2];
    /** From one tap to the next. */
    u32 dilation[2];
    /** 1 where output i of n reads from i·len/n to (i + 1)·len/n, rounded outwards. */
    u32 adaptive;
    /** One of POOL_*. */
    u32 divisor;
} PoolParams;

/** Stochastic gradient descent. */
static const u32 OPTIMIZER_SGD = 0;
/** The same with momentum. */
static const u32 OPTIMIZER_SGD_MOMENTUM = 1;
/** Adam and AdamW. */
static const u32 OPTIMIZER_ADAM = 2;
/** AMSGrad. */
static const u32 OPTIMIZER_AMSGRAD = 3;
/** AdaGrad. */
static const u32 OPTIMIZER_ADAGRAD = 4;
/** RMSprop. */
static const u32 OPTIMIZER_RMSPROP = 5;
/** FTRL-proximal. */
static const u32 OPTIMIZER_FTRL = 6;
/** Lion. */
static const u32 OPTIMIZER_LION = 7;
/** Switch: look ahead. */
static const u32 OPTIMIZER_NESTEROV = 1;
/** Switch: the decay is a factor of the parameter. */
static const u32 OPTIMIZER_DECOUPLED = 2;
/** Switch: the mean of the gradients is subtracted from that of their squares. */
static const u32 OPTIMIZER_CENTERED = 4;
/** Switch: there is a velocity. */
static const u32 OPTIMIZER_VELOCITY = 8;
/** Switch: only a row-sparse gradient's own rows change. */
static const u32 OPTIMIZER_TOUCH = 16;
/** Parameters and gradients of f32. */
static const u32 OPTIMIZER_F32 = 0;
/** Parameters and gradients of f16. */
static const u32 OPTIMIZER_F16 = 1;
/** Parameters and gradients of bf16. */
static const u32 OPTIMIZER_BF16 = 2;
/** Place of the decay among a rule's options. */
static const u32 OPTIMIZER_DECAY = 0;
/** Place of what is added to the denominator. */
static const u32 OPTIMIZER_EPSILON = 1;
/** Place of the share of the velocity that stays, or of the mean of gradients. */
static const u32 OPTIMIZER_MOMENTUM = 2;
/** Place of the share of the mean of squares that stays. */
static const u32 OPTIMIZER_SQUARE = 3;
/** Place of the share of a gradient that does not enter the velocity. */
static const u32 OPTIMIZER_DAMPENING = 4;
/** Place of how fast the rate falls with the count of updates. */
static const u32 OPTIMIZER_RATE_DECAY = 4;
/** Place of the penalty of magnitudes. */
static const u32 OPTIMIZER_L1 = 2;
/** Place of the penalty of squares. */
static const u32 OPTIMIZER_L2 = 3;
/** Place of what is added to the root of the sum of squares. */
static const u32 OPTIMIZER_BETA = 4;
/** Place of the largest norm of all gradients in the block of a step. */
static const u32 OPTIMIZER_MAX_NORM = 0;
/** Place of the largest magnitude of a number of a gradient. */
static const u32 OPTIMIZER_BOUND = 1;
/** Place of the first group's rate; the others follow. */
static const u32 OPTIMIZER_RATES = 2;
/** Place of the factor of gradients in what was found of them. */
static const u32 OPTIMIZER_SCALE = 0;
/** Place of whether nothing is to change: not 0. */
static const u32 OPTIMIZER_SKIP = 1;

/** One parameter of an optimizer's step, in a table in device memory; addresses as numbers. */
typedef struct OptimizerSlot {
    /** The parameter. */
    u64 param;
    /** Its gradient, or the rows of a row-sparse one. */
    u64 grad;
    /** The parameter in f32; 0 for none. */
    u64 master;
    /** Its state, as many as the rule has. */
    u64 state[3];
    /** The row numbers of a row-sparse gradient, i64 and ascending; 0 for a dense one. */
    u64 indices;
    /** The count of updates, i64, once for each block. */
    u64 counts;
    /** Elements that are visited. */
    u64 count;
    /** Rows of a row-sparse gradient. */
    u64 rows;
    /** Elements of a row. */
    u64 row;
    /** The first block of this slot. */
    u64 first;
    /** One of OPTIMIZER_* that name rules. */
    u32 rule;
    /** Bits of OPTIMIZER_* that name switches. */
    u32 flags;
    /** One of OPTIMIZER_* that name types. */
    u32 dtype;
    /** Which of the step's rates. */
    u32 group;
    /** The rule's options, in the places that OPTIMIZER_* name. */
    f64 options[5];
} OptimizerSlot;

/** How the factor of a loss follows what is found of the gradients. */
typedef struct LossScaling {
    /** The factor grows by this. */
    f64 growth;
    /** The factor shrinks by this. */
    f64 backoff;
    /** Steps without an overflow after which it grows. */
    i64 interval;
} LossScaling;

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
/** One label counts for nothing. */
static const u32 TARGETS_IGNORED = 8;
/** The loss is a mean: gradients are divided as it was. */
static const u32 LOSS_MEAN = 16;
/** The losses were added up: all rows have one gradient. */
static const u32 LOSS_REDUCED = 32;

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
    /** What smoothing gives a row in all, where classes have no weights. */
    f32 smoothed;
    /** The label of rows that count for nothing, under TARGETS_IGNORED. */
    i64 ignored;
    /** The host's number of the operation, for reports. */
    u32 operation;
    /** Zero. */
    u32 reserved;
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
