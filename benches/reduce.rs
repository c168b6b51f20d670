//! Reductions in the shapes that training needs: bias gradients, channel statistics, row sums, full sums, arg-max.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! one read of the input, and of a running sum one write; a sort reads and writes values and positions once.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gpu::{Floor, Gpu};
use std::hint::black_box;
use warpsmith::{DType, Device, Tensor};

fn ramp(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>() as f64;
    Tensor::linspace(-1.0, 1.0, n as usize, DType::F32, &Device::Cpu).and_then(|x| x.reshape(shape)).expect("a tensor")
}

fn sums(c: &mut Criterion) {
    let cases: [(&str, &[usize], &[isize]); 6] = [
        ("all 1M", &[1 << 20], &[0]),
        ("linear bias (4096, 768) -> 768", &[4096, 768], &[0]),
        ("classifier bias (128, 10) -> 10", &[128, 10], &[0]),
        ("convolution bias (128, 16, 28, 28) -> 16", &[128, 16, 28, 28], &[0, 2, 3]),
        ("rows (4096, 768) -> 4096", &[4096, 768], &[1]),
        ("pooling (128, 64, 7, 7) -> (128, 64)", &[128, 64, 7, 7], &[2, 3]),
    ];
    let mut group = c.benchmark_group("sum");
    for (name, shape, axes) in cases {
        let x = ramp(shape);
        group.throughput(Throughput::Bytes(4 * x.numel() as u64));
        group.bench_function(name, |b| b.iter(|| black_box(&x).sum(axes)));
    }
}

fn others(c: &mut Criterion) {
    let mut group = c.benchmark_group("reduce");
    let x = ramp(&[512, 1000]);
    group.throughput(Throughput::Bytes(4 * x.numel() as u64));
    group.bench_function("argmax (512, 1000)", |b| b.iter(|| black_box(&x).argmax(-1)));
    group.bench_function("argmax of columns (512, 1000)", |b| b.iter(|| black_box(&x).argmax(0)));
    group.bench_function("var (512, 1000)", |b| b.iter(|| black_box(&x).var(&[1], 1.0)));
    group.bench_function("logsumexp (512, 1000)", |b| b.iter(|| black_box(&x).logsumexp(&[1])));
    group.bench_function("cumsum (512, 1000)", |b| b.iter(|| black_box(&x).cumsum(1)));
    group.bench_function("sort (512, 1000)", |b| b.iter(|| black_box(&x).sort(1, true)));
    group.bench_function("topk 50 (512, 1000)", |b| b.iter(|| black_box(&x).topk(50, 1, true)));
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let (rows, columns) = if gpu.is_virtual() { (512, 1000) } else { (16_384, 4096) };
    let n = rows * columns;
    for dtype in [DType::F32, DType::BF16] {
        let x = gpu::ramp(&gpu.device, dtype, &[rows, columns]);
        let image = gpu::ramp(&gpu.device, dtype, &[8, 16, rows / 8, columns / 16]);
        let (b, read) = (dtype.size(), Floor::bytes(n * dtype.size()));
        let read = || Floor { ..read };
        let name = |what: &str| format!("{what} {dtype}");
        gpu.passes(&name("sum of all"), &[&x], |x| x[0].sum(&[0, 1]), read(), None);
        gpu.passes(&name("sums of rows"), &[&x], |x| x[0].sum(&[1]), read(), None);
        gpu.passes(&name("sums of columns"), &[&x], |x| x[0].sum(&[0]), read(), None);
        gpu.passes(&name("sums of channels"), &[&image], |x| x[0].sum(&[0, 2, 3]), read(), None);
        gpu.passes(&name("log of the sum of exponentials"), &[&x], |x| x[0].logsumexp(&[1]), read(), None);
        gpu.passes(&name("variances of rows"), &[&x], |x| x[0].var(&[1], 1.0), read(), None);
        gpu.passes(&name("argmax of rows"), &[&x], |x| x[0].argmax(1), read(), None);
        gpu.passes(&name("running sums of rows"), &[&x], |x| x[0].cumsum(1), Floor::bytes(2 * n * b), None);
        gpu.passes(&name("running sums of columns"), &[&x], |x| x[0].cumsum(0), Floor::bytes(2 * n * b), None);
    }
}

/// Sorts have a program of their own in `kernels/`, but too few shapes for a bench of their own.
fn sorts(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let (rows, columns) = if gpu.is_virtual() { (64, 1000) } else { (16_384, 4096) };
    for dtype in [DType::F32, DType::BF16] {
        let x = gpu::ramp(&gpu.device, dtype, &[rows, columns]);
        let (n, b) = (rows * columns, dtype.size());
        let name = |what: &str| format!("{what} {dtype}");
        gpu.passes(
            &name("sort of rows"),
            &[&x],
            |x| x[0].sort(1, true).map(|s| s.0),
            Floor::bytes(n * (2 * b + 8)),
            None,
        );
        let few = Floor::bytes(n * b + rows * 50 * (b + 8));
        gpu.passes(&name("the 50 largest of rows"), &[&x], |x| x[0].topk(50, 1, true).map(|s| s.0), few, None);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = device, sorts, sums, others
}
criterion_main!(benches);
