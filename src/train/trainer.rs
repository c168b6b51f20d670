//! What a training run is made of.

use super::run::{End, Forward, Place, Plan, Run};
use super::{Callback, CapturedStep, Checkpoint, Figures, StepOutput};
use crate::nn::{Ctx, Params};
use crate::optim::{Clip, Ema, LossScaler, Optimizer};
use crate::{Result, Tensor};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// When something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After so many epochs, and after the last one.
    Epochs(u64),
    /// After so many steps, and after the last one.
    Steps(u64),
}

impl Every {
    /// Whether it is to be done now, after a step.
    pub fn is_due(self, run: &Run<'_>) -> bool {
        let place = run.place();
        let now = match self {
            Every::Epochs(every) => run.epoch_is_over() && (place.epoch + 1).is_multiple_of(every.max(1)),
            Every::Steps(every) => place.step.is_multiple_of(every.max(1)),
        };
        now || run.is_last_step()
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Steps that are done in all.
    pub step: u64,
    /// The figures of all evaluations, each as it was last found.
    pub figures: Figures,
}

pub(super) type Evaluate<'a> = Box<dyn FnMut(&Run<'_>) -> Result<Figures> + 'a>;

/// The loop that training is: batches, forward, backward, update; with evaluations, [callbacks](Callback), gradient
/// accumulation, averaged weights, and runs that are taken up again where they stopped, bit for bit.
///
/// The training closure computes the loss of a batch from its tensors, which are on the parameters' device, and gives
/// it first; what it gives behind the loss are scalars, the values of [figures](Trainer::figures). It is as a
/// [`CapturedStep`]'s: on a CUDA device, steps are captured and launched as graphs where
/// [that is asked for](Trainer::capture).
///
/// ```
/// use warpsmith::nn::{Ctx, Linear, Module, Params};
/// use warpsmith::optim::{Sgd, SgdConfig, schedule};
/// use warpsmith::train::{Every, LearningRate, Trainer, batches};
/// use warpsmith::{DType, Device, Reduction, Tensor};
///
/// // y = 3x − 1 from eight points, two at a time.
/// let device = Device::Cpu;
/// let params = Params::new(&device, DType::F32, 7);
/// let model = Linear::new(&params, 1, 1)?;
/// let x = Tensor::linspace(-1.0, 1.0, 8, DType::F32, &device)?.reshape([8, 1])?;
/// let y = x.affine(3.0, -1.0)?;
/// let source = batches(4, |_epoch, batch| {
///     let take = |t: &Tensor| t.narrow(0, 2 * batch as usize, 2);
///     Ok(Some(vec![take(&x)?, take(&y)?]))
/// });
///
/// let optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.2))?;
/// let mut trainer = Trainer::new(&params, optimizer, Ctx::train(7), |inputs, ctx| {
///     Ok(vec![model.forward(&inputs[0], ctx)?.mse_loss(&inputs[1], Reduction::Mean)?])
/// })
/// .evaluate(Every::Epochs(10), |_run| {
///     let found = model.forward(&x, &mut Ctx::infer())?;
///     Ok([("error", found.mse_loss(&y, Reduction::Mean)?.item::<f64>()?)].into())
/// })
/// .callback(LearningRate::of_step(|step| schedule::cosine(step, 120, 0.1)));
/// let outcome = trainer.fit(&source, 30)?;
/// assert_eq!(outcome.step, 120);
/// assert!(outcome.figures.expect("error")? < 1e-4);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub struct Trainer<'a> {
    pub(super) run: Run<'a>,
    pub(super) callbacks: Vec<Box<dyn Callback + 'a>>,
    pub(super) evaluations: Vec<(Every, Evaluate<'a>)>,
    pub(super) names: Vec<String>,
    pub(super) accumulate: usize,
    pub(super) read_every: usize,
    pub(super) stop_after: Option<u64>,
    pub(super) interrupt: Option<Arc<AtomicBool>>,
    pub(super) restored: Option<Checkpoint>,
    pub(super) pending: Vec<Pending>,
    /// Steps in a row whose loss was not finite.
    pub(super) skipped: u32,
}

/// A step whose values were not read yet.
pub(super) struct Pending {
    pub place: Place,
    pub lr: f64,
    pub samples: usize,
    pub output: StepOutput,
}

impl<'a> Trainer<'a> {
    /// Of the model whose parameters these are; the context has the seed of dropout. The closure gives the loss first.
    pub fn new(
        params: &Params,
        optimizer: impl Optimizer + 'static,
        ctx: Ctx,
        forward: impl FnMut(&[Tensor], &mut Ctx) -> Result<Vec<Tensor>> + 'a,
    ) -> Self {
        let base_lr = optimizer.lr();
        let (optimizer, forward): (Box<dyn Optimizer>, Forward<'a>) = (Box::new(optimizer), Box::new(forward));
        let step = CapturedStep::new(params.device(), ctx, optimizer, forward).with_capture(false);
        let run = Run {
            params: params.clone(),
            step,
            ema: None,
            place: Place::default(),
            plan: Plan::default(),
            base_lr,
            factor: 1.0,
            epoch_over: false,
            figures: Figures::new(),
            end: None,
            stop: None,
            saves: vec![],
            lines: vec![],
            last_saved: None,
        };
        Trainer {
            run,
            callbacks: vec![],
            evaluations: vec![],
            names: vec![],
            accumulate: 1,
            read_every: 1,
            stop_after: None,
            interrupt: None,
            restored: None,
            pending: vec![],
            skipped: 0,
        }
    }

    /// The names of what the closure gives behind the loss: scalars on the device, read together with it.
    pub fn figures<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Clips gradients on their way to the optimizer.
    pub fn clip(self, clip: Clip) -> Self {
        self.map_step(|step| step.with_clip(clip))
    }

    /// Scales the loss, and gradients back. A step whose gradients overflow is skipped; a loss that is not finite fails
    /// the run after 20 such steps in a row.
    pub fn scaler(self, scaler: LossScaler) -> Self {
        self.map_step(|step| step.with_scaler(scaler))
    }

    /// Whether steps are captured as CUDA graphs, of a CUDA device. Not unless this says so.
    pub fn capture(self, capture: bool) -> Self {
        self.map_step(|step| step.with_capture(capture))
    }

    fn map_step(
        mut self,
        f: impl FnOnce(CapturedStep<Box<dyn Optimizer>, Forward<'a>>) -> CapturedStep<Box<dyn Optimizer>, Forward<'a>>,
    ) -> Self {
        self.run.step = f(self.run.step);
        self
    }

    /// A step takes so many batches, one after the other, and their gradients together: that of the joined batch where
    /// the loss is a mean over samples ([`CapturedStep::run_accumulated`]). An epoch's last step may have fewer.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches.max(1);
        self
    }

    /// Averages the weights ([`Ema`]): evaluations see the averages, and checkpoints hold both.
    pub fn ema(mut self, decay: f64) -> Result<Self> {
        self.run.ema = Some(Ema::new(self.run.params.trainable(), decay)?);
        Ok(self)
    }

    /// Reads losses and figures of so many steps at once, so that a GPU need not wait for the host after each: 1 unless
    /// this says otherwise. [`Callback::step_read`] comes later then, and so does the notice of a loss that is not
    /// finite; weights do not depend on it, and no checkpoint is written before everything was read.
    pub fn read_every(mut self, steps: usize) -> Self {
        self.read_every = steps.max(1);
        self
    }

    /// Evaluates the model every so often: the closure gives named figures. It runs without recording gradients, and
    /// with averaged weights where weights are averaged.
    pub fn evaluate(mut self, every: Every, f: impl FnMut(&Run<'_>) -> Result<Figures> + 'a) -> Self {
        self.evaluations.push((every, Box::new(f)));
        self
    }

    /// Adds a callback. They are called in the order of their adding.
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Ends after so many steps in all, as if interrupted: rates still follow the whole run.
    pub fn stop_after(mut self, steps: Option<u64>) -> Self {
        self.stop_after = steps;
        self
    }

    /// Once this flag is set, the run ends after the step at hand: callbacks may still save a checkpoint, then
    /// [`fit`](Trainer::fit) gives [`Error::Interrupted`](crate::Error::Interrupted). The function `ctrl_c` of this
    /// module (feature `train`) makes such a flag.
    pub fn interrupt_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupt = Some(flag);
        self
    }

    /// Takes up the run that wrote this checkpoint, at its place, which may be inside an epoch. The model, the
    /// optimizer and the trainer are made as they were for that run; a checkpoint of another model or optimizer is an
    /// error that changes nothing.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let checkpoint = Checkpoint::load(path)?;
        self.run.restore(&checkpoint)?;
        self.restored = Some(checkpoint);
        Ok(())
    }

    /// Writes the model alone, with averaged weights where weights are averaged.
    pub fn save_model(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run.evaluated_model()?.save(path)
    }

    /// The run as callbacks see it.
    pub fn run(&self) -> &Run<'a> {
        &self.run
    }

    /// The run as callbacks see it.
    pub fn run_mut(&mut self) -> &mut Run<'a> {
        &mut self.run
    }
}
