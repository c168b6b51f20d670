//! The layers of a Transformer (Vaswani et al. 2017), with the norm after or before each part.

use super::{
    Activation, AttentionMask, Ctx, Dropout, KeyValues, LayerNorm, Linear, Module, MultiheadAttention, Params,
};
use crate::{Result, Tensor};

/// The sizes and choices of a Transformer layer, PyTorch's defaults but for the two sizes.
#[derive(Clone, Copy, Debug)]
pub struct TransformerConfig {
    /// Width of the residual stream.
    pub width: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub feed_forward: usize,
    /// Probability of dropout on attention weights, inside the feed-forward part and on each part's result.
    pub dropout: f64,
    /// Between the feed-forward part's two linear layers.
    pub activation: Activation,
    /// Whether each part's input is normalised (true), or the sum after it (false).
    pub norm_first: bool,
    /// Of the layer norms.
    pub eps: f64,
}

impl TransformerConfig {
    /// Feed-forward width 2048, dropout 0.1, relu, norm after, eps 1e-5.
    pub fn new(width: usize, heads: usize) -> Self {
        let activation = Activation::Relu;
        TransformerConfig { width, heads, feed_forward: 2048, dropout: 0.1, activation, norm_first: false, eps: 1e-5 }
    }
}

/// What both layers have: the feed-forward part, and how a part is wrapped.
struct FeedForward {
    linear1: Linear,
    linear2: Linear,
    config: TransformerConfig,
    dropout: Dropout,
}

impl FeedForward {
    fn new(params: &Params, config: TransformerConfig) -> Result<Self> {
        Ok(FeedForward {
            linear1: Linear::new(&params.sub("linear1"), config.width, config.feed_forward)?,
            linear2: Linear::new(&params.sub("linear2"), config.feed_forward, config.width)?,
            config,
            dropout: Dropout::new(config.dropout)?,
        })
    }

    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let hidden = match self.config.activation {
            Activation::Relu => self.linear1.forward_relu(x)?,
            Activation::Gelu => self.linear1.forward_gelu(x)?,
            other => other.forward(&self.linear1.forward(x, ctx)?, ctx)?,
        };
        let hidden = self.dropout.forward(&hidden, ctx)?;
        self.linear2.forward(&hidden, ctx)
    }

    /// x + part, with the norm before the part or after the sum.
    fn residual(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        ctx: &mut Ctx,
        part: impl FnOnce(&Tensor, &mut Ctx) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.config.norm_first {
            let y = part(&norm.forward(x, ctx)?, ctx)?;
            return x.add(&self.dropout.forward(&y, ctx)?);
        }
        let y = part(x, ctx)?;
        norm.forward(&x.add(&self.dropout.forward(&y, ctx)?)?, ctx)
    }
}

/// Self-attention and a feed-forward part, PyTorch's `nn.TransformerEncoderLayer(batch_first=True)`: (B, T, E) to the
/// same.
pub struct TransformerEncoderLayer {
    self_attn: MultiheadAttention,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

impl TransformerEncoderLayer {
    /// A layer with PyTorch's initial values.
    pub fn new(params: &Params, config: TransformerConfig) -> Result<Self> {
        let norm = |name: &str| LayerNorm::with_eps(&params.sub(name), &[config.width], config.eps);
        let attention = params.sub("self_attn");
        Ok(TransformerEncoderLayer {
            self_attn: MultiheadAttention::new(&attention, config.width, config.heads, config.dropout)?,
            feed_forward: FeedForward::new(params, config)?,
            norm1: norm("norm1")?,
            norm2: norm("norm2")?,
        })
    }

    /// The layer with a mask over its self-attention.
    pub fn forward_masked(&self, x: &Tensor, mask: &AttentionMask, ctx: &mut Ctx) -> Result<Tensor> {
        let f = &self.feed_forward;
        let x = f.residual(x, &self.norm1, ctx, |x, ctx| self.self_attn.attend_self(x, mask, ctx))?;
        f.residual(&x, &self.norm2, ctx, |x, ctx| f.forward(x, ctx))
    }
}

impl Module for TransformerEncoderLayer {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.forward_masked(x, &AttentionMask::none(), ctx)
    }
}

/// What a [`TransformerDecoderLayer`] keeps while it decodes: keys and values of the target so far and of the encoder's
/// output.
#[derive(Clone, Debug)]
pub struct DecoderCache {
    target: KeyValues,
    memory: KeyValues,
}

/// Self-attention, attention to an encoder's output, and a feed-forward part, PyTorch's
/// `nn.TransformerDecoderLayer(batch_first=True)`.
pub struct TransformerDecoderLayer {
    self_attn: MultiheadAttention,
    multihead_attn: MultiheadAttention,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
}

impl TransformerDecoderLayer {
    /// A layer with PyTorch's initial values.
    pub fn new(params: &Params, config: TransformerConfig) -> Result<Self> {
        let norm = |name: &str| LayerNorm::with_eps(&params.sub(name), &[config.width], config.eps);
        let attention =
            |name: &str| MultiheadAttention::new(&params.sub(name), config.width, config.heads, config.dropout);
        Ok(TransformerDecoderLayer {
            self_attn: attention("self_attn")?,
            multihead_attn: attention("multihead_attn")?,
            feed_forward: FeedForward::new(params, config)?,
            norm1: norm("norm1")?,
            norm2: norm("norm2")?,
            norm3: norm("norm3")?,
        })
    }

    /// A target (B, T, E) against an encoder's output `memory` (B, S, E): (B, T, E). The target's mask is usually
    /// [`AttentionMask::causal`].
    pub fn forward(
        &self,
        target: &Tensor,
        memory: &Tensor,
        target_mask: &AttentionMask,
        memory_mask: &AttentionMask,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        let f = &self.feed_forward;
        let x = f.residual(target, &self.norm1, ctx, |x, ctx| self.self_attn.attend_self(x, target_mask, ctx))?;
        let x =
            f.residual(&x, &self.norm2, ctx, |x, ctx| self.multihead_attn.attend(x, memory, memory, memory_mask, ctx))?;
        f.residual(&x, &self.norm3, ctx, |x, ctx| f.forward(x, ctx))
    }

    /// What decoding against an encoder's output (B, S, E) begins with.
    pub fn cache(&self, memory: &Tensor) -> Result<DecoderCache> {
        Ok(DecoderCache { target: KeyValues::default(), memory: self.multihead_attn.keys_and_values(memory)? })
    }

    /// Further positions (B, T, E) of the target, behind those that the cache holds: what
    /// [`forward`](TransformerDecoderLayer::forward) gives there under a causal mask.
    pub fn forward_cached(
        &self,
        target: &Tensor,
        cache: &mut DecoderCache,
        memory_mask: &AttentionMask,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        let (f, DecoderCache { target: past, memory }) = (&self.feed_forward, cache);
        let x = f.residual(target, &self.norm1, ctx, |x, ctx| self.self_attn.attend_further(x, past, ctx))?;
        let x =
            f.residual(&x, &self.norm2, ctx, |x, ctx| self.multihead_attn.attend_kept(x, memory, memory_mask, ctx))?;
        f.residual(&x, &self.norm3, ctx, |x, ctx| f.forward(x, ctx))
    }
}
