//! Softmax, cross-entropy and negative log-likelihood against their definitions.

#[cfg(test)]
mod support;

use crate::support::check::{round, tensor, tensor_on};
use crate::support::devices::{CUDA_FLOATS, devices};
use crate::support::large::{Large, compare};
use crate::support::{Array, OpCheck, Random};
use approx::assert_abs_diff_eq;
use std::collections::BTreeSet;
use warpsmith::autograd::Backward;
use warpsmith::kernels::softmax_xent::SoftmaxDesc;
use warpsmith::kernels::softmax_xent::plan::{LossPlan, SoftmaxPlan};
use warpsmith::{CrossEntropyParams, DType, Device, Reduction, Result, Tensor, Var};

const WIDE: [DType; 2] = [DType::F64, DType::F32];
const HALF: [DType; 2] = [DType::F16, DType::BF16];

/// The elements of the line along `axis` through an index.
fn line(x: &Array, index: &[usize], axis: usize) -> Vec<f64> {
    let mut at = index.to_vec();
    (0..x.dims[axis])
        .map(|i| {
            at[axis] = i;
            x.at(&at)
        })
        .collect()
}

fn log_sum(values: &[f64]) -> f64 {
    let m = values.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    m + values.iter().map(|v| (v - m).exp()).sum::<f64>().ln()
}

fn log_softmax(x: &Array, axis: usize) -> Array {
    Array::from_fn(&x.dims, |i| x.at(i) - log_sum(&line(x, i, axis)))
}

fn softmax_along_every_axis() {
    for (dims, axis) in [(vec![7], 0), (vec![3, 5], 1), (vec![3, 5], 0), (vec![2, 4, 3], 1), (vec![1, 34], 1)] {
        // x − max rounds to |x − max| ≤ 4 units, exp to 2.2 and the sum to a few. Half dtypes round the result once,
        // and in the backward read the rounded one.
        let check = OpCheck::new(
            "softmax",
            move |x| x[0].softmax(axis as isize),
            move |x| log_softmax(&x[0], axis).map(f64::exp),
        );
        let check = check.input(&dims).dtypes(&WIDE).ulps(14.0, 28.0);
        check.run();
        check.dtypes(&HALF).ulps(2.0, 6.0).run();
        let check =
            OpCheck::new("log_softmax", move |x| x[0].log_softmax(axis as isize), move |x| log_softmax(&x[0], axis));
        // The differences' own magnitude: x − max, and the logarithm.
        let magnitude = move |x: &[Array]| {
            Array::from_fn(&x[0].dims, |i| {
                let values = line(&x[0], i, axis);
                let m = values.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
                (x[0].at(i) - m).abs() + log_sum(&values) - m + 1.0
            })
        };
        let check = check.magnitude(magnitude).input(&dims).dtypes(&WIDE).ulps(8.0, 28.0);
        check.run();
        // exp of a rounded y: |y| ≤ 6 units more.
        check.dtypes(&HALF).ulps(2.0, 10.0).run();
    }
}

fn softmax_of_ragged_sizes() {
    let mut random = Random::fresh("softmax of ragged sizes");
    let devices = devices(random.seed());
    // Widths around 32 lanes and blocks of 1,024; inner extents around the groups of 64 columns.
    for (outer, width, inner) in
        [(3, 31, 1), (2, 33, 1), (2, 1025, 1), (1, 5000, 1), (2, 9, 63), (1, 300, 65), (2, 1, 4)]
    {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let dims = [outer, width, inner];
            let mut draw = |low: f64, high: f64| {
                let n = outer * width * inner;
                Array::new(&dims, (0..n).map(|_| round(random.range(low, high), dtype)).collect())
            };
            let (x, dy) = (draw(-6.0, 6.0), draw(-1.0, 1.0));
            let unit = dtype.unit_roundoff();
            let half = HALF.contains(&dtype);
            for log in [false, true] {
                // Sums have up to 1,024 / 32 terms a lane, differences up to 12 units, each log up to 21.
                let forward = if half { 2.0 } else { 60.0 };
                let (expected, dx) = softmax_reference(&x, &dy, log);
                // exp(y) of a rounded logarithm of up to 21.
                let backward = if half { if log { 24.0 } else { 5.0 } } else { 100.0 };
                for device in devices.iter().filter(|d| d.is_cpu() || dtype != DType::F64) {
                    let t = tensor_on(&x, dtype, device).unwrap().track();
                    let out = if log { t.log_softmax(1) } else { t.softmax(1) }.unwrap();
                    compare("softmax", &out, &expected, forward * unit);
                    let found = out.backward_with(&tensor_on(&dy, dtype, device).unwrap()).unwrap();
                    compare("gradient", &found.expect(&t).unwrap(), &dx, backward * unit);
                }
            }
        }
    }
}

/// The softmax of (outer, width, inner) along the middle axis, or its logarithm, and the gradient for `dy`.
fn softmax_reference(x: &Array, dy: &Array, log: bool) -> (Large, Large) {
    let [outer, width, inner] = x.dims[..] else { panic!() };
    let (mut y, mut dx) = (Large::zeros(&x.dims), Large::zeros(&x.dims));
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at = |c: usize| (o * width + c) * inner + i;
        let lse = log_sum(&(0..width).map(|c| x.data[at(c)]).collect::<Vec<_>>());
        let p = |c: usize| (x.data[at(c)] - lse).exp();
        let summand = |c: usize| dy.data[at(c)] * if log { 1.0 } else { p(c) };
        let sum: f64 = (0..width).map(summand).sum();
        let sum_abs: f64 = (0..width).map(|c| summand(c).abs()).sum();
        for c in 0..width {
            let (p, g, l) = (p(c), dy.data[at(c)], x.data[at(c)] - lse);
            y.expected.data[at(c)] = if log { l } else { p };
            y.magnitude.data[at(c)] = if log { l.abs() + 12.0 } else { p };
            dx.expected.data[at(c)] = if log { g - p * sum } else { p * (g - sum) };
            dx.magnitude.data[at(c)] = if log { g.abs() + p * sum_abs } else { p * (g.abs() + sum_abs) };
        }
    }
    (y, dx)
}

/// A tensor that starts `shift` elements into its buffer.
fn shifted(x: &Array, shift: usize, dtype: DType, device: &Device) -> Tensor {
    let mut data = vec![7.0; shift];
    data.extend(&x.data);
    let whole = tensor_on(&Array::new(&[data.len()], data), dtype, device).unwrap();
    whole.narrow(0, shift, x.data.len()).unwrap().reshape(&x.dims[..]).unwrap()
}

fn every_plan_of_the_softmax_kernels_agrees_with_plain_loops() {
    let mut random = Random::fresh("softmax by every plan");
    let devices = devices(random.seed());
    let (mut forward, mut backward) = (BTreeSet::new(), BTreeSet::new());
    // Both sides of each switch; odd widths and shifted rows have single accesses.
    let widths = [1, 8, 9, 256, 257, 264, 512, 513, 520, 8192, 8193, 8200, 16_384, 16_385, 16_392];
    let shapes = widths.into_iter().map(|width| (3, width, 1)).chain([(2, 40, 3), (1, 7, 33), (70, 3, 1)]);
    let variants = [(0, false), (1, true), (0, true)].into_iter().flat_map(|v| CUDA_FLOATS.map(|dtype| (v, dtype)));
    for (outer, width, inner) in shapes {
        for ((shift, log), dtype) in variants.clone() {
            let unit = dtype.unit_roundoff();
            let desc = SoftmaxDesc { outer, width, inner, log };
            let vector = width % 8 == 0 && shift == 0;
            for (plans, operands) in [(&mut forward, 1), (&mut backward, 2)] {
                let plan = SoftmaxPlan::new(&desc, operands, vector);
                plans.insert(format!("{:?} {} {}", plan.held, plan.vector, plan.lanes > 32));
            }
            let dims = [outer, width, inner];
            let mut draw = |low: f64, high: f64| Array::from_fn(&dims, |_| round(random.range(low, high), dtype));
            // Far from zero at times, where exponentials of the values themselves overflow.
            let far = if log { 200.0 } else { 0.0 };
            let (x, dy) = (draw(far - 6.0, far + 6.0), draw(-1.0, 1.0));
            let (y, dx) = softmax_reference(&x, &dy, log);
            // As above; a thread of a block of 1,024 sums up to 17 terms, and trees of ten levels add up.
            let half = HALF.contains(&dtype);
            let (bound, gradient) = if half { (2.0, if log { 24.0 } else { 5.0 }) } else { (60.0, 100.0) };
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                let t = shifted(&x, shift, dtype, device).track();
                let out = if log { t.log_softmax(1) } else { t.softmax(1) }.unwrap();
                compare("softmax", &out, &y, bound * unit);
                let found = out.backward_with(&shifted(&dy, shift, dtype, device)).unwrap();
                compare("gradient", &found.expect(&t).unwrap(), &dx, gradient * unit);
            }
        }
    }
    let mut all = vec!["Columns false false".to_owned()];
    for held in ["Eight false", "Nowhere false", "Nowhere true", "Sixteen false", "Sixteen true"] {
        for block in [false, true] {
            if !(held == "Eight false" && block || held.starts_with("Nowhere") && !block) {
                all.push(format!("{held} {block}"));
            }
        }
    }
    all.push("Eight true false".to_owned());
    all.sort();
    assert_eq!(forward.into_iter().collect::<Vec<_>>(), all);
    assert_eq!(backward.into_iter().collect::<Vec<_>>(), all);
}

/// The targets of a test, one row of q per row of logits.
#[derive(Clone)]
struct Case {
    labels: Option<Vec<i64>>,
    params: CrossEntropyParams,
    weight: Option<Vec<f64>>,
}

impl Case {
    fn new(labels: Option<Vec<i64>>, smoothing: f64, weight: Option<Vec<f64>>, reduction: Reduction) -> Self {
        let tensor = weight.as_ref().map(|w| Tensor::from_slice(w, w.len(), &Device::Cpu).unwrap());
        let params =
            CrossEntropyParams { ignore_index: Some(-100), label_smoothing: smoothing, weight: tensor, reduction };
        Case { labels, params, weight }
    }

    fn weight(&self, c: usize) -> f64 {
        self.weight.as_ref().map_or(1.0, |w| w[c])
    }

    /// q of one element, before the division of a mean.
    fn q(&self, r: usize, c: usize, classes: usize, probabilities: Option<&Array>) -> f64 {
        let e = self.params.label_smoothing;
        let target = match &self.labels {
            Some(labels) if labels[r] == -100 => return 0.0,
            Some(labels) => (labels[r] == c as i64) as u8 as f64,
            None => probabilities.unwrap().at(&[r, c]),
        };
        ((1.0 - e) * target + e / classes as f64) * self.weight(c)
    }

    fn count(&self, rows: usize) -> f64 {
        match (&self.labels, self.params.reduction) {
            (_, Reduction::Sum | Reduction::None) => 1.0,
            (Some(labels), _) => labels.iter().filter(|&&l| l != -100).map(|&l| self.weight(l as usize)).sum(),
            (None, _) => rows as f64,
        }
    }

    /// The definition, and Σ of the terms' magnitudes.
    fn loss(&self, x: &Array, probabilities: Option<&Array>) -> (Array, Array) {
        let (rows, classes) = (x.dims[0], x.dims[1]);
        let of_row = |r: usize, absolute: bool| -> f64 {
            let lse = log_sum(&x.data[r * classes..(r + 1) * classes]);
            (0..classes)
                .map(|c| {
                    let q = self.q(r, c, classes, probabilities);
                    if absolute { q * (lse.abs() + x.at(&[r, c]).abs() + 1.0) } else { q * (lse - x.at(&[r, c])) }
                })
                .sum::<f64>()
                / self.count(rows)
        };
        let all = |absolute| (0..rows).map(|r| of_row(r, absolute)).collect::<Vec<f64>>();
        let reduce = |v: Vec<f64>| match self.params.reduction {
            Reduction::None => Array::new(&[rows], v),
            _ => Array::new(&[], vec![v.iter().sum()]),
        };
        (reduce(all(false)), reduce(all(true)))
    }
}

fn cross_entropy_in_every_variant() {
    let labels = || Some(vec![2, -100, 0, 4]);
    let weights = || Some(vec![0.5, 1.0, 2.0, 0.25, 1.5]);
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        for (smoothing, weight) in [(0.0, None), (0.0, weights()), (0.2, None), (0.2, weights())] {
            for labels in [labels(), None] {
                let case = Case::new(labels, smoothing, weight.clone(), reduction);
                let (again, for_magnitude) = (case.clone(), case.clone());
                let by_label = case.labels.is_some();
                let reference = move |c: &Case, x: &[Array]| c.loss(&x[0], (!by_label).then(|| &x[1]));
                let check = OpCheck::new(
                    "cross_entropy",
                    move |x| {
                        let targets = match &case.labels {
                            Some(labels) => Tensor::from_slice(labels, 4, x[0].device())?,
                            None => x[1].clone(),
                        };
                        x[0].cross_entropy(&targets, &case.params)
                    },
                    move |x| reference(&again, x).0,
                );
                let check = check.magnitude(move |x| reference(&for_magnitude, x).1).input(&[4, 5]);
                let check =
                    if by_label { check } else { check.constant_in(&[4, 5], crate::support::Domain::Range(0.0, 0.5)) };
                // softmax to a dozen units, lse and the sums to a few; half dtypes round once.
                let check = check.dtypes(&WIDE).ulps(10.0, 28.0);
                check.run();
                check.dtypes(&HALF).ulps(2.0, 2.0).run();
            }
        }
    }
}

#[test]
fn trailing_axes_are_samples() {
    let mut random = Random::fresh("cross-entropy with trailing axes");
    let x = Array::from_fn(&[2, 3, 2, 2], |_| random.range(-2.0, 2.0));
    let labels: Vec<i64> = (0..8).map(|_| random.below(3) as i64).collect();
    let of = |n: usize, a: usize, b: usize| (n * 2 + a) * 2 + b;
    let t = tensor(&x, DType::F64).unwrap().track();
    let targets = Tensor::from_slice(&labels, [2, 2, 2], &Device::Cpu).unwrap();
    let params = CrossEntropyParams { reduction: Reduction::None, ..Default::default() };
    let loss = t.cross_entropy(&targets, &params).unwrap();
    assert_eq!(loss.dims(), [2, 2, 2]);
    let log = log_softmax(&x, 1);
    let expected = Array::from_fn(&[2, 2, 2], |i| -log.at(&[i[0], labels[of(i[0], i[1], i[2])] as usize, i[1], i[2]]));
    compare("loss", &loss, &Large { magnitude: expected.map(|_| 4.0), expected }, 1e-15);
    let gradient = loss.backward_with(&loss.ones_like().unwrap()).unwrap().expect(&t).unwrap();
    let expected =
        Array::from_fn(&x.dims, |i| log.at(i).exp() - (labels[of(i[0], i[2], i[3])] == i[1] as i64) as u8 as f64);
    compare("gradient", &gradient, &Large { magnitude: expected.map(|_| 2.0), expected }, 1e-15);
    let one = Tensor::from_slice(&[0f32, 1.0, 2.0], 3, &Device::Cpu).unwrap();
    let label = Tensor::from_slice(&[2u32], (), &Device::Cpu).unwrap();
    let loss = one.cross_entropy(&label, &CrossEntropyParams::default()).unwrap();
    assert_abs_diff_eq!(loss.item::<f64>().unwrap(), 0.407_605_96, epsilon = 1e-6);
}

fn ragged_sizes_agree_with_plain_loops_also_in_place() {
    let mut random = Random::fresh("cross-entropy of ragged sizes");
    let devices = devices(random.seed());
    for (rows, classes) in [(1, 1), (5, 31), (3, 1023), (3, 1024), (4, 1025), (40, 1000), (2, 50_257), (1, 262_144)] {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            if classes > 60_000 && dtype != DType::F32 {
                continue;
            }
            let x = Array::from_fn(&[rows, classes], |_| round(random.range(-8.0, 8.0), dtype));
            let labels: Vec<u32> = (0..rows).map(|_| random.below(classes) as u32).collect();
            let case = Case::new(Some(labels.iter().map(|&l| l as i64).collect()), 0.0, None, Reduction::Sum);
            let unit = dtype.unit_roundoff();
            let (expected, magnitude) = case.loss(&x, None);
            let expected = Large { expected, magnitude };
            // Sums of 32 terms a lane in f32, the result rounded once.
            let statistic = if dtype == DType::F64 { unit } else { 2f64.powi(-24) };
            let mut dx = Large::zeros(&x.dims);
            for (r, &label) in labels.iter().enumerate() {
                let lse = log_sum(&x.data[r * classes..(r + 1) * classes]);
                for c in 0..classes {
                    let i = r * classes + c;
                    dx.set(i, [(x.data[i] - lse).exp(), -((label as usize == c) as u8 as f64)]);
                }
            }
            for device in devices.iter().filter(|d| d.is_cpu() || dtype != DType::F64) {
                let targets = Tensor::from_slice(&labels, rows, device).unwrap();
                let t = tensor_on(&x, dtype, device).unwrap().track();
                let loss = t.cross_entropy(&targets, &case.params).unwrap();
                compare("loss", &loss, &expected, 2.0 * unit + 40.0 * statistic);
                let found = loss.backward().unwrap().expect(&t).unwrap();
                // exp of a difference from an lse of up to 21, rounded to f32.
                compare("gradient", &found, &dx, 2.0 * unit + 60.0 * statistic);
                // Logits that nothing else holds are overwritten by their gradient: the same bits.
                let t = tensor_on(&x, dtype, device).unwrap().track();
                let loss = t.affine(1.0, 0.0).unwrap().cross_entropy(&targets, &case.params).unwrap();
                let in_place = loss.backward().unwrap().expect(&t).unwrap();
                assert_eq!(in_place.to_f64_vec().unwrap(), found.to_f64_vec().unwrap());
            }
        }
    }
}

fn every_plan_of_the_loss_kernels_agrees_with_plain_loops() {
    let mut random = Random::fresh("cross-entropy by every plan");
    let devices = devices(random.seed());
    let mut plans = BTreeSet::new();
    // Rows for 1 to 32 threads, then for blocks, then (one row alone) in parts; odd widths have single accesses.
    let widths = [2, 3, 16, 24, 40, 72, 130, 136, 520, 1024, 1032, 4100, 80_000, 80_001];
    for (index, classes) in widths.into_iter().enumerate() {
        for (shift, smoothing, weighted, by_label) in
            [(0, 0.0, false, true), (1, 0.1, true, true), (0, 0.1, false, false), (1, 0.0, true, false)]
        {
            let dtype = CUDA_FLOATS[(index + shift + by_label as usize) % 3];
            let rows = if classes > 10_000 { 1 } else { 5 };
            let accessed = if classes % 8 == 0 && shift == 0 { 8 } else { 1 };
            let plan = LossPlan::new(rows, classes, accessed);
            plans.insert(format!("{} {} {}", plan.vector, plan.lanes.min(64), plan.parts > 1));
            let x = Array::from_fn(&[rows, classes], |_| round(random.range(-8.0, 8.0), dtype));
            let targets = Array::from_fn(&[rows, classes], |_| round(random.range(0.0, 2.0) / classes as f64, dtype));
            let labels: Vec<i64> =
                (0..rows).map(|r| if r == 1 { -100 } else { random.below(classes) as i64 }).collect();
            let weight = weighted.then(|| (0..classes).map(|c| 0.5 + (c % 7) as f64 / 8.0).collect());
            let case = Case::new(by_label.then(|| labels.clone()), smoothing, weight, Reduction::None);
            let (expected, magnitude) = case.loss(&x, Some(&targets));
            let expected = Large { expected, magnitude };
            let upstream: Vec<f64> = (0..rows).map(|r| 0.5 + r as f64 / 4.0).collect();
            let mut dx = Large::zeros(&x.dims);
            for r in 0..rows {
                let lse = log_sum(&x.data[r * classes..(r + 1) * classes]);
                let q = |c: usize| case.q(r, c, classes, Some(&targets));
                let total: f64 = (0..classes).map(q).sum();
                for c in 0..classes {
                    let i = r * classes + c;
                    dx.set(i, [upstream[r] * total * (x.data[i] - lse).exp(), -upstream[r] * q(c)]);
                }
            }
            let unit = dtype.unit_roundoff();
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                let put = |a: &Array| shifted(a, shift, dtype, device);
                let t = put(&x).track();
                let targets = if by_label { Tensor::from_slice(&labels, rows, device).unwrap() } else { put(&targets) };
                let loss = t.cross_entropy(&targets, &case.params).unwrap();
                // Up to 40 terms a thread and trees of ten levels in f32, the result rounded once.
                compare("loss", &loss, &expected, 2.0 * unit + 60.0 * 2f64.powi(-24));
                let seed = tensor_on(&Array::new(&[rows], upstream.clone()), dtype, device).unwrap();
                let found = loss.backward_with(&seed).unwrap().expect(&t).unwrap();
                compare("gradient", &found, &dx, 2.0 * unit + 100.0 * 2f64.powi(-24));
            }
        }
    }
    for plan in ["false 1", "false 4", "false 32", "false 64", "true 1", "true 2", "true 32", "true 64"] {
        assert!(plans.iter().any(|p| p.starts_with(&format!("{plan} "))), "{plan} is not among {plans:?}");
    }
    assert!(plans.contains("true 64 true") && plans.contains("false 64 true"), "{plans:?}");
}

#[test]
fn logits_that_others_hold_are_not_overwritten() {
    let values = [0.5f32, -1.0, 2.0, 0.0, 1.0, -0.5];
    let labels = Tensor::from_slice(&[2i64, 0], 2, &Device::Cpu).unwrap();
    let params = CrossEntropyParams::default();
    let leaf = Var::new(&Tensor::from_slice(&values, [2, 3], &Device::Cpu).unwrap()).unwrap();
    leaf.cross_entropy(&labels, &params).unwrap().backward().unwrap();
    assert_eq!(leaf.to_vec::<f32>().unwrap(), values);
    // A result that the caller keeps, directly or through a view.
    let kept = leaf.affine(1.0, 0.0).unwrap();
    kept.cross_entropy(&labels, &params).unwrap().backward().unwrap();
    assert_eq!(kept.to_vec::<f32>().unwrap(), values);
    let temporary = leaf.affine(1.0, 0.0).unwrap();
    let view = temporary.reshape(6).unwrap();
    let loss = temporary.cross_entropy(&labels, &params).unwrap();
    drop(temporary);
    loss.backward().unwrap();
    assert_eq!(view.to_vec::<f32>().unwrap(), values);
    // A graph that is walked twice.
    let loss = leaf.affine(1.0, 0.0).unwrap().cross_entropy(&labels, &params).unwrap();
    let walk = || Backward::new().retain_graph().run(&loss).unwrap().expect(&leaf).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(walk(), walk());
}

#[test]
fn infinite_logits() {
    let inf = f32::INFINITY;
    // More than one block, the first of them hidden entirely.
    let mut x = vec![-inf; 3000];
    (x[1500], x[2999]) = (1.0, 1.0);
    for device in devices(0) {
        let t = Tensor::from_slice(&x, [1, 3000], &device).unwrap().track();
        let label = Tensor::from_slice(&[1500i64], 1, &device).unwrap();
        let loss = t.cross_entropy(&label, &CrossEntropyParams::default()).unwrap();
        assert_abs_diff_eq!(loss.item::<f32>().unwrap(), 2f32.ln(), epsilon = 1e-7);
        let gradient = loss.backward().unwrap().expect(&t).unwrap().to_vec::<f32>().unwrap();
        let close = |x: f32, y: f32| (x - y).abs() < 1e-6;
        assert!(close(gradient[1500], -0.5) && close(gradient[2999], 0.5));
        assert!(gradient[0] == 0.0 && gradient[2000] == 0.0);
        let mut x = x.clone();
        x[3] = f32::NAN;
        let t = Tensor::from_slice(&x, [1, 3000], &device).unwrap();
        assert!(t.cross_entropy(&label, &CrossEntropyParams::default()).unwrap().item::<f32>().unwrap().is_nan());
        assert!(t.softmax(1).unwrap().to_vec::<f32>().unwrap().iter().all(|v| v.is_nan()));
        let t = Tensor::from_slice(&[-inf; 20_000], [1, 20_000], &device).unwrap();
        assert!(t.softmax(1).unwrap().to_vec::<f32>().unwrap().iter().all(|v| v.is_nan()));
    }
}

fn nll_loss() {
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        let case = Case::new(Some(vec![2, -100, 0]), 0.0, Some(vec![0.5, 1.0, 2.0, 1.5]), reduction);
        let again = case.clone();
        OpCheck::new(
            "nll_loss",
            move |x| {
                let labels = Tensor::from_slice(&[2i64, -100, 0], 3, x[0].device())?;
                x[0].nll_loss(&labels, &case.params)
            },
            move |x| {
                let rows: Vec<f64> =
                    (0..3).map(|r| (0..4).map(|c| -x[0].at(&[r, c]) * again.q(r, c, 4, None)).sum()).collect();
                match reduction {
                    Reduction::None => Array::new(&[3], rows),
                    _ => Array::new(&[], vec![rows.iter().sum::<f64>() / again.count(3)]),
                }
            },
        )
        .magnitude(move |x| {
            let total = x[0].data.iter().map(|v| 2.0 * v.abs()).sum::<f64>();
            if reduction == Reduction::None { Array::new(&[3], vec![total; 3]) } else { Array::new(&[], vec![total]) }
        })
        .input(&[3, 4])
        .run();
    }
}

#[test]
fn bad_targets_are_named() {
    let x = Tensor::zeros([3, 4], DType::F32, &Device::Cpu).unwrap();
    let params = CrossEntropyParams::default();
    let labels = |l: &[i64]| Tensor::from_slice(l, l.len(), &Device::Cpu).unwrap();
    let error = |r: Result<Tensor>| r.unwrap_err().to_string();
    for label in [4, -1] {
        let message = error(x.cross_entropy(&labels(&[0, label, 1]), &params));
        assert!(message.contains(&format!("label {label} at position 1")) && message.contains("0 to 4"), "{message}");
        assert!(error(x.nll_loss(&labels(&[0, label, 1]), &params)).contains("at position 1"));
    }
    let strict = CrossEntropyParams { ignore_index: None, ..CrossEntropyParams::default() };
    assert!(error(x.cross_entropy(&labels(&[-100, 0, 1]), &strict)).contains("label -100 at position 0"));
    assert!(error(x.cross_entropy(&labels(&[-100; 3]), &params)).contains("ignored"));
    let sum = CrossEntropyParams { reduction: Reduction::Sum, ..CrossEntropyParams::default() };
    assert_eq!(x.cross_entropy(&labels(&[-100; 3]), &sum).unwrap().item::<f32>().unwrap(), 0.0);
    assert!(error(x.cross_entropy(&labels(&[0, 1]), &params)).contains("[3]"));
    let empty = Tensor::zeros([0, 4], DType::F32, &Device::Cpu).unwrap();
    assert!(error(empty.cross_entropy(&labels(&[]), &params)).contains("empty"));
    let halves = Tensor::zeros([3, 4], DType::F16, &Device::Cpu).unwrap();
    assert!(error(x.cross_entropy(&halves, &params)).contains("dtype"));
    assert!(error(x.track().cross_entropy(&x.track(), &params)).contains("no backward"));
    let weight = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let weighted = CrossEntropyParams { weight: Some(weight), ..CrossEntropyParams::default() };
    assert!(error(x.cross_entropy(&labels(&[0, 1, 2]), &weighted)).contains("[4]"));
    let smooth = CrossEntropyParams { label_smoothing: 1.5, ..CrossEntropyParams::default() };
    assert!(error(x.cross_entropy(&labels(&[0, 1, 2]), &smooth)).contains("1.5"));
    assert!(
        error(x.nll_loss(&labels(&[0, 1, 2]), &CrossEntropyParams { label_smoothing: 0.1, ..params }))
            .contains("logits")
    );
    assert!(error(labels(&[1, 2]).softmax(0)).contains("i64"));
    assert_eq!(empty.softmax(1).unwrap().dims(), [0, 4]);
}

crate::support::device_checks!(
    softmax_along_every_axis,
    softmax_of_ragged_sizes,
    every_plan_of_the_softmax_kernels_agrees_with_plain_loops,
    cross_entropy_in_every_variant,
    ragged_sizes_agree_with_plain_loops_also_in_place,
    every_plan_of_the_loss_kernels_agrees_with_plain_loops,
    nll_loss,
);
