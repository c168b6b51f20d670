//! The encoder-decoder Transformer (Vaswani et al. 2017, "Attention is all you need").

use crate::nn::{
    AttentionMask, Ctx, DecoderCache, Dropout, Embedding, Init, LayerNorm, Module, Params, SinusoidalPositions,
    TransformerConfig, TransformerDecoderLayer, TransformerEncoderLayer,
};
use crate::{DType, Error, Result, Tensor, no_grad};

/// The sizes of a [`Seq2Seq`]; [`Seq2SeqConfig::named`] gives the paper's.
#[derive(Clone, Copy, Debug)]
pub struct Seq2SeqConfig {
    /// Distinct tokens, of sources and targets together.
    pub vocabulary: usize,
    /// The longest sequence on either side.
    pub context: usize,
    /// Layers of the encoder, and of the decoder.
    pub layers: usize,
    /// Of every layer.
    pub layer: TransformerConfig,
}

impl Seq2SeqConfig {
    /// The paper's sizes, `base` or `big`, for 37,000 byte pairs shared by both languages.
    pub fn named(name: &str) -> Result<Self> {
        let (width, heads, dropout) = match name {
            "base" => (512, 8, 0.1),
            "big" => (1024, 16, 0.3),
            _ => return Err(Error::argument("seq2seq", format!("no sizes are named {name}: base and big are"))),
        };
        let layer = TransformerConfig { feed_forward: 4 * width, dropout, ..TransformerConfig::new(width, heads) };
        Ok(Seq2SeqConfig { vocabulary: 37_000, context: 1024, layers: 6, layer })
    }
}

/// What a [`Seq2Seq`] decodes from: what the encoder made of the sources, and what the decoder keeps of the target so far.
#[derive(Clone, Debug)]
pub struct Seq2SeqCache {
    layers: Vec<DecoderCache>,
    mask: AttentionMask,
    len: usize,
}

/// An encoder of the source and a decoder of the target over one table of tokens, which is also the output layer, with
/// sinusoidal positions. Layers have the names of PyTorch's `nn.Transformer`; norms behind the last layers exist where
/// layers normalise first.
pub struct Seq2Seq {
    embedding: Embedding,
    positions: SinusoidalPositions,
    encoder: Vec<TransformerEncoderLayer>,
    decoder: Vec<TransformerDecoderLayer>,
    norms: Option<[LayerNorm; 2]>,
    dropout: Dropout,
    width: usize,
}

impl Seq2Seq {
    /// A model whose embeddings are normal with deviation 1/√width, everything else as PyTorch's layers begin.
    pub fn new(params: &Params, config: &Seq2SeqConfig) -> Result<Self> {
        let width = config.layer.width;
        let init = Init::Normal { mean: 0.0, std: 1.0 / (width.max(1) as f64).sqrt() };
        let (encoder, decoder) = (params.sub("encoder"), params.sub("decoder"));
        let place = |side: &Params, i: usize| side.sub("layers").sub(i);
        let norm = |side: &Params| LayerNorm::with_eps(&side.sub("norm"), &[width], config.layer.eps);
        Ok(Seq2Seq {
            embedding: Embedding::with_init(&params.sub("embedding"), config.vocabulary, width, init)?,
            positions: SinusoidalPositions::new(params, config.context, width)?,
            encoder: (0..config.layers)
                .map(|i| TransformerEncoderLayer::new(&place(&encoder, i), config.layer))
                .collect::<Result<_>>()?,
            decoder: (0..config.layers)
                .map(|i| TransformerDecoderLayer::new(&place(&decoder, i), config.layer))
                .collect::<Result<_>>()?,
            norms: if config.layer.norm_first { Some([norm(&encoder)?, norm(&decoder)?]) } else { None },
            dropout: Dropout::new(config.layer.dropout)?,
            width,
        })
    }

    /// Ids (B, T) that begin at position `first`: √width times their embeddings, and positions.
    fn embed(&self, ids: &Tensor, first: usize, ctx: &mut Ctx) -> Result<Tensor> {
        let x = self.embedding.forward(ids, ctx)?.affine((self.width as f64).sqrt(), 0.0)?;
        self.dropout.forward(&x.add(&self.positions.rows(first, ids.dim(1)?)?)?, ctx)
    }

    fn norm(&self, side: usize, x: Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        match &self.norms {
            Some(norms) => norms[side].forward(&x, ctx),
            None => Ok(x),
        }
    }

    /// Source ids (B, S) to states (B, S, width); `keep` (B, S) of u8 is 0 at padding.
    pub fn encode(&self, source: &Tensor, keep: Option<&Tensor>, ctx: &mut Ctx) -> Result<Tensor> {
        let mask = keep.map_or(Ok(AttentionMask::none()), AttentionMask::padding)?;
        let mut x = self.embed(source, 0, ctx)?;
        for layer in &self.encoder {
            x = layer.forward_masked(&x, &mask, ctx)?;
        }
        self.norm(0, x, ctx)
    }

    /// Target ids (B, T) against the encoder's states (B, S, width): logits (B, T, vocabulary) of the tokens that follow
    /// each. `keep` is the source's.
    pub fn decode(&self, target: &Tensor, states: &Tensor, keep: Option<&Tensor>, ctx: &mut Ctx) -> Result<Tensor> {
        let mask = keep.map_or(Ok(AttentionMask::none()), AttentionMask::padding)?;
        let mut x = self.embed(target, 0, ctx)?;
        for layer in &self.decoder {
            x = layer.forward(&x, states, &AttentionMask::causal(), &mask, ctx)?;
        }
        self.norm(1, x, ctx)?.linear(&self.embedding.weight.tensor(), None)
    }

    /// Both: source ids (B, S) and target ids (B, T) to logits (B, T, vocabulary).
    pub fn forward(&self, source: &Tensor, keep: Option<&Tensor>, target: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let states = self.encode(source, keep, ctx)?;
        self.decode(target, &states, keep, ctx)
    }

    /// What decoding begins with for these states of the encoder.
    pub fn cache(&self, states: &Tensor, keep: Option<&Tensor>) -> Result<Seq2SeqCache> {
        Ok(Seq2SeqCache {
            layers: self.decoder.iter().map(|layer| layer.cache(states)).collect::<Result<_>>()?,
            mask: keep.map_or(Ok(AttentionMask::none()), AttentionMask::padding)?,
            len: 0,
        })
    }

    /// Reads further target ids (B, T) behind those that the cache holds: logits (B, T, vocabulary), without gradients.
    pub fn decode_cached(&self, target: &Tensor, cache: &mut Seq2SeqCache) -> Result<Tensor> {
        no_grad(|| {
            let ctx = &mut Ctx::infer();
            let mut x = self.embed(target, cache.len, ctx)?;
            for (layer, layer_cache) in self.decoder.iter().zip(&mut cache.layers) {
                x = layer.forward_cached(&x, layer_cache, &cache.mask, ctx)?;
            }
            cache.len += target.dim(1)?;
            self.norm(1, x, ctx)?.linear(&self.embedding.weight.tensor(), None)
        })
    }

    /// Decodes greedily: for each source of (B, S) the likeliest token again and again, from `begin` up to `end`, neither of
    /// which is given, or up to `longest` tokens.
    pub fn generate(
        &self,
        source: &Tensor,
        keep: Option<&Tensor>,
        [begin, end]: [i64; 2],
        longest: usize,
    ) -> Result<Vec<Vec<i64>>> {
        let batch = source.dim(0)?;
        let mut cache = no_grad(|| {
            let states = self.encode(source, keep, &mut Ctx::infer())?;
            self.cache(&states, keep)
        })?;
        let mut out = vec![vec![]; batch];
        let mut open = vec![true; batch];
        let mut last = Tensor::full(begin as f64, [batch, 1], DType::I64, source.device())?;
        for _ in 0..longest {
            last = self.decode_cached(&last, &mut cache)?.argmax(-1)?.to_dtype(DType::I64)?;
            for ((row, open), token) in out.iter_mut().zip(&mut open).zip(last.to_vec::<i64>()?) {
                *open &= token != end;
                if *open {
                    row.push(token);
                }
            }
            if !open.contains(&true) {
                break;
            }
        }
        Ok(out)
    }
}
