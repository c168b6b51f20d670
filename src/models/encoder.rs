//! The encoder that BERT and its descendants share: post-norm layers of self-attention and a feed-forward part with exact
//! GELU. They differ in the names of its parts.

use crate::nn::{AttentionMask, Ctx, Dropout, Init, LayerNorm, Linear, Module, MultiheadAttention, Params};
use crate::{Error, Result, Tensor};

/// Where a layer's parts lie beneath its place.
pub(super) struct LayerNames {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) out: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) inner: &'static str,
    pub(super) outer: &'static str,
    pub(super) norm: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct LayerSizes {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) feed_forward: usize,
    pub(super) dropout: f64,
    pub(super) eps: f64,
    pub(super) std: f64,
}

impl LayerSizes {
    /// A linear layer that begins as BERT's do.
    pub(super) fn linear(&self, params: &Params, inputs: usize, outputs: usize) -> Result<Linear> {
        Linear::with_init(params, inputs, outputs, Init::Normal { mean: 0.0, std: self.std }, Init::ZEROS)
    }
}

struct EncoderLayer {
    attention: MultiheadAttention,
    attention_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    norm: LayerNorm,
    dropout: Dropout,
}

impl EncoderLayer {
    fn new(params: &Params, names: &LayerNames, sizes: LayerSizes) -> Result<Self> {
        let e = sizes.width;
        let square = |name: &str| sizes.linear(&params.sub(name), e, e);
        let projections = [square(names.query)?, square(names.key)?, square(names.value)?];
        let norm = |name: &str| LayerNorm::with_eps(&params.sub(name), &[e], sizes.eps);
        Ok(EncoderLayer {
            attention: MultiheadAttention::from_layers(projections, square(names.out)?, sizes.heads, sizes.dropout)?,
            attention_norm: norm(names.attention_norm)?,
            inner: sizes.linear(&params.sub(names.inner), e, sizes.feed_forward)?,
            outer: sizes.linear(&params.sub(names.outer), sizes.feed_forward, e)?,
            norm: norm(names.norm)?,
            dropout: Dropout::new(sizes.dropout)?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &AttentionMask, ctx: &mut Ctx) -> Result<Tensor> {
        let y = self.attention.attend_self(x, mask, ctx)?;
        let x = self.attention_norm.forward(&x.add(&self.dropout.forward(&y, ctx)?)?, ctx)?;
        let y = self.outer.forward(&self.inner.forward_gelu(&x)?, ctx)?;
        self.norm.forward(&x.add(&self.dropout.forward(&y, ctx)?)?, ctx)
    }
}

/// Layers one after the other.
pub(super) struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// Layer i lies at `params.i`.
    pub(super) fn new(params: &Params, count: usize, names: &LayerNames, sizes: LayerSizes) -> Result<Self> {
        let layers = (0..count).map(|i| EncoderLayer::new(&params.sub(i), names, sizes));
        Ok(Encoder { layers: layers.collect::<Result<_>>()? })
    }

    /// (B, T, E) to the same; `keep` (B, T) of u8 is 0 at padding.
    pub(super) fn forward(&self, x: &Tensor, keep: Option<&Tensor>, ctx: &mut Ctx) -> Result<Tensor> {
        let mask = keep.map_or(Ok(AttentionMask::none()), AttentionMask::padding)?;
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, &mask, ctx))
    }
}

/// Checks token ids (B, T) and the padding beside them; gives T.
pub(super) fn length(op: &'static str, ids: &Tensor, beside: &[Option<&Tensor>], longest: usize) -> Result<usize> {
    let shapes: Vec<_> = [ids].into_iter().chain(beside.iter().copied().flatten()).map(|t| *t.shape()).collect();
    if ids.rank() != 2 || ids.dims()[1] > longest || shapes.iter().any(|shape| shape != ids.shape()) {
        let expected = format!("token ids (B, T) with T at most {longest}, and all that goes with them of that shape");
        return Err(Error::shape(op, expected, &shapes));
    }
    Ok(ids.dims()[1])
}

/// The first position's state of each sequence, (B, T, E) to (B, E): what stands for the whole.
pub(super) fn first(states: &Tensor) -> Result<Tensor> {
    states.narrow(1, 0, 1)?.reshape([states.dim(0)?, states.dim(2)?])
}
