//! Tables from CSV.

use super::{Column, Table};
use crate::{Error, Result};
use csv::{ReaderBuilder, StringRecord, Trim};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// [`Column::Numbers`].
    Numbers,
    /// [`Column::Integers`].
    Integers,
    /// [`Column::Text`].
    Text,
}

/// How a CSV file is read.
///
/// ```
/// use warpsmith::data::{ColumnType, CsvOptions, Table};
/// let options = CsvOptions {
///     delimiter: b';',
///     missing: vec!["?".into()],
///     types: vec![("code".into(), ColumnType::Text)],
///     ..CsvOptions::default()
/// };
/// let table = Table::read_csv("code;size\n007;1.5\n042;?\n".as_bytes(), &options, "codes")?;
/// assert_eq!(table.texts("code")?[0].as_deref(), Some("007"));
/// assert!(table.column("size")?.is_missing(1));
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between fields: a comma by default.
    pub delimiter: u8,
    /// Lines before the first that counts.
    pub skip: usize,
    /// The columns' names, for a file without a line of names.
    pub names: Option<Vec<String>>,
    /// What stands for a missing value; by default nothing, `NA`, `N/A`, `NaN`, `nan`, `null` and `NULL`.
    pub missing: Vec<String>,
    /// The types of some columns. Those of the others follow from their values: integers if all are, else numbers if all
    /// are, else text; numbers where all are missing.
    pub types: Vec<(String, ColumnType)>,
    /// Whether spaces around fields are dropped, as by default.
    pub trim: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            delimiter: b',',
            skip: 0,
            names: None,
            missing: ["", "NA", "N/A", "NaN", "nan", "null", "NULL"].map(String::from).to_vec(),
            types: Vec::new(),
            trim: true,
        }
    }
}

impl Table {
    /// The table in a CSV file (RFC 4180, UTF-8).
    pub fn load_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Table> {
        let path = path.as_ref();
        let io = |source| Error::Io { action: "reading", path: path.to_owned(), source };
        Table::read_csv(std::fs::File::open(path).map_err(io)?, options, &path.display().to_string())
    }

    /// As [`load_csv`](Table::load_csv), from anything; `what` names it in errors.
    pub fn read_csv(from: impl Read, options: &CsvOptions, what: &str) -> Result<Table> {
        let bad = |message: String| Error::Format { what: what.to_owned(), message };
        let mut from = BufReader::new(from);
        for _ in 0..options.skip {
            from.skip_until(b'\n').map_err(|e| bad(format!("reading failed: {e}")))?;
        }
        let mut reader = ReaderBuilder::new()
            .delimiter(options.delimiter)
            .has_headers(options.names.is_none())
            .trim(if options.trim { Trim::All } else { Trim::None })
            .from_reader(from);
        // Lines that are skipped count in messages.
        let problem = |e: csv::Error| bad(format!("{e} (counted after the {} lines that are skipped)", options.skip));
        let names = match &options.names {
            Some(names) => names.clone(),
            None => reader.headers().map_err(problem)?.iter().map(str::to_owned).collect(),
        };
        if let Some((name, _)) = options.types.iter().find(|(name, _)| !names.contains(name)) {
            return Err(bad(format!("there is no column {name:?} to have a type; there are {names:?}")));
        }
        let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); names.len()];
        let mut lines = Vec::new();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(problem)? {
            let line = record.position().map_or(0, |at| at.line()) + options.skip as u64;
            if record.len() != names.len() {
                let message = format!("line {line} has {} fields, and there are {} names", record.len(), names.len());
                return Err(bad(message));
            }
            lines.push(line);
            for (column, field) in columns.iter_mut().zip(&record) {
                let missing = options.missing.iter().any(|marker| marker == field);
                column.push((!missing).then(|| field.to_owned()));
            }
        }
        let mut table = Table::new();
        for (name, values) in names.iter().zip(columns) {
            let given = options.types.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
            let kind = given.unwrap_or_else(|| infer(&values));
            let column = typed(values, kind).map_err(|(row, value, wanted)| {
                bad(format!("line {}: column {name:?} holds {value:?}, which is no {wanted}", lines[row]))
            })?;
            table.push(name, column).map_err(|e| bad(e.to_string()))?;
        }
        Ok(table)
    }
}

fn infer(values: &[Option<String>]) -> ColumnType {
    let all = |parses: fn(&str) -> bool| values.iter().flatten().all(|value| parses(value));
    match values.iter().any(Option::is_some) {
        true if all(|value| value.parse::<i64>().is_ok()) => ColumnType::Integers,
        true if !all(|value| value.parse::<f64>().is_ok()) => ColumnType::Text,
        _ => ColumnType::Numbers,
    }
}

/// The row, value and type where a value is not of the type.
type Misfit = (usize, String, &'static str);

fn typed(values: Vec<Option<String>>, kind: ColumnType) -> Result<Column, Misfit> {
    fn parsed<T: std::str::FromStr>(values: Vec<Option<String>>, kind: &'static str) -> Result<Vec<Option<T>>, Misfit> {
        let parse = |(row, value): (usize, Option<String>)| match value {
            Some(value) => value.parse().map(Some).map_err(|_| (row, value, kind)),
            None => Ok(None),
        };
        values.into_iter().enumerate().map(parse).collect()
    }
    Ok(match kind {
        ColumnType::Numbers => Column::Numbers(parsed(values, "number")?),
        ColumnType::Integers => Column::Integers(parsed(values, "whole number")?),
        ColumnType::Text => Column::Text(values),
    })
}
