//! Layers: PyTorch's names and shapes, their definitions in f64, modes and random state.

mod support;

use approx::relative_eq;
use support::{Array, Random};
use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::*;
use warpsmith::ops::{Conv1dParams, Conv2dParams, ConvTranspose2dParams};
use warpsmith::{DType, Device, Result, Tensor};

fn store(seed: u64) -> Params {
    Params::new(&Device::Cpu, DType::F64, seed)
}

fn shapes(params: &Params) -> Vec<(String, Vec<usize>)> {
    let dict = params.state_dict().unwrap();
    params.names().into_iter().map(|n| (n.clone(), dict.get(&n).unwrap().dims().to_vec())).collect()
}

fn expect(params: &Params, expected: &[(&str, &[usize])]) {
    let expected: Vec<_> = expected.iter().map(|(n, s)| (n.to_string(), s.to_vec())).collect();
    assert_eq!(shapes(params), expected);
}

fn random_tensor(dims: &[usize], random: &mut Random) -> Tensor {
    let n = dims.iter().product();
    let values: Vec<f64> = (0..n).map(|_| random.range(-1.5, 1.5)).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
}

fn array(t: &Tensor) -> Array {
    Array::new(t.dims(), t.to_f64_vec().unwrap())
}

/// f64 results of composed layers agree with their definitions to within accumulated rounding: sums of at most some
/// hundred terms of size at most ten, a few layers deep.
fn close(found: &Tensor, expected: &Array) {
    assert_eq!(found.dims(), expected.dims);
    for (i, (f, e)) in found.to_f64_vec().unwrap().iter().zip(&expected.data).enumerate() {
        let near = relative_eq!(f, e, epsilon = 1e-11, max_relative = 1e-11);
        assert!(near, "element {i}: {f:e} instead of {e:e}");
    }
}

#[test]
fn names_and_shapes_are_pytorchs() {
    let p = store(1);
    Linear::new(&p.sub("fc"), 5, 3).unwrap();
    Conv1d::new(&p.sub("c1"), 4, 6, 3, Conv1dParams { groups: 2, ..Default::default() }).unwrap();
    Conv2d::without_bias(&p.sub("c2"), 4, 6, [3, 5], Conv2dParams { groups: 2, ..Default::default() }).unwrap();
    let transposed = ConvTranspose2dParams { groups: 2, ..Default::default() };
    ConvTranspose2d::new(&p.sub("ct"), 4, 6, [3, 5], transposed).unwrap();
    BatchNorm1d::new(&p.sub("bn"), 7).unwrap();
    LayerNorm::new(&p.sub("ln"), &[2, 3]).unwrap();
    RmsNorm::new(&p.sub("rms"), 8, 1e-6).unwrap();
    GroupNorm::new(&p.sub("gn"), 2, 6).unwrap();
    Embedding::new(&p.sub("emb"), 10, 4).unwrap();
    expect(
        &p,
        &[
            ("fc.weight", &[3, 5]),
            ("fc.bias", &[3]),
            ("c1.weight", &[6, 2, 3]),
            ("c1.bias", &[6]),
            ("c2.weight", &[6, 2, 3, 5]),
            ("ct.weight", &[4, 3, 3, 5]),
            ("ct.bias", &[6]),
            ("bn.weight", &[7]),
            ("bn.bias", &[7]),
            ("bn.running_mean", &[7]),
            ("bn.running_var", &[7]),
            ("bn.num_batches_tracked", &[]),
            ("ln.weight", &[2, 3]),
            ("ln.bias", &[2, 3]),
            ("rms.weight", &[8]),
            ("gn.weight", &[6]),
            ("gn.bias", &[6]),
            ("emb.weight", &[10, 4]),
        ],
    );
    let p = store(1);
    let config = RnnConfig { layers: 2, bidirectional: true, ..RnnConfig::new(RnnKind::Lstm, 3, 4) };
    Rnn::new(&p, config).unwrap();
    let mut expected: Vec<(String, Vec<usize>)> = vec![];
    for (layer, inputs) in [(0, 3), (1, 8)] {
        for suffix in ["", "_reverse"] {
            expected.push((format!("weight_ih_l{layer}{suffix}"), vec![16, inputs]));
            expected.push((format!("weight_hh_l{layer}{suffix}"), vec![16, 4]));
            expected.push((format!("bias_ih_l{layer}{suffix}"), vec![16]));
            expected.push((format!("bias_hh_l{layer}{suffix}"), vec![16]));
        }
    }
    assert_eq!(shapes(&p), expected);
    let p = store(1);
    let config = TransformerConfig { feed_forward: 32, ..TransformerConfig::new(8, 2) };
    TransformerDecoderLayer::new(&p, config).unwrap();
    let mut names = p.names();
    names.sort();
    let mut expected: Vec<String> = ["self_attn", "multihead_attn"]
        .iter()
        .flat_map(|a| {
            ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"].map(|n| format!("{a}.{n}"))
        })
        .chain(
            ["linear1", "linear2", "norm1", "norm2", "norm3"]
                .iter()
                .flat_map(|l| ["weight", "bias"].map(|n| format!("{l}.{n}"))),
        )
        .collect();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn networks_have_the_published_numbers_of_parameters() {
    let count = |config: ResNetConfig| {
        let params = Params::new(&Device::Cpu, DType::F32, 1);
        ResNet::new(&params, &config).unwrap();
        (params.numel(), params)
    };
    assert_eq!(count(ResNetConfig::cifar(20, 3, 10).unwrap()).0, 272_474);
    let (n, params) = count(ResNetConfig::imagenet(18, 3, 1000).unwrap());
    assert_eq!(n, 11_689_512);
    let names = params.names();
    for name in [
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv2.weight",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.num_batches_tracked",
        "layer4.1.bn2.bias",
        "fc.weight",
    ] {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
    assert_eq!(count(ResNetConfig::imagenet(34, 3, 1000).unwrap()).0, 21_797_672);
    assert_eq!(count(ResNetConfig::imagenet(50, 3, 1000).unwrap()).0, 25_557_032);
    assert!(ResNetConfig::imagenet(19, 3, 10).is_err() && ResNetConfig::cifar(21, 3, 10).is_err());
    let config = GptConfig { vocabulary: 65, context: 128, layers: 4, heads: 4, width: 128, dropout: 0.0 };
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let model = Gpt::new(&params, &config).unwrap();
    assert_eq!(params.numel(), 826_368);
    let ids = Tensor::from_slice(&[1i64, 2, 3, 64, 0, 5], [2, 3], &Device::Cpu).unwrap();
    assert_eq!(model.forward(&ids, &mut Ctx::infer()).unwrap().dims(), [2, 3, 65]);
}

#[test]
fn initial_values_have_their_bounds_and_moments() {
    let mut rng = warpsmith::random::Philox::new(3);
    let mut draw = |init: Init, dims: &[usize]| {
        init.tensor(dims, DType::F64, &Device::Cpu, &mut rng).unwrap().to_f64_vec().unwrap()
    };
    let moments = |v: &[f64]| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
    };
    let dims = [64, 32, 3, 3];
    let n = 64.0 * 288.0f64;
    let (fan_in, fan_out) = (288.0, 576.0);
    for (init, variance, bound) in [
        (Init::DEFAULT_WEIGHT, 1.0 / fan_in / 3.0, 1.0 / f64::sqrt(fan_in)),
        (Init::KaimingUniform { a: 0.0 }, 2.0 / fan_in, f64::sqrt(6.0 / fan_in)),
        (Init::KaimingNormal { a: 0.0 }, 2.0 / fan_in, 6.0 * f64::sqrt(2.0 / fan_in)),
        (Init::KaimingNormalFanOut, 2.0 / fan_out, 6.0 * f64::sqrt(2.0 / fan_out)),
        (Init::XavierUniform { gain: 2.0 }, 8.0 / (fan_in + fan_out), 2.0 * f64::sqrt(6.0 / (fan_in + fan_out))),
        (Init::XavierNormal { gain: 1.0 }, 2.0 / (fan_in + fan_out), 6.0 * f64::sqrt(2.0 / (fan_in + fan_out))),
        (Init::default_bias(dims).unwrap(), 1.0 / fan_in / 3.0, 1.0 / f64::sqrt(fan_in)),
        (Init::STANDARD_NORMAL, 1.0, 6.0),
    ] {
        let values = draw(init, &dims);
        let (mean, found) = moments(&values);
        // Five standard errors of the mean and of the variance of a normal (a uniform's are smaller).
        assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{init:?}: mean {mean}");
        assert!((found / variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{init:?}: variance {found} not {variance}");
        assert!(values.iter().all(|v| v.abs() <= bound), "{init:?}");
        let largest = values.iter().fold(0f64, |a, v| a.max(v.abs()));
        assert!(largest > bound * 0.5, "{init:?} reaches only {largest} of {bound}");
    }
    // The variance of a normal cut at ±2 is 0.7737; of the piece [3, 4] the mean is 3.2664.
    let truncated = |low, high| Init::TruncNormal { mean: 0.0, std: 1.0, low, high };
    let values = draw(truncated(-2.0, 2.0), &[20_000]);
    assert!(values.iter().all(|v| v.abs() <= 2.0) && (moments(&values).1 - 0.7737).abs() < 0.03);
    let values = draw(truncated(3.0, 4.0), &[20_000]);
    assert!(values.iter().all(|v| (3.0..=4.0).contains(v)) && (moments(&values).0 - 3.2664).abs() < 0.01);
    assert!(truncated(1.0, 1.0).tensor([1], DType::F32, &Device::Cpu, &mut rng).is_err());
    for dims in [[6, 4], [4, 6], [5, 5]] {
        let q = Array::new(
            &dims,
            Init::Orthogonal { gain: 2.0 }
                .tensor(dims, DType::F64, &Device::Cpu, &mut rng)
                .unwrap()
                .to_f64_vec()
                .unwrap(),
        );
        let by_rows = dims[0] <= dims[1];
        let (count, length) = (dims[0].min(dims[1]), dims[0].max(dims[1]));
        let at = |i: usize, k: usize| if by_rows { q.at(&[i, k]) } else { q.at(&[k, i]) };
        for i in 0..count {
            for j in 0..count {
                let dot: f64 = (0..length).map(|k| at(i, k) * at(j, k)).sum();
                assert!((dot - if i == j { 4.0 } else { 0.0 }).abs() < 1e-13);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_model_and_any_generator_serves() {
    let values = |params: Params| {
        Linear::new(&params, 3, 4).unwrap();
        params.get("weight").unwrap().to_f64_vec().unwrap()
    };
    assert_eq!(values(store(5)), values(store(5)));
    assert_ne!(values(store(5)), values(store(6)));
    use rand::SeedableRng;
    let other = rand::rngs::Xoshiro256PlusPlus::seed_from_u64(1);
    assert_ne!(values(Params::with_rng(&Device::Cpu, DType::F64, other)), values(store(1)));
}

#[test]
fn frozen_and_tied_parameters() {
    let p = store(1);
    let (a, b) = (Linear::new(&p.sub("a"), 3, 3).unwrap(), Linear::new(&p.sub("b"), 3, 3).unwrap());
    p.tie("c.weight", &a.weight).unwrap();
    assert!(p.tie("a.weight", &b.weight).is_err(), "a name may be taken once");
    assert_eq!(p.all().len(), 4);
    p.sub("a").set_frozen(true);
    assert_eq!(p.numel(), 12);
    assert_eq!(p.trainable().iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["b.weight", "b.bias"]);
    let x = random_tensor(&[2, 3], &mut Random::fresh("frozen"));
    let run = || {
        let mut ctx = Ctx::infer();
        let y = b.forward(&a.forward(&x, &mut ctx).unwrap(), &mut ctx).unwrap();
        y.sum_all().unwrap().backward().unwrap()
    };
    let gradients = run();
    assert!(gradients.get(&a.weight).unwrap().is_none() && gradients.get(&b.weight).unwrap().is_some());
    p.set_frozen(false);
    assert!(run().get(&a.weight).unwrap().is_some());
    let summary = p.summary().to_string();
    assert!(summary.contains("a.weight") && summary.contains("24 trainable, 0 frozen"), "{summary}");
}

#[test]
fn batch_norm_keeps_running_statistics_as_pytorch_does() {
    let mut random = Random::fresh("batch norm");
    let p = store(1);
    let layer = BatchNorm2d::new(&p, 3).unwrap();
    let x = random_tensor(&[4, 3, 2, 5], &mut random);
    let mut ctx = Ctx::train(1);
    layer.forward(&x, &mut ctx).unwrap();
    layer.forward_relu(&x, &mut ctx).unwrap();
    let (x, n) = (array(&x), 40.0);
    let (found_mean, found_var) = (layer.running_mean.get(), layer.running_var.get());
    for c in 0..3 {
        let of_channel = || (0..40).map(|i| x.at(&[i / 10, c, i / 5 % 2, i % 5]));
        let mean = of_channel().sum::<f64>() / n;
        let unbiased = of_channel().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let (mut m, mut v) = (0.0, 1.0);
        for _ in 0..2 {
            (m, v) = (0.9 * m + 0.1 * mean, 0.9 * v + 0.1 * unbiased);
        }
        // The statistics are kept in f32.
        assert!((found_mean.to_f64_vec().unwrap()[c] - m).abs() < 4.0 * f32::EPSILON as f64);
        assert!((found_var.to_f64_vec().unwrap()[c] - v).abs() < 4.0 * f32::EPSILON as f64);
    }
    assert_eq!(p.state_dict().unwrap().get("num_batches_tracked").unwrap().item::<i64>().unwrap(), 2);
    // Inference uses them and leaves them alone.
    let one = random_tensor(&[1, 3, 1, 1], &mut random);
    let y = layer.forward(&one, &mut Ctx::infer()).unwrap().to_f64_vec().unwrap();
    let (mean, var) = (found_mean.to_f64_vec().unwrap(), found_var.to_f64_vec().unwrap());
    for (c, (y, x)) in y.iter().zip(one.to_f64_vec().unwrap()).enumerate() {
        assert!((y - (x - mean[c]) / (var[c] + 1e-5).sqrt()).abs() < 1e-6);
    }
    assert_eq!(layer.running_mean.get().to_f64_vec().unwrap(), mean);
    let message = layer.forward(&one, &mut ctx).unwrap_err().to_string();
    assert!(message.contains("more than one value per channel"), "{message}");
    assert!(layer.forward(&Tensor::zeros([0, 3, 2, 2], DType::F64, &Device::Cpu).unwrap(), &mut ctx).is_err());
}

#[test]
fn dropout_drops_in_training_only_and_scales_the_rest() {
    let x = Tensor::ones([100, 100], DType::F32, &Device::Cpu).unwrap();
    let layer = Dropout::new(0.3).unwrap();
    let mut ctx = Ctx::train(7);
    let y = layer.forward(&x, &mut ctx).unwrap().to_vec::<f32>().unwrap();
    let dropped = y.iter().filter(|&&v| v == 0.0).count() as f64;
    assert!((dropped - 3000.0).abs() < 5.0 * (10_000.0 * 0.3 * 0.7f64).sqrt());
    assert!(y.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    assert_ne!(layer.forward(&x, &mut ctx).unwrap().to_vec::<f32>().unwrap(), y, "each call draws anew");
    assert_eq!(layer.forward(&x, &mut Ctx::train(7)).unwrap().to_vec::<f32>().unwrap(), y, "by the seed");
    assert_eq!(layer.forward(&x, &mut Ctx::infer()).unwrap().to_vec::<f32>().unwrap(), vec![1.0; 10_000]);
    assert!(Dropout::new(1.5).is_err() && Dropout::new(f64::NAN).is_err());
}

#[test]
fn checkpointing_draws_the_same_numbers_again_and_counts_a_batch_once() {
    let make = || -> Result<(Params, std::sync::Arc<Sequential>)> {
        let p = store(3);
        let net = Sequential::new(&p)
            .layer(|p| Linear::new(p, 6, 8))?
            .layer(|p| BatchNorm1d::new(p, 8))?
            .then(Dropout::new(0.5)?)
            .layer(|p| Linear::new(p, 8, 3))?;
        Ok((p, std::sync::Arc::new(net)))
    };
    let x = random_tensor(&[5, 6], &mut Random::fresh("checkpoint"));
    let run = |checkpointed: bool| -> Result<(Vec<Vec<f64>>, Vec<f64>, i64)> {
        let (p, net) = make()?;
        let mut ctx = Ctx::train(11);
        let mut y = x.clone();
        if checkpointed {
            let net = net.clone();
            y = ctx.checkpoint(&[y], move |x, ctx| net.forward(&x[0], ctx))?;
        } else {
            y = net.forward(&y, &mut ctx)?;
        }
        // What follows must see the state that the part left behind.
        y = Dropout::new(0.5)?.forward(&y, &mut ctx)?;
        let gradients = y.mul(&y)?.sum_all()?.backward()?;
        let all = p.all().iter().map(|(_, v)| gradients.expect(v)?.to_f64_vec()).collect::<Result<Vec<_>>>()?;
        let dict = p.state_dict()?;
        let seen = dict.expect("1.num_batches_tracked")?.item::<i64>()?;
        Ok((all, dict.expect("1.running_mean")?.to_f64_vec()?, seen))
    };
    let (plain, checkpointed) = (run(false).unwrap(), run(true).unwrap());
    assert_eq!(plain.2, 1);
    assert_eq!(plain, checkpointed);
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// One direction of one layer, from torch.nn's documentation. `x[t][b]`, weights as matrices.
fn rnn_reference(kind: RnnKind, w: &[Array; 4], x: &[Vec<Vec<f64>>], n: usize, reverse: bool) -> Vec<Vec<Vec<f64>>> {
    let (steps, batch) = (x.len(), x[0].len());
    let mut out = vec![vec![vec![0.0; n]; batch]; steps];
    for b in 0..batch {
        let (mut h, mut c) = (vec![0.0; n], vec![0.0; n]);
        for i in 0..steps {
            let t = if reverse { steps - 1 - i } else { i };
            let from_x =
                |r: usize| w[2].at(&[r]) + (0..x[t][b].len()).map(|k| w[0].at(&[r, k]) * x[t][b][k]).sum::<f64>();
            let old = h.clone();
            let from_h = |r: usize| w[3].at(&[r]) + (0..n).map(|k| w[1].at(&[r, k]) * old[k]).sum::<f64>();
            for j in 0..n {
                let sum = |gate: usize| from_x(gate * n + j) + from_h(gate * n + j);
                h[j] = match kind {
                    RnnKind::Tanh => sum(0).tanh(),
                    RnnKind::Relu => sum(0).max(0.0),
                    RnnKind::Lstm => {
                        c[j] = sigmoid(sum(1)) * c[j] + sigmoid(sum(0)) * sum(2).tanh();
                        sigmoid(sum(3)) * c[j].tanh()
                    }
                    RnnKind::Gru => {
                        let new = (from_x(2 * n + j) + sigmoid(sum(0)) * from_h(2 * n + j)).tanh();
                        (1.0 - sigmoid(sum(1))) * new + sigmoid(sum(1)) * old[j]
                    }
                };
            }
            out[t][b] = h.clone();
        }
    }
    out
}

#[test]
fn recurrent_networks_follow_their_definitions() {
    let mut random = Random::fresh("rnn");
    let (steps, batch, inputs, hidden) = (5, 3, 4, 6);
    for kind in [RnnKind::Tanh, RnnKind::Relu, RnnKind::Lstm, RnnKind::Gru] {
        for (layers, bidirectional, batch_first) in [(1, false, true), (2, true, false), (3, false, false)] {
            let p = store(random.bits());
            let config = RnnConfig { layers, bidirectional, batch_first, ..RnnConfig::new(kind, inputs, hidden) };
            let net = Rnn::new(&p, config).unwrap();
            let x = random_tensor(&[steps, batch, inputs], &mut random);
            let fed = if batch_first { x.transpose(0, 1).unwrap() } else { x.clone() };
            let found = net.run(&fed, None, &mut Ctx::infer()).unwrap();
            let x = array(&x);
            let at = |t: usize, b: usize| (0..inputs).map(|k| x.at(&[t, b, k])).collect::<Vec<_>>();
            let mut values: Vec<Vec<Vec<f64>>> = (0..steps).map(|t| (0..batch).map(|b| at(t, b)).collect()).collect();
            let mut last = vec![];
            for layer in 0..layers {
                let mut outputs = vec![];
                for direction in 0..1 + usize::from(bidirectional) {
                    let suffix = ["", "_reverse"][direction];
                    let weights = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
                        .map(|n| array(&p.get(&format!("{n}_l{layer}{suffix}")).unwrap()));
                    let out = rnn_reference(kind, &weights, &values, hidden, direction == 1);
                    last.push(out[if direction == 1 { 0 } else { steps - 1 }].clone());
                    outputs.push(out);
                }
                values = (0..steps)
                    .map(|t| (0..batch).map(|b| outputs.iter().flat_map(|o| o[t][b].clone()).collect()).collect())
                    .collect();
            }
            let width = values[0][0].len();
            let dims = if batch_first { [batch, steps, width] } else { [steps, batch, width] };
            let expected =
                Array::from_fn(
                    &dims,
                    |i| {
                        if batch_first { values[i[1]][i[0]][i[2]] } else { values[i[0]][i[1]][i[2]] }
                    },
                );
            close(&found.output, &expected);
            let expected = Array::from_fn(&[last.len(), batch, hidden], |i| last[i[0]][i[1]][i[2]]);
            close(&found.hidden, &expected);
            assert_eq!(found.cell.is_some(), kind == RnnKind::Lstm);
            // Two halves with the state handed over are the whole, where no direction looks ahead.
            if !bidirectional {
                let time = if batch_first { 1 } else { 0 };
                let mut ctx = Ctx::infer();
                let first = net.run(&fed.narrow(time, 0, 2).unwrap(), None, &mut ctx).unwrap();
                let state = Some((&first.hidden, first.cell.as_ref()));
                let second = net.run(&fed.narrow(time, 2, 3).unwrap(), state, &mut ctx).unwrap();
                close(&second.hidden, &array(&found.hidden));
            }
            // Every weight takes part.
            let gradients = found.output.sum_all().unwrap().backward().unwrap();
            assert!(p.all().iter().all(|(_, v)| gradients.get(v).unwrap().is_some()));
        }
    }
}

/// x Wᵀ + b for one row.
fn affine(x: &[f64], w: &Array, b: &Array) -> Vec<f64> {
    let dot = |r: usize| x.iter().enumerate().map(|(k, v)| v * w.at(&[r, k])).sum::<f64>();
    (0..w.dims[0]).map(|r| b.at(&[r]) + dot(r)).collect()
}

type Sequence = Vec<Vec<f64>>;

/// Multi-head attention of one sequence to another, from the paper; `seen(query, key)`.
fn attention_reference(
    p: &Params,
    q: &Sequence,
    kv: &Sequence,
    heads: usize,
    seen: &dyn Fn(usize, usize) -> bool,
) -> Sequence {
    let get = |n: &str| array(&p.get(n).unwrap());
    let (w, b) = (get("in_proj_weight"), get("in_proj_bias"));
    let e = q[0].len();
    let project = |x: &Sequence, i: usize| -> Sequence {
        let part = |r: usize| i * e + r;
        let row = |x: &Vec<f64>| {
            (0..e).map(|r| b.at(&[part(r)]) + (0..e).map(|k| w.at(&[part(r), k]) * x[k]).sum::<f64>()).collect()
        };
        x.iter().map(row).collect()
    };
    let (q, k, v) = (project(q, 0), project(kv, 1), project(kv, 2));
    let d = e / heads;
    let mut out = vec![];
    for (i, q) in q.iter().enumerate() {
        let mut row = vec![0.0; e];
        for h in 0..heads {
            let score = |j: usize| (0..d).map(|t| q[h * d + t] * k[j][h * d + t]).sum::<f64>() / (d as f64).sqrt();
            let weights: Vec<f64> = (0..k.len()).map(|j| if seen(i, j) { score(j).exp() } else { 0.0 }).collect();
            let total: f64 = weights.iter().sum();
            for t in 0..d {
                row[h * d + t] = (0..k.len()).map(|j| weights[j] / total * v[j][h * d + t]).sum();
            }
        }
        out.push(affine(&row, &get("out_proj.weight"), &get("out_proj.bias")));
    }
    out
}

fn layer_norm_reference(x: &Sequence, p: &Params) -> Sequence {
    let (w, b) = (array(&p.get("weight").unwrap()), array(&p.get("bias").unwrap()));
    x.iter()
        .map(|row| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            (0..row.len()).map(|i| (row[i] - mean) / (var + 1e-5).sqrt() * w.at(&[i]) + b.at(&[i])).collect()
        })
        .collect()
}

fn plus(a: &Sequence, b: &Sequence) -> Sequence {
    a.iter().zip(b).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x + y).collect()).collect()
}

#[test]
fn transformer_layers_follow_their_definitions() {
    let mut random = Random::fresh("transformer");
    let (batch, steps, memory_steps, width, heads) = (2, 4, 3, 6, 2);
    for norm_first in [false, true] {
        let config = TransformerConfig { feed_forward: 10, norm_first, ..TransformerConfig::new(width, heads) };
        let p = store(random.bits());
        let encoder = TransformerEncoderLayer::new(&p.sub("e"), config).unwrap();
        let decoder = TransformerDecoderLayer::new(&p.sub("d"), config).unwrap();
        // Norms and biases begin at 1 and 0, which would hide mistakes.
        for (_, v) in p.all() {
            v.set(&random_tensor(v.dims(), &mut random)).unwrap();
        }
        let x = random_tensor(&[batch, steps, width], &mut random);
        let memory = random_tensor(&[batch, memory_steps, width], &mut random);
        let keep = Tensor::from_slice(&[1u8, 1, 0, 1, 1, 1], [batch, memory_steps], &Device::Cpu).unwrap();
        let mut ctx = Ctx::infer();
        let encoded = encoder.forward_masked(&x, &AttentionMask::causal(), &mut ctx).unwrap();
        let padding = AttentionMask::padding(&keep).unwrap();
        let decoded = decoder.forward(&x, &memory, &AttentionMask::causal(), &padding, &mut ctx).unwrap();
        let part = |p: &Params, name: &str, x: &Sequence, f: &dyn Fn(&Sequence) -> Sequence| -> Sequence {
            let norm = p.sub(name);
            if norm_first {
                plus(x, &f(&layer_norm_reference(x, &norm)))
            } else {
                layer_norm_reference(&plus(x, &f(x)), &norm)
            }
        };
        let feed_forward = |p: &Params, x: &Sequence| -> Sequence {
            let get = |n: &str| array(&p.get(n).unwrap());
            let hidden = |row: &Vec<f64>| affine(row, &get("linear1.weight"), &get("linear1.bias"));
            let relu = |row: Vec<f64>| row.iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
            x.iter().map(|r| affine(&relu(hidden(r)), &get("linear2.weight"), &get("linear2.bias"))).collect()
        };
        let rows = |t: &Tensor, b: usize| -> Sequence {
            let a = array(t);
            (0..a.dims[1]).map(|i| (0..width).map(|k| a.at(&[b, i, k])).collect()).collect()
        };
        let causal = |i: usize, j: usize| j <= i;
        let (mut expected_e, mut expected_d) = (vec![], vec![]);
        for b in 0..batch {
            let (e, d) = (p.sub("e"), p.sub("d"));
            let x = rows(&x, b);
            let own = |p: &Params, x: &Sequence| attention_reference(&p.sub("self_attn"), x, x, heads, &causal);
            let y = part(&e, "norm1", &x, &|x| own(&e, x));
            expected_e.push(part(&e, "norm2", &y, &|x| feed_forward(&e, x)));
            let y = part(&d, "norm1", &x, &|x| own(&d, x));
            let memory = rows(&memory, b);
            let seen = |_: usize, j: usize| !(b == 0 && j == 2);
            let y = part(&d, "norm2", &y, &|x| attention_reference(&d.sub("multihead_attn"), x, &memory, heads, &seen));
            expected_d.push(part(&d, "norm3", &y, &|x| feed_forward(&d, x)));
        }
        for (found, expected) in [(encoded, expected_e), (decoded, expected_d)] {
            close(&found, &Array::from_fn(&[batch, steps, width], |i| expected[i[0]][i[1]][i[2]]));
            let gradients = found.sum_all().unwrap().backward().unwrap();
            assert!(!gradients.is_empty());
        }
    }
}

#[test]
fn attention_with_dropout_sees_what_attention_without_sees() {
    let mut random = Random::fresh("attention dropout");
    let p = store(1);
    // So little dropout that (with this seed) nothing is dropped: the composed path must equal the fused one.
    let composed = MultiheadAttention::new(&p.sub("a"), 6, 2, 1e-12).unwrap();
    let x = random_tensor(&[2, 4, 6], &mut random);
    let keep = Tensor::from_slice(&[1u8, 1, 1, 0, 1, 1, 1, 1], [2, 4], &Device::Cpu).unwrap();
    let additive = random_tensor(&[4, 4], &mut random);
    let masks = [
        AttentionMask::none(),
        AttentionMask::causal(),
        AttentionMask { causal: true, ..AttentionMask::padding(&keep).unwrap() },
        AttentionMask { causal: false, mask: Some(additive) },
    ];
    for mask in masks {
        let fused = composed.attend_self(&x, &mask, &mut Ctx::infer()).unwrap();
        close(&composed.attend_self(&x, &mask, &mut Ctx::train(1)).unwrap(), &array(&fused));
    }
    let dropping = MultiheadAttention::new(&p.sub("b"), 6, 2, 0.5).unwrap();
    let infer = dropping.forward(&x, &mut Ctx::infer()).unwrap().to_f64_vec().unwrap();
    assert_ne!(dropping.forward(&x, &mut Ctx::train(1)).unwrap().to_f64_vec().unwrap(), infer);
    assert!(MultiheadAttention::new(&p.sub("c"), 6, 4, 0.0).is_err());
}

#[test]
fn misuse_is_explained() {
    let p = store(1);
    let rnn = Rnn::new(&p, RnnConfig::new(RnnKind::Gru, 3, 4)).unwrap();
    for dims in [vec![2, 3], vec![2, 5, 4], vec![2, 0, 3]] {
        let x = Tensor::zeros(&dims, DType::F64, &Device::Cpu).unwrap();
        assert!(rnn.forward(&x, &mut Ctx::infer()).is_err(), "{dims:?}");
    }
    assert!(Conv2d::new(&p.sub("c"), 3, 4, [3, 3], Conv2dParams { groups: 2, ..Default::default() }).is_err());
    assert!(
        p.buffer("b", Tensor::zeros([2], DType::F32, &Device::Cpu).unwrap())
            .unwrap()
            .set(&Tensor::zeros([3], DType::F32, &Device::Cpu).unwrap())
            .is_err()
    );
}
