//! How far a run is: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two plain lines at least this long passes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows steps done, what a step says of itself, and samples per second: as a bar on standard error where that is a
/// terminal, else as plain lines on standard output, the first at once and then at most one in five seconds.
pub struct Progress {
    bar: Option<ProgressBar>,
    unit: &'static str,
    total: u64,
    started: Instant,
    samples: u64,
    last_line: Option<Instant>,
}

impl Progress {
    /// `total` steps, of which `done` were done by an earlier run; a step is of so many of `unit`: images, tokens.
    pub fn new(total: u64, done: u64, unit: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_position(done);
            let template = "{bar:30} {pos}/{len} {msg} ({elapsed} of about {duration})";
            // The template is a constant that parses; the plain style serves if it ever does not.
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar, unit, total, started: Instant::now(), samples: 0, last_line: None }
    }

    /// Step number `step` (counted from 1) is done, with this to say, on `samples` samples.
    pub fn step(&mut self, step: u64, message: &str, samples: usize) {
        self.samples += samples as u64;
        let rate = self.samples as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let message = format!("{message}, {rate:.0} {}/s", self.unit);
        match &self.bar {
            Some(bar) => {
                bar.set_position(step);
                bar.set_message(message);
            }
            None if self.last_line.is_none_or(|last| last.elapsed() >= INTERVAL) || step == self.total => {
                println!("step {step}/{}: {message}", self.total);
                self.last_line = Some(Instant::now());
            }
            None => {}
        }
    }

    /// A line that stays: the result of an epoch.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
