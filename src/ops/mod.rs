//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod activation;
mod arithmetic;
mod attention;
mod axes;
mod batch_norm;
mod binary;
mod cast;
mod cat;
mod compare;
mod contiguous;
mod conv;
mod cross_entropy;
mod cumulate;
mod dropout;
mod extreme;
mod functions;
mod gather;
mod layer_norm;
mod linear;
mod loss;
mod matmul;
mod moments;
mod operators;
mod pad;
mod pool;
mod random;
mod reduction;
mod rotary_embedding;
mod rows;
mod select;
mod slice;
mod softmax;
mod sort;
mod squeeze;
mod sum;
mod support;
mod triangle;
mod views;

pub use attention::AttentionParams;
pub use batch_norm::BatchNormOutput;
pub use conv::{Conv1dParams, Conv2dParams, ConvTranspose2dParams};
pub use cross_entropy::CrossEntropyParams;
pub use pool::{Pool1dParams, Pool2dParams};
pub use reduction::Reduction;
pub use slice::Slice;
