//! `cargo xtask models`: runs the examples that train, holds each to its figures, and writes docs/models.md and the
//! table in the README.

use crate::support::{cargo, line, processor, root, target};
use crate::{Task, data, support};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

const PAGE: &str = "docs/models.md";
const README: &str = "README.md";
/// Around the README's table.
const MARKS: [&str; 2] = ["<!-- models -->\n", "<!-- /models -->"];

/// An example as the table runs it.
struct Model {
    /// The row's name, and what `cargo xtask models NAME` takes.
    name: &'static str,
    example: &'static str,
    arguments: &'static [&'static str],
    what: &'static str,
    /// Sets that `cargo xtask data` fetches first.
    data: &'static [&'static str],
    when: When,
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    /// In seconds: also in `cargo xtask test`.
    Quick,
    /// In minutes.
    Whole,
    /// In more than that: only when it is named, or with `--long`.
    Long,
}

const fn model(name: &'static str, what: &'static str, data: &'static [&'static str], when: When) -> Model {
    Model { name, example: name, arguments: &[], what, data, when }
}

const MODELS: &[Model] = &[
    model("gradient_descent", "y = w·x by hand: one weight, autograd", &[], When::Quick),
    model("derivative", "a derivative by shrinking steps and by autograd", &[], When::Quick),
    model("likelihood", "maximum likelihood; densities and entropies", &[], When::Quick),
    model("linear_regression", "closed form, full batch, stochastic, mini-batch", &["diabetes"], When::Quick),
    model("classifiers", "perceptron, logistic and softmax regression", &["breast-cancer", "titanic"], When::Quick),
    model("mlp", "over-fitting shown, and cured by dropout and weight decay", &[], When::Quick),
    model("nearest_neighbours", "k nearest neighbours by one matrix product and top-k", &[], When::Quick),
    model("lenet", "a convolutional network with max pooling on MNIST", &["mnist-5k"], When::Whole),
    model("rnn", "Elman network, LSTM and GRU read sentences", &["sentiment"], When::Whole),
    model("train_resnet", "ResNet-20 on handwritten digits", &[], When::Whole),
    Model {
        name: "train_resnet_fashion",
        example: "train_resnet",
        arguments: &["--data", "fashion-mnist", "--epochs", "7"],
        what: "ResNet-20 on Fashion-MNIST in seven epochs",
        data: &["fashion-mnist"],
        when: When::Long,
    },
    model("train_gpt", "a Transformer writes like Shakespeare", &[], When::Long),
    model("train_transformer", "encoder and decoder with sinusoidal positions, on sequences", &[], When::Whole),
    model("train_bert", "masked-LM pre-training, then fine-tuning", &["sentiment"], When::Whole),
    model("train_multimodal", "ERNIE-M + ResNet-101 on images with text", &[], When::Whole),
    model("dssm", "two towers: recall@10 against popularity", &["womens-reviews"], When::Quick),
    model(
        "recommend",
        "Wide & Deep, FM, FFM, DeepFM, xDeepFM, DCN against logistic regression",
        &["adult"],
        When::Whole,
    ),
    model("trees", "boosted trees, random forest, DART, LambdaRank", &["adult", "diabetes"], When::Quick),
];

pub const TASK: Task = Task {
    command: || {
        clap::Command::new("models")
            .about("Run the examples that train, hold each to its figures, write docs/models.md and the README's table")
            .arg(Arg::new("names").value_name("NAME").action(ArgAction::Append).help("Only these rows"))
            .arg(flag("quick", "Only those that take seconds, built as tests are; writes nothing"))
            .arg(flag("long", "Also those that take more than some minutes"))
    },
    run,
};

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A line that an example printed: `figure: NAME = VALUE (wanted: WANTED): reached`.
#[derive(Debug, PartialEq)]
struct Figure {
    name: String,
    value: String,
    wanted: String,
    reached: bool,
}

impl Figure {
    fn read(line: &str) -> Option<Figure> {
        let (name, rest) = line.strip_prefix("figure: ")?.rsplit_once(" = ")?;
        let (value, rest) = rest.split_once(" (wanted: ")?;
        let (wanted, word) = rest.rsplit_once("): ")?;
        Some(Figure { name: name.into(), value: value.into(), wanted: wanted.into(), reached: word == "reached" })
    }
}

fn run(arguments: &ArgMatches) -> Result<()> {
    let names: Vec<&String> = arguments.get_many("names").unwrap_or_default().collect();
    if let Some(name) = names.iter().find(|name| !MODELS.iter().any(|model| model.name == ***name)) {
        let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        bail!("no row is called {name}; there are {known:?}");
    }
    if arguments.get_flag("quick") {
        return quick();
    }
    let long = arguments.get_flag("long");
    let wanted = |model: &&Model| match &names[..] {
        [] => long || model.when != When::Long,
        some => some.iter().any(|name| *name == model.name),
    };
    let wanted: Vec<&Model> = MODELS.iter().filter(wanted).collect();
    RELEASE.examples(&wanted)?;
    let mut rows = Rows::read()?;
    let mut missed = vec![];
    for model in wanted {
        missed.extend(one(model, &RELEASE, &mut rows)?);
        rows.write()?;
    }
    finish(&missed)
}

/// The rows that take seconds, in the profile that tests are built with, so that CI builds nothing for them.
pub fn quick() -> Result<()> {
    let quick: Vec<&Model> = MODELS.iter().filter(|model| model.when == When::Quick).collect();
    TEST.examples(&quick)?;
    let mut missed = vec![];
    for model in quick {
        missed.extend(one(model, &TEST, &mut Rows::default())?);
    }
    finish(&missed)
}

fn finish(missed: &[String]) -> Result<()> {
    if missed.is_empty() {
        return Ok(());
    }
    bail!("not reached: {}", missed.join("; "))
}

/// How examples are built: what cargo is told, and where it puts them.
struct Build {
    arguments: &'static [&'static str],
    folder: &'static str,
}

const RELEASE: Build = Build { arguments: &["--release", "--package", "warpsmith"], folder: "release" };
/// As `cargo xtask test` builds its tests, so that nothing but the examples themselves is left to compile.
const TEST: Build = Build { arguments: &["--profile", "test", "--workspace", "--all-features"], folder: "debug" };

impl Build {
    /// Builds the examples of these rows, all at once.
    fn examples(&self, models: &[&Model]) -> Result<()> {
        let mut command = cargo(&["build", "--quiet"]);
        command.args(self.arguments).args(models.iter().flat_map(|model| ["--example", model.example]));
        support::run(&mut command)
    }
}

/// Runs one example, showing what it prints; gives the figures it missed.
fn one(model: &Model, build: &Build, rows: &mut Rows) -> Result<Vec<String>> {
    model.data.iter().try_for_each(|name| data::fetch_named(name))?;
    let mut command = Command::new(target().join(build.folder).join("examples").join(model.example));
    command.current_dir(root()).args(model.arguments).stdout(Stdio::piped());
    println!("\n== {}\n{}", model.name, line(&command));
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("`{}` does not start", line(&command)))?;
    let mut figures = vec![];
    for text in BufReader::new(child.stdout.take().context("the example's output")?).lines() {
        let text = text.context("reading what the example prints")?;
        println!("{text}");
        figures.extend(Figure::read(&text));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed ({status})", model.name);
    }
    if figures.is_empty() {
        bail!("{} printed no figure", model.name);
    }
    let missed = figures.iter().filter(|figure| !figure.reached);
    let missed =
        missed.map(|figure| format!("{}: {} = {}, wanted {}", model.name, figure.name, figure.value, figure.wanted));
    let missed = missed.collect();
    rows.put(model, &figures, started.elapsed().as_secs_f64());
    Ok(missed)
}

/// The table's lines by row, as they stand in the page.
#[derive(Default)]
struct Rows {
    lines: BTreeMap<String, Vec<String>>,
}

impl Rows {
    fn read() -> Result<Rows> {
        let page = root().join(PAGE);
        let text = if page.exists() {
            fs::read_to_string(&page).with_context(|| format!("reading {PAGE}"))?
        } else {
            String::new()
        };
        let mut rows = Rows::default();
        for line in text.lines() {
            let name = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
            if let Some(name) = name.filter(|name| MODELS.iter().any(|model| model.name == *name)) {
                rows.lines.entry(name.to_owned()).or_default().push(line.to_owned());
            }
        }
        Ok(rows)
    }

    fn put(&mut self, model: &Model, figures: &[Figure], seconds: f64) {
        let lines = figures.iter().enumerate().map(|(index, figure)| {
            let time = if index == 0 { duration(seconds) } else { String::new() };
            let word = if figure.reached { "yes" } else { "**no**" };
            let Figure { name, value, wanted, .. } = figure;
            format!("| `{}` | {name} | {value} | {wanted} | {word} | {time} |", model.name)
        });
        self.lines.insert(model.name.into(), lines.collect());
    }

    fn write(&self) -> Result<()> {
        let mut page = format!(
            "# What the examples reach\n\nWritten by `cargo xtask models`: every example in its default setting, seed 1, on {}. `cargo run\n\
             --release --example NAME -- --help` shows what each takes. Times include start and evaluation.\n\n\
             | example | figure | value | wanted | reached | time |\n|---|---|---:|---|---|---:|\n",
            processor()
        );
        let mut table = String::from("| example | what it shows | figure |\n|---|---|---|\n");
        for model in MODELS {
            let Some(lines) = self.lines.get(model.name) else { continue };
            lines.iter().for_each(|line| page += &format!("{line}\n"));
            let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split(" | ").collect()).collect();
            let shown: Vec<String> = cells.iter().take(2).map(|cells| format!("{} = {}", cells[1], cells[2])).collect();
            let arguments = model.arguments.join(" ");
            let command = [model.example, &arguments].join(" ");
            let figures = shown.join(", ") + if cells.len() > 2 { ", …" } else { "" };
            table += &format!("| `{}` | {} | {figures} |\n", command.trim_end(), model.what);
        }
        fs::write(root().join(PAGE), page).with_context(|| format!("writing {PAGE}"))?;
        let readme = fs::read_to_string(root().join(README)).with_context(|| format!("reading {README}"))?;
        let parts = readme.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
        let Some((before, after)) = parts else { bail!("{README} has no {} … {}", MARKS[0].trim_end(), MARKS[1]) };
        let readme = format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1]);
        fs::write(root().join(README), readme).with_context(|| format!("writing {README}"))
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
}

#[cfg(test)]
mod check {
    use super::Figure;

    #[test]
    fn figures_are_read_from_what_examples_print() {
        let figure = |name: &str, value: &str, wanted: &str, reached| {
            Some(Figure { name: name.into(), value: value.into(), wanted: wanted.into(), reached })
        };
        let line = "figure: test accuracy = 0.9917 (wanted: at least 0.98): reached";
        assert_eq!(Figure::read(line), figure("test accuracy", "0.9917", "at least 0.98", true));
        let line = "figure: w = 1.9 (wanted: 2 ± 0.001): missed";
        assert_eq!(Figure::read(line), figure("w", "1.9", "2 ± 0.001", false));
        assert_eq!(Figure::read("epoch 1: loss 0.3"), None);
    }
}
