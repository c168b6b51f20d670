//! Rows in parallel, each in cache for all of its passes.

use super::{LayerNormDesc, LayerNormGradInputs, LayerNormGradOutputs, LayerNormInputs, LayerNormOutputs};
use crate::device::cpu::{Float, Real, for_each_part, map_parts, sums};
use crate::kernels::rowwise::{
    Packed, narrowed, parameter, rows_per_part, scratch, split, vectorized, widened, write_parameter,
};
use crate::{Element, Result};

/// Parts that rows are cut into at most: the partial sums of weight and bias are this many rows.
const PARTS: usize = 64;
/// Rows whose products are summed in the accumulator type before they go to an f64 partial sum.
const FLUSH: usize = 128;

/// The statistics of one row: two passes over the row, the second about the mean (never E[x²] − E[x]²).
#[inline(always)]
pub(super) fn statistics<A: Real>(x: &[A], centered: bool, eps: f64) -> (A, A) {
    let n = x.len() as f64;
    let mean = if centered { sums([x], |[v]| [v])[0] / n } else { 0.0 };
    let center = A::of(mean);
    let [squares] = sums([x], |[v]| [(v - center) * (v - center)]);
    (center, A::of(1.0 / (squares / n + eps).sqrt()))
}

vectorized! {
    /// One row and its statistics.
    fn normalise<A>(x: &[A], centered: bool, eps: f64, weight: &[A], bias: &[A], y: &mut [A]) -> (A, A) {
        let (mean, rstd) = statistics(x, centered, eps);
        let n = y.len();
        let (x, weight, bias) = (&x[..n], &weight[..n], &bias[..n]);
        for i in 0..n {
            y[i] = ((x[i] - mean) * rstd).mul_add(weight[i], bias[i]);
        }
        (mean, rstd)
    }
}

vectorized! {
    fn add<A>(a: &[A], b: &[A], out: &mut [A]) {
        let n = out.len();
        let (a, b) = (&a[..n], &b[..n]);
        for i in 0..n {
            out[i] = a[i] + b[i];
        }
    }
}

pub(super) fn forward<T: Float<Acc: Element>>(
    desc: &LayerNormDesc,
    inputs: LayerNormInputs<'_>,
    out: LayerNormOutputs<'_>,
) -> Result<()> {
    let &LayerNormDesc { rows, width, centered, eps, .. } = desc;
    if rows * width == 0 {
        return Ok(());
    }
    let (weight, bias) = (parameter(inputs.weight, width, 1.0)?, parameter(inputs.bias, width, 0.0)?);
    let x = Packed::<T>::new(inputs.x)?;
    let x = x.slice()?;
    let residual = inputs.residual.map(Packed::<T>::new).transpose()?;
    let residual = residual.as_ref().map(Packed::slice).transpose()?;
    let per_part = rows_per_part(rows, width, 256);
    let sum = out.sum.map(|s| s.as_mut_slice::<T>()).transpose()?;
    let parts: Vec<_> = out
        .y
        .as_mut_slice::<T>()?
        .chunks_mut(per_part * width)
        .zip(split(sum, per_part * width, rows.div_ceil(per_part)))
        .zip(out.mean.as_mut_slice::<T::Acc>()?.chunks_mut(per_part))
        .zip(out.rstd.as_mut_slice::<T::Acc>()?.chunks_mut(per_part))
        .collect();
    for_each_part(parts, |part, (((y, mut sum), mean), rstd)| {
        let first = part * per_part;
        let (mut a, mut b, mut c) = (scratch::<T>(width), scratch::<T>(width), scratch::<T>(width));
        for (r, y) in y.chunks_mut(width).enumerate() {
            let at = (first + r) * width;
            let own = &x[at..at + width];
            let row = match (residual, &mut sum) {
                (Some(residual), Some(sum)) => {
                    let (x, residual) = (widened(own, &mut a), widened(&residual[at..at + width], &mut b));
                    let sum = &mut sum[r * width..(r + 1) * width];
                    narrowed(sum, &mut c, |s| add(x, residual, s));
                    // What is normalised is what the backward will read: the rounded sum.
                    widened(&*sum, &mut a)
                }
                _ => widened(own, &mut a),
            };
            narrowed(y, &mut b, |y| {
                (mean[r], rstd[r]) = normalise(row, centered, eps, &weight, &bias, y);
            });
        }
    });
    Ok(())
}

vectorized! {
    fn input_gradient<A>(x: &[A], dy: &[A], weight: &[A], of_row: (A, A), centered: bool, dx: &mut [A]) {
        let ((mean, rstd), n) = (of_row, dx.len());
        let (x, dy, weight) = (&x[..n], &dy[..n], &weight[..n]);
        let [direct, along] = sums([x, dy, weight], |[x, dy, w]| [dy * w, dy * w * ((x - mean) * rstd)]);
        let direct = if centered { A::of(direct / n as f64) } else { A::ZERO };
        let along = A::of(along / n as f64);
        for i in 0..n {
            let normal = (x[i] - mean) * rstd;
            dx[i] = rstd * (dy[i] * weight[i] - direct - normal * along);
        }
    }
}

vectorized! {
    fn parameter_gradients<A>(x: &[A], dy: &[A], of_row: (A, A), dweight: &mut [A], dbias: &mut [A]) {
        let ((mean, rstd), n) = (of_row, x.len());
        let (dy, dweight, dbias) = (&dy[..n], &mut dweight[..n], &mut dbias[..n]);
        for i in 0..n {
            dweight[i] = ((x[i] - mean) * rstd).mul_add(dy[i], dweight[i]);
            dbias[i] += dy[i];
        }
    }
}

vectorized! {
    fn flush<A>(from: &mut [A], to: &mut [f64]) {
        for (f, t) in from.iter_mut().zip(to) {
            *t += f.to_f64();
            *f = A::ZERO;
        }
    }
}

pub(super) fn backward<T: Float>(
    desc: &LayerNormDesc,
    inputs: LayerNormGradInputs<'_>,
    out: LayerNormGradOutputs<'_>,
) -> Result<()> {
    let &LayerNormDesc { rows, width, centered, .. } = desc;
    let weight: Vec<T::Acc> = parameter(inputs.weight, width, 1.0)?;
    let (mean, rstd): (Vec<T::Acc>, Vec<T::Acc>) =
        (parameter(Some(inputs.mean), rows, 0.0)?, parameter(Some(inputs.rstd), rows, 0.0)?);
    let (x, dy) = (Packed::<T>::new(inputs.x)?, Packed::<T>::new(inputs.dy)?);
    let (x, dy) = (x.slice()?, dy.slice()?);
    let with_parameters = out.dweight.is_some() || out.dbias.is_some();
    let per_part = rows_per_part(rows, width, PARTS);
    let dx = out.dx.map(|b| b.as_mut_slice::<T>()).transpose()?;
    let parts = if rows * width == 0 { vec![] } else { split(dx, per_part * width, rows.div_ceil(per_part)) };
    let partial = map_parts(parts, |part, mut dx| {
        let mut total = vec![0.0; if with_parameters { 2 * width } else { 0 }];
        let (mut dweight, mut dbias) = (vec![T::Acc::ZERO; width], vec![T::Acc::ZERO; width]);
        let (mut a, mut b, mut c) = (scratch::<T>(width), scratch::<T>(width), scratch::<T>(width));
        let first = part * per_part;
        for r in first..rows.min(first + per_part) {
            let x = widened(&x[r * width..(r + 1) * width], &mut a);
            let dy = widened(&dy[r * width..(r + 1) * width], &mut b);
            let of_row = (mean[r], rstd[r]);
            if let Some(dx) = &mut dx {
                narrowed(&mut dx[(r - first) * width..][..width], &mut c, |dx| {
                    input_gradient(x, dy, &weight, of_row, centered, dx);
                });
            }
            if with_parameters {
                parameter_gradients(x, dy, of_row, &mut dweight, &mut dbias);
                if (r - first) % FLUSH == FLUSH - 1 {
                    flush(&mut dweight, &mut total[..width]);
                    flush(&mut dbias, &mut total[width..]);
                }
            }
        }
        if with_parameters {
            flush(&mut dweight, &mut total[..width]);
            flush(&mut dbias, &mut total[width..]);
        }
        total
    });
    let mut total = vec![0.0; 2 * width];
    for part in &partial {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    if let Some(dweight) = out.dweight {
        write_parameter("layer_norm_backward", &total[..width], dweight)?;
    }
    if let Some(dbias) = out.dbias {
        write_parameter("layer_norm_backward", &total[width..], dbias)?;
    }
    Ok(())
}
