//! Categories as numbers.

use super::Column;
use crate::{Device, Error, Result, Tensor};
use std::collections::BTreeMap;

/// What becomes of a value that was not among those fitted, or is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error.
    #[default]
    Error,
    /// It has a number of its own, the last.
    Own,
    /// It belongs to no category: a row of zeros in [`Categories::one_hot`], an error in [`Categories::ids`].
    None,
}

/// The distinct values of a column, numbered from 0 in ascending order.
///
/// ```
/// use warpsmith::data::{Categories, Column, Unknown};
/// let text = |values: &[&str]| Column::Text(values.iter().map(|value| Some(value.to_string())).collect());
/// let ports = Categories::fit(&text(&["S", "C", "S", "Q"])).unknown(Unknown::Own);
/// assert_eq!(ports.values(), ["C", "Q", "S"]);
/// assert_eq!(ports.ids(&text(&["Q", "Z", "S"]))?, [1, 3, 2]);
/// assert_eq!(ports.one_hot(&text(&["C"]))?.to_vec2::<f32>()?, [[1.0, 0.0, 0.0, 0.0]]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Categories {
    values: Vec<String>,
    numbers: BTreeMap<String, i64>,
    unknown: Unknown,
}

impl Categories {
    /// The values of a column, without the missing ones.
    pub fn fit(column: &Column) -> Self {
        let values = match column {
            Column::Integers(values) => ascending(values.iter().flatten().copied().collect(), i64::cmp),
            Column::Numbers(values) => ascending(values.iter().flatten().copied().collect(), f64::total_cmp),
            Column::Text(values) => ascending(values.iter().flatten().cloned().collect(), String::cmp),
        };
        let numbers = values.iter().cloned().zip(0..).collect();
        Categories { values, numbers, unknown: Unknown::default() }
    }

    /// What becomes of other values; an error if this is not said.
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// The values, in the order of their numbers.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// How many numbers there are: with the one of unknown values, if they have one.
    pub fn len(&self) -> usize {
        self.values.len() + (self.unknown == Unknown::Own) as usize
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of each value.
    pub fn ids(&self, column: &Column) -> Result<Vec<i64>> {
        let ids = column.texts().into_iter().enumerate().map(|(row, value)| {
            let value = value.as_deref();
            self.id(value).ok_or_else(|| self.unknown_error(row, value))
        });
        ids.collect()
    }

    /// The columns of [`one_hot`](Categories::one_hot), one after another.
    pub(super) fn indicators(&self, column: &Column) -> Result<Vec<Vec<f64>>> {
        let mut columns = vec![vec![0.0; column.len()]; self.len()];
        for (row, value) in column.texts().into_iter().enumerate() {
            let value = value.as_deref();
            match self.id(value) {
                Some(id) => columns[id as usize][row] = 1.0,
                None if self.unknown == Unknown::None => {}
                None => return Err(self.unknown_error(row, value)),
            }
        }
        Ok(columns)
    }

    /// (rows, numbers) of f32, with a 1 at each value's number.
    pub fn one_hot(&self, column: &Column) -> Result<Tensor> {
        super::matrix(&self.indicators(column)?, column.len())
    }

    /// As [`ids`](Categories::ids), as a tensor of i64.
    pub fn labels(&self, column: &Column) -> Result<Tensor> {
        let ids = self.ids(column)?;
        Tensor::from_slice(&ids, [ids.len()], &Device::Cpu)
    }

    fn id(&self, value: Option<&str>) -> Option<i64> {
        let known = value.and_then(|value| self.numbers.get(value)).copied();
        known.or((self.unknown == Unknown::Own).then_some(self.values.len() as i64))
    }

    fn unknown_error(&self, row: usize, value: Option<&str>) -> Error {
        let found = value.map_or("is missing".into(), |value| format!("is {value:?}"));
        let known = self.values.len();
        let message = format!("row {row} {found}, none of the {known} values known: Unknown says what to do with it");
        Error::argument("categories", message)
    }
}

/// The distinct values as text, in ascending order.
fn ascending<T: ToString>(mut values: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<String> {
    values.sort_by(&order);
    values.dedup_by(|a, b| order(a, b).is_eq());
    values.iter().map(T::to_string).collect()
}
