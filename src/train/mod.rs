//! Floor 5: what a training run needs around the model: the loop itself ([`Trainer`]) with callbacks, steps captured as
//! graphs, checkpoints and, with the feature `train`, progress lines and pictures of the curves.

mod batches;
mod callback;
mod callbacks;
#[cfg(feature = "train")]
mod canvas;
mod checkpoint;
mod crc;
#[cfg(feature = "train")]
mod curves;
mod figures;
mod fit;
#[cfg(feature = "train")]
mod font;
#[cfg(feature = "train")]
mod interrupt;
#[cfg(feature = "train")]
mod progress;
mod run;
mod step;
mod trainer;

pub use batches::{BatchIter, Batches, batches};
pub use callback::Callback;
pub use callbacks::{Checkpoints, EarlyStopping, Goal, History, LearningRate, MetricLog, ReduceOnPlateau, Samples};
#[cfg(feature = "train")]
pub use callbacks::{Curves, ShowProgress};
pub use checkpoint::Checkpoint;
#[cfg(feature = "train")]
pub use curves::{Curve, draw_curves, smoothed};
pub use figures::Figures;
#[cfg(feature = "train")]
pub use interrupt::ctrl_c;
#[cfg(feature = "train")]
pub use progress::Progress;
pub use run::{End, Place, Plan, Run, Step};
pub use step::{CapturedStep, StepOutput};
pub use trainer::{Every, Outcome, Trainer};
