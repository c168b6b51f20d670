//! Structured sparsity of A: metadata of `mma.sp` and `wgmma.mma_async.sp`.
//!
//! A stores half of each row; four bits of metadata for every chunk say where the stored parts stand. A chunk is four
//! units and stores two of them, by a two-bit index each, the first stored in the low bits. A unit is an element of
//! 16 or 8 bits, half an element of tf32 (so that 0b0100 and 0b1110 name the first and the second of two), or a pair
//! of 4-bit elements (PTX ISA, "Sparse matrix storage" and the figures of metadata layouts).

use super::mma::truncated_sum;
use crate::machine::exec::{Cx, Flow};
use crate::machine::fault::FaultKind;
use crate::ptx::Ty;

/// Most stored elements of a row.
pub const STORED: usize = 64;

/// Where the stored elements of each of a warp's 16 rows stand.
pub type Columns = [[u8; STORED]; 16];

/// How a shape keeps its metadata.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    ty: Ty,
    /// Columns in units.
    units: usize,
    /// The sparsity selector.
    selector: usize,
    /// Indices must ascend.
    ordered: bool,
}

impl Layout {
    /// The layout for A of `depth` columns; `None` where the selector names no threads.
    pub fn new(ty: Ty, depth: u32, selector: u32, ordered: bool) -> Option<Layout> {
        let depth = depth as usize;
        let units = match ty.bits() {
            32 => 2 * depth,
            4 => depth / 2,
            _ => depth,
        };
        let layout = Layout { ty, units, selector: selector as usize, ordered };
        (layout.selector < 4 / layout.threads()).then_some(layout)
    }

    fn halves(self) -> bool {
        self.ty.bits() >= 16
    }

    /// Threads of four that give metadata.
    fn threads(self) -> usize {
        // 32 bits hold eight chunks; a thread has those of one row, or with 16-bit units four each of two rows.
        self.units / 16
    }

    /// Thread of four, and first bit of its metadata, for a chunk of a row.
    fn place(self, row: usize, chunk: usize) -> (usize, usize) {
        let first = self.selector * self.threads();
        if self.halves() {
            return (first + chunk / 4, 4 * (chunk % 4) + if row < 8 { 0 } else { 16 });
        }
        (first + row / 8 + 2 * (chunk / 8), 4 * (chunk % 8))
    }

    /// Reads the metadata of a warp, in register `offset`.
    pub fn columns(self, cx: &mut Cx<'_>, offset: u32) -> Result<Columns, Flow> {
        let meta = cx.lanes::<u32>(offset);
        let mut out = [[0; STORED]; 16];
        for (row, to) in out.iter_mut().enumerate() {
            for chunk in 0..self.units / 4 {
                let (thread, bit) = self.place(row, chunk);
                let lane = 4 * (row % 8) + thread;
                let nibble = meta[lane] >> bit & 15;
                let (first, second) = ((nibble & 3) as usize, (nibble >> 2) as usize);
                let wrong = match self.ty {
                    Ty::TF32 => !matches!(nibble, 0b0100 | 0b1110),
                    _ => first == second || (self.ordered && first > second),
                };
                if wrong {
                    let text = format!(
                        "the metadata {nibble:#06b} for chunk {chunk} of row {row} of A, bits {bit} to {} of lane \
                         {lane}, is not valid{}",
                        bit + 3,
                        if first > second { ": the indices must ascend" } else { "" }
                    );
                    return Err(cx.fail(FaultKind::IllegalInstruction, Some("limits"), Some(lane), &text));
                }
                for (k, unit) in [first, second].into_iter().enumerate() {
                    let unit = 4 * chunk + unit;
                    match self.ty.bits() {
                        32 => to[chunk] = (unit / 2) as u8,
                        4 => (0..2).for_each(|e| to[2 * (2 * chunk + k) + e] = (2 * unit + e) as u8),
                        _ => to[2 * chunk + k] = unit as u8,
                    }
                }
            }
        }
        Ok(out)
    }

    /// Lanes whose metadata counts.
    pub fn lanes(self) -> u32 {
        let first = self.selector * self.threads();
        (0..32).filter(|l| (first..first + self.threads()).contains(&(l % 4))).fold(0, |m, l| m | 1 << l)
    }
}

/// `acc += A B` with `stored` elements in each row of A; `b` by depth.
#[inline(always)]
pub fn products(
    a: &[[f32; STORED]; 16],
    columns: &Columns,
    stored: usize,
    b: impl Fn(usize, usize) -> f32,
    truncate: bool,
    acc: &mut [[f32; 8]; 16],
) {
    for (row, out) in acc.iter_mut().enumerate() {
        for (column, c) in out.iter_mut().enumerate() {
            let term = |p: usize| (a[row][p], b(columns[row][p] as usize, column));
            if truncate {
                for group in (0..stored).step_by(8) {
                    let mut terms = [0.0; 8];
                    for (p, t) in (group..stored).zip(&mut terms) {
                        let (x, y) = term(p);
                        *t = f64::from(x) * f64::from(y);
                    }
                    *c = truncated_sum(&terms, *c);
                }
            } else {
                for p in 0..stored {
                    let (x, y) = term(p);
                    *c = x.mul_add(y, *c);
                }
            }
        }
    }
}
