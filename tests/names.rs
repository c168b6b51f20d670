//! Files of PyTorch and Hugging Face: their names and arrangements, both ways, and what is said where they do not fit.

mod support;

use support::Random;
use warpsmith::models::*;
use warpsmith::nn::*;
use warpsmith::{DType, Device, Error, Tensor};

fn store(seed: u64) -> Params {
    Params::new(&Device::Cpu, DType::F64, seed)
}

fn dims(file: &StateDict, name: &str) -> Vec<usize> {
    file.expect(name).unwrap().dims().to_vec()
}

/// The dictionary with other names; `None` leaves an entry out.
fn renamed(file: &StateDict, f: impl Fn(&str) -> Option<String>) -> StateDict {
    file.iter().filter_map(|(name, tensor)| Some((f(name)?, tensor.clone()))).collect()
}

fn random_tensor(dims: &[usize], random: &mut Random) -> Tensor {
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.range(-1.0, 1.0)).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
}

fn values(params: &Params) -> Vec<(String, Vec<f64>)> {
    params.state_dict().unwrap().iter().map(|(n, t)| (n.to_owned(), t.to_f64_vec().unwrap())).collect()
}

/// Both models hold the same afterwards, and did not before.
fn copies(from: &Params, to: &Params, file: &StateDict, names: &NameMap) {
    assert_ne!(values(from), values(to));
    let path = std::env::temp_dir().join(format!("warpsmith-names-{}-{:p}.safetensors", std::process::id(), file));
    file.save(&path).unwrap();
    let read = StateDict::load(&path, &Device::Cpu).unwrap();
    std::fs::remove_file(&path).unwrap();
    to.load_named(&read, names, "the file").unwrap();
    assert_eq!(values(from), values(to));
}

fn misfits(error: Error) -> [Vec<String>; 3] {
    match error {
        Error::StateDict { missing, unexpected, mismatched, .. } => [missing, unexpected, mismatched],
        other => panic!("{other}"),
    }
}

fn gpt2(seed: u64) -> Params {
    let params = store(seed);
    let config = GptConfig { vocabulary: 11, context: 5, layers: 2, heads: 2, width: 4, dropout: 0.0 };
    Gpt::gpt2(&params, &config).unwrap();
    params
}

#[test]
fn gpt2_files_go_both_ways() {
    let (from, names) = (gpt2(1), Gpt::names());
    let file = from.named_state_dict(&names).unwrap();
    // As Hugging Face's `GPT2LMHeadModel` has it: Conv1D weights are (in, out).
    assert_eq!(dims(&file, "transformer.h.0.attn.c_attn.weight"), [4, 12]);
    assert_eq!(dims(&file, "transformer.h.1.mlp.c_fc.weight"), [4, 16]);
    assert_eq!(dims(&file, "transformer.h.1.mlp.c_proj.weight"), [16, 4]);
    assert_eq!(dims(&file, "transformer.wpe.weight"), [5, 4]);
    let weight = from.get("transformer.h.0.attn.c_attn.weight").unwrap();
    let (ours, theirs) = (weight.to_f64_vec().unwrap(), file.expect("transformer.h.0.attn.c_attn.weight").unwrap());
    let theirs = theirs.to_f64_vec().unwrap();
    assert!((0..12).all(|o| (0..4).all(|i| ours[4 * o + i] == theirs[12 * i + o])));
    copies(&from, &gpt2(2), &file, &names);
    // Without the tied head, and with the causal masks of older files.
    let mut older = renamed(&file, |name| (name != "lm_head.weight").then(|| name.to_owned()));
    for i in 0..2 {
        let mask = Tensor::zeros([1, 1, 5, 5], DType::U8, &Device::Cpu).unwrap();
        older.insert(format!("transformer.h.{i}.attn.bias"), mask);
        let value = Tensor::scalar(-1e4f32, &Device::Cpu).unwrap();
        older.insert(format!("transformer.h.{i}.attn.masked_bias"), value);
    }
    copies(&from, &gpt2(3), &older, &names);
    // The body alone, with and without the head beside it.
    let body = |name: &str| Some(name.strip_prefix("transformer.").unwrap_or(name).to_owned());
    copies(&from, &gpt2(4), &renamed(&older, body), &names);
    copies(&from, &gpt2(5), &renamed(&file, body), &names);
}

#[test]
fn what_does_not_fit_is_listed_in_the_names_of_the_file_and_nothing_is_changed() {
    let (from, to, names) = (gpt2(1), gpt2(2), Gpt::names());
    let file = from.named_state_dict(&names).unwrap();
    let mut odd = renamed(&file, |name| {
        let gone = ["transformer.h.0.ln_1.weight", "transformer.h.1.attn.c_proj.weight"];
        (!gone.contains(&name)).then(|| name.to_owned())
    });
    let place = |name: &str| format!("transformer.h.1.{name}");
    odd.insert(place("attn.extra"), Tensor::zeros([1], DType::F64, &Device::Cpu).unwrap());
    // Not transposed, of another dtype, and not a matrix at all.
    odd.insert(place("mlp.c_fc.weight"), Tensor::zeros([16, 4], DType::F64, &Device::Cpu).unwrap());
    odd.insert(place("mlp.c_fc.bias"), Tensor::zeros([16], DType::F32, &Device::Cpu).unwrap());
    odd.insert(place("mlp.c_proj.weight"), Tensor::zeros([64], DType::F64, &Device::Cpu).unwrap());
    let before = values(&to);
    let error = to.load_named(&odd, &names, "odd.safetensors").unwrap_err();
    assert!(error.to_string().starts_with("odd.safetensors does not fit the model"), "{error}");
    let [mut missing, unexpected, mut mismatched] = misfits(error);
    missing.sort();
    mismatched.sort();
    assert_eq!(missing, ["transformer.h.0.ln_1.weight", "transformer.h.1.attn.c_proj.weight (transposed)"]);
    assert_eq!(unexpected, ["transformer.h.1.attn.extra"]);
    assert_eq!(
        mismatched,
        [
            "transformer.h.1.mlp.c_fc.bias: [16] f32 instead of [16] f64",
            "transformer.h.1.mlp.c_fc.weight (transposed): [4, 16] f64 instead of [16, 4] f64",
            "transformer.h.1.mlp.c_proj.weight (transposed): [64] is not a matrix to be transposed",
        ]
    );
    assert_eq!(values(&to), before);
}

fn bert(seed: u64, head: bool) -> Params {
    let (params, base) = (store(seed), BertConfig::named("tiny").unwrap());
    let config = BertConfig { vocabulary: 11, positions: 6, width: 4, layers: 2, heads: 2, feed_forward: 8, ..base };
    if head {
        BertMaskedLm::new(&params, &config).unwrap();
    } else {
        BertClassifier::new(&params, &config, 3).unwrap();
    }
    params
}

#[test]
fn bert_files_go_both_ways() {
    let (from, names) = (bert(1, true), BertMaskedLm::names());
    let file = from.named_state_dict(&names).unwrap();
    for (name, expected) in [
        ("bert.embeddings.token_type_embeddings.weight", vec![2, 4]),
        ("bert.embeddings.LayerNorm.bias", vec![4]),
        ("bert.encoder.layer.1.attention.self.query.weight", vec![4, 4]),
        ("bert.encoder.layer.0.attention.output.LayerNorm.weight", vec![4]),
        ("bert.encoder.layer.0.intermediate.dense.weight", vec![8, 4]),
        ("cls.predictions.transform.LayerNorm.weight", vec![4]),
        ("cls.predictions.decoder.weight", vec![11, 4]),
        ("cls.predictions.bias", vec![11]),
    ] {
        assert_eq!(dims(&file, name), expected, "{name}");
    }
    copies(&from, &bert(2, true), &file, &names);
    // The first files: gamma and beta, numbers of positions, the whole pre-training model's other parts, nothing twice.
    let mut older = renamed(&file, |name| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        (!name.contains("decoder")).then_some(name)
    });
    let numbers = Tensor::arange(0.0, 6.0, 1.0, DType::I64, &Device::Cpu).unwrap();
    older.insert("bert.embeddings.position_ids", numbers);
    for (name, shape) in [
        ("bert.pooler.dense.weight", vec![4, 4]),
        ("bert.pooler.dense.bias", vec![4]),
        ("cls.seq_relationship.weight", vec![2, 4]),
        ("cls.seq_relationship.bias", vec![2]),
    ] {
        older.insert(name, Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap());
    }
    copies(&from, &bert(3, true), &older, &names);
    let both = |name: &str| (name != "bert.embeddings.LayerNorm.gamma").then(|| name.to_owned());
    let [missing, unexpected, mismatched] =
        misfits(bert(4, true).load_named(&renamed(&older, both), &names, "a file").unwrap_err());
    assert_eq!(missing, ["bert.embeddings.LayerNorm.weight"]);
    assert!(unexpected.is_empty() && mismatched.is_empty());
    let from = bert(1, false);
    let file = from.named_state_dict(&BertClassifier::names()).unwrap();
    assert_eq!(dims(&file, "bert.pooler.dense.weight"), [4, 4]);
    assert_eq!(dims(&file, "classifier.weight"), [3, 4]);
    copies(&from, &bert(2, false), &file, &BertClassifier::names());
    // A pre-trained body for another head.
    let (pretrained, classifier) = (bert(8, true), bert(9, false));
    classifier.load_state_dict_partial(&pretrained.state_dict().unwrap(), "the pre-trained model").unwrap();
    let name = "bert.encoder.layer.1.output.dense.weight";
    let value = |params: &Params| params.get(name).unwrap().to_f64_vec().unwrap();
    assert_eq!(value(&pretrained), value(&classifier));
}

#[test]
fn ernie_m_files_go_both_ways_in_both_frameworks_names() {
    let ernie = |seed: u64| {
        let (params, base) = (store(seed), ErnieMConfig::named("base").unwrap());
        let config =
            ErnieMConfig { vocabulary: 11, positions: 6, width: 4, layers: 2, heads: 2, feed_forward: 8, ..base };
        ErnieM::new(&params, &config).unwrap();
        params
    };
    let from = ernie(1);
    let file = from.named_state_dict(&ErnieM::names()).unwrap();
    assert_eq!(dims(&file, "encoder.layers.1.self_attn.self_attn.q_proj.weight"), [4, 4]);
    assert_eq!(dims(&file, "encoder.layers.0.linear1.weight"), [8, 4]);
    assert_eq!(dims(&file, "embeddings.layer_norm.bias"), [4]);
    copies(&from, &ernie(2), &file, &ErnieM::names());
    let file = from.named_state_dict(&ErnieM::paddle_names()).unwrap();
    assert_eq!(dims(&file, "encoder.layers.1.self_attn.q_proj.weight"), [4, 4]);
    assert_eq!(dims(&file, "encoder.layers.0.linear1.weight"), [4, 8]);
    assert_eq!(dims(&file, "encoder.layers.0.norm1.weight"), [4]);
    assert!(file.get("encoder.layers.1.self_attn.self_attn.q_proj.weight").is_none());
    copies(&from, &ernie(3), &file, &ErnieM::paddle_names());
    let missing = renamed(&file, |name| (name != "encoder.layers.1.self_attn.k_proj.bias").then(|| name.to_owned()));
    let [missing, ..] = misfits(ernie(4).load_named(&missing, &ErnieM::paddle_names(), "a file").unwrap_err());
    assert_eq!(missing, ["encoder.layers.1.self_attn.k_proj.bias"]);
}

#[test]
fn resnet_files_have_our_names() {
    let resnet = |seed: u64| {
        let params = Params::new(&Device::Cpu, DType::F32, seed);
        let base = ResNetConfig::imagenet(50, 3, 10).unwrap();
        let config = ResNetConfig { widths: vec![2, 2, 2, 2], depths: vec![1, 1, 1, 1], ..base };
        ResNet::new(&params, &config).unwrap();
        params
    };
    let from = resnet(1);
    let file = from.named_state_dict(&NameMap::new()).unwrap();
    assert_eq!(dims(&file, "layer1.0.downsample.0.weight"), [8, 2, 1, 1]);
    // Files from before PyTorch 0.4.1 count no batches.
    let older = renamed(&file, |name| (!name.ends_with("num_batches_tracked")).then(|| name.to_owned()));
    copies(&from, &resnet(2), &older, &NameMap::new());
    let mut odd = renamed(&file, |name| (name != "bn1.running_mean").then(|| name.to_owned()));
    odd.insert("head.weight", Tensor::zeros([1], DType::F32, &Device::Cpu).unwrap());
    let [missing, unexpected, _] = misfits(resnet(3).load_named(&odd, &NameMap::new(), "a file").unwrap_err());
    assert_eq!((missing, unexpected), (vec!["bn1.running_mean".to_owned()], vec!["head.weight".to_owned()]));
}

#[test]
fn entries_join_and_part() {
    let mut random = Random::fresh("join and part");
    let (stacked, separate) = (store(1), store(2));
    let one = MultiheadAttention::new(&stacked.sub("attn"), 6, 2, 0.0).unwrap();
    let other = MultiheadAttention::separate(&separate.sub("attn"), 6, 2, 0.0).unwrap();
    for (_, v) in stacked.all() {
        v.set(&random_tensor(v.dims(), &mut random)).unwrap();
    }
    let projections = |kind: &str| ["q", "k", "v"].map(|p| format!("**.{p}_proj.{kind}"));
    let map = |join: bool| {
        ["weight", "bias"].iter().fold(NameMap::new(), |map, kind| {
            let (apart, whole) = (projections(kind), format!("**.in_proj_{kind}"));
            let apart = apart.each_ref().map(String::as_str);
            if join { map.join(&whole, &apart, 0) } else { map.part(&apart, &whole, 0) }
        })
    };
    // From the stacked model's own names into separate layers, and the other way round.
    separate.load_named(&stacked.state_dict().unwrap(), &map(false), "the stacked model").unwrap();
    let x = random_tensor(&[2, 3, 6], &mut random);
    let run = |layer: &MultiheadAttention| layer.forward(&x, &mut Ctx::infer()).unwrap().to_f64_vec().unwrap();
    let close = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-13 * (1.0 + a.abs()));
    assert!(close(run(&one), run(&other)));
    let again = store(3);
    let third = MultiheadAttention::new(&again.sub("attn"), 6, 2, 0.0).unwrap();
    again.load_named(&separate.state_dict().unwrap(), &map(true), "the separate layers").unwrap();
    assert_eq!(run(&third), run(&one));
    // Saving is the inverse of loading.
    let saved = separate.named_state_dict(&map(false)).unwrap();
    assert_eq!(dims(&saved, "attn.in_proj_weight"), [18, 6]);
    assert_eq!(
        saved.expect("attn.in_proj_weight").unwrap().to_f64_vec().unwrap(),
        stacked.get("attn.in_proj_weight").unwrap().to_f64_vec().unwrap()
    );
    let saved = stacked.named_state_dict(&map(true)).unwrap();
    assert_eq!(
        saved.expect("attn.k_proj.bias").unwrap().to_f64_vec().unwrap(),
        separate.get("attn.k_proj.bias").unwrap().to_f64_vec().unwrap()
    );
    // What cannot be parted or joined.
    let mut odd = stacked.state_dict().unwrap();
    odd.insert("attn.in_proj_bias", Tensor::zeros([17], DType::F64, &Device::Cpu).unwrap());
    let [missing, unexpected, mismatched] = misfits(separate.load_named(&odd, &map(false), "odd").unwrap_err());
    assert!(missing.is_empty() && unexpected.is_empty(), "{missing:?} {unexpected:?}");
    assert_eq!(mismatched.len(), 3);
    assert!(mismatched[0].contains("attn.in_proj_bias (part 1 of 3): [17] has no 3 equal parts"), "{mismatched:?}");
    let mut odd = separate.state_dict().unwrap();
    odd.insert("attn.v_proj.weight", Tensor::zeros([6, 5], DType::F64, &Device::Cpu).unwrap());
    let [missing, unexpected, mismatched] = misfits(again.load_named(&odd, &map(true), "odd").unwrap_err());
    assert!(missing.is_empty() && unexpected.is_empty(), "{missing:?} {unexpected:?}");
    let text = "attn.q_proj.weight with attn.k_proj.weight with attn.v_proj.weight: [6, 6] and [6, 6] and [6, 5]";
    assert!(mismatched[0].starts_with(text), "{mismatched:?}");
    // A dictionary that lacks a part cannot be saved under the whole's name.
    let parts = renamed(&separate.state_dict().unwrap(), |n| (!n.contains("k_proj")).then(|| n.to_owned()));
    assert!(map(false).to_theirs(&parts).unwrap_err().to_string().contains("not all of its parts"));
}
