//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod batch_norm;
mod binary;
mod contiguous;
mod reduction;
mod layer_norm;
mod linear;
mod matmul;
mod relu;
mod sum;
mod support;
mod views;

pub use batch_norm::BatchNormOutput;
pub use reduction::Reduction;
