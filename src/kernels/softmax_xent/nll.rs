//! The negative log-likelihood: one element of each row.

use super::OnHost;
use super::loss::HostTargets;
use crate::device::cpu::{Float, Real, for_each_chunk};
use crate::device::{Buffer, View};
use crate::kernels::rowwise::{Packed, rows_per_part};
use crate::{Element, Result};

fn classes<'a>(call: &OnHost<'a>) -> &'a [Option<usize>] {
    match call.targets {
        HostTargets::Classes(classes) => classes,
        HostTargets::Probabilities(_) => &[],
    }
}

pub(super) fn forward<T: Float<Acc: Element>>(call: &OnHost<'_>, x: View<'_>, losses: &mut Buffer) -> Result<()> {
    let x = Packed::<T>::new(x)?;
    let rows = x.slice()?.chunks(call.desc.classes.max(1));
    for ((loss, class), row) in losses.as_mut_slice::<T::Acc>()?.iter_mut().zip(classes(call)).zip(rows) {
        *loss = match class {
            Some(c) => -T::to_acc(row[*c]) * Real::of(call.desc.weight.map_or(1.0, |w| w[*c])),
            None => Real::ZERO,
        };
    }
    Ok(())
}

pub(super) fn backward<T: Float>(call: &OnHost<'_>, upstream: &[f64], out: &mut [T]) {
    let (desc, classes) = (&call.desc, classes(call));
    let per_part = rows_per_part(desc.rows, desc.classes, 256);
    for_each_chunk(out, per_part * desc.classes.max(1), |part, out| {
        out.fill(T::default());
        for (i, row) in out.chunks_mut(desc.classes).enumerate() {
            let r = part * per_part + i;
            if let Some(c) = classes[r] {
                row[c] = T::from_f64(-upstream[r] * desc.weight.map_or(1.0, |w| w[c]));
            }
        }
    });
}
