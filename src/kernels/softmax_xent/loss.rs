//! The cross-entropy, rows in parallel, each row in blocks that stay in the L1 cache.

use crate::device::cpu::{BLOCK, Float, Real, for_each_part, larger, largest, sums};
use crate::device::{Buffer, View};
use crate::kernels::rowwise::{Packed, parameter, rows_per_part, scratch, split, vectorized, widened};
use crate::{Element, Result};

/// A call with its weights as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostDesc<'a> {
    pub rows: usize,
    pub classes: usize,
    pub smoothing: f64,
    pub weight: Option<&'a [f64]>,
}

/// What rows are compared with, labels as classes; `None` for rows that count for nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum HostTargets<'a> {
    Classes(&'a [Option<usize>]),
    Probabilities(View<'a>),
}

/// The running maximum of a row and the sum of exponentials below it.
#[derive(Clone, Copy)]
struct Online<A> {
    max: A,
    sum: f64,
}

vectorized! {
    fn online<A>(before: Online<A>, x: &[A]) -> Online<A> {
        let max = larger(before.max, largest(x));
        if max == A::NEG_INFINITY {
            // Only −∞ so far (which add nothing) or NaN (which must not vanish).
            let [sum] = sums([x], |[v]| [if v == A::NEG_INFINITY { A::ZERO } else { v }]);
            return Online { max, sum: before.sum + sum };
        }
        let [sum] = sums([x], |[v]| [(v - max).exp()]);
        Online { max, sum: before.sum * (before.max - max).to_f64().exp() + sum }
    }
}

vectorized! {
    /// Σ q and Σ q · x.
    fn weighted<A>(x: &[A], q: &[A]) -> [f64; 2] {
        sums([x, q], |[x, q]| [q, q * x])
    }
}

/// The part of a row's targets that is not one class: q = weight · (sharp · target + uniform).
#[derive(Clone, Copy)]
struct Spread<A> {
    /// smoothing / classes.
    uniform: A,
    /// 1 − smoothing.
    sharp: A,
}

vectorized! {
    /// Writes q over the target probabilities.
    fn of_probabilities<A>(spread: Spread<A>, weight: &[A], q: &mut [A]) {
        let n = q.len();
        let weight = &weight[..n];
        for i in 0..n {
            q[i] = q[i].mul_add(spread.sharp, spread.uniform) * weight[i];
        }
    }
}

vectorized! {
    fn of_smoothing<A>(spread: Spread<A>, weight: &[A], q: &mut [A]) {
        let n = q.len();
        let weight = &weight[..n];
        for i in 0..n {
            q[i] = spread.uniform * weight[i];
        }
    }
}

/// The targets of one row.
enum Row<'a, T> {
    Ignored,
    Class(usize),
    Probabilities(&'a [T]),
}

struct Rows<'a, T: Float> {
    desc: HostDesc<'a>,
    classes: Option<&'a [Option<usize>]>,
    probabilities: Option<&'a [T]>,
    weight: Vec<T::Acc>,
}

impl<'a, T: Float> Rows<'a, T> {
    fn row(&self, r: usize) -> Row<'a, T> {
        let width = self.desc.classes;
        match (self.classes, self.probabilities) {
            (Some(classes), _) => classes[r].map_or(Row::Ignored, Row::Class),
            (None, Some(all)) => Row::Probabilities(&all[r * width..(r + 1) * width]),
            (None, None) => Row::Ignored,
        }
    }

    fn spread(&self) -> Spread<T::Acc> {
        let uniform = T::Acc::of(self.desc.smoothing / self.desc.classes as f64);
        Spread { uniform, sharp: T::Acc::of(1.0 - self.desc.smoothing) }
    }

    /// q over one block of classes of a row; `None` where it is zero but for the row's one class.
    fn block<'b>(&self, row: &Row<'_, T>, from: usize, n: usize, q: &'b mut [T::Acc]) -> Option<&'b [T::Acc]> {
        let (q, weight) = (&mut q[..n], &self.weight[from..from + n]);
        match row {
            Row::Probabilities(all) => {
                T::widen(&all[from..from + n], q);
                of_probabilities(self.spread(), weight, q);
            }
            _ if self.desc.smoothing == 0.0 => return None,
            _ => of_smoothing(self.spread(), weight, q),
        }
        Some(q)
    }

    /// What the row's one class adds to q.
    fn of_class(&self, class: usize) -> f64 {
        (1.0 - self.desc.smoothing) * self.weight[class].to_f64()
    }
}

pub(super) fn forward<T: Float<Acc: Element>>(
    desc: &HostDesc<'_>,
    logits: View<'_>,
    targets: HostTargets<'_>,
    losses: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    let width = desc.classes;
    let logits = Packed::<T>::new(logits)?;
    let logits = logits.slice()?;
    let probabilities = probabilities::<T>(targets)?;
    let rows = rows(desc, targets, &probabilities)?;
    let per_part = rows_per_part(desc.rows, width, 256);
    let outputs = losses.as_mut_slice::<T::Acc>()?.chunks_mut(per_part);
    let parts: Vec<_> = outputs.zip(lse.as_mut_slice::<T::Acc>()?.chunks_mut(per_part)).collect();
    for_each_part(parts, |part, (losses, lse)| {
        let (mut a, mut q) = (scratch::<T>(BLOCK), vec![T::Acc::ZERO; BLOCK]);
        for (i, (loss, lse)) in losses.iter_mut().zip(lse).enumerate() {
            let r = part * per_part + i;
            let (all, row) = (&logits[r * width..(r + 1) * width], rows.row(r));
            let mut running = Online { max: T::Acc::NEG_INFINITY, sum: 0.0 };
            let (mut total, mut product) = (0.0, 0.0);
            for (b, block) in all.chunks(BLOCK).enumerate() {
                let x = widened(block, &mut a);
                running = online(running, x);
                if let Some(q) = rows.block(&row, b * BLOCK, x.len(), &mut q) {
                    let of_block = weighted(x, q);
                    (total, product) = (total + of_block[0], product + of_block[1]);
                }
            }
            let (max, log_sum) = (Real::to_f64(running.max), running.sum.ln());
            *lse = Real::of(max + log_sum);
            let spread = if total == 0.0 { 0.0 } else { total * (max + log_sum) - product };
            *loss = Real::of(match row {
                Row::Ignored => 0.0,
                // (max − x) first: nothing is lost where the logits are large.
                Row::Class(c) => rows.of_class(c) * ((max - all[c].to_f64()) + log_sum) + spread,
                Row::Probabilities(_) => spread,
            });
        }
    });
    Ok(())
}

fn probabilities<T: Float>(targets: HostTargets<'_>) -> Result<Option<Packed<'_, T>>> {
    match targets {
        HostTargets::Probabilities(view) => Packed::new(view).map(Some),
        HostTargets::Classes(_) => Ok(None),
    }
}

fn rows<'a, T: Float>(
    desc: &HostDesc<'a>,
    targets: HostTargets<'a>,
    probabilities: &'a Option<Packed<'_, T>>,
) -> Result<Rows<'a, T>> {
    let weight = match desc.weight {
        Some(weight) => weight.iter().map(|&w| T::Acc::of(w)).collect(),
        None => parameter(None, desc.classes, 1.0)?,
    };
    let classes = if let HostTargets::Classes(classes) = targets { Some(classes) } else { None };
    let probabilities = probabilities.as_ref().map(Packed::slice).transpose()?;
    Ok(Rows { desc: *desc, classes, probabilities, weight })
}

vectorized! {
    /// x ← scale · exp(x − lse) − upstream · q.
    fn gradient<A>(x: &mut [A], lse: A, scale: A, q: Option<(&[A], A)>) {
        match q {
            None => x.iter_mut().for_each(|x| *x = scale * (*x - lse).exp()),
            Some((q, upstream)) => {
                let n = x.len();
                let q = &q[..n];
                for i in 0..n {
                    x[i] = scale * (x[i] - lse).exp() - upstream * q[i];
                }
            }
        }
    }
}

pub(super) fn backward<T: Float>(
    desc: &HostDesc<'_>,
    logits: Option<View<'_>>,
    targets: HostTargets<'_>,
    lse: View<'_>,
    upstream: &[f64],
    out: &mut [T],
) -> Result<()> {
    let width = desc.classes;
    if desc.rows * width == 0 {
        return Ok(());
    }
    let logits = logits.map(Packed::<T>::new).transpose()?;
    let logits = logits.as_ref().map(Packed::slice).transpose()?;
    let probabilities = probabilities::<T>(targets)?;
    let rows = rows(desc, targets, &probabilities)?;
    let lse: Vec<T::Acc> = parameter(Some(lse), desc.rows, 0.0)?;
    // What smoothing alone gives each row of q in total.
    let uniform = desc.smoothing / width as f64;
    let smoothed = if uniform == 0.0 { 0.0 } else { rows.weight.iter().map(|w| w.to_f64() * uniform).sum() };
    let per_part = rows_per_part(desc.rows, width, 256);
    for_each_part(split(Some(out), per_part * width, 0), |part, out| {
        let (mut a, mut q) = (scratch::<T>(BLOCK), vec![T::Acc::ZERO; BLOCK]);
        for (i, out) in out.into_iter().flat_map(|out| out.chunks_mut(width)).enumerate() {
            let r = part * per_part + i;
            let row = rows.row(r);
            let total = match row {
                Row::Ignored => {
                    out.fill(T::default());
                    continue;
                }
                Row::Class(class) => rows.of_class(class) + smoothed,
                Row::Probabilities(_) => {
                    let of_block = |from: usize, q: &mut [T::Acc]| {
                        let q = rows.block(&row, from, BLOCK.min(width - from), q).unwrap_or(&[]);
                        weighted(q, q)[0]
                    };
                    (0..width).step_by(BLOCK).map(|from| of_block(from, &mut q)).sum::<f64>()
                }
            };
            let (upstream, scale) = (upstream[r], T::Acc::of(upstream[r] * total));
            for (b, out) in out.chunks_mut(BLOCK).enumerate() {
                let from = b * BLOCK;
                if let Some(logits) = logits {
                    out.copy_from_slice(&logits[r * width + from..][..out.len()]);
                }
                let q = rows.block(&row, from, out.len(), &mut q).map(|q| (q, T::Acc::of(upstream)));
                let apply = |x: &mut [T::Acc]| {
                    gradient(x, lse[r], scale, q);
                    if let Row::Class(class) = row
                        && let Some(x) = class.checked_sub(from).and_then(|at| x.get_mut(at))
                    {
                        *x -= T::Acc::of(upstream * rows.of_class(class));
                    }
                };
                let n = out.len();
                match T::as_acc_mut(out) {
                    Some(x) => apply(x),
                    None => {
                        T::widen(out, &mut a[..n]);
                        apply(&mut a[..n]);
                        T::narrow(&a[..n], out);
                    }
                }
            }
        }
    });
    Ok(())
}
