//! Matrix products: squares, the layers of a small transformer and a batch of attention's.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes: each product against its roofline.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gpu::{Floor, Gpu, Peak};
use warpsmith::device::{Buffer, View};
use warpsmith::kernels::gemm::{self as kernel, Epilogue, GemmDesc, Precision};
use warpsmith::{DType, Device, Layout, Result, Shape, Tensor};

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

/// One product of every kind, transposed as in the passes of a linear layer.
fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let sizes: &[[usize; 3]] = if gpu.is_virtual() {
        &[[256, 256, 256], [128, 128, 1024], [17, 200, 512]]
    } else {
        &[
            [4096, 4096, 4096],
            [8192, 8192, 8192],
            [1024, 1024, 1024],
            [2048, 512, 2048],
            [64, 64, 16_384],
            [16, 4096, 4096],
        ]
    };
    let kinds = [
        ("f32", DType::F32, Precision::Ieee),
        ("tf32", DType::F32, Precision::Tf32),
        ("f16", DType::F16, Precision::Ieee),
        ("bf16", DType::BF16, Precision::Ieee),
    ];
    for &size in sizes {
        for (name, dtype, precision) in kinds {
            for (layout, transposed) in [("NN", [false, false]), ("NT", [false, true]), ("TN", [true, false])] {
                let name = format!("matmul {name} {layout} {}x{}x{}", size[0], size[1], size[2]);
                let result = product(&gpu, &name, size, (dtype, precision), transposed);
                result.unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}

fn product(
    gpu: &Gpu,
    name: &str,
    [m, n, k]: [usize; 3],
    (dtype, precision): (DType, Precision),
    transposed: [bool; 2],
) -> Result<()> {
    let (a, b) = (Buffer::zeros(&gpu.device, dtype, m * k)?, Buffer::zeros(&gpu.device, dtype, k * n)?);
    let mut out = Buffer::uninit(&gpu.device, dtype, m * n)?;
    let layout = |rows: usize, columns: usize, transposed: bool| {
        let stored = Shape::new(&if transposed { [columns, rows] } else { [rows, columns] })?;
        let stored = Layout::contiguous(stored);
        Ok::<_, warpsmith::Error>(if transposed { stored.transpose(0, 1) } else { stored })
    };
    let (a, b) = (View::new(&a, layout(m, k, transposed[0])?)?, View::new(&b, layout(k, n, transposed[1])?)?);
    let desc = GemmDesc { precision, ..GemmDesc::of(&a, &b)? };
    let bytes = ((m * k + k * n + m * n) * dtype.size()) as f64;
    let peak = Peak::of(dtype, precision == Precision::Tf32);
    let floor = Floor { peak, operations: 2.0 * (m * n * k) as f64, bytes };
    gpu.report(name, &floor, &mut || kernel::gemm(&desc, a, b, Epilogue::default(), None, &mut out))
}

criterion_group!(benches, device, gemm);
criterion_main!(benches);
