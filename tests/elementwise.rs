//! Elementwise operations against their definitions.

#[cfg(test)]
mod support;

#[path = "elementwise/broadcasting.rs"]
mod broadcasting;
#[path = "elementwise/second_derivatives.rs"]
mod second_derivatives;
#[path = "elementwise/special_values.rs"]
mod special_values;

use crate::support::array::zip;
use crate::support::check::round;
use crate::support::devices::{CUDA_FLOATS, devices};
use crate::support::{Array, Domain, OpCheck, Random};
use warpsmith::device::{Buffer, View};
use warpsmith::kernels::elementwise as kernel;
use warpsmith::{DType, Element, Layout, Result, Shape, Tensor, with_dtype};

/// The gradient of a broadcast operand: each term is rounded up to four times, their sum of up to 35 in eight lanes
/// (six additions deep) and once more when it is narrowed; relative to the sum of the terms' sizes.
const SUMMED: f64 = 12.0;

fn away(low: f64, high: f64, points: &[f64]) -> Domain {
    // Further than the 2h = 0.004 of the differences reach, and than bf16 rounds.
    Domain::Avoid { range: (low, high), points: points.to_vec(), margin: 0.05 }
}

fn arithmetic_with_broadcasting() {
    for (a, b) in [(vec![3, 5], vec![3, 5]), (vec![4, 1, 3], vec![5, 1]), (vec![], vec![7]), (vec![2, 0], vec![1])] {
        OpCheck::new("add", |x| x[0].add(&x[1]), |x| zip(&x[0], &x[1], |a, b| a + b)).input(&a).input(&b).run();
        OpCheck::new("sub", |x| x[0].sub(&x[1]), |x| zip(&x[0], &x[1], |a, b| a - b)).input(&a).input(&b).run();
        OpCheck::new("mul", |x| x[0].mul(&x[1]), |x| zip(&x[0], &x[1], |a, b| a * b)).input(&a).input(&b).run();
        let nonzero = Domain::Avoid { range: (-2.0, 2.0), points: vec![0.0], margin: 0.5 };
        OpCheck::new("div", |x| x[0].div(&x[1]), |x| zip(&x[0], &x[1], |a, b| a / b))
            .input(&a)
            .input_in(&b, nonzero.clone())
            .ulps(2.0, SUMMED)
            .run();
        // a + w (b − a): three roundings of terms no larger than |a| + |b|.
        for w in [0.25, 0.75] {
            OpCheck::new("lerp", move |x| x[0].lerp(&x[1], w), move |x| zip(&x[0], &x[1], move |a, b| a + w * (b - a)))
                .input(&a)
                .input(&b)
                .magnitude(|x| zip(&x[0], &x[1], |a, b| a.abs() + b.abs()))
                .ulps(4.0, SUMMED)
                .run();
        }
        OpCheck::new("pow", |x| x[0].pow(&x[1]), |x| zip(&x[0], &x[1], f64::powf))
            .input_in(&a, Domain::Range(0.5, 2.0))
            .input(&b)
            .ulps(4.0, SUMMED)
            .run();
    }
}

fn fused_arithmetic() {
    for (a, b, c) in
        [(vec![3, 5], vec![3, 5], vec![3, 5]), (vec![4, 1, 3], vec![5, 1], vec![3]), (vec![7], vec![], vec![7])]
    {
        OpCheck::new(
            "mul_add",
            |x| x[0].mul_add(&x[1], &x[2]),
            |x| zip(&zip(&x[0], &x[1], |a, b| a * b), &x[2], |p, c| p + c),
        )
        .input(&a)
        .input(&b)
        .input(&c)
        .magnitude(|x| zip(&zip(&x[0], &x[1], |a, b| (a * b).abs()), &x[2], |p, c| p + c.abs()))
        .ulps(2.0, SUMMED)
        .run();
    }
    // Sums kept away from the kink: |a| ≤ 0.8 against b with |b| ≥ 0.9.
    for (a, b) in [(vec![3, 5], vec![3, 5]), (vec![4, 3, 5], vec![3, 1])] {
        OpCheck::new("add_relu", |x| x[0].add_relu(&x[1]), |x| zip(&x[0], &x[1], |a, b| (a + b).max(0.0)))
            .input_in(&a, Domain::Range(-0.8, 0.8))
            .input_in(&b, Domain::Avoid { range: (-2.0, 2.0), points: vec![0.0], margin: 0.9 })
            .magnitude(|x| zip(&x[0], &x[1], |a, b| a.abs() + b.abs()))
            .ulps(2.0, SUMMED)
            .run();
    }
}

fn the_larger_and_the_smaller() {
    for (a, b) in [(vec![4, 6], vec![4, 6]), (vec![4, 1, 3], vec![5, 1])] {
        // No pair near a tie: |a| ≥ 0.1 against |b| ≤ 0.02.
        let (apart, second) = (away(-2.0, 2.0, &[0.0, 0.05, -0.05]), Domain::Range(-0.02, 0.02));
        OpCheck::new("maximum", |x| x[0].maximum(&x[1]), |x| zip(&x[0], &x[1], f64::max))
            .input_in(&a, apart.clone())
            .input_in(&b, second.clone())
            .ulps(0.0, SUMMED)
            .run();
        OpCheck::new("minimum", |x| x[0].minimum(&x[1]), |x| zip(&x[0], &x[1], f64::min))
            .input_in(&a, apart)
            .input_in(&b, second)
            .ulps(0.0, SUMMED)
            .run();
    }
}

/// One input, ragged sizes; forward and backward bounds in unit roundoffs.
fn unary(
    name: &str,
    f: fn(&Tensor) -> Result<Tensor>,
    reference: fn(f64) -> f64,
    domain: Domain,
    forward: f64,
    backward: f64,
) {
    for dims in [vec![], vec![1], vec![33], vec![3, 7], vec![0, 2]] {
        OpCheck::new(name, move |x| f(&x[0]), move |x| x[0].map(reference))
            .input_in(&dims, domain.clone())
            .ulps(forward, backward)
            .run();
    }
}

fn all(low: f64, high: f64) -> Domain {
    Domain::Range(low, high)
}

// An error of k ulp is at most 2k unit roundoffs; the reference's own functions add up to 2 in f64. Where the backward
// uses the saved output, its rounding (1 unit of |y|) counts relative to the gradient: |y| |dg/dy| / |g| more.

fn exponentials_and_logarithms() {
    unary("exp", Tensor::exp, f64::exp, all(-3.0, 3.0), 5.0, 6.0);
    unary("exp2", Tensor::exp2, f64::exp2, all(-3.0, 3.0), 5.0, 7.0);
    // y + 1 from a rounded y: |y| / (y + 1) up to 6.4 at x = −2.
    unary("expm1", Tensor::expm1, f64::exp_m1, all(-2.0, 2.0), 6.0, 12.0);
    unary("log", Tensor::log, f64::ln, all(0.3, 4.0), 5.0, 4.0);
    unary("log2", Tensor::log2, f64::log2, all(0.3, 4.0), 8.0, 5.0);
    unary("log1p", Tensor::log1p, f64::ln_1p, all(-0.6, 3.0), 6.0, 5.0);
}

fn roots_and_powers() {
    unary("square", Tensor::square, |x| x * x, all(-2.0, 2.0), 2.0, 2.0);
    unary("sqrt", Tensor::sqrt, f64::sqrt, all(0.2, 4.0), 2.0, 4.0);
    unary("rsqrt", Tensor::rsqrt, |x| 1.0 / x.sqrt(), all(0.3, 4.0), 4.0, 9.0);
    unary("recip", Tensor::recip, |x| 1.0 / x, away(-3.0, 3.0, &[0.0, 0.1, -0.1, 0.2, -0.2]), 2.0, 6.0);
    unary("powf", |x| x.powf(3.0), |x| x.powi(3), all(-2.0, 2.0), 4.0, 6.0);
    unary("powf", |x| x.powf(-1.5), |x| x.powf(-1.5), all(0.4, 3.0), 5.0, 7.0);
    unary("powf", |x| x.powf(-0.5), |x| 1.0 / x.sqrt(), all(0.4, 3.0), 4.0, 9.0);
}

fn trigonometry_and_the_error_function() {
    unary("sin", Tensor::sin, f64::sin, all(-3.0, 3.0), 5.0, 6.0);
    unary("cos", Tensor::cos, f64::cos, all(-3.0, 3.0), 5.0, 6.0);
    // 1 + y² from a rounded y: 2y² / (1 + y²) ≤ 2 more.
    unary("tan", Tensor::tan, f64::tan, all(-1.2, 1.2), 5.0, 9.0);
    unary("erf", Tensor::erf, erf, all(-2.0, 2.0), 9.0, 8.0);
}

fn signs_and_limits() {
    unary("neg", Tensor::neg, |x| -x, all(-2.0, 2.0), 0.0, 1.0);
    unary("abs", Tensor::abs, f64::abs, away(-2.0, 2.0, &[0.0]), 0.0, 1.0);
    unary("clamp", |x| x.clamp(-0.5, 1.0), |x| x.clamp(-0.5, 1.0), away(-2.0, 2.0, &[-0.5, 1.0]), 0.0, 1.0);
    unary("clamp", |x| x.clamp(f64::NEG_INFINITY, 1.0), |x| x.min(1.0), away(-2.0, 2.0, &[1.0]), 0.0, 1.0);
    unary("relu6", |x| x.relu6(), |x| x.clamp(0.0, 6.0), away(-3.0, 9.0, &[0.0, 6.0]), 0.0, 1.0);
    unary("affine", |x| x.affine(1.5, 0.25), |x| 1.5 * x + 0.25, all(0.0, 2.0), 3.0, 2.0);
    unary("div_scalar", |x| x.div_scalar(3.0), |x| x / 3.0, all(-2.0, 2.0), 2.0, 2.0);
}

/// Their gradient is zero, which no fault in it shows.
fn steps() {
    for (name, f, reference) in [
        ("floor", Tensor::floor as fn(&Tensor) -> Result<Tensor>, f64::floor as fn(f64) -> f64),
        ("ceil", Tensor::ceil, f64::ceil),
        ("round", Tensor::round, f64::round_ties_even),
        ("trunc", Tensor::trunc, f64::trunc),
    ] {
        OpCheck::new(name, move |x| f(&x[0]), move |x| x[0].map(reference))
            .input_in(&[7, 19], all(-9.0, 9.0))
            .ulps(0.0, 0.0)
            .forward_only()
            .run();
    }
}

fn activations() {
    unary("relu", Tensor::relu, |x| x.max(0.0), away(-2.0, 2.0, &[0.0]), 0.0, 1.0);
    unary("leaky_relu", |x| x.leaky_relu(0.1), |x| x.max(0.1 * x), away(-2.0, 2.0, &[0.0]), 2.0, 2.0);
    unary("elu", |x| x.elu(1.5), |x| if x > 0.0 { x } else { 1.5 * x.exp_m1() }, away(-2.0, 2.0, &[0.0]), 7.0, 8.0);
    let selu = |x: f64| 1.0507009873554805 * if x > 0.0 { x } else { 1.6732632423543772 * x.exp_m1() };
    unary("selu", Tensor::selu, selu, away(-2.0, 2.0, &[0.0]), 8.0, 8.0);
    // y (1 − y) from a rounded y: up to 1 + y / (1 − y) = 8.4 more at x = 2.
    unary("sigmoid", Tensor::sigmoid, sigmoid, all(-2.0, 2.0), 8.0, 20.0);
    unary("log_sigmoid", Tensor::log_sigmoid, |x| -(-x).exp().ln_1p(), all(-3.0, 3.0), 12.0, 10.0);
    // 1 − y² from a rounded y: 2y² / (1 − y²) = 9 more at x = 1.5.
    unary("tanh", Tensor::tanh, f64::tanh, all(-1.5, 1.5), 8.0, 20.0);
    unary("softplus", Tensor::softplus, |x| x.exp().ln_1p(), all(-3.0, 3.0), 12.0, 10.0);
    // The gradients of these have a zero, near which no relative bound holds; points within 0.3 of it are left out.
    let except = |zero: f64| Domain::Avoid { range: (-2.0, 2.0), points: vec![zero], margin: 0.3 };
    unary("silu", Tensor::silu, |x| x * sigmoid(x), except(-1.278), 9.0, 24.0);
    // Φ by erfc: 6 ulp, of an argument rounded once (x φ / Φ ≤ 6 of it at −2).
    // 1 + erf cancels for negative x, in the reference too: the error is one of |x|, not of the small result.
    for dims in [vec![], vec![1], vec![33], vec![3, 7], vec![0, 2]] {
        OpCheck::new("gelu", |x| x[0].gelu(), |x| x[0].map(|x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))))
            .magnitude(|x| x[0].map(f64::abs))
            .input_in(&dims, except(-0.752))
            .ulps(8.0, 32.0)
            .run();
    }
    let gelu_tanh =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
    unary("gelu_tanh", Tensor::gelu_tanh, gelu_tanh, except(-0.752), 64.0, 32.0);
    unary("mish", Tensor::mish, |x| x * x.exp().ln_1p().tanh(), except(-1.193), 16.0, 32.0);
    let hardsigmoid = |x: f64| (x + 3.0).clamp(0.0, 6.0) / 6.0;
    let magnitude_away = away(-5.0, 5.0, &[-3.0, 3.0]);
    unary("hardsigmoid", Tensor::hardsigmoid, hardsigmoid, away(-2.5, 5.0, &[3.0]), 16.0, 3.0);
    // x + 3 loses what |x| / |x + 3| says near −3; the gradient x/3 + 1/2 vanishes at −3/2.
    OpCheck::new("hardswish", |x| x[0].hardswish(), |x| x[0].map(|x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0))
        .input_in(&[5, 9], magnitude_away)
        .magnitude(|x| x[0].map(|x| x.abs() * (x.abs() + 3.0) / 6.0))
        .ulps(4.0, 6.0)
        .run();
}

fn conditions() {
    let mask = |x: &Array| x.map(|v| if v > 0.0 { 1.0 } else { 0.0 });
    for (m, a, b) in
        [(vec![3, 5], vec![3, 5], vec![3, 5]), (vec![3, 1], vec![5], vec![2, 3, 5]), (vec![7], vec![7], vec![])]
    {
        OpCheck::new(
            "where",
            |x| x[0].gt(&x[0].zeros_like()?)?.where_cond(&x[1], &x[2]),
            move |x| {
                let (yes, no) = (mask(&x[0]), x[0].map(|v| if v > 0.0 { 0.0 } else { 1.0 }));
                zip(&zip(&yes, &x[1], |m, a| m * a), &zip(&no, &x[2], |m, b| m * b), |a, b| a + b)
            },
        )
        .constant_in(&m, Domain::Avoid { range: (-1.0, 1.0), points: vec![0.0], margin: 0.1 })
        .input(&a)
        .input(&b)
        .ulps(0.0, SUMMED)
        .run();
    }
    OpCheck::new(
        "masked_fill",
        |x| x[1].masked_fill(&x[0].gt(&x[0].zeros_like()?)?, 7.0),
        |x| zip(&x[0], &x[1], |m, a| if m > 0.0 { 7.0 } else { a }),
    )
    .constant_in(&[5, 1], Domain::Avoid { range: (-1.0, 1.0), points: vec![0.0], margin: 0.1 })
    .input(&[5, 4])
    .ulps(0.0, 1.0)
    .run();
}

fn casts_between_floats_have_gradients() {
    // Through a wider dtype and back, nothing is rounded.
    for (dtype, narrower) in
        [(DType::F64, &[DType::F32, DType::F16, DType::BF16][..]), (DType::F32, &[DType::F16, DType::BF16])]
    {
        let check = OpCheck::new("to_dtype", move |x| x[0].to_dtype(dtype)?.to_dtype(x[0].dtype()), |x| x[0].clone())
            .input(&[3, 5])
            .dtypes(narrower)
            .ulps(0.0, 1.0);
        // CUDA devices have no f64.
        if dtype == DType::F64 { check.on_cpu_only().run() } else { check.run() }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// By a series whose terms have one sign (Abramowitz & Stegun 7.1.6).
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

/// What gradients of reductions are made of, by itself: operations widen halves before, the kernels take them too.
fn functions_of_reductions_in_every_type() {
    let mut random = Random::fresh("functions of reductions");
    let [rows, columns] = [5, 13];
    for dtype in CUDA_FLOATS {
        let mut draw = |low: f64, high: f64| {
            let array = Array::from_fn(&[rows, columns], |_| round(random.range(low, high), dtype));
            // Zeros to divide by, and infinities that are equal.
            let mut data = array.data;
            (data[3], data[40]) = (0.0, f64::INFINITY);
            data
        };
        let (x, y, g) = (draw(-2.0, 2.0), draw(-2.0, 2.0), draw(0.5, 1.5));
        let divided = |i: usize| if y[i] == 0.0 { 0.0 } else { x[i] / y[i] };
        let scaled = |i: usize| if x[i] == y[i] { g[i] } else { g[i] * (x[i] - y[i]).exp() };
        for device in devices(random.seed()) {
            let put = |values: &[f64]| {
                with_dtype!(dtype, T => {
                    let values: Vec<T> = values.iter().map(|&v| <T as Element>::from_f64(v)).collect();
                    Buffer::from_slice(&device, &values).unwrap()
                })
            };
            let buffers = [put(&x), put(&y), put(&g)];
            for transposed in [false, true] {
                let whole = Layout::contiguous(Shape::new(&[rows, columns]).unwrap());
                let layout = if transposed { whole.transpose(0, 1) } else { whole };
                let [x, y, g] = [0, 1, 2].map(|i: usize| View::new(&buffers[i], layout).unwrap());
                let out = || Buffer::uninit(&device, dtype, rows * columns).unwrap();
                let (mut quotient, mut product) = (out(), out());
                kernel::map(kernel::DivOrZero, [x, y], &mut quotient).unwrap();
                kernel::map(kernel::ScaledExpDifference, [x, y, g], &mut product).unwrap();
                let found = |buffer: &Buffer| -> Vec<f64> {
                    with_dtype!(dtype, T => buffer.to_vec::<T>().unwrap().into_iter().map(Element::to_f64).collect())
                };
                let (quotient, product) = (found(&quotient), found(&product));
                for at in 0..rows * columns {
                    let from = if transposed { at % rows * columns + at / rows } else { at };
                    for (found, expected) in [(quotient[at], divided(from)), (product[at], scaled(from))] {
                        // The exponential of a difference that is wrong by a roundoff of at most 4.
                        let bound = (dtype.unit_roundoff() + 12.0 * DType::F32.unit_roundoff()) * expected.abs() + 1e-7;
                        let same = found == expected || found.is_nan() && expected.is_nan();
                        assert!(same || (found - expected).abs() <= bound, "{dtype}: {found} instead of {expected}");
                    }
                }
            }
        }
    }
}

crate::support::device_checks!(
    arithmetic_with_broadcasting,
    fused_arithmetic,
    the_larger_and_the_smaller,
    exponentials_and_logarithms,
    roots_and_powers,
    trigonometry_and_the_error_function,
    signs_and_limits,
    activations,
    conditions,
    casts_between_floats_have_gradients,
    steps,
    functions_of_reductions_in_every_type
);
