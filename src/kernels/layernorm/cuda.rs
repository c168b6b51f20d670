//! Launches of `kernels/layernorm.cu`.

use super::plan::{ChannelPlan, RowPlan, Rows};
use super::{LayerNormDesc, LayerNormGradInputs, LayerNormGradOutputs, LayerNormInputs, LayerNormOutputs, Parameters};
use crate::device::Buffer;
use crate::device::cuda::{CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::kernels::images;
use crate::kernels::operands::{Contiguous, contiguous};
use crate::kernels::operands::{
    aligned, all, blocks, device, divisor, elements, extent, given, lanes, launch_one, optional, output, packed,
    untyped, untyped_output,
};
use crate::kernels::params::{
    LayerNormParams, NORM_BIAS, NORM_BIAS_F32, NORM_CENTERED, NORM_INPUT_GRADIENT, NORM_PARAMETER_GRADIENTS,
    NORM_RESIDUAL, NORM_WEIGHT, NORM_WEIGHT_F32, PartialSumsParams,
};
use crate::{DType, Device, Element, Result};
use half::{bf16, f16};

/// The kernels of one dtype.
///
/// # Safety
/// Of each launch: the pointers are to as many elements as the parameters say (an unused one may be null), with 16-byte
/// alignment where the plan is for vectors.
#[allow(clippy::too_many_arguments)]
pub(super) trait Kernels: Element {
    unsafe fn forward(
        plan: &RowPlan,
        device: &CudaDevice,
        p: LayerNormParams,
        y: DevicePtrMut<'_, Self>,
        sum: DevicePtrMut<'_, Self>,
        statistics: [DevicePtrMut<'_, f32>; 2],
        x: DevicePtr<'_, Self>,
        residual: DevicePtr<'_, Self>,
        weight: DevicePtr<'_, u8>,
        bias: DevicePtr<'_, u8>,
    ) -> Result<()>;

    unsafe fn backward(
        plan: &RowPlan,
        device: &CudaDevice,
        p: LayerNormParams,
        dx: DevicePtrMut<'_, Self>,
        partials: DevicePtrMut<'_, f32>,
        operands: [DevicePtr<'_, Self>; 2],
        statistics: [DevicePtr<'_, f32>; 2],
        weight: DevicePtr<'_, u8>,
    ) -> Result<()>;

    unsafe fn column_partials(
        vector: bool,
        device: &CudaDevice,
        config: &LaunchConfig,
        p: LayerNormParams,
        partials: DevicePtrMut<'_, f32>,
        operands: [DevicePtr<'_, Self>; 2],
        statistics: [DevicePtr<'_, f32>; 2],
    ) -> Result<()>;

    unsafe fn channel_sums(
        plan: &ChannelPlan,
        device: &CudaDevice,
        config: &LaunchConfig,
        p: LayerNormParams,
        sums: DevicePtrMut<'_, f32>,
        operands: [DevicePtr<'_, Self>; 2],
        statistics: [DevicePtr<'_, f32>; 2],
    ) -> Result<()>;

    unsafe fn channel_gradient(
        plan: &ChannelPlan,
        device: &CudaDevice,
        config: &LaunchConfig,
        p: LayerNormParams,
        dx: DevicePtrMut<'_, Self>,
        sums: DevicePtr<'_, f32>,
        operands: [DevicePtr<'_, Self>; 2],
        statistics: [DevicePtr<'_, f32>; 2],
        weight: DevicePtr<'_, u8>,
    ) -> Result<()>;

    unsafe fn partial_sums(
        device: &CudaDevice,
        config: &LaunchConfig,
        p: PartialSumsParams,
        dweight: DevicePtrMut<'_, u8>,
        dbias: DevicePtrMut<'_, u8>,
        partials: DevicePtr<'_, f32>,
    ) -> Result<()>;
}

macro_rules! kernels {
    ($ty:ident, $wide:literal) => {
        impl Kernels for $ty {
            unsafe fn forward(
                plan: &RowPlan,
                device: &CudaDevice,
                p: LayerNormParams,
                y: DevicePtrMut<'_, $ty>,
                sum: DevicePtrMut<'_, $ty>,
                [mean, rstd]: [DevicePtrMut<'_, f32>; 2],
                x: DevicePtr<'_, $ty>,
                residual: DevicePtr<'_, $ty>,
                weight: DevicePtr<'_, u8>,
                bias: DevicePtr<'_, u8>,
            ) -> Result<()> {
                let config = LaunchConfig::linear(blocks("layer_norm", plan.blocks)?, plan.threads);
                launch_one!(
                    images::LAYERNORM, device, &config,
                    (p: LayerNormParams, y: DevicePtrMut<'_, $ty>, sum: DevicePtrMut<'_, $ty>,
                        mean: DevicePtrMut<'_, f32>, rstd: DevicePtrMut<'_, f32>, x: DevicePtr<'_, $ty>,
                        residual: DevicePtr<'_, $ty>, weight: DevicePtr<'_, u8>, bias: DevicePtr<'_, u8>),
                    match (plan.rows, plan.vector), {
                        (Rows::Warp8, false) => concat!("forward<", stringify!($ty), ", 1, true, 8>"),
                        (Rows::Warp8, true) => concat!("forward<", stringify!($ty), ", ", $wide, ", true, 8>"),
                        (Rows::Warp16 | Rows::Warp32, _) =>
                            concat!("forward<", stringify!($ty), ", ", $wide, ", true, 32>"),
                        (Rows::Block8 | Rows::Block16, false) =>
                            concat!("forward<", stringify!($ty), ", 1, false, 16>"),
                        (Rows::Block8 | Rows::Block16, true) =>
                            concat!("forward<", stringify!($ty), ", ", $wide, ", false, 16>"),
                        (Rows::Rereading, false) => concat!("forward_rereading<", stringify!($ty), ", 1>"),
                        (Rows::Rereading, true) => concat!("forward_rereading<", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn backward(
                plan: &RowPlan,
                device: &CudaDevice,
                p: LayerNormParams,
                dx: DevicePtrMut<'_, $ty>,
                partials: DevicePtrMut<'_, f32>,
                [x, dy]: [DevicePtr<'_, $ty>; 2],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
                weight: DevicePtr<'_, u8>,
            ) -> Result<()> {
                let config = LaunchConfig::linear(blocks("layer_norm_backward", plan.blocks)?, plan.threads);
                if plan.rows == Rows::Rereading {
                    return launch_one!(
                        images::LAYERNORM, device, &config,
                        (p: LayerNormParams, dx: DevicePtrMut<'_, $ty>, x: DevicePtr<'_, $ty>,
                            dy: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>, rstd: DevicePtr<'_, f32>,
                            weight: DevicePtr<'_, u8>),
                        match plan.vector, {
                            false => concat!("backward_rereading<", stringify!($ty), ", 1>"),
                            true => concat!("backward_rereading<", stringify!($ty), ", ", $wide, ">"),
                        }
                    );
                }
                launch_one!(
                    images::LAYERNORM, device, &config,
                    (p: LayerNormParams, dx: DevicePtrMut<'_, $ty>, partials: DevicePtrMut<'_, f32>,
                        x: DevicePtr<'_, $ty>, dy: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>,
                        rstd: DevicePtr<'_, f32>, weight: DevicePtr<'_, u8>),
                    match (plan.rows, plan.vector), {
                        (Rows::Warp8, false) => concat!("backward<", stringify!($ty), ", 1, true, 8>"),
                        (Rows::Warp8, true) => concat!("backward<", stringify!($ty), ", ", $wide, ", true, 8>"),
                        (Rows::Warp16 | Rows::Warp32, _) =>
                            concat!("backward<", stringify!($ty), ", ", $wide, ", true, 16>"),
                        (Rows::Block8, _) | (_, false) => concat!("backward<", stringify!($ty), ", 1, false, 8>"),
                        (_, true) => concat!("backward<", stringify!($ty), ", ", $wide, ", false, 16>"),
                    }
                )
            }

            unsafe fn column_partials(
                vector: bool,
                device: &CudaDevice,
                config: &LaunchConfig,
                p: LayerNormParams,
                partials: DevicePtrMut<'_, f32>,
                [x, dy]: [DevicePtr<'_, $ty>; 2],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
            ) -> Result<()> {
                launch_one!(
                    images::LAYERNORM, device, config,
                    (p: LayerNormParams, partials: DevicePtrMut<'_, f32>, x: DevicePtr<'_, $ty>,
                        dy: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>, rstd: DevicePtr<'_, f32>),
                    match vector, {
                        false => concat!("column_partials<", stringify!($ty), ", 1>"),
                        true => concat!("column_partials<", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn channel_sums(
                plan: &ChannelPlan,
                device: &CudaDevice,
                config: &LaunchConfig,
                p: LayerNormParams,
                sums: DevicePtrMut<'_, f32>,
                [x, dy]: [DevicePtr<'_, $ty>; 2],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
            ) -> Result<()> {
                let lanes = plan.lanes;
                launch_one!(
                    images::LAYERNORM, device, config,
                    (p: LayerNormParams, lanes: u32, sums: DevicePtrMut<'_, f32>, x: DevicePtr<'_, $ty>,
                        dy: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>, rstd: DevicePtr<'_, f32>),
                    match plan.vector, {
                        false => concat!("channel_sums<", stringify!($ty), ", 1>"),
                        true => concat!("channel_sums<", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn channel_gradient(
                plan: &ChannelPlan,
                device: &CudaDevice,
                config: &LaunchConfig,
                p: LayerNormParams,
                dx: DevicePtrMut<'_, $ty>,
                sums: DevicePtr<'_, f32>,
                [x, dy]: [DevicePtr<'_, $ty>; 2],
                [mean, rstd]: [DevicePtr<'_, f32>; 2],
                weight: DevicePtr<'_, u8>,
            ) -> Result<()> {
                launch_one!(
                    images::LAYERNORM, device, config,
                    (p: LayerNormParams, dx: DevicePtrMut<'_, $ty>, sums: DevicePtr<'_, f32>,
                        x: DevicePtr<'_, $ty>, dy: DevicePtr<'_, $ty>, mean: DevicePtr<'_, f32>,
                        rstd: DevicePtr<'_, f32>, weight: DevicePtr<'_, u8>),
                    match plan.vector, {
                        false => concat!("channel_gradient<", stringify!($ty), ", 1>"),
                        true => concat!("channel_gradient<", stringify!($ty), ", ", $wide, ">"),
                    }
                )
            }

            unsafe fn partial_sums(
                device: &CudaDevice,
                config: &LaunchConfig,
                p: PartialSumsParams,
                dweight: DevicePtrMut<'_, u8>,
                dbias: DevicePtrMut<'_, u8>,
                partials: DevicePtr<'_, f32>,
            ) -> Result<()> {
                launch_one!(
                    images::LAYERNORM, device, config,
                    (p: PartialSumsParams, dweight: DevicePtrMut<'_, u8>, dbias: DevicePtrMut<'_, u8>,
                        partials: DevicePtr<'_, f32>),
                    match (), { () => concat!("partial_sums<", stringify!($ty), ">") }
                )
            }
        }
    };
}
kernels!(f32, 4);
kernels!(f16, 8);
kernels!(bf16, 8);

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
        p.length = divisor(extent(op, "channels", length)?);
        p.channels = extent(op, "a number of channels", channels)?;
        p.row_channels = width / p.length.divisor.max(1);
    }
    Ok(p)
}

pub(super) fn forward<T: Kernels>(
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
    let statistics = [output(out.mean)?, output(out.rstd)?];
    // SAFETY: the operands have rows × width elements, the statistics one for each row, the parameters as many as the
    // descriptor says; all were checked by the caller.
    unsafe {
        let (weight, bias) = (DevicePtr::from_address(weight), DevicePtr::from_address(bias));
        T::forward(&plan, &device, p, y, sum, statistics, x, residual, weight, bias)
    }
}

/// Adds up partial gradients of weight and bias.
fn sum_up<T: Kernels>(
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
    // SAFETY: the partials are `parts` pairs of `width` sums, the gradients have `width` elements or are not written.
    unsafe {
        T::partial_sums(device, &config, PartialSumsParams { parts, width, flags }, dweight, dbias, all(partials)?)
    }
}

pub(super) fn backward<T: Kernels>(
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
    let operands = || -> Result<_> { Ok([elements::<T>(&x)?, elements::<T>(&dy)?]) };
    let statistics = || -> Result<_> { Ok([elements::<f32>(&mean)?, elements::<f32>(&rstd)?]) };
    let weight = untyped(weight.as_ref().map(Contiguous::view).as_ref())?;
    let dx = optional::<T>(out.dx)?;
    let aligned_rows = aligned(&[operands()?[0].address(), operands()?[1].address(), dx.address()]);
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
            T::channel_sums(&plan, &device, &runs, p, output(&mut sums)?, operands()?, statistics()?)?;
            if p.flags & NORM_INPUT_GRADIENT != 0 {
                let of_sums = all::<f32>(&sums)?;
                let weight = DevicePtr::from_address(weight);
                T::channel_gradient(&plan, &device, &rows, p, dx, of_sums, operands()?, statistics()?, weight)?;
            }
        }
        return sum_up::<T>(&device, extent(OP, "samples", samples)?, p.channels, &sums, [out.dweight, out.dbias]);
    }
    let vector = aligned_rows && aligned(&[weight]) && desc.width.is_multiple_of(lanes::<T>());
    let plan = RowPlan::backward(desc.rows, desc.width, vector);
    let rereading = plan.rows == Rows::Rereading;
    let parts = if rereading { desc.rows.min(64) } else { plan.blocks };
    let mut partials = Buffer::uninit(&whole, DType::F32, if with_parameters { parts * 2 * desc.width } else { 0 })?;
    // SAFETY: as above; the partials are a pair of rows for each block that writes one.
    unsafe {
        if rereading && with_parameters {
            let columns = desc.width.div_ceil(256 * if vector { lanes::<T>() } else { 1 });
            let config = LaunchConfig { grid: [blocks(OP, columns)?, parts as u32, 1], ..LaunchConfig::linear(1, 256) };
            T::column_partials(vector, &device, &config, p, output(&mut partials)?, operands()?, statistics()?)?;
        }
        if !rereading || p.flags & NORM_INPUT_GRADIENT != 0 {
            let weight = DevicePtr::from_address(weight);
            T::backward(&plan, &device, p, dx, output(&mut partials)?, operands()?, statistics()?, weight)?;
        }
    }
    sum_up::<T>(&device, parts as u32, p.width, &partials, [out.dweight, out.dbias])
}
