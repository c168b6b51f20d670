//! One plane at a time, its planes in parallel; a row of outputs takes one tap after the other, which vectorises.

use super::{Divisor, PoolDesc, Windows};
use crate::device::cpu::{Float, GRAIN, Real, for_each_tile, vectorize};
use crate::kernels::window::Window;
use crate::{Element, Result};
use std::ops::Range;

/// Planes per task, for about [`GRAIN`] elements.
fn planes_per_task(desc: &PoolDesc) -> usize {
    (GRAIN / (desc.input[0] * desc.input[1]).max(desc.output[0] * desc.output[1]).max(1)).max(1)
}

/// The plane in the accumulator's type: itself, or widened into `room`.
fn wide<'a, T: Float>(plane: &'a [T], room: &'a mut Vec<T::Acc>) -> &'a [T::Acc] {
    if T::as_acc(&plane[..0]).is_none() {
        room.resize(plane.len(), T::Acc::ZERO);
        T::widen(plane, room);
    }
    T::as_acc(plane).unwrap_or(room)
}

pub(super) fn max<T: Float, I: Element<Acc = i64>>(
    desc: &PoolDesc,
    input: &[T],
    out: &mut [T],
    positions: &mut [I],
) -> Result<()> {
    let Windows::Sliding([down, across]) = desc.windows else {
        return Err(crate::Error::argument("max_pool", "adaptive windows have no maximum"));
    };
    let ([h, w], [oh, ow]) = (desc.input, desc.output);
    let tile = [planes_per_task(desc), oh * ow];
    // Positions go through a second pass over the same tiles, as the two outputs differ in type.
    let found: Vec<parking_lot::Mutex<&mut [I]>> =
        positions.chunks_mut((tile[0] * oh * ow).max(1)).map(parking_lot::Mutex::new).collect();
    for_each_tile([out], [1, desc.planes, oh * ow], tile, true, |at, [mut out]| {
        let mut found = found[at.row / tile[0]].lock();
        let mut room = Vec::new();
        let (mut best, mut place) = (vec![T::Acc::ZERO; ow], vec![0u32; ow]);
        for p in 0..at.rows {
            let plane = &input[(at.row + p) * h * w..][..h * w];
            let plane = wide(plane, &mut room);
            let out = out.row(p);
            let found = &mut found[p * oh * ow..][..oh * ow];
            for y in 0..oh {
                max_row(plane, [h, w], y, [&down, &across], &mut best, &mut place);
                T::narrow(&best, &mut out[y * ow..][..ow]);
                found[y * ow..][..ow].iter_mut().zip(&place).for_each(|(f, &p)| *f = I::from_acc(p.into()));
            }
        }
    });
    Ok(())
}

/// Row `y` of the outputs: its maxima and their positions.
fn max_row<A: Real>(
    plane: &[A],
    [h, w]: [usize; 2],
    y: usize,
    [down, across]: [&Window; 2],
    best: &mut [A],
    place: &mut [u32],
) {
    let rows = down.taps(y, h);
    let first = if rows.is_empty() { 0 } else { down.position(y, rows.start) * w };
    best.fill(A::NEG_INFINITY);
    for (x, place) in place.iter_mut().enumerate() {
        let taps = across.taps(x, w);
        *place = (first + if taps.is_empty() { 0 } else { across.position(x, taps.start) }) as u32;
    }
    let outputs = best.len();
    for tap in rows {
        let start = down.position(y, tap) * w;
        let row = &plane[start..start + w];
        for tap in 0..across.kernel {
            let valid = across.valid(tap, w, outputs);
            if valid.is_empty() {
                continue;
            }
            let from = across.position(valid.start, tap);
            let (best, place) = (&mut best[valid.clone()], &mut place[valid]);
            let step = across.stride;
            vectorize(
                #[inline(always)]
                || match step {
                    1 => larger::<A, 1>(&row[from..], start + from, best, place),
                    2 => larger::<A, 2>(&row[from..], start + from, best, place),
                    _ => {
                        for (i, (best, place)) in best.iter_mut().zip(place).enumerate() {
                            take(row[from + i * step], start + from + i * step, best, place);
                        }
                    }
                },
            );
        }
    }
}

#[inline(always)]
fn take<A: Real>(x: A, at: usize, best: &mut A, place: &mut u32) {
    // x != x: a NaN replaces whatever was found, as in PyTorch.
    #[allow(clippy::eq_op)]
    let larger = x > *best || x != x;
    *best = if larger { x } else { *best };
    *place = if larger { at as u32 } else { *place };
}

#[inline(always)]
fn larger<A: Real, const STEP: usize>(row: &[A], at: usize, best: &mut [A], place: &mut [u32]) {
    let n = best.len();
    let (row, place) = (&row[..(n - 1) * STEP + 1], &mut place[..n]);
    for i in 0..n {
        take(row[i * STEP], at + i * STEP, &mut best[i], &mut place[i]);
    }
}

pub(super) fn max_backward<T: Float>(desc: &PoolDesc, grad: &[T], positions: &[u32], out: &mut [T]) -> Result<()> {
    let (size, outputs) = (desc.input[0] * desc.input[1], desc.output[0] * desc.output[1]);
    for_each_tile([out], [1, desc.planes, size], [planes_per_task(desc), size], true, |at, [mut out]| {
        let mut sums = vec![T::Acc::ZERO; size];
        for p in 0..at.rows {
            let plane = (at.row + p) * outputs..(at.row + p + 1) * outputs;
            let out = out.row(p);
            // f32 and f64 add in place.
            let direct = T::as_acc_mut(&mut out[..0]).is_some();
            let into = if direct { T::as_acc_mut(out).unwrap_or(&mut []) } else { &mut sums[..] };
            into.fill(T::Acc::ZERO);
            for (g, &at) in grad[plane.clone()].iter().zip(&positions[plane]) {
                into[at as usize] += g.to_acc();
            }
            if !direct {
                T::narrow(&sums, out);
            }
        }
    });
    Ok(())
}

/// The positions that output `o` of `outputs` reads along an axis of `len`, and how many an average counts.
fn span(
    windows: &Windows,
    axis: usize,
    o: usize,
    len: usize,
    outputs: usize,
    divisor: Divisor,
) -> (Range<usize>, usize) {
    match windows {
        Windows::Adaptive => {
            let range = o * len / outputs..((o + 1) * len).div_ceil(outputs);
            let count = range.len();
            (range, count)
        }
        Windows::Sliding(windows) => {
            let Window { kernel, stride, padding, .. } = windows[axis];
            // As PyTorch: the window is cut at the padding's end, then at the input's.
            let (start, end) = (o * stride, (o * stride + kernel).min(len + 2 * padding));
            let inside = start.max(padding) - padding..end.min(len + padding).max(padding) - padding;
            let count = if divisor == Divisor::Padded { end - start } else { inside.len() };
            (inside, count)
        }
    }
}

fn scale<A: Real>(divisor: Divisor, rows: usize, cols: usize) -> A {
    match divisor {
        Divisor::Fixed(n) => A::ONE / A::of(n as f64),
        _ => A::ONE / A::of((rows * cols) as f64),
    }
}

pub(super) fn average<T: Float>(desc: &PoolDesc, divisor: Divisor, input: &[T], out: &mut [T]) -> Result<()> {
    let ([h, w], [oh, ow]) = (desc.input, desc.output);
    for_each_tile([out], [1, desc.planes, oh * ow], [planes_per_task(desc), oh * ow], true, |at, [mut out]| {
        let mut room = Vec::new();
        let mut sums = vec![T::Acc::ZERO; w];
        let mut results = vec![T::Acc::ZERO; ow];
        for p in 0..at.rows {
            let plane = &input[(at.row + p) * h * w..][..h * w];
            let plane = wide(plane, &mut room);
            let out = out.row(p);
            for y in 0..oh {
                let (rows, height) = span(&desc.windows, 0, y, h, oh, divisor);
                // Columns first, a whole row at a time, then each window's run of column sums.
                sums.fill(T::Acc::ZERO);
                vectorize(
                    #[inline(always)]
                    || {
                        for row in rows {
                            sums.iter_mut().zip(&plane[row * w..][..w]).for_each(|(s, &x)| *s += x);
                        }
                    },
                );
                for (x, result) in results.iter_mut().enumerate() {
                    let (cols, width) = span(&desc.windows, 1, x, w, ow, divisor);
                    let total: T::Acc = sums[cols].iter().copied().sum();
                    *result = total * scale(divisor, height, width);
                }
                T::narrow(&results, &mut out[y * ow..][..ow]);
            }
        }
    });
    Ok(())
}

pub(super) fn average_backward<T: Float>(desc: &PoolDesc, divisor: Divisor, grad: &[T], out: &mut [T]) -> Result<()> {
    let ([h, w], [oh, ow]) = (desc.input, desc.output);
    for_each_tile([out], [1, desc.planes, h * w], [planes_per_task(desc), h * w], true, |at, [mut out]| {
        let mut sums = vec![T::Acc::ZERO; h * w];
        let mut spread = vec![T::Acc::ZERO; w];
        for p in 0..at.rows {
            let grad = &grad[(at.row + p) * oh * ow..][..oh * ow];
            sums.fill(T::Acc::ZERO);
            for y in 0..oh {
                let (rows, height) = span(&desc.windows, 0, y, h, oh, divisor);
                spread.fill(T::Acc::ZERO);
                for (x, g) in grad[y * ow..][..ow].iter().enumerate() {
                    let (cols, width) = span(&desc.windows, 1, x, w, ow, divisor);
                    let g = g.to_acc() * scale(divisor, height, width);
                    spread[cols].iter_mut().for_each(|s| *s += g);
                }
                vectorize(
                    #[inline(always)]
                    || {
                        for row in rows {
                            sums[row * w..][..w].iter_mut().zip(&spread).for_each(|(s, &g)| *s += g);
                        }
                    },
                );
            }
            T::narrow(&sums, out.row(p));
        }
    });
    Ok(())
}
