//! Deep & Cross networks.

use super::{CtrModel, DeepConfig, concatenated, concatenated_width};
use crate::nn::{CrossKind, CrossNetwork, Ctx, FieldEmbedding, FieldInput, Fields, Linear, Mlp, Module, Params};
use crate::{Result, Tensor};

/// The structure of a [`Dcn`].
#[derive(Clone, Debug, PartialEq)]
pub struct DcnConfig {
    /// The form of the cross layers.
    pub kind: CrossKind,
    /// How many cross layers.
    pub layers: usize,
    /// Whether the deep part works on the cross network's result, or beside it on the same input.
    pub stacked: bool,
    /// Embeddings and deep part.
    pub deep: DeepConfig,
}

impl DcnConfig {
    /// DCN (Wang et al. 2017): vectors, deep part beside them.
    pub fn dcn(layers: usize, deep: DeepConfig) -> Self {
        DcnConfig { kind: CrossKind::Vector, layers, stacked: false, deep }
    }

    /// DCN-v2 (Wang et al. 2021) with full matrices, deep part behind them.
    pub fn v2(layers: usize, deep: DeepConfig) -> Self {
        DcnConfig { kind: CrossKind::Matrix, layers, stacked: true, deep }
    }

    /// DCN-v2's mixture of low-rank experts, deep part behind it.
    pub fn mixture(layers: usize, rank: usize, experts: usize, deep: DeepConfig) -> Self {
        DcnConfig { kind: CrossKind::Mixture { rank, experts }, layers, stacked: true, deep }
    }
}

/// Deep & Cross networks, DCN and DCN-v2: embeddings and numbers side by side go through a [`CrossNetwork`] and a deep
/// part, one after the other or both into one logit.
pub struct Dcn {
    embedding: FieldEmbedding,
    cross: CrossNetwork,
    deep: Mlp,
    head: Linear,
    stacked: bool,
    fields: Fields,
}

impl Dcn {
    /// `embedding`, `cross`, `deep` and `head`.
    pub fn new(params: &Params, fields: &Fields, config: &DcnConfig) -> Result<Self> {
        let (deep, width) = (&config.deep, concatenated_width(fields, config.deep.width));
        let embedding = FieldEmbedding::new(&params.sub("embedding"), &fields.sizes, deep.width, deep.init())?;
        let cross = CrossNetwork::new(&params.sub("cross"), width, config.layers, config.kind)?;
        let layers = Mlp::new(&params.sub("deep"), width, &deep.hidden, deep.dropout)?;
        let outputs = layers.outputs() + if config.stacked { 0 } else { width };
        let head = Linear::new(&params.sub("head"), outputs, 1)?;
        Ok(Dcn { embedding, cross, deep: layers, head, stacked: config.stacked, fields: fields.clone() })
    }
}

impl CtrModel for Dcn {
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor> {
        let first = concatenated(&self.embedding.forward(&x.ids)?, &self.fields, x)?;
        let crossed = self.cross.forward(&first, ctx)?;
        let last = if self.stacked {
            self.deep.forward(&crossed, ctx)?
        } else {
            Tensor::cat(&[&crossed, &self.deep.forward(&first, ctx)?], 1)?
        };
        self.head.forward(&last, ctx)?.squeeze(-1)
    }
}
