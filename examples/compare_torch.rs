//! Holds a model against PyTorch: loads the weights that `xtask/compare.py` wrote under PyTorch's names, computes logits, loss
//! and the gradient of every parameter, and measures how far they are from PyTorch's in f64.
//!
//! ```text
//! cargo xtask compare
//! ```
//!
//! Both are f32 computations of the same real numbers, so PyTorch's own f32 results are the yardstick: for each tensor the
//! error is divided by theirs.

mod support;

use clap::{Arg, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use support::figures::{Wanted, figure};
use warpsmith::models::{BertConfig, BertInput, BertMaskedLm, Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, NameMap, Params, StateDict};
use warpsmith::{CrossEntropyParams, DType, Device, Error, Result, Tensor};

/// What is compared, by PyTorch's names, as `compare.py` has it.
struct Results {
    values: StateDict,
}

impl Results {
    fn new(params: &Params, names: &NameMap, logits: &Tensor, loss: &Tensor) -> Result<Self> {
        let gradients = loss.backward()?;
        let ours = params.all().into_iter().map(|(name, param)| Ok((name, gradients.expect(&param)?)));
        let theirs = names.to_theirs(&ours.collect::<Result<StateDict>>()?)?;
        let mut values: StateDict = theirs.iter().map(|(n, t)| (format!("gradient.{n}"), t.clone())).collect();
        values.insert("logits", logits.detach());
        values.insert("loss", loss.detach());
        Ok(Results { values })
    }
}

fn gpt2(params: &Params, weights: &StateDict, inputs: &StateDict) -> Result<Results> {
    let model = Gpt::gpt2(params, &GptConfig { dropout: 0.0, ..GptConfig::named("gpt2")? })?;
    params.load_named(weights, &Gpt::names(), "weights.safetensors")?;
    let ids = inputs.expect("ids")?;
    let (b, t) = (ids.dim(0)?, ids.dim(1)?);
    let logits = model.forward(ids, &mut Ctx::infer())?;
    let seen = logits.narrow(1, 0, t - 1)?.reshape([b * (t - 1), logits.dim(2)?])?;
    let next = ids.narrow(1, 1, t - 1)?.reshape([b * (t - 1)])?;
    let loss = seen.cross_entropy(&next, &CrossEntropyParams::default())?;
    Results::new(params, &Gpt::names(), &logits, &loss)
}

fn bert(params: &Params, weights: &StateDict, inputs: &StateDict) -> Result<Results> {
    let model = BertMaskedLm::new(params, &BertConfig::named("base")?)?;
    params.load_named(weights, &BertMaskedLm::names(), "weights.safetensors")?;
    let keep = inputs.expect("keep")?.to_dtype(DType::U8)?;
    let input = BertInput { types: Some(inputs.expect("types")?), keep: Some(&keep) };
    let logits = model.forward(inputs.expect("ids")?, &input, &mut Ctx::infer())?;
    let labels = inputs.expect("labels")?.flatten(0, 1)?;
    let options = CrossEntropyParams { ignore_index: Some(-100), ..Default::default() };
    let loss = logits.flatten(0, 1)?.cross_entropy(&labels, &options)?;
    Results::new(params, &BertMaskedLm::names(), &logits, &loss)
}

/// Trained for a step: batch norm by the batch's statistics.
fn resnet50(params: &Params, weights: &StateDict, inputs: &StateDict) -> Result<Results> {
    let model = ResNet::new(params, &ResNetConfig::imagenet(50, 3, 1000)?)?;
    params.load_named(weights, &NameMap::new(), "weights.safetensors")?;
    let logits = model.forward(inputs.expect("images")?, &mut Ctx::train(1))?;
    let loss = logits.cross_entropy(inputs.expect("labels")?, &CrossEntropyParams::default())?;
    let mut results = Results::new(params, &NameMap::new(), &logits, &loss)?;
    for (name, buffer) in params.state_dict()?.iter().filter(|(name, _)| name.contains(".running_")) {
        results.values.insert(format!("buffer.{name}"), buffer.clone());
    }
    Ok(results)
}

/// ‖found − expected‖ / ‖expected‖.
fn error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    if found.shape() != expected.shape() {
        return Err(Error::shape("compare", format!("a tensor of shape {}", expected.shape()), &[*found.shape()]));
    }
    let (found, expected) = (found.to_f64_vec()?, expected.to_f64_vec()?);
    let square = |x: f64| x * x;
    let difference: f64 = found.iter().zip(&expected).map(|(f, e)| square(f - e)).sum();
    Ok((difference / expected.iter().copied().map(square).sum::<f64>()).sqrt())
}

/// One tensor: our error, and PyTorch's.
struct Row {
    name: String,
    ours: f64,
    torch: f64,
}

/// Rounding error of one f32 operation.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

impl Row {
    /// Both errors count as at least one rounding: below that it is chance which of the two is nearer.
    fn ratio(&self) -> f64 {
        self.ours.max(UNIT) / self.torch.max(UNIT)
    }
}

fn run(model: &str, folder: PathBuf, device: &Device) -> Result<()> {
    let load = |name: &str, device: &Device| StateDict::load(folder.join(name), device);
    let (weights, inputs) = (load("weights.safetensors", device)?, load("inputs.safetensors", device)?);
    let params = Params::new(device, DType::F32, 1);
    let results = match model {
        "gpt2" => gpt2(&params, &weights, &inputs)?,
        "bert" => bert(&params, &weights, &inputs)?,
        _ => resnet50(&params, &weights, &inputs)?,
    };
    let expected = load("expected.safetensors", &Device::Cpu)?;
    let mut rows = vec![];
    for (name, value) in expected.iter().filter(|(name, _)| !name.starts_with("error.")) {
        let torch = expected.expect(&format!("error.{name}"))?.item::<f64>()?;
        rows.push(Row { name: name.to_owned(), ours: error(results.values.expect(name)?, value)?, torch });
    }
    if let Some((extra, _)) = results.values.iter().find(|(name, _)| expected.get(name).is_none()) {
        return Err(Error::argument("compare", format!("PyTorch has no {extra}")));
    }
    rows.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
    println!("{:60} {:>10} {:>10} {:>6}", "tensor", "ours", "PyTorch's", "ratio");
    for row in rows.iter().take(5).chain(rows.iter().filter(|row| ["logits", "loss"].contains(&row.name.as_str()))) {
        println!("{:60} {:>10.2e} {:>10.2e} {:>6.2}", row.name, row.ours, row.torch, row.ratio());
    }
    let kind = |begin: &str| rows.iter().filter(|row| row.name.starts_with(begin)).collect::<Vec<_>>();
    for (what, some) in [("logits", kind("logits")), ("loss", kind("loss")), ("gradients", kind("gradient."))] {
        let worst = |of: &dyn Fn(&Row) -> f64| some.iter().map(|row| of(row)).fold(0.0, f64::max);
        let mut ratios: Vec<f64> = some.iter().map(|row| row.ratio()).collect();
        ratios.sort_by(f64::total_cmp);
        let row = [worst(&|r| r.ours), worst(&|r| r.torch), ratios[ratios.len() / 2], ratios[ratios.len() - 1]];
        let numbers = row.map(|v| format!("{v:.3e}")).join(" ");
        println!("compared: {model} {what} {} {numbers}", some.len());
    }
    let parameters = params.all().len();
    if kind("gradient.").len() != parameters {
        let message = format!("{} gradients of {parameters} parameters", kind("gradient.").len());
        return Err(Error::argument("compare", message));
    }
    figure("largest ratio of errors", rows[0].ratio(), Wanted::AtMost(4.0));
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Command::new("compare_torch")
        .about("Compares a model with PyTorch; `cargo xtask compare` does all of it")
        .arg(Arg::new("model").required(true).value_parser(["gpt2", "bert", "resnet50"]))
        .arg(Arg::new("folder").required(true).value_parser(value_parser!(PathBuf)).help("what compare.py wrote"))
        .arg(Arg::new("device").long("device").default_value("cpu").help(support::DEVICES))
        .get_matches();
    let word = |name: &str| arguments.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let folder = arguments.get_one::<PathBuf>("folder").cloned().unwrap_or_default();
    support::figures::exit(support::device(word("device")).and_then(|device| run(word("model"), folder, &device)))
}
