//! Packing: operands of any strides, widened into contiguous panels that register tiles read front to back.

use super::micro::{TileShape, panel_rows};
use crate::device::cpu::Float;

/// A matrix in a slice, with any strides.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    /// The elements.
    pub all: &'a [T],
    /// The index of element (0, 0).
    pub at: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub col: usize,
}

impl<T> Matrix<'_, T> {
    /// The matrix from (row, col) on.
    pub fn from(self, row: usize, col: usize) -> Self {
        Matrix { at: self.at + row * self.row + col * self.col, ..self }
    }

    /// The transposed matrix.
    pub fn transpose(self) -> Self {
        Matrix { row: self.col, col: self.row, ..self }
    }
}

/// Numbers that the packed form of `rows` rows of A takes, over `k`.
pub fn packed_a_len(shape: TileShape, rows: usize, k: usize) -> usize {
    let rest = rows % shape.mr;
    (rows - rest + if rest > 0 { panel_rows(rest) } else { 0 }) * k
}

/// Numbers that the packed form of `cols` columns of B takes, over `k`.
pub fn packed_b_len(shape: TileShape, cols: usize, k: usize) -> usize {
    cols.next_multiple_of(shape.lanes) * k
}

/// Packs `rows` × `k` of A as panels of `mr` rows, each k-major, the last one padded with zero rows.
pub fn pack_a<T: Float>(a: Matrix<'_, T>, rows: usize, k: usize, shape: TileShape, to: &mut [T::Acc]) {
    for (p, panel) in to.chunks_mut((shape.mr * k).max(1)).enumerate() {
        let first = p * shape.mr;
        let width = shape.mr.min(rows - first);
        interleave(a.from(first, 0), width, k, panel_rows(width), panel);
    }
}

/// Packs `k` × `cols` of B as panels of `nr` columns, each k-major, the last one padded with zeros to whole registers.
pub fn pack_b<T: Float>(b: Matrix<'_, T>, cols: usize, k: usize, shape: TileShape, to: &mut [T::Acc]) {
    let nr = shape.nr();
    for (p, panel) in to.chunks_mut((nr * k).max(1)).enumerate() {
        let first = p * nr;
        let width = nr.min(cols - first);
        interleave(b.from(0, first).transpose(), width, k, width.next_multiple_of(shape.lanes), panel);
    }
}

/// Writes `lines` rows of `m` side by side: `to[k · stride + i] = m(i, k)`, zeros from `lines` to `stride`.
fn interleave<T: Float>(m: Matrix<'_, T>, lines: usize, k: usize, stride: usize, to: &mut [T::Acc]) {
    if lines == 0 || k == 0 {
        return;
    }
    if m.row == 1 {
        // The lines are neighbours in memory: each k is one run.
        for (i, to) in to.chunks_exact_mut(stride).enumerate() {
            let from = m.at + i * m.col;
            T::widen(&m.all[from..from + lines], &mut to[..lines]);
            to[lines..].fill(T::Acc::default());
        }
        return;
    }
    if lines < stride {
        to.fill(T::Acc::default());
    }
    // Blocks of 16 k: the lines' cache lines are read whole, and the written block stays in the L1 cache.
    const RUN: usize = 16;
    let mut run = [T::Acc::default(); RUN];
    for from in (0..k).step_by(RUN) {
        let n = RUN.min(k - from);
        let to = &mut to[from * stride..(from + n) * stride];
        for line in 0..lines {
            let at = m.at + line * m.row + from * m.col;
            if m.col == 1 {
                T::widen(&m.all[at..at + n], &mut run[..n]);
            } else {
                for (i, run) in run[..n].iter_mut().enumerate() {
                    *run = m.all[at + i * m.col].to_acc();
                }
            }
            for (to, &x) in to[line..].iter_mut().step_by(stride).zip(&run[..n]) {
                *to = x;
            }
        }
    }
}
