//! Single elements by index, regions and triangles.

use crate::device::View;
use crate::device::cpu::{GRAIN, for_each_chunk, threads};
use crate::kernels::reduce::{Number, Odometer, Operand, Scratch};
use crate::shape::coalesce;
use crate::{Element, Layout, Result, Shape};

pub(super) fn gather<T: Element>(all: &[T], lanes: &Layout, step: usize, index: &[i64], out: &mut [T]) {
    for_each_chunk(out, GRAIN, |chunk, out| {
        let mut lane = Odometer::new(lanes, chunk * GRAIN);
        for (o, &i) in out.iter_mut().zip(&index[chunk * GRAIN..]) {
            *o = all[lane.at + i as usize * step];
            lane.advance(1);
        }
    });
}

pub(super) fn scatter_add<T: Operand>(
    axis: usize,
    shape: &Shape,
    lanes: &Layout,
    index: &[i64],
    source: View<'_>,
    out: &mut [T],
) -> Result<()> {
    if index.is_empty() {
        return Ok(());
    }
    let all = source.buffer().as_slice::<T>()?;
    let source = Source { all, layout: source.layout(), index, lanes };
    if let Some(out) = T::direct_mut(out) {
        source.scatter(axis, shape, out);
        return Ok(());
    }
    // Half precision adds up in f32 and rounds once.
    let mut wide = Scratch::<T::Acc>::new(out.len())?;
    T::load(out, wide.get_mut());
    source.scatter(axis, shape, wide.get_mut());
    T::store(wide.get(), out);
    Ok(())
}

struct Source<'a, T> {
    all: &'a [T],
    layout: &'a Layout,
    index: &'a [i64],
    lanes: &'a Layout,
}

impl<T: Operand> Source<'_, T> {
    /// Threads own ranges of the first axis of the destination. Where that is the axis of the indices, each passes over
    /// all sources; each destination adds its sources in order, so the number of ranges does not show in the result.
    fn scatter(&self, axis: usize, shape: &Shape, out: &mut [T::Acc]) {
        let step = Layout::contiguous(*shape).strides()[axis];
        let slab = out.len() / shape[0];
        let ranges = if self.index.len() < GRAIN { 1 } else { threads().min(shape[0]) };
        let share = shape[0].div_ceil(ranges);
        let per_row = self.index.len() / self.lanes.dims()[0];
        for_each_chunk(out, share * slab, |job, out| {
            let first = job * share * slab;
            let last = first + out.len();
            let sources = if axis == 0 {
                0..self.index.len()
            } else {
                let end = self.index.len();
                (job * share * per_row).min(end)..((job + 1) * share * per_row).min(end)
            };
            let mut lane = Odometer::new(self.lanes, sources.start);
            let mut from = Odometer::new(self.layout, sources.start);
            for &i in &self.index[sources] {
                let to = lane.at + i as usize * step;
                if (first..last).contains(&to) {
                    out[to - first] = out[to - first].plus(self.all[from.at].to_acc());
                }
                lane.advance(1);
                from.advance(1);
            }
        });
    }
}

pub(super) fn write_region<T: Element>(region: &Layout, all: &[T], source: &Layout, out: &mut [T]) {
    if region.numel() == 0 {
        return;
    }
    let [region, source] = coalesce([*region, *source]);
    // The first axis cuts `out` into disjoint stretches; the others stay inside one.
    let stretch = region.strides()[0].max(1);
    let per_row = region.numel() / region.dims()[0];
    let group = (GRAIN / per_row).max(1);
    let base = region.offset();
    let end = region.span();
    for_each_chunk(&mut out[base..end], group * stretch, |chunk, out| {
        let rows = chunk * group..region.dims()[0].min((chunk + 1) * group);
        let mut to = Odometer::new(&region, rows.start * per_row);
        let mut from = Odometer::new(&source, rows.start * per_row);
        let mut left = rows.len() * per_row;
        while left > 0 {
            let ((n, to_step), (_, from_step)) = (to.run(), from.run());
            let n = n.min(left);
            let at = to.at - base - chunk * group * stretch;
            match (to_step, from_step) {
                (1, 1) => out[at..at + n].copy_from_slice(&all[from.at..from.at + n]),
                _ => {
                    for i in 0..n {
                        out[at + i * to_step] = all[from.at + i * from_step];
                    }
                }
            }
            to.advance(n);
            from.advance(n);
            left -= n;
        }
    });
}

pub(super) fn triangle<T: Element>(upper: bool, diagonal: i64, [rows, columns]: [usize; 2], x: &[T], out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let group = (GRAIN / columns).max(1);
    for_each_chunk(out, group * columns, |chunk, out| {
        let x = &x[chunk * group * columns..];
        for (r, (out, x)) in out.chunks_mut(columns).zip(x.chunks(columns)).enumerate() {
            let row = ((chunk * group + r) % rows) as i64;
            // Lower keeps columns up to row + diagonal; upper keeps them from there on.
            let edge = row.saturating_add(diagonal).saturating_add(i64::from(!upper));
            let edge = edge.clamp(0, columns as i64) as usize;
            let keep = if upper { edge..columns } else { 0..edge };
            out[..keep.start].fill(T::default());
            out[keep.end..].fill(T::default());
            out[keep.clone()].copy_from_slice(&x[keep]);
        }
    });
}
