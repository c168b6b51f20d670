//! The kernels that this crate carries: machine code, PTX and the table of their signatures and resources, one static
//! for each file in `kernels/`.

use super::params::{
    ConvParams, ElementwiseParams, GemmParams, IndexParams, MultinomialParams, PoolParams, RandomParams, ReduceParams,
    ScanParams, SegmentParams, SortParams, StridedParams, TriangleParams, WindowParams,
};

crate::include_kernels!();

// SAFETY: written by bindgen from the header that the kernels include, with layout assertions.
crate::kernel_struct!(unsafe ElementwiseParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe StridedParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe GemmParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ConvParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe WindowParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ReduceParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe ScanParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe RandomParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe MultinomialParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe IndexParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe SegmentParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe SortParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe TriangleParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe PoolParams);
