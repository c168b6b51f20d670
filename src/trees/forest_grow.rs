//! Growth of a forest's trees: node by node to the last row, each with its own draw of features.

use super::binning::{Binned, Cuts, Feature, MISSING};
use super::forest::{ForestConfig, ForestTask};
use super::partition::partition;
use super::sample;
use super::split::{BinSet, Rule, Split, set_of};
use super::tree::{Node, Tree, leaf_link};
use crate::random::{Philox, below};
use std::ops::Range;

/// Sums over rows: how many, then one number per output.
type Stats = Vec<f64>;

fn purity(stats: &[f64]) -> f64 {
    if stats[0] > 0.0 { stats[1..].iter().map(|s| s * s).sum::<f64>() / stats[0] } else { 0.0 }
}

pub(super) struct Grower<'a> {
    config: &'a ForestConfig,
    binned: &'a Binned,
    labels: &'a [f64],
    weights: &'a [u32],
    rng: Philox,
    index: Vec<u32>,
    buffer: Vec<u32>,
    /// Sums of each bin of the feature at hand; zero between uses.
    bins: Vec<f64>,
    order: Vec<usize>,
}

/// A node whose split is not yet looked for.
struct Open {
    rows: Range<usize>,
    depth: usize,
    parent: Option<(usize, bool)>,
}

impl<'a> Grower<'a> {
    pub fn new(
        config: &'a ForestConfig,
        binned: &'a Binned,
        labels: &'a [f64],
        weights: &'a [u32],
        rng: Philox,
    ) -> Self {
        let index: Vec<u32> = (0..weights.len()).filter(|&row| weights[row] > 0).map(|row| row as u32).collect();
        let width = config.task.outputs() + 1;
        let (buffer, bins) = (vec![0; index.len()], vec![0.0; 256 * width]);
        Grower {
            config,
            binned,
            labels,
            weights,
            rng,
            index,
            buffer,
            bins,
            order: (0..binned.features.len()).collect(),
        }
    }

    fn width(&self) -> usize {
        self.config.task.outputs() + 1
    }

    pub fn grow(mut self, mean: f64) -> Tree {
        let outputs = self.config.task.outputs();
        let (mut nodes, mut values) = (Vec::<Node>::new(), Vec::new());
        let mut open = vec![Open { rows: 0..self.index.len(), depth: 0, parent: None }];
        while let Some(node) = open.pop() {
            let stats = self.stats(&node.rows);
            let split = if node.depth < self.config.max_depth { self.best(&node.rows, &stats) } else { None };
            let link = if split.is_some() { nodes.len() as i32 } else { leaf_link(values.len() / outputs) };
            if let Some((parent, is_left)) = node.parent {
                let parent: &mut Node = &mut nodes[parent];
                *(if is_left { &mut parent.left } else { &mut parent.right }) = link;
            }
            let Some(split) = split else {
                values.extend(stats[1..].iter().map(|s| mean + s / stats[0]));
                continue;
            };
            nodes.push(Node::new(&split, self.binned));
            let feature = &self.binned.features[split.feature];
            let goes_left = split.goes_left(feature.bins);
            let (index, buffer) = (&mut self.index[node.rows.clone()], &mut self.buffer[node.rows.clone()]);
            let middle = node.rows.start + partition(index, buffer, &feature.column, &goes_left);
            let child = |rows, is_left| Open { rows, depth: node.depth + 1, parent: Some((nodes.len() - 1, is_left)) };
            open.push(child(middle..node.rows.end, false));
            open.push(child(node.rows.start..middle, true));
        }
        Tree { nodes, values, outputs }
    }

    fn stats(&self, rows: &Range<usize>) -> Stats {
        let mut stats = vec![0.0; self.width()];
        self.index[rows.clone()].iter().for_each(|&row| self.add(&mut stats, row as usize));
        stats
    }

    #[inline(always)]
    fn add(&self, stats: &mut [f64], row: usize) {
        add_row(self.config.task, self.labels[row], self.weights[row], stats);
    }

    /// The best split by one of the drawn features; further ones are drawn until one has any.
    fn best(&mut self, rows: &Range<usize>, stats: &[f64]) -> Option<Split> {
        let rows = &self.index[rows.clone()];
        let first = self.labels[*rows.first()? as usize];
        if stats[0] < 2.0 * self.config.min_data as f64 || rows.iter().all(|&r| self.labels[r as usize] == first) {
            return None;
        }
        let (all, wanted) = (self.order.len(), sample::part_of(self.config.features_per_node, self.order.len()));
        let mut best: Option<Split> = None;
        for place in 0..all {
            if place >= wanted && best.is_some() {
                break;
            }
            let drawn = place + below(&mut self.rng, (all - place) as u64) as usize;
            self.order.swap(place, drawn);
            let number = self.order[place];
            let feature = &self.binned.features[number];
            let width = self.config.task.outputs() + 1;
            let mut search = Search {
                number,
                feature,
                stats,
                width,
                least: self.config.min_data.max(1) as f64,
                best: best.take(),
                bins: &mut self.bins,
            };
            search.run(rows, |row, stats| {
                add_row(self.config.task, self.labels[row], self.weights[row], stats);
            });
            best = search.best;
        }
        best
    }
}

#[inline(always)]
fn add_row(task: ForestTask, label: f64, weight: u32, stats: &mut [f64]) {
    let weight = weight as f64;
    stats[0] += weight;
    match task {
        ForestTask::Regression => stats[1] += weight * label,
        ForestTask::Classification { .. } => stats[1 + label as usize] += weight,
    }
}

/// Looks for the best split of a node by one feature.
struct Search<'a> {
    number: usize,
    feature: &'a Feature,
    /// Of the whole node.
    stats: &'a [f64],
    width: usize,
    least: f64,
    best: Option<Split>,
    bins: &'a mut [f64],
}

impl Search<'_> {
    fn run(&mut self, rows: &[u32], add: impl Fn(usize, &mut [f64])) {
        let mut filled: BinSet = [0; 4];
        for &row in rows {
            let bin = self.feature.column[row as usize] as usize;
            filled[bin / 64] |= 1 << (bin % 64);
            add(row as usize, &mut self.bins[bin * self.width..(bin + 1) * self.width]);
        }
        // In ascending order, missing values last.
        let mut order: Vec<u8> = Vec::new();
        for (word, bits) in filled.into_iter().enumerate() {
            let mut rest = bits;
            while rest != 0 {
                order.push((word * 64) as u8 + rest.trailing_zeros() as u8);
                rest &= rest - 1;
            }
        }
        let some_missing = order.pop_if(|bin| *bin == MISSING).is_some();
        if matches!(self.feature.cuts, Cuts::Categorical) {
            self.sort(&mut order);
        }
        for missing_left in [false, true] {
            if missing_left && !some_missing {
                break;
            }
            self.scan(&order, missing_left, some_missing);
        }
        for &bin in order.iter().chain(some_missing.then_some(&MISSING)) {
            self.bins[bin as usize * self.width..(bin as usize + 1) * self.width].fill(0.0);
        }
    }

    fn bin(&self, bin: u8) -> &[f64] {
        &self.bins[bin as usize * self.width..(bin as usize + 1) * self.width]
    }

    /// Categories by their mean, of several classes by the share of the node's most frequent one. With one output or
    /// two classes the best set is then a stretch from the beginning (Fisher 1958; Breiman et al. 1984, theorem 4.5).
    fn sort(&self, order: &mut [u8]) {
        let first = |best: usize, i: usize| if self.stats[i] > self.stats[best] { i } else { best };
        let output = (2..self.width).fold(1, first);
        let key = |bin: u8| self.bin(bin)[output] / self.bin(bin)[0];
        order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    }

    fn scan(&mut self, order: &[u8], missing_left: bool, some_missing: bool) {
        let whole = purity(self.stats);
        let mut left = if missing_left { self.bin(MISSING).to_vec() } else { vec![0.0; self.width] };
        let mut right = vec![0.0; self.width];
        for (place, &bin) in order.iter().enumerate() {
            left.iter_mut().zip(self.bin(bin)).for_each(|(sum, v)| *sum += v);
            right.iter_mut().zip(self.stats).zip(&left).for_each(|((right, all), left)| *right = all - left);
            if left[0] < self.least || right[0] < self.least {
                continue;
            }
            let after = purity(&left) + purity(&right);
            let gain = after - whole;
            // Less than the sums' roundoff is no gain.
            if gain > self.best.map_or(1e-12 * after, |s| s.gain) {
                let rule = match self.feature.cuts {
                    Cuts::Numeric(_) => Rule::UpTo(bin),
                    Cuts::Categorical => Rule::Set(set_of(&order[..=place])),
                };
                let missing_left = if some_missing { missing_left } else { left[0] > right[0] };
                self.best = Some(Split { gain, feature: self.number, rule, missing_left, left: [0; 2], l2: 0.0 });
            }
        }
    }
}
