//! Sums of shifted planes: the forward and the gradient of the input, on the register tile of matrix products.
//!
//! Rows of the tile are output channels (weights, packed), its columns outputs; each term of the sum loads its registers
//! straight from the padded planes. Sums stay in registers over all terms, so an output is written once.

use super::planes::{Pass, Planes, of_forward, of_input};
use super::{ConvDesc, Direction};
use crate::Result;
use crate::device::cpu::{
    Float, Real, Simd, TileAt, TileMut, Vector, WithSimd, dispatch, for_each_chunk, for_each_tile,
};
use crate::kernels::gemm::micro::{Columns, MAX_MR, MAX_NR, NV, Strided, TileShape, any_tile, full_tile, panel_rows};
use crate::kernels::gemm::scratch;
use std::ops::Range;
use std::sync::OnceLock;

/// Planes at and above which each set is one task; below, the channels of a set are shared out.
const SETS: usize = 4;
/// Output channels per task where those of one image are shared out.
const CHANNELS: usize = 16;

/// Planes and passes of a direction, with some images interleaved.
pub(super) fn geometry(direction: Direction, desc: &ConvDesc, lanes: usize, images: usize) -> (Planes, Vec<Pass>) {
    if direction == Direction::Input { of_input(desc, lanes, images) } else { of_forward(desc, lanes, images) }
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
    let (inner, outer) =
        if direction == Direction::Input { (o / groups, c / groups) } else { (c / groups, o / groups) };
    let (from_size, size) = match direction {
        Direction::Input => (desc.pixels(), desc.input[0] * desc.input[1]),
        _ => (desc.input[0] * desc.input[1], desc.pixels()),
    };
    // The weights of every group and pass, as panels of rows; or as they lie, where so few registers use each of them
    // that packing would cost as much as the products.
    let tiles: usize = passes.iter().map(|p| p.positions.len().div_ceil(NV)).max().unwrap_or(0);
    let in_place = outer.is_multiple_of(shape.mr) && tiles * batch.div_ceil(planes.images) <= 2;
    let in_place = T::as_acc(weight).filter(|_| in_place);
    let heights = padded_rows(outer, shape.mr);
    let terms: usize = passes.iter().map(|p| p.terms.len()).sum();
    let mut packed = scratch::<T::Acc>(if in_place.is_some() { 0 } else { groups * heights * terms })?;
    let packed = packed.as_mut_slice::<T::Acc>()?;
    let places = match in_place {
        Some(_) => passes.iter().map(|pass| Places::of(direction, desc, pass)).collect(),
        None => {
            pack_weights(direction, desc, passes, weight, shape, packed);
            vec![]
        }
    };
    let (packed, places) = (&*packed, &places[..]);
    let images = planes.images;
    let taps = desc.windows[0].kernel * desc.windows[1].kernel;
    let fill = |first: usize, count: usize, group: usize, to: &mut [T::Acc]| {
        let stride = groups * inner * from_size;
        planes.fill(&from[first * stride + group * inner * from_size..], stride, count, to);
    };
    let correlate = |group: usize, planes: &[T::Acc], at: TileAt, out: TileMut<'_, T>| {
        let weights = match in_place {
            Some(all) => Weights::InPlace { all: &all[group * outer * inner * taps..], places },
            None => Weights::Packed(&packed[group * heights * terms..][..heights * terms]),
        };
        let bias = bias.map(|b| &b[group * outer..][..outer]);
        let first = at.col / size - group * outer;
        let channels = first..first + at.cols / size;
        let mut outputs = Outputs { bias, channels: channels.clone(), images: at.rows, size, out };
        if passes.iter().any(|p| p.terms.is_empty()) {
            outputs.fill_with_bias();
        }
        let mut store = |pass: &Pass, v: usize, channel: usize, values: &mut [T::Acc]| {
            outputs.store(pass, v, shape.lanes, channel, values);
        };
        dispatch(Correlation { passes, planes, weights, outer, channels, store: &mut store });
    };
    if batch.div_ceil(images) * groups >= SETS {
        let failed = OnceLock::new();
        for_each_tile([out], [1, batch, groups * outer * size], [images, outer * size], true, |at, [out]| {
            let group = at.col / (outer * size);
            let work = || -> Result<()> {
                let mut room = scratch::<T::Acc>(planes.len())?;
                let room = room.as_mut_slice::<T::Acc>()?;
                fill(at.row, at.rows, group, room);
                correlate(group, room, at, out);
                Ok(())
            };
            if let Err(error) = work() {
                let _ = failed.set(error);
            }
        });
        return failed.into_inner().map_or(Ok(()), Err);
    }
    let mut room = scratch::<T::Acc>(groups * planes.len())?;
    let room = room.as_mut_slice::<T::Acc>()?;
    // Tasks do not straddle groups, of which there are few here.
    let channels = if groups > 1 { outer } else { CHANNELS };
    for (set, out) in out.chunks_mut(images * groups * outer * size).enumerate() {
        let count = images.min(batch - set * images);
        for_each_chunk(room, planes.len(), |group, room| fill(set * images, count, group, room));
        let room = &*room;
        for_each_tile([out], [1, count, groups * outer * size], [count, channels * size], true, |at, [out]| {
            let group = at.col / (outer * size);
            correlate(group, &room[group * planes.len()..][..planes.len()], at, out);
        });
    }
    Ok(())
}

/// Rows of all panels together.
fn padded_rows(rows: usize, mr: usize) -> usize {
    let rest = rows % mr;
    rows - rest + if rest > 0 { panel_rows(rest) } else { 0 }
}

/// Where a group's weights are.
#[derive(Clone, Copy)]
enum Weights<'a, A> {
    /// In panels, pass after pass.
    Packed(&'a [A]),
    /// In the weight tensor, from the group's first on.
    InPlace { all: &'a [A], places: &'a [Places] },
}

/// Where a pass finds its weights in a group's part of the weight tensor.
struct Places {
    /// Of each term, for row 0.
    terms: Vec<usize>,
    /// From one row to the next.
    row: usize,
}

impl Places {
    fn of(direction: Direction, desc: &ConvDesc, pass: &Pass) -> Self {
        let [down, across] = desc.windows.map(|w| w.kernel);
        let (taps, c) = (down * across, desc.channels[0] / desc.groups);
        let (term, row) = if direction == Direction::Input { (c * taps, taps) } else { (taps, c * taps) };
        Places { terms: pass.terms.iter().map(|&[k, a, b]| k * term + a * across + b).collect(), row }
    }
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
    let (c, o) = (desc.channels[0] / desc.groups, desc.channels[1] / desc.groups);
    let outer = if direction == Direction::Input { c } else { o };
    let taps = down * across;
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
            let places = Places::of(direction, desc, pass);
            let weight = &weight[*group * c * o * taps + *first * places.row..];
            for (to, &place) in panel.chunks_exact_mut(height).zip(&places.terms) {
                to[*rows..].fill(T::Acc::ZERO);
                let from = weight[place..].iter().step_by(places.row);
                to[..*rows].iter_mut().zip(from).for_each(|(to, from)| *to = from.to_acc());
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

/// Some output channels of one set of images. Generic over the accumulator alone, so that register tiles are compiled
/// once for it and not per dtype.
struct Correlation<'a, A> {
    passes: &'a [Pass],
    planes: &'a [A],
    weights: Weights<'a, A>,
    /// Channels of the group.
    outer: usize,
    /// The channels to compute.
    channels: Range<usize>,
    /// Takes a channel's sums for some registers: the pass, the first register, the channel.
    store: &'a mut dyn FnMut(&Pass, usize, usize, &mut [A]),
}

impl<A: Vector> WithSimd for Correlation<'_, A> {
    type Number = A;
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Correlation { passes, planes, weights, outer, channels, store } = self;
        let (mr, lanes) = (crate::kernels::gemm::micro::full_rows::<S>(), A::lanes::<S>());
        let mut tile = [A::ZERO; MAX_MR * MAX_NR];
        let mut base = 0;
        for (index, pass) in passes.iter().enumerate() {
            let terms = pass.terms.len();
            let registers_of = if terms == 0 { 0 } else { pass.positions.len() };
            for v in (0..registers_of).step_by(NV) {
                let registers = NV.min(registers_of - v);
                let stride = registers * lanes;
                let mut positions = [0; NV];
                positions[..registers].copy_from_slice(&pass.positions[v..v + registers]);
                for first in channels.clone().step_by(mr) {
                    let rows = mr.min(outer - first);
                    let height = panel_rows(rows);
                    let columns = pass.offsets.iter().map(
                        #[inline(always)]
                        |&offset| Shifted { from: &planes[offset..], positions },
                    );
                    match weights {
                        Weights::Packed(all) => {
                            let panel = &all[base + first * terms..][..height * terms];
                            any_tile::<A, S>(simd, (height, registers), panel, columns, &mut tile);
                        }
                        Weights::InPlace { all, places } => {
                            let Places { terms, row } = &places[index];
                            let all = &all[first * row..];
                            let rows = terms.iter().map(
                                #[inline(always)]
                                |&term| Strided { from: &all[term..], row: *row },
                            );
                            full_tile::<A, S>(simd, registers, rows, columns, &mut tile);
                        }
                    }
                    for r in 0..rows {
                        store(pass, v, first + r, &mut tile[r * stride..][..stride]);
                    }
                }
            }
            base += padded_rows(outer, mr) * terms;
        }
    }
}

/// Where the sums of one task go.
struct Outputs<'a, T> {
    bias: Option<&'a [T]>,
    /// The task's channels.
    channels: Range<usize>,
    /// How many images are there; lanes of further ones are dropped.
    images: usize,
    /// Outputs per channel.
    size: usize,
    /// A row per image, of the channels' outputs.
    out: TileMut<'a, T>,
}

impl<T: Float> Outputs<'_, T> {
    /// What outputs that no tap reaches hold.
    fn fill_with_bias(&mut self) {
        for image in 0..self.images {
            for (channel, out) in self.channels.clone().zip(self.out.row(image).chunks_exact_mut(self.size)) {
                out.fill(self.bias.map_or(T::default(), |b| b[channel]));
            }
        }
    }

    /// Stores the registers from `v` on of one channel.
    fn store(&mut self, pass: &Pass, v: usize, lanes: usize, channel: usize, values: &mut [T::Acc]) {
        if let Some(bias) = self.bias {
            let b = bias[channel].to_acc();
            values.iter_mut().for_each(|x| *x += b);
        }
        let row = (channel - self.channels.start) * self.size;
        for (i, values) in values.chunks_exact(lanes).enumerate() {
            for s in &pass.segments[pass.starts[v + i]..pass.starts[v + i + 1]] {
                if s.image >= self.images {
                    continue;
                }
                let out = &mut self.out.row(s.image)[row + s.to..];
                if pass.step == 1 && pass.lane_step == 1 {
                    T::narrow(&values[s.lane..s.lane + s.len], &mut out[..s.len]);
                } else {
                    let values = values[s.lane..].iter().step_by(pass.lane_step);
                    let out = out.iter_mut().step_by(pass.step);
                    out.zip(values).take(s.len).for_each(|(t, &x)| *t = T::from_acc(x));
                }
            }
        }
    }
}
