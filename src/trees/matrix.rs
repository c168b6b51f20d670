//! Rows of numbers as a tree reads them, gathered block by block from columns.

use super::features::NO_CATEGORY;
use rayon::prelude::*;

/// Rows that are gathered and taken through all trees at once: with a few dozen columns they stay in the first cache.
const BLOCK: usize = 64;

/// Columns of numbers, or of categories with the number of each.
pub(super) struct Matrix<'a> {
    rows: usize,
    columns: Vec<Source<'a>>,
}

enum Source<'a> {
    Numbers(&'a [f64]),
    Categories { ids: &'a [u32], numbers: Vec<f64> },
}

impl<'a> Matrix<'a> {
    pub fn new(rows: usize) -> Self {
        Matrix { rows, columns: Vec::new() }
    }

    pub fn push_numbers(&mut self, values: &'a [f64]) {
        self.columns.push(Source::Numbers(values));
    }

    pub fn push_categories(&mut self, ids: &'a [u32], numbers: Vec<f64>) {
        self.columns.push(Source::Categories { ids, numbers });
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Calls `f` with blocks of rows and their `width` places each of `out`, in parallel; both are row-major.
    pub fn for_blocks(&self, out: &mut [f64], width: usize, f: impl Fn(&[f64], &mut [f64]) + Sync) {
        let columns = self.columns.len();
        if columns == 0 || width == 0 {
            return;
        }
        let new_buffer = || vec![0.0; BLOCK * columns];
        let blocks = out.par_chunks_mut(BLOCK * width).with_min_len(16).enumerate();
        blocks.for_each_init(new_buffer, |buffer, (block, out)| {
            let count = out.len() / width;
            self.gather(block * BLOCK, count, buffer);
            f(&buffer[..count * columns], out);
        });
    }

    /// The rows from `begin` on, row by row.
    fn gather(&self, begin: usize, count: usize, buffer: &mut [f64]) {
        for (c, column) in self.columns.iter().enumerate() {
            let places = buffer[c..].iter_mut().step_by(self.columns.len());
            match column {
                Source::Numbers(values) => {
                    places.zip(&values[begin..begin + count]).for_each(|(place, &v)| *place = v);
                }
                Source::Categories { ids, numbers } => {
                    places.zip(&ids[begin..begin + count]).for_each(|(place, &id)| {
                        *place = if id == NO_CATEGORY { f64::NAN } else { numbers[id as usize] };
                    });
                }
            }
        }
    }

    /// All rows, row by row.
    pub fn dense(&self) -> Vec<f64> {
        let mut values = vec![0.0; self.rows * self.columns.len()];
        self.gather(0, self.rows, &mut values);
        values
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }
}
