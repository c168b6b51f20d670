//! Recurrent networks that read sentences: an Elman network, an LSTM and a GRU over word embeddings tell favourable
//! sentences (reviews, tweets, editorials) from unfavourable ones. Every fifth sentence is held out.
//!
//! ```text
//! cargo xtask data sentiment
//! cargo run --release --example rnn
//! ```
//!
//! About two minutes on two cores.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::data::{Words, WordsConfig};
use warpsmith::nn::{Ctx, Dropout, Embedding, Linear, Module, Params, Rnn, RnnConfig, RnnKind};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer};
use warpsmith::random::permutation;
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Result, Tensor, metrics, no_grad};

/// Words of a sentence that are read: its last ones.
const LENGTH: usize = 32;
const WIDTH: usize = 64;

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("rnn")
        .about("An Elman network, an LSTM and a GRU tell favourable sentences from unfavourable ones")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("epochs", "4", "passes over the training sentences").value_parser(value_parser!(u64).range(1..)))
        .arg(support::steps())
        .arg(arg("batch", "64", "sentences per step").value_parser(value_parser!(usize)))
        .arg(arg("lr", "0.002", "learning rate").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, shuffles and dropout").value_parser(value_parser!(u64)))
}

/// Sentences as ids of words, and whether they are favourable.
#[derive(Default)]
struct Set {
    sentences: Vec<Vec<i64>>,
    labels: Vec<i64>,
}

impl Set {
    /// Ids (B, T) with padding in front, so that every sentence ends at the last step; and labels.
    fn batch(&self, places: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        let longest = places.iter().map(|&place| self.sentences[place].len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(places.len() * longest);
        for sentence in places.iter().map(|&place| &self.sentences[place]) {
            ids.extend(std::iter::repeat_n(Words::PADDING, longest - sentence.len()).chain(sentence.iter().copied()));
        }
        let labels = places.iter().map(|&place| self.labels[place]);
        Ok((Tensor::from_vec(ids, [places.len(), longest], device)?, Tensor::from_iter(labels, device)?))
    }
}

/// Sentences rated clearly (by at least half a point of four), and the number of words known: those that the training
/// sentences have twice.
fn load() -> Result<(Set, Set, usize)> {
    let rated = support::fetched::rated_sentences()?.into_iter().filter(|(_, rating)| rating.abs() >= 0.5);
    let rated: Vec<(String, i64)> = rated.map(|(text, rating)| (text, i64::from(rating > 0.0))).collect();
    let training = rated.iter().enumerate().filter(|(index, _)| index % 5 != 0).map(|(_, (text, _))| text);
    let words = Words::of(training, &WordsConfig { min_count: 2, ..Default::default() });
    let mut sets = [Set::default(), Set::default()];
    for (index, (text, label)) in rated.iter().enumerate() {
        let set = &mut sets[usize::from(index % 5 == 0)];
        let tokens = words.encode(text);
        set.sentences.push(tokens[tokens.len().saturating_sub(LENGTH)..].to_vec());
        set.labels.push(*label);
    }
    let [training, test] = sets;
    Ok((training, test, words.len()))
}

/// Embeddings, a recurrent layer, and a decision by its last state.
struct Reader {
    embedding: Embedding,
    rnn: Rnn,
    dropout: Dropout,
    head: Linear,
}

impl Reader {
    fn new(params: &Params, words: usize, kind: RnnKind) -> Result<Self> {
        Ok(Reader {
            embedding: Embedding::new(&params.sub("embedding"), words, WIDTH)?,
            rnn: Rnn::new(&params.sub("rnn"), RnnConfig::new(kind, WIDTH, WIDTH))?,
            dropout: Dropout::new(0.5)?,
            head: Linear::new(&params.sub("head"), WIDTH, 2)?,
        })
    }
}

impl Module for Reader {
    fn forward(&self, ids: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let x = self.embedding.forward(ids, ctx)?;
        let x = self.dropout.forward(&x, ctx)?;
        let last = self.rnn.run(&x, None, ctx)?.hidden.get(0)?;
        self.head.forward(&self.dropout.forward(&last, ctx)?, ctx)
    }
}

fn accuracy(reader: &Reader, set: &Set, device: &Device) -> Result<f64> {
    let places: Vec<usize> = (0..set.labels.len()).collect();
    let mut correct = 0;
    for places in places.chunks(256) {
        let (ids, labels) = set.batch(places, device)?;
        correct += metrics::correct(&no_grad(|| reader.forward(&ids, &mut Ctx::infer()))?, &labels)?;
    }
    Ok(correct as f64 / places.len() as f64)
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (epochs, seed) = (number("epochs"), number("seed"));
    let batch = args.get_one::<usize>("batch").map_or(1, |&batch| batch.max(1));
    let lr = args.get_one::<f64>("lr").copied().unwrap_or_default();

    let (training, test, words) = load()?;
    let favourable = test.labels.iter().sum::<i64>() as f64 / test.labels.len() as f64;
    let majority = favourable.max(1.0 - favourable);
    println!("{} training and {} test sentences, {words} words known", training.labels.len(), test.labels.len());
    println!("who always says the commoner answer is right in {:.1} %", 100.0 * majority);
    let per_epoch = training.labels.len().div_ceil(batch) as u64;
    'kinds: for (name, kind) in [("Elman network", RnnKind::Tanh), ("LSTM", RnnKind::Lstm), ("GRU", RnnKind::Gru)] {
        let params = Params::new(&device, DType::F32, seed);
        let reader = Reader::new(&params, words, kind)?;
        let mut adam = Adam::new(params.trainable(), AdamConfig::adam(lr))?;
        let mut ctx = Ctx::train(seed);
        let mut progress = Progress::new(epochs * per_epoch, 0, "sentences");
        let (mut step, mut share) = (0, 0.0);
        for epoch in 1..=epochs {
            for places in permutation(training.labels.len(), &mut generator(seed, 1, epoch)).chunks(batch) {
                let (ids, labels) = training.batch(places, &device)?;
                let loss = reader.forward(&ids, &mut ctx)?.cross_entropy(&labels, &Default::default())?;
                // Long products of Jacobians make gradients explode now and then (Pascanu et al. 2013).
                adam.step_clipped(&loss.backward()?, Clip::Norm(1.0))?;
                step += 1;
                progress.step(step, &format!("{name}, loss {:.4}", loss.item::<f32>()?), places.len());
                if support::stops(args, step, &progress) {
                    continue 'kinds;
                }
            }
            share = accuracy(&reader, &test, &device)?;
            progress.line(&format!("{name}, epoch {epoch}/{epochs}: test accuracy {:.2} %", 100.0 * share));
        }
        progress.finish();
        figure(&format!("{name}: test accuracy"), share, Wanted::AtLeast(majority + 0.1));
    }
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
