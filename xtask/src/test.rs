//! `cargo xtask test`: every check of this repository.

use crate::Task;
use crate::support::{cargo, line, run as run_command};
use crate::{full, models, nvrtc, packed};
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{env, process};

pub const TASK: Task = Task {
    command: || {
        Command::new("test")
            .about("Run every check: formatting, lints, tests, quick examples, examples in the docs, generated code, packing")
            .arg(
                Arg::new("full").long("full").action(ArgAction::SetTrue).help(
                    "The whole sweep instead: several seeds, every model, in shards; goes on where it was stopped",
                ),
            )
            .arg(
                Arg::new("fresh").long("fresh").action(ArgAction::SetTrue).requires("full").help("Forget what is done"),
            )
            .arg(
                Arg::new("seed")
                    .long("seed")
                    .requires("full")
                    .value_parser(clap::value_parser!(u64))
                    .help("The number from which all seeds of the sweep are drawn"),
            )
            .arg(
                Arg::new("shard")
                    .long("shard")
                    .value_name("I/N")
                    .requires("full")
                    .help("Only the I-th of N parts of the sweep (give all of them one --seed)"),
            )
    },
    run,
};

fn run(arguments: &ArgMatches) -> Result<()> {
    if arguments.get_flag("full") {
        nvrtc::install_if_absent()?;
        let (from, of) = shard(arguments.get_one::<String>("shard").map_or("1/1", String::as_str))?;
        let part =
            full::Part { fresh: arguments.get_flag("fresh"), seed: arguments.get_one("seed").copied(), from, of };
        return full::run(&part, fresh_seed);
    }
    let nextest = cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let mut steps = Steps { done: Vec::new() };
    steps.task("NVRTC", nvrtc::install_if_absent);
    steps.command("formatting", cargo(&["fmt", "--all", "--check"]));
    steps.command("generated code", cargo(&["run", "--quiet", "--package", "xtask", "--", "codegen", "--check"]));
    steps
        .command("lints", cargo(&["clippy", "--workspace", "--all-features", "--all-targets", "--", "-D", "warnings"]));
    let tests = |only: &[&str]| {
        let mut command =
            if nextest { cargo(&["nextest", "run", "--no-fail-fast"]) } else { cargo(&["test", "--no-fail-fast"]) };
        // Always the whole workspace with all features: whatever differs is built again.
        command.args(["--workspace", "--all-features"]);
        if only.is_empty() {
            // Examples hold no tests: lints compile them all, and the quick ones run.
            command.args(["--lib", "--bins", "--tests"]);
        }
        command.args(only.iter().flat_map(|name| ["--test", name]));
        command
    };
    steps.command("tests", tests(&[]));
    // What processors without AVX-512 run: the families that hold vector registers.
    for (name, level) in [("tests with AVX2", "avx2"), ("tests without AVX", "baseline")] {
        let mut command = tests(&["gemm", "conv", "attention"]);
        command.env("WARPSMITH_SIMD", level).env("WARPSMITH_TEST_DEVICE", "cpu");
        steps.command(name, command);
    }
    let seed = env::var("WARPSMITH_TEST_SEED").unwrap_or_else(|_| (fresh_seed() >> 32).to_string());
    println!("VIRTUAL_GPU_FUZZ={FUZZ} VIRTUAL_GPU_FUZZ_SEED={seed}");
    let mut command = tests(&["fuzz", "sequences"]);
    command.env("VIRTUAL_GPU_FUZZ", FUZZ).env("VIRTUAL_GPU_FUZZ_SEED", seed);
    steps.command("random PTX and driver calls", command);
    steps.task("models that train in seconds", models::quick);
    steps.command("examples in the docs", cargo(&["test", "--workspace", "--all-features", "--doc"]));
    let mut doc = cargo(&["doc", "--workspace", "--all-features", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    steps.command("documentation", doc);
    steps.task("packed crate", packed::check);
    steps.finish()
}

/// `I/N` as a number from 0 and a count.
fn shard(text: &str) -> Result<(usize, usize)> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
    match parts {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i - 1, n)),
        _ => bail!("--shard {text}: expected I/N with 1 ≤ I ≤ N"),
    }
}

/// Thousands of inputs for the PTX loader, and of driver calls: a minute or two, side by side.
const FUZZ: &str = "1000";

/// A seed that nobody had before: the time, stirred (the finaliser of SplitMix64).
fn fresh_seed() -> u64 {
    let mut value = UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

struct Steps {
    done: Vec<(&'static str, Result<()>, Duration)>,
}

impl Steps {
    fn task(&mut self, name: &'static str, task: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let started = Instant::now();
        let result = task();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        self.done.push((name, result, started.elapsed()));
    }

    fn command(&mut self, name: &'static str, mut command: process::Command) {
        self.task(name, || {
            println!("{}", line(&command));
            run_command(&mut command)
        });
    }

    fn finish(self) -> Result<()> {
        println!("\n== summary");
        let mut failed = Vec::new();
        for (name, result, time) in &self.done {
            println!("{:>7.1} s  {:6}  {name}", time.as_secs_f64(), if result.is_ok() { "ok" } else { "FAILED" });
            if let Err(error) = result {
                failed.push(format!("{name}: {error:#}"));
            }
        }
        let total: Duration = self.done.iter().map(|(_, _, time)| *time).sum();
        println!("{:>7.1} s  in all", total.as_secs_f64());
        if failed.is_empty() {
            return Ok(());
        }
        bail!("{} of {} checks failed", failed.len(), self.done.len())
    }
}
