//! `cargo xtask package`: the kernel images that the published crate carries.

use crate::Task;
use crate::nvrtc;
use crate::support::{root, target};
use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Command};
use warpsmith_build::{DEFAULT_ARCHS, Kernels};

/// crates.io takes no crate over 10 MiB; the sources need some of it.
const MAX_BYTES: u64 = 9 << 20;

pub const TASK: Task = Task {
    command: || {
        Command::new("package").about("Compile the kernels into images/, for the crate that `cargo publish` packs")
    },
    run,
};

fn run(_: &ArgMatches) -> Result<()> {
    write_images()
}

/// Writes `images/`, keyed by the sources' hash.
pub fn write_images() -> Result<()> {
    nvrtc::install_if_absent()?;
    // Sources are known by the path they were read from; the build script reads them from the package's folder.
    std::env::set_current_dir(root()).context("entering the repository")?;
    let packaged = Kernels::new().folder("kernels").images("images").architectures(&DEFAULT_ARCHS).package(&target())?;
    for file in &packaged.files {
        println!("{:>9} bytes  {}", file.metadata()?.len(), file.display());
    }
    println!("{:>9} bytes in all", packaged.bytes);
    if packaged.bytes > MAX_BYTES {
        bail!("the images have {} bytes; crates.io takes no crate of more than 10 MiB", packaged.bytes);
    }
    Ok(())
}
