//! Trains a Transformer to write like Shakespeare, character by character, on 1.1 MB of his plays.
//!
//! ```text
//! cargo run --release --example train_gpt
//! ```
//!
//! Without arguments: 4 layers, 128 wide, on the CPU, for a few minutes. Every 250 steps it prints the loss on the last
//! tenth of the text, which it does not train on, and a sample; at the end it leaves the model, a checkpoint and a
//! picture of the curves. `--setting large` is the one for GPUs. Ctrl-C ends a run after its step; `--resume` continues
//! a stopped run bit for bit; `--generate N` writes N characters with the model of `--resume` and trains nothing.

pub(crate) mod support;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use support::figures::{Wanted, figure};
use support::generator;
use support::text::{self, Text};
use warpsmith::models::{Gpt, GptConfig, Sampling};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, decay_groups, schedule};
use warpsmith::train::{
    Checkpoint, Checkpoints, Curves, End, Every, History, LearningRate, Samples, ShowProgress, Trainer, batches, ctrl_c,
};
use warpsmith::{DType, Device, Error, Result, Tensor, metrics};

#[derive(Clone)]
pub(crate) struct Options {
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
    /// Ends the run once it is set.
    pub interrupt: Arc<AtomicBool>,
}

pub(crate) struct Outcome {
    /// The mean cross-entropy of a character of the validation text at the end, in nats; none if the run stopped early.
    pub validation: Option<f64>,
    /// Of each step.
    pub losses: Vec<f64>,
    pub files: Vec<PathBuf>,
    #[allow(dead_code)] // for tests, which compare the weights of runs
    pub params: Params,
}

/// Steps over which the rate rises.
const WARMUP: u64 = 100;
/// What is left of the rate at the end.
const LAST: f64 = 0.1;

/// AdamW. Decay is for what multiplies: not for biases, gains and the like.
pub(crate) fn optimizer(params: &Params, lr: f64) -> Result<Adam> {
    let config = AdamConfig { betas: (0.9, 0.99), weight_decay: 0.1, ..AdamConfig::adamw(lr) };
    let (decayed, others) = decay_groups(params.trainable());
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

/// The mean cross-entropy over the validation text, in windows side by side.
fn validate(model: &Gpt, options: &Options, tokens: &[i64]) -> Result<f64> {
    let context = options.network.context;
    let starts: Vec<usize> = (0..(tokens.len() - 1) / context).map(|i| i * context).collect();
    let mut sum = 0.0;
    for some in starts.chunks(options.batch) {
        let (x, next) = text::windows(tokens, some, context, &options.device)?;
        sum += loss(model, options.bf16, &x, &next, &mut Ctx::infer())?.item::<f64>()? * some.len() as f64;
    }
    Ok(sum / starts.len() as f64)
}

/// The prompt and how the model goes on.
fn sample(model: &Gpt, options: &Options, text: &Text, step: u64) -> Result<String> {
    let characters = &text.characters;
    let prompt = characters.encode(if options.prompt.is_empty() { "\n" } else { &options.prompt })?;
    let mut rng = generator(options.seed, 3, step);
    let more = model.generate(&prompt, options.length, &options.sampling, &mut rng)?;
    Ok(format!("{}{}", characters.decode(&prompt), characters.decode(&more)))
}

pub(crate) fn train(options: &Options, text: &Text) -> Result<Outcome> {
    let Options { iterations, batch, seed, bf16, network: GptConfig { context, .. }, .. } = *options;
    if batch == 0 || text.validation.len() <= context || text.training.len() <= context {
        let lengths = (text.training.len(), text.validation.len());
        let message = format!("a batch of {batch} windows of {context} characters from {lengths:?}");
        return Err(Error::argument("train", message));
    }
    let params = Params::new(&options.device, DType::F32, seed);
    let model = Gpt::new(&params, &options.network)?;
    // Windows from anywhere, drawn anew for each step.
    let source = batches(iterations, |_, step| {
        let places = text::places(&text.training, context, batch, &mut generator(seed, 2, step));
        let (x, next) = text::windows(&text.training, &places, context, &Device::Cpu)?;
        Ok(Some(vec![x, next]))
    });
    let (every, history, out) = (Every::Steps(options.every), History::new(), &options.out);
    let mut trainer = Trainer::new(&params, optimizer(&params, options.lr)?, Ctx::train(seed), |inputs, ctx| {
        Ok(vec![loss(&model, bf16, &inputs[0], &inputs[1], ctx)?])
    })
    .clip(Clip::Norm(1.0))
    .capture(options.graph)
    .evaluate(every, |_| {
        let loss = validate(&model, options, &text.validation)?;
        Ok([("validation loss", loss), ("perplexity", metrics::perplexity(loss))].into())
    })
    .callback(ShowProgress::new("characters").per_sample(context))
    .callback(LearningRate::of_step(|step| schedule::warmup_cosine(step, WARMUP.min(iterations / 2), iterations, LAST)))
    .callback(Samples::new(every, |run| sample(&model, options, text, run.place().step)))
    .callback(history.clone())
    .callback(Curves::new(out.join("curves.svg")).smoothing(0.95))
    .callback(Checkpoints::new(out).every(every))
    .stop_after(options.steps)
    .interrupt_by(options.interrupt.clone());
    if let Some(path) = &options.resume {
        trainer.resume(path)?;
    }
    let outcome = trainer.fit(&source, 1)?;
    trainer.save_model(out.join("model.safetensors"))?;
    drop(trainer);
    Ok(Outcome {
        validation: outcome.figures.get("validation loss").filter(|_| outcome.end == End::Complete),
        losses: history.values("loss"),
        files: ["model.safetensors", "checkpoint.safetensors", "curves.svg"].map(|name| out.join(name)).to_vec(),
        params,
    })
}

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("VALUE").default_value(default).help(help)
    };
    let maybe = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("VALUE").help(help);
    let path = |name: &'static str| Arg::new(name).long(name).value_name("PATH").value_parser(value_parser!(PathBuf));
    let number = || value_parser!(u64).range(1..);
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("train_gpt")
        .about("Trains a Transformer on the characters of Shakespeare's plays")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(
            arg(
                "setting",
                "small",
                "what the other options begin from: small (4 layers of 128, 64 characters, batch 12, \
                2000 iterations, rate 0.002) or large (6 of 384, 256, 64, 5000, rate 0.001, dropout 0.2)",
            )
            .value_parser(["small", "large"]),
        )
        .arg(maybe("layers", "blocks").value_parser(number()))
        .arg(maybe("heads", "heads of attention").value_parser(number()))
        .arg(maybe("width", "of the residual stream").value_parser(number()))
        .arg(maybe("context", "characters that it sees at once").value_parser(number()))
        .arg(maybe("batch", "windows per step").value_parser(number()))
        .arg(maybe("iterations", "steps of the whole run").value_parser(number()))
        .arg(maybe("dropout", "probability").value_parser(value_parser!(f64)))
        .arg(maybe("steps", "stop early").value_parser(value_parser!(u64)))
        .arg(maybe("lr", "peak learning rate").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, windows, dropout and samples").value_parser(value_parser!(u64)))
        .arg(flag("bf16", "products and attention in bf16, everything else in f32"))
        .arg(flag("graph", "capture steps as CUDA graphs"))
        .arg(arg("every", "250", "steps between two samples").value_parser(number()))
        .arg(arg("prompt", "ROMEO", "what samples begin with"))
        .arg(arg("length", "200", "characters of a sample").value_parser(number()))
        .arg(arg("temperature", "0.8", "of samples; 0 takes the likeliest").value_parser(value_parser!(f64)))
        .arg(maybe("top-k", "samples draw from so many of the likeliest characters only").value_parser(number()))
        .arg(path("resume").help("continue from this checkpoint"))
        .arg(
            maybe("generate", "write so many characters with the model of --resume, and stop")
                .value_parser(number())
                .requires("resume"),
        )
        .arg(path("out").default_value("out/train_gpt").help("folder for the results"))
}

fn options(args: &ArgMatches, text: &Text) -> Result<Options> {
    let word = |name: &str| args.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let number = |name: &str| args.get_one::<u64>(name).copied();
    let real = |name: &str| args.get_one::<f64>(name).copied();
    let large = word("setting") == "large";
    let size = |name: &str, small: usize, of_large: usize| {
        number(name).map_or(if large { of_large } else { small }, |value| value as usize)
    };
    Ok(Options {
        device: support::device(word("device"))?,
        network: GptConfig {
            vocabulary: text.characters.len(),
            context: size("context", 64, 256),
            layers: size("layers", 4, 6),
            heads: size("heads", 4, 6),
            width: size("width", 128, 384),
            dropout: real("dropout").unwrap_or(if large { 0.2 } else { 0.0 }),
        },
        iterations: size("iterations", 2000, 5000) as u64,
        steps: number("steps"),
        batch: size("batch", 12, 64),
        lr: real("lr").unwrap_or(if large { 0.001 } else { 0.002 }),
        seed: number("seed").unwrap_or_default(),
        bf16: args.get_flag("bf16"),
        graph: args.get_flag("graph"),
        every: number("every").unwrap_or_default(),
        prompt: word("prompt").into(),
        length: number("length").unwrap_or_default() as usize,
        sampling: Sampling {
            temperature: real("temperature").unwrap_or_default(),
            top_k: number("top-k").map(|k| k as usize),
        },
        resume: args.get_one("resume").cloned(),
        out: args.get_one::<PathBuf>("out").cloned().unwrap_or_default(),
        interrupt: ctrl_c()?,
    })
}

/// Writes with a trained model.
fn generate(options: &Options, text: &Text, from: &PathBuf, length: usize) -> Result<()> {
    let params = Params::new(&options.device, DType::F32, options.seed);
    let model = Gpt::new(&params, &options.network)?;
    params.load_state_dict(&Checkpoint::load(from)?.model(), &from.display().to_string())?;
    println!("{}", sample(&model, &Options { length, ..options.clone() }, text, 0)?);
    Ok(())
}

fn run(args: &ArgMatches) -> Result<()> {
    let text = text::load()?;
    let options = options(args, &text)?;
    if let (Some(from), Some(&length)) = (&options.resume, args.get_one::<u64>("generate")) {
        return generate(&options, &text, from, length as usize);
    }
    let (training, validation) = (text.training.len(), text.validation.len());
    println!("{training} characters to train on, {validation} to validate, {} distinct", text.characters.len());
    let shapes = Params::new(&options.device, DType::F32, options.seed);
    Gpt::new(&shapes, &options.network)?;
    println!("GPT of {} layers: {} parameters, on {}", options.network.layers, shapes.numel(), options.device);
    let outcome = train(&options, &text)?;
    outcome.files.iter().for_each(|f| println!("wrote {}", f.display()));
    match outcome.validation {
        Some(loss) => {
            println!("validation loss {loss:.4} a character, perplexity {:.2}", metrics::perplexity(loss));
            let large = args.get_one::<String>("setting").is_some_and(|setting| setting == "large");
            figure("validation loss", loss, Wanted::AtMost(if large { 1.47 } else { 1.88 }));
        }
        None => println!("stopped after {} of {} steps", outcome.losses.len(), options.iterations),
    }
    Ok(())
}

fn main() -> ExitCode {
    support::figures::exit(run(&command().get_matches()))
}
