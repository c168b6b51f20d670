//! What boosting minimises: each objective's gradients and second derivatives by the scores.

use super::rank::LambdaRank;
use crate::{Error, Result};
use rayon::prelude::*;

/// Rows that one thread takes at a time; sums are made of such stretches in their order.
const STRETCH: usize = 2048;

/// What boosting minimises. Scores are what the trees add up to; `predict` maps them to what the objective is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// (s − y)²/2: predicts the mean.
    L2,
    /// Binary classification, labels 0 and 1: predicts the probability of 1.
    Logistic,
    /// Cross-entropy with labels from 0 to 1, which are probabilities themselves.
    CrossEntropy,
    /// Classification, labels 0 to classes − 1: predicts each class' probability; a tree per class and round.
    Softmax {
        /// How many classes there are.
        classes: usize,
    },
    /// Ranking within groups, labels 0, 1, 2, … by relevance: predicts scores to sort by.
    LambdaRank(LambdaRank),
}

/// What a model is fitted to: a label per row, and for ranking the sizes of the groups that follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub(super) labels: &'a [f64],
    pub(super) groups: Option<&'a [usize]>,
}

impl<'a> Target<'a> {
    /// A label per row.
    pub fn new(labels: &'a [f64]) -> Self {
        Target { labels, groups: None }
    }

    /// A label per row, and how many rows each group (a query's documents) has, in their order.
    pub fn grouped(labels: &'a [f64], groups: &'a [usize]) -> Self {
        Target { labels, groups: Some(groups) }
    }
}

impl Objective {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Objective::L2 => "l2",
            Objective::Logistic => "logistic",
            Objective::CrossEntropy => "cross_entropy",
            Objective::Softmax { .. } => "softmax",
            Objective::LambdaRank(_) => "lambda_rank",
        }
    }

    /// Scores of a row.
    pub fn outputs(&self) -> usize {
        match self {
            Objective::Softmax { classes } => *classes,
            _ => 1,
        }
    }

    /// An error for labels or groups that the objective cannot take.
    pub(super) fn check(&self, op: &'static str, rows: usize, target: &Target) -> Result<()> {
        let labels = target.labels;
        if labels.len() != rows {
            return Err(Error::argument(op, format!("{} labels for {rows} rows", labels.len())));
        }
        let (fits, wanted): (&dyn Fn(f64) -> bool, String) = match self {
            Objective::L2 => (&|y| y.is_finite(), "finite numbers".into()),
            Objective::Logistic => (&|y| y == 0.0 || y == 1.0, "0 or 1".into()),
            Objective::CrossEntropy => (&|y| (0.0..=1.0).contains(&y), "0 to 1".into()),
            Objective::Softmax { classes } if *classes < 2 => {
                return Err(Error::argument(op, format!("softmax needs at least 2 classes, got {classes}")));
            }
            Objective::Softmax { classes } => {
                let last = *classes as f64 - 1.0;
                (&move |y| (0.0..=last).contains(&y) && y.fract() == 0.0, format!("whole numbers from 0 to {last}"))
            }
            Objective::LambdaRank(rank) => {
                rank.check(op, rows, target.groups)?;
                (&|y| (0.0..=31.0).contains(&y) && y.fract() == 0.0, "whole numbers from 0 to 31".into())
            }
        };
        match labels.iter().position(|&y| !fits(y)) {
            None => Ok(()),
            Some(row) => {
                let message = format!("labels must be {wanted}, row {row} has {}", labels[row]);
                Err(Error::argument(op, message))
            }
        }
    }

    /// The scores that a model without trees gives every row: the best constant.
    pub(super) fn initial(&self, target: &Target) -> Vec<f64> {
        let labels = target.labels;
        let mean = || sum(labels.len(), |row| labels[row]) / labels.len() as f64;
        match self {
            Objective::L2 => vec![mean()],
            Objective::Logistic | Objective::CrossEntropy => {
                let p = mean().clamp(1e-15, 1.0 - 1e-15);
                vec![(p / (1.0 - p)).ln()]
            }
            Objective::Softmax { classes } => {
                let mut counts = vec![0.0; *classes];
                labels.iter().for_each(|&y| counts[y as usize] += 1.0);
                counts.iter().map(|n: &f64| (n / labels.len() as f64).max(1e-15).ln()).collect()
            }
            Objective::LambdaRank(_) => vec![0.0],
        }
    }

    /// The gradient and the second derivative (of softmax: its diagonal, times classes/(classes − 1)) of the sum of all
    /// rows' losses by each score.
    pub(super) fn gradients(&self, scores: &[f64], target: &Target, out: &mut [[f64; 2]]) {
        let labels = target.labels;
        match self {
            Objective::L2 => each(out, 1, |row, out| out[0] = [scores[row] - labels[row], 1.0]),
            Objective::Logistic | Objective::CrossEntropy => each(out, 1, |row, out| {
                let p = sigmoid(scores[row]);
                out[0] = [p - labels[row], p * (1.0 - p)];
            }),
            Objective::Softmax { classes } => {
                let factor = *classes as f64 / (*classes as f64 - 1.0);
                each(out, *classes, |row, out| {
                    let scores = &scores[row * classes..(row + 1) * classes];
                    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let mut sum = 0.0;
                    for (out, s) in out.iter_mut().zip(scores) {
                        out[0] = (s - largest).exp();
                        sum += out[0];
                    }
                    for (class, out) in out.iter_mut().enumerate() {
                        let p = out[0] / sum;
                        let wanted = if labels[row] == class as f64 { 1.0 } else { 0.0 };
                        *out = [p - wanted, factor * p * (1.0 - p)];
                    }
                });
            }
            Objective::LambdaRank(rank) => rank.gradients(scores, labels, target.groups.unwrap_or_default(), out),
        }
    }

    /// The mean loss of a row; for ranking, 1 less the mean NDCG.
    pub(super) fn loss(&self, scores: &[f64], target: &Target) -> f64 {
        let (labels, rows) = (target.labels, target.labels.len());
        match self {
            Objective::L2 => sum(rows, |row| 0.5 * (scores[row] - labels[row]).powi(2)) / rows as f64,
            Objective::Logistic | Objective::CrossEntropy => {
                let one = |row: usize| {
                    let s: f64 = scores[row];
                    s.max(0.0) - s * labels[row] + (-s.abs()).exp().ln_1p()
                };
                sum(rows, one) / rows as f64
            }
            Objective::Softmax { classes } => {
                let one = |row: usize| {
                    let scores = &scores[row * classes..(row + 1) * classes];
                    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
                    largest + sum.ln() - scores[labels[row] as usize]
                };
                sum(rows, one) / rows as f64
            }
            Objective::LambdaRank(rank) => 1.0 - rank.ndcg(scores, labels, target.groups.unwrap_or_default()),
        }
    }

    /// Scores of a row to what `predict` gives.
    pub(super) fn transform(&self, scores: &mut [f64]) {
        match self {
            Objective::L2 | Objective::LambdaRank(_) => {}
            Objective::Logistic | Objective::CrossEntropy => scores.iter_mut().for_each(|s| *s = sigmoid(*s)),
            Objective::Softmax { .. } => {
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                scores.iter_mut().for_each(|s| *s = (*s - largest).exp());
                let sum: f64 = scores.iter().sum();
                scores.iter_mut().for_each(|s| *s /= sum);
            }
        }
    }
}

#[inline(always)]
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn each(out: &mut [[f64; 2]], width: usize, f: impl Fn(usize, &mut [[f64; 2]]) + Sync) {
    out.par_chunks_mut(STRETCH * width).enumerate().for_each(|(stretch, out)| {
        out.chunks_exact_mut(width).enumerate().for_each(|(i, out)| f(stretch * STRETCH + i, out));
    });
}

/// The sum over rows, with the same bits whatever the number of threads.
fn sum(rows: usize, f: impl Fn(usize) -> f64 + Sync) -> f64 {
    let stretch = |s: usize| (s * STRETCH..rows.min((s + 1) * STRETCH)).map(&f).sum();
    let sums: Vec<f64> = (0..rows.div_ceil(STRETCH)).into_par_iter().map(stretch).collect();
    sums.into_iter().sum()
}
