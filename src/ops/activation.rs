//! Activations.

use super::support::{Save, scalar, unary};
use crate::kernels::elementwise as kernel;
use crate::{Result, Tensor};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// Klambauer et al. 2017, "Self-normalizing neural networks".
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

impl Tensor {
    /// max(x, 0), elementwise; float dtypes. The gradient at 0 is 0.
    pub fn relu(&self) -> Result<Tensor> {
        unary(self, kernel::Relu, Save::Output, kernel::ReluBackward, |y, g| {
            g.masked_fill(&y.le(&scalar(0.0, y)?)?, 0.0)
        })
    }

    /// min(max(x, 0), 6), elementwise; float dtypes. The gradient is 1 at both ends.
    pub fn relu6(&self) -> Result<Tensor> {
        self.clamp(0.0, 6.0)
    }

    /// x, or `slope` · x where x ≤ 0, elementwise; float dtypes. The gradient at 0 is `slope`.
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        let backward = kernel::LeakyReluBackward { slope };
        unary(self, kernel::LeakyRelu { slope }, Save::Input, backward, move |x, g| {
            positive(x)?.where_cond(g, &g.affine(slope, 0.0)?)
        })
    }

    /// x, or `alpha` (eˣ − 1) where x ≤ 0 (Clevert et al. 2015), elementwise; float dtypes.
    pub fn elu(&self, alpha: f64) -> Result<Tensor> {
        elu(self, alpha, 1.0)
    }

    /// The scaled ELU of self-normalising networks (Klambauer et al. 2017), elementwise; float dtypes.
    pub fn selu(&self) -> Result<Tensor> {
        elu(self, SELU_ALPHA, SELU_SCALE)
    }

    /// 1 / (1 + e⁻ˣ), elementwise; float dtypes.
    pub fn sigmoid(&self) -> Result<Tensor> {
        unary(self, kernel::Sigmoid, Save::Output, kernel::SigmoidBackward, |y, g| {
            g.mul(&y.mul(&y.affine(-1.0, 1.0)?)?)
        })
    }

    /// ln(1 / (1 + e⁻ˣ)), without overflow, elementwise; float dtypes.
    pub fn log_sigmoid(&self) -> Result<Tensor> {
        unary(self, kernel::LogSigmoid, Save::Input, kernel::LogSigmoidBackward, |x, g| g.mul(&x.neg()?.sigmoid()?))
    }

    /// The hyperbolic tangent, elementwise; float dtypes.
    pub fn tanh(&self) -> Result<Tensor> {
        unary(self, kernel::Tanh, Save::Output, kernel::TanhBackward, |y, g| g.mul(&y.square()?.affine(-1.0, 1.0)?))
    }

    /// x Φ(x) with the normal distribution function Φ (Hendrycks & Gimpel 2016), elementwise; float dtypes.
    pub fn gelu(&self) -> Result<Tensor> {
        unary(self, kernel::Gelu, Save::Input, kernel::GeluBackward, gelu_backward)
    }

    /// GELU's tanh form, x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, elementwise; float dtypes.
    pub fn gelu_tanh(&self) -> Result<Tensor> {
        unary(self, kernel::GeluTanh, Save::Input, kernel::GeluTanhBackward, |x, g| {
            let slope = 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
            let square = x.square()?;
            let s = x.mul(&square.affine(0.044715 * slope, slope)?)?.sigmoid()?;
            let inner = x.mul(&square.affine(3.0 * 0.044715 * slope, slope)?)?;
            g.mul(&s.mul(&inner.mul(&s.affine(-1.0, 1.0)?)?.affine(1.0, 1.0)?)?)
        })
    }

    /// x / (1 + e⁻ˣ), also called swish (Elfwing et al. 2017), elementwise; float dtypes.
    pub fn silu(&self) -> Result<Tensor> {
        unary(self, kernel::Silu, Save::Input, kernel::SiluBackward, |x, g| {
            let s = x.sigmoid()?;
            g.mul(&s.mul(&x.mul(&s.affine(-1.0, 1.0)?)?.affine(1.0, 1.0)?)?)
        })
    }

    /// ln(1 + eˣ), without overflow, elementwise; float dtypes.
    pub fn softplus(&self) -> Result<Tensor> {
        unary(self, kernel::Softplus, Save::Input, kernel::SoftplusBackward, |x, g| g.mul(&x.sigmoid()?))
    }

    /// x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, MobileNetV3), elementwise; float dtypes. The gradient is 0 at
    /// −3 and 1 at 3.
    pub fn hardswish(&self) -> Result<Tensor> {
        unary(self, kernel::Hardswish, Save::Input, kernel::HardswishBackward, |x, g| {
            let inner = x.affine(1.0 / 3.0, 0.5)?.masked_fill(&x.le(&scalar(-3.0, x)?)?, 0.0)?;
            g.mul(&inner.masked_fill(&x.ge(&scalar(3.0, x)?)?, 1.0)?)
        })
    }

    /// min(max(x + 3, 0), 6) / 6, elementwise; float dtypes. The gradient is 0 at −3 and 3.
    pub fn hardsigmoid(&self) -> Result<Tensor> {
        unary(self, kernel::Hardsigmoid, Save::Input, kernel::HardsigmoidBackward, |x, g| {
            let outside = x.le(&scalar(-3.0, x)?)?.logical_or(&x.ge(&scalar(3.0, x)?)?)?;
            g.affine(1.0 / 6.0, 0.0)?.masked_fill(&outside, 0.0)
        })
    }

    /// x tanh(ln(1 + eˣ)) (Misra 2019), elementwise; float dtypes.
    pub fn mish(&self) -> Result<Tensor> {
        unary(self, kernel::Mish, Save::Input, kernel::MishBackward, |x, g| {
            let t = x.softplus()?.tanh()?;
            let bend = x.mul(&x.sigmoid()?)?.mul(&t.square()?.affine(-1.0, 1.0)?)?;
            g.mul(&t.add(&bend)?)
        })
    }
}

fn positive(x: &Tensor) -> Result<Tensor> {
    x.gt(&scalar(0.0, x)?)
}

fn elu(x: &Tensor, alpha: f64, scale: f64) -> Result<Tensor> {
    let backward = kernel::EluBackward { alpha, scale };
    unary(x, kernel::Elu { alpha, scale }, Save::Input, backward, move |x, g| {
        // Limited, since an overflow would reach the second derivative as 0 · ∞.
        let below = g.mul(&x.clamp(f64::NEG_INFINITY, 0.0)?.exp()?)?.affine(scale * alpha, 0.0)?;
        positive(x)?.where_cond(&g.affine(scale, 0.0)?, &below)
    })
}

/// The gradient of GELU at `x`, made of operations.
pub(super) fn gelu_backward(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let cdf = x.affine(FRAC_1_SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
    let density = x.square()?.affine(-0.5, 0.0)?.exp()?.affine(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2, 0.0)?;
    grad.mul(&cdf.add(&x.mul(&density)?)?)
}
