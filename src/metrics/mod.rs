//! Floor 5: figures that tell how good a model is, computed on the host.

use crate::{Error, Result, Tensor};

/// How many rows of `logits` (B, classes) are largest at their label: `labels` (B) of class numbers.
/// The first of equal maxima counts; NaN is never the largest.
pub fn correct(logits: &Tensor, labels: &Tensor) -> Result<usize> {
    let (&[batch, classes], &[count]) = (logits.dims(), labels.dims()) else {
        return Err(Error::shape(
            "accuracy",
            "logits (B, classes) and labels (B)",
            &[*logits.shape(), *labels.shape()],
        ));
    };
    if batch != count || classes == 0 {
        return Err(Error::shape("accuracy", "one label per row of logits", &[*logits.shape(), *labels.shape()]));
    }
    let (values, labels) = (logits.to_f64_vec()?, labels.to_f64_vec()?);
    let largest = |row: &[f64]| {
        let first = (0, f64::NEG_INFINITY);
        row.iter().enumerate().fold(first, |best, (i, &v)| if v > best.1 { (i, v) } else { best }).0
    };
    Ok(values.chunks_exact(classes).zip(labels).filter(|(row, label)| largest(row) as f64 == *label).count())
}

/// The share of rows of `logits` (B, classes) that are largest at their label; an error for no rows.
///
/// ```
/// # use warpsmith::{Device, Tensor, metrics};
/// let logits = Tensor::from_slice(&[2f32, 1.0, 0.0, 3.0], [2, 2], &Device::Cpu)?;
/// let labels = Tensor::from_slice(&[0i64, 0], [2], &Device::Cpu)?;
/// assert_eq!(metrics::accuracy(&logits, &labels)?, 0.5);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn accuracy(logits: &Tensor, labels: &Tensor) -> Result<f64> {
    let correct = correct(logits, labels)?;
    match logits.dim(0)? {
        0 => Err(Error::shape("accuracy", "at least one row", &[*logits.shape()])),
        n => Ok(correct as f64 / n as f64),
    }
}

/// How many equally likely tokens the model hesitates between: e to the mean cross-entropy (in nats) of a token.
///
/// ```
/// assert!((warpsmith::metrics::perplexity(65f64.ln()) - 65.0).abs() < 1e-9);
/// ```
pub fn perplexity(mean_cross_entropy: f64) -> f64 {
    mean_cross_entropy.exp()
}
