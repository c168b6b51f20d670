//! Elementwise maps: large tensors (memory bandwidth), small ones (what a call costs), and broadcast biases.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! one read of each operand and one write of the result.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gpu::{Floor, Gpu, ramp};
use warpsmith::{DType, Device, Reduction, Result, Tensor};

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

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let (rows, columns) = if gpu.is_virtual() { (512, 1000) } else { (16_384, 4096) };
    let n = rows * columns;
    for dtype in [DType::F32, DType::BF16] {
        let (x, y) = (ramp(&gpu.device, dtype, &[rows, columns]), ramp(&gpu.device, dtype, &[rows, columns]));
        let row = ramp(&gpu.device, dtype, &[columns]);
        let b = dtype.size();
        let floor = |passes: usize| Floor::bytes(passes * n * b);
        let name = |what: &str| format!("{what} {dtype}");
        gpu.passes(&name("add"), &[&x, &y], |x| x[0].add(&x[1]), floor(3), None);
        gpu.passes(&name("mul"), &[&x, &y], |x| x[0].mul(&x[1]), floor(3), Some(floor(5)));
        gpu.passes(&name("gelu"), &[&x], |x| x[0].gelu(), floor(2), Some(floor(3)));
        gpu.passes(&name("relu"), &[&x], |x| x[0].relu(), floor(2), Some(floor(3)));
        // The bias' gradient is a sum over the rows: one more read.
        gpu.passes(&name("add of a row"), &[&x, &row], |x| x[0].add(&x[1]), floor(2), Some(floor(1)));
        gpu.passes(&name("transposed copy"), &[&x], |x| x[0].transpose(0, 1)?.contiguous(), floor(2), None);
        gpu.passes(&name("comparison"), &[&x, &y], |x| x[0].gt(&x[1]), Floor::bytes(n * (2 * b + 1)), None);
        gpu.passes(&name("mean squared error"), &[&x, &y], |x| x[0].mse_loss(&x[1], Reduction::Mean), floor(2), None);
        let other = if dtype == DType::F32 { DType::BF16 } else { DType::F32 };
        let cast = Floor::bytes(n * (b + other.size()));
        gpu.passes(&format!("cast {dtype} to {other}"), &[&x], move |x| x[0].to_dtype(other), cast, None);
    }
}

criterion_group!(benches, device, elementwise, biases);
criterion_main!(benches);
