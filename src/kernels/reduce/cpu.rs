//! The walk of every reduction: along rows or side by side in columns, in parts whose results combine pairwise.
//!
//! The order of rounding is a function of shape and strides: parts of a fixed size, inside a part blocks of 1024
//! elements folded in 32 lanes (rows), or row after row (columns); partial results merge as a balanced tree. So a sum
//! of n terms has an error of at most (100 + log₂ n) roundoffs of Σ|x|: along rows 64 in a lane (32 where runs are long),
//! 5 between lanes, 17 between blocks; in columns 64 in a lane and 32 between lanes; then the tree.

use super::fold::{Fold, Number, Operand, Scratch};
use super::plan::{COLUMNS, GROUP, Odometer, Order, Plan, ROWS};
use crate::Result;
use crate::device::cpu::{BLOCK, GRAIN, for_each_chunk, vectorize};

const LANES: usize = 32;

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
    if plan.reduced.numel() == 0 {
        for (i, o) in out.iter_mut().enumerate() {
            *o = finish(i, F::EMPTY);
        }
        return Ok(());
    }
    match plan.order {
        Order::Rows { part } => rows(plan, part, source, fold, out, finish),
        Order::Columns { part } => {
            // Shifts differ from column to column, so that rows cannot be grouped.
            let part = if fold.shifts().is_some() { ROWS } else { part };
            columns(plan, part, source, fold, out, finish)
        }
    }
}

fn rows<A: Number, F: Fold<A>>(
    plan: &Plan,
    part: usize,
    source: &Source<'_, A>,
    fold: &F,
    out: &mut [A],
    finish: Finish<'_, A>,
) -> Result<()> {
    let length = plan.reduced.numel();
    let shift = |i: usize| fold.shifts().map_or(A::ZERO, |s| s[i]);
    let parts = length.div_ceil(part);
    if parts == 1 {
        let group = (GRAIN / length).max(1);
        for_each_chunk(out, group, |chunk, out| {
            let mut block = [A::ZERO; BLOCK];
            let mut start = Odometer::new(&plan.kept, chunk * group);
            for (i, o) in out.iter_mut().enumerate() {
                let i = chunk * group + i;
                *o = finish(i, fold_part::<A, F>(plan, source, start.at, 0..length, shift(i), &mut block));
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
        partial[0] = fold_part::<A, F>(plan, source, start, range, shift(i), &mut block);
    });
    for ((i, o), partial) in out.iter_mut().enumerate().zip(partial.get_mut().chunks_mut(parts)) {
        combine::<A, F>(partial, 1);
        *o = finish(i, partial[0]);
    }
    Ok(())
}

/// Folds the elements `range` of the reduced axes, for the output whose first element is at `start`.
fn fold_part<A: Number, F: Fold<A>>(
    plan: &Plan,
    source: &Source<'_, A>,
    start: usize,
    range: std::ops::Range<usize>,
    shift: A,
    block: &mut [A; BLOCK],
) -> A {
    let mut walk = Odometer::new(&plan.reduced, range.start);
    let (run, step) = (plan.reduced.dims().last().copied().unwrap_or(1), plan.reduced.strides().last().copied());
    // Long runs of accumulators are read where they lie.
    let in_place = source.direct.filter(|_| step == Some(1) && (run >= LANES || run == plan.reduced.numel()));
    let (mut lanes, mut held, mut total) = ([F::EMPTY; LANES], 0, F::EMPTY);
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
            total = x.iter().fold(total, |acc, &x| F::step(acc, x, shift));
            continue;
        }
        step_lanes::<A, F>(&mut lanes, x, shift);
        held += x.len();
        if held >= BLOCK || left == 0 {
            total = F::merge(total, merge_lanes::<A, F>(std::mem::replace(&mut lanes, [F::EMPTY; LANES])));
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

/// Folds neighbouring numbers in one.
pub(super) fn fold_run<A: Number, F: Fold<A>>(x: &[A], shift: A) -> A {
    if x.len() < LANES {
        return x.iter().fold(F::EMPTY, |acc, &x| F::step(acc, x, shift));
    }
    let mut lanes = [F::EMPTY; LANES];
    step_lanes::<A, F>(&mut lanes, x, shift);
    merge_lanes::<A, F>(lanes)
}

/// Folds neighbouring numbers into interleaved lanes.
fn step_lanes<A: Number, F: Fold<A>>(lanes: &mut [A; LANES], x: &[A], shift: A) {
    vectorize(
        #[inline(always)]
        || {
            // In registers, not through the reference.
            let mut local = *lanes;
            let mut chunks = x.chunks_exact(LANES);
            for c in &mut chunks {
                for l in 0..LANES {
                    local[l] = F::step(local[l], c[l], shift);
                }
            }
            for (l, &x) in local.iter_mut().zip(chunks.remainder()) {
                *l = F::step(*l, x, shift);
            }
            *lanes = local;
        },
    )
}

fn merge_lanes<A: Number, F: Fold<A>>(mut lanes: [A; LANES]) -> A {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] = F::merge(lanes[l], lanes[l + half]);
        }
        half /= 2;
    }
    lanes[0]
}

fn columns<A: Number, F: Fold<A>>(
    plan: &Plan,
    part: usize,
    source: &Source<'_, A>,
    fold: &F,
    out: &mut [A],
    finish: Finish<'_, A>,
) -> Result<()> {
    let length = plan.reduced.numel();
    let width = plan.width();
    let parts = length.div_ceil(part);
    let fold_block = |first: usize, rows: std::ops::Range<usize>, acc: &mut [A]| {
        let start = Odometer::new(&plan.kept, first).at;
        fold_columns::<A, F>(plan, source, start, rows, fold.shifts().map(|s| &s[first..first + acc.len()]), acc);
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
    for_each_chunk(partial, parts * width, |_, partial| combine::<A, F>(partial, width));
    for (run, out) in out.chunks_mut(width).enumerate() {
        for (j, o) in out.iter_mut().enumerate() {
            *o = finish(run * width + j, partial[run * parts * width + j]);
        }
    }
    Ok(())
}

/// Folds `rows` of neighbouring columns from `start` on into one accumulator each.
fn fold_columns<A: Number, F: Fold<A>>(
    plan: &Plan,
    source: &Source<'_, A>,
    start: usize,
    rows: std::ops::Range<usize>,
    shifts: Option<&[A]>,
    acc: &mut [A],
) {
    let width = acc.len();
    if plan.groups() && shifts.is_none() {
        return fold_dense::<A, F>(source, start + rows.start * width, rows.len() * width, acc);
    }
    let step = plan.kept.strides().last().copied().unwrap_or(1);
    acc.fill(F::EMPTY);
    let mut walk = Odometer::new(&plan.reduced, rows.start);
    match source.direct.filter(|_| step == 1) {
        Some(all) => vectorize(
            #[inline(always)]
            || {
                for _ in rows {
                    let at = start + walk.at;
                    step_columns::<A, F>(acc, &all[at..at + width], shifts);
                    walk.advance(1);
                }
            },
        ),
        None => {
            let mut block = [A::ZERO; COLUMNS];
            for _ in rows {
                (source.load)(start + walk.at, step, &mut block[..width]);
                walk.advance(1);
                vectorize(
                    #[inline(always)]
                    || step_columns::<A, F>(acc, &block[..width], shifts),
                );
            }
        }
    }
}

#[inline(always)]
fn step_columns<A: Number, F: Fold<A>>(acc: &mut [A], x: &[A], shifts: Option<&[A]>) {
    match shifts {
        None => acc.iter_mut().zip(x).for_each(|(a, &x)| *a = F::step(*a, x, A::ZERO)),
        Some(s) => acc.iter_mut().zip(x).zip(s).for_each(|((a, &x), &s)| *a = F::step(*a, x, s)),
    }
}

/// Folds a dense matrix of narrow rows, several rows side by side.
fn fold_dense<A: Number, F: Fold<A>>(source: &Source<'_, A>, start: usize, length: usize, acc: &mut [A]) {
    let width = acc.len();
    let group = GROUP / width * width;
    let mut lanes = [F::EMPTY; GROUP];
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
        vectorize(
            #[inline(always)]
            || {
                for x in x.chunks(group) {
                    step_columns::<A, F>(&mut lanes[..x.len()], x, None);
                }
            },
        );
    }
    acc.copy_from_slice(&lanes[..width]);
    for lanes in lanes[width..group].chunks_exact(width) {
        for (a, &l) in acc.iter_mut().zip(lanes) {
            *a = F::merge(*a, l);
        }
    }
}

/// Merges the rows of `partial` into the first, as a balanced tree.
fn combine<A: Number, F: Fold<A>>(partial: &mut [A], width: usize) {
    let mut rows = partial.len() / width;
    while rows > 1 {
        let half = rows.div_ceil(2);
        let (low, high) = partial[..rows * width].split_at_mut(half * width);
        for (a, &b) in low.iter_mut().zip(&*high) {
            *a = F::merge(*a, b);
        }
        rows = half;
    }
}
