//! Layers of recommenders: vectors of categorical fields, and the ways in which fields meet.

mod bag;
mod cross;
mod factorization;
mod fields;
mod interaction;
mod mlp;

pub use bag::EmbeddingBag;
pub use cross::{CrossKind, CrossNetwork};
pub use factorization::{BiInteraction, FactorizationMachine, FieldAwareProducts};
pub use fields::{CrossedFields, FeatureEmbedding, FieldEmbedding, FieldInput, Fields, LinearTerm};
pub use interaction::CompressedInteraction;
pub use mlp::Mlp;
