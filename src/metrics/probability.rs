//! How well probabilities are told.

use super::{no_nan, paired};
use crate::{Error, Result};

/// Probabilities are kept this far from 0 and 1, as LightGBM and scikit-learn's earlier versions do, so that one
/// certain and wrong answer does not hide all others.
const NEAREST: f64 = 1e-15;

/// The mean of −ln of the probability that was given to what came true: `probabilities` of the label being true.
/// Probabilities nearer than 1e-15 to 0 or 1 count as that far away.
///
/// ```
/// # use warpsmith::metrics::log_loss;
/// let loss = log_loss(&[0.5, 0.25], &[true, false])?;
/// assert!((loss - (2f64.ln() - 0.75f64.ln()) / 2.0).abs() < 1e-15);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn log_loss(probabilities: &[f64], labels: &[bool]) -> Result<f64> {
    const OP: &str = "log_loss";
    paired(OP, ["probabilities", "labels"], [probabilities.len(), labels.len()])?;
    check(OP, probabilities)?;
    let one = |(&p, &label): (&f64, &bool)| {
        let p = p.clamp(NEAREST, 1.0 - NEAREST);
        if label { -p.ln() } else { -(-p).ln_1p() }
    };
    Ok(probabilities.iter().zip(labels).map(one).sum::<f64>() / labels.len() as f64)
}

/// As [`log_loss`] for several classes: `probabilities` holds a row of `classes` for each of the labels.
pub fn multiclass_log_loss(probabilities: &[f64], classes: usize, labels: &[usize]) -> Result<f64> {
    const OP: &str = "multiclass_log_loss";
    let what = ["probabilities", "labels times classes"];
    paired(OP, what, [probabilities.len(), labels.len().saturating_mul(classes)])?;
    check(OP, probabilities)?;
    let mut sum = 0.0;
    for (row, &label) in probabilities.chunks_exact(classes).zip(labels) {
        let Some(p) = row.get(label) else {
            return Err(Error::OutOfRange { op: OP, what: "label", index: label as i64, bound: classes });
        };
        sum -= p.clamp(NEAREST, 1.0 - NEAREST).ln();
    }
    Ok(sum / labels.len() as f64)
}

fn check(op: &'static str, probabilities: &[f64]) -> Result<()> {
    no_nan(op, "probabilities", probabilities)?;
    match probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
        Some(at) => {
            let message = format!("probabilities in [0, 1] are expected, number {at} is {}", probabilities[at]);
            Err(Error::argument(op, format!("{message}; logits go through a sigmoid or softmax first")))
        }
        None => Ok(()),
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
