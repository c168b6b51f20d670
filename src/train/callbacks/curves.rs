//! Pictures of what a run found.

use super::History;
use crate::Result;
use crate::nn::StateDict;
use crate::train::{Callback, Curve, Figures, Run, Step, draw_curves, smoothed};
use std::path::PathBuf;

/// Series with more points than this are smoothed.
const MANY: usize = 40;

/// Draws losses, rates and figures after each epoch and at the end, as SVG or PNG. Figures whose names end with the
/// same word share a panel: `loss` and `validation loss`. What is found at every step is drawn pale, and smoothed by an
/// exponential moving average.
///
/// ```
/// use warpsmith::train::Curves;
///
/// let callback = Curves::new("out/run/curves.svg").and("out/run/curves.png").smoothing(0.95);
/// # let _ = callback;
/// ```
pub struct Curves {
    files: Vec<PathBuf>,
    keep: f64,
    history: History,
    /// The step of the last picture.
    drawn: Option<u64>,
}

impl Curves {
    /// Into this file: a PNG where its name ends so, else an SVG.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Curves { files: vec![file.into()], keep: 0.9, history: History::new(), drawn: None }
    }

    /// Into this file, too.
    pub fn and(mut self, file: impl Into<PathBuf>) -> Self {
        self.files.push(file.into());
        self
    }

    /// How much of itself the average keeps at each step: 0.9 if not given.
    pub fn smoothing(mut self, keep: f64) -> Self {
        self.keep = keep;
        self
    }

    fn draw(&mut self, run: &Run<'_>) -> Result<()> {
        let step = run.place().step;
        if self.drawn.replace(step) == Some(step) {
            return Ok(());
        }
        let plan = run.plan();
        let (axis, scale) = if plan.epochs > 1 { ("epoch", 1.0 / plan.steps_per_epoch as f64) } else { ("step", 1.0) };
        let mut panels: Vec<(String, Vec<Curve>)> = vec![];
        for name in self.history.names() {
            let points: Vec<(f64, f64)> = self.history.get(&name).iter().map(|&(x, y)| (x * scale, y)).collect();
            let mut curves = vec![];
            // A rate is no noise.
            if points.len() > MANY && name != "learning rate" {
                let values: Vec<f64> = points.iter().map(|&(_, y)| y).collect();
                let smooth = points.iter().map(|&(x, _)| x).zip(smoothed(&values, self.keep)?).collect();
                curves.push(Curve::pale(format!("{name}, each step"), points));
                curves.push(Curve::new(name.clone(), smooth));
            } else {
                curves.push(Curve::new(name.clone(), points));
            }
            let last_word = |name: &str| name.rsplit(' ').next().map(str::to_owned);
            match panels.iter_mut().find(|(title, _)| last_word(title) == last_word(&name)) {
                Some((_, of_panel)) => of_panel.extend(curves),
                None => panels.push((name, curves)),
            }
        }
        let panels: Vec<_> = panels.iter().map(|(title, curves)| (title.as_str(), axis, curves.clone())).collect();
        self.files.iter().try_for_each(|file| draw_curves(file, &panels))
    }
}

impl Callback for Curves {
    fn step_read(&mut self, run: &mut Run<'_>, step: &Step) -> Result<()> {
        self.history.step_read(run, step)
    }

    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        self.history.evaluated(run, figures)
    }

    fn epoch_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.draw(run)
    }

    fn loop_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.draw(run)
    }

    fn key(&self) -> Option<&str> {
        Some("curves")
    }

    fn state(&mut self) -> Result<StateDict> {
        self.history.state()
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        self.history.load_state(state)
    }
}
