//! One error type for the whole crate: each names the operation, what it was given and what it wanted.

use crate::{DType, Shape};
use std::path::PathBuf;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the operation, the shapes and dtypes it got, and what it expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that an operation cannot combine.
    #[error("{op}: expected {expected}, got {}", Shapes(found))]
    Shape {
        /// The operation.
        op: &'static str,
        /// What it accepts, in words.
        expected: String,
        /// The shapes it was given.
        found: Vec<Shape>,
    },
    /// Dtypes that an operation cannot combine.
    #[error("{op}: expected {expected}, got {}", DTypes(found))]
    DType {
        /// The operation.
        op: &'static str,
        /// What it accepts, in words.
        expected: String,
        /// The dtypes it was given.
        found: Vec<DType>,
    },
    /// Operands that live on different devices, or on one that cannot serve the call.
    #[error("{op}: {message}")]
    Device {
        /// The operation.
        op: &'static str,
        /// What was found and what to do.
        message: String,
    },
    /// A dtype that the family has no kernel for on this device.
    #[error("{op}: no {dtype} kernel on {device} (available: {available})")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// The dtype asked for.
        dtype: DType,
        /// The device asked for.
        device: String,
        /// The dtypes that exist there.
        available: String,
    },
    /// An index, label or axis outside its range.
    #[error("{op}: {what} {index} is out of range, valid are 0 to {bound} exclusive")]
    OutOfRange {
        /// The operation.
        op: &'static str,
        /// What the number is: an axis, an index, a label.
        what: &'static str,
        /// The number found.
        index: i64,
        /// The first number that is too large.
        bound: usize,
    },
    /// Any other argument that makes no sense.
    #[error("{op}: {message}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// A differentiable result was asked for from an operation that has no backward.
    #[error("{op}: has no backward; call it under no_grad, or detach its inputs")]
    NoBackward {
        /// The operation.
        op: &'static str,
    },
    /// A graph was walked a second time after the first walk freed it.
    #[error("{op}: the graph was freed by an earlier backward; use Backward::retain_graph to walk it again")]
    GraphFreed {
        /// The operation whose saved values are gone.
        op: &'static str,
    },
    /// A value saved for the backward was overwritten in place before the backward ran.
    #[error("{op}: {name} was overwritten after the forward; run backward before the update, or use snapshot()")]
    Overwritten {
        /// The operation that saved the value.
        op: &'static str,
        /// The name of the variable.
        name: String,
    },
    /// A CUDA device that cannot be used.
    #[error("CUDA device {ordinal}: {message}")]
    CudaUnavailable {
        /// The ordinal asked for.
        ordinal: usize,
        /// What is missing and what to do.
        message: String,
    },
    /// An allocation that a CUDA device has no room for. Nothing else is affected: free tensors and try again.
    #[error(
        "cuda:{ordinal} has no room for {asked} bytes: {free} are free, {held} are held by this process' tensors; use \
         smaller batches, checkpoint activations, or drop tensors that are not needed"
    )]
    OutOfMemory {
        /// The device.
        ordinal: usize,
        /// Bytes asked for.
        asked: usize,
        /// Bytes that the driver reports as free.
        free: usize,
        /// Bytes that live buffers of this process hold on the device.
        held: usize,
    },
    /// A CUDA device whose context did not survive an earlier failure: nothing on it can be used any more.
    #[error("{op}: cuda:{ordinal} is lost since an earlier failure ({cause}); restart the process to use it again")]
    DeviceLost {
        /// The operation that was asked for.
        op: &'static str,
        /// The device.
        ordinal: usize,
        /// The failure, and the launches it may come from.
        cause: String,
    },
    /// A training run whose loss or weights are no longer numbers.
    #[error(
        "{what} at step {step} (epoch {epoch}, batch {batch}, counted from 0); a smaller learning rate or clipped \
         gradients may help{}",
        Kept(kept)
    )]
    Diverged {
        /// What became what.
        what: String,
        /// The step, counted from 1.
        step: u64,
        /// Its epoch, counted from 0.
        epoch: u64,
        /// Its first batch in the epoch, counted from 0.
        batch: u64,
        /// The last checkpoint that this run wrote, from before.
        kept: Option<PathBuf>,
    },
    /// A training run that the user ended.
    #[error("interrupted after step {step}{}", Kept(saved))]
    Interrupted {
        /// The last step that was done, counted from 1.
        step: u64,
        /// The last checkpoint that this run wrote.
        saved: Option<PathBuf>,
    },
    /// Reading or writing a file failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done ("reading", "writing").
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file or byte string that is not what it should be.
    #[error("{what}: {message}")]
    Format {
        /// The file or the kind of data.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// A sample or a batch that could not be made.
    #[error("{place}: {source}")]
    Data {
        /// Which one: its number, and where it was asked for.
        place: String,
        /// The cause.
        source: Box<Error>,
    },
    /// Entries of a checkpoint that do not fit the model.
    #[error("{what} does not fit the model: missing {missing:?}, unexpected {unexpected:?}, mismatched {mismatched:?}")]
    StateDict {
        /// The file or map that was loaded.
        what: String,
        /// Names the model has and the file lacks.
        missing: Vec<String>,
        /// Names the file has and the model lacks.
        unexpected: Vec<String>,
        /// Names whose shape or dtype differs, with both.
        mismatched: Vec<String>,
    },
}

impl Error {
    /// A shape error.
    pub fn shape(op: &'static str, expected: impl Into<String>, found: &[Shape]) -> Self {
        Error::Shape { op, expected: expected.into(), found: found.to_vec() }
    }

    /// A dtype error.
    pub fn dtype(op: &'static str, expected: impl Into<String>, found: &[DType]) -> Self {
        Error::DType { op, expected: expected.into(), found: found.to_vec() }
    }

    /// What a program that failed with this should tell its caller: 130 for a run that Ctrl-C ended, as shells have it,
    /// else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Error::Interrupted { .. }) { 130 } else { 1 }
    }

    /// An argument error.
    pub fn argument(op: &'static str, message: impl Into<String>) -> Self {
        Error::Argument { op, message: message.into() }
    }
}

struct Kept<'a>(&'a Option<PathBuf>);

impl std::fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(path) => write!(f, "; the last checkpoint is {}", path.display()),
            None => Ok(()),
        }
    }
}

struct Shapes<'a>(&'a [Shape]);

impl std::fmt::Display for Shapes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        join(f, self.0)
    }
}

struct DTypes<'a>(&'a [DType]);

impl std::fmt::Display for DTypes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        join(f, self.0)
    }
}

fn join(f: &mut std::fmt::Formatter<'_>, items: &[impl std::fmt::Display]) -> std::fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            write!(f, " and ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
