//! The backward on the CPU: a task takes one head of keys and values with the queries that share it. For each panel of
//! queries it walks the keys, computes the scores again, and adds to the gradients of q (in the L1 cache) and of k and
//! v (in the L2 cache), in a fixed order.

use super::forward::{KEYS, Operands, load, transpose};
use super::mask::At;
use super::softmax::{probabilities, score_gradient};
use super::tile::{PanelProduct, RowProduct, Tile, pack_columns, pack_rows};
use super::{AttentionDesc, AttentionInputs, AttentionSaved};
use crate::device::Buffer;
use crate::device::cpu::{Float, GRAIN, Real, Vector, map_parts, sums};
use crate::kernels::rowwise::{parameter, vectorized};
use crate::{Layout, Result};

pub(super) fn backward<T: Float<Acc: Vector>>(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    saved: AttentionSaved<'_>,
    [dq, dk, dv]: [&mut Buffer; 3],
) -> Result<()> {
    let &AttentionDesc { batch, heads, kv_heads, queries, keys, dim, value_dim, .. } = desc;
    let call = Call {
        desc,
        operands: Operands::<T>::new(desc, inputs)?,
        out: (saved.out.buffer().as_slice()?, *saved.out.layout()),
        dout: (saved.dout.buffer().as_slice()?, *saved.dout.layout()),
        lse: parameter(Some(saved.lse), batch * heads * queries, 0.0)?,
    };
    let tasks = batch * kv_heads;
    let shared = heads.checked_div(kv_heads).unwrap_or(0);
    let (mut dq, mut dk, mut dv) = (dq.as_mut_slice::<T>()?, dk.as_mut_slice::<T>()?, dv.as_mut_slice::<T>()?);
    if dq.is_empty() && dk.is_empty() && dv.is_empty() {
        return Ok(());
    }
    let mut parts = Vec::with_capacity(tasks);
    for task in 0..tasks {
        let (a, rest) = std::mem::take(&mut dq).split_at_mut(shared * queries * dim);
        dq = rest;
        let (b, rest) = std::mem::take(&mut dk).split_at_mut(keys * dim);
        dk = rest;
        let (c, rest) = std::mem::take(&mut dv).split_at_mut(keys * value_dim);
        dv = rest;
        parts.push(Task { b: task / kv_heads, kv_head: task % kv_heads, dq: a, dk: b, dv: c });
    }
    if batch * heads * queries * keys * (dim + value_dim) <= GRAIN * 4 {
        return parts.into_iter().try_for_each(|task| task.run(&call));
    }
    map_parts(parts, |_, task| task.run(&call)).into_iter().collect()
}

vectorized! {
    fn dot<A>(a: &[A], b: &[A]) -> f64 {
        sums([a, b], |[a, b]| [a * b])[0]
    }
}

struct Call<'a, T: Float> {
    desc: &'a AttentionDesc,
    operands: Operands<'a, T>,
    out: (&'a [T], Layout),
    dout: (&'a [T], Layout),
    lse: Vec<T::Acc>,
}

struct Task<'a, T> {
    b: usize,
    kv_head: usize,
    /// The queries' gradient, for all heads that share the keys.
    dq: &'a mut [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
}

/// The gradients of keys and values as they are accumulated: panels of `nr` columns, `[panel][key][column]`.
struct Accumulated<A> {
    panels: Vec<A>,
    /// Keys, up to whole register tiles.
    keys: usize,
}

impl<A: Vector> Accumulated<A> {
    fn new(keys: usize, columns: usize, nr: usize) -> Self {
        Accumulated { panels: vec![A::ZERO; keys * columns.next_multiple_of(nr)], keys }
    }

    /// Adds a · b for the keys from `key` on, where b has panels like these.
    fn add(&mut self, key: usize, a: &[A], b: &[A], nr: usize) {
        for (panel, b) in self.panels.chunks_exact_mut((self.keys * nr).max(1)).zip(b.chunks_exact(nr * nr)) {
            RowProduct { a, b, c: &mut panel[key * nr..][..a.len()] }.run();
        }
    }

    /// Rounds to row-major (keys, columns).
    fn write<T: Float<Acc = A>>(&self, columns: usize, nr: usize, scratch: &mut Vec<A>, out: &mut [T]) {
        scratch.resize(columns, A::ZERO);
        for (key, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
            for (p, part) in scratch.chunks_mut(nr).enumerate() {
                let n = part.len();
                part.copy_from_slice(&self.panels[(p * self.keys + key) * nr..][..n]);
            }
            T::narrow(scratch, out);
        }
    }
}

impl<T: Float<Acc: Vector>> Task<'_, T> {
    fn run(self, call: &Call<'_, T>) -> Result<()> {
        let &AttentionDesc { heads, kv_heads, queries, keys, dim, value_dim, scale, .. } = call.desc;
        let operands = &call.operands;
        let Tile { mr, nr } = operands.tile;
        let zeros = |n: usize| vec![T::Acc::ZERO; n];
        let padded_keys = keys.next_multiple_of(mr);
        let mut rows = vec![];
        load(operands.k.0, &operands.k.1, [self.b, self.kv_head, 0, keys], &mut rows)?;
        let (mut k, mut k_columns) = (zeros(padded_keys * dim), zeros(keys * dim.next_multiple_of(mr)));
        pack_rows(&rows, dim, mr, &mut k);
        pack_columns(&rows, dim, mr, &mut k_columns);
        load(operands.v.0, &operands.v.1, [self.b, self.kv_head, 0, keys], &mut rows)?;
        let mut v = zeros(padded_keys * value_dim);
        pack_rows(&rows, value_dim, mr, &mut v);
        let mut dk = Accumulated::new(padded_keys, dim, nr);
        let mut dv = Accumulated::new(padded_keys, value_dim, nr);
        // Of one panel of queries: q and dout as they are multiplied from either side, and dq transposed.
        let (mut q, mut q_panels) = (zeros(dim * nr), zeros(nr * dim.next_multiple_of(nr)));
        let (mut g, mut g_panels) = (zeros(value_dim * nr), zeros(nr * value_dim.next_multiple_of(nr)));
        let mut dq = zeros(dim.next_multiple_of(mr) * nr);
        let (mut p, mut dp) = (zeros(KEYS * nr), zeros(KEYS * nr));
        let (mut lse, mut delta) = (zeros(nr), zeros(nr));
        let (mut out_rows, mut row) = (vec![], zeros(dim));
        let shared = heads / kv_heads;
        for (own, query) in (0..shared).flat_map(|h| (0..queries).step_by(nr).map(move |query| (h, query))) {
            let (h, count) = (self.kv_head * shared + own, nr.min(queries - query));
            let at = [self.b, h, query, count];
            load(operands.q.0, &operands.q.1, at, &mut rows)?;
            transpose(&rows, dim, nr, Real::of(scale), &mut q);
            rows.iter_mut().for_each(|x| *x *= Real::of(scale));
            rows.resize(nr * dim, T::Acc::ZERO);
            pack_columns(&rows, dim, nr, &mut q_panels);
            load(call.dout.0, &call.dout.1, at, &mut rows)?;
            load(call.out.0, &call.out.1, at, &mut out_rows)?;
            // Queries that do not exist have no probability anywhere.
            lse.fill(T::Acc::INFINITY);
            lse[..count].copy_from_slice(&call.lse[(self.b * heads + h) * queries + query..][..count]);
            delta.fill(T::Acc::ZERO);
            for (delta, (g, o)) in
                delta.iter_mut().zip(rows.chunks(value_dim.max(1)).zip(out_rows.chunks(value_dim.max(1))))
            {
                *delta = Real::of(dot(g, o));
            }
            transpose(&rows, value_dim, nr, T::Acc::ONE, &mut g);
            rows.resize(nr * value_dim, T::Acc::ZERO);
            pack_columns(&rows, value_dim, nr, &mut g_panels);
            dq.fill(T::Acc::ZERO);
            let visible = call.desc.visible(query, count);
            for key in (0..visible).step_by(KEYS) {
                let of_tile = KEYS.min(visible - key);
                let (padded, exact) = (of_tile.next_multiple_of(mr) * nr, of_tile * nr);
                let (p, dp) = (&mut p[..padded], &mut dp[..padded]);
                let (a, stride) = (&k[key * dim..], mr * dim);
                PanelProduct { a, stride, k: dim, b: &q, c: p, accumulate: false }.run();
                operands.mask.apply(At { b: self.b, h, query, queries: count, key }, nr, &mut p[..exact]);
                probabilities(&mut p[..exact], &lse);
                let (a, stride) = (&v[key * value_dim..], mr * value_dim);
                PanelProduct { a, stride, k: value_dim, b: &g, c: dp, accumulate: false }.run();
                score_gradient(&p[..exact], &delta, &mut dp[..exact]);
                // Keys past the visible ones share the last register tile: they get nothing.
                p[exact..].fill(T::Acc::ZERO);
                dp[exact..].fill(T::Acc::ZERO);
                dv.add(key, p, &g_panels, nr);
                dk.add(key, dp, &q_panels, nr);
                let (a, stride) = (&k_columns[key * mr..], keys * mr);
                PanelProduct { a, stride, k: of_tile, b: dp, c: &mut dq, accumulate: true }.run();
            }
            for j in 0..count {
                row.iter_mut().zip(dq[j..].iter().step_by(nr)).for_each(|(o, &r)| *o = r * Real::of(scale));
                T::narrow(&row, &mut self.dq[(own * queries + query + j) * dim..][..dim]);
            }
        }
        dk.write(dim, nr, &mut row, self.dk);
        dv.write(value_dim, nr, &mut row, self.dv);
        Ok(())
    }
}
