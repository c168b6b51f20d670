//! Learning rates that follow the step or the epoch.

use crate::Result;
use crate::train::{Callback, Run};

/// Multiplies the learning rate by a function of the step or the epoch: those of [`schedule`](crate::optim::schedule)
/// and others. Several multiply together: a warm-up and what follows it. Functions of a place need no state, so a run
/// that is taken up again goes on at its rate.
///
/// ```
/// use warpsmith::optim::schedule;
/// use warpsmith::train::LearningRate;
///
/// let warm_up = LearningRate::of_step(|step| schedule::linear(step, 0.1, 1.0, 100));
/// let steps = LearningRate::of_epoch(|epoch| schedule::step(epoch, 30, 0.1));
/// # let _ = (warm_up, steps);
/// ```
pub struct LearningRate<F> {
    factor: F,
    of_epoch: bool,
}

impl<F: Fn(u64) -> f64 + Send> LearningRate<F> {
    /// The factor of each step, counted from 0.
    pub fn of_step(factor: F) -> Self {
        LearningRate { factor, of_epoch: false }
    }

    /// The factor of all steps of an epoch, counted from 0.
    pub fn of_epoch(factor: F) -> Self {
        LearningRate { factor, of_epoch: true }
    }
}

impl<F: Fn(u64) -> f64 + Send> Callback for LearningRate<F> {
    fn step_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        let place = run.place();
        run.scale_lr((self.factor)(if self.of_epoch { place.epoch } else { place.step }));
        Ok(())
    }
}
