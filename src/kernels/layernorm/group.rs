//! Group norm: rows of whole channels; weight and bias by channel.

use super::cpu::statistics;
use super::{LayerNormDesc, LayerNormGradInputs, LayerNormGradOutputs, LayerNormInputs, LayerNormOutputs};
use crate::device::cpu::{Float, Real, for_each_part, map_parts, sums};
use crate::kernels::rowwise::{
    Packed, narrowed, parameter, rows_per_part, scratch, split, vectorized, widened, write_parameter,
};
use crate::{Element, Result};

vectorized! {
    fn row_statistics<A>(x: &[A], eps: f64) -> (A, A) {
        statistics(x, true, eps)
    }
}

vectorized! {
    /// y = (x − mean) · rstd · weight + bias over one channel.
    fn normalise<A>(x: &[A], of_row: (A, A), parameters: (A, A), y: &mut [A]) {
        let ((mean, rstd), (weight, bias), n) = (of_row, parameters, y.len());
        let x = &x[..n];
        for i in 0..n {
            y[i] = ((x[i] - mean) * rstd).mul_add(weight, bias);
        }
    }
}

pub(super) fn forward<T: Float<Acc: Element>>(
    desc: &LayerNormDesc,
    length: usize,
    inputs: LayerNormInputs<'_>,
    out: LayerNormOutputs<'_>,
) -> Result<()> {
    let &LayerNormDesc { rows, width, eps, .. } = desc;
    if rows * width == 0 {
        return Ok(());
    }
    let channels = desc.parameters();
    let (weight, bias): (Vec<T::Acc>, Vec<T::Acc>) =
        (parameter(inputs.weight, channels, 1.0)?, parameter(inputs.bias, channels, 0.0)?);
    let x = Packed::<T>::new(inputs.x)?;
    let x = x.slice()?;
    let per_part = rows_per_part(rows, width, 256);
    let parts: Vec<_> = out
        .y
        .as_mut_slice::<T>()?
        .chunks_mut(per_part * width)
        .zip(out.mean.as_mut_slice::<T::Acc>()?.chunks_mut(per_part))
        .zip(out.rstd.as_mut_slice::<T::Acc>()?.chunks_mut(per_part))
        .collect();
    for_each_part(parts, |part, ((y, mean), rstd)| {
        let (mut a, mut b) = (scratch::<T>(width), scratch::<T>(width));
        for (r, y) in y.chunks_mut(width).enumerate() {
            let row = part * per_part + r;
            let x = widened(&x[row * width..(row + 1) * width], &mut a);
            let of_row = row_statistics(x, eps);
            (mean[r], rstd[r]) = of_row;
            let first = row * (width / length) % channels;
            narrowed(y, &mut b, |y| {
                for (c, (x, y)) in x.chunks(length).zip(y.chunks_mut(length)).enumerate() {
                    let parameters = (weight[first + c], bias[first + c]);
                    normalise(x, of_row, parameters, y);
                }
            });
        }
    });
    Ok(())
}

vectorized! {
    /// Σ dy and Σ dy · (x − mean) · rstd over one channel.
    fn channel_sums<A>(x: &[A], dy: &[A], of_row: (A, A)) -> [f64; 2] {
        let (mean, rstd) = of_row;
        sums([x, dy], |[x, dy]| [dy, dy * ((x - mean) * rstd)])
    }
}

vectorized! {
    /// dx = rstd · (weight · dy − direct − (x − mean) · rstd · along) over one channel.
    fn input_gradient<A>(x: &[A], dy: &[A], of_row: (A, A), factors: [A; 3], dx: &mut [A]) {
        let ((mean, rstd), [weight, direct, along], n) = (of_row, factors, dx.len());
        let (x, dy) = (&x[..n], &dy[..n]);
        for i in 0..n {
            let normal = (x[i] - mean) * rstd;
            dx[i] = rstd * (weight * dy[i] - direct - normal * along);
        }
    }
}

pub(super) fn backward<T: Float>(
    desc: &LayerNormDesc,
    channels: usize,
    length: usize,
    inputs: LayerNormGradInputs<'_>,
    out: LayerNormGradOutputs<'_>,
) -> Result<()> {
    const OP: &str = "group_norm_backward";
    let &LayerNormDesc { rows, width, .. } = desc;
    let weight: Vec<T::Acc> = parameter(inputs.weight, channels, 1.0)?;
    let (mean, rstd): (Vec<T::Acc>, Vec<T::Acc>) =
        (parameter(Some(inputs.mean), rows, 0.0)?, parameter(Some(inputs.rstd), rows, 0.0)?);
    let (x, dy) = (Packed::<T>::new(inputs.x)?, Packed::<T>::new(inputs.dy)?);
    let (x, dy) = (x.slice()?, dy.slice()?);
    let per_part = rows_per_part(rows, width, 256);
    let dx = out.dx.map(|b| b.as_mut_slice::<T>()).transpose()?;
    let parts = if rows * width == 0 { vec![] } else { split(dx, per_part * width, rows.div_ceil(per_part)) };
    // Per row and channel: Σ dy, Σ dy · normalised x.
    let of_channels: Vec<Vec<[f64; 2]>> = map_parts(parts, |part, mut dx| {
        let (mut a, mut b, mut c) = (scratch::<T>(width), scratch::<T>(width), scratch::<T>(width));
        let first = part * per_part;
        let mut all = vec![];
        for r in first..rows.min(first + per_part) {
            let x = widened(&x[r * width..(r + 1) * width], &mut a);
            let dy = widened(&dy[r * width..(r + 1) * width], &mut b);
            let of_row = (mean[r], rstd[r]);
            let weight = &weight[r * (width / length) % channels..];
            let from = all.len();
            all.extend(x.chunks(length).zip(dy.chunks(length)).map(|(x, dy)| channel_sums(x, dy, of_row)));
            let Some(dx) = &mut dx else { continue };
            let weighted = |k: usize| {
                let terms = all[from..].iter().zip(weight).map(|(s, w)| s[k] * w.to_f64());
                T::Acc::of(terms.sum::<f64>() / width as f64)
            };
            let (direct, along) = (weighted(0), weighted(1));
            narrowed(&mut dx[(r - first) * width..][..width], &mut c, |dx| {
                let channels = x.chunks(length).zip(dy.chunks(length)).zip(dx.chunks_mut(length));
                for (((x, dy), dx), &w) in channels.zip(weight) {
                    input_gradient(x, dy, of_row, [w, direct, along], dx);
                }
            });
        }
        all
    });
    let mut total = vec![[0.0; 2]; channels];
    for (i, part) in of_channels.iter().flatten().enumerate() {
        total[i % channels][0] += part[0];
        total[i % channels][1] += part[1];
    }
    for (gradient, k) in [(out.dbias, 0), (out.dweight, 1)] {
        if let Some(gradient) = gradient {
            write_parameter(OP, &total.iter().map(|t| t[k]).collect::<Vec<_>>(), gradient)?;
        }
    }
    Ok(())
}
