//! What CUDA launches over strided operands share: division by constants, the parameters, and the cut into index spaces
//! that 31 bits can number.

use super::params::{Divisor, MAX_OPERANDS, StridedParams};
use crate::Layout;

/// Elements that one launch over strided operands can number, exclusive.
pub(crate) const LIMIT: usize = 1 << 31;

impl Divisor {
    /// Granlund and Montgomery's constants for dividing numbers below 2³¹ by `divisor`, which is at least 1.
    pub(crate) fn new(divisor: usize) -> Self {
        let divisor = divisor as u32;
        let log = divisor.next_power_of_two().trailing_zeros();
        let multiplier = (1u64 << (31 + log)).div_ceil(u64::from(divisor)) as u32;
        Divisor { divisor, multiplier, shift: log.wrapping_sub(1) }
    }
}

impl StridedParams {
    /// The walk over layouts of one shape, below [`LIMIT`] elements and of at most `MAX_RANK` axes: the output's, then
    /// the operands'. Offsets go into the pointers.
    pub(crate) fn new(layouts: &[Layout]) -> Self {
        let out = &layouts[0];
        let rank = out.dims().len();
        let mut params = StridedParams { count: out.numel() as u32, rank: rank as u32, ..Default::default() };
        for axis in 0..rank {
            let from = rank - 1 - axis;
            params.sizes[axis] = Divisor::new(out.dims()[from]);
            params.out[axis] = out.strides()[from] as i64;
            for (operand, layout) in layouts[1..].iter().enumerate().take(MAX_OPERANDS as usize) {
                params.operands[operand][axis] = layout.strides()[from] as i64;
            }
        }
        params
    }
}

/// Calls `f` on layouts that together cover these, each of fewer than `limit` elements.
pub(crate) fn for_each_part<const N: usize, E>(
    layouts: [Layout; N],
    limit: usize,
    f: &mut impl FnMut(&[Layout; N]) -> Result<(), E>,
) -> Result<(), E> {
    if layouts[0].numel() < limit {
        return f(&layouts);
    }
    // The outermost axis that can be cut; whatever lies outside of it has extent 1.
    let Some(axis) = layouts[0].dims().iter().position(|&d| d > 1) else { return f(&layouts) };
    let extent = layouts[0].dims()[axis];
    let inner = layouts[0].numel() / extent;
    let share = ((limit - 1) / inner).max(1);
    for start in (0..extent).step_by(share) {
        let length = share.min(extent - start);
        for_each_part(layouts.map(|l| l.slice(axis, start, length, 1)), limit, f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    #[test]
    fn parts_cover_every_element_once_and_in_order() {
        let shape = Shape::new(&[3, 5, 7]).unwrap();
        let whole = Layout::contiguous(shape);
        let other = whole.transpose(0, 2).permute(&[2, 1, 0]);
        for limit in [2, 6, 8, 36, 71, 105, 106] {
            let mut seen = vec![];
            let result: Result<(), ()> = for_each_part([whole, other], limit, &mut |parts| {
                assert!(parts[0].numel() < limit, "{limit}");
                assert_eq!(parts[0].dims(), parts[1].dims());
                let mut offsets = vec![];
                parts[1].for_each_index(|i| offsets.push(i));
                let mut at = 0;
                parts[0].for_each_index(|i| {
                    assert_eq!(i, offsets[at]);
                    at += 1;
                    seen.push(i);
                });
                Ok(())
            });
            assert!(result.is_ok());
            assert_eq!(seen, (0..105).collect::<Vec<_>>(), "{limit}");
        }
    }

    #[test]
    fn division_by_constants_is_exact_below_the_limit() {
        for divisor in (1..2000).chain([1 << 20, (1 << 20) + 1, 0x7fff_ffff, 0x4000_0001, 641, 6_700_417]) {
            let d = Divisor::new(divisor);
            let divide = |n: u32| {
                if d.divisor == 1 { n } else { ((u64::from(n) * u64::from(d.multiplier)) >> 32) as u32 >> d.shift }
            };
            let divisor = divisor as u32;
            let near = [0, 1, divisor - 1, divisor, divisor.saturating_mul(2) - 1, 0x7fff_fffe, 0x7fff_ffff];
            for n in near.into_iter().chain((0..40).map(|i| 0x7fff_ffff / 41 * i)) {
                let n = n.min(0x7fff_ffff);
                assert_eq!(divide(n), n / divisor, "{n} / {divisor}");
            }
        }
    }
}
