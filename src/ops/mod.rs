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
mod cross_entropy;
mod functions;
mod layer_norm;
mod linear;
mod matmul;
mod operators;
mod reduction;
mod rotary_embedding;
mod select;
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
