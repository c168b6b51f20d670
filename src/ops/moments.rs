//! Variance, standard deviation, norms and logsumexp over axes.

use super::autocast;
use super::axes::{Axes, drop_axes, every_axis, reduce_axes, reduce_to, reduction_methods, wide};
use super::support::map;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::kernels::elementwise::{DivOrZero, ScaledExpDifference, ScaledSign};
use crate::kernels::reduce::Reduction;
use crate::{Result, Tensor};

/// a / b, and 0 where b is 0: the gradient of a square root at 0, by convention.
fn div_or_zero(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    struct Div {
        a: Saved,
        b: Saved,
    }
    impl Op for Div {
        fn name(&self) -> &'static str {
            "div_or_zero"
        }
        fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
            let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
            let ga = div_or_zero(&grad, &b)?;
            Ok(vec![ctx.want(0, || Ok(ga.clone()))?, ctx.want(1, || div_or_zero(&ga.mul(&a)?, &b)?.neg())?])
        }
    }
    record(map(DivOrZero, [a, b])?, &[a, b], || Div { a: Saved::input(0, a), b: Saved::input(1, b) })
}

struct Var {
    x: Saved,
    axes: Vec<isize>,
    freedom: f64,
    /// The result, where it is the standard deviation.
    std: Option<Saved>,
}

impl Op for Var {
    fn name(&self) -> &'static str {
        if self.std.is_some() { "std" } else { "var" }
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (dtype, wide) = (grad.dtype(), wide(grad.dtype()));
        let (x, grad) = (self.x.get(ctx)?.to_dtype(wide)?, grad.to_dtype(wide)?);
        let deviation = x.sub(&x.mean_keepdim(&self.axes)?)?;
        let scale = match &self.std {
            None => grad.affine(2.0 / self.freedom, 0.0)?,
            Some(std) => div_or_zero(&grad, &std.get(ctx)?.to_dtype(wide)?)?.affine(1.0 / self.freedom, 0.0)?,
        };
        Ok(vec![ctx.want(0, || deviation.mul(&scale)?.to_dtype(dtype))?])
    }
}

struct Norm1 {
    x: Saved,
}

impl Op for Norm1 {
    fn name(&self) -> &'static str {
        "norm1"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let x = self.x.get(ctx)?;
        let out = map(ScaledSign, [&x, &grad])?;
        Ok(vec![Some(record_opaque("backward of norm1", out, &[&x, &grad])?.into())])
    }
}

struct Norm2 {
    x: Saved,
    y: Saved,
}

impl Op for Norm2 {
    fn name(&self) -> &'static str {
        "norm2"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (dtype, wide) = (grad.dtype(), wide(grad.dtype()));
        let (x, y) = (self.x.get(ctx)?.to_dtype(wide)?, self.y.get(ctx)?.to_dtype(wide)?);
        let scale = div_or_zero(&grad.to_dtype(wide)?, &y)?;
        Ok(vec![ctx.want(0, || x.mul(&scale)?.to_dtype(dtype))?])
    }
}

struct LogSumExp {
    x: Saved,
    /// The result, in half precision unrounded: its error would be the relative one of the gradient.
    y: Saved,
}

impl Op for LogSumExp {
    fn name(&self) -> &'static str {
        "logsumexp"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, y) = (self.x.get(ctx)?, self.y.get(ctx)?);
        let [wide_x, wide_grad] = [&x, &grad].map(|t| t.detach().to_dtype(y.dtype()));
        let out = map(ScaledExpDifference, [&wide_x?, &y, &wide_grad?])?.to_dtype(x.dtype())?;
        Ok(vec![Some(record_opaque("backward of logsumexp", out, &[&x, &grad])?.into())])
    }
}

impl Tensor {
    /// The variance over `axes`, which are dropped: Σ (x − mean)² / (n − correction). See
    /// [`var_keepdim`](Tensor::var_keepdim).
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1e8f64, 1e8 + 1.0, 1e8 + 2.0], [3], &Device::Cpu)?;
    /// assert_eq!(x.var(&[0], 1.0)?.item::<f64>()?, 1.0);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn var(&self, axes: &[isize], correction: f64) -> Result<Tensor> {
        drop_axes(self.var_keepdim(axes, correction)?, axes, "var")
    }

    /// The variance over `axes`, which stay as axes of extent 1. Correction 1 gives the unbiased estimate (Bessel), 0 the
    /// variance of the population. Floats only; two passes, so a large mean costs no precision. NaN for n ≤ correction.
    pub fn var_keepdim(&self, axes: &[isize], correction: f64) -> Result<Tensor> {
        self.moment(axes, correction, false)
    }

    /// The square root of the variance over `axes`, which are dropped; the gradient is 0 where it is 0.
    pub fn std(&self, axes: &[isize], correction: f64) -> Result<Tensor> {
        drop_axes(self.std_keepdim(axes, correction)?, axes, "std")
    }

    /// The square root of the variance over `axes`, which stay as axes of extent 1.
    pub fn std_keepdim(&self, axes: &[isize], correction: f64) -> Result<Tensor> {
        self.moment(axes, correction, true)
    }

    fn moment(&self, list: &[isize], correction: f64, root: bool) -> Result<Tensor> {
        let reduction = if root { Reduction::Std { correction } } else { Reduction::Var { correction } };
        if let Some(([x], [])) = autocast::cast(reduction.name(), [self], [])? {
            return x.moment(list, correction, root);
        }
        let axes = Axes::new(self.shape(), list, reduction.name())?;
        let freedom = (axes.count(self.shape()) as f64 - correction).max(0.0);
        let out = reduce_axes(self, &axes, reduction)?;
        let std = root.then(|| Saved::output(&out));
        record(out, &[self], || Var { x: Saved::input(0, self), axes: list.to_vec(), freedom, std })
    }

    reduction_methods!("norm1", norm1, norm1_keepdim, norm1_all, "The 1-norm Σ|x|");

    /// The 1-norm Σ|x| over `axes`, which stay as axes of extent 1. Floats only; the gradient at 0 is 0.
    pub fn norm1_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("norm1", [self], [])? {
            return x.norm1_keepdim(axes);
        }
        let axes = Axes::new(self.shape(), axes, "norm1")?;
        record(reduce_axes(self, &axes, Reduction::Norm1)?, &[self], || Norm1 { x: Saved::input(0, self) })
    }

    reduction_methods!("norm2", norm2, norm2_keepdim, norm2_all, "The 2-norm √Σx²");

    /// The 2-norm √Σx² over `axes`, which stay as axes of extent 1. Floats only; the gradient at 0 is 0.
    pub fn norm2_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("norm2", [self], [])? {
            return x.norm2_keepdim(axes);
        }
        let axes = Axes::new(self.shape(), axes, "norm2")?;
        let out = reduce_axes(self, &axes, Reduction::Norm2)?;
        let y = Saved::output(&out);
        record(out, &[self], || Norm2 { x: Saved::input(0, self), y })
    }

    /// The Frobenius norm of matrices (the last two axes), or the 2-norm of a vector.
    pub fn norm_frobenius(&self) -> Result<Tensor> {
        let axes = every_axis(self);
        self.norm2(&axes[axes.len().saturating_sub(2)..])
    }

    reduction_methods!("logsumexp", logsumexp, logsumexp_keepdim, logsumexp_all, "ln Σ eˣ");

    /// ln Σ eˣ over `axes`, which stay as axes of extent 1. Floats only; the largest element is taken out first, so nothing
    /// overflows.
    pub fn logsumexp_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("logsumexp", [self], [])? {
            return x.logsumexp_keepdim(axes);
        }
        let axes = Axes::new(self.shape(), axes, "logsumexp")?;
        let dtype = Reduction::LogSumExp.output(self.dtype())?;
        let unrounded = reduce_to(self, &axes, Reduction::LogSumExp, wide(dtype))?;
        let y = Saved::constant(&unrounded);
        record(unrounded.to_dtype(dtype)?, &[self], || LogSumExp { x: Saved::input(0, self), y })
    }
}
