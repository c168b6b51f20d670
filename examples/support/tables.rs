//! Tables for the examples of trees: fetched ones, and queries to rank that are made up.

use std::path::Path;
use warpsmith::random::{Philox, below};
use warpsmith::trees::Features;
use warpsmith::{Error, Result};

/// Rows with their labels.
pub struct Table {
    pub features: Features,
    pub labels: Vec<f64>,
}

impl Table {
    /// Training and test rows: every fifth, beginning with that number, is for the test.
    pub fn split(&self, first: usize) -> Result<(Table, Table)> {
        let part = |test: bool| {
            let places: Vec<usize> = (0..self.labels.len()).filter(|i| (i % 5 == first) == test).collect();
            let labels = places.iter().map(|&p| self.labels[p]).collect();
            Ok(Table { features: self.features.select(&places)?, labels })
        };
        Ok((part(false)?, part(true)?))
    }
}

/// A CSV file's columns: where every value is a number, a column of numbers; else categories. `?` and nothing are
/// missing values. `label` names the column of labels, and `value` says what one's text means.
pub fn csv(path: &Path, label: &str, value: impl Fn(&str) -> Result<f64>) -> Result<Table> {
    let wrong = |e: csv::Error| Error::Format { what: path.display().to_string(), message: e.to_string() };
    let mut reader = csv::Reader::from_path(path).map_err(wrong)?;
    let names = reader.headers().map_err(wrong)?.clone();
    let records = reader.records().collect::<std::result::Result<Vec<_>, _>>().map_err(wrong)?;
    let (mut features, mut labels) = (Features::new(), None);
    for (at, name) in names.iter().enumerate() {
        let texts = records.iter().map(|r| r.get(at).unwrap_or_default().trim());
        let present = |text: &&str| !text.is_empty() && *text != "?";
        features = if name == label {
            labels = Some(texts.map(&value).collect::<Result<Vec<f64>>>()?);
            features
        } else if texts.clone().filter(present).all(|text| text.parse::<f64>().is_ok()) {
            features.numeric(name, texts.map(|text| text.parse().unwrap_or(f64::NAN)).collect())?
        } else {
            features.categorical(name, texts.map(|text| Some(text).filter(present)))?
        };
    }
    let missing = || Error::argument("csv", format!("{} has no column {label}", path.display()));
    Ok(Table { features, labels: labels.ok_or_else(missing)? })
}

/// A label that is written as a number.
pub fn number(text: &str) -> Result<f64> {
    text.parse().map_err(|_| Error::argument("csv", format!("expected a number, got {text:?}")))
}

/// Documents of `queries` queries, 10 to 40 each, with 12 features and a relevance of 0 to 4: a product, a wave and a
/// sum of some features, with noise and an offset of the query's own, cut at fixed places. Returns the groups' sizes too.
pub fn queries(queries: usize, seed: u64) -> Result<(Table, Vec<usize>)> {
    const FEATURES: usize = 12;
    let mut rng = Philox::new(seed);
    let mut uniform = move || below(&mut rng, 1 << 53) as f64 * 2f64.powi(-53);
    let (mut values, mut labels, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..queries {
        let documents = 10 + (31.0 * uniform()) as usize;
        let offset = uniform() - 0.5;
        groups.push(documents);
        for _ in 0..documents {
            let x: Vec<f64> = (0..FEATURES).map(|_| uniform()).collect();
            let noise = (0..4).map(|_| uniform() - 0.5).sum::<f64>();
            let score = 2.0 * x[0] * x[1] + (5.0 * x[2]).sin() + x[3] - 0.5 * x[4] + 0.3 * offset + 0.5 * noise;
            labels.push([0.8, 1.3, 1.8, 2.3].iter().filter(|&&cut| score > cut).count() as f64);
            values.extend(x);
        }
    }
    Ok((Table { features: Features::from_rows(&values, FEATURES)?, labels }, groups))
}
