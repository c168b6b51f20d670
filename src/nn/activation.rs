//! Layers without parameters that work element by element.

use super::{Ctx, Module};
use crate::{Error, Result, Tensor};

/// An activation as a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x Φ(x), exact (erf).
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// x · sigmoid(x).
    Silu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// x, or slope · x below 0.
    LeakyRelu(f64),
    /// x, or alpha (e^x − 1) below 0.
    Elu(f64),
    /// log(1 + e^x).
    Softplus,
}

impl Module for Activation {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        match *self {
            Activation::Relu => x.relu(),
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Silu => x.silu(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Elu(alpha) => x.elu(alpha),
            Activation::Softplus => x.softplus(),
        }
    }
}

/// Zeroes elements with probability `p` in training and scales the rest by 1 / (1 − p); passes through in inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// `p` must be in [0, 1].
    pub fn new(p: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::argument("dropout", format!("a probability in [0, 1] is expected, got {p}")));
        }
        Ok(Dropout { p })
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        if ctx.is_training() && self.p > 0.0 { x.dropout(self.p, ctx.rng()) } else { Ok(x.clone()) }
    }
}
