//! The loops of a fold. They are compiled per fold and accumulator; the walks in `cpu.rs` call them through a table and
//! are compiled per accumulator alone.

use super::fold::{Fold, Number};
use crate::device::cpu::vectorize;

/// Interleaved accumulators of a row.
pub(super) const LANES: usize = 32;

/// A fold as functions over neighbouring numbers.
pub(super) struct Loops<'a, A> {
    /// The result for no elements.
    pub(super) empty: A,
    /// The shift of every output; without it, steps get 0.
    pub(super) shifts: Option<&'a [A]>,
    /// Folds a few numbers into one accumulator.
    pub(super) few: fn(A, &[A], shift: A) -> A,
    /// Folds numbers into interleaved lanes.
    pub(super) lanes: fn(&mut [A; LANES], &[A], shift: A),
    /// Folds rows, which follow each other by a stride, into one accumulator per column.
    pub(super) columns: fn(&mut [A], Rows<'_, A>, shifts: Option<&[A]>),
    /// Merges partial results into others.
    pub(super) merge: fn(&mut [A], &[A]),
}

/// `count` rows of a matrix: row `i` starts at `all[i · stride]`.
pub(super) struct Rows<'a, A> {
    pub(super) all: &'a [A],
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl<'a, A: Number> Loops<'a, A> {
    pub(super) fn of<F: Fold<A>>(fold: &'a F) -> Self {
        Loops {
            empty: F::EMPTY,
            shifts: fold.shifts(),
            few: |acc, x, shift| x.iter().fold(acc, |acc, &x| F::step(acc, x, shift)),
            lanes: step_lanes::<A, F>,
            columns: step_columns::<A, F>,
            merge: |to, from| to.iter_mut().zip(from).for_each(|(a, &b)| *a = F::merge(*a, b)),
        }
    }

    /// The lanes' one result, merged as a tree.
    pub(super) fn merge_lanes(&self, lanes: &mut [A; LANES]) -> A {
        let mut half = LANES / 2;
        while half > 0 {
            let (low, high) = lanes.split_at_mut(half);
            (self.merge)(low, &high[..half]);
            half /= 2;
        }
        lanes[0]
    }

    /// Folds neighbouring numbers in one.
    pub(super) fn run(&self, x: &[A], shift: A) -> A {
        if x.len() < LANES {
            return (self.few)(self.empty, x, shift);
        }
        let mut lanes = [self.empty; LANES];
        (self.lanes)(&mut lanes, x, shift);
        self.merge_lanes(&mut lanes)
    }
}

fn step_lanes<A: Number, F: Fold<A>>(lanes: &mut [A; LANES], x: &[A], shift: A) {
    vectorize(
        #[inline(always)]
        || {
            // In registers, not through the reference.
            let mut local = *lanes;
            let (chunks, rest) = x.as_chunks::<LANES>();
            for c in chunks {
                for l in 0..LANES {
                    local[l] = F::step(local[l], c[l], shift);
                }
            }
            for l in 0..rest.len() {
                local[l] = F::step(local[l], rest[l], shift);
            }
            *lanes = local;
        },
    )
}

fn step_columns<A: Number, F: Fold<A>>(acc: &mut [A], rows: Rows<'_, A>, shifts: Option<&[A]>) {
    let Rows { all, stride, count } = rows;
    let width = acc.len();
    vectorize(
        #[inline(always)]
        || match shifts {
            None => {
                for row in 0..count {
                    let x = &all[row * stride..][..width];
                    for j in 0..width {
                        acc[j] = F::step(acc[j], x[j], A::ZERO);
                    }
                }
            }
            Some(shifts) => {
                let shifts = &shifts[..width];
                for row in 0..count {
                    let x = &all[row * stride..][..width];
                    for j in 0..width {
                        acc[j] = F::step(acc[j], x[j], shifts[j]);
                    }
                }
            }
        },
    )
}
