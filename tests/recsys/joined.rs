//! Several optimizers as one, over the parts of a Wide & Deep model.

use super::*;

fn wide_and_deep(params: &Params) -> (WideAndDeep, Joined) {
    let model = WideAndDeep::new(params, &fields(), &[[0, 2]], &config()).unwrap();
    let wide = Ftrl::new(params.sub("wide").trainable(), FtrlConfig { l1: 1e-3, ..FtrlConfig::new(0.1) }).unwrap();
    let deep = AdaGrad::new(params.sub("deep").trainable(), AdaGradConfig::new(0.05)).unwrap();
    (model, Joined::new(vec![("wide", Box::new(wide)), ("deep", Box::new(deep))]).unwrap())
}

fn loss(model: &WideAndDeep, params: &Params, step: u64) -> Tensor {
    let mut rng = warpsmith::random::Philox::new(step);
    let numbers = Tensor::normal(0.0, 1.0, [ROWS, 2], DType::F32, params.device(), &mut rng).unwrap();
    let target = Tensor::from_slice(&[1f32, 0.0, 1.0, 1.0, 0.0], ROWS, params.device()).unwrap();
    let x = FieldInput { ids: ids(params.device()), numbers: Some(numbers) };
    model.forward(&x, &mut Ctx::train(1)).unwrap().bce_with_logits(&target, None, Reduction::Mean).unwrap()
}

fn values(params: &Params) -> Vec<(String, Vec<f64>)> {
    params.all().into_iter().map(|(name, p)| (name, p.to_f64_vec().unwrap())).collect()
}

#[test]
fn joined_optimizers_step_as_each_alone() {
    let params = Params::new(&Device::Cpu, DType::F32, 7);
    let (model, mut joined) = wide_and_deep(&params);
    let other = Params::new(&Device::Cpu, DType::F32, 7);
    let (twin, _) = wide_and_deep(&other);
    let config = FtrlConfig { l1: 1e-3, ..FtrlConfig::new(0.1) };
    let mut wide = Ftrl::new(other.sub("wide").trainable(), config).unwrap();
    let mut deep = AdaGrad::new(other.sub("deep").trainable(), AdaGradConfig::new(0.05)).unwrap();
    for step in 0..5 {
        joined.step(&loss(&model, &params, step).backward().unwrap()).unwrap();
        let gradients = loss(&twin, &other, step).backward().unwrap();
        wide.step(&gradients).unwrap();
        deep.step(&gradients).unwrap();
    }
    assert_eq!(values(&params), values(&other));
    assert_eq!(joined.lr(), 0.1);
    joined.set_lr(0.0);
    joined.set_lr(0.2);
    let state = joined.state_dict().unwrap();
    assert_eq!(state.get("wide.lr").unwrap().item::<f64>().unwrap(), 0.2);
    assert_eq!(state.get("deep.lr").unwrap().item::<f64>().unwrap(), 0.1);
}

#[test]
fn joined_state_continues_a_run_and_is_strict() {
    let params = Params::new(&Device::Cpu, DType::F32, 7);
    let (model, mut joined) = wide_and_deep(&params);
    (0..3).for_each(|step| joined.step(&loss(&model, &params, step).backward().unwrap()).unwrap());
    let (weights, state) = (params.state_dict().unwrap(), joined.state_dict().unwrap());
    (3..6).for_each(|step| joined.step(&loss(&model, &params, step).backward().unwrap()).unwrap());

    let resumed = Params::new(&Device::Cpu, DType::F32, 8);
    let (twin, mut again) = wide_and_deep(&resumed);
    resumed.load_state_dict(&weights, "weights").unwrap();
    let generation = again.generation();
    again.load_state_dict(&state, "state").unwrap();
    assert_ne!(again.generation(), generation);
    (3..6).for_each(|step| again.step(&loss(&twin, &resumed, step).backward().unwrap()).unwrap());
    assert_eq!(values(&params), values(&resumed));

    // A second part that does not fit leaves the first as it was.
    let before = again.state_dict().unwrap();
    let mut broken = StateDict::new();
    broken.insert_sub("wide", state.sub("wide"));
    broken.insert_sub("deep", StateDict::new());
    refused(again.load_state_dict(&broken, "broken"), &["broken (deep)", "lr"]);
    let after = again.state_dict().unwrap();
    for (name, tensor) in before.iter() {
        assert_eq!(tensor.to_f64_vec().unwrap(), after.get(name).unwrap().to_f64_vec().unwrap(), "{name}");
    }
    let mut foreign = state.clone();
    foreign.insert("middle.lr", Tensor::scalar(1.0f64, &Device::Cpu).unwrap());
    refused(again.load_state_dict(&foreign, "foreign"), &["foreign", "middle.lr"]);
}

#[test]
fn joined_refuses_what_needs_all_gradients() {
    let params = Params::new(&Device::Cpu, DType::F32, 7);
    let (model, mut joined) = wide_and_deep(&params);
    let gradients = loss(&model, &params, 0).backward().unwrap();
    refused(joined.step_clipped(&gradients, Clip::Norm(1.0)), &["clip_grad_norm", "2 optimizers"]);
    joined.step_clipped(&gradients, Clip::Value(1.0)).unwrap();
    let mut scaler = LossScaler::new(&Device::Cpu).unwrap();
    refused(scaler.step(&mut joined, &gradients), &["scaler serves one"]);
    let sgd = || -> Box<dyn Optimizer> { Box::new(Sgd::new(params.trainable(), SgdConfig::new(0.1)).unwrap()) };
    refused(Joined::new(Vec::<(&str, Box<dyn Optimizer>)>::new()), &["[]"]);
    refused(Joined::new(vec![("a", sgd()), ("a", sgd())]), &["\"a\", \"a\""]);
    refused(Joined::new(vec![("a.b", sgd())]), &["a.b"]);
    // One part alone keeps what it can do.
    let mut one = Joined::new(vec![("all", sgd())]).unwrap();
    let norm = one.step_clipped(&loss(&model, &params, 1).backward().unwrap(), Clip::Norm(1.0)).unwrap();
    assert!(norm.unwrap().item::<f32>().unwrap() > 0.0);
    let gradients = scaler.scale(&loss(&model, &params, 2)).unwrap().backward().unwrap();
    scaler.step(&mut one, &gradients).unwrap();
}
