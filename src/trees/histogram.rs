//! Sums of gradients per bin, in fixed point.
//!
//! Each row's gradient and second derivative are rounded once, to about thirty bits below the largest of the round;
//! from there on sums are integers. Integer addition is associative: neither the number of threads nor the order of
//! the rows changes a bit, and a sibling's histogram, its parent's less its own, is what building it would give. (With
//! floating point the difference of two large sums keeps the error of both.) The rounding is finer than that of `f32`
//! gradients for all but the smallest. The count of rows rides in the low bits of the second sum, for nothing.

use super::binning::{Group, MISSING};
use rayon::prelude::*;
use std::ops::Range;

/// A sum of gradients; a sum of second derivatives above a count of rows.
pub(super) type Cell = [i64; 2];

/// Cells of one feature while a histogram is built. A bin's number is below 256, so no access needs a check; four more
/// cells keep equal bins of neighbouring features in different cache sets.
const STRIDE: usize = 260;
pub(super) type Table = [Cell; STRIDE];

/// Bits of a gradient's magnitude.
const GRADIENT_BITS: i32 = 30;

/// What a cell's integers mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    gradient: f64,
    hessian: f64,
    count_bits: u32,
}

/// A cell's sums as numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sums {
    pub gradient: f64,
    pub hessian: f64,
    pub count: u64,
}

impl Scale {
    #[inline(always)]
    pub fn sums(&self, cell: Cell) -> Sums {
        Sums {
            gradient: cell[0] as f64 * self.gradient,
            hessian: (cell[1] >> self.count_bits) as f64 * self.hessian,
            count: self.count(cell),
        }
    }

    #[inline(always)]
    pub fn count(&self, cell: Cell) -> u64 {
        cell[1] as u64 & ((1 << self.count_bits) - 1)
    }
}

#[inline(always)]
pub(super) fn add(a: Cell, b: Cell) -> Cell {
    [a[0] + b[0], a[1] + b[1]]
}

#[inline(always)]
pub(super) fn sub(a: Cell, b: Cell) -> Cell {
    [a[0] - b[0], a[1] - b[1]]
}

/// Rounds the gradients and second derivatives (not negative) of one of several outputs (both row-major) into cells.
/// Scales are powers of two, so that numbers with few bits, the 1 of a squared error among them, stay exact.
pub(super) fn quantize(gradients: &[[f64; 2]], output: usize, outputs: usize, cells: &mut Vec<Cell>) -> Scale {
    let rows = gradients.len() / outputs;
    let of_row = |row: usize| gradients[row * outputs + output];
    let larger = |a: [f64; 2], b: [f64; 2]| [a[0].max(b[0]), a[1].max(b[1])];
    let magnitude = |row: usize| of_row(row).map(f64::abs);
    let largest = (0..rows).into_par_iter().with_min_len(4096).map(magnitude).reduce(|| [0.0; 2], larger);
    // The sum of n second derivatives, n, and the sign share 64 bits.
    let count_bits = usize::BITS - rows.leading_zeros();
    let hessian_bits = GRADIENT_BITS.min(63 - 2 * count_bits as i32);
    let scale = Scale {
        gradient: 2f64.powi(exponent(largest[0]) - GRADIENT_BITS),
        hessian: 2f64.powi(exponent(largest[1]) - hessian_bits),
        count_bits,
    };
    let inverse = [scale.gradient.recip(), scale.hessian.recip()];
    cells.resize(rows, [0; 2]);
    cells.par_iter_mut().with_min_len(4096).enumerate().for_each(|(row, cell)| {
        let [g, h] = of_row(row);
        *cell = [nearest(g * inverse[0]), (nearest(h * inverse[1]) << count_bits) + 1];
    });
    scale
}

/// The nearest integer to a number of at most 2³⁰ in magnitude, ties to even: adding 1.5·2⁵² leaves it in the low bits.
#[inline(always)]
fn nearest(x: f64) -> i64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (x + SHIFT).to_bits() as i64 - SHIFT.to_bits() as i64
}

/// The smallest e with |x| ≤ 2^e, kept where 2^±e is a normal number.
fn exponent(x: f64) -> i32 {
    let e = if x > 0.0 { x.log2().ceil() as i32 } else { 0 };
    e.clamp(-900, 900)
}

/// Rows that a histogram is made of.
#[derive(Clone, Debug)]
pub(super) enum Rows<'a> {
    /// A stretch of all rows.
    Stretch(Range<usize>),
    /// Those with these numbers.
    Chosen(&'a [u32]),
}

impl Rows<'_> {
    fn len(&self) -> usize {
        match self {
            Rows::Stretch(range) => range.len(),
            Rows::Chosen(rows) => rows.len(),
        }
    }

    fn part(&self, part: usize, parts: usize) -> Rows<'_> {
        let bounds = part * self.len() / parts..(part + 1) * self.len() / parts;
        match self {
            Rows::Stretch(range) => Rows::Stretch(range.start + bounds.start..range.start + bounds.end),
            Rows::Chosen(rows) => Rows::Chosen(&rows[bounds]),
        }
    }
}

/// Adds the rows' cells to the bins of each feature of a group.
fn accumulate(group: &Group, rows: &Rows, cells: &[Cell], tables: &mut [Table]) {
    // The loop over a row's features is unrolled.
    match group.width {
        1 => accumulate_wide::<1>(group, rows, cells, tables),
        2 => accumulate_wide::<2>(group, rows, cells, tables),
        3 => accumulate_wide::<3>(group, rows, cells, tables),
        4 => accumulate_wide::<4>(group, rows, cells, tables),
        5 => accumulate_wide::<5>(group, rows, cells, tables),
        6 => accumulate_wide::<6>(group, rows, cells, tables),
        7 => accumulate_wide::<7>(group, rows, cells, tables),
        _ => accumulate_wide::<8>(group, rows, cells, tables),
    }
}

fn accumulate_wide<const W: usize>(group: &Group, rows: &Rows, cells: &[Cell], tables: &mut [Table]) {
    let (bins, _) = group.rows.as_chunks::<W>();
    let Some(tables) = tables.first_chunk_mut::<W>() else { return };
    let mut one = |bins: &[u8; W], cell: Cell| {
        for w in 0..W {
            let sum = &mut tables[w][bins[w] as usize];
            *sum = add(*sum, cell);
        }
    };
    match rows {
        Rows::Stretch(range) => {
            bins[range.clone()].iter().zip(&cells[range.clone()]).for_each(|(bins, &cell)| one(bins, cell));
        }
        Rows::Chosen(rows) => rows.iter().for_each(|&i| one(&bins[i as usize], cells[i as usize])),
    }
}

/// Room for building histograms of a group's features, all zero between uses: one set of tables per part of the rows.
pub(super) struct Scratch {
    parts: Vec<Vec<Table>>,
}

/// Fewer rows than this are not shared out.
const PART: usize = 8192;

impl Scratch {
    pub fn new(group: &Group) -> Self {
        Scratch { parts: vec![vec![[[0; 2]; STRIDE]; group.width]] }
    }

    /// The histogram of a group over these rows, in the first tables, to be taken by [`Scratch::take`].
    pub fn build(&mut self, group: &Group, rows: &Rows, cells: &[Cell], most_parts: usize) {
        let parts = (rows.len() / PART).clamp(1, most_parts.max(1));
        if parts == 1 {
            return accumulate(group, rows, cells, &mut self.parts[0]);
        }
        while self.parts.len() < parts {
            self.parts.push(vec![[[0; 2]; STRIDE]; group.width]);
        }
        self.parts[..parts].par_iter_mut().enumerate().for_each(|(p, tables)| {
            accumulate(group, &rows.part(p, parts), cells, tables);
        });
        let (sums, rest) = self.parts.split_at_mut(1);
        for part in &mut rest[..parts - 1] {
            let cells = part.as_flattened_mut().iter_mut().map(std::mem::take);
            sums[0].as_flattened_mut().iter_mut().zip(cells).for_each(|(sum, cell)| *sum = add(*sum, cell));
        }
    }

    /// Moves the cells of one feature, the one for missing values last, to `to`, subtracts them from `from`, and leaves
    /// zeros.
    pub fn take(&mut self, feature: usize, bins: usize, to: &mut [Cell], from: Option<&mut [Cell]>) {
        let table = &mut self.parts[0][feature];
        to[..bins].copy_from_slice(&table[..bins]);
        to[bins] = table[MISSING as usize];
        table[..bins].fill([0; 2]);
        table[MISSING as usize] = [0; 2];
        if let Some(from) = from {
            from.iter_mut().zip(to).for_each(|(sum, cell)| *sum = sub(*sum, *cell));
        }
    }
}
