//! Sums over axes.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::device::Buffer;
use crate::kernels::reduce::{self, ReduceDesc};
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

impl Tensor {
    /// The sum over `axes` (each may count from the end), which stay as axes of extent 1. No axes: a copy.
    pub fn sum_keepdim(&self, axes: &[isize]) -> Result<Tensor> {
        let mut reduced = vec![false; self.rank()];
        let mut shape = *self.shape();
        for &axis in axes {
            let axis = self.shape().axis(axis, "sum")?;
            reduced[axis] = true;
            shape = shape.with_dim(axis, 1);
        }
        let mut out = Buffer::uninit(self.device(), self.dtype(), shape.numel())?;
        reduce::sum(&ReduceDesc { reduced }, self.read().view()?, &mut out)?;
        record(Tensor::from_buffer(out, shape)?, &[self], || Sum { shape: *self.shape() })
    }

    /// The sum of all elements, as a scalar.
    pub fn sum_all(&self) -> Result<Tensor> {
        let axes: Vec<isize> = (0..self.rank() as isize).collect();
        self.sum_keepdim(&axes)?.reshape(())
    }
}
