//! Losses between tensors against their definitions, in every reduction.

#[cfg(test)]
mod support;

use crate::support::array::zip;
use crate::support::{Array, Domain, OpCheck};
use warpsmith::{DType, Device, Error, Reduction, Result, Tensor};

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

fn reduce(losses: Array, reduction: Reduction) -> Array {
    let sum = losses.data.iter().sum::<f64>();
    match reduction {
        Reduction::None => losses,
        Reduction::Sum => Array::new(&[], vec![sum]),
        Reduction::Mean => Array::new(&[], vec![sum / losses.data.len() as f64]),
    }
}

type Loss = fn(&Tensor, &Tensor, Reduction) -> Result<Tensor>;

/// Bounds in unit roundoffs: of the elements' losses, whose sum is kept in f64 and rounded once; and of the gradients,
/// scaled by a rounded 1/n.
#[expect(clippy::too_many_arguments, reason = "one row of a table each")]
fn check(
    name: &str,
    loss: Loss,
    one: fn(f64, f64) -> f64,
    x: Domain,
    target: Domain,
    both: bool,
    forward: f64,
    backward: f64,
) {
    for reduction in REDUCTIONS {
        for dims in [vec![], vec![1], vec![17], vec![3, 11]] {
            let check = OpCheck::new(
                name,
                move |x| loss(&x[0], &x[1], reduction),
                move |x| reduce(zip(&x[0], &x[1], one), reduction),
            )
            .magnitude(move |x| reduce(zip(&x[0], &x[1], one).map(f64::abs), reduction))
            .input_in(&dims, x.clone());
            let check =
                if both { check.input_in(&dims, target.clone()) } else { check.constant_in(&dims, target.clone()) };
            let check = check.dtypes(&[DType::F32, DType::F16, DType::BF16]).ulps(forward, backward);
            check.run();
            // In f64 the sum rounds as often as it has terms, and so does the reference's.
            let terms = dims.iter().product::<usize>() as f64;
            check.dtypes(&[DType::F64]).ulps(forward + 2.0 * terms, backward).run();
        }
    }
}

// Inputs and targets that never come near each other: the difference keeps its relative accuracy.
const X: Domain = Domain::Range(1.0, 2.0);
const T: Domain = Domain::Range(-1.0, 0.5);

fn squared_and_absolute_error() {
    check("mse_loss", Tensor::mse_loss, |x, t| (x - t).powi(2), X, T, true, 5.0, 8.0);
    check("l1_loss", Tensor::l1_loss, |x, t| (x - t).abs(), X, T, true, 3.0, 4.0);
    check("l1_loss", Tensor::l1_loss, |x, t| (x - t).abs(), T, X, true, 3.0, 4.0);
}

fn huber(d: f64, delta: f64) -> f64 {
    if d.abs() <= delta { d * d / 2.0 } else { delta * (d.abs() - delta / 2.0) }
}

fn hubers_loss() {
    // Differences from 0.5 to 3: on one side of the kink at a time, or well apart from it.
    for (x, t) in [(X, T), (T, X)] {
        check(
            "huber_loss",
            |x, t, r| x.huber_loss(t, 0.4, r),
            |x, t| huber(x - t, 0.4),
            x.clone(),
            t.clone(),
            true,
            6.0,
            6.0,
        );
        check(
            "huber_loss",
            |x, t, r| x.huber_loss(t, 3.5, r),
            |x, t| huber(x - t, 3.5),
            x.clone(),
            t.clone(),
            true,
            6.0,
            8.0,
        );
        let smooth = |x, t| huber(x - t, 0.4) / 0.4;
        check("smooth_l1_loss", |x, t, r| x.smooth_l1_loss(t, 0.4, r), smooth, x.clone(), t.clone(), true, 8.0, 8.0);
        let smooth = |x, t| huber(x - t, 3.5) / 3.5;
        check("smooth_l1_loss", |x, t, r| x.smooth_l1_loss(t, 3.5, r), smooth, x, t, true, 8.0, 10.0);
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn binary_cross_entropy() {
    let logits = Domain::Range(-3.0, 3.0);
    // −t ln σ(x) − (1 − t) ln(1 − σ(x)), by ln σ(x) = −softplus(−x).
    let one = |x: f64, t: f64| t * softplus(-x) + (1.0 - t) * softplus(x);
    // σ(x) − t may vanish: bounded relative to the mean, so single elements are left out by targets at the ends.
    let ends = Domain::Avoid { range: (0.0, 1.0), points: vec![0.5], margin: 0.49 };
    check(
        "bce_with_logits",
        |x, t, r| x.bce_with_logits(t, None, r),
        one,
        Domain::Range(-2.0, 2.0),
        ends.clone(),
        false,
        40.0,
        16.0,
    );
    let probabilities = Domain::Range(0.1, 0.8);
    let one = |x: f64, t: f64| -t * x.ln() - (1.0 - t) * (1.0 - x).ln();
    check("bce_loss", |x, t, r| x.bce_loss(t, r), one, probabilities, ends.clone(), false, 24.0, 16.0);
    for reduction in REDUCTIONS {
        OpCheck::new(
            "bce_with_logits",
            move |x| x[0].bce_with_logits(&x[1], Some(&x[2]), reduction),
            move |x| {
                let positive = zip(&zip(&x[0], &x[1], |x, t| t * softplus(-x)), &x[2], |l, w| l * w);
                let negative = zip(&x[0], &x[1], |x, t| (1.0 - t) * softplus(x));
                reduce(zip(&positive, &negative, |p, n| p + n), reduction)
            },
        )
        .input_in(&[3, 5], logits.clone())
        .constant_in(&[3, 5], ends.clone())
        .constant_in(&[5], Domain::Range(1.5, 4.0))
        .ulps(64.0, 24.0)
        .run();
    }
}

fn divergence() {
    let (log_probabilities, probabilities) = (Domain::Range(-4.0, -2.0), Domain::Range(0.2, 1.0));
    let kl = |x: f64, t: f64| t * (t.ln() - x);
    check("kl_div", |x, t, r| x.kl_div(t, false, r), kl, log_probabilities.clone(), probabilities, false, 16.0, 4.0);
    let kl = |x: f64, t: f64| t.exp() * (t - x);
    check("kl_div", |x, t, r| x.kl_div(t, true, r), kl, log_probabilities, Domain::Range(-1.5, 0.0), false, 12.0, 8.0);
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

#[test]
fn extremes_stay_finite() -> Result<()> {
    let (x, t) = (vector(&[-200.0, 200.0, -200.0, 200.0]).track(), vector(&[0.0, 1.0, 1.0, 0.0]));
    let loss = x.bce_with_logits(&t, None, Reduction::None)?;
    assert_eq!(loss.to_vec::<f32>()?, [0.0, 0.0, 200.0, 200.0]);
    assert_eq!(loss.sum_all()?.backward()?.expect(&x)?.to_vec::<f32>()?, [0.0, 0.0, -1.0, 1.0]);
    let weighted = x.bce_with_logits(&t, Some(&vector(&[2.0])), Reduction::None)?;
    assert_eq!(weighted.to_vec::<f32>()?, [0.0, 0.0, 400.0, 200.0]);
    let p = vector(&[0.0, 1.0, 0.0, 1.0]).track();
    let loss = p.bce_loss(&t, Reduction::None)?;
    assert_eq!(loss.to_vec::<f32>()?, [0.0, 0.0, 100.0, 100.0]);
    assert!(loss.sum_all()?.backward()?.expect(&p)?.to_vec::<f32>()?.iter().all(|g| g.is_finite()));
    // 0 ln 0 is 0.
    assert_eq!(vector(&[-1.0, -2.0]).kl_div(&vector(&[0.0, 1.0]), false, Reduction::Sum)?.item::<f32>()?, 2.0);
    // At the target and at the kink: PyTorch's gradients.
    let x = vector(&[1.0, 3.0]).track();
    assert_eq!(x.l1_loss(&vector(&[1.0, 2.0]), Reduction::Sum)?.backward()?.expect(&x)?.to_vec::<f32>()?, [0.0, 1.0]);
    assert_eq!(
        x.huber_loss(&vector(&[0.0, 2.0]), 1.0, Reduction::Sum)?.backward()?.expect(&x)?.to_vec::<f32>()?,
        [1.0, 1.0]
    );
    Ok(())
}

/// A mean of many elements neither overflows f16 nor loses what single additions would round away.
#[test]
fn sums_are_wider_than_their_dtype() -> Result<()> {
    let n = 100_003;
    for (dtype, unit) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8)), (DType::F32, 2f64.powi(-24))] {
        let x = Tensor::full(3.0, n, dtype, &Device::Cpu)?.track();
        let t = Tensor::full(1.0, n, dtype, &Device::Cpu)?;
        let loss = x.mse_loss(&t, Reduction::Mean)?;
        assert!((loss.item::<f64>()? - 4.0).abs() <= 4.0 * unit, "{dtype}: {}", loss.item::<f64>()?);
        let expected = 4.0 / n as f64;
        for g in loss.backward()?.expect(&x)?.to_f64_vec()? {
            // f16's smallest steps are 2⁻²⁴.
            assert!((g - expected).abs() <= (4.0 * unit * expected).max(2f64.powi(-25)));
        }
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let values: Vec<f32> = (0..200_003).map(|i| ((i * 7919) % 10_007) as f32 / 1000.0).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let x = vector(&values);
            x.mse_loss(&x.neg().unwrap(), Reduction::Mean).unwrap().item::<f32>().unwrap().to_bits()
        })
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(3));
}

#[test]
fn misuse_is_explained() -> Result<()> {
    let (x, t) = (vector(&[0.5, 0.25]).track(), vector(&[1.0, 0.0]));
    let error = x.mse_loss(&vector(&[1.0]), Reduction::Mean).unwrap_err().to_string();
    assert_eq!(error, "mse_loss: expected an input and a target of one shape, got [2] and [1]");
    let error = x.l1_loss(&t.to_dtype(DType::F64)?, Reduction::Mean).unwrap_err().to_string();
    assert!(error.contains("one float dtype") && error.contains("f32 and f64"), "{error}");
    assert!(matches!(x.bce_loss(&t.track(), Reduction::Mean), Err(Error::NoBackward { .. })));
    assert!(matches!(x.kl_div(&t.track(), true, Reduction::Mean), Err(Error::NoBackward { .. })));
    let weight = vector(&[2.0]).track();
    assert!(matches!(x.bce_with_logits(&t, Some(&weight), Reduction::Mean), Err(Error::NoBackward { .. })));
    let error = x.bce_with_logits(&t, Some(&vector(&[1.0; 3])), Reduction::Mean).unwrap_err().to_string();
    assert!(error.contains("broadcasts to the logits"), "{error}");
    assert!(
        x.huber_loss(&t, 0.0, Reduction::Mean).is_err() && x.smooth_l1_loss(&t, f64::NAN, Reduction::Mean).is_err()
    );
    let empty = vector(&[]);
    assert!(empty.mse_loss(&empty, Reduction::Mean)?.item::<f32>()?.is_nan());
    assert_eq!(empty.mse_loss(&empty, Reduction::Sum)?.item::<f32>()?, 0.0);
    Ok(())
}

crate::support::device_checks!(squared_and_absolute_error, hubers_loss, binary_cross_entropy, divergence,);
