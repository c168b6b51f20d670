//! Softmax: along contiguous rows, a row in cache for its passes; along an outer axis, lanes are columns.

use super::SoftmaxDesc;
use crate::Result;
use crate::device::View;
use crate::device::cpu::{Float, Real, for_each_part, larger, largest, sums};
use crate::kernels::rowwise::{Packed, narrowed, rows_per_part, scratch, split, vectorized, widened};

/// y = exp(x − m) and its sum.
#[inline(always)]
fn exponentials<A: Real>(x: &[A], m: A, y: &mut [A]) -> A {
    let n = y.len();
    let x = &x[..n];
    for i in 0..n {
        y[i] = (x[i] - m).exp();
    }
    let [sum] = sums([&*y], |[v]| [v]);
    A::of(sum)
}

vectorized! {
    /// One row. With m = −∞ every logit is −∞ (or there is a NaN), and 0/0 tells so.
    fn row<A>(x: &[A], log: bool, y: &mut [A]) {
        let n = y.len();
        let x = &x[..n];
        let m = largest(x);
        let sum = exponentials(x, m, y);
        if log {
            let log_sum = sum.ln();
            for i in 0..n {
                y[i] = (x[i] - m) - log_sum;
            }
        } else {
            let scale = A::ONE / sum;
            y.iter_mut().for_each(|y| *y *= scale);
        }
    }
}

/// Columns that are normalised together where the axis is not the innermost: four AVX-512 vectors of f32.
const COLUMNS: usize = 64;

vectorized! {
    /// One group of `count` columns, `x` holding them place by place of the axis.
    fn columns<A>(x: &mut [A], width: usize, count: usize, log: bool) {
        let (mut m, mut sum) = ([A::NEG_INFINITY; COLUMNS], [0.0; COLUMNS]);
        let (m, sum) = (&mut m[..count], &mut sum[..count]);
        for x in x.chunks_exact(count).take(width) {
            (0..count).for_each(|j| m[j] = larger(m[j], x[j]));
        }
        for x in x.chunks_exact_mut(count).take(width) {
            for j in 0..count {
                let shifted = x[j] - m[j];
                let e = shifted.exp();
                sum[j] += e.to_f64();
                x[j] = if log { shifted } else { e };
            }
        }
        let mut end = [A::ZERO; COLUMNS];
        for (end, &s) in end.iter_mut().zip(&*sum) {
            *end = A::of(if log { s.ln() } else { 1.0 / s });
        }
        for x in x.chunks_exact_mut(count).take(width) {
            for j in 0..count {
                x[j] = if log { x[j] - end[j] } else { x[j] * end[j] };
            }
        }
    }
}

vectorized! {
    fn row_gradient<A>(y: &[A], dy: &[A], log: bool, dx: &mut [A]) {
        let n = dx.len();
        let (y, dy) = (&y[..n], &dy[..n]);
        if log {
            let [sum] = sums([dy], |[v]| [v]);
            let sum = A::of(sum);
            (0..n).for_each(|i| dx[i] = dy[i] - y[i].exp() * sum);
        } else {
            let [sum] = sums([y, dy], |[y, dy]| [y * dy]);
            let sum = A::of(sum);
            (0..n).for_each(|i| dx[i] = y[i] * (dy[i] - sum));
        }
    }
}

vectorized! {
    fn column_gradients<A>(y: &[A], dy: &mut [A], count: usize, log: bool) {
        let mut total = [0.0; COLUMNS];
        for (y, dy) in y.chunks_exact(count).zip(dy.chunks_exact(count)) {
            (0..count).for_each(|j| total[j] += if log { dy[j] } else { y[j] * dy[j] }.to_f64());
        }
        let sum = total.map(A::of);
        for (y, dy) in y.chunks_exact(count).zip(dy.chunks_exact_mut(count)) {
            for j in 0..count {
                dy[j] = if log { dy[j] - y[j].exp() * sum[j] } else { y[j] * (dy[j] - sum[j]) };
            }
        }
    }
}

pub(super) fn forward<T: Float>(desc: &SoftmaxDesc, x: View<'_>, y: &mut [T]) -> Result<()> {
    let &SoftmaxDesc { outer, width, inner, log } = desc;
    if desc.numel() == 0 {
        return Ok(());
    }
    let x = Packed::<T>::new(x)?;
    let x = x.slice()?;
    let per_part = rows_per_part(outer, width * inner, 256);
    for_each_part(split(Some(y), per_part * width * inner, 0), |part, y| {
        let first = part * per_part * width * inner;
        let (mut a, mut b) = (scratch::<T>(width), scratch::<T>(width));
        let mut group = vec![T::Acc::ZERO; if inner > 1 { width * COLUMNS.min(inner) } else { 0 }];
        for (r, y) in y.into_iter().flat_map(|y| y.chunks_mut(width * inner)).enumerate() {
            let x = &x[first + r * width * inner..][..width * inner];
            if inner == 1 {
                let x = widened(x, &mut a);
                narrowed(y, &mut b, |y| row(x, log, y));
                continue;
            }
            for from in (0..inner).step_by(COLUMNS) {
                let count = COLUMNS.min(inner - from);
                let group = &mut group[..width * count];
                for (g, x) in group.chunks_mut(count).zip(x.chunks(inner)) {
                    T::widen(&x[from..from + count], g);
                }
                columns(group, width, count, log);
                for (g, y) in group.chunks(count).zip(y.chunks_mut(inner)) {
                    T::narrow(g, &mut y[from..from + count]);
                }
            }
        }
    });
    Ok(())
}

pub(super) fn backward<T: Float>(desc: &SoftmaxDesc, y: View<'_>, dy: View<'_>, dx: &mut [T]) -> Result<()> {
    let &SoftmaxDesc { outer, width, inner, log } = desc;
    if desc.numel() == 0 {
        return Ok(());
    }
    let (y, dy) = (Packed::<T>::new(y)?, Packed::<T>::new(dy)?);
    let (y, dy) = (y.slice()?, dy.slice()?);
    let per_part = rows_per_part(outer, width * inner, 256);
    for_each_part(split(Some(dx), per_part * width * inner, 0), |part, dx| {
        let first = part * per_part * width * inner;
        let (mut a, mut b, mut c) = (scratch::<T>(width), scratch::<T>(width), scratch::<T>(width));
        let size = if inner > 1 { width * COLUMNS.min(inner) } else { 0 };
        let (mut group_y, mut group_dy) = (vec![T::Acc::ZERO; size], vec![T::Acc::ZERO; size]);
        for (r, dx) in dx.into_iter().flat_map(|dx| dx.chunks_mut(width * inner)).enumerate() {
            let at = first + r * width * inner..first + (r + 1) * width * inner;
            let (y, dy) = (&y[at.clone()], &dy[at]);
            if inner == 1 {
                let (y, dy) = (widened(y, &mut a), widened(dy, &mut b));
                narrowed(dx, &mut c, |dx| row_gradient(y, dy, log, dx));
                continue;
            }
            for from in (0..inner).step_by(COLUMNS) {
                let count = COLUMNS.min(inner - from);
                for (group, all) in [(&mut group_y, y), (&mut group_dy, dy)] {
                    for (g, row) in group[..width * count].chunks_mut(count).zip(all.chunks(inner)) {
                        T::widen(&row[from..from + count], g);
                    }
                }
                let (y, dy) = (&group_y[..width * count], &mut group_dy[..width * count]);
                column_gradients(y, dy, count, log);
                for (g, dx) in dy.chunks(count).zip(dx.chunks_mut(inner)) {
                    T::narrow(g, &mut dx[from..from + count]);
                }
            }
        }
    });
    Ok(())
}
