//! The fully connected layer.

use super::{Ctx, Init, Module, Param, Params};
use crate::{Result, Tensor};

/// y = x Wᵀ + b over the last axis: (…, in) to (…, out).
///
/// `weight` (out, in) and `bias` (out), both uniform ± 1/√in at first, as PyTorch's `nn.Linear`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in).
    pub weight: Param,
    /// (out).
    pub bias: Option<Param>,
}

impl Linear {
    /// With a bias.
    pub fn new(params: &Params, inputs: usize, outputs: usize) -> Result<Self> {
        let layer = Self::without_bias(params, inputs, outputs)?;
        let bias = params.param("bias", [outputs], Init::default_bias([outputs, inputs])?)?;
        Ok(Linear { bias: Some(bias), ..layer })
    }

    /// Without a bias.
    pub fn without_bias(params: &Params, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Linear { weight: params.param("weight", [outputs, inputs], Init::DEFAULT_WEIGHT)?, bias: None })
    }

    /// With other initial values.
    pub fn with_init(params: &Params, inputs: usize, outputs: usize, weight: Init, bias: Init) -> Result<Self> {
        let weight = params.param("weight", [outputs, inputs], weight)?;
        Ok(Linear { weight, bias: Some(params.param("bias", [outputs], bias)?) })
    }

    /// Around parameters made elsewhere: tied weights.
    pub fn from_params(weight: Param, bias: Option<Param>) -> Self {
        Linear { weight, bias }
    }

    fn tensors(&self) -> (Tensor, Option<Tensor>) {
        (self.weight.tensor(), self.bias.as_ref().map(Param::tensor))
    }

    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = self.tensors();
        x.linear(&weight, bias.as_ref())
    }

    /// The layer followed by a rectified linear unit, in one pass.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = self.tensors();
        x.linear_relu(&weight, bias.as_ref())
    }

    /// The layer followed by the exact (erf) GELU, in one pass.
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = self.tensors();
        x.linear_gelu(&weight, bias.as_ref())
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        self.apply(x)
    }
}
