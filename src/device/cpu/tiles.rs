//! Rectangular parts of row-major matrices, written by several threads at once.

use super::for_each_index;
use std::marker::PhantomData;

/// Where a tile lies: which matrix of the batch, its first row and column, and its extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileAt {
    /// The matrix.
    pub batch: usize,
    /// The first row.
    pub row: usize,
    /// The first column.
    pub col: usize,
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub cols: usize,
}

/// One tile of a row-major matrix, exclusively borrowed.
pub struct TileMut<'a, T> {
    first: *mut T,
    stride: usize,
    rows: usize,
    cols: usize,
    owner: PhantomData<&'a mut [T]>,
}

impl<T> TileMut<'_, T> {
    /// Row `i` of the tile.
    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of a tile of {}", self.rows);
        // SAFETY: `first` points at the tile's first element inside the matrix it was made from; row i < rows starts
        // i·stride further and its `cols` elements stay inside the matrix's row (for_each_tile cut the tile so). The
        // tiles of one call are disjoint, each is handed to one closure call, and &mut self makes this the only row.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(i * self.stride), self.cols) }
    }
}

struct Base<T>(*mut T);

impl<T> Clone for Base<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Base<T> {}

// SAFETY: the pointer is only used to make disjoint &mut parts of a slice of T: Send, as split_at_mut would.
unsafe impl<T: Send> Send for Base<T> {}
// SAFETY: as above; sharing it between threads hands each a different part.
unsafe impl<T: Send> Sync for Base<T> {}

/// Cuts each matrix of `outs` (all of shape `[batch, rows, cols]`, row-major) into tiles of `tile` rows × columns
/// (fewer at the edges) and calls `f` once for each, with that tile of every output; in parallel where asked to.
///
/// # Panics
/// If an output does not have batch · rows · cols elements.
pub fn for_each_tile<T: Send, const N: usize>(
    outs: [&mut [T]; N],
    [batch, rows, cols]: [usize; 3],
    tile: [usize; 2],
    parallel: bool,
    f: impl Fn(TileAt, [TileMut<'_, T>; N]) + Sync,
) {
    let bases = bases(outs, [batch, rows, cols]);
    visit([batch, rows, cols], tile, parallel, &|at| f(at, cut(&bases, at, rows, cols)));
}

fn bases<T, const N: usize>(outs: [&mut [T]; N], [batch, rows, cols]: [usize; 3]) -> [Base<T>; N] {
    let size = batch.checked_mul(rows).and_then(|x| x.checked_mul(cols));
    outs.map(|out| {
        assert_eq!(Some(out.len()), size, "an output of {batch}x{rows}x{cols}");
        Base(out.as_mut_ptr())
    })
}

/// The tile of every output at one place.
fn cut<'a, T, const N: usize>(bases: &[Base<T>; N], at: TileAt, rows: usize, cols: usize) -> [TileMut<'a, T>; N] {
    bases.map(|base| TileMut {
        // SAFETY: `visit` gives a batch < batch, a row < rows and a column < cols, so the first element lies inside the
        // slice of batch·rows·cols elements that `bases` checked, and so does the rest of the tile, cut to the
        // matrix.
        first: unsafe { base.0.add((at.batch * rows + at.row) * cols + at.col) },
        stride: cols,
        rows: at.rows,
        cols: at.cols,
        owner: PhantomData,
    })
}

/// Calls `f` for the place of every tile. Compiled once, whatever the tiles are of and for.
fn visit([batch, rows, cols]: [usize; 3], [tall, wide]: [usize; 2], parallel: bool, f: &(dyn Fn(TileAt) + Sync)) {
    let (tall, wide) = (tall.max(1), wide.max(1));
    let (down, across) = (rows.div_ceil(tall), cols.div_ceil(wide));
    let count = batch * down * across;
    let run = |index: usize| {
        let (batch, rest) = (index / (down * across), index % (down * across));
        let (row, col) = (rest / across * tall, rest % across * wide);
        f(TileAt { batch, row, col, rows: tall.min(rows - row), cols: wide.min(cols - col) });
    };
    if parallel && count > 1 {
        for_each_index(count, run);
    } else {
        (0..count).for_each(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_belongs_to_one_tile() {
        for (shape, tile) in [([2, 7, 5], [3, 2]), ([1, 1, 1], [4, 4]), ([3, 0, 4], [1, 1]), ([2, 4, 6], [2, 3])] {
            let size = shape.iter().product();
            let (mut a, mut b) = (vec![0u32; size], vec![0u32; size]);
            for_each_tile([&mut a, &mut b], shape, tile, true, |at, [mut x, mut y]| {
                for r in 0..at.rows {
                    let from = ((at.batch * shape[1] + at.row + r) * shape[2] + at.col) as u32;
                    x.row(r).iter_mut().zip(from..).for_each(|(x, i)| *x += i + 1);
                    y.row(r).iter_mut().for_each(|y| *y += 1);
                }
            });
            assert!(a.iter().zip(1..).all(|(&x, i)| x == i) && b.iter().all(|&y| y == 1), "{shape:?} {tile:?}");
        }
    }
}
