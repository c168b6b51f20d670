//! Second derivatives: the recorded walk (made of operations) gives the gradients of the plain one, and its gradient
//! agrees with differences of the plain one.

use crate::support::Random;
use warpsmith::autograd::Backward;
use warpsmith::{Device, Result, Tensor};

type Unary = fn(&Tensor) -> Result<Tensor>;

fn vector(values: &[f64]) -> Result<Tensor> {
    Tensor::from_slice(values, values.len(), &Device::Cpu)
}

/// The gradient of Σ w f(x) by the plain walk.
fn gradient(f: Unary, x: &[f64], w: &Tensor) -> Result<Vec<f64>> {
    let x = vector(x)?.track();
    f(&x)?.backward_with(w)?.expect(&x)?.to_vec()
}

fn check(name: &str, f: Unary, points: &[f64]) -> Result<()> {
    let mut random = Random::fresh(name);
    let w = vector(&points.iter().map(|_| random.range(0.5, 1.5)).collect::<Vec<_>>())?;
    let x = vector(points)?.track();
    let gradients = Backward::new().create_graph().run_with(&f(&x)?, w.clone())?;
    let first = gradients.expect(&x)?;
    let plain = gradient(f, points, &w)?;
    for (i, (a, b)) in first.to_vec::<f64>()?.iter().zip(&plain).enumerate() {
        assert!((a - b).abs() <= 1e-13 * (1.0 + b.abs()), "{name}: gradient at {}: {a} recorded, {b} plain", points[i]);
    }
    // Piecewise linear functions have no second derivative to walk to.
    let second = match first.requires_grad() {
        true => first.backward_with(&x.detach().ones_like()?)?.get(&x)?,
        false => None,
    };
    let second = second.map_or(Ok(vec![0.0; points.len()]), |s| s.to_vec::<f64>())?;
    let h = 1e-4;
    let at = |k: f64| gradient(f, &points.iter().map(|p| p + k * h).collect::<Vec<_>>(), &w);
    let y = [at(1.0)?, at(-1.0)?, at(2.0)?, at(-2.0)?];
    for i in 0..points.len() {
        let numeric = (8.0 * (y[0][i] - y[1][i]) - (y[2][i] - y[3][i])) / (12.0 * h);
        let bound = 1e-8 * (1.0 + numeric.abs());
        assert!((second[i] - numeric).abs() <= bound, "{name}''({}) = {}, not {numeric}", points[i], second[i]);
    }
    Ok(())
}

#[test]
fn of_every_function_of_one_number() -> Result<()> {
    let real = [-2.3, -1.1, -0.4, 0.3, 0.9, 1.7, 4.2];
    let positive = [0.3, 0.9, 1.7, 4.2];
    for (name, f) in [
        ("exp", Tensor::exp as Unary),
        ("exp2", Tensor::exp2),
        ("expm1", Tensor::expm1),
        ("square", Tensor::square),
        ("recip", Tensor::recip),
        ("powf(3)", |x| x.powf(3.0)),
        ("powf(0)", |x| x.powf(0.0)),
        ("sin", Tensor::sin),
        ("cos", Tensor::cos),
        ("erf", Tensor::erf),
        ("abs", Tensor::abs),
        ("relu", Tensor::relu),
        ("leaky_relu", |x| x.leaky_relu(0.1)),
        ("elu", |x| x.elu(1.3)),
        ("selu", Tensor::selu),
        ("sigmoid", Tensor::sigmoid),
        ("log_sigmoid", Tensor::log_sigmoid),
        ("tanh", Tensor::tanh),
        ("gelu", Tensor::gelu),
        ("gelu_tanh", Tensor::gelu_tanh),
        ("silu", Tensor::silu),
        ("softplus", Tensor::softplus),
        ("hardswish", Tensor::hardswish),
        ("hardsigmoid", Tensor::hardsigmoid),
        ("mish", Tensor::mish),
        ("clamp", |x| x.clamp(-1.0, 1.5)),
        ("affine", |x| x.affine(2.0, 1.0)?.square()),
        ("div_scalar", |x| x.div_scalar(3.0)?.exp()),
        ("maximum", |x| x.square()?.maximum(&x.exp()?)),
        ("minimum", |x| x.square()?.minimum(&x.exp()?)),
        ("add_relu", |x| x.square()?.add_relu(&x.neg()?)),
        ("mul_add", |x| x.mul_add(&x.sin()?, &x.exp()?)),
        ("div", |x| x.sin()?.div(&x.exp()?)),
        ("lerp", |x| x.exp()?.lerp(&x.square()?, 0.3)),
        ("where", |x| x.gt(&x.zeros_like()?)?.where_cond(&x.exp()?, &x.square()?)),
        ("masked_fill", |x| x.exp()?.masked_fill(&x.gt(&x.zeros_like()?)?, 3.0)),
    ] {
        check(name, f, &real)?;
    }
    for (name, f) in [
        ("log", Tensor::log as Unary),
        ("log2", Tensor::log2),
        ("log1p", Tensor::log1p),
        ("sqrt", Tensor::sqrt),
        ("rsqrt", Tensor::rsqrt),
        ("powf(1.7)", |x| x.powf(1.7)),
    ] {
        check(name, f, &positive)?;
    }
    check("tan", Tensor::tan, &[-1.2, -0.3, 0.4, 1.1])
}

#[test]
fn are_an_error_where_a_backward_is_not_made_of_operations() -> Result<()> {
    let (a, b) = (vector(&[1.5, 2.0])?.track(), vector(&[0.5, 3.0])?);
    let error = Backward::new().create_graph().run(&a.pow(&b)?.sum_all()?).unwrap_err().to_string();
    assert!(error.starts_with("backward of pow: has no backward"), "{error}");
    Ok(())
}
