//! DART (Rashmi & Gilad-Bachrach 2015): a round's tree is fitted to what the others miss while some are left out.

use super::boost::for_trees;
use super::config::{in_range, share};
use super::matrix::Matrix;
use super::sample::{Purpose, generator};
use super::tree::Tree;
use crate::random::below;
use crate::{Error, Result};
use rand_core::Rng;

/// How trees are dropped. With k rounds left out, the new tree counts 1/(k + 1) and each of them k/(k + 1) from then
/// on.
#[derive(Clone, Debug, PartialEq)]
pub struct Dart {
    /// The probability that an earlier round is left out.
    pub drop_rate: f64,
    /// The probability that none is left out.
    pub skip_drop: f64,
    /// Rounds left out at once.
    pub max_drop: usize,
}

impl Default for Dart {
    fn default() -> Self {
        Dart { drop_rate: 0.1, skip_drop: 0.5, max_drop: 50 }
    }
}

impl Dart {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        share(op, "dart.drop_rate", self.drop_rate)?;
        in_range(op, "dart.skip_drop", self.skip_drop, 0.0, 1.0)?;
        if self.max_drop == 0 {
            return Err(Error::argument(op, "dart.max_drop must be at least 1"));
        }
        Ok(())
    }

    /// Which of the rounds so far are left out; at least one where any may be.
    pub(super) fn draw(&self, seed: u64, round: usize, outputs: usize) -> Dropped {
        let mut rng = generator(seed, Purpose::Dropped, round, 0);
        let mut uniform = || (rng.next_u64() >> 11) as f64 * 2f64.powi(-53);
        let mut rounds = Vec::new();
        if round > 0 && uniform() >= self.skip_drop {
            rounds = (0..round).filter(|_| uniform() < self.drop_rate).collect();
            if rounds.is_empty() {
                rounds.push(below(&mut rng, round as u64) as usize);
            }
            while rounds.len() > self.max_drop {
                rounds.swap_remove(below(&mut rng, rounds.len() as u64) as usize);
            }
            rounds.sort_unstable();
        }
        Dropped { rounds, outputs }
    }
}

/// The rounds that are left out while one is trained.
pub(super) struct Dropped {
    rounds: Vec<usize>,
    outputs: usize,
}

impl Dropped {
    fn trees<'a>(&self, trees: &'a [Tree], round: usize) -> &'a [Tree] {
        &trees[round * self.outputs..(round + 1) * self.outputs]
    }

    /// Takes them out of the scores.
    pub fn leave(&self, matrix: &Matrix, trees: &[Tree], scores: &mut [f64]) {
        for &round in &self.rounds {
            for_trees(matrix, self.trees(trees, round), self.outputs, scores, -1.0);
        }
    }

    /// What the new tree's values are multiplied by.
    pub fn new_tree(&self) -> f64 {
        1.0 / (self.rounds.len() as f64 + 1.0)
    }

    /// Makes them count less and puts them back into the training scores; the validation scores never lost them.
    pub fn come_back(
        &self,
        training: (&Matrix, &mut [f64]),
        validation: Option<(&Matrix, &mut [f64])>,
        trees: &mut [Tree],
    ) {
        let kept = self.rounds.len() as f64 * self.new_tree();
        if let Some((matrix, scores)) = validation {
            for &round in &self.rounds {
                for_trees(matrix, self.trees(trees, round), self.outputs, scores, kept - 1.0);
            }
        }
        for &round in &self.rounds {
            trees[round * self.outputs..(round + 1) * self.outputs].iter_mut().for_each(|tree| tree.scale(kept));
            for_trees(training.0, self.trees(trees, round), self.outputs, training.1, 1.0);
        }
    }
}
