//! Batch norm in training, forward and backward, alone and fused with a residual and a relu.

use criterion::{Criterion, criterion_group, criterion_main};
use warpsmith::{Device, Tensor};

fn ramp(dims: &[usize]) -> Tensor {
    let n = dims.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape")
}

fn batchnorm(c: &mut Criterion) {
    let dims = [32, 64, 32, 32];
    let (x, r, w, b) = (ramp(&dims).track(), ramp(&dims).track(), ramp(&[64]).track(), ramp(&[64]).track());
    let seed = x.ones_like().expect("ones");
    c.bench_function("batchnorm (32, 64, 32, 32) forward and backward", |bench| {
        bench.iter(|| x.batch_norm_train(Some(&w), Some(&b), 1e-5)?.y.backward_with(&seed));
    });
    c.bench_function("batchnorm add relu (32, 64, 32, 32) forward and backward", |bench| {
        bench.iter(|| x.batch_norm_add_relu_train(&r, Some(&w), Some(&b), 1e-5)?.y.backward_with(&seed));
    });
}

criterion_group!(benches, batchnorm);
criterion_main!(benches);
