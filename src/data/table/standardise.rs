//! Mean 0 and deviation 1.

use crate::{DType, Device, Error, Result, Tensor};

/// Takes each feature's mean away and divides by its standard deviation (of the population), both found in the rows that
/// are for training.
///
/// Features are the columns of a matrix (more generally the last axis); a tensor with one axis is one feature. A feature
/// that is always the same is only centred.
///
/// ```
/// use warpsmith::data::Standardiser;
/// use warpsmith::{Device, Tensor};
/// let training = Tensor::from_slice(&[1f32, 10.0, 3.0, 30.0], [2, 2], &Device::Cpu)?;
/// let standard = Standardiser::fit(&training)?;
/// assert_eq!(standard.transform(&training)?.to_vec2::<f32>()?, [[-1.0, -1.0], [1.0, 1.0]]);
/// let other = Tensor::from_slice(&[5f32, 20.0], [1, 2], &Device::Cpu)?;
/// let scaled = standard.transform(&other)?;
/// assert_eq!(scaled.to_vec2::<f32>()?, [[3.0, 0.0]]);
/// assert_eq!(standard.inverse(&scaled)?.to_vec2::<f32>()?, [[5.0, 20.0]]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Standardiser {
    /// Finds mean and deviation, in f64; at least one row, and floats.
    pub fn fit(x: &Tensor) -> Result<Self> {
        let features = features(x);
        if features == 0 || x.numel() == 0 || !x.dtype().is_float() {
            let expected = "floats in at least one row of at least one feature";
            return Err(Error::argument(
                "Standardiser",
                format!("expected {expected}, got {} of {}", x.shape(), x.dtype()),
            ));
        }
        let values = x.to_f64_vec()?;
        let rows = values.chunks_exact(features);
        let count = rows.len() as f64;
        let mut mean = vec![0.0; features];
        rows.clone().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / count));
        let mut variance = vec![0.0; features];
        for row in rows {
            variance.iter_mut().zip(row.iter().zip(&mean)).for_each(|(s, (v, m))| *s += (v - m) * (v - m) / count);
        }
        // Deviations that are rounding of the mean alone are none.
        let deviation = variance.iter().zip(&mean).map(|(v, m)| {
            let deviation = v.sqrt();
            if deviation > m.abs() * 1e-12 && deviation > 0.0 { deviation } else { 1.0 }
        });
        Ok(Standardiser { deviation: deviation.collect(), mean })
    }

    /// The features' means.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The features' standard deviations; 1 for those that are always the same.
    pub fn deviation(&self) -> &[f64] {
        &self.deviation
    }

    /// (x - mean) / deviation, in the dtype of x, on the CPU.
    pub fn transform(&self, x: &Tensor) -> Result<Tensor> {
        self.each(x, |v, mean, deviation| (v - mean) / deviation)
    }

    /// x · deviation + mean: back to the values that [`transform`](Standardiser::transform) got.
    pub fn inverse(&self, x: &Tensor) -> Result<Tensor> {
        self.each(x, |v, mean, deviation| v * deviation + mean)
    }

    fn each(&self, x: &Tensor, f: impl Fn(f64, f64, f64) -> f64) -> Result<Tensor> {
        if features(x) != self.mean.len() {
            let expected = format!("a last axis of {} features", self.mean.len());
            return Err(Error::shape("Standardiser", expected, &[*x.shape()]));
        }
        let mut values = x.to_f64_vec()?;
        for row in values.chunks_exact_mut(self.mean.len()) {
            for ((v, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *v = f(*v, *mean, *deviation);
            }
        }
        let dtype = if x.dtype().is_float() { x.dtype() } else { DType::F32 };
        Tensor::from_slice(&values, x.shape(), &Device::Cpu)?.to_dtype(dtype)
    }
}

fn features(x: &Tensor) -> usize {
    if x.rank() == 1 { 1 } else { x.dims().last().copied().unwrap_or(0) }
}
