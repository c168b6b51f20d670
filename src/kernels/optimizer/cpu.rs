//! All tensors are cut into chunks, and the chunks of all tensors share the threads; blocks are widened to f32 (or
//! updated in place) and narrowed.

use super::rules::{AdaGrad, Adam, Centered, Ftrl, Lion, Momentum, Numbers, RmsProp, Sgd, Update};
use super::{Grad, Rule, Settings, Slot};
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
struct Chunk<'a, T: Float> {
    rule: Rule,
    numbers: Numbers<T::Acc>,
    param: &'a mut [T],
    /// Empty where there is none.
    master: &'a mut [T::Acc],
    /// As many as the rule has; the others are empty.
    state: [&'a mut [T::Acc]; 3],
    source: Source<'a, T>,
}

pub(super) fn step<T>(slots: Vec<&mut Slot<'_>>, settings: &Settings, scale: f64) -> Result<()>
where
    T: Float<Acc: crate::Element>,
{
    let mut chunks: Vec<Chunk<'_, T>> = vec![];
    let mut total = 0;
    for slot in slots {
        total += slot.param.len();
        let updates = slot.count.as_slice::<i64>()?[0] as u64;
        let numbers = slot.rule.numbers(updates + 1, settings.rates[slot.group], scale, settings.bound);
        cut(slot, numbers, &mut chunks)?;
    }
    // Small models are updated before another thread would have woken up.
    if total <= GRAIN {
        chunks.iter_mut().for_each(update);
    } else {
        for_each_chunk(&mut chunks, 1, |_, chunk| chunk.iter_mut().for_each(update));
    }
    Ok(())
}

/// The first `n` elements, which leave the slice; an empty slice stays empty.
fn take<'a, A>(slice: &mut &'a mut [A], n: usize) -> &'a mut [A] {
    let n = n.min(slice.len());
    let (head, tail) = std::mem::take(slice).split_at_mut(n);
    *slice = tail;
    head
}

fn cut<'a, T>(slot: &'a mut Slot<'_>, numbers: Numbers<T::Acc>, chunks: &mut Vec<Chunk<'a, T>>) -> Result<()>
where
    T: Float<Acc: crate::Element>,
{
    let (rule, op) = (slot.rule, slot.rule.name());
    let mut param = slot.param.as_mut_slice::<T>()?;
    let mut master = match &mut slot.master {
        Some(master) => master.as_mut_slice::<T::Acc>()?,
        None => &mut [],
    };
    let mut state: [&mut [T::Acc]; 3] = [&mut [], &mut [], &mut []];
    for (place, buffer) in state.iter_mut().zip(slot.state.iter_mut()) {
        *place = buffer.as_mut_slice::<T::Acc>()?;
    }
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
            let slice = |found: Option<_>| found.ok_or_else(|| Error::argument(op, "rows are not contiguous"));
            let indices = slice(indices.contiguous::<i64>()?)?;
            let ordered = indices.windows(2).all(|w| w[0] < w[1]) && indices.first().is_none_or(|&i| i >= 0);
            if !ordered || indices.last().is_some_and(|&i| i as usize >= param.len() / row) {
                let message = format!("rows must be ascending, unique and below {}", param.len() / row);
                return Err(Error::argument(op, message));
            }
            let rows = rows.contiguous::<T>()?.ok_or_else(|| Error::argument(op, "rows are not contiguous"))?;
            Source::Rows { indices, rows, row, first: 0 }
        }
    };
    let mut at = 0;
    while !param.is_empty() {
        let n = length.min(param.len());
        let source = match &whole {
            Source::Dense { all, layout, .. } => Source::Dense { all, layout: *layout, start: at },
            Source::Rows { indices, rows, row, .. } => {
                let (low, high) = ((at / row) as i64, ((at + n) / row) as i64);
                let (from, to) = (indices.partition_point(|&i| i < low), indices.partition_point(|&i| i < high));
                let rows = &rows[from * row..to * row];
                Source::Rows { indices: &indices[from..to], rows, row: *row, first: at / row }
            }
        };
        chunks.push(Chunk {
            rule,
            numbers,
            param: take(&mut param, n),
            master: take(&mut master, n),
            state: state.each_mut().map(|s| take(s, n)),
            source,
        });
        at += n;
    }
    Ok(())
}

fn update<T: Float>(chunk: &mut Chunk<'_, T>) {
    let Chunk { rule, numbers, param, master, state, source } = chunk;
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
                apply(*rule, numbers, p, g, part(master, at, n), parts(state, at, n));
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
                    apply(*rule, numbers, p, g, part(master, at, n), parts(state, at, n));
                }
            }
        }
    }
}

/// Elements `at..at + n`; none of an empty slice.
fn part<'a, A>(slice: &'a mut &mut [A], at: usize, n: usize) -> &'a mut [A] {
    if slice.is_empty() { &mut [] } else { &mut slice[at..at + n] }
}

fn parts<'a, A, const N: usize>(state: &'a mut [&mut [A]; N], at: usize, n: usize) -> [&'a mut [A]; N] {
    state.each_mut().map(|s| part(s, at, n))
}

/// One block of at most [`BLOCK`] elements.
fn apply<T: Float>(
    rule: Rule,
    numbers: &Numbers<T::Acc>,
    p: &mut [T],
    g: &[T::Acc],
    master: &mut [T::Acc],
    state: [&mut [T::Acc]; 3],
) {
    if !master.is_empty() {
        run(rule, numbers, master, g, state);
        return T::narrow(master, p);
    }
    if let Some(p) = T::as_acc_mut(p) {
        return run(rule, numbers, p, g, state);
    }
    let mut wide = [T::Acc::default(); BLOCK];
    let wide = &mut wide[..p.len()];
    T::widen(p, wide);
    run(rule, numbers, wide, g, state);
    T::narrow(wide, p);
}

fn run<A: Real>(rule: Rule, n: &Numbers<A>, p: &mut [A], g: &[A], [a, b, c]: [&mut [A]; 3]) {
    match rule {
        Rule::Sgd { .. } => sweep(Sgd, n, p, g, []),
        Rule::SgdMomentum { nesterov, .. } => sweep(Momentum { nesterov }, n, p, g, [a]),
        Rule::Adam { decoupled, amsgrad: false, .. } => sweep(Adam { decoupled }, n, p, g, [a, b]),
        Rule::Adam { decoupled, .. } => sweep(Adam { decoupled }, n, p, g, [a, b, c]),
        Rule::AdaGrad { .. } => sweep(AdaGrad, n, p, g, [a]),
        Rule::RmsProp { momentum, centered, .. } => match (centered, momentum != 0.0) {
            (false, false) => sweep(RmsProp, n, p, g, [a]),
            (false, true) => sweep(RmsProp, n, p, g, [a, b]),
            (true, false) => sweep(Centered, n, p, g, [a, b]),
            (true, true) => sweep(Centered, n, p, g, [a, b, c]),
        },
        Rule::Ftrl { .. } => sweep(Ftrl, n, p, g, [a, b]),
        Rule::Lion { .. } => sweep(Lion, n, p, g, [a]),
    }
}

fn sweep<A: Real, U: Update<N>, const N: usize>(
    rule: U,
    numbers: &Numbers<A>,
    p: &mut [A],
    g: &[A],
    mut state: [&mut [A]; N],
) {
    let n = p.len();
    let g = &g[..n];
    let state = parts(&mut state, 0, n);
    let numbers = *numbers;
    vectorize(
        #[inline(always)]
        || {
            for j in 0..n {
                let mut old = [A::ZERO; N];
                for i in 0..N {
                    old[i] = state[i][j];
                }
                let (new, s) = rule.update(&numbers, p[j], numbers.clipped(g[j]), old);
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

/// Sixteen lanes of at most 64 squares each, summed in f64; squares beyond f32 in f64 from the start.
fn block_squares<A: Real>(x: &[A]) -> f64 {
    let sum = lanes_of_squares(x);
    if sum.is_finite() { sum } else { x.iter().map(|&v| v.to_f64() * v.to_f64()).sum() }
}

fn lanes_of_squares<A: Real>(x: &[A]) -> f64 {
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
