//! Floor 4: one file per operation (or per set of operations that share one shape rule and one family): the public
//! method with its documentation, the shape rule, and the backward. Names no device.

mod attention;
mod batch_norm;
mod binary;
mod contiguous;
mod cross_entropy;
mod layer_norm;
mod reduction;
mod linear;
mod matmul;
mod relu;
mod rotary_embedding;
mod softmax;
mod sum;
mod support;
mod views;

pub use attention::AttentionParams;
pub use batch_norm::BatchNormOutput;
pub use cross_entropy::CrossEntropyParams;
pub use reduction::Reduction;
