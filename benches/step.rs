//! Whole training steps of the networks and operations in `peers/README.md`, and optimizer steps alone.

#[path = "../examples/support/workloads.rs"]
mod workloads;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warpsmith::nn::{Init, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, Sgd, SgdConfig};
use warpsmith::{DType, Device, Gradients, Tensor};

fn networks(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for name in workloads::NAMES {
        let mut workload = workloads::workload(name).expect("a workload");
        if workload.flops.is_some() {
            continue; // products alone are in benches/gemm.rs
        }
        if let Some((batch, _)) = workload.network {
            group.throughput(Throughput::Elements(batch as u64));
        }
        group.bench_function(name, |b| b.iter(|| (workload.step)()));
    }
}

/// 12.6 million parameters in 64 tensors, as of a small Transformer.
fn optimizers(c: &mut Criterion) {
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let mut gradients = Gradients::default();
    for i in 0..64 {
        let param = params.param(&format!("p{i}"), [256, 768], Init::STANDARD_NORMAL).expect("a parameter");
        let gradient = Tensor::full(1e-3, [256, 768], DType::F32, &Device::Cpu).expect("a gradient");
        gradients.set(&param, gradient).expect("a tracked parameter");
    }
    let momentum = SgdConfig { momentum: 0.9, ..SgdConfig::new(1e-3) };
    let sgd = Sgd::new(params.trainable(), momentum).expect("an optimizer");
    let adamw = Adam::new(params.trainable(), AdamConfig::adamw(1e-4)).expect("an optimizer");
    let mut group = c.benchmark_group("optimizer");
    // Read gradient, parameter and state, write parameter and state.
    let mut time = |name: &str, bytes: u64, mut optimizer: Box<dyn Optimizer>, clip: Clip| {
        group.throughput(Throughput::Bytes(bytes * params.numel() as u64));
        group.bench_function(name, |b| b.iter(|| optimizer.step_clipped(&gradients, clip)));
    };
    time("sgd with momentum", 20, Box::new(sgd), Clip::None);
    time("adamw", 28, Box::new(adamw), Clip::None);
    let adamw = Adam::new(params.trainable(), AdamConfig::adamw(1e-4)).expect("an optimizer");
    time("adamw clipped by norm", 32, Box::new(adamw), Clip::Norm(1.0));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = networks, optimizers
}
criterion_main!(benches);
