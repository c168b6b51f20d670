//! The largest and smallest: over axes, and along one axis with the position.

use super::axes::{Axes, drop_axes, reduce_axes, reduction_methods};
use super::sort::Pick;
use super::support::map;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use crate::device::Buffer;
use crate::kernels::elementwise::Equal;
use crate::kernels::reduce::{self, Extreme, Reduction};
use crate::{DType, Result, Tensor};

struct ExtremeValue {
    name: &'static str,
    x: Saved,
    y: Saved,
    axes: Vec<isize>,
}

impl Op for ExtremeValue {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        // Which elements are extreme does not change with small changes of x: a constant for second derivatives.
        let (x, y) = (self.x.get(ctx)?.detach(), self.y.get(ctx)?.detach());
        let chosen = map(Equal, [&x, &y])?;
        let count = chosen.sum_keepdim(&self.axes)?;
        Ok(vec![ctx.want(0, || chosen.mul(&grad.div(&count)?))?])
    }
}

impl Tensor {
    reduction_methods!("amax", amax, amax_keepdim, max_all, "The largest element");

    /// The largest element over `axes`, which stay as axes of extent 1; NaN if any is NaN. Any dtype; an empty selection is
    /// an error. The gradient is shared evenly by equal largest elements, as PyTorch's `amax` does.
    pub fn amax_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        self.extreme_value("amax", Reduction::Max, axes)
    }

    reduction_methods!("amin", amin, amin_keepdim, min_all, "The smallest element");

    /// The smallest element over `axes`, which stay as axes of extent 1; as [`amax_keepdim`](Tensor::amax_keepdim).
    pub fn amin_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        self.extreme_value("amin", Reduction::Min, axes)
    }

    /// The largest elements along `axis`, which is dropped, and their positions (i64).
    ///
    /// Any dtype. Of equal elements the first counts, NaN as larger than every number; the gradient goes to the chosen
    /// element alone.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 7.0, 7.0, 3.0, 2.0, 1.0], [2, 3], &Device::Cpu)?;
    /// let (values, positions) = x.max(-1)?;
    /// assert_eq!(values.to_vec::<f32>()?, [7.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i64>()?, [1, 0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn max(&self, axis: isize) -> Result<(Tensor, Tensor)> {
        let (values, indices) = self.max_keepdim(axis)?;
        Ok((drop_axes(values, &[axis], "max")?, drop_axes(indices, &[axis], "max")?))
    }

    /// As [`max`](Tensor::max), with the axis kept as extent 1.
    pub fn max_keepdim(&self, axis: isize) -> Result<(Tensor, Tensor)> {
        self.extreme_along("max", Extreme::Max, axis)
    }

    /// The smallest elements along `axis`, which is dropped, and their positions (i64); as [`max`](Tensor::max), NaN
    /// as smaller than every number.
    pub fn min(&self, axis: isize) -> Result<(Tensor, Tensor)> {
        let (values, indices) = self.min_keepdim(axis)?;
        Ok((drop_axes(values, &[axis], "min")?, drop_axes(indices, &[axis], "min")?))
    }

    /// As [`min`](Tensor::min), with the axis kept as extent 1.
    pub fn min_keepdim(&self, axis: isize) -> Result<(Tensor, Tensor)> {
        self.extreme_along("min", Extreme::Min, axis)
    }

    /// The positions (i64) of the largest elements along `axis`, which is dropped; of equal elements the first.
    pub fn argmax(&self, axis: isize) -> Result<Tensor> {
        Ok(self.detach().max(axis)?.1)
    }

    /// As [`argmax`](Tensor::argmax), with the axis kept as extent 1.
    pub fn argmax_keepdim(&self, axis: isize) -> Result<Tensor> {
        Ok(self.detach().max_keepdim(axis)?.1)
    }

    /// The positions (i64) of the smallest elements along `axis`, which is dropped; of equal elements the first.
    pub fn argmin(&self, axis: isize) -> Result<Tensor> {
        Ok(self.detach().min(axis)?.1)
    }

    /// As [`argmin`](Tensor::argmin), with the axis kept as extent 1.
    pub fn argmin_keepdim(&self, axis: isize) -> Result<Tensor> {
        Ok(self.detach().min_keepdim(axis)?.1)
    }

    fn extreme_value(&self, name: &'static str, reduction: Reduction, list: &[isize]) -> Result<Tensor> {
        let axes = Axes::new(self.shape(), list, name)?;
        let out = reduce_axes(self, &axes, reduction)?;
        let y = Saved::output(&out);
        record(out, &[self], || ExtremeValue { name, x: Saved::input(0, self), y, axes: list.to_vec() })
    }

    fn extreme_along(&self, name: &'static str, which: Extreme, axis: isize) -> Result<(Tensor, Tensor)> {
        let axis = self.shape().axis(axis, name)?;
        let shape = self.shape().with_dim(axis, 1);
        let mut values = Buffer::uninit(self.device(), self.dtype(), shape.numel())?;
        let mut indices = Buffer::uninit(self.device(), DType::I64, shape.numel())?;
        reduce::extreme_along(which, axis, self.read().view()?, &mut values, &mut indices)?;
        let indices = Tensor::from_buffer(indices, shape)?;
        let values = Tensor::from_buffer(values, shape)?;
        let values = record(values, &[self], || Pick::new(name, axis, &indices, self.shape()))?;
        Ok((values, indices))
    }
}
