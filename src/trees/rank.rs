//! LambdaRank (Burges 2010, "From RankNet to LambdaRank to LambdaMART"), weighted by NDCG as LightGBM does it.
//!
//! For each pair of a group with different labels, one of them among the best `truncation` by score, the pair's cost
//! is ln(1 + e^(−σ(s_i − s_j))) for the more relevant i, times how much NDCG would change if the two changed places.

use super::objective::sigmoid;
use crate::{Error, Result};
use rayon::prelude::*;
use std::ops::Range;

/// Options of LambdaRank.
#[derive(Clone, Debug, PartialEq)]
pub struct LambdaRank {
    /// σ: how steep a pair's cost is.
    pub sigmoid: f64,
    /// Pairs have one of so many best-scored rows; NDCG is cut off there too.
    pub truncation: usize,
    /// Divides a pair's weight by 0.01 + |s_i − s_j|, and a group's gradients by their sum over its log: large groups
    /// do not outweigh the others.
    pub normalize: bool,
}

impl Default for LambdaRank {
    fn default() -> Self {
        LambdaRank { sigmoid: 1.0, truncation: 30, normalize: true }
    }
}

/// What a row of this label is worth: 2^label − 1.
fn gain(label: f64) -> f64 {
    label.exp2() - 1.0
}

/// What a place, counted from 0, is worth: 1/log₂(place + 2).
fn discount(place: usize) -> f64 {
    (place as f64 + 2.0).log2().recip()
}

/// Σ gain·discount over the first `most` labels.
fn dcg(labels: impl Iterator<Item = f64>, most: usize) -> f64 {
    labels.take(most).enumerate().map(|(place, label)| gain(label) * discount(place)).sum()
}

fn ideal_dcg(labels: &[f64], most: usize) -> f64 {
    let mut sorted = labels.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    dcg(sorted.into_iter(), most)
}

/// Places by descending score, of equal ones the earlier first.
fn ranking(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

fn ranges(groups: &[usize]) -> Vec<Range<usize>> {
    groups
        .iter()
        .scan(0, |end, &size| {
            let begin = *end;
            *end += size;
            Some(begin..*end)
        })
        .collect()
}

impl LambdaRank {
    pub(super) fn check(&self, op: &'static str, rows: usize, groups: Option<&[usize]>) -> Result<()> {
        let Some(groups) = groups else {
            return Err(Error::argument(op, "ranking needs groups: give the target with Target::grouped"));
        };
        let sum: usize = groups.iter().sum();
        if sum != rows || groups.contains(&0) {
            let message = format!("{} groups of {sum} rows in all for {rows} rows, none may be empty", groups.len());
            return Err(Error::argument(op, message));
        }
        if !(self.sigmoid > 0.0 && self.sigmoid.is_finite()) || self.truncation == 0 {
            let message = format!(
                "sigmoid must be above 0 and truncation at least 1, got {} and {}",
                self.sigmoid, self.truncation
            );
            return Err(Error::argument(op, message));
        }
        Ok(())
    }

    pub(super) fn gradients(&self, scores: &[f64], labels: &[f64], groups: &[usize], out: &mut [[f64; 2]]) {
        let mut rest = out;
        let mut tasks = Vec::with_capacity(groups.len());
        for range in ranges(groups) {
            let (first, after) = rest.split_at_mut(range.len());
            tasks.push((range, first));
            rest = after;
        }
        tasks.into_par_iter().with_min_len(4).for_each(|(range, out)| {
            self.group(&scores[range.clone()], &labels[range], out);
        });
    }

    fn group(&self, scores: &[f64], labels: &[f64], out: &mut [[f64; 2]]) {
        out.fill([0.0; 2]);
        let ideal = ideal_dcg(labels, self.truncation);
        if ideal <= 0.0 {
            return;
        }
        // Everything in the order of the scores.
        let order = ranking(scores);
        let discounts: Vec<f64> = (0..order.len()).map(discount).collect();
        let gains: Vec<f64> = order.iter().map(|&row| gain(labels[row])).collect();
        let scores: Vec<f64> = order.iter().map(|&row| scores[row]).collect();
        let spread = scores[0] != scores[scores.len() - 1];
        let (mut sum, mut found) = (0.0, vec![[0.0; 2]; order.len()]);
        for first in 0..order.len().min(self.truncation) {
            for second in first + 1..order.len() {
                if gains[first] == gains[second] {
                    continue;
                }
                let (high, low) = if gains[first] > gains[second] { (first, second) } else { (second, first) };
                let difference = scores[high] - scores[low];
                let swap = (gains[high] - gains[low]) * (discounts[first] - discounts[second]) / ideal;
                let weight = if self.normalize && spread { swap / (0.01 + difference.abs()) } else { swap };
                let p = sigmoid(-self.sigmoid * difference);
                let gradient = self.sigmoid * p * weight;
                let hessian = self.sigmoid * (1.0 - p) * gradient;
                found[high] = [found[high][0] - gradient, found[high][1] + hessian];
                found[low] = [found[low][0] + gradient, found[low][1] + hessian];
                sum += 2.0 * gradient;
            }
        }
        let factor = if self.normalize && sum > 0.0 { (1.0 + sum).log2() / sum } else { 1.0 };
        order.iter().zip(found).for_each(|(&row, [g, h])| out[row] = [g * factor, h * factor]);
    }

    /// The mean NDCG of the groups, cut off at `truncation`; a group without relevant rows counts 1.
    pub(super) fn ndcg(&self, scores: &[f64], labels: &[f64], groups: &[usize]) -> f64 {
        let one = |range: Range<usize>| {
            let (scores, labels) = (&scores[range.clone()], &labels[range]);
            let ideal = ideal_dcg(labels, self.truncation);
            let found = dcg(ranking(scores).into_iter().map(|row| labels[row]), self.truncation);
            if ideal > 0.0 { found / ideal } else { 1.0 }
        };
        let each: Vec<f64> = ranges(groups).into_par_iter().map(one).collect();
        each.iter().sum::<f64>() / each.len() as f64
    }
}
