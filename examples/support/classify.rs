//! Training an image classifier: the loop that `train_resnet` and the tests run.

use super::digits::Images;
use super::{generator, numbered};
use std::path::PathBuf;
use warpsmith::models::{ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Optimizer, Sgd, SgdConfig, schedule};
use warpsmith::random::{below, permutation};
use warpsmith::train::{Checkpoint, Curve, Progress, draw_curves, smoothed};
use warpsmith::{DType, Device, Error, Result, metrics, no_grad};

pub struct Options {
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
}

pub struct Outcome {
    /// Of the test images after the last epoch; none if the run stopped before the first epoch's end.
    pub accuracy: Option<f64>,
    pub files: Vec<PathBuf>,
    pub params: Params,
}

/// What the run has seen so far; saved with it.
#[derive(Default)]
struct History {
    losses: Vec<f64>,
    train_accuracy: Vec<f64>,
    test_accuracy: Vec<f64>,
}

struct Run<'a> {
    options: &'a Options,
    params: Params,
    model: ResNet,
    optimizer: Sgd,
    ctx: Ctx,
    step: u64,
    history: History,
}

pub fn train(options: &Options, training: &Images, test: &Images) -> Result<Outcome> {
    if options.batch == 0 || options.batch > training.len() {
        let message = format!("a batch of {} out of {} images", options.batch, training.len());
        return Err(Error::argument("train", message));
    }
    let io = |source| Error::Io { action: "creating", path: options.out.clone(), source };
    std::fs::create_dir_all(&options.out).map_err(io)?;
    let params = Params::new(&options.device, DType::F32, options.seed);
    let model = ResNet::new(&params, &options.network)?;
    let config = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..SgdConfig::new(options.lr) };
    let optimizer = Sgd::new(params.trainable(), config)?;
    let ctx = Ctx::train(options.seed);
    let mut run = Run { options, params, model, optimizer, ctx, step: 0, history: History::default() };
    if let Some(path) = &options.resume {
        run.resume(&Checkpoint::load(path)?)?;
    }
    let per_epoch = training.len().div_ceil(options.batch) as u64;
    let total = options.epochs * per_epoch;
    let stop = options.steps.unwrap_or(total).min(total);
    let mut progress = Progress::new(total, run.step, "images");
    while run.step < stop {
        let epoch = run.step / per_epoch;
        let order = permutation(training.len(), &mut generator(options.seed, 1, epoch));
        for at in run.step % per_epoch..per_epoch {
            if run.step == stop {
                break;
            }
            let places = &order[at as usize * options.batch..order.len().min((at as usize + 1) * options.batch)];
            let factor = schedule::warmup_cosine(run.step, per_epoch, total, 0.0);
            run.optimizer.set_lr(options.lr * factor);
            let (loss, accuracy) = run.train_step(training, places)?;
            let message = format!("loss {loss:.4}, accuracy {:.1} %", 100.0 * accuracy);
            progress.step(run.step, &message, places.len());
        }
        if run.step.is_multiple_of(per_epoch) {
            let accuracy = run.accuracy(test)?;
            run.history.test_accuracy.push(accuracy);
            let seen = &run.history.losses[run.history.losses.len() - per_epoch as usize..];
            let loss = seen.iter().sum::<f64>() / seen.len() as f64;
            let epochs = options.epochs;
            let text = format!("epoch {}/{epochs}: loss {loss:.4}, test accuracy {:.2} %", epoch + 1, 100.0 * accuracy);
            progress.line(&text);
        }
        run.checkpoint()?.save(options.out.join("checkpoint.safetensors"))?;
    }
    progress.finish();
    run.finish(per_epoch)
}

impl Run<'_> {
    /// One update: the loss and the share of right answers before it.
    fn train_step(&mut self, images: &Images, places: &[usize]) -> Result<(f64, f64)> {
        let mut rng = generator(self.options.seed, 2, self.step);
        // Moved by at most an eighth of the side in each direction.
        let reach = images.side as i32 / 8;
        let mut draw = || below(&mut rng, 2 * reach as u64 + 1) as i32 - reach;
        let offsets: Vec<[i32; 2]> = places.iter().map(|_| [draw(), draw()]).collect();
        let (x, labels) = images.batch(places, &offsets, &self.options.device)?;
        let logits = self.model.forward(&x, &mut self.ctx)?;
        let loss = logits.cross_entropy(&labels, &Default::default())?;
        let gradients = loss.backward()?;
        self.optimizer.step(&gradients)?;
        self.step += 1;
        let (loss, accuracy) = (loss.item::<f64>()?, metrics::accuracy(&logits, &labels)?);
        if !loss.is_finite() {
            let message = format!("the loss became {loss} at step {}; a smaller --lr may help", self.step);
            return Err(Error::argument("train", message));
        }
        self.history.losses.push(loss);
        self.history.train_accuracy.push(accuracy);
        Ok((loss, accuracy))
    }

    fn accuracy(&self, images: &Images) -> Result<f64> {
        let places: Vec<usize> = (0..images.len()).collect();
        let mut correct = 0;
        for places in places.chunks(128) {
            let (x, labels) = images.batch(places, &vec![[0, 0]; places.len()], &self.options.device)?;
            let logits = no_grad(|| self.model.forward(&x, &mut Ctx::infer()))?;
            correct += metrics::correct(&logits, &labels)?;
        }
        Ok(correct as f64 / images.len() as f64)
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut out = Checkpoint::capture(&self.params, &self.optimizer, &mut self.ctx)?;
        out.set_counter("step", self.step)?;
        out.set_history("loss", &self.history.losses)?;
        out.set_history("train_accuracy", &self.history.train_accuracy)?;
        out.set_history("test_accuracy", &self.history.test_accuracy)?;
        Ok(out)
    }

    fn resume(&mut self, from: &Checkpoint) -> Result<()> {
        from.restore(&self.params, &mut self.optimizer, &mut self.ctx)?;
        self.step = from.counter("step")?;
        self.history.losses = from.history("loss")?;
        self.history.train_accuracy = from.history("train_accuracy")?;
        self.history.test_accuracy = from.history("test_accuracy")?;
        Ok(())
    }

    /// Writes the model alone and the curves.
    fn finish(self, per_epoch: u64) -> Result<Outcome> {
        let file = |name: &str| self.options.out.join(name);
        self.params.save(file("model.safetensors"))?;
        let epochs = 1.0 / per_epoch as f64;
        let losses = vec![
            Curve::new("smoothed", numbered(&smoothed(&self.history.losses, 0.9), epochs)),
            Curve::pale("each step", numbered(&self.history.losses, epochs)),
        ];
        let accuracies = vec![
            Curve::new("training", numbered(&smoothed(&self.history.train_accuracy, 0.9), epochs)),
            Curve::new("test", numbered(&self.history.test_accuracy, 1.0)),
        ];
        draw_curves(file("curves.svg"), &[("loss", "epoch", losses), ("accuracy", "epoch", accuracies)])?;
        Ok(Outcome {
            accuracy: self.history.test_accuracy.last().copied(),
            files: ["model.safetensors", "checkpoint.safetensors", "curves.svg"].map(file).to_vec(),
            params: self.params,
        })
    }
}
