//! The loop of a training run.

use super::run::{End, Place, Plan, Run, Step};
use super::step::samples;
use super::trainer::{Outcome, Pending, Trainer};
use super::{Batches, Callback, Figures};
use crate::{DType, Error, Result, Tensor, no_grad};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// With a loss scaler, so many steps in a row may have a loss that is not finite: each is skipped and the scale
/// shrinks.
const SKIPS: u32 = 20;

impl<'a> Trainer<'a> {
    /// Trains until so many epochs are done in all, from where the run is: at the beginning, at a checkpoint's place,
    /// or where an earlier call ended.
    pub fn fit(&mut self, source: &dyn Batches, epochs: u64) -> Result<Outcome> {
        let batches = source.batches_per_epoch();
        if batches == 0 && epochs > 0 {
            return Err(Error::argument("train", "an epoch has no batches: is the data set smaller than a batch?"));
        }
        let at = self.run.place.batch;
        if at >= batches && at > 0 {
            let message = format!("the run stands at batch {at} of an epoch, and epochs have {batches} batches now");
            return Err(Error::argument("train", message));
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
