//! Convolutions of ResNet-20 and ResNet-18, each direction by itself.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes: each direction against its roofline,
//! and beside them the matrix of windows, the first half of the simple way to convolve.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gpu::{Floor, Gpu, Peak};
use warpsmith::autograd::Backward;
use warpsmith::device::{Buffer, View};
use warpsmith::kernels::conv::{self as kernel, ConvDesc};
use warpsmith::kernels::window::Window;
use warpsmith::ops::Conv2dParams;
use warpsmith::{DType, Layout, Result, Shape};
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

/// Batch, channels in and out, groups, side, kernel, stride.
type Case = (usize, usize, usize, usize, usize, usize, usize);

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let cases: &[Case] = if gpu.is_virtual() {
        &[(2, 16, 32, 1, 16, 3, 1), (2, 16, 32, 1, 16, 3, 2), (2, 32, 64, 1, 8, 1, 1), (2, 32, 32, 32, 16, 3, 1)]
    } else {
        &[
            (256, 64, 64, 1, 32, 3, 1),
            (256, 16, 16, 1, 32, 3, 1),
            (256, 16, 32, 1, 32, 3, 2),
            (64, 3, 64, 1, 224, 7, 2),
            (64, 256, 256, 1, 14, 3, 1),
            (64, 512, 512, 1, 7, 3, 1),
            (64, 256, 64, 1, 56, 1, 1),
            (64, 128, 128, 128, 56, 3, 1),
        ]
    };
    for &case in cases {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for last in [false, true] {
                directions(&gpu, case, dtype, last).unwrap_or_else(|error| panic!("{case:?} {dtype}: {error}"));
            }
        }
    }
}

/// All directions, in the usual order of memory or with channels last.
fn directions(
    gpu: &Gpu,
    (batch, c, o, groups, side, taps, stride): Case,
    dtype: DType,
    channels_last: bool,
) -> Result<()> {
    let window = Window { kernel: taps, stride, padding: taps / 2, dilation: 1 };
    let out = window.outputs(side, false, "conv2d")?;
    let (channels, windows) = ([c, o], [window; 2]);
    let desc = ConvDesc { batch, channels, groups, input: [side; 2], output: [out; 2], windows, channels_last };
    let buffer = |len: usize| Buffer::zeros(&gpu.device, dtype, len);
    let (mut x, mut w, mut y) = (buffer(desc.x_len())?, buffer(desc.weight_len())?, buffer(desc.y_len())?);
    let (x_in, w_in, y_in) = (buffer(desc.x_len())?, buffer(desc.weight_len())?, buffer(desc.y_len())?);
    let view = |buffer, [n, c, h, w]: [usize; 4]| {
        let stored = if channels_last { [n, h, w, c] } else { [n, c, h, w] };
        let layout = Layout::contiguous(Shape::new(&stored)?);
        View::new(buffer, if channels_last { layout.permute(&[0, 3, 1, 2]) } else { layout })
    };
    let operations = (2 * desc.y_len() * desc.terms()) as f64;
    let bytes = ((desc.x_len() + desc.weight_len() + desc.y_len()) * dtype.size()) as f64;
    let peak = Peak::of(dtype, false);
    let floor = Floor { peak, operations, bytes };
    let name = |what: &str| {
        let order = if channels_last { ", channels last" } else { "" };
        format!("{what} {dtype} {batch}x{c}x{side}x{side} to {o}, {taps}x{taps}/{stride}, {groups} groups{order}")
    };
    let x_in = view(&x_in, [batch, c, side, side])?;
    let (w_in, y_in) = (view(&w_in, [o, c / groups, taps, taps])?, view(&y_in, [batch, o, out, out])?);
    gpu.report(&name("conv2d"), &floor, &mut || kernel::forward(&desc, x_in, w_in, None, &mut y))?;
    gpu.report(&name("conv2d's input"), &floor, &mut || kernel::backward_input(&desc, y_in, w_in, None, &mut x))?;
    gpu.report(&name("conv2d's weight"), &floor, &mut || kernel::backward_weight(&desc, x_in, y_in, &mut w))?;
    if channels_last {
        return Ok(());
    }
    let mut cols = buffer(batch * c * taps * taps * out * out)?;
    let bytes = ((desc.x_len() + cols.len()) * dtype.size()) as f64;
    let floor = Floor { peak, operations: 0.0, bytes };
    gpu.report(&name("im2col"), &floor, &mut || kernel::im2col(&desc, x_in, &mut cols))?;
    let cols_in = buffer(cols.len())?;
    gpu.report(&name("col2im"), &floor, &mut || {
        kernel::col2im(&desc, view(&cols_in, [batch, c * taps * taps, out, out])?, &mut x)
    })
}

criterion_group!(benches, device, conv);
criterion_main!(benches);
