//! Elements by index along an axis: gather and its reverse, scatter_add.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::device::Buffer;
use crate::kernels::index;
use crate::{Result, Shape, Tensor};

struct Gather {
    axis: isize,
    index: Tensor,
    shape: Shape,
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let zeros = || Tensor::zeros(self.shape, grad.dtype(), grad.device());
        Ok(vec![ctx.want(0, || zeros()?.scatter_add(self.axis, &self.index, &grad))?])
    }
}

struct ScatterAdd {
    axis: isize,
    index: Tensor,
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || Ok(grad.clone()))?, ctx.want(1, || grad.gather(self.axis, &self.index))?])
    }
}

impl Tensor {
    /// Elements by index along `axis`: in two dimensions with axis 0, `out[i, j] = x[index[i, j], j]`.
    ///
    /// Any dtype. `index` (i64, u32 or u8) has the input's rank and, on the other axes, at most its extents; the result
    /// has the index's shape. An index out of range is an error naming it.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [2, 2], &Device::Cpu)?;
    /// let labels = Tensor::from_slice(&[1i64, 0], [2, 1], &Device::Cpu)?;
    /// assert_eq!(x.gather(1, &labels)?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn gather(&self, axis: isize, index: &Tensor) -> Result<Tensor> {
        let at = self.shape().axis(axis, "gather")?;
        let mut out = Buffer::uninit(self.device(), self.dtype(), index.numel())?;
        index::gather(at, self.read().view()?, index.read().view()?, &mut out)?;
        let out = Tensor::from_buffer(out, *index.shape())?;
        record(out, &[self], || Gather { axis, index: index.clone(), shape: *self.shape() })
    }

    /// This tensor with each element of `source` added where its index points along `axis`: in two dimensions with axis 0,
    /// `out[index[i, j], j] += source[i, j]`.
    ///
    /// Any dtype. `index` (i64, u32 or u8) has the source's shape. Sources that meet are added in their order, so the
    /// result is the same on every run.
    pub fn scatter_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("scatter_add", [self, source], [])? {
            return a.scatter_add(axis, index, &b);
        }
        let at = self.shape().axis(axis, "scatter_add")?;
        let base = self.copy()?;
        base.storage()
            .write(|out| index::scatter_add(at, index.read().view()?, source.read().view()?, out, self.shape()))?;
        record(base, &[self, source], || ScatterAdd { axis, index: index.clone() })
    }
}
