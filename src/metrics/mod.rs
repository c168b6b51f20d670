//! Floor 5: figures that tell how good a model is, computed on the host.
//!
//! Plain functions over slices, in f64; those that read a model's output directly take tensors. What cannot be answered
//! (no samples, one class where two are compared, NaN among the scores) is an error, never a NaN that looks like a
//! figure.

mod classification;
mod confusion;
mod probability;
mod ranking;
mod regression;
mod running;

pub use classification::{accuracy, correct, top_k_accuracy, top_k_correct};
pub use confusion::{Average, ClassScores, Confusion};
pub use probability::{log_loss, multiclass_log_loss, perplexity};
pub use ranking::{auc, mean_ndcg, ndcg, recall_at_k};
pub use regression::{mae, mse, r2, rmse};
pub use running::{Running, Smoothed};

use crate::{Error, Result};

/// One answer per sample, and at least one sample.
fn paired(op: &'static str, what: [&str; 2], lengths: [usize; 2]) -> Result<()> {
    if lengths[0] != lengths[1] {
        let ([one, two], [n, m]) = (what, lengths);
        return Err(Error::argument(op, format!("as many {one} as {two} are expected, got {n} and {m}")));
    }
    if lengths[0] == 0 {
        return Err(Error::argument(op, "at least one sample is expected, got none"));
    }
    Ok(())
}

fn no_nan(op: &'static str, what: &str, values: &[f64]) -> Result<()> {
    match values.iter().position(|v| v.is_nan()) {
        Some(at) => {
            let message = format!("number {at} of the {what} is NaN (of {}); has the model diverged?", values.len());
            Err(Error::argument(op, message))
        }
        None => Ok(()),
    }
}
