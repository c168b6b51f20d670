//! A run in progress, as callbacks and evaluations see it.

use super::{CapturedStep, Checkpoint, Figures};
use crate::nn::{Ctx, Params, StateDict};
use crate::optim::{Ema, Optimizer};
use crate::{Error, Result, Tensor};
use std::path::{Path, PathBuf};

/// What a trainer trains with: the loss first, then the values of figures.
pub(super) type Forward<'a> = Box<dyn FnMut(&[Tensor], &mut Ctx) -> Result<Vec<Tensor>> + 'a>;

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Epochs that are over.
    pub epoch: u64,
    /// Batches of the present epoch that are done.
    pub batch: u64,
    /// Steps that are done in all.
    pub step: u64,
}

/// How far a run goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Epochs in all.
    pub epochs: u64,
    /// Batches of an epoch.
    pub batches: u64,
    /// Steps of an epoch: fewer than batches where gradients accumulate.
    pub steps_per_epoch: u64,
}

impl Plan {
    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.epochs * self.steps_per_epoch
    }
}

/// What a step found.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which step of the run, counted from 1.
    pub number: u64,
    /// Its epoch, counted from 0.
    pub epoch: u64,
    /// Its first batch in the epoch, counted from 0.
    pub batch: u64,
    /// The learning rate.
    pub lr: f64,
    /// The loss before the update.
    pub loss: f64,
    /// What else the training closure gave.
    pub figures: Figures,
    /// The norm of the gradients before clipping, where it was measured.
    pub norm: Option<f64>,
    /// The samples that it was computed from: the length of the inputs' first axis.
    pub samples: usize,
}

/// Why no step follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All epochs are done.
    Complete,
    /// A callback asked for it ([`Run::stop`]) and said why.
    Stopped(String),
    /// As many steps are done as [`Trainer::stop_after`](super::Trainer::stop_after) allows.
    StepLimit,
    /// The flag of [`Trainer::interrupt_by`](super::Trainer::interrupt_by) was set.
    Interrupted,
}

/// A run in progress.
pub struct Run<'a> {
    pub(super) params: Params,
    pub(super) step: CapturedStep<Box<dyn Optimizer>, Forward<'a>>,
    pub(super) ema: Option<Ema>,
    pub(super) place: Place,
    pub(super) plan: Plan,
    pub(super) base_lr: f64,
    pub(super) factor: f64,
    pub(super) epoch_over: bool,
    pub(super) figures: Figures,
    pub(super) end: Option<End>,
    pub(super) stop: Option<String>,
    pub(super) saves: Vec<PathBuf>,
    pub(super) lines: Vec<String>,
    pub(super) last_saved: Option<PathBuf>,
}

impl Run<'_> {
    /// How far the run is. After the last step of an epoch, until the next one starts or the loop ends, `epoch` is
    /// still that epoch's.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How far the run goes.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Whether the step was the last one of its epoch.
    pub fn epoch_is_over(&self) -> bool {
        self.epoch_over
    }

    /// Whether no step follows by plan.
    pub fn is_last_step(&self) -> bool {
        self.place.epoch + u64::from(self.epoch_over) >= self.plan.epochs
    }

    /// The model's parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The rate that the optimizer was made with.
    pub fn base_lr(&self) -> f64 {
        self.base_lr
    }

    /// The rate of the last step.
    pub fn lr(&self) -> f64 {
        self.step.optimizer().lr()
    }

    /// Multiplies the rate of the step that begins: called from [`step_start`](super::Callback::step_start). The rate
    /// is the optimizer's first one times the factors of all callbacks.
    pub fn scale_lr(&mut self, factor: f64) {
        self.factor *= factor;
    }

    /// The figures of all evaluations so far, each as it was last found.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Ends the run after this step; the reason is told in [`End::Stopped`].
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }

    /// Why no step follows; `None` while steps follow.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Has a checkpoint written to this file, once all callbacks were called for the present step.
    pub fn save(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        if !self.saves.contains(&path) {
            self.saves.push(path);
        }
    }

    /// The checkpoint written last in this process.
    pub fn last_saved(&self) -> Option<&Path> {
        self.last_saved.as_deref()
    }

    /// Shows a line to the user, beside a progress bar if there is one.
    pub fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Calls `f` with averaged weights in the parameters' place, where weights are averaged, and as it is where not.
    pub fn with_averages<R>(&mut self, f: impl FnOnce(&Self) -> Result<R>) -> Result<R> {
        if let Some(ema) = &mut self.ema {
            ema.swap()?;
        }
        let out = f(self);
        if let Some(ema) = &mut self.ema {
            ema.swap()?;
        }
        out
    }

    /// A copy of what evaluations see of the model: averaged weights where weights are averaged.
    pub fn evaluated_model(&mut self) -> Result<StateDict> {
        self.with_averages(|run| run.params.state_dict())
    }

    /// Other weights for the model, which averages begin from anew.
    pub fn load_model(&mut self, state: &StateDict) -> Result<()> {
        self.params.load_state_dict(state, "weights")?;
        match &mut self.ema {
            Some(ema) => ema.restart(),
            None => Ok(()),
        }
    }

    /// An error if a run that came to its end never had this figure: a callback that waits for it has a wrong name.
    pub(super) fn expect_figure(&self, name: &str) -> Result<()> {
        match &self.end {
            Some(End::Complete | End::Stopped(_)) => self.figures.expect(name).map(drop),
            _ => Ok(()),
        }
    }

    /// Model, optimizer, random state, scaler, averages and place.
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut ctx = self.step.ctx_mut().clone();
        let mut out = Checkpoint::capture(&self.params, self.step.optimizer(), &mut ctx)?;
        if let Some(scaler) = self.step.scaler_mut() {
            out.set_scaler(scaler)?;
        }
        if let Some(ema) = &self.ema {
            out.set_part("average", ema.state_dict()?);
        }
        let Place { epoch, batch, step } = self.place;
        let (epoch, batch) = if self.epoch_over { (epoch + 1, 0) } else { (epoch, batch) };
        let mut figures = StateDict::new();
        self.figures.iter().try_for_each(|(name, value)| figures.insert_numbers(name, &[value]))?;
        out.set_part("figure", figures);
        for (name, value) in [("epoch", epoch), ("batch", batch), ("step", step)] {
            out.set_counter(name, value)?;
        }
        Ok(out)
    }

    pub(super) fn restore(&mut self, from: &Checkpoint) -> Result<()> {
        let place = Place { epoch: from.counter("epoch")?, batch: from.counter("batch")?, step: from.counter("step")? };
        let mut ctx = self.step.ctx_mut().clone();
        from.restore(&self.params, self.step.optimizer_mut(), &mut ctx)?;
        *self.step.ctx_mut() = ctx;
        if let Some(scaler) = self.step.scaler_mut() {
            from.restore_scaler(scaler)?;
        }
        if let Some(ema) = &mut self.ema {
            ema.load_state_dict(&from.part("average"), "averages of the checkpoint")?;
        }
        self.figures = Figures::new();
        for (name, value) in from.part("figure").iter() {
            value.to_f64_vec()?.into_iter().for_each(|value| self.figures.insert(name, value));
        }
        (self.place, self.epoch_over) = (place, false);
        Ok(())
    }

    /// An error if a weight is not finite: such weights are not to replace a good checkpoint's.
    pub(super) fn check_weights(&self) -> Result<()> {
        let weights: Vec<Tensor> = self.params.all().into_iter().map(|(_, param)| param.detach()).collect();
        if weights.is_empty() || crate::optim::norm_of(&weights)?.item::<f64>()?.is_finite() {
            return Ok(());
        }
        let Place { epoch, batch, step } = self.place;
        Err(self.diverged("weights became infinite or NaN", step, epoch, batch.saturating_sub(1)))
    }

    pub(super) fn diverged(&self, what: &str, step: u64, epoch: u64, batch: u64) -> Error {
        let what = what.to_owned();
        Error::Diverged { what, step, epoch, batch, kept: self.last_saved.clone() }
    }
}
