//! Shapes, strides and layouts: plain values, copied freely, never allocated.

use crate::{Error, Result};

/// The largest number of axes a tensor may have.
pub const MAX_RANK: usize = 8;

/// The extents of a tensor's axes, outermost first; at most [`MAX_RANK`] of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// A shape from its extents. More than [`MAX_RANK`] axes, or more elements than `isize::MAX`, is an error.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            let message = format!("{} axes {dims:?} are more than the {MAX_RANK} that tensors may have", dims.len());
            return Err(Error::argument("shape", message));
        }
        // Zero extents must not hide an overflow of the others: strides are computed from them.
        let product = dims.iter().try_fold(1usize, |p, &d| p.checked_mul(d.max(1)));
        if product.is_none_or(|p| p > isize::MAX as usize) {
            return Err(Error::argument("shape", format!("{dims:?} has more elements than can be addressed")));
        }
        let mut shape = Shape { rank: dims.len() as u8, dims: [0; MAX_RANK] };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The shape of a scalar: no axes, one element.
    pub const fn scalar() -> Self {
        Shape { rank: 0, dims: [0; MAX_RANK] }
    }

    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    pub(crate) fn dims_mut(&mut self) -> &mut [usize] {
        &mut self.dims[..self.rank as usize]
    }

    /// The number of axes.
    pub const fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.dims().iter().product()
    }

    /// Strides, in elements, of a contiguous row-major layout.
    pub(crate) fn row_major(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.dims[axis].max(1);
        }
        strides
    }

    /// The shape that NumPy's broadcasting rule gives for two operands of `op`.
    pub fn broadcast(&self, other: &Shape, op: &'static str) -> Result<Shape> {
        let rank = self.rank().max(other.rank());
        let mut out = Shape { rank: rank as u8, dims: [0; MAX_RANK] };
        for i in 0..rank {
            let a = if i < self.rank() { self.dims[self.rank() - 1 - i] } else { 1 };
            let b = if i < other.rank() { other.dims[other.rank() - 1 - i] } else { 1 };
            out.dims[rank - 1 - i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return Err(Error::shape(op, "shapes that broadcast together", &[*self, *other])),
            };
        }
        Ok(out)
    }

    /// This shape with `axis` replaced by `extent`.
    pub(crate) fn with_dim(mut self, axis: usize, extent: usize) -> Shape {
        self.dims_mut()[axis] = extent;
        self
    }

    /// Resolves an axis that may count from the end: `-1` is the last.
    pub fn axis(&self, axis: isize, op: &'static str) -> Result<usize> {
        let rank = self.rank() as isize;
        let resolved = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&resolved) {
            Ok(resolved as usize)
        } else {
            Err(Error::OutOfRange { op, what: "axis", index: axis as i64, bound: self.rank() })
        }
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = usize;
    fn index(&self, axis: usize) -> &usize {
        &self.dims()[axis]
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// Anything that names a shape: slices, arrays, vectors, tuples are not needed; a scalar is `[]` or `()`.
pub trait IntoShape {
    /// The shape, checked.
    fn into_shape(self) -> Result<Shape>;
}

impl IntoShape for Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(self)
    }
}

impl IntoShape for &Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(*self)
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl IntoShape for &Vec<usize> {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}

impl<const N: usize> IntoShape for &[usize; N] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl IntoShape for usize {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&[self])
    }
}

impl IntoShape for () {
    fn into_shape(self) -> Result<Shape> {
        Ok(Shape::scalar())
    }
}

/// Where the elements of a tensor lie in its storage: shape, strides and offset, in elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    shape: Shape,
    strides: [usize; MAX_RANK],
    offset: usize,
}

impl Layout {
    /// A contiguous row-major layout at offset 0.
    pub fn contiguous(shape: Shape) -> Self {
        Layout { shape, strides: shape.row_major(), offset: 0 }
    }

    /// A layout from its parts. The caller answers for the strides staying inside the storage;
    /// every reader checks [`Layout::span`] against the buffer's length.
    pub fn new(shape: Shape, strides: &[usize], offset: usize) -> Result<Self> {
        if strides.len() != shape.rank() {
            let message = format!("{} strides for the {} axes of {shape}", strides.len(), shape.rank());
            return Err(Error::argument("layout", message));
        }
        let mut all = [0; MAX_RANK];
        all[..strides.len()].copy_from_slice(strides);
        Ok(Layout { shape, strides: all, offset })
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The extents of the axes.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The strides, in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.shape.rank()]
    }

    /// The index of the first element.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Whether the elements lie row-major and without gaps (at any offset).
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        for (&d, &s) in self.dims().iter().zip(self.strides()).rev() {
            if d == 0 {
                return true;
            }
            if d != 1 && s != step {
                return false;
            }
            step *= d;
        }
        true
    }

    /// One past the largest index that the layout reaches; 0 when it has no elements.
    /// Saturates, so that a hostile layout can never seem to fit.
    pub fn span(&self) -> usize {
        if self.numel() == 0 {
            return 0;
        }
        let last = self
            .dims()
            .iter()
            .zip(self.strides())
            .fold(self.offset, |at, (&d, &s)| at.saturating_add((d - 1).saturating_mul(s)));
        last.saturating_add(1)
    }

    /// The layout with two axes exchanged.
    pub fn transpose(&self, a: usize, b: usize) -> Layout {
        let mut out = *self;
        out.shape.dims_mut().swap(a, b);
        out.strides.swap(a, b);
        out
    }

    /// The layout with axis `i` taken from `axes[i]`. `axes` must be a permutation, which the caller has checked.
    pub fn permute(&self, axes: &[usize]) -> Layout {
        let mut out = *self;
        for (i, &a) in axes.iter().enumerate() {
            out.shape.dims_mut()[i] = self.dims()[a];
            out.strides[i] = self.strides[a];
        }
        out
    }

    /// The layout of `length` elements of `axis` from `start`, every `step`-th.
    pub fn slice(&self, axis: usize, start: usize, length: usize, step: usize) -> Layout {
        let mut out = *self;
        // An empty slice may start one past the end: keep the offset inside the storage.
        if length > 0 {
            out.offset += start * self.strides[axis];
        }
        out.shape.dims_mut()[axis] = length;
        out.strides[axis] = self.strides[axis] * step;
        out
    }

    /// The layout repeated along axes of extent 1 (stride 0) to `shape`; `None` if NumPy's rule does not allow it.
    pub fn expand(&self, shape: &Shape) -> Option<Layout> {
        let extra = shape.rank().checked_sub(self.shape.rank())?;
        let mut out = Layout { shape: *shape, strides: [0; MAX_RANK], offset: self.offset };
        for axis in 0..self.shape.rank() {
            let (from, to) = (self.dims()[axis], shape.dims()[extra + axis]);
            out.strides[extra + axis] = match (from, to) {
                (f, t) if f == t => self.strides[axis],
                (1, _) => 0,
                _ => return None,
            };
        }
        Some(out)
    }

    /// The layout of the same elements in another shape, where no copy is needed.
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        if self.numel() != shape.numel() {
            return None;
        }
        if self.numel() == 0 || self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(*shape) });
        }
        // Walk both shapes from the inside, matching groups of axes with equal products; inside a group the old
        // axes must be mergeable into one run of a single stride.
        let old: Vec<(usize, usize)> =
            self.dims().iter().copied().zip(self.strides().iter().copied()).filter(|&(d, _)| d != 1).collect();
        let mut strides = [0; MAX_RANK];
        let mut new_axis = shape.rank();
        let mut i = old.len();
        while i > 0 {
            i -= 1;
            let (mut group, base) = old[i];
            while i > 0 && old[i - 1].1 == group * base {
                i -= 1;
                group *= old[i].0;
            }
            let mut covered = 1;
            while covered < group {
                new_axis = new_axis.checked_sub(1)?;
                let d = shape[new_axis];
                if !group.is_multiple_of(covered * d) {
                    return None;
                }
                strides[new_axis] = base * covered;
                covered *= d;
            }
        }
        Some(Layout { shape: *shape, strides, offset: self.offset })
    }

    /// Calls `f` with the storage index of every element in row-major order.
    pub fn for_each_index(&self, mut f: impl FnMut(usize)) {
        if self.numel() == 0 {
            return;
        }
        let rank = self.shape.rank();
        let mut index = [0usize; MAX_RANK];
        let mut at = self.offset;
        loop {
            f(at);
            let mut axis = rank;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} strides {:?} offset {}", self.shape, self.strides(), self.offset)
    }
}

/// Merges neighbouring axes that every layout walks as one run, and drops axes of extent 1.
/// All layouts have the same shape; the result has the fewest axes (at least one).
pub(crate) fn coalesce<const N: usize>(layouts: [Layout; N]) -> [Layout; N] {
    let dims = layouts[0].dims();
    let mut out: Vec<usize> = Vec::with_capacity(MAX_RANK);
    let mut strides: [[usize; MAX_RANK]; N] = [[0; MAX_RANK]; N];
    for (axis, &d) in dims.iter().enumerate() {
        if d == 1 {
            continue;
        }
        let last = out.len().wrapping_sub(1);
        let merges = !out.is_empty() && (0..N).all(|n| strides[n][last] == layouts[n].strides[axis] * d);
        if merges {
            out[last] *= d;
        } else {
            out.push(d);
        }
        let at = out.len() - 1;
        for n in 0..N {
            strides[n][at] = layouts[n].strides[axis];
        }
    }
    if out.is_empty() {
        out.push(1);
    }
    let mut shape = Shape { rank: out.len() as u8, dims: [0; MAX_RANK] };
    shape.dims_mut().copy_from_slice(&out);
    std::array::from_fn(|n| Layout { shape, strides: strides[n], offset: layouts[n].offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(shape(&[3, 1]).broadcast(&shape(&[2, 1, 4]), "add").unwrap(), shape(&[2, 3, 4]));
        let error = shape(&[3]).broadcast(&shape(&[4]), "add").unwrap_err().to_string();
        assert_eq!(error, "add: expected shapes that broadcast together, got [3] and [4]");
    }

    #[test]
    fn overflowing_shapes_are_refused() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[usize::MAX, 2, 0]).is_err());
        assert!(Shape::new(&[1; 9]).is_err());
    }

    #[test]
    fn reshape_without_a_copy_where_strides_allow() {
        let t = Layout::contiguous(shape(&[2, 3, 4])).transpose(0, 1);
        assert!(t.reshape(&shape(&[3, 8])).is_none());
        let split = t.reshape(&shape(&[3, 2, 2, 2])).unwrap();
        let mut a = vec![];
        t.for_each_index(|i| a.push(i));
        let mut b = vec![];
        split.for_each_index(|i| b.push(i));
        assert_eq!(a, b);
    }

    #[test]
    fn coalescing_keeps_the_order_of_elements() {
        let a = Layout::contiguous(shape(&[2, 3, 1, 4]));
        let b = Layout::contiguous(shape(&[3, 1, 4])).expand(&shape(&[2, 3, 1, 4])).unwrap();
        let [ca, cb] = coalesce([a, b]);
        assert_eq!(ca.dims(), &[2, 12]);
        for (full, merged) in [(a, ca), (b, cb)] {
            let (mut x, mut y) = (vec![], vec![]);
            full.for_each_index(|i| x.push(i));
            merged.for_each_index(|i| y.push(i));
            assert_eq!(x, y);
        }
    }
}
