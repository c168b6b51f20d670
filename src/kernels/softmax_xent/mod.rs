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
use crate::device::{Buffer, Memory, View};
use crate::{DType, Element, Error, Result, with_dtype, with_float};

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
    /// One class per row: i64, u32 or u8, in any layout.
    Labels(View<'a>),
    /// One probability per class and row, of the logits' dtype, in any layout.
    Probabilities(View<'a>),
}

impl<'a> Targets<'a> {
    fn view(&self) -> View<'a> {
        match self {
            Targets::Labels(view) | Targets::Probabilities(view) => *view,
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
    /// The label of rows that count for nothing.
    pub ignored: Option<i64>,
    /// One weight per class, of any float dtype.
    pub weight: Option<View<'a>>,
}

/// The gradient of the rows' losses.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Of the logits' dtype: one number for each row, or one for all where the losses were added up.
    pub grad: View<'a>,
    /// What a mean was divided by, as [`reduce_losses`] gave it: divides the gradient too.
    pub divisor: Option<View<'a>>,
}

/// The labels as classes; an error names the first that is none, and where it is.
fn classes_of(op: &'static str, desc: &CrossEntropyDesc<'_>, labels: View<'_>) -> Result<Vec<Option<usize>>> {
    let values: Vec<i64> = match labels.dtype() {
        DType::I64 => labels.to_vec::<i64>()?,
        DType::U32 => labels.to_vec::<u32>()?.into_iter().map(i64::from).collect(),
        DType::U8 => labels.to_vec::<u8>()?.into_iter().map(i64::from).collect(),
        other => return Err(no_labels(op, other)),
    };
    let class = |(i, label): (usize, i64)| match usize::try_from(label) {
        _ if Some(label) == desc.ignored => Ok(None),
        Ok(class) if class < desc.classes => Ok(Some(class)),
        _ => {
            let ignored = desc.ignored.map_or(String::new(), |i| format!(", or {i} to be ignored"));
            Err(no_class(op, label, i, desc.classes, &ignored))
        }
    };
    values.into_iter().enumerate().map(class).collect()
}

fn no_labels(op: &'static str, found: DType) -> Error {
    Error::dtype(op, "labels of dtype i64, u32 or u8", &[found])
}

fn no_class(op: &'static str, label: i64, at: usize, classes: usize, ignored: &str) -> Error {
    let message = format!("label {label} at position {at} is out of range: 0 to {classes} exclusive{ignored}");
    Error::argument(op, message)
}

fn nothing_counts(op: &'static str, rows: usize) -> Error {
    let message = format!("the mean over none of {rows} samples: all are ignored, or the batch is empty");
    Error::argument(op, message)
}

/// A call on the CPU: labels and weights as plain numbers.
struct OnHost<'a> {
    desc: loss::HostDesc<'a>,
    targets: loss::HostTargets<'a>,
}

/// Labels and weights are checked, and read, where they are needed: at each call on the CPU.
fn with_host<R>(
    op: &'static str,
    desc: &CrossEntropyDesc<'_>,
    targets: Targets<'_>,
    f: impl FnOnce(OnHost<'_>) -> Result<R>,
) -> Result<R> {
    let weight = desc.weight.map(|weight| weight.to_f64_vec()).transpose()?;
    let classes = match targets {
        Targets::Labels(labels) => Some(classes_of(op, desc, labels)?),
        Targets::Probabilities(_) => None,
    };
    let targets = match &classes {
        Some(classes) => loss::HostTargets::Classes(classes),
        None => loss::HostTargets::Probabilities(targets.view()),
    };
    let &CrossEntropyDesc { rows, classes, smoothing, .. } = desc;
    f(OnHost { desc: loss::HostDesc { rows, classes, smoothing, weight: weight.as_deref() }, targets })
}

/// The gradient of each row's loss.
fn upstream_on_host(desc: &CrossEntropyDesc<'_>, upstream: &Upstream<'_>) -> Result<Vec<f64>> {
    let mut grad = upstream.grad.to_f64_vec()?;
    let divisor = upstream.divisor.map(|divisor| divisor.to_f64_vec()).transpose()?;
    if let Some(&divisor) = divisor.as_ref().and_then(|divisor| divisor.first()) {
        grad.iter_mut().for_each(|g| *g /= divisor);
    }
    if grad.len() != desc.rows {
        grad = vec![grad.first().copied().unwrap_or(0.0); desc.rows];
    }
    Ok(grad)
}

/// The loss of each row and its log of the sum of exponentials, both f32 (f64 for f64). Ignored rows lose 0.
///
/// A label that is no class is an error: at once on the CPU, of the next call that waits for the device on CUDA, where
/// the row counts for nothing.
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
    match on_host(operands(desc, targets, [Some(logits)]).iter().map(memory).chain([losses.memory(), lse.memory()])) {
        Some(true) => with_host(OP, desc, targets, |host| {
            with_float!(dtype, T => loss::forward::<T>(&host.desc, logits, host.targets, losses, lse),
                else Err(unsupported(OP, dtype, FLOATS)))
        }),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::cross_entropy::<T>(desc, logits, targets, losses, lse)),
        None => Err(mixed_devices(OP)),
    }
}

/// The losses of all rows as one number of `dtype`: their sum, or for a `mean` that divided by the weights of the rows'
/// classes (of ignored rows none; by the number of rows where targets are probabilities), and then what it was divided
/// by. A mean over no row is an error, on CUDA of the next call that waits for the device.
pub fn reduce_losses(
    op: &'static str,
    desc: &CrossEntropyDesc<'_>,
    targets: Targets<'_>,
    losses: &Buffer,
    mean: bool,
    dtype: DType,
) -> Result<(Buffer, Option<Buffer>)> {
    check(op, desc, desc.rows * desc.classes, targets)?;
    check_elements(op, desc.rows, statistics_dtype(dtype), (losses.len(), losses.dtype()))?;
    if mean && desc.rows == 0 {
        return Err(nothing_counts(op, 0));
    }
    match on_host(operands(desc, targets, [None]).iter().map(memory).chain([losses.memory()])) {
        Some(true) => with_host(op, desc, targets, |host| reduced_on_host(op, &host, losses, mean, dtype)),
        Some(false) => {
            with_cuda_float!(op, dtype, T => cuda::reduce_losses::<T>(op, desc, targets, losses, mean))
        }
        None => Err(mixed_devices(op)),
    }
}

fn reduced_on_host(
    op: &'static str,
    host: &OnHost<'_>,
    losses: &Buffer,
    mean: bool,
    dtype: DType,
) -> Result<(Buffer, Option<Buffer>)> {
    let total: f64 = with_dtype!(losses.dtype(), T => losses.as_slice::<T>()?.iter().map(|x| x.to_f64()).sum());
    let device = losses.device();
    let of = |class: usize| host.desc.weight.map_or(1.0, |weight| weight[class]);
    let (counted, count) = match host.targets {
        loss::HostTargets::Classes(classes) => {
            (classes.iter().flatten().count(), classes.iter().flatten().map(|&class| of(class)).sum())
        }
        loss::HostTargets::Probabilities(_) => (host.desc.rows, host.desc.rows as f64),
    };
    if mean && counted == 0 {
        return Err(nothing_counts(op, host.desc.rows));
    }
    let value = if mean { total / count } else { total };
    let out = with_dtype!(dtype, T => Buffer::from_slice(&device, &[<T as Element>::from_f64(value)]))?;
    Ok((out, mean.then(|| Buffer::from_slice(&device, &[count])).transpose()?))
}

/// The gradient of the logits. `gradient` holds the logits where `logits` is `None`: they are overwritten.
pub fn cross_entropy_backward(
    desc: &CrossEntropyDesc<'_>,
    logits: Option<View<'_>>,
    targets: Targets<'_>,
    lse: View<'_>,
    upstream: Upstream<'_>,
    gradient: &mut Buffer,
) -> Result<()> {
    const OP: &str = "cross_entropy_backward";
    let dtype = gradient.dtype();
    check(OP, desc, gradient.len(), targets)?;
    if let Some(logits) = logits {
        check_elements(OP, gradient.len(), dtype, (logits.layout().numel(), logits.dtype()))?;
    }
    check_elements(OP, desc.rows, statistics_dtype(dtype), (lse.layout().numel(), lse.dtype()))?;
    check_upstream(OP, desc, &upstream, dtype)?;
    let read = operands(desc, targets, [logits, Some(lse), Some(upstream.grad), upstream.divisor]);
    match on_host(read.iter().map(memory).chain([gradient.memory()])) {
        Some(true) => with_host(OP, desc, targets, |host| {
            let upstream = upstream_on_host(desc, &upstream)?;
            with_float!(dtype, T => {
                loss::backward::<T>(&host.desc, logits, host.targets, lse, &upstream, gradient.as_mut_slice::<T>()?)
            }, else Err(unsupported(OP, dtype, FLOATS)))
        }),
        Some(false) => {
            with_cuda_float!(OP, dtype, T => cuda::cross_entropy_backward::<T>(desc, logits, targets, lse, upstream, gradient))
        }
        None => Err(mixed_devices(OP)),
    }
}

/// Row i's −weight · x at its class into `losses` (f32, f64 for f64); ignored rows lose 0. Labels as for
/// [`cross_entropy`].
pub fn nll(
    desc: &CrossEntropyDesc<'_>,
    log_probabilities: View<'_>,
    labels: View<'_>,
    losses: &mut Buffer,
) -> Result<()> {
    const OP: &str = "nll_loss";
    let (dtype, targets) = (log_probabilities.dtype(), Targets::Labels(labels));
    check(OP, desc, log_probabilities.layout().numel(), targets)?;
    check_elements(OP, desc.rows, statistics_dtype(dtype), (losses.len(), losses.dtype()))?;
    let read = operands(desc, targets, [Some(log_probabilities)]);
    match on_host(read.iter().map(memory).chain([losses.memory()])) {
        Some(true) => with_host(OP, desc, targets, |host| {
            with_float!(dtype, T => nll::forward::<T>(&host, log_probabilities, losses),
                else Err(unsupported(OP, dtype, FLOATS)))
        }),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::nll::<T>(desc, log_probabilities, labels, losses)),
        None => Err(mixed_devices(OP)),
    }
}

/// The gradient of the log-probabilities.
pub fn nll_backward(
    desc: &CrossEntropyDesc<'_>,
    labels: View<'_>,
    upstream: Upstream<'_>,
    gradient: &mut Buffer,
) -> Result<()> {
    const OP: &str = "nll_loss_backward";
    let (dtype, targets) = (gradient.dtype(), Targets::Labels(labels));
    check(OP, desc, gradient.len(), targets)?;
    check_upstream(OP, desc, &upstream, dtype)?;
    let read = operands(desc, targets, [Some(upstream.grad), upstream.divisor]);
    match on_host(read.iter().map(memory).chain([gradient.memory()])) {
        Some(true) => with_host(OP, desc, targets, |host| {
            let upstream = upstream_on_host(desc, &upstream)?;
            with_float!(dtype, T => {
                nll::backward(&host, &upstream, gradient.as_mut_slice::<T>()?);
                Ok(())
            }, else Err(unsupported(OP, dtype, FLOATS)))
        }),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::nll_backward::<T>(desc, labels, upstream, gradient)),
        None => Err(mixed_devices(OP)),
    }
}

/// What a call reads.
fn operands<'a, const N: usize>(
    desc: &CrossEntropyDesc<'a>,
    targets: Targets<'a>,
    others: [Option<View<'a>>; N],
) -> Vec<View<'a>> {
    others.into_iter().chain([Some(targets.view()), desc.weight]).flatten().collect()
}

fn memory<'a>(view: &View<'a>) -> &'a Memory {
    view.buffer().memory()
}

fn check_upstream(op: &'static str, desc: &CrossEntropyDesc<'_>, upstream: &Upstream<'_>, dtype: DType) -> Result<()> {
    let count = upstream.grad.layout().numel();
    if count != 1 && count != desc.rows {
        return Err(Error::argument(op, format!("{count} upstream gradients for {} rows", desc.rows)));
    }
    if upstream.grad.dtype() != dtype {
        return Err(Error::dtype(op, format!("upstream gradients of {dtype}"), &[upstream.grad.dtype()]));
    }
    Ok(())
}

fn check(op: &'static str, desc: &CrossEntropyDesc<'_>, logits: usize, targets: Targets<'_>) -> Result<()> {
    let given = targets.view().layout().numel();
    let (elements, labels) = match targets {
        Targets::Labels(view) => (given * desc.classes, (!is_label(view.dtype())).then_some(view.dtype())),
        Targets::Probabilities(_) => (given, None),
    };
    if let Some(dtype) = labels {
        return Err(no_labels(op, dtype));
    }
    let weights = desc.weight.map_or(desc.classes, |weight| weight.layout().numel());
    if logits != desc.rows * desc.classes || elements != logits || weights != desc.classes {
        let message = format!("{logits} logits, {elements} targets and {weights} weights for {desc:?}");
        return Err(Error::argument(op, message));
    }
    Ok(())
}

fn is_label(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::U32 | DType::U8)
}
