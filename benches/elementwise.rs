//! Elementwise maps: large tensors (memory bandwidth), small ones (what a call costs), and broadcast biases.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use warpsmith::{DType, Device, Result, Tensor};

fn values(dims: &[usize], dtype: DType) -> Tensor {
    let n: usize = dims.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i * 7919 % 1000) as f32 / 250.0 - 2.0).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).and_then(|t| t.to_dtype(dtype)).expect("values of the shape")
}

type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;
type Unary = fn(&Tensor) -> Result<Tensor>;

fn elementwise(c: &mut Criterion) {
    for n in [1usize << 6, 1 << 14, 1 << 24] {
        let mut group = c.benchmark_group(format!("elementwise {n}"));
        group.sample_size(10);
        for dtype in [DType::F32, DType::BF16] {
            let (a, b) = (values(&[n], dtype), values(&[n], dtype));
            group.throughput(Throughput::Bytes((3 * n * dtype.size()) as u64));
            for (name, f) in [("add", Tensor::add as Binary), ("mul", Tensor::mul)] {
                group.bench_function(BenchmarkId::new(name, dtype), |bench| bench.iter(|| f(&a, &b)));
            }
            group.throughput(Throughput::Bytes((2 * n * dtype.size()) as u64));
            for (name, f) in [
                ("relu", Tensor::relu as Unary),
                ("exp", Tensor::exp),
                ("tanh", Tensor::tanh),
                ("sigmoid", Tensor::sigmoid),
                ("gelu", Tensor::gelu),
                ("gelu_tanh", Tensor::gelu_tanh),
                ("silu", Tensor::silu),
                ("sin", Tensor::sin),
            ] {
                group.bench_function(BenchmarkId::new(name, dtype), |bench| bench.iter(|| f(&a)));
            }
            let x = a.track();
            group.bench_function(BenchmarkId::new("relu, forward and backward", dtype), |bench| {
                bench.iter(|| x.relu()?.backward_with(&b));
            });
        }
        group.finish();
    }
}

fn biases(c: &mut Criterion) {
    let mut group = c.benchmark_group("elementwise bias");
    group.sample_size(10);
    for (dims, bias) in [
        (vec![32, 64, 56, 56], vec![64, 1, 1]),
        (vec![128, 512, 7, 7], vec![512, 1, 1]),
        (vec![8192, 768], vec![768]),
        (vec![100_000, 10], vec![10]),
    ] {
        let (x, b) = (values(&dims, DType::F32), values(&bias, DType::F32));
        group.throughput(Throughput::Bytes(8 * x.numel() as u64));
        group.bench_function(format!("{dims:?} + {bias:?}"), |bench| bench.iter(|| x.add(&b)));
    }
    group.finish();
}

criterion_group!(benches, elementwise, biases);
criterion_main!(benches);
