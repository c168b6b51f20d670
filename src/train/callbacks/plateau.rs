//! A learning rate that falls where a figure no longer gets better.

use super::Goal;
use crate::Result;
use crate::nn::StateDict;
use crate::train::{Callback, Figures, Run};

/// Multiplies the learning rate by a factor whenever a figure has not got better over some evaluations, as PyTorch's
/// `ReduceLROnPlateau` with its defaults: factor 0.1, patience 10, a relative threshold of 1e-4, no cool-down.
///
/// ```
/// use warpsmith::train::{Goal, ReduceOnPlateau};
///
/// let callback = ReduceOnPlateau::new("validation loss", Goal::Lowest).factor(0.5).patience(3);
/// # let _ = callback;
/// ```
#[derive(Clone, Debug)]
pub struct ReduceOnPlateau {
    figure: String,
    goal: Goal,
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    min_factor: f64,
    now: Now,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    factor: f64,
    best: Option<f64>,
    bad: u64,
    cooling: u64,
}

impl ReduceOnPlateau {
    /// Watches the figure of this name.
    pub fn new(figure: impl Into<String>, goal: Goal) -> Self {
        let now = Now { factor: 1.0, best: None, bad: 0, cooling: 0 };
        let (factor, patience, threshold, cooldown, min_factor) = (0.1, 10, 1e-4, 0, 0.0);
        ReduceOnPlateau { figure: figure.into(), goal, factor, patience, threshold, cooldown, min_factor, now }
    }

    /// What the rate is multiplied by.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// So many evaluations without getting better are borne; the next one reduces the rate.
    pub fn patience(mut self, evaluations: u64) -> Self {
        self.patience = evaluations;
        self
    }

    /// The share of the best value by which a value must be better to count.
    pub fn threshold(mut self, share: f64) -> Self {
        self.threshold = share;
        self
    }

    /// After a reduction so many evaluations do not count as bad.
    pub fn cooldown(mut self, evaluations: u64) -> Self {
        self.cooldown = evaluations;
        self
    }

    /// The factors together do not fall below this.
    pub fn min_factor(mut self, factor: f64) -> Self {
        self.min_factor = factor;
        self
    }

    fn see(&mut self, value: f64) {
        let delta = self.now.best.map_or(0.0, |best| best * self.threshold);
        // PyTorch's: best · (1 − threshold) downwards, best · (1 + threshold) upwards.
        if self.goal.is_better(value, self.now.best, delta) {
            (self.now.best, self.now.bad) = (Some(value), 0);
        } else {
            self.now.bad += 1;
        }
        if self.now.cooling > 0 {
            (self.now.cooling, self.now.bad) = (self.now.cooling - 1, 0);
        }
        if self.now.bad > self.patience {
            self.now.factor = (self.now.factor * self.factor).max(self.min_factor);
            (self.now.cooling, self.now.bad) = (self.cooldown, 0);
        }
    }
}

impl Callback for ReduceOnPlateau {
    fn step_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        run.scale_lr(self.now.factor);
        Ok(())
    }

    fn evaluated(&mut self, _: &mut Run<'_>, figures: &Figures) -> Result<()> {
        if let Some(value) = figures.get(&self.figure) {
            self.see(value);
        }
        Ok(())
    }

    fn run_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        run.expect_figure(&self.figure)
    }

    fn key(&self) -> Option<&str> {
        Some("plateau")
    }

    fn state(&mut self) -> Result<StateDict> {
        let Now { factor, best, bad, cooling } = self.now;
        let mut out = StateDict::new();
        out.insert_numbers("now", &[factor, best.unwrap_or(f64::NAN), bad as f64, cooling as f64])?;
        Ok(out)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        if let [factor, best, bad, cooling] = state.numbers("now")?[..] {
            let best = Some(best).filter(|best| !best.is_nan());
            self.now = Now { factor, best, bad: bad as u64, cooling: cooling as u64 };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.optim.lr_scheduler.ReduceLROnPlateau's `step`, written out anew.
    fn reference(values: &[f64], goal: Goal, patience: u32, cooldown: u32, min: f64) -> Vec<f64> {
        let worst = if goal == Goal::Lowest { f64::INFINITY } else { f64::NEG_INFINITY };
        let (mut best, mut bad, mut counter, mut lr) = (worst, 0, 0, 1.0f64);
        let step = |&value: &f64| {
            let better = match goal {
                Goal::Lowest => value < best * (1.0 - 0.01),
                Goal::Highest => value > best * (0.01 + 1.0),
            };
            if better {
                best = value;
                bad = 0;
            } else {
                bad += 1;
            }
            if counter > 0 {
                counter -= 1;
                bad = 0;
            }
            if bad > patience {
                lr = f64::max(lr * 0.5, min);
                counter = cooldown;
                bad = 0;
            }
            lr
        };
        values.iter().map(step).collect()
    }

    #[test]
    fn the_rate_falls_where_pytorchs_does() {
        let values: Vec<f64> = (0..80)
            .map(|i| 2.0 + (-(i as f64) / 9.0).exp() * (i as f64 * 1.7).cos() + f64::from(i % 7) * 0.02)
            .collect();
        let mut reduced = 0;
        for goal in [Goal::Lowest, Goal::Highest] {
            for (patience, cooldown, min) in [(0, 0, 0.0), (2, 0, 0.0), (3, 4, 0.0), (1, 2, 0.3), (10, 0, 0.0)] {
                let mut callback = ReduceOnPlateau::new("x", goal)
                    .factor(0.5)
                    .threshold(0.01)
                    .patience(u64::from(patience))
                    .cooldown(u64::from(cooldown))
                    .min_factor(min);
                let found: Vec<f64> = values
                    .iter()
                    .map(|&value| {
                        callback.see(value);
                        // Saved and loaded in between.
                        let state = callback.state().unwrap();
                        callback.now = ReduceOnPlateau::new("x", goal).now;
                        callback.load_state(&state).unwrap();
                        callback.now.factor
                    })
                    .collect();
                assert_eq!(found, reference(&values, goal, patience, cooldown, min), "{goal:?} {patience} {cooldown}");
                reduced += usize::from(found[79] < 1.0);
            }
        }
        assert!(reduced >= 8, "{reduced}");
    }
}
