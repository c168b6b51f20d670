//! The loop of a training run.

use super::run::{End, Forward, Place, Plan, Run, Step};
use super::step::samples;
use super::{Batches, Callback, CapturedStep, Checkpoint, Figures, StepOutput};
use crate::nn::{Ctx, Params};
use crate::optim::{Clip, Ema, LossScaler, Optimizer};
use crate::{DType, Error, Result, Tensor, no_grad};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// With a loss scaler, so many steps in a row may have a loss that is not finite: each is skipped and the scale
/// shrinks.
const SKIPS: u32 = 20;

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

type Evaluate<'a> = Box<dyn FnMut(&Run<'_>) -> Result<Figures> + 'a>;

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
    run: Run<'a>,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    evaluations: Vec<(Every, Evaluate<'a>)>,
    names: Vec<String>,
    accumulate: usize,
    read_every: usize,
    stop_after: Option<u64>,
    interrupt: Option<Arc<AtomicBool>>,
    restored: Option<Checkpoint>,
    pending: Vec<Pending>,
    /// Steps in a row whose loss was not finite.
    skipped: u32,
}

/// A step whose values were not read yet.
struct Pending {
    place: Place,
    lr: f64,
    samples: usize,
    output: StepOutput,
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
    /// [`fit`](Trainer::fit) gives [`Error::Interrupted`]. The function `ctrl_c` of this module (feature `train`) makes
    /// such a flag.
    pub fn interrupt_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupt = Some(flag);
        self
    }

    /// Takes up the run that wrote this checkpoint, at its place, which may be inside an epoch. The model, the
    /// optimizer and the trainer are made as they were for that run. An error changes nothing.
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

    /// Trains until so many epochs are done in all, from where the run is: at the beginning, at a checkpoint's place,
    /// or where an earlier call ended.
    pub fn fit(&mut self, source: &dyn Batches, epochs: u64) -> Result<Outcome> {
        let batches = source.batches_per_epoch();
        if batches == 0 && epochs > 0 {
            return Err(Error::argument("train", "an epoch has no batches: is the data set smaller than a batch?"));
        }
        self.run.plan = Plan { epochs, batches, steps_per_epoch: batches.div_ceil(self.accumulate as u64) };
        (self.run.end, self.run.stop) = (None, None);
        if let Some(checkpoint) = self.restored.take() {
            let keys = self.keys();
            for (callback, key) in self.callbacks.iter_mut().zip(keys) {
                let state = key.map(|key| checkpoint.part(&format!("callback.{key}"))).unwrap_or_default();
                if !state.is_empty() {
                    callback.load_state(&state)?;
                }
            }
        }
        self.each(|callback, run| callback.run_start(run))?;
        let end = self.epochs(source)?;
        self.deliver()?;
        self.run.end = Some(end.clone());
        self.each(|callback, run| callback.loop_end(run))?;
        self.save()?;
        self.each(|callback, run| callback.run_end(run))?;
        self.save()?;
        self.next_epoch();
        let step = self.run.place.step;
        if end == End::Interrupted {
            return Err(Error::Interrupted { step, saved: self.run.last_saved.clone() });
        }
        Ok(Outcome { end, step, figures: self.run.figures.clone() })
    }

    fn epochs(&mut self, source: &dyn Batches) -> Result<End> {
        while self.run.place.epoch < self.run.plan.epochs {
            if let Some(end) = self.stopped() {
                return Ok(end);
            }
            if self.run.place.batch == 0 {
                self.each(|callback, run| callback.epoch_start(run))?;
            }
            if let Some(end) = self.epoch(source)? {
                return Ok(end);
            }
            self.next_epoch();
        }
        Ok(End::Complete)
    }

    fn next_epoch(&mut self) {
        if self.run.epoch_over {
            self.run.place = Place { epoch: self.run.place.epoch + 1, batch: 0, ..self.run.place };
            self.run.epoch_over = false;
        }
    }

    /// The rest of an epoch, to its end unless there is a reason to stop before.
    fn epoch(&mut self, source: &dyn Batches) -> Result<Option<End>> {
        let Place { epoch, batch, .. } = self.run.place;
        let mut batches = source.batches_from(epoch, batch)?;
        while !self.run.epoch_over {
            let left = (self.run.plan.batches - self.run.place.batch) as usize;
            let wanted = self.accumulate.min(left);
            let group = batches.by_ref().take(wanted).collect::<Result<Vec<_>>>()?;
            if group.is_empty() && self.run.place.batch == 0 {
                let message = format!("epoch {epoch} gave no batches where {left} were expected");
                return Err(Error::argument("train", message));
            }
            self.run.epoch_over = group.len() == left || group.len() < wanted;
            if !group.is_empty() {
                self.step(&group)?;
            }
            self.evaluate_due()?;
            if self.run.epoch_over {
                self.deliver()?;
                self.each(|callback, run| callback.epoch_end(run))?;
            }
            self.each(|callback, run| callback.step_over(run))?;
            if !self.run.saves.is_empty() {
                self.deliver()?;
                self.save()?;
            }
            if let Some(end) = self.stopped()
                && !self.run.is_last_step()
            {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn stopped(&mut self) -> Option<End> {
        if let Some(reason) = self.run.stop.take() {
            return Some(End::Stopped(reason));
        }
        if self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::SeqCst)) {
            return Some(End::Interrupted);
        }
        self.stop_after.filter(|&steps| self.run.place.step >= steps).map(|_| End::StepLimit)
    }

    fn step(&mut self, group: &[Vec<Tensor>]) -> Result<()> {
        self.run.factor = 1.0;
        self.each(|callback, run| callback.step_start(run))?;
        let run = &mut self.run;
        let lr = run.base_lr * run.factor;
        run.step.optimizer_mut().set_lr(lr);
        let output = match group {
            [batch] => run.step.run(batch)?,
            several => run.step.run_accumulated(several)?,
        };
        if let Some(ema) = &mut run.ema {
            ema.update()?;
        }
        let samples = group.iter().map(|batch| batch.first().map_or(0, samples)).sum();
        let mut place = run.place;
        run.place.step += 1;
        run.place.batch += group.len() as u64;
        place.step = run.place.step;
        self.pending.push(Pending { place, lr, samples, output });
        self.each(|callback, run| callback.step_end(run))?;
        if self.pending.len() >= self.read_every { self.deliver() } else { Ok(()) }
    }

    /// Reads what steps found and tells the callbacks.
    fn deliver(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let mut values = read(&pending)?.into_iter();
        for Pending { place, lr, samples, output } in pending {
            let mut next = || values.next().unwrap_or(f64::NAN);
            let loss = next();
            if output.others.len() != self.names.len() {
                let (found, names) = (output.others.len(), &self.names);
                let message = format!("the closure gave {found} values behind the loss, the figures are {names:?}");
                return Err(Error::argument("train", message));
            }
            let figures = self.names.iter().map(|name| (name.clone(), next())).collect();
            let norm = output.norm.map(|_| next());
            let Place { epoch, batch, step: number } = place;
            self.skipped = if loss.is_finite() { 0 } else { self.skipped + 1 };
            let patience = if self.run.step.scaler_mut().is_some() { SKIPS } else { 0 };
            if self.skipped > patience {
                return Err(self.run.diverged(&format!("the loss became {loss}"), number, epoch, batch));
            }
            let step = Step { number, epoch, batch, lr, loss, figures, norm, samples };
            self.each(|callback, run| callback.step_read(run, &step))?;
        }
        Ok(())
    }

    fn evaluate_due(&mut self) -> Result<()> {
        let due: Vec<bool> = self.evaluations.iter().map(|(every, _)| every.is_due(&self.run)).collect();
        if !due.contains(&true) {
            return Ok(());
        }
        self.deliver()?;
        let evaluations = &mut self.evaluations;
        let figures = self.run.with_averages(|run| {
            let mut all = Figures::new();
            for ((_, evaluate), _) in evaluations.iter_mut().zip(&due).filter(|(_, due)| **due) {
                all.extend(no_grad(|| evaluate(run))?);
            }
            Ok(all)
        })?;
        self.run.figures.extend(figures.clone());
        self.each(|callback, run| callback.evaluated(run, &figures))
    }

    /// Writes the checkpoints that were asked for.
    fn save(&mut self) -> Result<()> {
        let paths = std::mem::take(&mut self.run.saves);
        if paths.is_empty() {
            return Ok(());
        }
        self.run.check_weights()?;
        let mut checkpoint = self.run.checkpoint()?;
        let keys = self.keys();
        for (callback, key) in self.callbacks.iter_mut().zip(keys) {
            if let Some(key) = key {
                checkpoint.set_part(&format!("callback.{key}"), callback.state()?);
            }
        }
        for path in paths {
            checkpoint.save(&path)?;
            self.run.last_saved = Some(path.clone());
            self.each(|callback, run| callback.checkpoint_written(run, &path))?;
        }
        Ok(())
    }

    /// The name of each callback's state: the second of two with one name is `NAME-2`.
    fn keys(&self) -> Vec<Option<String>> {
        let mut seen = HashMap::<String, u32>::new();
        let keys = self.callbacks.iter().map(|callback| {
            let key = callback.key()?.to_owned();
            let count = seen.entry(key.clone()).or_default();
            *count += 1;
            Some(if *count == 1 { key } else { format!("{key}-{count}") })
        });
        keys.collect()
    }

    /// Calls all callbacks, then shows what they had to say.
    fn each(&mut self, mut f: impl FnMut(&mut dyn Callback, &mut Run<'a>) -> Result<()>) -> Result<()> {
        let called = self.callbacks.iter_mut().try_for_each(|callback| f(&mut **callback, &mut self.run));
        for line in std::mem::take(&mut self.run.lines) {
            if !self.callbacks.iter_mut().any(|callback| callback.line(&line)) {
                println!("{line}");
            }
        }
        called
    }
}

/// The loss, figures and norm of each step, in this order; from a CUDA device by one read.
fn read(pending: &[Pending]) -> Result<Vec<f64>> {
    let of = |p: &Pending| -> Vec<Tensor> {
        [&p.output.loss].into_iter().chain(&p.output.others).chain(&p.output.norm).cloned().collect()
    };
    let scalars: Vec<Tensor> = pending.iter().flat_map(of).collect();
    match scalars.iter().find(|scalar| !scalar.device().is_cpu()) {
        None => scalars.iter().map(|scalar| scalar.item::<f64>()).collect(),
        Some(first) => {
            let device = first.device();
            let one = |scalar: &Tensor| scalar.to_device(device)?.to_dtype(DType::F32)?.reshape([1]);
            let parts = scalars.iter().map(one).collect::<Result<Vec<_>>>()?;
            Tensor::cat(&parts, 0)?.to_f64_vec()
        }
    }
}
