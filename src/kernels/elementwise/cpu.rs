//! Blocks of elements are widened to f32 (or read in place), mapped by a vectorised loop and narrowed.

use super::Map;
use crate::device::View;
use crate::device::cpu::{BLOCK, Float, GRAIN, for_each_chunk, load_strided, vectorize};
use crate::shape::coalesce;
use crate::{Layout, Result};

pub(super) fn map<const N: usize, F: Map<N>, T: Float>(f: F, inputs: &[View<'_>; N], out: &mut [T]) -> Result<()> {
    let layouts: [Layout; N] = coalesce(inputs.map(|i| *i.layout()));
    let mut all: [&[T]; N] = [&[]; N];
    for (slice, input) in all.iter_mut().zip(inputs) {
        *slice = input.buffer().as_slice::<T>()?;
    }
    for_each_chunk(out, GRAIN, |chunk, out| {
        let mut blocks = [[T::Acc::default(); BLOCK]; N];
        let mut result = [T::Acc::default(); BLOCK];
        for (b, out) in out.chunks_mut(BLOCK).enumerate() {
            let start = chunk * GRAIN + b * BLOCK;
            let n = out.len();
            let mut direct: [Option<&[T::Acc]>; N] = [None; N];
            for i in 0..N {
                if layouts[i].is_contiguous() {
                    let from = layouts[i].offset() + start;
                    direct[i] = T::as_acc(&all[i][from..from + n]);
                }
                if direct[i].is_none() {
                    load_strided(all[i], &layouts[i], start, &mut blocks[i][..n]);
                }
            }
            let x: [&[T::Acc]; N] = std::array::from_fn(|i| direct[i].unwrap_or(&blocks[i][..n]));
            match T::as_acc_mut(out) {
                Some(out) => apply(f, x, out),
                None => {
                    apply(f, x, &mut result[..n]);
                    T::narrow(&result[..n], out);
                }
            }
        }
    });
    Ok(())
}

fn apply<const N: usize, F: Map<N>, A: crate::device::cpu::Real>(f: F, x: [&[A]; N], out: &mut [A]) {
    let n = out.len();
    let x: [&[A]; N] = x.map(|x| &x[..n]);
    vectorize(
        #[inline(always)]
        || {
            for j in 0..n {
                out[j] = f.eval(std::array::from_fn(|i| x[i][j]));
            }
        },
    );
}
