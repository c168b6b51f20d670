//! Rotary position embedding (Su et al. 2021, RoFormer), halves rotated against each other.

use crate::Result;
use crate::device::View;
use crate::device::cpu::{Float, for_each_chunk};
use crate::kernels::rowwise::{Packed, narrowed, parameter, rows_per_part, scratch, vectorized, widened};

vectorized! {
    fn rotate<A>(x: &[A], cos: &[A], sin: &[A], y: &mut [A]) {
        let half = cos.len();
        let (x1, x2) = (&x[..half], &x[half..2 * half]);
        let (y1, y2) = y.split_at_mut(half);
        let (y2, sin) = (&mut y2[..half], &sin[..half]);
        for i in 0..half {
            y1[i] = x1[i] * cos[i] - x2[i] * sin[i];
        }
        for i in 0..half {
            y2[i] = x2[i] * cos[i] + x1[i] * sin[i];
        }
    }
}

pub(super) fn rotary<T: Float>(x: View<'_>, cos: View<'_>, sin: View<'_>, inverse: bool, y: &mut [T]) -> Result<()> {
    let (t, d) = (x.dims()[2], x.dims()[3]);
    let (cos, mut sin): (Vec<T::Acc>, Vec<T::Acc>) =
        (parameter(Some(cos), t * d / 2, 0.0)?, parameter(Some(sin), t * d / 2, 0.0)?);
    if inverse {
        sin.iter_mut().for_each(|s| *s = -*s);
    }
    let x = Packed::<T>::new(x)?;
    let x = x.slice()?;
    if x.is_empty() {
        return Ok(());
    }
    let per_part = rows_per_part(x.len() / d, d, 256);
    for_each_chunk(y, per_part * d, |part, y| {
        let (mut a, mut b) = (scratch::<T>(d), scratch::<T>(d));
        for (r, y) in y.chunks_mut(d).enumerate() {
            let row = part * per_part + r;
            let table = row % t * (d / 2)..(row % t + 1) * (d / 2);
            let x = widened(&x[row * d..(row + 1) * d], &mut a);
            narrowed(y, &mut b, |y| rotate(x, &cos[table.clone()], &sin[table.clone()], y));
        }
    });
    Ok(())
}
