//! Launches of `kernels/softmax_xent.cu`.

use super::plan::{Held, LossPlan, SoftmaxPlan};
use super::{CrossEntropyDesc, SoftmaxDesc, Targets};
use crate::device::cuda::{CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::device::{Buffer, View};
use crate::kernels::images;
use crate::kernels::operands::{
    Contiguous, aligned, all, blocks, contiguous, device, elements, extent, lanes, launch_one, output,
};
use crate::kernels::params::{
    CrossEntropyParams, SoftmaxParams, TARGETS_PROBABILITIES, TARGETS_SMOOTHED, TARGETS_WEIGHTED,
};
use crate::{Device, Element, Result};
use half::{bf16, f16};

/// What a row of logits is compared with, on the device; null where there is none.
#[derive(Clone, Copy)]
pub(super) struct Compared<'a, T> {
    probabilities: DevicePtr<'a, T>,
    labels: DevicePtr<'a, i64>,
    weight: DevicePtr<'a, f32>,
}

/// The kernels of one dtype.
///
/// # Safety
/// Of each launch: the pointers are to as many elements as the parameters say, with 16-byte alignment (and rows of
/// multiples of it) where the plan is for vectors, and labels are below the number of classes.
pub(super) trait Kernels: Element {
    unsafe fn softmax(
        plan: &SoftmaxPlan,
        device: &CudaDevice,
        p: SoftmaxParams,
        y: DevicePtrMut<'_, Self>,
        x: DevicePtr<'_, Self>,
    ) -> Result<()>;

    unsafe fn softmax_backward(
        plan: &SoftmaxPlan,
        device: &CudaDevice,
        p: SoftmaxParams,
        dx: DevicePtrMut<'_, Self>,
        y: DevicePtr<'_, Self>,
        dy: DevicePtr<'_, Self>,
    ) -> Result<()>;

    unsafe fn cross_entropy(
        plan: &LossPlan,
        device: &CudaDevice,
        p: CrossEntropyParams,
        outputs: [DevicePtrMut<'_, f32>; 2],
        logits: DevicePtr<'_, Self>,
        compared: Compared<'_, Self>,
    ) -> Result<()>;

    unsafe fn cross_entropy_gradient(
        plan: &LossPlan,
        device: &CudaDevice,
        p: CrossEntropyParams,
        gradient: DevicePtrMut<'_, Self>,
        logits: DevicePtr<'_, Self>,
        compared: Compared<'_, Self>,
        of_rows: [DevicePtr<'_, f32>; 2],
    ) -> Result<()>;

    unsafe fn nll(
        device: &CudaDevice,
        config: &LaunchConfig,
        p: CrossEntropyParams,
        losses: DevicePtrMut<'_, f32>,
        x: DevicePtr<'_, Self>,
        compared: Compared<'_, Self>,
    ) -> Result<()>;

    unsafe fn nll_gradient(
        device: &CudaDevice,
        config: &LaunchConfig,
        p: CrossEntropyParams,
        gradient: DevicePtrMut<'_, Self>,
        compared: Compared<'_, Self>,
        upstream: DevicePtr<'_, f32>,
    ) -> Result<()>;
}

macro_rules! kernels {
    ($ty:ident, $wide:literal) => {
        impl Kernels for $ty {
            unsafe fn softmax(
                plan: &SoftmaxPlan,
                device: &CudaDevice,
                p: SoftmaxParams,
                y: DevicePtrMut<'_, $ty>,
                x: DevicePtr<'_, $ty>,
            ) -> Result<()> {
                let config = LaunchConfig::linear(blocks("softmax", plan.blocks)?, plan.threads);
                launch_one!(
                    images::SOFTMAX_XENT, device, &config,
                    (p: SoftmaxParams, y: DevicePtrMut<'_, $ty>, x: DevicePtr<'_, $ty>),
                    match (plan.held, plan.vector), {
                        (Held::Eight, false) => concat!("softmax_rows<", stringify!($ty), ", 1, 8>"),
                        (Held::Eight, true) => concat!("softmax_rows<", stringify!($ty), ", ", $wide, ", 8>"),
                        (Held::Sixteen, false) => concat!("softmax_rows<", stringify!($ty), ", 1, 16>"),
                        (Held::Sixteen, true) => concat!("softmax_rows<", stringify!($ty), ", ", $wide, ", 16>"),
                        (Held::Nowhere, false) => concat!("softmax_rereading<", stringify!($ty), ", 1>"),
                        (Held::Nowhere, true) => concat!("softmax_rereading<", stringify!($ty), ", ", $wide, ">"),
                        (Held::Columns, _) => concat!("softmax_columns<", stringify!($ty), ">"),
                    }
                )
            }

            unsafe fn softmax_backward(
                plan: &SoftmaxPlan,
                device: &CudaDevice,
                p: SoftmaxParams,
                dx: DevicePtrMut<'_, $ty>,
                y: DevicePtr<'_, $ty>,
                dy: DevicePtr<'_, $ty>,
            ) -> Result<()> {
                let config = LaunchConfig::linear(blocks("softmax_backward", plan.blocks)?, plan.threads);
                launch_one!(
                    images::SOFTMAX_XENT, device, &config,
                    (p: SoftmaxParams, dx: DevicePtrMut<'_, $ty>, y: DevicePtr<'_, $ty>, dy: DevicePtr<'_, $ty>),
                    match (plan.held, plan.vector), {
                        (Held::Eight, false) => concat!("softmax_rows_backward<", stringify!($ty), ", 1, 8>"),
                        (Held::Eight, true) =>
                            concat!("softmax_rows_backward<", stringify!($ty), ", ", $wide, ", 8>"),
                        (Held::Sixteen, false) => concat!("softmax_rows_backward<", stringify!($ty), ", 1, 16>"),
                        (Held::Sixteen, true) =>
                            concat!("softmax_rows_backward<", stringify!($ty), ", ", $wide, ", 16>"),
                        (Held::Nowhere, false) => concat!("softmax_rereading_backward<", stringify!($ty), ", 1>"),
                        (Held::Nowhere, true) =>
                            concat!("softmax_rereading_backward<", stringify!($ty), ", ", $wide, ">"),
                        (Held::Columns, _) => concat!("softmax_columns_backward<", stringify!($ty), ">"),
                    }
                )
            }

            unsafe fn cross_entropy(
                plan: &LossPlan,
                device: &CudaDevice,
                p: CrossEntropyParams,
                [losses, lse]: [DevicePtrMut<'_, f32>; 2],
                logits: DevicePtr<'_, $ty>,
                Compared { probabilities, labels, weight }: Compared<'_, $ty>,
            ) -> Result<()> {
                let config = LaunchConfig::linear(blocks("cross_entropy", plan.blocks)?, plan.threads);
                launch_one!(
                    images::SOFTMAX_XENT, device, &config,
                    (p: CrossEntropyParams, losses: DevicePtrMut<'_, f32>, lse: DevicePtrMut<'_, f32>,
                        logits: DevicePtr<'_, $ty>, probabilities: DevicePtr<'_, $ty>, labels: DevicePtr<'_, i64>,
                        weight: DevicePtr<'_, f32>),
                    match plan.vector, {
                        false => concat!("cross_entropy<", stringify!($ty), ", 1>"),
                        true => concat!("cross_entropy<", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn cross_entropy_gradient(
                plan: &LossPlan,
                device: &CudaDevice,
                p: CrossEntropyParams,
                gradient: DevicePtrMut<'_, $ty>,
                logits: DevicePtr<'_, $ty>,
                Compared { probabilities, labels, weight }: Compared<'_, $ty>,
                [lse, upstream]: [DevicePtr<'_, f32>; 2],
            ) -> Result<()> {
                let grid = [blocks("cross_entropy_backward", plan.blocks)?, plan.parts, 1];
                let config = LaunchConfig { grid, ..LaunchConfig::linear(1, plan.threads) };
                launch_one!(
                    images::SOFTMAX_XENT, device, &config,
                    (p: CrossEntropyParams, gradient: DevicePtrMut<'_, $ty>, logits: DevicePtr<'_, $ty>,
                        probabilities: DevicePtr<'_, $ty>, labels: DevicePtr<'_, i64>, weight: DevicePtr<'_, f32>,
                        lse: DevicePtr<'_, f32>, upstream: DevicePtr<'_, f32>),
                    match plan.vector, {
                        false => concat!("cross_entropy_gradient<", stringify!($ty), ", 1>"),
                        true => concat!("cross_entropy_gradient<", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn nll(
                device: &CudaDevice,
                config: &LaunchConfig,
                p: CrossEntropyParams,
                losses: DevicePtrMut<'_, f32>,
                x: DevicePtr<'_, $ty>,
                Compared { labels, weight, .. }: Compared<'_, $ty>,
            ) -> Result<()> {
                launch_one!(
                    images::SOFTMAX_XENT, device, config,
                    (p: CrossEntropyParams, losses: DevicePtrMut<'_, f32>, x: DevicePtr<'_, $ty>,
                        labels: DevicePtr<'_, i64>, weight: DevicePtr<'_, f32>),
                    match (), { () => concat!("nll<", stringify!($ty), ">") }
                )
            }

            unsafe fn nll_gradient(
                device: &CudaDevice,
                config: &LaunchConfig,
                p: CrossEntropyParams,
                gradient: DevicePtrMut<'_, $ty>,
                Compared { labels, weight, .. }: Compared<'_, $ty>,
                upstream: DevicePtr<'_, f32>,
            ) -> Result<()> {
                launch_one!(
                    images::SOFTMAX_XENT, device, config,
                    (p: CrossEntropyParams, gradient: DevicePtrMut<'_, $ty>, labels: DevicePtr<'_, i64>,
                        weight: DevicePtr<'_, f32>, upstream: DevicePtr<'_, f32>),
                    match (), { () => concat!("nll_gradient<", stringify!($ty), ">") }
                )
            }
        }
    };
}
kernels!(f32, 4);
kernels!(f16, 8);
kernels!(bf16, 8);

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

pub(super) fn softmax<T: Kernels>(desc: &SoftmaxDesc, x: View<'_>, y: &mut Buffer) -> Result<()> {
    if desc.numel() == 0 {
        return Ok(());
    }
    let device = device(y)?;
    let x = contiguous(x)?;
    let x = x.view();
    let (x, y) = (elements::<T>(&x)?, output::<T>(y)?);
    let vector = desc.width.is_multiple_of(lanes::<T>()) && aligned(&[x.address(), y.address()]);
    let plan = SoftmaxPlan::new(desc, 1, vector);
    // SAFETY: both have outer × width × inner elements, checked by the caller.
    unsafe { T::softmax(&plan, &device, softmax_params("softmax", desc, &plan)?, y, x) }
}

pub(super) fn softmax_backward<T: Kernels>(
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
    // SAFETY: as above.
    unsafe { T::softmax_backward(&plan, &device, softmax_params("softmax_backward", desc, &plan)?, dx, y, dy) }
}

/// A loss' targets in device memory, and what the kernels are told of them.
struct Uploaded<'a> {
    probabilities: Option<Contiguous<'a>>,
    labels: Option<Buffer>,
    weight: Option<Buffer>,
}

impl<'a> Uploaded<'a> {
    fn new(device: &CudaDevice, desc: &CrossEntropyDesc<'_>, targets: Targets<'a>) -> Result<Self> {
        let device = Device::Cuda(device.clone());
        let labels = |classes: &[Option<usize>]| {
            let labels: Vec<i64> = classes.iter().map(|class| class.map_or(-1, |class| class as i64)).collect();
            Buffer::from_slice(&device, &labels)
        };
        let (probabilities, labels) = match targets {
            Targets::Probabilities(view) => (Some(contiguous(view)?), None),
            Targets::Classes(classes) => (None, Some(labels(classes)?)),
        };
        let weight = desc.weight.map(|weight| narrowed(&device, weight)).transpose()?;
        Ok(Uploaded { probabilities, labels, weight })
    }

    fn params(&self, op: &'static str, desc: &CrossEntropyDesc<'_>, lanes: u32) -> Result<CrossEntropyParams> {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let uniform = desc.smoothing / desc.classes as f64;
        let weights: f64 = desc.weight.map_or(desc.classes as f64, |weight| weight.iter().sum());
        Ok(CrossEntropyParams {
            rows: desc.rows as u64,
            classes: extent(op, "a number of classes", desc.classes)?,
            lanes,
            flags: flag(self.probabilities.is_some(), TARGETS_PROBABILITIES)
                | flag(self.weight.is_some(), TARGETS_WEIGHTED)
                | flag(desc.smoothing != 0.0, TARGETS_SMOOTHED),
            uniform: uniform as f32,
            sharp: (1.0 - desc.smoothing) as f32,
            smoothed: (uniform * weights) as f32,
        })
    }

    fn compared<T: Element>(&self) -> Result<Compared<'_, T>> {
        let probabilities = match &self.probabilities {
            Some(probabilities) => DevicePtr::from_address(elements::<T>(&probabilities.view())?.address()),
            None => DevicePtr::null(),
        };
        let labels = self.labels.as_ref().map_or(Ok(DevicePtr::null()), all)?;
        let weight = self.weight.as_ref().map_or(Ok(DevicePtr::null()), all)?;
        Ok(Compared { probabilities, labels, weight })
    }
}

/// Numbers of the host as f32 in device memory.
fn narrowed(device: &Device, values: &[f64]) -> Result<Buffer> {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Buffer::from_slice(device, &values)
}

/// The elements of an access where 16 bytes may be moved at once, else 1.
fn accessed<T>(classes: usize, addresses: &[u64]) -> usize {
    if classes.is_multiple_of(lanes::<T>()) && aligned(addresses) { lanes::<T>() } else { 1 }
}

pub(super) fn cross_entropy<T: Kernels>(
    desc: &CrossEntropyDesc<'_>,
    logits: View<'_>,
    targets: Targets<'_>,
    losses: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    if desc.rows == 0 {
        return Ok(());
    }
    let device = device(losses)?;
    let uploaded = Uploaded::new(&device, desc, targets)?;
    let compared = uploaded.compared::<T>()?;
    let logits = contiguous(logits)?;
    let logits = logits.view();
    let logits = elements::<T>(&logits)?;
    let accessed = accessed::<T>(desc.classes, &[logits.address(), compared.probabilities.address()]);
    let plan = LossPlan::new(desc.rows, desc.classes, accessed);
    let p = uploaded.params("cross_entropy", desc, plan.lanes)?;
    // SAFETY: the logits (and target probabilities) have rows × classes elements, labels and outputs one for each row,
    // weights one for each class, and labels are classes or negative: checked by the caller.
    unsafe { T::cross_entropy(&plan, &device, p, [output(losses)?, output(lse)?], logits, compared) }
}

pub(super) fn cross_entropy_backward<T: Kernels>(
    desc: &CrossEntropyDesc<'_>,
    logits: Option<View<'_>>,
    targets: Targets<'_>,
    lse: View<'_>,
    upstream: &[f64],
    gradient: &mut Buffer,
) -> Result<()> {
    if desc.rows * desc.classes == 0 {
        return Ok(());
    }
    let device = device(gradient)?;
    let uploaded = Uploaded::new(&device, desc, targets)?;
    let compared = uploaded.compared::<T>()?;
    let upstream = narrowed(&Device::Cuda(device.clone()), upstream)?;
    let (logits, lse) = (logits.map(contiguous).transpose()?, contiguous(lse)?);
    let lse = lse.view();
    let gradient = output::<T>(gradient)?;
    let logits = match &logits {
        Some(logits) => DevicePtr::from_address(elements::<T>(&logits.view())?.address()),
        None => gradient.alias(),
    };
    let addresses = [logits.address(), compared.probabilities.address(), gradient.address()];
    let plan = LossPlan::new(desc.rows, desc.classes, accessed::<T>(desc.classes, &addresses));
    let p = uploaded.params("cross_entropy_backward", desc, plan.lanes)?;
    // SAFETY: as above; where the gradient takes the logits' place, each element is read before it is written, by the
    // thread that writes it.
    unsafe {
        T::cross_entropy_gradient(&plan, &device, p, gradient, logits, compared, [elements(&lse)?, all(&upstream)?])
    }
}

pub(super) fn nll<T: Kernels>(
    desc: &CrossEntropyDesc<'_>,
    x: View<'_>,
    classes: &[Option<usize>],
    losses: &mut Buffer,
) -> Result<()> {
    if desc.rows == 0 {
        return Ok(());
    }
    let device = device(losses)?;
    let uploaded = Uploaded::new(&device, desc, Targets::Classes(classes))?;
    let x = contiguous(x)?;
    let x = x.view();
    let p = uploaded.params("nll_loss", desc, 1)?;
    let config = LaunchConfig::linear(blocks("nll_loss", desc.rows.div_ceil(256))?, 256);
    // SAFETY: as above.
    unsafe { T::nll(&device, &config, p, output(losses)?, elements(&x)?, uploaded.compared()?) }
}

pub(super) fn nll_backward<T: Kernels>(
    desc: &CrossEntropyDesc<'_>,
    classes: &[Option<usize>],
    upstream: &[f64],
    gradient: &mut Buffer,
) -> Result<()> {
    if desc.rows * desc.classes == 0 {
        return Ok(());
    }
    let device = device(gradient)?;
    let uploaded = Uploaded::new(&device, desc, Targets::Classes(classes))?;
    let upstream = narrowed(&Device::Cuda(device.clone()), upstream)?;
    let p = uploaded.params("nll_loss_backward", desc, 1)?;
    let config = LaunchConfig::covering(gradient.len(), 256, 1 << 20);
    // SAFETY: as above.
    unsafe { T::nll_gradient(&device, &config, p, output(gradient)?, uploaded.compared()?, all(&upstream)?) }
}
