//! The walk of every reduction: along rows or side by side in columns, in parts whose results combine pairwise.
//!
//! The order of rounding is a function of shape and strides: parts of a fixed size, inside a part blocks of 1024
//! elements folded in 32 lanes (rows), or row after row (columns); partial results merge as a balanced tree. So a sum
//! of n terms has an error of at most (100 + log₂ n) roundoffs of Σ|x|: along rows 64 in a lane (32 where runs are long),
//! 5 between lanes, 17 between blocks; in columns 64 in a lane and 32 between lanes; then the tree.

use super::fold::{Fold, Number, Operand, Scratch};
use super::plan::{COLUMNS, GROUP, Odometer, Order, Plan, ROWS};
use crate::device::cpu::{BLOCK, GRAIN, for_each_chunk, vectorize};
use crate::{Element, Result};

const LANES: usize = 32;

/// Folds the input into `out`, contiguous over the kept axes; `finish(i, acc)` makes output `i`.
pub(super) fn reduce<T, F, O>(
    plan: &Plan,
    all: &[T],
    fold: &F,
    out: &mut [O],
    finish: impl Fn(usize, T::Acc) -> O + Sync,
) -> Result<()>
where
    T: Operand,
    F: Fold<T::Acc>,
    O: Element,
{
    if plan.reduced.numel() == 0 {
        for (i, o) in out.iter_mut().enumerate() {
            *o = finish(i, F::EMPTY);
        }
        return Ok(());
    }
    match plan.order {
        Order::Rows { part } => rows(plan, part, all, fold, out, finish),
        Order::Columns { part } => {
            // Shifts differ from column to column, so that rows cannot be grouped.
            let part = if fold.shifts().is_some() { ROWS } else { part };
            columns(plan, part, all, fold, out, finish)
        }
    }
}

fn rows<T, F, O>(
    plan: &Plan,
    part: usize,
    all: &[T],
    fold: &F,
    out: &mut [O],
    finish: impl Fn(usize, T::Acc) -> O + Sync,
) -> Result<()>
where
    T: Operand,
    F: Fold<T::Acc>,
    O: Element,
{
    let length = plan.reduced.numel();
    let shift = |i: usize| fold.shifts().map_or(T::Acc::ZERO, |s| s[i]);
    let parts = length.div_ceil(part);
    if parts == 1 {
        let group = (GRAIN / length).max(1);
        for_each_chunk(out, group, |chunk, out| {
            let mut block = [T::Acc::ZERO; BLOCK];
            let mut start = Odometer::new(&plan.kept, chunk * group);
            for (i, o) in out.iter_mut().enumerate() {
                let i = chunk * group + i;
                *o = finish(i, fold_part::<T, F>(plan, all, start.at, 0..length, shift(i), &mut block));
                start.advance(1);
            }
        });
        return Ok(());
    }
    let mut partial = Scratch::<T::Acc>::new(out.len() * parts)?;
    for_each_chunk(partial.get_mut(), 1, |job, partial| {
        let mut block = [T::Acc::ZERO; BLOCK];
        let (i, p) = (job / parts, job % parts);
        let range = p * part..length.min((p + 1) * part);
        let start = Odometer::new(&plan.kept, i).at;
        partial[0] = fold_part::<T, F>(plan, all, start, range, shift(i), &mut block);
    });
    for ((i, o), partial) in out.iter_mut().enumerate().zip(partial.get_mut().chunks_mut(parts)) {
        combine::<T::Acc, F>(partial, 1);
        *o = finish(i, partial[0]);
    }
    Ok(())
}

/// Folds the elements `range` of the reduced axes, for the output whose first element is at `start`.
fn fold_part<T: Operand, F: Fold<T::Acc>>(
    plan: &Plan,
    all: &[T],
    start: usize,
    range: std::ops::Range<usize>,
    shift: T::Acc,
    block: &mut [T::Acc; BLOCK],
) -> T::Acc {
    let mut walk = Odometer::new(&plan.reduced, range.start);
    let (run, step) = (plan.reduced.dims().last().copied().unwrap_or(1), plan.reduced.strides().last().copied());
    // Long runs of accumulators are read where they lie.
    let in_place = step == Some(1) && (run >= LANES || run == plan.reduced.numel());
    let (mut lanes, mut held, mut total) = ([F::EMPTY; LANES], 0, F::EMPTY);
    let mut left = range.len();
    while left > 0 {
        let n = walk.run().0.min(left).min(BLOCK);
        let at = start + walk.at;
        let x = match if in_place { T::direct(&all[at..at + n]) } else { None } {
            Some(x) => {
                walk.advance(n);
                x
            }
            None => {
                let mut filled = 0;
                while filled < left.min(BLOCK) {
                    let (run, step) = walk.run();
                    let n = run.min(left.min(BLOCK) - filled);
                    load_run(all, start + walk.at, step, &mut block[filled..filled + n]);
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
        step_lanes::<T::Acc, F>(&mut lanes, x, shift);
        held += x.len();
        if held >= BLOCK || left == 0 {
            total = F::merge(total, merge_lanes::<T::Acc, F>(std::mem::replace(&mut lanes, [F::EMPTY; LANES])));
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

fn columns<T, F, O>(
    plan: &Plan,
    part: usize,
    all: &[T],
    fold: &F,
    out: &mut [O],
    finish: impl Fn(usize, T::Acc) -> O + Sync,
) -> Result<()>
where
    T: Operand,
    F: Fold<T::Acc>,
    O: Element,
{
    let length = plan.reduced.numel();
    let width = plan.kept.dims().last().copied().unwrap_or(1);
    let parts = length.div_ceil(part);
    let fold_block = |first: usize, rows: std::ops::Range<usize>, acc: &mut [T::Acc]| {
        let start = Odometer::new(&plan.kept, first).at;
        fold_columns::<T, F>(plan, all, start, rows, fold.shifts().map(|s| &s[first..first + acc.len()]), acc);
    };
    if parts == 1 {
        // Whole runs of columns where they are narrow, blocks of one run where they are wide.
        let runs = if width < COLUMNS { (GRAIN / (length * width)).max(1) } else { 1 };
        for_each_chunk(out, runs * width, |chunk, out| {
            for (run, out) in out.chunks_mut(width).enumerate() {
                let first = (chunk * runs + run) * width;
                for_each_chunk(out, COLUMNS, |block, out| {
                    let first = first + block * COLUMNS;
                    let mut acc = [T::Acc::ZERO; COLUMNS];
                    let acc = &mut acc[..out.len()];
                    fold_block(first, 0..length, acc);
                    for (j, (o, &acc)) in out.iter_mut().zip(&*acc).enumerate() {
                        *o = finish(first + j, acc);
                    }
                });
            }
        });
        return Ok(());
    }
    let mut partial = Scratch::<T::Acc>::new(out.len() * parts)?;
    for_each_chunk(partial.get_mut(), width, |job, acc| {
        let (run, p) = (job / parts, job % parts);
        let rows = p * part..length.min((p + 1) * part);
        for_each_chunk(acc, COLUMNS, |block, acc| fold_block(run * width + block * COLUMNS, rows.clone(), acc));
    });
    let partial = partial.get_mut();
    for_each_chunk(partial, parts * width, |_, partial| combine::<T::Acc, F>(partial, width));
    for (run, out) in out.chunks_mut(width).enumerate() {
        for (j, o) in out.iter_mut().enumerate() {
            *o = finish(run * width + j, partial[run * parts * width + j]);
        }
    }
    Ok(())
}

/// Folds `rows` of neighbouring columns from `start` on into one accumulator each.
fn fold_columns<T: Operand, F: Fold<T::Acc>>(
    plan: &Plan,
    all: &[T],
    start: usize,
    rows: std::ops::Range<usize>,
    shifts: Option<&[T::Acc]>,
    acc: &mut [T::Acc],
) {
    let width = acc.len();
    let step = plan.kept.strides().last().copied().unwrap_or(1);
    if plan.groups() && shifts.is_none() {
        let from = start + rows.start * width;
        let flat = &all[from..from + rows.len() * width];
        return fold_dense::<T, F>(flat, acc);
    }
    acc.fill(F::EMPTY);
    let mut walk = Odometer::new(&plan.reduced, rows.start);
    let mut block = [T::Acc::ZERO; COLUMNS];
    if step == 1 && T::direct(&all[..0]).is_some() {
        vectorize(
            #[inline(always)]
            || {
                for _ in rows.clone() {
                    let at = start + walk.at;
                    if let Some(x) = T::direct(&all[at..at + width]) {
                        step_columns::<T::Acc, F>(acc, x, shifts);
                    }
                    walk.advance(1);
                }
            },
        );
    } else {
        for _ in rows {
            load_run(all, start + walk.at, step, &mut block[..width]);
            walk.advance(1);
            vectorize(
                #[inline(always)]
                || step_columns::<T::Acc, F>(acc, &block[..width], shifts),
            );
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
fn fold_dense<T: Operand, F: Fold<T::Acc>>(flat: &[T], acc: &mut [T::Acc]) {
    let width = acc.len();
    let group = GROUP / width * width;
    let mut lanes = [F::EMPTY; GROUP];
    let mut block = [T::Acc::ZERO; BLOCK];
    let whole = BLOCK / group * group;
    for flat in flat.chunks(whole) {
        let x = T::direct(flat).unwrap_or_else(|| {
            T::load(flat, &mut block[..flat.len()]);
            &block[..flat.len()]
        });
        vectorize(
            #[inline(always)]
            || {
                for x in x.chunks(group) {
                    step_columns::<T::Acc, F>(&mut lanes[..x.len()], x, None);
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
