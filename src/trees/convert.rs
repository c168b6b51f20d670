//! From tensors and tables.

use super::features::Features;
use crate::data::{Column, Table};
use crate::{Error, Result, Tensor};

impl Features {
    /// The columns of a matrix (rows, columns), named `f0`, `f1`, …; NaN is missing.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor, trees::Features};
    /// let matrix = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2], &Device::Cpu)?;
    /// let table = Features::from_tensor(&matrix)?;
    /// assert_eq!((table.rows(), table.names()), (3, vec!["f0", "f1"]));
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn from_tensor(matrix: &Tensor) -> Result<Self> {
        match matrix.dims() {
            &[_, columns] => Features::from_rows(&matrix.to_f64_vec()?, columns),
            _ => Err(Error::shape("Features::from_tensor", "a matrix (rows, columns)", &[*matrix.shape()])),
        }
    }

    /// The columns of a table: those of text become categories.
    ///
    /// ```
    /// # use warpsmith::data::{Column, Table};
    /// # use warpsmith::trees::Features;
    /// let mut table = Table::new();
    /// table.push("age", Column::Integers(vec![Some(39), None]))?;
    /// table.push("work", Column::Text(vec![None, Some("Private".into())]))?;
    /// let features = Features::from_table(&table)?;
    /// assert!(features.numbers(0)?[1].is_nan() && features.is_categorical(1));
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn from_table(table: &Table) -> Result<Self> {
        table.names().iter().try_fold(Features::new(), |features, name| match table.column(name)? {
            Column::Text(values) => features.categorical(name, values.iter().map(Option::as_ref)),
            column => {
                let numbers = column.numbers().unwrap_or_default();
                features.numeric(name, numbers.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
            }
        })
    }
}
