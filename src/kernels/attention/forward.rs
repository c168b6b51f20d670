//! The forward on the CPU: a task takes a range of one head's queries, packs its keys and values once, and walks the
//! keys for one panel of queries at a time.

use super::mask::{At, Mask};
use super::softmax::Running;
use super::tile::{PanelProduct, Tile, pack_columns, pack_rows};
use super::{AttentionDesc, AttentionInputs, head};
use crate::device::Buffer;
use crate::device::cpu::{Float, GRAIN, Real, Vector, load_strided, map_parts};
use crate::{Layout, Result};

/// Keys per tile: with 32 queries, scores and result of a panel take 8 KB each at head dimension 64.
pub(super) const KEYS: usize = 64;
/// Tasks that a call is cut into at least, where its queries allow.
const TASKS: usize = 16;
/// Queries per task at least: packing a head's keys must stay small beside multiplying by them.
const QUERIES: usize = 256;

/// One head's rows `first..first + rows` in the accumulator type.
pub(super) fn load<T: Float>(
    all: &[T],
    layout: &Layout,
    [b, h, first, rows]: [usize; 4],
    to: &mut Vec<T::Acc>,
) -> Result<()> {
    let layout = head(layout, b, h, first, rows)?;
    to.resize(layout.numel(), T::Acc::ZERO);
    load_strided(all, &layout, 0, to);
    Ok(())
}

/// A row-major matrix times a factor, transposed into `nr` columns: `to[column][row]`, missing rows zero.
pub(super) fn transpose<A: Vector>(from: &[A], columns: usize, nr: usize, scale: A, to: &mut [A]) {
    if columns == 0 {
        return;
    }
    let rows = from.len() / columns;
    if rows < nr {
        to.fill(A::ZERO);
    }
    for (r, row) in from.chunks_exact(columns).enumerate() {
        to[r..].iter_mut().step_by(nr).zip(row).for_each(|(t, &f)| *t = f * scale);
    }
}

/// Queries per task: whole heads, or where there are few, parts of them. A function of the shape only.
fn queries_per_task(desc: &AttentionDesc) -> usize {
    let parts = TASKS.div_ceil((desc.batch * desc.heads).max(1)).min(desc.queries.div_ceil(QUERIES)).max(1);
    desc.queries.div_ceil(parts).next_multiple_of(32).max(1)
}

pub(super) fn forward<T: Float<Acc: Vector>>(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    out: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    let &AttentionDesc { heads, queries, value_dim, .. } = desc;
    let operands = Operands::<T>::new(desc, inputs)?;
    let lse = lse.as_mut_slice::<T::Acc>()?;
    if desc.batch * heads * queries == 0 {
        return Ok(());
    }
    let per_task = queries_per_task(desc);
    let mut parts = Vec::new();
    let mut out = out.as_mut_slice::<T>()?;
    for (head, mut lse) in lse.chunks_mut(queries).enumerate() {
        for first in (0..queries).step_by(per_task) {
            let count = per_task.min(queries - first);
            let (own, rest) = std::mem::take(&mut out).split_at_mut(count * value_dim);
            let (own_lse, rest_lse) = std::mem::take(&mut lse).split_at_mut(count);
            (out, lse) = (rest, rest_lse);
            parts.push(Task { b: head / heads, h: head % heads, first, out: own, lse: own_lse });
        }
    }
    // Small attentions cost less than handing them over.
    if desc.batch * heads * queries * desc.keys * (desc.dim + value_dim) <= GRAIN * 16 {
        return parts.into_iter().try_for_each(|task| task.run(desc, &operands));
    }
    map_parts(parts, |_, task| task.run(desc, &operands)).into_iter().collect()
}

/// The operands of a call: whole buffers with their layouts.
pub(super) struct Operands<'a, T> {
    pub q: (&'a [T], Layout),
    pub k: (&'a [T], Layout),
    pub v: (&'a [T], Layout),
    pub mask: Mask<'a, T>,
    pub tile: Tile,
}

impl<'a, T: Float<Acc: Vector>> Operands<'a, T> {
    pub(super) fn new(desc: &AttentionDesc, inputs: AttentionInputs<'a>) -> Result<Self> {
        let AttentionInputs { q, k, v, mask } = inputs;
        Ok(Operands {
            q: (q.buffer().as_slice()?, *q.layout()),
            k: (k.buffer().as_slice()?, *k.layout()),
            v: (v.buffer().as_slice()?, *v.layout()),
            mask: Mask::new(desc, mask, q.layout())?,
            tile: Tile::of::<T::Acc>(),
        })
    }
}

struct Task<'a, T: Float> {
    b: usize,
    h: usize,
    first: usize,
    out: &'a mut [T],
    lse: &'a mut [T::Acc],
}

impl<T: Float<Acc: Vector>> Task<'_, T> {
    fn run(self, desc: &AttentionDesc, operands: &Operands<'_, T>) -> Result<()> {
        let &AttentionDesc { dim, value_dim, scale, .. } = desc;
        let Tile { mr, nr } = operands.tile;
        let zeros = |n: usize| vec![T::Acc::ZERO; n];
        let kv_head = self.h / (desc.heads / desc.kv_heads);
        // No query of this task sees keys past these.
        let packed = desc.visible(self.first, self.lse.len());
        let mut rows = vec![];
        load(operands.k.0, &operands.k.1, [self.b, kv_head, 0, packed], &mut rows)?;
        let mut k = zeros(packed.next_multiple_of(mr) * dim);
        pack_rows(&rows, dim, mr, &mut k);
        load(operands.v.0, &operands.v.1, [self.b, kv_head, 0, packed], &mut rows)?;
        let mut v = zeros(packed * value_dim.next_multiple_of(mr));
        pack_columns(&rows, value_dim, mr, &mut v);
        let (mut q, mut scores) = (zeros(dim * nr), zeros(KEYS * nr));
        let mut result = zeros(value_dim.next_multiple_of(mr) * nr);
        let mut running = Running::new(nr);
        let mut row = zeros(value_dim);
        for (panel, lse) in self.lse.chunks_mut(nr).enumerate() {
            let (query, queries) = (self.first + panel * nr, lse.len());
            load(operands.q.0, &operands.q.1, [self.b, self.h, query, queries], &mut rows)?;
            transpose(&rows, dim, nr, Real::of(scale), &mut q);
            running.reset();
            result.fill(T::Acc::ZERO);
            let visible = desc.visible(query, queries);
            for key in (0..visible).step_by(KEYS) {
                let count = KEYS.min(visible - key);
                let padded = count.next_multiple_of(mr) * nr;
                let a = &k[key * dim..];
                let c = &mut scores[..padded];
                PanelProduct { a, stride: mr * dim, k: dim, b: &q, c, accumulate: false }.run();
                let scores = &mut scores[..count * nr];
                operands.mask.apply(At { b: self.b, h: self.h, query, queries, key }, nr, scores);
                running.take(scores, &mut result);
                let (a, stride) = (&v[key * mr..], packed * mr);
                PanelProduct { a, stride, k: count, b: scores, c: &mut result, accumulate: true }.run();
            }
            for (j, lse) in lse.iter_mut().enumerate() {
                let sum = running.sum[j];
                let (scale, log) = if sum == T::Acc::ZERO {
                    (T::Acc::ZERO, T::Acc::INFINITY)
                } else {
                    (T::Acc::ONE / sum, running.max[j] + sum.ln())
                };
                *lse = log;
                row.iter_mut().zip(result[j..].iter().step_by(nr)).for_each(|(o, &r)| *o = r * scale);
                T::narrow(&row, &mut self.out[(panel * nr + j) * value_dim..][..value_dim]);
            }
        }
        Ok(())
    }
}
