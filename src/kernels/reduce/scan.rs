//! Scans over contiguous memory seen as (outer, n, inner): lanes of inner = 1 one after the other, wider ones row by row.

use super::Scan;
use super::fold::{Number, Operand, Scratch};
use super::plan::COLUMNS;
use crate::device::cpu::{GRAIN, for_each_chunk};
use crate::{Element, Result};

pub(super) fn scan<T, O>(kind: Scan, dims: &[usize], axis: usize, x: &[T], out: &mut [O])
where
    T: Operand,
    O: Element<Acc = T::Acc>,
{
    match kind {
        Scan::Sum => accumulate(dims, axis, x, out, false, T::Acc::ZERO, T::Acc::plus),
        Scan::ReverseSum => accumulate(dims, axis, x, out, true, T::Acc::ZERO, T::Acc::plus),
        Scan::Product => accumulate(dims, axis, x, out, false, T::Acc::ONE, T::Acc::times),
    }
}

fn accumulate<T, O>(
    dims: &[usize],
    axis: usize,
    x: &[T],
    out: &mut [O],
    reverse: bool,
    empty: T::Acc,
    step: impl Fn(T::Acc, T::Acc) -> T::Acc + Sync,
) where
    T: Operand,
    O: Element<Acc = T::Acc>,
{
    let (n, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let slab = n * inner;
    if slab == 0 {
        return;
    }
    let group = (GRAIN / slab).max(1) * slab;
    for_each_chunk(out, group, |chunk, out| {
        let x = &x[chunk * group..];
        for (out, x) in out.chunks_mut(slab).zip(x.chunks(slab)) {
            for from in (0..inner).step_by(COLUMNS) {
                let width = COLUMNS.min(inner - from);
                let mut acc = [empty; COLUMNS];
                for k in 0..n {
                    let k = if reverse { n - 1 - k } else { k };
                    let row = k * inner + from..k * inner + from + width;
                    for ((a, &x), o) in acc.iter_mut().zip(&x[row.clone()]).zip(&mut out[row]) {
                        *a = step(*a, x.to_acc());
                        *o = O::from_acc(*a);
                    }
                }
            }
        }
    });
}

pub(super) fn cumprod_backward<T: Operand>(dims: &[usize], axis: usize, x: &[T], g: &[T], out: &mut [T]) -> Result<()> {
    let (n, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let slab = n * inner;
    if slab == 0 {
        return Ok(());
    }
    // Products of what lies before each element, unrounded.
    let mut before = Scratch::<T::Acc>::new(x.len())?;
    let group = (GRAIN / slab).max(1) * slab;
    for_each_chunk(before.get_mut(), group, |chunk, before| {
        let x = &x[chunk * group..];
        for (before, x) in before.chunks_mut(slab).zip(x.chunks(slab)) {
            for lane in 0..inner {
                let mut product = T::Acc::ONE;
                for k in 0..n {
                    before[k * inner + lane] = product;
                    product = product.times(x[k * inner + lane].to_acc());
                }
            }
        }
    });
    let before = before.get();
    for_each_chunk(out, group, |chunk, out| {
        let from = chunk * group;
        let slabs = out.chunks_mut(slab).zip(x[from..].chunks(slab)).zip(g[from..].chunks(slab));
        for ((out, (x, g)), before) in slabs.map(|((o, x), g)| (o, (x, g))).zip(before[from..].chunks(slab)) {
            for lane in 0..inner {
                let mut after = T::Acc::ZERO;
                for k in (0..n).rev() {
                    let at = k * inner + lane;
                    after = after.plus(g[at].to_acc());
                    out[at] = T::from_acc(before[at].times(after));
                    after = after.times(x[at].to_acc());
                }
            }
        }
    });
    Ok(())
}
