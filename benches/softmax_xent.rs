//! The cross-entropy, forward and backward: logits that survive, and logits that give way to their gradient.

use criterion::{Criterion, criterion_group, criterion_main};
use warpsmith::{CrossEntropyParams, Device, Tensor};

fn softmax_xent(c: &mut Criterion) {
    let (rows, classes) = (2048, 32_000);
    let values: Vec<f32> = (0..rows * classes).map(|i| (i * 7919 % 1000) as f32 / 250.0 - 2.0).collect();
    let x = Tensor::from_slice(&values, [rows, classes], &Device::Cpu).expect("values of the shape").track();
    drop(values);
    let labels: Vec<i64> = (0..rows).map(|r| (r * 31 % classes) as i64).collect();
    let labels = Tensor::from_slice(&labels, rows, &Device::Cpu).expect("labels");
    let params = CrossEntropyParams::default();
    let mut group = c.benchmark_group("cross_entropy (2048, 32000)");
    group.sample_size(10);
    group.bench_function("forward and backward", |b| {
        b.iter(|| x.cross_entropy(&labels, &params)?.backward());
    });
    group.bench_function("forward", |b| b.iter(|| x.cross_entropy(&labels, &params)));
    group.finish();
}

criterion_group!(benches, softmax_xent);
criterion_main!(benches);
