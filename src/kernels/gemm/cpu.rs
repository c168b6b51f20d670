//! Packs blocks of K and multiplies them tile by tile; the epilogue is applied to each register tile as it is stored.

use super::micro::{MAX_MR, MAX_NR, Strided, TileShape, any_tile, full_tile, panel_rows};
use super::pack::{Matrix, pack_a, pack_b, packed_a_len, packed_b_len};
use super::plan::{GemmPlan, Schedule, plan};
use super::{Activation, Epilogue, GemmDesc, Precision};
use crate::device::cpu::{
    Float, Real, Simd, TileAt, TileMut, Vector, WithSimd, dispatch, for_each_part, for_each_tile, load_strided,
    vectorize,
};
use crate::device::{Buffer, View};
use crate::kernels::elementwise::{Gelu, Map};
use crate::{Device, Layout, Result, Shape};
use std::sync::OnceLock;

/// What happens to a product on its way to the output.
pub(crate) struct Finish<'a, T: Float> {
    alpha: T::Acc,
    beta: T::Acc,
    bias: Option<Vec<T::Acc>>,
    residual: Option<(&'a [T], Layout)>,
    activation: Activation,
}

impl<T: Float> Finish<'_, T> {
    /// The plain product, added to the output if `accumulate`.
    pub(crate) fn plain(accumulate: bool) -> Self {
        let beta = if accumulate { T::Acc::ONE } else { T::Acc::ZERO };
        Finish { alpha: T::Acc::ONE, beta, bias: None, residual: None, activation: Activation::None }
    }
}

pub(super) fn gemm<T: Float<Acc: Vector>>(
    desc: &GemmDesc,
    a: View<'_>,
    b: View<'_>,
    epilogue: Epilogue<'_>,
    before: Option<&mut [T]>,
    out: &mut [T],
) -> Result<()> {
    let &GemmDesc { batch, m, n, k, .. } = desc;
    if out.is_empty() {
        return Ok(());
    }
    let bias = epilogue.bias.map(|bias| -> Result<_> {
        let mut wide = vec![T::Acc::ZERO; n];
        load_strided(bias.buffer().as_slice::<T>()?, bias.layout(), 0, &mut wide);
        Ok(wide)
    });
    let residual = epilogue.residual.map(|r| r.buffer().as_slice::<T>().map(|all| (all, *r.layout())));
    let finish = Finish {
        alpha: T::Acc::of(desc.alpha),
        beta: T::Acc::of(desc.beta),
        bias: bias.transpose()?,
        residual: residual.transpose()?,
        activation: desc.activation,
    };
    let (a_all, b_all) = (a.buffer().as_slice::<T>()?, b.buffer().as_slice::<T>()?);
    let (a_at, b_at) = (matrix_starts(&a)?, matrix_starts(&b)?);
    let ((a_row, a_col), (b_row, b_col)) = (last_strides(&a), last_strides(&b));
    let operands = |i: usize| {
        let a = Matrix { all: a_all, at: a_at[i], row: a_row, col: a_col };
        (a, Matrix { all: b_all, at: b_at[i], row: b_row, col: b_col })
    };
    let plan = plan(desc, TileShape::of::<T::Acc>());
    let run = if let Schedule::Batch(run) = plan.schedule { run } else { batch };
    let failed = OnceLock::new();
    let parallel = plan.schedule == Schedule::Tiles;
    let task = |at: TileAt, mut out: TileMut<'_, T>, mut before: Option<TileMut<'_, T>>| {
        for i in 0..at.rows {
            let (a, b) = operands(at.row + i);
            let before = before.as_mut().map(|b| b.row(i));
            let result = product(&plan, parallel, (a, b), [m, n, k], (&finish, at.row + i), before, out.row(i));
            if let Err(error) = result {
                let _ = failed.set(error);
            }
        }
    };
    each_tile(out, before, [1, batch, m * n], [run, m * n], batch > run, &task);
    failed.into_inner().map_or(Ok(()), Err)
}

/// [`for_each_tile`] over an output and perhaps a second one.
fn each_tile<T: Send>(
    out: &mut [T],
    before: Option<&mut [T]>,
    shape: [usize; 3],
    tile: [usize; 2],
    parallel: bool,
    f: &(impl Fn(TileAt, TileMut<'_, T>, Option<TileMut<'_, T>>) + Sync),
) {
    match before {
        Some(before) => for_each_tile([out, before], shape, tile, parallel, |at, [o, b]| f(at, o, Some(b))),
        None => for_each_tile([out], shape, tile, parallel, |at, [o]| f(at, o, None)),
    }
}

/// The storage index of each matrix of a batched view.
fn matrix_starts(view: &View<'_>) -> Result<Vec<usize>> {
    let outer = view.dims().len() - 2;
    let layout = view.layout();
    let outer = Layout::new(Shape::new(&layout.dims()[..outer])?, &layout.strides()[..outer], layout.offset())?;
    let mut starts = Vec::with_capacity(outer.numel());
    outer.for_each_index(|i| starts.push(i));
    Ok(starts)
}

fn last_strides(view: &View<'_>) -> (usize, usize) {
    let strides = view.layout().strides();
    (strides[strides.len() - 2], strides[strides.len() - 1])
}

/// A scratch buffer of `len` numbers from the free list.
pub(crate) fn scratch<A: Vector>(len: usize) -> Result<Buffer> {
    Buffer::uninit(&Device::Cpu, A::DTYPE, len)
}

/// One product on its own: `out` (m × n, row-major) becomes A·B, or is added to it.
pub(crate) fn multiply<T: Float<Acc: Vector>>(
    parallel: bool,
    (a, b): (Matrix<'_, T>, Matrix<'_, T>),
    [m, n, k]: [usize; 3],
    accumulate: bool,
    out: &mut [T::Acc],
) -> Result<()>
where
    T::Acc: Float<Acc = T::Acc>,
{
    let desc =
        GemmDesc { batch: 1, m, n, k, alpha: 1.0, beta: 0.0, activation: Activation::None, precision: Precision::Ieee };
    let plan = plan(&desc, TileShape::of::<T::Acc>());
    let parallel = parallel && plan.schedule == Schedule::Tiles;
    blocks(&plan, parallel, (a, b), [m, n, k], (&Finish::plain(accumulate), 0), None, out)
}

/// One product; f16 and bf16 whose K takes several blocks accumulate in an f32 scratch.
fn product<T: Float<Acc: Vector>>(
    plan: &GemmPlan,
    parallel: bool,
    operands: (Matrix<'_, T>, Matrix<'_, T>),
    [m, n, k]: [usize; 3],
    (finish, item): (&Finish<'_, T>, usize),
    mut before: Option<&mut [T]>,
    out: &mut [T],
) -> Result<()> {
    if k <= plan.kc || T::as_acc(&out[..0]).is_some() {
        return blocks(plan, parallel, operands, [m, n, k], (finish, item), before, out);
    }
    let mut sums = scratch::<T::Acc>(m * n)?;
    let sums = sums.as_mut_slice::<T::Acc>()?;
    blocks(plan, parallel, operands, [m, n, k], (&Finish::plain(false), item), None, sums)?;
    let sums = &*sums;
    let rows = (crate::device::cpu::GRAIN / n).max(1);
    let task = |at: TileAt, mut out: TileMut<'_, T>, mut before: Option<TileMut<'_, T>>| {
        let mut run = [T::Acc::ZERO; MAX_NR];
        for i in 0..at.rows {
            for col in (0..n).step_by(MAX_NR) {
                let width = MAX_NR.min(n - col);
                let run = &mut run[..width];
                run.copy_from_slice(&sums[(at.row + i) * n + col..][..width]);
                let out = &mut out.row(i)[col..col + width];
                let before = before.as_mut().map(|b| &mut b.row(i)[col..col + width]);
                let place = Place { start: (item * m + at.row + i) * n + col, col, first: true, last: true };
                store(finish, place, run, before, out);
            }
        }
    };
    each_tile(out, before.take(), [1, m, n], [rows, n], parallel, &task);
    Ok(())
}

/// The blocks of K, each added to `out`, which holds the accumulator type unless there is only one.
fn blocks<T: Float<Acc: Vector>, O: Float<Acc = T::Acc>>(
    plan: &GemmPlan,
    parallel: bool,
    (a, b): (Matrix<'_, T>, Matrix<'_, T>),
    [m, n, k]: [usize; 3],
    (finish, item): (&Finish<'_, T>, usize),
    mut before: Option<&mut [O]>,
    out: &mut [O],
) -> Result<()> {
    let shape = plan.tile;
    let kc = plan.kc;
    // Rows of A that register tiles read where they lie. Rows a multiple of 4 KB apart share their sets of the L1 cache,
    // which then has no room for B beside them.
    let apart = !(a.row * size_of::<T>()).is_multiple_of(4096);
    let in_place = T::as_acc(a.all).filter(|_| plan.a_in_place && a.col == 1 && apart);
    let packed_from = if in_place.is_some() { m - m % shape.mr } else { 0 };
    let rest = m - packed_from;
    let (a_len, b_len) = (packed_a_len(shape, rest, kc), packed_b_len(shape, n, kc));
    let mut packed = scratch::<T::Acc>(a_len + b_len)?;
    let (packed_a, packed_b) = packed.as_mut_slice::<T::Acc>()?.split_at_mut(a_len);
    for from in (0..k.max(1)).step_by(kc) {
        let kb = kc.min(k - from);
        let (first, last) = (from == 0, from + kb >= k);
        let (packed_a, packed_b) =
            (&mut packed_a[..packed_a_len(shape, rest, kb)], &mut packed_b[..packed_b_len(shape, n, kb)]);
        let (a, b) = (a.from(0, from), b.from(from, 0));
        let tail = a.from(packed_from, 0);
        if parallel && kb > 0 {
            // About 16,000 numbers a task, in whole panels.
            let (rows, cols) = ((16_384 / kb).next_multiple_of(shape.mr), (16_384 / kb).next_multiple_of(shape.nr()));
            let (rows, cols) = (rows.max(shape.mr), cols.max(shape.nr()));
            // One round for both operands: a barrier less.
            let panels_b = packed_b.chunks_mut(cols * kb).enumerate().map(|(i, to)| (false, i, to));
            let panels_a = packed_a.chunks_mut(rows * kb).enumerate().map(|(i, to)| (true, i, to));
            for_each_part(panels_b.chain(panels_a).collect(), |_, (of_a, i, to)| {
                if of_a {
                    pack_a(tail.from(i * rows, 0), rows.min(rest - i * rows), kb, shape, to);
                } else {
                    pack_b(b.from(0, i * cols), cols.min(n - i * cols), kb, shape, to);
                }
            });
        } else {
            pack_a(tail, rest, kb, shape, packed_a);
            pack_b(b, n, kb, shape, packed_b);
        }
        let (packed_a, packed_b) = (&*packed_a, &*packed_b);
        let in_place = in_place.map(|all| Strided { from: all.get(a.at..).unwrap_or(&[]), row: a.row });
        let task = |at: TileAt, mut out: TileMut<'_, O>, mut before: Option<TileMut<'_, O>>| {
            let mut store = |row: usize, col: usize, run: &mut [T::Acc]| {
                let start = (item * m + at.row + row) * n + at.col + col;
                let place = Place { start, col: at.col + col, first, last };
                let before = before.as_mut().map(|b| &mut b.row(row)[col..col + run.len()]);
                store(finish, place, run, before, &mut out.row(row)[col..][..run.len()]);
            };
            dispatch(Block { in_place, packed_from, a: packed_a, b: packed_b, kb, at, store: &mut store });
        };
        each_tile(out, before.as_deref_mut(), [1, m, n], [plan.mc, plan.nc], parallel, &task);
    }
    Ok(())
}

/// One task: a block of the output for one block of K. Generic over the accumulator alone, so that register tiles are
/// compiled once for it and not per dtype.
struct Block<'a, A> {
    /// The first column of an A that is not packed.
    in_place: Option<Strided<'a, A>>,
    /// The row of A from which on it is packed.
    packed_from: usize,
    a: &'a [A],
    b: &'a [A],
    kb: usize,
    at: TileAt,
    /// Takes runs of rows: the first row and column inside the block, and the products.
    store: &'a mut dyn FnMut(usize, usize, &mut [A]),
}

impl<A: Vector> WithSimd for Block<'_, A> {
    type Number = A;
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Block { in_place, packed_from, a, b, kb, at, store } = self;
        let (mr, lanes) = (super::micro::full_rows::<S>(), A::lanes::<S>());
        let nr = super::micro::NV * lanes;
        let mut tile = [A::ZERO; MAX_MR * MAX_NR];
        for row in (0..at.rows).step_by(mr) {
            let rows = mr.min(at.rows - row);
            let height = panel_rows(rows);
            let lines = in_place.filter(|_| at.row + row < packed_from);
            let panel_a = match lines {
                Some(_) => &[],
                None => &a[(at.row + row - packed_from) * kb..][..height * kb],
            };
            for col in (0..at.cols).step_by(nr) {
                let cols = nr.min(at.cols - col);
                let registers = cols.div_ceil(lanes);
                let stride = registers * lanes;
                let panel_b = &b[(at.col + col) * kb..][..stride * kb];
                let columns = panel_b.chunks_exact(stride);
                if let Some(lines) = lines {
                    let from = &lines.from[(at.row + row) * lines.row..];
                    let column = |k: usize| Strided { from: &from[k..], ..lines };
                    full_tile::<A, S>(simd, registers, (0..kb).map(column), columns, &mut tile);
                } else {
                    any_tile::<A, S>(simd, (height, registers), panel_a, columns, &mut tile);
                }
                for r in 0..rows {
                    store(row + r, col, &mut tile[r * stride..][..cols]);
                }
            }
        }
    }
}

/// Where a run of a row goes.
#[derive(Clone, Copy)]
struct Place {
    /// Its first element's index in the whole output, row-major.
    start: usize,
    /// Its first column.
    col: usize,
    /// Whether it comes from the first block of K.
    first: bool,
    /// Whether it comes from the last.
    last: bool,
}

/// Stores a run of a row (at most [`MAX_NR`]) of the product, with what the epilogue makes of it.
fn store<T: Float, O: Float<Acc = T::Acc>>(
    finish: &Finish<'_, T>,
    place: Place,
    run: &mut [T::Acc],
    before: Option<&mut [O]>,
    out: &mut [O],
) {
    let n = out.len();
    let mut other = [T::Acc::ZERO; MAX_NR];
    if finish.alpha != T::Acc::ONE {
        run.iter_mut().for_each(|x| *x *= finish.alpha);
    }
    let beta = if place.first { finish.beta } else { T::Acc::ONE };
    if beta != T::Acc::ZERO {
        O::widen(out, &mut other[..n]);
        run.iter_mut().zip(&other).for_each(|(x, &o)| *x += beta * o);
    }
    if place.last {
        if let Some(bias) = &finish.bias {
            run.iter_mut().zip(&bias[place.col..]).for_each(|(x, &b)| *x += b);
        }
        if let Some((all, layout)) = &finish.residual {
            load_strided(all, layout, place.start, &mut other[..n]);
            run.iter_mut().zip(&other).for_each(|(x, &o)| *x += o);
        }
        if let Some(before) = before {
            O::narrow(run, before);
        }
        activate(finish.activation, run);
    }
    O::narrow(run, out);
}

fn activate<A: Real>(activation: Activation, run: &mut [A]) {
    match activation {
        Activation::None => {}
        Activation::Relu => run.iter_mut().for_each(|x| *x = x.maximum(A::ZERO)),
        Activation::Gelu => vectorize(
            #[inline(always)]
            || run.iter_mut().for_each(|x| *x = Gelu.eval([*x])),
        ),
    }
}
