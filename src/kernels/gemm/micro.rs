//! The register tile: a few rows of A times a few registers of B's columns, accumulated over the whole of K.
//!
//! On AVX-512 (32 registers of 16 floats) 8 rows × 3 registers take 24 accumulators, 3 registers of B and one broadcast;
//! on AVX2 (16 of 8) 4 rows × 3. Measured on Zen 4: 117 of 118 GFLOP/s a core with both operands in the caches; 12 × 2
//! and 14 × 2 are no better, and 8 rows divide the channel counts of convolutions.

use crate::device::cpu::{Simd, Vector, WithSimd, dispatch};

/// Registers of columns in a full tile.
pub const NV: usize = 3;
/// The most numbers that a tile of one row spans: three AVX-512 registers of f32.
pub const MAX_NR: usize = 48;
/// The most rows of a tile.
pub const MAX_MR: usize = 8;

/// Rows of a full tile on an instruction set.
#[inline(always)]
pub fn full_rows<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 8 } else { 4 }
}

/// Rows of the packed panel that holds `rows` (1 to the full count): the tile is compiled for 1, 2, 4 and 8.
#[inline(always)]
pub fn panel_rows(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// The tile of this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape {
    /// Rows.
    pub mr: usize,
    /// Numbers per register.
    pub lanes: usize,
}

impl TileShape {
    /// The tile for a number type.
    pub fn of<A: Vector>() -> Self {
        struct Ask<A>(std::marker::PhantomData<A>);
        impl<A: Vector> WithSimd for Ask<A> {
            type Number = A;
            type Output = TileShape;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> TileShape {
                TileShape { mr: full_rows::<S>(), lanes: A::lanes::<S>() }
            }
        }
        dispatch(Ask::<A>(std::marker::PhantomData))
    }

    /// Columns.
    pub fn nr(&self) -> usize {
        NV * self.lanes
    }
}

/// One row of B under a tile.
pub trait Columns<A: Vector> {
    /// Register `v` of the row.
    fn register<S: Simd>(&self, simd: S, v: usize) -> A::Register<S>;
}

impl<A: Vector> Columns<A> for &[A] {
    #[inline(always)]
    fn register<S: Simd>(&self, simd: S, v: usize) -> A::Register<S> {
        A::load(simd, &self[v * A::lanes::<S>()..])
    }
}

/// One column of A beside a tile.
pub trait Rows<A> {
    /// Element `r` of the column.
    fn element(&self, r: usize) -> A;
}

impl<A: Vector> Rows<A> for &[A] {
    #[inline(always)]
    fn element(&self, r: usize) -> A {
        self[r]
    }
}

/// A column of a matrix that lies in memory as it is, `row` numbers from one of its elements to the next.
#[derive(Clone, Copy)]
pub struct Strided<'a, A> {
    /// From the first element on.
    pub from: &'a [A],
    /// From one row to the next.
    pub row: usize,
}

impl<A: Copy> Rows<A> for Strided<'_, A> {
    #[inline(always)]
    fn element(&self, r: usize) -> A {
        self.from[r * self.row]
    }
}

/// Σ over k of `a(k)[r] · b(k)[..]` for `MR` rows and `V` registers.
#[inline(always)]
pub fn tile<A: Vector, S: Simd, const MR: usize, const V: usize>(
    simd: S,
    a: impl Iterator<Item = impl Rows<A>>,
    b: impl Iterator<Item = impl Columns<A>>,
    out: &mut [A; MAX_MR * MAX_NR],
) {
    let lanes = A::lanes::<S>();
    let mut acc = [[A::splat(simd, A::ZERO); V]; MR];
    for (a, b) in a.zip(b) {
        let mut column = [A::splat(simd, A::ZERO); V];
        for v in 0..V {
            column[v] = b.register(simd, v);
        }
        for r in 0..MR {
            let row = A::splat(simd, a.element(r));
            for v in 0..V {
                acc[r][v] = A::fma(simd, row, column[v], acc[r][v]);
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        for (v, &acc) in acc.iter().enumerate() {
            A::store(simd, acc, &mut out[(r * V + v) * lanes..]);
        }
    }
}

/// [`tile`] of a packed panel of A (`mr` numbers per k) for run-time counts: `mr` one of 1, 2, 4, 8 (what [`panel_rows`]
/// gives), `v` from 1 to 3. Row `r` of the result starts at `r · v · lanes` of `out`.
#[inline(always)]
pub fn any_tile<A: Vector, S: Simd>(
    simd: S,
    (mr, v): (usize, usize),
    a: &[A],
    b: impl Iterator<Item = impl Columns<A>>,
    out: &mut [A; MAX_MR * MAX_NR],
) {
    // A constant condition, so that tiles too tall for the registers are not even compiled.
    if const { S::REGISTERS >= 32 } {
        match (mr, v) {
            (8, 3) => return tile::<A, S, 8, 3>(simd, a.chunks_exact(8), b, out),
            (8, 2) => return tile::<A, S, 8, 2>(simd, a.chunks_exact(8), b, out),
            (8, 1) => return tile::<A, S, 8, 1>(simd, a.chunks_exact(8), b, out),
            _ => {}
        }
    }
    match (mr, v) {
        (4, 3) => tile::<A, S, 4, 3>(simd, a.chunks_exact(4), b, out),
        (4, 2) => tile::<A, S, 4, 2>(simd, a.chunks_exact(4), b, out),
        (4, 1) => tile::<A, S, 4, 1>(simd, a.chunks_exact(4), b, out),
        (2, 3) => tile::<A, S, 2, 3>(simd, a.chunks_exact(2), b, out),
        (2, 2) => tile::<A, S, 2, 2>(simd, a.chunks_exact(2), b, out),
        (2, 1) => tile::<A, S, 2, 1>(simd, a.chunks_exact(2), b, out),
        (1, 3) => tile::<A, S, 1, 3>(simd, a.chunks_exact(1), b, out),
        (1, 2) => tile::<A, S, 1, 2>(simd, a.chunks_exact(1), b, out),
        (1, 1) => tile::<A, S, 1, 1>(simd, a.chunks_exact(1), b, out),
        _ => unreachable!("no register tile of {mr} rows by {v} registers"),
    }
}

/// [`tile`] of a full number of rows ([`full_rows`]) of an A that is not packed, for `v` from 1 to 3 registers.
#[inline(always)]
pub fn full_tile<A: Vector, S: Simd>(
    simd: S,
    v: usize,
    a: impl Iterator<Item = impl Rows<A>>,
    b: impl Iterator<Item = impl Columns<A>>,
    out: &mut [A; MAX_MR * MAX_NR],
) {
    if const { S::REGISTERS >= 32 } {
        match v {
            3 => tile::<A, S, 8, 3>(simd, a, b, out),
            2 => tile::<A, S, 8, 2>(simd, a, b, out),
            1 => tile::<A, S, 8, 1>(simd, a, b, out),
            _ => unreachable!("no register tile of {v} registers"),
        }
    } else {
        match v {
            3 => tile::<A, S, 4, 3>(simd, a, b, out),
            2 => tile::<A, S, 4, 2>(simd, a, b, out),
            1 => tile::<A, S, 4, 1>(simd, a, b, out),
            _ => unreachable!("no register tile of {v} registers"),
        }
    }
}
