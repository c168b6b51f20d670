//! A decoder-only Transformer (Radford et al. 2019): pre-norm blocks, learned positions, exact GELU.

use crate::nn::{Ctx, Dropout, Embedding, Init, LayerNorm, Linear, Module, Params};
use crate::ops::AttentionParams;
use crate::{Error, Result, Tensor};

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

    fn attention(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let (b, t, e) = (x.dim(0)?, x.dim(1)?, x.dim(2)?);
        let qkv = self.c_attn.forward(x, ctx)?.reshape([b, t, 3, self.heads, e / self.heads])?;
        let qkv = qkv.permute(&[2, 0, 3, 1, 4])?;
        let part = |i: usize| qkv.narrow(0, i, 1)?.reshape([b, self.heads, t, e / self.heads]);
        let params = AttentionParams { causal: true, ..Default::default() };
        let y = part(0)?.scaled_dot_product_attention(&part(1)?, &part(2)?, &params)?;
        self.attn_proj.forward(&y.transpose(1, 2)?.reshape([b, t, e])?, ctx)
    }

    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let y = self.attention(&self.ln_1.forward(x, ctx)?, ctx)?;
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
    /// A model whose embeddings are normal with deviation 0.02, everything else as PyTorch's layers begin.
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

impl Module for Gpt {
    fn forward(&self, ids: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let t = ids.dim(-1)?;
        if ids.rank() != 2 || t > self.context {
            let expected = format!("token ids (B, T) with T at most {}", self.context);
            return Err(Error::shape("gpt", expected, &[*ids.shape()]));
        }
        // Positions are the table's first rows as they lie: no gather is needed.
        let positions = self.wpe.weight.tensor().narrow(0, 0, t)?;
        let x = self.wte.forward(ids, ctx)?.add(&positions)?;
        let x = self.dropout.forward(&x, ctx)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x, ctx))?;
        self.lm_head.forward(&self.ln_f.forward(&x, ctx)?, ctx)
    }
}
