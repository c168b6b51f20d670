//! Launches of `kernels/layernorm.cu`.

use super::plan::{ChannelPlan, RowPlan, Rows};
use super::{LayerNormDesc, LayerNormGradInputs, LayerNormGradOutputs, LayerNormInputs, LayerNormOutputs, Parameters};
use crate::device::Buffer;
use crate::device::cuda::{CudaDevice, DevicePtr, LaunchConfig};
use crate::kernels::elementwise::{Contiguous, contiguous};
use crate::kernels::images::LAYERNORM;
use crate::kernels::named::{ByFloat, NamedKernel, by_float, named};
use crate::kernels::operands::{
    aligned, all, blocks, device, elements, extent, given, lanes, optional, output, packed, untyped, untyped_output,
};
use crate::kernels::params::{
    Divisor, LayerNormParams, NORM_BIAS, NORM_BIAS_F32, NORM_CENTERED, NORM_INPUT_GRADIENT, NORM_PARAMETER_GRADIENTS,
    NORM_RESIDUAL, NORM_WEIGHT, NORM_WEIGHT_F32, PartialSumsParams,
};
use crate::{DType, Device, Element, Result};

/// The kernels of one dtype; of pairs the first is for single elements, the second for 16-byte accesses.
struct Kernels {
    forward_warp8: [NamedKernel; 2],
    forward_warp32: NamedKernel,
    forward_block: [NamedKernel; 2],
    forward_rereading: [NamedKernel; 2],
    backward_warp8: [NamedKernel; 2],
    backward_warp16: NamedKernel,
    backward_block: [NamedKernel; 2],
    backward_rereading: [NamedKernel; 2],
    column_partials: [NamedKernel; 2],
    channel_sums: [NamedKernel; 2],
    channel_gradient: [NamedKernel; 2],
    partial_sums: NamedKernel,
}

macro_rules! kernels {
    ($t:literal, $wide:literal) => {
        Kernels {
            forward_warp8: [named!("forward<", $t, ", 1, true, 8>"), named!("forward<", $t, ", ", $wide, ", true, 8>")],
            forward_warp32: named!("forward<", $t, ", ", $wide, ", true, 32>"),
            forward_block: [
                named!("forward<", $t, ", 1, false, 16>"),
                named!("forward<", $t, ", ", $wide, ", false, 16>"),
            ],
            forward_rereading: [
                named!("forward_rereading<", $t, ", 1>"),
                named!("forward_rereading<", $t, ", ", $wide, ">"),
            ],
            backward_warp8: [
                named!("backward<", $t, ", 1, true, 8>"),
                named!("backward<", $t, ", ", $wide, ", true, 8>"),
            ],
            backward_warp16: named!("backward<", $t, ", ", $wide, ", true, 16>"),
            backward_block: [
                named!("backward<", $t, ", 1, false, 8>"),
                named!("backward<", $t, ", ", $wide, ", false, 16>"),
            ],
            backward_rereading: [
                named!("backward_rereading<", $t, ", 1>"),
                named!("backward_rereading<", $t, ", ", $wide, ">"),
            ],
            column_partials: [named!("column_partials<", $t, ", 1>"), named!("column_partials<", $t, ", ", $wide, ">")],
            channel_sums: [named!("channel_sums<", $t, ", 1>"), named!("channel_sums<", $t, ", ", $wide, ">")],
            channel_gradient: [
                named!("channel_gradient<", $t, ", 1>"),
                named!("channel_gradient<", $t, ", ", $wide, ">"),
            ],
            partial_sums: named!("partial_sums<", $t, ">"),
        }
    };
}

static KERNELS: ByFloat<Kernels> = by_float!(kernels);

impl Kernels {
    fn forward(&self, plan: &RowPlan) -> &NamedKernel {
        let access = usize::from(plan.vector);
        match plan.rows {
            Rows::Warp8 => &self.forward_warp8[access],
            Rows::Warp16 | Rows::Warp32 => &self.forward_warp32,
            Rows::Block8 | Rows::Block16 => &self.forward_block[access],
            Rows::Rereading => &self.forward_rereading[access],
        }
    }

    fn backward(&self, plan: &RowPlan) -> &NamedKernel {
        let access = usize::from(plan.vector);
        match plan.rows {
            Rows::Warp8 => &self.backward_warp8[access],
            Rows::Warp16 | Rows::Warp32 => &self.backward_warp16,
            Rows::Block8 => &self.backward_block[0],
            Rows::Block16 => &self.backward_block[access],
            Rows::Rereading => &self.backward_rereading[access],
        }
    }
}

fn params(op: &'static str, desc: &LayerNormDesc) -> Result<LayerNormParams> {
    let width = extent(op, "rows", desc.width)?;
    let mut p = LayerNormParams {
        rows: desc.rows as u64,
        width,
        flags: if desc.centered { NORM_CENTERED } else { 0 },
        eps: desc.eps as f32,
        ..Default::default()
    };
    if let Parameters::Channels { channels, length } = desc.parameters {
        p.length = Divisor::new(extent(op, "channels", length)?.max(1) as usize);
        p.channels = extent(op, "a number of channels", channels)?;
        p.row_channels = width / p.length.divisor.max(1);
    }
    Ok(p)
}

pub(super) fn forward<T: Element>(
    desc: &LayerNormDesc,
    inputs: LayerNormInputs<'_>,
    out: LayerNormOutputs<'_>,
) -> Result<()> {
    const OP: &str = "layer_norm";
    if desc.rows * desc.width == 0 {
        return Ok(());
    }
    let device = device(out.y)?;
    let mut p = params(OP, desc)?;
    p.flags |= given(inputs.weight.map(|w| w.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    p.flags |= given(inputs.bias.map(|b| b.dtype()), NORM_BIAS, NORM_BIAS_F32);
    p.flags |= if inputs.residual.is_some() { NORM_RESIDUAL } else { 0 };
    let (x, residual) = (contiguous(inputs.x)?, packed(inputs.residual)?);
    let (weight, bias) = (packed(inputs.weight)?, packed(inputs.bias)?);
    let weight = untyped(weight.as_ref().map(Contiguous::view).as_ref())?;
    let bias = untyped(bias.as_ref().map(Contiguous::view).as_ref())?;
    let x = elements::<T>(&x.view())?;
    let residual = match &residual {
        Some(residual) => elements::<T>(&residual.view())?,
        None => DevicePtr::null(),
    };
    let (y, sum) = (output::<T>(out.y)?, optional::<T>(out.sum)?);
    let by_columns = desc.parameters == Parameters::Columns;
    let parameters = !by_columns || aligned(&[weight, bias]);
    let operands = aligned(&[x.address(), residual.address(), y.address(), sum.address()]);
    let vector = desc.width.is_multiple_of(lanes::<T>()) && operands && parameters;
    let plan = RowPlan::forward(desc.rows, desc.width, vector);
    let (mean, rstd) = (output::<f32>(out.mean)?, output::<f32>(out.rstd)?);
    let config = LaunchConfig::linear(blocks(OP, plan.blocks)?, plan.threads);
    let kernel = KERNELS.of::<T>().forward(&plan).on(&device, &LAYERNORM)?;
    let (weight, bias) = (DevicePtr::<u8>::from_address(weight), DevicePtr::<u8>::from_address(bias));
    // SAFETY: the operands have rows × width elements, the statistics one for each row, the parameters as many as the
    // descriptor says; all were checked by the caller.
    unsafe { kernel.launch(&config, (p, y, sum, mean, rstd, x, residual, weight, bias)) }
}

/// Adds up partial gradients of weight and bias.
fn sum_up<T: Element>(
    device: &CudaDevice,
    parts: u32,
    width: u32,
    partials: &Buffer,
    [dweight, dbias]: [Option<&mut Buffer>; 2],
) -> Result<()> {
    const OP: &str = "layer_norm_backward";
    let mut flags = given(dweight.as_ref().map(|b| b.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    flags |= given(dbias.as_ref().map(|b| b.dtype()), NORM_BIAS, NORM_BIAS_F32);
    if flags == 0 || width == 0 {
        return Ok(());
    }
    let (dweight, dbias) = (untyped_output(dweight)?, untyped_output(dbias)?);
    let config =
        LaunchConfig { grid: [blocks(OP, (width as usize).div_ceil(32))?, 2, 1], ..LaunchConfig::linear(1, 256) };
    let kernel = KERNELS.of::<T>().partial_sums.on(device, &LAYERNORM)?;
    let params = PartialSumsParams { parts, width, flags };
    // SAFETY: the partials are `parts` pairs of `width` sums, the gradients have `width` elements or are not written.
    unsafe { kernel.launch(&config, (params, dweight, dbias, all::<f32>(partials)?)) }
}

pub(super) fn backward<T: Element>(
    desc: &LayerNormDesc,
    inputs: LayerNormGradInputs<'_>,
    out: LayerNormGradOutputs<'_>,
) -> Result<()> {
    const OP: &str = "layer_norm_backward";
    let device = device(inputs.x.buffer())?;
    let whole = Device::Cuda(device.clone());
    let mut p = params(OP, desc)?;
    p.flags |= given(inputs.weight.map(|w| w.dtype()), NORM_WEIGHT, NORM_WEIGHT_F32);
    let with_parameters = out.dweight.is_some() || out.dbias.is_some();
    p.flags |= if out.dx.is_some() { NORM_INPUT_GRADIENT } else { 0 };
    p.flags |= if with_parameters { NORM_PARAMETER_GRADIENTS } else { 0 };
    let parameters = extent(OP, "parameters", desc.parameters())?;
    if desc.rows * desc.width == 0 {
        let none = Buffer::uninit(&whole, DType::F32, 0)?;
        return sum_up::<T>(&device, 0, parameters, &none, [out.dweight, out.dbias]);
    }
    let (x, dy) = (contiguous(inputs.x)?, contiguous(inputs.dy)?);
    let (mean, rstd) = (contiguous(inputs.mean)?, contiguous(inputs.rstd)?);
    let weight = packed(inputs.weight)?;
    let (x, dy) = (x.view(), dy.view());
    let (mean, rstd) = (mean.view(), rstd.view());
    let (x, dy) = (elements::<T>(&x)?, elements::<T>(&dy)?);
    let (mean, rstd) = (elements::<f32>(&mean)?, elements::<f32>(&rstd)?);
    let weight = DevicePtr::<u8>::from_address(untyped(weight.as_ref().map(Contiguous::view).as_ref())?);
    let dx = optional::<T>(out.dx)?;
    let aligned_rows = aligned(&[x.address(), dy.address(), dx.address()]);
    let kernels = KERNELS.of::<T>();
    if let Parameters::Channels { channels, length } = desc.parameters {
        let vector = aligned_rows && length.is_multiple_of(lanes::<T>());
        let plan = ChannelPlan::new(desc.width, length, if vector { lanes::<T>() } else { 1 });
        let samples = desc.rows / (channels / (desc.width / length));
        let mut sums = Buffer::uninit(&whole, DType::F32, samples * 2 * channels)?;
        let runs = LaunchConfig::linear(blocks(OP, (samples * channels * plan.lanes as usize).div_ceil(256))?, 256);
        let rows = LaunchConfig { grid: [blocks(OP, desc.rows)?, plan.parts, 1], ..LaunchConfig::linear(1, 256) };
        // SAFETY: x, dy and dx have rows × width elements, the statistics one for each row, the weight one for each
        // channel (checked by the caller); the sums are two for each channel of each sample.
        unsafe {
            let kernel = kernels.channel_sums[usize::from(plan.vector)].on(&device, &LAYERNORM)?;
            kernel.launch(&runs, (p, plan.lanes, output::<f32>(&mut sums)?, x, dy, mean, rstd))?;
            if p.flags & NORM_INPUT_GRADIENT != 0 {
                let kernel = kernels.channel_gradient[usize::from(plan.vector)].on(&device, &LAYERNORM)?;
                kernel.launch(&rows, (p, dx, all::<f32>(&sums)?, x, dy, mean, rstd, weight))?;
            }
        }
        return sum_up::<T>(&device, extent(OP, "samples", samples)?, p.channels, &sums, [out.dweight, out.dbias]);
    }
    let vector = aligned_rows && aligned(&[weight.address()]) && desc.width.is_multiple_of(lanes::<T>());
    let plan = RowPlan::backward(desc.rows, desc.width, vector);
    let rereading = plan.rows == Rows::Rereading;
    let parts = if rereading { desc.rows.min(64) } else { plan.blocks };
    let mut partials = Buffer::uninit(&whole, DType::F32, if with_parameters { parts * 2 * desc.width } else { 0 })?;
    // SAFETY: as above; the partials are a pair of rows for each block that writes one.
    unsafe {
        if rereading && with_parameters {
            let columns = desc.width.div_ceil(256 * if vector { lanes::<T>() } else { 1 });
            let config = LaunchConfig { grid: [blocks(OP, columns)?, parts as u32, 1], ..LaunchConfig::linear(1, 256) };
            let kernel = kernels.column_partials[usize::from(vector)].on(&device, &LAYERNORM)?;
            kernel.launch(&config, (p, output::<f32>(&mut partials)?, x, dy, mean, rstd))?;
        }
        let config = LaunchConfig::linear(blocks(OP, plan.blocks)?, plan.threads);
        let kernel = kernels.backward(&plan).on(&device, &LAYERNORM)?;
        if !rereading {
            kernel.launch(&config, (p, dx, output::<f32>(&mut partials)?, x, dy, mean, rstd, weight))?;
        } else if p.flags & NORM_INPUT_GRADIENT != 0 {
            kernel.launch(&config, (p, dx, x, dy, mean, rstd, weight))?;
        }
    }
    sum_up::<T>(&device, parts as u32, p.width, &partials, [out.dweight, out.dbias])
}
