//! Launches of `kernels/random.cu`.

use super::Distribution;
use super::cpu::threshold;
use crate::device::View;
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::kernels::images::RANDOM;
use crate::kernels::params::{MultinomialParams, REPORT_WEIGHTS, RandomParams};
use crate::kernels::{elementwise, on_device, unsupported_on_cuda};
use crate::{DType, Element, Error, Result, with_dtype};

/// Threads of a block, as `random.cu` has them.
const THREADS: u32 = 256;
const FLOATS: &str = "f32, f16, bf16";
const KERNELS: [&str; 7] = ["uniform", "normal", "bernoulli", "gamma", "bernoulli_each", "dropout", "multinomial"];

fn kernel(device: &CudaDevice, op: &'static str, which: usize, dtype: DType) -> Result<Kernel> {
    static FOUND: [[KernelSlot; 3]; 7] = [const { [const { KernelSlot::new() }; 3] }; 7];
    let Some(slot) = [DType::F32, DType::F16, DType::BF16].iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(op, dtype, FLOATS));
    };
    FOUND[which][slot].get(device, || device.kernel(&RANDOM, &format!("{}<{dtype}>", KERNELS[which])))
}

/// A thread for each block of counters, as far as a few waves over the device go.
fn covering(device: &CudaDevice, blocks: usize) -> LaunchConfig {
    LaunchConfig::covering(blocks, THREADS, device.spec().multiprocessors.max(1) * 32)
}

fn params(device: &CudaDevice, count: usize, key: [u32; 2], first: u64) -> RandomParams {
    let ([key0, key1], offset) = (key, device.random_offset(key, first));
    RandomParams { count: count as u64, first, offset, key0, key1, ..Default::default() }
}

pub(super) fn fill(
    distribution: Distribution,
    key: [u32; 2],
    first: u64,
    dtype: DType,
    len: usize,
    out: &mut CudaMemory,
) -> Result<()> {
    let device = out.device().clone();
    let (which, mut bounds) = match distribution {
        Distribution::Uniform { low, high } => (0, [low, high]),
        Distribution::Normal { .. } => (1, [0.0; 2]),
        Distribution::Bernoulli { .. } => (2, [0.0; 2]),
        Distribution::Gamma { .. } => (3, [0.0; 2]),
    };
    let kernel = kernel(&device, "random", which, dtype)?;
    if len == 0 {
        return Ok(());
    }
    let mut params = params(&device, len, key, first);
    match distribution {
        Distribution::Uniform { low, high } => (params.a, params.b) = (low as f32, (high - low) as f32),
        Distribution::Normal { mean, std } => (params.a, params.b) = (mean as f32, std as f32),
        Distribution::Bernoulli { p } => params.threshold = threshold(p),
        Distribution::Gamma { shape, scale } => (params.a, params.b) = (shape as f32, scale as f32),
    }
    let config = covering(&device, distribution.blocks(len, dtype) as usize);
    with_dtype!(dtype, T => {
        let out = out.write::<T>(0, len)?;
        // As the dtype has them, exactly.
        bounds = bounds.map(|bound| <T as Element>::from_f64(bound).to_f64());
        // SAFETY: the output has `count` elements.
        unsafe {
            match which {
                0 => kernel.launch(&config, (params, out, bounds[0] as f32, bounds[1] as f32)),
                _ => kernel.launch(&config, (params, out)),
            }
        }
    })
}

pub(super) fn bernoulli(p: View<'_>, key: [u32; 2], first: u64, out: &mut CudaMemory) -> Result<()> {
    let op = "bernoulli";
    let (device, len, dtype) = (out.device().clone(), p.layout().numel(), p.dtype());
    let kernel = kernel(&device, op, 4, dtype)?;
    if len == 0 {
        return Ok(());
    }
    let p = elementwise::contiguous(p)?;
    let (memory, offset) = (on_device(op, &p.view(), &device)?, p.view().layout().offset());
    with_dtype!(dtype, T => {
        let (out, p) = (out.write::<T>(0, len)?, memory.read::<T>(offset, len)?);
        // SAFETY: both have `count` elements.
        unsafe { kernel.launch(&covering(&device, len.div_ceil(4)), (params(&device, len, key, first), out, p)) }
    })
}

/// Dropout of the input, or of the output itself.
pub(super) fn dropout(
    p: f64,
    key: [u32; 2],
    first: u64,
    input: Option<View<'_>>,
    dtype: DType,
    len: usize,
    out: &mut CudaMemory,
) -> Result<()> {
    let op = "dropout";
    let device = out.device().clone();
    let kernel = kernel(&device, op, 5, dtype)?;
    if len == 0 {
        return Ok(());
    }
    let scale = if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 };
    let params = RandomParams { threshold: threshold(p), a: scale, ..params(&device, len, key, first) };
    let input = input.map(elementwise::contiguous).transpose()?;
    with_dtype!(dtype, T => {
        let target = out.write::<T>(0, len)?;
        let x = match &input {
            Some(x) => on_device(op, &x.view(), &device)?.read::<T>(x.view().layout().offset(), len)?,
            None => target.alias(),
        };
        // SAFETY: both have `count` elements; where they are the same, each is read by the thread that writes it.
        unsafe { kernel.launch(&covering(&device, len.div_ceil(4)), (params, target, x)) }
    })
}

fn refused(op: &'static str, kind: u32, value: i64, bound: i64) -> Error {
    Error::argument(
        op,
        if kind == REPORT_WEIGHTS {
            format!("weights must be finite and at least 0, and one above 0; those of row {value} are not")
        } else {
            format!("{value} samples without replacement from {bound} positive weights")
        },
    )
}

/// Samples from rows of weights. Weights that are refused are an error of the next call that waits for the device.
pub(super) fn multinomial(
    weights: View<'_>,
    samples: usize,
    replacement: bool,
    key: [u32; 2],
    first: u64,
    out: &mut CudaMemory,
) -> Result<()> {
    let op = "multinomial";
    let (device, dtype) = (out.device().clone(), weights.dtype());
    let kernel = kernel(&device, op, 6, dtype)?;
    let (rows, n) = (weights.dims()[0], weights.dims()[1]);
    if rows * samples == 0 {
        return Ok(());
    }
    if n == 0 {
        return Err(Error::argument(op, "a row of weights has none above 0"));
    }
    let weights = elementwise::contiguous(weights)?;
    let (memory, offset) = (on_device(op, &weights.view(), &device)?, weights.view().layout().offset());
    let (report, operation) = device.report(op, refused)?;
    let params = MultinomialParams {
        n: n as u64,
        samples: samples as u64,
        first,
        offset: device.random_offset(key, first),
        key0: key[0],
        key1: key[1],
        bits: 62 - n.next_power_of_two().trailing_zeros() as i32,
        replacement: u32::from(replacement),
        operation,
        reserved: 0,
    };
    // What each weight counts, and the sums up to each.
    let mut counts = CudaMemory::uninit(&device, 2 * rows * n * size_of::<u64>())?;
    let counts = counts.write::<u8>(0, 2 * rows * n * size_of::<u64>())?.address();
    let ends = counts + (rows * n * size_of::<u64>()) as u64;
    let config = LaunchConfig::linear(rows as u32, THREADS);
    with_dtype!(dtype, T => {
        let arguments = (
            params,
            out.write::<i64>(0, rows * samples)?,
            memory.read::<T>(offset, rows * n)?,
            DevicePtrMut::<u64>::from_address(counts),
            DevicePtrMut::<u64>::from_address(ends),
            DevicePtrMut::<u8>::from_address(report),
        );
        // SAFETY: there are `rows` rows of weights, counts, ends and samples; the report's memory stays.
        unsafe { kernel.launch(&config, arguments) }
    })
}
