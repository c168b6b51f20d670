//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod activation;
mod arithmetic;
mod axes;
mod attention;
mod batch_norm;
mod binary;
mod cast;
mod cat;
mod compare;
mod contiguous;
mod cumulate;
mod extreme;
mod dropout;
mod functions;
mod gather;
mod layer_norm;
mod linear;
mod matmul;
mod moments;
mod cross_entropy;
mod operators;
mod pad;
mod random;
mod reduction;
mod rows;
mod select;
mod slice;
mod sort;
mod squeeze;
mod conv;
mod pool;
mod rotary_embedding;
mod softmax;
mod sum;
mod support;
mod triangle;
mod views;

pub use attention::AttentionParams;
pub use batch_norm::BatchNormOutput;
pub use cross_entropy::CrossEntropyParams;
pub use reduction::Reduction;
pub use slice::Slice;
pub use conv::{Conv1dParams, Conv2dParams, ConvTranspose2dParams};
pub use pool::{Pool1dParams, Pool2dParams};
