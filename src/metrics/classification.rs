//! How often the right class scores highest.

use crate::{Error, Result, Tensor};

/// How many rows of `logits` (B, classes) are largest at their label: `labels` (B) of class numbers.
/// The first of equal maxima counts; NaN and negative infinity (what is masked) are never the largest.
pub fn correct(logits: &Tensor, labels: &Tensor) -> Result<usize> {
    count("accuracy", logits, labels, 1)
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
    share("accuracy", correct(logits, labels)?, logits)
}

/// How many rows of `logits` (B, classes) have their label among the `k` largest. Of equal values the first ranks
/// higher; NaN and negative infinity are never among them.
///
/// With one relevant item per query among the columns, divided by the rows this is recall@k.
pub fn top_k_correct(logits: &Tensor, labels: &Tensor, k: usize) -> Result<usize> {
    if k == 0 {
        return Err(Error::argument("top_k_accuracy", "k of at least 1 is expected, got 0"));
    }
    count("top_k_accuracy", logits, labels, k)
}

/// The share of rows of `logits` (B, classes) that have their label among the `k` largest; an error for no rows.
///
/// ```
/// # use warpsmith::{Device, Tensor, metrics};
/// let logits = Tensor::from_slice(&[2f32, 1.0, 0.0, 0.0, 3.0, 1.0], [2, 3], &Device::Cpu)?;
/// let labels = Tensor::from_slice(&[1i64, 0], [2], &Device::Cpu)?;
/// assert_eq!(metrics::top_k_accuracy(&logits, &labels, 2)?, 0.5);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn top_k_accuracy(logits: &Tensor, labels: &Tensor, k: usize) -> Result<f64> {
    share("top_k_accuracy", top_k_correct(logits, labels, k)?, logits)
}

fn share(op: &'static str, correct: usize, logits: &Tensor) -> Result<f64> {
    match logits.dim(0)? {
        0 => Err(Error::shape(op, "at least one row", &[*logits.shape()])),
        n => Ok(correct as f64 / n as f64),
    }
}

fn count(op: &'static str, logits: &Tensor, labels: &Tensor, k: usize) -> Result<usize> {
    let (values, labels, classes) = rows(op, logits, labels)?;
    let hit = |&(row, &label): &(&[f64], &usize)| {
        let own = row[label];
        // NaN compares with nothing: at the label it is no answer, elsewhere it is not above.
        let above = row.iter().enumerate().filter(|&(i, &v)| v > own || v == own && i < label).count();
        own > f64::NEG_INFINITY && above < k
    };
    Ok(values.chunks_exact(classes).zip(&labels).filter(hit).count())
}

/// The numbers of `logits` (B, classes), checked labels (B), and the number of classes.
pub(super) fn rows(op: &'static str, logits: &Tensor, labels: &Tensor) -> Result<(Vec<f64>, Vec<usize>, usize)> {
    let (&[batch, classes], &[count]) = (logits.dims(), labels.dims()) else {
        let expected = "logits (B, classes) and labels (B)";
        return Err(Error::shape(op, expected, &[*logits.shape(), *labels.shape()]));
    };
    if batch != count || classes == 0 {
        return Err(Error::shape(op, "one label per row of logits", &[*logits.shape(), *labels.shape()]));
    }
    if labels.dtype().is_float() {
        return Err(Error::dtype(op, "labels of class numbers (i64, u32 or u8)", &[labels.dtype()]));
    }
    let label = |label: f64| {
        let out = Error::OutOfRange { op, what: "label", index: label as i64, bound: classes };
        if (0.0..classes as f64).contains(&label) { Ok(label as usize) } else { Err(out) }
    };
    let labels = labels.to_f64_vec()?.into_iter().map(label).collect::<Result<_>>()?;
    Ok((logits.to_f64_vec()?, labels, classes))
}
