//! Reductions, extremes, scans and sorting against their definitions.

#[cfg(test)]
mod support;

use crate::support::check::{self, round, strided, tensor, tensor_on};
use crate::support::devices::{CUDA_FLOATS, devices};
use crate::support::large::{Large, compare};
use crate::support::{Array, Domain, OpCheck, Random};
use proptest::prelude::*;
use warpsmith::device::{Buffer, View};
use warpsmith::kernels::reduce::{ReduceDesc, Reduction, reduce};
use warpsmith::{DType, Device, Element, Layout, Shape, Tensor, with_dtype};

const FLOATS: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];
const SHAPES: [(&[usize], &[usize]); 9] = [
    (&[], &[]),
    (&[7], &[0]),
    (&[1, 1], &[0]),
    (&[3, 5], &[0]),
    (&[3, 5], &[1]),
    (&[2, 3, 4], &[0, 2]),
    (&[2, 3, 4], &[1]),
    (&[2, 3, 4], &[0, 1, 2]),
    (&[35, 3], &[0]),
];

/// The elements behind each output, in row-major order, folded by `f`; the axes dropped or kept as 1.
fn fold_axes(x: &Array, axes: &[usize], keepdim: bool, f: impl Fn(&[f64]) -> f64) -> Array {
    let kept: Vec<usize> = (0..x.dims.len()).filter(|i| !axes.contains(i)).collect();
    let dims: Vec<usize> = kept.iter().map(|&i| x.dims[i]).collect();
    let mut groups = vec![vec![]; dims.iter().product()];
    let place = Array::zeros(&dims);
    for flat in 0..x.data.len() {
        let index = x.index_of(flat);
        let own: Vec<usize> = kept.iter().map(|&i| index[i]).collect();
        groups[place.flat(&own)].push(x.data[flat]);
    }
    let data: Vec<f64> = groups.iter().map(|g| f(g)).collect();
    let out = (0..x.dims.len()).filter(|i| keepdim || !axes.contains(i));
    let out: Vec<usize> = out.map(|i| if axes.contains(&i) { 1 } else { x.dims[i] }).collect();
    Array::new(&out, data)
}

fn signed(axes: &[usize]) -> Vec<isize> {
    axes.iter().map(|&a| a as isize).collect()
}

fn mean(g: &[f64]) -> f64 {
    g.iter().sum::<f64>() / g.len() as f64
}

fn var(g: &[f64], correction: f64) -> f64 {
    let mean = mean(g);
    g.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (g.len() as f64 - correction)
}

type Method = fn(&Tensor, &[isize]) -> warpsmith::Result<Tensor>;

/// The method that drops the axes and the one that keeps them, against one definition.
struct Case {
    name: &'static str,
    methods: [Method; 2],
    definition: fn(&[f64]) -> f64,
    /// What the forward error scales with.
    magnitude: fn(&[f64]) -> f64,
    ulps: (f64, f64),
    domain: Domain,
}

impl Case {
    fn run(self) {
        for (dims, axes) in SHAPES {
            for (keepdim, method) in [false, true].into_iter().zip(self.methods) {
                let (definition, magnitude, list) = (self.definition, self.magnitude, signed(axes));
                OpCheck::new(
                    self.name,
                    move |x| method(&x[0], &list),
                    move |x| fold_axes(&x[0], axes, keepdim, definition),
                )
                .magnitude(move |x| fold_axes(&x[0], axes, keepdim, magnitude))
                .input_in(dims, self.domain.clone())
                .ulps(self.ulps.0, self.ulps.1)
                .run();
            }
        }
    }
}

fn sum_abs(g: &[f64]) -> f64 {
    g.iter().map(|x| x.abs()).sum()
}

fn sum() {
    Case {
        name: "sum",
        methods: [Tensor::sum, Tensor::sum_keepdim],
        definition: |g| g.iter().sum(),
        magnitude: sum_abs,
        ulps: (36.0, 2.0), // at most 35 terms, and the rounding of the result
        domain: Domain::Range(-2.0, 2.0),
    }
    .run();
}

fn mean_of_axes() {
    Case {
        name: "mean",
        methods: [Tensor::mean, Tensor::mean_keepdim],
        definition: mean,
        magnitude: |g| sum_abs(g) / g.len() as f64,
        ulps: (37.0, 3.0), // one more for the division
        domain: Domain::Range(-2.0, 2.0),
    }
    .run();
}

fn prod() {
    Case {
        name: "prod",
        methods: [Tensor::prod, Tensor::prod_keepdim],
        definition: |g| g.iter().product(),
        magnitude: |g| g.iter().product::<f64>().abs(),
        ulps: (36.0, 37.0), // a rounding per factor, forward and backward
        domain: Domain::Avoid { range: (-1.5, 1.5), points: vec![0.0], margin: 0.6 },
    }
    .run();
}

#[test]
fn the_gradient_of_a_product_is_exact_where_factors_are_zero() {
    for (x, expected) in
        [([2.0, 0.0, 5.0], [0.0, 10.0, 0.0]), ([0.0, 0.0, 5.0], [0.0, 0.0, 0.0]), ([2.0, 3.0, 5.0], [15.0, 10.0, 6.0])]
    {
        let x = Tensor::from_slice(&x, [3], &Device::Cpu).unwrap().track();
        let gradient = |y: Tensor| y.backward().unwrap().expect(&x).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(gradient(x.prod_all().unwrap()), expected);
        assert_eq!(gradient(x.cumprod(0).unwrap().get(-1).unwrap()), expected);
    }
}

fn extremes_over_axes() {
    let distinct = Domain::Distinct(-2.0, 2.0);
    Case {
        name: "amax",
        methods: [Tensor::amax, Tensor::amax_keepdim],
        definition: |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        magnitude: |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max).abs(),
        ulps: (0.0, 2.0),
        domain: distinct.clone(),
    }
    .run();
    Case {
        name: "amin",
        methods: [Tensor::amin, Tensor::amin_keepdim],
        definition: |g| g.iter().copied().fold(f64::INFINITY, f64::min),
        magnitude: |g| g.iter().copied().fold(f64::INFINITY, f64::min).abs(),
        ulps: (0.0, 2.0),
        domain: distinct,
    }
    .run();
}

fn variance_and_deviation() {
    // The mean's error enters squared; each term has 3 roundings, their sum at most 35, and the division one.
    // Backwards round the mean, the deviation and the products with numbers of up to 3 times a deviation.
    let several = |(dims, axes): &(&[usize], &[usize])| axes.iter().map(|&a| dims[a]).product::<usize>() > 1;
    for (dims, axes) in SHAPES.into_iter().filter(several) {
        for correction in [0.0, 1.0] {
            let list = signed(axes);
            OpCheck::new(
                "var",
                move |x| x[0].var_keepdim(&list, correction),
                move |x| fold_axes(&x[0], axes, true, |g| var(g, correction)),
            )
            .input_in(dims, Domain::Distinct(-2.0, 2.0))
            .ulps(42.0, 24.0)
            .run();
            let list = signed(axes);
            OpCheck::new(
                "std",
                move |x| x[0].std(&list, correction),
                move |x| fold_axes(&x[0], axes, false, |g| var(g, correction).sqrt()),
            )
            .input_in(dims, Domain::Distinct(-2.0, 2.0))
            .ulps(42.0, 24.0)
            .run();
        }
    }
    let one = Tensor::ones([1], DType::F32, &Device::Cpu).unwrap().track();
    assert!(one.var_keepdim(&[0], 1.0).unwrap().item::<f32>().unwrap().is_nan());
    let still = one.std(&[0], 0.0).unwrap();
    assert_eq!(still.backward().unwrap().expect(&one).unwrap().item::<f32>().unwrap(), 0.0);
}

#[test]
fn a_large_mean_costs_the_variance_no_precision() {
    let values: Vec<f32> = (0..10_000).map(|i| 1e6 + (i % 7) as f32).collect();
    let exact = var(&values.iter().map(|&v| v as f64).collect::<Vec<_>>(), 0.0);
    let x = Tensor::from_slice(&values, [100, 100], &Device::Cpu).unwrap();
    let found = x.var(&[0, 1], 0.0).unwrap().item::<f64>().unwrap();
    // The mean is within a few roundoffs of 1e6 (0.06 each): the variance is off by their square, and its own roundoffs.
    // The difference of E[x²] and E[x]², both about 1e12, would be off by ten thousands.
    assert!((found - exact).abs() < 0.24f64.powi(2) + 100.0 * 6e-8 * exact, "{found} instead of {exact}");
}

fn norms() {
    let away = Domain::Avoid { range: (-2.0, 2.0), points: vec![0.0], margin: 0.05 };
    Case {
        name: "norm1",
        methods: [Tensor::norm1, Tensor::norm1_keepdim],
        definition: sum_abs,
        magnitude: sum_abs,
        ulps: (36.0, 2.0),
        domain: away.clone(),
    }
    .run();
    Case {
        name: "norm2",
        methods: [Tensor::norm2, Tensor::norm2_keepdim],
        definition: |g| g.iter().map(|x| x * x).sum::<f64>().sqrt(),
        magnitude: |g| g.iter().map(|x| x * x).sum::<f64>().sqrt(),
        ulps: (20.0, 24.0), // the root halves the sum's error
        domain: away,
    }
    .run();
    let frobenius = |x: &[Array]| fold_axes(&x[0], &[1, 2], false, |g| g.iter().map(|x| x * x).sum::<f64>().sqrt());
    OpCheck::new("frobenius", |x| x[0].norm_frobenius(), frobenius).input(&[2, 3, 4]).ulps(10.0, 12.0).run();
    let zero = Tensor::zeros([3], DType::F32, &Device::Cpu).unwrap().track();
    for y in [zero.norm1_all().unwrap(), zero.norm2_all().unwrap()] {
        assert_eq!(y.backward().unwrap().expect(&zero).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    }
}

fn logsumexp() {
    Case {
        name: "logsumexp",
        methods: [Tensor::logsumexp, Tensor::logsumexp_keepdim],
        definition: |g| g.iter().map(|x| x.exp()).sum::<f64>().ln(),
        // Relative to the sum inside, and the largest element added to the logarithm.
        magnitude: |g| 1.0 + g.iter().map(|x| x.exp()).sum::<f64>().ln().abs() + sum_abs(g) / g.len() as f64,
        ulps: (40.0, 48.0), // exp turns the absolute error of y, |y| < 8, into a relative one
        domain: Domain::Range(-2.0, 2.0),
    }
    .run();
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for (x, expected) in
        [([1000.0, 1000.0], 1000.0 + 2f32.ln()), ([-inf, -inf], -inf), ([inf, 0.0], inf), ([-inf, 3.0], 3.0)]
    {
        let x = Tensor::from_slice(&x, [2], &Device::Cpu).unwrap();
        assert_eq!(x.logsumexp_all().unwrap().item::<f32>().unwrap(), expected);
    }
    let x = Tensor::from_slice(&[nan, 1.0], [2], &Device::Cpu).unwrap();
    assert!(x.logsumexp_all().unwrap().item::<f32>().unwrap().is_nan());
    let x = Tensor::from_slice(&[-inf, 3.0], [2], &Device::Cpu).unwrap().track();
    let gradient = x.logsumexp_all().unwrap().backward().unwrap().expect(&x).unwrap();
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [0.0, 1.0]);
}

#[test]
fn all_axes_at_once() {
    let x = Tensor::arange(1.0, 7.0, 1.0, DType::F64, &Device::Cpu).unwrap().reshape([2, 3]).unwrap();
    let item = |y: warpsmith::Result<Tensor>| y.unwrap().item::<f64>().unwrap();
    assert_eq!(item(x.sum_all()), 21.0);
    assert_eq!(item(x.mean_all()), 3.5);
    assert_eq!(item(x.prod_all()), 720.0);
    assert_eq!((item(x.max_all()), item(x.min_all())), (6.0, 1.0));
    assert_eq!(item(x.norm1_all()), 21.0);
    assert_eq!(item(x.norm2_all()), 91f64.sqrt());
}

/// A bound of the library's documentation: (100 + log₂ n) roundoffs of the accumulator, and one of the result.
fn sum_bound(dtype: DType, terms: usize, magnitude: f64, result: f64) -> f64 {
    let accumulator = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    (100.0 + (terms.max(1) as f64).log2()) * accumulator.unit_roundoff() * magnitude
        + dtype.unit_roundoff() * result.abs()
        + 1e-37
}

fn random_array(dims: &[usize], dtype: DType, random: &mut Random) -> Array {
    Array::from_fn(dims, |_| round(random.range(-2.0, 2.0), dtype))
}

/// The array as a tensor whose axes are stored in the given order, inside a larger buffer.
fn stored(x: &Array, order: &[usize], dtype: DType) -> Tensor {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, &a)| inverse[a] = i);
    let dims: Vec<usize> = order.iter().map(|&a| x.dims[a]).collect();
    let moved = Array::from_fn(&dims, |i| x.at(&inverse.iter().map(|&k| i[k]).collect::<Vec<_>>()));
    let padded = tensor(&moved, dtype).unwrap().pad(&vec![(1, 2); dims.len()], 99.0).unwrap();
    let inner = dims.iter().enumerate().fold(padded, |t, (axis, &d)| t.narrow(axis as isize, 1, d).unwrap());
    inner.permute(&signed(&inverse)).unwrap()
}

#[test]
fn ragged_sums_on_both_sides_of_every_switch() {
    let mut random = Random::fresh("ragged sums");
    let cases: &[(&[usize], &[usize])] = &[
        (&[31], &[0]),
        (&[32], &[0]),
        (&[33], &[0]),
        (&[1023], &[0]),
        (&[1025], &[0]),
        (&[16_384], &[0]),
        (&[16_385], &[0]),
        (&[50_003], &[0]),
        (&[3, 40_001], &[1]),
        (&[130, 31], &[0]),
        (&[131, 32], &[0]),
        (&[64, 33], &[0]),
        (&[65, 33], &[0]),
        (&[5000, 2], &[0]),
        (&[200, 511], &[0]),
        (&[129, 512], &[0]),
        (&[64, 513], &[0]),
        (&[3, 70, 600], &[1]),
        (&[300, 7, 5], &[1]),
        (&[8, 5, 49], &[0, 2]),
        (&[40, 3, 1100], &[0, 2]),
        (&[2, 600, 3, 40], &[0, 2]),
        (&[0, 5], &[0]),
        (&[5, 0], &[0]),
        (&[4, 9], &[]),
    ];
    for &(dims, axes) in cases {
        for dtype in FLOATS {
            let x = random_array(dims, dtype, &mut random);
            let terms = axes.iter().map(|&a| dims[a]).product();
            let sums = fold_axes(&x, axes, false, |g| g.iter().sum());
            let magnitudes = fold_axes(&x, axes, false, sum_abs);
            let squares = fold_axes(&x, axes, false, |g| var(g, g.len() as f64 - 1.0));
            let t = tensor(&x, dtype).unwrap();
            for t in [t.clone(), strided(&t).unwrap()] {
                let found = t.sum(&signed(axes)).unwrap();
                assert_eq!(found.dims(), sums.dims);
                let found = found.to_f64_vec().unwrap();
                for (i, (&f, &e)) in found.iter().zip(&sums.data).enumerate() {
                    let bound = sum_bound(dtype, terms, magnitudes.data[i], e);
                    assert!((f - e).abs() <= bound, "{dims:?} over {axes:?} {dtype}: {f} instead of {e} ± {bound}");
                }
                if terms == 0 || dtype == DType::F16 && terms > 10_000 {
                    continue; // no variance; beyond the range of f16
                }
                let found = t.var(&signed(axes), 1.0 - terms as f64).unwrap().to_f64_vec().unwrap();
                for (&f, &e) in found.iter().zip(&squares.data) {
                    let e = e / (2 * terms - 1) as f64;
                    let bound = 4.0 * sum_bound(dtype, terms, e, e);
                    assert!(
                        (f - e).abs() <= bound,
                        "var of {dims:?} over {axes:?} {dtype}: {f} instead of {e} ± {bound}"
                    );
                }
            }
        }
    }
}

/// Both sides of each switch of the walk over blocks: results that lie side by side or elements that do, one part or
/// several (whose states a second kernel merges), groups that lie in one run or not, 16-byte accesses or single ones.
fn every_walk_of_the_cuda_kernels_agrees_with_plain_loops() {
    let mut random = Random::fresh("reductions by every walk");
    let devices = devices(random.seed());
    let cases: &[(&[usize], &[usize])] = &[
        (&[1], &[0]),
        (&[15], &[0]),
        (&[16], &[0]),
        (&[17], &[0]),
        // Rows: a thread, some, a warp, a block to each.
        (&[300, 9], &[1]),
        (&[70, 64], &[1]),
        (&[33, 520], &[1]),
        (&[5, 4100], &[1]),
        (&[2, 4099], &[1]),
        // Several parts.
        (&[40_003], &[0]),
        (&[40_000], &[0]),
        (&[3, 20_008], &[1]),
        // Columns: fewer than a warp, more, in several parts.
        (&[9, 5], &[0]),
        (&[130, 33], &[0]),
        (&[65, 129], &[0]),
        (&[5000, 7], &[0]),
        (&[3000, 40], &[0]),
        // Runs that groups do not fill, and that they do; results of two axes.
        (&[4, 6, 35], &[0, 2]),
        (&[4, 6, 40], &[0, 2]),
        (&[12, 3, 600], &[0, 2]),
        (&[3, 50, 4, 6], &[1, 3]),
        (&[2, 0, 3], &[1]),
    ];
    for (index, &(dims, axes)) in cases.iter().enumerate() {
        for dtype in CUDA_FLOATS {
            let x = random_array(dims, dtype, &mut random);
            let terms: usize = axes.iter().map(|&a| dims[a]).product();
            let magnitude = fold_axes(&x, axes, false, sum_abs);
            let sums = Large { expected: fold_axes(&x, axes, false, |g| g.iter().sum()), magnitude };
            let f32 = DType::F32.unit_roundoff();
            let bound = (100.0 + (terms.max(1) as f64).log2()) * f32 + dtype.unit_roundoff();
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                let plain = tensor_on(&x, dtype, device).unwrap();
                let shifted = check::shifted(&x, dtype, device).unwrap();
                for t in [strided(&plain).unwrap(), shifted, plain] {
                    compare("sum", &t.sum(&signed(axes)).unwrap(), &sums, bound);
                    if terms < 2 || !index.is_multiple_of(3) {
                        continue;
                    }
                    let extremes = fold_axes(&x, axes, false, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                    assert_eq!(
                        t.amax(&signed(axes)).unwrap().to_f64_vec().unwrap(),
                        extremes.data,
                        "{dims:?} {axes:?}"
                    );
                    let squares = fold_axes(&x, axes, false, |g| var(g, 1.0));
                    let spread = Large { magnitude: squares.map(|v| v + 1e-3), expected: squares };
                    compare("var", &t.var(&signed(axes), 1.0).unwrap(), &spread, 4.0 * bound);
                }
            }
        }
    }
}

/// Every reduction by itself, with results of the input's type and of f32, where several parts are merged and where not.
fn every_reduction_of_every_type_and_result() {
    let mut random = Random::fresh("reductions of every type");
    let devices = devices(random.seed());
    let all: &[(Reduction, fn(&[f64]) -> f64)] = &[
        (Reduction::Sum, |g| g.iter().sum()),
        (Reduction::Mean, mean),
        (Reduction::Product, |g| g.iter().product()),
        (Reduction::Max, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        (Reduction::Min, |g| g.iter().copied().fold(f64::INFINITY, f64::min)),
        (Reduction::Norm1, sum_abs),
        (Reduction::Norm2, |g| g.iter().map(|x| x * x).sum::<f64>().sqrt()),
        (Reduction::LogSumExp, |g| g.iter().map(|x| x.exp()).sum::<f64>().ln()),
        (Reduction::Var { correction: 1.0 }, |g| var(g, 1.0)),
        (Reduction::Std { correction: 0.0 }, |g| var(g, 0.0).sqrt()),
        (Reduction::Any, |g| g.iter().any(|&x| x != 0.0).into()),
        (Reduction::All, |g| g.iter().all(|&x| x != 0.0).into()),
    ];
    for dims in [[2, 20_008], [3, 65]] {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8] {
            for &(reduction, definition) in all {
                let Ok(own) = reduction.output(dtype) else { continue };
                // Factors of which long products are exact; else anything.
                let draw = |r: &mut Random| match reduction {
                    Reduction::Product if dtype.is_float() => [1.0, -1.0, 1.0, 1.0][r.below(4)],
                    Reduction::Product => (1 + r.below(2000) / 1999) as f64,
                    _ if dtype.is_float() => r.range(-2.0, 2.0),
                    _ => r.below(9) as f64,
                };
                let x = Array::from_fn(&dims, |_| round(draw(&mut random), dtype));
                let expected = fold_axes(&x, &[1], false, definition);
                let magnitude = match reduction {
                    Reduction::LogSumExp => expected.map(|e| 1.0 + e.abs()),
                    Reduction::Sum | Reduction::Mean => {
                        let n = if reduction == Reduction::Mean { dims[1] as f64 } else { 1.0 };
                        fold_axes(&x, &[1], false, sum_abs).map(|sum| sum / n)
                    }
                    _ => expected.map(f64::abs),
                };
                let desc = ReduceDesc { reduced: vec![false, true] };
                let wide = matches!(own, DType::F16 | DType::BF16).then_some(DType::F32);
                for device in &devices {
                    for to in [Some(own), wide].into_iter().flatten() {
                        let input = with_dtype!(dtype, T => {
                            let values: Vec<T> = x.data.iter().map(|&v| <T as Element>::from_f64(v)).collect();
                            Buffer::from_slice(device, &values).unwrap()
                        });
                        let view = View::new(&input, Layout::contiguous(Shape::new(&dims).unwrap())).unwrap();
                        let mut out = Buffer::uninit(device, to, dims[0]).unwrap();
                        reduce(&desc, reduction, view, &mut out).unwrap();
                        let found: Vec<f64> = with_dtype!(to, T => {
                            out.to_vec::<T>().unwrap().into_iter().map(Element::to_f64).collect()
                        });
                        if !to.is_float() {
                            assert_eq!(found, expected.data, "{reduction:?} of {dims:?} {dtype}");
                            continue;
                        }
                        for ((f, e), m) in found.iter().zip(&expected.data).zip(&magnitude.data) {
                            // As documented of sums; a variance squares distances, a product rounds at each factor.
                            let unit = 4.0 * 115.0 * DType::F32.unit_roundoff() + to.unit_roundoff();
                            let close = (f - e).abs() <= unit * m;
                            assert!(close, "{reduction:?} of {dims:?} {dtype} to {to}: {f:e} instead of {e:e}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_sum_keeps_its_digits() {
    // One after the other in f32, the sum of ten million tenths is off by a tenth of itself.
    for shape in [vec![10_000_000], vec![5_000_000, 2]] {
        let x = Tensor::full(0.1, &shape, DType::F32, &Device::Cpu).unwrap();
        let exact = 0.1f32 as f64 * 1e7 / shape.get(1).map_or(1.0, |&n| n as f64);
        for found in x.sum(&[0]).unwrap().to_f64_vec().unwrap() {
            assert!((found / exact - 1.0).abs() < 1e-6, "{found} instead of {exact}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let mut random = Random::fresh("threads");
    let x = tensor(&random_array(&[300, 700], DType::F32, &mut random), DType::F32).unwrap();
    let index = Tensor::from_iter((0..300).map(|_| random.below(7) as i64), &Device::Cpu).unwrap();
    let run = || {
        let zeros = Tensor::zeros([7, 700], DType::F32, &Device::Cpu).unwrap();
        let results = [
            x.sum(&[0]).unwrap(),
            x.sum(&[1]).unwrap(),
            x.sum_all().unwrap(),
            x.var(&[0], 1.0).unwrap(),
            x.logsumexp(&[1]).unwrap(),
            x.cumsum(1).unwrap(),
            zeros.index_add(0, &index, &x).unwrap(),
        ];
        results.map(|r| r.to_vec::<f32>().unwrap())
    };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let [one, two, five] = [1, 2, 5].map(|n| pool(n).install(run));
    assert!(one == two && one == five);
}

#[test]
fn integers_reduce_in_i64() {
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let x = Tensor::full(200.0, [3, 50], dtype, &Device::Cpu).unwrap();
        let sum = x.sum(&[1]).unwrap();
        assert_eq!((sum.dtype(), sum.to_vec::<i64>().unwrap()), (DType::I64, vec![10_000; 3]));
        let sum = x.sum(&[0]).unwrap();
        assert_eq!(sum.to_vec::<i64>().unwrap(), [600; 50]);
        let product = x.narrow(1, 0, 3).unwrap().prod(&[1]).unwrap();
        assert_eq!(product.to_vec::<i64>().unwrap(), [8_000_000; 3]);
        let largest = x.amax(&[0, 1]).unwrap();
        assert_eq!((largest.dtype(), largest.item::<i64>().unwrap()), (dtype, 200));
        assert_eq!(x.cumsum(0).unwrap().narrow(0, 2, 1).unwrap().to_vec::<i64>().unwrap(), [600; 50]);
        assert!(x.mean_all().unwrap_err().to_string().contains("float dtype"));
    }
    let beyond_f64 = Tensor::from_slice(&[(1i64 << 53) + 1, 2], [2], &Device::Cpu).unwrap();
    assert_eq!(beyond_f64.sum_all().unwrap().item::<i64>().unwrap(), (1 << 53) + 3);
    assert_eq!(beyond_f64.max_all().unwrap().item::<i64>().unwrap(), (1 << 53) + 1);
}

#[test]
fn any_and_all() {
    for dtype in DType::ALL {
        let x = with_dtype!(dtype, T => {
            let values: Vec<T> = [0., 0., 1., 0., 3., 2.].iter().map(|&v| <T as Element>::from_f64(v)).collect();
            Tensor::from_slice(&values, [3, 2], &Device::Cpu).unwrap()
        });
        assert_eq!(x.any(&[1]).unwrap().to_vec::<u8>().unwrap(), [0, 1, 1]);
        assert_eq!(x.all(&[-1]).unwrap().to_vec::<u8>().unwrap(), [0, 0, 1]);
        assert_eq!(x.any(&[0]).unwrap().to_vec::<u8>().unwrap(), [1, 1]);
        assert_eq!(x.all(&[0, 1]).unwrap().to_vec::<u8>().unwrap(), [0]);
    }
    let none = Tensor::zeros([0, 2], DType::F32, &Device::Cpu).unwrap();
    assert_eq!(none.any(&[0]).unwrap().to_vec::<u8>().unwrap(), [0, 0]);
    assert_eq!(none.all(&[0]).unwrap().to_vec::<u8>().unwrap(), [1, 1]);
    let nan = Tensor::from_slice(&[f32::NAN], [1], &Device::Cpu).unwrap();
    assert_eq!(nan.any(&[0]).unwrap().to_vec::<u8>().unwrap(), [1]);
    assert_eq!(nan.all(&[0]).unwrap().to_vec::<u8>().unwrap(), [1]);
}

#[test]
fn wrong_axes_are_errors() {
    let x = Tensor::zeros([2, 3], DType::F32, &Device::Cpu).unwrap();
    let message = |r: warpsmith::Result<Tensor>| r.unwrap_err().to_string();
    assert_eq!(message(x.sum(&[2])), "sum: axis 2 is out of range, valid are 0 to 2 exclusive");
    assert_eq!(message(x.mean(&[0, -2])), "mean: axis -2 is named twice in [0, -2]");
    let empty = Tensor::zeros([2, 0], DType::F32, &Device::Cpu).unwrap();
    assert_eq!(message(empty.amax(&[1])), "max: expected at least one element to choose from, got [2, 0]");
    assert_eq!(message(empty.argmin(1)), "min: expected at least one element to choose from, got [2, 0]");
    assert!(empty.amax(&[0]).unwrap().to_vec::<f32>().unwrap().is_empty());
    assert!(empty.mean(&[1]).unwrap().to_vec::<f32>().unwrap().iter().all(|v| v.is_nan()));
    assert_eq!(empty.prod(&[1]).unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
}

/// The position of the extreme by its definition: the first of equals, NaN before every number.
fn first_extreme(g: &[f64], better: fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (i, &v) in g.iter().enumerate() {
        if better(v, g[best]) || v.is_nan() && !g[best].is_nan() {
            best = i;
        }
    }
    best
}

#[test]
fn extremes_along_an_axis() {
    let mut random = Random::fresh("extremes");
    for dims in
        [vec![5], vec![1, 7], vec![40, 3], vec![3, 40], vec![2, 1500, 3], vec![3, 2049], vec![20, 600], vec![9, 3, 2]]
    {
        for dtype in DType::ALL {
            // Few distinct values: ties everywhere; for floats some NaN.
            let x = Array::from_fn(&dims, |_| match random.below(30) {
                0 if dtype.is_float() && dims.len() > 1 => f64::NAN,
                _ => random.below(9) as f64,
            });
            let t = tensor(&x, dtype).unwrap();
            for axis in 0..dims.len() {
                for t in [t.clone(), strided(&t).unwrap()] {
                    let largest = fold_axes(&x, &[axis], false, |g| first_extreme(g, |a, b| a > b) as f64);
                    let smallest = fold_axes(&x, &[axis], false, |g| first_extreme(g, |a, b| a < b) as f64);
                    let (values, indices) = t.max(axis as isize).unwrap();
                    assert_eq!(indices.dims(), largest.dims);
                    assert_eq!(indices.to_f64_vec().unwrap(), largest.data, "{dims:?} {axis} {dtype}");
                    let picked = t.gather(axis as isize, &t.argmax_keepdim(axis as isize).unwrap()).unwrap();
                    let bits = |t: &Tensor| t.to_f64_vec().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&values), bits(&picked));
                    assert_eq!(
                        t.argmin(axis as isize).unwrap().to_f64_vec().unwrap(),
                        smallest.data,
                        "{dims:?} {axis}"
                    );
                    assert_eq!(t.min_keepdim(axis as isize).unwrap().0.dims()[axis], 1);
                }
            }
        }
    }
}

fn gradients_of_extremes() {
    let distinct = Domain::Distinct(-2.0, 2.0);
    for (dims, axis) in [(vec![7], 0usize), (vec![3, 4], 1), (vec![3, 4], 0), (vec![2, 3, 4], 1)] {
        let at = axis as isize;
        let fold = move |x: &[Array], f: fn(f64, f64) -> f64| {
            fold_axes(&x[0], &[axis], false, |g| g.iter().copied().reduce(f).unwrap())
        };
        OpCheck::new("max", move |x| Ok(x[0].max(at)?.0), move |x| fold(x, f64::max))
            .input_in(&dims, distinct.clone())
            .ulps(0.0, 1.0)
            .run();
        OpCheck::new("min", move |x| Ok(x[0].min(at)?.0), move |x| fold(x, f64::min))
            .input_in(&dims, distinct.clone())
            .ulps(0.0, 1.0)
            .run();
    }
    let tied = Tensor::from_slice(&[1f32, 4.0, 4.0, 0.0], [4], &Device::Cpu).unwrap().track();
    let gradient = |y: Tensor| y.backward().unwrap().expect(&tied).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(gradient(tied.max(0).unwrap().0), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(gradient(tied.max_all().unwrap()), [0.0, 0.5, 0.5, 0.0]);
}

fn running_sums_and_products() {
    // From 32 lanes side by side on each has a thread, not a block.
    let cases =
        [(vec![9], 0usize), (vec![3, 4], 0), (vec![3, 4], 1), (vec![2, 5, 3], 1), (vec![2, 0], 1), (vec![3, 35], 0)];
    for (dims, axis) in cases {
        let at = axis as isize;
        let running = move |x: &Array, f: fn(f64, f64) -> f64| {
            let mut out = x.clone();
            for flat in 0..x.data.len() {
                let mut before = x.index_of(flat);
                if before[axis] > 0 {
                    before[axis] -= 1;
                    out.data[flat] = f(out.at(&before), x.data[flat]);
                }
            }
            out
        };
        OpCheck::new("cumsum", move |x| x[0].cumsum(at), move |x| running(&x[0], |a, b| a + b))
            .magnitude(move |x| running(&x[0].map(f64::abs), |a, b| a + b))
            .input(&dims)
            .ulps(10.0, 10.0)
            .run();
        let domain = Domain::Avoid { range: (-1.5, 1.5), points: vec![0.0], margin: 0.5 };
        OpCheck::new("cumprod", move |x| x[0].cumprod(at), move |x| running(&x[0], |a, b| a * b))
            .input_in(&dims, domain)
            .ulps(10.0, 20.0)
            .run();
    }
}

/// Stable order of the elements, NaN last (first when descending).
fn sorted_positions(g: &[f64], descending: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..g.len()).collect();
    let key = |i: usize| if g[i].is_nan() { f64::INFINITY } else { g[i] };
    order.sort_by(|&a, &b| {
        let ascending = (g[a].is_nan(), key(a)).partial_cmp(&(g[b].is_nan(), key(b))).unwrap();
        if descending { ascending.reverse() } else { ascending }
    });
    order
}

#[test]
fn sorting() {
    let mut random = Random::fresh("sorting");
    for (dims, axis) in
        [(vec![1], 0), (vec![17], 0), (vec![5, 33], 1), (vec![33, 5], 0), (vec![40_000], 0), (vec![3, 0], 1)]
    {
        for dtype in DType::ALL {
            let x = Array::from_fn(&dims, |_| match random.below(20) {
                0 if dtype.is_float() => f64::NAN,
                1 if dtype.is_float() => -0.0,
                2 if dtype.is_float() => f64::NEG_INFINITY,
                n if n < 10 && dtype != DType::U8 && dtype != DType::U32 => -1.0 - random.below(50) as f64,
                _ => random.below(50) as f64,
            });
            let t = tensor(&x, dtype).unwrap();
            let lanes = |x: &Array| tensor(x, DType::F64).unwrap().transpose(axis, -1).unwrap().to_f64_vec().unwrap();
            let length = dims[axis as usize];
            for descending in [false, true] {
                let (values, indices) = t.sort(axis, descending).unwrap();
                let lanes_of = |t: &Tensor| t.transpose(axis, -1).unwrap().to_f64_vec().unwrap();
                let (values, indices) = (lanes_of(&values), lanes_of(&indices));
                for (row, lane) in lanes(&x).chunks(length.max(1)).enumerate() {
                    let order = sorted_positions(lane, descending);
                    for (k, &from) in order.iter().enumerate() {
                        let at = row * length + k;
                        assert_eq!(indices[at], from as f64, "{dims:?} {dtype} descending {descending}");
                        assert_eq!(values[at].to_bits(), lane[from].to_bits());
                    }
                }
                let k = length / 3;
                let top = t.topk(k, axis, descending).unwrap().1;
                assert_eq!(top.dims()[axis as usize], k);
                let whole = t.argsort(axis, descending).unwrap();
                assert_eq!(top.to_f64_vec().unwrap(), whole.narrow(axis, 0, k).unwrap().to_f64_vec().unwrap());
            }
        }
    }
    let x = Tensor::zeros([3], DType::F32, &Device::Cpu).unwrap();
    assert!(x.topk(4, 0, true).unwrap_err().to_string().starts_with("topk: k = 4 of the 3 elements"));
}

fn gradients_of_sorting() {
    for (dims, axis) in [(vec![9], 0usize), (vec![4, 3], 0), (vec![2, 5], 1)] {
        let at = axis as isize;
        for descending in [false, true] {
            let sorted = move |x: &[Array], k: usize| {
                let mut dims = x[0].dims.clone();
                dims[axis] = k;
                Array::from_fn(&dims, |index| {
                    let mut own = index.to_vec();
                    let lane: Vec<f64> = (0..x[0].dims[axis])
                        .map(|i| {
                            own[axis] = i;
                            x[0].at(&own)
                        })
                        .collect();
                    lane[sorted_positions(&lane, descending)[index[axis]]]
                })
            };
            let length = dims[axis];
            OpCheck::new("sort", move |x| Ok(x[0].sort(at, descending)?.0), move |x| sorted(x, length))
                .input_in(&dims, Domain::Distinct(-2.0, 2.0))
                .ulps(0.0, 1.0)
                .run();
            OpCheck::new("topk", move |x| Ok(x[0].topk(2, at, descending)?.0), move |x| sorted(x, 2))
                .input_in(&dims, Domain::Distinct(-2.0, 2.0))
                .ulps(0.0, 1.0)
                .run();
        }
    }
}

fn shapes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>, Vec<usize>)> {
    prop::collection::vec(0usize..9, 0..5).prop_flat_map(|dims| {
        let rank = dims.len();
        let order = Just((0..rank).collect::<Vec<_>>()).prop_shuffle();
        let axes = prop::sample::subsequence((0..rank).collect::<Vec<_>>(), 0..=rank);
        (Just(dims), order, axes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_order_and_dtype((dims, order, axes) in shapes(), dtype in 0..DType::ALL.len(), seed: u64) {
        let dtype = DType::ALL[dtype];
        let mut random = Random::new(seed);
        let x = Array::from_fn(&dims, |_| if dtype.is_float() { round(random.range(-2.0, 2.0), dtype) } else { random.below(100) as f64 });
        let t = stored(&x, &order, dtype);
        let list = signed(&axes);
        let terms: usize = axes.iter().map(|&a| dims[a]).product();
        let sums = fold_axes(&x, &axes, true, |g| g.iter().sum());
        let magnitudes = fold_axes(&x, &axes, true, sum_abs);
        let found = t.sum_keepdim(&list).unwrap();
        prop_assert_eq!(found.dims(), &sums.dims[..]);
        for ((f, &e), &m) in found.to_f64_vec().unwrap().into_iter().zip(&sums.data).zip(&magnitudes.data) {
            let bound = if dtype.is_float() { sum_bound(dtype, terms, m, e) } else { 0.0 };
            prop_assert!((f - e).abs() <= bound, "{} instead of {}", f, e);
        }
        if terms > 0 {
            let largest = fold_axes(&x, &axes, false, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            prop_assert_eq!(t.amax(&list).unwrap().to_f64_vec().unwrap(), largest.data);
        }
        let any = fold_axes(&x, &axes, false, |g| f64::from(g.iter().any(|&v| v != 0.0)));
        prop_assert_eq!(t.any(&list).unwrap().to_f64_vec().unwrap(), any.data);
    }
}

crate::support::device_checks!(
    sum,
    mean_of_axes,
    prod,
    extremes_over_axes,
    variance_and_deviation,
    norms,
    logsumexp,
    gradients_of_extremes,
    running_sums_and_products,
    gradients_of_sorting,
    every_walk_of_the_cuda_kernels_agrees_with_plain_loops,
    every_reduction_of_every_type_and_result
);
