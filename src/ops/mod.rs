//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod activation;
mod arithmetic;
mod binary;
mod cast;
mod compare;
mod contiguous;
mod dropout;
mod functions;
mod loss;
mod operators;
mod random;
mod reduction;
mod select;
mod sum;
mod support;
mod views;

pub use reduction::Reduction;
