//! The callbacks that most runs want.

mod checkpoints;
#[cfg(feature = "train")]
mod curves;
mod history;
mod log;
mod plateau;
#[cfg(feature = "train")]
mod progress;
mod rate;
mod samples;
mod stopping;
mod tensorboard;

pub use checkpoints::Checkpoints;
#[cfg(feature = "train")]
pub use curves::Curves;
pub use history::History;
pub use log::MetricLog;
pub use plateau::ReduceOnPlateau;
#[cfg(feature = "train")]
pub use progress::ShowProgress;
pub use rate::LearningRate;
pub use samples::Samples;
pub use stopping::EarlyStopping;

/// Which way a figure gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Up: accuracies.
    Highest,
    /// Down: losses.
    Lowest,
}

impl Goal {
    /// Whether a value is better than another by more than `delta`. NaN is never better, and whatever is a number is
    /// better than nothing.
    pub fn is_better(self, value: f64, than: Option<f64>, delta: f64) -> bool {
        match (self, than) {
            _ if value.is_nan() => false,
            (_, None) => true,
            (Goal::Highest, Some(than)) => value > than + delta,
            (Goal::Lowest, Some(than)) => value < than - delta,
        }
    }
}
