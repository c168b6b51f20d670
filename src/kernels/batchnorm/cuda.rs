//! Launches of `kernels/batchnorm.cu`.

use super::plan::BatchNormPlan;
use super::{BatchNormDesc, BatchNormGradInputs, BatchNormGradOutputs, BatchNormInputs, BatchNormOutputs};
use crate::device::Buffer;
use crate::device::cuda::{CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::kernels::images;
use crate::kernels::operands::{
    aligned, all, blocks, contiguous, device, divisor, elements, extent, given, lanes, launch_one, optional, output,
    packed, untyped, untyped_output,
};
use crate::kernels::params::{
    BatchNormParams, NORM_BIAS, NORM_BIAS_F32, NORM_FIXED, NORM_INPUT_GRADIENT, NORM_RELU, NORM_RESIDUAL,
    NORM_RESIDUAL_GRADIENT, NORM_WEIGHT, NORM_WEIGHT_F32,
};
use crate::{DType, Device, Element, Result};
use half::{bf16, f16};

/// The kernels of one dtype.
///
/// # Safety
/// Of each launch: the pointers are to as many elements as the parameters say (an unused one may be null), with 16-byte
/// alignment where the plan is for longer accesses.
pub(super) trait Kernels: Element {
    unsafe fn statistics(
        plan: &BatchNormPlan,
        device: &CudaDevice,
        p: BatchNormParams,
        partials: DevicePtrMut<'_, f32>,
        x: DevicePtr<'_, Self>,
    ) -> Result<()>;

    unsafe fn finish_statistics(
        device: &CudaDevice,
        p: BatchNormParams,
        span: u32,
        statistics: [DevicePtrMut<'_, f32>; 3],
        partials: DevicePtr<'_, f32>,
        x: DevicePtr<'_, Self>,
    ) -> Result<()>;

    unsafe fn fixed_statistics(
        device: &CudaDevice,
        p: BatchNormParams,
        statistics: [DevicePtrMut<'_, f32>; 3],
        given: [DevicePtr<'_, u8>; 2],
    ) -> Result<()>;

    unsafe fn normalise(
        plan: &BatchNormPlan,
        device: &CudaDevice,
        p: BatchNormParams,
        y: DevicePtrMut<'_, Self>,
        operands: [DevicePtr<'_, Self>; 2],
        statistics: [DevicePtr<'_, f32>; 2],
        parameters: [DevicePtr<'_, u8>; 2],
    ) -> Result<()>;

    unsafe fn gradient_sums(
        plan: &BatchNormPlan,
        device: &CudaDevice,
        p: BatchNormParams,
        partials: DevicePtrMut<'_, f32>,
        operands: [DevicePtr<'_, Self>; 3],
        statistics: [DevicePtr<'_, f32>; 2],
    ) -> Result<()>;

    unsafe fn finish_sums(
        device: &CudaDevice,
        p: BatchNormParams,
        span: u32,
        totals: DevicePtrMut<'_, f32>,
        gradients: [DevicePtrMut<'_, u8>; 2],
        partials: DevicePtr<'_, f32>,
    ) -> Result<()>;

    unsafe fn gradient(
        plan: &BatchNormPlan,
        device: &CudaDevice,
        p: BatchNormParams,
        gradients: [DevicePtrMut<'_, Self>; 2],
        operands: [DevicePtr<'_, Self>; 3],
        statistics: [DevicePtr<'_, f32>; 2],
        weight: DevicePtr<'_, u8>,
        totals: DevicePtr<'_, f32>,
    ) -> Result<()>;
}

/// The launch of a walk over all elements.
fn walk(plan: &BatchNormPlan) -> Result<LaunchConfig> {
    let grid = [blocks("batch_norm", plan.blocks)?, plan.parts, 1];
    Ok(LaunchConfig { grid, ..LaunchConfig::linear(1, 256) })
}

/// The launch of a pass over channels, `per_block` to a block.
fn channels(p: &BatchNormParams, per_block: u32) -> LaunchConfig {
    LaunchConfig::linear(p.channels.div_ceil(per_block), 256)
}

macro_rules! kernels {
    ($ty:ident, $wide:literal) => {
        impl Kernels for $ty {
            unsafe fn statistics(
                plan: &BatchNormPlan,
                device: &CudaDevice,
                p: BatchNormParams,
                partials: DevicePtrMut<'_, f32>,
                x: DevicePtr<'_, $ty>,
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &walk(plan)?,
                    (p: BatchNormParams, partials: DevicePtrMut<'_, f32>, x: DevicePtr<'_, $ty>),
                    match (plan.columns, plan.accessed), {
                        (false, 1) => concat!("statistics<false, ", stringify!($ty), ", 1>"),
                        (false, _) => concat!("statistics<false, ", stringify!($ty), ", ", $wide, ">"),
                        (true, 1) => concat!("statistics<true, ", stringify!($ty), ", 1>"),
                        (true, _) => concat!("statistics<true, ", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn finish_statistics(
                device: &CudaDevice,
                p: BatchNormParams,
                span: u32,
                [mean, var, rstd]: [DevicePtrMut<'_, f32>; 3],
                partials: DevicePtr<'_, f32>,
                x: DevicePtr<'_, $ty>,
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &channels(&p, 8),
                    (p: BatchNormParams, span: u32, mean: DevicePtrMut<'_, f32>, var: DevicePtrMut<'_, f32>,
                        rstd: DevicePtrMut<'_, f32>, partials: DevicePtr<'_, f32>, x: DevicePtr<'_, $ty>),
                    match (), { () => concat!("finish_statistics<", stringify!($ty), ">") }
                )
            }

            unsafe fn fixed_statistics(
                device: &CudaDevice,
                p: BatchNormParams,
                [mean, var, rstd]: [DevicePtrMut<'_, f32>; 3],
                [given_mean, given_var]: [DevicePtr<'_, u8>; 2],
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &channels(&p, 256),
                    (p: BatchNormParams, mean: DevicePtrMut<'_, f32>, var: DevicePtrMut<'_, f32>,
                        rstd: DevicePtrMut<'_, f32>, given_mean: DevicePtr<'_, u8>, given_var: DevicePtr<'_, u8>),
                    match (), { () => concat!("fixed_statistics<", stringify!($ty), ">") }
                )
            }

            unsafe fn normalise(
                plan: &BatchNormPlan,
                device: &CudaDevice,
                p: BatchNormParams,
                y: DevicePtrMut<'_, $ty>,
                [x, residual]: [DevicePtr<'_, $ty>; 2],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
                [weight, bias]: [DevicePtr<'_, u8>; 2],
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &walk(plan)?,
                    (p: BatchNormParams, y: DevicePtrMut<'_, $ty>, x: DevicePtr<'_, $ty>,
                        residual: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>, rstd: DevicePtr<'_, f32>,
                        weight: DevicePtr<'_, u8>, bias: DevicePtr<'_, u8>),
                    match (plan.columns, plan.accessed), {
                        (false, 1) => concat!("normalise<false, ", stringify!($ty), ", 1>"),
                        (false, _) => concat!("normalise<false, ", stringify!($ty), ", ", $wide, ">"),
                        (true, 1) => concat!("normalise<true, ", stringify!($ty), ", 1>"),
                        (true, _) => concat!("normalise<true, ", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn gradient_sums(
                plan: &BatchNormPlan,
                device: &CudaDevice,
                p: BatchNormParams,
                partials: DevicePtrMut<'_, f32>,
                [x, dy, y]: [DevicePtr<'_, $ty>; 3],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &walk(plan)?,
                    (p: BatchNormParams, partials: DevicePtrMut<'_, f32>, x: DevicePtr<'_, $ty>,
                        dy: DevicePtr<'_, $ty>, y: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>,
                        rstd: DevicePtr<'_, f32>),
                    match (plan.columns, plan.accessed), {
                        (false, 1) => concat!("gradient_sums<false, ", stringify!($ty), ", 1>"),
                        (false, _) => concat!("gradient_sums<false, ", stringify!($ty), ", ", $wide, ">"),
                        (true, 1) => concat!("gradient_sums<true, ", stringify!($ty), ", 1>"),
                        (true, _) => concat!("gradient_sums<true, ", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn finish_sums(
                device: &CudaDevice,
                p: BatchNormParams,
                span: u32,
                totals: DevicePtrMut<'_, f32>,
                [dweight, dbias]: [DevicePtrMut<'_, u8>; 2],
                partials: DevicePtr<'_, f32>,
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &channels(&p, 8),
                    (p: BatchNormParams, span: u32, totals: DevicePtrMut<'_, f32>, dweight: DevicePtrMut<'_, u8>,
                        dbias: DevicePtrMut<'_, u8>, partials: DevicePtr<'_, f32>),
                    match (), { () => concat!("finish_sums<", stringify!($ty), ">") }
                )
            }

            unsafe fn gradient(
                plan: &BatchNormPlan,
                device: &CudaDevice,
                p: BatchNormParams,
                [dx, dresidual]: [DevicePtrMut<'_, $ty>; 2],
                [x, dy, y]: [DevicePtr<'_, $ty>; 3],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
                weight: DevicePtr<'_, u8>,
                totals: DevicePtr<'_, f32>,
            ) -> Result<()> {
                launch_one!(
                    images::BATCHNORM, device, &walk(plan)?,
                    (p: BatchNormParams, dx: DevicePtrMut<'_, $ty>, dresidual: DevicePtrMut<'_, $ty>,
                        x: DevicePtr<'_, $ty>, dy: DevicePtr<'_, $ty>, y: DevicePtr<'_, $ty>,
                        mean: DevicePtr<'_, f32>, rstd: DevicePtr<'_, f32>, weight: DevicePtr<'_, u8>,
                        totals: DevicePtr<'_, f32>),
                    match (plan.columns, plan.accessed), {
                        (false, 1) => concat!("gradient<false, ", stringify!($ty), ", 1>"),
                        (false, _) => concat!("gradient<false, ", stringify!($ty), ", ", $wide, ">"),
                        (true, 1) => concat!("gradient<true, ", stringify!($ty), ", 1>"),
                        (true, _) => concat!("gradient<true, ", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }
        }
    };
}
kernels!(f32, 4);
kernels!(f16, 8);
kernels!(bf16, 8);

fn params(op: &'static str, desc: &BatchNormDesc, plan: &BatchNormPlan) -> Result<BatchNormParams> {
    let accesses = if plan.columns { 1 } else { desc.length / plan.accessed };
    extent(op, "accesses of a channel", desc.samples * accesses)?;
    Ok(BatchNormParams {
        samples: desc.samples as u64,
        channels: extent(op, "a number of channels", desc.channels)?,
        length: extent(op, "channels", desc.length)?,
        accesses: divisor(extent(op, "channels", accesses)?),
        flags: if desc.relu { NORM_RELU } else { 0 } | if desc.fixed { NORM_FIXED } else { 0 },
        parts: plan.parts,
        eps: desc.eps as f32,
        ..Default::default()
    })
}

pub(super) fn forward<T: Kernels>(
    desc: &BatchNormDesc,
    inputs: BatchNormInputs<'_>,
    out: BatchNormOutputs<'_>,
) -> Result<()> {
    const OP: &str = "batch_norm";
    if desc.channels == 0 {
        return Ok(());
    }
    let device = device(out.y)?;
    let (x, residual) = (contiguous(inputs.x)?, packed(inputs.residual)?);
    let x = x.view();
    let x = elements::<T>(&x)?;
    let residual = match &residual {
        Some(residual) => DevicePtr::from_address(elements::<T>(&residual.view())?.address()),
        None => DevicePtr::null(),
    };
    let y = output::<T>(out.y)?;
    let vectors = aligned(&[x.address(), residual.address(), y.address()]);
    let plan = BatchNormPlan::new(desc, if vectors { lanes::<T>() } else { 1 });
    let mut p = params(OP, desc, &plan)?;
    p.flags |= if inputs.residual.is_some() { NORM_RESIDUAL } else { 0 };
    if let Some([mean, var]) = inputs.statistics {
        let mut of_statistics = p;
        of_statistics.flags = given(Some(mean.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32)
            | given(Some(var.dtype()), NORM_BIAS, NORM_BIAS_F32);
        let (mean, var) = (contiguous(mean)?, contiguous(var)?);
        let statistics = [output(out.mean)?, output(out.var)?, output(out.rstd)?];
        // SAFETY: one element for each channel, checked by the caller.
        unsafe {
            let given = [untyped(Some(&mean.view()))?, untyped(Some(&var.view()))?].map(DevicePtr::from_address);
            T::fixed_statistics(&device, of_statistics, statistics, given)?;
        }
    } else {
        let count = plan.parts as usize * 3 * desc.channels * plan.span;
        let mut partials = Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, count)?;
        // SAFETY: x has N × C × L elements, the partials a triple for each part and channel (or column).
        unsafe {
            if plan.parts > 0 {
                T::statistics(&plan, &device, p, output(&mut partials)?, x)?;
            }
            let statistics = [output(out.mean)?, output(out.var)?, output(out.rstd)?];
            let span = extent(OP, "columns", plan.span)?;
            T::finish_statistics(&device, p, span, statistics, all(&partials)?, x)?;
        }
    }
    if plan.parts == 0 {
        return Ok(());
    }
    p.flags |= given(inputs.weight.map(|w| w.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    p.flags |= given(inputs.bias.map(|b| b.dtype()), NORM_BIAS, NORM_BIAS_F32);
    let (weight, bias) = (packed(inputs.weight)?, packed(inputs.bias)?);
    let parameters =
        [untyped(weight.as_ref().map(|w| w.view()).as_ref())?, untyped(bias.as_ref().map(|b| b.view()).as_ref())?];
    // SAFETY: as above; parameters have an element for each channel or are not read.
    unsafe {
        let parameters = parameters.map(DevicePtr::from_address);
        T::normalise(&plan, &device, p, y, [x, residual], [all(out.mean)?, all(out.rstd)?], parameters)
    }
}

pub(super) fn backward<T: Kernels>(
    desc: &BatchNormDesc,
    inputs: BatchNormGradInputs<'_>,
    out: BatchNormGradOutputs<'_>,
) -> Result<()> {
    const OP: &str = "batch_norm_backward";
    if desc.channels == 0 {
        return Ok(());
    }
    let device = device(inputs.x.buffer())?;
    let (x, dy, y) = (contiguous(inputs.x)?, contiguous(inputs.dy)?, packed(inputs.y)?);
    let (mean, rstd) = (contiguous(inputs.mean)?, contiguous(inputs.rstd)?);
    let weight = packed(inputs.weight)?;
    let (x, dy) = (x.view(), dy.view());
    let y = y.as_ref().map(|y| y.view());
    let operands = [elements::<T>(&x)?, elements::<T>(&dy)?, y.as_ref().map_or(Ok(DevicePtr::null()), elements::<T>)?];
    let (mean, rstd) = (mean.view(), rstd.view());
    let statistics = [elements::<f32>(&mean)?, elements::<f32>(&rstd)?];
    let elementwise = out.dx.is_some() || out.dresidual.is_some();
    let with_sums = !desc.fixed || out.dweight.is_some() || out.dbias.is_some();
    let mut flags = if out.dx.is_some() { NORM_INPUT_GRADIENT } else { 0 };
    flags |= if out.dresidual.is_some() { NORM_RESIDUAL_GRADIENT } else { 0 };
    let gradients = [optional::<T>(out.dx)?, optional::<T>(out.dresidual)?];
    let addresses = operands.map(|pointer| pointer.address());
    let vectors = aligned(&addresses) && aligned(&[gradients[0].address(), gradients[1].address()]);
    let plan = BatchNormPlan::new(desc, if vectors { lanes::<T>() } else { 1 });
    let p = params(OP, desc, &plan)?;
    let whole = Device::Cuda(device.clone());
    let mut totals = Buffer::uninit(&whole, DType::F32, 2 * desc.channels)?;
    if with_sums {
        let count = plan.parts as usize * 2 * desc.channels * plan.span;
        let mut partials = Buffer::uninit(&whole, DType::F32, count)?;
        let mut of_sums = p;
        of_sums.flags |= given(out.dweight.as_ref().map(|b| b.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
        of_sums.flags |= given(out.dbias.as_ref().map(|b| b.dtype()), NORM_BIAS, NORM_BIAS_F32);
        let gradients = [untyped_output(out.dweight)?, untyped_output(out.dbias)?];
        let span = extent(OP, "columns", plan.span)?;
        // SAFETY: the operands have N × C × L elements, the statistics and gradients one for each channel, the partials
        // a pair for each part and channel (or column).
        unsafe {
            if plan.parts > 0 {
                T::gradient_sums(&plan, &device, p, output(&mut partials)?, operands, statistics)?;
            }
            T::finish_sums(&device, of_sums, span, output(&mut totals)?, gradients, all(&partials)?)?;
        }
    }
    if plan.parts == 0 || !elementwise {
        return Ok(());
    }
    let mut of_input = p;
    of_input.flags |= flags | given(inputs.weight.map(|w| w.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    let weight = untyped(weight.as_ref().map(|w| w.view()).as_ref())?;
    // SAFETY: as above; the totals are read only where they were written.
    unsafe {
        let weight = DevicePtr::from_address(weight);
        T::gradient(&plan, &device, of_input, gradients, operands, statistics, weight, all(&totals)?)
    }
}
