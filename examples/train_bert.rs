//! BERT on a small scale (Devlin et al. 2019): a Transformer encoder first learns to fill in hidden words of sentences that
//! nobody labelled. It is then fine-tuned on two hundred that are marked favourable or not, five times, each with its own
//! labels and head; the same model that begins with the fine-tuning, on the same labels, shows what the first part is good
//! for. Every fifth sentence is held out.
//!
//! So small a pre-training (14 passes over 19,000 sentences) helps where labels are few; with twice as many the model learns
//! as much from the labels alone: `--labels 400` shows it.
//!
//! ```text
//! cargo xtask data sentiment
//! cargo run --release --example train_bert
//! ```
//!
//! About four minutes on two cores.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::models::{BertClassifier, BertConfig, BertInput, BertMaskedLm};
use warpsmith::nn::{Ctx, Params, StateDict};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, schedule};
use warpsmith::random::{Philox, below, permutation};
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Error, Result, Tensor, metrics, no_grad};

/// Tokens that are no words: padding, words that are not known, the beginning of a sentence, a hidden word.
const PAD: i64 = 0;
const UNKNOWN: i64 = 1;
const BEGIN: i64 = 2;
const HIDDEN: i64 = 3;
const FIRST_WORD: i64 = 4;
/// Tokens of a sentence that are read.
const LENGTH: usize = 24;
/// Sentences of a step, of the pre-training and of the fine-tuning.
const BATCH: [usize; 2] = [64, 32];

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    let number = || value_parser!(u64).range(1..);
    let path = |name: &'static str| Arg::new(name).long(name).value_name("PATH").value_parser(value_parser!(PathBuf));
    Command::new("train_bert")
        .about("Masked-language-model pre-training, then fine-tuning, against fine-tuning alone")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("steps", "4000", "of the pre-training").value_parser(number()))
        .arg(arg("epochs", "12", "of the fine-tuning").value_parser(number()))
        .arg(arg("lr", "0.001", "peak learning rate of the fine-tuning").value_parser(value_parser!(f64)))
        .arg(arg("labels", "200", "sentences of the fine-tuning").value_parser(number()))
        .arg(arg("seeds", "5", "fine-tunings").value_parser(number()))
        .arg(arg("seed", "1", "of the pre-training and the first fine-tuning").value_parser(value_parser!(u64)))
        .arg(path("out").default_value("out/train_bert").help("folder for the pre-trained model"))
        .arg(path("pretrained").help("a model that an earlier run left there, instead of pre-training"))
}

/// A sentence's tokens, and how favourable people found it: -4 to 4.
struct Sentence {
    tokens: Vec<i64>,
    rating: f64,
}

/// Words in lower case, and what stands between them: `:)` and `!!!` are words too.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    let mut last = None;
    for c in text.to_lowercase().chars() {
        let kind = (!c.is_whitespace()).then(|| c.is_alphanumeric() || c == '\'');
        match words.last_mut() {
            Some(word) if kind.is_some() && kind == last => word.push(c),
            _ if kind.is_some() => words.push(c.to_string()),
            _ => {}
        }
        last = kind;
    }
    words
}

/// Training and test sentences, and the number of distinct tokens: words that the training sentences have six times.
fn load() -> Result<(Vec<Sentence>, Vec<Sentence>, usize)> {
    let rated = support::fetched::rated_sentences()?.into_iter();
    let texts: Vec<(Vec<String>, f64)> = rated.map(|(text, rating)| (words(&text), rating)).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let training = texts.iter().enumerate().filter(|(index, _)| index % 5 != 0);
    training.flat_map(|(_, (words, _))| words).for_each(|word| *counts.entry(word).or_default() += 1);
    let mut known: Vec<&str> = counts.into_iter().filter(|(_, count)| *count > 5).map(|(word, _)| word).collect();
    known.sort_unstable();
    let token = |word: &String| known.binary_search(&word.as_str()).map_or(UNKNOWN, |at| at as i64 + FIRST_WORD);
    let mut parts = [vec![], vec![]];
    for (index, (words, rating)) in texts.iter().enumerate() {
        let tokens = [BEGIN].into_iter().chain(words.iter().map(token)).take(LENGTH).collect();
        parts[usize::from(index % 5 == 0)].push(Sentence { tokens, rating: *rating });
    }
    let [training, test] = parts;
    Ok((training, test, known.len() + FIRST_WORD as usize))
}

/// Tokens (B, T), T being the longest sentence's length, and where there are any: (B, T), 0 at padding.
fn batch(sentences: &[Vec<i64>], device: &Device) -> Result<(Tensor, Tensor)> {
    let longest = sentences.iter().map(Vec::len).max().unwrap_or(0);
    let token = |sentence: &Vec<i64>, i: usize| sentence.get(i).copied().unwrap_or(PAD);
    let tokens: Vec<i64> = sentences.iter().flat_map(|s| (0..longest).map(move |i| token(s, i))).collect();
    let keep: Vec<u8> = tokens.iter().map(|&token| u8::from(token != PAD)).collect();
    let shape = [sentences.len(), longest];
    Ok((Tensor::from_vec(tokens, shape, device)?, Tensor::from_vec(keep, shape, device)?))
}

/// Chooses 15 % of a sentence's words to be predicted, of which 80 % are hidden, 10 % replaced by any word and 10 % left:
/// their places and what they were. The first place is asked for each of them too: so it learns to stand for the whole.
fn hide(tokens: &mut [i64], vocabulary: usize, rng: &mut Philox) -> Vec<(usize, i64)> {
    let mut hidden = vec![];
    for (place, token) in tokens.iter_mut().enumerate().skip(1) {
        if below(rng, 100) < 15 && *token != UNKNOWN {
            hidden.push((place, *token));
            match below(rng, 10) {
                0 => *token = FIRST_WORD + below(rng, vocabulary as u64 - FIRST_WORD as u64) as i64,
                1 => {}
                _ => *token = HIDDEN,
            }
        }
    }
    let whole: Vec<_> = hidden.iter().map(|&(_, word)| (0, word)).collect();
    hidden.extend(whole);
    hidden
}

/// What this run does.
struct Run {
    config: BertConfig,
    device: Device,
    steps: u64,
    epochs: u64,
    lr: f64,
}

impl Run {
    /// Learns to fill in words: the model's entries.
    fn pretrain(&self, sentences: &[Sentence], seed: u64) -> Result<StateDict> {
        let params = Params::new(&self.device, DType::F32, seed);
        let model = BertMaskedLm::new(&params, &self.config)?;
        let mut optimizer = Adam::new(params.trainable(), AdamConfig::adamw(PRETRAINING_RATE))?;
        let (mut ctx, mut progress) = (Ctx::train(seed), Progress::new(self.steps, 0, "sentences"));
        let mut mean = metrics::Smoothed::new(0.99)?;
        for step in 0..self.steps {
            let mut rng = generator(seed, 1, step);
            let mut chosen: Vec<Vec<i64>> = (0..BATCH[0])
                .map(|_| sentences[below(&mut rng, sentences.len() as u64) as usize].tokens.clone())
                .collect();
            let hidden: Vec<_> =
                chosen.iter_mut().map(|tokens| hide(tokens, self.config.vocabulary, &mut rng)).collect();
            let (ids, keep) = batch(&chosen, &self.device)?;
            // Only the chosen places go through the output layer, which is as wide as the vocabulary.
            let length = ids.dim(1)?;
            let places = hidden.iter().enumerate();
            let places = places.flat_map(|(row, hidden)| hidden.iter().map(move |(at, _)| (row * length + at) as i64));
            let places = Tensor::from_iter(places, &self.device)?;
            let words = Tensor::from_iter(hidden.iter().flatten().map(|(_, word)| *word), &self.device)?;
            let input = BertInput { keep: Some(&keep), types: None };
            let states = model.bert().forward(&ids, &input, &mut ctx)?.flatten(0, 1)?.index_select(0, &places)?;
            let loss = model.predict(&states, &mut ctx)?.cross_entropy(&words, &Default::default())?;
            let factor = schedule::warmup_cosine(step, self.steps.div_ceil(10), self.steps, 0.0);
            optimizer.set_lr(PRETRAINING_RATE * factor);
            optimizer.step_clipped(&loss.backward()?, Clip::Norm(1.0))?;
            let loss = mean.add(loss.item::<f64>()?);
            progress.step(step + 1, &format!("loss of a hidden word {loss:.3}"), BATCH[0]);
        }
        progress.finish();
        params.state_dict()
    }

    /// Learns to tell favourable sentences, from a pre-trained encoder or from nothing: the accuracy on the test sentences.
    fn finetune(
        &self,
        begin: Option<&StateDict>,
        training: &[&Sentence],
        test: &[&Sentence],
        seed: u64,
    ) -> Result<f64> {
        let params = Params::new(&self.device, DType::F32, seed);
        let model = BertClassifier::new(&params, &self.config, 2)?;
        if let Some(pretrained) = begin {
            params.load_state_dict_partial(pretrained, "the pre-trained model")?;
        }
        let mut optimizer = Adam::new(params.trainable(), AdamConfig::adamw(self.lr))?;
        let mut ctx = Ctx::train(seed);
        let logits = |sentences: &[&Sentence], ctx: &mut Ctx| -> Result<(Tensor, Tensor)> {
            let tokens: Vec<_> = sentences.iter().map(|sentence| sentence.tokens.clone()).collect();
            let (ids, keep) = batch(&tokens, &self.device)?;
            let labels = sentences.iter().map(|sentence| i64::from(sentence.rating > 0.0));
            let logits = model.forward(&ids, &BertInput { keep: Some(&keep), types: None }, ctx)?;
            Ok((logits, Tensor::from_iter(labels, &self.device)?))
        };
        let total = self.epochs * training.len().div_ceil(BATCH[1]) as u64;
        let mut step = 0;
        for epoch in 0..self.epochs {
            for places in permutation(training.len(), &mut generator(seed, 2, epoch)).chunks(BATCH[1]) {
                let sentences: Vec<_> = places.iter().map(|&place| training[place]).collect();
                let (logits, labels) = logits(&sentences, &mut ctx)?;
                let loss = logits.cross_entropy(&labels, &Default::default())?;
                optimizer.set_lr(self.lr * schedule::warmup_cosine(step, total.div_ceil(10), total, 0.0));
                optimizer.step_clipped(&loss.backward()?, Clip::Norm(1.0))?;
                step += 1;
            }
        }
        let mut correct = 0;
        for sentences in test.chunks(256) {
            let (logits, labels) = no_grad(|| logits(sentences, &mut Ctx::infer()))?;
            correct += metrics::correct(&logits, &labels)?;
        }
        Ok(correct as f64 / test.len() as f64)
    }
}

const PRETRAINING_RATE: f64 = 3e-3;

/// Sentences rated clearly: by at least half a point.
fn clear(sentences: &[Sentence]) -> Vec<&Sentence> {
    sentences.iter().filter(|sentence| sentence.rating.abs() >= 0.5).collect()
}

fn run(args: &ArgMatches) -> Result<()> {
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (training, test, vocabulary) = load()?;
    let (labelled, test) = (clear(&training), clear(&test));
    let favourable = test.iter().filter(|sentence| sentence.rating > 0.0).count() as f64 / test.len() as f64;
    println!("{} sentences without labels, {vocabulary} tokens; {} test sentences", training.len(), test.len());
    println!("who always says the commoner answer is right in {:.1} %", 100.0 * favourable.max(1.0 - favourable));

    let sizes = BertConfig { vocabulary, positions: LENGTH, types: 1, ..BertConfig::named("tiny")? };
    let config = BertConfig { width: 64, layers: 2, heads: 4, feed_forward: 128, std: 0.05, ..sizes };
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let lr = args.get_one::<f64>("lr").copied().unwrap_or_default();
    let run = Run { config, device: device.clone(), steps: number("steps"), epochs: number("epochs"), lr };
    let path = |name: &str| args.get_one::<PathBuf>(name).cloned();
    let pretrained = match path("pretrained") {
        Some(from) => StateDict::load(from, &device)?,
        None => {
            let pretrained = run.pretrain(&training, number("seed"))?;
            let out = path("out").unwrap_or_default();
            std::fs::create_dir_all(&out).map_err(|source| Error::Io {
                action: "creating",
                path: out.clone(),
                source,
            })?;
            pretrained.save(out.join("pretrained.safetensors"))?;
            println!("wrote {}", out.join("pretrained.safetensors").display());
            pretrained
        }
    };
    let (mut sums, seeds) = ([0.0; 2], number("seeds"));
    for seed in number("seed")..number("seed") + seeds {
        let order = permutation(labelled.len(), &mut generator(seed, 3, 0));
        let few: Vec<_> = order.iter().take(number("labels") as usize).map(|&place| labelled[place]).collect();
        let accuracies = [run.finetune(None, &few, &test, seed)?, run.finetune(Some(&pretrained), &few, &test, seed)?];
        let [scratch, tuned] = accuracies.map(|accuracy| 100.0 * accuracy);
        println!("seed {seed}, {} labels: {scratch:.2} % from scratch, {tuned:.2} % after pre-training", few.len());
        sums.iter_mut().zip(accuracies).for_each(|(sum, accuracy)| *sum += accuracy);
    }
    let [scratch, tuned] = sums.map(|sum| sum / seeds as f64);
    figure("mean accuracy after pre-training, against that from scratch", tuned, Wanted::Above(scratch));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
