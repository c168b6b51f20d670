//! Reading and writing by index: gather, scatter-add, rows by number, regions of a tensor, triangles, one-hot rows.
//!
//! Every write is deterministic and needs no atomics: where several sources meet in one place they are added in the order
//! of the sources (on CUDA devices in stretches, whose sums are added in order). Indices are i64, u32 or u8; one out of range
//! is an error naming it, on CUDA devices an error of the next call that waits for the device.

mod cpu;
mod cuda;
mod rows;

use crate::device::{Buffer, Memory, View};
use crate::kernels::elementwise;
use crate::kernels::mixed_devices;
use crate::kernels::reduce::{Operand, Scratch};
use crate::{DType, Error, Layout, Result, Shape, with_dtype};

/// Checked indices in row-major order.
enum Indices<'a> {
    InPlace(&'a [i64]),
    Copied(Scratch<i64>),
}

impl Indices<'_> {
    fn get(&self) -> &[i64] {
        match self {
            Indices::InPlace(indices) => indices,
            Indices::Copied(scratch) => scratch.get(),
        }
    }
}

/// Reads indices of any integer dtype and layout and checks each against `bound`.
fn indices<'a>(op: &'static str, input: View<'a>, bound: usize) -> Result<Indices<'a>> {
    fn copied<T: Operand<Acc = i64>>(input: View<'_>) -> Result<Indices<'static>> {
        let all = input.buffer().as_slice::<T>()?;
        let mut out = Scratch::<i64>::new(input.layout().numel())?;
        let mut next = out.get_mut().iter_mut();
        input.layout().for_each_index(|i| {
            if let Some(o) = next.next() {
                *o = all[i].to_acc();
            }
        });
        Ok(Indices::Copied(out))
    }
    let found = match input.dtype() {
        DType::I64 => match input.contiguous::<i64>()? {
            Some(indices) => Indices::InPlace(indices),
            None => copied::<i64>(input)?,
        },
        DType::U32 => copied::<u32>(input)?,
        DType::U8 => copied::<u8>(input)?,
        dtype => return Err(Error::dtype(op, "indices of i64, u32 or u8", &[dtype])),
    };
    match found.get().iter().find(|&&i| i < 0 || i as u64 >= bound as u64) {
        Some(&index) => Err(Error::OutOfRange { op, what: "index", index, bound }),
        None => Ok(found),
    }
}

/// Whether everything is on the CPU; false if it is on CUDA devices.
fn on_host(op: &'static str, inputs: &[View<'_>], out: &Buffer) -> Result<bool> {
    let cpu = |m: &Memory| matches!(m, Memory::Cpu(_));
    match inputs.iter().filter(|v| cpu(v.buffer().memory())).count() {
        n if n == inputs.len() && cpu(out.memory()) => Ok(true),
        0 if !cpu(out.memory()) => Ok(false),
        _ => Err(mixed_devices(op)),
    }
}

fn same_dtype(op: &'static str, a: DType, b: DType) -> Result<()> {
    if a == b { Ok(()) } else { Err(Error::dtype(op, "values of one dtype", &[a, b])) }
}

/// `out[i…] = input[… index[i…] …]` with the index in place of coordinate `axis`. `index` has the input's rank and on the
/// other axes at most its extents; `out` is contiguous, of the index's shape.
pub fn gather(axis: usize, input: View<'_>, index: View<'_>, out: &mut Buffer) -> Result<()> {
    let op = "gather";
    same_dtype(op, input.dtype(), out.dtype())?;
    let lanes = lanes(op, axis, input.layout(), index.layout().shape(), out.len())?;
    let step = input.layout().strides()[axis];
    if !on_host(op, &[input, index], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        let (places, bound) = (*index.layout(), input.dims()[axis]);
        return cuda::Gather { op, input, index, lanes, places, step, bound }.run(out);
    }
    let index = indices(op, index, input.dims()[axis])?;
    with_dtype!(input.dtype(), T => {
        cpu::gather(input.buffer().as_slice::<T>()?, &lanes, step, index.get(), out.as_mut_slice::<T>()?);
    });
    Ok(())
}

/// Adds each element of `source` to `out` (contiguous, of `shape`) with its index in place of coordinate `axis`, in
/// the order of the sources. `index` and `source` have one shape, bounded as in [`gather`].
pub fn scatter_add(axis: usize, index: View<'_>, source: View<'_>, out: &mut Buffer, shape: &Shape) -> Result<()> {
    let op = "scatter_add";
    same_dtype(op, source.dtype(), out.dtype())?;
    let lanes = lanes(op, axis, &Layout::contiguous(*shape), index.layout().shape(), source.layout().numel())?;
    if source.layout().shape() != index.layout().shape() || out.len() != shape.numel() {
        let shapes = [*index.layout().shape(), *source.layout().shape(), *shape];
        return Err(Error::shape(op, "an index of the source's shape, and the destination's shape", &shapes));
    }
    if !on_host(op, &[index, source], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        let (places, step) = (*index.layout(), Layout::contiguous(*shape).strides()[axis]);
        let (destinations, bound, distinct) = (shape.numel(), shape[axis], index.dims()[axis] == 1);
        let add = cuda::Add { op, index, lanes, places, step, bound, destinations, columns: 1, distinct };
        return add.run(elementwise::contiguous(source)?.view(), out);
    }
    let index = indices(op, index, shape[axis])?;
    with_dtype!(source.dtype(), T => cpu::scatter_add(axis, shape, &lanes, index.get(), source, out.as_mut_slice::<T>()?))
}

/// The layout of `like` with the index's extents, standing still along `axis`: where each index's lane begins.
fn lanes(op: &'static str, axis: usize, like: &Layout, index: &Shape, outputs: usize) -> Result<Layout> {
    let fits = axis < like.dims().len()
        && index.rank() == like.dims().len()
        && index.dims().iter().zip(like.dims()).enumerate().all(|(i, (n, d))| i == axis || n <= d)
        && outputs == index.numel();
    if !fits {
        let expected = format!("an index of the same rank, no larger on any axis but axis {axis}");
        return Err(Error::shape(op, expected, &[*like.shape(), *index]));
    }
    let mut strides = like.strides().to_vec();
    strides[axis] = 0;
    Layout::new(*index, &strides, like.offset())
}

/// Rows by number: the input, contiguous, is seen as (outer, rows, inner) about `axis`; `out` is (outer, n, inner) with
/// the n rows that the 1-d `index` names.
pub fn select_rows(axis: usize, input: View<'_>, index: View<'_>, out: &mut Buffer) -> Result<()> {
    let op = "index_select";
    same_dtype(op, input.dtype(), out.dtype())?;
    let around = Around::new(op, axis, input.layout())?;
    let n = index.layout().numel();
    if !input.layout().is_contiguous() || out.len() != around.outer * n * around.inner {
        let expected = format!("a contiguous input and {} outputs", around.outer * n * around.inner);
        return Err(Error::shape(op, expected, &[*input.layout().shape()]));
    }
    if !on_host(op, &[input, index], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        let shape = Shape::new(&[around.outer, n, around.inner])?;
        let stride = index.layout().strides().first().copied().unwrap_or(0);
        let lanes = Layout::new(shape, &[around.rows * around.inner, 0, 1], input.layout().offset())?;
        let places = Layout::new(shape, &[0, stride, 0], index.layout().offset())?;
        let (step, bound) = (around.inner, around.rows);
        return cuda::Gather { op, input, index, lanes, places, step, bound }.run(out);
    }
    let index = indices(op, index, around.rows)?;
    with_dtype!(input.dtype(), T => {
        rows::select(&around, input.contiguous::<T>()?.unwrap_or_default(), index.get(), out.as_mut_slice::<T>()?);
    });
    Ok(())
}

/// Adds row i of `source`, contiguous (outer, n, inner), to row `index[i]` of `out`, (outer, rows, inner) about `axis` of
/// `shape`; in the order of the sources.
pub fn add_rows(axis: usize, index: View<'_>, source: View<'_>, out: &mut Buffer, shape: &Shape) -> Result<()> {
    let op = "index_add";
    same_dtype(op, source.dtype(), out.dtype())?;
    let around = Around::new(op, axis, &Layout::contiguous(*shape))?;
    let n = index.layout().numel();
    let expected = around.outer * n * around.inner;
    if !source.layout().is_contiguous() || source.layout().numel() != expected || out.len() != shape.numel() {
        let expected = format!("a contiguous source of {expected} elements");
        return Err(Error::shape(op, expected, &[*source.layout().shape(), *shape]));
    }
    if !on_host(op, &[index, source], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        let (lanes, places) = cuda::around(&around, &index, 1)?;
        let (bound, destinations, columns) = (around.rows, around.outer * around.rows, around.inner);
        let add = cuda::Add { op, index, lanes, places, step: 1, bound, destinations, columns, distinct: n == 1 };
        return add.run(source, out);
    }
    let index = indices(op, index, around.rows)?;
    with_dtype!(source.dtype(), T => {
        let source = source.contiguous::<T>()?.unwrap_or_default();
        rows::add(&around, index.get(), source, out.as_mut_slice::<T>()?)
    })
}

/// Sums rows with equal numbers: `rows` is contiguous, (n, inner) with `index` of n numbers below `bound`. Gives the
/// numbers that occur, ascending (i64), and for each the sum of its rows, added in order.
pub fn merge_rows(index: View<'_>, rows: View<'_>, inner: usize, bound: usize) -> Result<(Buffer, Buffer)> {
    let op = "merge_rows";
    let n = index.layout().numel();
    if !rows.layout().is_contiguous() || rows.layout().numel() != n * inner {
        let expected = format!("{n} contiguous rows of {inner} elements");
        return Err(Error::shape(op, expected, &[*rows.layout().shape()]));
    }
    if !on_host(op, &[index], rows.buffer())?
        && let Memory::Cuda(memory) = rows.buffer().memory()
    {
        return cuda::merge_rows(op, index, rows, inner, bound, memory.device());
    }
    let index = indices(op, index, bound)?;
    let segments = rows::Segments::new(index.get());
    let device = rows.buffer().device();
    let unique = Buffer::from_slice(&device, segments.unique())?;
    let mut out = Buffer::uninit(&device, rows.dtype(), segments.unique().len() * inner)?;
    with_dtype!(rows.dtype(), T => {
        rows::merge(&segments, inner, rows.contiguous::<T>()?.unwrap_or_default(), out.as_mut_slice::<T>()?);
    });
    Ok((unique, out))
}

/// An axis with what lies outside and inside of it.
struct Around {
    outer: usize,
    rows: usize,
    inner: usize,
}

impl Around {
    fn new(op: &'static str, axis: usize, layout: &Layout) -> Result<Self> {
        let dims = layout.dims();
        let Some(&rows) = dims.get(axis) else {
            return Err(Error::OutOfRange { op, what: "axis", index: axis as i64, bound: dims.len() });
        };
        Ok(Around { outer: dims[..axis].iter().product(), rows, inner: dims[axis + 1..].iter().product() })
    }
}

/// Writes `source` to the elements of `out` that `region` names: a slice of a contiguous layout of `out`, of the source's
/// shape.
pub fn write_region(region: &Layout, source: View<'_>, out: &mut Buffer) -> Result<()> {
    let op = "write_region";
    same_dtype(op, source.dtype(), out.dtype())?;
    // Each axis must step over all that lies inside it, so that threads can take its rows apart.
    let axes = region.dims().iter().zip(region.strides()).filter(|&(&d, _)| d > 1);
    let nested = axes.rev().try_fold(0, |reach, (&d, &s)| (s > reach).then(|| reach + (d - 1) * s)).is_some();
    if region.shape() != source.layout().shape() || region.span() > out.len() || !nested {
        let expected = format!("a source for region {region:?} of {} elements", out.len());
        return Err(Error::shape(op, expected, &[*source.layout().shape()]));
    }
    if !on_host(op, &[source], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        return elementwise::cuda::copy(source, region, out);
    }
    with_dtype!(source.dtype(), T => {
        cpu::write_region(region, source.buffer().as_slice::<T>()?, source.layout(), out.as_mut_slice::<T>()?);
    });
    Ok(())
}

/// Copies the lower or upper triangle of matrices (the last two axes of a contiguous input), with zeros elsewhere: column
/// − row ≤ `diagonal` (lower) or ≥ `diagonal` (upper).
pub fn triangle(upper: bool, diagonal: i64, input: View<'_>, out: &mut Buffer) -> Result<()> {
    let op = if upper { "triu" } else { "tril" };
    same_dtype(op, input.dtype(), out.dtype())?;
    let shape = *input.layout().shape();
    if shape.rank() < 2 || !input.layout().is_contiguous() || out.len() != shape.numel() {
        return Err(Error::shape(op, format!("contiguous matrices and {} outputs", out.len()), &[shape]));
    }
    let (rows, columns) = (shape[shape.rank() - 2], shape[shape.rank() - 1]);
    if !on_host(op, &[input], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        return cuda::triangle(op, upper, diagonal, [rows, columns], input, out);
    }
    with_dtype!(input.dtype(), T => {
        let x = input.contiguous::<T>()?.unwrap_or_default();
        cpu::triangle(upper, diagonal, [rows, columns], x, out.as_mut_slice::<T>()?);
    });
    Ok(())
}

/// For each index, a row of `n` zeros with a one at the index; `out` is i64.
pub fn one_hot(index: View<'_>, n: usize, out: &mut Buffer) -> Result<()> {
    let op = "one_hot";
    same_dtype(op, DType::I64, out.dtype())?;
    if index.layout().numel().checked_mul(n) != Some(out.len()) {
        return Err(Error::shape(op, format!("{} outputs for {n} classes", out.len()), &[*index.layout().shape()]));
    }
    if !on_host(op, &[index], out)?
        && let Memory::Cuda(out) = out.memory_mut()
    {
        return cuda::one_hot(op, index, n, out);
    }
    let index = indices(op, index, n)?;
    let out = out.as_mut_slice::<i64>()?;
    out.fill(0);
    out.chunks_mut(n.max(1)).zip(index.get()).for_each(|(row, &i)| row[i as usize] = 1);
    Ok(())
}

/// The coordinates of the elements that are not 0 (NaN is not), row-major, flattened. Waits for the device.
pub fn nonzero(input: View<'_>) -> Result<Vec<i64>> {
    let dims = input.dims();
    let mut out = vec![];
    with_dtype!(input.dtype(), T => {
        for (flat, x) in input.to_vec::<T>()?.into_iter().enumerate() {
            if x != T::default() {
                let (mut rest, from) = (flat, out.len());
                out.resize(from + dims.len(), 0);
                for (o, &d) in out[from..].iter_mut().zip(dims).rev() {
                    *o = (rest % d) as i64;
                    rest /= d;
                }
            }
        }
    });
    Ok(out)
}
