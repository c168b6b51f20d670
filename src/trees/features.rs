//! The table that trees are trained on: named columns of numbers or of categories.

use super::matrix::Matrix;
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// The id of a missing category.
pub(super) const NO_CATEGORY: u32 = u32::MAX;

/// Named columns of equal length: numbers (NaN is missing) or categories (`None` is missing).
///
/// ```
/// use warpsmith::trees::Features;
/// let table = Features::new()
///     .numeric("age", vec![39.0, f64::NAN, 38.0])?
///     .categorical("work", [Some("State-gov"), Some("Private"), None])?;
/// assert_eq!((table.rows(), table.names()), (3, vec!["age", "work"]));
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Features {
    rows: usize,
    pub(super) columns: Vec<Column>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub values: Values,
}

#[derive(Clone, Debug)]
pub(super) enum Values {
    Numeric(Vec<f64>),
    /// Per row the place of its name, or [`NO_CATEGORY`].
    Categorical {
        names: Vec<String>,
        ids: Vec<u32>,
    },
}

impl Features {
    /// A table without columns.
    pub fn new() -> Self {
        Features::default()
    }

    /// The columns of a row-major matrix, named `f0`, `f1`, ….
    pub fn from_rows<T: Copy + Into<f64>>(values: &[T], columns: usize) -> Result<Self> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            let message = format!("{} values are no whole rows of {columns} columns", values.len());
            return Err(Error::argument("Features::from_rows", message));
        }
        (0..columns).try_fold(Features::new(), |table, c| {
            let column = values.iter().skip(c).step_by(columns).map(|&v| v.into()).collect();
            table.numeric(&format!("f{c}"), column)
        })
    }

    /// With one more column of numbers; NaN is a missing one.
    pub fn numeric(self, name: &str, values: Vec<f64>) -> Result<Self> {
        let rows = values.len();
        self.with(name, rows, Values::Numeric(values))
    }

    /// With one more column of categories, told apart by their names.
    pub fn categorical<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = Option<S>>) -> Result<Self> {
        let (mut names, mut ids, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        for value in values {
            ids.push(match &value {
                None => NO_CATEGORY,
                Some(text) => match known.get(text.as_ref()) {
                    Some(&id) => id,
                    None => {
                        let id = names.len() as u32;
                        known.insert(text.as_ref().to_owned(), id);
                        names.push(text.as_ref().to_owned());
                        id
                    }
                },
            });
        }
        let rows = ids.len();
        self.with(name, rows, Values::Categorical { names, ids })
    }

    fn with(mut self, name: &str, rows: usize, values: Values) -> Result<Self> {
        if !self.columns.is_empty() && rows != self.rows {
            let message = format!("column {name} has {rows} rows, the columns before it have {}", self.rows);
            return Err(Error::argument("Features", message));
        }
        if self.columns.iter().any(|c| c.name == name) {
            return Err(Error::argument("Features", format!("there is a column {name} already")));
        }
        self.rows = rows;
        self.columns.push(Column { name: name.to_owned(), values });
        Ok(self)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns' names.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|c| c.name.as_str()).collect()
    }

    /// Whether the column with this number holds categories.
    pub fn is_categorical(&self, column: usize) -> bool {
        matches!(self.columns.get(column), Some(Column { values: Values::Categorical { .. }, .. }))
    }

    /// The values of the column with this number, NaN where missing; categories are numbered as they first appeared in
    /// the table that the rows were taken from.
    pub fn numbers(&self, column: usize) -> Result<Vec<f64>> {
        match self.columns.get(column).map(|c| &c.values) {
            Some(Values::Numeric(values)) => Ok(values.clone()),
            Some(Values::Categorical { ids, .. }) => {
                Ok(ids.iter().map(|&id| if id == NO_CATEGORY { f64::NAN } else { id as f64 }).collect())
            }
            None => {
                let (index, bound) = (column as i64, self.columns.len());
                Err(Error::OutOfRange { op: "Features::numbers", what: "column", index, bound })
            }
        }
    }

    /// The rows at these places, in this order.
    pub fn select(&self, places: &[usize]) -> Result<Self> {
        if let Some(&place) = places.iter().find(|&&p| p >= self.rows) {
            let (index, bound) = (place as i64, self.rows);
            return Err(Error::OutOfRange { op: "Features::select", what: "row", index, bound });
        }
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            values: match &column.values {
                Values::Numeric(values) => Values::Numeric(places.iter().map(|&p| values[p]).collect()),
                Values::Categorical { names, ids } => {
                    Values::Categorical { names: names.clone(), ids: places.iter().map(|&p| ids[p]).collect() }
                }
            },
        });
        Ok(Features { rows: places.len(), columns: columns.collect() })
    }
}

/// What to do with a category that the training rows did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error.
    #[default]
    Error,
    /// It is a missing value.
    Missing,
}

/// What a model knows of its columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schema {
    pub columns: Vec<(String, Kind)>,
    pub unknown: Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Numeric,
    /// The categories of the training rows, the most frequent first: a category's number is its place here. Those from
    /// `kept` on are too many for the bins and count as missing.
    Categorical {
        names: Vec<String>,
        kept: usize,
    },
}

impl Schema {
    /// The table as numbers in the model's order of columns: categories by their numbers, missing ones NaN.
    pub fn encode<'a>(&self, op: &'static str, table: &'a Features) -> Result<Matrix<'a>> {
        if table.columns.len() != self.columns.len() {
            let expected: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("expected the columns {expected:?}, got {:?}", table.names());
            return Err(Error::argument(op, message));
        }
        let mut matrix = Matrix::new(table.rows());
        for (name, kind) in &self.columns {
            let Some(column) = table.columns.iter().find(|c| c.name == *name) else {
                let message = format!("there is no column {name}; the table has {:?}", table.names());
                return Err(Error::argument(op, message));
            };
            match (&column.values, kind) {
                (Values::Numeric(values), Kind::Numeric) => matrix.push_numbers(values),
                (Values::Categorical { names, ids }, Kind::Categorical { names: known, kept }) => {
                    self.check_known(op, name, names, ids, known)?;
                    let places: HashMap<&str, usize> =
                        known.iter().take(*kept).enumerate().map(|(i, n)| (n.as_str(), i)).collect();
                    let number = |n: &String| places.get(n.as_str()).map_or(f64::NAN, |&i| i as f64);
                    matrix.push_categories(ids, names.iter().map(number).collect());
                }
                (_, kind) => {
                    let wanted = if matches!(kind, Kind::Numeric) { "numbers" } else { "categories" };
                    return Err(Error::argument(op, format!("column {name} must hold {wanted}, as in training")));
                }
            }
        }
        Ok(matrix)
    }

    /// An error for a category that the training rows did not have, where that is one.
    fn check_known(
        &self,
        op: &'static str,
        column: &str,
        names: &[String],
        ids: &[u32],
        known: &[String],
    ) -> Result<()> {
        if self.unknown == Unknown::Missing {
            return Ok(());
        }
        let known: HashSet<&str> = known.iter().map(String::as_str).collect();
        // A selection of rows keeps names that none of its rows has.
        let strange = |id: &u32| *id != NO_CATEGORY && !known.contains(names[*id as usize].as_str());
        let used: HashSet<u32> = ids.iter().copied().collect();
        match used.into_iter().filter(strange).min() {
            None => Ok(()),
            Some(id) => {
                let message = format!(
                    "column {column}: the category {:?} was not in the training rows; set `unknown` to \
                     Unknown::Missing to take such as missing",
                    names[id as usize]
                );
                Err(Error::argument(op, message))
            }
        }
    }
}
