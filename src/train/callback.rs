//! What a trainer calls at the moments of a run.

use super::{Figures, Run, Step};
use crate::Result;
use crate::nn::StateDict;
use std::path::Path;

/// What happens beside the training itself: reports, rates, checkpoints, stopping early. A [`Trainer`](super::Trainer)
/// calls its callbacks in the order in which they were added, at these moments:
///
/// 1. [`run_start`](Callback::run_start), after the state was loaded where a run is taken up again;
/// 2. for each epoch [`epoch_start`](Callback::epoch_start) (an epoch that is taken up inside does not start again);
///    1. for each step [`step_start`](Callback::step_start), then the batch is trained on, then
///       [`step_end`](Callback::step_end);
///    2. [`step_read`](Callback::step_read) with the step's loss and figures: at once, or for several steps together
///       where the trainer [reads less often](super::Trainer::read_every);
///    3. [`evaluated`](Callback::evaluated), where an evaluation was due;
///    4. after an epoch's last step [`epoch_end`](Callback::epoch_end);
///    5. [`step_over`](Callback::step_over);
///    6. [`checkpoint_written`](Callback::checkpoint_written) for each checkpoint that one of the calls above asked for
///       ([`Run::save`]): it holds the state of all callbacks after these calls;
/// 3. [`loop_end`](Callback::loop_end), with the state still that of the last step, then the checkpoints asked for;
/// 4. [`run_end`](Callback::run_end), which may change weights, then the checkpoints asked for.
///
/// An error of a callback ends the run with that error and no further calls. One that keeps something between moments
/// gives it a [`key`](Callback::key), a [`state`](Callback::state) and [`load_state`](Callback::load_state), so that a
/// run that is taken up again goes on as if it had never stopped.
///
/// ```
/// use warpsmith::nn::{Ctx, Linear, Module, Params};
/// use warpsmith::optim::{Sgd, SgdConfig};
/// use warpsmith::train::{Callback, Run, Step, Trainer, batches};
/// use warpsmith::{DType, Device, Reduction, Result, Tensor};
///
/// /// Ends the run once the loss is small.
/// struct Until(f64);
///
/// impl Callback for Until {
///     fn step_read(&mut self, run: &mut Run<'_>, step: &Step) -> Result<()> {
///         if step.loss < self.0 {
///             run.stop(format!("the loss is {:.3} after {} steps", step.loss, step.number));
///         }
///         Ok(())
///     }
/// }
///
/// let params = Params::new(&Device::Cpu, DType::F32, 0);
/// let model = Linear::new(&params, 1, 1)?;
/// let optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.1))?;
/// let mut trainer = Trainer::new(&params, optimizer, Ctx::train(0), |inputs, ctx| {
///     Ok(vec![model.forward(&inputs[0], ctx)?.mse_loss(&inputs[1], Reduction::Mean)?])
/// })
/// .callback(Until(0.01));
/// let x = Tensor::from_slice(&[1f32, 2.0, 3.0], [3, 1], &Device::Cpu)?;
/// let y = x.affine(2.0, 1.0)?;
/// let outcome = trainer.fit(&batches(100, |_, _| Ok(Some(vec![x.clone(), y.clone()]))), 10)?;
/// assert!(outcome.step < 1000);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub trait Callback: Send {
    /// The run begins, or goes on at [`Run::place`].
    fn run_start(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// An epoch begins.
    fn epoch_start(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// A step begins: the moment for [`Run::scale_lr`].
    fn step_start(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// A step was given to the device; nothing of it was read yet.
    fn step_end(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// What a step found. Each step is told once and in order, perhaps some steps later: `step` says which it is.
    fn step_read(&mut self, _run: &mut Run<'_>, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// The figures of the evaluations that were due after this step.
    fn evaluated(&mut self, _run: &mut Run<'_>, _figures: &Figures) -> Result<()> {
        Ok(())
    }

    /// An epoch is over and evaluated.
    fn epoch_end(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// Everything that belongs to a step was done: the moment to ask for checkpoints. Where an epoch turns out to be
    /// over without a further step, this is called for its last step once more.
    fn step_over(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// A checkpoint was written, durably.
    fn checkpoint_written(&mut self, _run: &mut Run<'_>, _path: &Path) -> Result<()> {
        Ok(())
    }

    /// No step follows; [`Run::end`] says why. Weights are still those of the last step.
    fn loop_end(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// The end.
    fn run_end(&mut self, _run: &mut Run<'_>) -> Result<()> {
        Ok(())
    }

    /// Shows a line to the user ([`Run::say`]); false where this callback shows nothing. The first one that does is the
    /// only one, and standard output where there is none.
    fn line(&mut self, _text: &str) -> bool {
        false
    }

    /// The name of the state in checkpoints; `None` for a callback without state. Where several have one name, the
    /// later ones get numbers.
    fn key(&self) -> Option<&str> {
        None
    }

    /// What is kept between moments, for a checkpoint.
    fn state(&mut self) -> Result<StateDict> {
        Ok(StateDict::new())
    }

    /// Takes back what [`state`](Callback::state) gave, before [`run_start`](Callback::run_start). A checkpoint of a
    /// run without this callback has nothing for it: then this is not called.
    fn load_state(&mut self, _state: &StateDict) -> Result<()> {
        Ok(())
    }
}
