//! NaN, infinities, kinks, ties, steps and integers, as in PyTorch.

use warpsmith::half::{bf16, f16};
use warpsmith::{DType, Device, Element, Error, Result, Tensor};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn vector<T: Element>(values: &[T]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

fn same(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

/// Values and gradients (of the sum) at given points.
fn check(f: impl Fn(&Tensor) -> Result<Tensor>, x: &[f32], y: &[f32], gradient: &[f32]) {
    let x = vector(x).track();
    let out = f(&x).unwrap();
    let found = out.to_vec::<f32>().unwrap();
    assert!(same(&found, y), "{found:?} instead of {y:?}");
    let found: Vec<f32> =
        out.backward_with(&out.detach().ones_like().unwrap()).unwrap().expect(&x).unwrap().to_vec().unwrap();
    assert!(same(&found, gradient), "gradient {found:?} instead of {gradient:?}");
}

#[test]
fn kinks_have_pytorchs_gradients() {
    check(Tensor::relu, &[-1.0, 0.0, 2.0, NAN], &[0.0, 0.0, 2.0, NAN], &[0.0, 0.0, 1.0, 1.0]);
    check(Tensor::abs, &[-1.0, 0.0, 2.0], &[1.0, 0.0, 2.0], &[-1.0, 0.0, 1.0]);
    check(|x| x.leaky_relu(0.5), &[-1.0, 0.0, 2.0, NAN], &[-0.5, 0.0, 2.0, NAN], &[0.5, 0.5, 1.0, 0.5]);
    check(
        |x| x.clamp(-1.0, 1.0),
        &[-2.0, -1.0, 1.0, 2.0, NAN],
        &[-1.0, -1.0, 1.0, 1.0, NAN],
        &[0.0, 1.0, 1.0, 0.0, 0.0],
    );
    check(|x| x.elu(2.0), &[0.0, -INF], &[0.0, -2.0], &[2.0, 0.0]);
    check(Tensor::hardswish, &[-3.0, 3.0, -4.0, 4.0], &[-0.0, 3.0, -0.0, 4.0], &[0.0, 1.0, 0.0, 1.0]);
    check(Tensor::hardsigmoid, &[-3.0, 3.0], &[0.0, 1.0], &[0.0, 0.0]);
    check(|x| x.powf(0.0), &[0.0, NAN, 2.0], &[1.0, 1.0, 1.0], &[0.0, 0.0, 0.0]);
}

#[test]
fn ties_share_the_gradient() {
    for f in [Tensor::maximum, Tensor::minimum] {
        let (a, b) = (vector(&[1f32, NAN, 1.0]).track(), vector(&[1f32, 1.0, NAN]).track());
        let y = f(&a, &b).unwrap();
        assert!(same(&y.to_vec::<f32>().unwrap(), &[1.0, NAN, NAN]));
        let gradients = y.backward_with(&vector(&[1f32, 1.0, 1.0])).unwrap();
        for x in [&a, &b] {
            assert_eq!(gradients.expect(x).unwrap().to_vec::<f32>().unwrap(), [0.5, 1.0, 1.0]);
        }
    }
}

#[test]
fn powers_of_zero_have_finite_gradients() {
    let (a, b) = (vector(&[0f32, 0.0, 2.0]).track(), vector(&[0f32, 2.0, 0.0]).track());
    let gradients = a.pow(&b).unwrap().backward_with(&vector(&[1f32; 3])).unwrap();
    assert_eq!(gradients.expect(&a).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.0, 0.0]);
    let found = gradients.expect(&b).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(found[..2], [0.0, 0.0]);
    assert!((found[2] - 2f32.ln()).abs() < 1e-6);
}

#[test]
fn steps_have_zero_gradients() {
    let x = [-1.5, -0.5, 0.5, 1.5, 2.5];
    check(Tensor::floor, &x, &[-2.0, -1.0, 0.0, 1.0, 2.0], &[0.0; 5]);
    check(Tensor::ceil, &x, &[-1.0, -0.0, 1.0, 2.0, 3.0], &[0.0; 5]);
    check(Tensor::round, &x, &[-2.0, -0.0, 0.0, 2.0, 2.0], &[0.0; 5]);
    check(Tensor::trunc, &x, &[-1.0, -0.0, 0.0, 1.0, 2.0], &[0.0; 5]);
    check(Tensor::sign, &[-1.5, 0.0, 3.0, NAN, -INF], &[-1.0, 0.0, 1.0, NAN, -1.0], &[0.0; 5]);
}

#[test]
fn nothing_overflows_far_out() {
    let far = [-200.0f32, 200.0];
    check(Tensor::sigmoid, &far, &[0.0, 1.0], &[0.0, 0.0]);
    check(Tensor::softplus, &far, &[0.0, 200.0], &[0.0, 1.0]);
    check(Tensor::log_sigmoid, &far, &[-200.0, -0.0], &[1.0, 0.0]);
    check(Tensor::tanh, &far, &[-1.0, 1.0], &[0.0, 0.0]);
    check(Tensor::mish, &far, &[-0.0, 200.0], &[0.0, 1.0]);
    check(Tensor::silu, &far, &[-0.0, 200.0], &[0.0, 1.0]);
    check(Tensor::gelu, &far, &[-0.0, 200.0], &[0.0, 1.0]);
    check(Tensor::gelu_tanh, &far, &[-0.0, 200.0], &[0.0, 1.0]);
    check(|x| x.elu(1.0), &far, &[-1.0, 200.0], &[0.0, 1.0]);
    check(Tensor::erf, &far, &[-1.0, 1.0], &[0.0, 0.0]);
}

/// GELU's lower tail keeps its relative accuracy: Φ is not 1 + erf there.
#[test]
fn gelu_is_accurate_in_its_tail() {
    let x = [-3f32, -5.0, -8.0];
    // x Φ(x), to twelve digits.
    let expected = [-4.049694095e-3f64, -1.433257785e-6, -4.976768459e-15];
    for (x, expected) in x.into_iter().zip(expected) {
        let found = vector(&[x]).gelu().unwrap().item::<f32>().unwrap();
        // x/√2 is rounded once, which e^(−x²/2) magnifies by x².
        let bound = (x as f64 * x as f64 + 16.0) * 2f64.powi(-24);
        assert!((found as f64 / expected - 1.0).abs() < bound, "{found:e} instead of {expected:e}");
    }
}

#[test]
fn functions_keep_nan() {
    for f in [
        Tensor::exp,
        Tensor::exp2,
        Tensor::expm1,
        Tensor::log,
        Tensor::log2,
        Tensor::log1p,
        Tensor::sqrt,
        Tensor::rsqrt,
        Tensor::recip,
        Tensor::square,
        Tensor::sin,
        Tensor::cos,
        Tensor::tan,
        Tensor::tanh,
        Tensor::sigmoid,
        Tensor::log_sigmoid,
        Tensor::relu,
        Tensor::relu6,
        Tensor::selu,
        Tensor::gelu,
        Tensor::gelu_tanh,
        Tensor::silu,
        Tensor::softplus,
        Tensor::hardswish,
        Tensor::hardsigmoid,
        Tensor::mish,
        Tensor::erf,
        Tensor::floor,
        Tensor::round,
        Tensor::abs,
        Tensor::sign,
    ] {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let y = f(&vector(&[NAN, 1.0]).to_dtype(dtype).unwrap()).unwrap().to_f64_vec().unwrap();
            assert!(y[0].is_nan() && !y[1].is_nan(), "{y:?}");
        }
    }
}

#[test]
fn integers_wrap_and_floats_operands_are_refused() {
    let (a, b) = (vector(&[1i64, -5, i64::MAX]), vector(&[2i64, 3, 1]));
    assert_eq!((&a + &b).unwrap().to_vec::<i64>().unwrap(), [3, -2, i64::MIN]);
    assert_eq!((&a - &b).unwrap().to_vec::<i64>().unwrap(), [-1, -8, i64::MAX - 1]);
    assert_eq!((&a * &b).unwrap().to_vec::<i64>().unwrap(), [2, -15, i64::MAX]);
    assert_eq!(((2.0 * &a).unwrap() + 1.0).unwrap().to_vec::<i64>().unwrap(), [3, -9, -1]);
    assert_eq!(a.maximum(&b).unwrap().to_vec::<i64>().unwrap(), [2, 3, i64::MAX]);
    assert_eq!(a.minimum(&b).unwrap().to_vec::<i64>().unwrap(), [1, -5, 1]);
    assert_eq!(a.abs().unwrap().to_vec::<i64>().unwrap(), [1, 5, i64::MAX]);
    assert_eq!(a.sign().unwrap().to_vec::<i64>().unwrap(), [1, -1, 1]);
    assert_eq!(a.neg().unwrap().to_vec::<i64>().unwrap(), [-1, 5, -i64::MAX]);
    assert_eq!(b.square().unwrap().to_vec::<i64>().unwrap(), [4, 9, 1]);
    assert_eq!(a.clamp(-2.5, f64::INFINITY).unwrap().to_vec::<i64>().unwrap(), [1, -2, i64::MAX]);
    let bytes = (vector(&[200u8, 3]) + vector(&[100u8, 4])).unwrap();
    assert_eq!(bytes.to_vec::<u8>().unwrap(), [44, 7]);
    assert_eq!((vector(&[1u32]) - vector(&[2u32])).unwrap().to_vec::<u32>().unwrap(), [u32::MAX]);
    let error = (&a * 0.5).unwrap_err().to_string();
    assert!(error.contains("0.5 is not a whole number") && error.contains("to_dtype"), "{error}");
    let error = a.div(&b).unwrap_err().to_string();
    assert_eq!(error, "div: no i64 kernel on cpu (available: f32, f16, bf16, f64)");
}

#[test]
fn comparisons_give_masks() {
    let (a, b) = (vector(&[1f32, 2.0, NAN, 0.0]), vector(&[2f32, 2.0, NAN, -0.0]));
    for (f, expected) in [
        (Tensor::eq as fn(&Tensor, &Tensor) -> Result<Tensor>, [0u8, 1, 0, 1]),
        (Tensor::ne, [1, 0, 1, 0]),
        (Tensor::lt, [1, 0, 0, 0]),
        (Tensor::le, [1, 1, 0, 1]),
        (Tensor::gt, [0, 0, 0, 0]),
        (Tensor::ge, [0, 1, 0, 1]),
    ] {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let mask = f(&a.to_dtype(dtype).unwrap(), &b.to_dtype(dtype).unwrap()).unwrap();
            assert_eq!(mask.to_vec::<u8>().unwrap(), expected);
        }
    }
    assert_eq!(a.is_nan().unwrap().to_vec::<u8>().unwrap(), [0, 0, 1, 0]);
    for dtype in [DType::I64, DType::U32, DType::U8] {
        let (a, b) = (vector(&[1u8, 2, 3]).to_dtype(dtype).unwrap(), vector(&[2u8]).to_dtype(dtype).unwrap());
        assert_eq!(a.lt(&b).unwrap().to_vec::<u8>().unwrap(), [1, 0, 0]);
        assert_eq!(a.ge(&b).unwrap().to_vec::<u8>().unwrap(), [0, 1, 1]);
    }
    let (p, q) = (vector(&[0u8, 0, 1, 2]), vector(&[0u8, 1, 0, 7]));
    assert_eq!(p.logical_and(&q).unwrap().to_vec::<u8>().unwrap(), [0, 0, 0, 1]);
    assert_eq!(p.logical_or(&q).unwrap().to_vec::<u8>().unwrap(), [0, 1, 1, 1]);
    assert_eq!(p.logical_xor(&q).unwrap().to_vec::<u8>().unwrap(), [0, 1, 1, 0]);
    assert_eq!(p.logical_not().unwrap().to_vec::<u8>().unwrap(), [1, 1, 0, 0]);
    assert!(!a.track().gt(&b).unwrap().requires_grad());
}

#[test]
fn casts_between_all_dtypes() {
    let values = [-3.7f64, -1.0, 0.0, 2.5, 100.0];
    for from in DType::ALL {
        for to in DType::ALL {
            let x = vector(&values).to_dtype(from).unwrap();
            let found = x.to_dtype(to).unwrap();
            assert_eq!(found.dtype(), to);
            for (x, found) in x.to_f64_vec().unwrap().into_iter().zip(found.to_f64_vec().unwrap()) {
                let expected = match to {
                    DType::I64 => x.trunc(),
                    // Saturated from floats; wrapped from integers.
                    DType::U32 if from.is_float() => x.trunc().max(0.0),
                    DType::U8 if from.is_float() => x.trunc().clamp(0.0, 255.0),
                    DType::U32 => x.rem_euclid(4294967296.0),
                    DType::U8 => x.rem_euclid(256.0),
                    DType::F16 => f16::from_f64(x).to_f64(),
                    DType::BF16 => bf16::from_f64(x).to_f64(),
                    DType::F32 => x as f32 as f64,
                    DType::F64 => x,
                };
                assert_eq!(found, expected, "{x} from {from} to {to}");
            }
        }
    }
    // Not through f64, where 2⁵⁴ + 2³⁰ + 1 would become a tie.
    let x = (1i64 << 54) + (1 << 30) + 1;
    assert_eq!(vector(&[x]).to_dtype(DType::F32).unwrap().to_vec::<f32>().unwrap(), [x as f32]);
    let odd = [NAN, INF, -INF, 3e9];
    assert_eq!(vector(&odd).to_dtype(DType::U32).unwrap().to_vec::<u32>().unwrap(), [0, u32::MAX, 0, 3_000_000_000]);
    assert!(!vector(&odd).track().to_dtype(DType::I64).unwrap().requires_grad());
}

#[test]
fn errors_name_what_they_got() {
    let (a, b) = (vector(&[1f32, 2.0]), vector(&[1f64, 2.0]));
    let error = a.add(&b).unwrap_err();
    assert!(matches!(error, Error::DType { op: "add", .. }), "{error}");
    let error = a.lt(&b).unwrap_err().to_string();
    assert_eq!(error, "lt: expected operands of one dtype (convert with to_dtype), got f32 and f64");
    let error = a.where_cond(&a, &a).unwrap_err().to_string();
    assert!(error.starts_with("where: expected a u8 mask"), "{error}");
    let error = a.mul(&vector(&[1f32, 2.0, 3.0])).unwrap_err().to_string();
    assert_eq!(error, "mul: expected shapes that broadcast together, got [2] and [3]");
}

#[test]
fn operators_take_values_references_results_variables_and_numbers() -> Result<()> {
    use warpsmith::Var;
    let (x, y) = (vector(&[1f32, 2.0]), vector(&[3f32, 4.0]));
    let v = Var::new(&y)?;
    let is = |t: Result<Tensor>, expected: [f32; 2]| assert_eq!(t.unwrap().to_vec::<f32>().unwrap(), expected);
    is(&x + &y, [4.0, 6.0]);
    is(x.clone() * y.clone() + &x, [4.0, 10.0]);
    is(&x + &x * &y, [4.0, 10.0]);
    is(x.copy()? - y.copy()?, [-2.0, -2.0]);
    is(y.copy()? / x.copy()?, [3.0, 2.0]);
    is(1.0 - &x, [0.0, -1.0]);
    is(2.0 * x.copy()?, [2.0, 4.0]);
    is(2.0 / &x, [2.0, 1.0]);
    is(&y / 2.0, [1.5, 2.0]);
    is(&v + &x, [4.0, 6.0]);
    is(&x * v.clone(), [3.0, 8.0]);
    is(3.0 - &v, [0.0, -1.0]);
    is(-&v, [-3.0, -4.0]);
    is(-x.clone(), [-1.0, -2.0]);
    // Operands that are still held are not touched, views and broadcast ones neither.
    assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0]);
    let z = x.copy()?;
    let view = z.reshape([2, 1])?;
    is(z + 1.0, [2.0, 3.0]);
    assert_eq!(view.to_vec::<f32>()?, [1.0, 2.0]);
    let scalar = Tensor::full(1.0, (), DType::F32, &Device::Cpu)?;
    is(scalar + &x, [2.0, 3.0]);
    let gradients = ((3.0 * &v)? - &v * &v)?.sum_all()?.backward()?;
    assert_eq!(gradients.expect(&v)?.to_vec::<f32>()?, [-3.0, -5.0]);
    Ok(())
}
