//! A decoder-only Transformer (Radford et al. 2019): pre-norm blocks, learned positions.

use super::Sampling;
use crate::nn::{
    Activation, AttentionMask, Ctx, Dropout, Embedding, Init, KeyValues, LayerNorm, Linear, Module, NameMap, Params,
};
use crate::ops::AttentionParams;
use crate::random::Philox;
use crate::{Error, Result, Tensor, no_grad};

/// The sizes of a [`Gpt`]; [`GptConfig::named`] gives GPT-2's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GptConfig {
    /// Distinct tokens.
    pub vocabulary: usize,
    /// The longest sequence.
    pub context: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Width of the residual stream; inside the feed-forward part it is four times this.
    pub width: usize,
    /// Probability of dropout on embeddings and on each part's result.
    pub dropout: f64,
}

impl GptConfig {
    /// GPT-2's sizes: `gpt2` (124 million parameters), `gpt2-medium` (355), `gpt2-large` (774) or `gpt2-xl` (1,558).
    pub fn named(name: &str) -> Result<Self> {
        let (layers, heads, width) = match name {
            "gpt2" => (12, 12, 768),
            "gpt2-medium" => (24, 16, 1024),
            "gpt2-large" => (36, 20, 1280),
            "gpt2-xl" => (48, 25, 1600),
            _ => {
                let message = format!("no sizes are named {name}: gpt2, gpt2-medium, gpt2-large and gpt2-xl are");
                return Err(Error::argument("gpt", message));
            }
        };
        Ok(GptConfig { vocabulary: 50257, context: 1024, layers, heads, width, dropout: 0.1 })
    }
}

/// What a [`Gpt`] keeps of the tokens that it has read, so that each further token costs one position: the keys and
/// values of every block.
#[derive(Clone, Debug, Default)]
pub struct GptCache {
    blocks: Vec<KeyValues>,
    len: usize,
}

impl GptCache {
    /// Positions read so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

struct Block {
    ln_1: LayerNorm,
    c_attn: Linear,
    attn_proj: Linear,
    ln_2: LayerNorm,
    c_fc: Linear,
    mlp_proj: Linear,
    heads: usize,
    activation: Activation,
    dropout: Dropout,
}

/// What [`Gpt::new`] and [`Gpt::gpt2`] do differently.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Gpt2,
}

impl Block {
    fn new(params: &Params, config: &GptConfig, style: Style) -> Result<Self> {
        let e = config.width;
        let (attn, mlp) = (params.sub("attn"), params.sub("mlp"));
        // GPT-2's projections into the residual stream begin smaller, as there are 2 · layers of them.
        let depth = (2.0 * config.layers.max(1) as f64).sqrt();
        let linear = |place: Params, inputs: usize, outputs: usize, shrink: f64| match style {
            Style::Plain => Linear::new(&place, inputs, outputs),
            Style::Gpt2 => {
                let init = Init::Normal { mean: 0.0, std: 0.02 / shrink };
                Linear::with_init(&place, inputs, outputs, init, Init::ZEROS)
            }
        };
        Ok(Block {
            ln_1: LayerNorm::new(&params.sub("ln_1"), &[e])?,
            c_attn: linear(attn.sub("c_attn"), e, 3 * e, 1.0)?,
            attn_proj: linear(attn.sub("c_proj"), e, e, depth)?,
            ln_2: LayerNorm::new(&params.sub("ln_2"), &[e])?,
            c_fc: linear(mlp.sub("c_fc"), e, 4 * e, 1.0)?,
            mlp_proj: linear(mlp.sub("c_proj"), 4 * e, e, depth)?,
            heads: config.heads,
            activation: if style == Style::Gpt2 { Activation::GeluTanh } else { Activation::Gelu },
            dropout: Dropout::new(config.dropout)?,
        })
    }

    /// `past` holds the keys and values of the positions before `x`, and takes those of `x`.
    fn attention(&self, x: &Tensor, past: Option<&mut KeyValues>, ctx: &mut Ctx) -> Result<Tensor> {
        let (b, t, e) = (x.dim(0)?, x.dim(1)?, x.dim(2)?);
        let qkv = self.c_attn.forward(x, ctx)?.reshape([b, t, 3, self.heads, e / self.heads])?;
        let qkv = qkv.permute(&[2, 0, 3, 1, 4])?;
        let part = |i: usize| qkv.narrow(0, i, 1)?.reshape([b, self.heads, t, e / self.heads]);
        let (q, mut k, mut v) = (part(0)?, part(1)?, part(2)?);
        let mut mask = AttentionMask::causal();
        if let Some(past) = past {
            (k, v, mask) = past.extend(&k, &v)?;
        }
        let params = AttentionParams { causal: mask.causal, mask: mask.mask, scale: None };
        let y = q.scaled_dot_product_attention(&k, &v, &params)?;
        self.attn_proj.forward(&y.transpose(1, 2)?.reshape([b, t, e])?, ctx)
    }

    fn forward(&self, x: &Tensor, past: Option<&mut KeyValues>, ctx: &mut Ctx) -> Result<Tensor> {
        let y = self.attention(&self.ln_1.forward(x, ctx)?, past, ctx)?;
        let x = x.add(&self.dropout.forward(&y, ctx)?)?;
        let y = self.ln_2.forward(&x, ctx)?;
        let hidden = match self.activation {
            Activation::Gelu => self.c_fc.forward_gelu(&y)?,
            other => other.forward(&self.c_fc.forward(&y, ctx)?, ctx)?,
        };
        let y = self.mlp_proj.forward(&hidden, ctx)?;
        x.add(&self.dropout.forward(&y, ctx)?)
    }
}

/// A character or token language model: ids (B, T) to logits (B, T, vocabulary). Entries have GPT-2's names; files of Hugging
/// Face's GPT-2 load through [`Gpt::gpt2`] and [`Gpt::names`].
pub struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    lm_head: Linear,
    dropout: Dropout,
    context: usize,
}

impl Gpt {
    /// A model with exact GELU and an untied head without bias, whose embeddings are normal with deviation 0.02, everything
    /// else as PyTorch's layers begin. (GPT-2's own first values, 0.02 for every weight, are for wide models: at a width
    /// of 128 they cost 0.05 of validation loss.)
    pub fn new(params: &Params, config: &GptConfig) -> Result<Self> {
        Self::styled(params, config, Style::Plain)
    }

    /// GPT-2 itself: the tanh approximation of GELU, the token table as the head, and its first values. Hugging Face's
    /// model also drops attention weights in training; this one drops embeddings and each part's result.
    ///
    /// ```no_run
    /// # use warpsmith::{DType, Device, models::{Gpt, GptConfig}, nn::{Params, StateDict}};
    /// let params = Params::new(&Device::Cpu, DType::F32, 1);
    /// let model = Gpt::gpt2(&params, &GptConfig::named("gpt2")?)?;
    /// let file = StateDict::load("model.safetensors", &Device::Cpu)?;
    /// params.load_named(&file, &Gpt::names(), "model.safetensors")?;
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn gpt2(params: &Params, config: &GptConfig) -> Result<Self> {
        Self::styled(params, config, Style::Gpt2)
    }

    /// Hugging Face's names: weights of blocks are transposed there (`Conv1D`), older files hold causal masks, and the
    /// body alone has no `transformer.` before its names.
    pub fn names() -> NameMap {
        ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
            .iter()
            .fold(NameMap::new(), |map, layer| map.transposed(&format!("transformer.h.*.{layer}.weight")))
            .ignore("transformer.h.*.attn.bias")
            .ignore("transformer.h.*.attn.masked_bias")
            .optional_prefix("transformer")
    }

    fn styled(params: &Params, config: &GptConfig, style: Style) -> Result<Self> {
        if config.heads == 0 || !config.width.is_multiple_of(config.heads) {
            let message = format!("width {} does not divide into {} heads", config.width, config.heads);
            return Err(Error::argument("gpt", message));
        }
        let place = params.sub("transformer");
        let init = Init::Normal { mean: 0.0, std: 0.02 };
        let table = |name: &str, n: usize| Embedding::with_init(&place.sub(name), n, config.width, init);
        let (wte, wpe) = (table("wte", config.vocabulary)?, table("wpe", config.context)?);
        let blocks = (0..config.layers).map(|i| Block::new(&place.sub("h").sub(i), config, style));
        let blocks = blocks.collect::<Result<_>>()?;
        let ln_f = LayerNorm::new(&place.sub("ln_f"), &[config.width])?;
        let head = params.sub("lm_head");
        let lm_head = match style {
            Style::Plain => Linear::without_bias(&head, config.width, config.vocabulary)?,
            Style::Gpt2 => {
                head.tie("weight", &wte.weight)?;
                Linear::from_params(wte.weight.clone(), None)
            }
        };
        Ok(Gpt { wte, wpe, blocks, ln_f, lm_head, dropout: Dropout::new(config.dropout)?, context: config.context })
    }
}

impl Gpt {
    /// Ids (B, T) behind the `past` positions that a cache holds, to logits (B, T, vocabulary).
    fn read(&self, ids: &Tensor, cache: Option<&mut GptCache>, ctx: &mut Ctx) -> Result<Tensor> {
        let (t, past) = (ids.dim(-1)?, cache.as_ref().map_or(0, |cache| cache.len));
        if ids.rank() != 2 || past + t > self.context {
            let behind = if past > 0 { format!(" behind the {past} read before") } else { String::new() };
            let expected = format!("token ids (B, T) with T at most {}{behind}", self.context - past);
            return Err(Error::shape("gpt", expected, &[*ids.shape()]));
        }
        // Positions are rows of the table as they lie: no gather is needed.
        let positions = self.wpe.weight.tensor().narrow(0, past, t)?;
        let x = self.wte.forward(ids, ctx)?.add(&positions)?;
        let mut x = self.dropout.forward(&x, ctx)?;
        match cache {
            None => {
                for block in &self.blocks {
                    x = block.forward(&x, None, ctx)?;
                }
            }
            Some(cache) => {
                cache.blocks.resize(self.blocks.len(), KeyValues::default());
                for (block, past) in self.blocks.iter().zip(&mut cache.blocks) {
                    x = block.forward(&x, Some(past), ctx)?;
                }
                cache.len += t;
            }
        }
        self.lm_head.forward(&self.ln_f.forward(&x, ctx)?, ctx)
    }

    /// Reads further tokens (B, T) behind those that the cache holds: logits (B, T, vocabulary), without gradients.
    ///
    /// # Errors
    /// [`Error::Shape`] where the positions pass the context. After an error the cache is not to be used.
    pub fn forward_cached(&self, ids: &Tensor, cache: &mut GptCache) -> Result<Tensor> {
        no_grad(|| self.read(ids, Some(cache), &mut Ctx::infer()))
    }

    /// Continues a text by `count` tokens, each drawn as `sampling` says. Where the context is full, the last half of it
    /// is read again and stays.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty prompt.
    pub fn generate(&self, prompt: &[i64], count: usize, sampling: &Sampling, rng: &mut Philox) -> Result<Vec<i64>> {
        if prompt.is_empty() || self.context == 0 {
            return Err(Error::argument("generate", "the prompt and the context have at least one token"));
        }
        let mut tokens = prompt.to_vec();
        let mut cache = GptCache::default();
        // Tokens that the model has not read yet.
        let mut unread = prompt.len().min(self.context);
        for _ in 0..count {
            if cache.len + unread > self.context {
                cache = GptCache::default();
                unread = self.context.div_ceil(2);
            }
            let ids = &tokens[tokens.len() - unread..];
            let ids = Tensor::from_slice(ids, [1, ids.len()], self.wte.weight.tensor().device())?;
            let logits = self.forward_cached(&ids, &mut cache)?;
            let last = logits.narrow(1, logits.dim(1)? - 1, 1)?;
            tokens.push(sampling.draw(&last.to_f64_vec()?, rng)? as i64);
            unread = 1;
        }
        Ok(tokens.split_off(prompt.len()))
    }
}

impl Module for Gpt {
    fn forward(&self, ids: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.read(ids, None, ctx)
    }
}
