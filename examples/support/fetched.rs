//! Data sets that `cargo xtask data NAME` fetches.

use std::path::{Path, PathBuf};
use warpsmith::data::{CsvOptions, Table};
use warpsmith::{Error, Result, Tensor};

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

/// The table (rows, columns) in a CSV file of numbers without a header, after so many lines that hold something else.
pub fn numbers(path: &Path, skip: usize) -> Result<Tensor> {
    let table = Table::load_csv(path, &CsvOptions { skip, header: false, ..Default::default() })?;
    table.tensor(&table.names().iter().map(String::as_str).collect::<Vec<_>>())
}

/// Sentences of the set `sentiment` and what people thought of each, from -4 (bad) to 4 (good): reviews of products, of
/// films, editorials and tweets.
pub fn rated_sentences() -> Result<Vec<(String, f64)>> {
    let folder = folder("sentiment")?;
    let options = CsvOptions { delimiter: b'\t', header: false, quotes: false, ..Default::default() };
    let mut sentences = vec![];
    for name in ["amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets", "tweets"] {
        // A number, the mean rating, the sentence.
        let table = Table::load_csv(folder.join(format!("{name}_GroundTruth.txt")), &options)?;
        let texts = table.texts("2")?.into_iter().map(Option::unwrap_or_default);
        sentences.extend(texts.zip(table.numbers("1")?));
    }
    Ok(sentences)
}
