//! Trains a residual network on handwritten digits (1,797 of 8×8 pixels, every fifth held out for the test) or on
//! Fashion-MNIST (60,000 of 28×28 and 10,000 for the test).
//!
//! ```text
//! cargo run --release --example train_resnet
//! cargo xtask data fashion-mnist && cargo run --release --example train_resnet -- --data fashion-mnist
//! ```
//!
//! Without arguments: ResNet-20 on the digits, on the CPU, in half a minute; it prints the test accuracy after each epoch
//! (the last epoch's is the result) and leaves the model, checkpoints, pictures of the curves and logs, also for
//! TensorBoard. Fashion-MNIST takes half an hour. Ctrl-C ends a run after its step; `--resume` continues a stopped
//! run bit for bit.

pub(crate) mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use support::digits::{self, Images};
use support::fetched;
use support::figures::{Wanted, figure};
use warpsmith::data::transform::{Augment, normalise};
use warpsmith::data::{DataLoader, TensorDataset, load_idx};
use warpsmith::models::{ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Sgd, SgdConfig, schedule};
use warpsmith::train::{Checkpoints, Curves, Every, Goal, LearningRate, MetricLog, ShowProgress, Trainer, ctrl_c};
use warpsmith::{DType, Device, Error, Result, Tensor};

#[derive(Clone)]
pub(crate) struct Options {
    pub device: Device,
    pub network: ResNetConfig,
    pub epochs: u64,
    /// Stops after this many steps in all, as if interrupted: rates still follow the epochs.
    pub steps: Option<u64>,
    pub batch: usize,
    pub lr: f64,
    pub seed: u64,
    pub resume: Option<PathBuf>,
    pub out: PathBuf,
    /// Ends the run once it is set.
    pub interrupt: Arc<AtomicBool>,
}

/// Images (N, 1, S, S) and their labels (N).
pub(crate) struct Set {
    pub images: Tensor,
    pub labels: Tensor,
}

/// What to train on.
pub(crate) struct Data {
    pub training: Set,
    pub test: Set,
    /// Mean and standard deviation of pixels, which the network sees with 0 and 1.
    pub scale: (f64, f64),
    /// Whether a mirrored image is as good as the image.
    pub flip: bool,
}

impl Set {
    pub fn new(images: &Images) -> Result<Self> {
        let (n, side) = (images.len(), images.side);
        let pixels = Tensor::from_slice(&images.pixels, [n, 1, side, side], &Device::Cpu)?;
        Ok(Set { images: pixels, labels: Tensor::from_slice(&images.labels, [n], &Device::Cpu)? })
    }

    /// Of the files PREFIX-images-idx3-ubyte and PREFIX-labels-idx1-ubyte.
    fn read(folder: &std::path::Path, prefix: &str) -> Result<Self> {
        let images = load_idx(folder.join(format!("{prefix}-images-idx3-ubyte")))?.unsqueeze(1)?;
        let labels = load_idx(folder.join(format!("{prefix}-labels-idx1-ubyte")))?.to_dtype(DType::I64)?;
        Ok(Set { images, labels })
    }

    fn len(&self) -> usize {
        self.labels.numel()
    }

    fn loader(&self, batch: usize) -> Result<DataLoader> {
        Ok(DataLoader::new(TensorDataset::new(&[&self.images, &self.labels])?, batch))
    }
}

impl Data {
    /// Each pixel `enlarge` times as wide and high.
    pub fn digits(enlarge: usize) -> Result<Self> {
        let (training, test) = digits::load()?;
        let (training, test) = (Set::new(&training.enlarged(enlarge))?, Set::new(&test.enlarged(enlarge))?);
        Ok(Data { training, test, scale: (0.0, 1.0), flip: false })
    }

    fn fashion_mnist() -> Result<Self> {
        let folder = fetched::folder("fashion-mnist")?;
        let (training, test) = (Set::read(&folder, "train")?, Set::read(&folder, "t10k")?);
        Ok(Data { training, test, scale: (72.94, 90.02), flip: true })
    }
}

pub(crate) struct Outcome {
    /// Of the test images after the last epoch; none if the run stopped before the first epoch's end.
    pub accuracy: Option<f64>,
    pub files: Vec<PathBuf>,
    #[allow(dead_code)] // for tests, which compare the weights of runs
    pub params: Params,
}

/// 1 for each image whose largest logit is its label's, else 0.
fn right(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    logits.argmax(1)?.eq(labels)?.to_dtype(DType::F32)
}

/// The share of images that the network names rightly.
fn accuracy(model: &ResNet, set: &Set, scale: (f64, f64), device: &Device) -> Result<f64> {
    let mut count = Tensor::zeros((), DType::F32, device)?;
    for batch in set.loader(256)?.epoch(0) {
        let batch = batch?;
        let x = normalise(&batch[0], &[scale.0], &[scale.1])?.to_device(device)?;
        let logits = model.forward(&x, &mut Ctx::infer())?;
        count = (count + right(&logits, &batch[1].to_device(device)?)?.sum_all()?)?;
    }
    Ok(count.item::<f64>()? / set.len() as f64)
}

pub(crate) fn train(options: &Options, data: &Data) -> Result<Outcome> {
    let Options { epochs, batch, seed, device, out, .. } = options;
    if *batch == 0 || *batch > data.training.len() {
        let message = format!("a batch of {batch} out of {} images", data.training.len());
        return Err(Error::argument("train", message));
    }
    // Moved by at most an eighth of the side in each direction.
    let (side, (mean, deviation)) = (data.training.images.dim(-1)?, data.scale);
    let augment = Augment::new().crop([side, side], side / 8).flip(if data.flip { 0.5 } else { 0.0 });
    let loader = data.training.loader(*batch)?.shuffle(*seed).map(move |batch, rng| {
        let x = augment.apply(&batch[0], rng)?;
        Ok(vec![normalise(&x, &[mean], &[deviation])?, batch[1].clone()])
    });
    let per_epoch = loader.batches_per_epoch() as u64;

    let params = Params::new(device, DType::F32, *seed);
    let model = ResNet::new(&params, &options.network)?;
    let config = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..SgdConfig::new(options.lr) };
    let optimizer = Sgd::new(params.trainable(), config)?;
    let mut trainer = Trainer::new(&params, optimizer, Ctx::train(*seed), |inputs, ctx| {
        let logits = model.forward(&inputs[0], ctx)?;
        let share = right(&logits, &inputs[1])?.mean_all()?;
        Ok(vec![logits.cross_entropy(&inputs[1], &Default::default())?, share])
    })
    .figures(["accuracy"])
    .evaluate(Every::Epochs(1), |_| Ok([("test accuracy", accuracy(&model, &data.test, data.scale, device)?)].into()))
    .callback(ShowProgress::new("images"))
    .callback(LearningRate::of_step(|step| schedule::warmup_cosine(step, per_epoch, epochs * per_epoch, 0.0)))
    .callback(MetricLog::csv(out.join("log.csv")))
    .callback(MetricLog::tensorboard(out))
    .callback(Curves::new(out.join("curves.svg")).and(out.join("curves.png")))
    .callback(Checkpoints::new(out).best("test accuracy", Goal::Highest))
    .stop_after(options.steps)
    .interrupt_by(options.interrupt.clone());
    if let Some(path) = &options.resume {
        trainer.resume(path)?;
    }
    let outcome = trainer.fit(&loader, *epochs)?;
    trainer.save_model(out.join("model.safetensors"))?;
    drop(trainer);
    let files =
        ["model.safetensors", "checkpoint.safetensors", "best.safetensors", "curves.svg", "curves.png", "log.csv"];
    Ok(Outcome {
        accuracy: outcome.figures.get("test accuracy"),
        files: files.map(|name| out.join(name)).into_iter().filter(|file| file.is_file()).collect(),
        params,
    })
}

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("VALUE").default_value(default).help(help)
    };
    let maybe = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("VALUE").help(help);
    let path = |name: &'static str| Arg::new(name).long(name).value_name("PATH").value_parser(value_parser!(PathBuf));
    Command::new("train_resnet")
        .about("Trains a residual network on handwritten digits or on Fashion-MNIST")
        .arg(arg("data", "digits", "what to learn").value_parser(["digits", "fashion-mnist"]))
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("model", "20", "layers: 20, 32, 44, 56, or 18, 34, 50, 101 (digits are enlarged to 32×32)"))
        .arg(maybe("epochs", "passes over the training images: 30, or 10").value_parser(value_parser!(u64).range(1..)))
        .arg(maybe("steps", "stop early").value_parser(value_parser!(u64)))
        .arg(maybe("batch", "images per step: 64, or 128").value_parser(value_parser!(usize)))
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
    let fashion = text("data") == "fashion-mnist";
    let options = Options {
        device: support::device(text("device"))?,
        network,
        epochs: number("epochs").unwrap_or(if fashion { 10 } else { 30 }),
        steps: number("steps"),
        batch: args.get_one("batch").copied().unwrap_or(if fashion { 128 } else { 64 }),
        lr: args.get_one("lr").copied().unwrap_or_default(),
        seed: number("seed").unwrap_or_default(),
        resume: args.get_one("resume").cloned(),
        out: args.get_one::<PathBuf>("out").cloned().unwrap_or_default(),
        interrupt: ctrl_c()?,
    };
    let data = if fashion { Data::fashion_mnist()? } else { Data::digits(enlarge)? };
    let (training, test) = (&data.training, &data.test);
    let side = training.images.dim(-1)?;
    println!("{} training and {} test images of {side}×{side}", training.len(), test.len());
    let shapes = Params::new(&options.device, DType::F32, options.seed);
    ResNet::new(&shapes, &options.network)?;
    println!("ResNet-{}: {} parameters, on {}", text("model"), shapes.numel(), options.device);
    let outcome = train(&options, &data)?;
    outcome.files.iter().for_each(|f| println!("wrote {}", f.display()));
    match outcome.accuracy {
        Some(accuracy) => {
            println!("test accuracy after the last epoch: {:.2} %", 100.0 * accuracy);
            figure("test accuracy", accuracy, Wanted::AtLeast(if fashion { 0.92 } else { 0.98 }));
        }
        None => println!("stopped before the end of the first epoch"),
    }
    Ok(())
}

fn main() -> ExitCode {
    support::figures::exit(run(&command().get_matches()))
}
