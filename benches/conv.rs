//! Convolutions of ResNet-20 and ResNet-18, each direction by itself.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use warpsmith::autograd::Backward;
use warpsmith::ops::Conv2dParams;
use warpsmith::{Device, Tensor};

fn values(dims: &[usize]) -> Tensor {
    let numel: usize = dims.iter().product();
    let values: Vec<f32> = (0..numel).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape")
}

fn conv(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv2d f32 (elements are operations)");
    group.sample_size(10);
    // batch, channels in and out, side, kernel, stride
    for (n, i, o, side, kernel, stride) in [
        (32, 64, 64, 32, 3, 1),
        (32, 16, 16, 32, 3, 1),
        (32, 32, 32, 16, 3, 1),
        (32, 64, 64, 8, 3, 1),
        (32, 16, 32, 32, 3, 2),
        (8, 3, 64, 64, 7, 2),
        (8, 256, 256, 4, 3, 1),
        (8, 512, 512, 2, 3, 1),
    ] {
        let (x, w) = (values(&[n, i, side, side]), values(&[o, i, kernel, kernel]));
        let params = Conv2dParams { stride: [stride; 2], padding: [kernel / 2; 2], ..Default::default() };
        let name = format!("{n}x{i}x{side}x{side} to {o}, {kernel}x{kernel}/{stride}");
        let y = x.conv2d(&w, None, params).expect("a convolution");
        group.throughput(Throughput::Elements((2 * y.numel() * i * kernel * kernel) as u64));
        group.bench_function(BenchmarkId::new("forward", &name), |b| b.iter(|| x.conv2d(&w, None, params)));
        let backward = |b: &mut criterion::Bencher<'_>, x: &Tensor, w: &Tensor| {
            let recorded = x.conv2d(w, None, params).expect("a convolution");
            b.iter(|| Backward::new().retain_graph().run_with(&recorded, y.detach()));
        };
        group.bench_function(BenchmarkId::new("input", &name), |b| backward(b, &x.track(), &w));
        group.bench_function(BenchmarkId::new("weight", &name), |b| backward(b, &x, &w.track()));
    }
    group.finish();
}

criterion_group!(benches, conv);
criterion_main!(benches);
