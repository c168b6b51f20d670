//! Arithmetic on one tensor: sign and size, scaling by numbers, rounding, limits.

use super::binary::whole_number;
use super::support::{Save, map, map_number, map_owned, unary};
use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::kernels::elementwise::{self as kernel, IntegerMap};
use crate::{Result, Tensor};

/// y = factor · x + a constant.
struct Scale {
    name: &'static str,
    factor: f64,
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(if self.factor == 1.0 { grad } else { (grad * self.factor)? }.into())])
    }
}

struct DivScalar {
    divisor: f64,
}

impl Op for DivScalar {
    fn name(&self) -> &'static str {
        "div_scalar"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some((grad / self.divisor)?.into())])
    }
}

/// A step function: its gradient is 0 wherever there is one.
struct Step {
    name: &'static str,
}

impl Op for Step {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(grad.zeros_like()?.into())])
    }
}

impl Tensor {
    /// −x, elementwise; every dtype (integers wrap).
    pub fn neg(&self) -> Result<Tensor> {
        let out = map_number(kernel::Neg, IntegerMap::Neg, [self])?;
        record(out, &[self], || Scale { name: "neg", factor: -1.0 })
    }

    /// |x|, elementwise; every dtype. The gradient at 0 is 0.
    pub fn abs(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return map_number(kernel::Abs, IntegerMap::Abs, [self]);
        }
        unary(self, kernel::Abs, Save::Input, kernel::AbsBackward, |x, g| g.mul(&x.sign()?))
    }

    /// −1, 0 or 1, elementwise; every dtype. NaN stays; the gradient is 0.
    pub fn sign(&self) -> Result<Tensor> {
        step(self, "sign", map_number(kernel::Sign, IntegerMap::Sign, [self])?)
    }

    /// x², elementwise; every dtype (integers wrap).
    pub fn square(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return map_number(kernel::Square, IntegerMap::Square, [self]);
        }
        unary(self, kernel::Square, Save::Input, kernel::SquareBackward, |x, g| g.mul(x)?.affine(2.0, 0.0))
    }

    /// x · scale + shift, elementwise; every dtype (for integers, whole numbers only).
    pub fn affine(&self, scale: f64, shift: f64) -> Result<Tensor> {
        let out = if self.dtype().is_float() {
            map(kernel::Affine { scale, shift }, [self])?
        } else {
            let (scale, shift) = (whole_number("affine", scale)?, whole_number("affine", shift)?);
            map_number(kernel::Neg, IntegerMap::Affine { scale, shift }, [self])?
        };
        record(out, &[self], || Scale { name: "affine", factor: scale })
    }

    /// x / divisor for one number, elementwise; float dtypes.
    pub fn div_scalar(&self, divisor: f64) -> Result<Tensor> {
        record(map(kernel::DivScalar { divisor }, [self])?, &[self], || DivScalar { divisor })
    }

    /// The largest integer not above x, elementwise; float dtypes. The gradient is 0.
    pub fn floor(&self) -> Result<Tensor> {
        step(self, "floor", map(kernel::Floor, [self])?)
    }

    /// The smallest integer not below x, elementwise; float dtypes. The gradient is 0.
    pub fn ceil(&self) -> Result<Tensor> {
        step(self, "ceil", map(kernel::Ceil, [self])?)
    }

    /// The nearest integer, ties to even, elementwise; float dtypes. The gradient is 0.
    pub fn round(&self) -> Result<Tensor> {
        step(self, "round", map(kernel::Round, [self])?)
    }

    /// The integer part of x, elementwise; float dtypes. The gradient is 0.
    pub fn trunc(&self) -> Result<Tensor> {
        step(self, "trunc", map(kernel::Trunc, [self])?)
    }

    /// x limited to `low..=high` (infinities leave an end open), elementwise; every dtype. NaN stays; the gradient is 1
    /// at both ends, 0 outside.
    pub fn clamp(&self, low: f64, high: f64) -> Result<Tensor> {
        if !self.dtype().is_float() {
            // `as` saturates, which is right for infinities and bounds beyond i64.
            let clamp = IntegerMap::Clamp { low: low.ceil() as i64, high: high.floor() as i64 };
            return map_number(kernel::Neg, clamp, [self]);
        }
        let backward = kernel::ClampBackward { low, high };
        unary(self, kernel::Clamp { low, high }, Save::Input, backward, move |x, g| {
            let bound = |v: f64| super::support::scalar(v, x);
            let inside = x.ge(&bound(low)?)?.logical_and(&x.le(&bound(high)?)?)?;
            g.masked_fill(&inside.logical_not()?, 0.0)
        })
    }
}

fn step(x: &Tensor, name: &'static str, out: Tensor) -> Result<Tensor> {
    record(out, &[x], || Step { name })
}

/// x · scale + shift for a value nobody else needs: written in place where nothing else holds it.
pub(super) fn affine_owned(x: Tensor, scale: f64, shift: f64) -> Result<Tensor> {
    if x.dtype().is_float() && !crate::autograd::needs_grad(&[&x]) {
        return map_owned(kernel::Affine { scale, shift }, x, &[]);
    }
    x.affine(scale, shift)
}
