//! Everything that a run found, kept in memory.

use crate::Result;
use crate::nn::StateDict;
use crate::train::{Callback, Figures, Run, Step};
use parking_lot::Mutex;
use std::sync::Arc;

/// Keeps the loss, the rate and the figures of every step, and those of evaluations; saved in checkpoints. Clones are
/// one history: one goes into the trainer, another one is read afterwards.
///
/// ```
/// # use warpsmith::train::History;
/// let history = History::new();
/// // let mut trainer = Trainer::new(…).callback(history.clone());
/// assert!(history.get("loss").is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Vec<Series>>>);

#[derive(Clone, Debug)]
struct Series {
    name: String,
    /// (step counted from 1, value)
    points: Vec<(f64, f64)>,
}

impl History {
    /// Nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The points (step counted from 1, value) of a figure: `loss`, `learning rate`, `gradient norm`, and those that
    /// the training closure and evaluations give.
    pub fn get(&self, name: &str) -> Vec<(f64, f64)> {
        self.0.lock().iter().find(|series| series.name == name).map_or(vec![], |series| series.points.clone())
    }

    /// The values of a figure.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.get(name).into_iter().map(|(_, value)| value).collect()
    }

    /// The names that there are.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().iter().map(|series| series.name.clone()).collect()
    }

    fn add(&self, name: &str, step: u64, value: f64) {
        let mut all = self.0.lock();
        let point = (step as f64, value);
        match all.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => all.push(Series { name: name.to_owned(), points: vec![point] }),
        }
    }
}

impl Callback for History {
    fn step_read(&mut self, _: &mut Run<'_>, step: &Step) -> Result<()> {
        self.add("loss", step.number, step.loss);
        self.add("learning rate", step.number, step.lr);
        if let Some(norm) = step.norm {
            self.add("gradient norm", step.number, norm);
        }
        step.figures.iter().for_each(|(name, value)| self.add(name, step.number, value));
        Ok(())
    }

    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        figures.iter().for_each(|(name, value)| self.add(name, run.place().step, value));
        Ok(())
    }

    fn key(&self) -> Option<&str> {
        Some("history")
    }

    fn state(&mut self) -> Result<StateDict> {
        let mut out = StateDict::new();
        for (i, series) in self.0.lock().iter().enumerate() {
            let (steps, values): (Vec<f64>, Vec<f64>) = series.points.iter().copied().unzip();
            // Numbered, since a state dict is in the order of its names.
            out.insert_numbers(format!("{i:03}.step.{}", series.name), &steps)?;
            out.insert_numbers(format!("{i:03}.value.{}", series.name), &values)?;
        }
        Ok(out)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        let mut all = vec![];
        for (name, steps) in state.iter() {
            let Some((number, name)) = name.split_once(".step.") else { continue };
            let values = state.numbers(&format!("{number}.value.{name}"))?;
            all.push(Series { name: name.to_owned(), points: steps.to_f64_vec()?.into_iter().zip(values).collect() });
        }
        *self.0.lock() = all;
        Ok(())
    }
}
