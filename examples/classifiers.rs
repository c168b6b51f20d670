//! Linear classifiers: the perceptron and logistic regression on the breast cancer set (569 tumours, 30 measurements),
//! softmax regression on the handwritten digits, each with every fifth row held out; and logistic regression on the
//! Titanic's passengers in five folds, where values are missing and classes have names.
//!
//! ```text
//! cargo xtask data breast-cancer titanic
//! cargo run --release --example classifiers
//! ```

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use support::{digits, fetched, generator};
use warpsmith::data::split::k_fold_stratified;
use warpsmith::data::{Features, Fill, Table};
use warpsmith::nn::{Ctx, Linear, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Optimizer, Sgd, SgdConfig};
use warpsmith::random::permutation;
use warpsmith::{DType, Device, Reduction, Result, Tensor, metrics};

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("classifiers")
        .about("The perceptron, logistic regression and softmax regression")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("epochs", "60", "passes over the training rows").value_parser(value_parser!(u64).range(1..)))
        .arg(arg("seed", "1", "of weights and shuffles").value_parser(value_parser!(u64)))
}

/// Rows of features and their class numbers.
struct Set {
    rows: Vec<Vec<f32>>,
    classes: Vec<i64>,
}

impl Set {
    fn tensors(&self, places: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        let rows: Vec<f32> = places.iter().flat_map(|&place| self.rows[place].iter().copied()).collect();
        let x = Tensor::from_vec(rows, [places.len(), self.rows[0].len()], device)?;
        Ok((x, Tensor::from_iter(places.iter().map(|&place| self.classes[place]), device)?))
    }

    fn all(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        self.tensors(&(0..self.rows.len()).collect::<Vec<_>>(), device)
    }
}

/// Training and test rows, standardised by the training rows' means and deviations.
fn breast_cancer() -> Result<(Set, Set)> {
    let file = fetched::folder("breast-cancer")?.join("breast_cancer.csv");
    let mut sets = [(); 2].map(|()| Set { rows: vec![], classes: vec![] });
    for (index, row) in fetched::numbers(&file, 1)?.to_vec2::<f32>()?.into_iter().enumerate() {
        let set = &mut sets[usize::from(index % 5 == 0)];
        set.rows.push(row[..30].to_vec());
        set.classes.push(row[30] as i64);
    }
    let n = sets[0].rows.len() as f32;
    for column in 0..30 {
        let mean = sets[0].rows.iter().map(|row| row[column]).sum::<f32>() / n;
        let variance = sets[0].rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f32>() / n;
        for row in sets.iter_mut().flat_map(|set| &mut set.rows) {
            row[column] = (row[column] - mean) / variance.sqrt();
        }
    }
    let [training, test] = sets;
    Ok((training, test))
}

fn digit_rows() -> Result<(Set, Set)> {
    let (training, test) = digits::load()?;
    let set = |images: digits::Images| {
        let rows = images.pixels.chunks_exact(images.side * images.side).map(<[f32]>::to_vec).collect();
        Set { rows, classes: images.labels }
    };
    Ok((set(training), set(test)))
}

/// Rosenblatt's rule (1958): a row on the wrong side of the plane moves the plane towards it, others do nothing. By hand:
/// there is no gradient. The average of all planes on the way (Freund and Schapire 1999) is less moody than the last.
fn perceptron(training: &Set, test: &Set, epochs: u64, seed: u64) -> f64 {
    let mut plane = vec![0f64; 31];
    let mut sum = vec![0f64; 31];
    let side =
        |plane: &[f64], row: &[f32]| row.iter().zip(plane).map(|(&x, &w)| f64::from(x) * w).sum::<f64>() + plane[30];
    for epoch in 0..epochs {
        for place in permutation(training.rows.len(), &mut generator(seed, 1, epoch)) {
            let (row, sign) = (&training.rows[place], if training.classes[place] == 1 { 1.0 } else { -1.0 });
            if side(&plane, row) * sign <= 0.0 {
                row.iter().zip(&mut plane).for_each(|(&x, w)| *w += sign * f64::from(x));
                plane[30] += sign;
            }
            sum.iter_mut().zip(&plane).for_each(|(sum, w)| *sum += w);
        }
    }
    let right = test.rows.iter().zip(&test.classes).filter(|(row, class)| (side(&sum, row) > 0.0) == (**class == 1));
    right.count() as f64 / test.rows.len() as f64
}

/// The passengers in five folds. Medians, categories, means and deviations come from each fold's training rows alone: what
/// is filled in must know nothing of the rows that judge.
fn titanic(epochs: u64, seed: u64, device: &Device) -> Result<f64> {
    let table = Table::load_csv(fetched::folder("titanic")?.join("titanic.csv"), &Default::default())?;
    let survived = table.integers("survived")?;
    let features = Features::new()
        .numbers(&["age", "fare"], Fill::Median)
        .numbers(&["sibsp", "parch"], Fill::Mean)
        .indicators(&["age", "cabin"])
        .categories(&["pclass", "sex", "embarked"])
        .standardised();
    let mut sum = 0.0;
    for fold in k_fold_stratified(&survived, 5, seed)? {
        let fitted = features.fit(&table.take(&fold.training)?)?;
        let set = |rows: &[usize]| -> Result<Set> {
            let rows_of = fitted.transform(&table.take(rows)?)?.to_vec2::<f32>()?;
            Ok(Set { rows: rows_of, classes: rows.iter().map(|&row| survived[row]).collect() })
        };
        sum += logistic(&set(&fold.training)?, &set(&fold.validation)?, epochs, seed, device)?;
    }
    Ok(sum / 5.0)
}

/// One logit a row, and the cross-entropy of its sigmoid.
fn logistic(training: &Set, test: &Set, epochs: u64, seed: u64, device: &Device) -> Result<f64> {
    let params = Params::new(device, DType::F32, seed);
    let model = Linear::new(&params, training.rows[0].len(), 1)?;
    let mut sgd = Sgd::new(params.trainable(), SgdConfig { weight_decay: 1e-3, ..SgdConfig::new(0.1) })?;
    let mut ctx = Ctx::train(seed);
    for epoch in 0..epochs {
        for places in permutation(training.rows.len(), &mut generator(seed, 2, epoch)).chunks(32) {
            let (x, classes) = training.tensors(places, device)?;
            let logits = model.forward(&x, &mut ctx)?.squeeze(1)?;
            let loss = logits.bce_with_logits(&classes.to_dtype(DType::F32)?, None, Reduction::Mean)?;
            sgd.step(&loss.backward()?)?;
        }
    }
    let (x, classes) = test.all(device)?;
    // A positive logit is a chance above one half.
    let sides = model.forward(&x, &mut Ctx::infer())?.squeeze(1)?.to_f64_vec()?;
    let right = sides.iter().zip(classes.to_f64_vec()?).filter(|(side, class)| (**side > 0.0) == (*class == 1.0));
    Ok(right.count() as f64 / sides.len() as f64)
}

/// One logit for each of ten classes, and the cross-entropy of their softmax.
fn softmax(training: &Set, test: &Set, epochs: u64, seed: u64, device: &Device) -> Result<f64> {
    let params = Params::new(device, DType::F32, seed);
    let model = Linear::new(&params, 64, 10)?;
    let mut adam = Adam::new(params.trainable(), AdamConfig::adamw(0.01))?;
    let mut ctx = Ctx::train(seed);
    for epoch in 0..epochs {
        for places in permutation(training.rows.len(), &mut generator(seed, 3, epoch)).chunks(64) {
            let (x, classes) = training.tensors(places, device)?;
            let loss = model.forward(&x, &mut ctx)?.cross_entropy(&classes, &Default::default())?;
            adam.step(&loss.backward()?)?;
        }
    }
    let (x, classes) = test.all(device)?;
    metrics::accuracy(&model.forward(&x, &mut Ctx::infer())?, &classes)
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (epochs, seed) = (number("epochs"), number("seed"));
    let (training, test) = breast_cancer()?;
    let share = perceptron(&training, &test, epochs, seed);
    figure("perceptron: accuracy on tumours", share, Wanted::AtLeast(0.93));
    let share = logistic(&training, &test, epochs, seed, &device)?;
    figure("logistic regression: accuracy on tumours", share, Wanted::AtLeast(0.95));
    let share = titanic(epochs, seed, &device)?;
    figure("logistic regression: accuracy on passengers, five folds", share, Wanted::AtLeast(0.77));
    let (training, test) = digit_rows()?;
    let share = softmax(&training, &test, epochs, seed, &device)?;
    figure("softmax regression: accuracy on digits", share, Wanted::AtLeast(0.94));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
