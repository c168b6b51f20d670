//! Two towers that find clothes from what was written about them: the deep structured semantic model on 23,486 reviews
//! of women's clothing. A query is a review (its words, the reviewer's age and rating), an item is one of the 1,206
//! pieces (its number, class, department and division).
//!
//! ```text
//! cargo xtask data womens-reviews
//! cargo run --release --example dssm
//! ```
//!
//! Figure: in what share of the held-out reviews the piece is among the ten that the towers rank first, beside the
//! share for the ten most popular pieces. The model that ranked the validation reviews best is asked once. About half
//! a minute on two cores.

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::fetched;
use support::figures::{self, Wanted, figure};
use warpsmith::data::split::split;
use warpsmith::data::{
    Categories, Column, CsvOptions, DataLoader, Subset, Table, TensorDataset, Unknown, Words, WordsConfig,
};
use warpsmith::models::recsys::{Dssm, DssmConfig, TowerConfig, TowerInput};
use warpsmith::nn::{Ctx, Params, StateDict};
use warpsmith::optim::{Adam, AdamConfig, Optimizer};
use warpsmith::train::Progress;
use warpsmith::{DType, Device, Error, Result, Tensor, metrics, no_grad};

/// Words of a review that count, from its beginning.
const LENGTH: usize = 100;
/// Epochs without a better recall of the validation reviews.
const PATIENCE: u64 = 3;
/// How many pieces are looked at.
const K: usize = 10;

fn command() -> Command {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("VALUE").default_value(default).help(help)
    };
    Command::new("dssm")
        .about("Two towers on reviews of clothing: recall@10 beside popularity's")
        .arg(arg("device", "cpu", support::DEVICES))
        .arg(
            arg("epochs", "20", "passes over the training reviews, at most")
                .value_parser(value_parser!(u64).range(1..)),
        )
        .arg(support::steps())
        .arg(arg("batch", "256", "reviews per step").value_parser(value_parser!(usize)))
        .arg(arg("temperature", "0.07", "what cosines are divided by").value_parser(value_parser!(f64)))
        .arg(arg("seed", "1", "of weights, shuffles and dropout").value_parser(value_parser!(u64)))
}

/// Reviews: words (T), reviewer's fields, and the number of the piece.
struct Reviews {
    rows: TensorDataset,
    training: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
    words: usize,
    query_fields: Vec<usize>,
    /// (pieces, fields): each piece's own number, class, department and division.
    pieces: Tensor,
    piece_fields: Vec<usize>,
    /// How often each piece occurs in the training reviews.
    counts: Vec<usize>,
}

/// Ids of a column's values; those that the training rows lack have one of their own.
fn ids(table: &Table, known: &Table, name: &str) -> Result<(Vec<i64>, usize)> {
    let categories = Categories::fit(known.column(name)?).unknown(Unknown::Own);
    Ok((categories.ids(table.column(name)?)?, categories.len()))
}

fn reviews() -> Result<Reviews> {
    let mut table = Table::load_csv(fetched::folder("womens-reviews")?.join("reviews.csv"), &CsvOptions::default())?;
    let decades = table.integers("Age")?.into_iter().map(|age| Some(age / 10)).collect();
    table.push("Decade", Column::Integers(decades))?;
    let (titles, texts) = (table.texts("Title")?, table.texts("Review Text")?);
    let text = |row: usize| [&titles[row], &texts[row]].map(|text| text.clone().unwrap_or_default()).join(" ");
    // The same parts for every seed.
    let Ok([training, validation, test]) = <[Vec<usize>; 3]>::try_from(split(table.rows(), &[0.8, 0.1, 0.1], 0)?)
    else {
        return Err(Error::argument("split", "three parts are expected"));
    };
    let known = table.take(&training)?;

    let config = WordsConfig { marks: false, min_count: 3, ..WordsConfig::default() };
    let words = Words::of(training.iter().map(|&row| text(row)), &config);
    let mut encoded = vec![Words::PADDING; table.rows() * LENGTH];
    for (row, out) in encoded.chunks_exact_mut(LENGTH).enumerate() {
        out.iter_mut().zip(words.encode(&text(row))).for_each(|(out, word)| *out = word);
    }
    let (mut query, mut query_fields) = (vec![], vec![]);
    for name in ["Decade", "Rating"] {
        let (ids, size) = ids(&table, &known, name)?;
        query.push(Tensor::from_vec(ids, table.rows(), &Device::Cpu)?);
        query_fields.push(size);
    }

    // A piece that only held-out reviews are of has the last number: no ranking finds it.
    let (piece, count) = ids(&table, &known, "Clothing ID")?;
    let mut counts = vec![0; count];
    training.iter().for_each(|&row| counts[piece[row] as usize] += 1);
    let (mut pieces, mut piece_fields) = (vec![(0..count as i64).collect::<Vec<i64>>()], vec![count]);
    for name in ["Class Name", "Department Name", "Division Name"] {
        let (ids, size) = ids(&table, &known, name)?;
        let mut of_piece = vec![size as i64 - 1; count];
        training.iter().for_each(|&row| of_piece[piece[row] as usize] = ids[row]);
        pieces.push(of_piece);
        piece_fields.push(size);
    }
    let pieces = pieces.into_iter().map(|column| Tensor::from_vec(column, count, &Device::Cpu));
    let rows = [
        Tensor::from_vec(encoded, [table.rows(), LENGTH], &Device::Cpu)?,
        Tensor::stack(&query, 1)?,
        Tensor::from_vec(piece, table.rows(), &Device::Cpu)?,
    ];
    Ok(Reviews {
        rows: TensorDataset::new(&rows)?,
        training,
        validation,
        test,
        words: words.len(),
        query_fields,
        pieces: Tensor::stack(&pieces.collect::<Result<Vec<_>>>()?, 1)?,
        piece_fields,
        counts,
    })
}

fn query(batch: &[Tensor]) -> TowerInput {
    TowerInput { words: Some(batch[0].clone()), ids: Some(batch[1].clone()) }
}

/// The share of reviews whose piece is among the first [`K`] by score: with one right piece per review, recall@k.
fn recall(model: &Dssm, pieces: &Tensor, reviews: &DataLoader) -> Result<f64> {
    let mut out = metrics::Running::default();
    no_grad(|| {
        let ctx = &mut Ctx::infer();
        let vectors = model.item.forward(&TowerInput { ids: Some(pieces.clone()), words: None }, ctx)?;
        // The last number is of no piece.
        let vectors = vectors.narrow(0, 0, pieces.dim(0)? - 1)?;
        for batch in reviews.epoch(0) {
            let batch = batch?;
            let scores = model.scores(&model.query.forward(&query(&batch), ctx)?, &vectors)?;
            let scores = scores.pad(&[(0, 0), (0, 1)], f64::NEG_INFINITY)?;
            out.add_batch(metrics::top_k_accuracy(&scores, &batch[2], K)?, batch[2].numel());
        }
        Ok(out.mean().unwrap_or_default())
    })
}

/// The same for the pieces with the most training reviews.
fn popularity(data: &Reviews) -> Result<f64> {
    let pieces = data.counts.len();
    let counts = Tensor::from_iter(data.counts.iter().map(|&n| n as f32), &Device::Cpu)?;
    let last = Tensor::from_slice(&[f32::NEG_INFINITY], 1, &Device::Cpu)?;
    let counts = Tensor::cat(&[counts.narrow(0, 0, pieces - 1)?, last], 0)?;
    let labels = data.rows.tensors()[2].to_vec::<i64>()?;
    let labels = Tensor::from_iter(data.test.iter().map(|&row| labels[row]), &Device::Cpu)?;
    metrics::top_k_accuracy(&counts.expand([labels.numel(), pieces])?, &labels, K)
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map(String::as_str).unwrap_or_default())?;
    let seed = args.get_one::<u64>("seed").copied().unwrap_or_default();
    let epochs = args.get_one::<u64>("epochs").copied().unwrap_or_default();
    let batch = args.get_one::<usize>("batch").copied().unwrap_or_default();
    let data = reviews()?;
    let [n, m, t] = [&data.training, &data.validation, &data.test].map(Vec::len);
    println!("{n} training, {m} validation and {t} test reviews of {} pieces", data.counts.len() - 1);

    let params = Params::new(&device, DType::F32, seed);
    let tower = TowerConfig { width: 64, hidden: vec![128], dropout: 0.2, ..TowerConfig::default() };
    let config = DssmConfig {
        query: TowerConfig { words: Some(data.words), fields: data.query_fields.clone(), ..tower.clone() },
        item: TowerConfig { fields: data.piece_fields.clone(), ..tower },
        outputs: 64,
        temperature: args.get_one::<f64>("temperature").copied().unwrap_or_default(),
    };
    let model = Dssm::new(&params, &config)?;
    let mut optimizer = Adam::new(params.trainable(), AdamConfig { lr: 2e-3, ..AdamConfig::default() })?;
    println!("{} parameters, {} words", params.numel(), data.words);

    let part = |rows: &[usize], batch: usize| {
        let rows = Subset::new(data.rows.clone(), rows.to_vec())?;
        Ok::<_, Error>(DataLoader::new(rows, batch).device(&device))
    };
    let training = part(&data.training, batch)?.shuffle(seed).drop_last(true);
    let (validation, test) = (part(&data.validation, 512)?, part(&data.test, 512)?);
    let pieces = data.pieces.to_device(&device)?;
    // A piece is a negative as often as it is reviewed; the loss makes up for it.
    let logs = data.counts.iter().map(|&count| (count.max(1) as f32 / n as f32).ln());
    let logs = Tensor::from_iter(logs, &device)?;

    let mut ctx = Ctx::train(seed);
    let (mut best, mut best_epoch, mut weights) = (0.0, 0, StateDict::new());
    let steps = training.batches_per_epoch() as u64;
    let mut progress = Progress::new(epochs * steps, 0, "reviews");
    for epoch in 0..epochs {
        for (step, batch) in (epoch * steps + 1..).zip(training.epoch(epoch)) {
            let batch = batch?;
            let queries = model.query.forward(&query(&batch), &mut ctx)?;
            let own = TowerInput { ids: Some(pieces.index_select(0, &batch[2])?), words: None };
            let items = model.item.forward(&own, &mut ctx)?;
            let frequency = logs.index_select(0, &batch[2])?;
            let loss = model.loss(&queries, &items, &batch[2], Some(&frequency))?;
            optimizer.step(&loss.backward()?)?;
            let message = format!("epoch {epoch}, best validation recall {best:.4}");
            progress.step(step, &message, batch[2].numel());
            if support::stops(args, step, &progress) {
                return Ok(());
            }
        }
        let found = recall(&model, &pieces, &validation)?;
        progress.line(&format!("epoch {}: validation recall@{K} {found:.4}", epoch + 1));
        if found > best {
            (best, best_epoch, weights) = (found, epoch, params.state_dict()?);
        } else if epoch - best_epoch == PATIENCE {
            break;
        }
    }
    progress.finish();
    params.load_state_dict(&weights, "the best epoch's weights")?;
    let popular = popularity(&data)?;
    println!("recall@{K} of the most popular pieces: {popular:.5}");
    figure(&format!("recall@{K}"), recall(&model, &pieces, &test)?, Wanted::Above(popular));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
