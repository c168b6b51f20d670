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

/// The keys and values (B, H, T, D) that an attention keeps of what it has read, so that decoding costs one position per
/// token.
#[derive(Clone, Debug, Default)]
pub struct KeyValues {
    held: Option<(Tensor, Tensor)>,
}

impl KeyValues {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.held.as_ref().map_or(0, |(keys, _)| keys.dims()[2])
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// Takes the keys and values of further positions: all of them so far, and the mask under which those positions'
    /// queries see what lies at or before them.
    pub(crate) fn extend(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor, AttentionMask)> {
        let Some((old_keys, old_values)) = self.held.take() else {
            self.held = Some((keys.clone(), values.clone()));
            return Ok((keys.clone(), values.clone(), AttentionMask::causal()));
        };
        // Query i of the new ones is the one at position before + i.
        let (before, t) = (old_keys.dim(2)?, keys.dim(2)?);
        let mask = if t > 1 {
            let later = Tensor::triu_mask(t, before + t, before as i64 + 1, keys.device())?;
            Some(later.logical_not()?)
        } else {
            None
        };
        let both = (Tensor::cat(&[&old_keys, keys], 2)?, Tensor::cat(&[&old_values, values], 2)?);
        self.held = Some(both.clone());
        Ok((both.0, both.1, AttentionMask { causal: false, mask }))
    }
}

/// How the projections of queries, keys and values are kept.
#[derive(Clone, Debug)]
enum Projections {
    /// One below the other: weight (3E, E) and bias (3E).
    Stacked(Box<[Param; 2]>),
    /// Three layers.
    Separate(Box<[Linear; 3]>),
}

/// Multi-head attention (Vaswani et al. 2017) over (B, T, E), of a sequence to itself or to another.
///
/// [`new`](MultiheadAttention::new) has the parameters of PyTorch's `nn.MultiheadAttention(batch_first=True)`:
/// `in_proj_weight` (3E, E), `in_proj_bias` (3E), `out_proj.weight` (E, E), `out_proj.bias` (E).
/// [`separate`](MultiheadAttention::separate) has those of Paddle's `nn.MultiHeadAttention`: the linear layers `q_proj`,
/// `k_proj`, `v_proj` and `out_proj`.
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    projections: Projections,
    out_proj: Linear,
    heads: usize,
    width: usize,
    dropout: f64,
}

impl MultiheadAttention {
    /// `width` must divide into `heads`; `dropout` falls on the attention weights in training.
    pub fn new(params: &Params, width: usize, heads: usize, dropout: f64) -> Result<Self> {
        let out = params.sub("out_proj");
        let weight = params.param("in_proj_weight", [3 * width, width], Init::XavierUniform { gain: 1.0 })?;
        let bias = params.param("in_proj_bias", [3 * width], Init::ZEROS)?;
        let projections = Projections::Stacked(Box::new([weight, bias]));
        let out_proj = Linear::with_init(&out, width, width, Init::DEFAULT_WEIGHT, Init::ZEROS)?;
        Self::of(projections, out_proj, width, heads, dropout)
    }

    /// With a layer for each projection, each begun as [`Linear::new`] begins.
    pub fn separate(params: &Params, width: usize, heads: usize, dropout: f64) -> Result<Self> {
        let layer = |name: &str| Linear::new(&params.sub(name), width, width);
        Self::from_layers([layer("q_proj")?, layer("k_proj")?, layer("v_proj")?], layer("out_proj")?, heads, dropout)
    }

    /// Of layers made elsewhere, under names of their own: the projections of queries, keys and values, and the one of the
    /// result, all (E, E).
    pub fn from_layers(projections: [Linear; 3], out_proj: Linear, heads: usize, dropout: f64) -> Result<Self> {
        let width = out_proj.weight.dim(0)?;
        if projections.iter().chain([&out_proj]).any(|layer| layer.weight.dims() != [width, width]) {
            let shapes: Vec<_> = projections.iter().chain([&out_proj]).map(|layer| *layer.weight.shape()).collect();
            return Err(Error::shape("attention", "four square weights of one width", &shapes));
        }
        Self::of(Projections::Separate(Box::new(projections)), out_proj, width, heads, dropout)
    }

    fn of(projections: Projections, out_proj: Linear, width: usize, heads: usize, dropout: f64) -> Result<Self> {
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::argument("attention", format!("width {width} does not divide into {heads} heads")));
        }
        Dropout::new(dropout)?;
        Ok(MultiheadAttention { projections, out_proj, heads, width, dropout })
    }

    /// Projections `first..first + count` of (B, T, E): `count` tensors (B, H, T, D).
    fn project(&self, x: &Tensor, first: usize, count: usize) -> Result<Vec<Tensor>> {
        let e = self.width;
        match &self.projections {
            Projections::Stacked(parts) => {
                let [mut weight, mut bias] = parts.each_ref().map(Param::tensor);
                if count < 3 {
                    weight = weight.narrow(0, first * e, count * e)?;
                    bias = bias.narrow(0, first * e, count * e)?;
                }
                self.split_heads(&x.linear(&weight, Some(&bias))?, count)
            }
            Projections::Separate(layers) => {
                let heads = layers[first..first + count].iter().map(|layer| self.split_heads(&layer.apply(x)?, 1));
                Ok(heads.collect::<Result<Vec<_>>>()?.concat())
            }
        }
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
        let heads = [self.project(query, 0, 1)?, self.project(key, 1, 1)?, self.project(value, 2, 1)?].concat();
        self.finish(&heads, query, mask, ctx)
    }

    /// A sequence (B, T, E) against itself; stacked projections take one product.
    pub fn attend_self(&self, x: &Tensor, mask: &AttentionMask, ctx: &mut Ctx) -> Result<Tensor> {
        self.finish(&self.project(x, 0, 3)?, x, mask, ctx)
    }

    /// Further positions (B, T, E) of a sequence against all of it up to each: causal attention that reads every position
    /// once. `past` takes their keys and values.
    pub fn attend_further(&self, x: &Tensor, past: &mut KeyValues, ctx: &mut Ctx) -> Result<Tensor> {
        let mut heads = self.project(x, 0, 3)?;
        let (keys, values, mask) = past.extend(&heads[1], &heads[2])?;
        (heads[1], heads[2]) = (keys, values);
        self.finish(&heads, x, &mask, ctx)
    }

    /// The keys and values of a sequence (B, T, E) that is attended to again and again.
    pub fn keys_and_values(&self, x: &Tensor) -> Result<KeyValues> {
        let [keys, values] = &self.project(x, 1, 2)?[..] else { unreachable!("two projections were asked for") };
        Ok(KeyValues { held: Some((keys.clone(), values.clone())) })
    }

    /// Queries (B, Tq, E) against what [`keys_and_values`](MultiheadAttention::keys_and_values) gave.
    ///
    /// # Errors
    /// [`Error::Argument`] where `kept` is empty.
    pub fn attend_kept(&self, query: &Tensor, kept: &KeyValues, mask: &AttentionMask, ctx: &mut Ctx) -> Result<Tensor> {
        let Some((keys, values)) = &kept.held else {
            return Err(Error::argument("attention", "no keys and values were kept: call keys_and_values first"));
        };
        let query_heads = self.project(query, 0, 1)?.remove(0);
        self.finish(&[query_heads, keys.clone(), values.clone()], query, mask, ctx)
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
