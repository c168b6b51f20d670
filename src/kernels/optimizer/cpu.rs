//! All tensors are cut into chunks, and the chunks of all tensors share the threads; blocks are widened to f32 (or
//! updated in place) and narrowed.

use super::{Grad, Rule, Slot};
use crate::device::View;
use crate::device::cpu::{BLOCK, Float, GRAIN, Real, for_each_chunk, load_strided, map_ranges, vectorize};
use crate::shape::coalesce;
use crate::{Error, Layout, Result};

/// Where the gradient of a chunk comes from.
enum Source<'a, T: Float> {
    /// Elements `start..` of a layout.
    Dense { all: &'a [T], layout: Layout, start: usize },
    /// Rows `first..` of the parameter; those in `indices` have values.
    Rows { indices: &'a [i64], rows: &'a [T], row: usize, first: usize },
}

/// A run of one parameter with its state and gradient.
struct Chunk<'a, T: Float, R, const N: usize> {
    rule: R,
    param: &'a mut [T],
    state: [&'a mut [T::Acc]; N],
    source: Source<'a, T>,
}

pub(super) fn step<T, R, const N: usize>(slots: Vec<&mut Slot<'_, R, N>>) -> Result<()>
where
    T: Float<Acc: crate::Element>,
    R: Rule<N>,
{
    let mut chunks: Vec<Chunk<'_, T, R, N>> = vec![];
    let mut total = 0;
    for slot in slots {
        total += slot.param.len();
        cut(slot, &mut chunks)?;
    }
    // Small models are updated before another thread would have woken up.
    if total <= GRAIN {
        chunks.iter_mut().for_each(update);
    } else {
        for_each_chunk(&mut chunks, 1, |_, chunk| chunk.iter_mut().for_each(update));
    }
    Ok(())
}

fn cut<'a, T, R, const N: usize>(slot: &'a mut Slot<'_, R, N>, chunks: &mut Vec<Chunk<'a, T, R, N>>) -> Result<()>
where
    T: Float<Acc: crate::Element>,
    R: Rule<N>,
{
    let mut param = slot.param.as_mut_slice::<T>()?;
    let mut state: Vec<&mut [T::Acc]> = Vec::with_capacity(N);
    for s in &mut slot.state {
        state.push(s.as_mut_slice::<T::Acc>()?);
    }
    let mut state: [&mut [T::Acc]; N] = state.try_into().unwrap_or_else(|_| unreachable!("N slices were pushed"));
    // Rows are kept whole.
    let (length, row) = match &slot.grad {
        Grad::Dense(_) => (GRAIN, 1),
        Grad::Rows { indices, rows } => {
            let row = rows.layout().numel().checked_div(indices.layout().numel()).unwrap_or(param.len()).max(1);
            ((GRAIN / row).max(1) * row, row)
        }
    };
    let whole = match &slot.grad {
        Grad::Dense(view) => {
            let [layout] = coalesce([*view.layout()]);
            Source::Dense { all: view.buffer().as_slice::<T>()?, layout, start: 0 }
        }
        Grad::Rows { indices, rows } => {
            let slice = |found: Option<_>| found.ok_or_else(|| Error::argument(R::NAME, "rows are not contiguous"));
            let indices = slice(indices.contiguous::<i64>()?)?;
            let ordered = indices.windows(2).all(|w| w[0] < w[1]) && indices.first().is_none_or(|&i| i >= 0);
            if !ordered || indices.last().is_some_and(|&i| i as usize >= param.len() / row) {
                let message = format!("rows must be ascending, unique and below {}", param.len() / row);
                return Err(Error::argument(R::NAME, message));
            }
            let rows = rows.contiguous::<T>()?.ok_or_else(|| Error::argument(R::NAME, "rows are not contiguous"))?;
            Source::Rows { indices, rows, row, first: 0 }
        }
    };
    let mut at = 0;
    while !param.is_empty() {
        let n = length.min(param.len());
        let (head, tail) = param.split_at_mut(n);
        param = tail;
        let heads = state.each_mut().map(|s| {
            let (head, tail) = std::mem::take(s).split_at_mut(n);
            *s = tail;
            head
        });
        let source = match &whole {
            Source::Dense { all, layout, .. } => Source::Dense { all, layout: *layout, start: at },
            Source::Rows { indices, rows, row, .. } => {
                let (low, high) = ((at / row) as i64, ((at + n) / row) as i64);
                let (from, to) = (indices.partition_point(|&i| i < low), indices.partition_point(|&i| i < high));
                let rows = &rows[from * row..to * row];
                Source::Rows { indices: &indices[from..to], rows, row: *row, first: at / row }
            }
        };
        chunks.push(Chunk { rule: slot.rule, param: head, state: heads, source });
        at += n;
    }
    Ok(())
}

fn update<T: Float, R: Rule<N>, const N: usize>(chunk: &mut Chunk<'_, T, R, N>) {
    let Chunk { rule, param, state, source } = chunk;
    match source {
        Source::Dense { all, layout, start } => {
            let mut block = [T::Acc::default(); BLOCK];
            for (b, p) in param.chunks_mut(BLOCK).enumerate() {
                let (at, n) = (b * BLOCK, p.len());
                let direct = if layout.is_contiguous() {
                    let from = layout.offset() + *start + at;
                    T::as_acc(&all[from..from + n])
                } else {
                    None
                };
                let g = match direct {
                    Some(g) => g,
                    None => {
                        load_strided(all, layout, *start + at, &mut block[..n]);
                        &block[..n]
                    }
                };
                apply(*rule, p, g, part(state, at, n));
            }
        }
        Source::Rows { indices, rows, row, first } => {
            let zeros = [T::Acc::default(); BLOCK];
            let mut block = zeros;
            for (r, p) in param.chunks_mut(*row).enumerate() {
                let found = indices.binary_search(&((*first + r) as i64)).ok();
                if found.is_none() && rule.zero_is_identity() {
                    continue;
                }
                for (b, p) in p.chunks_mut(BLOCK).enumerate() {
                    let (at, n) = (r * *row + b * BLOCK, p.len());
                    let g = match found {
                        Some(i) => {
                            T::widen(&rows[i * *row + b * BLOCK..][..n], &mut block[..n]);
                            &block[..n]
                        }
                        None => &zeros[..n],
                    };
                    apply(*rule, p, g, part(state, at, n));
                }
            }
        }
    }
}

/// Elements `at..at + n` of every slice.
fn part<'a, A, const N: usize>(state: &'a mut [&mut [A]; N], at: usize, n: usize) -> [&'a mut [A]; N] {
    state.each_mut().map(|s| &mut s[at..at + n])
}

/// One block of at most [`BLOCK`] elements.
fn apply<T: Float, R: Rule<N>, const N: usize>(rule: R, p: &mut [T], g: &[T::Acc], state: [&mut [T::Acc]; N]) {
    if let Some(p) = T::as_acc_mut(p) {
        return run(rule, p, g, state);
    }
    let mut wide = [T::Acc::default(); BLOCK];
    let wide = &mut wide[..p.len()];
    T::widen(p, wide);
    run(rule, wide, g, state);
    T::narrow(wide, p);
}

fn run<A: Real, R: Rule<N>, const N: usize>(rule: R, p: &mut [A], g: &[A], state: [&mut [A]; N]) {
    let n = p.len();
    let g = &g[..n];
    let mut state = state;
    let state = part(&mut state, 0, n);
    vectorize(
        #[inline(always)]
        || {
            for j in 0..n {
                let mut old = [A::ZERO; N];
                for i in 0..N {
                    old[i] = state[i][j];
                }
                let (new, s) = rule.step(p[j], g[j], old);
                p[j] = new;
                for i in 0..N {
                    state[i][j] = s[i];
                }
            }
        },
    );
}

pub(super) fn sum_of_squares<T: Float>(g: &View<'_>) -> Result<f64> {
    let [layout] = coalesce([*g.layout()]);
    let all = g.buffer().as_slice::<T>()?;
    let parts = map_ranges(layout.numel(), GRAIN, |range| {
        let mut block = [T::Acc::default(); BLOCK];
        let mut total = 0f64;
        for from in range.clone().step_by(BLOCK) {
            let n = BLOCK.min(range.end - from);
            load_strided(all, &layout, from, &mut block[..n]);
            total += block_squares(&block[..n]);
        }
        total
    });
    Ok(parts.iter().sum())
}

/// Sixteen lanes of at most 64 squares each, summed in f64.
fn block_squares<A: Real>(x: &[A]) -> f64 {
    vectorize(
        #[inline(always)]
        || {
            let mut lanes = [A::ZERO; 16];
            let mut chunks = x.chunks_exact(16);
            for c in &mut chunks {
                for (l, &v) in lanes.iter_mut().zip(c) {
                    *l = v.mul_add(v, *l);
                }
            }
            let tail: f64 = chunks.remainder().iter().map(|&v| v.to_f64() * v.to_f64()).sum();
            lanes.iter().map(|l| l.to_f64()).sum::<f64>() + tail
        },
    )
}
