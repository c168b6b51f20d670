//! From tensors.

use super::features::Features;
use crate::{Error, Result, Tensor};

impl Features {
    /// The columns of a matrix (rows, columns), named `f0`, `f1`, …; NaN is missing.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor, trees::Features};
    /// let matrix = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2], &Device::Cpu)?;
    /// let table = Features::from_tensor(&matrix)?;
    /// assert_eq!((table.rows(), table.names()), (3, vec!["f0", "f1"]));
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn from_tensor(matrix: &Tensor) -> Result<Self> {
        match matrix.dims() {
            &[_, columns] => Features::from_rows(&matrix.to_f64_vec()?, columns),
            _ => Err(Error::shape("Features::from_tensor", "a matrix (rows, columns)", &[*matrix.shape()])),
        }
    }
}
