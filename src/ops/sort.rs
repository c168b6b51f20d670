//! Sorting along an axis: sort, argsort, topk.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::device::Buffer;
use crate::kernels::sort::{self, SortDesc};
use crate::{DType, Error, Result, Shape, Tensor};

/// Elements picked along an axis by position: the gradient goes back to where each came from.
pub(crate) struct Pick {
    name: &'static str,
    axis: isize,
    /// Fresh i64 positions, never written again.
    indices: Tensor,
    shape: Shape,
}

impl Pick {
    pub(crate) fn new(name: &'static str, axis: usize, indices: &Tensor, shape: &Shape) -> Self {
        Pick { name, axis: axis as isize, indices: indices.clone(), shape: *shape }
    }
}

impl Op for Pick {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let zeros = || Tensor::zeros(self.shape, grad.dtype(), grad.device());
        Ok(vec![ctx.want(0, || zeros()?.scatter_add(self.axis, &self.indices, &grad))?])
    }
}

impl Tensor {
    /// The elements in order along `axis`, and the positions (i64) they came from.
    ///
    /// Stable: equal elements keep their order, also when descending. NaN counts as larger than every number.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3f32, 1.0, 2.0], [3], &Device::Cpu)?;
    /// let (values, positions) = x.sort(0, false)?;
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i64>()?, [1, 2, 0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn sort(&self, axis: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        let axis = self.shape().axis(axis, "sort")?;
        self.sorted("sort", axis, SortDesc { descending, limit: self.shape()[axis] })
    }

    /// The positions (i64) that would sort the elements along `axis`; see [`sort`](Tensor::sort).
    pub fn argsort(&self, axis: isize, descending: bool) -> Result<Tensor> {
        Ok(self.detach().sort(axis, descending)?.1)
    }

    /// The `k` largest elements along `axis` (smallest if not `largest`) in order, and their positions (i64); of equal
    /// elements the first.
    pub fn topk(&self, k: usize, axis: isize, largest: bool) -> Result<(Tensor, Tensor)> {
        let axis = self.shape().axis(axis, "topk")?;
        let extent = self.shape()[axis];
        if k > extent {
            let message = format!("k = {k} of the {extent} elements along axis {axis} of {}", self.shape());
            return Err(Error::argument("topk", message));
        }
        self.sorted("topk", axis, SortDesc { descending: largest, limit: k })
    }

    fn sorted(&self, name: &'static str, axis: usize, desc: SortDesc) -> Result<(Tensor, Tensor)> {
        let last = self.rank() - 1;
        let rows = self.detach().transpose(axis as isize, -1)?.packed()?;
        let shape = rows.shape().with_dim(last, desc.limit);
        let mut values = Buffer::uninit(self.device(), self.dtype(), shape.numel())?;
        let mut indices = Buffer::uninit(self.device(), DType::I64, shape.numel())?;
        sort::sort(&desc, rows.read().view()?, &mut values, &mut indices)?;
        let values = Tensor::from_buffer(values, shape)?.transpose(axis as isize, -1)?;
        let indices = Tensor::from_buffer(indices, shape)?.transpose(axis as isize, -1)?;
        let values = record(values, &[self], || Pick::new(name, axis, &indices, self.shape()))?;
        Ok((values, indices))
    }
}
