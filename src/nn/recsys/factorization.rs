//! Products of every two fields: factorisation machines, and field-aware ones.

use super::fields::{FeatureEmbedding, FieldInput, Fields};
use crate::nn::{Ctx, Init, Module, Params};
use crate::{Error, Result, Tensor};

/// Σ over pairs of fields i < j of v_i ⊙ v_j: (B, fields, K) to (B, K), by ½ ((Σ v)² − Σ v²), in time linear in the
/// fields (Rendle 2010, lemma 3.1; the bi-interaction pooling of He and Chua 2017).
#[derive(Clone, Copy, Debug, Default)]
pub struct BiInteraction;

impl Module for BiInteraction {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        if x.rank() != 3 {
            return Err(Error::shape("bi_interaction", "vectors (B, fields, K)", &[*x.shape()]));
        }
        x.sum(&[1])?.square()?.sub(&x.square()?.sum(&[1])?)?.affine(0.5, 0.0)
    }
}

/// Σ over pairs of fields i < j of ⟨v_i, v_j⟩: (B, fields, K) to (B), the second-order term of a factorisation machine
/// (Rendle 2010), by [`BiInteraction`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FactorizationMachine;

impl Module for FactorizationMachine {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        BiInteraction.forward(x, ctx)?.sum(&[-1])
    }
}

/// Field-aware products (Juan et al. 2016): every feature has a vector for each other field, and the pair of fields
/// i < j meets as v_{i,j} ⊙ v_{j,i}: (B, pairs, K), pairs in the order (0, 1), (0, 2), …, (1, 2), …. Their sum is the
/// field-aware factorisation machine's term.
///
/// The table is wide: a row holds fields · K numbers, the vector that a feature has for its own field being without use.
/// The forward keeps both factors of every pair for the backward, B · fields · (fields − 1) · K numbers; the gradient is
/// row-sparse.
#[derive(Clone, Debug)]
pub struct FieldAwareProducts {
    /// Vectors of fields · K.
    pub vectors: FeatureEmbedding,
    /// Where in fields² the two factors of each pair are.
    sides: [Tensor; 2],
    fields: usize,
    width: usize,
}

impl FieldAwareProducts {
    /// At least two fields, counting numbers; `width` is K.
    pub fn new(params: &Params, fields: &Fields, width: usize, init: Init) -> Result<Self> {
        let count = fields.count();
        if count < 2 {
            let message = format!("pairs need at least two fields, got {count}");
            return Err(Error::argument("field_aware_products", message));
        }
        let pairs = || (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
        let side = |place: fn(usize, (usize, usize)) -> usize| {
            let places: Vec<i64> = pairs().map(|pair| place(count, pair) as i64).collect();
            Tensor::from_slice(&places, [places.len()], params.device())
        };
        Ok(FieldAwareProducts {
            vectors: FeatureEmbedding::new(params, fields, count * width, init)?,
            sides: [side(|count, (i, j)| i * count + j)?, side(|count, (i, j)| j * count + i)?],
            fields: count,
            width,
        })
    }

    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        self.fields * (self.fields - 1) / 2
    }

    /// (B, pairs, K).
    pub fn forward(&self, x: &FieldInput) -> Result<Tensor> {
        let vectors = self.vectors.forward(x)?;
        let vectors = vectors.reshape([vectors.dim(0)?, self.fields * self.fields, self.width])?;
        let [left, right] = &self.sides;
        vectors.index_select(1, left)?.mul(&vectors.index_select(1, right)?)
    }
}
