//! A decoder-only Transformer (Radford et al. 2019): pre-norm blocks, learned positions, exact GELU.

use super::Sampling;
use crate::nn::{Ctx, Dropout, Embedding, Init, LayerNorm, Linear, Module, Params};
use crate::ops::AttentionParams;
use crate::random::Philox;
use crate::{Error, Result, Tensor, no_grad};

/// The sizes of a [`Gpt`].
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

/// The keys and values (B, H, T, D) of one block so far.
type Past = Option<(Tensor, Tensor)>;

/// What a [`Gpt`] keeps of the tokens that it has read, so that each further token costs one position: the keys and
/// values of every block.
#[derive(Clone, Debug, Default)]
pub struct GptCache {
    blocks: Vec<Past>,
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
    dropout: Dropout,
}

impl Block {
    fn new(params: &Params, config: &GptConfig) -> Result<Self> {
        let e = config.width;
        let (attn, mlp) = (params.sub("attn"), params.sub("mlp"));
        Ok(Block {
            ln_1: LayerNorm::new(&params.sub("ln_1"), &[e])?,
            c_attn: Linear::new(&attn.sub("c_attn"), e, 3 * e)?,
            attn_proj: Linear::new(&attn.sub("c_proj"), e, e)?,
            ln_2: LayerNorm::new(&params.sub("ln_2"), &[e])?,
            c_fc: Linear::new(&mlp.sub("c_fc"), e, 4 * e)?,
            mlp_proj: Linear::new(&mlp.sub("c_proj"), 4 * e, e)?,
            heads: config.heads,
            dropout: Dropout::new(config.dropout)?,
        })
    }

    /// `past` holds the keys and values of the positions before `x`, and takes those of `x`.
    fn attention(&self, x: &Tensor, past: Option<&mut Past>, ctx: &mut Ctx) -> Result<Tensor> {
        let (b, t, e) = (x.dim(0)?, x.dim(1)?, x.dim(2)?);
        let qkv = self.c_attn.forward(x, ctx)?.reshape([b, t, 3, self.heads, e / self.heads])?;
        let qkv = qkv.permute(&[2, 0, 3, 1, 4])?;
        let part = |i: usize| qkv.narrow(0, i, 1)?.reshape([b, self.heads, t, e / self.heads]);
        let (q, mut k, mut v) = (part(0)?, part(1)?, part(2)?);
        let mut params = AttentionParams { causal: true, ..Default::default() };
        if let Some(past) = past {
            if let Some((keys, values)) = past.take() {
                // Query i of `x` is the one at position past + i.
                let before = keys.dim(2)?;
                params.causal = false;
                if t > 1 {
                    let later = Tensor::triu_mask(t, before + t, before as i64 + 1, x.device())?;
                    params.mask = Some(later.logical_not()?);
                }
                (k, v) = (Tensor::cat(&[&keys, &k], 2)?, Tensor::cat(&[&values, &v], 2)?);
            }
            *past = Some((k.clone(), v.clone()));
        }
        let y = q.scaled_dot_product_attention(&k, &v, &params)?;
        self.attn_proj.forward(&y.transpose(1, 2)?.reshape([b, t, e])?, ctx)
    }

    fn forward(&self, x: &Tensor, past: Option<&mut Past>, ctx: &mut Ctx) -> Result<Tensor> {
        let y = self.attention(&self.ln_1.forward(x, ctx)?, past, ctx)?;
        let x = x.add(&self.dropout.forward(&y, ctx)?)?;
        let y = self.mlp_proj.forward(&self.c_fc.forward_gelu(&self.ln_2.forward(&x, ctx)?)?, ctx)?;
        x.add(&self.dropout.forward(&y, ctx)?)
    }
}

/// A character or token language model: ids (B, T) to logits (B, T, vocabulary). GPT-2's names, with an untied head
/// without bias.
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
    /// A model whose embeddings are normal with deviation 0.02, everything else as PyTorch's layers begin. (GPT-2's own
    /// first values, 0.02 for every weight, are for wide models: at a width of 128 they cost 0.05 of validation loss.)
    pub fn new(params: &Params, config: &GptConfig) -> Result<Self> {
        if config.heads == 0 || !config.width.is_multiple_of(config.heads) {
            let message = format!("width {} does not divide into {} heads", config.width, config.heads);
            return Err(Error::argument("gpt", message));
        }
        let place = params.sub("transformer");
        let init = Init::Normal { mean: 0.0, std: 0.02 };
        let table = |name: &str, n: usize| Embedding::with_init(&place.sub(name), n, config.width, init);
        Ok(Gpt {
            wte: table("wte", config.vocabulary)?,
            wpe: table("wpe", config.context)?,
            blocks: (0..config.layers).map(|i| Block::new(&place.sub("h").sub(i), config)).collect::<Result<_>>()?,
            ln_f: LayerNorm::new(&place.sub("ln_f"), &[config.width])?,
            lm_head: Linear::without_bias(&params.sub("lm_head"), config.width, config.vocabulary)?,
            dropout: Dropout::new(config.dropout)?,
            context: config.context,
        })
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
                cache.blocks.resize(self.blocks.len(), None);
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
