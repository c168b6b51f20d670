//! Gradient boosting: each round's trees are fitted to the loss' second-order expansion at the scores so far.

use super::binning::Binned;
use super::config::{TreeConfig, in_range, share};
use super::dart::{Dart, Dropped};
use super::features::{Features, Schema, Unknown};
use super::grow::{Grower, Round};
use super::histogram::{Cell, quantize};
use super::importance::{Importance, importance};
use super::matrix::Matrix;
use super::objective::{Objective, Target};
use super::sample::{self, Purpose, generator};
use super::tree::Tree;
use crate::{Error, Result};
use rayon::prelude::*;

const OP: &str = "Boosted::fit";

/// How a boosted model is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct BoostConfig {
    /// What is minimised.
    pub objective: Objective,
    /// Rounds; each grows one tree per score.
    pub rounds: usize,
    /// What each tree's values are multiplied by.
    pub learning_rate: f64,
    /// How a tree is grown.
    pub tree: TreeConfig,
    /// Bins per feature besides the one for missing values: 2 to 255.
    pub max_bins: usize,
    /// Rows of a bin, where a number does not fill one alone.
    pub min_data_in_bin: usize,
    /// The share of rows, drawn without replacement for each round.
    pub row_fraction: f64,
    /// Stop when the validation loss has not fallen below its least for so many rounds, and keep the rounds up to it.
    pub early_stopping: Option<usize>,
    /// Drop trees while training.
    pub dart: Option<Dart>,
    /// Of everything that is drawn at random.
    pub seed: u64,
    /// What a category means that the training rows did not have.
    pub unknown: Unknown,
}

impl BoostConfig {
    /// 100 rounds at a learning rate of 0.1, trees of 31 leaves: LightGBM's defaults.
    pub fn new(objective: Objective) -> Self {
        BoostConfig {
            objective,
            rounds: 100,
            learning_rate: 0.1,
            tree: TreeConfig::default(),
            max_bins: 255,
            min_data_in_bin: 3,
            row_fraction: 1.0,
            early_stopping: None,
            dart: None,
            seed: 0,
            unknown: Unknown::default(),
        }
    }

    fn check(&self, validated: bool) -> Result<()> {
        self.tree.check(OP)?;
        share(OP, "row_fraction", self.row_fraction)?;
        in_range(OP, "learning_rate", self.learning_rate, f64::MIN_POSITIVE, f64::MAX)?;
        if let Some(dart) = &self.dart {
            dart.check(OP)?;
        }
        if self.early_stopping.is_some() && !validated {
            return Err(Error::argument(OP, "early_stopping needs validation rows: use Boosted::fit_validated"));
        }
        if self.early_stopping.is_some() && self.dart.is_some() {
            let message = "early_stopping does not go with DART: later rounds change the trees of earlier ones";
            return Err(Error::argument(OP, message));
        }
        Ok(())
    }
}

/// A boosted model.
///
/// ```
/// use warpsmith::trees::{BoostConfig, Boosted, Features, Objective, Target};
/// let x: Vec<f64> = (0..400).map(|i| i as f64 / 400.0).collect();
/// let y: Vec<f64> = x.iter().map(|x| (6.0 * x).sin()).collect();
/// let table = Features::new().numeric("x", x)?;
/// let model = Boosted::fit(&table, &Target::new(&y), &BoostConfig::new(Objective::L2))?;
/// let worst = model.predict(&table)?.iter().zip(&y).map(|(p, y)| (p - y).abs()).fold(0.0, f64::max);
/// assert!(worst < 0.2);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Boosted {
    pub(super) schema: Schema,
    pub(super) objective: Objective,
    pub(super) initial: Vec<f64>,
    /// Round by round, each with a tree per output.
    pub(super) trees: Vec<Tree>,
    pub(super) validation: Vec<f64>,
}

impl Boosted {
    /// Trains on these rows.
    pub fn fit(features: &Features, target: &Target, config: &BoostConfig) -> Result<Self> {
        // On a thread of the pool, so that sharing out work needs no hand-over.
        rayon::scope(|_| train(features, target, None, config))
    }

    /// Trains on the first rows and follows the loss of the others: [`Boosted::validation_losses`].
    pub fn fit_validated(
        training: (&Features, &Target),
        validation: (&Features, &Target),
        config: &BoostConfig,
    ) -> Result<Self> {
        rayon::scope(|_| train(training.0, training.1, Some(validation), config))
    }

    /// What the objective is about, row-major with [`Objective::outputs`] numbers a row: means, probabilities, scores.
    pub fn predict(&self, features: &Features) -> Result<Vec<f64>> {
        let mut out = self.scores(features)?;
        let outputs = self.initial.len();
        out.par_chunks_mut(1024 * outputs).for_each(|rows| {
            rows.chunks_exact_mut(outputs).for_each(|row| self.objective.transform(row));
        });
        Ok(out)
    }

    /// The sums of the trees' values, row-major with [`Objective::outputs`] numbers a row.
    pub fn scores(&self, features: &Features) -> Result<Vec<f64>> {
        let matrix = self.schema.encode("Boosted::predict", features)?;
        let mut out = self.initial.repeat(matrix.rows());
        for_trees(&matrix, &self.trees, self.initial.len(), &mut out, 1.0);
        Ok(out)
    }

    /// The mean loss of these rows; for ranking, 1 less the mean NDCG.
    pub fn loss(&self, features: &Features, target: &Target) -> Result<f64> {
        self.objective.check("Boosted::loss", features.rows(), target)?;
        if features.rows() == 0 {
            return Err(Error::argument("Boosted::loss", "no rows"));
        }
        Ok(self.objective.loss(&self.scores(features)?, target))
    }

    /// The loss of the validation rows after each round that was trained.
    pub fn validation_losses(&self) -> &[f64] {
        &self.validation
    }

    /// What was minimised.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// The rounds that the model keeps.
    pub fn rounds(&self) -> usize {
        self.trees.len() / self.initial.len()
    }

    /// The model after its first rounds alone.
    pub fn truncated(&self, rounds: usize) -> Self {
        let mut model = self.clone();
        model.trees.truncate(rounds.saturating_mul(self.initial.len()));
        model
    }

    /// The trees: round by round, each with a tree per output.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Each feature's importance, in the order of the training columns.
    pub fn importance(&self, kind: Importance) -> Vec<(&str, f64)> {
        importance(&self.schema, &self.trees, kind)
    }
}

/// Adds `factor` times the trees' values to `out`; the trees go round by round with one per output.
pub(super) fn for_trees(matrix: &Matrix, trees: &[Tree], outputs: usize, out: &mut [f64], factor: f64) {
    let width = matrix.width();
    matrix.for_blocks(out, outputs, |rows, out| {
        for (number, tree) in trees.iter().enumerate() {
            let out = out[number % outputs..].iter_mut().step_by(outputs);
            rows.chunks_exact(width).zip(out).for_each(|(row, out)| *out += factor * tree.predict(row)[0]);
        }
    });
}

/// Rows whose scores are kept up to date.
struct Followed<'a> {
    matrix: Matrix<'a>,
    target: Target<'a>,
    scores: Vec<f64>,
}

fn train<'a>(
    features: &'a Features,
    target: &'a Target,
    validation: Option<(&'a Features, &'a Target)>,
    config: &BoostConfig,
) -> Result<Boosted> {
    let objective = &config.objective;
    config.check(validation.is_some())?;
    let binned = Binned::new(OP, features, config.max_bins, config.min_data_in_bin, config.unknown)?;
    objective.check(OP, features.rows(), target)?;
    let initial = objective.initial(target);
    let follow = |features: &'a Features, target: &Target<'a>| -> Result<Followed<'a>> {
        let matrix = binned.schema.encode(OP, features)?;
        Ok(Followed { scores: initial.repeat(matrix.rows()), matrix, target: *target })
    };
    let mut training = follow(features, target)?;
    let mut validation = match validation {
        None => None,
        Some((features, _)) if features.rows() == 0 => return Err(Error::argument(OP, "no validation rows")),
        Some((features, target)) => {
            objective.check("Boosted::fit, validation", features.rows(), target)?;
            Some(follow(features, target)?)
        }
    };
    let mut growers: Vec<_> = initial.iter().map(|_| (Grower::new(&binned, &config.tree), Vec::new())).collect();
    let mut gradients = vec![[0.0; 2]; training.scores.len()];
    let (mut trees, mut losses) = (Vec::new(), Vec::new());
    for round in 0..config.rounds {
        let dropped = config.dart.as_ref().map(|dart| dart.draw(config.seed, round, initial.len()));
        if let Some(dropped) = &dropped {
            dropped.leave(&training.matrix, &trees, &mut training.scores);
        }
        objective.gradients(&training.scores, target, &mut gradients);
        let factor = config.learning_rate * dropped.as_ref().map_or(1.0, Dropped::new_tree);
        let grown = grow_round(config, round, &binned, &gradients, &mut growers, factor, &mut training);
        let random = config.row_fraction < 1.0 || config.tree.feature_fraction < 1.0 || config.dart.is_some();
        if !random && grown.iter().all(|tree| tree.nodes.is_empty()) {
            // No later round would find a split either.
            break;
        }
        if let Some(followed) = &mut validation {
            for_trees(&followed.matrix, &grown, initial.len(), &mut followed.scores, 1.0);
        }
        if let Some(dropped) = &dropped {
            let validation = validation.as_mut().map(|v| (&v.matrix, v.scores.as_mut_slice()));
            dropped.come_back((&training.matrix, &mut training.scores), validation, &mut trees);
        }
        trees.extend(grown);
        if let Some(followed) = &validation {
            losses.push(objective.loss(&followed.scores, &followed.target));
            if config.early_stopping.is_some_and(|patience| losses.len() - 1 - least(&losses) >= patience) {
                break;
            }
        }
    }
    if config.early_stopping.is_some() && !losses.is_empty() {
        trees.truncate((least(&losses) + 1) * initial.len());
    }
    Ok(Boosted { schema: binned.schema, objective: objective.clone(), initial, trees, validation: losses })
}

/// The place of the first least number.
fn least(losses: &[f64]) -> usize {
    let better = |best: usize, i: usize| if losses[i] < losses[best] { i } else { best };
    (0..losses.len()).fold(0, better)
}

/// A tree per output, its values times `factor`, which the training scores then contain.
fn grow_round(
    config: &BoostConfig,
    round: usize,
    binned: &Binned,
    gradients: &[[f64; 2]],
    growers: &mut [(Grower, Vec<Cell>)],
    factor: f64,
    training: &mut Followed,
) -> Vec<Tree> {
    let outputs = growers.len();
    let bag = (config.row_fraction < 1.0).then(|| {
        let count = sample::part_of(config.row_fraction, binned.rows);
        sample::rows(count, binned.rows, &mut generator(config.seed, Purpose::Rows, round, 0))
    });
    let one = |(output, (grower, cells)): (usize, &mut (Grower, Vec<Cell>))| {
        let mut rng = generator(config.seed, Purpose::Features, round, output);
        let active = sample::features(config.tree.feature_fraction, binned.features.len(), &mut rng);
        let scale = quantize(gradients, output, outputs, cells);
        let mut grown = grower.grow(&Round { cells, scale, bag: bag.as_deref(), active: &active });
        grown.tree.scale(factor);
        grown
    };
    let grown: Vec<_> = growers.par_iter_mut().enumerate().map(one).collect();
    if bag.is_none() {
        for (output, (grown, (grower, _))) in grown.iter().zip(growers).enumerate() {
            for (rows, value) in grown.leaves.iter().zip(&grown.tree.values) {
                for &row in &grower.rows()[rows.clone()] {
                    training.scores[row as usize * outputs + output] += value;
                }
            }
        }
    }
    let trees: Vec<Tree> = grown.into_iter().map(|g| g.tree).collect();
    if bag.is_some() {
        for_trees(&training.matrix, &trees, outputs, &mut training.scores, 1.0);
    }
    trees
}
