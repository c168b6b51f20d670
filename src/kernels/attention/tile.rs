//! The products that attention is made of, on register tiles of a few rows × two registers.
//!
//! A panel holds two registers' worth of queries (or of head-dim columns) as columns. Scores are computed transposed,
//! keys × queries: the softmax then runs along rows, lane by lane, without a horizontal step, and its result is
//! already the right-hand side of the next product.

use crate::device::cpu::{Simd, Vector, WithSimd, dispatch};

/// Registers per panel row.
const NV: usize = 2;

/// The tile of this processor: with AVX-512, 8 rows × 2 registers in 16 of 32; with AVX2, 4 × 2 in 8 of 16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// Rows.
    pub mr: usize,
    /// Columns: 32 f32 with AVX-512.
    pub nr: usize,
}

#[inline(always)]
fn rows<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 8 } else { 4 }
}

impl Tile {
    pub(super) fn of<A: Vector>() -> Self {
        struct Ask<A>(std::marker::PhantomData<A>);
        impl<A: Vector> WithSimd for Ask<A> {
            type Number = A;
            type Output = Tile;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Tile {
                Tile { mr: rows::<S>(), nr: NV * A::lanes::<S>() }
            }
        }
        dispatch(Ask::<A>(std::marker::PhantomData))
    }
}

/// c (=, or += where `accumulate`) a · b: row group g of c is `mr` rows of `nr`; a holds for each group, `stride`
/// elements apart, `mr` numbers per k; b `nr` per k.
pub(super) struct PanelProduct<'a, A> {
    pub a: &'a [A],
    pub stride: usize,
    pub k: usize,
    pub b: &'a [A],
    pub c: &'a mut [A],
    pub accumulate: bool,
}

impl<A: Vector> PanelProduct<'_, A> {
    pub(super) fn run(self) {
        dispatch(self);
    }

    #[inline(always)]
    fn tiles<S: Simd, const MR: usize>(self, simd: S) {
        let lanes = A::lanes::<S>();
        let nr = NV * lanes;
        for (g, c) in self.c.chunks_exact_mut(MR * nr).enumerate() {
            let a = &self.a[g * self.stride..][..self.k * MR];
            let mut acc = [[A::splat(simd, A::ZERO); NV]; MR];
            if self.accumulate {
                for r in 0..MR {
                    for v in 0..NV {
                        acc[r][v] = A::load(simd, &c[r * nr + v * lanes..]);
                    }
                }
            }
            for (a, b) in a.as_chunks::<MR>().0.iter().zip(self.b.chunks_exact(nr)) {
                let b = [A::load(simd, b), A::load(simd, &b[lanes..])];
                for r in 0..MR {
                    let x = A::splat(simd, a[r]);
                    for v in 0..NV {
                        acc[r][v] = A::fma(simd, x, b[v], acc[r][v]);
                    }
                }
            }
            for r in 0..MR {
                for v in 0..NV {
                    A::store(simd, acc[r][v], &mut c[r * nr + v * lanes..]);
                }
            }
        }
    }
}

impl<A: Vector> WithSimd for PanelProduct<'_, A> {
    type Number = A;
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if rows::<S>() == 8 { self.tiles::<S, 8>(simd) } else { self.tiles::<S, 4>(simd) }
    }
}

/// c += a · b for a of rows × `nr`, b of `nr` × `nr`, c of rows × `nr`: what a panel of queries adds to the gradients
/// of keys and values. Rows are a multiple of `mr`.
pub(super) struct RowProduct<'a, A> {
    pub a: &'a [A],
    pub b: &'a [A],
    pub c: &'a mut [A],
}

impl<A: Vector> RowProduct<'_, A> {
    pub(super) fn run(self) {
        dispatch(self);
    }

    #[inline(always)]
    fn tiles<S: Simd, const MR: usize>(self, simd: S) {
        let lanes = A::lanes::<S>();
        let nr = NV * lanes;
        let b = &self.b[..nr * nr];
        for (a, c) in self.a.chunks_exact(MR * nr).zip(self.c.chunks_exact_mut(MR * nr)) {
            let mut acc = [[A::splat(simd, A::ZERO); NV]; MR];
            for r in 0..MR {
                for v in 0..NV {
                    acc[r][v] = A::load(simd, &c[r * nr + v * lanes..]);
                }
            }
            for k in 0..nr {
                let b = [A::load(simd, &b[k * nr..]), A::load(simd, &b[k * nr + lanes..])];
                for r in 0..MR {
                    let x = A::splat(simd, a[r * nr + k]);
                    for v in 0..NV {
                        acc[r][v] = A::fma(simd, x, b[v], acc[r][v]);
                    }
                }
            }
            for r in 0..MR {
                for v in 0..NV {
                    A::store(simd, acc[r][v], &mut c[r * nr + v * lanes..]);
                }
            }
        }
    }
}

impl<A: Vector> WithSimd for RowProduct<'_, A> {
    type Number = A;
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if rows::<S>() == 8 { self.tiles::<S, 8>(simd) } else { self.tiles::<S, 4>(simd) }
    }
}

/// Groups of `mr` rows with the rows innermost, `[group][column][row]`; missing rows are zero.
pub(super) fn pack_rows<A: Vector>(from: &[A], columns: usize, mr: usize, to: &mut [A]) {
    if columns == 0 {
        return;
    }
    let rows = from.len() / columns;
    for (g, to) in to.chunks_exact_mut(mr * columns).enumerate() {
        let present = rows.saturating_sub(g * mr).min(mr);
        if present < mr {
            to.fill(A::ZERO);
        }
        for r in 0..present {
            let row = &from[(g * mr + r) * columns..][..columns];
            to[r..].iter_mut().step_by(mr).zip(row).for_each(|(t, &f)| *t = f);
        }
    }
}

/// Groups of `width` columns, `[group][row][column]`; missing columns are zero.
pub(super) fn pack_columns<A: Vector>(from: &[A], columns: usize, width: usize, to: &mut [A]) {
    if columns == 0 || from.is_empty() {
        return;
    }
    let rows = from.len() / columns;
    for (g, to) in to.chunks_exact_mut(rows * width).enumerate() {
        let (first, present) = (g * width, width.min(columns - g * width));
        for (to, row) in to.chunks_exact_mut(width).zip(from.chunks_exact(columns)) {
            to[..present].copy_from_slice(&row[first..first + present]);
            to[present..].fill(A::ZERO);
        }
    }
}
