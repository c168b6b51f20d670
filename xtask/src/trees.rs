//! `cargo xtask trees`: the tasks of `examples/trees.rs` in warpsmith, LightGBM, XGBoost and scikit-learn, with the same
//! rows and settings, in interleaved rounds.

use crate::support::{cargo, median, output, processor, root, run as run_command, target};
use crate::{Task, data};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process;

const PACKAGES: [&str; 4] = ["lightgbm==4.7.0", "numpy", "scikit-learn==1.9.1", "xgboost-cpu==3.2.0"];
const PAGE: &str = "docs/trees.md";

pub const TASK: Task = Task {
    command: || {
        let number = |name: &'static str, default: &'static str, help: &'static str| {
            Arg::new(name).long(name).default_value(default).value_parser(value_parser!(usize)).help(help)
        };
        Command::new("trees")
            .about("Compare boosted trees and forests with LightGBM, XGBoost and scikit-learn; writes docs/trees.md")
            .arg(number("rounds", "5", "Interleaved rounds: each runs every system once"))
            .arg(number("repeats", "3", "Trainings in a round, of which the shortest counts"))
            .arg(number("threads", "2", "Threads of each system"))
    },
    run,
};

/// The systems by the name that `peers/trees/bench.py` takes, and as the page calls them; the first is this library.
const SYSTEMS: [(&str, &str); 4] =
    [("warpsmith", "warpsmith"), ("lightgbm", "LightGBM"), ("xgboost", "XGBoost"), ("sklearn", "scikit-learn")];

/// One task of one system.
#[derive(Clone)]
struct Outcome {
    name: String,
    /// The figures of the first round; later ones repeat it.
    figures: Vec<(String, f64)>,
    /// Of each round.
    seconds: Vec<f64>,
}

fn run(arguments: &ArgMatches) -> Result<()> {
    let number = |name: &str, least: usize| arguments.get_one(name).copied().unwrap_or(least).max(1);
    let (rounds, repeats, threads) = (number("rounds", 5), number("repeats", 3), number("threads", 2));
    ["adult", "diabetes"].into_iter().try_for_each(data::fetch_named)?;
    run_command(&mut cargo(&["build", "--release", "--example", "trees"]))?;
    let python = python()?;
    let folder = target().join("trees/tasks");
    let mut found: [Vec<Outcome>; SYSTEMS.len()] = Default::default();
    for round in 0..rounds {
        // The first system of the first round writes what the others read; later rounds begin with another one.
        for i in 0..SYSTEMS.len() {
            let place = (i + round) % SYSTEMS.len();
            let outcomes = match SYSTEMS[place].0 {
                "warpsmith" => ours(&folder, repeats, threads)?,
                peer => peers(&python, peer, &folder, repeats, threads)?,
            };
            for outcome in outcomes {
                println!("round {round} {:12} {:24} {:8.3} s", SYSTEMS[place].1, outcome.name, outcome.seconds[0]);
                match found[place].iter_mut().find(|known| known.name == outcome.name) {
                    Some(known) => known.seconds.extend(outcome.seconds),
                    None => found[place].push(outcome),
                }
            }
        }
    }
    let path = root().join(PAGE);
    std::fs::write(&path, page(&found, rounds, repeats, threads))
        .with_context(|| format!("writing {}", path.display()))?;
    println!("wrote {PAGE}");
    Ok(())
}

fn python() -> Result<PathBuf> {
    let folder = target().join("trees/venv");
    let (python, marker) = (folder.join("bin/python"), folder.join("installed"));
    let packages = PACKAGES.join(" ");
    if std::fs::read_to_string(&marker).is_ok_and(|known| known == packages) {
        return Ok(python);
    }
    println!("Installing {packages} from PyPI into {}", folder.display());
    output(process::Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    output(process::Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    std::fs::write(&marker, packages).with_context(|| format!("writing {}", marker.display()))?;
    Ok(python)
}

fn ours(folder: &Path, repeats: usize, threads: usize) -> Result<Vec<Outcome>> {
    let mut command = process::Command::new(target().join("release/examples/trees"));
    command.arg("--export").arg(folder).args(["--repeats", &repeats.to_string()]);
    output(command.current_dir(root()).env("RAYON_NUM_THREADS", threads.to_string()))?;
    let path = folder.join("tasks.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let tasks: Vec<Value> = serde_json::from_str(&text)?;
    tasks.iter().map(outcome).collect()
}

fn peers(python: &Path, system: &str, folder: &Path, repeats: usize, threads: usize) -> Result<Vec<Outcome>> {
    let mut command = process::Command::new(python);
    command.args(["-W", "ignore"]).arg(root().join("peers/trees/bench.py")).arg(system).arg(folder);
    let text = output(command.args([threads.to_string(), repeats.to_string()]))?;
    text.lines().filter(|line| line.starts_with('{')).map(|line| outcome(&serde_json::from_str(line)?)).collect()
}

fn outcome(task: &Value) -> Result<Outcome> {
    let figure = |pair: &Value| {
        let name = pair[0].as_str().context("a figure without a name")?;
        Ok((name.to_owned(), pair[1].as_f64().context("a figure without a value")?))
    };
    Ok(Outcome {
        name: task["name"].as_str().context("a task without a name")?.to_owned(),
        figures: task["figures"]
            .as_array()
            .context("a task without figures")?
            .iter()
            .map(figure)
            .collect::<Result<_>>()?,
        seconds: vec![task["seconds"].as_f64().context("a task without a time")?],
    })
}

fn page(found: &[Vec<Outcome>; SYSTEMS.len()], rounds: usize, repeats: usize, threads: usize) -> String {
    let mut text = format!(
        "# Trees\n\nWritten by `cargo xtask trees`: the tasks of `examples/trees.rs` with the same rows and settings (see \
         `peers/trees/bench.py`) in {}. Seconds of training from a table in memory, binning included: the median of \
         {rounds} interleaved rounds of the shortest of {repeats}, {threads} threads, on {}. In brackets the ratio of \
         warpsmith's time to the peer's, round by round: the median, the smallest and the largest.\n\n",
        PACKAGES.join(", "),
        processor()
    );
    text += "| task | figure |";
    SYSTEMS.iter().for_each(|(_, name)| text += &format!(" {name} |"));
    SYSTEMS.iter().for_each(|(_, name)| text += &format!(" {name}, s |"));
    text += &format!("\n|---|---|{}\n", "---:|".repeat(2 * SYSTEMS.len()));
    for own in &found[0] {
        let all: Vec<Option<&Outcome>> =
            found.iter().map(|outcomes| outcomes.iter().find(|outcome| outcome.name == own.name)).collect();
        for (at, (figure, _)) in own.figures.iter().enumerate() {
            text += &format!("| {} | {figure} |", own.name);
            for outcome in &all {
                text += &outcome.map_or(" |".into(), |o| format!(" {:.4} |", o.figures[at].1));
            }
            for outcome in &all {
                text += &outcome.filter(|_| at == 0).map_or(" |".into(), |o| format!(" {} |", seconds(o, own)));
            }
            text.push('\n');
        }
    }
    text + NOTES
}

const NOTES: &str = "
RMSE: smaller is better. XGBoost has no least number of rows in a leaf (with squared errors its least sum of second
derivatives is one), its DART and its ranking weigh in their own ways, and it splits on categories by other limits.
Diabetes: each fifth is held out once, seconds of all five trainings. The queries of `ranking` are made up.
";

fn seconds(outcome: &Outcome, own: &Outcome) -> String {
    let time = format!("{:.3}", median(outcome.seconds.iter().copied()));
    if std::ptr::eq(outcome, own) {
        return time;
    }
    let ratios = || own.seconds.iter().zip(&outcome.seconds).map(|(own, other)| own / other);
    let (low, high) = ratios().fold((f64::MAX, 0f64), |(low, high), r| (low.min(r), high.max(r)));
    format!("{time} ({:.2}, {low:.2}–{high:.2})", median(ratios()))
}
