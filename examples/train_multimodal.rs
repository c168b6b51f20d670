//! A classifier of images with text: ERNIE-M reads a sentence, a residual network of bottleneck blocks sees a handwritten
//! digit, and the answer depends on both. The sentence names a number ("is it below seven?", "seven or more?"); the classes
//! are how the digit lies to it: below, the same, above.
//!
//! ```text
//! cargo run --release --example train_multimodal
//! ```
//!
//! First the structure at full size, ERNIE-M base with ResNet-101, which takes no memory; then the same structure at reduced
//! size learns, about half a minute on two cores. What the best guess reaches that knows only the number, or only the digit, is
//! counted from the test pairs themselves.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::digits::{self, Images};
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::models::{ErnieMConfig, ErnieMResNet, ErnieMResNetConfig, ResNetConfig};
use warpsmith::nn::{Ctx, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, schedule};
use warpsmith::random::{Philox, below};
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Error, Result, Tensor, metrics, no_grad};

const CLASSES: usize = 3;
/// Digits are enlarged so many times, to 32×32 pixels.
const ENLARGED: usize = 4;

const NUMBERS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
/// What is asked, with `#` for the number; none says more about the answer than another.
const SENTENCES: [&str; 6] = [
    "compare the picture with #",
    "is this more than # or less",
    "# is the number to hold it against",
    "how does # lie to what you see",
    "the digit and # , which is greater",
    "tell me where # stands next to this digit",
];

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    Command::new("train_multimodal")
        .about("ERNIE-M and a residual network classify handwritten digits with sentences")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg("steps", "2500", "updates").value_parser(value_parser!(u64).range(1..)))
        .arg(arg("batch", "32", "pairs per step").value_parser(value_parser!(usize)))
        .arg(arg("lr", "0.001", "peak learning rate").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, pairs and dropout").value_parser(value_parser!(u64)))
}

/// The words of all sentences, numbered; 0 is padding, 1 the beginning of a sentence.
struct Words {
    known: Vec<&'static str>,
    longest: usize,
}

impl Words {
    fn new() -> Self {
        let mut known: Vec<&str> =
            SENTENCES.iter().flat_map(|text| text.split(' ')).filter(|&word| word != "#").chain(NUMBERS).collect();
        known.sort_unstable();
        known.dedup();
        let longest = SENTENCES.iter().map(|text| text.split(' ').count() + 1).max().unwrap_or(0);
        Words { known, longest }
    }

    fn vocabulary(&self) -> usize {
        self.known.len() + 2
    }

    /// A sentence about a number, padded to the longest.
    fn tokens(&self, sentence: usize, number: usize) -> Vec<i64> {
        let words = SENTENCES[sentence].split(' ').map(|word| if word == "#" { NUMBERS[number] } else { word });
        let id = |word: &str| self.known.binary_search(&word).map_or(0, |at| at as i64 + 2);
        let mut tokens: Vec<i64> = [1].into_iter().chain(words.map(id)).collect();
        tokens.resize(self.longest, 0);
        tokens
    }
}

/// An image and a sentence that names a number.
#[derive(Clone, Copy)]
struct Pair {
    image: usize,
    sentence: usize,
    number: usize,
}

impl Pair {
    /// Any image with any sentence; the three classes come equally often as far as the digit allows it.
    fn draw(images: &Images, rng: &mut Philox) -> Pair {
        let mut pick = |n: usize| below(rng, n as u64) as usize;
        let (image, sentence) = (pick(images.len()), pick(SENTENCES.len()));
        let digit = images.labels[image] as usize;
        let number = match pick(CLASSES) {
            0 if digit < 9 => digit + 1 + pick(9 - digit),
            2 if digit > 0 => pick(digit),
            _ => digit,
        };
        Pair { image, sentence, number }
    }

    /// Below, the same, above.
    fn class(&self, images: &Images) -> usize {
        match (images.labels[self.image] as usize).cmp(&self.number) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => 1,
            std::cmp::Ordering::Greater => 2,
        }
    }
}

/// What the model is given, and the classes.
struct Batch {
    ids: Tensor,
    keep: Tensor,
    images: Tensor,
    classes: Tensor,
}

impl Batch {
    fn new(pairs: &[Pair], images: &Images, words: &Words, device: &Device) -> Result<Self> {
        let tokens: Vec<i64> = pairs.iter().flat_map(|pair| words.tokens(pair.sentence, pair.number)).collect();
        let keep: Vec<u8> = tokens.iter().map(|&token| u8::from(token != 0)).collect();
        let places: Vec<usize> = pairs.iter().map(|pair| pair.image).collect();
        let (grey, _) = images.batch(&places, &vec![[0, 0]; places.len()], device)?;
        let classes: Vec<i64> = pairs.iter().map(|pair| pair.class(images) as i64).collect();
        let shape = [pairs.len(), words.longest];
        Ok(Batch {
            ids: Tensor::from_vec(tokens, shape, device)?,
            keep: Tensor::from_vec(keep, shape, device)?,
            images: Tensor::cat(&[&grey, &grey, &grey], 1)?,
            classes: Tensor::from_vec(classes, pairs.len(), device)?,
        })
    }
}

/// The share of pairs of which the best guess is right that knows one side alone: for each of its ten values the class that
/// these very pairs have most often.
fn best_guess(pairs: &[Pair], images: &Images, side: impl Fn(&Pair) -> usize) -> f64 {
    let mut counts = [[0usize; CLASSES]; 10];
    pairs.iter().for_each(|pair| counts[side(pair)][pair.class(images)] += 1);
    let right: usize = counts.iter().map(|of| of.iter().max().copied().unwrap_or(0)).sum();
    right as f64 / pairs.len() as f64
}

/// The full-size structure: prints its parts and holds the layers that join them to their shapes.
fn full_size() -> Result<()> {
    let params = Params::shapes_only(DType::F32);
    ErnieMResNet::new(&params, &ErnieMResNetConfig::full(CLASSES)?)?;
    println!("at full size, ERNIE-M base and ResNet-101:");
    for part in ["ernie_m", "resnet", "attention_text", "attention_image", "classifier1", "classifier2"] {
        println!("  {part:16} {:>11} parameters", params.sub(part).numel());
    }
    for (name, shape) in [
        ("ernie_m.embeddings.word_embeddings.weight", &[250_002, 768][..]),
        ("ernie_m.embeddings.position_embeddings.weight", &[514, 768]),
        ("ernie_m.encoder.layers.11.linear1.weight", &[3072, 768]),
        ("resnet.conv1.weight", &[64, 3, 7, 7]),
        ("resnet.layer3.22.conv3.weight", &[1024, 256, 1, 1]),
        ("attention_text.q_proj.weight", &[768, 768]),
        ("attention_image.q_proj.weight", &[2048, 2048]),
        ("classifier1.weight", &[1024, 5632]),
        ("classifier2.weight", &[3, 1024]),
    ] {
        let found = params.get(name).map(|param| *param.shape());
        if found.is_none_or(|found| found.dims() != shape) {
            return Err(Error::argument("full size", format!("{name} is {found:?} instead of {shape:?}")));
        }
        println!("  {name:46} {shape:?}");
    }
    figure("parameters at full size", params.numel() as f64, Wanted::Near(345_462_083.0, 0.0));
    Ok(())
}

fn run(args: &ArgMatches) -> Result<()> {
    full_size()?;
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let (steps, seed) = (number("steps"), number("seed"));
    let size = args.get_one::<usize>("batch").map_or(2, |&batch| batch.max(2));
    let lr = args.get_one::<f64>("lr").copied().unwrap_or_default();

    let (training, test) = digits::load()?;
    let (training, test, words) = (training.enlarged(ENLARGED), test.enlarged(ENLARGED), Words::new());
    let text = ErnieMConfig {
        vocabulary: words.vocabulary(),
        positions: words.longest + 2,
        width: 32,
        layers: 2,
        heads: 2,
        feed_forward: 64,
        std: 0.1,
        ..ErnieMConfig::named("base")?
    };
    let image =
        ResNetConfig { depths: vec![1, 1, 2, 1], widths: vec![8, 8, 16, 16], ..ResNetConfig::imagenet(101, 3, 1000)? };
    let config = ErnieMResNetConfig { text, image, heads: [2, 2], hidden: 64, classes: CLASSES, dropout: 0.1 };
    let params = Params::new(&device, DType::F32, seed);
    let model = ErnieMResNet::new(&params, &config)?;
    println!("at reduced size: {} parameters, on {device}", params.numel());

    let mut optimizer = Adam::new(params.trainable(), AdamConfig::adamw(lr))?;
    let mut ctx = Ctx::train(seed);
    let mut progress = Progress::new(steps, 0, "pairs");
    for step in 0..steps {
        let mut rng = generator(seed, 1, step);
        let pairs: Vec<Pair> = (0..size).map(|_| Pair::draw(&training, &mut rng)).collect();
        let batch = Batch::new(&pairs, &training, &words, &device)?;
        let logits = model.forward(&batch.ids, Some(&batch.keep), &batch.images, &mut ctx)?;
        let loss = logits.cross_entropy(&batch.classes, &Default::default())?;
        optimizer.set_lr(lr * schedule::warmup_cosine(step, steps.div_ceil(20), steps, 0.0));
        optimizer.step_clipped(&loss.backward()?, Clip::Norm(1.0))?;
        progress.step(step + 1, &format!("loss {:.4}", loss.item::<f32>()?), size);
    }
    progress.finish();

    let mut rng = generator(seed, 2, 0);
    let pairs: Vec<Pair> = (0..3000).map(|_| Pair::draw(&test, &mut rng)).collect();
    let mut correct = 0;
    for some in pairs.chunks(250) {
        let batch = Batch::new(some, &test, &words, &device)?;
        let logits = no_grad(|| model.forward(&batch.ids, Some(&batch.keep), &batch.images, &mut Ctx::infer()))?;
        correct += metrics::correct(&logits, &batch.classes)?;
    }
    let text_alone = best_guess(&pairs, &test, |pair| pair.number);
    let image_alone = best_guess(&pairs, &test, |pair| test.labels[pair.image] as usize);
    println!("the best guess from the text alone is right in {:.1} %", 100.0 * text_alone);
    println!("the best guess from the image alone is right in {:.1} %", 100.0 * image_alone);
    let accuracy = correct as f64 / pairs.len() as f64;
    figure(
        "test accuracy, against the better of text and image alone",
        accuracy,
        Wanted::Above(text_alone.max(image_alone)),
    );
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
