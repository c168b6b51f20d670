//! Multi-head attention.

use super::{Ctx, Dropout, Init, Linear, Module, Param, Params};
use crate::ops::AttentionParams;
use crate::{Error, Result, Tensor};

/// Which keys each query may see.
#[derive(Clone, Debug, Default)]
pub struct AttentionMask {
    /// Only keys at or before the query's own position.
    pub causal: bool,
    /// u8 (1: may be seen) or a float that is added to the scores; broadcast to (B, H, queries, keys).
    pub mask: Option<Tensor>,
}

impl AttentionMask {
    /// Everything is seen.
    pub fn none() -> Self {
        Self::default()
    }

    /// Only keys at or before the query's own position.
    pub fn causal() -> Self {
        AttentionMask { causal: true, mask: None }
    }

    /// Keys that are padding are not seen: `keep` (B, keys) of u8 holds 1 where a key is real.
    pub fn padding(keep: &Tensor) -> Result<Self> {
        let (b, t) = (keep.dim(0)?, keep.dim(1)?);
        Ok(AttentionMask { causal: false, mask: Some(keep.reshape([b, 1, 1, t])?) })
    }
}

/// Multi-head attention (Vaswani et al. 2017) over (B, T, E), PyTorch's `nn.MultiheadAttention(batch_first=True)`.
///
/// `in_proj_weight` (3E, E), `in_proj_bias` (3E), `out_proj.weight` (E, E), `out_proj.bias` (E).
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    /// The projections of queries, keys and values, stacked: (3E, E).
    pub in_proj_weight: Param,
    /// (3E).
    pub in_proj_bias: Param,
    /// E to E.
    pub out_proj: Linear,
    heads: usize,
    width: usize,
    dropout: f64,
}

impl MultiheadAttention {
    /// `width` must divide into `heads`; `dropout` falls on the attention weights in training.
    pub fn new(params: &Params, width: usize, heads: usize, dropout: f64) -> Result<Self> {
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::argument("attention", format!("width {width} does not divide into {heads} heads")));
        }
        Dropout::new(dropout)?;
        let out = params.sub("out_proj");
        Ok(MultiheadAttention {
            in_proj_weight: params.param("in_proj_weight", [3 * width, width], Init::XavierUniform { gain: 1.0 })?,
            in_proj_bias: params.param("in_proj_bias", [3 * width], Init::ZEROS)?,
            out_proj: Linear::from_params(
                out.param("weight", [width, width], Init::DEFAULT_WEIGHT)?,
                Some(out.param("bias", [width], Init::ZEROS)?),
            ),
            heads,
            width,
            dropout,
        })
    }

    /// Rows `first..first + count` of the stacked projections, applied.
    fn project(&self, x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
        let e = self.width;
        let weight = self.in_proj_weight.tensor().narrow(0, first * e, count * e)?;
        let bias = self.in_proj_bias.tensor().narrow(0, first * e, count * e)?;
        x.linear(&weight, Some(&bias))
    }

    /// (B, T, count · E) to `count` tensors (B, H, T, D).
    fn split_heads(&self, x: &Tensor, count: usize) -> Result<Vec<Tensor>> {
        let (b, t) = (x.dim(0)?, x.dim(1)?);
        let x = x.reshape([b, t, count, self.heads, self.width / self.heads])?.permute(&[2, 0, 3, 1, 4])?;
        (0..count)
            .map(|i| {
                let part = x.narrow(0, i, 1)?;
                let dims = part.dims()[1..].to_vec();
                part.reshape(dims)
            })
            .collect()
    }

    /// Queries (B, Tq, E) against keys and values (B, Tk, E): (B, Tq, E).
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: &AttentionMask,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        let one = |x: &Tensor, i: usize| self.split_heads(&self.project(x, i, 1)?, 1);
        let heads: Vec<Tensor> = [one(query, 0)?, one(key, 1)?, one(value, 2)?].concat();
        self.finish(&heads, query, mask, ctx)
    }

    /// A sequence (B, T, E) against itself: one product projects queries, keys and values.
    pub fn attend_self(&self, x: &Tensor, mask: &AttentionMask, ctx: &mut Ctx) -> Result<Tensor> {
        let (weight, bias) = (self.in_proj_weight.tensor(), self.in_proj_bias.tensor());
        let heads = self.split_heads(&x.linear(&weight, Some(&bias))?, 3)?;
        self.finish(&heads, x, mask, ctx)
    }

    fn finish(&self, heads: &[Tensor], query: &Tensor, mask: &AttentionMask, ctx: &mut Ctx) -> Result<Tensor> {
        let [q, k, v] = heads else { unreachable!("queries, keys and values were projected") };
        let y = if ctx.is_training() && self.dropout > 0.0 {
            self.attention_with_dropout(q, k, v, mask, ctx)?
        } else {
            let params = AttentionParams { causal: mask.causal, mask: mask.mask.clone(), scale: None };
            q.scaled_dot_product_attention(k, v, &params)?
        };
        let y = y.transpose(1, 2)?.reshape([query.dim(0)?, query.dim(1)?, self.width])?;
        self.out_proj.forward(&y, ctx)
    }

    /// Composed, since the fused attention never holds the weights that dropout falls on.
    fn attention_with_dropout(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mask: &AttentionMask,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        let scale = 1.0 / ((self.width / self.heads) as f64).sqrt();
        let mut scores = q.affine(scale, 0.0)?.matmul(&k.transpose(2, 3)?)?;
        let hidden = f64::NEG_INFINITY;
        scores = match &mask.mask {
            Some(mask) if mask.dtype().is_float() => scores.add(mask)?,
            Some(keep) => keep.where_cond(&scores, &Tensor::full(hidden, (), scores.dtype(), scores.device())?)?,
            None => scores,
        };
        if mask.causal {
            let future = Tensor::triu_mask(scores.dim(2)?, scores.dim(3)?, 1, scores.device())?;
            scores = scores.masked_fill(&future, hidden)?;
        }
        scores.softmax(-1)?.dropout(self.dropout, ctx.rng())?.matmul(v)
    }
}

impl Module for MultiheadAttention {
    /// Self-attention without a mask.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.attend_self(x, &AttentionMask::none(), ctx)
    }
}
