//! The largest or smallest along one axis, with its position: rows find the extreme of a block in lanes and look for it
//! only where it beats the best so far; columns compare side by side.

use super::Extreme;
use super::cpu::load_run;
use super::fold::{Fold, Largest, Number, Operand, Smallest};
use super::loops::Loops;
use super::plan::{COLUMNS, Odometer};
use crate::device::View;
use crate::device::cpu::{BLOCK, GRAIN, for_each_chunk, for_each_part, vectorize};
use crate::{Layout, Result, Shape};

trait Better<A: Number>: Fold<A> {
    /// Whether `a` comes before `b`; NaN before every number.
    fn better(a: A, b: A) -> bool;
}

impl<A: Number> Better<A> for Largest {
    #[inline(always)]
    fn better(a: A, b: A) -> bool {
        a > b || (a.is_nan() && !b.is_nan())
    }
}

impl<A: Number> Better<A> for Smallest {
    #[inline(always)]
    fn better(a: A, b: A) -> bool {
        a < b || (a.is_nan() && !b.is_nan())
    }
}

pub(super) fn along<T: Operand>(
    which: Extreme,
    axis: usize,
    input: View<'_>,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    match which {
        Extreme::Max => find(&Largest, axis, input, values, indices),
        Extreme::Min => find(&Smallest, axis, input, values, indices),
    }
}

fn find<T: Operand, F: Better<T::Acc>>(
    fold: &F,
    axis: usize,
    input: View<'_>,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    let (all, layout) = (input.buffer().as_slice::<T>()?, input.layout());
    let (n, step) = (layout.dims()[axis], layout.strides()[axis]);
    let others =
        |of: &[usize]| -> Vec<usize> { of.iter().enumerate().filter(|&(i, _)| i != axis).map(|(_, &v)| v).collect() };
    let kept = Layout::new(Shape::new(&others(layout.dims()))?, &others(layout.strides()), layout.offset())?;
    let [kept] = crate::shape::coalesce([kept]);
    let (width, across) = match (kept.dims().last(), kept.strides().last()) {
        (Some(&d), Some(&s)) => (d, s),
        _ => (1, 0),
    };
    if kept.numel() > 1 && across < step {
        let find = |first: usize, values: &mut [T], indices: &mut [i64]| {
            let start = Odometer::new(&kept, first).at;
            columns::<T, F>(all, start, across, n, step, values, indices);
        };
        // Blocks of neighbouring lanes; a block never leaves the innermost kept axis.
        let block = |run: usize, values: &mut [T], indices: &mut [i64]| {
            for (b, (v, i)) in values.chunks_mut(COLUMNS).zip(indices.chunks_mut(COLUMNS)).enumerate() {
                find(run * width + b * COLUMNS, v, i);
            }
        };
        let values_len = values.len();
        let runs = values.chunks_mut(width).zip(indices.chunks_mut(width)).enumerate();
        if values_len * n <= GRAIN {
            runs.for_each(|(run, (v, i))| block(run, v, i));
        } else if width <= COLUMNS {
            for_each_part(runs.collect(), |_, (run, (v, i))| block(run, v, i));
        } else {
            for (run, (v, i)) in runs {
                let blocks = v.chunks_mut(COLUMNS).zip(i.chunks_mut(COLUMNS)).collect();
                for_each_part(blocks, |b, (v, i)| find(run * width + b * COLUMNS, v, i));
            }
        }
        return Ok(());
    }
    let group = (GRAIN / n.max(1)).max(1);
    let loops = Loops::of(fold);
    for_each_chunk(indices, group, |chunk, indices| {
        let mut block = [T::Acc::ZERO; BLOCK];
        let mut start = Odometer::new(&kept, chunk * group);
        for i in indices {
            *i = row(all, &loops, F::better, start.at, step, n, &mut block) as i64;
            start.advance(1);
        }
    });
    for_each_chunk(values, GRAIN, |chunk, values| {
        let mut start = Odometer::new(&kept, chunk * GRAIN);
        for (v, &i) in values.iter_mut().zip(&indices[chunk * GRAIN..]) {
            *v = all[start.at + i as usize * step];
            start.advance(1);
        }
    });
    Ok(())
}

fn row<T: Operand>(
    all: &[T],
    loops: &Loops<'_, T::Acc>,
    better: fn(T::Acc, T::Acc) -> bool,
    start: usize,
    step: usize,
    n: usize,
    block: &mut [T::Acc; BLOCK],
) -> usize {
    let mut best: Option<(T::Acc, usize)> = None;
    for from in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - from);
        let at = start + from * step;
        let in_place = if step == 1 { T::direct(&all[at..at + len]) } else { None };
        let x = match in_place {
            Some(x) => x,
            None => {
                load_run(all, at, step, &mut block[..len]);
                &block[..len]
            }
        };
        let top = loops.run(x, T::Acc::ZERO);
        if best.is_none_or(|(best, _)| better(top, best)) {
            let place = x.iter().position(|&v| v == top || (v.is_nan() && top.is_nan())).unwrap_or(0);
            best = Some((top, from + place));
        }
    }
    best.map_or(0, |(_, place)| place)
}

fn columns<T: Operand, F: Better<T::Acc>>(
    all: &[T],
    start: usize,
    across: usize,
    n: usize,
    step: usize,
    values: &mut [T],
    indices: &mut [i64],
) {
    let width = values.len();
    let mut best = [T::Acc::ZERO; COLUMNS];
    let mut block = [T::Acc::ZERO; COLUMNS];
    let (best, indices) = (&mut best[..width], &mut indices[..width]);
    load_run(all, start, across, best);
    indices.fill(0);
    for k in 1..n {
        let x = &mut block[..width];
        load_run(all, start + k * step, across, x);
        vectorize(
            #[inline(always)]
            || {
                for j in 0..width {
                    let better = F::better(x[j], best[j]);
                    best[j] = if better { x[j] } else { best[j] };
                    indices[j] = if better { k as i64 } else { indices[j] };
                }
            },
        );
    }
    for (v, &b) in values.iter_mut().zip(&*best) {
        *v = T::from_acc(b);
    }
}
