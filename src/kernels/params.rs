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
#[doc = " What becomes of a sum of products on its way to the output:\nactivation(alpha·sum + beta·(old output) + bias + residual)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct EpilogueParams {
    #[doc = " Factor of the sum."]
    pub alpha: f32,
    #[doc = " Factor of what the output held before; where it is 0, that is not read."]
    pub beta: f32,
    #[doc = " One of ACTIVATION_*."]
    pub activation: u32,
    #[doc = " 1 where the bias is added, 0 where the pointer is not read."]
    pub has_bias: u32,
    #[doc = " 1 where the residual is added, 0 where the pointer is not read."]
    pub has_residual: u32,
    #[doc = " 1 where the values before the activation are stored, 0 where the pointer is not written."]
    pub has_before: u32,
    #[doc = " 1 where every row of the output (and of the values before) starts at a multiple of 16 bytes."]
    pub vector: u32,
    #[doc = " 1 where the same holds of the residual, whose columns are neighbours."]
    pub vector_residual: u32,
    #[doc = " From one number of the bias to the next."]
    pub bias_stride: i64,
    #[doc = " From one row of the residual to the next."]
    pub residual_row: i64,
    #[doc = " From one column of the residual to the next."]
    pub residual_column: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of EpilogueParams"][::core::mem::size_of::<EpilogueParams>() - 56usize];
    ["Alignment of EpilogueParams"][::core::mem::align_of::<EpilogueParams>() - 8usize];
    ["Offset of field: EpilogueParams::alpha"][::core::mem::offset_of!(EpilogueParams, alpha) - 0usize];
    ["Offset of field: EpilogueParams::beta"][::core::mem::offset_of!(EpilogueParams, beta) - 4usize];
    ["Offset of field: EpilogueParams::activation"][::core::mem::offset_of!(EpilogueParams, activation) - 8usize];
    ["Offset of field: EpilogueParams::has_bias"][::core::mem::offset_of!(EpilogueParams, has_bias) - 12usize];
    ["Offset of field: EpilogueParams::has_residual"][::core::mem::offset_of!(EpilogueParams, has_residual) - 16usize];
    ["Offset of field: EpilogueParams::has_before"][::core::mem::offset_of!(EpilogueParams, has_before) - 20usize];
    ["Offset of field: EpilogueParams::vector"][::core::mem::offset_of!(EpilogueParams, vector) - 24usize];
    ["Offset of field: EpilogueParams::vector_residual"]
        [::core::mem::offset_of!(EpilogueParams, vector_residual) - 28usize];
    ["Offset of field: EpilogueParams::bias_stride"][::core::mem::offset_of!(EpilogueParams, bias_stride) - 32usize];
    ["Offset of field: EpilogueParams::residual_row"][::core::mem::offset_of!(EpilogueParams, residual_row) - 40usize];
    ["Offset of field: EpilogueParams::residual_column"]
        [::core::mem::offset_of!(EpilogueParams, residual_column) - 48usize];
};
#[doc = " A batch of matrix products; the output is row-major and contiguous, strides are in elements. Matrix i of the batch is\nnumber i % inner of the inner axis and i / inner of the outer one."]
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
    #[doc = " Matrices of the inner batch axis."]
    pub inner: i32,
    #[doc = " How much of K a block sums up, a multiple of the tile's depth; less than K where K is split."]
    pub split: i32,
    #[doc = " From one line of A as stored to the next."]
    pub lda: i64,
    #[doc = " From one line of B as stored to the next."]
    pub ldb: i64,
    #[doc = " From one matrix of the outer batch axis to the next: A; 0 shares it."]
    pub outer_a: i64,
    #[doc = " The same for the inner axis."]
    pub inner_a: i64,
    #[doc = " Outer stride of B."]
    pub outer_b: i64,
    #[doc = " Inner stride of B."]
    pub inner_b: i64,
    #[doc = " Outer stride of the residual."]
    pub outer_residual: i64,
    #[doc = " Inner stride of the residual."]
    pub inner_residual: i64,
    #[doc = " What becomes of the sums."]
    pub epilogue: EpilogueParams,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GemmParams"][::core::mem::size_of::<GemmParams>() - 144usize];
    ["Alignment of GemmParams"][::core::mem::align_of::<GemmParams>() - 8usize];
    ["Offset of field: GemmParams::m"][::core::mem::offset_of!(GemmParams, m) - 0usize];
    ["Offset of field: GemmParams::n"][::core::mem::offset_of!(GemmParams, n) - 4usize];
    ["Offset of field: GemmParams::k"][::core::mem::offset_of!(GemmParams, k) - 8usize];
    ["Offset of field: GemmParams::batch"][::core::mem::offset_of!(GemmParams, batch) - 12usize];
    ["Offset of field: GemmParams::inner"][::core::mem::offset_of!(GemmParams, inner) - 16usize];
    ["Offset of field: GemmParams::split"][::core::mem::offset_of!(GemmParams, split) - 20usize];
    ["Offset of field: GemmParams::lda"][::core::mem::offset_of!(GemmParams, lda) - 24usize];
    ["Offset of field: GemmParams::ldb"][::core::mem::offset_of!(GemmParams, ldb) - 32usize];
    ["Offset of field: GemmParams::outer_a"][::core::mem::offset_of!(GemmParams, outer_a) - 40usize];
    ["Offset of field: GemmParams::inner_a"][::core::mem::offset_of!(GemmParams, inner_a) - 48usize];
    ["Offset of field: GemmParams::outer_b"][::core::mem::offset_of!(GemmParams, outer_b) - 56usize];
    ["Offset of field: GemmParams::inner_b"][::core::mem::offset_of!(GemmParams, inner_b) - 64usize];
    ["Offset of field: GemmParams::outer_residual"][::core::mem::offset_of!(GemmParams, outer_residual) - 72usize];
    ["Offset of field: GemmParams::inner_residual"][::core::mem::offset_of!(GemmParams, inner_residual) - 80usize];
    ["Offset of field: GemmParams::epilogue"][::core::mem::offset_of!(GemmParams, epilogue) - 88usize];
};
#[doc = " A convolution as one matrix product per group and phase: of A (rows × k) and a gathered B (k × columns). Indices of\ncolumns and of k are read as three digits, outermost first; strides are in elements."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct ConvParams {
    #[doc = " Strides of k's digits in A."]
    pub a_k: [i64; 3usize],
    #[doc = " Strides of k's digits in B."]
    pub b_k: [i64; 3usize],
    #[doc = " Strides of a column's digits in B."]
    pub b_column: [i64; 3usize],
    #[doc = " Strides of a column's digits in the output."]
    pub out_column: [i64; 3usize],
    #[doc = " From one row of A to the next."]
    pub a_row: i64,
    #[doc = " From one row of the output to the next."]
    pub out_row: i64,
    #[doc = " From one group's A to the next."]
    pub a_group: i64,
    #[doc = " From one group's B to the next."]
    pub b_group: i64,
    #[doc = " From one group's output to the next."]
    pub out_group: i64,
    #[doc = " The element of B at position 0 of tap 0: negative by the padding."]
    pub b_start: i64,
    #[doc = " Elements of the output."]
    pub out_len: i64,
    #[doc = " Extents of a column's digits; of the gradient of the input, the outermost alone."]
    pub column_sizes: [u32; 3usize],
    #[doc = " Extents of k's digits; of the gradient of the input, the outermost alone."]
    pub k_sizes: [u32; 3usize],
    #[doc = " Rows of a group."]
    pub rows: u32,
    #[doc = " Groups."]
    pub groups: u32,
    #[doc = " Phases of the input's positions, in all; 1 but for the gradient of the input."]
    pub phases: u32,
    #[doc = " Phases along W."]
    pub phases_x: u32,
    #[doc = " How much of k a block sums up, a multiple of the tile's depth."]
    pub split: u32,
    #[doc = " Parts of k."]
    pub splits: u32,
    #[doc = " 1 where a bias per row is added, 0 where the pointer is not read."]
    pub has_bias: u32,
    #[doc = " Positions along H of what B is gathered from; others are padding."]
    pub limit_y: u32,
    #[doc = " Positions along W."]
    pub limit_x: u32,
    #[doc = " H of position 0 and tap 0."]
    pub y_start: i32,
    #[doc = " W of position 0 and tap 0."]
    pub x_start: i32,
    #[doc = " Along H from a column's middle digit to the next."]
    pub column_y: i32,
    #[doc = " Along W from a column's last digit to the next."]
    pub column_x: i32,
    #[doc = " Along H from k's middle digit to the next."]
    pub k_y: i32,
    #[doc = " Along W from k's last digit to the next."]
    pub k_x: i32,
    #[doc = " H of x."]
    pub input_y: u32,
    #[doc = " W of x."]
    pub input_x: u32,
    #[doc = " Taps along H."]
    pub kernel_y: u32,
    #[doc = " Taps along W."]
    pub kernel_x: u32,
    #[doc = " Stride along H."]
    pub stride_y: u32,
    #[doc = " Stride along W."]
    pub stride_x: u32,
    #[doc = " Padding along H."]
    pub padding_y: u32,
    #[doc = " Padding along W."]
    pub padding_x: u32,
    #[doc = " Dilation along H."]
    pub dilation_y: u32,
    #[doc = " Dilation along W."]
    pub dilation_x: u32,
    #[doc = " From one tap along H that reaches a phase to the next: the stride over its common divisor with the dilation."]
    pub step_y: u32,
    #[doc = " The same along W."]
    pub step_x: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ConvParams"][::core::mem::size_of::<ConvParams>() - 288usize];
    ["Alignment of ConvParams"][::core::mem::align_of::<ConvParams>() - 8usize];
    ["Offset of field: ConvParams::a_k"][::core::mem::offset_of!(ConvParams, a_k) - 0usize];
    ["Offset of field: ConvParams::b_k"][::core::mem::offset_of!(ConvParams, b_k) - 24usize];
    ["Offset of field: ConvParams::b_column"][::core::mem::offset_of!(ConvParams, b_column) - 48usize];
    ["Offset of field: ConvParams::out_column"][::core::mem::offset_of!(ConvParams, out_column) - 72usize];
    ["Offset of field: ConvParams::a_row"][::core::mem::offset_of!(ConvParams, a_row) - 96usize];
    ["Offset of field: ConvParams::out_row"][::core::mem::offset_of!(ConvParams, out_row) - 104usize];
    ["Offset of field: ConvParams::a_group"][::core::mem::offset_of!(ConvParams, a_group) - 112usize];
    ["Offset of field: ConvParams::b_group"][::core::mem::offset_of!(ConvParams, b_group) - 120usize];
    ["Offset of field: ConvParams::out_group"][::core::mem::offset_of!(ConvParams, out_group) - 128usize];
    ["Offset of field: ConvParams::b_start"][::core::mem::offset_of!(ConvParams, b_start) - 136usize];
    ["Offset of field: ConvParams::out_len"][::core::mem::offset_of!(ConvParams, out_len) - 144usize];
    ["Offset of field: ConvParams::column_sizes"][::core::mem::offset_of!(ConvParams, column_sizes) - 152usize];
    ["Offset of field: ConvParams::k_sizes"][::core::mem::offset_of!(ConvParams, k_sizes) - 164usize];
    ["Offset of field: ConvParams::rows"][::core::mem::offset_of!(ConvParams, rows) - 176usize];
    ["Offset of field: ConvParams::groups"][::core::mem::offset_of!(ConvParams, groups) - 180usize];
    ["Offset of field: ConvParams::phases"][::core::mem::offset_of!(ConvParams, phases) - 184usize];
    ["Offset of field: ConvParams::phases_x"][::core::mem::offset_of!(ConvParams, phases_x) - 188usize];
    ["Offset of field: ConvParams::split"][::core::mem::offset_of!(ConvParams, split) - 192usize];
    ["Offset of field: ConvParams::splits"][::core::mem::offset_of!(ConvParams, splits) - 196usize];
    ["Offset of field: ConvParams::has_bias"][::core::mem::offset_of!(ConvParams, has_bias) - 200usize];
    ["Offset of field: ConvParams::limit_y"][::core::mem::offset_of!(ConvParams, limit_y) - 204usize];
    ["Offset of field: ConvParams::limit_x"][::core::mem::offset_of!(ConvParams, limit_x) - 208usize];
    ["Offset of field: ConvParams::y_start"][::core::mem::offset_of!(ConvParams, y_start) - 212usize];
    ["Offset of field: ConvParams::x_start"][::core::mem::offset_of!(ConvParams, x_start) - 216usize];
    ["Offset of field: ConvParams::column_y"][::core::mem::offset_of!(ConvParams, column_y) - 220usize];
    ["Offset of field: ConvParams::column_x"][::core::mem::offset_of!(ConvParams, column_x) - 224usize];
    ["Offset of field: ConvParams::k_y"][::core::mem::offset_of!(ConvParams, k_y) - 228usize];
    ["Offset of field: ConvParams::k_x"][::core::mem::offset_of!(ConvParams, k_x) - 232usize];
    ["Offset of field: ConvParams::input_y"][::core::mem::offset_of!(ConvParams, input_y) - 236usize];
    ["Offset of field: ConvParams::input_x"][::core::mem::offset_of!(ConvParams, input_x) - 240usize];
    ["Offset of field: ConvParams::kernel_y"][::core::mem::offset_of!(ConvParams, kernel_y) - 244usize];
    ["Offset of field: ConvParams::kernel_x"][::core::mem::offset_of!(ConvParams, kernel_x) - 248usize];
    ["Offset of field: ConvParams::stride_y"][::core::mem::offset_of!(ConvParams, stride_y) - 252usize];
    ["Offset of field: ConvParams::stride_x"][::core::mem::offset_of!(ConvParams, stride_x) - 256usize];
    ["Offset of field: ConvParams::padding_y"][::core::mem::offset_of!(ConvParams, padding_y) - 260usize];
    ["Offset of field: ConvParams::padding_x"][::core::mem::offset_of!(ConvParams, padding_x) - 264usize];
    ["Offset of field: ConvParams::dilation_y"][::core::mem::offset_of!(ConvParams, dilation_y) - 268usize];
    ["Offset of field: ConvParams::dilation_x"][::core::mem::offset_of!(ConvParams, dilation_x) - 272usize];
    ["Offset of field: ConvParams::step_y"][::core::mem::offset_of!(ConvParams, step_y) - 276usize];
    ["Offset of field: ConvParams::step_x"][::core::mem::offset_of!(ConvParams, step_x) - 280usize];
    ["Offset of field: ConvParams::reserved"][::core::mem::offset_of!(ConvParams, reserved) - 284usize];
};
#[doc = " Windows over the planes of a batch."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct WindowParams {
    #[doc = " Images."]
    pub batch: u32,
    #[doc = " Channels of x."]
    pub channels: u32,
    #[doc = " Channels of y."]
    pub outputs: u32,
    #[doc = " H of x."]
    pub input_y: u32,
    #[doc = " W of x."]
    pub input_x: u32,
    #[doc = " H of y."]
    pub output_y: u32,
    #[doc = " W of y."]
    pub output_x: u32,
    #[doc = " Taps along H."]
    pub kernel_y: u32,
    #[doc = " Taps along W."]
    pub kernel_x: u32,
    #[doc = " Stride along H."]
    pub stride_y: u32,
    #[doc = " Stride along W."]
    pub stride_x: u32,
    #[doc = " Padding along H."]
    pub padding_y: u32,
    #[doc = " Padding along W."]
    pub padding_x: u32,
    #[doc = " Dilation along H."]
    pub dilation_y: u32,
    #[doc = " Dilation along W."]
    pub dilation_x: u32,
    #[doc = " 1 where a bias per channel of the output is added, 0 where the pointer is not read."]
    pub has_bias: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of WindowParams"][::core::mem::size_of::<WindowParams>() - 64usize];
    ["Alignment of WindowParams"][::core::mem::align_of::<WindowParams>() - 4usize];
    ["Offset of field: WindowParams::batch"][::core::mem::offset_of!(WindowParams, batch) - 0usize];
    ["Offset of field: WindowParams::channels"][::core::mem::offset_of!(WindowParams, channels) - 4usize];
    ["Offset of field: WindowParams::outputs"][::core::mem::offset_of!(WindowParams, outputs) - 8usize];
    ["Offset of field: WindowParams::input_y"][::core::mem::offset_of!(WindowParams, input_y) - 12usize];
    ["Offset of field: WindowParams::input_x"][::core::mem::offset_of!(WindowParams, input_x) - 16usize];
    ["Offset of field: WindowParams::output_y"][::core::mem::offset_of!(WindowParams, output_y) - 20usize];
    ["Offset of field: WindowParams::output_x"][::core::mem::offset_of!(WindowParams, output_x) - 24usize];
    ["Offset of field: WindowParams::kernel_y"][::core::mem::offset_of!(WindowParams, kernel_y) - 28usize];
    ["Offset of field: WindowParams::kernel_x"][::core::mem::offset_of!(WindowParams, kernel_x) - 32usize];
    ["Offset of field: WindowParams::stride_y"][::core::mem::offset_of!(WindowParams, stride_y) - 36usize];
    ["Offset of field: WindowParams::stride_x"][::core::mem::offset_of!(WindowParams, stride_x) - 40usize];
    ["Offset of field: WindowParams::padding_y"][::core::mem::offset_of!(WindowParams, padding_y) - 44usize];
    ["Offset of field: WindowParams::padding_x"][::core::mem::offset_of!(WindowParams, padding_x) - 48usize];
    ["Offset of field: WindowParams::dilation_y"][::core::mem::offset_of!(WindowParams, dilation_y) - 52usize];
    ["Offset of field: WindowParams::dilation_x"][::core::mem::offset_of!(WindowParams, dilation_x) - 56usize];
    ["Offset of field: WindowParams::has_bias"][::core::mem::offset_of!(WindowParams, has_bias) - 60usize];
};
