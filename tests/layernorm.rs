//! Layer, RMS and group norm against their definitions.

#[cfg(test)]
mod support;

use crate::support::check::{round, tensor_on};
use crate::support::devices::{CUDA_FLOATS, devices};
use crate::support::large::{Large, compare};
use crate::support::{Array, Domain, OpCheck, Random};
use approx::assert_abs_diff_eq;
use std::collections::BTreeSet;
use warpsmith::kernels::layernorm::plan::{ChannelPlan, RowPlan};
use warpsmith::{DType, Device, Tensor};

const EPS: f64 = 1e-5;

/// The definition: rows of `width`, parameters by `column(flat index)`; also Σ of the terms' magnitudes.
fn definition(x: &Array, w: Option<&Array>, b: Option<&Array>, width: usize, centered: bool, of: Of) -> (Array, Array) {
    let (mut y, mut magnitude) = (x.clone(), x.clone());
    for from in (0..x.data.len()).step_by(width.max(1)) {
        let row = &x.data[from..from + width];
        let mean = if centered { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
        let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
        let largest = row.iter().fold(0f64, |m, v| m.max(v.abs()));
        for i in from..from + width {
            let (w, b) = (w.map_or(1.0, |w| w.data[of.index(i)]), b.map_or(0.0, |b| b.data[of.index(i)]));
            y.data[i] = (x.data[i] - mean) / (var + EPS).sqrt() * w + b;
            magnitude.data[i] = (x.data[i].abs() + largest) / (var + EPS).sqrt() * w.abs() + b.abs();
        }
    }
    (y, magnitude)
}

/// Which parameter belongs to an element.
#[derive(Clone, Copy)]
enum Of {
    Columns(usize),
    Channels(usize, usize),
}

impl Of {
    fn index(self, i: usize) -> usize {
        match self {
            Of::Columns(width) => i % width,
            Of::Channels(channels, length) => i / length % channels,
        }
    }
}

fn layer_norm() {
    for (dims, normalized) in [(vec![3, 7], 1), (vec![2, 3, 4], 2), (vec![5], 1), (vec![4, 1, 6], 1), (vec![1, 33], 1)]
    {
        let inner = dims[dims.len() - normalized..].to_vec();
        let width: usize = inner.iter().product();
        let of = Of::Columns(width);
        OpCheck::new(
            "layer_norm",
            move |x| x[0].layer_norm(normalized, Some(&x[1]), Some(&x[2]), EPS),
            move |x| definition(&x[0], Some(&x[1]), Some(&x[2]), width, true, of).0,
        )
        .magnitude(move |x| definition(&x[0], Some(&x[1]), Some(&x[2]), width, true, of).1)
        .input(&dims)
        .input(&inner)
        .input(&inner)
        .run_wide_and_half();
    }
    let of = Of::Columns(9);
    OpCheck::new(
        "layer_norm without parameters",
        |x| x[0].layer_norm(1, None, None, EPS),
        move |x| definition(&x[0], None, None, 9, true, of).0,
    )
    .magnitude(move |x| definition(&x[0], None, None, 9, true, of).1)
    .input(&[4, 9])
    .run_wide_and_half();
    OpCheck::new(
        "layer_norm with a bias alone",
        |x| x[0].layer_norm(1, None, Some(&x[1]), EPS),
        move |x| definition(&x[0], None, Some(&x[1]), 9, true, of).0,
    )
    .magnitude(move |x| definition(&x[0], None, Some(&x[1]), 9, true, of).1)
    .input(&[4, 9])
    .input(&[9])
    .run_wide_and_half();
}

fn rms_norm() {
    for dims in [vec![3, 7], vec![2, 2, 5], vec![6]] {
        let width = *dims.last().unwrap();
        let of = Of::Columns(width);
        OpCheck::new(
            "rms_norm",
            |x| x[0].rms_norm(Some(&x[1]), EPS),
            move |x| definition(&x[0], Some(&x[1]), None, width, false, of).0,
        )
        .magnitude(move |x| definition(&x[0], Some(&x[1]), None, width, false, of).1)
        .input(&dims)
        .input(&[width])
        .run_wide_and_half();
    }
}

fn group_norm() {
    for (dims, groups) in [(vec![2, 4, 3], 2), (vec![3, 6, 2, 2], 3), (vec![2, 3, 5], 1), (vec![2, 8], 2)] {
        let (channels, length) = (dims[1], dims[2..].iter().product::<usize>());
        let (width, of) = (channels / groups * length, Of::Channels(channels, length));
        OpCheck::new(
            "group_norm",
            move |x| x[0].group_norm(groups, Some(&x[1]), Some(&x[2]), EPS),
            move |x| definition(&x[0], Some(&x[1]), Some(&x[2]), width, true, of).0,
        )
        .magnitude(move |x| definition(&x[0], Some(&x[1]), Some(&x[2]), width, true, of).1)
        .input(&dims)
        .input(&[channels])
        .input(&[channels])
        .run_wide_and_half();
    }
}

fn add_layer_norm_gives_both_results_their_gradients() {
    // The sum is rounded to the dtype before it is normalised, which the derivative of the norm magnifies.
    let of = Of::Columns(7);
    let sum = |x: &[Array]| Array::new(&x[0].dims, x[0].data.iter().zip(&x[1].data).map(|(a, b)| a + b).collect());
    OpCheck::new(
        "add_layer_norm",
        |x| {
            let (sum, y) = x[0].add_layer_norm(&x[1], 1, Some(&x[2]), Some(&x[3]), EPS)?;
            sum.add(&y)
        },
        move |x| {
            let sum = sum(x);
            let y = definition(&sum, Some(&x[2]), Some(&x[3]), 7, true, of).0;
            Array::new(&sum.dims, sum.data.iter().zip(&y.data).map(|(a, b)| a + b).collect())
        },
    )
    .magnitude(move |x| {
        let sum = sum(x);
        let m = definition(&sum, Some(&x[2]), Some(&x[3]), 7, true, of).1;
        Array::new(&sum.dims, sum.data.iter().zip(&m.data).map(|(a, b)| a.abs() + b).collect())
    })
    .input_in(&[3, 7], Domain::Range(-2.0, 2.0))
    .input(&[3, 7])
    .input(&[7])
    .input(&[7])
    .ulps(6.0, 12.0)
    .run();
}

/// Rows of the definition's gradient, written out: dx = rstd (g − mean g − x̂ mean(g x̂)), with g = dy w.
fn gradients(x: &Array, w: &Array, dy: &Array, width: usize, of: Of) -> Vec<Large> {
    let mut dx = Large::zeros(&x.dims);
    let (mut dw, mut db) = (Large::zeros(&w.dims), Large::zeros(&w.dims));
    for from in (0..x.data.len()).step_by(width) {
        let row = &x.data[from..from + width];
        let mean = row.iter().sum::<f64>() / width as f64;
        let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
        let rstd = 1.0 / (var + EPS).sqrt();
        let normal = |i: usize| (x.data[i] - mean) * rstd;
        let g = |i: usize| dy.data[i] * w.data[of.index(i)];
        let range = from..from + width;
        let direct = range.clone().map(g).sum::<f64>() / width as f64;
        let along = range.clone().map(|i| g(i) * normal(i)).sum::<f64>() / width as f64;
        for i in range {
            let terms = [g(i), -direct, -normal(i) * along];
            dx.set(i, terms.map(|t| t * rstd));
            dw.add(of.index(i), dy.data[i] * normal(i));
            db.add(of.index(i), dy.data[i]);
        }
    }
    vec![dx, dw, db]
}

/// Rows to normalise; of group norm (samples, 6 channels, width) in that many groups. `shift` elements lie before them
/// in their buffer.
#[derive(Clone, Copy)]
struct Ragged {
    rows: usize,
    width: usize,
    groups: Option<usize>,
    shift: usize,
}

impl Ragged {
    fn dims(self) -> Vec<usize> {
        if self.groups.is_none() { vec![self.rows, self.width] } else { vec![self.rows, 6, self.width] }
    }

    /// The elements that are normalised together.
    fn row(self) -> usize {
        self.groups.map_or(self.width, |groups| 6 / groups * self.width)
    }

    fn check(self, device: &Device, dtype: DType, random: &mut Random) {
        let (dims, row) = (self.dims(), self.row());
        let (parameters, of) = match self.groups {
            None => (self.width, Of::Columns(self.width)),
            Some(_) => (6, Of::Channels(6, self.width)),
        };
        let mut draw = |dims: &[usize]| Array::from_fn(dims, |_| round(random.range(-2.0, 3.0), dtype));
        let (x, dy, w, b) = (draw(&dims), draw(&dims), draw(&[parameters]), draw(&[parameters]));
        let put = |array: &Array| -> Tensor {
            let n = array.data.len();
            let mut data = vec![7.0; self.shift];
            data.extend(&array.data);
            let whole = tensor_on(&Array::new(&[n + self.shift], data), dtype, device).unwrap();
            whole.narrow(0, self.shift, n).unwrap().reshape(&array.dims[..]).unwrap()
        };
        let tracked: Vec<Tensor> = [&x, &w, &b].map(|a| put(a).track()).into();
        let (weight, bias) = (Some(&tracked[1]), Some(&tracked[2]));
        let y = match self.groups {
            None => tracked[0].layer_norm(1, weight, bias, EPS),
            Some(g) => tracked[0].group_norm(g, weight, bias, EPS),
        }
        .unwrap();
        let (expected, magnitude) = definition(&x, Some(&w), Some(&b), row, true, of);
        let unit = dtype.unit_roundoff();
        // Only f32 sees the rounding of the statistics: sums of 32 terms a lane.
        let slack = if dtype == DType::F32 { 24.0 } else { 3.0 };
        compare("y", &y, &Large { expected, magnitude }, slack * unit);
        let found = y.backward_with(&put(&dy)).unwrap();
        for (t, large) in tracked.iter().zip(gradients(&x, &w, &dy, row, of)) {
            // Sums of up to 128 rows in f32, with the statistics' own rounding in every term.
            compare("gradient", &found.expect(t).unwrap(), &large, slack * unit + 160.0 * 2f64.powi(-24));
        }
    }
}

/// Every dtype for rows that are quickly done or that no block holds, else one of them.
fn dtypes(turn: usize, row: usize) -> Vec<DType> {
    if row <= 600 || row > 16_384 { CUDA_FLOATS.to_vec() } else { vec![CUDA_FLOATS[turn % 3]] }
}

fn ragged_sizes_agree_with_plain_loops() {
    let mut random = Random::fresh("norms of ragged sizes");
    let devices = devices(random.seed());
    // Widths around the block of 1,024, the 32 lanes, and more rows than are summed before a flush (128).
    for (rows, width) in [(1, 1), (3, 31), (300, 33), (129, 64), (7, 1023), (5, 1025), (2, 5003), (700, 97)] {
        for (dtype, groups) in [(DType::F32, None), (DType::F16, None), (DType::BF16, None), (DType::F32, Some(2))] {
            for device in &devices {
                Ragged { rows, width, groups, shift: 0 }.check(device, dtype, &mut random);
            }
        }
    }
}

fn every_plan_of_the_cuda_kernels_agrees_with_plain_loops() {
    let mut random = Random::fresh("norms by every plan");
    let devices = devices(random.seed());
    let (mut forward, mut backward, mut channels) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // Both sides of each switch of the row plans; odd widths and shifted rows have single accesses.
    let widths = [256, 257, 264, 512, 520, 1024, 1032, 4096, 4097, 6144, 6152, 16_384, 16_385, 16_392];
    for (index, width) in widths.into_iter().enumerate() {
        for shift in [0, 1] {
            let ragged = Ragged { rows: 3 + 14 * (index % 2), width, groups: None, shift };
            let vector = width % 8 == 0 && shift == 0;
            forward.insert(format!("{:?} {vector}", RowPlan::forward(ragged.rows, width, vector).rows));
            backward.insert(format!("{:?} {vector}", RowPlan::backward(ragged.rows, width, vector).rows));
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                for dtype in dtypes(index + shift, ragged.row()) {
                    ragged.check(device, dtype, &mut random);
                }
            }
        }
    }
    // Channels of one element, a few, many for a warp, and so many that a block takes each; rows in several parts.
    for (index, length) in [1, 2, 3, 8, 24, 40, 130, 520, 2048, 16_384].into_iter().enumerate() {
        for shift in [0, 1] {
            let ragged = Ragged { rows: 2, width: length, groups: Some([1, 2, 3, 6][index % 4]), shift };
            let accessed = if length % 8 == 0 && shift == 0 { 8 } else { 1 };
            let plan = ChannelPlan::new(ragged.row(), length, accessed);
            channels.insert(format!("{} {}", plan.lanes, plan.vector));
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                for dtype in dtypes(index + shift, ragged.row()) {
                    ragged.check(device, dtype, &mut random);
                }
            }
        }
    }
    let rows = [
        "Block16 false",
        "Block16 true",
        "Rereading false",
        "Rereading true",
        "Warp32 true",
        "Warp8 false",
        "Warp8 true",
    ];
    assert_eq!(forward.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    let rows = [
        "Block16 true",
        "Block8 false",
        "Rereading false",
        "Rereading true",
        "Warp16 true",
        "Warp8 false",
        "Warp8 true",
    ];
    assert_eq!(backward.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    let plans = ["1 false", "1 true", "2 true", "8 false", "16 false", "32 false", "32 true", "256 false", "256 true"];
    for plan in plans {
        assert!(channels.contains(plan), "{plan} is not among {channels:?}");
    }
}

fn a_large_mean_costs_no_variance() {
    // E[x²] − E[x]² would lose everything here: mean 4096, deviation 1, in f32.
    let x: Vec<f32> = (0..2000).map(|i| 4096.0 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    for device in devices(0) {
        let x = Tensor::from_slice(&x, [2, 1000], &device).unwrap();
        for y in [x.layer_norm(1, None, None, 0.0).unwrap(), x.group_norm(1, None, None, 0.0).unwrap()] {
            for (i, v) in y.to_vec::<f32>().unwrap().into_iter().enumerate() {
                assert_abs_diff_eq!(v, if i % 2 == 0 { 1.0 } else { -1.0 }, epsilon = 1e-6);
            }
        }
    }
}

fn parameters_in_f32_serve_half_inputs() {
    for device in devices(0) {
        let values = Array::new(&[2, 2], vec![1.0, 3.0, -2.0, 2.0]);
        let half = tensor_on(&values, DType::BF16, &device).unwrap().track();
        let w = Tensor::from_slice(&[1.001f32, 2.003], 2, &device).unwrap().track();
        let y = half.layer_norm(1, Some(&w), None, 0.0).unwrap();
        assert_eq!(y.dtype(), DType::BF16);
        let ones = tensor_on(&Array::new(&[2, 2], vec![1.0; 4]), DType::BF16, &device).unwrap();
        let gradients = y.backward_with(&ones).unwrap();
        assert_eq!(gradients.expect(&w).unwrap().dtype(), DType::F32);
        assert_eq!(gradients.expect(&w).unwrap().to_vec::<f32>().unwrap(), [-2.0, 2.0]);
        let x = tensor_on(&values, DType::F32, &device).unwrap();
        assert!(x.layer_norm(1, Some(&half), None, 0.0).is_err());
    }
}

#[test]
fn empty_inputs_and_wrong_shapes() {
    for device in devices(0) {
        let x = Tensor::from_slice::<f32>(&[], [0, 4], &device).unwrap().track();
        let w = Tensor::from_slice(&[1f32; 4], 4, &device).unwrap().track();
        let y = x.layer_norm(1, Some(&w), None, EPS).unwrap();
        assert_eq!(y.dims(), [0, 4]);
        let gradients = y.backward_with(&Tensor::from_slice::<f32>(&[], [0, 4], &device).unwrap()).unwrap();
        assert_eq!(gradients.expect(&w).unwrap().to_vec::<f32>().unwrap(), [0.0; 4]);
    }
    let x = Tensor::zeros([2, 4], DType::F32, &Device::Cpu).unwrap();
    let three = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let error = x.layer_norm(1, Some(&three), None, EPS).unwrap_err().to_string();
    assert!(error.contains("layer_norm") && error.contains("[4]") && error.contains("[3]"), "{error}");
    assert!(x.layer_norm(0, None, None, EPS).is_err());
    assert!(x.layer_norm(3, None, None, EPS).is_err());
    assert!(x.group_norm(3, None, None, EPS).unwrap_err().to_string().contains("3 groups"));
    assert!(x.group_norm(0, None, None, EPS).is_err());
    let ids = Tensor::zeros([2, 4], DType::I64, &Device::Cpu).unwrap();
    assert!(ids.rms_norm(None, EPS).unwrap_err().to_string().contains("i64"));
}

/// Residuals, and means that are not subtracted, where a warp holds a row, where a block does and where none does.
fn sums_and_root_mean_squares_by_every_plan() {
    let mut random = Random::fresh("sums and root mean squares");
    let devices = devices(random.seed());
    for width in [40, 256, 520, 1032, 16_392, 16_401] {
        for dtype in CUDA_FLOATS {
            let mut draw = |dims: &[usize]| Array::from_fn(dims, |_| round(random.range(-2.0, 3.0), dtype));
            let (x, residual, w, b) = (draw(&[3, width]), draw(&[3, width]), draw(&[width]), draw(&[width]));
            let of = Of::Columns(width);
            let sums =
                Array::new(&x.dims, x.data.iter().zip(&residual.data).map(|(a, b)| round(a + b, dtype)).collect());
            let unit = dtype.unit_roundoff();
            let slack = if dtype == DType::F32 { 24.0 } else { 3.0 };
            let large = |(expected, magnitude): (Array, Array)| Large { expected, magnitude };
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                let put = |a: &Array| tensor_on(a, dtype, device).unwrap();
                let (sum, y) = put(&x).add_layer_norm(&put(&residual), 1, Some(&put(&w)), Some(&put(&b)), EPS).unwrap();
                assert_eq!(sum.to_f64_vec().unwrap(), sums.data, "{width} {dtype}");
                compare("y", &y, &large(definition(&sums, Some(&w), Some(&b), width, true, of)), slack * unit);
                let y = put(&x).rms_norm(Some(&put(&w)), EPS).unwrap();
                compare("rms", &y, &large(definition(&x, Some(&w), None, width, false, of)), slack * unit);
            }
        }
    }
}

crate::support::device_checks!(
    layer_norm,
    rms_norm,
    group_norm,
    add_layer_norm_gives_both_results_their_gradients,
    ragged_sizes_agree_with_plain_loops,
    every_plan_of_the_cuda_kernels_agrees_with_plain_loops,
    a_large_mean_costs_no_variance,
    parameters_in_f32_serve_half_inputs,
    sums_and_root_mean_squares_by_every_plan
);
