//! Random fills and dropout.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! one write of what is drawn; dropout reads besides.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gpu::{Floor, Gpu, ramp};
use std::cell::RefCell;
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Tensor};

fn random(c: &mut Criterion) {
    let n = 1 << 22;
    let (d, t) = (&Device::Cpu, DType::F32);
    let mut rng = Philox::new(1);
    let mut group = c.benchmark_group("random 4M");
    group.sample_size(10).throughput(Throughput::Elements(n as u64));
    group.bench_function("uniform", |b| b.iter(|| Tensor::uniform(0.0, 1.0, n, t, d, &mut rng)));
    group.bench_function("normal", |b| b.iter(|| Tensor::normal(0.0, 1.0, n, t, d, &mut rng)));
    group.bench_function("gamma", |b| b.iter(|| Tensor::gamma(2.0, 1.0, n, t, d, &mut rng)));
    group.bench_function("bernoulli", |b| b.iter(|| Tensor::bernoulli(0.3, n, t, d, &mut rng)));
    let x = Tensor::ones(n, t, d).expect("memory for four million ones");
    group.bench_function("dropout", |b| b.iter(|| x.dropout(0.1, &mut rng)));
    group.finish();
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let n = if gpu.is_virtual() { 1 << 18 } else { 1 << 26 };
    let (d, rng) = (gpu.device.clone(), RefCell::new(Philox::new(1)));
    for dtype in [DType::F32, DType::BF16] {
        let once = || Floor::bytes(n * dtype.size());
        let twice = || Floor::bytes(2 * n * dtype.size());
        let name = |what: &str| format!("{what} {dtype}");
        let rng = || rng.borrow_mut();
        gpu.passes(&name("uniform"), &[], |_| Tensor::uniform(0.0, 1.0, n, dtype, &d, &mut rng()), once(), None);
        gpu.passes(&name("normal"), &[], |_| Tensor::normal(0.0, 1.0, n, dtype, &d, &mut rng()), once(), None);
        gpu.passes(&name("gamma"), &[], |_| Tensor::gamma(2.0, 1.0, n, dtype, &d, &mut rng()), once(), None);
        gpu.passes(&name("bernoulli"), &[], |_| Tensor::bernoulli(0.3, n, dtype, &d, &mut rng()), once(), None);
        let x = ramp(&d, dtype, &[n]);
        gpu.passes(&name("dropout"), &[&x], |x| x[0].dropout(0.1, &mut rng()), twice(), Some(twice()));
    }
}

criterion_group!(benches, device, random);
criterion_main!(benches);
