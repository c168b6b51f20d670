//! The language model of `train_gpt`: its text, its loop, and generation with what it has read kept.

#[path = "../examples/train_gpt.rs"]
#[allow(dead_code)]
mod example;
#[path = "support/random.rs"]
#[allow(dead_code)]
mod random;

use example::support::text::{self, Characters, Text};
use example::{Options, Outcome, train};
use random::Random;
use std::path::PathBuf;
use warpsmith::models::{Gpt, GptCache, GptConfig, Sampling};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Tensor, no_grad};

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("warpsmith-gpt-{name}-{}", std::process::id()))
}

const LINES: &str = "to be, or not to be: that is the question: whether 'tis nobler in the mind to suffer ";

fn small_text() -> Text {
    Text::new(&LINES.repeat(12)).unwrap()
}

/// Two layers, eight steps with dropout.
fn options(name: &str) -> Options {
    let vocabulary = small_text().characters.len();
    Options {
        device: Device::Cpu,
        network: GptConfig { vocabulary, context: 16, layers: 2, heads: 2, width: 16, dropout: 0.1 },
        iterations: 8,
        steps: None,
        batch: 3,
        lr: 5e-3,
        seed: 7,
        bf16: false,
        graph: false,
        every: 4,
        prompt: "to be".into(),
        length: 30,
        sampling: Sampling { temperature: 0.8, top_k: Some(5) },
        resume: None,
        out: folder(name),
        interrupt: Default::default(),
    }
}

fn weights(outcome: &Outcome) -> Vec<(String, Vec<f64>)> {
    let dict = outcome.params.state_dict().unwrap();
    dict.iter().map(|(n, t)| (n.to_owned(), t.to_f64_vec().unwrap())).collect()
}

#[test]
fn stopping_and_resuming_gives_the_weights_of_going_through() {
    let text = small_text();
    let through = train(&options("through"), &text).unwrap();
    assert!(through.validation.is_some_and(|loss| loss.is_finite()));
    assert_eq!(through.losses.len(), 8);
    for stop in [3, 4] {
        let name = format!("stopped-{stop}");
        let first = train(&Options { steps: Some(stop), ..options(&name) }, &text).unwrap();
        assert_eq!(first.validation, None);
        assert_ne!(weights(&first), weights(&through));
        let resume = Some(folder(&name).join("checkpoint.safetensors"));
        let second = train(&Options { resume, ..options(&name) }, &text).unwrap();
        assert_eq!(weights(&second), weights(&through), "stopped after {stop} steps");
        assert_eq!((second.validation, &second.losses), (through.validation, &through.losses));
        for file in &second.files {
            assert!(file.is_file(), "{}", file.display());
        }
        std::fs::remove_dir_all(folder(&name)).unwrap();
    }
    std::fs::remove_dir_all(folder("through")).unwrap();
}

#[test]
fn it_learns_a_text_by_heart() {
    let text = small_text();
    let long = Options { iterations: 80, every: 80, batch: 8, lr: 2e-2, ..options("learnt") };
    let network = GptConfig { dropout: 0.0, ..long.network };
    let outcome = train(&Options { network, ..long.clone() }, &text).unwrap();
    // A letter is nearly always told by the fifteen before it; guessing would cost ln 22 = 3.1.
    assert!(outcome.validation.is_some_and(|loss| loss < 1.0), "{:?}", outcome.validation);
    std::fs::remove_dir_all(folder("learnt")).unwrap();
}

#[test]
fn windows_that_do_not_fit_the_text_are_refused() {
    let text = small_text();
    let large = options("refused");
    let network = GptConfig { context: 200, ..large.network };
    assert!(train(&Options { network, ..large.clone() }, &text).is_err());
    assert!(train(&Options { batch: 0, ..large }, &text).is_err());
}

fn model(context: usize, seed: u64) -> Gpt {
    let params = Params::new(&Device::Cpu, DType::F32, seed);
    let config = GptConfig { vocabulary: 11, context, layers: 2, heads: 2, width: 16, dropout: 0.0 };
    let model = Gpt::new(&params, &config).unwrap();
    // Larger weights than a model begins with: positions and order matter.
    for (name, param) in params.all() {
        if name.contains("weight") && param.tensor().rank() == 2 {
            param.var().set(&param.tensor().affine(6.0, 0.0).unwrap()).unwrap();
        }
    }
    model
}

#[test]
fn reading_in_parts_gives_what_reading_at_once_gives() {
    let random = Random::fresh("gpt cache");
    let model = model(12, random.seed());
    let tokens: Vec<i64> = (0..24).map(|i| (i * i + 3 * i) % 11).collect();
    let ids = Tensor::from_slice(&tokens, [2, 12], &Device::Cpu).unwrap();
    let whole = no_grad(|| model.forward(&ids, &mut Ctx::infer())).unwrap().to_f64_vec().unwrap();
    for parts in [vec![12], vec![1; 12], vec![5, 1, 1, 3, 2], vec![1, 11]] {
        let mut cache = GptCache::default();
        let mut found = vec![];
        for n in &parts {
            let part = ids.narrow(1, cache.len(), *n).unwrap();
            found.push(model.forward_cached(&part, &mut cache).unwrap());
        }
        let found = Tensor::cat(&found, 1).unwrap().to_f64_vec().unwrap();
        for (found, whole) in found.iter().zip(&whole) {
            // The same sums in another order.
            assert!((found - whole).abs() <= 1e-4 * whole.abs().max(1.0), "{parts:?}: {found}, {whole}");
        }
        let more = Tensor::from_slice(&[1i64, 2], [2, 1], &Device::Cpu).unwrap();
        let message = model.forward_cached(&more, &mut cache).unwrap_err().to_string();
        assert!(message.contains("12 read before"), "{message}");
    }
}

#[test]
fn generation_takes_the_likeliest_next_token_also_past_the_context() {
    let model = model(8, 5);
    let greedy = Sampling { temperature: 0.0, top_k: None };
    let prompt = [3i64, 1, 4];
    let found = model.generate(&prompt, 20, &greedy, &mut Philox::new(1)).unwrap();
    let mut tokens = prompt.to_vec();
    // What the model has before it: it begins again with half of its context where that is full.
    let mut seen = 3;
    for (i, &token) in found.iter().enumerate() {
        if seen > 8 {
            seen = 4;
        }
        let ids = Tensor::from_slice(&tokens[tokens.len() - seen..], [1, seen], &Device::Cpu).unwrap();
        let logits = no_grad(|| model.forward(&ids, &mut Ctx::infer())).unwrap().to_f64_vec().unwrap();
        let last = &logits[logits.len() - 11..];
        let best = (0..11).fold(0, |best, i| if last[i] > last[best] { i } else { best });
        assert_eq!(token, best as i64, "token {i}");
        tokens.push(token);
        seen += 1;
    }
    assert!(model.generate(&[], 3, &greedy, &mut Philox::new(1)).is_err(), "no prompt");
    let long: Vec<i64> = (0..30).map(|i| i % 11).collect();
    let cut = model.generate(&long[22..], 5, &greedy, &mut Philox::new(1)).unwrap();
    assert_eq!(model.generate(&long, 5, &greedy, &mut Philox::new(1)).unwrap(), cut, "only the last context counts");
}

#[test]
fn characters_are_numbered_and_the_plays_are_whole() {
    let characters = Characters::of("hello");
    assert_eq!(characters.encode("hole").unwrap(), [1, 3, 2, 0]);
    assert_eq!(characters.decode(&[1, 3, 2, 0]), "hole");
    assert!(characters.encode("help").unwrap_err().to_string().contains("'p'"));
    let text = text::load().unwrap();
    assert_eq!((text.training.len(), text.validation.len()), (993_897, 110_441));
    let (x, next) = text::windows(&text.training, &[5, 0], 4, &Device::Cpu).unwrap();
    let (x, next) = (x.to_vec::<i64>().unwrap(), next.to_vec::<i64>().unwrap());
    assert_eq!(text.characters.decode(&x[4..]), "THE ");
    assert_eq!(text.characters.decode(&next), "AGEDHE T");
}
