//! Batch norm against its definition, on both sides of the switch at runs of 16 elements.

#[cfg(test)]
mod support;

use crate::support::check::{round, tensor_on};
use crate::support::devices::devices;
use crate::support::large::{Large, compare};
use crate::support::{Array, OpCheck, Random};
use approx::assert_abs_diff_eq;
use std::collections::BTreeSet;
use warpsmith::kernels::batchnorm::BatchNormDesc;
use warpsmith::kernels::batchnorm::plan::BatchNormPlan;
use warpsmith::{DType, Device, Tensor, no_grad};

const EPS: f64 = 1e-5;

/// Samples, channels, positions of (N, C, …).
fn extents(dims: &[usize]) -> [usize; 3] {
    [dims[0], dims[1], dims[2..].iter().product()]
}

/// Mean and biased variance of each channel.
fn statistics(x: &Array) -> Vec<(f64, f64)> {
    let [n, c, l] = extents(&x.dims);
    let values = |ch: usize| (0..n).flat_map(move |s| (0..l).map(move |p| (s * c + ch) * l + p));
    let of = |ch: usize| {
        let mean = values(ch).map(|i| x.data[i]).sum::<f64>() / (n * l) as f64;
        (mean, values(ch).map(|i| (x.data[i] - mean).powi(2)).sum::<f64>() / (n * l) as f64)
    };
    (0..c).map(of).collect()
}

/// The definition, and Σ of the terms' magnitudes.
fn definition(x: &Array, w: &Array, b: &Array, of: &[(f64, f64)]) -> (Array, Array) {
    let [_, c, l] = extents(&x.dims);
    let (mut y, mut magnitude) = (x.clone(), x.clone());
    for i in 0..x.data.len() {
        let ch = i / l % c;
        let (mean, rstd) = (of[ch].0, 1.0 / (of[ch].1 + EPS).sqrt());
        y.data[i] = (x.data[i] - mean) * rstd * w.data[ch] + b.data[ch];
        magnitude.data[i] = (x.data[i].abs() + mean.abs() + 1.0) * rstd * w.data[ch].abs() + b.data[ch].abs();
    }
    (y, magnitude)
}

const SHAPES: [&[usize]; 6] = [&[4, 3], &[3, 2, 4], &[2, 3, 3, 5], &[2, 2, 16], &[1, 2, 17], &[3, 1, 4, 5]];

fn training() {
    for dims in SHAPES {
        OpCheck::new(
            "batch_norm_train",
            |x| Ok(x[0].batch_norm_train(Some(&x[1]), Some(&x[2]), EPS)?.y),
            |x| definition(&x[0], &x[1], &x[2], &statistics(&x[0])).0,
        )
        .magnitude(|x| definition(&x[0], &x[1], &x[2], &statistics(&x[0])).1)
        .input(dims)
        .input(&[dims[1]])
        .input(&[dims[1]])
        .run_wide_and_half();
    }
    let ones = |x: &Array| Array::new(&[x.dims[1]], vec![1.0; x.dims[1]]);
    OpCheck::new(
        "batch_norm_train without parameters",
        |x| Ok(x[0].batch_norm_train(None, None, EPS)?.y),
        move |x| definition(&x[0], &ones(&x[0]), &Array::zeros(&[x[0].dims[1]]), &statistics(&x[0])).0,
    )
    .magnitude(move |x| definition(&x[0], &ones(&x[0]), &Array::zeros(&[x[0].dims[1]]), &statistics(&x[0])).1)
    .input(&[3, 2, 5])
    .run_wide_and_half();
}

fn inference() {
    for dims in SHAPES {
        let c = dims[1];
        let running = move |device: &Device| {
            let mean: Vec<f64> = (0..c).map(|i| 0.25 * i as f64 - 0.5).collect();
            let var: Vec<f64> = (0..c).map(|i| 0.5 + i as f64).collect();
            [mean, var].map(|values| tensor_on(&Array::new(&[c], values), DType::F32, device))
        };
        let fixed: Vec<(f64, f64)> = (0..c).map(|i| (0.25 * i as f64 - 0.5, 0.5 + i as f64)).collect();
        let again = fixed.clone();
        OpCheck::new(
            "batch_norm_infer",
            move |x| {
                let [mean, var] = running(x[0].device());
                x[0].batch_norm_infer(&mean?, &var?, Some(&x[1]), Some(&x[2]), EPS)
            },
            move |x| definition(&x[0], &x[1], &x[2], &fixed).0,
        )
        .magnitude(move |x| definition(&x[0], &x[1], &x[2], &again).1)
        .input(dims)
        .input(&[c])
        .input(&[c])
        .run_wide_and_half();
    }
}

/// The gradients written out, with those of the fused residual and relu: dx, dresidual, dweight, dbias.
fn gradients(x: &Array, w: &Array, y: &Array, dy: &Array, relu: bool) -> Vec<Large> {
    let [n, c, l] = extents(&x.dims);
    let (mut dx, mut dresidual) = (Large::zeros(&x.dims), Large::zeros(&x.dims));
    let (mut dw, mut db) = (Large::zeros(&[c]), Large::zeros(&[c]));
    let of = statistics(x);
    let g = |i: usize| if !relu || y.data[i] > 0.0 { dy.data[i] } else { 0.0 };
    let normal = |i: usize| (x.data[i] - of[i / l % c].0) / (of[i / l % c].1 + EPS).sqrt();
    for i in 0..x.data.len() {
        dresidual.add(i, g(i));
        dw.add(i / l % c, g(i) * normal(i));
        db.add(i / l % c, g(i));
    }
    let count = (n * l) as f64;
    for i in 0..x.data.len() {
        let ch = i / l % c;
        let scale = w.data[ch] / (of[ch].1 + EPS).sqrt();
        let (direct, along) = (db.expected.data[ch] / count, dw.expected.data[ch] / count);
        dx.set(i, [scale * g(i), -scale * direct, -scale * normal(i) * along]);
    }
    vec![dx, dresidual, dw, db]
}

fn ragged_sizes_and_fusions_agree_with_plain_loops() {
    let mut random = Random::fresh("batch norm of ragged sizes");
    let devices = devices(random.seed());
    let shapes: [&[usize]; 16] = [
        &[2, 1, 1],
        &[130, 70],      // columns, more samples than a block
        &[5, 1030],      // columns past the block of 1,024
        &[3, 200, 7],    // columns, a channel's run across the block's end
        &[4, 5, 15],     // the last length by columns
        &[4, 5, 16],     // the first by channels
        &[3, 7, 33],     // more than the 32 lanes
        &[2, 3, 37, 31], // more than a block of 1,024
        &[9, 64, 12, 12],
        &[300, 72],      // columns in several parts, in accesses of 16 bytes
        &[70, 8, 15],    // columns of channels in accesses that cross channels
        &[3, 2, 80, 64], // channels in several parts, in accesses of 16 bytes
        &[1, 1, 9001],   // one channel, by single elements
        &[200, 3, 16],   // many short runs
        &[300, 70],      // columns in several parts, by single elements
        &[3, 4, 9, 7],   // channels that one part takes, by single elements
    ];
    let mut plans = BTreeSet::new();
    for dims in shapes {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            if dtype != DType::F64 {
                let [samples, channels, length] = extents(dims);
                let desc = BatchNormDesc { samples, channels, length, eps: EPS, relu: false, fixed: false };
                let plan = BatchNormPlan::new(&desc, 16 / dtype.size());
                plans.insert((plan.columns, plan.accessed, plan.parts > 1));
            }
            for fused in ["", "relu", "add relu"] {
                let mut draw = |dims: &[usize], low: f64, high: f64| {
                    let n = dims.iter().product();
                    Array::new(dims, (0..n).map(|_| round(random.range(low, high), dtype)).collect())
                };
                let (x, dy, r) = (draw(dims, -2.0, 3.0), draw(dims, -1.0, 1.5), draw(dims, -2.0, 2.0));
                let (w, b) = (draw(&[dims[1]], -1.5, 1.5), draw(&[dims[1]], -1.0, 1.0));
                for device in devices.iter().filter(|d| d.is_cpu() || dtype != DType::F64) {
                    let t: Vec<Tensor> = [&x, &r, &w, &b].map(|a| tensor_on(a, dtype, device).unwrap().track()).into();
                    let (weight, bias) = (Some(&t[2]), Some(&t[3]));
                    let out = match fused {
                        "relu" => t[0].batch_norm_relu_train(weight, bias, EPS),
                        "add relu" => t[0].batch_norm_add_relu_train(&t[1], weight, bias, EPS),
                        _ => t[0].batch_norm_train(weight, bias, EPS),
                    }
                    .unwrap();
                    let of = statistics(&x);
                    let (mut y, mut magnitude) = definition(&x, &w, &b, &of);
                    for i in 0..y.data.len() {
                        if fused == "add relu" {
                            y.data[i] += r.data[i];
                            magnitude.data[i] += r.data[i].abs();
                        }
                        if !fused.is_empty() {
                            y.data[i] = y.data[i].max(0.0);
                        }
                    }
                    let unit = dtype.unit_roundoff();
                    // Half types round the result once and the statistics in f32; sums have 32 terms a lane.
                    let slack = if matches!(dtype, DType::F32 | DType::F64) { 40.0 } else { 3.0 };
                    compare("y", &out.y, &Large { expected: y, magnitude }, slack * unit);
                    let column = |f: &dyn Fn(&(f64, f64)) -> f64| Array::new(&[dims[1]], of.iter().map(f).collect());
                    let statistic = if dtype == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 };
                    let (mean, var) = (column(&|s| s.0), column(&|s| s.1));
                    // Magnitudes: |x| ≤ 3, (x − mean)² ≤ 25.
                    let scale = |v: f64| Array::new(&[dims[1]], vec![v; dims[1]]);
                    compare(
                        "mean",
                        &out.mean,
                        &Large { expected: mean, magnitude: scale(3.0) },
                        20.0 * f32::EPSILON as f64,
                    );
                    compare(
                        "var",
                        &out.var,
                        &Large { expected: var, magnitude: scale(25.0) },
                        20.0 * f32::EPSILON as f64,
                    );
                    assert_eq!([out.mean.dtype(), out.var.dtype()], [DType::F32; 2]);
                    // The relu's mask is that of the result as it was computed.
                    let y = Array::new(dims, out.y.to_f64_vec().unwrap());
                    let found = out.y.backward_with(&tensor_on(&dy, dtype, device).unwrap()).unwrap();
                    let expected = gradients(&x, &w, &y, &dy, !fused.is_empty());
                    for (i, (t, large)) in t.iter().zip(expected).enumerate() {
                        if i != 1 || fused == "add relu" {
                            compare("gradient", &found.expect(t).unwrap(), &large, slack * unit + 20.0 * statistic);
                        }
                    }
                }
            }
        }
    }
    // Every switch of the plan: by columns or channels, accesses of one element or of 16 bytes, one part or several.
    for columns in [false, true] {
        for accessed in [1, 4, 8] {
            for several in [false, true] {
                let plan = (columns, accessed, several);
                assert!(plans.contains(&plan), "no shape has (columns, accessed, several parts) {plan:?}: {plans:?}");
            }
        }
    }
}

fn fused_gradients_are_noticed_when_bent() {
    // Values whose results stay away from the kink: signs by position, far from zero through the residual.
    let away = |x: &[Array]| {
        let y = definition(&x[0], &x[2], &x[3], &statistics(&x[0])).0;
        Array::new(&y.dims, y.data.iter().zip(&x[1].data).map(|(y, r)| (y + 9.0 * r).max(0.0)).collect())
    };
    let far = || crate::support::Domain::Avoid { range: (-2.0, 2.0), points: vec![0.0], margin: 1.2 };
    for dims in [&[3usize, 2, 5] as &[usize], &[2, 2, 18]] {
        OpCheck::new(
            "batch_norm_add_relu_train",
            |x| Ok(x[0].batch_norm_add_relu_train(&x[1].affine(9.0, 0.0)?, Some(&x[2]), Some(&x[3]), EPS)?.y),
            away,
        )
        .magnitude(|x| {
            let m = definition(&x[0], &x[2], &x[3], &statistics(&x[0])).1;
            Array::new(&m.dims, m.data.iter().zip(&x[1].data).map(|(m, r)| m + 9.0 * r.abs()).collect())
        })
        .input(dims)
        .input_in(dims, far())
        .input(&[dims[1]])
        .input(&[dims[1]])
        .run_wide_and_half();
    }
}

fn a_large_mean_costs_no_variance() {
    for dims in [[500, 2, 1], [5, 2, 100]] {
        let [_, c, l] = extents(&dims);
        let x: Vec<f32> = (0..1000).map(|i| 4096.0 + if (i / (c * l) + i % l) % 2 == 0 { 1.0 } else { -1.0 }).collect();
        for device in devices(0) {
            let x = Tensor::from_slice(&x, dims, &device).unwrap();
            for var in x.batch_norm_train(None, None, 0.0).unwrap().var.to_vec::<f32>().unwrap() {
                assert_abs_diff_eq!(var, 1.0, epsilon = 1e-6);
            }
        }
    }
}

#[test]
fn bad_input_is_refused_with_the_shapes() {
    let x = Tensor::zeros([2, 3, 4], DType::F32, &Device::Cpu).unwrap();
    let two = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    let three = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let error = x.batch_norm_train(Some(&two), None, EPS).unwrap_err().to_string();
    assert!(error.contains("batch_norm_train") && error.contains("[3]") && error.contains("[2]"), "{error}");
    let flat = Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap();
    assert!(flat.batch_norm_train(None, None, EPS).unwrap_err().to_string().contains("(N, C)"));
    let empty = Tensor::zeros([0, 3, 4], DType::F32, &Device::Cpu).unwrap();
    assert!(empty.batch_norm_train(None, None, EPS).unwrap_err().to_string().contains("statistics"));
    assert_eq!(empty.batch_norm_infer(&three, &three, None, None, EPS).unwrap().dims(), [0, 3, 4]);
    assert!(x.batch_norm_add_relu_train(&empty, None, None, EPS).unwrap_err().to_string().contains("residual"));
    let tracked = three.track();
    let error = x.batch_norm_infer(&tracked, &three, None, None, EPS).unwrap_err().to_string();
    assert!(error.contains("running statistics"), "{error}");
    assert!(no_grad(|| x.batch_norm_infer(&tracked, &three, None, None, EPS)).is_ok());
}

crate::support::device_checks!(
    training,
    inference,
    ragged_sizes_and_fusions_agree_with_plain_loops,
    fused_gradients_are_noticed_when_bent,
    a_large_mean_costs_no_variance,
);
