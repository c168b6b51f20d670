//! How a reduction walks its input: kept and reduced axes apart, merged, and which of them runs along memory.

use super::ReduceDesc;
use crate::device::cpu::GRAIN;
use crate::shape::coalesce;
use crate::{Layout, Result, Shape};

/// Columns summed side by side: two L1-resident kilobytes of f32 accumulators.
pub(super) const COLUMNS: usize = 512;
/// Rows that one column accumulator takes before partial results are combined pairwise: bounds the rounding error of
/// tall sums, and gives other threads work.
pub(super) const ROWS: usize = 64;
/// Narrow dense columns fold several rows at once, in up to this many accumulators, which the vector registers hold.
pub(super) const GROUP: usize = 64;

/// Which axes lie innermost in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Reduced: each output folds runs of neighbouring elements, in parts of `part` elements.
    Rows { part: usize },
    /// Kept: neighbouring outputs fold side by side, row after row, in parts of `part` rows.
    Columns { part: usize },
}

/// A reduction's walk. A function of shape and strides only, never of threads: the order of rounding follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The kept axes, merged, at the input's offset.
    pub(super) kept: Layout,
    /// The reduced axes, merged, at offset 0, in the order in which they lie in memory.
    pub(super) reduced: Layout,
    pub(super) order: Order,
}

impl Plan {
    pub(super) fn new(desc: &ReduceDesc, layout: &Layout) -> Result<Self> {
        let axes = |flag: bool| desc.reduced.iter().enumerate().filter(move |&(_, &r)| r == flag).map(|(i, _)| i);
        let part = |axes: &[usize], offset: usize| -> Result<Layout> {
            let dims: Vec<usize> = axes.iter().map(|&a| layout.dims()[a]).collect();
            let strides: Vec<usize> = axes.iter().map(|&a| layout.strides()[a]).collect();
            let [merged] = coalesce([Layout::new(Shape::new(&dims)?, &strides, offset)?]);
            Ok(merged)
        };
        let kept = part(&axes(false).collect::<Vec<_>>(), layout.offset())?;
        let mut inner: Vec<usize> = axes(true).filter(|&a| layout.dims()[a] != 1).collect();
        // A broadcast axis (stride 0) goes outermost: it repeats what lies inside it.
        inner.sort_by_key(|&a| std::cmp::Reverse(layout.strides()[a].wrapping_sub(1)));
        let reduced = part(&inner, 0)?;
        let step = |l: &Layout| l.strides().last().copied().unwrap_or(0);
        let columns = kept.numel() > 1 && (reduced.numel() <= 1 || step(&kept) < step(&reduced));
        let order = if columns { Order::Columns { part: ROWS } } else { Order::Rows { part: GRAIN } };
        let mut plan = Plan { kept, reduced, order };
        if plan.groups() {
            plan.order = Order::Columns { part: ROWS * (GROUP / plan.width()) };
        }
        Ok(plan)
    }

    /// The extent of the innermost kept axis.
    pub(super) fn width(&self) -> usize {
        self.kept.dims().last().copied().unwrap_or(1)
    }

    /// Whether rows of narrow columns follow each other without gaps, so that several fold side by side.
    pub(super) fn groups(&self) -> bool {
        let width = self.width();
        matches!(self.order, Order::Columns { .. })
            && (1..=GROUP / 2).contains(&width)
            && self.kept.strides().last() == Some(&1)
            && self.reduced.dims().len() == 1
            && self.reduced.strides()[0] == width
    }
}

/// A walk over the storage indices of a layout, from any element on.
#[derive(Clone)]
pub(crate) struct Odometer<'a> {
    layout: &'a Layout,
    index: [usize; crate::MAX_RANK],
    pub(crate) at: usize,
}

impl<'a> Odometer<'a> {
    /// At element `flat` in row-major order.
    pub(crate) fn new(layout: &'a Layout, mut flat: usize) -> Self {
        let mut index = [0; crate::MAX_RANK];
        let mut at = layout.offset();
        for axis in (0..layout.dims().len()).rev() {
            let d = layout.dims()[axis].max(1);
            index[axis] = flat % d;
            at += index[axis] * layout.strides()[axis];
            flat /= d;
        }
        Odometer { layout, index, at }
    }

    /// How many elements remain on the innermost axis, and its stride.
    pub(crate) fn run(&self) -> (usize, usize) {
        match self.layout.dims().len() {
            0 => (1, 0),
            rank => (self.layout.dims()[rank - 1] - self.index[rank - 1], self.layout.strides()[rank - 1]),
        }
    }

    /// Goes on by `n` elements, at most to the end of the innermost axis.
    #[inline(always)]
    pub(crate) fn advance(&mut self, n: usize) {
        let (dims, strides) = (self.layout.dims(), self.layout.strides());
        let mut by = n;
        for axis in (0..dims.len()).rev() {
            self.index[axis] += by;
            self.at += by * strides[axis];
            if self.index[axis] < dims[axis] {
                return;
            }
            self.at -= self.index[axis] * strides[axis];
            self.index[axis] = 0;
            by = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dims: &[usize], reduced: &[usize]) -> Plan {
        let flags = (0..dims.len()).map(|i| reduced.contains(&i)).collect();
        Plan::new(&ReduceDesc { reduced: flags }, &Layout::contiguous(Shape::new(dims).unwrap())).unwrap()
    }

    #[test]
    fn bias_gradients_walk_along_memory() {
        assert!(matches!(plan(&[32, 128, 768], &[0, 1]).order, Order::Columns { part: 64 }));
        assert!(matches!(plan(&[128, 10], &[0]).order, Order::Columns { part: 384 }));
        let channels = plan(&[8, 16, 7, 7], &[0, 2, 3]);
        assert!(matches!(channels.order, Order::Rows { .. }));
        assert_eq!(channels.reduced.dims(), &[8, 49]);
        assert!(matches!(plan(&[100, 100], &[0, 1]).order, Order::Rows { .. }));
    }

    #[test]
    fn an_odometer_visits_what_a_layout_does() {
        let layout = Layout::contiguous(Shape::new(&[2, 3, 4]).unwrap()).transpose(0, 2).slice(1, 1, 2, 1);
        let mut expected = vec![];
        layout.for_each_index(|i| expected.push(i));
        for start in 0..expected.len() {
            let mut walk = Odometer::new(&layout, start);
            for &e in &expected[start..] {
                assert_eq!(walk.at, e);
                walk.advance(1);
            }
        }
    }
}
