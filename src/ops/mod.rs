//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod activation;
mod arithmetic;
mod axes;
mod batch_norm;
mod binary;
mod cast;
mod cat;
mod compare;
mod contiguous;
mod cumulate;
mod extreme;
mod functions;
mod gather;
mod layer_norm;
mod linear;
mod matmul;
mod moments;
mod operators;
mod pad;
mod reduction;
mod rows;
mod select;
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
