//! Sums of shifted planes: the forward and the gradient of the input, on the register tile of matrix products.
//!
//! Rows of the tile are output channels (weights, packed), its columns outputs; each term of the sum loads its registers
//! straight from the padded planes. Sums stay in registers over all terms, so an output is written once.

use super::planes::{Pass, Planes, of_forward, of_input};
use super::{ConvDesc, Direction};
use crate::Result;
use crate::device::cpu::{
    Float, Real, TileAt, TileMut, Vector, WithSimd, dispatch, for_each_chunk, for_each_tile,
};
use crate::kernels::gemm::micro::{Columns, MAX_MR, MAX_NR, NV, TileShape, any_tile, panel_rows};
use crate::kernels::gemm::scratch;
use pulp::Simd;
use std::sync::OnceLock;

/// Images at and above which each is one task; below, the channels of an image are shared out.
const IMAGES: usize = 4;
/// Output channels per task where those of one image are shared out.
const CHANNELS: usize = 16;

/// Planes and passes of a direction.
pub(super) fn geometry(direction: Direction, desc: &ConvDesc, lanes: usize) -> (Planes, Vec<Pass>) {
    if direction == Direction::Input { of_input(desc, lanes) } else { of_forward(desc, lanes) }
}

pub(super) fn run<T: Float<Acc: Vector>>(
    direction: Direction,
    desc: &ConvDesc,
    (planes, passes): &(Planes, Vec<Pass>),
    from: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<()> {
    let shape = TileShape::of::<T::Acc>();
    let ConvDesc { batch, channels: [c, o], groups, .. } = *desc;
    let (inner, outer) = if direction == Direction::Input { (o / groups, c / groups) } else { (c / groups, o / groups) };
    let (from_size, out_size) = match direction {
        Direction::Input => (desc.pixels(), desc.input[0] * desc.input[1]),
        _ => (desc.input[0] * desc.input[1], desc.pixels()),
    };
    // The weights of every group and pass, as panels of rows.
    let height = |first: usize| shape.mr.min(outer - first);
    let heights: usize = (0..outer).step_by(shape.mr).map(|first| panel_rows(height(first))).sum();
    let terms: usize = passes.iter().map(|p| p.terms.len()).sum();
    let mut packed = scratch::<T::Acc>(groups * heights * terms)?;
    let packed = packed.as_mut_slice::<T::Acc>()?;
    pack_weights(direction, desc, passes, weight, shape, packed);
    let packed = &*packed;
    let job = |image: usize, group: usize| {
        let at = image * groups + group;
        let from = &from[at * inner * from_size..][..inner * from_size];
        let weights = &packed[group * heights * terms..][..heights * terms];
        (from, weights, bias.map(|b| &b[group * outer..][..outer]))
    };
    let failed = OnceLock::new();
    let whole = batch * groups >= IMAGES;
    if whole {
        for_each_tile([out], [batch * groups, outer, out_size], [outer, out_size], true, |at, [out]| {
            let (from, weights, bias) = job(at.batch / groups, at.batch % groups);
            let mut room = match scratch::<T::Acc>(planes.len()) {
                Ok(room) => room,
                Err(error) => {
                    let _ = failed.set(error);
                    return;
                }
            };
            if let Ok(room) = room.as_mut_slice::<T::Acc>() {
                planes.fill(from, room);
                dispatch(Correlation { passes, planes: room, weights, outer, bias, at, out });
            }
        });
        return failed.into_inner().map_or(Ok(()), Err);
    }
    let mut room = scratch::<T::Acc>(planes.len())?;
    let room = room.as_mut_slice::<T::Acc>()?;
    for (index, out) in out.chunks_exact_mut(outer * out_size).enumerate() {
        let (from, weights, bias) = job(index / groups, index % groups);
        planes.fill(from, room);
        let room = &*room;
        for_each_tile([out], [1, outer, out_size], [CHANNELS, out_size], true, |at, [out]| {
            dispatch(Correlation { passes, planes: room, weights, outer, bias, at, out });
        });
    }
    Ok(())
}

/// Packs weights as the passes' terms order them: per group, pass and panel of rows, `rows` numbers per term.
fn pack_weights<T: Float>(
    direction: Direction,
    desc: &ConvDesc,
    passes: &[Pass],
    weight: &[T],
    shape: TileShape,
    to: &mut [T::Acc],
) {
    let [down, across] = desc.windows.map(|w| w.kernel);
    let taps = down * across;
    let (c, o) = (desc.channels[0] / desc.groups, desc.channels[1] / desc.groups);
    let outer = if direction == Direction::Input { c } else { o };
    let mut rest = to;
    let mut panels = vec![];
    for group in 0..desc.groups {
        for pass in passes {
            for first in (0..outer).step_by(shape.mr) {
                let rows = shape.mr.min(outer - first);
                let (panel, tail) = std::mem::take(&mut rest).split_at_mut(panel_rows(rows) * pass.terms.len());
                rest = tail;
                panels.push((group, pass, first, rows, panel));
            }
        }
    }
    let per_task = (16_384 / (shape.mr * desc.terms()).max(1)).max(1);
    for_each_chunk(&mut panels, per_task, |_, panels| {
        for (group, pass, first, rows, panel) in panels {
            let height = panel_rows(*rows);
            for (to, &[k, a, b]) in panel.chunks_exact_mut(height).zip(&pass.terms) {
                to[*rows..].fill(T::Acc::ZERO);
                for (i, to) in to[..*rows].iter_mut().enumerate() {
                    // Weights are (o, c, taps) within a group.
                    let row = *first + i;
                    let (oi, ci) = if direction == Direction::Input { (k, row) } else { (row, k) };
                    *to = weight[((*group * o + oi) * c + ci) * taps + a * across + b].to_acc();
                }
            }
        }
    });
}

/// The registers of one term: each at its own position of the planes.
struct Shifted<'a, A> {
    from: &'a [A],
    positions: [usize; NV],
}

impl<A: Vector> Columns<A> for Shifted<'_, A> {
    #[inline(always)]
    fn register<S: Simd>(&self, simd: S, v: usize) -> A::Register<S> {
        A::load(simd, &self.from[self.positions[v]..])
    }
}

/// Some output channels of one image.
struct Correlation<'a, T: Float> {
    passes: &'a [Pass],
    planes: &'a [T::Acc],
    weights: &'a [T::Acc],
    /// Channels of the group.
    outer: usize,
    bias: Option<&'a [T]>,
    at: TileAt,
    out: TileMut<'a, T>,
}

impl<T: Float<Acc: Vector>> WithSimd for Correlation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Correlation { passes, planes, weights, outer, at, .. } = self;
        let (mr, lanes) = (crate::kernels::gemm::micro::full_rows::<S>(), T::Acc::lanes::<S>());
        let mut tile = [T::Acc::ZERO; MAX_MR * MAX_NR];
        let mut base = 0;
        for pass in passes {
            let terms = pass.terms.len();
            for v in (0..pass.positions.len()).step_by(NV) {
                let registers = NV.min(pass.positions.len() - v);
                let stride = registers * lanes;
                let mut positions = [0; NV];
                positions[..registers].copy_from_slice(&pass.positions[v..v + registers]);
                for row in (0..at.rows).step_by(mr) {
                    let first = at.row + row;
                    let rows = mr.min(outer - first);
                    let height = panel_rows(rows);
                    let panel = &weights[base + first * terms..][..height * terms];
                    let columns = pass.offsets.iter().map(
                        #[inline(always)]
                        |&offset| Shifted { from: &planes[offset..], positions },
                    );
                    any_tile::<T::Acc, S>(simd, (height, registers), panel, columns, &mut tile);
                    for r in 0..rows {
                        let values = &mut tile[r * stride..][..stride];
                        if let Some(bias) = self.bias {
                            let b = bias[first + r].to_acc();
                            values.iter_mut().for_each(|x| *x += b);
                        }
                        let out = self.out.row(row + r);
                        for i in 0..registers {
                            let values = &values[i * lanes..][..lanes];
                            for s in &pass.segments[pass.starts[v + i]..pass.starts[v + i + 1]] {
                                let values = &values[s.lane..s.lane + s.len];
                                if pass.step == 1 {
                                    T::narrow(values, &mut out[s.to..s.to + s.len]);
                                } else {
                                    let to = out[s.to..].iter_mut().step_by(pass.step);
                                    to.zip(values).for_each(|(t, &x)| *t = T::from_acc(x));
                                }
                            }
                        }
                    }
                }
            }
            let rest = outer % mr;
            base += (outer - rest + if rest > 0 { panel_rows(rest) } else { 0 }) * terms;
        }
    }
}
