//! Over-fitting shown and cured: a multi-layer perceptron on 300 handwritten digits learns them by heart, and knows
//! other digits less and less; dropout and weight decay keep it from that.
//!
//! ```text
//! cargo run --release --example mlp
//! ```
//!
//! Some ten seconds on two cores. Leaves a picture of both runs' losses on the training and on the test digits.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use support::digits::{self, Images};
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::nn::{Activation, Ctx, Dropout, Linear, Module, Params, Sequential};
use warpsmith::optim::{Adam, AdamConfig, Optimizer};
use warpsmith::random::permutation;
use warpsmith::train::{Curve, draw_curves};
use warpsmith::{DType, Device, Error, Result, Tensor, metrics, no_grad};

const BATCH: usize = 50;

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("mlp")
        .about("A multi-layer perceptron on few digits: over-fitting shown, then cured by dropout and weight decay")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("images", "300", "to learn from, at most 1437").value_parser(value_parser!(usize)))
        .arg(arg("epochs", "200", "passes over them").value_parser(value_parser!(u64).range(1..)))
        .arg(arg("dropout", "0.5", "of the cured network").value_parser(value_parser!(f64)))
        .arg(arg("decay", "1", "of the cured network's weights").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, shuffles and dropout").value_parser(value_parser!(u64)))
        .arg(arg("out", "out/mlp", "folder for the picture").value_parser(value_parser!(PathBuf)))
}

/// Images as rows of 64 pixels, and their labels.
struct Set {
    x: Tensor,
    labels: Tensor,
}

impl Set {
    fn new(images: &Images, count: usize, device: &Device) -> Result<Set> {
        let pixels = images.side * images.side;
        let x = Tensor::from_slice(&images.pixels[..count * pixels], [count, pixels], device)?;
        Ok(Set { x, labels: Tensor::from_slice(&images.labels[..count], count, device)? })
    }

    fn rows(&self, places: &[usize]) -> Result<(Tensor, Tensor)> {
        let places = Tensor::from_iter(places.iter().map(|&place| place as i64), self.x.device())?;
        Ok((self.x.index_select(0, &places)?, self.labels.index_select(0, &places)?))
    }

    /// The mean loss and the accuracy of a network, with dropout off.
    fn judge(&self, network: &Sequential) -> Result<(f64, f64)> {
        no_grad(|| {
            let logits = network.forward(&self.x, &mut Ctx::infer())?;
            let loss = logits.cross_entropy(&self.labels, &Default::default())?.item::<f64>()?;
            Ok((loss, metrics::accuracy(&logits, &self.labels)?))
        })
    }
}

/// How a run ended, and its losses on both sets after each epoch.
struct Outcome {
    loss: f64,
    accuracy: f64,
    training: Vec<f64>,
    test: Vec<f64>,
}

fn train(dropout: f64, decay: f64, epochs: u64, seed: u64, training: &Set, test: &Set) -> Result<Outcome> {
    let params = Params::new(training.x.device(), DType::F32, seed);
    let network = Sequential::new(&params)
        .layer(|p| Linear::new(p, 64, 256))?
        .then(Activation::Relu)
        .then(Dropout::new(dropout)?)
        .layer(|p| Linear::new(p, 256, 256))?
        .then(Activation::Relu)
        .then(Dropout::new(dropout)?)
        .layer(|p| Linear::new(p, 256, 10))?;
    let config = AdamConfig { weight_decay: decay, ..AdamConfig::adamw(1e-3) };
    let mut optimizer = Adam::new(params.trainable(), config)?;
    let mut ctx = Ctx::train(seed);
    let (mut training_losses, mut test_losses, mut accuracy) = (vec![], vec![], 0.0);
    for epoch in 1..=epochs {
        for places in permutation(training.labels.numel(), &mut generator(seed, 1, epoch)).chunks(BATCH) {
            let (x, labels) = training.rows(places)?;
            let loss = network.forward(&x, &mut ctx)?.cross_entropy(&labels, &Default::default())?;
            optimizer.step(&loss.backward()?)?;
        }
        let known = training.judge(&network)?;
        let unknown = test.judge(&network)?;
        if epoch % 50 == 0 || epoch == epochs {
            let [known_share, unknown_share] = [known.1, unknown.1].map(|share| 100.0 * share);
            println!(
                "epoch {epoch}: training loss {:.4}, {known_share:.1} %; test loss {:.4}, {unknown_share:.1} %",
                known.0, unknown.0
            );
        }
        training_losses.push(known.0);
        test_losses.push(unknown.0);
        accuracy = unknown.1;
    }
    let loss = test_losses.last().copied().unwrap_or(f64::NAN);
    Ok(Outcome { loss, accuracy, training: training_losses, test: test_losses })
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let real = |name: &str| args.get_one::<f64>(name).copied().unwrap_or_default();
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (training, test) = digits::load()?;
    let count = args.get_one("images").map_or(0, |&count: &usize| count.clamp(1, training.len()));
    let (training, test) = (Set::new(&training, count, &device)?, Set::new(&test, test.len(), &device)?);

    println!("without dropout and decay, on {count} digits:");
    let plain = train(0.0, 0.0, number("epochs"), number("seed"), &training, &test)?;
    println!("with dropout {} and decay {}:", real("dropout"), real("decay"));
    let cured = train(real("dropout"), real("decay"), number("epochs"), number("seed"), &training, &test)?;

    let out = args.get_one::<PathBuf>("out").cloned().unwrap_or_default();
    std::fs::create_dir_all(&out).map_err(|source| Error::Io { action: "creating", path: out.clone(), source })?;
    let curves = |of: &Outcome| {
        let curve = |name: &str, values: &[f64]| Curve::new(name, support::numbered(values, 1.0));
        vec![curve("training", &of.training), curve("test", &of.test)]
    };
    let path = out.join("losses.svg");
    draw_curves(&path, &[("loss, over-fitted", "epoch", curves(&plain)), ("loss, cured", "epoch", curves(&cured))])?;
    println!("wrote {}", path.display());

    // Over-fitting: the test loss rises again from its best while the training loss goes to nothing.
    let best = plain.test.iter().copied().fold(f64::INFINITY, f64::min);
    figure("test loss of the over-fitted network", plain.loss, Wanted::Above(best * 1.1));
    figure("test loss of the cured network", cured.loss, Wanted::Below(plain.loss));
    figure("test accuracy of the cured network", cured.accuracy, Wanted::Above(plain.accuracy));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
