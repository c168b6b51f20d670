//! Choosing between values by a mask: `where_cond` and `masked_fill`.

use super::autocast;
use super::support::{expanded, scalar, unbroadcast};
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use crate::device::Buffer;
use crate::kernels::elementwise::select;
use crate::{DType, Error, Result, Shape, Tensor};

struct Where {
    mask: Saved,
    shapes: [Shape; 2],
}

impl Op for Where {
    fn name(&self) -> &'static str {
        "where"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let mask = self.mask.get(ctx)?;
        let zero = scalar(0.0, &grad)?;
        Ok(vec![
            ctx.want(0, || unbroadcast(mask.where_cond(&grad, &zero)?, &self.shapes[0]))?,
            ctx.want(1, || unbroadcast(mask.where_cond(&zero, &grad)?, &self.shapes[1]))?,
        ])
    }
}

fn choose(mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if mask.dtype() != DType::U8 || a.dtype() != b.dtype() {
        let expected = "a u8 mask (a comparison gives one) and two operands of one dtype";
        return Err(Error::dtype("where", expected, &[mask.dtype(), a.dtype(), b.dtype()]));
    }
    let shape = mask.shape().broadcast(a.shape(), "where")?.broadcast(b.shape(), "where")?;
    let mut out = Buffer::uninit(a.device(), a.dtype(), shape.numel())?;
    let (m, x, y) = (mask.read(), a.read(), b.read());
    let view = |guard| expanded(guard, &shape);
    select(view(m.view()?)?, view(x.view()?)?, view(y.view()?)?, &mut out)?;
    Tensor::from_buffer(out, shape)
}

impl Tensor {
    /// `a` where this u8 mask is not 0, else `b`; the three are broadcast by NumPy's rule. Every dtype of `a` and `b`.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1f32, 2.0], [2], &Device::Cpu)?;
    /// let positive = x.gt(&x.zeros_like()?)?;
    /// assert_eq!(positive.where_cond(&x, &x.zeros_like()?)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn where_cond(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("where", [a, b], [])? {
            return self.where_cond(&a, &b);
        }
        record(choose(self, a, b)?, &[a, b], || Where { mask: Saved::constant(self), shapes: [*a.shape(), *b.shape()] })
    }

    /// `value` where the u8 mask is not 0, else the tensor's own; the two are broadcast by NumPy's rule. Every dtype.
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Result<Tensor> {
        mask.where_cond(&scalar(value, self)?, self)
    }
}
