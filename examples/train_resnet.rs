//! Trains a residual network on 1,797 handwritten digits (8×8 pixels): every fifth is held out for the test.
//!
//! ```text
//! cargo run --release --example train_resnet
//! ```
//!
//! Without arguments: ResNet-20 on the CPU; it prints the test accuracy after each epoch (the last epoch's is the
//! result) and leaves the model, a checkpoint and a picture of the curves. `--resume` continues a stopped run bit for
//! bit.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use support::classify::{Options, train};
use warpsmith::models::ResNetConfig;
use warpsmith::nn::Params;
use warpsmith::{DType, Error, Result};

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("VALUE").default_value(default).help(help)
    };
    let path = |name: &'static str| Arg::new(name).long(name).value_name("PATH").value_parser(value_parser!(PathBuf));
    Command::new("train_resnet")
        .about("Trains a residual network on 1,797 handwritten digits")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("model", "20", "layers: 20, 32, 44, 56 (8×8 images) or 18, 34, 50, 101 (enlarged to 32×32)"))
        .arg(arg("epochs", "30", "passes over the training images").value_parser(value_parser!(u64).range(1..)))
        .arg(Arg::new("steps").long("steps").value_name("VALUE").value_parser(value_parser!(u64)).help("stop early"))
        .arg(arg("batch", "64", "images per step").value_parser(value_parser!(usize)))
        .arg(arg("lr", "0.1", "peak learning rate").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, shuffles and augmentation").value_parser(value_parser!(u64)))
        .arg(path("resume").help("continue from this checkpoint"))
        .arg(path("out").default_value("out/train_resnet").help("folder for the results"))
}

fn network(layers: &str) -> Result<(ResNetConfig, usize)> {
    let layers: usize = layers
        .trim_start_matches("resnet")
        .parse()
        .map_err(|_| Error::argument("--model", format!("expected a number of layers, got {layers}")))?;
    match layers {
        18 | 34 | 50 | 101 => Ok((ResNetConfig::imagenet(layers, 1, 10)?, 4)),
        _ => Ok((ResNetConfig::cifar(layers, 1, 10)?, 1)),
    }
}

fn run(args: &ArgMatches) -> Result<()> {
    let text = |name: &str| args.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let number = |name: &str| args.get_one::<u64>(name).copied();
    let (network, enlarge) = network(text("model"))?;
    let options = Options {
        device: support::device(text("device"))?,
        network,
        epochs: number("epochs").unwrap_or_default(),
        steps: number("steps"),
        batch: args.get_one("batch").copied().unwrap_or_default(),
        lr: args.get_one("lr").copied().unwrap_or_default(),
        seed: number("seed").unwrap_or_default(),
        resume: args.get_one("resume").cloned(),
        out: args.get_one::<PathBuf>("out").cloned().unwrap_or_default(),
    };
    let (training, test) = support::digits::load()?;
    let (training, test) = (training.enlarged(enlarge), test.enlarged(enlarge));
    println!("{} training and {} test images of {2}×{2}", training.len(), test.len(), training.side);
    let shapes = Params::new(&options.device, DType::F32, options.seed);
    warpsmith::models::ResNet::new(&shapes, &options.network)?;
    println!("ResNet-{}: {} parameters, on {}", text("model"), shapes.numel(), options.device);
    let outcome = train(&options, &training, &test)?;
    match outcome.accuracy {
        Some(accuracy) => println!("test accuracy after the last epoch: {:.2} %", 100.0 * accuracy),
        None => println!("stopped before the end of the first epoch"),
    }
    outcome.files.iter().for_each(|f| println!("wrote {}", f.display()));
    Ok(())
}

fn main() -> ExitCode {
    support::figures::exit(run(&command().get_matches()))
}
