//! Floor 5: whole networks, with the names and parameter counts of their usual PyTorch versions.

pub mod bert;
mod encoder;
pub mod ernie_m;
pub mod gpt;
pub mod multimodal;
pub mod recsys;
pub mod resnet;
mod sampling;
pub mod seq2seq;

pub use bert::{Bert, BertClassifier, BertConfig, BertInput, BertMaskedLm};
pub use ernie_m::{ErnieM, ErnieMClassifier, ErnieMConfig};
pub use gpt::{Gpt, GptCache, GptConfig};
pub use multimodal::{ErnieMResNet, ErnieMResNetConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use sampling::Sampling;
pub use seq2seq::{Seq2Seq, Seq2SeqCache, Seq2SeqConfig};
