//! Stopping where a figure no longer gets better.

use super::Goal;
use crate::Result;
use crate::nn::StateDict;
use crate::train::{Callback, End, Figures, Run};

/// Ends the run once a figure has not got better over some evaluations, and puts the weights of the best one back where
/// that is asked for.
///
/// ```
/// use warpsmith::train::{EarlyStopping, Goal};
///
/// let callback = EarlyStopping::new("validation loss", Goal::Lowest).patience(5).restore_best();
/// # let _ = callback;
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    figure: String,
    goal: Goal,
    patience: u64,
    min_delta: f64,
    restore: bool,
    best: Option<f64>,
    bad: u64,
    weights: StateDict,
}

impl EarlyStopping {
    /// Watches the figure of this name; the first evaluation that is no better than the best so far ends the run.
    pub fn new(figure: impl Into<String>, goal: Goal) -> Self {
        let (best, weights) = (None, StateDict::new());
        let (patience, min_delta, restore, bad) = (0, 0.0, false, 0);
        EarlyStopping { figure: figure.into(), goal, patience, min_delta, restore, best, bad, weights }
    }

    /// So many evaluations in a row without getting better are borne; the next one ends the run.
    pub fn patience(mut self, evaluations: u64) -> Self {
        self.patience = evaluations;
        self
    }

    /// By how much a value must be better to count.
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.min_delta = delta;
        self
    }

    /// At the end of the run, also where all its epochs were done, the model gets the weights of the best evaluation
    /// (averages where weights are averaged). They are kept on the model's device and in checkpoints until then; a
    /// run that is interrupted keeps the weights that it goes on from.
    pub fn restore_best(mut self) -> Self {
        self.restore = true;
        self
    }
}

impl Callback for EarlyStopping {
    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        let Some(value) = figures.get(&self.figure) else { return Ok(()) };
        if self.goal.is_better(value, self.best, self.min_delta) {
            (self.best, self.bad) = (Some(value), 0);
            if self.restore {
                self.weights = run.evaluated_model()?;
            }
            return Ok(());
        }
        self.bad += 1;
        if self.bad > self.patience {
            let best = self.best.unwrap_or(f64::NAN);
            let (figure, bad) = (&self.figure, self.bad);
            run.stop(format!("{figure} has not got better than {best:.5} over {bad} evaluations"));
        }
        Ok(())
    }

    fn run_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        run.expect_figure(&self.figure)?;
        let over = matches!(run.end(), Some(End::Complete | End::Stopped(_)));
        if over && !self.weights.is_empty() { run.load_model(&self.weights) } else { Ok(()) }
    }

    fn key(&self) -> Option<&str> {
        Some("early_stopping")
    }

    fn state(&mut self) -> Result<StateDict> {
        let mut out = StateDict::new();
        out.insert_numbers("best", self.best.as_slice())?;
        out.insert_numbers("bad", &[self.bad as f64])?;
        out.insert_sub("weights", self.weights.clone());
        Ok(out)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        self.best = state.numbers("best")?.first().copied();
        self.bad = state.numbers("bad")?.first().map_or(0, |&bad| bad as u64);
        self.weights = state.sub("weights");
        Ok(())
    }
}
