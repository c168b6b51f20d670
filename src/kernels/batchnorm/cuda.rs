//! Launches of `kernels/batchnorm.cu`.

use super::plan::BatchNormPlan;
use super::{BatchNormDesc, BatchNormGradInputs, BatchNormGradOutputs, BatchNormInputs, BatchNormOutputs};
use crate::device::Buffer;
use crate::device::cuda::{DevicePtr, LaunchConfig};
use crate::kernels::elementwise::{Contiguous, contiguous};
use crate::kernels::images::BATCHNORM;
use crate::kernels::named::{ByFloat, NamedKernel, by_float, named};
use crate::kernels::operands::{
    aligned, all, blocks, device, elements, extent, given, lanes, optional, output, packed, untyped, untyped_output,
};
use crate::kernels::params::{
    BatchNormParams, Divisor, NORM_BIAS, NORM_BIAS_F32, NORM_FIXED, NORM_INPUT_GRADIENT, NORM_RELU, NORM_RESIDUAL,
    NORM_RESIDUAL_GRADIENT, NORM_WEIGHT, NORM_WEIGHT_F32,
};
use crate::{DType, Device, Element, Result};

/// The kernels of one dtype. Of fours, the first index says whether a block takes columns, the second whether it moves 16
/// bytes at a time.
struct Kernels {
    statistics: [[NamedKernel; 2]; 2],
    finish_statistics: NamedKernel,
    fixed_statistics: NamedKernel,
    normalise: [[NamedKernel; 2]; 2],
    gradient_sums: [[NamedKernel; 2]; 2],
    finish_sums: NamedKernel,
    gradient: [[NamedKernel; 2]; 2],
}

macro_rules! four {
    ($name:literal, $t:literal, $wide:literal) => {
        [
            [named!($name, "<false, ", $t, ", 1>"), named!($name, "<false, ", $t, ", ", $wide, ">")],
            [named!($name, "<true, ", $t, ", 1>"), named!($name, "<true, ", $t, ", ", $wide, ">")],
        ]
    };
}

macro_rules! kernels {
    ($t:literal, $wide:literal) => {
        Kernels {
            statistics: four!("statistics", $t, $wide),
            finish_statistics: named!("finish_statistics<", $t, ">"),
            fixed_statistics: named!("fixed_statistics<", $t, ">"),
            normalise: four!("normalise", $t, $wide),
            gradient_sums: four!("gradient_sums", $t, $wide),
            finish_sums: named!("finish_sums<", $t, ">"),
            gradient: four!("gradient", $t, $wide),
        }
    };
}

static KERNELS: ByFloat<Kernels> = by_float!(kernels);

/// That of four that a plan is for.
fn one<'a>(four: &'a [[NamedKernel; 2]; 2], plan: &BatchNormPlan) -> &'a NamedKernel {
    &four[usize::from(plan.columns)][usize::from(plan.accessed > 1)]
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

fn params(op: &'static str, desc: &BatchNormDesc, plan: &BatchNormPlan) -> Result<BatchNormParams> {
    let accesses = if plan.columns { 1 } else { desc.length / plan.accessed };
    extent(op, "accesses of a channel", desc.samples * accesses)?;
    Ok(BatchNormParams {
        samples: desc.samples as u64,
        channels: extent(op, "a number of channels", desc.channels)?,
        length: extent(op, "channels", desc.length)?,
        accesses: Divisor::new(extent(op, "channels", accesses)?.max(1) as usize),
        flags: if desc.relu { NORM_RELU } else { 0 } | if desc.fixed { NORM_FIXED } else { 0 },
        parts: plan.parts,
        eps: desc.eps as f32,
    })
}

pub(super) fn forward<T: Element>(
    desc: &BatchNormDesc,
    inputs: BatchNormInputs<'_>,
    out: BatchNormOutputs<'_>,
) -> Result<()> {
    const OP: &str = "batch_norm";
    if desc.channels == 0 {
        return Ok(());
    }
    let device = device(out.y)?;
    let kernels = KERNELS.of::<T>();
    let (x, residual) = (contiguous(inputs.x)?, packed(inputs.residual)?);
    let x = x.view();
    let x = elements::<T>(&x)?;
    let residual = match &residual {
        Some(residual) => DevicePtr::<T>::from_address(elements::<T>(&residual.view())?.address()),
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
        let given = |of: &Contiguous<'_>| untyped(Some(&of.view())).map(DevicePtr::<u8>::from_address);
        let given = (given(&mean)?, given(&var)?);
        let (mean, var, rstd) = (output::<f32>(out.mean)?, output::<f32>(out.var)?, output::<f32>(out.rstd)?);
        let kernel = kernels.fixed_statistics.on(&device, &BATCHNORM)?;
        // SAFETY: one element for each channel, checked by the caller.
        unsafe { kernel.launch(&channels(&p, 256), (of_statistics, mean, var, rstd, given.0, given.1))? };
    } else {
        let count = plan.parts as usize * 3 * desc.channels * plan.span;
        let mut partials = Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, count)?;
        // SAFETY: x has N × C × L elements, the partials a triple for each part and channel (or column).
        unsafe {
            if plan.parts > 0 {
                let kernel = one(&kernels.statistics, &plan).on(&device, &BATCHNORM)?;
                kernel.launch(&walk(&plan)?, (p, output::<f32>(&mut partials)?, x))?;
            }
            let (mean, var, rstd) = (output::<f32>(out.mean)?, output::<f32>(out.var)?, output::<f32>(out.rstd)?);
            let span = extent(OP, "columns", plan.span)?;
            let kernel = kernels.finish_statistics.on(&device, &BATCHNORM)?;
            kernel.launch(&channels(&p, 8), (p, span, mean, var, rstd, all::<f32>(&partials)?, x))?;
        }
    }
    if plan.parts == 0 {
        return Ok(());
    }
    p.flags |= given(inputs.weight.map(|w| w.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    p.flags |= given(inputs.bias.map(|b| b.dtype()), NORM_BIAS, NORM_BIAS_F32);
    let (weight, bias) = (packed(inputs.weight)?, packed(inputs.bias)?);
    let parameter = |of: &Option<Contiguous<'_>>| {
        untyped(of.as_ref().map(Contiguous::view).as_ref()).map(DevicePtr::<u8>::from_address)
    };
    let (mean, rstd) = (all::<f32>(out.mean)?, all::<f32>(out.rstd)?);
    let arguments = (p, y, x, residual, mean, rstd, parameter(&weight)?, parameter(&bias)?);
    // SAFETY: as above; parameters have an element for each channel or are not read.
    unsafe { one(&kernels.normalise, &plan).on(&device, &BATCHNORM)?.launch(&walk(&plan)?, arguments) }
}

pub(super) fn backward<T: Element>(
    desc: &BatchNormDesc,
    inputs: BatchNormGradInputs<'_>,
    out: BatchNormGradOutputs<'_>,
) -> Result<()> {
    const OP: &str = "batch_norm_backward";
    if desc.channels == 0 {
        return Ok(());
    }
    let device = device(inputs.x.buffer())?;
    let kernels = KERNELS.of::<T>();
    let (x, dy, y) = (contiguous(inputs.x)?, contiguous(inputs.dy)?, packed(inputs.y)?);
    let (mean, rstd) = (contiguous(inputs.mean)?, contiguous(inputs.rstd)?);
    let weight = packed(inputs.weight)?;
    let (x, dy) = (x.view(), dy.view());
    let y = y.as_ref().map(|y| y.view());
    let y = y.as_ref().map_or(Ok(DevicePtr::null()), elements::<T>)?;
    let (x, dy) = (elements::<T>(&x)?, elements::<T>(&dy)?);
    let (mean, rstd) = (mean.view(), rstd.view());
    let (mean, rstd) = (elements::<f32>(&mean)?, elements::<f32>(&rstd)?);
    let elementwise = out.dx.is_some() || out.dresidual.is_some();
    let with_sums = !desc.fixed || out.dweight.is_some() || out.dbias.is_some();
    let mut flags = if out.dx.is_some() { NORM_INPUT_GRADIENT } else { 0 };
    flags |= if out.dresidual.is_some() { NORM_RESIDUAL_GRADIENT } else { 0 };
    let (dx, dresidual) = (optional::<T>(out.dx)?, optional::<T>(out.dresidual)?);
    let vectors = aligned(&[x.address(), dy.address(), y.address(), dx.address(), dresidual.address()]);
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
        let (dweight, dbias) = (untyped_output(out.dweight)?, untyped_output(out.dbias)?);
        let span = extent(OP, "columns", plan.span)?;
        // SAFETY: the operands have N × C × L elements, the statistics and gradients one for each channel, the partials
        // a pair for each part and channel (or column).
        unsafe {
            if plan.parts > 0 {
                let kernel = one(&kernels.gradient_sums, &plan).on(&device, &BATCHNORM)?;
                kernel.launch(&walk(&plan)?, (p, output::<f32>(&mut partials)?, x, dy, y, mean, rstd))?;
            }
            let arguments = (of_sums, span, output::<f32>(&mut totals)?, dweight, dbias, all::<f32>(&partials)?);
            kernels.finish_sums.on(&device, &BATCHNORM)?.launch(&channels(&p, 8), arguments)?;
        }
    }
    if plan.parts == 0 || !elementwise {
        return Ok(());
    }
    let mut of_input = p;
    of_input.flags |= flags | given(inputs.weight.map(|w| w.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    let weight = DevicePtr::<u8>::from_address(untyped(weight.as_ref().map(Contiguous::view).as_ref())?);
    let arguments = (of_input, dx, dresidual, x, dy, y, mean, rstd, weight, all::<f32>(&totals)?);
    // SAFETY: as above; the totals are read only where they were written.
    unsafe { one(&kernels.gradient, &plan).on(&device, &BATCHNORM)?.launch(&walk(&plan)?, arguments) }
}
