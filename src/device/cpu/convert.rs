//! The float dtypes of the CPU device and block conversions to and from their accumulator type.

use super::{GRAIN, Real, for_each_chunk};
use crate::shape::coalesce;
use crate::{Element, Layout, MAX_RANK};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Elements per block: the unit in which kernels widen, compute and narrow. Three f32 blocks fit the L1 cache.
pub const BLOCK: usize = 1024;

/// A float dtype; kernels compute in its accumulator type, f32 or f64.
pub trait Float: Element<Acc: Real> {
    /// Widens a slice; both have the same length.
    fn widen(from: &[Self], to: &mut [Self::Acc]);
    /// Rounds a slice to nearest even; both have the same length.
    fn narrow(from: &[Self::Acc], to: &mut [Self]);
    /// The slice itself where the dtype is its own accumulator (f32, f64).
    fn as_acc(from: &[Self]) -> Option<&[Self::Acc]>;
    /// The slice itself where the dtype is its own accumulator (f32, f64).
    fn as_acc_mut(from: &mut [Self]) -> Option<&mut [Self::Acc]>;
}

macro_rules! own_accumulator {
    ($ty:ty) => {
        impl Float for $ty {
            fn widen(from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }
            fn narrow(from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }
            fn as_acc(from: &[Self]) -> Option<&[Self]> {
                Some(from)
            }
            fn as_acc_mut(from: &mut [Self]) -> Option<&mut [Self]> {
                Some(from)
            }
        }
    };
}

own_accumulator!(f32);
own_accumulator!(f64);

impl Float for f16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
    fn narrow(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
    fn as_acc(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn as_acc_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

impl Float for bf16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        super::vectorize(|| {
            for (t, f) in to.iter_mut().zip(from) {
                *t = f32::from_bits((f.to_bits() as u32) << 16);
            }
        });
    }
    fn narrow(from: &[f32], to: &mut [Self]) {
        super::vectorize(|| {
            for (t, f) in to.iter_mut().zip(from) {
                let bits = f.to_bits();
                // Round to nearest even on the upper half; a NaN keeps its sign and becomes quiet.
                let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
                let nan = ((bits >> 16) | 0x40) as u16;
                *t = bf16::from_bits(if f.is_nan() { nan } else { rounded });
            }
        });
    }
    fn as_acc(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn as_acc_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// Copies the elements `start..start + to.len()` (in row-major order of `layout`) of `all` to `to`, widened.
/// Runs along the innermost axis, so that coalesced layouts copy whole rows.
pub fn load_strided<T: Float>(all: &[T], layout: &Layout, start: usize, to: &mut [T::Acc]) {
    for_each_run(layout, start, to.len(), |done, at, run, step| {
        let out = &mut to[done..done + run];
        match step {
            0 => out.fill(all[at].to_acc()),
            1 => T::widen(&all[at..at + run], out),
            _ => out.iter_mut().zip(all[at..].iter().step_by(step)).for_each(|(o, v)| *o = v.to_acc()),
        }
    });
}

/// As [`load_strided`] for any dtype, without a conversion.
pub fn load_elements<T: Element>(all: &[T], layout: &Layout, start: usize, to: &mut [T]) {
    for_each_run(layout, start, to.len(), |done, at, run, step| {
        let out = &mut to[done..done + run];
        match step {
            0 => out.fill(all[at]),
            1 => out.copy_from_slice(&all[at..at + run]),
            _ => out.iter_mut().zip(all[at..].iter().step_by(step)).for_each(|(o, &v)| *o = v),
        }
    });
}

/// Copies all elements of a strided layout to contiguous memory, in parallel.
pub fn copy_strided<T: Element>(all: &[T], layout: &Layout, to: &mut [T]) {
    let [layout] = coalesce([*layout]);
    for_each_chunk(to, GRAIN, |chunk, to| load_elements(all, &layout, chunk * GRAIN, to));
}

/// Cuts elements `start..start + len` of a layout into runs along the innermost axis and calls
/// `f(elements done, storage index, run length, stride)` for each.
#[inline(always)]
fn for_each_run(layout: &Layout, start: usize, len: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    let (dims, strides) = (layout.dims(), layout.strides());
    let Some(inner) = dims.len().checked_sub(1) else {
        if len > 0 {
            f(0, layout.offset(), 1, 0);
        }
        return;
    };
    if len == 0 {
        return;
    }
    let (width, step) = (dims[inner], strides[inner]);
    // Divided once; from there the index counts up like an odometer.
    let (mut row, column) = (start / width, start % width);
    let mut index = [0; MAX_RANK];
    let mut base = layout.offset();
    for axis in (0..inner).rev() {
        index[axis] = row % dims[axis];
        row /= dims[axis];
        base += index[axis] * strides[axis];
    }
    let (mut done, mut column) = (0, column);
    loop {
        let run = (width - column).min(len - done);
        f(done, base + column * step, run, step);
        done += run;
        if done == len {
            return;
        }
        column = 0;
        for axis in (0..inner).rev() {
            index[axis] += 1;
            base += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            base -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_to_bf16_agrees_with_half_on_every_upper_half() {
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits((high as u32) << 16 | low);
                let mut out = [bf16::ZERO];
                bf16::narrow(&[x], &mut out);
                let expected = bf16::from_f32(x);
                assert!(out[0].to_bits() == expected.to_bits() || x.is_nan() && out[0].is_nan(), "{x:e}");
            }
        }
    }
}
