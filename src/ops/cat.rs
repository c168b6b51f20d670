//! Joining tensors: cat along an axis, stack along a new one.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::device::Buffer;
use crate::kernels::index;
use crate::{Error, Layout, Result, Shape, Tensor};

struct Cat {
    axis: usize,
    extents: Vec<usize>,
}

impl Op for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let mut start = 0;
        let parts = self.extents.iter().enumerate().map(|(i, &n)| {
            start += n;
            ctx.want(i, || grad.narrow(self.axis as isize, start - n, n))
        });
        parts.collect()
    }
}

impl Tensor {
    /// Tensors joined along `axis`; all other extents and the dtypes must agree. Any dtype.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1f32, 2.0], [1, 2], &Device::Cpu)?;
    /// let b = Tensor::from_slice(&[3f32, 4.0, 5.0, 6.0], [2, 2], &Device::Cpu)?;
    /// assert_eq!(Tensor::cat(&[&a, &b], 0)?.to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn cat(tensors: &[impl AsRef<Tensor>], axis: isize) -> Result<Tensor> {
        let tensors: Vec<&Tensor> = tensors.iter().map(AsRef::as_ref).collect();
        if let Some(tensors) = autocast::cast_all("cat", &tensors)? {
            return Tensor::cat(&tensors, axis);
        }
        let Some(&first) = tensors.first() else {
            return Err(Error::argument("cat", "at least one tensor, got none"));
        };
        let axis = first.shape().axis(axis, "cat")?;
        let mut total = 0usize;
        for x in &tensors {
            if x.rank() != first.rank() || x.shape().with_dim(axis, 0) != first.shape().with_dim(axis, 0) {
                let expected = format!("shapes that agree on every axis but {axis}");
                return Err(Error::shape("cat", expected, &[*first.shape(), *x.shape()]));
            }
            if x.dtype() != first.dtype() {
                return Err(Error::dtype("cat", "tensors of one dtype", &[first.dtype(), x.dtype()]));
            }
            total = total.saturating_add(x.shape()[axis]);
        }
        let shape = Shape::new(first.shape().with_dim(axis, total).dims())?;
        let mut out = Buffer::uninit(first.device(), first.dtype(), shape.numel())?;
        let mut start = 0;
        let extents: Vec<usize> = tensors.iter().map(|x| x.shape()[axis]).collect();
        for (x, &n) in tensors.iter().zip(&extents) {
            let region = Layout::contiguous(shape).slice(axis, start, n, 1);
            index::write_region(&region, x.read().view()?, &mut out)?;
            start += n;
        }
        record(Tensor::from_buffer(out, shape)?, &tensors, || Cat { axis, extents })
    }

    /// Tensors of one shape joined along a new axis, which becomes `axis` of the result.
    pub fn stack(tensors: &[impl AsRef<Tensor>], axis: isize) -> Result<Tensor> {
        let raised = tensors.iter().map(|x| x.as_ref().unsqueeze(axis)).collect::<Result<Vec<_>>>()?;
        if let Some(x) = raised.iter().find(|x| x.shape() != raised[0].shape()) {
            let found = [tensors[0].as_ref(), x].map(|x| *x.shape());
            return Err(Error::shape("stack", "tensors of one shape", &found));
        }
        Tensor::cat(&raised, axis)
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}
