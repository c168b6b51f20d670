//! Reductions in the shapes that training needs: bias gradients, channel statistics, row sums, full sums, arg-max.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = sums, others
}
criterion_main!(benches);
