//! Random fills and dropout.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, random);
criterion_main!(benches);
