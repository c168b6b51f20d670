//! Launches of `kernels/softmax_xent.cu`.

use super::plan::{Held, LossPlan, SoftmaxPlan};
use super::{CrossEntropyDesc, SoftmaxDesc, Targets, Upstream, no_class, nothing_counts};
use crate::device::cuda::{CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::device::{Buffer, View};
use crate::kernels::elementwise::{Contiguous, cast, contiguous};
use crate::kernels::images::SOFTMAX_XENT;
use crate::kernels::named::{ByFloat, NamedKernel, by_float, named};
use crate::kernels::operands::{aligned, all, blocks, device, elements, extent, lanes, optional, output};
use crate::kernels::params::{
    CrossEntropyParams, LOSS_MEAN, LOSS_REDUCED, REPORT_LABEL, SoftmaxParams, TARGETS_IGNORED, TARGETS_PROBABILITIES,
    TARGETS_SMOOTHED, TARGETS_WEIGHTED,
};
use crate::{DType, Device, Element, Error, Result};

/// Threads of the one block that adds up losses, as `softmax_xent.cu` has them.
const REDUCING: u32 = 1024;

/// What a row of logits is compared with, on the device; null where there is none.
struct Compared<'a, T> {
    probabilities: DevicePtr<'a, T>,
    labels: DevicePtr<'a, i64>,
    weight: DevicePtr<'a, f32>,
    /// Where labels that are no class are reported.
    report: DevicePtrMut<'a, u8>,
}

/// The gradient of the rows' losses on the device; no divisor is null.
struct OfRows<'a, T> {
    grad: DevicePtr<'a, T>,
    divisor: DevicePtr<'a, f32>,
}

/// The kernels of one dtype; of pairs the first is for single elements, the second for 16-byte accesses.
struct Kernels {
    softmax: Softmax,
    softmax_backward: Softmax,
    cross_entropy: [NamedKernel; 2],
    cross_entropy_gradient: [NamedKernel; 2],
    nll: NamedKernel,
    nll_gradient: NamedKernel,
    reduce_losses: NamedKernel,
}

/// The kernels of one direction of the softmax, by how much of a row they hold.
struct Softmax {
    eight: [NamedKernel; 2],
    sixteen: [NamedKernel; 2],
    rereading: [NamedKernel; 2],
    columns: NamedKernel,
}

macro_rules! softmax {
    ($direction:literal, $t:literal, $wide:literal) => {
        Softmax {
            eight: [
                named!("softmax_rows", $direction, "<", $t, ", 1, 8>"),
                named!("softmax_rows", $direction, "<", $t, ", ", $wide, ", 8>"),
            ],
            sixteen: [
                named!("softmax_rows", $direction, "<", $t, ", 1, 16>"),
                named!("softmax_rows", $direction, "<", $t, ", ", $wide, ", 16>"),
            ],
            rereading: [
                named!("softmax_rereading", $direction, "<", $t, ", 1>"),
                named!("softmax_rereading", $direction, "<", $t, ", ", $wide, ">"),
            ],
            columns: named!("softmax_columns", $direction, "<", $t, ">"),
        }
    };
}

macro_rules! kernels {
    ($t:literal, $wide:literal) => {
        Kernels {
            softmax: softmax!("", $t, $wide),
            softmax_backward: softmax!("_backward", $t, $wide),
            cross_entropy: [named!("cross_entropy<", $t, ", 1>"), named!("cross_entropy<", $t, ", ", $wide, ">")],
            cross_entropy_gradient: [
                named!("cross_entropy_gradient<", $t, ", 1>"),
                named!("cross_entropy_gradient<", $t, ", ", $wide, ">"),
            ],
            nll: named!("nll<", $t, ">"),
            nll_gradient: named!("nll_gradient<", $t, ">"),
            reduce_losses: named!("reduce_losses<", $t, ">"),
        }
    };
}

static KERNELS: ByFloat<Kernels> = by_float!(kernels);

impl Softmax {
    fn of(&self, plan: &SoftmaxPlan) -> &NamedKernel {
        let access = usize::from(plan.vector);
        match plan.held {
            Held::Eight => &self.eight[access],
            Held::Sixteen => &self.sixteen[access],
            Held::Nowhere => &self.rereading[access],
            Held::Columns => &self.columns,
        }
    }
}

fn softmax_params(op: &'static str, desc: &SoftmaxDesc, plan: &SoftmaxPlan) -> Result<SoftmaxParams> {
    let &SoftmaxDesc { outer, width, inner, log } = desc;
    Ok(SoftmaxParams {
        outer: outer as u64,
        inner: inner as u64,
        width: extent(op, "an axis", width)?,
        lanes: plan.lanes,
        log: u32::from(log),
        reserved: 0,
    })
}

pub(super) fn softmax<T: Element>(desc: &SoftmaxDesc, x: View<'_>, y: &mut Buffer) -> Result<()> {
    if desc.numel() == 0 {
        return Ok(());
    }
    let device = device(y)?;
    let x = contiguous(x)?;
    let x = x.view();
    let (x, y) = (elements::<T>(&x)?, output::<T>(y)?);
    let vector = desc.width.is_multiple_of(lanes::<T>()) && aligned(&[x.address(), y.address()]);
    let plan = SoftmaxPlan::new(desc, 1, vector);
    let config = LaunchConfig::linear(blocks("softmax", plan.blocks)?, plan.threads);
    let kernel = KERNELS.of::<T>().softmax.of(&plan).on(&device, &SOFTMAX_XENT)?;
    // SAFETY: both have outer × width × inner elements, checked by the caller.
    unsafe { kernel.launch(&config, (softmax_params("softmax", desc, &plan)?, y, x)) }
}

pub(super) fn softmax_backward<T: Element>(
    desc: &SoftmaxDesc,
    y: View<'_>,
    dy: View<'_>,
    dx: &mut Buffer,
) -> Result<()> {
    if desc.numel() == 0 {
        return Ok(());
    }
    let device = device(dx)?;
    let (y, dy) = (contiguous(y)?, contiguous(dy)?);
    let (y, dy) = (y.view(), dy.view());
    let (y, dy, dx) = (elements::<T>(&y)?, elements::<T>(&dy)?, output::<T>(dx)?);
    let vector = desc.width.is_multiple_of(lanes::<T>()) && aligned(&[y.address(), dy.address(), dx.address()]);
    let plan = SoftmaxPlan::new(desc, 2, vector);
    let config = LaunchConfig::linear(blocks("softmax_backward", plan.blocks)?, plan.threads);
    let kernel = KERNELS.of::<T>().softmax_backward.of(&plan).on(&device, &SOFTMAX_XENT)?;
    // SAFETY: as above.
    unsafe { kernel.launch(&config, (softmax_params("softmax_backward", desc, &plan)?, dx, y, dy)) }
}

/// A loss' targets as the kernels take them, and what these are told of them.
struct Operands<'a> {
    probabilities: Option<Contiguous<'a>>,
    labels: Option<Converted<'a>>,
    weight: Option<Converted<'a>>,
    /// Where labels are reported, and the operation's number there.
    report: (u64, u32),
}

/// A contiguous operand of the dtype that kernels take.
enum Converted<'a> {
    AsIs(Contiguous<'a>),
    Cast(Buffer),
}

impl<'a> Converted<'a> {
    fn new(device: &CudaDevice, view: View<'a>, dtype: DType) -> Result<Self> {
        if view.dtype() == dtype {
            return contiguous(view).map(Converted::AsIs);
        }
        let mut out = Buffer::uninit(&Device::Cuda(device.clone()), dtype, view.layout().numel())?;
        cast(view, &mut out)?;
        Ok(Converted::Cast(out))
    }

    fn elements<T: Element>(&self) -> Result<DevicePtr<'_, T>> {
        match self {
            Converted::AsIs(view) => Ok(DevicePtr::from_address(elements::<T>(&view.view())?.address())),
            Converted::Cast(buffer) => all(buffer),
        }
    }
}

/// What kernels have reported: a label that is no class, or a mean over nothing.
fn refused(op: &'static str, kind: u32, value: i64, bound: i64) -> Error {
    match kind {
        REPORT_LABEL => no_class(op, value, (bound >> 32) as usize, (bound & 0xffff_ffff) as usize, ""),
        _ => nothing_counts(op, value as usize),
    }
}

impl<'a> Operands<'a> {
    fn new(op: &'static str, device: &CudaDevice, desc: &CrossEntropyDesc<'a>, targets: Targets<'a>) -> Result<Self> {
        let (probabilities, labels) = match targets {
            Targets::Probabilities(view) => (Some(contiguous(view)?), None),
            Targets::Labels(view) => (None, Some(Converted::new(device, view, DType::I64)?)),
        };
        let weight = desc.weight.map(|weight| Converted::new(device, weight, DType::F32)).transpose()?;
        Ok(Operands { probabilities, labels, weight, report: device.report(op, refused)? })
    }

    fn params(&self, op: &'static str, desc: &CrossEntropyDesc<'_>, lanes: u32) -> Result<CrossEntropyParams> {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        Ok(CrossEntropyParams {
            rows: desc.rows as u64,
            classes: extent(op, "a number of classes", desc.classes)?,
            lanes,
            flags: flag(self.probabilities.is_some(), TARGETS_PROBABILITIES)
                | flag(self.weight.is_some(), TARGETS_WEIGHTED)
                | flag(desc.smoothing != 0.0, TARGETS_SMOOTHED)
                | flag(desc.ignored.is_some(), TARGETS_IGNORED),
            uniform: (desc.smoothing / desc.classes as f64) as f32,
            sharp: (1.0 - desc.smoothing) as f32,
            smoothed: desc.smoothing as f32,
            ignored: desc.ignored.unwrap_or(0),
            operation: self.report.1,
            reserved: 0,
        })
    }

    fn compared<T: Element>(&self) -> Result<Compared<'_, T>> {
        let probabilities = match &self.probabilities {
            Some(probabilities) => DevicePtr::from_address(elements::<T>(&probabilities.view())?.address()),
            None => DevicePtr::null(),
        };
        let labels = self.labels.as_ref().map_or(Ok(DevicePtr::null()), Converted::elements)?;
        let weight = self.weight.as_ref().map_or(Ok(DevicePtr::null()), Converted::elements)?;
        Ok(Compared { probabilities, labels, weight, report: DevicePtrMut::from_address(self.report.0) })
    }
}

/// The gradient of the rows' losses, as kernels take it.
struct Gradient<'a> {
    grad: Contiguous<'a>,
    divisor: Option<View<'a>>,
    flags: u32,
}

impl<'a> Gradient<'a> {
    fn new(op: &'static str, desc: &CrossEntropyDesc<'_>, upstream: Upstream<'a>) -> Result<Self> {
        let shared = upstream.grad.layout().numel() == 1 && desc.rows != 1;
        if let Some(divisor) = upstream.divisor
            && (divisor.dtype(), divisor.layout().numel()) != (DType::F32, 1)
        {
            return Err(Error::dtype(op, "one f32 number that a mean was divided by", &[divisor.dtype()]));
        }
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let flags = flag(shared, LOSS_REDUCED) | flag(upstream.divisor.is_some(), LOSS_MEAN);
        Ok(Gradient { grad: contiguous(upstream.grad)?, divisor: upstream.divisor, flags })
    }

    fn of_rows<T: Element>(&self) -> Result<OfRows<'_, T>> {
        let grad = DevicePtr::from_address(elements::<T>(&self.grad.view())?.address());
        Ok(OfRows { grad, divisor: self.divisor.as_ref().map_or(Ok(DevicePtr::null()), elements)? })
    }
}

/// The elements of an access where 16 bytes may be moved at once, else 1.
fn accessed<T>(classes: usize, addresses: &[u64]) -> usize {
    if classes.is_multiple_of(lanes::<T>()) && aligned(addresses) { lanes::<T>() } else { 1 }
}

pub(super) fn cross_entropy<T: Element>(
    desc: &CrossEntropyDesc<'_>,
    logits: View<'_>,
    targets: Targets<'_>,
    losses: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    if desc.rows == 0 {
        return Ok(());
    }
    let device = device(losses)?;
    let operands = Operands::new(OP, &device, desc, targets)?;
    let compared = operands.compared::<T>()?;
    let logits = contiguous(logits)?;
    let logits = logits.view();
    let logits = elements::<T>(&logits)?;
    let accessed = accessed::<T>(desc.classes, &[logits.address(), compared.probabilities.address()]);
    let plan = LossPlan::new(desc.rows, desc.classes, accessed);
    let p = operands.params(OP, desc, plan.lanes)?;
    let Compared { probabilities, labels, weight, report } = compared;
    let (losses, lse) = (output::<f32>(losses)?, output::<f32>(lse)?);
    let config = LaunchConfig::linear(blocks(OP, plan.blocks)?, plan.threads);
    let kernel = KERNELS.of::<T>().cross_entropy[usize::from(plan.vector)].on(&device, &SOFTMAX_XENT)?;
    // SAFETY: the logits (and target probabilities) have rows × classes elements, labels and outputs one for each row,
    // weights one for each class: checked by the caller. Labels that are no class are not used. The report's memory
    // stays.
    unsafe { kernel.launch(&config, (p, losses, lse, logits, probabilities, labels, weight, report)) }
}

pub(super) fn cross_entropy_backward<T: Element>(
    desc: &CrossEntropyDesc<'_>,
    logits: Option<View<'_>>,
    targets: Targets<'_>,
    lse: View<'_>,
    upstream: Upstream<'_>,
    gradient: &mut Buffer,
) -> Result<()> {
    const OP: &str = "cross_entropy_backward";
    if desc.rows * desc.classes == 0 {
        return Ok(());
    }
    let device = device(gradient)?;
    let operands = Operands::new(OP, &device, desc, targets)?;
    let (compared, upstream) = (operands.compared::<T>()?, Gradient::new(OP, desc, upstream)?);
    let (logits, lse) = (logits.map(contiguous).transpose()?, contiguous(lse)?);
    let lse = lse.view();
    let gradient = output::<T>(gradient)?;
    let logits = match &logits {
        Some(logits) => DevicePtr::from_address(elements::<T>(&logits.view())?.address()),
        None => gradient.alias(),
    };
    let addresses = [logits.address(), compared.probabilities.address(), gradient.address()];
    let plan = LossPlan::new(desc.rows, desc.classes, accessed::<T>(desc.classes, &addresses));
    let mut p = operands.params(OP, desc, plan.lanes)?;
    p.flags |= upstream.flags;
    let (lse, OfRows { grad, divisor }) = (elements::<f32>(&lse)?, upstream.of_rows::<T>()?);
    let Compared { probabilities, labels, weight, .. } = compared;
    let config =
        LaunchConfig { grid: [blocks(OP, plan.blocks)?, plan.parts, 1], ..LaunchConfig::linear(1, plan.threads) };
    let kernel = KERNELS.of::<T>().cross_entropy_gradient[usize::from(plan.vector)].on(&device, &SOFTMAX_XENT)?;
    let arguments = (p, gradient, logits, probabilities, labels, weight, lse, grad, divisor);
    // SAFETY: as above, and upstream gradients one for each row or one for all; where the gradient takes the logits'
    // place, each element is read before it is written, by the thread that writes it.
    unsafe { kernel.launch(&config, arguments) }
}

pub(super) fn reduce_losses<T: Element>(
    op: &'static str,
    desc: &CrossEntropyDesc<'_>,
    targets: Targets<'_>,
    losses: &Buffer,
    mean: bool,
) -> Result<(Buffer, Option<Buffer>)> {
    let device = device(losses)?;
    let operands = Operands::new(op, &device, desc, targets)?;
    let on = Device::Cuda(device.clone());
    let mut out = Buffer::uninit(&on, T::DTYPE, 1)?;
    let mut divisor = mean.then(|| Buffer::uninit(&on, DType::F32, 1)).transpose()?;
    let mut p = operands.params(op, desc, 1)?;
    p.flags |= if mean { LOSS_MEAN } else { 0 };
    let Compared { labels, weight, report, .. } = operands.compared::<T>()?;
    let by = optional::<f32>(divisor.as_mut())?;
    let arguments = (p, output::<T>(&mut out)?, by, all::<f32>(losses)?, labels, weight, report);
    let kernel = KERNELS.of::<T>().reduce_losses.on(&device, &SOFTMAX_XENT)?;
    // SAFETY: as above; there is room for the sum, and for the divisor of a mean.
    unsafe { kernel.launch(&LaunchConfig::linear(1, REDUCING), arguments)? };
    Ok((out, divisor))
}

pub(super) fn nll<T: Element>(
    desc: &CrossEntropyDesc<'_>,
    x: View<'_>,
    labels: View<'_>,
    losses: &mut Buffer,
) -> Result<()> {
    const OP: &str = "nll_loss";
    if desc.rows == 0 {
        return Ok(());
    }
    let device = device(losses)?;
    let operands = Operands::new(OP, &device, desc, Targets::Labels(labels))?;
    let x = contiguous(x)?;
    let x = x.view();
    let p = operands.params(OP, desc, 1)?;
    let config = LaunchConfig::linear(blocks(OP, desc.rows.div_ceil(256))?, 256);
    let Compared { labels, weight, report, .. } = operands.compared::<T>()?;
    let kernel = KERNELS.of::<T>().nll.on(&device, &SOFTMAX_XENT)?;
    let arguments = (p, output::<f32>(losses)?, elements::<T>(&x)?, labels, weight, report);
    // SAFETY: as above.
    unsafe { kernel.launch(&config, arguments) }
}

pub(super) fn nll_backward<T: Element>(
    desc: &CrossEntropyDesc<'_>,
    labels: View<'_>,
    upstream: Upstream<'_>,
    gradient: &mut Buffer,
) -> Result<()> {
    const OP: &str = "nll_loss_backward";
    if desc.rows * desc.classes == 0 {
        return Ok(());
    }
    let device = device(gradient)?;
    let operands = Operands::new(OP, &device, desc, Targets::Labels(labels))?;
    let upstream = Gradient::new(OP, desc, upstream)?;
    let mut p = operands.params(OP, desc, 1)?;
    p.flags |= upstream.flags;
    let config = LaunchConfig::covering(gradient.len(), 256, 1 << 20);
    let Compared { labels, weight, .. } = operands.compared::<T>()?;
    let OfRows { grad, divisor } = upstream.of_rows::<T>()?;
    let kernel = KERNELS.of::<T>().nll_gradient.on(&device, &SOFTMAX_XENT)?;
    // SAFETY: as above.
    unsafe { kernel.launch(&config, (p, output::<T>(gradient)?, labels, weight, grad, divisor)) }
}
