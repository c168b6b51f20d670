//! Every kernel of this build, on the device that is found, against f64 references.
//!
//! ```text
//! cargo run --release --example selftest
//! cargo run --release --example selftest -- --device virtual --only gemm,attention
//! ```
//!
//! The checks are those of `tests/`, made of the same files, on this one device: forward and backward, ragged sizes,
//! strides and offsets, both sides of every switch. What is exact (casts, copies, indexing, sorting, random bits) is
//! compared to the bit with the CPU device. Printed are, for each operation and dtype, the results that were compared,
//! the worst error as a share of its bound, and the time; then the kernels of this build that were not launched, of
//! which there must be none but those for other GPUs. Exit code 1 if anything failed.

#[path = "../support/mod.rs"]
mod chosen;
mod families;
mod reached;
#[path = "../../tests/support/mod.rs"]
mod support;

use clap::{Arg, ArgAction, ArgMatches, Command};
use families::{FAMILIES, Family};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};
use virtual_gpu::VirtualGpu;
use warpsmith::{Device, Error, Result};

fn command() -> Command {
    let only = Arg::new("only").long("only").value_name("FAMILY").value_delimiter(',').action(ArgAction::Append);
    Command::new("selftest")
        .about("Runs every kernel of this build on the device that is found, against f64 references")
        .arg(
            Arg::new("device").long("device").default_value("auto").help(
                "auto (the first CUDA device, else the virtual GPU), cuda, cuda:N, or virtual (a GPU in software)",
            ),
        )
        .arg(only.help("Only these families (see --list)"))
        .arg(Arg::new("seed").long("seed").value_parser(clap::value_parser!(u64)).help("The seed of all random inputs"))
        .arg(Arg::new("stop").long("stop").action(ArgAction::SetTrue).help("Stop at the first check that fails"))
        .arg(Arg::new("list").long("list").action(ArgAction::SetTrue).help("List families and their checks"))
}

fn main() -> ExitCode {
    let arguments = command().get_matches();
    if arguments.get_flag("list") {
        for family in FAMILIES {
            println!("{}", family.name);
            family.checks().for_each(|(name, _)| println!("    {}", words(name)));
        }
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("selftest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(arguments: &ArgMatches) -> Result<bool> {
    let only: Vec<&String> = arguments.get_many("only").into_iter().flatten().collect();
    let known = |name: &&String| FAMILIES.iter().any(|family| family.name == name.as_str());
    if let Some(other) = only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        return Err(Error::argument("--only", format!("{other} is none of {}", names.join(", "))));
    }
    let (device, driver) = device(arguments.get_one::<String>("device").map_or("auto", String::as_str))?;
    let Device::Cuda(cuda) = device.clone() else {
        return Err(Error::argument("--device", "the kernels run on CUDA devices; without one, use --device virtual"));
    };
    let clock = || UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    let seed = arguments.get_one::<u64>("seed").copied().unwrap_or_else(clock);
    let (major, minor) = cuda.spec().compute_capability;
    let kind = if driver.is_some() { "virtual " } else { "" };
    println!("{kind}{}, compute capability {major}.{minor}, --seed {seed}\n", cuda.spec().name);
    support::random::SEED.get_or_init(|| seed);
    support::devices::choose(device, driver);

    let started = Instant::now();
    println!("{:<14}{:<46}{:>6}{:>8}{:>16}{:>10}", "family", "operation", "dtype", "cases", "error / bound", "seconds");
    let mut failures = Vec::new();
    let mut cases = 0;
    for family in FAMILIES.iter().filter(|family| only.is_empty() || only.iter().any(|name| *name == family.name)) {
        cases += family_of(family, arguments.get_flag("stop"), &mut failures);
        if arguments.get_flag("stop") && !failures.is_empty() {
            break;
        }
    }
    let said = driver.map(|driver| driver.faults()).unwrap_or_default();
    if said.is_empty() && failures.is_empty() {
        cuda.synchronize()?;
    }
    for fault in &said {
        println!("\nthe virtual GPU reports:\n{}", fault.report);
    }
    for (family, check, message) in &failures {
        println!("\nFAILED {family}, {check}:\n{message}");
    }
    let reached = reached::Reached::of(&cuda, &only);
    print!("\n{reached}");
    let complete = !only.is_empty() || reached.missing.is_empty();
    let well = failures.is_empty() && said.is_empty() && complete;
    println!(
        "{}: {cases} results, {} failed checks, {} of {} kernels launched, {:.1} s",
        if well { "passed" } else { "FAILED" },
        failures.len(),
        reached.launched,
        reached.launched + reached.missing.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(well)
}

/// Runs a family's checks, perhaps to the first that fails, and prints its lines; the number of results compared.
fn family_of(family: &Family, stop: bool, failures: &mut Vec<(String, String, String)>) -> usize {
    let mut cases = 0;
    for (name, check) in family.checks() {
        support::record::start();
        let before = Instant::now();
        if let Err(message) = caught(check) {
            failures.push((family.name.to_owned(), words(name), message));
            if stop {
                break;
            }
        }
        let spent = before.elapsed();
        let tallies = support::record::start();
        let line = |operation: &str, dtype: &str, cases: usize, worst: Option<f64>, time: Duration| {
            let worst = worst.map_or_else(|| "exact".to_owned(), |worst| format!("{worst:.3}"));
            let seconds = time.as_secs_f64();
            println!("{:<14}{operation:<46}{dtype:>6}{cases:>8}{worst:>16}{seconds:>10.2}", family.name);
        };
        if tallies.is_empty() {
            // Checks of single values and of whole results compare without a bound.
            line(&short(name), "", 1, None, spent);
            cases += 1;
        }
        for ((operation, dtype), tally) in &tallies {
            let operation = if operation.is_empty() { short(name) } else { operation.clone() };
            let exact = tally.worst == 0.0;
            line(&operation, dtype, tally.cases, (!exact).then_some(tally.worst), tally.time);
            cases += tally.cases;
        }
    }
    cases
}

/// A check's name in words, as long as its column.
fn short(name: &str) -> String {
    let words = words(name);
    if words.chars().count() <= 44 { words } else { words.chars().take(43).chain(['…']).collect() }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Runs a check; its panic as an error.
fn caught(check: fn()) -> std::result::Result<(), String> {
    let place = Arc::new(Mutex::new(String::new()));
    let seen = place.clone();
    panic::set_hook(Box::new(move |info| {
        if let Ok(mut place) = seen.lock() {
            *place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        }
    }));
    let outcome = panic::catch_unwind(AssertUnwindSafe(check));
    let _ = panic::take_hook();
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        let place = place.lock().map(|place| place.clone()).unwrap_or_default();
        format!("{text}{place}")
    })
}

/// The device of that name, and the virtual GPU where it is one of its.
fn device(name: &str) -> Result<(Device, Option<VirtualGpu>)> {
    let real = if name == "auto" { Device::cuda(0).ok() } else { None };
    match (name, real) {
        (_, Some(device)) => Ok((device, None)),
        ("auto" | "virtual", None) => {
            let driver = virtual_gpu::install().map_err(|error| Error::argument("--device", error.to_string()))?;
            Ok((Device::cuda(0)?, Some(driver)))
        }
        _ => Ok((chosen::device(name)?, None)),
    }
}
