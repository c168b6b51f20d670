//! Positions of a sequence, without parameters.

use super::{Ctx, Module, Params};
use crate::{Error, Result, Tensor};

/// Sinusoidal positions (Vaswani et al. 2017, section 3.5): at position p, features 2i and 2i + 1 are the sine and the
/// cosine of p / 10000^(2i / width).
///
/// Has no parameters and nothing is saved; as a layer it adds its first T rows to (B, T, width).
#[derive(Clone, Debug)]
pub struct SinusoidalPositions {
    table: Tensor,
}

impl SinusoidalPositions {
    /// Rows for sequences of up to `length` positions, on the device and in the dtype of `params`.
    pub fn new(params: &Params, length: usize, width: usize) -> Result<Self> {
        let mut table = Vec::with_capacity(length * width);
        for position in 0..length {
            for feature in 0..width {
                let rate = 10000f64.powf((feature - feature % 2) as f64 / width as f64);
                let angle = position as f64 / rate;
                table.push(if feature % 2 == 0 { angle.sin() } else { angle.cos() });
            }
        }
        let table = Tensor::from_slice(&table, [length, width], &crate::Device::Cpu)?.to_dtype(params.dtype())?;
        Ok(SinusoidalPositions { table: table.to_device(params.device())? })
    }

    /// Rows `first..first + count`: (count, width).
    ///
    /// # Errors
    /// [`Error::Argument`] past the length that the table was made for.
    pub fn rows(&self, first: usize, count: usize) -> Result<Tensor> {
        let length = self.table.dim(0)?;
        if first.saturating_add(count) > length {
            let message = format!("positions {first} to {} of a table of {length}", first.saturating_add(count));
            return Err(Error::argument("sinusoidal positions", message));
        }
        self.table.narrow(0, first, count)
    }
}

impl Module for SinusoidalPositions {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.add(&self.rows(0, x.dim(-2)?)?)
    }
}
