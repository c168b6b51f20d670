//! Tensors from values.

use crate::device::Buffer;
use crate::{DType, Device, Element, Error, IntoShape, Result, Tensor, with_dtype};

impl Tensor {
    /// A tensor of `shape` from values in row-major order.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
    /// assert_eq!(x.transpose(0, 1)?.to_vec::<f32>()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn from_slice<T: Element>(values: &[T], shape: impl IntoShape, device: &Device) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if values.len() != shape.numel() {
            let expected = format!("a shape of {} elements", values.len());
            return Err(Error::shape("from_slice", expected, &[shape]));
        }
        Tensor::from_buffer(Buffer::from_slice(device, values)?, shape)
    }

    /// Zeros.
    pub fn zeros(shape: impl IntoShape, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        Tensor::from_buffer(Buffer::zeros(device, dtype, shape.numel())?, shape)
    }

    /// Ones.
    pub fn ones(shape: impl IntoShape, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::full(1.0, shape, dtype, device)
    }

    /// One value everywhere, rounded to the dtype.
    pub fn full(value: f64, shape: impl IntoShape, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        with_dtype!(dtype, T => {
            let scalar = Tensor::from_slice(&[T::from_f64(value)], (), device)?;
            scalar.alias(scalar.layout().expand(&shape).unwrap_or(*scalar.layout())).contiguous()
        })
    }

    /// Zeros of the shape, dtype and device of another tensor.
    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::zeros(self.shape(), self.dtype(), self.device())
    }

    /// Ones of the shape, dtype and device of another tensor.
    pub fn ones_like(&self) -> Result<Tensor> {
        Tensor::ones(self.shape(), self.dtype(), self.device())
    }
}
