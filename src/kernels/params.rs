//! The parameter structs of the kernels, as `kernels/params.h` declares them.
//!
//! Written by `cargo xtask codegen`; change the header instead.

#[doc = " The most dimensions that a strided kernel walks; the host merges neighbours first."]
pub const MAX_RANK: u32 = 8;
#[doc = " The most operands of an elementwise function."]
pub const MAX_OPERANDS: u32 = 4;
#[doc = " A contiguous elementwise call."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct ElementwiseParams {
    #[doc = " Elements of the output."]
    pub count: u64,
    #[doc = " First constant of the operation: slope, exponent, lower bound."]
    pub a: f32,
    #[doc = " Second constant of the operation: upper bound."]
    pub b: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ElementwiseParams"][::core::mem::size_of::<ElementwiseParams>() - 16usize];
    ["Alignment of ElementwiseParams"][::core::mem::align_of::<ElementwiseParams>() - 8usize];
    ["Offset of field: ElementwiseParams::count"][::core::mem::offset_of!(ElementwiseParams, count) - 0usize];
    ["Offset of field: ElementwiseParams::a"][::core::mem::offset_of!(ElementwiseParams, a) - 8usize];
    ["Offset of field: ElementwiseParams::b"][::core::mem::offset_of!(ElementwiseParams, b) - 12usize];
};
#[doc = " Division of a number below 2^31 by a constant as a product and a shift\n(Granlund and Montgomery 1994, \"Division by Invariant Integers using Multiplication\")."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct Divisor {
    #[doc = " The number to divide by."]
    pub divisor: u32,
    #[doc = " ceil(2^(31 + ceil(log2 divisor)) / divisor)."]
    pub multiplier: u32,
    #[doc = " ceil(log2 divisor) - 1; unused for divisor 1."]
    pub shift: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Divisor"][::core::mem::size_of::<Divisor>() - 12usize];
    ["Alignment of Divisor"][::core::mem::align_of::<Divisor>() - 4usize];
    ["Offset of field: Divisor::divisor"][::core::mem::offset_of!(Divisor, divisor) - 0usize];
    ["Offset of field: Divisor::multiplier"][::core::mem::offset_of!(Divisor, multiplier) - 4usize];
    ["Offset of field: Divisor::shift"][::core::mem::offset_of!(Divisor, shift) - 8usize];
};
#[doc = " An elementwise call over strided operands: element i of the row-major index space lies at the sum of index times\nstride, in elements. A stride of 0 broadcasts."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct StridedParams {
    #[doc = " Elements of the index space; below 2^31."]
    pub count: u32,
    #[doc = " Dimensions that are used; the innermost is dimension 0."]
    pub rank: u32,
    #[doc = " Sizes, innermost first."]
    pub sizes: [Divisor; 8usize],
    #[doc = " First constant of the operation."]
    pub a: f32,
    #[doc = " Second constant of the operation."]
    pub b: f32,
    #[doc = " Strides of the output, innermost first."]
    pub out: [i64; 8usize],
    #[doc = " Strides of the operands."]
    pub operands: [[i64; 8usize]; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of StridedParams"][::core::mem::size_of::<StridedParams>() - 432usize];
    ["Alignment of StridedParams"][::core::mem::align_of::<StridedParams>() - 8usize];
    ["Offset of field: StridedParams::count"][::core::mem::offset_of!(StridedParams, count) - 0usize];
    ["Offset of field: StridedParams::rank"][::core::mem::offset_of!(StridedParams, rank) - 4usize];
    ["Offset of field: StridedParams::sizes"][::core::mem::offset_of!(StridedParams, sizes) - 8usize];
    ["Offset of field: StridedParams::a"][::core::mem::offset_of!(StridedParams, a) - 104usize];
    ["Offset of field: StridedParams::b"][::core::mem::offset_of!(StridedParams, b) - 108usize];
    ["Offset of field: StridedParams::out"][::core::mem::offset_of!(StridedParams, out) - 112usize];
    ["Offset of field: StridedParams::operands"][::core::mem::offset_of!(StridedParams, operands) - 176usize];
};
#[doc = " No activation after a matrix product."]
pub const ACTIVATION_NONE: u32 = 0;
#[doc = " max(x, 0)."]
pub const ACTIVATION_RELU: u32 = 1;
#[doc = " GELU by the error function."]
pub const ACTIVATION_GELU: u32 = 2;
#[doc = " GELU by tanh."]
pub const ACTIVATION_GELU_TANH: u32 = 3;
#[doc = " out = activation(alpha·A·B + beta·C + bias) + residual, for each matrix of a batch; row-major, strides in elements."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct GemmParams {
    #[doc = " Rows of A and of the output."]
    pub m: i32,
    #[doc = " Columns of B and of the output."]
    pub n: i32,
    #[doc = " Columns of A, rows of B."]
    pub k: i32,
    #[doc = " Matrices in the batch."]
    pub batch: i32,
    #[doc = " Row stride of A as stored."]
    pub lda: i64,
    #[doc = " Row stride of B as stored."]
    pub ldb: i64,
    #[doc = " Row stride of C."]
    pub ldc: i64,
    #[doc = " Row stride of the output."]
    pub ldo: i64,
    #[doc = " Row stride of the residual."]
    pub ldr: i64,
    #[doc = " From one matrix of the batch to the next: A; 0 shares it."]
    pub batch_a: i64,
    #[doc = " The same for B."]
    pub batch_b: i64,
    #[doc = " The same for C."]
    pub batch_c: i64,
    #[doc = " The same for the output."]
    pub batch_o: i64,
    #[doc = " The same for the residual."]
    pub batch_r: i64,
    #[doc = " Factor of the product."]
    pub alpha: f32,
    #[doc = " Factor of C; where it is 0, C is not read."]
    pub beta: f32,
    #[doc = " One of ACTIVATION_*."]
    pub activation: u32,
    #[doc = " 1 where bias (n numbers) is added to each row, 0 where the pointer is not read."]
    pub has_bias: u32,
    #[doc = " 1 where the residual is added, 0 where the pointer is not read."]
    pub has_residual: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GemmParams"][::core::mem::size_of::<GemmParams>() - 120usize];
    ["Alignment of GemmParams"][::core::mem::align_of::<GemmParams>() - 8usize];
    ["Offset of field: GemmParams::m"][::core::mem::offset_of!(GemmParams, m) - 0usize];
    ["Offset of field: GemmParams::n"][::core::mem::offset_of!(GemmParams, n) - 4usize];
    ["Offset of field: GemmParams::k"][::core::mem::offset_of!(GemmParams, k) - 8usize];
    ["Offset of field: GemmParams::batch"][::core::mem::offset_of!(GemmParams, batch) - 12usize];
    ["Offset of field: GemmParams::lda"][::core::mem::offset_of!(GemmParams, lda) - 16usize];
    ["Offset of field: GemmParams::ldb"][::core::mem::offset_of!(GemmParams, ldb) - 24usize];
    ["Offset of field: GemmParams::ldc"][::core::mem::offset_of!(GemmParams, ldc) - 32usize];
    ["Offset of field: GemmParams::ldo"][::core::mem::offset_of!(GemmParams, ldo) - 40usize];
    ["Offset of field: GemmParams::ldr"][::core::mem::offset_of!(GemmParams, ldr) - 48usize];
    ["Offset of field: GemmParams::batch_a"][::core::mem::offset_of!(GemmParams, batch_a) - 56usize];
    ["Offset of field: GemmParams::batch_b"][::core::mem::offset_of!(GemmParams, batch_b) - 64usize];
    ["Offset of field: GemmParams::batch_c"][::core::mem::offset_of!(GemmParams, batch_c) - 72usize];
    ["Offset of field: GemmParams::batch_o"][::core::mem::offset_of!(GemmParams, batch_o) - 80usize];
    ["Offset of field: GemmParams::batch_r"][::core::mem::offset_of!(GemmParams, batch_r) - 88usize];
    ["Offset of field: GemmParams::alpha"][::core::mem::offset_of!(GemmParams, alpha) - 96usize];
    ["Offset of field: GemmParams::beta"][::core::mem::offset_of!(GemmParams, beta) - 100usize];
    ["Offset of field: GemmParams::activation"][::core::mem::offset_of!(GemmParams, activation) - 104usize];
    ["Offset of field: GemmParams::has_bias"][::core::mem::offset_of!(GemmParams, has_bias) - 108usize];
    ["Offset of field: GemmParams::has_residual"][::core::mem::offset_of!(GemmParams, has_residual) - 112usize];
    ["Offset of field: GemmParams::reserved"][::core::mem::offset_of!(GemmParams, reserved) - 116usize];
};
