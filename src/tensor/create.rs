//! Tensors from values.

use crate::device::Buffer;
use crate::kernels::elementwise;
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

    /// As [`from_slice`](Tensor::from_slice), from a vector.
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl IntoShape, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&values, shape, device)
    }

    /// A 1-d tensor of what an iterator gives.
    pub fn from_iter<T: Element>(values: impl IntoIterator<Item = T>, device: &Device) -> Result<Tensor> {
        let values: Vec<T> = values.into_iter().collect();
        Tensor::from_slice(&values, [values.len()], device)
    }

    /// One value, with no axes.
    pub fn scalar<T: Element>(value: T, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&[value], (), device)
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
        let mut out = Buffer::uninit(device, dtype, shape.numel())?;
        elementwise::fill(value, &mut out)?;
        Tensor::from_buffer(out, shape)
    }

    /// Zeros of the shape, dtype and device of another tensor.
    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::zeros(self.shape(), self.dtype(), self.device())
    }

    /// Ones of the shape, dtype and device of another tensor.
    pub fn ones_like(&self) -> Result<Tensor> {
        Tensor::ones(self.shape(), self.dtype(), self.device())
    }

    /// One value everywhere, with the shape, dtype and device of another tensor.
    pub fn full_like(&self, value: f64) -> Result<Tensor> {
        Tensor::full(value, self.shape(), self.dtype(), self.device())
    }

    /// `start`, `start + step`, … up to but without `end`; 1-d.
    ///
    /// ```
    /// # use warpsmith::{DType, Device, Tensor};
    /// assert_eq!(Tensor::arange(0.0, 3.0, 1.0, DType::I64, &Device::Cpu)?.to_vec::<i64>()?, [0, 1, 2]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn arange(start: f64, end: f64, step: f64, dtype: DType, device: &Device) -> Result<Tensor> {
        let count = ((end - start) / step).ceil();
        if step == 0.0 || !count.is_finite() {
            let message = format!("{start} to {end} in steps of {step}: needs finite numbers and a step that is not 0");
            return Err(Error::argument("arange", message));
        }
        let shape = (count.max(0.0) as usize).into_shape()?;
        with_dtype!(dtype, T => {
            Tensor::from_iter((0..shape.numel()).map(|i| <T as Element>::from_f64(start + i as f64 * step)), device)
        })
    }

    /// `count` values from `start` to `end`, both included, evenly spaced; 1-d.
    pub fn linspace(start: f64, end: f64, count: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        let last = count.saturating_sub(1);
        // From both ends, so that both are exact and the values symmetric.
        let step = (end - start) / last.max(1) as f64;
        let value = |i: usize| if 2 * i < count { start + i as f64 * step } else { end - (last - i) as f64 * step };
        with_dtype!(dtype, T => {
            Tensor::from_iter((0..count).map(|i| <T as Element>::from_f64(value(i))), device)
        })
    }

    /// The identity matrix of `n` rows.
    pub fn eye(n: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = [n, n].into_shape()?;
        with_dtype!(dtype, T => {
            let mut values = vec![T::default(); shape.numel()];
            values.iter_mut().step_by(n + 1).for_each(|v| *v = <T as Element>::from_f64(1.0));
            Tensor::from_slice(&values, shape, device)
        })
    }

    /// The coordinates of a grid over 1-d tensors: for each a tensor of all their extents that varies along its own axis
    /// (matrix order, PyTorch's `indexing="ij"`); views.
    pub fn meshgrid(axes: &[impl AsRef<Tensor>]) -> Result<Vec<Tensor>> {
        let extents = axes.iter().map(|x| match x.as_ref().dims() {
            &[n] => Ok(n),
            _ => Err(Error::shape("meshgrid", "1-d tensors", &[*x.as_ref().shape()])),
        });
        let extents = extents.collect::<Result<Vec<usize>>>()?;
        let grid = axes.iter().enumerate().map(|(i, x)| {
            let mut dims = vec![1; extents.len()];
            dims[i] = extents[i];
            x.as_ref().reshape(dims)?.expand(&extents)
        });
        grid.collect()
    }
}
