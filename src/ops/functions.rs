//! Functions of one number: exponentials, logarithms, roots and powers, trigonometric functions, erf.

use super::support::{Save, unary};
use crate::kernels::elementwise as kernel;
use crate::{Result, Tensor};
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2};

impl Tensor {
    /// eˣ, elementwise; float dtypes.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0f32, 1.0], [2], &Device::Cpu)?.track();
    /// let gradients = x.exp()?.sum_all()?.backward()?;
    /// assert_eq!(gradients.expect(&x)?.to_vec::<f32>()?, [1.0, std::f32::consts::E]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn exp(&self) -> Result<Tensor> {
        unary(self, kernel::Exp, Save::Output, kernel::Mul, |y, g| g.mul(y))
    }

    /// 2ˣ, elementwise; float dtypes.
    pub fn exp2(&self) -> Result<Tensor> {
        unary(self, kernel::Exp2, Save::Output, kernel::Exp2Backward, |y, g| g.mul(y)?.affine(LN_2, 0.0))
    }

    /// eˣ − 1, accurate also for small x, elementwise; float dtypes.
    pub fn expm1(&self) -> Result<Tensor> {
        unary(self, kernel::Expm1, Save::Output, kernel::Expm1Backward, |y, g| g.mul(&y.affine(1.0, 1.0)?))
    }

    /// The natural logarithm, elementwise; float dtypes. NaN below 0, −∞ at 0.
    pub fn log(&self) -> Result<Tensor> {
        unary(self, kernel::Log, Save::Input, kernel::Div, |x, g| g.div(x))
    }

    /// The logarithm to base 2, elementwise; float dtypes. NaN below 0, −∞ at 0.
    pub fn log2(&self) -> Result<Tensor> {
        unary(self, kernel::Log2, Save::Input, kernel::Log2Backward, |x, g| g.div(&x.affine(LN_2, 0.0)?))
    }

    /// ln(1 + x), accurate also for small x, elementwise; float dtypes. NaN below −1, −∞ at −1.
    pub fn log1p(&self) -> Result<Tensor> {
        unary(self, kernel::Log1p, Save::Input, kernel::Log1pBackward, |x, g| g.div(&x.affine(1.0, 1.0)?))
    }

    /// √x, elementwise; float dtypes. NaN below 0; the gradient at 0 is ∞.
    pub fn sqrt(&self) -> Result<Tensor> {
        unary(self, kernel::Sqrt, Save::Output, kernel::SqrtBackward, |y, g| g.div(&y.affine(2.0, 0.0)?))
    }

    /// 1 / √x, elementwise; float dtypes.
    pub fn rsqrt(&self) -> Result<Tensor> {
        unary(self, kernel::Rsqrt, Save::Output, kernel::RsqrtBackward, |y, g| {
            g.mul(&y.square()?.mul(y)?)?.affine(-0.5, 0.0)
        })
    }

    /// 1 / x, elementwise; float dtypes.
    pub fn recip(&self) -> Result<Tensor> {
        unary(self, kernel::Recip, Save::Output, kernel::RecipBackward, |y, g| g.mul(&y.square()?)?.neg())
    }

    /// xᵖ for one exponent, elementwise; float dtypes. Special values are IEEE 754's (C's `pow`): x⁰ is 1 for every
    /// x, and a negative x has only integer powers. The gradient for p = 0 is 0 everywhere.
    pub fn powf(&self, exponent: f64) -> Result<Tensor> {
        match exponent {
            2.0 => self.square(),
            0.5 => self.sqrt(),
            -0.5 => self.rsqrt(),
            -1.0 => self.recip(),
            _ => {
                let backward = kernel::PowScalarBackward { exponent };
                unary(self, kernel::PowScalar { exponent }, Save::Input, backward, move |x, g| match exponent {
                    0.0 => g.zeros_like(),
                    _ => g.mul(&x.powf(exponent - 1.0)?)?.affine(exponent, 0.0),
                })
            }
        }
    }

    /// The sine of x in radians, elementwise; float dtypes.
    pub fn sin(&self) -> Result<Tensor> {
        unary(self, kernel::Sin, Save::Input, kernel::SinBackward, |x, g| g.mul(&x.cos()?))
    }

    /// The cosine of x in radians, elementwise; float dtypes.
    pub fn cos(&self) -> Result<Tensor> {
        unary(self, kernel::Cos, Save::Input, kernel::CosBackward, |x, g| g.mul(&x.sin()?)?.neg())
    }

    /// The tangent of x in radians, elementwise; float dtypes.
    pub fn tan(&self) -> Result<Tensor> {
        unary(self, kernel::Tan, Save::Output, kernel::TanBackward, |y, g| g.mul(&y.square()?.affine(1.0, 1.0)?))
    }

    /// The error function 2/√π ∫₀ˣ e^(−t²) dt, elementwise; float dtypes.
    pub fn erf(&self) -> Result<Tensor> {
        unary(self, kernel::Erf, Save::Input, kernel::ErfBackward, |x, g| {
            g.mul(&x.square()?.neg()?.exp()?)?.affine(FRAC_2_SQRT_PI, 0.0)
        })
    }
}
