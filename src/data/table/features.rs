//! From a table with gaps and categories to a matrix, in one piece.

use super::{Categories, Fill, Filler, Standardiser, Table, Unknown, matrix};
use crate::{Device, Result, Tensor};

/// Which columns become features, and how; see [`Table`] for the whole way.
///
/// The features are: the numbers in the order named, then the indicators, then each category's columns.
#[derive(Clone, Debug, Default)]
pub struct Features {
    numbers: Vec<(String, Fill)>,
    indicators: Vec<String>,
    categories: Vec<String>,
    own_unknown: bool,
    standardised: bool,
}

impl Features {
    /// No features yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Columns of numbers, with what takes the place of missing values.
    pub fn numbers(mut self, names: &[&str], fill: Fill) -> Self {
        self.numbers.extend(names.iter().map(|name| (name.to_string(), fill.clone())));
        self
    }

    /// For each of these columns a feature that is 1 where its value is missing.
    pub fn indicators(mut self, names: &[&str]) -> Self {
        self.indicators.extend(names.iter().map(|name| name.to_string()));
        self
    }

    /// Columns whose values become one feature each, 0 or 1. Missing values, and those that the training rows do not
    /// have, are zeros in all of them.
    pub fn categories(mut self, names: &[&str]) -> Self {
        self.categories.extend(names.iter().map(|name| name.to_string()));
        self
    }

    /// Gives each category one more feature, for missing and unknown values.
    pub fn own_unknown(mut self) -> Self {
        self.own_unknown = true;
        self
    }

    /// Brings the numbers (neither indicators nor categories) to mean 0 and deviation 1.
    pub fn standardised(mut self) -> Self {
        self.standardised = true;
        self
    }

    /// Finds fillings, categories, means and deviations in the rows that are for training.
    pub fn fit(&self, training: &Table) -> Result<FittedFeatures> {
        let fills: Vec<(&str, Fill)> = self.numbers.iter().map(|(name, fill)| (name.as_str(), fill.clone())).collect();
        let filler = Filler::fit(training, &fills)?;
        let unknown = if self.own_unknown { Unknown::Own } else { Unknown::None };
        let categories = self.categories.iter().map(|name| {
            let categories = Categories::fit(training.column(name)?).unknown(unknown);
            Ok((name.clone(), categories))
        });
        let categories = categories.collect::<Result<Vec<_>>>()?;
        let mut names: Vec<String> = self.numbers.iter().map(|(name, _)| name.clone()).collect();
        names.extend(self.indicators.iter().map(|name| format!("{name} missing")));
        for (name, categories) in &categories {
            names.extend(categories.values().iter().map(|value| format!("{name}={value}")));
            names.extend((self.own_unknown).then(|| format!("{name} unknown")));
        }
        let mut fitted = FittedFeatures { of: self.clone(), filler, categories, standard: None, names };
        if self.standardised && !self.numbers.is_empty() {
            let columns = fitted.numbers(training)?;
            let flat: Vec<f64> = (0..training.rows()).flat_map(|row| columns.iter().map(move |c| c[row])).collect();
            let x = Tensor::from_slice(&flat, [training.rows(), columns.len()], &Device::Cpu)?;
            fitted.standard = Some(Standardiser::fit(&x)?);
        }
        Ok(fitted)
    }
}

/// Features with all that was found in the training rows.
#[derive(Clone, Debug)]
pub struct FittedFeatures {
    of: Features,
    filler: Filler,
    categories: Vec<(String, Categories)>,
    standard: Option<Standardiser>,
    names: Vec<String>,
}

impl FittedFeatures {
    /// The features' names: a column's, `COLUMN missing`, `COLUMN=VALUE`, `COLUMN unknown`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The features of any rows with the same columns: (rows, features) of f32.
    pub fn transform(&self, table: &Table) -> Result<Tensor> {
        let mut columns = self.numbers(table)?;
        if let Some(standard) = &self.standard {
            for ((column, mean), deviation) in columns.iter_mut().zip(standard.mean()).zip(standard.deviation()) {
                column.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
            }
        }
        for name in &self.of.indicators {
            let column = table.column(name)?;
            columns.push((0..table.rows()).map(|row| f64::from(column.is_missing(row))).collect());
        }
        for (name, categories) in &self.categories {
            columns.extend(categories.indicators(table.column(name)?)?);
        }
        matrix(&columns, table.rows())
    }

    fn numbers(&self, table: &Table) -> Result<Vec<Vec<f64>>> {
        let filled = self.filler.transform(table)?;
        self.of.numbers.iter().map(|(name, _)| filled.numbers(name)).collect()
    }
}
