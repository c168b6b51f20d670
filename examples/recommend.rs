//! Who earns more than 50,000 a year? Models of clicks and recommendations on the Adult census set (48,842 people:
//! eight categories and six numbers): logistic regression, then each model that lets features meet, on the same
//! features.
//!
//! ```text
//! cargo xtask data adult
//! cargo run --release --example recommend
//! ```
//!
//! A model is trained until the area under the ROC curve (AUC) of the validation rows has not risen for three epochs,
//! and goes back to its best epoch; then the test rows are looked at, once. All models together take about a minute on
//! two cores.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::fetched;
use support::figures::{self, Wanted, figure};
use warpsmith::data::split::split_stratified;
use warpsmith::data::{Categories, CsvOptions, DataLoader, Standardiser, Subset, Table, TensorDataset, Unknown};
use warpsmith::models::recsys::{
    CtrModel, Dcn, DcnConfig, DeepConfig, DeepFfm, DeepFm, Ffm, Fm, LogisticRegression, WideAndDeep, XDeepFm,
};
use warpsmith::nn::{Ctx, FieldInput, Fields, Params, StateDict};
use warpsmith::optim::{AdaGrad, AdaGradConfig, Adam, AdamConfig, Ftrl, FtrlConfig, Joined, Optimizer};
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Error, Reduction, Result, Tensor, metrics, no_grad};

const MODELS: [&str; 9] = ["wide-deep", "fm", "ffm", "deepfm", "deepffm", "xdeepfm", "dcn", "dcn-v2", "dcn-mixture"];

const CATEGORIES: [&str; 8] =
    ["workclass", "education", "marital-status", "occupation", "relationship", "race", "gender", "native-country"];
const NUMBERS: [&str; 6] = ["age", "fnlwgt", "educational-num", "hours-per-week", "capital-gain", "capital-loss"];

/// Pairs that Wide & Deep's wide part remembers, by their place in CATEGORIES and, behind these, NUMBERS: education and
/// occupation, occupation and relationship, age and education, age and relationship, hours and occupation.
const CROSSES: [[usize; 2]; 5] = [[1, 3], [3, 4], [8, 1], [8, 4], [11, 3]];

/// Every number is a category too: which tenth of the training rows it belongs to.
const BUCKETS: usize = 10;

/// Epochs without a better AUC of the validation rows.
const PATIENCE: u64 = 3;

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("VALUE").default_value(default).help(help)
    };
    Command::new("recommend")
        .about("Click models on the Adult census set: each one's AUC beside logistic regression's")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(arg(
            "model",
            "all",
            "all, or one of wide-deep, fm, ffm, deepfm, deepffm, xdeepfm, dcn, dcn-v2, dcn-mixture",
        ))
        .arg(arg("epochs", "40", "passes over the training rows, at most").value_parser(value_parser!(u64).range(1..)))
        .arg(support::steps())
        .arg(arg("batch", "256", "rows per step").value_parser(value_parser!(usize)))
        .arg(arg("seed", "1", "of weights, shuffles and dropout").value_parser(value_parser!(u64)))
}

/// Rows of ids, numbers and answers (1: earns more), and who is in which part.
struct Adult {
    fields: Fields,
    rows: TensorDataset,
    training: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
}

fn adult() -> Result<Adult> {
    let table = Table::load_csv(fetched::folder("adult")?.join("adult.csv"), &CsvOptions::default())?;
    let rich: Vec<bool> = table.texts("income")?.iter().map(|text| text.as_deref() == Some(">50K")).collect();
    // The same parts for every seed: 70, 10 and 20 of a hundred.
    let parts = split_stratified(&rich, &[0.7, 0.1, 0.2], 0)?;
    let Ok([training, validation, test]) = <[Vec<usize>; 3]>::try_from(parts) else {
        return Err(Error::argument("split", "three parts are expected"));
    };
    // Everything that is fitted is fitted on the training rows: categories with one more id for what they lack,
    // quantiles, means and deviations.
    let known = table.take(&training)?;
    let (mut columns, mut sizes, mut numbers) = (vec![], vec![], vec![]);
    for name in CATEGORIES {
        let categories = Categories::fit(known.column(name)?).unknown(Unknown::Own);
        columns.push(categories.ids(table.column(name)?)?);
        sizes.push(categories.len());
    }
    for name in NUMBERS {
        // Of the two that are mostly 0 the logarithm, and quantiles of what is above.
        let rare = name.starts_with("capital");
        let number = |x: f64| if rare { x.ln_1p() } else { x };
        let values: Vec<f64> = table.numbers(name)?.into_iter().map(number).collect();
        let mut sorted: Vec<f64> = training.iter().map(|&row| values[row]).filter(|&x| !rare || x > 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = (0..BUCKETS).map(|tenth| sorted[tenth * sorted.len() / BUCKETS]).collect();
        edges.dedup();
        columns.push(values.iter().map(|x| edges.partition_point(|edge| edge <= x) as i64).collect());
        sizes.push(edges.len() + 1);
        numbers.push(Tensor::from_iter(values.iter().map(|&x| x as f32), &Device::Cpu)?);
    }
    let ids = columns.iter().map(|column| Tensor::from_slice(column, column.len(), &Device::Cpu));
    let ids = Tensor::stack(&ids.collect::<Result<Vec<_>>>()?, 1)?;
    let numbers = Tensor::stack(&numbers, 1)?;
    let of_training = Tensor::from_iter(training.iter().map(|&row| row as i64), &Device::Cpu)?;
    let numbers = Standardiser::fit(&numbers.index_select(0, &of_training)?)?.transform(&numbers)?;
    let answers = Tensor::from_iter(rich.iter().map(|&rich| f32::from(u8::from(rich))), &Device::Cpu)?;
    let fields = Fields { sizes, numbers: NUMBERS.len() };
    Ok(Adult { fields, rows: TensorDataset::new(&[ids, numbers, answers])?, training, validation, test })
}

/// A model, and the optimizer that trains it.
fn model(name: &str, fields: &Fields, params: &Params) -> Result<(Box<dyn CtrModel>, Box<dyn Optimizer>)> {
    let deep = DeepConfig { width: 8, hidden: vec![64, 64], dropout: 0.2, std: 0.05 };
    // Field-aware vectors are many; they are narrow.
    let aware = DeepConfig { width: 4, ..deep.clone() };
    let model: Box<dyn CtrModel> = match name {
        "logistic regression" => Box::new(LogisticRegression::new(params, fields)?),
        "wide-deep" => {
            let model = WideAndDeep::new(params, fields, &CROSSES, &deep)?;
            let wide = FtrlConfig { l1: 1e-4, ..FtrlConfig::new(0.1) };
            let wide = Ftrl::new(params.sub("wide").trainable(), wide)?;
            let deep = AdaGrad::new(params.sub("deep").trainable(), AdaGradConfig::new(0.02))?;
            let both = Joined::new(vec![("wide", Box::new(wide)), ("deep", Box::new(deep))])?;
            return Ok((Box::new(model), Box::new(both)));
        }
        "fm" => Box::new(Fm::new(params, fields, deep.width, deep.std)?),
        "ffm" => Box::new(Ffm::new(params, fields, aware.width, aware.std)?),
        "deepfm" => Box::new(DeepFm::new(params, fields, &deep)?),
        "deepffm" => Box::new(DeepFfm::new(params, fields, &aware)?),
        "xdeepfm" => Box::new(XDeepFm::new(params, fields, &[16, 16], &deep)?),
        "dcn" => Box::new(Dcn::new(params, fields, &DcnConfig::dcn(2, deep))?),
        "dcn-v2" => Box::new(Dcn::new(params, fields, &DcnConfig::v2(2, deep))?),
        "dcn-mixture" => Box::new(Dcn::new(params, fields, &DcnConfig::mixture(2, 16, 4, deep))?),
        _ => return Err(Error::argument("--model", format!("expected all or one of {MODELS:?}, got {name}"))),
    };
    Ok((model, Box::new(Adam::new(params.trainable(), AdamConfig { lr: 2e-3, ..Default::default() })?)))
}

fn input(batch: &[Tensor]) -> FieldInput {
    FieldInput { ids: batch[0].clone(), numbers: Some(batch[1].clone()) }
}

/// The AUC of some rows.
fn auc(model: &dyn CtrModel, rows: &DataLoader) -> Result<f64> {
    let (mut scores, mut labels) = (vec![], vec![]);
    for batch in rows.epoch(0) {
        let batch = batch?;
        scores.extend(no_grad(|| model.forward(&input(&batch), &mut Ctx::infer()))?.to_f64_vec()?);
        labels.extend(batch[2].to_f64_vec()?.into_iter().map(|answer| answer == 1.0));
    }
    metrics::auc(&scores, &labels)
}

/// Trains a model; returns the AUC of the test rows with the weights of its best epoch, if none told it to stop before.
fn train(name: &str, data: &Adult, args: &ArgMatches) -> Result<Option<f64>> {
    let device = support::device(args.get_one::<String>("device").map(String::as_str).unwrap_or_default())?;
    let seed = args.get_one::<u64>("seed").copied().unwrap_or_default();
    let epochs = args.get_one::<u64>("epochs").copied().unwrap_or_default();
    let batch = args.get_one::<usize>("batch").copied().unwrap_or_default();
    let part = |rows: &[usize], batch: usize| {
        let rows = Subset::new(data.rows.clone(), rows.to_vec())?;
        Ok::<_, Error>(DataLoader::new(rows, batch).device(&device))
    };
    let training = part(&data.training, batch)?.shuffle(seed);
    let (validation, test) = (part(&data.validation, 4096)?, part(&data.test, 4096)?);

    let params = Params::new(&device, DType::F32, seed);
    let (model, mut optimizer) = model(name, &data.fields, &params)?;
    let mut ctx = Ctx::train(seed);
    let (mut best, mut best_epoch, mut weights) = (0.0, 0, StateDict::new());
    let steps = training.batches_per_epoch() as u64;
    let mut progress = Progress::new(epochs * steps, 0, "rows");
    for epoch in 0..epochs {
        for (step, batch) in (epoch * steps + 1..).zip(training.epoch(epoch)) {
            let batch = batch?;
            let logits = model.forward(&input(&batch), &mut ctx)?;
            let loss = logits.bce_with_logits(&batch[2], None, Reduction::Mean)?;
            optimizer.step(&loss.backward()?)?;
            let message = format!("{name}: epoch {epoch}, best AUC {best:.4}");
            progress.step(step, &message, batch[2].numel());
            if support::stops(args, step, &progress) {
                return Ok(None);
            }
        }
        let found = auc(&*model, &validation)?;
        if found > best {
            (best, best_epoch, weights) = (found, epoch, params.state_dict()?);
        } else if epoch - best_epoch == PATIENCE {
            break;
        }
    }
    params.load_state_dict(&weights, "the best epoch's weights")?;
    let test = auc(&*model, &test)?;
    let (n, epoch) = (params.numel(), best_epoch + 1);
    progress.line(&format!("{name}: {n} parameters, validation AUC {best:.5} after epoch {epoch}, test AUC {test:.5}"));
    progress.finish();
    Ok(Some(test))
}

fn run(args: &ArgMatches) -> Result<()> {
    let asked = args.get_one::<String>("model").map(String::as_str).unwrap_or_default();
    let models: Vec<&str> = if asked == "all" { MODELS.to_vec() } else { vec![asked] };
    let data = adult()?;
    let [training, validation, test] = [&data.training, &data.validation, &data.test].map(Vec::len);
    println!(
        "{training} training, {validation} validation and {test} test rows, fields of {:?} ids",
        data.fields.sizes
    );
    let baseline = train("logistic regression", &data, args)?;
    let found = models.iter().map(|name| train(name, &data, args)).collect::<Result<Vec<_>>>()?;
    let Some(baseline) = baseline else { return Ok(()) };
    println!("the AUC of logistic regression is {baseline:.5}");
    for (name, auc) in models.iter().zip(found) {
        if let Some(auc) = auc {
            figure(&format!("test AUC of {name}"), auc, Wanted::Above(baseline));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
