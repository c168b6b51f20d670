//! Long runs: a task takes whole channels, whose runs stay in cache from the statistics to the result.

use super::{BatchNormDesc, BatchNormGradInputs, BatchNormGradOutputs, BatchNormInputs, BatchNormOutputs};
use crate::device::cpu::{Float, GRAIN, Real, for_each_part, map_parts, sums};
use crate::kernels::rowwise::{Packed, narrowed, parameter, scratch, vectorized, widened, write_parameter};
use crate::{Element, Result};

/// The constants of one channel.
#[derive(Clone, Copy)]
struct Channel<A> {
    mean: A,
    rstd: A,
    weight: A,
    bias: A,
}

impl<A: Real> Channel<A> {
    #[inline(always)]
    fn normal(self, x: A) -> A {
        (x - self.mean) * self.rstd
    }

    #[inline(always)]
    fn apply(self, x: A) -> A {
        self.normal(x).mul_add(self.weight, self.bias)
    }
}

vectorized! {
    fn normalise<A>(channel: Channel<A>, x: &[A], residual: Option<&[A]>, relu: bool, y: &mut [A]) {
        let n = y.len();
        let x = &x[..n];
        match (residual, relu) {
            (None, false) => (0..n).for_each(|i| y[i] = channel.apply(x[i])),
            (None, true) => (0..n).for_each(|i| y[i] = channel.apply(x[i]).maximum(A::ZERO)),
            (Some(r), relu) => {
                let r = &r[..n];
                (0..n).for_each(|i| y[i] = channel.apply(x[i]) + r[i]);
                if relu {
                    y.iter_mut().for_each(|y| *y = y.maximum(A::ZERO));
                }
            }
        }
    }
}

vectorized! {
    /// Σ x, or Σ (x − center)².
    fn run_sum<A>(x: &[A], center: Option<A>) -> f64 {
        let [sum] = match center {
            None => sums([x], |[v]| [v]),
            Some(m) => sums([x], |[v]| [(v - m) * (v - m)]),
        };
        sum
    }
}

/// Whole channels per task: a function of the shape only.
fn channels_per_part(desc: &BatchNormDesc) -> usize {
    (GRAIN / (desc.samples * desc.length).max(1)).max(1)
}

/// The runs of an output, channel by channel; for an absent output as many absent ones.
fn runs<'a, T>(desc: &BatchNormDesc, out: Option<&'a mut [T]>) -> Vec<Option<Vec<&'a mut [T]>>> {
    let Some(out) = out else { return (0..desc.channels).map(|_| None).collect() };
    let mut channels: Vec<_> = (0..desc.channels).map(|_| Vec::with_capacity(desc.samples)).collect();
    for (i, run) in out.chunks_mut(desc.length).enumerate() {
        channels[i % desc.channels].push(run);
    }
    channels.into_iter().map(Some).collect()
}

/// Groups the items of channels into the parts that tasks take.
fn grouped<P>(items: impl Iterator<Item = P>, per_part: usize) -> Vec<Vec<P>> {
    let mut parts: Vec<Vec<P>> = vec![];
    for (i, item) in items.enumerate() {
        if i % per_part == 0 {
            parts.push(Vec::with_capacity(per_part));
        }
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

pub(super) fn forward<T: Float<Acc: Element>>(
    desc: &BatchNormDesc,
    inputs: BatchNormInputs<'_>,
    out: BatchNormOutputs<'_>,
) -> Result<()> {
    let &BatchNormDesc { samples, channels, length, eps, relu, .. } = desc;
    let (weight, bias): (Vec<T::Acc>, Vec<T::Acc>) =
        (parameter(inputs.weight, channels, 1.0)?, parameter(inputs.bias, channels, 0.0)?);
    let x = Packed::<T>::new(inputs.x)?;
    let x = x.slice()?;
    let residual = inputs.residual.map(Packed::<T>::new).transpose()?;
    let residual = residual.as_ref().map(Packed::slice).transpose()?;
    let fixed: Option<[Vec<T::Acc>; 2]> = match inputs.statistics {
        Some([mean, var]) => Some([parameter(Some(mean), channels, 0.0)?, parameter(Some(var), channels, 0.0)?]),
        None => None,
    };
    let count = (samples * length) as f64;
    let statistics = (out.mean.as_mut_slice::<T::Acc>()?.iter_mut())
        .zip(out.var.as_mut_slice::<T::Acc>()?)
        .zip(out.rstd.as_mut_slice::<T::Acc>()?);
    let per_part = channels_per_part(desc);
    let parts = grouped(runs(desc, Some(out.y.as_mut_slice::<T>()?)).into_iter().flatten().zip(statistics), per_part);
    for_each_part(parts, |part, items| {
        let (mut a, mut b, mut d) = (scratch::<T>(length), scratch::<T>(length), scratch::<T>(length));
        for (i, (y, ((mean, var), rstd))) in items.into_iter().enumerate() {
            let c = part * per_part + i;
            let run = |n: usize| (n * channels + c) * length..(n * channels + c + 1) * length;
            match &fixed {
                Some([means, vars]) => (*mean, *var) = (means[c], vars[c]),
                None => {
                    let mut total = |center: Option<T::Acc>| -> f64 {
                        let of_run = |n| run_sum(widened(&x[run(n)], &mut a), center);
                        (0..samples).map(of_run).sum()
                    };
                    *mean = Real::of(total(None) / count);
                    *var = Real::of(total(Some(*mean)) / count);
                }
            }
            *rstd = Real::of(1.0 / (Real::to_f64(*var) + eps).sqrt());
            let channel = Channel { mean: *mean, rstd: *rstd, weight: weight[c], bias: bias[c] };
            for (n, y) in y.into_iter().enumerate() {
                let x = widened(&x[run(n)], &mut a);
                let residual = residual.map(|r| widened(&r[run(n)], &mut d));
                narrowed(y, &mut b, |y| normalise(channel, x, residual, relu, y));
            }
        }
    });
    Ok(())
}

/// The gradient before the relu, where there is one.
#[inline(always)]
pub(super) fn masked<A: Real, const RELU: bool>(dy: A, y: A) -> A {
    if !RELU || y > A::ZERO { dy } else { A::ZERO }
}

vectorized! {
    fn gradient_sums<A, const RELU: bool>(channel: Channel<A>, of_run: [&[A]; 3]) -> [f64; 2] {
        sums(of_run, |[x, dy, y]| {
            let g = masked::<A, RELU>(dy, y);
            [g, g * channel.normal(x)]
        })
    }
}

vectorized! {
    /// dx = weight · rstd · (g − direct − normal · along), from x, dy and y.
    fn input_gradient<A, const RELU: bool>(channel: Channel<A>, means: [A; 2], of_run: [&[A]; 3], dx: &mut [A]) {
        let ([direct, along], [x, dy, y], n) = (means, of_run, dx.len());
        let (x, dy, y) = (&x[..n], &dy[..n], &y[..n]);
        let scale = channel.weight * channel.rstd;
        for i in 0..n {
            let g = masked::<A, RELU>(dy[i], y[i]);
            dx[i] = scale * (g - direct - channel.normal(x[i]) * along);
        }
    }
}

vectorized! {
    fn residual_gradient<A, const RELU: bool>(dy: &[A], y: &[A], out: &mut [A]) {
        let n = out.len();
        let (dy, y) = (&dy[..n], &y[..n]);
        for i in 0..n {
            out[i] = masked::<A, RELU>(dy[i], y[i]);
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
    let weight: Vec<T::Acc> = parameter(inputs.weight, channels, 1.0)?;
    let mean: Vec<T::Acc> = parameter(Some(inputs.mean), channels, 0.0)?;
    let rstd: Vec<T::Acc> = parameter(Some(inputs.rstd), channels, 0.0)?;
    let (x, dy) = (Packed::<T>::new(inputs.x)?, Packed::<T>::new(inputs.dy)?);
    let y = inputs.y.map(Packed::<T>::new).transpose()?;
    let (x, dy, y) = (x.slice()?, dy.slice()?, y.as_ref().map(Packed::slice).transpose()?);
    let count = (samples * length) as f64;
    let with_sums = !fixed || out.dweight.is_some() || out.dbias.is_some();
    let dx = runs(desc, out.dx.map(|b| b.as_mut_slice::<T>()).transpose()?);
    let dresidual = runs(desc, out.dresidual.map(|b| b.as_mut_slice::<T>()).transpose()?);
    let per_part = channels_per_part(desc);
    let parts = grouped(dx.into_iter().zip(dresidual), per_part);
    let totals = map_parts(parts, |part, items| {
        let (mut a, mut b, mut d) = (scratch::<T>(length), scratch::<T>(length), scratch::<T>(length));
        let mut e = scratch::<T>(length);
        let mut totals = Vec::with_capacity(items.len());
        for (i, (mut dx, mut dresidual)) in items.into_iter().enumerate() {
            let c = part * per_part + i;
            let channel = Channel { mean: mean[c], rstd: rstd[c], weight: weight[c], bias: T::Acc::ZERO };
            let run = |n: usize| (n * channels + c) * length..(n * channels + c + 1) * length;
            let mut total = [0.0; 2];
            if with_sums {
                for n in 0..samples {
                    let (x, dy) = (widened(&x[run(n)], &mut a), widened(&dy[run(n)], &mut b));
                    let y = y.map_or(dy, |y| widened(&y[run(n)], &mut d));
                    let of_run = gradient_sums::<_, RELU>(channel, [x, dy, y]);
                    total = [total[0] + of_run[0], total[1] + of_run[1]];
                }
            }
            let means = if fixed { [T::Acc::ZERO; 2] } else { total.map(|t| T::Acc::of(t / count)) };
            for n in 0..samples {
                if dx.is_none() && dresidual.is_none() {
                    break;
                }
                let (x, dy) = (widened(&x[run(n)], &mut a), widened(&dy[run(n)], &mut b));
                let y = y.map_or(dy, |y| widened(&y[run(n)], &mut d));
                if let Some(dx) = &mut dx {
                    narrowed(dx[n], &mut e, |dx| input_gradient::<_, RELU>(channel, means, [x, dy, y], dx));
                }
                if let Some(dresidual) = &mut dresidual {
                    narrowed(dresidual[n], &mut e, |out| residual_gradient::<_, RELU>(dy, y, out));
                }
            }
            totals.push(total);
        }
        totals
    });
    for (gradient, k) in [(out.dbias, 0), (out.dweight, 1)] {
        if let Some(gradient) = gradient {
            write_parameter(OP, &totals.iter().flatten().map(|t| t[k]).collect::<Vec<_>>(), gradient)?;
        }
    }
    Ok(())
}
