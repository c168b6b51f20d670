//! Features as small numbers: quantiles of each column, at most 255 of them, and one more bin for missing values.

use super::features::{Features, Kind, NO_CATEGORY, Schema, Unknown, Values};
use crate::random::{Philox, below};
use crate::{Error, Result};
use rayon::prelude::*;

/// The bin of missing values, and of categories that are too rare for a bin of their own.
pub(super) const MISSING: u8 = 255;

/// Rows that quantiles are taken from; of more rows, one is drawn from each of so many equal stretches.
const SAMPLE: usize = 200_000;

/// Features whose bins lie side by side in memory: a row's share of a histogram is then a few bytes in one line, and
/// the cells that it adds to are far apart, so that no addition waits for the one before it.
const GROUP: usize = 8;

/// The count of rows and the sum of second derivatives share 63 bits: of more rows, too few would be left.
const MOST_ROWS: usize = 1 << 24;

/// How a column is cut into bins.
#[derive(Clone, Debug)]
pub(super) enum Cuts {
    /// The largest value of each bin but the last, ascending.
    Numeric(Vec<f64>),
    /// A bin per category.
    Categorical,
}

/// The training rows in bins.
pub(super) struct Binned {
    pub rows: usize,
    pub schema: Schema,
    pub features: Vec<Feature>,
    pub groups: Vec<Group>,
}

pub(super) struct Feature {
    pub cuts: Cuts,
    /// Bins without the one for missing values.
    pub bins: usize,
    /// Each row's bin.
    pub column: Vec<u8>,
}

/// Neighbouring features, row by row.
pub(super) struct Group {
    pub first: usize,
    pub width: usize,
    pub rows: Vec<u8>,
}

impl Binned {
    pub fn new(
        op: &'static str,
        table: &Features,
        max_bins: usize,
        min_in_bin: usize,
        unknown: Unknown,
    ) -> Result<Self> {
        if table.rows() == 0 || table.columns.is_empty() {
            let message = format!("no training data: {} rows of {} columns", table.rows(), table.columns.len());
            return Err(Error::argument(op, message));
        }
        if !(2..=MISSING as usize).contains(&max_bins) {
            return Err(Error::argument(op, format!("max_bins must be 2 to {MISSING}, got {max_bins}")));
        }
        if table.rows() >= MOST_ROWS {
            let message = format!("{} rows; the sums of gradients have room for fewer than {MOST_ROWS}", table.rows());
            return Err(Error::argument(op, message));
        }
        let cut = |values: &Values| match values {
            Values::Numeric(values) => numeric(values, max_bins, min_in_bin),
            Values::Categorical { names, ids } => categorical(names, ids, max_bins),
        };
        let (kinds, features): (Vec<Kind>, Vec<Feature>) = table.columns.par_iter().map(|c| cut(&c.values)).unzip();
        let columns = table.columns.iter().map(|c| c.name.clone()).zip(kinds).collect();
        let groups = groups(&features);
        Ok(Binned { rows: table.rows(), schema: Schema { columns, unknown }, features, groups })
    }
}

fn groups(features: &[Feature]) -> Vec<Group> {
    let count = features.len().div_ceil(GROUP);
    let bounds = |g: usize| g * features.len() / count..(g + 1) * features.len() / count;
    (0..count)
        .into_par_iter()
        .map(|g| {
            let (first, width) = (bounds(g).start, bounds(g).len());
            let mut rows = vec![0; features[first].column.len() * width];
            for (j, feature) in features[bounds(g)].iter().enumerate() {
                rows[j..].iter_mut().step_by(width).zip(&feature.column).for_each(|(to, &bin)| *to = bin);
            }
            Group { first, width, rows }
        })
        .collect()
}

fn categorical(names: &[String], ids: &[u32], max_bins: usize) -> (Kind, Feature) {
    let mut counts = vec![0usize; names.len()];
    ids.iter().filter(|&&id| id != NO_CATEGORY).for_each(|&id| counts[id as usize] += 1);
    let mut order: Vec<usize> = (0..names.len()).filter(|&id| counts[id] > 0).collect();
    // Stable: of equally frequent ones, the first seen comes first.
    order.sort_by_key(|&id| std::cmp::Reverse(counts[id]));
    let kept = order.len().min(max_bins);
    let mut bin_of = vec![MISSING; names.len()];
    order.iter().take(kept).enumerate().for_each(|(bin, &id)| bin_of[id] = bin as u8);
    let column = ids.iter().map(|&id| if id == NO_CATEGORY { MISSING } else { bin_of[id as usize] }).collect();
    let names = order.iter().map(|&id| names[id].clone()).collect();
    (Kind::Categorical { names, kept }, Feature { cuts: Cuts::Categorical, bins: kept, column })
}

fn numeric(values: &[f64], max_bins: usize, min_in_bin: usize) -> (Kind, Feature) {
    let bounds = bounds(values, max_bins, min_in_bin);
    let bin = |&v: &f64| if v.is_nan() { MISSING } else { bounds.partition_point(|&b| b < v) as u8 };
    let column = values.iter().map(bin).collect();
    (Kind::Numeric, Feature { bins: bounds.len() + 1, cuts: Cuts::Numeric(bounds), column })
}

/// The largest value of each bin but the last, ascending. A value that fills a bin by itself has it alone, or with
/// those before it that are less than half a bin; the others share what is left evenly; no bin has fewer than
/// `min_in_bin` rows, but the last may.
pub(super) fn bounds(values: &[f64], max_bins: usize, min_in_bin: usize) -> Vec<f64> {
    let distinct = distinct(values);
    let rows: usize = distinct.iter().map(|d| d.1).sum();
    let everyone = distinct.len() <= max_bins;
    let heavy = |count: usize| everyone || count * max_bins >= rows;
    let (mut rest, mut rest_bins) = (rows, max_bins);
    for &(_, count) in distinct.iter().filter(|d| heavy(d.1)) {
        rest -= count;
        rest_bins -= 1;
    }
    let (mut bounds, mut filled) = (Vec::new(), 0);
    for (place, &(value, count)) in distinct.iter().enumerate() {
        let Some(&(next, next_count)) = distinct.get(place + 1) else { break };
        if bounds.len() + 1 == max_bins {
            break;
        }
        filled += count;
        let share = rest as f64 / rest_bins.max(1) as f64;
        let full = heavy(count) || filled as f64 >= share || (heavy(next_count) && filled as f64 >= 0.5 * share);
        if full && filled >= min_in_bin {
            bounds.push(between(value, next));
            if !heavy(count) {
                rest = rest.saturating_sub(filled);
                rest_bins = rest_bins.saturating_sub(1);
            }
            filled = 0;
        }
    }
    bounds
}

/// A number from `low` on and below `high`: the middle where there is one.
fn between(low: f64, high: f64) -> f64 {
    let middle = low + 0.5 * (high - low);
    if middle >= low && middle < high { middle } else { low }
}

/// The distinct values in ascending order with how often they occur, of all rows or of a fixed sample.
fn distinct(values: &[f64]) -> Vec<(f64, usize)> {
    let mut rng = Philox::new(0);
    let mut sorted: Vec<f64> = if values.len() <= SAMPLE {
        values.iter().copied().filter(|v| !v.is_nan()).collect()
    } else {
        let start = |i: usize| (i as u128 * values.len() as u128 / SAMPLE as u128) as usize;
        let place = |i: usize| start(i) + below(&mut rng, (start(i + 1) - start(i)) as u64) as usize;
        (0..SAMPLE).map(place).map(|p| values[p]).filter(|v| !v.is_nan()).collect()
    };
    sorted.sort_unstable_by(f64::total_cmp);
    // Equality of numbers: both zeros are one value.
    sorted.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
}
