//! Recommenders: models of clicks on rows of categorical fields and numbers, and two towers for retrieval.

mod dcn;
mod deep;
mod dssm;
mod shallow;

pub use dcn::{Dcn, DcnConfig};
pub use deep::{DeepFfm, DeepFm, WideAndDeep, XDeepFm};
pub use dssm::{Dssm, DssmConfig, Tower, TowerConfig, TowerInput};
pub use shallow::{Ffm, Fm, LogisticRegression};

use crate::nn::{Ctx, FieldInput, Fields, Init, Linear, Mlp, Module, Params};
use crate::{Result, Tensor};

/// A model of the click-through-rate kind: how likely something is for each row of features.
pub trait CtrModel: Send + Sync {
    /// The logit of each row: (B). Its sigmoid is the probability, [`Tensor::bce_with_logits`] the loss.
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor>;
}

/// What models with embeddings and a deep part have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct DeepConfig {
    /// The width of embeddings.
    pub width: usize,
    /// The widths of the deep part's layers.
    pub hidden: Vec<usize>,
    /// After each of the deep part's layers, in training.
    pub dropout: f64,
    /// The standard deviation of embeddings at first.
    pub std: f64,
}

impl Default for DeepConfig {
    /// Embeddings of 8, two layers of 64, no dropout.
    fn default() -> Self {
        DeepConfig { width: 8, hidden: vec![64, 64], dropout: 0.0, std: 0.05 }
    }
}

impl DeepConfig {
    fn init(&self) -> Init {
        Init::Normal { mean: 0.0, std: self.std }
    }
}

/// A deep part down to one logit per row: (B, inputs) to (B).
struct DeepLogit {
    layers: Mlp,
    head: Linear,
}

impl DeepLogit {
    fn new(params: &Params, inputs: usize, config: &DeepConfig) -> Result<Self> {
        let layers = Mlp::new(&params.sub("layers"), inputs, &config.hidden, config.dropout)?;
        let head = Linear::new(&params.sub("head"), layers.outputs(), 1)?;
        Ok(DeepLogit { layers, head })
    }

    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let x = self.layers.forward(x, ctx)?;
        self.head.forward(&x, ctx)?.squeeze(-1)
    }
}

/// The width of [`concatenated`].
fn concatenated_width(fields: &Fields, width: usize) -> usize {
    fields.sizes.len() * width + fields.numbers
}

/// Embeddings (B, fields, width) side by side, and the numbers behind them.
fn concatenated(embeddings: &Tensor, fields: &Fields, x: &FieldInput) -> Result<Tensor> {
    let flat = embeddings.flatten(1, -1)?;
    match x.numbers(fields)? {
        Some(numbers) => Tensor::cat(&[&flat, numbers], 1),
        None => Ok(flat),
    }
}
