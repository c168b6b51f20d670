//! Checkpoints on disk.

use super::Goal;
use crate::nn::{StateDict, remove_leftovers};
use crate::train::{Callback, Every, Figures, Run};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Writes checkpoints into a folder: `checkpoint.safetensors`, the last one, after each epoch (or as [`every`] says)
/// and when the run ends or is interrupted; where asked for, `best.safetensors` with the best figure so far, and the
/// last few as `step-NUMBER.safetensors`.
///
/// Each file is written beside the old one, forced to disk and renamed: whenever a process dies, what is there can be
/// read. What it leaves unfinished is removed when the run is taken up again.
///
/// [`every`]: Checkpoints::every
///
/// ```
/// use warpsmith::train::{Checkpoints, Every, Goal};
///
/// let callback = Checkpoints::new("out/run").every(Every::Steps(500)).best("test accuracy", Goal::Highest).keep(3);
/// # let _ = callback;
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    every: Every,
    best: Option<(String, Goal)>,
    keep: usize,
    best_so_far: Option<f64>,
    /// Steps whose numbered files are there, the oldest first.
    kept: Vec<u64>,
    /// The step of the last one written or asked for.
    at: Option<u64>,
}

impl Checkpoints {
    /// Into this folder, which is made where it is not there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let (folder, every) = (folder.into(), Every::Epochs(1));
        Checkpoints { folder, every, best: None, keep: 0, best_so_far: None, kept: vec![], at: None }
    }

    /// How often the last one is written.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// Keeps the checkpoint with the best value of an evaluation's figure, too; the first of equal ones.
    pub fn best(mut self, figure: impl Into<String>, goal: Goal) -> Self {
        self.best = Some((figure.into(), goal));
        self
    }

    /// Keeps so many of those written last under the numbers of their steps, too.
    pub fn keep(mut self, count: usize) -> Self {
        self.keep = count;
        self
    }

    /// The file of the last checkpoint in a folder.
    pub fn last_in(folder: impl AsRef<Path>) -> PathBuf {
        folder.as_ref().join("checkpoint.safetensors")
    }

    /// The file of the best checkpoint in a folder.
    pub fn best_in(folder: impl AsRef<Path>) -> PathBuf {
        folder.as_ref().join("best.safetensors")
    }

    fn numbered(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}.safetensors"))
    }

    /// Removes numbered files beyond those to be kept.
    fn remove_old(&mut self) -> Result<()> {
        while self.kept.len() > self.keep {
            let step = self.kept.remove(0);
            let old = self.numbered(step);
            match std::fs::remove_file(&old) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Io { action: "removing", path: old, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, run: &mut Run<'_>) {
        let step = run.place().step;
        if self.at == Some(step) {
            return;
        }
        self.at = Some(step);
        if self.keep > 0 {
            self.kept.push(step);
            run.save(self.numbered(step));
        }
        run.save(Self::last_in(&self.folder));
    }
}

impl Callback for Checkpoints {
    fn run_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        let io = |source| Error::Io { action: "creating", path: self.folder.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(io)?;
        let step = run.place().step;
        let numbered = |name: &str| {
            let digits = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".safetensors"));
            digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        };
        remove_leftovers(&self.folder, |name| {
            ["checkpoint.safetensors", "best.safetensors"].contains(&name) || numbered(name)
        })?;
        self.at = (step > 0).then_some(step);
        // What was to go when the process ended.
        self.remove_old()
    }

    fn step_over(&mut self, run: &mut Run<'_>) -> Result<()> {
        if self.every.is_due(run) {
            self.ask(run);
        }
        Ok(())
    }

    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        let Some((figure, goal)) = &self.best else { return Ok(()) };
        if let Some(value) = figures.get(figure)
            && goal.is_better(value, self.best_so_far, 0.0)
        {
            self.best_so_far = Some(value);
            run.save(Self::best_in(&self.folder));
        }
        Ok(())
    }

    fn checkpoint_written(&mut self, _: &mut Run<'_>, path: &Path) -> Result<()> {
        if path != Self::last_in(&self.folder) {
            return Ok(());
        }
        // Not before the new ones are there.
        self.remove_old()
    }

    fn loop_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.ask(run);
        Ok(())
    }

    fn run_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.best.as_ref().map_or(Ok(()), |(figure, _)| run.expect_figure(figure))
    }

    fn key(&self) -> Option<&str> {
        Some("checkpoints")
    }

    fn state(&mut self) -> Result<StateDict> {
        let mut out = StateDict::new();
        out.insert_numbers("best", self.best_so_far.as_slice())?;
        out.insert_numbers("kept", &self.kept.iter().map(|&step| step as f64).collect::<Vec<_>>())?;
        Ok(out)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        self.best_so_far = state.numbers("best")?.first().copied();
        self.kept = state.numbers("kept")?.iter().map(|&step| step as u64).collect();
        Ok(())
    }
}
