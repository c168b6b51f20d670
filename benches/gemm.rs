//! Matrix products: squares, the layers of a small transformer and a batch of attention's.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use warpsmith::{Device, Tensor};

fn values(dims: &[usize]) -> Tensor {
    let numel: usize = dims.iter().product();
    let values: Vec<f32> = (0..numel).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape")
}

fn gemm(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul f32 (elements are operations)");
    group.sample_size(10);
    for n in [512, 1024, 2048] {
        let (a, b) = (values(&[n, n]), values(&[n, n]));
        group.throughput(Throughput::Elements(2 * (n as u64).pow(3)));
        group.bench_function(BenchmarkId::from_parameter(n), |bench| bench.iter(|| a.matmul(&b)));
    }
    let (a, b) = (values(&[64, 128, 32]), values(&[64, 32, 128]));
    group.throughput(Throughput::Elements(2 * 64 * 128 * 128 * 32));
    group.bench_function("64 of 128x128x32", |bench| bench.iter(|| a.matmul(&b)));
    group.finish();

    let mut group = c.benchmark_group("linear f32 (elements are operations)");
    group.sample_size(10);
    for (rows, inputs, outputs) in [(128, 784, 512), (2048, 128, 384), (2048, 512, 128)] {
        let (x, w, b) = (values(&[rows, inputs]), values(&[outputs, inputs]), values(&[outputs]));
        group.throughput(Throughput::Elements(2 * (rows * inputs * outputs) as u64));
        let name = format!("{rows}x{inputs} to {outputs}");
        group.bench_function(BenchmarkId::new("plain", &name), |bench| bench.iter(|| x.linear(&w, Some(&b))));
        group.bench_function(BenchmarkId::new("gelu", &name), |bench| bench.iter(|| x.linear_gelu(&w, Some(&b))));
    }
    group.finish();
}

criterion_group!(benches, gemm);
criterion_main!(benches);
