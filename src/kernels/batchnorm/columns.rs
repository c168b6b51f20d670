//! Short runs: a sample's C · L elements are one vector, summed over samples in f64, and normalised row by row.

use super::channels::masked;
use super::{BatchNormDesc, BatchNormGradInputs, BatchNormGradOutputs, BatchNormInputs, BatchNormOutputs};
use crate::device::cpu::{Float, Real, for_each_part, map_ranges, vectorize};
use crate::kernels::rowwise::{
    Packed, narrowed, parameter, rows_per_part, scratch, split, vectorized, widened, write_parameter,
};
use crate::{Element, Result};

/// Columns that one task sums: an f64 partial sum of them fits the L1 cache.
const COLUMNS: usize = 1024;

#[inline(always)]
fn accumulate<A: Real, const N: usize, const K: usize>(
    rows: [&[A]; N],
    from: usize,
    totals: &mut [[f64; COLUMNS]; K],
    f: &impl Fn(usize, [A; N]) -> [f64; K],
) {
    let n = rows[0].len();
    let mut cut: [&[A]; N] = [&[]; N];
    for i in 0..N {
        cut[i] = &rows[i][..n];
    }
    for j in 0..n.min(COLUMNS) {
        let values = f(
            from + j,
            std::array::from_fn(
                #[inline(always)]
                |i| cut[i][j],
            ),
        );
        for k in 0..K {
            totals[k][j] += values[k];
        }
    }
}

/// The `K` sums over samples of a function of the column and of `N` inputs, added up by channel.
fn channel_sums<T: Float, const N: usize, const K: usize>(
    desc: &BatchNormDesc,
    inputs: [&[T]; N],
    f: impl Fn(usize, [T::Acc; N]) -> [f64; K] + Sync,
) -> Vec<[f64; K]> {
    let width = desc.channels * desc.length;
    let columns = map_ranges(width, COLUMNS, |range| {
        let mut totals = [[0.0; COLUMNS]; K];
        let mut scratches: [Vec<T::Acc>; N] = std::array::from_fn(|_| scratch::<T>(range.len()));
        for n in 0..desc.samples {
            let mut rows: [&[T::Acc]; N] = [&[]; N];
            for ((row, input), scratch) in rows.iter_mut().zip(inputs).zip(&mut scratches) {
                *row = widened(&input[n * width + range.start..n * width + range.end], scratch);
            }
            vectorize(
                #[inline(always)]
                || accumulate(rows, range.start, &mut totals, &f),
            );
        }
        (0..range.len()).map(|j| totals.map(|t| t[j])).collect::<Vec<_>>()
    });
    let mut channels = vec![[0.0; K]; desc.channels];
    for (j, column) in columns.iter().flatten().enumerate() {
        for k in 0..K {
            channels[j / desc.length][k] += column[k];
        }
    }
    channels
}

/// A value per channel, repeated for its columns.
fn by_column<A: Copy>(desc: &BatchNormDesc, of_channels: &[A]) -> Vec<A> {
    of_channels.iter().flat_map(|&v| std::iter::repeat_n(v, desc.length)).collect()
}

/// Constants per column.
struct Columns<A> {
    mean: Vec<A>,
    rstd: Vec<A>,
    weight: Vec<A>,
}

vectorized! {
    fn normalise<A>(columns: &Columns<A>, bias: &[A], x: &[A], residual: Option<&[A]>, relu: bool, y: &mut [A]) {
        let n = y.len();
        let (mean, rstd, weight) = (&columns.mean[..n], &columns.rstd[..n], &columns.weight[..n]);
        let (x, bias) = (&x[..n], &bias[..n]);
        for i in 0..n {
            y[i] = ((x[i] - mean[i]) * rstd[i]).mul_add(weight[i], bias[i]);
        }
        if let Some(residual) = residual {
            y.iter_mut().zip(residual).for_each(|(y, &r)| *y += r);
        }
        if relu {
            y.iter_mut().for_each(|y| *y = y.maximum(A::ZERO));
        }
    }
}

pub(super) fn forward<T: Float<Acc: Element>>(
    desc: &BatchNormDesc,
    inputs: BatchNormInputs<'_>,
    out: BatchNormOutputs<'_>,
) -> Result<()> {
    let &BatchNormDesc { samples, channels, length, eps, relu, .. } = desc;
    let x = Packed::<T>::new(inputs.x)?;
    let x = x.slice()?;
    let residual = inputs.residual.map(Packed::<T>::new).transpose()?;
    let residual = residual.as_ref().map(Packed::slice).transpose()?;
    let (mean, var): (Vec<T::Acc>, Vec<T::Acc>) = match inputs.statistics {
        Some([mean, var]) => (parameter(Some(mean), channels, 0.0)?, parameter(Some(var), channels, 0.0)?),
        None => {
            let count = (samples * length) as f64;
            let sums = channel_sums(desc, [x], |_, [v]| [Real::to_f64(v)]);
            let mean: Vec<f64> = sums.iter().map(|[s]| s / count).collect();
            let columns = by_column(desc, &mean);
            let squares = channel_sums(desc, [x], |j, [v]| {
                let d = Real::to_f64(v) - columns[j];
                [d * d]
            });
            let narrow = |v: f64| <T::Acc as Real>::of(v);
            (mean.into_iter().map(narrow).collect(), squares.iter().map(|[s]| narrow(s / count)).collect())
        }
    };
    let rstd: Vec<T::Acc> = var.iter().map(|&v| Real::of(1.0 / (Real::to_f64(v) + eps).sqrt())).collect();
    out.mean.as_mut_slice::<T::Acc>()?.copy_from_slice(&mean);
    out.var.as_mut_slice::<T::Acc>()?.copy_from_slice(&var);
    out.rstd.as_mut_slice::<T::Acc>()?.copy_from_slice(&rstd);
    let weight: Vec<T::Acc> = parameter(inputs.weight, channels, 1.0)?;
    let bias: Vec<T::Acc> = by_column(desc, &parameter(inputs.bias, channels, 0.0)?);
    let columns =
        Columns { mean: by_column(desc, &mean), rstd: by_column(desc, &rstd), weight: by_column(desc, &weight) };
    let width = channels * length;
    let per_part = rows_per_part(samples, width, 256);
    let parts = split(Some(out.y.as_mut_slice::<T>()?), per_part * width, 0);
    for_each_part(parts, |part, y| {
        let (mut a, mut b, mut d) = (scratch::<T>(width), scratch::<T>(width), scratch::<T>(width));
        for (r, y) in y.into_iter().flat_map(|y| y.chunks_mut(width)).enumerate() {
            let row = (part * per_part + r) * width..(part * per_part + r + 1) * width;
            let x = widened(&x[row.clone()], &mut a);
            let residual = residual.map(|r| widened(&r[row], &mut d));
            narrowed(y, &mut b, |y| normalise(&columns, &bias, x, residual, relu, y));
        }
    });
    Ok(())
}

vectorized! {
    /// dx = weight · rstd · (g − direct − normal · along), by columns, from x, dy and y.
    fn input_gradient<A, const RELU: bool>(columns: &Columns<A>, means: [&[A]; 2], of_row: [&[A]; 3], dx: &mut [A]) {
        let ([direct, along], [x, dy, y], n) = (means, of_row, dx.len());
        let (mean, rstd, weight) = (&columns.mean[..n], &columns.rstd[..n], &columns.weight[..n]);
        let (x, dy, y, direct, along) = (&x[..n], &dy[..n], &y[..n], &direct[..n], &along[..n]);
        for i in 0..n {
            let g = masked::<A, RELU>(dy[i], y[i]);
            dx[i] = weight[i] * rstd[i] * (g - direct[i] - (x[i] - mean[i]) * rstd[i] * along[i]);
        }
    }
}

pub(super) fn backward<T: Float, const RELU: bool>(
    desc: &BatchNormDesc,
    inputs: BatchNormGradInputs<'_>,
    out: BatchNormGradOutputs<'_>,
) -> Result<()> {
    const OP: &str = "batch_norm_backward";
    let &BatchNormDesc { samples, channels, length, fixed, .. } = desc;
    let of_columns =
        |view, default| -> Result<Vec<T::Acc>> { Ok(by_column(desc, &parameter(view, channels, default)?)) };
    let columns = Columns {
        mean: of_columns(Some(inputs.mean), 0.0)?,
        rstd: of_columns(Some(inputs.rstd), 0.0)?,
        weight: of_columns(inputs.weight, 1.0)?,
    };
    let (x, dy) = (Packed::<T>::new(inputs.x)?, Packed::<T>::new(inputs.dy)?);
    let y = inputs.y.map(Packed::<T>::new).transpose()?;
    let (x, dy) = (x.slice()?, dy.slice()?);
    let y = y.as_ref().map(Packed::slice).transpose()?.unwrap_or(dy);
    let totals = channel_sums(desc, [x, dy, y], |j, [x, dy, y]| {
        let g = masked::<T::Acc, RELU>(dy, y);
        [g.to_f64(), (g * ((x - columns.mean[j]) * columns.rstd[j])).to_f64()]
    });
    let count = (samples * length) as f64;
    let of_totals = |k: usize| {
        let means: Vec<_> =
            totals.iter().map(|t: &[f64; 2]| if fixed { T::Acc::ZERO } else { T::Acc::of(t[k] / count) }).collect();
        by_column(desc, &means)
    };
    let (direct, along) = (of_totals(0), of_totals(1));
    let width = channels * length;
    let per_part = rows_per_part(samples, width, 256);
    let count = if samples * width == 0 { 0 } else { samples.div_ceil(per_part) };
    let dx = split(out.dx.map(|b| b.as_mut_slice::<T>()).transpose()?, per_part * width, count);
    let dresidual = split(out.dresidual.map(|b| b.as_mut_slice::<T>()).transpose()?, per_part * width, count);
    let parts: Vec<_> = dx.into_iter().zip(dresidual).filter(|(a, b)| a.is_some() || b.is_some()).collect();
    for_each_part(parts, |part, (mut dx, mut dresidual)| {
        let (mut a, mut b, mut d) = (scratch::<T>(width), scratch::<T>(width), scratch::<T>(width));
        let mut e = scratch::<T>(width);
        let first = part * per_part;
        for r in first..samples.min(first + per_part) {
            let (row, own) = (r * width..(r + 1) * width, (r - first) * width..(r - first + 1) * width);
            let (x, dy) = (widened(&x[row.clone()], &mut a), widened(&dy[row.clone()], &mut b));
            let y = if RELU { widened(&y[row], &mut d) } else { dy };
            if let Some(dx) = &mut dx {
                narrowed(&mut dx[own.clone()], &mut e, |dx| {
                    input_gradient::<_, RELU>(&columns, [&direct, &along], [x, dy, y], dx)
                });
            }
            if let Some(dresidual) = &mut dresidual {
                narrowed(&mut dresidual[own], &mut e, |out| {
                    out.iter_mut().zip(dy).zip(y).for_each(|((o, &dy), &y)| *o = masked::<_, RELU>(dy, y));
                });
            }
        }
    });
    for (gradient, k) in [(out.dbias, 0), (out.dweight, 1)] {
        if let Some(gradient) = gradient {
            write_parameter(OP, &totals.iter().map(|t| t[k]).collect::<Vec<_>>(), gradient)?;
        }
    }
    Ok(())
}
