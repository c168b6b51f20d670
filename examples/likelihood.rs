//! Maximum likelihood: the mean and variance of a normal distribution recovered from samples by following the gradient
//! of the negative log-likelihood, which for a fixed variance is the mean squared error; and the log-densities and
//! entropies of the normal, gamma and multinomial distributions against their samples.
//!
//! ```text
//! cargo run --release --example likelihood
//! ```

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::f64::consts::PI;
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use warpsmith::nn::{Init, Params};
use warpsmith::optim::{Adam, AdamConfig, Optimizer};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Reduction, Result, Tensor};

const MEAN: f64 = 1.5;
const VARIANCE: f64 = 0.49;
/// Of each multinomial sample.
const TRIALS: usize = 5;

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("likelihood")
        .about("Recovers a normal distribution's mean and variance; checks densities and entropies against samples")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("samples", "20000", "drawn from each distribution").value_parser(value_parser!(usize)))
        .arg(arg("steps", "400", "of the optimizer").value_parser(value_parser!(u64)))
        .arg(arg("seed", "1", "of the samples").value_parser(value_parser!(u64)))
}

/// log of the normal density, for tensors of values, means and log-variances.
fn normal_log_density(x: &Tensor, mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    let scaled = ((x - mean)?.square()? * log_variance.neg()?.exp()?)?;
    (scaled + log_variance)?.affine(-0.5, -0.5 * (2.0 * PI).ln())
}

/// log Γ by Stirling's series from 8 on, and by the recurrence below (Abramowitz and Stegun 6.1.40).
fn ln_gamma(x: f64) -> f64 {
    if x < 8.0 {
        return ln_gamma(x + 1.0) - x.ln();
    }
    let y = 1.0 / (x * x);
    (x - 0.5) * x.ln() - x
        + 0.5 * (2.0 * PI).ln()
        + (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y / 1680.0))) / x
}

/// The derivative of log Γ, by the same two steps (6.3.18).
fn digamma(x: f64) -> f64 {
    if x < 8.0 {
        return digamma(x + 1.0) - 1.0 / x;
    }
    let y = 1.0 / (x * x);
    x.ln() - 0.5 / x - y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y / 240.0)))
}

/// log of the chance that trials fall into the classes so often.
fn multinomial_log_density(counts: [usize; 4], chances: [f64; 4]) -> f64 {
    let of_classes = counts.iter().zip(chances).map(|(&k, p)| k as f64 * p.ln() - ln_gamma(k as f64 + 1.0));
    ln_gamma(TRIALS as f64 + 1.0) + of_classes.sum::<f64>()
}

/// Follows the gradient of the mean negative log-likelihood; the mean and variance it ends at.
fn fit(x: &Tensor, steps: u64, device: &Device) -> Result<(f64, f64)> {
    let params = Params::new(device, DType::F32, 0);
    let (mean, log_variance) =
        (params.param("mean", (), Init::Constant(0.0))?, params.param("log_variance", (), Init::Constant(0.0))?);
    let mut adam = Adam::new(params.trainable(), AdamConfig::adam(0.05))?;
    for step in 1..=steps {
        let loss = normal_log_density(x, &mean.tensor(), &log_variance.tensor())?.mean(&[0])?.neg()?;
        adam.step(&loss.backward()?)?;
        if step % 100 == 0 {
            let (mean, variance) = (mean.item::<f64>()?, log_variance.item::<f64>()?.exp());
            println!("step {step}: −log L = {:.5}, mean {mean:.4}, variance {variance:.4}", loss.item::<f32>()?);
        }
    }
    Ok((mean.item::<f64>()?, log_variance.item::<f64>()?.exp()))
}

/// The mean of −log p over samples, in nats, against the entropy in closed form: the law of large numbers brings the
/// first to the second.
fn compare(name: &str, log_densities: &[f64], entropy: f64) {
    let n = log_densities.len() as f64;
    let mean = -log_densities.iter().sum::<f64>() / n;
    let spread = (log_densities.iter().map(|v| (v + mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
    figure(&format!("{name}: mean of −log p"), mean, Wanted::Near(entropy, 4.0 * spread + 1e-5));
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let samples: usize = args.get_one("samples").copied().unwrap_or_default();
    let mut rng = Philox::new(args.get_one("seed").copied().unwrap_or_default());

    let x = Tensor::normal(MEAN, VARIANCE.sqrt(), samples, DType::F32, &device, &mut rng)?;
    let (mean, variance) = fit(&x, args.get_one("steps").copied().unwrap_or_default(), &device)?;
    // What the samples themselves have, in closed form, is where the likelihood is largest.
    let (best_mean, best_variance) = (x.mean(&[0])?.item::<f64>()?, x.var(&[0], 0.0)?.item::<f64>()?);
    figure("mean", mean, Wanted::Near(best_mean, 1e-3));
    figure("variance", variance, Wanted::Near(best_variance, 1e-3));

    // With the variance fixed, −log L is the mean squared error, scaled and shifted.
    let at = Tensor::full(1.0, x.dims(), DType::F32, &device)?;
    let log_variance = Tensor::full(VARIANCE.ln(), (), DType::F32, &device)?;
    let likelihood = normal_log_density(&x, &at, &log_variance)?.mean(&[0])?.neg()?.item::<f64>()?;
    let error = x.mse_loss(&at, Reduction::Mean)?.item::<f64>()?;
    let from_error = error / (2.0 * VARIANCE) + 0.5 * (2.0 * PI * VARIANCE).ln();
    figure("−log L at a mean of 1, against what the squared error says", likelihood, Wanted::Near(from_error, 1e-5));

    let truth = Tensor::full(MEAN, (), DType::F32, &device)?;
    let normal = normal_log_density(&x, &truth, &log_variance)?.to_f64_vec()?;
    compare("normal", &normal, 0.5 * (2.0 * PI * 1f64.exp() * VARIANCE).ln());

    let shape = 2.5;
    let draws = Tensor::gamma(shape, 1.0, samples, DType::F32, &device, &mut rng)?.to_f64_vec()?;
    let gamma: Vec<f64> = draws.iter().map(|x| (shape - 1.0) * x.ln() - x - ln_gamma(shape)).collect();
    compare("gamma", &gamma, shape + ln_gamma(shape) + (1.0 - shape) * digamma(shape));

    let chances = [0.1f64, 0.2, 0.3, 0.4];
    let weights = Tensor::from_slice(&chances.map(|p| p as f32), 4, &device)?;
    let drawn = weights.multinomial(samples * TRIALS, true, &mut rng)?.to_vec::<i64>()?;
    let counted =
        drawn.chunks_exact(TRIALS).map(|draws| [0, 1, 2, 3].map(|k| draws.iter().filter(|&&d| d == k).count()));
    let multinomial: Vec<f64> = counted.map(|counts| multinomial_log_density(counts, chances)).collect();
    // No closed form: the sum over all ways to share the trials out.
    let outcomes = (0..=TRIALS).flat_map(|a| (0..=TRIALS - a).map(move |b| (a, b)));
    let outcomes = outcomes.flat_map(|(a, b)| (0..=TRIALS - a - b).map(move |c| [a, b, c, TRIALS - a - b - c]));
    let logs = outcomes.map(|counts| multinomial_log_density(counts, chances));
    compare("multinomial", &multinomial, -logs.map(|log| log * log.exp()).sum::<f64>());
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
