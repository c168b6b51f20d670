//! BERT (Devlin et al. 2019): a Transformer encoder that is trained to fill in hidden tokens, and then fine-tuned.

use super::encoder::{Encoder, LayerNames, LayerSizes, first, length};
use crate::nn::{Ctx, Dropout, Embedding, Init, LayerNorm, Linear, Module, NameMap, Param, Params};
use crate::{Error, Result, Tensor};

/// The sizes of a [`Bert`]; [`BertConfig::named`] gives the published ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BertConfig {
    /// Distinct tokens.
    pub vocabulary: usize,
    /// The longest sequence.
    pub positions: usize,
    /// Kinds of segments (first and second sentence).
    pub types: usize,
    /// Width of the states.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub feed_forward: usize,
    /// Probability of dropout on embeddings, attention weights, each part's result and what a classifier sees.
    pub dropout: f64,
    /// Of the layer norms.
    pub eps: f64,
    /// Deviation of the first weights and embeddings.
    pub std: f64,
}

impl BertConfig {
    /// A published size, uncased English: `tiny`, `mini`, `small`, `medium` (Turc et al. 2019), `base` or `large`.
    pub fn named(name: &str) -> Result<Self> {
        let (layers, width) = match name {
            "tiny" => (2, 128),
            "mini" => (4, 256),
            "small" => (4, 512),
            "medium" => (8, 512),
            "base" => (12, 768),
            "large" => (24, 1024),
            _ => {
                let message = format!("no sizes are named {name}: tiny, mini, small, medium, base and large are");
                return Err(Error::argument("bert", message));
            }
        };
        Ok(BertConfig {
            vocabulary: 30522,
            positions: 512,
            types: 2,
            width,
            layers,
            heads: width / 64,
            feed_forward: 4 * width,
            dropout: 0.1,
            eps: 1e-12,
            std: 0.02,
        })
    }

    fn sizes(&self) -> LayerSizes {
        let BertConfig { width, heads, feed_forward, dropout, eps, std, .. } = *self;
        LayerSizes { width, heads, feed_forward, dropout, eps, std }
    }
}

const LAYER: LayerNames = LayerNames {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    inner: "intermediate.dense",
    outer: "output.dense",
    norm: "output.LayerNorm",
};

/// What a [`Bert`] is told besides the tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct BertInput<'a> {
    /// The segment of each token (B, T): the first where it is not given.
    pub types: Option<&'a Tensor>,
    /// u8 (B, T), 0 at padding.
    pub keep: Option<&'a Tensor>,
}

/// The encoder: token ids (B, T) to states (B, T, width). Names are those of Hugging Face's `BertModel`.
pub struct Bert {
    word: Embedding,
    position: Embedding,
    kind: Embedding,
    norm: LayerNorm,
    encoder: Encoder,
    dropout: Dropout,
    positions: usize,
}

impl Bert {
    /// The encoder without a pooler.
    pub fn new(params: &Params, config: &BertConfig) -> Result<Self> {
        let place = params.sub("embeddings");
        let init = Init::Normal { mean: 0.0, std: config.std };
        let table = |name: &str, n: usize| Embedding::with_init(&place.sub(name), n, config.width, init);
        Ok(Bert {
            word: table("word_embeddings", config.vocabulary)?,
            position: table("position_embeddings", config.positions)?,
            kind: table("token_type_embeddings", config.types)?,
            norm: LayerNorm::with_eps(&place.sub("LayerNorm"), &[config.width], config.eps)?,
            encoder: Encoder::new(&params.sub("encoder.layer"), config.layers, &LAYER, config.sizes())?,
            dropout: Dropout::new(config.dropout)?,
            positions: config.positions,
        })
    }

    /// Token ids (B, T) to states (B, T, width).
    pub fn forward(&self, ids: &Tensor, input: &BertInput<'_>, ctx: &mut Ctx) -> Result<Tensor> {
        let t = length("bert", ids, &[input.types, input.keep], self.positions)?;
        let positions = self.position.weight.tensor().narrow(0, 0, t)?;
        let types = match input.types {
            Some(types) => self.kind.forward(types, ctx)?,
            None => self.kind.weight.tensor().narrow(0, 0, 1)?,
        };
        let x = self.word.forward(ids, ctx)?.add(&types)?.add(&positions)?;
        let x = self.dropout.forward(&self.norm.forward(&x, ctx)?, ctx)?;
        self.encoder.forward(&x, input.keep, ctx)
    }
}

/// A linear layer and tanh on the first token's state.
pub(super) struct Pooler(Linear);

impl Pooler {
    pub(super) fn new(params: &Params, sizes: LayerSizes) -> Result<Self> {
        Ok(Pooler(sizes.linear(&params.sub("dense"), sizes.width, sizes.width)?))
    }

    pub(super) fn forward(&self, states: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.0.forward(&first(states)?, ctx)?.tanh()
    }
}

/// A [`Bert`] that predicts tokens, with the names of Hugging Face's `BertForMaskedLM`: the encoder beneath `bert`, and
/// `cls.predictions`: a linear layer, GELU and layer norm, then the word table as the output layer, with a bias.
pub struct BertMaskedLm {
    bert: Bert,
    dense: Linear,
    norm: LayerNorm,
    bias: Param,
}

impl BertMaskedLm {
    /// A model with BERT's initial values.
    pub fn new(params: &Params, config: &BertConfig) -> Result<Self> {
        let bert = Bert::new(&params.sub("bert"), config)?;
        let (head, sizes) = (params.sub("cls.predictions"), config.sizes());
        let transform = head.sub("transform");
        let model = BertMaskedLm {
            dense: sizes.linear(&transform.sub("dense"), config.width, config.width)?,
            norm: LayerNorm::with_eps(&transform.sub("LayerNorm"), &[config.width], config.eps)?,
            bias: head.param("bias", [config.vocabulary], Init::ZEROS)?,
            bert,
        };
        head.tie("decoder.weight", &model.bert.word.weight)?;
        head.tie("decoder.bias", &model.bias)?;
        Ok(model)
    }

    /// The encoder.
    pub fn bert(&self) -> &Bert {
        &self.bert
    }

    /// Logits (…, vocabulary) for states (…, width): of all positions, or of those that were hidden.
    pub fn predict(&self, states: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let x = self.norm.forward(&self.dense.forward_gelu(states)?, ctx)?;
        x.linear(&self.bert.word.weight.tensor(), Some(&self.bias.tensor()))
    }

    /// Token ids (B, T) to logits (B, T, vocabulary).
    pub fn forward(&self, ids: &Tensor, input: &BertInput<'_>, ctx: &mut Ctx) -> Result<Tensor> {
        let states = self.bert.forward(ids, input, ctx)?;
        self.predict(&states, ctx)
    }

    /// Hugging Face's names, also those of files of the whole pre-training model, whose pooler and next-sentence head have
    /// no use here.
    pub fn names() -> NameMap {
        names().ignore("bert.pooler.**").ignore("cls.seq_relationship.**")
    }
}

/// A [`Bert`] that classifies sequences, with the names of Hugging Face's `BertForSequenceClassification`: the encoder and
/// its pooler beneath `bert`, and `classifier`.
pub struct BertClassifier {
    bert: Bert,
    pooler: Pooler,
    classifier: Linear,
    dropout: Dropout,
}

impl BertClassifier {
    /// A model with BERT's initial values.
    pub fn new(params: &Params, config: &BertConfig, classes: usize) -> Result<Self> {
        let place = params.sub("bert");
        Ok(BertClassifier {
            bert: Bert::new(&place, config)?,
            pooler: Pooler::new(&place.sub("pooler"), config.sizes())?,
            classifier: config.sizes().linear(&params.sub("classifier"), config.width, classes)?,
            dropout: Dropout::new(config.dropout)?,
        })
    }

    /// Token ids (B, T) to logits (B, classes).
    pub fn forward(&self, ids: &Tensor, input: &BertInput<'_>, ctx: &mut Ctx) -> Result<Tensor> {
        let states = self.bert.forward(ids, input, ctx)?;
        let pooled = self.pooler.forward(&states, ctx)?;
        self.classifier.forward(&self.dropout.forward(&pooled, ctx)?, ctx)
    }

    /// Hugging Face's names.
    pub fn names() -> NameMap {
        names()
    }
}

/// Norms were `gamma` and `beta` in the first files, and older ones hold the numbers of positions.
fn names() -> NameMap {
    NameMap::new()
        .older("**.LayerNorm.weight", "**.LayerNorm.gamma")
        .older("**.LayerNorm.bias", "**.LayerNorm.beta")
        .ignore("bert.embeddings.position_ids")
        .ignore("bert.embeddings.token_type_ids")
}
