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

/// The rows of a file of comma-separated numbers, after so many lines that hold something else.
pub fn numbers(path: &Path, skip: usize) -> Result<Vec<Vec<f64>>> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| Error::Io { action: "reading", path: path.to_owned(), source })?;
    let mut rows: Vec<Vec<f64>> = vec![];
    for (number, line) in text.lines().enumerate().skip(skip) {
        let bad = |message: String| Error::Format { what: format!("{}:{}", path.display(), number + 1), message };
        let row = line.split(',').map(|field| field.parse::<f64>().map_err(|error| bad(format!("{field:?}: {error}"))));
        let row = row.collect::<Result<Vec<f64>>>()?;
        if let Some(first) = rows.first().filter(|first| first.len() != row.len()) {
            return Err(bad(format!("{} fields, where the first row has {}", row.len(), first.len())));
        }
        rows.push(row);
    }
    Ok(rows)
}
