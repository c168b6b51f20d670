//! The gradient of the weight: inner products of the output's gradient with shifted planes of the input.
//!
//! Each of the weight's elements is one sum over the positions of all images. A register tile holds the sums of a few
//! output channels times a few taps, a register each, and the positions run through its lanes: both operands are read as
//! they lie in the planes, and lanes are added up once per block of images. Blocks follow each other in order, so bits depend on
//! shapes only.

use super::ConvDesc;
use super::planes::{Pass, Planes, Segment};
use crate::Result;
use crate::device::cpu::{
    Float, MAX_LANES, Real, Simd, TileAt, TileMut, Vector, WithSimd, dispatch, for_each_chunk, for_each_tile,
    sum_of_lanes,
};
use crate::kernels::gemm::micro::TileShape;
use crate::kernels::gemm::scratch;

/// Numbers that a block of images takes: it should stay in the L2 cache.
const BLOCK: usize = 256 << 10;

pub(super) fn run<T: Float<Acc: Vector>>(
    desc: &ConvDesc,
    planes: &Planes,
    pass: &Pass,
    x: &[T],
    grad: &[T],
    out: &mut [T],
) -> Result<()> {
    let lanes = TileShape::of::<T::Acc>().lanes;
    let ConvDesc { batch, channels: [c, o], groups, .. } = *desc;
    let (c, o, terms, pixels) = (c / groups, o / groups, desc.terms(), desc.pixels());
    let plane = desc.input[0] * desc.input[1];
    let width = pass.positions.len() * lanes;
    // A set of interleaved images of a group: its planes, then the gradient in the order of the registers' lanes.
    // The gradient of whole registers side by side is read where it lies.
    let in_order = |(v, s): (usize, &Segment)| (s.lane, s.len, s.to) == (0, lanes, v * lanes);
    let whole = planes.images == 1 && width == pixels && pass.segments.iter().enumerate().all(in_order);
    let direct = T::as_acc(grad).filter(|_| whole);
    let set = planes.len() + if direct.is_some() { 0 } else { o * width };
    let sets = (BLOCK / (set * groups).max(1)).clamp(1, batch.div_ceil(planes.images).max(1));
    let mut room = scratch::<T::Acc>(sets * groups * set)?;
    let room = room.as_mut_slice::<T::Acc>()?;
    let mut sums = scratch::<T::Acc>(groups * o * terms)?;
    let sums = sums.as_mut_slice::<T::Acc>()?;
    sums.fill(T::Acc::ZERO);
    for first in (0..batch).step_by(sets * planes.images) {
        let count = sets.min((batch - first).div_ceil(planes.images));
        let block = &mut room[..count * groups * set];
        for_each_chunk(block, set, |i, to| {
            let (image, group) = (first + i / groups * planes.images, i % groups);
            let there = planes.images.min(batch - image);
            let (to_planes, to_grad) = to.split_at_mut(planes.len());
            let stride = groups * c * plane;
            planes.fill(&x[image * stride + group * c * plane..], stride, there, to_planes);
            for (row, to) in to_grad.chunks_exact_mut(width).enumerate() {
                let at = |i: usize| ((image + i) * groups * o + group * o + row) * pixels;
                spread(pass, lanes, there, |i| &grad[at(i)..][..pixels], to);
            }
        });
        let block = &*block;
        // Tasks of about 2^20 multiply-adds, in whole register tiles.
        let cols = ((1 << 20) / (ROWS * width * count).max(1)).next_multiple_of(6).max(6);
        for_each_tile([&mut *sums], [groups, o, terms], [ROWS, cols], true, |at, [out]| {
            let grads = match direct {
                Some(all) => {
                    Grads { all: &all[first * groups * o * pixels..], set: groups * o * pixels, group: o * pixels }
                }
                None => Grads { all: &block[planes.len()..], set: set * groups, group: set },
            };
            dispatch(Products { block, set, groups, grads, width, pass, at, out });
        });
    }
    T::narrow(sums, out);
    Ok(())
}

/// Output channels per task.
const ROWS: usize = 8;

/// Writes a channel's gradient, of some images, as the lanes of the registers, zeros in lanes that hold no output.
fn spread<'a, T: Float>(pass: &Pass, lanes: usize, there: usize, grad: impl Fn(usize) -> &'a [T], to: &mut [T::Acc]) {
    for (v, to) in to.chunks_exact_mut(lanes).enumerate() {
        let segments = &pass.segments[pass.starts[v]..pass.starts[v + 1]];
        if segments.iter().map(|s| s.len).sum::<usize>() < lanes || there < pass.lane_step {
            to.fill(T::Acc::ZERO);
        }
        for s in segments.iter().filter(|s| s.image < there) {
            let from = &grad(s.image)[s.to..s.to + s.len];
            if pass.lane_step == 1 {
                T::widen(from, &mut to[s.lane..s.lane + s.len]);
            } else {
                let to = to[s.lane..].iter_mut().step_by(pass.lane_step);
                to.zip(from).for_each(|(t, f)| *t = f.to_acc());
            }
        }
    }
}

/// The output's gradient of a block, a channel's numbers in the order of the registers' lanes.
#[derive(Clone, Copy)]
struct Grads<'a, A> {
    all: &'a [A],
    /// From one set to the next.
    set: usize,
    /// From one group to the next.
    group: usize,
}

/// Some rows and columns of the weight's gradient, for one block of images.
struct Products<'a, A> {
    block: &'a [A],
    /// Numbers per set and group.
    set: usize,
    groups: usize,
    grads: Grads<'a, A>,
    /// Numbers per channel of the gradient.
    width: usize,
    pass: &'a Pass,
    at: TileAt,
    out: TileMut<'a, A>,
}

impl<A: Vector> WithSimd for Products<'_, A> {
    type Number = A;
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let TileAt { rows, cols, .. } = self.at;
        let wide = S::REGISTERS >= 32;
        let (tall, across) = if wide { (4, 6) } else { (2, 3) };
        let mut row = 0;
        while row < rows {
            let r = match rows - row {
                left if left >= tall => tall,
                2 | 3 => 2,
                _ => 1,
            };
            let mut col = 0;
            while col < cols {
                let q = match cols - col {
                    left if left >= across => across,
                    3.. => 3,
                    _ => 1,
                };
                // A constant condition, so that tiles too large for the registers are not even compiled.
                if const { S::REGISTERS >= 32 } {
                    match (r, q) {
                        (4, 6) => self.tile::<S, 4, 6>(simd, row, col),
                        (4, 3) => self.tile::<S, 4, 3>(simd, row, col),
                        (4, 1) => self.tile::<S, 4, 1>(simd, row, col),
                        (2, 6) => self.tile::<S, 2, 6>(simd, row, col),
                        (1, 6) => self.tile::<S, 1, 6>(simd, row, col),
                        _ => self.small_tile(simd, (r, q), row, col),
                    }
                } else {
                    self.small_tile(simd, (r, q), row, col);
                }
                col += q;
            }
            row += r;
        }
    }
}

impl<A: Vector> Products<'_, A> {
    /// The tiles that sixteen registers hold.
    #[inline(always)]
    fn small_tile<S: Simd>(&mut self, simd: S, (r, q): (usize, usize), row: usize, col: usize) {
        match (r, q) {
            (2, 3) => self.tile::<S, 2, 3>(simd, row, col),
            (2, 1) => self.tile::<S, 2, 1>(simd, row, col),
            (1, 3) => self.tile::<S, 1, 3>(simd, row, col),
            (1, 1) => self.tile::<S, 1, 1>(simd, row, col),
            _ => unreachable!("no tile of {r} channels by {q} taps"),
        }
    }

    /// Adds the inner products of `R` channels with `Q` taps, over the block's images.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const Q: usize>(&mut self, simd: S, row: usize, col: usize) {
        let width = A::lanes::<S>();
        let mut acc = [[A::splat(simd, A::ZERO); Q]; R];
        let mut offsets = [0; Q];
        offsets.copy_from_slice(&self.pass.offsets[self.at.col + col..][..Q]);
        for (i, set) in self.block.chunks_exact(self.set * self.groups).enumerate() {
            let planes = &set[self.at.batch * self.set..][..self.set];
            let grads = &self.grads.all[i * self.grads.set + self.at.batch * self.grads.group..];
            let mut taps = [planes; Q];
            for q in 0..Q {
                taps[q] = &planes[offsets[q]..];
            }
            let mut channels = [grads; R];
            for r in 0..R {
                channels[r] = &grads[(self.at.row + row + r) * self.width..][..self.width];
            }
            for (v, &position) in self.pass.positions.iter().enumerate() {
                let mut g = [A::splat(simd, A::ZERO); R];
                for r in 0..R {
                    g[r] = A::load(simd, &channels[r][v * width..]);
                }
                for q in 0..Q {
                    let x = A::load(simd, &taps[q][position..]);
                    for r in 0..R {
                        acc[r][q] = A::fma(simd, g[r], x, acc[r][q]);
                    }
                }
            }
        }
        let mut stored = [[[A::ZERO; MAX_LANES]; Q]; R];
        for r in 0..R {
            for q in 0..Q {
                A::store(simd, acc[r][q], &mut stored[r][q]);
            }
        }
        for r in 0..R {
            let out = &mut self.out.row(row + r)[col..col + Q];
            for (out, lanes) in out.iter_mut().zip(stored[r]) {
                *out += sum_of_lanes(lanes, width);
            }
        }
    }
}
