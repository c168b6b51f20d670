//! Softmax and its logarithm along an axis.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::softmax_xent::{self, SoftmaxDesc};
use crate::{Result, Tensor};

struct Softmax {
    desc: SoftmaxDesc,
    y: Saved,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.desc.log { "log_softmax" } else { "softmax" }
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let y = self.y.get(ctx)?;
        let mut dx = Buffer::uninit(y.device(), y.dtype(), y.numel())?;
        softmax_xent::softmax_backward(&self.desc, y.read().view()?, grad.read().view()?, &mut dx)?;
        let name = if self.desc.log { "backward of log_softmax" } else { "backward of softmax" };
        let dx = record_opaque(name, Tensor::from_buffer(dx, *y.shape())?, &[&y, &grad])?;
        Ok(vec![Some(dx.into())])
    }
}

fn softmax(op: &'static str, x: &Tensor, axis: isize, log: bool) -> Result<Tensor> {
    if let Some(([x], [])) = autocast::cast(op, [x], [])? {
        return softmax(op, &x, axis, log);
    }
    let axis = x.shape().axis(axis, op)?;
    let extent = |dims: &[usize]| dims.iter().product();
    let (before, after) = (extent(&x.dims()[..axis]), extent(&x.dims()[axis + 1..]));
    let desc = SoftmaxDesc { outer: before, width: x.dims()[axis], inner: after, log };
    let mut y = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
    softmax_xent::softmax(&desc, x.read().view()?, &mut y)?;
    let y = Tensor::from_buffer(y, *x.shape())?;
    let saved = y.clone();
    record(y, &[x], || Softmax { desc, y: Saved::output(&saved) })
}

impl Tensor {
    /// exp(x) / Σ exp(x) along `axis` (which may count from the end), computed from x − max. Any float dtype; f16 and
    /// bf16 compute in f32. A row of −∞ alone gives NaN.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0f32, 0.0, 7.0, 7.0], [2, 2], &Device::Cpu)?;
    /// assert_eq!(x.softmax(-1)?.to_vec::<f32>()?, [0.5; 4]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        softmax("softmax", self, axis, false)
    }

    /// The logarithm of [`softmax`](Tensor::softmax), without its underflow: x − max − ln Σ exp(x − max).
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor> {
        softmax("log_softmax", self, axis, true)
    }
}
