//! Floor 5: whole networks, with the names and parameter counts of their usual PyTorch versions.

pub mod gpt;
pub mod resnet;

pub use gpt::{Gpt, GptConfig};
pub use resnet::{ResNet, ResNetConfig};
