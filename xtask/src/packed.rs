//! `cargo xtask packed`: the crate as users get it.

use crate::Task;
use anyhow::Result;
use clap::{ArgMatches, Command};

pub const TASK: Task = Task {
    command: || Command::new("packed").about("Pack the crates and build a program that depends on them, offline"),
    run,
};

fn run(_: &ArgMatches) -> Result<()> {
    check()
}

/// todo
pub fn check() -> Result<()> {
    Ok(())
}
