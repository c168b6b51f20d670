//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod axes;
mod batch_norm;
mod binary;
mod cat;
mod contiguous;
mod reduction;
mod layer_norm;
mod linear;
mod matmul;
mod cumulate;
mod extreme;
mod gather;
mod moments;
mod pad;
mod relu;
mod rows;
mod slice;
mod sort;
mod squeeze;
mod sum;
mod support;
mod triangle;
mod views;

pub use batch_norm::BatchNormOutput;
pub use reduction::Reduction;
pub use slice::Slice;
pub(crate) use crate::shim::sops::*;
