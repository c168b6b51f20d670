//! Softmax and log-softmax along an axis, and the cross-entropy of logits fused with them, forward and backward.
//!
//! The loss reads each logit once: a running maximum and a sum rescaled to it (Milakov & Gimelshein 2018, Online
//! normalizer calculation for softmax). What it keeps is one number per row; its gradient is one pass over the logits,
//! which may be written over them.

mod cpu;
mod cuda;
mod loss;
mod nll;
pub mod plan;

use super::operands::with_cuda_float;
use super::rowwise::{check_elements, on_host, statistics_dtype};
use super::{mixed_devices, unsupported};
use crate::device::{Buffer, View};
use crate::{Error, Result, with_float};

const FLOATS: &str = "f32, f16, bf16, f64";

/// A softmax along the middle axis of (outer, width, inner).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxDesc {
    /// The product of the axes before.
    pub outer: usize,
    /// The extent of the axis.
    pub width: usize,
    /// The product of the axes after.
    pub inner: usize,
    /// Whether the logarithm is wanted.
    pub log: bool,
}

impl SoftmaxDesc {
    fn numel(&self) -> usize {
        self.outer * self.width * self.inner
    }

    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }
}

/// y = exp(x − max) / Σ exp(x − max), or its logarithm; x in any layout, y contiguous.
pub fn softmax(desc: &SoftmaxDesc, x: View<'_>, y: &mut Buffer) -> Result<()> {
    let (op, dtype) = (desc.name(), x.dtype());
    check_elements(op, desc.numel(), dtype, (x.layout().numel(), dtype))?;
    check_elements(op, desc.numel(), dtype, (y.len(), y.dtype()))?;
    match on_host([x.buffer().memory(), y.memory()]) {
        Some(true) => with_float!(dtype, T => cpu::forward::<T>(desc, x, y.as_mut_slice::<T>()?),
            else Err(unsupported(op, dtype, FLOATS))),
        Some(false) => with_cuda_float!(op, dtype, T => cuda::softmax::<T>(desc, x, y)),
        None => Err(mixed_devices(op)),
    }
}

/// The gradient of x from y and its gradient: y · (dy − Σ dy · y), or dy − exp(y) · Σ dy for the logarithm.
pub fn softmax_backward(desc: &SoftmaxDesc, y: View<'_>, dy: View<'_>, dx: &mut Buffer) -> Result<()> {
    let (op, dtype) = (desc.name(), y.dtype());
    check_elements(op, desc.numel(), dtype, (y.layout().numel(), dtype))?;
    check_elements(op, desc.numel(), dtype, (dy.layout().numel(), dy.dtype()))?;
    check_elements(op, desc.numel(), dtype, (dx.len(), dx.dtype()))?;
    match on_host([y.buffer().memory(), dy.buffer().memory(), dx.memory()]) {
        Some(true) => with_float!(dtype, T => cpu::backward::<T>(desc, y, dy, dx.as_mut_slice::<T>()?),
            else Err(unsupported(op, dtype, FLOATS))),
        Some(false) => with_cuda_float!(op, dtype, T => cuda::softmax_backward::<T>(desc, y, dy, dx)),
        None => Err(mixed_devices(op)),
    }
}

/// What the rows of logits are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class per row; `None` for rows that count for nothing.
    Classes(&'a [Option<usize>]),
    /// One probability per class and row, of the logits' dtype, in any layout.
    Probabilities(View<'a>),
}

impl<'a> Targets<'a> {
    /// The targets that lie in a device's memory.
    fn view(&self) -> Option<View<'a>> {
        match self {
            Targets::Classes(_) => None,
            Targets::Probabilities(view) => Some(*view),
        }
    }
}

/// A cross-entropy of `rows` rows of `classes` logits, row by row:
/// Σ over classes of weight · q · (lse − x), with q = (1 − smoothing) · target + smoothing / classes, and for class
/// targets the target's own weight in place of each class' on the first term.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropyDesc<'a> {
    /// The number of rows.
    pub rows: usize,
    /// The number of classes.
    pub classes: usize,
    /// Label smoothing, 0 to 1.
    pub smoothing: f64,
    /// One weight per class.
    pub weight: Option<&'a [f64]>,
}

/// The loss of each row and its log of the sum of exponentials, both f32 (f64 for f64). Ignored rows lose 0.
pub fn cross_entropy(
    desc: &CrossEntropyDesc<'_>,
    logits: View<'_>,
    targets: Targets<'_>,
    losses: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    let dtype = logits.dtype();
    check(OP, desc, logits.layout().numel(), targets)?;
    for out in [&*losses, &*lse] {
        check_elements(OP, desc.rows, statistics_dtype(dtype), (out.len(), out.dtype()))?;
    }
    let read = [Some(logits), targets.view()];
    let read = read.iter().flatten().map(|v| v.buffer().memory());
    match on_host(read.chain([losses.memory(), lse.memory()])) {
        Some(true) => with_float!(dtype, T => loss::forward::<T>(desc, logits, targets, losses, lse),
            else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::cross_entropy::<T>(desc, logits, targets, losses, lse)),
        None => Err(mixed_devices(OP)),
    }
}

/// The gradient of the logits, where row i's loss has gradient `upstream[i]`. `gradient` holds the logits where
/// `logits` is `None`: they are overwritten.
pub fn cross_entropy_backward(
    desc: &CrossEntropyDesc<'_>,
    logits: Option<View<'_>>,
    targets: Targets<'_>,
    lse: View<'_>,
    upstream: &[f64],
    gradient: &mut Buffer,
) -> Result<()> {
    const OP: &str = "cross_entropy_backward";
    let dtype = gradient.dtype();
    check(OP, desc, gradient.len(), targets)?;
    if let Some(logits) = logits {
        check_elements(OP, gradient.len(), dtype, (logits.layout().numel(), logits.dtype()))?;
    }
    check_elements(OP, desc.rows, statistics_dtype(dtype), (lse.layout().numel(), lse.dtype()))?;
    if upstream.len() != desc.rows {
        return Err(Error::argument(OP, format!("{} upstream gradients for {} rows", upstream.len(), desc.rows)));
    }
    let read = [logits, targets.view(), Some(lse)];
    let read = read.iter().flatten().map(|v| v.buffer().memory());
    match on_host(read.chain([gradient.memory()])) {
        Some(true) => with_float!(dtype, T => {
            loss::backward::<T>(desc, logits, targets, lse, upstream, gradient.as_mut_slice::<T>()?)
        }, else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => {
            with_cuda_float!(OP, dtype, T => cuda::cross_entropy_backward::<T>(desc, logits, targets, lse, upstream, gradient))
        }
        None => Err(mixed_devices(OP)),
    }
}

/// Row i's −weight · x at its class into `losses` (f32, f64 for f64); ignored rows lose 0.
pub fn nll(
    desc: &CrossEntropyDesc<'_>,
    log_probabilities: View<'_>,
    classes: &[Option<usize>],
    losses: &mut Buffer,
) -> Result<()> {
    const OP: &str = "nll_loss";
    let dtype = log_probabilities.dtype();
    check(OP, desc, log_probabilities.layout().numel(), Targets::Classes(classes))?;
    check_elements(OP, desc.rows, statistics_dtype(dtype), (losses.len(), losses.dtype()))?;
    match on_host([log_probabilities.buffer().memory(), losses.memory()]) {
        Some(true) => with_float!(dtype, T => nll::forward::<T>(desc, log_probabilities, classes, losses),
            else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::nll::<T>(desc, log_probabilities, classes, losses)),
        None => Err(mixed_devices(OP)),
    }
}

/// The gradient of the log-probabilities, where row i's loss has gradient `upstream[i]`.
pub fn nll_backward(
    desc: &CrossEntropyDesc<'_>,
    classes: &[Option<usize>],
    upstream: &[f64],
    gradient: &mut Buffer,
) -> Result<()> {
    const OP: &str = "nll_loss_backward";
    let dtype = gradient.dtype();
    check(OP, desc, gradient.len(), Targets::Classes(classes))?;
    if upstream.len() != desc.rows {
        return Err(Error::argument(OP, format!("{} upstream gradients for {} rows", upstream.len(), desc.rows)));
    }
    match on_host([gradient.memory()]) {
        Some(true) => with_float!(dtype, T => {
            nll::backward(desc, classes, upstream, gradient.as_mut_slice::<T>()?);
            Ok(())
        }, else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::nll_backward::<T>(desc, classes, upstream, gradient)),
        None => Err(mixed_devices(OP)),
    }
}

fn check(op: &'static str, desc: &CrossEntropyDesc<'_>, logits: usize, targets: Targets<'_>) -> Result<()> {
    let elements = match targets {
        Targets::Classes(classes) => {
            if let Some(class) = classes.iter().flatten().find(|&&c| c >= desc.classes) {
                let index = *class as i64;
                return Err(Error::OutOfRange { op, what: "label", index, bound: desc.classes });
            }
            classes.len() * desc.classes
        }
        Targets::Probabilities(view) => view.layout().numel(),
    };
    let weights = desc.weight.map_or(desc.classes, <[f64]>::len);
    if logits != desc.rows * desc.classes || elements != logits || weights != desc.classes {
        let message = format!("{logits} logits, {elements} targets and {weights} weights for {desc:?}");
        return Err(Error::argument(op, message));
    }
    Ok(())
}
