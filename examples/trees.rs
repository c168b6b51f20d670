//! Boosted trees and a random forest on tables: what each objective reaches on rows that were held out.
//!
//! ```text
//! cargo xtask data adult diabetes
//! cargo run --release --example trees
//! ```
//!
//! A few seconds in all. Adult is the census of 1994 (who earns more than 50,000 dollars?), diabetes 442 patients with
//! the progress of their illness, digits the handwritten ones of `examples/data`; the queries to rank are made up. What is
//! wanted of each figure is what LightGBM reaches with the same settings (`cargo xtask trees` compares them and writes
//! `docs/trees.md`), less 0.001 of the AUC, 0.003 of accuracy and NDCG, three of the 360 digits, or one hundredth of an
//! RMSE; the forest is held to what boosting is.

#[path = "support/tree_export.rs"]
mod export;
mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use export::Export;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use support::fetched::folder;
use support::figures::{Wanted, exit, figure};
use support::tables::{Table, accuracy, auc, csv, digits, ndcg, number, queries, rmse};
use warpsmith::Result;
use warpsmith::trees::{
    BoostConfig, Boosted, Dart, Features, Forest, ForestConfig, Importance, LambdaRank, Objective, Target, TreeConfig,
    Unknown,
};

/// A model to train and what to measure: on one or more pairs of training and test rows.
struct Task {
    name: &'static str,
    model: Model,
    folds: Vec<(Table, Table)>,
    /// By name, from the predictions and the test rows of all folds.
    figures: Vec<(&'static str, Measure, Wanted)>,
}

/// A figure of predictions for test rows.
type Measure = fn(&[f64], &Table) -> Result<f64>;

enum Model {
    Boosted(BoostConfig),
    Forest(ForestConfig),
}

/// 100 rounds of trees with 31 leaves at a learning rate of 0.1.
fn boosted(objective: Objective) -> BoostConfig {
    let tree = TreeConfig { max_leaves: 31, min_data: 20, l2: 1.0, ..Default::default() };
    BoostConfig { tree, rounds: 100, learning_rate: 0.1, ..BoostConfig::new(objective) }
}

/// Smaller trees at a lower rate, for a few hundred rows.
fn small(objective: Objective) -> BoostConfig {
    let tree = TreeConfig { max_leaves: 8, min_data: 10, l2: 1.0, ..Default::default() };
    BoostConfig { tree, learning_rate: 0.05, ..boosted(objective) }
}

fn tasks(chosen: &[String]) -> Result<Vec<Task>> {
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let mut tasks = Vec::new();
    if wanted("adult") {
        let path = folder("adult")?.join("adult.csv");
        let table = csv(&path, "income", |text| Ok(if text == ">50K" { 1.0 } else { 0.0 }))?;
        // A country that one person came from may be among the test rows only.
        let model = Model::Boosted(BoostConfig { unknown: Unknown::Missing, ..boosted(Objective::Logistic) });
        let figures: Vec<(_, Measure, _)> =
            vec![("AUC", auc, Wanted::AtLeast(0.9265)), ("accuracy", accuracy, Wanted::AtLeast(0.871))];
        tasks.push(Task { name: "adult", model, folds: vec![table.split(0)?], figures });
    }
    if wanted("digits") {
        let folds = || Ok::<_, warpsmith::Error>(vec![digits()?]);
        let softmax = Model::Boosted(BoostConfig { rounds: 50, ..boosted(Objective::Softmax { classes: 10 }) });
        let figures: Vec<(_, Measure, _)> = vec![("accuracy", accuracy, Wanted::AtLeast(0.955))];
        tasks.push(Task { name: "digits", model: softmax, folds: folds()?, figures: figures.clone() });
        let forest = Model::Forest(ForestConfig::classification(10, 64));
        tasks.push(Task { name: "digits, forest", model: forest, folds: folds()?, figures });
    }
    if wanted("diabetes") {
        let path = folder("diabetes")?.join("diabetes.csv");
        let progress = csv(&path, "target", number)?;
        // Cross-entropy takes labels from 0 to 1: 350 is above the largest.
        let share = csv(&path, "target", |text| Ok(number(text)? / 350.0))?;
        let dart = BoostConfig { dart: Some(Dart::default()), learning_rate: 0.1, ..small(Objective::L2) };
        let figures = |wanted: f64| -> Vec<(_, Measure, _)> { vec![("RMSE", rmse, Wanted::AtMost(wanted))] };
        // Each fifth is held out once.
        let folds = |table: &Table| (0..5).map(|fold| table.split(fold)).collect::<Result<Vec<_>>>();
        let l2 = Model::Boosted(small(Objective::L2));
        tasks.push(Task { name: "diabetes", model: l2, folds: folds(&progress)?, figures: figures(58.1) });
        let dart = Model::Boosted(dart);
        tasks.push(Task { name: "diabetes, DART", model: dart, folds: folds(&progress)?, figures: figures(59.3) });
        let entropy = Model::Boosted(small(Objective::CrossEntropy));
        let name = "diabetes, cross-entropy";
        tasks.push(Task { name, model: entropy, folds: folds(&share)?, figures: figures(0.166) });
    }
    if wanted("ranking") {
        let model = Model::Boosted(boosted(Objective::LambdaRank(LambdaRank::default())));
        let folds = vec![(queries(1000, 1)?, queries(300, 2)?)];
        let figures: Vec<(_, Measure, _)> = vec![("NDCG@10", ndcg, Wanted::AtLeast(0.9446))];
        tasks.push(Task { name: "ranking", model, folds, figures });
    }
    Ok(tasks)
}

/// Predictions for the test rows, what to say about the model, and the seconds that training took.
fn train(model: &Model, training: &Table, test: &Features) -> Result<(Vec<f64>, String, f64)> {
    let target = match &training.groups {
        Some(groups) => Target::grouped(&training.labels, groups),
        None => Target::new(&training.labels),
    };
    let start = Instant::now();
    let (predictions, remark, importance, seconds) = match model {
        Model::Boosted(config) => {
            let model = Boosted::fit(&training.features, &target, config)?;
            let seconds = start.elapsed().as_secs_f64();
            let remark = format!("{} rounds", model.rounds());
            let names = model.importance(Importance::Gain).into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            (model.predict(test)?, remark, names, seconds)
        }
        Model::Forest(config) => {
            let model = Forest::fit(&training.features, &target, config)?;
            let seconds = start.elapsed().as_secs_f64();
            let score = model.out_of_bag_score().unwrap_or(f64::NAN);
            let remark = format!("{} trees, out-of-bag score {score:.4}", model.trees().len());
            let names = model.importance(Importance::Gain).into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            (model.predict(test)?, remark, names, seconds)
        }
    };
    let mut importance: Vec<(String, f64)> = importance;
    importance.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most: Vec<&str> = importance.iter().take(3).map(|(name, _)| name.as_str()).collect();
    Ok((predictions, format!("{remark}, {seconds:.2} s; most gain: {}", most.join(", ")), seconds))
}

fn run(args: &ArgMatches) -> Result<()> {
    let chosen: Vec<String> = args.get_many("tasks").map(|names| names.cloned().collect()).unwrap_or_default();
    let seed = args.get_one::<u64>("seed").copied().unwrap_or_default();
    let repeats = args.get_one::<usize>("repeats").copied().unwrap_or(1);
    let mut export = args.get_one::<PathBuf>("export").map(|folder| Export::new(folder)).transpose()?;
    for mut task in tasks(&chosen)? {
        match &mut task.model {
            Model::Boosted(config) => config.seed = seed,
            Model::Forest(config) => config.seed = seed,
        }
        let (mut predictions, mut tests, mut seconds) = (Vec::new(), Vec::new(), 0.0);
        for (training, test) in &task.folds {
            let (found, remark, mut time) = train(&task.model, training, &test.features)?;
            for _ in 1..repeats {
                time = time.min(train(&task.model, training, &test.features)?.2);
            }
            println!("{}: {} training rows, {remark}", task.name, training.labels.len());
            predictions.extend(found);
            tests.push(test);
            seconds += time;
        }
        let tests = Table::joined(&tests);
        let mut values = Vec::new();
        for (name, measure, wanted) in &task.figures {
            let value = measure(&predictions, &tests)?;
            values.push((*name, value));
            figure(&format!("{} {name}", task.name), value, *wanted);
        }
        if let Some(export) = &mut export {
            export.task(&task, seconds, &values)?;
        }
    }
    export.map_or(Ok(()), Export::finish)
}

fn main() -> ExitCode {
    let arg = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("VALUE").help(help);
    let command = Command::new("trees")
        .about("Boosted trees and a random forest on tables")
        .arg(arg("tasks", "of adult, digits, diabetes, ranking, by comma; all by default").value_delimiter(','))
        .arg(arg("seed", "of what is drawn at random").default_value("0").value_parser(value_parser!(u64)))
        .arg(
            arg("repeats", "train so often and take the shortest time")
                .default_value("1")
                .value_parser(value_parser!(usize)),
        )
        .arg(
            arg("export", "also write the data, settings and results into this folder, for `cargo xtask trees`")
                .value_parser(value_parser!(PathBuf)),
        );
    exit(run(&command.get_matches()))
}
