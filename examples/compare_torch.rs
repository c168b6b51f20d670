//! Holds a model against PyTorch: loads the weights that `xtask/compare.py` wrote under PyTorch's names, computes logits, loss
//! and the gradient of every parameter, and measures how far they are from PyTorch's in f64.
//!
//! ```text
//! cargo xtask compare
//! ```
//!
//! In f32 both round the same real numbers, so PyTorch's own f32 results are the yardstick: for each tensor our error is
//! divided by theirs. In f64 (on the CPU) it is counted in roundings of that precision, and four times as many are allowed:
//! there both sides round alike, and PyTorch has nothing wider for the sums that it takes in f64 when all else is f32.

mod support;

use clap::{Arg, Command, value_parser};
use std::path::{Path, PathBuf};
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

/// ‖x‖.
fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖found − expected‖ and ‖expected‖.
fn distance(found: &Tensor, expected: &Tensor) -> Result<(f64, f64)> {
    if found.shape() != expected.shape() {
        return Err(Error::shape("compare", format!("a tensor of shape {}", expected.shape()), &[*found.shape()]));
    }
    let (found, expected) = (found.to_f64_vec()?, expected.to_f64_vec()?);
    Ok((norm(found.iter().zip(&expected).map(|(f, e)| f - e)), norm(expected.into_iter())))
}

/// One tensor: our error and PyTorch's, as shares of its norm.
struct Row {
    name: String,
    ours: f64,
    torch: f64,
}

/// A gradient's norm, of the norm of all, below which it is 0 but for rounding in f64.
const ZERO: f64 = 1e-10;
/// Rounding error of one operation.
fn unit(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON / 2.0 } else { f32::EPSILON as f64 / 2.0 }
}

impl Row {
    /// Our error in roundings over PyTorch's in f32. Both count as at least one rounding: below that it is chance which of
    /// the two is nearer.
    fn ratio(&self, dtype: DType) -> f64 {
        (self.ours / unit(dtype)).max(1.0) / (self.torch / unit(DType::F32)).max(1.0)
    }
}

/// Values of that precision, but for running statistics, which are f32 in every model.
fn converted(values: &StateDict, dtype: DType) -> Result<StateDict> {
    let convert = |(name, value): (&str, &Tensor)| {
        let kept = !value.dtype().is_float() || name.contains(".running_");
        Ok((name.to_owned(), if kept { value.clone() } else { value.to_dtype(dtype)? }))
    };
    values.iter().map(convert).collect()
}

fn run(model: &str, folder: &Path, device: &Device, dtype: DType) -> Result<()> {
    let load = |name: &str, device: &Device| StateDict::load(folder.join(name), device);
    let weights = converted(&load("weights.safetensors", device)?, dtype)?;
    let inputs = converted(&load("inputs.safetensors", device)?, dtype)?;
    let params = Params::new(device, dtype, 1);
    let results = match model {
        "gpt2" => gpt2(&params, &weights, &inputs)?,
        "bert" => bert(&params, &weights, &inputs)?,
        _ => resnet50(&params, &weights, &inputs)?,
    };
    let expected = load("expected.safetensors", &Device::Cpu)?;
    let mut found = vec![];
    for (name, value) in expected.iter().filter(|(name, _)| !name.starts_with("error.")) {
        let torch = expected.expect(&format!("error.{name}"))?.item::<f64>()?;
        let distance = distance(results.values.expect(name)?, value)?;
        if !(dtype == DType::F64 && name.starts_with("buffer.")) {
            found.push((name, distance, torch));
        }
    }
    if let Some((extra, _)) = results.values.iter().find(|(name, _)| expected.get(name).is_none()) {
        return Err(Error::argument("compare", format!("PyTorch has no {extra}")));
    }
    let gradients = found.iter().filter(|(name, ..)| name.starts_with("gradient."));
    let all = norm(gradients.map(|(_, (_, size), _)| *size));
    // Some gradients are 0 but for rounding, as that of a bias of keys, which moves all scores of a query alike: theirs are
    // shares of the norm of all gradients.
    let row = |&(name, (ours, size), torch): &(&str, (f64, f64), f64)| {
        let size = if name.starts_with("gradient.") && size < ZERO * all { all } else { size };
        Row { name: name.to_owned(), ours: ours / size, torch: torch / size }
    };
    let mut rows: Vec<Row> = found.iter().map(row).collect();
    rows.sort_by(|a, b| b.ratio(dtype).total_cmp(&a.ratio(dtype)));
    println!("{:60} {:>10} {:>16} {:>6}", format!("{model} in {dtype}"), "ours", "PyTorch's in f32", "ratio");
    for row in rows.iter().take(5).chain(rows.iter().filter(|row| ["logits", "loss"].contains(&row.name.as_str()))) {
        println!("{:60} {:>10.2e} {:>16.2e} {:>6.2}", row.name, row.ours, row.torch, row.ratio(dtype));
    }
    let kind = |begin: &str| rows.iter().filter(|row| row.name.starts_with(begin)).collect::<Vec<_>>();
    for (what, some) in [("logits", kind("logits")), ("loss", kind("loss")), ("gradients", kind("gradient."))] {
        let worst = |of: &dyn Fn(&Row) -> f64| some.iter().map(|row| of(row)).fold(0.0, f64::max);
        let mut ratios: Vec<f64> = some.iter().map(|row| row.ratio(dtype)).collect();
        ratios.sort_by(f64::total_cmp);
        let row = [worst(&|r| r.ours), worst(&|r| r.torch), ratios[ratios.len() / 2], ratios[ratios.len() - 1]];
        let numbers = row.map(|v| format!("{v:.3e}")).join(" ");
        println!("compared: {model} {dtype} {what} {} {numbers}", some.len());
    }
    let parameters = params.all().len();
    if kind("gradient.").len() != parameters {
        let message = format!("{} gradients of {parameters} parameters", kind("gradient.").len());
        return Err(Error::argument("compare", message));
    }
    let bound = if dtype == DType::F64 { 16.0 } else { 4.0 };
    figure(&format!("largest ratio of errors, {dtype}"), rows[0].ratio(dtype), Wanted::AtMost(bound));
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
    let both = |device: Device| {
        run(word("model"), &folder, &device, DType::F32)?;
        if device.is_cpu() { run(word("model"), &folder, &device, DType::F64) } else { Ok(()) }
    };
    support::figures::exit(support::device(word("device")).and_then(both))
}
