//! How far numbers are from what they should be.

use super::{no_nan, paired};
use crate::{Error, Result};

fn mean(op: &'static str, predictions: &[f64], targets: &[f64], error: impl Fn(f64) -> f64) -> Result<f64> {
    paired(op, ["predictions", "targets"], [predictions.len(), targets.len()])?;
    no_nan(op, "predictions", predictions)?;
    no_nan(op, "targets", targets)?;
    let sum: f64 = predictions.iter().zip(targets).map(|(p, t)| error(p - t)).sum();
    Ok(sum / targets.len() as f64)
}

/// The mean squared error.
///
/// ```
/// # use warpsmith::metrics::{mae, mse, rmse};
/// let (predictions, targets) = ([1.0, 2.0, 6.0], [1.0, 4.0, 2.0]);
/// assert_eq!(mse(&predictions, &targets)?, 20.0 / 3.0);
/// assert_eq!(mae(&predictions, &targets)?, 2.0);
/// assert_eq!(rmse(&predictions, &targets)?, (20f64 / 3.0).sqrt());
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn mse(predictions: &[f64], targets: &[f64]) -> Result<f64> {
    mean("mse", predictions, targets, |d| d * d)
}

/// The root of the mean squared error, in the targets' unit.
pub fn rmse(predictions: &[f64], targets: &[f64]) -> Result<f64> {
    mean("rmse", predictions, targets, |d| d * d).map(f64::sqrt)
}

/// The mean absolute error, in the targets' unit.
pub fn mae(predictions: &[f64], targets: &[f64]) -> Result<f64> {
    mean("mae", predictions, targets, f64::abs)
}

/// The coefficient of determination R²: 1 minus the squared error over that of the targets' mean. 1 is perfect, 0 as
/// good as the mean, below 0 worse. An error where all targets are equal: there is nothing to explain.
///
/// ```
/// # use warpsmith::metrics::r2;
/// assert_eq!(r2(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0])?, 0.6);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn r2(predictions: &[f64], targets: &[f64]) -> Result<f64> {
    let residual = mean("r2", predictions, targets, |d| d * d)?;
    // Asked of the targets themselves: the rounded mean of equal numbers may differ from them.
    if targets.iter().all(|t| *t == targets[0]) {
        let (n, one) = (targets.len(), targets[0]);
        let message = format!("all {n} targets are {one}: R² compares with their variance, which is 0");
        return Err(Error::argument("r2", message));
    }
    let middle = targets.iter().sum::<f64>() / targets.len() as f64;
    let variance = targets.iter().map(|t| (t - middle).powi(2)).sum::<f64>() / targets.len() as f64;
    Ok(1.0 - residual / variance)
}
