//! A convolutional network in LeNet's style (LeCun et al. 1998) with max pooling, on 5,000 handwritten digits of MNIST:
//! four fifths to learn from, one held out.
//!
//! ```text
//! cargo xtask data mnist-5k
//! cargo run --release --example lenet
//! ```
//!
//! About a minute on two cores.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::nn::{Activation, Conv2d, Ctx, Dropout, Flatten, Linear, MaxPool2d, Module, Params, Sequential};
use warpsmith::ops::{Conv2dParams, Pool2dParams};
use warpsmith::optim::{Adam, AdamConfig, Optimizer, schedule};
use warpsmith::random::{below, permutation};
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Result, Tensor, metrics, no_grad};

const SIDE: usize = 28;
/// Training images are moved by up to so many pixels.
const REACH: i64 = 2;

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("lenet")
        .about("A LeNet-style convolutional network with max pooling on 5,000 digits of MNIST")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("epochs", "15", "passes over the training images").value_parser(value_parser!(u64).range(1..)))
        .arg(support::steps())
        .arg(arg("batch", "50", "images per step").value_parser(value_parser!(usize)))
        .arg(arg("lr", "0.002", "peak learning rate").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, shuffles and shifts").value_parser(value_parser!(u64)))
}

/// Two convolutions with pooling, three dense layers: 28 → 14 → 7 pixels a side.
fn network(params: &Params) -> Result<Sequential> {
    let padded = || Conv2dParams { padding: [2, 2], ..Default::default() };
    Sequential::new(params)
        .layer(|p| Conv2d::new(p, 1, 16, [5, 5], padded()))?
        .then(Activation::Relu)
        .then(MaxPool2d(Pool2dParams::new([2, 2])))
        .layer(|p| Conv2d::new(p, 16, 32, [5, 5], padded()))?
        .then(Activation::Relu)
        .then(MaxPool2d(Pool2dParams::new([2, 2])))
        .then(Flatten)
        .layer(|p| Linear::new(p, 32 * 7 * 7, 120))?
        .then(Activation::Relu)
        .then(Dropout::new(0.3)?)
        .layer(|p| Linear::new(p, 120, 84))?
        .then(Activation::Relu)
        .layer(|p| Linear::new(p, 84, 10))
}

/// Images of (1, 28, 28), 0 to 1, and their labels.
struct Set {
    images: Vec<[[f32; SIDE]; SIDE]>,
    labels: Vec<i64>,
}

impl Set {
    /// The images at these places, each moved (down, right) by its offset.
    fn batch(
        &self,
        places: &[usize],
        mut offset: impl FnMut() -> [i64; 2],
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let mut pixels = Vec::with_capacity(places.len() * SIDE * SIDE);
        for &place in places {
            let [down, right] = offset();
            let at = |y: i64, x: i64| {
                let row = self.images[place].get(usize::try_from(y).ok()?)?;
                row.get(usize::try_from(x).ok()?).copied()
            };
            for y in 0..SIDE as i64 {
                pixels.extend((0..SIDE as i64).map(|x| at(y - down, x - right).unwrap_or(0.0)));
            }
        }
        let labels: Vec<i64> = places.iter().map(|&place| self.labels[place]).collect();
        let x = Tensor::from_vec(pixels, [places.len(), 1, SIDE, SIDE], device)?;
        Ok((x, Tensor::from_vec(labels, places.len(), device)?))
    }
}

/// Every fifth image is for the test.
fn load() -> Result<(Set, Set)> {
    let table = support::fetched::numbers(&support::fetched::folder("mnist-5k")?.join("mnist_5k.csv"), 0)?;
    let mut sets = [(); 2].map(|()| Set { images: vec![], labels: vec![] });
    for (index, row) in table.to_vec2::<f32>()?.iter().enumerate() {
        let set = &mut sets[usize::from(index % 5 == 0)];
        let mut image = [[0.0; SIDE]; SIDE];
        for (pixel, value) in image.as_flattened_mut().iter_mut().zip(row) {
            *pixel = value / 255.0;
        }
        set.images.push(image);
        set.labels.push(row[SIDE * SIDE] as i64);
    }
    let [training, test] = sets;
    Ok((training, test))
}

fn accuracy(network: &Sequential, set: &Set, device: &Device) -> Result<f64> {
    let places: Vec<usize> = (0..set.labels.len()).collect();
    let mut correct = 0;
    for places in places.chunks(250) {
        let (x, labels) = set.batch(places, || [0, 0], device)?;
        let logits = no_grad(|| network.forward(&x, &mut Ctx::infer()))?;
        correct += metrics::correct(&logits, &labels)?;
    }
    Ok(correct as f64 / places.len() as f64)
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (epochs, seed) = (number("epochs"), number("seed"));
    let batch = args.get_one::<usize>("batch").map_or(1, |&batch| batch.max(1));
    let lr = args.get_one::<f64>("lr").copied().unwrap_or_default();

    let (training, test) = load()?;
    let params = Params::new(&device, DType::F32, seed);
    let network = network(&params)?;
    println!("{} training and {} test images; {} parameters", training.labels.len(), test.labels.len(), params.numel());
    let mut optimizer = Adam::new(params.trainable(), AdamConfig { weight_decay: 0.1, ..AdamConfig::adamw(lr) })?;
    let mut ctx = Ctx::train(seed);
    let per_epoch = training.labels.len().div_ceil(batch) as u64;
    let mut progress = Progress::new(epochs * per_epoch, 0, "images");
    let mut step = 0;
    let mut share = 0.0;
    for epoch in 1..=epochs {
        let mut rng = generator(seed, 1, epoch);
        for places in permutation(training.labels.len(), &mut rng).chunks(batch) {
            let mut draw = || below(&mut rng, 2 * REACH as u64 + 1) as i64 - REACH;
            let (x, labels) = training.batch(places, || [draw(), draw()], &device)?;
            let loss = network.forward(&x, &mut ctx)?.cross_entropy(&labels, &Default::default())?;
            optimizer.set_lr(lr * schedule::warmup_cosine(step, per_epoch, epochs * per_epoch, 0.0));
            optimizer.step(&loss.backward()?)?;
            step += 1;
            progress.step(step, &format!("loss {:.4}", loss.item::<f32>()?), places.len());
            if support::stops(args, step, &progress) {
                return Ok(());
            }
        }
        share = accuracy(&network, &test, &device)?;
        progress.line(&format!("epoch {epoch}/{epochs}: test accuracy {:.2} %", 100.0 * share));
    }
    progress.finish();
    figure("test accuracy", share, Wanted::AtLeast(0.975));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
