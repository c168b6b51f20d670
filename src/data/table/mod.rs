//! Tables: named columns of numbers, integers or text, where values may be missing.

mod categories;
#[cfg(feature = "csv")]
mod csv;
mod features;
mod fill;
mod standardise;

#[cfg(feature = "csv")]
pub use self::csv::{ColumnType, CsvOptions};
pub use categories::{Categories, Unknown};
pub use features::{Features, FittedFeatures};
pub use fill::{Fill, Filler};
pub use standardise::Standardiser;

use crate::{Device, Error, Result, Tensor};

/// The values of one column; `None` is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers.
    Numbers(Vec<Option<f64>>),
    /// Whole numbers.
    Integers(Vec<Option<i64>>),
    /// Anything else.
    Text(Vec<Option<String>>),
}

impl Column {
    /// The number of values, missing ones too.
    pub fn len(&self) -> usize {
        match self {
            Column::Numbers(values) => values.len(),
            Column::Integers(values) => values.len(),
            Column::Text(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the value of a row is missing; also beyond the last row.
    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Column::Numbers(values) => values.get(row).is_none_or(Option::is_none),
            Column::Integers(values) => values.get(row).is_none_or(Option::is_none),
            Column::Text(values) => values.get(row).is_none_or(Option::is_none),
        }
    }

    /// How many values are missing.
    pub fn missing(&self) -> usize {
        (0..self.len()).filter(|&row| self.is_missing(row)).count()
    }

    /// The values as numbers; none of a column of text.
    pub fn numbers(&self) -> Option<Vec<Option<f64>>> {
        match self {
            Column::Numbers(values) => Some(values.clone()),
            Column::Integers(values) => Some(values.iter().map(|value| value.map(|v| v as f64)).collect()),
            Column::Text(_) => None,
        }
    }

    /// The values as text, as one would write them.
    pub fn texts(&self) -> Vec<Option<String>> {
        match self {
            Column::Numbers(values) => values.iter().map(|value| value.map(|v| v.to_string())).collect(),
            Column::Integers(values) => values.iter().map(|value| value.map(|v| v.to_string())).collect(),
            Column::Text(values) => values.clone(),
        }
    }

    fn take(&self, rows: &[usize]) -> Column {
        fn pick<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| values[row].clone()).collect()
        }
        match self {
            Column::Numbers(values) => Column::Numbers(pick(values, rows)),
            Column::Integers(values) => Column::Integers(pick(values, rows)),
            Column::Text(values) => Column::Text(pick(values, rows)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Column::Numbers(_) => "numbers",
            Column::Integers(_) => "integers",
            Column::Text(_) => "text",
        }
    }
}

/// Named columns of equal length.
///
/// From a CSV file with its missing values to what a model is trained on, where nothing is learnt from the rows that are
/// held out (feature `csv`):
///
/// ```
/// # #[cfg(feature = "csv")] {
/// use warpsmith::data::split::k_fold;
/// use warpsmith::data::{CsvOptions, Features, Fill, Table};
///
/// let text = "age,sex,fare,port,survived\n\
///             22,male,7.25,S,0\n\
///             38,female,71.28,C,1\n\
///             ,female,7.92,S,1\n\
///             35,male,,S,0\n\
///             54,male,51.86,,0\n\
///             4,female,16.7,S,1\n";
/// let table = Table::read_csv(text.as_bytes(), &CsvOptions::default(), "passengers")?;
/// assert_eq!(table.column("age")?.missing(), 1);
/// let survived = table.integers("survived")?;
/// for fold in k_fold(table.rows(), 3, 42)? {
///     let (training, validation) = (table.take(&fold.training)?, table.take(&fold.validation)?);
///     let features = Features::new()
///         .numbers(&["age", "fare"], Fill::Median)
///         .indicators(&["age"])
///         .categories(&["sex", "port"])
///         .standardised()
///         .fit(&training)?;
///     let (x, x_validation) = (features.transform(&training)?, features.transform(&validation)?);
///     assert_eq!(features.names()[..3], ["age", "fare", "age missing"]);
///     assert_eq!(x.dims(), [4, features.names().len()]);
///     assert_eq!(x_validation.dims(), [2, features.names().len()]);
/// }
/// # assert_eq!(survived, [0, 1, 1, 0, 0, 1]);
/// # }
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column at the end: as long as the others, under a name of its own.
    pub fn push(&mut self, name: impl Into<String>, column: Column) -> Result<()> {
        let name = name.into();
        if self.names.contains(&name) {
            return Err(Error::argument("table", format!("two columns would be named {name:?}")));
        }
        if !self.columns.is_empty() && column.len() != self.rows {
            let message = format!("column {name:?} has {} values in a table of {} rows", column.len(), self.rows);
            return Err(Error::argument("table", message));
        }
        self.rows = column.len();
        self.names.push(name);
        self.columns.push(column);
        Ok(())
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns' names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A column; an error names those there are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        let place = self.names.iter().position(|known| known == name);
        let unknown = || Error::argument("table", format!("there is no column {name:?}; there are {:?}", self.names));
        place.map(|place| &self.columns[place]).ok_or_else(unknown)
    }

    /// The numbers of a column; a missing one is an error, as is text.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.column(name)?;
        let values = column.numbers().ok_or_else(|| kind_error(name, column, "numbers"))?;
        values.into_iter().enumerate().map(|(row, value)| value.ok_or_else(|| missing_error(name, row))).collect()
    }

    /// The whole numbers of a column; a missing one is an error, as is anything else.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>> {
        match self.column(name)? {
            Column::Integers(values) => {
                let known = |(row, value): (usize, &Option<i64>)| value.ok_or_else(|| missing_error(name, row));
                values.iter().enumerate().map(known).collect()
            }
            column => Err(kind_error(name, column, "integers")),
        }
    }

    /// The texts of a column; numbers as one would write them.
    pub fn texts(&self, name: &str) -> Result<Vec<Option<String>>> {
        Ok(self.column(name)?.texts())
    }

    /// The numbers of several columns as a matrix (rows, columns) of f32; missing values and text are errors.
    pub fn tensor(&self, names: &[&str]) -> Result<Tensor> {
        let columns = names.iter().map(|name| self.numbers(name)).collect::<Result<Vec<_>>>()?;
        matrix(&columns, self.rows)
    }

    /// These columns, in this order.
    pub fn select(&self, names: &[&str]) -> Result<Table> {
        let mut table = Table::new();
        for name in names {
            table.push(*name, self.column(name)?.clone())?;
        }
        table.rows = self.rows;
        Ok(table)
    }

    /// All columns but these.
    pub fn without(&self, names: &[&str]) -> Result<Table> {
        names.iter().try_for_each(|name| self.column(name).map(|_| ()))?;
        let rest: Vec<&str> = self.names.iter().map(String::as_str).filter(|name| !names.contains(name)).collect();
        self.select(&rest)
    }

    /// These rows, in this order.
    pub fn take(&self, rows: &[usize]) -> Result<Table> {
        if let Some(&row) = rows.iter().find(|&&row| row >= self.rows) {
            return Err(Error::OutOfRange { op: "table", what: "row", index: row as i64, bound: self.rows });
        }
        let columns = self.columns.iter().map(|column| column.take(rows)).collect();
        Ok(Table { names: self.names.clone(), columns, rows: rows.len() })
    }

    /// The rows in which none of these columns is missing; of all columns, if none is named.
    pub fn complete_rows(&self, names: &[&str]) -> Result<Vec<usize>> {
        let columns: Vec<&Column> = match names {
            [] => self.columns.iter().collect(),
            _ => names.iter().map(|name| self.column(name)).collect::<Result<_>>()?,
        };
        Ok((0..self.rows).filter(|&row| columns.iter().all(|column| !column.is_missing(row))).collect())
    }

    /// The table without the rows in which one of these columns (of all, if none is named) is missing.
    pub fn drop_missing(&self, names: &[&str]) -> Result<Table> {
        self.take(&self.complete_rows(names)?)
    }

    /// The table with a column `NAME missing` of 0 and 1 for each of these.
    pub fn with_indicators(&self, names: &[&str]) -> Result<Table> {
        let mut table = self.clone();
        for name in names {
            let column = self.column(name)?;
            let marks = (0..self.rows).map(|row| Some(column.is_missing(row) as i64)).collect();
            table.push(format!("{name} missing"), Column::Integers(marks))?;
        }
        Ok(table)
    }

    /// Replaces a column by one of the same length.
    fn replace(&mut self, name: &str, column: Column) {
        if let Some(place) = self.names.iter().position(|known| known == name) {
            self.columns[place] = column;
        }
    }
}

fn missing_error(name: &str, row: usize) -> Error {
    let message = format!("column {name:?} has no value in row {row}: fill it (Filler) or drop the row (drop_missing)");
    Error::argument("table", message)
}

fn kind_error(name: &str, column: &Column, wanted: &str) -> Error {
    Error::argument("table", format!("column {name:?} holds {}, and {wanted} are asked for", column.kind()))
}

/// Columns side by side as (rows, columns) of f32.
fn matrix(columns: &[Vec<f64>], rows: usize) -> Result<Tensor> {
    let mut values = Vec::with_capacity(rows * columns.len());
    for row in 0..rows {
        values.extend(columns.iter().map(|column| column[row] as f32));
    }
    Tensor::from_slice(&values, [rows, columns.len()], &Device::Cpu)
}
