//! Padded copies of images in which every tap of a convolution is a constant shift.
//!
//! The rows of a padded plane lie one after the other, so the inputs of a run of outputs, for one tap, are a run of the
//! plane at an offset that depends on the tap alone: no matrix of windows is needed. A stride `s` splits the plane into
//! s × s planes of every s-th row and column, in each of which the taps that land there have stride 1. The gradient of
//! the input turns it round: each residue of the input's position (mod the stride) takes its own subset of taps from one
//! padded plane of the output's gradient.
//!
//! Where images are narrower than a register, several are interleaved, pixel by pixel: a run of neighbours then holds the
//! same few pixels of each, every tap is still one shift, and no lane is wasted.

use super::ConvDesc;
use crate::device::cpu::{Float, Real, vectorize};
use crate::kernels::window::Window;

/// Numbers beyond the last plane that register loads may touch.
const SLACK: usize = 64;

/// How one axis of an image is laid out in planes: row `r` of phase `p` is position `r · step + p - front`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Axis {
    step: usize,
    /// The residues that taps use.
    phases: Vec<usize>,
    front: isize,
    /// Rows of a plane.
    len: usize,
    /// Positions of the image.
    image: usize,
}

impl Axis {
    /// The rows of phase `p` that hold positions of the image, and the position of the first.
    fn inside(&self, phase: usize) -> (std::ops::Range<usize>, usize) {
        let shift = phase as isize - self.front;
        // r · step + shift in 0..image
        let from = if shift < 0 { shift.unsigned_abs().div_ceil(self.step) } else { 0 };
        let limit = self.image as isize - shift;
        let to = if limit <= 0 { 0 } else { (limit as usize).div_ceil(self.step) }.min(self.len);
        let from = from.min(to);
        (from..to, ((from * self.step) as isize + shift).max(0) as usize)
    }
}

/// The planes of an image, one set per channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planes {
    axes: [Axis; 2],
    channels: usize,
    /// Images side by side in each position.
    pub images: usize,
}

impl Planes {
    /// Numbers that the planes of one image take, with what register loads may touch beyond.
    pub(super) fn len(&self) -> usize {
        self.channels * self.channel_len() + SLACK
    }

    fn channel_len(&self) -> usize {
        self.axes.iter().map(|a| a.phases.len() * a.len).product::<usize>() * self.images
    }

    /// Where (phase index, row) along both axes of a channel starts.
    fn offset(&self, channel: usize, [y, x]: [(usize, usize); 2]) -> usize {
        let [down, across] = &self.axes;
        let row = (y.0 * across.phases.len() + x.0) * down.len + y.1;
        channel * self.channel_len() + (row * across.len + x.1) * self.images
    }

    /// Copies images into planes, with zeros around them and for those that are missing. Image `i` of the `count` is its
    /// channels from `i * stride` of `from` on, one after the other.
    pub(super) fn fill<T: Float>(&self, from: &[T], stride: usize, count: usize, to: &mut [T::Acc]) {
        vectorize(
            #[inline(always)]
            || match self.images {
                1 => self.fill_one(from, to),
                _ => self.fill_interleaved(from, stride, count, to),
            },
        );
        // What loads past the last plane see; it reaches no output.
        let end = to.len() - SLACK;
        to[end..].fill(T::Acc::ZERO);
    }

    #[inline(always)]
    fn fill_one<T: Float>(&self, from: &[T], to: &mut [T::Acc]) {
        self.for_each_row(
            to,
            #[inline(always)]
            |place, row| {
                let Some((at, cols)) = place else { return row.fill(T::Acc::ZERO) };
                row[..cols.start].fill(T::Acc::ZERO);
                row[cols.end..].fill(T::Acc::ZERO);
                let (from, row) = (&from[at..], &mut row[cols]);
                match self.axes[1].step {
                    1 => T::widen(&from[..row.len()], row),
                    2 => every::<T, 2>(from, row),
                    s => row.iter_mut().zip(from.iter().step_by(s)).for_each(|(t, f)| *t = f.to_acc()),
                }
            },
        );
    }

    #[inline(always)]
    fn fill_interleaved<T: Float>(&self, from: &[T], stride: usize, count: usize, to: &mut [T::Acc]) {
        let (images, step) = (self.images, self.axes[1].step);
        self.for_each_row(
            to,
            #[inline(always)]
            |place, row| {
                let Some((at, cols)) = place else { return row.fill(T::Acc::ZERO) };
                row[..cols.start * images].fill(T::Acc::ZERO);
                row[cols.end * images..].fill(T::Acc::ZERO);
                let row = &mut row[cols.start * images..cols.end * images];
                if count < images {
                    row.fill(T::Acc::ZERO);
                }
                for i in 0..count {
                    let from = &from[i * stride + at..];
                    let row = row[i..].iter_mut().step_by(images);
                    row.zip(from.iter().step_by(step)).for_each(|(t, f)| *t = f.to_acc());
                }
            },
        );
    }

    /// Calls `f` with each row of the planes, where in an image its first element lies and which columns hold elements.
    #[inline(always)]
    fn for_each_row<A>(&self, to: &mut [A], mut f: impl FnMut(Option<(usize, std::ops::Range<usize>)>, &mut [A])) {
        let [down, across] = &self.axes;
        let mut rows_of = to.chunks_exact_mut((across.len * self.images).max(1));
        for channel in 0..self.channels {
            for &py in &down.phases {
                let (rows, first) = down.inside(py);
                for &px in &across.phases {
                    let (cols, left) = across.inside(px);
                    for r in 0..down.len {
                        let Some(row) = rows_of.next() else { return };
                        let inside = rows.contains(&r) && !cols.is_empty();
                        let y = channel * down.image + first + r.saturating_sub(rows.start) * down.step;
                        f(inside.then(|| (y * across.image + left, cols.clone())), row);
                    }
                }
            }
        }
    }
}

/// Every `STEP`-th element.
#[inline(always)]
fn every<T: Float, const STEP: usize>(from: &[T], to: &mut [T::Acc]) {
    if let Some(last) = to.len().checked_sub(1) {
        let from = &from[..last * STEP + 1];
        for i in 0..to.len() {
            to[i] = from[i * STEP].to_acc();
        }
    }
}

/// A run of outputs inside one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first lane.
    pub lane: usize,
    /// Its length.
    pub len: usize,
    /// Which of the interleaved images it belongs to.
    pub image: usize,
    /// The index of its first output in the output's plane.
    pub to: usize,
}

/// Outputs that one set of taps serves, cut into registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// For each term of an output's sum, (channel of the planes, tap along H, tap along W).
    pub terms: Vec<[usize; 3]>,
    /// For each term, the index in the planes that belongs to output 0.
    pub offsets: Vec<usize>,
    /// For each register, how far its first lane lies from output 0 in the planes.
    pub positions: Vec<usize>,
    /// The outputs in the lanes of register `v`: `segments[starts[v]..starts[v + 1]]`.
    pub segments: Vec<Segment>,
    pub starts: Vec<usize>,
    /// From one output of a segment to the next, in the output.
    pub step: usize,
    /// From one output of a segment to the next, in the register's lanes.
    pub lane_step: usize,
}

impl Pass {
    /// Cuts `rows` × `cols` outputs of some interleaved images, whose planes have rows of `width` positions, into
    /// registers of `lanes`. Output (r, c) goes to `first + r · down + c · step` of its image. Registers either start at
    /// each row or (of a single image) run on over the ends of rows, whichever takes fewer of them.
    fn cut(
        [rows, cols]: [usize; 2],
        planes: &Planes,
        lanes: usize,
        (first, down, step): (usize, usize, usize),
    ) -> Self {
        let (images, width) = (planes.images, planes.axes[1].len);
        let mut pass = Pass {
            terms: vec![],
            offsets: vec![],
            positions: vec![],
            segments: vec![],
            starts: vec![0],
            step,
            lane_step: images,
        };
        let by_row = rows * (cols * images).div_ceil(lanes);
        let flat = if rows * cols == 0 { 0 } else { ((rows - 1) * width + cols).div_ceil(lanes) };
        if images > 1 || by_row <= flat {
            for r in 0..rows {
                for at in (0..cols * images).step_by(lanes) {
                    pass.positions.push(r * width * images + at);
                    let count = lanes.min(cols * images - at);
                    // Registers start at image 0, as `images` divides `lanes`.
                    let to = first + r * down + at / images * step;
                    let segment = |image| Segment { lane: image, len: (count - image).div_ceil(images), image, to };
                    pass.segments.extend((0..images).map(segment));
                    pass.starts.push(pass.segments.len());
                }
            }
            return pass;
        }
        for v in 0..flat {
            let at = v * lanes;
            pass.positions.push(at);
            let mut lane = 0;
            while lane < lanes {
                let (r, c) = ((at + lane) / width, (at + lane) % width);
                if r >= rows {
                    break;
                }
                if c < cols {
                    let len = (cols - c).min(lanes - lane);
                    pass.segments.push(Segment { lane, len, image: 0, to: first + r * down + c * step });
                }
                lane += width - c;
            }
            pass.starts.push(pass.segments.len());
        }
        pass
    }
}

/// The share of the lanes that the passes compute that are outputs.
pub(super) fn useful(passes: &[Pass], lanes: usize) -> f64 {
    let outputs: usize = passes.iter().flat_map(|p| &p.segments).map(|s| s.len).sum();
    let computed: usize = passes.iter().map(|p| p.positions.len() * lanes).sum();
    outputs as f64 / computed.max(1) as f64
}

/// The planes of x and the one pass of the forward.
pub(super) fn of_forward(desc: &ConvDesc, lanes: usize, images: usize) -> (Planes, Vec<Pass>) {
    let axis = |i: usize| {
        let Window { kernel, stride, padding, dilation } = desc.windows[i];
        let mut phases: Vec<usize> = (0..kernel).map(|t| t * dilation % stride).collect();
        phases.sort_unstable();
        phases.dedup();
        let len = desc.output[i] + (kernel - 1) * dilation / stride;
        Axis { step: stride, phases, front: padding as isize, len, image: desc.input[i] }
    };
    let channels = desc.channels[0] / desc.groups;
    let planes = Planes { axes: [axis(0), axis(1)], channels, images };
    let mut pass = Pass::cut(desc.output, &planes, lanes, (0, desc.output[1], 1));
    let place = |i: usize, tap: usize| {
        let at = tap * desc.windows[i].dilation;
        let axis = &planes.axes[i];
        let phase = axis.phases.iter().position(|&p| p == at % axis.step).unwrap_or(0);
        (phase, at / axis.step)
    };
    for c in 0..channels {
        for a in 0..desc.windows[0].kernel {
            for b in 0..desc.windows[1].kernel {
                pass.terms.push([c, a, b]);
                pass.offsets.push(planes.offset(c, [place(0, a), place(1, b)]));
            }
        }
    }
    (planes, vec![pass])
}

/// One residue of the input's positions along an axis.
struct Residue {
    /// Its first position.
    first: usize,
    /// How many positions it has.
    count: usize,
    /// Its taps, and for each the plane's row that belongs to the first position.
    taps: Vec<(usize, usize)>,
}

/// The plane of the output's gradient along one axis, and the residues of the input's positions.
fn residues(window: &Window, input: usize, output: usize) -> (Axis, Vec<Residue>) {
    let &Window { kernel, stride, padding, dilation } = window;
    // Position i of the input is tap t of output (i + padding - t · dilation) / stride, where that divides: with
    // i + padding = residue + stride · q and t · dilation = residue + stride · e, of output q - e.
    let all: Vec<(usize, usize, Vec<(usize, usize)>)> = (0..stride)
        .filter_map(|residue| {
            let first = (residue + stride - padding % stride) % stride;
            let count = input.checked_sub(first)?.div_ceil(stride);
            let taps = (0..kernel).filter(|t| t * dilation % stride == residue);
            let taps = taps.map(|t| (t, t * dilation / stride)).collect();
            (count > 0).then_some((first, count, taps))
        })
        .collect();
    // Row 0 of the plane is output -front: what the largest shift of the first position needs.
    let rows = |f: &dyn Fn(isize, usize) -> isize| {
        let rows = all.iter().flat_map(|(first, count, taps)| {
            let q = ((first + padding) / stride) as isize;
            taps.iter().map(move |&(_, e)| (q - e as isize, *count))
        });
        rows.map(|(row, count)| f(row, count)).collect::<Vec<_>>()
    };
    let front = -rows(&|row, _| row).into_iter().min().unwrap_or(0);
    let len = rows(&|row, count| row + count as isize + front).into_iter().max().unwrap_or(1) as usize;
    let residues = all
        .iter()
        .map(|(first, count, taps)| {
            let q = ((first + padding) / stride) as isize;
            let taps = taps.iter().map(|&(t, e)| (t, (q - e as isize + front) as usize)).collect();
            Residue { first: *first, count: *count, taps }
        })
        .collect();
    (Axis { step: 1, phases: vec![0], front, len, image: output }, residues)
}

/// The planes of the output's gradient and a pass for each pair of residues of the input's positions.
pub(super) fn of_input(desc: &ConvDesc, lanes: usize, images: usize) -> (Planes, Vec<Pass>) {
    let (down, rows) = residues(&desc.windows[0], desc.input[0], desc.output[0]);
    let (across, cols) = residues(&desc.windows[1], desc.input[1], desc.output[1]);
    let channels = desc.channels[1] / desc.groups;
    let planes = Planes { axes: [down, across], channels, images };
    let width = desc.input[1];
    let mut passes = vec![];
    for y in &rows {
        for x in &cols {
            let place = (y.first * width + x.first, desc.windows[0].stride * width, desc.windows[1].stride);
            let mut pass = Pass::cut([y.count, x.count], &planes, lanes, place);
            for o in 0..channels {
                for &(a, row) in &y.taps {
                    for &(b, col) in &x.taps {
                        pass.terms.push([o, a, b]);
                        pass.offsets.push(planes.offset(o, [(0, row), (0, col)]));
                    }
                }
            }
            passes.push(pass);
        }
    }
    (planes, passes)
}
