//! Tables for the examples of trees: fetched ones, and queries to rank that are made up.

use std::path::Path;
use warpsmith::random::{Philox, below};
use warpsmith::trees::Features;
use warpsmith::{Error, Result, data, metrics};

/// Rows with their labels, and the sizes of the groups that they make where they are to be ranked.
#[derive(Default)]
pub struct Table {
    pub features: Features,
    pub labels: Vec<f64>,
    pub groups: Option<Vec<usize>>,
}

impl Table {
    /// Training and test rows: every fifth, beginning with that number, is for the test.
    pub fn split(&self, first: usize) -> Result<(Table, Table)> {
        let part = |test: bool| {
            let places: Vec<usize> = (0..self.labels.len()).filter(|i| (i % 5 == first) == test).collect();
            let labels = places.iter().map(|&p| self.labels[p]).collect();
            Ok(Table { features: self.features.select(&places)?, labels, groups: None })
        };
        Ok((part(false)?, part(true)?))
    }

    /// The labels and groups of several tables after each other, without their features.
    pub fn joined(tables: &[&Table]) -> Table {
        let labels = tables.iter().flat_map(|t| t.labels.iter().copied()).collect();
        let groups = tables.iter().map(|t| t.groups.clone()).collect::<Option<Vec<_>>>().map(|groups| groups.concat());
        Table { labels, groups, features: Features::new() }
    }
}

/// A CSV file's columns; those of text are categories. `?` is a missing value too. `label` names the column of labels, and
/// `value` says what one's text means.
pub fn csv(path: &Path, label: &str, value: impl Fn(&str) -> Result<f64>) -> Result<Table> {
    let mut options = data::CsvOptions::default();
    options.missing.push("?".into());
    let table = data::Table::load_csv(path, &options)?;
    let texts = table.texts(label)?;
    let labels = texts.iter().map(|text| value(text.as_deref().unwrap_or_default())).collect::<Result<_>>()?;
    Ok(Table { features: Features::from_table(&table.without(&[label])?)?, labels, groups: None })
}

/// A label that is written as a number.
pub fn number(text: &str) -> Result<f64> {
    text.parse().map_err(|_| Error::argument("csv", format!("expected a number, got {text:?}")))
}

/// Documents of `queries` queries, 10 to 40 each, with 12 features and a relevance of 0 to 4: a product, a wave and a
/// sum of some features, with noise and an offset of the query's own, cut at fixed places.
pub fn queries(queries: usize, seed: u64) -> Result<Table> {
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
    Ok(Table { features: Features::from_rows(&values, FEATURES)?, labels, groups: Some(groups) })
}

/// The handwritten digits as tables of their pixels: training rows, test rows.
pub fn digits() -> Result<(Table, Table)> {
    let (training, test) = super::digits::load()?;
    let table = |images: super::digits::Images| {
        let labels = images.labels.iter().map(|&label| label as f64).collect();
        let features = Features::from_rows(&images.pixels, images.side * images.side)?;
        Ok(Table { features, labels, groups: None })
    };
    Ok((table(training)?, table(test)?))
}

/// The area under the ROC curve of the probabilities of label 1.
pub fn auc(predictions: &[f64], test: &Table) -> Result<f64> {
    let positive: Vec<bool> = test.labels.iter().map(|&label| label == 1.0).collect();
    metrics::auc(predictions, &positive)
}

/// The share of rows whose largest probability is their label's; of one probability a row, that of label 1.
pub fn accuracy(predictions: &[f64], test: &Table) -> Result<f64> {
    let width = predictions.len() / test.labels.len();
    let class = |row: &[f64]| match row {
        [p] => (*p > 0.5) as usize,
        row => (0..width).fold(0, |best, i| if row[i] > row[best] { i } else { best }),
    };
    let right = predictions.chunks(width).zip(&test.labels).filter(|(row, label)| class(row) as f64 == **label);
    Ok(right.count() as f64 / test.labels.len() as f64)
}

/// The root of the mean squared error.
pub fn rmse(predictions: &[f64], test: &Table) -> Result<f64> {
    metrics::rmse(predictions, &test.labels)
}

/// The mean over queries of NDCG among the ten best-scored.
pub fn ndcg(predictions: &[f64], test: &Table) -> Result<f64> {
    metrics::mean_ndcg(predictions, &test.labels, test.groups.as_deref().unwrap_or_default(), Some(10))
}
