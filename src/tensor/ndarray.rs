//! Conversions from and to the arrays of the `ndarray` crate (feature `ndarray`).

use crate::{Device, Element, Error, Result, Tensor};
use ndarray::{ArrayD, ArrayView, Dimension, IxDyn};

impl Tensor {
    /// A copy of an array of any layout.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let array = ndarray::arr2(&[[1f32, 2.0], [3.0, 4.0]]);
    /// let x = Tensor::from_ndarray(array.t(), &Device::Cpu)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 3.0, 2.0, 4.0]);
    /// assert_eq!(x.to_ndarray::<f32>()?, array.t().into_dyn());
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn from_ndarray<T: Element, D: Dimension>(array: ArrayView<'_, T, D>, device: &Device) -> Result<Tensor> {
        let values: Vec<T> = array.iter().copied().collect();
        Tensor::from_slice(&values, array.shape(), device)
    }

    /// The elements as an array in row-major order. Waits for the device.
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(self.dims()), self.to_vec::<T>()?)
            .map_err(|e| Error::argument("to_ndarray", format!("{}: {e}", self.shape())))
    }
}
