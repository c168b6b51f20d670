//! Sums rows of the innermost run with eight-lane blocks and combines partial sums in a fixed order.

use super::ReduceDesc;
use crate::device::View;
use crate::device::cpu::{BLOCK, Float, Real, for_each_chunk, load_strided};
use crate::{Layout, Result, Shape};

pub(super) fn sum<T: Float>(desc: &ReduceDesc, input: View<'_>, out: &mut [T]) -> Result<()> {
    // Kept axes first, reduced axes last: each output then sums one run of the permuted view.
    let order = |flag: bool| desc.reduced.iter().enumerate().filter(move |&(_, &r)| r == flag).map(|(i, _)| i);
    let axes: Vec<usize> = order(false).chain(order(true)).collect();
    let permuted = input.layout().permute(&axes);
    let kept = order(false).count();
    let inner_shape = Shape::new(&permuted.dims()[kept..])?;
    let outer_shape = Shape::new(&permuted.dims()[..kept])?;
    let outer = Layout::new(outer_shape, &permuted.strides()[..kept], permuted.offset())?;
    let mut starts = Vec::with_capacity(out.len());
    outer.for_each_index(|i| starts.push(i));
    let all = input.buffer().as_slice::<T>()?;
    let per_output = inner_shape.numel();
    let rows = (crate::device::cpu::GRAIN / per_output.max(1)).max(1);
    let inner_strides = permuted.strides()[kept..].to_vec();
    for_each_chunk(out, rows, |chunk, out| {
        let mut block = [T::Acc::default(); BLOCK];
        for (o, &start) in out.iter_mut().zip(&starts[chunk * rows..]) {
            let Ok(layout) = Layout::new(inner_shape, &inner_strides, start) else { return };
            let mut total = T::Acc::ZERO;
            for from in (0..per_output).step_by(BLOCK) {
                let n = BLOCK.min(per_output - from);
                load_strided(all, &layout, from, &mut block[..n]);
                total += block_sum(&block[..n]);
            }
            *o = T::from_acc(total);
        }
    });
    Ok(())
}

/// Eight interleaved partial sums, combined pairwise.
fn block_sum<A: Real>(x: &[A]) -> A {
    let mut lanes = [A::ZERO; 8];
    let mut chunks = x.chunks_exact(8);
    for c in &mut chunks {
        for (l, &v) in lanes.iter_mut().zip(c) {
            *l += v;
        }
    }
    let tail: A = chunks.remainder().iter().copied().sum();
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])) + tail
}
