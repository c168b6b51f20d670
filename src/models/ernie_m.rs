//! ERNIE-M (Ouyang et al. 2021): a multilingual encoder of BERT's form, without token types.

use super::bert::Pooler;
use super::encoder::{Encoder, LayerNames, LayerSizes, length};
use crate::nn::{Ctx, Dropout, Embedding, Init, LayerNorm, Linear, Module, NameMap, Params};
use crate::{Error, Result, Tensor};

/// Position 0 of a sequence is row 2 of the table, as in PaddleNLP.
const FIRST_POSITION: usize = 2;

/// The sizes of an [`ErnieM`]; [`ErnieMConfig::named`] gives the published ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErnieMConfig {
    /// Distinct tokens.
    pub vocabulary: usize,
    /// Rows of the table of positions, two more than the longest sequence.
    pub positions: usize,
    /// Width of the states.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub feed_forward: usize,
    /// Probability of dropout on embeddings, attention weights and each part's result.
    pub dropout: f64,
    /// Of the layer norms.
    pub eps: f64,
    /// Deviation of the first weights and embeddings.
    pub std: f64,
}

impl ErnieMConfig {
    /// A published size: `base` or `large`.
    pub fn named(name: &str) -> Result<Self> {
        let (layers, width) = match name {
            "base" => (12, 768),
            "large" => (24, 1024),
            _ => return Err(Error::argument("ernie_m", format!("no sizes are named {name}: base and large are"))),
        };
        Ok(ErnieMConfig {
            vocabulary: 250_002,
            positions: 514,
            width,
            layers,
            heads: width / 64,
            feed_forward: 4 * width,
            dropout: 0.1,
            eps: 1e-5,
            std: 0.02,
        })
    }

    fn sizes(&self) -> LayerSizes {
        let ErnieMConfig { width, heads, feed_forward, dropout, eps, std, .. } = *self;
        LayerSizes { width, heads, feed_forward, dropout, eps, std }
    }
}

const LAYER: LayerNames = LayerNames {
    query: "self_attn.self_attn.q_proj",
    key: "self_attn.self_attn.k_proj",
    value: "self_attn.self_attn.v_proj",
    out: "self_attn.out_proj",
    attention_norm: "norm1",
    inner: "linear1",
    outer: "linear2",
    norm: "norm2",
};

/// The encoder and its pooler: token ids (B, T) to states (B, T, width) and the pooled state (B, width). Names are those of
/// Hugging Face's `ErnieMModel`.
pub struct ErnieM {
    word: Embedding,
    position: Embedding,
    norm: LayerNorm,
    encoder: Encoder,
    pooler: Pooler,
    dropout: Dropout,
    longest: usize,
}

impl ErnieM {
    /// A model with BERT's initial values.
    pub fn new(params: &Params, config: &ErnieMConfig) -> Result<Self> {
        let place = params.sub("embeddings");
        let init = Init::Normal { mean: 0.0, std: config.std };
        let table = |name: &str, n: usize| Embedding::with_init(&place.sub(name), n, config.width, init);
        Ok(ErnieM {
            word: table("word_embeddings", config.vocabulary)?,
            position: table("position_embeddings", config.positions)?,
            norm: LayerNorm::with_eps(&place.sub("layer_norm"), &[config.width], config.eps)?,
            encoder: Encoder::new(&params.sub("encoder.layers"), config.layers, &LAYER, config.sizes())?,
            pooler: Pooler::new(&params.sub("pooler"), config.sizes())?,
            dropout: Dropout::new(config.dropout)?,
            longest: config.positions.saturating_sub(FIRST_POSITION),
        })
    }

    /// Token ids (B, T) to states (B, T, width); `keep` (B, T) of u8 is 0 at padding.
    pub fn forward(&self, ids: &Tensor, keep: Option<&Tensor>, ctx: &mut Ctx) -> Result<Tensor> {
        let t = length("ernie_m", ids, &[keep], self.longest)?;
        let positions = self.position.weight.tensor().narrow(0, FIRST_POSITION, t)?;
        let x = self.word.forward(ids, ctx)?.add(&positions)?;
        let x = self.dropout.forward(&self.norm.forward(&x, ctx)?, ctx)?;
        self.encoder.forward(&x, keep, ctx)
    }

    /// The pooled state (B, width): a linear layer and tanh on the first token's state.
    pub fn pool(&self, states: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.pooler.forward(states, ctx)
    }

    /// The names of Hugging Face's `ErnieMModel`.
    pub fn names() -> NameMap {
        NameMap::new().ignore("embeddings.position_ids")
    }

    /// The names of PaddleNLP's `ErnieMModel`, whose linear layers are (in, out).
    pub fn paddle_names() -> NameMap {
        let attention = ["q_proj", "k_proj", "v_proj"].iter().fold(NameMap::new(), |map, name| {
            map.transpose(
                &format!("encoder.layers.*.self_attn.self_attn.{name}.weight"),
                &format!("encoder.layers.*.self_attn.{name}.weight"),
            )
            .rename(
                &format!("encoder.layers.*.self_attn.self_attn.{name}.bias"),
                &format!("encoder.layers.*.self_attn.{name}.bias"),
            )
        });
        ["self_attn.out_proj", "linear1", "linear2"]
            .iter()
            .fold(attention, |map, name| map.transposed(&format!("encoder.layers.*.{name}.weight")))
            .transposed("pooler.dense.weight")
    }
}

/// An [`ErnieM`] that classifies sequences, with the names of Hugging Face's `ErnieMForSequenceClassification`: the encoder
/// beneath `ernie_m`, and `classifier`.
pub struct ErnieMClassifier {
    ernie_m: ErnieM,
    classifier: Linear,
    dropout: Dropout,
}

impl ErnieMClassifier {
    /// A model with BERT's initial values.
    pub fn new(params: &Params, config: &ErnieMConfig, classes: usize) -> Result<Self> {
        Ok(ErnieMClassifier {
            ernie_m: ErnieM::new(&params.sub("ernie_m"), config)?,
            classifier: config.sizes().linear(&params.sub("classifier"), config.width, classes)?,
            dropout: Dropout::new(config.dropout)?,
        })
    }

    /// Token ids (B, T) to logits (B, classes).
    pub fn forward(&self, ids: &Tensor, keep: Option<&Tensor>, ctx: &mut Ctx) -> Result<Tensor> {
        let states = self.ernie_m.forward(ids, keep, ctx)?;
        let pooled = self.ernie_m.pool(&states, ctx)?;
        self.classifier.forward(&self.dropout.forward(&pooled, ctx)?, ctx)
    }
}
