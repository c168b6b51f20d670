//! How far the run is, on the terminal.

use crate::Result;
use crate::nn::StateDict;
use crate::train::{Callback, Figures, Progress, Run, Step};

/// Shows a [`Progress`] bar (plain lines where standard error is no terminal) with the loss and figures of the last
/// step, and a line that stays for each evaluation and epoch.
pub struct ShowProgress {
    unit: &'static str,
    per_sample: usize,
    progress: Option<Progress>,
    /// Of the losses in this epoch, and how many there were.
    sum: f64,
    count: f64,
    /// What was evaluated after the epoch's last step.
    evaluated: Figures,
}

impl ShowProgress {
    /// Speed is told in samples per second, in this word for them: images, sentences.
    pub fn new(unit: &'static str) -> Self {
        let (progress, evaluated) = (None, Figures::new());
        ShowProgress { unit, per_sample: 1, progress, sum: 0.0, count: 0.0, evaluated }
    }

    /// Each sample is so many of the unit: a window of 64 characters.
    pub fn per_sample(mut self, units: usize) -> Self {
        self.per_sample = units;
        self
    }
}

impl Callback for ShowProgress {
    fn run_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.progress = Some(Progress::new(run.plan().steps(), run.place().step, self.unit));
        Ok(())
    }

    fn epoch_start(&mut self, _: &mut Run<'_>) -> Result<()> {
        (self.sum, self.count) = (0.0, 0.0);
        Ok(())
    }

    fn step_read(&mut self, _: &mut Run<'_>, step: &Step) -> Result<()> {
        (self.sum, self.count) = (self.sum + step.loss, self.count + 1.0);
        let mut shown = Figures::from([("loss", step.loss)]);
        shown.extend(step.figures.clone());
        if let Some(progress) = &mut self.progress {
            progress.step(step.number, &shown.to_string(), step.samples * self.per_sample);
        }
        Ok(())
    }

    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        if run.epoch_is_over() && run.plan().epochs > 1 {
            self.evaluated = figures.clone();
        } else {
            run.say(format!("step {}: {figures}", run.place().step));
        }
        Ok(())
    }

    fn epoch_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        let (epoch, epochs) = (run.place().epoch + 1, run.plan().epochs);
        if epochs > 1 {
            let mut shown = Figures::from([("loss", self.sum / self.count)]);
            shown.extend(std::mem::take(&mut self.evaluated));
            run.say(format!("epoch {epoch}/{epochs}: {shown}"));
        }
        Ok(())
    }

    fn loop_end(&mut self, _: &mut Run<'_>) -> Result<()> {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> bool {
        self.progress.as_ref().inspect(|progress| progress.line(text)).is_some()
    }

    fn key(&self) -> Option<&str> {
        Some("progress")
    }

    fn state(&mut self) -> Result<StateDict> {
        let mut out = StateDict::new();
        out.insert_numbers("epoch", &[self.sum, self.count])?;
        Ok(out)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        if let [sum, count] = state.numbers("epoch")?[..] {
            (self.sum, self.count) = (sum, count);
        }
        Ok(())
    }
}
