//! Data sets that `cargo xtask data NAME` fetches.

use std::path::{Path, PathBuf};
use warpsmith::{Error, Result};

/// The folder `target/data/NAME`; an error that says what to do where it was not fetched yet.
pub fn folder(name: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let folder = target.join("data").join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let message = format!("{} is not there: `cargo xtask data {name}` fetches it", folder.display());
    Err(Error::argument("data", message))
}
