//! Two towers: queries and items in one space.

use crate::nn::{Ctx, EmbeddingBag, FieldEmbedding, Init, Linear, Mlp, Module, Params};
use crate::{DType, Error, Result, Tensor};

/// What a [`Tower`] reads and how wide it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TowerConfig {
    /// The sizes of its categorical fields; may be empty.
    pub fields: Vec<usize>,
    /// How many word ids there are, 0 (which fills rows up) included; none for a tower without text.
    pub words: Option<usize>,
    /// The width of the embeddings of fields and words.
    pub width: usize,
    /// The widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// After the means of words and after each hidden layer, in training.
    pub dropout: f64,
}

/// Rows that a tower reads.
#[derive(Clone, Debug, Default)]
pub struct TowerInput {
    /// (B, fields) of ids, where the tower has fields.
    pub ids: Option<Tensor>,
    /// (B, T) of word ids filled up with 0, where the tower has words.
    pub words: Option<Tensor>,
}

/// Embeddings of fields and the mean embedding of words, through fully connected layers, to a vector of length 1.
pub struct Tower {
    fields: Option<FieldEmbedding>,
    words: Option<EmbeddingBag>,
    dropout: crate::nn::Dropout,
    layers: Mlp,
    head: Linear,
}

impl Tower {
    /// `fields`, `words`, `layers` and `head`, to vectors of `outputs` numbers.
    pub fn new(params: &Params, config: &TowerConfig, outputs: usize) -> Result<Self> {
        let init = Init::Normal { mean: 0.0, std: 0.1 };
        let (width, some) = (config.width, !config.fields.is_empty());
        let inputs = width * (config.fields.len() + usize::from(config.words.is_some()));
        let layers = Mlp::new(&params.sub("layers"), inputs, &config.hidden, config.dropout)?;
        Ok(Tower {
            fields: some
                .then(|| FieldEmbedding::new(&params.sub("fields"), &config.fields, width, init))
                .transpose()?,
            words: config.words.map(|n| EmbeddingBag::new(&params.sub("words"), n, width, init)).transpose()?,
            dropout: crate::nn::Dropout::new(config.dropout)?,
            head: Linear::new(&params.sub("head"), layers.outputs(), outputs)?,
            layers,
        })
    }

    /// (B, outputs), each row of length 1.
    pub fn forward(&self, x: &TowerInput, ctx: &mut Ctx) -> Result<Tensor> {
        let missing = |what: &str| Error::argument("tower", format!("the tower reads {what}, which the input lacks"));
        let mut parts = vec![];
        if let Some(fields) = &self.fields {
            parts.push(fields.forward(x.ids.as_ref().ok_or_else(|| missing("fields"))?)?.flatten(1, -1)?);
        }
        if let Some(words) = &self.words {
            let mean = words.forward(x.words.as_ref().ok_or_else(|| missing("words"))?, ctx)?;
            parts.push(self.dropout.forward(&mean, ctx)?);
        }
        let hidden = self.layers.forward(&Tensor::cat(&parts, 1)?, ctx)?;
        let out = self.head.forward(&hidden, ctx)?;
        // A row of zeros stays one, with a gradient that is finite.
        let length = out.square()?.sum_keepdim(&[1])?.affine(1.0, 1e-12)?;
        out.mul(&length.rsqrt()?)
    }
}

/// The structure of a [`Dssm`].
#[derive(Clone, Debug, PartialEq)]
pub struct DssmConfig {
    /// The queries' tower.
    pub query: TowerConfig,
    /// The items' tower.
    pub item: TowerConfig,
    /// The width of the common space, in which towers give vectors of length 1 (x / √(‖x‖² + 10⁻¹²)).
    pub outputs: usize,
    /// What cosines are divided by before the softmax (the paper's 1/γ).
    pub temperature: f64,
}

/// The deep structured semantic model (Huang et al. 2013): a tower for queries, a tower for items, and the softmax of
/// their cosines over a temperature. Negatives are the other items of the batch.
pub struct Dssm {
    /// The queries' tower.
    pub query: Tower,
    /// The items' tower.
    pub item: Tower,
    temperature: f64,
}

impl Dssm {
    /// `query` and `item`.
    pub fn new(params: &Params, config: &DssmConfig) -> Result<Self> {
        let temperature = config.temperature;
        if !(temperature > 0.0 && temperature.is_finite()) {
            let message = format!("a positive temperature is expected, got {temperature}");
            return Err(Error::argument("dssm", message));
        }
        Ok(Dssm {
            query: Tower::new(&params.sub("query"), &config.query, config.outputs)?,
            item: Tower::new(&params.sub("item"), &config.item, config.outputs)?,
            temperature,
        })
    }

    /// The cosines of queries (B, outputs) and items (I, outputs) over the temperature: (B, I).
    pub fn scores(&self, queries: &Tensor, items: &Tensor) -> Result<Tensor> {
        queries.matmul(&items.transpose(0, 1)?)?.affine(1.0 / self.temperature, 0.0)
    }

    /// The mean cross-entropy of each query's own item among the items of the batch: row i of `queries` (B, outputs)
    /// belongs with row i of `items` (B, outputs), of which `item` (B), i64, are the numbers. Another row with the same
    /// number is no negative and is left out.
    ///
    /// Items come into a batch as often as they occur: where `log_frequency` (B) holds the logarithm of each item's
    /// share of the samples it is subtracted, so that scores learn how likely an item is instead of how much likelier
    /// than usual (Yi et al. 2019, "Sampling-bias-corrected neural modeling", section 4).
    pub fn loss(
        &self,
        queries: &Tensor,
        items: &Tensor,
        item: &Tensor,
        log_frequency: Option<&Tensor>,
    ) -> Result<Tensor> {
        let rows = queries.dim(0)?;
        if item.dims() != [rows] || items.dim(0)? != rows {
            let expected = format!("an item and its number for each of {rows} queries");
            return Err(Error::shape("dssm", expected, &[*queries.shape(), *items.shape(), *item.shape()]));
        }
        let mut scores = self.scores(queries, items)?;
        if let Some(log_frequency) = log_frequency {
            scores = scores.sub(log_frequency)?;
        }
        let own = Tensor::arange(0.0, rows as f64, 1.0, DType::I64, item.device())?;
        let same = |x: &Tensor| x.unsqueeze(1)?.eq(&x.unsqueeze(0)?);
        let again = same(item)?.logical_and(&same(&own)?.logical_not()?)?;
        scores.masked_fill(&again, f64::NEG_INFINITY)?.cross_entropy(&own, &Default::default())
    }
}
