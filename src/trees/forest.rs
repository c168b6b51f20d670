//! Random forests (Breiman 2001): trees on bootstrap samples, each node with its own draw of features, averaged.
//!
//! A node's purity is Σ s² / n over its n rows, with s the sums of the outputs (of a class' indicator: its count): a
//! split's gain is how much it grows, which is the fall of n times the Gini impurity, or of the squared error. Trees
//! are grown side by side, each by one thread and with generators of its own.

use super::binning::Binned;
use super::config::share;
use super::features::{Features, Schema, Unknown};
use super::forest_grow::Grower;
use super::importance::{Importance, importance};
use super::objective::Target;
use super::sample::{Purpose, generator};
use super::tree::Tree;
use crate::random::below;
use crate::{Error, Result};
use rayon::prelude::*;

const OP: &str = "Forest::fit";

/// Trees whose out-of-bag rows are held at once.
const BATCH: usize = 32;

/// What a forest predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForestTask {
    /// The mean of the labels.
    Regression,
    /// The probability of each class; labels 0 to classes − 1.
    Classification {
        /// How many classes there are.
        classes: usize,
    },
}

/// How a forest is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct ForestConfig {
    /// What it predicts.
    pub task: ForestTask,
    /// Trees.
    pub trees: usize,
    /// The share of features that each node draws; more where those have no split.
    pub features_per_node: f64,
    /// Whether each tree has its own sample of the rows, drawn with replacement; else all have all rows.
    pub bootstrap: bool,
    /// Splits from the root to a leaf.
    pub max_depth: usize,
    /// Rows of a leaf.
    pub min_data: usize,
    /// Bins per feature besides the one for missing values: 2 to 255.
    pub max_bins: usize,
    /// Of everything that is drawn at random.
    pub seed: u64,
    /// What a category means that the training rows did not have.
    pub unknown: Unknown,
}

impl ForestConfig {
    /// 100 trees to the last row; each node draws a third of the features (Breiman's choice for regression).
    pub fn regression() -> Self {
        ForestConfig {
            task: ForestTask::Regression,
            trees: 100,
            features_per_node: 1.0 / 3.0,
            bootstrap: true,
            max_depth: usize::MAX,
            min_data: 1,
            max_bins: 255,
            seed: 0,
            unknown: Unknown::default(),
        }
    }

    /// 100 trees to the last row; each node draws the square root of this number of features.
    pub fn classification(classes: usize, features: usize) -> Self {
        let features_per_node = (features.max(1) as f64).sqrt().recip();
        ForestConfig { task: ForestTask::Classification { classes }, features_per_node, ..ForestConfig::regression() }
    }

    fn check(&self, rows: usize, target: &Target) -> Result<()> {
        let labels = target.labels;
        if labels.len() != rows {
            return Err(Error::argument(OP, format!("{} labels for {rows} rows", labels.len())));
        }
        let wrong = match self.task {
            ForestTask::Regression => labels.iter().position(|y| !y.is_finite()),
            ForestTask::Classification { classes } => {
                labels.iter().position(|&y| !((0.0..classes as f64).contains(&y) && y.fract() == 0.0))
            }
        };
        if let Some(row) = wrong {
            let message = format!("row {row} has the label {}, which does not fit {:?}", labels[row], self.task);
            return Err(Error::argument(OP, message));
        }
        if self.trees == 0 || self.max_depth == 0 {
            let message = format!("a forest of {} trees of depth up to {}", self.trees, self.max_depth);
            return Err(Error::argument(OP, message));
        }
        share(OP, "features_per_node", self.features_per_node)
    }
}

/// A random forest.
///
/// ```
/// use warpsmith::trees::{Features, Forest, ForestConfig, Target};
/// let x: Vec<f64> = (0..300).map(|i| (i % 60) as f64).collect();
/// let y: Vec<f64> = x.iter().map(|&x| if (20.0..40.0).contains(&x) { 1.0 } else { 0.0 }).collect();
/// let table = Features::new().numeric("x", x)?;
/// let forest = Forest::fit(&table, &Target::new(&y), &ForestConfig::classification(2, 1))?;
/// assert!(forest.out_of_bag_score().is_some_and(|accuracy| accuracy > 0.99));
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    pub(super) schema: Schema,
    pub(super) task: ForestTask,
    pub(super) trees: Vec<Tree>,
    pub(super) out_of_bag_score: Option<f64>,
}

impl Forest {
    /// Trains on these rows.
    pub fn fit(features: &Features, target: &Target, config: &ForestConfig) -> Result<Self> {
        rayon::scope(|_| train(features, target, config))
    }

    /// The mean of the trees' leaves: row-major, the probability of each class, or one mean.
    pub fn predict(&self, features: &Features) -> Result<Vec<f64>> {
        let matrix = self.schema.encode("Forest::predict", features)?;
        let outputs = self.task.outputs();
        let mut out = vec![0.0; matrix.rows() * outputs];
        let part = 1.0 / self.trees.len() as f64;
        matrix.for_blocks(&mut out, outputs, |rows, out| {
            for tree in &self.trees {
                for (row, out) in rows.chunks_exact(matrix.width()).zip(out.chunks_exact_mut(outputs)) {
                    out.iter_mut().zip(tree.predict(row)).for_each(|(sum, v)| *sum += v);
                }
            }
            out.iter_mut().for_each(|v| *v *= part);
        });
        Ok(out)
    }

    /// Of classification the accuracy, of regression R², each training row predicted by the trees that did not see it;
    /// none without a bootstrap, or where every tree saw every row.
    pub fn out_of_bag_score(&self) -> Option<f64> {
        self.out_of_bag_score
    }

    /// What it predicts.
    pub fn task(&self) -> ForestTask {
        self.task
    }

    /// The trees.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Each feature's importance, in the order of the training columns.
    pub fn importance(&self, kind: Importance) -> Vec<(&str, f64)> {
        importance(&self.schema, &self.trees, kind)
    }
}

impl ForestTask {
    /// Numbers per row of a prediction.
    pub fn outputs(&self) -> usize {
        match self {
            ForestTask::Regression => 1,
            ForestTask::Classification { classes } => *classes,
        }
    }
}

fn train(features: &Features, target: &Target, config: &ForestConfig) -> Result<Forest> {
    let binned = Binned::new(OP, features, config.max_bins, 1, config.unknown)?;
    config.check(features.rows(), target)?;
    let outputs = config.task.outputs();
    // Sums of squares lose the fewest bits around the mean.
    let mean = match config.task {
        ForestTask::Regression => target.labels.iter().sum::<f64>() / binned.rows as f64,
        ForestTask::Classification { .. } => 0.0,
    };
    let labels: Vec<f64> = target.labels.iter().map(|y| y - mean).collect();
    let rows = binned.schema.encode(OP, features)?.dense();
    let width = binned.features.len();
    let (mut trees, mut sums, mut seen) = (Vec::new(), vec![0.0; binned.rows * outputs], vec![0u32; binned.rows]);
    for first in (0..config.trees).step_by(BATCH) {
        let numbers = first..config.trees.min(first + BATCH);
        let grown: Vec<(Tree, Vec<(u32, u32)>)> = numbers
            .into_par_iter()
            .with_max_len(1)
            .map(|number| {
                let weights = weights(config, number, binned.rows);
                let rng = generator(config.seed, Purpose::Features, number, 0);
                let tree = Grower::new(config, &binned, &labels, &weights, rng).grow(mean);
                let unseen = (0..binned.rows).filter(|&row| weights[row] == 0);
                let leaf = |row: usize| (row as u32, tree.leaf(&rows[row * width..(row + 1) * width]) as u32);
                let unseen = unseen.map(leaf).collect();
                (tree, unseen)
            })
            .collect();
        for (tree, unseen) in grown {
            for (row, leaf) in unseen {
                let (row, leaf) = (row as usize, leaf as usize);
                seen[row] += 1;
                let values = &tree.values[leaf * outputs..(leaf + 1) * outputs];
                sums[row * outputs..(row + 1) * outputs].iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
            }
            trees.push(tree);
        }
    }
    let out_of_bag_score = score(config.task, target.labels, &sums, &seen);
    Ok(Forest { schema: binned.schema, task: config.task, trees, out_of_bag_score })
}

/// How often each row is in a tree's sample.
fn weights(config: &ForestConfig, tree: usize, rows: usize) -> Vec<u32> {
    let mut weights = vec![!config.bootstrap as u32; rows];
    if config.bootstrap {
        let mut rng = generator(config.seed, Purpose::Bootstrap, tree, 0);
        (0..rows).for_each(|_| weights[below(&mut rng, rows as u64) as usize] += 1);
    }
    weights
}

/// Of the rows that some tree did not see: accuracy, or R².
fn score(task: ForestTask, labels: &[f64], sums: &[f64], seen: &[u32]) -> Option<f64> {
    let rows: Vec<usize> = (0..labels.len()).filter(|&row| seen[row] > 0).collect();
    if rows.is_empty() {
        return None;
    }
    let n = rows.len() as f64;
    match task {
        ForestTask::Classification { classes } => {
            let right = |row: &&usize| {
                let sums = &sums[**row * classes..(**row + 1) * classes];
                let first = |best: usize, i: usize| if sums[i] > sums[best] { i } else { best };
                (0..classes).fold(0, first) as f64 == labels[**row]
            };
            Some(rows.iter().filter(right).count() as f64 / n)
        }
        ForestTask::Regression => {
            let mean = rows.iter().map(|&row| labels[row]).sum::<f64>() / n;
            let residual = |row: usize| (labels[row] - sums[row] / seen[row] as f64).powi(2);
            let total: f64 = rows.iter().map(|&row| (labels[row] - mean).powi(2)).sum();
            (total > 0.0).then(|| 1.0 - rows.iter().map(|&row| residual(row)).sum::<f64>() / total)
        }
    }
}
