//! `cargo xtask faults`: proves that the tests notice a fault in any single backward, and writes the list.
//!
//! Every operation's test removes, zeroes and bends each gradient that flowed, in each dtype, and demands that the
//! comparison fails (`tests/support/check.rs`). This runs all of them and collects what was planted and noticed.

use crate::Task;
use crate::support::{cargo, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Command};
use std::collections::{BTreeMap, BTreeSet};

const LIST: &str = "docs/faults.md";
/// The faults planted in each gradient.
const FAULTS: [&str; 3] = ["removed", "zeroed", "bent"];

pub const TASK: Task = Task {
    command: || Command::new("faults").about("Plant a fault in every backward, see it noticed, write docs/faults.md"),
    run,
};

fn run(_: &ArgMatches) -> Result<()> {
    let list = target().join("faults.tsv");
    if list.exists() {
        std::fs::remove_file(&list).with_context(|| format!("removing {}", list.display()))?;
    }
    let mut tests = cargo(&["test", "--package", "warpsmith", "--tests"]);
    run_command(tests.env("WARPSMITH_FAULT_LIST", &list))?;
    let text = std::fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    // Operation and input; then dtype; then the faults noticed.
    let mut noticed: BTreeMap<(String, usize), BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, op, input, dtype, fault] = fields[..] else { bail!("{}: not five fields: {line}", list.display()) };
        let input = input.parse().with_context(|| format!("{}: {line}", list.display()))?;
        noticed.entry((op.into(), input)).or_default().entry(dtype.into()).or_default().insert(fault.into());
    }
    let incomplete: Vec<String> = noticed
        .iter()
        .flat_map(|(key, dtypes)| dtypes.iter().map(move |(dtype, faults)| (key, dtype, faults)))
        .filter(|(_, _, faults)| faults.len() != FAULTS.len())
        .map(|((op, input), dtype, faults)| format!("{op} input {input} {dtype}: only {faults:?}"))
        .collect();
    if !incomplete.is_empty() {
        bail!("faults that were not planted: {incomplete:#?}");
    }
    let mut out = String::from(
        "# Planted faults\n\nWritten by `cargo xtask faults`. In each backward below, for each input and dtype, the gradient\n",
    );
    out += "was removed, zeroed and bent (by 32 units of roundoff, at least 0.1 %) in turn, and each time a test failed.\n\n";
    out += "| backward | input | dtypes |\n|---|---:|---|\n";
    for ((op, input), dtypes) in &noticed {
        out += &format!("| {op} | {input} | {} |\n", dtypes.keys().cloned().collect::<Vec<_>>().join(", "));
    }
    let faults: usize = noticed.values().map(|dtypes| dtypes.len() * FAULTS.len()).sum();
    out += &format!("\n{} gradients, {faults} faults, all noticed.\n", noticed.len());
    std::fs::write(root().join(LIST), out).with_context(|| format!("writing {LIST}"))?;
    println!("wrote {LIST}: {} gradients, {faults} faults", noticed.len());
    Ok(())
}
