//! `cargo xtask nvrtc`: NVRTC from PyPI, where builds of this repository find it.

use crate::Task;
use crate::support::{python_package, root, target};
use anyhow::{Context, Result};
use clap::{ArgMatches, Command};
use warpsmith_build::DEFAULT_ARCHS;

/// Also compiles for sm_120; its machine code runs on drivers from 12.0 on.
const REQUIREMENT: &str = "nvidia-cuda-nvrtc-cu12==12.9.86";

pub const TASK: Task = Task {
    command: || Command::new("nvrtc").about("Install NVRTC (CUDA's run-time compiler) from PyPI into target/nvrtc"),
    run,
};

fn run(_: &ArgMatches) -> Result<()> {
    install()
}

/// Installs the pinned NVRTC if it is not there, and proves that it loads.
pub fn install() -> Result<()> {
    let folder = python_package(REQUIREMENT, "nvrtc")?;
    let nvrtc = warpsmith_build::find(&DEFAULT_ARCHS, Some(&target()))?;
    let (major, minor) = nvrtc.version();
    println!("NVRTC {major}.{minor}: {}", nvrtc.path().display());
    // Builds that found no NVRTC do not watch for one to appear; a newer build script makes them look again.
    let script = root().join("build.rs");
    let modified = |path: &std::path::Path| path.metadata().and_then(|data| data.modified());
    if modified(&folder.join("installed"))? > modified(&script)? {
        let file = std::fs::File::options().append(true).open(&script).context("opening build.rs")?;
        file.set_modified(std::time::SystemTime::now()).context("touching build.rs")?;
    }
    Ok(())
}

/// Installs NVRTC unless a usable one is found anywhere.
pub fn install_if_absent() -> Result<()> {
    match warpsmith_build::find(&DEFAULT_ARCHS, Some(&target())) {
        Ok(nvrtc) => {
            println!("NVRTC {:?}: {}", nvrtc.version(), nvrtc.path().display());
            Ok(())
        }
        Err(_) => install(),
    }
}
