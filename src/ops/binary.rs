//! Arithmetic on tensors broadcast together: `add`, `sub`, `mul`, `div`, `maximum`, `minimum`, `pow`, `lerp`,
//! `mul_add`, `add_relu`.

use super::autocast;
use super::support::{map, map_number, map_owned, relu_gradient, unbroadcast};
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::kernels::elementwise::{self as kernel, IntegerMap};
use crate::{Error, Result, Shape, Tensor};

/// Gradients of a function that is linear in both inputs, with these factors.
struct Linear {
    name: &'static str,
    shapes: [Shape; 2],
    factors: [f64; 2],
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let part = |i: usize, grad: Tensor| {
            let summed = unbroadcast(grad, &self.shapes[i])?;
            if self.factors[i] == 1.0 { Ok(summed) } else { summed * self.factors[i] }
        };
        // The last to take the gradient owns it and may overwrite it.
        let first = ctx.want(0, || part(0, grad.clone()))?;
        Ok(vec![first, ctx.want(1, move || part(1, grad))?])
    }
}

struct Mul {
    a: Saved,
    b: Saved,
}

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        let first = ctx.want(0, || unbroadcast(grad.mul(&b)?, a.shape()))?;
        Ok(vec![first, ctx.want(1, || unbroadcast((grad * &a)?, b.shape()))?])
    }
}

struct Div {
    a: Saved,
    b: Saved,
}

impl Op for Div {
    fn name(&self) -> &'static str {
        "div"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        let ga = (grad / &b)?;
        let first = ctx.want(0, || unbroadcast(ga.clone(), a.shape()))?;
        Ok(vec![first, ctx.want(1, || unbroadcast((((ga * &a)? / &b)?.neg())?, b.shape()))?])
    }
}

/// maximum (first input wins where greater) and minimum (where less, by exchanged comparisons).
struct Extremum {
    name: &'static str,
    a: Saved,
    b: Saved,
    greater: bool,
}

impl Op for Extremum {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        let part = |grad: Tensor, own: &Tensor, other: &Tensor| {
            let (high, low) = if self.greater { (own, other) } else { (other, own) };
            if ctx.create_graph() {
                let half = high.eq(low)?.where_cond(&grad.affine(0.5, 0.0)?, &grad)?;
                return unbroadcast(half.masked_fill(&high.lt(low)?, 0.0)?, own.shape());
            }
            unbroadcast(map_owned(kernel::GreaterBackward, grad, &[high, low])?, own.shape())
        };
        let first = ctx.want(0, || part(grad.clone(), &a, &b))?;
        Ok(vec![first, ctx.want(1, || part(grad, &b, &a))?])
    }
}

struct Pow {
    a: Saved,
    b: Saved,
}

impl Op for Pow {
    fn name(&self) -> &'static str {
        "pow"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        let opaque = |out: Tensor| record_opaque("backward of pow", out, &[&a, &b, &grad]);
        Ok(vec![
            ctx.want(0, || unbroadcast(opaque(map(kernel::PowBaseBackward, [&grad, &a, &b])?)?, a.shape()))?,
            ctx.want(1, || unbroadcast(opaque(map(kernel::PowExponentBackward, [&grad, &a, &b])?)?, b.shape()))?,
        ])
    }
}

struct MulAdd {
    a: Saved,
    b: Saved,
    shape: Shape,
}

impl Op for MulAdd {
    fn name(&self) -> &'static str {
        "mul_add"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        Ok(vec![
            ctx.want(0, || unbroadcast(grad.mul(&b)?, a.shape()))?,
            ctx.want(1, || unbroadcast(grad.mul(&a)?, b.shape()))?,
            ctx.want(2, || unbroadcast(grad, &self.shape))?,
        ])
    }
}

struct AddRelu {
    y: Saved,
    shapes: [Shape; 2],
}

impl Op for AddRelu {
    fn name(&self) -> &'static str {
        "add_relu"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let y = self.y.get(ctx)?;
        let inner = relu_gradient(ctx, grad, &y)?;
        let first = ctx.want(0, || unbroadcast(inner.clone(), &self.shapes[0]))?;
        Ok(vec![first, ctx.want(1, move || unbroadcast(inner, &self.shapes[1]))?])
    }
}

impl Tensor {
    /// a + b, broadcast by NumPy's rule. Every dtype; integers wrap.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("add", [self, other], [])? {
            return a.add(&b);
        }
        let out = map_number(kernel::Add, IntegerMap::Add, [self, other])?;
        linear("add", out, self, other, [1.0, 1.0])
    }

    /// a − b, broadcast by NumPy's rule. Every dtype; integers wrap.
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("sub", [self, other], [])? {
            return a.sub(&b);
        }
        let out = map_number(kernel::Sub, IntegerMap::Sub, [self, other])?;
        linear("sub", out, self, other, [1.0, -1.0])
    }

    /// a · b elementwise, broadcast by NumPy's rule. Every dtype; integers wrap.
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("mul", [self, other], [])? {
            return a.mul(&b);
        }
        let out = map_number(kernel::Mul, IntegerMap::Mul, [self, other])?;
        record(out, &[self, other], || Mul { a: Saved::input(0, self), b: Saved::input(1, other) })
    }

    /// a / b elementwise, broadcast by NumPy's rule; float dtypes (convert integers with `to_dtype` first).
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("div", [self, other], [])? {
            return a.div(&b);
        }
        let out = map(kernel::Div, [self, other])?;
        record(out, &[self, other], || Div { a: Saved::input(0, self), b: Saved::input(1, other) })
    }

    /// The larger of a and b, broadcast by NumPy's rule; every dtype. NaN if either is NaN. At a tie each gets half of
    /// the gradient, as in PyTorch.
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("maximum", [self, other], [])? {
            return a.maximum(&b);
        }
        let out = map_number(kernel::Maximum, IntegerMap::Maximum, [self, other])?;
        extremum("maximum", out, self, other, true)
    }

    /// The smaller of a and b, broadcast by NumPy's rule; every dtype. NaN if either is NaN. At a tie each gets half of
    /// the gradient, as in PyTorch.
    pub fn minimum(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("minimum", [self, other], [])? {
            return a.minimum(&b);
        }
        let out = map_number(kernel::Minimum, IntegerMap::Minimum, [self, other])?;
        extremum("minimum", out, self, other, false)
    }

    /// aᵇ elementwise, broadcast by NumPy's rule; float dtypes. Special values are IEEE 754's (C's `pow`). The gradient
    /// for a is 0 where b is 0, that for b is 0 where a is 0 and b ≥ 0, as in PyTorch.
    pub fn pow(&self, exponent: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("pow", [self, exponent], [])? {
            return a.pow(&b);
        }
        let out = map(kernel::Pow, [self, exponent])?;
        record(out, &[self, exponent], || Pow { a: Saved::input(0, self), b: Saved::input(1, exponent) })
    }

    /// a + `weight` (b − a), broadcast by NumPy's rule; float dtypes.
    pub fn lerp(&self, other: &Tensor, weight: f64) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("lerp", [self, other], [])? {
            return a.lerp(&b, weight);
        }
        let out = map(kernel::Lerp { weight }, [self, other])?;
        linear("lerp", out, self, other, [1.0 - weight, weight])
    }

    /// a · b + c, broadcast by NumPy's rule and rounded once; float dtypes.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0], [3], &Device::Cpu)?;
    /// let (scale, shift) = (Tensor::full(2.0, (), x.dtype(), x.device())?, x.ones_like()?);
    /// assert_eq!(x.mul_add(&scale, &shift)?.to_vec::<f32>()?, [3.0, 5.0, 7.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn mul_add(&self, factor: &Tensor, summand: &Tensor) -> Result<Tensor> {
        if let Some(([a, b, c], [])) = autocast::cast("mul_add", [self, factor, summand], [])? {
            return a.mul_add(&b, &c);
        }
        let out = map(kernel::MulAdd, [self, factor, summand])?;
        record(out, &[self, factor, summand], || MulAdd {
            a: Saved::input(0, self),
            b: Saved::input(1, factor),
            shape: *summand.shape(),
        })
    }

    /// max(a + b, 0), broadcast by NumPy's rule, in one pass; float dtypes. The end of a residual block.
    pub fn add_relu(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("add_relu", [self, other], [])? {
            return a.add_relu(&b);
        }
        let y = map(kernel::AddRelu, [self, other])?;
        record(y.clone(), &[self, other], || AddRelu { y: Saved::output(&y), shapes: [*self.shape(), *other.shape()] })
    }
}

fn linear(name: &'static str, out: Tensor, a: &Tensor, b: &Tensor, factors: [f64; 2]) -> Result<Tensor> {
    record(out, &[a, b], || Linear { name, shapes: [*a.shape(), *b.shape()], factors })
}

fn extremum(name: &'static str, out: Tensor, a: &Tensor, b: &Tensor, greater: bool) -> Result<Tensor> {
    record(out, &[a, b], || Extremum { name, a: Saved::input(0, a), b: Saved::input(1, b), greater })
}

/// An integer from a scalar operand of an integer tensor.
pub(super) fn whole_number(op: &'static str, value: f64) -> Result<i64> {
    if value.trunc() == value && value.abs() <= (1i64 << 53) as f64 {
        return Ok(value as i64);
    }
    let message = format!("{value} is not a whole number that an integer tensor can take; convert with to_dtype first");
    Err(Error::argument(op, message))
}
