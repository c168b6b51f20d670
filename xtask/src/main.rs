//! Set-up and checks of this repository: `cargo xtask TASK`.
//!
//! A task is a file here and a line in [`TASKS`].

mod codegen;
mod compare;
mod counters;
mod data;
mod faults;
mod full;
mod kernel_fault_list;
mod kernel_faults;
mod models;
mod nvrtc;
mod package;
mod packed;
mod peers;
mod support;
mod test;
mod trees;

use anyhow::Result;
use clap::{ArgMatches, Command};
use std::process::ExitCode;

/// One task: its command line and what it does.
pub struct Task {
    /// Its name and arguments.
    pub command: fn() -> Command,
    /// What it does.
    pub run: fn(&ArgMatches) -> Result<()>,
}

const TASKS: &[Task] = &[
    test::TASK,
    nvrtc::TASK,
    codegen::TASK,
    data::TASK,
    package::TASK,
    packed::TASK,
    faults::TASK,
    kernel_faults::TASK,
    counters::TASK,
    models::TASK,
    compare::TASK,
    peers::TASK,
    trees::TASK,
];

fn main() -> ExitCode {
    let commands = TASKS.iter().map(|task| (task.command)());
    let matches = Command::new("cargo xtask")
        .about("Set-up and checks of this repository")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(commands)
        .get_matches();
    let Some((name, arguments)) = matches.subcommand() else { return ExitCode::FAILURE };
    let task = TASKS.iter().find(|task| (task.command)().get_name() == name);
    match task.map(|task| (task.run)(arguments)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("cargo xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}
