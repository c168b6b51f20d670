//! The encoder-decoder Transformer of "Attention is all you need" (Vaswani et al. 2017), with sinusoidal positions, learns
//! to sort: it reads a string of digits and writes the same digits in order. Every eighth string is held out; they are
//! decoded greedily, with the keys and values of what was written kept.
//!
//! ```text
//! cargo run --release --example train_transformer
//! ```
//!
//! About a minute on two cores.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::models::{Seq2Seq, Seq2SeqConfig};
use warpsmith::nn::{Ctx, Params, TransformerConfig};
use warpsmith::optim::{Adam, AdamConfig, Optimizer, schedule};
use warpsmith::random::{Philox, below};
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Result, Tensor};

/// Digit d is token d; these follow.
const PAD: i64 = 10;
const BEGIN: i64 = 11;
const END: i64 = 12;
/// Digits of a string, at least and at most.
const LENGTHS: [usize; 2] = [4, 12];

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("train_transformer")
        .about("An encoder-decoder Transformer learns to sort digits")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("steps", "1200", "updates").value_parser(value_parser!(u64).range(1..)))
        .arg(arg("batch", "64", "strings per step").value_parser(value_parser!(usize)))
        .arg(arg("lr", "0.001", "peak learning rate").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights and strings").value_parser(value_parser!(u64)))
}

/// A string of digits that is held out, or one that is not. The sum of its digits, each weighed by its place, says which.
fn draw(held_out: bool, rng: &mut Philox) -> Vec<i64> {
    loop {
        let length = LENGTHS[0] + below(rng, (LENGTHS[1] - LENGTHS[0] + 1) as u64) as usize;
        let digits: Vec<i64> = (0..length).map(|_| below(rng, 10) as i64).collect();
        let sum: i64 = digits.iter().zip(1..).map(|(digit, place)| digit * place).sum();
        if (sum % 8 == 0) == held_out {
            return digits;
        }
    }
}

/// What the encoder reads, and the answers.
struct Batch {
    /// (B, S), padded.
    source: Tensor,
    /// (B, S), 0 at padding.
    keep: Tensor,
    sorted: Vec<Vec<i64>>,
}

impl Batch {
    fn new(strings: &[Vec<i64>], device: &Device) -> Result<Self> {
        let longest = LENGTHS[1];
        let padded =
            |string: &Vec<i64>| (0..longest).map(|i| string.get(i).copied().unwrap_or(PAD)).collect::<Vec<_>>();
        let source: Vec<i64> = strings.iter().flat_map(padded).collect();
        let keep: Vec<u8> = source.iter().map(|&token| u8::from(token != PAD)).collect();
        let mut sorted = strings.to_vec();
        sorted.iter_mut().for_each(|string| string.sort_unstable());
        let shape = [strings.len(), longest];
        Ok(Batch {
            source: Tensor::from_vec(source, shape, device)?,
            keep: Tensor::from_vec(keep, shape, device)?,
            sorted,
        })
    }

    /// What the decoder reads (BEGIN, then the answer), and what it is to say at each of these places (the answer, then END;
    /// nothing at padding).
    fn targets(&self) -> Result<(Tensor, Tensor)> {
        let (mut read, mut say) = (vec![], vec![]);
        for answer in &self.sorted {
            let padding = || std::iter::repeat_n(PAD, LENGTHS[1] - answer.len());
            read.extend([BEGIN].into_iter().chain(answer.iter().copied()).chain(padding()));
            say.extend(answer.iter().copied().chain([END]).chain(padding()));
        }
        let (device, shape) = (self.source.device(), [self.sorted.len(), LENGTHS[1] + 1]);
        let length = say.len();
        Ok((Tensor::from_vec(read, shape, device)?, Tensor::from_vec(say, length, device)?))
    }
}

/// The share of held-out strings that are sorted without a mistake.
fn exact_match(model: &Seq2Seq, count: usize, seed: u64, device: &Device) -> Result<f64> {
    let mut rng = generator(seed, 2, 0);
    let strings: Vec<_> = (0..count).map(|_| draw(true, &mut rng)).collect();
    let mut exact = 0;
    for strings in strings.chunks(250) {
        let batch = Batch::new(strings, device)?;
        let found = model.generate(&batch.source, Some(&batch.keep), [BEGIN, END], LENGTHS[1] + 1)?;
        exact += found.iter().zip(&batch.sorted).filter(|(found, sorted)| found == sorted).count();
    }
    Ok(exact as f64 / count as f64)
}

fn text(digits: &[i64]) -> String {
    digits.iter().map(|digit| digit.to_string()).collect()
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (steps, seed) = (number("steps"), number("seed"));
    let size = args.get_one::<usize>("batch").map_or(1, |&batch| batch.max(1));
    let lr = args.get_one::<f64>("lr").copied().unwrap_or_default();

    let layer = TransformerConfig { feed_forward: 256, dropout: 0.0, ..TransformerConfig::new(64, 4) };
    let config = Seq2SeqConfig { vocabulary: 13, context: LENGTHS[1] + 1, layers: 2, layer };
    let params = Params::new(&device, DType::F32, seed);
    let model = Seq2Seq::new(&params, &config)?;
    println!("{} layers on each side, {} parameters, on {device}", config.layers, params.numel());
    let mut optimizer = Adam::new(params.trainable(), AdamConfig { betas: (0.9, 0.98), ..AdamConfig::adam(lr) })?;
    let mut ctx = Ctx::train(seed);
    let mut progress = Progress::new(steps, 0, "strings");
    for step in 0..steps {
        let mut rng = generator(seed, 1, step);
        let strings: Vec<_> = (0..size).map(|_| draw(false, &mut rng)).collect();
        let batch = Batch::new(&strings, &device)?;
        let (read, say) = batch.targets()?;
        let logits = model.forward(&batch.source, Some(&batch.keep), &read, &mut ctx)?;
        let ignore = warpsmith::CrossEntropyParams { ignore_index: Some(PAD), ..Default::default() };
        let loss = logits.flatten(0, 1)?.cross_entropy(&say, &ignore)?;
        optimizer.set_lr(lr * schedule::warmup_cosine(step, steps.div_ceil(10), steps, 0.05));
        optimizer.step(&loss.backward()?)?;
        progress.step(step + 1, &format!("loss {:.4}", loss.item::<f32>()?), size);
    }
    progress.finish();

    let mut rng = generator(seed, 3, 0);
    let strings: Vec<_> = (0..3).map(|_| draw(true, &mut rng)).collect();
    let batch = Batch::new(&strings, &device)?;
    let found = model.generate(&batch.source, Some(&batch.keep), [BEGIN, END], LENGTHS[1] + 1)?;
    strings.iter().zip(&found).for_each(|(string, found)| println!("{} -> {}", text(string), text(found)));
    figure("exact match on held-out strings", exact_match(&model, 2000, seed, &device)?, Wanted::AtLeast(0.99));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
