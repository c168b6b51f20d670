//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod binary;
mod contiguous;
mod reduction;
mod linear;
mod matmul;
mod relu;
mod sum;
mod support;
mod views;

pub use reduction::Reduction;
