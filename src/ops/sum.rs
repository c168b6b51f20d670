//! Sums, means and products over axes.

use super::autocast;
use super::axes::{Axes, reduce_axes, reduction_methods};
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::reduce::{self, Reduction};
use crate::{Result, Shape, Tensor};

struct Sum {
    shape: Shape,
}

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.expand(self.shape))?])
    }
}

struct Mean {
    shape: Shape,
    count: usize,
}

impl Op for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.affine(1.0 / self.count as f64, 0.0)?.expand(self.shape))?])
    }
}

struct Prod {
    x: Saved,
    reduced: Vec<bool>,
}

impl Op for Prod {
    fn name(&self) -> &'static str {
        "prod"
    }
    /// The product of the others, without a division: the gradient of running products with only the last one wanted.
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let x = self.x.get(ctx)?;
        if x.numel() == 0 {
            return Ok(vec![Some(x.zeros_like()?.into())]);
        }
        let of =
            |flag: bool| self.reduced.iter().enumerate().filter(move |&(_, &r)| r == flag).map(|(i, _)| i as isize);
        let order: Vec<isize> = of(false).chain(of(true)).collect();
        let mut inverse = vec![0; order.len()];
        order.iter().enumerate().for_each(|(i, &a)| inverse[a as usize] = i as isize);
        let moved = x.detach().permute(&order)?;
        let (outputs, n) = (grad.numel(), x.numel() / grad.numel());
        let rows = Shape::new(&[outputs, n])?;
        let factors = moved.packed()?.reshape(rows)?;
        let last = grad.detach().reshape([outputs, 1])?.pad(&[(0, 0), (n - 1, 0)], 0.0)?;
        let mut out = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
        reduce::cumprod_backward(1, factors.read().view()?, last.read().view()?, &mut out)?;
        let out = Tensor::from_buffer(out, *moved.shape())?.permute(&inverse)?;
        Ok(vec![Some(record_opaque("backward of prod", out, &[&x, &grad])?.into())])
    }
}

impl Tensor {
    reduction_methods!("sum", sum, sum_keepdim, sum_all, "The sum");

    /// The sum over `axes` (each may count from the end), which stay as axes of extent 1. No axes: a copy.
    ///
    /// Any dtype; integers sum to i64, f16 and bf16 accumulate in f32. The order of rounding is a function of the shape,
    /// with an error of at most about 60 + log₂ n roundoffs of Σ|x|.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [2, 2], &Device::Cpu)?;
    /// assert_eq!(x.sum(&[0])?.to_vec::<f32>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum_keepdim(&[-1])?.dims(), [2, 1]);
    /// assert_eq!(x.sum_all()?.item::<f32>()?, 10.0);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn sum_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("sum", [self], [])? {
            return x.sum_keepdim(axes);
        }
        let axes = Axes::new(self.shape(), axes, "sum")?;
        record(reduce_axes(self, &axes, Reduction::Sum)?, &[self], || Sum { shape: *self.shape() })
    }

    reduction_methods!("mean", mean, mean_keepdim, mean_all, "The mean");

    /// The mean over `axes`, which stay as axes of extent 1. Floats only; NaN where there is nothing to average.
    pub fn mean_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("mean", [self], [])? {
            return x.mean_keepdim(axes);
        }
        let axes = Axes::new(self.shape(), axes, "mean")?;
        let count = axes.count(self.shape());
        record(reduce_axes(self, &axes, Reduction::Mean)?, &[self], || Mean { shape: *self.shape(), count })
    }

    reduction_methods!("prod", prod, prod_keepdim, prod_all, "The product");

    /// The product over `axes`, which stay as axes of extent 1. Any dtype; integers give i64. The gradient is exact where
    /// factors are zero.
    pub fn prod_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("prod", [self], [])? {
            return x.prod_keepdim(axes);
        }
        let axes = Axes::new(self.shape(), axes, "prod")?;
        record(reduce_axes(self, &axes, Reduction::Product)?, &[self], || Prod {
            x: Saved::input(0, self),
            reduced: axes.reduced.clone(),
        })
    }

    /// 1 (u8) where any element along `axes` is not 0; the axes are dropped. Any dtype; NaN counts as not 0.
    pub fn any(&self, axes: &[isize]) -> Result<Tensor> {
        let axes = Axes::new(self.shape(), axes, "any")?;
        reduce_axes(self, &axes, Reduction::Any)?.reshape(axes.dropped)
    }

    /// 1 (u8) where no element along `axes` is 0; the axes are dropped. Any dtype.
    pub fn all(&self, axes: &[isize]) -> Result<Tensor> {
        let axes = Axes::new(self.shape(), axes, "all")?;
        reduce_axes(self, &axes, Reduction::All)?.reshape(axes.dropped)
    }
}
