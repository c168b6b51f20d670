//! Transformers: layers and models against their definitions in f64, decoding with kept keys and values, published sizes.

#[path = "transformer/reference.rs"]
mod reference;
mod support;

use approx::relative_eq;
use reference::{Sequence, attention, encoder_layer, gelu, gelu_tanh, get, layer_norm, linear, map, plus};
use support::{Array, Random};
use warpsmith::models::*;
use warpsmith::nn::*;
use warpsmith::optim::{Adam, AdamConfig, Optimizer};
use warpsmith::{DType, Device, Reduction, Tensor};

fn store(seed: u64) -> Params {
    Params::new(&Device::Cpu, DType::F64, seed)
}

fn random_tensor(dims: &[usize], random: &mut Random) -> Tensor {
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.range(-1.5, 1.5)).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
}

fn random_ids(dims: [usize; 2], vocabulary: usize, random: &mut Random) -> (Tensor, Vec<Vec<usize>>) {
    let rows: Vec<Vec<usize>> =
        (0..dims[0]).map(|_| (0..dims[1]).map(|_| random.below(vocabulary)).collect()).collect();
    let ids: Vec<i64> = rows.iter().flatten().map(|&id| id as i64).collect();
    (Tensor::from_slice(&ids, dims, &Device::Cpu).unwrap(), rows)
}

/// Values of every entry drawn anew: norms and biases begin at 1 and 0, which would hide mistakes.
fn scatter(p: &Params, scale: f64, random: &mut Random) {
    for (_, v) in p.all() {
        v.set(&random_tensor(v.dims(), random).affine(scale, 0.0).unwrap()).unwrap();
    }
}

fn rows(t: &Tensor, b: usize) -> Sequence {
    let a = Array::new(t.dims(), t.to_f64_vec().unwrap());
    (0..a.dims[1]).map(|i| (0..a.dims[2]).map(|k| a.at(&[b, i, k])).collect()).collect()
}

/// f64 results of a few composed layers agree with their definitions to within accumulated rounding: sums of at most some
/// hundred terms of size at most ten.
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(relative_eq!(f, e, epsilon = 1e-11, max_relative = 1e-11), "element {i}: {f:e} instead of {e:e}");
    }
}

fn close_rows(found: &Tensor, b: usize, expected: &Sequence) {
    close(&rows(found, b).concat(), &expected.concat());
}

fn keep(rows: &[&[u8]]) -> Tensor {
    Tensor::from_slice(&rows.concat(), [rows.len(), rows[0].len()], &Device::Cpu).unwrap()
}

#[test]
fn sinusoidal_positions_follow_the_paper() {
    for width in [1, 6, 7] {
        let layer = SinusoidalPositions::new(&store(1), 40, width).unwrap();
        let found = layer.rows(3, 37).unwrap().to_f64_vec().unwrap();
        let expected: Vec<f64> = (3..40)
            .flat_map(|position| {
                (0..width).map(move |feature| {
                    let i = feature / 2;
                    let angle = position as f64 / 10000f64.powf(2.0 * i as f64 / width as f64);
                    if feature == 2 * i { angle.sin() } else { angle.cos() }
                })
            })
            .collect();
        close(&found, &expected);
        let x = random_tensor(&[2, 5, width], &mut Random::fresh("positions"));
        let y = layer.forward(&x, &mut Ctx::infer()).unwrap().sub(&x).unwrap();
        let first = layer.rows(0, 5).unwrap().to_f64_vec().unwrap();
        close(&y.to_f64_vec().unwrap(), &[first.clone(), first].concat());
        let message = layer.rows(39, 2).unwrap_err().to_string();
        assert!(message.contains("39 to 41 of a table of 40"), "{message}");
    }
    let params = store(1);
    SinusoidalPositions::new(&params, 4, 4).unwrap();
    assert!(params.names().is_empty());
}

#[test]
fn attention_with_separate_projections_follows_its_definition() {
    let mut random = Random::fresh("separate projections");
    let p = store(random.bits());
    let layer = MultiheadAttention::separate(&p, 6, 3, 0.0).unwrap();
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"].map(|l| ["weight", "bias"].map(|n| format!("{l}.{n}")));
    assert_eq!(p.names(), names.concat());
    scatter(&p, 1.0, &mut random);
    let (query, memory) = (random_tensor(&[2, 4, 6], &mut random), random_tensor(&[2, 5, 6], &mut random));
    let kept = keep(&[&[1, 1, 0, 1, 1], &[1, 0, 0, 0, 1]]);
    let (mask, mut ctx) = (AttentionMask::padding(&kept).unwrap(), Ctx::infer());
    let crossed = layer.attend(&query, &memory, &memory, &mask, &mut ctx).unwrap();
    let again = layer.attend_kept(&query, &layer.keys_and_values(&memory).unwrap(), &mask, &mut ctx).unwrap();
    assert_eq!(again.to_f64_vec().unwrap(), crossed.to_f64_vec().unwrap());
    let own = layer.attend_self(&query, &AttentionMask::causal(), &mut ctx).unwrap();
    for b in 0..2 {
        let seen = |_: usize, j: usize| [[1, 1, 0, 1, 1], [1, 0, 0, 0, 1]][b][j] == 1;
        let (q, m) = (rows(&query, b), rows(&memory, b));
        let y = attention(&linear(&p, "q_proj", &q), &linear(&p, "k_proj", &m), &linear(&p, "v_proj", &m), 3, &seen);
        close_rows(&crossed, b, &linear(&p, "out_proj", &y));
        let causal = |i: usize, j: usize| j <= i;
        let y = attention(&linear(&p, "q_proj", &q), &linear(&p, "k_proj", &q), &linear(&p, "v_proj", &q), 3, &causal);
        close_rows(&own, b, &linear(&p, "out_proj", &y));
    }
    let gradients = crossed.square().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(p.all().iter().all(|(_, v)| gradients.get(v).unwrap().is_some()));
    let message = layer.attend_kept(&query, &KeyValues::default(), &mask, &mut ctx).unwrap_err().to_string();
    assert!(message.contains("keys_and_values"), "{message}");
    let odd = [2, 3].map(|n| Linear::new(&store(1), 6, 3 * n).unwrap());
    let square = Linear::new(&store(1), 6, 6).unwrap();
    let layers = [odd[0].clone(), odd[1].clone(), square.clone()];
    assert!(MultiheadAttention::from_layers(layers, square, 2, 0.0).is_err());
}

#[test]
fn decoding_piece_by_piece_is_decoding_at_once() {
    let mut random = Random::fresh("decoding");
    for norm_first in [false, true] {
        let config = TransformerConfig { feed_forward: 10, norm_first, ..TransformerConfig::new(6, 2) };
        let p = store(random.bits());
        let layer = TransformerDecoderLayer::new(&p, config).unwrap();
        scatter(&p, 1.0, &mut random);
        let (x, memory) = (random_tensor(&[2, 7, 6], &mut random), random_tensor(&[2, 5, 6], &mut random));
        let mask = AttentionMask::padding(&keep(&[&[1, 1, 1, 0, 1], &[0, 1, 1, 1, 1]])).unwrap();
        let mut ctx = Ctx::infer();
        let whole = layer.forward(&x, &memory, &AttentionMask::causal(), &mask, &mut ctx).unwrap();
        for pieces in [vec![7], vec![1; 7], vec![3, 1, 2, 1], vec![1, 6]] {
            let mut cache = layer.cache(&memory).unwrap();
            let (mut first, mut parts) = (0, vec![]);
            for piece in pieces {
                let part = x.narrow(1, first, piece).unwrap();
                parts.push(layer.forward_cached(&part, &mut cache, &mask, &mut ctx).unwrap());
                first += piece;
            }
            let found = Tensor::cat(&parts, 1).unwrap();
            close(&found.to_f64_vec().unwrap(), &whole.to_f64_vec().unwrap());
        }
    }
}

fn small_seq2seq(norm_first: bool) -> Seq2SeqConfig {
    let layer = TransformerConfig { feed_forward: 20, dropout: 0.0, norm_first, ..TransformerConfig::new(12, 3) };
    Seq2SeqConfig { vocabulary: 11, context: 16, layers: 2, layer }
}

#[test]
fn an_encoder_decoder_sees_what_it_should_and_decodes_what_it_scores_highest() {
    let mut random = Random::fresh("seq2seq");
    for norm_first in [false, true] {
        let p = store(random.bits());
        let model = Seq2Seq::new(&p, &small_seq2seq(norm_first)).unwrap();
        let (source, _) = random_ids([3, 6], 11, &mut random);
        let (target, target_rows) = random_ids([3, 5], 11, &mut random);
        let kept = keep(&[&[1, 1, 1, 1, 0, 0], &[1, 1, 1, 1, 1, 1], &[1, 1, 0, 0, 0, 0]]);
        let mut ctx = Ctx::infer();
        let logits = model.forward(&source, Some(&kept), &target, &mut ctx).unwrap();
        assert_eq!(logits.dims(), [3, 5, 11]);
        // What lies in the padding changes nothing, what lies in the source does.
        let changed = |column: usize| {
            let mut ids = source.to_vec::<i64>().unwrap();
            ids[column] = (ids[column] + 1) % 11;
            let ids = Tensor::from_slice(&ids, [3, 6], &Device::Cpu).unwrap();
            model.forward(&ids, Some(&kept), &target, &mut Ctx::infer()).unwrap()
        };
        assert_eq!(rows(&changed(5), 0), rows(&logits, 0));
        assert_ne!(rows(&changed(3), 0), rows(&logits, 0));
        // A short source beside a longer one gives what it gives alone.
        let alone = (source.narrow(0, 2, 1).unwrap().narrow(1, 0, 2).unwrap(), target.narrow(0, 2, 1).unwrap());
        let alone = model.forward(&alone.0, None, &alone.1, &mut ctx).unwrap();
        close_rows(&logits, 2, &rows(&alone, 0));
        // A target's token changes nothing before it.
        let mut later = target_rows.clone();
        later[1][3] = (later[1][3] + 1) % 11;
        let later: Vec<i64> = later.concat().iter().map(|&id| id as i64).collect();
        let later = Tensor::from_slice(&later, [3, 5], &Device::Cpu).unwrap();
        let later = model.forward(&source, Some(&kept), &later, &mut ctx).unwrap();
        assert_eq!(rows(&later, 1)[..3], rows(&logits, 1)[..3]);
        assert_ne!(rows(&later, 1)[3], rows(&logits, 1)[3]);
        // Greedy decoding, without keeping anything.
        let found = model.generate(&source, Some(&kept), [1, 2], 6).unwrap();
        for (b, found) in found.iter().enumerate() {
            let source = source.narrow(0, b, 1).unwrap();
            let kept = kept.narrow(0, b, 1).unwrap();
            let mut tokens = vec![1i64];
            while tokens.len() < 7 {
                let ids = Tensor::from_slice(&tokens, [1, tokens.len()], &Device::Cpu).unwrap();
                let logits = model.forward(&source, Some(&kept), &ids, &mut ctx).unwrap();
                let last = rows(&logits, 0).pop().unwrap();
                let best = (0..11).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap() as i64;
                if best == 2 {
                    break;
                }
                tokens.push(best);
            }
            assert_eq!(*found, tokens[1..]);
        }
        let gradients = logits.square().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(p.all().iter().all(|(_, v)| gradients.get(v).unwrap().is_some()));
        let (long, _) = random_ids([1, 17], 11, &mut random);
        assert!(model.forward(&long, None, &target.narrow(0, 0, 1).unwrap(), &mut ctx).is_err());
    }
}

const BERT_PARTS: reference::LayerParts = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];

fn small_bert() -> BertConfig {
    let sizes = BertConfig { vocabulary: 13, positions: 9, width: 8, layers: 2, heads: 2, feed_forward: 12, ..base() };
    BertConfig { dropout: 0.0, ..sizes }
}

fn base() -> BertConfig {
    BertConfig::named("base").unwrap()
}

#[test]
fn bert_follows_its_definition() {
    let mut random = Random::fresh("bert");
    let (config, p) = (small_bert(), store(random.bits()));
    let (masked, classes) = (p.sub("masked"), p.sub("classes"));
    let model = BertMaskedLm::new(&masked, &config).unwrap();
    let classifier = BertClassifier::new(&classes, &config, 3).unwrap();
    scatter(&p, 0.5, &mut random);
    let (ids, id_rows) = random_ids([2, 5], 13, &mut random);
    let types = Tensor::from_slice(&[0i64, 0, 1, 1, 1, 0, 0, 0, 0, 1], [2, 5], &Device::Cpu).unwrap();
    let kept = keep(&[&[1, 1, 1, 1, 0], &[1, 1, 1, 1, 1]]);
    let mut ctx = Ctx::infer();
    for types in [None, Some(&types)] {
        let input = BertInput { types, keep: Some(&kept) };
        let logits = model.forward(&ids, &input, &mut ctx).unwrap();
        let scores = classifier.forward(&ids, &input, &mut ctx).unwrap().to_f64_vec().unwrap();
        for b in 0..2 {
            let states = |p: &Params| -> Sequence {
                let p = p.sub("bert");
                let table = |name: &str| get(&p, &format!("embeddings.{name}_embeddings.weight"));
                let (word, position, kind) = (table("word"), table("position"), table("token_type"));
                let kinds = types.map_or(vec![0; 10], |t| t.to_vec::<i64>().unwrap());
                let x = id_rows[b].iter().enumerate().map(|(t, &id)| {
                    let kind_of = kinds[b * 5 + t] as usize;
                    (0..8).map(|k| word.at(&[id, k]) + position.at(&[t, k]) + kind.at(&[kind_of, k])).collect()
                });
                let x = layer_norm(&p, "embeddings.LayerNorm", &x.collect(), 1e-12);
                let seen = |_: usize, j: usize| b == 1 || j < 4;
                (0..2).fold(x, |x, i| encoder_layer(&p.sub("encoder.layer").sub(i), &BERT_PARTS, &x, 2, 1e-12, &seen))
            };
            let head = masked.sub("cls.predictions");
            let hidden = map(&linear(&head, "transform.dense", &states(&masked)), gelu);
            let hidden = layer_norm(&head, "transform.LayerNorm", &hidden, 1e-12);
            close_rows(&logits, b, &linear(&head, "decoder", &hidden));
            let first = vec![states(&classes)[0].clone()];
            let pooled = map(&linear(&classes, "bert.pooler.dense", &first), f64::tanh);
            close(&scores[3 * b..3 * b + 3], &linear(&classes, "classifier", &pooled)[0]);
        }
    }
    assert!(
        masked
            .get("cls.predictions.decoder.weight")
            .unwrap()
            .same(&masked.get("bert.embeddings.word_embeddings.weight").unwrap())
    );
    let (long, _) = random_ids([1, 10], 13, &mut random);
    let message = model.forward(&long, &BertInput::default(), &mut ctx).unwrap_err().to_string();
    assert!(message.contains("T at most 9"), "{message}");
    let odd = BertInput { keep: Some(&kept), types: None };
    assert!(model.forward(&ids.narrow(1, 0, 4).unwrap(), &odd, &mut ctx).is_err());
}

#[test]
fn ernie_m_follows_its_definition() {
    let parts: reference::LayerParts = [
        "self_attn.self_attn.q_proj",
        "self_attn.self_attn.k_proj",
        "self_attn.self_attn.v_proj",
        "self_attn.out_proj",
        "norm1",
        "linear1",
        "linear2",
        "norm2",
    ];
    let mut random = Random::fresh("ernie_m");
    let config = ErnieMConfig {
        vocabulary: 13,
        positions: 9,
        width: 8,
        layers: 2,
        heads: 2,
        feed_forward: 12,
        ..ErnieMConfig::named("base").unwrap()
    };
    let p = store(random.bits());
    let model = ErnieMClassifier::new(&p, &config, 3).unwrap();
    scatter(&p, 0.5, &mut random);
    let (ids, id_rows) = random_ids([2, 7], 13, &mut random);
    let kept = keep(&[&[1, 1, 1, 1, 1, 0, 0], &[1; 7]]);
    let found = model.forward(&ids, Some(&kept), &mut Ctx::infer()).unwrap().to_f64_vec().unwrap();
    let body = p.sub("ernie_m");
    for b in 0..2 {
        let (word, position) =
            (get(&body, "embeddings.word_embeddings.weight"), get(&body, "embeddings.position_embeddings.weight"));
        // Positions begin at row 2.
        let x = id_rows[b].iter().enumerate();
        let x = x.map(|(t, &id)| (0..8).map(|k| word.at(&[id, k]) + position.at(&[t + 2, k])).collect()).collect();
        let x = layer_norm(&body, "embeddings.layer_norm", &x, 1e-5);
        let seen = |_: usize, j: usize| b == 1 || j < 5;
        let x = (0..2).fold(x, |x, i| encoder_layer(&body.sub("encoder.layers").sub(i), &parts, &x, 2, 1e-5, &seen));
        let pooled = map(&linear(&body, "pooler.dense", &vec![x[0].clone()]), f64::tanh);
        close(&found[3 * b..3 * b + 3], &linear(&p, "classifier", &pooled)[0]);
    }
    let (long, _) = random_ids([1, 8], 13, &mut random);
    assert!(model.forward(&long, None, &mut Ctx::infer()).is_err(), "rows 0 and 1 of the table are no positions");
}

#[test]
fn gpt2_follows_its_definition() {
    let mut random = Random::fresh("gpt2");
    let config = GptConfig { vocabulary: 13, context: 7, layers: 2, heads: 2, width: 8, dropout: 0.0 };
    let p = store(random.bits());
    let model = Gpt::gpt2(&p, &config).unwrap();
    scatter(&p, 0.5, &mut random);
    let (ids, id_rows) = random_ids([2, 6], 13, &mut random);
    let logits = model.forward(&ids, &mut Ctx::infer()).unwrap();
    let body = p.sub("transformer");
    let (tokens, positions) = (get(&body, "wte.weight"), get(&body, "wpe.weight"));
    for b in 0..2 {
        let x = id_rows[b].iter().enumerate();
        let mut x: Sequence =
            x.map(|(t, &id)| (0..8).map(|k| tokens.at(&[id, k]) + positions.at(&[t, k])).collect()).collect();
        for i in 0..2 {
            let p = body.sub("h").sub(i);
            let qkv = linear(&p, "attn.c_attn", &layer_norm(&p, "ln_1", &x, 1e-5));
            let part = |i: usize| -> Sequence { qkv.iter().map(|row| row[8 * i..8 * i + 8].to_vec()).collect() };
            let y = attention(&part(0), &part(1), &part(2), 2, &|i, j| j <= i);
            x = plus(&x, &linear(&p, "attn.c_proj", &y));
            let hidden = map(&linear(&p, "mlp.c_fc", &layer_norm(&p, "ln_2", &x, 1e-5)), gelu_tanh);
            x = plus(&x, &linear(&p, "mlp.c_proj", &hidden));
        }
        let x = layer_norm(&body, "ln_f", &x, 1e-5);
        let score = |row: &Vec<f64>, id: usize| (0..8).map(|k| row[k] * tokens.at(&[id, k])).sum::<f64>();
        let expected = x.iter().map(|row| (0..13).map(|id| score(row, id)).collect()).collect();
        close_rows(&logits, b, &expected);
    }
}

#[test]
fn named_sizes_have_the_published_numbers_of_parameters() {
    let count = |make: &dyn Fn(&Params)| {
        let params = Params::shapes_only(DType::F32);
        make(&params);
        params.numel()
    };
    let gpt = |name: &str| {
        count(&|p| {
            Gpt::gpt2(p, &GptConfig::named(name).unwrap()).unwrap();
        })
    };
    assert_eq!(gpt("gpt2"), 124_439_808);
    assert_eq!(gpt("gpt2-medium"), 354_823_168);
    assert_eq!(gpt("gpt2-large"), 774_030_080);
    assert_eq!(gpt("gpt2-xl"), 1_557_611_200);
    let bert = |name: &str| {
        count(&|p| {
            BertClassifier::new(p, &BertConfig::named(name).unwrap(), 2).unwrap();
        })
    };
    // Of `BertModel`, and the two classes' layer.
    assert_eq!(bert("tiny"), 4_385_920 + 2 * 129);
    assert_eq!(bert("base"), 109_482_240 + 2 * 769);
    assert_eq!(bert("large"), 335_141_888 + 2 * 1025);
    let masked = count(&|p| {
        BertMaskedLm::new(p, &base()).unwrap();
    });
    assert_eq!(masked, 109_514_298);
    let ernie = |name: &str| {
        count(&|p| {
            ErnieM::new(p, &ErnieMConfig::named(name).unwrap()).unwrap();
        })
    };
    assert_eq!(ernie("base"), 278_042_880);
    assert_eq!(ernie("large"), 24 * 12_596_224 + (250_002 + 514) * 1024 + 2 * 1024 + 1024 * 1025);
    let seq2seq = count(&|p| {
        Seq2Seq::new(p, &Seq2SeqConfig::named("base").unwrap()).unwrap();
    });
    assert_eq!(seq2seq, 6 * (3_152_384 + 4_204_032) + 37_000 * 512);
    for name in ["", "huge"] {
        assert!(GptConfig::named(name).unwrap_err().to_string().contains("gpt2-xl"));
        assert!(BertConfig::named(name).unwrap_err().to_string().contains("tiny"));
        assert!(ErnieMConfig::named(name).is_err() && Seq2SeqConfig::named(name).is_err());
    }
}

#[test]
fn stores_of_shapes_only_hold_no_values() {
    let params = Params::shapes_only(DType::F32);
    let layer = Linear::new(&params, 3, 2).unwrap();
    assert_eq!(params.names(), ["weight", "bias"]);
    assert_eq!((layer.weight.dims(), params.numel()), (&[2, 3][..], 8));
    assert_eq!(layer.weight.to_f64_vec().unwrap(), vec![0.0; 6]);
    assert!(layer.weight.set(&Tensor::ones([2, 3], DType::F32, &Device::Cpu).unwrap()).is_err());
    assert!(params.summary().to_string().contains("8 trainable"));
}

/// Name and shape of every parameter of the full-size classifier, written out from its structure.
fn multimodal_shapes() -> Vec<(String, Vec<usize>)> {
    fn linear(out: &mut Vec<(String, Vec<usize>)>, name: &str, dims: [usize; 2]) {
        out.push((format!("{name}.weight"), dims.to_vec()));
        out.push((format!("{name}.bias"), vec![dims[0]]));
    }
    fn norm(out: &mut Vec<(String, Vec<usize>)>, name: &str, width: usize) {
        out.push((format!("{name}.weight"), vec![width]));
        out.push((format!("{name}.bias"), vec![width]));
    }
    let mut out = vec![
        ("ernie_m.embeddings.word_embeddings.weight".to_owned(), vec![250_002, 768]),
        ("ernie_m.embeddings.position_embeddings.weight".to_owned(), vec![514, 768]),
    ];
    norm(&mut out, "ernie_m.embeddings.layer_norm", 768);
    for i in 0..12 {
        let place = format!("ernie_m.encoder.layers.{i}");
        for projection in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "out_proj"] {
            linear(&mut out, &format!("{place}.self_attn.{projection}"), [768, 768]);
        }
        linear(&mut out, &format!("{place}.linear1"), [3072, 768]);
        linear(&mut out, &format!("{place}.linear2"), [768, 3072]);
        norm(&mut out, &format!("{place}.norm1"), 768);
        norm(&mut out, &format!("{place}.norm2"), 768);
    }
    linear(&mut out, "ernie_m.pooler.dense", [768, 768]);
    out.push(("resnet.conv1.weight".into(), vec![64, 3, 7, 7]));
    norm(&mut out, "resnet.bn1", 64);
    let mut inputs = 64;
    for (stage, (blocks, width)) in [(3, 64), (4, 128), (23, 256), (3, 512)].into_iter().enumerate() {
        for i in 0..blocks {
            let place = format!("resnet.layer{}.{i}", stage + 1);
            let convolutions = [(width, inputs, 1), (width, width, 3), (4 * width, width, 1)];
            for (n, (o, i, side)) in convolutions.into_iter().enumerate() {
                out.push((format!("{place}.conv{}.weight", n + 1), vec![o, i, side, side]));
                norm(&mut out, &format!("{place}.bn{}", n + 1), o);
            }
            if i == 0 {
                out.push((format!("{place}.downsample.0.weight"), vec![4 * width, inputs, 1, 1]));
                norm(&mut out, &format!("{place}.downsample.1"), 4 * width);
            }
            inputs = 4 * width;
        }
    }
    for (name, width) in [("attention_text", 768), ("attention_image", 2048)] {
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            linear(&mut out, &format!("{name}.{projection}"), [width, width]);
        }
    }
    linear(&mut out, "classifier1", [1024, 5632]);
    linear(&mut out, "classifier2", [3, 1024]);
    out
}

#[test]
fn the_multimodal_classifier_has_its_structure_and_shapes() {
    let params = Params::shapes_only(DType::F32);
    ErnieMResNet::new(&params, &ErnieMResNetConfig::full(3).unwrap()).unwrap();
    let mut found: Vec<(String, Vec<usize>)> =
        params.all().into_iter().map(|(name, param)| (name, param.dims().to_vec())).collect();
    let mut expected = multimodal_shapes();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// The whole structure, narrow: bottleneck blocks in four stages, two layers of text.
fn small_multimodal() -> ErnieMResNetConfig {
    let text = ErnieMConfig {
        vocabulary: 17,
        positions: 10,
        width: 16,
        layers: 2,
        heads: 2,
        feed_forward: 32,
        std: 0.2,
        ..ErnieMConfig::named("base").unwrap()
    };
    let image = ResNetConfig { widths: vec![4, 4, 4, 8], depths: vec![1, 1, 2, 1], ..image() };
    ErnieMResNetConfig { text, image, heads: [2, 4], hidden: 24, classes: 3, dropout: 0.0 }
}

fn image() -> ResNetConfig {
    ResNetConfig::imagenet(101, 3, 10).unwrap()
}

#[test]
fn the_multimodal_classifier_trains_end_to_end() {
    let mut random = Random::new(5);
    let device = Device::Cpu;
    let params = Params::new(&device, DType::F32, 3);
    let model = ErnieMResNet::new(&params, &small_multimodal()).unwrap();
    let (ids, _) = random_ids([6, 8], 17, &mut random);
    let images = random_tensor(&[6, 3, 48, 48], &mut random).to_dtype(DType::F32).unwrap();
    let kept = keep(&[&[1, 1, 1, 1, 1, 1, 0, 0], &[1; 8], &[1; 8], &[1; 8], &[1; 8], &[1; 8]]);
    let labels = Tensor::from_slice(&[0i64, 1, 2, 2, 1, 0], 6, &device).unwrap();
    let mut optimizer = Adam::new(params.trainable(), AdamConfig::adam(0.003)).unwrap();
    let mut ctx = Ctx::train(1);
    let mut losses = vec![];
    for step in 0..12 {
        let logits = model.forward(&ids, Some(&kept), &images, &mut ctx).unwrap();
        assert_eq!(logits.dims(), [6, 3]);
        let loss = logits.cross_entropy(&labels, &Default::default()).unwrap();
        let gradients = loss.backward().unwrap();
        if step == 0 {
            for (name, param) in params.all() {
                let gradient = gradients.get(&param).unwrap().unwrap_or_else(|| panic!("{name} takes no part"));
                assert!(gradient.to_f64_vec().unwrap().iter().all(|g| g.is_finite()), "{name}");
            }
        }
        optimizer.step(&gradients).unwrap();
        losses.push(loss.item::<f64>().unwrap());
    }
    assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
    // In inference what lies in the padding changes nothing; another image does.
    let infer = |ids: &Tensor, images: &Tensor| {
        model.forward(ids, Some(&kept), images, &mut Ctx::infer()).unwrap().to_f64_vec().unwrap()
    };
    let mut padded = ids.to_vec::<i64>().unwrap();
    padded[7] = (padded[7] + 1) % 17;
    let padded = Tensor::from_slice(&padded, [6, 8], &device).unwrap();
    assert_eq!(infer(&padded, &images), infer(&ids, &images));
    assert_ne!(infer(&ids, &images.affine(0.5, 0.0).unwrap()), infer(&ids, &images));
    assert!(model.forward(&ids, Some(&kept), &images.narrow(0, 0, 5).unwrap(), &mut ctx).is_err());
}

#[test]
fn a_residual_network_without_its_head_gives_what_the_head_sees() {
    let p = Params::new(&Device::Cpu, DType::F32, 1);
    let config = ResNetConfig { widths: vec![4, 4, 4, 8], depths: vec![1, 1, 1, 1], ..image() };
    let (whole, body) = (p.sub("whole"), p.sub("body"));
    let with_head = ResNet::new(&whole, &config).unwrap();
    let without = ResNet::without_head(&body, &config).unwrap();
    assert_eq!((without.width(), with_head.width()), (32, 32));
    body.load_state_dict_partial(&whole.state_dict().unwrap(), "the network with a head").unwrap();
    let x = random_tensor(&[2, 3, 32, 32], &mut Random::fresh("resnet")).to_dtype(DType::F32).unwrap();
    let logits = with_head.forward(&x, &mut Ctx::infer()).unwrap();
    let features = without.forward(&x, &mut Ctx::infer()).unwrap();
    assert_eq!(features.dims(), [2, 32]);
    let fc = [whole.get("fc.weight").unwrap().tensor(), whole.get("fc.bias").unwrap().tensor()];
    let again = features.linear(&fc[0], Some(&fc[1])).unwrap();
    assert_eq!(again.mse_loss(&logits, Reduction::Sum).unwrap().item::<f64>().unwrap(), 0.0);
}
