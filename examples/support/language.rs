//! Training a language model on characters: the loop that `train_gpt` and the tests run.

use super::text::{Text, places, windows};
use super::{generator, numbered};
use std::path::PathBuf;
use std::rc::Rc;
use warpsmith::models::{Gpt, GptConfig, Sampling};
use warpsmith::nn::{Ctx, Module, Param, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, schedule};
use warpsmith::train::{CapturedStep, Checkpoint, Curve, Progress, draw_curves, smoothed};
use warpsmith::{DType, Device, Error, Result, Tensor, metrics, no_grad};

#[derive(Clone)]
pub struct Options {
    pub device: Device,
    pub network: GptConfig,
    /// Of the whole run, which the rates follow.
    pub iterations: u64,
    /// Stops after this many steps in all, as if interrupted.
    pub steps: Option<u64>,
    pub batch: usize,
    pub lr: f64,
    pub seed: u64,
    /// Products and attention in bf16, weights, norms and losses in f32.
    pub bf16: bool,
    /// Whether steps are captured as graphs, on CUDA devices.
    pub graph: bool,
    /// Between two looks at the validation text, a sample and a checkpoint.
    pub every: u64,
    /// What samples begin with, how long they are and how they are drawn.
    pub prompt: String,
    pub length: usize,
    pub sampling: Sampling,
    pub resume: Option<PathBuf>,
    pub out: PathBuf,
}

pub struct Outcome {
    /// The mean cross-entropy of a character of the validation text at the end, in nats; none if the run stopped early.
    pub validation: Option<f64>,
    /// Of each step.
    pub losses: Vec<f64>,
    pub files: Vec<PathBuf>,
    pub params: Params,
}

/// Steps over which the rate rises.
const WARMUP: u64 = 100;
/// What is left of the rate at the end.
const LAST: f64 = 0.1;

type Forward = Box<dyn FnMut(&[Tensor], &mut Ctx) -> Result<Vec<Tensor>>>;

struct Run<'a> {
    options: &'a Options,
    text: &'a Text,
    params: Params,
    model: Rc<Gpt>,
    training: CapturedStep<Adam, Forward>,
    step: u64,
    /// The loss of each step, and (step, loss) on the validation text.
    losses: Vec<f64>,
    validation: Vec<(f64, f64)>,
}

/// Decay is for what multiplies: not for biases, gains and the like.
pub fn optimizer(params: &Params, lr: f64) -> Result<Adam> {
    let config = AdamConfig { betas: (0.9, 0.99), weight_decay: 0.1, ..AdamConfig::adamw(lr) };
    let (decayed, others): (Vec<(String, Param)>, Vec<_>) =
        params.trainable().into_iter().partition(|(_, param)| param.tensor().rank() >= 2);
    Adam::with_groups(vec![(decayed, config), (others, AdamConfig { weight_decay: 0.0, ..config })])
}

/// The mean cross-entropy of the tokens behind windows.
fn loss(model: &Gpt, bf16: bool, x: &Tensor, next: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
    let of = |ctx: &mut Ctx| {
        let logits = model.forward(x, ctx)?;
        logits.reshape([next.numel(), logits.dim(-1)?])?.cross_entropy(next, &Default::default())
    };
    if bf16 { ctx.autocast(DType::BF16, of) } else { of(ctx) }
}

pub fn train(options: &Options, text: &Text) -> Result<Outcome> {
    let context = options.network.context;
    if options.batch == 0 || text.validation.len() <= context || text.training.len() <= context {
        let lengths = (text.training.len(), text.validation.len());
        let message = format!("a batch of {} windows of {context} characters from {lengths:?}", options.batch);
        return Err(Error::argument("train", message));
    }
    let io = |source| Error::Io { action: "creating", path: options.out.clone(), source };
    std::fs::create_dir_all(&options.out).map_err(io)?;
    let params = Params::new(&options.device, DType::F32, options.seed);
    let model = Rc::new(Gpt::new(&params, &options.network)?);
    let (network, bf16) = (model.clone(), options.bf16);
    let forward: Forward = Box::new(move |inputs, ctx| Ok(vec![loss(&network, bf16, &inputs[0], &inputs[1], ctx)?]));
    let ctx = Ctx::train(options.seed);
    let training = CapturedStep::new(&options.device, ctx, optimizer(&params, options.lr)?, forward)
        .with_clip(Clip::Norm(1.0))
        .with_capture(options.graph);
    let mut run = Run { options, text, params, model, training, step: 0, losses: vec![], validation: vec![] };
    if let Some(path) = &options.resume {
        run.resume(&Checkpoint::load(path)?)?;
    }
    let (total, every) = (options.iterations, options.every.max(1));
    let stop = options.steps.unwrap_or(total).min(total);
    let mut progress = Progress::new(total, run.step, "characters");
    while run.step < stop {
        let factor = schedule::warmup_cosine(run.step, WARMUP.min(total / 2), total, LAST);
        run.training.optimizer_mut().set_lr(options.lr * factor);
        let loss = run.train_step()?;
        progress.step(run.step, &format!("loss {loss:.4}"), options.batch * context);
        if run.step.is_multiple_of(every) || run.step == total {
            let loss = run.validate()?;
            run.validation.push((run.step as f64, loss));
            let perplexity = metrics::perplexity(loss);
            progress.line(&format!("step {}: validation loss {loss:.4}, perplexity {perplexity:.2}", run.step));
            progress.line(&run.sample()?);
            run.checkpoint()?.save(options.out.join("checkpoint.safetensors"))?;
        }
    }
    progress.finish();
    run.checkpoint()?.save(options.out.join("checkpoint.safetensors"))?;
    run.finish()
}

impl Run<'_> {
    /// One update: the loss before it.
    fn train_step(&mut self) -> Result<f64> {
        let Options { network, batch, seed, .. } = self.options;
        let places = places(&self.text.training, network.context, *batch, &mut generator(*seed, 2, self.step));
        let (x, next) = windows(&self.text.training, &places, network.context, &Device::Cpu)?;
        let loss = self.training.run(&[x, next])?.loss;
        self.step += 1;
        let loss = loss.item::<f64>()?;
        if !loss.is_finite() {
            let message = format!("the loss became {loss} at step {}; a smaller --lr may help", self.step);
            return Err(Error::argument("train", message));
        }
        self.losses.push(loss);
        Ok(loss)
    }

    /// The mean cross-entropy over the validation text, in windows side by side.
    fn validate(&self) -> Result<f64> {
        let (context, tokens) = (self.options.network.context, &self.text.validation);
        let starts: Vec<usize> = (0..(tokens.len() - 1) / context).map(|i| i * context).collect();
        let mut sum = 0.0;
        for some in starts.chunks(self.options.batch) {
            let (x, next) = windows(tokens, some, context, &self.options.device)?;
            let loss = no_grad(|| loss(&self.model, self.options.bf16, &x, &next, &mut Ctx::infer()))?;
            sum += loss.item::<f64>()? * some.len() as f64;
        }
        Ok(sum / starts.len() as f64)
    }

    /// The prompt and how the model goes on.
    fn sample(&self) -> Result<String> {
        let Options { prompt, length, sampling, seed, .. } = self.options;
        let characters = &self.text.characters;
        let prompt = characters.encode(if prompt.is_empty() { "\n" } else { prompt })?;
        let more = self.model.generate(&prompt, *length, sampling, &mut generator(*seed, 3, self.step))?;
        Ok(format!("{}{}", characters.decode(&prompt), characters.decode(&more)))
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut ctx = self.training.ctx_mut().clone();
        let mut out = Checkpoint::capture(&self.params, self.training.optimizer(), &mut ctx)?;
        out.set_counter("step", self.step)?;
        out.set_history("loss", &self.losses)?;
        let (steps, losses): (Vec<f64>, Vec<f64>) = self.validation.iter().copied().unzip();
        out.set_history("validation_step", &steps)?;
        out.set_history("validation_loss", &losses)?;
        Ok(out)
    }

    fn resume(&mut self, from: &Checkpoint) -> Result<()> {
        let mut ctx = self.training.ctx_mut().clone();
        from.restore(&self.params, self.training.optimizer_mut(), &mut ctx)?;
        *self.training.ctx_mut() = ctx;
        self.step = from.counter("step")?;
        self.losses = from.history("loss")?;
        let (steps, losses) = (from.history("validation_step")?, from.history("validation_loss")?);
        self.validation = steps.into_iter().zip(losses).collect();
        Ok(())
    }

    /// Writes the model alone and the curves.
    fn finish(self) -> Result<Outcome> {
        let file = |name: &str| self.options.out.join(name);
        self.params.save(file("model.safetensors"))?;
        let curves = vec![
            Curve::new("training, smoothed", numbered(&smoothed(&self.losses, 0.95), 1.0)),
            Curve::pale("each step", numbered(&self.losses, 1.0)),
            Curve::new("validation", self.validation.clone()),
        ];
        draw_curves(file("curves.svg"), &[("loss of a character, in nats", "step", curves)])?;
        let whole = self.step == self.options.iterations;
        Ok(Outcome {
            validation: self.validation.last().filter(|_| whole).map(|&(_, loss)| loss),
            losses: self.losses,
            files: ["model.safetensors", "checkpoint.safetensors", "curves.svg"].map(file).to_vec(),
            params: self.params,
        })
    }
}
