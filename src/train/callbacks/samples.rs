//! What a model makes, as it learns.

use crate::train::{Callback, Every, Run};
use crate::{Result, no_grad};

/// Shows what a function makes of the model every so often: text that it writes, answers that it gives. With averaged
/// weights where weights are averaged.
///
/// ```
/// use warpsmith::train::{Every, Samples};
///
/// let callback = Samples::new(Every::Steps(250), |run| Ok(format!("after {} steps: …", run.place().step)));
/// # let _ = callback;
/// ```
pub struct Samples<F> {
    every: Every,
    make: F,
    /// The step of the last one.
    shown: Option<u64>,
}

impl<F: FnMut(&Run<'_>) -> Result<String> + Send> Samples<F> {
    /// Every so often; the line is beside a progress bar if there is one.
    pub fn new(every: Every, make: F) -> Self {
        Samples { every, make, shown: None }
    }
}

impl<F: FnMut(&Run<'_>) -> Result<String> + Send> Callback for Samples<F> {
    fn step_over(&mut self, run: &mut Run<'_>) -> Result<()> {
        let step = Some(run.place().step);
        if self.every.is_due(run) && self.shown != step {
            self.shown = step;
            let line = run.with_averages(|run| no_grad(|| (self.make)(run)))?;
            run.say(line);
        }
        Ok(())
    }
}
