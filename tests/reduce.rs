//! Reductions, extremes, scans and sorting against their definitions.

#[path = "reduce/along.rs"]
pub mod along;
#[cfg(test)]
mod support;
#[path = "reduce/walks.rs"]
pub mod walks;

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

crate::support::device_checks!(sum, mean_of_axes, prod, extremes_over_axes, variance_and_deviation, norms, logsumexp,);
