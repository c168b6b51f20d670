//! The kernels that this crate carries: machine code, PTX and the table of their signatures and resources, one static
//! for each file in `kernels/`.

use super::params::{
    AttentionParams, BatchNormParams, CrossEntropyParams, ElementwiseParams, GemmParams, LayerNormParams, PartialSumsParams, RotaryParams, SoftmaxParams, StridedParams,
};

crate::include_kernels!();

// SAFETY: written by bindgen from the header that the kernels include, with layout assertions.
crate::kernel_struct!(unsafe ElementwiseParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe StridedParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe GemmParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe LayerNormParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe PartialSumsParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe SoftmaxParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe CrossEntropyParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe BatchNormParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe AttentionParams);
// SAFETY: as above.
crate::kernel_struct!(unsafe RotaryParams);
