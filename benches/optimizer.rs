//! Optimizer steps: every rule, with f32 and with bf16 parameters, clipped and with a loss scale.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes: each step against the time that its
//! bytes take.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gpu::{Floor, Gpu, Peak};
use warpsmith::nn::{Param, Params};
use warpsmith::optim::{
    AdaGrad, AdaGradConfig, Adam, AdamConfig, Clip, Ftrl, FtrlConfig, Lion, LionConfig, LossScaler, Optimizer, RmsProp,
    RmsPropConfig, Sgd, SgdConfig,
};
use warpsmith::{DType, Device, Gradients, Result, Tensor};

type Make = fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>>;

/// Names, numbers of state and how they are made.
const RULES: [(&str, usize, Make); 8] = [
    ("sgd", 0, |p| Ok(Box::new(Sgd::new(p, SgdConfig::new(1e-3))?))),
    ("sgd with momentum", 1, |p| Ok(Box::new(Sgd::new(p, SgdConfig { momentum: 0.9, ..SgdConfig::new(1e-3) })?))),
    ("adamw", 2, |p| Ok(Box::new(Adam::new(p, AdamConfig::adamw(1e-4))?))),
    ("amsgrad", 3, |p| Ok(Box::new(Adam::new(p, AdamConfig { amsgrad: true, ..AdamConfig::adam(1e-4) })?))),
    ("adagrad", 1, |p| Ok(Box::new(AdaGrad::new(p, AdaGradConfig::new(1e-3))?))),
    ("rmsprop", 1, |p| Ok(Box::new(RmsProp::new(p, RmsPropConfig::new(1e-3))?))),
    ("lion", 1, |p| Ok(Box::new(Lion::new(p, LionConfig::new(1e-4))?))),
    ("ftrl", 2, |p| Ok(Box::new(Ftrl::new(p, FtrlConfig::new(1e-3))?))),
];

/// Bytes that an element's step moves: gradient and state are read, parameter and state written; the parameter is read,
/// or for a half its master, which is written too.
fn bytes(dtype: DType, states: usize) -> usize {
    let half = dtype != DType::F32;
    2 * dtype.size() + 8 * states + if half { 8 } else { dtype.size() }
}

/// Matrices, each with a bias, as a network has them.
fn problem(device: &Device, dtype: DType, count: usize, width: usize) -> Result<(Params, Gradients)> {
    let (params, mut gradients) = (Params::new(device, dtype, 1), Gradients::default());
    for i in 0..count {
        for (name, dims) in [(format!("weight{i}"), vec![width, width]), (format!("bias{i}"), vec![width])] {
            let p = params.param_from(&name, &Tensor::full(0.5, &dims, dtype, device)?)?;
            gradients.set(&p, Tensor::full(1e-3, &dims, dtype, device)?)?;
        }
    }
    Ok((params, gradients))
}

fn optimizers(c: &mut Criterion) {
    let mut group = c.benchmark_group("optimizer");
    group.sample_size(10);
    for dtype in [DType::F32, DType::BF16] {
        let (params, gradients) = problem(&Device::Cpu, dtype, 16, 768).expect("parameters");
        for (name, states, make) in RULES {
            let mut optimizer = make(params.trainable()).expect("an optimizer");
            group.throughput(Throughput::Bytes((bytes(dtype, states) * params.numel()) as u64));
            group.bench_function(BenchmarkId::new(name, dtype), |bench| bench.iter(|| optimizer.step(&gradients)));
        }
    }
    group.finish();
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let (count, width) = if gpu.is_virtual() { (4, 256) } else { (48, 2048) };
    for dtype in [DType::F32, DType::BF16] {
        report(&gpu, dtype, count, width).unwrap_or_else(|error| panic!("optimizer of {dtype}: {error}"));
    }
}

fn report(gpu: &Gpu, dtype: DType, count: usize, width: usize) -> Result<()> {
    let (params, gradients) = problem(&gpu.device, dtype, count, width)?;
    let elements = params.numel() as f64;
    let floor = |bytes: usize| Floor { peak: Peak::F32, operations: 16.0 * elements, bytes: bytes as f64 * elements };
    for (name, states, make) in RULES {
        let mut optimizer = make(params.trainable())?;
        // State and table are made; the counters of the virtual GPU begin behind that.
        optimizer.step(&gradients)?;
        wait(gpu)?;
        let moved = bytes(dtype, states);
        gpu.report(&format!("{name} {dtype}"), &floor(moved), &mut || optimizer.step(&gradients))?;
        if name == "adamw" {
            let mut scaler = LossScaler::new(&gpu.device)?;
            optimizer.step_clipped(&gradients, Clip::Norm(1.0))?;
            wait(gpu)?;
            // The gradients are read once more.
            let floor = floor(moved + dtype.size());
            gpu.report(&format!("{name} {dtype} clipped by norm"), &floor, &mut || {
                optimizer.step_clipped(&gradients, Clip::Norm(1.0)).map(drop)
            })?;
            gpu.report(&format!("{name} {dtype} with a loss scale"), &floor, &mut || {
                scaler.step(optimizer.as_mut(), &gradients)
            })?;
        }
    }
    Ok(())
}

fn wait(gpu: &Gpu) -> Result<()> {
    match &gpu.device {
        Device::Cuda(device) => device.synchronize(),
        Device::Cpu => Ok(()),
    }
}

criterion_group!(benches, device, optimizers);
criterion_main!(benches);
