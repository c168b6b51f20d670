//! Models without a deep part: weights, and products of pairs.

use super::CtrModel;
use crate::nn::{
    Ctx, FactorizationMachine, FeatureEmbedding, FieldAwareProducts, FieldInput, Fields, Init, LinearTerm, Module,
    Params,
};
use crate::{Result, Tensor};

/// Logistic regression on one-hot fields and numbers: the baseline of all others.
pub struct LogisticRegression {
    linear: LinearTerm,
}

impl LogisticRegression {
    /// Beneath `linear`.
    pub fn new(params: &Params, fields: &Fields) -> Result<Self> {
        Ok(LogisticRegression { linear: LinearTerm::new(&params.sub("linear"), fields)? })
    }
}

impl CtrModel for LogisticRegression {
    fn forward(&self, x: &FieldInput, _: &mut Ctx) -> Result<Tensor> {
        self.linear.forward(x)
    }
}

/// A factorisation machine of second order (Rendle 2010): weights, and ⟨v_i, v_j⟩ for every two features of a row.
pub struct Fm {
    linear: LinearTerm,
    vectors: FeatureEmbedding,
}

impl Fm {
    /// `linear` and `vectors`: of `width` numbers, which begin with the standard deviation `std`.
    pub fn new(params: &Params, fields: &Fields, width: usize, std: f64) -> Result<Self> {
        Ok(Fm {
            linear: LinearTerm::new(&params.sub("linear"), fields)?,
            vectors: FeatureEmbedding::new(&params.sub("vectors"), fields, width, Init::Normal { mean: 0.0, std })?,
        })
    }
}

impl CtrModel for Fm {
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor> {
        self.linear.forward(x)?.add(&FactorizationMachine.forward(&self.vectors.forward(x)?, ctx)?)
    }
}

/// A field-aware factorisation machine (Juan et al. 2016): weights, and for every two features of a row the product of the
/// vectors that each has for the other's field.
pub struct Ffm {
    linear: LinearTerm,
    products: FieldAwareProducts,
}

impl Ffm {
    /// `linear` and `products`: with vectors of `width` numbers, which begin with the standard deviation `std`.
    pub fn new(params: &Params, fields: &Fields, width: usize, std: f64) -> Result<Self> {
        let init = Init::Normal { mean: 0.0, std };
        Ok(Ffm {
            linear: LinearTerm::new(&params.sub("linear"), fields)?,
            products: FieldAwareProducts::new(&params.sub("products"), fields, width, init)?,
        })
    }
}

impl CtrModel for Ffm {
    fn forward(&self, x: &FieldInput, _: &mut Ctx) -> Result<Tensor> {
        self.linear.forward(x)?.add(&self.products.forward(x)?.sum(&[1, 2])?)
    }
}
