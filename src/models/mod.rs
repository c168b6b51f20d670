//! Floor 5: whole networks, with the names and parameter counts of their usual PyTorch versions.

pub mod gpt;
pub mod recsys;
pub mod resnet;
mod sampling;

pub use gpt::{Gpt, GptCache, GptConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use sampling::Sampling;
