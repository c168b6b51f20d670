//! Values in place of missing ones.

use super::{Column, Table, kind_error};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// What takes the place of a missing value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// The mean of the column's numbers.
    Mean,
    /// Their median; of an even count the mean of the two in the middle.
    Median,
    /// The most frequent value, of several the smallest; for text too.
    MostFrequent,
    /// This number.
    Number(f64),
    /// This text.
    Text(String),
}

/// Values for missing ones, found in the rows that are for training and then used for all rows alike.
///
/// ```
/// use warpsmith::data::{Column, Fill, Filler, Table};
/// let mut table = Table::new();
/// table.push("age", Column::Integers(vec![Some(20), None, Some(40), Some(90)]))?;
/// let training = table.take(&[0, 1, 2])?;
/// let filler = Filler::fit(&training, &[("age", Fill::Mean)])?;
/// assert_eq!(filler.transform(&table)?.numbers("age")?, [20.0, 30.0, 40.0, 90.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filler {
    values: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Integer(i64),
    Text(String),
}

impl Filler {
    /// Finds the values for these columns.
    pub fn fit(table: &Table, fills: &[(&str, Fill)]) -> Result<Self> {
        let value = |(name, fill): &(&str, Fill)| Ok((name.to_string(), find(name, table.column(name)?, fill)?));
        Ok(Filler { values: fills.iter().map(value).collect::<Result<_>>()? })
    }

    /// The table with the values filled in. A column of integers becomes one of numbers where its value is no integer.
    pub fn transform(&self, table: &Table) -> Result<Table> {
        let mut out = table.clone();
        for (name, value) in &self.values {
            let column = table.column(name)?;
            let filled = match (column, value) {
                (Column::Integers(values), Value::Integer(v)) => {
                    Column::Integers(values.iter().map(|x| x.or(Some(*v))).collect())
                }
                (Column::Text(values), Value::Text(v)) => {
                    Column::Text(values.iter().map(|x| x.clone().or_else(|| Some(v.clone()))).collect())
                }
                (_, Value::Text(_)) => return Err(kind_error(name, column, "text")),
                (_, value) => {
                    let number = match value {
                        Value::Integer(v) => *v as f64,
                        Value::Number(v) => *v,
                        Value::Text(_) => unreachable!("texts are matched above"),
                    };
                    let values = column.numbers().ok_or_else(|| kind_error(name, column, "numbers"))?;
                    Column::Numbers(values.into_iter().map(|x| x.or(Some(number))).collect())
                }
            };
            out.replace(name, filled);
        }
        Ok(out)
    }
}

fn find(name: &str, column: &Column, fill: &Fill) -> Result<Value> {
    let empty = || Error::argument("Filler", format!("column {name:?} has no value to take a filling from"));
    let numbers = || -> Result<Vec<f64>> {
        let values = column.numbers().ok_or_else(|| kind_error(name, column, "numbers"))?;
        let values: Vec<f64> = values.into_iter().flatten().collect();
        if values.is_empty() { Err(empty()) } else { Ok(values) }
    };
    Ok(match fill {
        Fill::Mean => {
            let values = numbers()?;
            Value::Number(values.iter().sum::<f64>() / values.len() as f64)
        }
        Fill::Median => {
            let mut values = numbers()?;
            values.sort_by(f64::total_cmp);
            let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
            let median = if odd { values[half] } else { 0.5 * values[half - 1] + 0.5 * values[half] };
            match column {
                Column::Integers(_) if median.fract() == 0.0 => Value::Integer(median as i64),
                _ => Value::Number(median),
            }
        }
        Fill::MostFrequent => match column {
            Column::Integers(values) => {
                Value::Integer(most_frequent(values.iter().flatten()).copied().ok_or_else(empty)?)
            }
            Column::Text(values) => Value::Text(most_frequent(values.iter().flatten()).cloned().ok_or_else(empty)?),
            Column::Numbers(_) => {
                let mut values = numbers()?;
                values.sort_by(f64::total_cmp);
                let runs = values.chunk_by(|a, b| a == b);
                let longest = runs.fold(&values[..0], |best, run| if run.len() > best.len() { run } else { best });
                Value::Number(longest[0])
            }
        },
        Fill::Number(number) => match column {
            Column::Text(_) => return Err(kind_error(name, column, "numbers")),
            Column::Integers(_) if number.fract() == 0.0 && number.abs() < 9e15 => Value::Integer(*number as i64),
            _ => Value::Number(*number),
        },
        Fill::Text(text) => match column {
            Column::Text(_) => Value::Text(text.clone()),
            _ => return Err(kind_error(name, column, "text")),
        },
    })
}

fn most_frequent<'a, T: Ord>(values: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut counts: BTreeMap<&T, usize> = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    // The last of equal maxima is taken: from the end, the smallest.
    counts.into_iter().rev().max_by_key(|&(_, count)| count).map(|(value, _)| value)
}
