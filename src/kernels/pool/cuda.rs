//! Launches of `kernels/pool.cu`.

use super::{Divisor, PoolDesc, Windows};
use crate::device::View;
use crate::device::cuda::{CudaDevice, CudaMemory, Kernel, KernelSlot, LaunchConfig};
use crate::kernels::images::POOL;
use crate::kernels::params::{POOL_FIXED, POOL_INSIDE, POOL_PADDED, PoolParams};
use crate::kernels::strided::LIMIT;
use crate::kernels::window::Window;
use crate::kernels::{on_device, unsupported_on_cuda};
use crate::{DType, Error, Result, with_dtype};

/// Threads of a block, as `pool.cu` has them.
const THREADS: u32 = 256;
/// Positions of a window from which on a warp adds them up.
const LARGE: usize = 64;

fn covering(device: &CudaDevice, items: usize) -> LaunchConfig {
    LaunchConfig::covering(items, THREADS, device.spec().multiprocessors.max(1) * 32)
}

fn kernel(device: &CudaDevice, op: &'static str, which: usize, dtype: DType) -> Result<Kernel> {
    const ROW: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
    static FOUND: [[KernelSlot; 3]; 6] = [ROW; 6];
    let Some(slot) = [DType::F32, DType::F16, DType::BF16].iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(op, dtype, "f32, f16, bf16"));
    };
    FOUND[which][slot].get(device, || {
        let name = match which {
            0 => format!("max_pool<{dtype}, u32>"),
            1 => format!("max_pool<{dtype}, i64>"),
            2 => format!("max_pool_backward<{dtype}>"),
            3 => format!("average_pool<{dtype}, 1>"),
            4 => format!("average_pool<{dtype}, 32>"),
            _ => format!("average_pool_backward<{dtype}>"),
        };
        device.kernel(&POOL, &name)
    })
}

/// The parameters, where all numbers are in the kernels' range.
fn params(op: &'static str, desc: &PoolDesc, divisor: Divisor) -> Result<PoolParams> {
    let reach = |axis: usize| match desc.windows {
        // Products of two extents of an axis.
        Windows::Adaptive => (desc.input[axis].max(desc.output[axis]) + 1).saturating_pow(2) / 2,
        Windows::Sliding(windows) => {
            let Window { kernel, stride, padding, dilation } = windows[axis];
            desc.output[axis] * stride + desc.input[axis] + kernel * dilation + 2 * padding
        }
    };
    let largest = desc.input[0] * desc.input[1];
    let largest = largest.max(desc.output[0] * desc.output[1]) * desc.planes;
    if [largest, reach(0), reach(1)].iter().any(|&n| n >= LIMIT) {
        let message =
            format!("planes of {:?} give {:?}: more than a CUDA device pools in one call", desc.input, desc.output);
        return Err(Error::argument(op, message));
    }
    let mut p = PoolParams {
        planes: desc.planes as u32,
        input: desc.input.map(|n| n as u32),
        output: desc.output.map(|n| n as u32),
        kernel: [1; 2],
        stride: [1; 2],
        dilation: [1; 2],
        ..Default::default()
    };
    match desc.windows {
        Windows::Adaptive => p.adaptive = 1,
        Windows::Sliding(windows) => {
            p.kernel = windows.map(|w| w.kernel as u32);
            p.stride = windows.map(|w| w.stride as u32);
            p.padding = windows.map(|w| w.padding as u32);
            p.dilation = windows.map(|w| w.dilation as u32);
        }
    }
    (p.divisor, p.fixed) = match divisor {
        Divisor::Padded => (POOL_PADDED, 0.0),
        Divisor::Inside => (POOL_INSIDE, 0.0),
        Divisor::Fixed(n) => (POOL_FIXED, n as f32),
    };
    Ok(p)
}

fn contiguous(view: &View<'_>) -> Result<()> {
    if view.layout().is_contiguous() { Ok(()) } else { Err(Error::argument("pool", "the input must be contiguous")) }
}

pub(super) fn max(
    desc: &PoolDesc,
    input: View<'_>,
    out: &mut CudaMemory,
    positions: &mut CudaMemory,
    places: DType,
) -> Result<()> {
    let (op, dtype, device) = ("max_pool", input.dtype(), out.device().clone());
    if matches!(desc.windows, Windows::Adaptive) {
        return Err(Error::argument(op, "adaptive windows have no maximum"));
    }
    contiguous(&input)?;
    let kernel = kernel(&device, op, usize::from(places == DType::I64), dtype)?;
    let (outputs, inputs) = (desc.planes * desc.output[0] * desc.output[1], input.layout().numel());
    if outputs == 0 {
        return Ok(());
    }
    let (p, config) = (params(op, desc, Divisor::Inside)?, covering(&device, outputs));
    let memory = on_device(op, &input, &device)?;
    with_dtype!(dtype, T => {
        let (out, x) = (out.write::<T>(0, outputs)?, memory.read::<T>(input.layout().offset(), inputs)?);
        // SAFETY: the planes have the parameters' sizes; every window is cut at its plane.
        unsafe {
            match places {
                DType::I64 => kernel.launch(&config, (p, out, positions.write::<i64>(0, outputs)?, x)),
                _ => kernel.launch(&config, (p, out, positions.write::<u32>(0, outputs)?, x)),
            }
        }
    })
}

pub(super) fn max_backward(desc: &PoolDesc, grad: View<'_>, positions: View<'_>, out: &mut CudaMemory) -> Result<()> {
    let (op, dtype, device) = ("max_pool", grad.dtype(), out.device().clone());
    contiguous(&grad)?;
    contiguous(&positions)?;
    let kernel = kernel(&device, op, 2, dtype)?;
    let (outputs, inputs) = (grad.layout().numel(), desc.planes * desc.input[0] * desc.input[1]);
    if inputs == 0 {
        return Ok(());
    }
    let (p, config) = (params(op, desc, Divisor::Inside)?, covering(&device, inputs));
    let places = on_device(op, &positions, &device)?.read::<u32>(positions.layout().offset(), outputs)?;
    let memory = on_device(op, &grad, &device)?;
    with_dtype!(dtype, T => {
        let (out, g) = (out.write::<T>(0, inputs)?, memory.read::<T>(grad.layout().offset(), outputs)?);
        // SAFETY: the planes have the parameters' sizes, and gradients and positions those of the outputs.
        unsafe { kernel.launch(&config, (p, out, g, places)) }
    })
}

pub(super) fn average(desc: &PoolDesc, divisor: Divisor, input: View<'_>, out: &mut CudaMemory) -> Result<()> {
    let (op, dtype, device) = ("avg_pool", input.dtype(), out.device().clone());
    contiguous(&input)?;
    let area = |axis: usize| match desc.windows {
        Windows::Adaptive => desc.input[axis].div_ceil(desc.output[axis].max(1)),
        Windows::Sliding(windows) => windows[axis].kernel,
    };
    let large = area(0) * area(1) >= LARGE;
    let kernel = kernel(&device, op, if large { 4 } else { 3 }, dtype)?;
    let (outputs, inputs) = (desc.planes * desc.output[0] * desc.output[1], input.layout().numel());
    if outputs == 0 {
        return Ok(());
    }
    let (p, config) = (params(op, desc, divisor)?, covering(&device, outputs * if large { 32 } else { 1 }));
    let memory = on_device(op, &input, &device)?;
    with_dtype!(dtype, T => {
        let (out, x) = (out.write::<T>(0, outputs)?, memory.read::<T>(input.layout().offset(), inputs)?);
        // SAFETY: the planes have the parameters' sizes; every window is cut at its plane.
        unsafe { kernel.launch(&config, (p, out, x)) }
    })
}

pub(super) fn average_backward(desc: &PoolDesc, divisor: Divisor, grad: View<'_>, out: &mut CudaMemory) -> Result<()> {
    let (op, dtype, device) = ("avg_pool", grad.dtype(), out.device().clone());
    contiguous(&grad)?;
    let kernel = kernel(&device, op, 5, dtype)?;
    let (outputs, inputs) = (grad.layout().numel(), desc.planes * desc.input[0] * desc.input[1]);
    if inputs == 0 {
        return Ok(());
    }
    let (p, config, memory) = (params(op, desc, divisor)?, covering(&device, inputs), on_device(op, &grad, &device)?);
    with_dtype!(dtype, T => {
        let (out, g) = (out.write::<T>(0, inputs)?, memory.read::<T>(grad.layout().offset(), outputs)?);
        // SAFETY: the planes have the parameters' sizes, and gradients those of the outputs.
        unsafe { kernel.launch(&config, (p, out, g)) }
    })
}
