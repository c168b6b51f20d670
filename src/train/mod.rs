//! Floor 5: what a training run needs around the model: steps captured as graphs, checkpoints and, with the feature
//! `train`, progress lines and pictures of the curves.

mod checkpoint;
#[cfg(feature = "train")]
mod curves;
#[cfg(feature = "train")]
mod progress;
mod step;

pub use checkpoint::Checkpoint;
#[cfg(feature = "train")]
pub use curves::{Curve, draw_curves, smoothed};
#[cfg(feature = "train")]
pub use progress::Progress;
pub use step::{CapturedStep, StepOutput};
