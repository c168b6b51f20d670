//! The zoo's models on CUDA devices: from the CPU's weights, a training step with dropout has the CPU's loss and gradients,
//! and two steps give the same bits again. (`devices_train` does so for ResNet and GPT over twenty steps; `recsys` holds
//! the recommenders to their definitions on every device.)

mod support;

use support::devices::{self, Gpu};
use support::random::Random;
use warpsmith::models::{
    BertClassifier, BertConfig, BertInput, BertMaskedLm, ErnieMConfig, ErnieMResNet, ErnieMResNetConfig, ResNetConfig,
    Seq2Seq, Seq2SeqConfig,
};
use warpsmith::nn::*;
use warpsmith::ops::{Conv2dParams, Pool2dParams};
use warpsmith::optim::{Adam, AdamConfig, Optimizer};
use warpsmith::{DType, Device, Result, Tensor};

/// Sequences of a batch, and their longest length.
const BATCH: usize = 4;
const LENGTH: usize = 7;
const VOCABULARY: usize = 60;
const CLASSES: usize = 3;

/// What every model is given: all of it from one seed, so the same on every device.
struct Batch {
    /// Ids of (B, T).
    ids: Tensor,
    /// Others of (B, T − 2).
    targets: Tensor,
    /// u8 (B, T), 0 at padding: rows end at different lengths.
    keep: Tensor,
    /// (B, 3, 32, 32).
    images: Tensor,
    /// Of (B).
    labels: Tensor,
}

impl Batch {
    fn new(seed: u64, device: &Device) -> Result<Self> {
        let mut random = Random::new(seed);
        let mut ids = |n: usize, dims: &[usize]| {
            let count = dims.iter().product::<usize>();
            let ids = (0..count).map(|_| random.below(n) as i64).collect();
            Tensor::from_vec(ids, dims, device)
        };
        let keep = (0..BATCH * LENGTH).map(|i| u8::from(i % LENGTH < LENGTH - i / LENGTH)).collect();
        Ok(Batch {
            ids: ids(VOCABULARY, &[BATCH, LENGTH])?,
            targets: ids(VOCABULARY, &[BATCH, LENGTH - 2])?,
            keep: Tensor::from_vec::<u8>(keep, [BATCH, LENGTH], device)?,
            labels: ids(CLASSES, &[BATCH])?,
            images: {
                let pixels = (0..BATCH * 3 * 32 * 32).map(|_| random.range(-1.0, 1.0) as f32).collect();
                Tensor::from_vec::<f32>(pixels, [BATCH, 3, 32, 32], device)?
            },
        })
    }
}

/// The logits of a batch, (B, classes) or (B, T, classes), and their labels.
type Forward = Box<dyn Fn(&Batch, &mut Ctx) -> Result<(Tensor, Tensor)>>;
type Build = fn(&Params) -> Result<Forward>;

struct Run {
    params: Params,
    forward: Forward,
    ctx: Ctx,
    batch: Batch,
}

/// A loss, and each parameter's gradient by its name.
type Found = (f64, Vec<(String, Vec<f64>)>);

impl Run {
    fn new(build: Build, seed: u64, device: &Device) -> Result<Self> {
        let params = Params::new(device, DType::F32, 5);
        let forward = build(&params)?;
        Ok(Run { params, forward, ctx: Ctx::train(9), batch: Batch::new(seed, device)? })
    }

    /// A step: its loss, and every gradient.
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<Found> {
        let (logits, labels) = (self.forward)(&self.batch, &mut self.ctx)?;
        let logits = logits.reshape([labels.numel(), logits.dim(-1)?])?;
        let loss = logits.cross_entropy(&labels.flatten(0, -1)?, &Default::default())?;
        let gradients = loss.backward()?;
        let values = self.params.trainable().into_iter();
        let values = values.map(|(name, param)| Ok((name, gradients.expect(&param.tensor())?.to_f64_vec()?)));
        let found = (loss.item::<f64>()?, values.collect::<Result<_>>()?);
        optimizer.step(&gradients)?;
        Ok(found)
    }

    fn adam(&self) -> Result<Adam> {
        Adam::new(self.params.trainable(), AdamConfig::adam(1e-3))
    }
}

/// Two steps, each of which begins with the CPU's weights where they are given.
fn steps(
    build: Build,
    seed: u64,
    device: &Device,
    weights: Option<&[StateDict; 2]>,
) -> Result<([Found; 2], [StateDict; 2])> {
    let mut run = Run::new(build, seed, device)?;
    let mut adam = run.adam()?;
    let (mut found, mut dicts) = (vec![], vec![]);
    for step in 0..2 {
        if let Some(weights) = weights {
            run.params.load_state_dict(&weights[step], "weights")?;
        }
        dicts.push(run.params.state_dict()?);
        found.push(run.step(&mut adam)?);
    }
    let (Ok(found), Ok(dicts)) = (found.try_into(), dicts.try_into()) else { unreachable!("two steps") };
    Ok((found, dicts))
}

fn agree(name: &str, build: Build) {
    let random = Random::fresh(name);
    let (expected, weights) = steps(build, random.seed(), &Device::Cpu, None).unwrap();
    for gpu in devices::gpus(random.seed()) {
        let place = format!("{name} on {}", gpu.name);
        let run = || {
            let found = steps(build, random.seed(), &gpu.device, Some(&weights));
            found.unwrap_or_else(|error| panic!("{place}: {error}{}", devices::reports())).0
        };
        let found = run();
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            compare(&format!("{place}, step {step}"), found, expected);
        }
        assert!(run() == found, "{place}: other bits");
        assert_eq!(devices::reports(), "", "{place}");
    }
}

/// Equal weights, so only sums in another order: as wrong as the largest of a gradient's terms, which for those that are
/// nought by definition (a key's bias, a bias under a batch norm) are other parameters'.
fn compare(place: &str, found: &Found, expected: &Found) {
    assert!((found.0 - expected.0).abs() <= 1e-5 * expected.0.abs(), "{place}: loss {}, {}", found.0, expected.0);
    let largest = |values: &[f64]| values.iter().fold(0f64, |m, g| m.max(g.abs()));
    let of_all = expected.1.iter().map(|(_, values)| largest(values)).fold(0.0, f64::max);
    for ((name, found), (_, expected)) in found.1.iter().zip(&expected.1) {
        let bound = 2e-4 * largest(expected) + 1e-6 * of_all;
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= bound, "{place}: {name}: {found}, {expected}");
        }
    }
}

#[test]
fn a_small_convolutional_network() {
    agree("LeNet", |params| {
        let padded = || Conv2dParams { padding: [2, 2], ..Default::default() };
        let network = Sequential::new(params)
            .layer(|p| Conv2d::new(p, 3, 6, [5, 5], padded()))?
            .then(Activation::Relu)
            .then(MaxPool2d(Pool2dParams::new([2, 2])))
            .layer(|p| Conv2d::new(p, 6, 8, [5, 5], padded()))?
            .then(Activation::Tanh)
            .then(MaxPool2d(Pool2dParams::new([2, 2])))
            .then(Flatten)
            .layer(|p| Linear::new(p, 8 * 8 * 8, 20))?
            .then(Activation::Relu)
            .then(Dropout::new(0.3)?)
            .layer(|p| Linear::new(p, 20, CLASSES))?;
        Ok(Box::new(move |batch, ctx| Ok((network.forward(&batch.images, ctx)?, batch.labels.clone()))))
    });
}

/// An embedding with dropout, a recurrent layer in both directions, a decision by the states at the end.
fn reader(params: &Params, kind: RnnKind) -> Result<Forward> {
    let embedding = Embedding::new(&params.sub("embedding"), VOCABULARY, 12)?;
    let rnn = Rnn::new(&params.sub("rnn"), RnnConfig { bidirectional: true, ..RnnConfig::new(kind, 12, 10) })?;
    let dropout = Dropout::new(0.2)?;
    let head = Linear::new(&params.sub("head"), 20, CLASSES)?;
    Ok(Box::new(move |batch, ctx| {
        let words = dropout.forward(&embedding.forward(&batch.ids, ctx)?, ctx)?;
        let states = rnn.run(&words, None, ctx)?.output;
        Ok((head.forward(&states.narrow(1, LENGTH - 1, 1)?.squeeze(1)?, ctx)?, batch.labels.clone()))
    }))
}

#[test]
fn recurrent_networks() {
    agree("Elman network", |params| reader(params, RnnKind::Tanh));
    agree("LSTM", |params| reader(params, RnnKind::Lstm));
    agree("GRU", |params| reader(params, RnnKind::Gru));
}

/// Heads of 32 features: what the fused kernels take.
fn bert() -> Result<BertConfig> {
    let sizes = BertConfig::named("tiny")?;
    Ok(BertConfig { vocabulary: VOCABULARY, positions: 16, width: 64, heads: 2, feed_forward: 96, std: 0.1, ..sizes })
}

#[test]
fn bert_fills_in_and_classifies() {
    agree("BERT, masked LM", |params| {
        let model = BertMaskedLm::new(params, &bert()?)?;
        Ok(Box::new(move |batch, ctx| {
            let input = BertInput { keep: Some(&batch.keep), types: None };
            Ok((model.forward(&batch.ids, &input, ctx)?, batch.ids.clone()))
        }))
    });
    agree("BERT, classifier", |params| {
        let model = BertClassifier::new(params, &bert()?, CLASSES)?;
        Ok(Box::new(move |batch, ctx| {
            let input = BertInput { keep: Some(&batch.keep), types: None };
            Ok((model.forward(&batch.ids, &input, ctx)?, batch.labels.clone()))
        }))
    });
}

fn seq2seq(params: &Params) -> Result<Seq2Seq> {
    let layer = TransformerConfig { feed_forward: 96, dropout: 0.1, ..TransformerConfig::new(64, 2) };
    Seq2Seq::new(params, &Seq2SeqConfig { vocabulary: VOCABULARY, context: 16, layers: 2, layer })
}

#[test]
fn an_encoder_and_a_decoder() {
    agree("encoder-decoder", |params| {
        let model = seq2seq(params)?;
        Ok(Box::new(move |batch, ctx| {
            let logits = model.forward(&batch.ids, Some(&batch.keep), &batch.targets, ctx)?;
            Ok((logits, batch.targets.clone()))
        }))
    });
}

#[test]
fn an_encoder_and_a_decoder_write_the_same_tokens() {
    let random = Random::fresh("generate");
    let written = |device: &Device| -> Result<Vec<Vec<i64>>> {
        let (params, batch) = (Params::new(device, DType::F32, 5), Batch::new(random.seed(), device)?);
        seq2seq(&params)?.generate(&batch.ids, Some(&batch.keep), [1, 2], 12)
    };
    let expected = written(&Device::Cpu).unwrap();
    assert!(expected.iter().any(|row| row.len() > 1), "{expected:?}");
    for Gpu { name, device } in devices::gpus(random.seed()) {
        assert_eq!(written(device).unwrap(), expected, "{name}");
    }
    assert_eq!(devices::reports(), "");
}

#[test]
fn text_with_images() {
    agree("ERNIE-M + ResNet", |params| {
        let text = ErnieMConfig {
            vocabulary: VOCABULARY,
            positions: 16,
            width: 64,
            layers: 2,
            heads: 2,
            feed_forward: 96,
            std: 0.1,
            ..ErnieMConfig::named("base")?
        };
        let image = ResNetConfig::imagenet(50, 3, CLASSES)?;
        let image = ResNetConfig { widths: vec![8, 8, 8, 16], depths: vec![1, 1, 2, 1], ..image };
        let config = ErnieMResNetConfig { text, image, heads: [2, 2], hidden: 24, classes: CLASSES, dropout: 0.1 };
        let model = ErnieMResNet::new(params, &config)?;
        Ok(Box::new(move |batch, ctx| {
            let logits = model.forward(&batch.ids, Some(&batch.keep), &batch.images, ctx)?;
            Ok((logits, batch.labels.clone()))
        }))
    });
}
