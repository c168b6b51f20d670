//! Layer norm, forward and backward.

use criterion::{Criterion, criterion_group, criterion_main};
use warpsmith::{Device, Tensor};

fn ramp(dims: &[usize]) -> Tensor {
    let n = dims.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape")
}

fn layernorm(c: &mut Criterion) {
    let (x, w, b) = (ramp(&[4096, 768]).track(), ramp(&[768]).track(), ramp(&[768]).track());
    let seed = x.ones_like().expect("ones");
    c.bench_function("layernorm (4096, 768) forward and backward", |bench| {
        bench.iter(|| x.layer_norm(1, Some(&w), Some(&b), 1e-5)?.backward_with(&seed));
    });
    c.bench_function("layernorm (4096, 768) forward", |bench| {
        bench.iter(|| x.layer_norm(1, Some(&w), Some(&b), 1e-5));
    });
}

criterion_group!(benches, layernorm);
criterion_main!(benches);
