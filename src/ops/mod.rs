//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod binary;
mod contiguous;
mod conv;
mod linear;
mod matmul;
mod pool;
mod relu;
mod sum;
mod support;
mod views;

pub use conv::{Conv1dParams, Conv2dParams, ConvTranspose2dParams};
pub use pool::{Pool1dParams, Pool2dParams};
