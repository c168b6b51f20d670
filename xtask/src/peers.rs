//! `cargo xtask peers`: the workloads of `peers/README.md` in warpsmith, candle and PyTorch, in interleaved rounds.

use crate::Task;
use crate::support::{cargo, median, output, processor, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::{Path, PathBuf};
use std::process;

const WORKLOADS: [&str; 13] = [
    "gemm512",
    "gemm1024",
    "gemm2048",
    "mlp",
    "resnet20",
    "resnet18",
    "gpt",
    "layernorm",
    "softmax_ce",
    "batchnorm2d",
    "conv2d",
    "attention",
    "attention_causal",
];
/// What `peers/torch/bench.py` runs on.
const TORCH: [&str; 2] = ["torch==2.15.0", "numpy"];
const PERFORMANCE: &str = "docs/performance.md";

pub const TASK: Task = Task {
    command: || {
        Command::new("peers")
            .about("Time warpsmith, candle and PyTorch side by side on the CPU and write docs/performance.md")
            .arg(list("workloads", "Workloads, by comma; all by default"))
            .arg(list("systems", "Of warpsmith, candle, torch, by comma; all by default"))
            .arg(
                Arg::new("rounds")
                    .long("rounds")
                    .default_value("7")
                    .value_parser(value_parser!(usize))
                    .help("Interleaved rounds: each runs every system once"),
            )
            .arg(
                Arg::new("seconds")
                    .long("seconds")
                    .default_value("1")
                    .value_parser(value_parser!(f64))
                    .help("Measured time of one run"),
            )
    },
    run,
};

fn list(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_delimiter(',').help(help)
}

#[derive(Clone, Copy, PartialEq)]
enum System {
    Warpsmith,
    Candle,
    Torch,
}

impl System {
    const ALL: [System; 3] = [System::Warpsmith, System::Candle, System::Torch];

    fn name(self) -> &'static str {
        match self {
            System::Warpsmith => "warpsmith",
            System::Candle => "candle",
            System::Torch => "torch",
        }
    }

    /// Builds or installs the system; returns its program and leading arguments.
    fn prepare(self) -> Result<(PathBuf, Vec<String>)> {
        match self {
            System::Warpsmith => {
                run_command(&mut cargo(&["build", "--release", "--example", "workload"]))?;
                Ok((target().join("release/examples/workload"), vec![]))
            }
            System::Candle => {
                let folder = target().join("peers/candle");
                let mut build = cargo(&["build", "--release"]);
                build.current_dir(root().join("peers/candle")).env("CARGO_TARGET_DIR", &folder);
                run_command(&mut build)?;
                Ok((folder.join("release/candle_workload"), vec![]))
            }
            System::Torch => {
                let folder = target().join("peers/torch");
                let python = folder.join("bin/python");
                if !python.exists() {
                    println!("Installing {TORCH:?} from PyPI into {} (5 GB)", folder.display());
                    output(process::Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
                    output(process::Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(TORCH))?;
                }
                Ok((python, vec![root().join("peers/torch/bench.py").display().to_string()]))
            }
        }
    }

    fn arguments(self, workload: &str, seconds: f64) -> Vec<String> {
        match self {
            System::Torch => {
                vec![workload.into(), "--threads".into(), "2".into(), "--min-time".into(), seconds.to_string()]
            }
            _ => vec![workload.into(), seconds.to_string()],
        }
    }
}

/// One run's numbers.
struct Sample {
    milliseconds: f64,
    mebibytes: f64,
}

fn run(arguments: &ArgMatches) -> Result<()> {
    let chosen = |name: &str| arguments.get_many::<String>(name).map(|v| v.cloned().collect::<Vec<_>>());
    let workloads = chosen("workloads").unwrap_or_else(|| WORKLOADS.map(String::from).to_vec());
    if let Some(unknown) = workloads.iter().find(|w| !WORKLOADS.contains(&w.as_str())) {
        bail!("unknown workload {unknown}; there are {WORKLOADS:?}");
    }
    let systems: Vec<System> = match chosen("systems") {
        Some(names) => System::ALL.into_iter().filter(|s| names.iter().any(|n| n == s.name())).collect(),
        None => System::ALL.to_vec(),
    };
    if !systems.contains(&System::Warpsmith) {
        bail!("warpsmith must be among the systems: the figures are ratios to it");
    }
    let (rounds, seconds) = (count(arguments), time(arguments));
    let programs = systems.iter().map(|s| s.prepare()).collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for workload in &workloads {
        let mut samples: Vec<Vec<Sample>> = systems.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            // Each round starts with another system, so that none always follows the same neighbour.
            for i in 0..systems.len() {
                let i = (i + round) % systems.len();
                let (program, leading) = &programs[i];
                let sample = measure(program, leading, &systems[i].arguments(workload, seconds))
                    .with_context(|| format!("{} {workload}", systems[i].name()))?;
                println!("{workload:17} round {round} {:10} {:10.3} ms", systems[i].name(), sample.milliseconds);
                samples[i].push(sample);
            }
        }
        rows.push(Row { workload: workload.clone(), samples });
    }
    let path = root().join(PERFORMANCE);
    std::fs::write(&path, report(&systems, &rows, rounds)?).with_context(|| format!("writing {}", path.display()))?;
    println!("wrote {PERFORMANCE}");
    Ok(())
}

fn count(arguments: &ArgMatches) -> usize {
    arguments.get_one("rounds").copied().unwrap_or(7).max(1)
}

fn time(arguments: &ArgMatches) -> f64 {
    arguments.get_one("seconds").copied().unwrap_or(1.0)
}

fn measure(program: &Path, leading: &[String], arguments: &[String]) -> Result<Sample> {
    let mut command = process::Command::new(program);
    command.args(leading).args(arguments).env("RAYON_NUM_THREADS", "2");
    let text = output(&mut command)?;
    let line = text.lines().find(|line| line.starts_with('{')).context("printed no JSON line")?;
    let json: serde_json::Value = serde_json::from_str(line)?;
    let number = |key: &str| json.get(key).and_then(serde_json::Value::as_f64);
    Ok(Sample {
        milliseconds: number("median_ms").context("the JSON line has no median_ms")?,
        mebibytes: number("peak_mib").unwrap_or(f64::NAN),
    })
}

struct Row {
    workload: String,
    samples: Vec<Vec<Sample>>,
}

fn report(systems: &[System], rows: &[Row], rounds: usize) -> Result<String> {
    let ours = systems.iter().position(|&s| s == System::Warpsmith).context("warpsmith was not run")?;
    let mut text =
        String::from("# Performance on the CPU\n\nWritten by `cargo xtask peers`; the workloads are those of ");
    text +=
        "[peers/README.md](../peers/README.md). Median milliseconds of a step, and the median of the rounds' ratios\n";
    text += "of warpsmith's time to the peer's (below 1: warpsmith is faster) with their smallest and largest.\n\n";
    text += &format!("{rounds} interleaved rounds, 2 threads, f32, default builds, on {}.\n\n", processor());
    let mut header = String::from("| workload |");
    let mut line = String::from("|---|");
    for system in systems {
        header += &format!(" {} ms |", system.name());
        line += "---:|";
    }
    for system in systems.iter().filter(|&&s| s != System::Warpsmith) {
        header += &format!(" ratio to {} |", system.name());
        line += "---|";
    }
    text += &format!("{header} peak memory, MiB |\n{line}---|\n");
    for row in rows {
        text += &format!("| {} |", row.workload);
        for samples in &row.samples {
            text += &format!(" {:.2} |", median(samples.iter().map(|s| s.milliseconds)));
        }
        for (_, samples) in row.samples.iter().enumerate().filter(|&(i, _)| i != ours) {
            let ratios = || row.samples[ours].iter().zip(samples).map(|(a, b)| a.milliseconds / b.milliseconds);
            let (low, high) = ratios().fold((f64::MAX, 0f64), |(l, h), r| (l.min(r), h.max(r)));
            text += &format!(" {:.2} ({low:.2}–{high:.2}) |", median(ratios()));
        }
        let memory = row.samples.iter().map(|s| format!("{:.0}", median(s.iter().map(|s| s.mebibytes))));
        text += &format!(" {} |\n", memory.collect::<Vec<_>>().join(" / "));
    }
    Ok(text)
}
