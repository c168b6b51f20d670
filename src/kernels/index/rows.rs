//! Whole rows by number.

use super::Around;
use crate::device::cpu::{GRAIN, for_each_chunk, threads};
use crate::kernels::reduce::{Number, Operand, Scratch};
use crate::{Element, Result};

/// Columns of a row that are summed at once.
const COLUMNS: usize = 512;

pub(super) fn select<T: Element>(around: &Around, x: &[T], index: &[i64], out: &mut [T]) {
    let inner = around.inner;
    if out.is_empty() {
        return;
    }
    let group = (GRAIN / inner).max(1);
    for_each_chunk(out, group * inner, |chunk, out| {
        for (r, to) in out.chunks_mut(inner).enumerate() {
            let r = chunk * group + r;
            let from = (r / index.len() * around.rows + index[r % index.len()] as usize) * inner;
            to.copy_from_slice(&x[from..from + inner]);
        }
    });
}

pub(super) fn add<T: Operand>(around: &Around, index: &[i64], source: &[T], out: &mut [T]) -> Result<()> {
    if out.is_empty() || source.is_empty() {
        return Ok(());
    }
    if let Some(out) = T::direct_mut(out) {
        add_acc(around, index, source, out);
        return Ok(());
    }
    // Half precision adds up in f32 and rounds once.
    let mut wide = Scratch::<T::Acc>::new(out.len())?;
    T::load(out, wide.get_mut());
    add_acc(around, index, source, wide.get_mut());
    T::store(wide.get(), out);
    Ok(())
}

fn add_acc<T: Operand>(around: &Around, index: &[i64], source: &[T], out: &mut [T::Acc]) {
    let (rows, inner) = (around.rows, around.inner);
    // A share of the destination rows for each thread, which passes over the sources that go elsewhere; each
    // destination still adds its sources in order, so the number of shares does not show in the result.
    let shares = if source.len() < GRAIN || around.outer > 1 { 1 } else { threads().min(rows) };
    let share = rows.div_ceil(shares);
    let slab = if around.outer > 1 { rows } else { share };
    for_each_chunk(out, slab * inner, |job, out| {
        let (outer, first) = if around.outer > 1 { (job, 0) } else { (0, job * share) };
        let last = first + out.len() / inner;
        let source = &source[outer * index.len() * inner..];
        for (&i, from) in index.iter().zip(source.chunks(inner)) {
            let i = i as usize;
            if (first..last).contains(&i) {
                let to = &mut out[(i - first) * inner..(i - first + 1) * inner];
                to.iter_mut().zip(from).for_each(|(t, &f)| *t = t.plus(f.to_acc()));
            }
        }
    });
}

/// Positions sorted by the row number that stands there, equal numbers in order of position.
pub(super) struct Segments {
    order: Vec<u32>,
    unique: Vec<i64>,
    /// Where each unique number's positions begin in `order`, and the end.
    starts: Vec<usize>,
}

impl Segments {
    pub(super) fn new(index: &[i64]) -> Self {
        let mut pairs: Vec<(i64, u32)> = index.iter().enumerate().map(|(p, &i)| (i, p as u32)).collect();
        pairs.sort_unstable();
        let (mut unique, mut starts) = (vec![], vec![]);
        for (at, &(i, _)) in pairs.iter().enumerate() {
            if unique.last() != Some(&i) {
                unique.push(i);
                starts.push(at);
            }
        }
        starts.push(pairs.len());
        Segments { order: pairs.into_iter().map(|(_, p)| p).collect(), unique, starts }
    }

    pub(super) fn unique(&self) -> &[i64] {
        &self.unique
    }
}

pub(super) fn merge<T: Operand>(segments: &Segments, inner: usize, rows: &[T], out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let group = (GRAIN / inner).max(1);
    for_each_chunk(out, group * inner, |chunk, out| {
        let mut acc = [T::Acc::ZERO; COLUMNS];
        for (s, out) in out.chunks_mut(inner).enumerate() {
            let s = chunk * group + s;
            let positions = &segments.order[segments.starts[s]..segments.starts[s + 1]];
            for (block, out) in out.chunks_mut(COLUMNS).enumerate() {
                let acc = &mut acc[..out.len()];
                acc.fill(T::Acc::ZERO);
                for &p in positions {
                    let from = p as usize * inner + block * COLUMNS;
                    let row = &rows[from..from + acc.len()];
                    acc.iter_mut().zip(row).for_each(|(a, &x)| *a = a.plus(x.to_acc()));
                }
                T::store(acc, out);
            }
        }
    });
}
