//! Trains a Transformer to write like Shakespeare, character by character, on 1.1 MB of his plays.
//!
//! ```text
//! cargo run --release --example train_gpt
//! ```
//!
//! Without arguments: 4 layers, 128 wide, on the CPU, for a few minutes. Every 250 steps it prints the loss on the last
//! tenth of the text, which it does not train on, and a sample; at the end it leaves the model, a checkpoint and a picture
//! of the curves. `--setting large` is the one for GPUs. `--resume` continues a stopped run bit for bit; `--generate N`
//! writes N characters with the model of `--resume` and trains nothing.

mod support;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use support::generator;
use support::language::{Options, train};
use support::text::{self, Text};
use warpsmith::models::{Gpt, GptConfig, Sampling};
use warpsmith::nn::Params;
use warpsmith::train::Checkpoint;
use warpsmith::{DType, Result, metrics};

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
    })
}

/// Writes with a trained model.
fn generate(options: &Options, text: &Text, from: &PathBuf, length: usize) -> Result<()> {
    let params = Params::new(&options.device, DType::F32, options.seed);
    let model = Gpt::new(&params, &options.network)?;
    params.load_state_dict(&Checkpoint::load(from)?.model(), &from.display().to_string())?;
    let prompt = text.characters.encode(&options.prompt)?;
    let more = model.generate(&prompt, length, &options.sampling, &mut generator(options.seed, 3, 0))?;
    println!("{}{}", options.prompt, text.characters.decode(&more));
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
    match outcome.validation {
        Some(loss) => {
            println!("validation loss {loss:.4} a character, perplexity {:.2}", metrics::perplexity(loss))
        }
        None => println!("stopped after {} of {} steps", outcome.losses.len(), options.iterations),
    }
    outcome.files.iter().for_each(|f| println!("wrote {}", f.display()));
    Ok(())
}

fn main() -> ExitCode {
    support::figures::exit(run(&command().get_matches()))
}
