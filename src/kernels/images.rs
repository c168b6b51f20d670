//! The kernels that this crate carries: machine code, PTX and the table of their signatures and resources, one static
//! for each file in `kernels/`.

use super::params::{
    AttentionParams, BatchNormParams, ConvParams, CrossEntropyParams, ElementwiseParams, GemmParams, IndexParams,
    LayerNormParams, LossScaling, MultinomialParams, PartialSumsParams, PoolParams, RandomParams, ReduceParams,
    RotaryParams, ScanParams, SegmentParams, SoftmaxParams, SortParams, StridedParams, TriangleParams, WindowParams,
};

crate::include_kernels!();

// SAFETY: written by bindgen from the header that the kernels include, with layout assertions.
crate::kernel_struct!(unsafe AttentionParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe BatchNormParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ConvParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe CrossEntropyParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ElementwiseParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe GemmParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe IndexParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe LayerNormParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe LossScaling);
// SAFETY: as above.
crate::kernel_struct!(unsafe MultinomialParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe PartialSumsParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe PoolParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe RandomParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ReduceParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe RotaryParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ScanParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe SegmentParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe SoftmaxParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe SortParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe StridedParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe TriangleParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe WindowParams);
