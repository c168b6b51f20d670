//! The same value in another dtype or on another device.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::device::Buffer;
use crate::kernels::elementwise;
use crate::{DType, Device, Result, Tensor, with_dtype};

struct ToDType {
    from: DType,
}

impl Op for ToDType {
    fn name(&self) -> &'static str {
        "to_dtype"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(grad.to_dtype(self.from)?.into())])
    }
}

struct ToDevice {
    from: Device,
}

impl Op for ToDevice {
    fn name(&self) -> &'static str {
        "to_device"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(grad.to_device(&self.from)?.into())])
    }
}

impl Tensor {
    /// The same values in another dtype; the tensor itself if it has that dtype. To floats: rounded once, to nearest
    /// even. From floats to integers: truncated toward zero and saturated, NaN to 0. From integers to narrower ones:
    /// the low bits. Differentiable between floats.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let mut out = Buffer::uninit(self.device(), dtype, self.numel())?;
        elementwise::cast(self.read().view()?, &mut out)?;
        record(Tensor::from_buffer(out, *self.shape())?, &[self], || ToDType { from: self.dtype() })
    }

    /// The same values in the memory of another device; the tensor itself if they are there. Differentiable.
    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        if device == self.device() {
            return Ok(self.clone());
        }
        let out = with_dtype!(self.dtype(), T => Buffer::from_slice(device, &self.to_vec::<T>()?)?);
        record(Tensor::from_buffer(out, *self.shape())?, &[self], || ToDevice { from: self.device().clone() })
    }
}
