//! The walk of every reduction: along rows or side by side in columns, in parts whose results combine pairwise.
//!
//! The order of rounding is a function of shape and strides: parts of a fixed size, inside a part blocks of 1024
//! elements folded in 32 lanes (rows), or row after row (columns); partial results merge as a balanced tree. So a sum
//! of n terms has an error of at most (100 + log₂ n) roundoffs of Σ|x|: along rows 64 in a lane (32 where runs are long),
//! 5 between lanes, 17 between blocks; in columns 64 in a lane and 32 between lanes; then the tree.

use super::fold::{Fold, Number, Operand, Scratch};
use super::loops::{LANES, Loops, Rows};
use super::plan::{COLUMNS, GROUP, Odometer, Order, Plan, ROWS};
use crate::Result;
use crate::device::cpu::{BLOCK, GRAIN, for_each_chunk};

/// An input as its accumulator type, whatever its dtype: the walks are compiled once per accumulator.
pub(crate) struct Source<'a, A> {
    /// The whole storage, where the dtype is its own accumulator.
    direct: Option<&'a [A]>,
    /// Reads elements from a storage index on, with a stride.
    load: &'a (dyn Fn(usize, usize, &mut [A]) + Sync),
}

/// Calls `f` with a storage of any dtype as accumulators.
pub(super) fn with_source<T: Operand, R>(all: &[T], f: impl FnOnce(&Source<'_, T::Acc>) -> R) -> R {
    f(&Source { direct: T::direct(all), load: &|at, step, to| load_run(all, at, step, to) })
}

/// What becomes of an accumulator: `finish(i, acc)` is output `i`.
pub(super) type Finish<'a, A> = &'a (dyn Fn(usize, A) -> A + Sync);

/// Folds the input into `out`, contiguous over the kept axes.
pub(super) fn reduce<A: Number, F: Fold<A>>(
    plan: &Plan,
    source: &Source<'_, A>,
    fold: &F,
    out: &mut [A],
    finish: Finish<'_, A>,
) -> Result<()> {
    walk(plan, source, &Loops::of(fold), out, finish)
}

fn walk<A: Number>(
    plan: &Plan,
    source: &Source<'_, A>,
    fold: &Loops<'_, A>,
    out: &mut [A],
    finish: Finish<'_, A>,
) -> Result<()> {
    if plan.reduced.numel() == 0 {
        for (i, o) in out.iter_mut().enumerate() {
            *o = finish(i, fold.empty);
        }
        return Ok(());
    }
    match plan.order {
        Order::Rows { part } => rows(plan, part, source, fold, out, finish),
        Order::Columns { part } => {
            // Shifts differ from column to column, so that rows cannot be grouped.
            let part = if fold.shifts.is_some() { ROWS } else { part };
            columns(plan, part, source, fold, out, finish)
        }
    }
}

fn rows<A: Number>(
    plan: &Plan,
    part: usize,
    source: &Source<'_, A>,
    fold: &Loops<'_, A>,
    out: &mut [A],
    finish: Finish<'_, A>,
) -> Result<()> {
    let length = plan.reduced.numel();
    let shift = |i: usize| fold.shifts.map_or(A::ZERO, |s| s[i]);
    let parts = length.div_ceil(part);
    if parts == 1 {
        let group = (GRAIN / length).max(1);
        for_each_chunk(out, group, |chunk, out| {
            let mut block = [A::ZERO; BLOCK];
            let mut start = Odometer::new(&plan.kept, chunk * group);
            for (i, o) in out.iter_mut().enumerate() {
                let i = chunk * group + i;
                *o = finish(i, fold_part(plan, source, fold, start.at, 0..length, shift(i), &mut block));
                start.advance(1);
            }
        });
        return Ok(());
    }
    let mut partial = Scratch::<A>::new(out.len() * parts)?;
    for_each_chunk(partial.get_mut(), 1, |job, partial| {
        let mut block = [A::ZERO; BLOCK];
        let (i, p) = (job / parts, job % parts);
        let range = p * part..length.min((p + 1) * part);
        let start = Odometer::new(&plan.kept, i).at;
        partial[0] = fold_part(plan, source, fold, start, range, shift(i), &mut block);
    });
    for ((i, o), partial) in out.iter_mut().enumerate().zip(partial.get_mut().chunks_mut(parts)) {
        combine(fold, partial, 1);
        *o = finish(i, partial[0]);
    }
    Ok(())
}

/// Folds the elements `range` of the reduced axes, for the output whose first element is at `start`.
fn fold_part<A: Number>(
    plan: &Plan,
    source: &Source<'_, A>,
    fold: &Loops<'_, A>,
    start: usize,
    range: std::ops::Range<usize>,
    shift: A,
    block: &mut [A; BLOCK],
) -> A {
    let mut walk = Odometer::new(&plan.reduced, range.start);
    let (run, step) = (plan.reduced.dims().last().copied().unwrap_or(1), plan.reduced.strides().last().copied());
    // Long runs of accumulators are read where they lie.
    let in_place = source.direct.filter(|_| step == Some(1) && (run >= LANES || run == plan.reduced.numel()));
    let (mut lanes, mut held, mut total) = ([fold.empty; LANES], 0, fold.empty);
    let mut left = range.len();
    while left > 0 {
        let n = walk.run().0.min(left).min(BLOCK);
        let at = start + walk.at;
        let x = match in_place {
            Some(all) => {
                walk.advance(n);
                &all[at..at + n]
            }
            None => {
                let mut filled = 0;
                while filled < left.min(BLOCK) {
                    let (run, step) = walk.run();
                    let n = run.min(left.min(BLOCK) - filled);
                    (source.load)(start + walk.at, step, &mut block[filled..filled + n]);
                    walk.advance(n);
                    filled += n;
                }
                &block[..filled]
            }
        };
        left -= x.len();
        if range.len() < LANES {
            total = (fold.few)(total, x, shift);
            continue;
        }
        (fold.lanes)(&mut lanes, x, shift);
        held += x.len();
        if held >= BLOCK || left == 0 {
            let block = fold.merge_lanes(&mut lanes);
            (fold.merge)(std::slice::from_mut(&mut total), &[block]);
            lanes = [fold.empty; LANES];
            held = 0;
        }
    }
    total
}

pub(super) fn load_run<T: Operand>(all: &[T], at: usize, step: usize, to: &mut [T::Acc]) {
    match step {
        1 => T::load(&all[at..at + to.len()], to),
        0 => to.fill(all[at].to_acc()),
        _ => to.iter_mut().zip(all[at..].iter().step_by(step)).for_each(|(t, f)| *t = f.to_acc()),
    }
}

fn columns<A: Number>(
    plan: &Plan,
    part: usize,
    source: &Source<'_, A>,
    fold: &Loops<'_, A>,
    out: &mut [A],
    finish: Finish<'_, A>,
) -> Result<()> {
    let length = plan.reduced.numel();
    let width = plan.width();
    let parts = length.div_ceil(part);
    let fold_block = |first: usize, rows: std::ops::Range<usize>, acc: &mut [A]| {
        let start = Odometer::new(&plan.kept, first).at;
        let shifts = fold.shifts.map(|s| &s[first..first + acc.len()]);
        fold_columns(plan, source, fold, start, rows, shifts, acc);
    };
    if parts == 1 {
        // Whole runs of columns where they are narrow, blocks of one run where they are wide.
        let runs = if width < COLUMNS { (GRAIN / (length * width)).max(1) } else { 1 };
        for_each_chunk(out, runs * width, |chunk, out| {
            for (run, out) in out.chunks_mut(width).enumerate() {
                let first = (chunk * runs + run) * width;
                for_each_chunk(out, COLUMNS, |block, out| {
                    let first = first + block * COLUMNS;
                    fold_block(first, 0..length, out);
                    out.iter_mut().enumerate().for_each(|(j, o)| *o = finish(first + j, *o));
                });
            }
        });
        return Ok(());
    }
    let mut partial = Scratch::<A>::new(out.len() * parts)?;
    for_each_chunk(partial.get_mut(), width, |job, acc| {
        let (run, p) = (job / parts, job % parts);
        let rows = p * part..length.min((p + 1) * part);
        for_each_chunk(acc, COLUMNS, |block, acc| fold_block(run * width + block * COLUMNS, rows.clone(), acc));
    });
    let partial = partial.get_mut();
    for_each_chunk(partial, parts * width, |_, partial| combine(fold, partial, width));
    for (run, out) in out.chunks_mut(width).enumerate() {
        for (j, o) in out.iter_mut().enumerate() {
            *o = finish(run * width + j, partial[run * parts * width + j]);
        }
    }
    Ok(())
}

/// Folds `rows` of neighbouring columns from `start` on into one accumulator each.
fn fold_columns<A: Number>(
    plan: &Plan,
    source: &Source<'_, A>,
    fold: &Loops<'_, A>,
    start: usize,
    rows: std::ops::Range<usize>,
    shifts: Option<&[A]>,
    acc: &mut [A],
) {
    let width = acc.len();
    if plan.groups() && shifts.is_none() {
        return fold_dense(source, fold, start + rows.start * width, rows.len() * width, acc);
    }
    let step = plan.kept.strides().last().copied().unwrap_or(1);
    acc.fill(fold.empty);
    let mut walk = Odometer::new(&plan.reduced, rows.start);
    let mut left = rows.len();
    match source.direct.filter(|_| step == 1) {
        Some(all) => {
            while left > 0 {
                let (run, stride) = walk.run();
                let count = run.min(left);
                (fold.columns)(acc, Rows { all: &all[start + walk.at..], stride, count }, shifts);
                walk.advance(count);
                left -= count;
            }
        }
        None => {
            let mut block = [A::ZERO; COLUMNS];
            for _ in 0..left {
                (source.load)(start + walk.at, step, &mut block[..width]);
                walk.advance(1);
                (fold.columns)(acc, Rows { all: &block, stride: 0, count: 1 }, shifts);
            }
        }
    }
}

/// Folds a dense matrix of narrow rows, several rows side by side.
fn fold_dense<A: Number>(source: &Source<'_, A>, fold: &Loops<'_, A>, start: usize, length: usize, acc: &mut [A]) {
    let width = acc.len();
    let group = GROUP / width * width;
    let mut lanes = [fold.empty; GROUP];
    let mut block = [A::ZERO; BLOCK];
    let whole = BLOCK / group * group;
    for from in (0..length).step_by(whole) {
        let n = whole.min(length - from);
        let x = match source.direct {
            Some(all) => &all[start + from..start + from + n],
            None => {
                (source.load)(start + from, 1, &mut block[..n]);
                &block[..n]
            }
        };
        (fold.columns)(&mut lanes[..group], Rows { all: x, stride: group, count: n / group }, None);
        let rest = &x[n / group * group..];
        (fold.columns)(&mut lanes[..rest.len()], Rows { all: rest, stride: 0, count: 1 }, None);
    }
    acc.copy_from_slice(&lanes[..width]);
    for lanes in lanes[width..group].chunks_exact(width) {
        (fold.merge)(acc, lanes);
    }
}

/// Merges the rows of `partial` into the first, as a balanced tree.
fn combine<A: Number>(fold: &Loops<'_, A>, partial: &mut [A], width: usize) {
    let mut rows = partial.len() / width;
    while rows > 1 {
        let half = rows.div_ceil(2);
        let (low, high) = partial[..rows * width].split_at_mut(half * width);
        (fold.merge)(low, high);
        rows = half;
    }
}
