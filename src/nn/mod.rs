//! Floor 5: layers, their parameters and what is saved of them.
//!
//! A layer is made at its place in a [`Params`] store and called through [`Module::forward`] with a [`Ctx`]. Names,
//! initial values and defaults are PyTorch's.

mod activation;
mod atomic;
mod attention;
mod autocast;
mod conv;
mod ctx;
mod embedding;
mod init;
mod linear;
mod module;
mod names;
mod norm;
mod params;
mod pool;
mod positions;
mod recsys;
mod rnn;
mod safetensors;
mod state;
mod transformer;

pub use activation::{Activation, Dropout};
pub(crate) use atomic::remove_leftovers;
#[cfg(feature = "train")]
pub(crate) use atomic::write_atomically;
pub use attention::{AttentionMask, KeyValues, MultiheadAttention};
pub use conv::{Conv1d, Conv2d, ConvTranspose2d};
pub use ctx::Ctx;
pub use embedding::Embedding;
pub use init::Init;
pub use linear::Linear;
pub use module::{Module, Sequential};
pub use names::NameMap;
pub use norm::{BatchNorm, BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RmsNorm};
pub use params::{Param, Params, Summary};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, Flatten, MaxPool2d};
pub use positions::SinusoidalPositions;
pub use recsys::{
    BiInteraction, CompressedInteraction, CrossKind, CrossNetwork, CrossedFields, EmbeddingBag, FactorizationMachine,
    FeatureEmbedding, FieldAwareProducts, FieldEmbedding, FieldInput, Fields, LinearTerm, Mlp,
};
pub use rnn::{Rnn, RnnConfig, RnnKind, RnnOutput};
pub(crate) use safetensors::entries as safetensors_entries;
pub(crate) use state::Misfit;
pub use state::{Counter, StateBuffer, StateDict};
pub use transformer::{DecoderCache, TransformerConfig, TransformerDecoderLayer, TransformerEncoderLayer};
