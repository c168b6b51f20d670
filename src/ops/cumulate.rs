//! Running sums and products along an axis.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::reduce::{self, Scan};
use crate::{DType, Result, Tensor};

struct CumSum {
    axis: usize,
    kind: Scan,
}

impl Op for CumSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let back = if self.kind == Scan::Sum { Scan::ReverseSum } else { Scan::Sum };
        Ok(vec![ctx.want(0, || grad.running_sum(self.axis, back))?])
    }
}

struct CumProd {
    axis: usize,
    x: Saved,
}

impl Op for CumProd {
    fn name(&self) -> &'static str {
        "cumprod"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let x = self.x.get(ctx)?;
        let (factors, upstream) = (x.packed()?, grad.packed()?);
        let mut out = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
        reduce::cumprod_backward(self.axis, factors.read().view()?, upstream.read().view()?, &mut out)?;
        let out = Tensor::from_buffer(out, *x.shape())?;
        Ok(vec![Some(record_opaque("backward of cumprod", out, &[&x, &grad])?.into())])
    }
}

impl Tensor {
    /// Running sums along `axis`: element i is the sum of elements 0 to i. Any dtype; integers give i64.
    pub fn cumsum(&self, axis: isize) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("cumsum", [self], [])? {
            return x.cumsum(axis);
        }
        self.running_sum(self.shape().axis(axis, "cumsum")?, Scan::Sum)
    }

    /// Running products along `axis`. Any dtype; integers give i64. The gradient is exact where factors are zero.
    pub fn cumprod(&self, axis: isize) -> Result<Tensor> {
        if let Some(([x], [])) = autocast::cast("cumprod", [self], [])? {
            return x.cumprod(axis);
        }
        let axis = self.shape().axis(axis, "cumprod")?;
        record(self.scanned(axis, Scan::Product)?, &[self], || CumProd { axis, x: Saved::input(0, self) })
    }

    fn running_sum(&self, axis: usize, kind: Scan) -> Result<Tensor> {
        record(self.scanned(axis, kind)?, &[self], || CumSum { axis, kind })
    }

    fn scanned(&self, axis: usize, kind: Scan) -> Result<Tensor> {
        let x = self.packed()?;
        let dtype = if x.dtype().is_float() { x.dtype() } else { DType::I64 };
        let mut out = Buffer::uninit(x.device(), dtype, x.numel())?;
        reduce::scan(kind, axis, x.read().view()?, &mut out)?;
        Tensor::from_buffer(out, *x.shape())
    }
}
