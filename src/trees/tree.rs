//! A tree as it predicts.

use super::binning::{Binned, Cuts};
use super::split::{BinSet, Rule, Split, contains};

/// What a node asks of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Test {
    /// Numbers up to this one go left.
    UpTo(f64),
    /// Categories with these numbers go left.
    In(BinSet),
}

/// A split: where values go. A child below zero is the leaf −1 − child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Node {
    pub feature: usize,
    pub test: Test,
    pub missing_left: bool,
    pub left: i32,
    pub right: i32,
    pub gain: f64,
}

/// The number of a leaf as a node's child.
pub(super) fn leaf_link(leaf: usize) -> i32 {
    -1 - leaf as i32
}

/// A decision tree: each leaf holds one value per output.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) values: Vec<f64>,
    pub(super) outputs: usize,
}

impl Tree {
    /// The number of leaves.
    pub fn leaves(&self) -> usize {
        self.values.len() / self.outputs
    }

    /// Splits on the longest way from the root to a leaf.
    pub fn depth(&self) -> usize {
        // Children come after their parents.
        let mut depths = vec![0; self.nodes.len()];
        for i in 0..self.nodes.len() {
            for child in [self.nodes[i].left, self.nodes[i].right] {
                if let Ok(child) = usize::try_from(child) {
                    depths[child] = depths[i] + 1;
                }
            }
        }
        depths.into_iter().max().map_or(0, |deepest: usize| deepest + 1)
    }

    /// The leaf that a row (numbers by the model's columns) falls into.
    #[inline]
    pub(super) fn leaf(&self, row: &[f64]) -> usize {
        let mut place = if self.nodes.is_empty() { leaf_link(0) } else { 0 };
        while place >= 0 {
            let node = &self.nodes[place as usize];
            place = if node.goes_left(row[node.feature]) { node.left } else { node.right };
        }
        (-1 - place) as usize
    }

    /// The values of the leaf that a row falls into.
    #[inline]
    pub(super) fn predict(&self, row: &[f64]) -> &[f64] {
        let leaf = self.leaf(row);
        &self.values[leaf * self.outputs..(leaf + 1) * self.outputs]
    }

    pub(super) fn scale(&mut self, factor: f64) {
        self.values.iter_mut().for_each(|v| *v *= factor);
    }
}

impl Node {
    /// The node of a split, its children not yet known.
    pub fn new(split: &Split, binned: &Binned) -> Self {
        let test = match (split.rule, &binned.features[split.feature].cuts) {
            // Beyond the last bound there are no numbers, only missing values.
            (Rule::UpTo(bin), Cuts::Numeric(bounds)) => {
                Test::UpTo(bounds.get(bin as usize).copied().unwrap_or(f64::INFINITY))
            }
            (Rule::UpTo(bin), Cuts::Categorical) => unreachable!("a threshold at bin {bin} of categories"),
            (Rule::Set(set), _) => Test::In(set),
        };
        let Split { feature, missing_left, gain, .. } = *split;
        Node { feature, test, missing_left, left: 0, right: 0, gain }
    }

    #[inline(always)]
    fn goes_left(&self, value: f64) -> bool {
        match self.test {
            _ if value.is_nan() => self.missing_left,
            Test::UpTo(bound) => value <= bound,
            Test::In(set) => contains(&set, value as usize),
        }
    }
}
