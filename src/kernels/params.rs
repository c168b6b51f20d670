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
    #[doc = " 16-byte vectors that the operands and the output may be accessed in, from the first element on."]
    pub vectors: u64,
    #[doc = " First constant of the operation: slope, exponent, lower bound."]
    pub a: f32,
    #[doc = " Second constant of the operation: upper bound."]
    pub b: f32,
    #[doc = " Bit i is set where operand i is one number for all elements."]
    pub scalars: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ElementwiseParams"][::core::mem::size_of::<ElementwiseParams>() - 32usize];
    ["Alignment of ElementwiseParams"][::core::mem::align_of::<ElementwiseParams>() - 8usize];
    ["Offset of field: ElementwiseParams::count"][::core::mem::offset_of!(ElementwiseParams, count) - 0usize];
    ["Offset of field: ElementwiseParams::vectors"][::core::mem::offset_of!(ElementwiseParams, vectors) - 8usize];
    ["Offset of field: ElementwiseParams::a"][::core::mem::offset_of!(ElementwiseParams, a) - 16usize];
    ["Offset of field: ElementwiseParams::b"][::core::mem::offset_of!(ElementwiseParams, b) - 20usize];
    ["Offset of field: ElementwiseParams::scalars"][::core::mem::offset_of!(ElementwiseParams, scalars) - 24usize];
    ["Offset of field: ElementwiseParams::reserved"][::core::mem::offset_of!(ElementwiseParams, reserved) - 28usize];
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
#[doc = " x = y. Relations are 1 or 0."]
pub const RELATION_EQ: u32 = 0;
#[doc = " x ≠ y."]
pub const RELATION_NE: u32 = 1;
#[doc = " x < y."]
pub const RELATION_LT: u32 = 2;
#[doc = " x ≤ y."]
pub const RELATION_LE: u32 = 3;
#[doc = " x > y."]
pub const RELATION_GT: u32 = 4;
#[doc = " x ≥ y."]
pub const RELATION_GE: u32 = 5;
#[doc = " Neither is 0."]
pub const RELATION_AND: u32 = 6;
#[doc = " One is not 0."]
pub const RELATION_OR: u32 = 7;
#[doc = " Exactly one is not 0."]
pub const RELATION_XOR: u32 = 8;
#[doc = " x + y. Operations of integers are in 64 bits, wrapped to the type."]
pub const INTEGER_ADD: u32 = 0;
#[doc = " x − y."]
pub const INTEGER_SUB: u32 = 1;
#[doc = " x · y."]
pub const INTEGER_MUL: u32 = 2;
#[doc = " The larger."]
pub const INTEGER_MAXIMUM: u32 = 3;
#[doc = " The smaller; the last one of two operands."]
pub const INTEGER_MINIMUM: u32 = 4;
#[doc = " −x."]
pub const INTEGER_NEG: u32 = 5;
#[doc = " |x|."]
pub const INTEGER_ABS: u32 = 6;
#[doc = " −1, 0 or 1."]
pub const INTEGER_SIGN: u32 = 7;
#[doc = " x²."]
pub const INTEGER_SQUARE: u32 = 8;
#[doc = " a·x + b."]
pub const INTEGER_AFFINE: u32 = 9;
#[doc = " Limited to a..b."]
pub const INTEGER_CLAMP: u32 = 10;
#[doc = " What a kernel complains of to the host: nothing."]
pub const REPORT_NONE: u32 = 0;
#[doc = " The first complaint of a kernel that met a wrong value."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct Report {
    #[doc = " What is wrong, as the operation numbers it; REPORT_NONE for nothing."]
    pub kind: u32,
    #[doc = " The host's number of the operation."]
    pub operation: u32,
    #[doc = " The wrong value."]
    pub value: i64,
    #[doc = " What it is held against."]
    pub bound: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Report"][::core::mem::size_of::<Report>() - 24usize];
    ["Alignment of Report"][::core::mem::align_of::<Report>() - 8usize];
    ["Offset of field: Report::kind"][::core::mem::offset_of!(Report, kind) - 0usize];
    ["Offset of field: Report::operation"][::core::mem::offset_of!(Report, operation) - 4usize];
    ["Offset of field: Report::value"][::core::mem::offset_of!(Report, value) - 8usize];
    ["Offset of field: Report::bound"][::core::mem::offset_of!(Report, bound) - 16usize];
};
#[doc = " An index at or above the bound, or negative."]
pub const REPORT_INDEX: u32 = 1;
#[doc = " A row of weights with a negative or infinite one or NaN, or none above 0."]
pub const REPORT_WEIGHTS: u32 = 2;
#[doc = " More samples (value) than positive weights (bound)."]
pub const REPORT_SAMPLES: u32 = 3;
#[doc = " A label (value) that is no class; the bound's low half is the number of classes, its high half the row."]
pub const REPORT_LABEL: u32 = 4;
#[doc = " A mean over rows (value) of which none counts."]
pub const REPORT_NOTHING: u32 = 5;
#[doc = " A walk over axes: an index in row-major order lies at the sum of coordinate times stride, in elements."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct Axes {
    #[doc = " Axes that are used; the innermost is axis 0."]
    pub rank: u32,
    #[doc = " Zero."]
    pub reserved: u32,
    #[doc = " Extents, innermost first."]
    pub sizes: [Divisor; 8usize],
    #[doc = " Strides, innermost first."]
    pub strides: [i64; 8usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Axes"][::core::mem::size_of::<Axes>() - 168usize];
    ["Alignment of Axes"][::core::mem::align_of::<Axes>() - 8usize];
    ["Offset of field: Axes::rank"][::core::mem::offset_of!(Axes, rank) - 0usize];
    ["Offset of field: Axes::reserved"][::core::mem::offset_of!(Axes, reserved) - 4usize];
    ["Offset of field: Axes::sizes"][::core::mem::offset_of!(Axes, sizes) - 8usize];
    ["Offset of field: Axes::strides"][::core::mem::offset_of!(Axes, strides) - 104usize];
};
#[doc = " A reduction."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct ReduceParams {
    #[doc = " Results; below 2^31."]
    pub outputs: u64,
    #[doc = " Elements behind each; below 2^31 unless they are one axis."]
    pub count: u64,
    #[doc = " Elements of a part: a multiple of the group."]
    pub share: u64,
    #[doc = " Parts that the elements behind an output are cut into."]
    pub parts: u32,
    #[doc = " Outputs of a block; a power of two."]
    pub x: u32,
    #[doc = " Threads of an output; a power of two."]
    pub y: u32,
    #[doc = " 1 where the threads of one output are neighbours, 0 where those of neighbouring outputs are."]
    pub rows: u32,
    #[doc = " 1 where a group never leaves the innermost reduced axis."]
    pub runs: u32,
    #[doc = " 1 where such a group is one access."]
    pub vectors: u32,
    #[doc = " 1 for the root of a variance."]
    pub root: u32,
    #[doc = " What sums and squared deviations are divided by."]
    pub divisor: f32,
    #[doc = " Where each output's elements begin."]
    pub kept: Axes,
    #[doc = " Where they lie from there."]
    pub reduced: Axes,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ReduceParams"][::core::mem::size_of::<ReduceParams>() - 392usize];
    ["Alignment of ReduceParams"][::core::mem::align_of::<ReduceParams>() - 8usize];
    ["Offset of field: ReduceParams::outputs"][::core::mem::offset_of!(ReduceParams, outputs) - 0usize];
    ["Offset of field: ReduceParams::count"][::core::mem::offset_of!(ReduceParams, count) - 8usize];
    ["Offset of field: ReduceParams::share"][::core::mem::offset_of!(ReduceParams, share) - 16usize];
    ["Offset of field: ReduceParams::parts"][::core::mem::offset_of!(ReduceParams, parts) - 24usize];
    ["Offset of field: ReduceParams::x"][::core::mem::offset_of!(ReduceParams, x) - 28usize];
    ["Offset of field: ReduceParams::y"][::core::mem::offset_of!(ReduceParams, y) - 32usize];
    ["Offset of field: ReduceParams::rows"][::core::mem::offset_of!(ReduceParams, rows) - 36usize];
    ["Offset of field: ReduceParams::runs"][::core::mem::offset_of!(ReduceParams, runs) - 40usize];
    ["Offset of field: ReduceParams::vectors"][::core::mem::offset_of!(ReduceParams, vectors) - 44usize];
    ["Offset of field: ReduceParams::root"][::core::mem::offset_of!(ReduceParams, root) - 48usize];
    ["Offset of field: ReduceParams::divisor"][::core::mem::offset_of!(ReduceParams, divisor) - 52usize];
    ["Offset of field: ReduceParams::kept"][::core::mem::offset_of!(ReduceParams, kept) - 56usize];
    ["Offset of field: ReduceParams::reduced"][::core::mem::offset_of!(ReduceParams, reduced) - 224usize];
};
#[doc = " A scan along the middle of (outer, n, inner)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct ScanParams {
    #[doc = " Extent outside of the axis."]
    pub outer: u64,
    #[doc = " Extent of the axis."]
    pub n: u64,
    #[doc = " Extent inside of the axis."]
    pub inner: u64,
    #[doc = " 1 to start from the end."]
    pub reverse: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ScanParams"][::core::mem::size_of::<ScanParams>() - 32usize];
    ["Alignment of ScanParams"][::core::mem::align_of::<ScanParams>() - 8usize];
    ["Offset of field: ScanParams::outer"][::core::mem::offset_of!(ScanParams, outer) - 0usize];
    ["Offset of field: ScanParams::n"][::core::mem::offset_of!(ScanParams, n) - 8usize];
    ["Offset of field: ScanParams::inner"][::core::mem::offset_of!(ScanParams, inner) - 16usize];
    ["Offset of field: ScanParams::reverse"][::core::mem::offset_of!(ScanParams, reverse) - 24usize];
    ["Offset of field: ScanParams::reserved"][::core::mem::offset_of!(ScanParams, reserved) - 28usize];
};
#[doc = " A fill with random numbers."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct RandomParams {
    #[doc = " Elements."]
    pub count: u64,
    #[doc = " The first block of counters."]
    pub first: u64,
    #[doc = " Address of a number that is added to it; 0 for none."]
    pub offset: u64,
    #[doc = " Words below this make an event; up to 2^32."]
    pub threshold: u64,
    #[doc = " The key."]
    pub key0: u32,
    #[doc = " The key's second word."]
    pub key1: u32,
    #[doc = " First constant of the distribution."]
    pub a: f32,
    #[doc = " Second constant of the distribution."]
    pub b: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RandomParams"][::core::mem::size_of::<RandomParams>() - 48usize];
    ["Alignment of RandomParams"][::core::mem::align_of::<RandomParams>() - 8usize];
    ["Offset of field: RandomParams::count"][::core::mem::offset_of!(RandomParams, count) - 0usize];
    ["Offset of field: RandomParams::first"][::core::mem::offset_of!(RandomParams, first) - 8usize];
    ["Offset of field: RandomParams::offset"][::core::mem::offset_of!(RandomParams, offset) - 16usize];
    ["Offset of field: RandomParams::threshold"][::core::mem::offset_of!(RandomParams, threshold) - 24usize];
    ["Offset of field: RandomParams::key0"][::core::mem::offset_of!(RandomParams, key0) - 32usize];
    ["Offset of field: RandomParams::key1"][::core::mem::offset_of!(RandomParams, key1) - 36usize];
    ["Offset of field: RandomParams::a"][::core::mem::offset_of!(RandomParams, a) - 40usize];
    ["Offset of field: RandomParams::b"][::core::mem::offset_of!(RandomParams, b) - 44usize];
};
#[doc = " Sampling from rows of weights."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct MultinomialParams {
    #[doc = " Weights of a row."]
    pub n: u64,
    #[doc = " Samples of a row."]
    pub samples: u64,
    #[doc = " The first block of counters."]
    pub first: u64,
    #[doc = " Address of a number that is added to it; 0 for none."]
    pub offset: u64,
    #[doc = " The key."]
    pub key0: u32,
    #[doc = " The key's second word."]
    pub key1: u32,
    #[doc = " Weights become integers below 2^bits."]
    pub bits: i32,
    #[doc = " 1 where an index may come again."]
    pub replacement: u32,
    #[doc = " The host's number of the operation, for reports."]
    pub operation: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MultinomialParams"][::core::mem::size_of::<MultinomialParams>() - 56usize];
    ["Alignment of MultinomialParams"][::core::mem::align_of::<MultinomialParams>() - 8usize];
    ["Offset of field: MultinomialParams::n"][::core::mem::offset_of!(MultinomialParams, n) - 0usize];
    ["Offset of field: MultinomialParams::samples"][::core::mem::offset_of!(MultinomialParams, samples) - 8usize];
    ["Offset of field: MultinomialParams::first"][::core::mem::offset_of!(MultinomialParams, first) - 16usize];
    ["Offset of field: MultinomialParams::offset"][::core::mem::offset_of!(MultinomialParams, offset) - 24usize];
    ["Offset of field: MultinomialParams::key0"][::core::mem::offset_of!(MultinomialParams, key0) - 32usize];
    ["Offset of field: MultinomialParams::key1"][::core::mem::offset_of!(MultinomialParams, key1) - 36usize];
    ["Offset of field: MultinomialParams::bits"][::core::mem::offset_of!(MultinomialParams, bits) - 40usize];
    ["Offset of field: MultinomialParams::replacement"]
        [::core::mem::offset_of!(MultinomialParams, replacement) - 44usize];
    ["Offset of field: MultinomialParams::operation"][::core::mem::offset_of!(MultinomialParams, operation) - 48usize];
    ["Offset of field: MultinomialParams::reserved"][::core::mem::offset_of!(MultinomialParams, reserved) - 52usize];
};
#[doc = " Sorting of rows by radix."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct SortParams {
    #[doc = " Elements of all rows; below 2^32."]
    pub count: u64,
    #[doc = " Tiles that they are cut into."]
    pub tiles: u64,
    #[doc = " Elements of a row."]
    pub length: u32,
    #[doc = " Elements of each row that are wanted."]
    pub limit: u32,
    #[doc = " The lowest bit of a pass; from 64 on, bits of the row's number."]
    pub shift: u32,
    #[doc = " 1 for the largest first."]
    pub descending: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SortParams"][::core::mem::size_of::<SortParams>() - 32usize];
    ["Alignment of SortParams"][::core::mem::align_of::<SortParams>() - 8usize];
    ["Offset of field: SortParams::count"][::core::mem::offset_of!(SortParams, count) - 0usize];
    ["Offset of field: SortParams::tiles"][::core::mem::offset_of!(SortParams, tiles) - 8usize];
    ["Offset of field: SortParams::length"][::core::mem::offset_of!(SortParams, length) - 16usize];
    ["Offset of field: SortParams::limit"][::core::mem::offset_of!(SortParams, limit) - 20usize];
    ["Offset of field: SortParams::shift"][::core::mem::offset_of!(SortParams, shift) - 24usize];
    ["Offset of field: SortParams::descending"][::core::mem::offset_of!(SortParams, descending) - 28usize];
};
#[doc = " What an index is held against and what it steps over."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct IndexParams {
    #[doc = " Indices are at least 0 and below this."]
    pub bound: i64,
    #[doc = " Elements from one index to the next."]
    pub step: i64,
    #[doc = " Destinations in all, where sources are sorted by them."]
    pub destinations: u64,
    #[doc = " The host's number of the operation, for reports."]
    pub operation: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of IndexParams"][::core::mem::size_of::<IndexParams>() - 32usize];
    ["Alignment of IndexParams"][::core::mem::align_of::<IndexParams>() - 8usize];
    ["Offset of field: IndexParams::bound"][::core::mem::offset_of!(IndexParams, bound) - 0usize];
    ["Offset of field: IndexParams::step"][::core::mem::offset_of!(IndexParams, step) - 8usize];
    ["Offset of field: IndexParams::destinations"][::core::mem::offset_of!(IndexParams, destinations) - 16usize];
    ["Offset of field: IndexParams::operation"][::core::mem::offset_of!(IndexParams, operation) - 24usize];
    ["Offset of field: IndexParams::reserved"][::core::mem::offset_of!(IndexParams, reserved) - 28usize];
};
#[doc = " Sums of sources with one destination."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct SegmentParams {
    #[doc = " Sources; below 2^32."]
    pub count: u64,
    #[doc = " Numbers of a source; times the chunks of sources below 2^31."]
    pub columns: u64,
    #[doc = " Destinations; a source with a higher one is left out."]
    pub destinations: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SegmentParams"][::core::mem::size_of::<SegmentParams>() - 24usize];
    ["Alignment of SegmentParams"][::core::mem::align_of::<SegmentParams>() - 8usize];
    ["Offset of field: SegmentParams::count"][::core::mem::offset_of!(SegmentParams, count) - 0usize];
    ["Offset of field: SegmentParams::columns"][::core::mem::offset_of!(SegmentParams, columns) - 8usize];
    ["Offset of field: SegmentParams::destinations"][::core::mem::offset_of!(SegmentParams, destinations) - 16usize];
};
#[doc = " Triangles of matrices."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct TriangleParams {
    #[doc = " Elements in all."]
    pub count: u64,
    #[doc = " Rows of a matrix."]
    pub rows: u64,
    #[doc = " Columns of a matrix."]
    pub columns: u64,
    #[doc = " Column less row of the last diagonal that is kept."]
    pub diagonal: i64,
    #[doc = " 1 for the upper triangle."]
    pub upper: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TriangleParams"][::core::mem::size_of::<TriangleParams>() - 40usize];
    ["Alignment of TriangleParams"][::core::mem::align_of::<TriangleParams>() - 8usize];
    ["Offset of field: TriangleParams::count"][::core::mem::offset_of!(TriangleParams, count) - 0usize];
    ["Offset of field: TriangleParams::rows"][::core::mem::offset_of!(TriangleParams, rows) - 8usize];
    ["Offset of field: TriangleParams::columns"][::core::mem::offset_of!(TriangleParams, columns) - 16usize];
    ["Offset of field: TriangleParams::diagonal"][::core::mem::offset_of!(TriangleParams, diagonal) - 24usize];
    ["Offset of field: TriangleParams::upper"][::core::mem::offset_of!(TriangleParams, upper) - 32usize];
    ["Offset of field: TriangleParams::reserved"][::core::mem::offset_of!(TriangleParams, reserved) - 36usize];
};
#[doc = " An average divides by the positions of its window inside the input or its padding."]
pub const POOL_PADDED: u32 = 0;
#[doc = " An average divides by the positions of its window inside the input."]
pub const POOL_INSIDE: u32 = 1;
#[doc = " An average divides by a given number."]
pub const POOL_FIXED: u32 = 2;
#[doc = " A pool over planes; pairs are for H and W."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct PoolParams {
    #[doc = " Channels times images."]
    pub planes: u32,
    #[doc = " What an average divides by under POOL_FIXED."]
    pub fixed: f32,
    #[doc = " Extents of the input."]
    pub input: [u32; 2usize],
    #[doc = " Extents of the output."]
    pub output: [u32; 2usize],
    #[doc = " Taps of a window."]
    pub kernel: [u32; 2usize],
    #[doc = " From one output to the next."]
    pub stride: [u32; 2usize],
    #[doc = " Positions before the first."]
    pub padding: [u32; 2usize],
    #[doc = " From one tap to the next."]
    pub dilation: [u32; 2usize],
    #[doc = " 1 where output i of n reads from i·len/n to (i + 1)·len/n, rounded outwards."]
    pub adaptive: u32,
    #[doc = " One of POOL_*."]
    pub divisor: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PoolParams"][::core::mem::size_of::<PoolParams>() - 64usize];
    ["Alignment of PoolParams"][::core::mem::align_of::<PoolParams>() - 4usize];
    ["Offset of field: PoolParams::planes"][::core::mem::offset_of!(PoolParams, planes) - 0usize];
    ["Offset of field: PoolParams::fixed"][::core::mem::offset_of!(PoolParams, fixed) - 4usize];
    ["Offset of field: PoolParams::input"][::core::mem::offset_of!(PoolParams, input) - 8usize];
    ["Offset of field: PoolParams::output"][::core::mem::offset_of!(PoolParams, output) - 16usize];
    ["Offset of field: PoolParams::kernel"][::core::mem::offset_of!(PoolParams, kernel) - 24usize];
    ["Offset of field: PoolParams::stride"][::core::mem::offset_of!(PoolParams, stride) - 32usize];
    ["Offset of field: PoolParams::padding"][::core::mem::offset_of!(PoolParams, padding) - 40usize];
    ["Offset of field: PoolParams::dilation"][::core::mem::offset_of!(PoolParams, dilation) - 48usize];
    ["Offset of field: PoolParams::adaptive"][::core::mem::offset_of!(PoolParams, adaptive) - 56usize];
    ["Offset of field: PoolParams::divisor"][::core::mem::offset_of!(PoolParams, divisor) - 60usize];
};
#[doc = " Stochastic gradient descent."]
pub const OPTIMIZER_SGD: u32 = 0;
#[doc = " The same with momentum."]
pub const OPTIMIZER_SGD_MOMENTUM: u32 = 1;
#[doc = " Adam and AdamW."]
pub const OPTIMIZER_ADAM: u32 = 2;
#[doc = " AMSGrad."]
pub const OPTIMIZER_AMSGRAD: u32 = 3;
#[doc = " AdaGrad."]
pub const OPTIMIZER_ADAGRAD: u32 = 4;
#[doc = " RMSprop."]
pub const OPTIMIZER_RMSPROP: u32 = 5;
#[doc = " FTRL-proximal."]
pub const OPTIMIZER_FTRL: u32 = 6;
#[doc = " Lion."]
pub const OPTIMIZER_LION: u32 = 7;
#[doc = " Switch: look ahead."]
pub const OPTIMIZER_NESTEROV: u32 = 1;
#[doc = " Switch: the decay is a factor of the parameter."]
pub const OPTIMIZER_DECOUPLED: u32 = 2;
#[doc = " Switch: the mean of the gradients is subtracted from that of their squares."]
pub const OPTIMIZER_CENTERED: u32 = 4;
#[doc = " Switch: there is a velocity."]
pub const OPTIMIZER_VELOCITY: u32 = 8;
#[doc = " Switch: only a row-sparse gradient's own rows change."]
pub const OPTIMIZER_TOUCH: u32 = 16;
#[doc = " Parameters and gradients of f32."]
pub const OPTIMIZER_F32: u32 = 0;
#[doc = " Parameters and gradients of f16."]
pub const OPTIMIZER_F16: u32 = 1;
#[doc = " Parameters and gradients of bf16."]
pub const OPTIMIZER_BF16: u32 = 2;
#[doc = " Place of the decay among a rule's options."]
pub const OPTIMIZER_DECAY: u32 = 0;
#[doc = " Place of what is added to the denominator."]
pub const OPTIMIZER_EPSILON: u32 = 1;
#[doc = " Place of the share of the velocity that stays, or of the mean of gradients."]
pub const OPTIMIZER_MOMENTUM: u32 = 2;
#[doc = " Place of the share of the mean of squares that stays."]
pub const OPTIMIZER_SQUARE: u32 = 3;
#[doc = " Place of the share of a gradient that does not enter the velocity."]
pub const OPTIMIZER_DAMPENING: u32 = 4;
#[doc = " Place of how fast the rate falls with the count of updates."]
pub const OPTIMIZER_RATE_DECAY: u32 = 4;
#[doc = " Place of the penalty of magnitudes."]
pub const OPTIMIZER_L1: u32 = 2;
#[doc = " Place of the penalty of squares."]
pub const OPTIMIZER_L2: u32 = 3;
#[doc = " Place of what is added to the root of the sum of squares."]
pub const OPTIMIZER_BETA: u32 = 4;
#[doc = " Place of the largest norm of all gradients in the block of a step."]
pub const OPTIMIZER_MAX_NORM: u32 = 0;
#[doc = " Place of the largest magnitude of a number of a gradient."]
pub const OPTIMIZER_BOUND: u32 = 1;
#[doc = " Place of the first group's rate; the others follow."]
pub const OPTIMIZER_RATES: u32 = 2;
#[doc = " Place of the factor of gradients in what was found of them."]
pub const OPTIMIZER_SCALE: u32 = 0;
#[doc = " Place of whether nothing is to change: not 0."]
pub const OPTIMIZER_SKIP: u32 = 1;
#[doc = " One parameter of an optimizer's step, in a table in device memory; addresses as numbers."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct OptimizerSlot {
    #[doc = " The parameter."]
    pub param: u64,
    #[doc = " Its gradient, or the rows of a row-sparse one."]
    pub grad: u64,
    #[doc = " The parameter in f32; 0 for none."]
    pub master: u64,
    #[doc = " Its state, as many as the rule has."]
    pub state: [u64; 3usize],
    #[doc = " The row numbers of a row-sparse gradient, i64 and ascending; 0 for a dense one."]
    pub indices: u64,
    #[doc = " The count of updates, i64, once for each block."]
    pub counts: u64,
    #[doc = " Elements that are visited."]
    pub count: u64,
    #[doc = " Rows of a row-sparse gradient."]
    pub rows: u64,
    #[doc = " Elements of a row."]
    pub row: u64,
    #[doc = " The first block of this slot."]
    pub first: u64,
    #[doc = " One of OPTIMIZER_* that name rules."]
    pub rule: u32,
    #[doc = " Bits of OPTIMIZER_* that name switches."]
    pub flags: u32,
    #[doc = " One of OPTIMIZER_* that name types."]
    pub dtype: u32,
    #[doc = " Which of the step's rates."]
    pub group: u32,
    #[doc = " The rule's options, in the places that OPTIMIZER_* name."]
    pub options: [f64; 5usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of OptimizerSlot"][::core::mem::size_of::<OptimizerSlot>() - 152usize];
    ["Alignment of OptimizerSlot"][::core::mem::align_of::<OptimizerSlot>() - 8usize];
    ["Offset of field: OptimizerSlot::param"][::core::mem::offset_of!(OptimizerSlot, param) - 0usize];
    ["Offset of field: OptimizerSlot::grad"][::core::mem::offset_of!(OptimizerSlot, grad) - 8usize];
    ["Offset of field: OptimizerSlot::master"][::core::mem::offset_of!(OptimizerSlot, master) - 16usize];
    ["Offset of field: OptimizerSlot::state"][::core::mem::offset_of!(OptimizerSlot, state) - 24usize];
    ["Offset of field: OptimizerSlot::indices"][::core::mem::offset_of!(OptimizerSlot, indices) - 48usize];
    ["Offset of field: OptimizerSlot::counts"][::core::mem::offset_of!(OptimizerSlot, counts) - 56usize];
    ["Offset of field: OptimizerSlot::count"][::core::mem::offset_of!(OptimizerSlot, count) - 64usize];
    ["Offset of field: OptimizerSlot::rows"][::core::mem::offset_of!(OptimizerSlot, rows) - 72usize];
    ["Offset of field: OptimizerSlot::row"][::core::mem::offset_of!(OptimizerSlot, row) - 80usize];
    ["Offset of field: OptimizerSlot::first"][::core::mem::offset_of!(OptimizerSlot, first) - 88usize];
    ["Offset of field: OptimizerSlot::rule"][::core::mem::offset_of!(OptimizerSlot, rule) - 96usize];
    ["Offset of field: OptimizerSlot::flags"][::core::mem::offset_of!(OptimizerSlot, flags) - 100usize];
    ["Offset of field: OptimizerSlot::dtype"][::core::mem::offset_of!(OptimizerSlot, dtype) - 104usize];
    ["Offset of field: OptimizerSlot::group"][::core::mem::offset_of!(OptimizerSlot, group) - 108usize];
    ["Offset of field: OptimizerSlot::options"][::core::mem::offset_of!(OptimizerSlot, options) - 112usize];
};
#[doc = " How the factor of a loss follows what is found of the gradients."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct LossScaling {
    #[doc = " The factor grows by this."]
    pub growth: f64,
    #[doc = " The factor shrinks by this."]
    pub backoff: f64,
    #[doc = " Steps without an overflow after which it grows."]
    pub interval: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LossScaling"][::core::mem::size_of::<LossScaling>() - 24usize];
    ["Alignment of LossScaling"][::core::mem::align_of::<LossScaling>() - 8usize];
    ["Offset of field: LossScaling::growth"][::core::mem::offset_of!(LossScaling, growth) - 0usize];
    ["Offset of field: LossScaling::backoff"][::core::mem::offset_of!(LossScaling, backoff) - 8usize];
    ["Offset of field: LossScaling::interval"][::core::mem::offset_of!(LossScaling, interval) - 16usize];
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
#[doc = " The weight of a norm is given (or its gradient wanted)."]
pub const NORM_WEIGHT: u32 = 1;
#[doc = " It is f32, whatever the input is."]
pub const NORM_WEIGHT_F32: u32 = 2;
#[doc = " The bias is given (or its gradient wanted)."]
pub const NORM_BIAS: u32 = 4;
#[doc = " It is f32, whatever the input is."]
pub const NORM_BIAS_F32: u32 = 8;
#[doc = " A residual is added."]
pub const NORM_RESIDUAL: u32 = 16;
#[doc = " The mean is subtracted."]
pub const NORM_CENTERED: u32 = 32;
#[doc = " The gradient of the input is wanted."]
pub const NORM_INPUT_GRADIENT: u32 = 64;
#[doc = " The gradients of the parameters are wanted."]
pub const NORM_PARAMETER_GRADIENTS: u32 = 128;
#[doc = " The gradient of the residual is wanted."]
pub const NORM_RESIDUAL_GRADIENT: u32 = 256;
#[doc = " The result is max(x, 0)."]
pub const NORM_RELU: u32 = 512;
#[doc = " The statistics are constants."]
pub const NORM_FIXED: u32 = 1024;
#[doc = " Rows that are normalised: layer, RMS and group norm."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct LayerNormParams {
    #[doc = " Rows."]
    pub rows: u64,
    #[doc = " Elements of a row."]
    pub width: u32,
    #[doc = " NORM_*."]
    pub flags: u32,
    #[doc = " Elements of a channel, where parameters belong to channels; divisor 0 where they belong to columns."]
    pub length: Divisor,
    #[doc = " Channels in all."]
    pub channels: u32,
    #[doc = " Channels of a row."]
    pub row_channels: u32,
    #[doc = " Added to the variance."]
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LayerNormParams"][::core::mem::size_of::<LayerNormParams>() - 40usize];
    ["Alignment of LayerNormParams"][::core::mem::align_of::<LayerNormParams>() - 8usize];
    ["Offset of field: LayerNormParams::rows"][::core::mem::offset_of!(LayerNormParams, rows) - 0usize];
    ["Offset of field: LayerNormParams::width"][::core::mem::offset_of!(LayerNormParams, width) - 8usize];
    ["Offset of field: LayerNormParams::flags"][::core::mem::offset_of!(LayerNormParams, flags) - 12usize];
    ["Offset of field: LayerNormParams::length"][::core::mem::offset_of!(LayerNormParams, length) - 16usize];
    ["Offset of field: LayerNormParams::channels"][::core::mem::offset_of!(LayerNormParams, channels) - 28usize];
    ["Offset of field: LayerNormParams::row_channels"]
        [::core::mem::offset_of!(LayerNormParams, row_channels) - 32usize];
    ["Offset of field: LayerNormParams::eps"][::core::mem::offset_of!(LayerNormParams, eps) - 36usize];
};
#[doc = " Partial sums of two parameters' gradients, (parts, 2, width)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct PartialSumsParams {
    #[doc = " How many are added up."]
    pub parts: u32,
    #[doc = " Parameters."]
    pub width: u32,
    #[doc = " Gradients that are wanted, and which of them are f32: NORM_WEIGHT, NORM_BIAS and their _F32."]
    pub flags: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PartialSumsParams"][::core::mem::size_of::<PartialSumsParams>() - 12usize];
    ["Alignment of PartialSumsParams"][::core::mem::align_of::<PartialSumsParams>() - 4usize];
    ["Offset of field: PartialSumsParams::parts"][::core::mem::offset_of!(PartialSumsParams, parts) - 0usize];
    ["Offset of field: PartialSumsParams::width"][::core::mem::offset_of!(PartialSumsParams, width) - 4usize];
    ["Offset of field: PartialSumsParams::flags"][::core::mem::offset_of!(PartialSumsParams, flags) - 8usize];
};
#[doc = " A softmax along the middle axis of (outer, width, inner)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct SoftmaxParams {
    #[doc = " The product of the axes before."]
    pub outer: u64,
    #[doc = " The product of the axes after."]
    pub inner: u64,
    #[doc = " The extent of the axis."]
    pub width: u32,
    #[doc = " Threads that share a row: a power of two up to 32, or a whole block."]
    pub lanes: u32,
    #[doc = " 1 where the logarithm is wanted."]
    pub log: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SoftmaxParams"][::core::mem::size_of::<SoftmaxParams>() - 32usize];
    ["Alignment of SoftmaxParams"][::core::mem::align_of::<SoftmaxParams>() - 8usize];
    ["Offset of field: SoftmaxParams::outer"][::core::mem::offset_of!(SoftmaxParams, outer) - 0usize];
    ["Offset of field: SoftmaxParams::inner"][::core::mem::offset_of!(SoftmaxParams, inner) - 8usize];
    ["Offset of field: SoftmaxParams::width"][::core::mem::offset_of!(SoftmaxParams, width) - 16usize];
    ["Offset of field: SoftmaxParams::lanes"][::core::mem::offset_of!(SoftmaxParams, lanes) - 20usize];
    ["Offset of field: SoftmaxParams::log"][::core::mem::offset_of!(SoftmaxParams, log) - 24usize];
    ["Offset of field: SoftmaxParams::reserved"][::core::mem::offset_of!(SoftmaxParams, reserved) - 28usize];
};
#[doc = " Targets are probabilities, not classes."]
pub const TARGETS_PROBABILITIES: u32 = 1;
#[doc = " Classes have weights."]
pub const TARGETS_WEIGHTED: u32 = 2;
#[doc = " A part of each target is spread over all classes."]
pub const TARGETS_SMOOTHED: u32 = 4;
#[doc = " One label counts for nothing."]
pub const TARGETS_IGNORED: u32 = 8;
#[doc = " The loss is a mean: gradients are divided as it was."]
pub const LOSS_MEAN: u32 = 16;
#[doc = " The losses were added up: all rows have one gradient."]
pub const LOSS_REDUCED: u32 = 32;
#[doc = " A cross-entropy of rows of logits."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct CrossEntropyParams {
    #[doc = " Rows."]
    pub rows: u64,
    #[doc = " Logits of a row."]
    pub classes: u32,
    #[doc = " Threads that share a row: a power of two up to 32, or a whole block."]
    pub lanes: u32,
    #[doc = " TARGETS_*."]
    pub flags: u32,
    #[doc = " What smoothing gives each class: smoothing / classes."]
    pub uniform: f32,
    #[doc = " What it leaves to the target: 1 - smoothing."]
    pub sharp: f32,
    #[doc = " What smoothing gives a row in all, where classes have no weights."]
    pub smoothed: f32,
    #[doc = " The label of rows that count for nothing, under TARGETS_IGNORED."]
    pub ignored: i64,
    #[doc = " The host's number of the operation, for reports."]
    pub operation: u32,
    #[doc = " Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CrossEntropyParams"][::core::mem::size_of::<CrossEntropyParams>() - 48usize];
    ["Alignment of CrossEntropyParams"][::core::mem::align_of::<CrossEntropyParams>() - 8usize];
    ["Offset of field: CrossEntropyParams::rows"][::core::mem::offset_of!(CrossEntropyParams, rows) - 0usize];
    ["Offset of field: CrossEntropyParams::classes"][::core::mem::offset_of!(CrossEntropyParams, classes) - 8usize];
    ["Offset of field: CrossEntropyParams::lanes"][::core::mem::offset_of!(CrossEntropyParams, lanes) - 12usize];
    ["Offset of field: CrossEntropyParams::flags"][::core::mem::offset_of!(CrossEntropyParams, flags) - 16usize];
    ["Offset of field: CrossEntropyParams::uniform"][::core::mem::offset_of!(CrossEntropyParams, uniform) - 20usize];
    ["Offset of field: CrossEntropyParams::sharp"][::core::mem::offset_of!(CrossEntropyParams, sharp) - 24usize];
    ["Offset of field: CrossEntropyParams::smoothed"][::core::mem::offset_of!(CrossEntropyParams, smoothed) - 28usize];
    ["Offset of field: CrossEntropyParams::ignored"][::core::mem::offset_of!(CrossEntropyParams, ignored) - 32usize];
    ["Offset of field: CrossEntropyParams::operation"]
        [::core::mem::offset_of!(CrossEntropyParams, operation) - 40usize];
    ["Offset of field: CrossEntropyParams::reserved"][::core::mem::offset_of!(CrossEntropyParams, reserved) - 44usize];
};
#[doc = " A batch norm over (samples, channels, length)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct BatchNormParams {
    #[doc = " N."]
    pub samples: u64,
    #[doc = " C."]
    pub channels: u32,
    #[doc = " L."]
    pub length: u32,
    #[doc = " Accesses that a channel's run of a sample takes."]
    pub accesses: Divisor,
    #[doc = " NORM_*."]
    pub flags: u32,
    #[doc = " Parts that a channel's elements (or a column's samples) are summed in."]
    pub parts: u32,
    #[doc = " Added to the variance."]
    pub eps: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchNormParams"][::core::mem::size_of::<BatchNormParams>() - 40usize];
    ["Alignment of BatchNormParams"][::core::mem::align_of::<BatchNormParams>() - 8usize];
    ["Offset of field: BatchNormParams::samples"][::core::mem::offset_of!(BatchNormParams, samples) - 0usize];
    ["Offset of field: BatchNormParams::channels"][::core::mem::offset_of!(BatchNormParams, channels) - 8usize];
    ["Offset of field: BatchNormParams::length"][::core::mem::offset_of!(BatchNormParams, length) - 12usize];
    ["Offset of field: BatchNormParams::accesses"][::core::mem::offset_of!(BatchNormParams, accesses) - 16usize];
    ["Offset of field: BatchNormParams::flags"][::core::mem::offset_of!(BatchNormParams, flags) - 28usize];
    ["Offset of field: BatchNormParams::parts"][::core::mem::offset_of!(BatchNormParams, parts) - 32usize];
    ["Offset of field: BatchNormParams::eps"][::core::mem::offset_of!(BatchNormParams, eps) - 36usize];
};
#[doc = " An attention without a mask."]
pub const ATTENTION_MASK_NONE: u32 = 0;
#[doc = " A mask of u8: 0 where a key does not count."]
pub const ATTENTION_MASK_KEEP: u32 = 1;
#[doc = " A mask that is added to the scores."]
pub const ATTENTION_MASK_ADD: u32 = 2;
#[doc = " An attention; strides are in elements, of the axes batch, head, row, column."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct AttentionParams {
    #[doc = " Sequences."]
    pub batch: u32,
    #[doc = " Heads of the queries."]
    pub heads: u32,
    #[doc = " Heads of keys and values."]
    pub kv_heads: u32,
    #[doc = " Heads of queries that share one of keys and values."]
    pub shared: u32,
    #[doc = " Queries of a head."]
    pub queries: u32,
    #[doc = " Keys of a head."]
    pub keys: u32,
    #[doc = " Columns of queries and keys."]
    pub dim: u32,
    #[doc = " Columns of values and of the result."]
    pub value_dim: u32,
    #[doc = " 1 where query i sees keys 0 to i only."]
    pub causal: u32,
    #[doc = " ATTENTION_MASK_*."]
    pub mask_kind: u32,
    #[doc = " What scores are multiplied by."]
    pub scale: f32,
    #[doc = " Zero."]
    pub reserved: u32,
    #[doc = " Strides of the queries."]
    pub q: [i64; 4usize],
    #[doc = " Strides of the keys."]
    pub k: [i64; 4usize],
    #[doc = " Strides of the values."]
    pub v: [i64; 4usize],
    #[doc = " Strides of the mask."]
    pub mask: [i64; 4usize],
    #[doc = " Strides of the result."]
    pub out: [i64; 4usize],
    #[doc = " Strides of the result's gradient."]
    pub dout: [i64; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionParams"][::core::mem::size_of::<AttentionParams>() - 240usize];
    ["Alignment of AttentionParams"][::core::mem::align_of::<AttentionParams>() - 8usize];
    ["Offset of field: AttentionParams::batch"][::core::mem::offset_of!(AttentionParams, batch) - 0usize];
    ["Offset of field: AttentionParams::heads"][::core::mem::offset_of!(AttentionParams, heads) - 4usize];
    ["Offset of field: AttentionParams::kv_heads"][::core::mem::offset_of!(AttentionParams, kv_heads) - 8usize];
    ["Offset of field: AttentionParams::shared"][::core::mem::offset_of!(AttentionParams, shared) - 12usize];
    ["Offset of field: AttentionParams::queries"][::core::mem::offset_of!(AttentionParams, queries) - 16usize];
    ["Offset of field: AttentionParams::keys"][::core::mem::offset_of!(AttentionParams, keys) - 20usize];
    ["Offset of field: AttentionParams::dim"][::core::mem::offset_of!(AttentionParams, dim) - 24usize];
    ["Offset of field: AttentionParams::value_dim"][::core::mem::offset_of!(AttentionParams, value_dim) - 28usize];
    ["Offset of field: AttentionParams::causal"][::core::mem::offset_of!(AttentionParams, causal) - 32usize];
    ["Offset of field: AttentionParams::mask_kind"][::core::mem::offset_of!(AttentionParams, mask_kind) - 36usize];
    ["Offset of field: AttentionParams::scale"][::core::mem::offset_of!(AttentionParams, scale) - 40usize];
    ["Offset of field: AttentionParams::reserved"][::core::mem::offset_of!(AttentionParams, reserved) - 44usize];
    ["Offset of field: AttentionParams::q"][::core::mem::offset_of!(AttentionParams, q) - 48usize];
    ["Offset of field: AttentionParams::k"][::core::mem::offset_of!(AttentionParams, k) - 80usize];
    ["Offset of field: AttentionParams::v"][::core::mem::offset_of!(AttentionParams, v) - 112usize];
    ["Offset of field: AttentionParams::mask"][::core::mem::offset_of!(AttentionParams, mask) - 144usize];
    ["Offset of field: AttentionParams::out"][::core::mem::offset_of!(AttentionParams, out) - 176usize];
    ["Offset of field: AttentionParams::dout"][::core::mem::offset_of!(AttentionParams, dout) - 208usize];
};
#[doc = " The rotary embedding of (batch, heads, rows, 2·half)."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct RotaryParams {
    #[doc = " Rows in all: batch · heads · rows."]
    pub count: u64,
    #[doc = " Heads."]
    pub heads: u32,
    #[doc = " Rows of a head."]
    pub rows: u32,
    #[doc = " Half of the columns."]
    pub half: u32,
    #[doc = " Threads that share a row: a power of two up to the block's 256."]
    pub lanes: u32,
    #[doc = " NORM_WEIGHT_F32 and NORM_BIAS_F32 where the cosines and the sines are f32."]
    pub flags: u32,
    #[doc = " 1, or -1 to turn back: the factor of the sines."]
    pub sign: f32,
    #[doc = " Strides of the input in elements: batch, head, row, column."]
    pub x: [i64; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RotaryParams"][::core::mem::size_of::<RotaryParams>() - 64usize];
    ["Alignment of RotaryParams"][::core::mem::align_of::<RotaryParams>() - 8usize];
    ["Offset of field: RotaryParams::count"][::core::mem::offset_of!(RotaryParams, count) - 0usize];
    ["Offset of field: RotaryParams::heads"][::core::mem::offset_of!(RotaryParams, heads) - 8usize];
    ["Offset of field: RotaryParams::rows"][::core::mem::offset_of!(RotaryParams, rows) - 12usize];
    ["Offset of field: RotaryParams::half"][::core::mem::offset_of!(RotaryParams, half) - 16usize];
    ["Offset of field: RotaryParams::lanes"][::core::mem::offset_of!(RotaryParams, lanes) - 20usize];
    ["Offset of field: RotaryParams::flags"][::core::mem::offset_of!(RotaryParams, flags) - 24usize];
    ["Offset of field: RotaryParams::sign"][::core::mem::offset_of!(RotaryParams, sign) - 28usize];
    ["Offset of field: RotaryParams::x"][::core::mem::offset_of!(RotaryParams, x) - 32usize];
};
