//! Windows as columns of a matrix, and convolution as products with it.
//!
//! The route of images so small that register tiles would span several rows of them (and the baseline the other route
//! is measured against): a few images together make one product.

use super::{ConvDesc, Direction};
use crate::device::cpu::{Float, Real, Vector, for_each_tile};
use crate::kernels::gemm::pack::Matrix;
use crate::kernels::gemm::{multiply, scratch};
use crate::{Device, Result};

/// Columns that a product takes at once: enough to fill register tiles, and the matrix stays near the caches.
const COLUMNS: usize = 256;

/// Writes the windows of channels `planes` (each H × W) as rows of `to`: row (c, kh, kw) starts at its index times
/// `stride`.
pub(super) fn unfold<T: Float>(desc: &ConvDesc, planes: &[T], to: &mut [T], stride: usize) {
    let ([h, w], [oh, ow]) = (desc.input, desc.output);
    let [down, across] = &desc.windows;
    let mut row = 0;
    for plane in planes.chunks_exact(h * w) {
        for a in 0..down.kernel {
            let rows = down.valid(a, h, oh);
            for b in 0..across.kernel {
                let cols = across.valid(b, w, ow);
                let to = &mut to[row * stride..][..oh * ow];
                row += 1;
                if rows.is_empty() || cols.is_empty() {
                    to.fill(T::default());
                    continue;
                }
                to[..rows.start * ow].fill(T::default());
                to[rows.end * ow..].fill(T::default());
                for y in rows.clone() {
                    let to = &mut to[y * ow..][..ow];
                    to[..cols.start].fill(T::default());
                    to[cols.end..].fill(T::default());
                    let from = &plane[down.position(y, a) * w + across.position(cols.start, b)..];
                    let to = &mut to[cols.clone()];
                    match across.stride {
                        1 => to.copy_from_slice(&from[..to.len()]),
                        s => to.iter_mut().zip(from.iter().step_by(s)).for_each(|(t, &f)| *t = f),
                    }
                }
            }
        }
    }
}

/// Adds rows of `from`, as [`unfold`] writes them, to the planes they came from.
pub(super) fn fold<A: Real>(desc: &ConvDesc, from: &[A], stride: usize, planes: &mut [A]) {
    let ([h, w], [oh, ow]) = (desc.input, desc.output);
    let [down, across] = &desc.windows;
    let mut row = 0;
    for plane in planes.chunks_exact_mut(h * w) {
        for a in 0..down.kernel {
            for b in 0..across.kernel {
                let from = &from[row * stride..][..oh * ow];
                row += 1;
                let cols = across.valid(b, w, ow);
                if cols.is_empty() {
                    continue;
                }
                for y in down.valid(a, h, oh) {
                    let from = &from[y * ow..][cols.clone()];
                    let to = &mut plane[down.position(y, a) * w + across.position(cols.start, b)..];
                    to.iter_mut().step_by(across.stride).zip(from).for_each(|(t, &f)| *t += f);
                }
            }
        }
    }
}

/// [`unfold`] of every image.
pub(super) fn unfold_all<T: Float>(desc: &ConvDesc, x: &[T], cols: &mut [T]) {
    let image = desc.channels[0] * desc.input[0] * desc.input[1];
    let size = desc.terms() * desc.groups * desc.pixels();
    for_each_tile([cols], [1, desc.batch, size], [1, size], true, |at, [mut to]| {
        unfold(desc, &x[at.row * image..][..image], to.row(0), desc.pixels());
    });
}

/// [`fold`] of every image.
pub(super) fn fold_all<T: Float>(desc: &ConvDesc, cols: &[T], x: &mut [T]) {
    let image = desc.channels[0] * desc.input[0] * desc.input[1];
    let size = desc.terms() * desc.groups * desc.pixels();
    for_each_tile([x], [1, desc.batch, image], [1, image], true, |at, [mut to]| {
        let (mut wide, mut sums) = (vec![T::Acc::ZERO; size], vec![T::Acc::ZERO; image]);
        T::widen(&cols[at.row * size..][..size], &mut wide);
        fold(desc, &wide, desc.pixels(), &mut sums);
        T::narrow(&sums, to.row(0));
    });
}

/// One direction of a convolution as products with the matrix of windows.
pub(super) fn run<T: Float<Acc: Vector>>(
    direction: Direction,
    desc: &ConvDesc,
    a: &[T],
    b: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<()> {
    let ConvDesc { batch, channels: [c, o], groups, .. } = *desc;
    let (c, o, terms, pixels) = (c / groups, o / groups, desc.terms(), desc.pixels());
    let plane = desc.input[0] * desc.input[1];
    let images = (COLUMNS / pixels).clamp(1, batch.max(1));
    let columns = images * pixels;
    let mut sums = scratch::<T::Acc>(match direction {
        Direction::Forward => o * columns,
        Direction::Input => terms * columns,
        Direction::Weight => o * terms,
    })?;
    let sums = sums.as_mut_slice::<T::Acc>()?;
    let mut windows = crate::device::Buffer::uninit(&Device::Cpu, T::DTYPE, terms * columns)?;
    let windows = windows.as_mut_slice::<T>()?;
    let mut gathered = crate::device::Buffer::uninit(&Device::Cpu, T::DTYPE, o * columns)?;
    let gathered = gathered.as_mut_slice::<T>()?;
    for g in 0..groups {
        for first in (0..batch).step_by(images) {
            let count = images.min(batch - first);
            let n = count * pixels;
            let x_at = |i: usize| ((first + i) * groups + g) * c * plane;
            let y_at = |i: usize| ((first + i) * groups + g) * o * pixels;
            if direction != Direction::Input {
                let x = a;
                for i in 0..count {
                    unfold(desc, &x[x_at(i)..][..c * plane], &mut windows[i * pixels..], n);
                }
            }
            if direction != Direction::Forward {
                let y = if direction == Direction::Input { a } else { b };
                for i in 0..count {
                    for (row, from) in y[y_at(i)..][..o * pixels].chunks_exact(pixels).enumerate() {
                        gathered[row * n + i * pixels..][..pixels].copy_from_slice(from);
                    }
                }
            }
            let weights = |all| Matrix { all, at: g * o * terms, row: terms, col: 1 };
            match direction {
                Direction::Forward => {
                    let cols = Matrix { all: windows, at: 0, row: n, col: 1 };
                    multiply::<T>(true, (weights(b), cols), [o, n, terms], false, &mut sums[..o * n])?;
                    for i in 0..count {
                        for (row, to) in out[y_at(i)..][..o * pixels].chunks_exact_mut(pixels).enumerate() {
                            let from = &mut sums[row * n + i * pixels..][..pixels];
                            add_bias(from, bias, g * o + row);
                            T::narrow(from, to);
                        }
                    }
                }
                Direction::Input => {
                    let grads = Matrix { all: gathered, at: 0, row: n, col: 1 };
                    multiply::<T>(true, (weights(b).transpose(), grads), [terms, n, o], false, &mut sums[..terms * n])?;
                    let mut planes = scratch::<T::Acc>(c * plane)?;
                    let planes = planes.as_mut_slice::<T::Acc>()?;
                    for i in 0..count {
                        planes.fill(T::Acc::ZERO);
                        fold(desc, &sums[i * pixels..], n, planes);
                        for (row, plane) in planes.chunks_exact_mut(plane).enumerate() {
                            add_bias(plane, bias, g * c + row);
                        }
                        T::narrow(planes, &mut out[x_at(i)..][..c * plane]);
                    }
                }
                Direction::Weight => {
                    let grads = Matrix { all: gathered, at: 0, row: n, col: 1 };
                    let cols = Matrix { all: windows, at: 0, row: n, col: 1 }.transpose();
                    multiply::<T>(true, (grads, cols), [o, terms, n], first > 0, &mut sums[..o * terms])?;
                }
            }
        }
        if direction == Direction::Weight {
            if batch == 0 {
                sums.fill(T::Acc::ZERO);
            }
            T::narrow(sums, &mut out[g * o * terms..][..o * terms]);
        }
    }
    Ok(())
}

fn add_bias<T: Float>(values: &mut [T::Acc], bias: Option<&[T]>, channel: usize) {
    if let Some(bias) = bias {
        let b = bias[channel].to_acc();
        values.iter_mut().for_each(|v| *v += b);
    }
}
