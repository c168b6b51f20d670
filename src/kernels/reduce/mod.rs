//! Reductions over any axes, extremes with their position along one axis, and scans.
//!
//! Every result is a function of shape, strides and values: parts and the tree that combines them never depend on
//! threads. Floats accumulate in f32 (f64 for f64), integers in i64 (wrapping).

mod cpu;
mod cuda;
mod extreme;
mod fold;
mod loops;
mod plan;
mod scan;

pub(crate) use fold::{Number, Operand, Scratch};

use crate::device::cpu::{GRAIN, Real, for_each_chunk};
use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Element, Error, Result, with_dtype, with_float};
pub(crate) use plan::Odometer;
use plan::Plan;

/// What is reduced: `reduced[i]` tells for axis `i` of the input whether it is reduced.
#[derive(Clone, Debug)]
pub struct ReduceDesc {
    /// One flag per axis of the input.
    pub reduced: Vec<bool>,
}

/// What a reduction computes of the n elements behind each output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduction {
    /// Σ x; i64 for integers.
    Sum,
    /// Σ x / n, floats only; NaN for n = 0.
    Mean,
    /// Π x; i64 for integers.
    Product,
    /// The largest; NaN if any is NaN. n = 0 is an error.
    Max,
    /// The smallest; NaN if any is NaN. n = 0 is an error.
    Min,
    /// Σ |x|, floats only.
    Norm1,
    /// √Σ x², floats only.
    Norm2,
    /// ln Σ eˣ, floats only; the largest element is taken out first, so nothing overflows.
    LogSumExp,
    /// Σ (x − mean)² / (n − correction), floats only, in two passes (never `E[x²] − E[x]²`).
    Var {
        /// 1 for the unbiased estimate (Bessel), 0 for the population's.
        correction: f64,
    },
    /// √ of [`Reduction::Var`].
    Std {
        /// As for the variance.
        correction: f64,
    },
    /// 1 if any element is not 0, else 0; u8. NaN counts as not 0.
    Any,
    /// 1 if no element is 0, else 0; u8.
    All,
}

impl Reduction {
    /// The name in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Product => "prod",
            Reduction::Max => "max",
            Reduction::Min => "min",
            Reduction::Norm1 => "norm1",
            Reduction::Norm2 => "norm2",
            Reduction::LogSumExp => "logsumexp",
            Reduction::Var { .. } => "var",
            Reduction::Std { .. } => "std",
            Reduction::Any => "any",
            Reduction::All => "all",
        }
    }

    /// The dtype of the result for inputs of `dtype`; an error where the reduction takes floats only.
    pub fn output(self, dtype: DType) -> Result<DType> {
        use Reduction::*;
        match self {
            Any | All => Ok(DType::U8),
            Max | Min => Ok(dtype),
            Sum | Product if !dtype.is_float() => Ok(DType::I64),
            _ if dtype.is_float() => Ok(dtype),
            _ => Err(Error::dtype(self.name(), "a float dtype (convert with to_dtype)", &[dtype])),
        }
    }
}

/// Reduces the input over the reduced axes into `out`: contiguous over the kept axes, of the dtype that
/// [`Reduction::output`] tells, or f32 for f16 and bf16 (unrounded).
pub fn reduce(desc: &ReduceDesc, reduction: Reduction, input: View<'_>, out: &mut Buffer) -> Result<()> {
    let (op, dtype) = (reduction.name(), input.dtype());
    let shape = *input.layout().shape();
    let numel = |kept: bool| -> usize {
        input.dims().iter().zip(&desc.reduced).filter(|&(_, &r)| r != kept).map(|(&d, _)| d).product()
    };
    let expected = reduction.output(dtype)?;
    let wide = matches!(expected, DType::F16 | DType::BF16) && out.dtype() == DType::F32;
    if desc.reduced.len() != input.dims().len() || numel(true) != out.len() || (out.dtype() != expected && !wide) {
        let expected = format!("one flag per axis and {} outputs of {expected}", numel(true));
        return Err(Error::shape(op, expected, &[shape]));
    }
    if matches!(reduction, Reduction::Max | Reduction::Min) && numel(false) == 0 && !out.is_empty() {
        return Err(Error::shape(op, "at least one element to choose from", &[shape]));
    }
    match (input.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => {
            let plan = Plan::new(desc, input.layout())?;
            with_dtype!(dtype, T => {
                let all = input.buffer().as_slice::<T>()?;
                cpu::with_source(all, |source| on_cpu::<T>(&plan, reduction, source, out))
            })
        }
        (Memory::Cuda(memory), Memory::Cuda(to)) if memory.device() == to.device() => {
            let dtype = if wide { DType::F32 } else { expected };
            cuda::reduce(desc, reduction, input, dtype, to)
        }
        _ => Err(mixed_devices(op)),
    }
}

/// Sums the input over the reduced axes into `out`: [`reduce`] with [`Reduction::Sum`].
pub fn sum(desc: &ReduceDesc, input: View<'_>, out: &mut Buffer) -> Result<()> {
    reduce(desc, Reduction::Sum, input, out)
}

fn on_cpu<T: Operand>(
    plan: &Plan,
    reduction: Reduction,
    source: &cpu::Source<'_, T::Acc>,
    out: &mut Buffer,
) -> Result<()> {
    if out.dtype() == <T::Acc as Element>::DTYPE {
        return accumulate(plan, reduction, source, out.as_mut_slice()?);
    }
    let mut wide = Scratch::<T::Acc>::new(out.len())?;
    accumulate(plan, reduction, source, wide.get_mut())?;
    let wide = wide.get();
    if matches!(reduction, Reduction::Any | Reduction::All) {
        out.as_mut_slice()?.iter_mut().zip(wide).for_each(|(o, &w)| *o = u8::from(w != T::Acc::ZERO));
    } else {
        for_each_chunk(out.as_mut_slice::<T>()?, GRAIN, |chunk, out| {
            T::store(&wide[chunk * GRAIN..][..out.len()], out);
        });
    }
    Ok(())
}

fn accumulate<A: Accumulator>(
    plan: &Plan,
    reduction: Reduction,
    source: &cpu::Source<'_, A>,
    out: &mut [A],
) -> Result<()> {
    let own: cpu::Finish<'_, A> = &|_, acc| acc;
    match reduction {
        Reduction::Sum => cpu::reduce(plan, source, &fold::Sum, out, own),
        Reduction::Product => cpu::reduce(plan, source, &fold::Product, out, own),
        Reduction::Max => cpu::reduce(plan, source, &fold::Largest, out, own),
        Reduction::Min => cpu::reduce(plan, source, &fold::Smallest, out, own),
        Reduction::Any => cpu::reduce(plan, source, &fold::Any, out, own),
        Reduction::All => cpu::reduce(plan, source, &fold::All, out, own),
        _ => A::reduce_floats(plan, reduction, source, out),
    }
}

/// f32, f64 and i64 once more, with what only floats can do.
pub(crate) trait Accumulator: Number {
    fn reduce_floats(_: &Plan, reduction: Reduction, _: &cpu::Source<'_, Self>, _: &mut [Self]) -> Result<()> {
        Err(unsupported(reduction.name(), Self::DTYPE, "f32, f16, bf16, f64"))
    }
}

impl Accumulator for i64 {}

impl Accumulator for f32 {
    fn reduce_floats(plan: &Plan, reduction: Reduction, source: &cpu::Source<'_, f32>, out: &mut [f32]) -> Result<()> {
        floats(plan, reduction, source, out)
    }
}

impl Accumulator for f64 {
    fn reduce_floats(plan: &Plan, reduction: Reduction, source: &cpu::Source<'_, f64>, out: &mut [f64]) -> Result<()> {
        floats(plan, reduction, source, out)
    }
}

fn floats<A: Number + Real>(
    plan: &Plan,
    reduction: Reduction,
    source: &cpu::Source<'_, A>,
    out: &mut [A],
) -> Result<()> {
    let n = plan.reduced.numel() as f64;
    let count = A::of(n);
    match reduction {
        Reduction::Mean => cpu::reduce(plan, source, &fold::Sum, out, &|_, s| s / count),
        Reduction::Norm1 => cpu::reduce(plan, source, &fold::SumAbs, out, &|_, s| s),
        Reduction::Norm2 => cpu::reduce(plan, source, &fold::SumSquares, out, &|_, s| s.sqrt()),
        Reduction::LogSumExp => {
            let mut largest = Scratch::<A>::new(out.len())?;
            // An infinite maximum must not be subtracted from itself; with 0 in its place exp and ln give it back.
            let finite = |_, m: A| if m.abs() < A::INFINITY { m } else { <A as Number>::ZERO };
            cpu::reduce(plan, source, &fold::Largest, largest.get_mut(), &finite)?;
            let largest = largest.get();
            cpu::reduce(plan, source, &fold::SumExp(largest), out, &|i, s| s.ln() + largest[i])
        }
        Reduction::Var { correction } | Reduction::Std { correction } => {
            let mut mean = Scratch::<A>::new(out.len())?;
            cpu::reduce(plan, source, &fold::Sum, mean.get_mut(), &|_, s| s / count)?;
            let freedom = A::of((n - correction).max(0.0));
            let root = matches!(reduction, Reduction::Std { .. });
            cpu::reduce(plan, source, &fold::SquaredDeviations(mean.get()), out, &|_, s| {
                if root { (s / freedom).sqrt() } else { s / freedom }
            })
        }
        _ => Err(unsupported(reduction.name(), A::DTYPE, "f32, f16, bf16, f64")),
    }
}

/// Whether the largest or the smallest is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// The largest; NaN counts as larger than every number.
    Max,
    /// The smallest; NaN counts as smaller than every number.
    Min,
}

/// The extreme along `axis` and its position, the lowest of equals: `values` (the input's dtype) and `indices` (i64),
/// both contiguous over the other axes. An empty axis is an error.
pub fn extreme_along(
    which: Extreme,
    axis: usize,
    input: View<'_>,
    values: &mut Buffer,
    indices: &mut Buffer,
) -> Result<()> {
    let op = if which == Extreme::Max { "max" } else { "min" };
    let (dtype, shape) = (input.dtype(), *input.layout().shape());
    let outputs = if axis < shape.rank() { shape.with_dim(axis, 1).numel() } else { usize::MAX };
    if [values.len(), indices.len()] != [outputs; 2] || values.dtype() != dtype || indices.dtype() != DType::I64 {
        let expected = format!("an axis of the input, and an output of {dtype} and one of i64 for each lane along it");
        return Err(Error::shape(op, expected, &[shape]));
    }
    if shape[axis] == 0 && outputs > 0 {
        return Err(Error::shape(op, "at least one element to choose from", &[shape]));
    }
    match (input.buffer().memory(), values.memory_mut(), indices.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_), Memory::Cpu(_)) => with_dtype!(dtype, T => extreme::along::<T>(
            which, axis, input, values.as_mut_slice::<T>()?, indices.as_mut_slice::<i64>()?)),
        (Memory::Cuda(memory), Memory::Cuda(values), Memory::Cuda(indices)) if memory.device() == values.device() => {
            cuda::extreme(which, axis, input, values, indices)
        }
        _ => Err(mixed_devices(op)),
    }
}

/// What a scan accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Running sums.
    Sum,
    /// Running sums from the end.
    ReverseSum,
    /// Running products.
    Product,
}

impl Scan {
    /// The name in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Scan::Sum | Scan::ReverseSum => "cumsum",
            Scan::Product => "cumprod",
        }
    }
}

/// Accumulates a contiguous input along `axis` into `out` of the same shape: floats keep their dtype, integers give
/// i64. Each lane is accumulated in order.
pub fn scan(kind: Scan, axis: usize, input: View<'_>, out: &mut Buffer) -> Result<()> {
    let dtype = input.dtype();
    let expected = if dtype.is_float() { dtype } else { DType::I64 };
    check_lanes(kind.name(), axis, &input, out, expected)?;
    match (input.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_dtype!(dtype, T => {
            let x = input.contiguous::<T>()?.unwrap_or_default();
            if dtype.is_float() {
                scan::scan::<T, T>(kind, input.dims(), axis, x, out.as_mut_slice::<T>()?)
            } else {
                scan::scan::<T, <T as Element>::Acc>(kind, input.dims(), axis, x, out.as_mut_slice()?)
            }
            Ok(())
        }),
        (Memory::Cuda(_), Memory::Cuda(out)) => cuda::scan(kind, axis, input, out),
        _ => Err(mixed_devices(kind.name())),
    }
}

/// The gradient of running products: `out[i] = Π_{k<i} x[k] · Σ_{j≥i} g[j] Π_{i<k≤j} x[k]`, without a division, so
/// that zeros are exact. All contiguous, of one shape and float dtype.
pub fn cumprod_backward(axis: usize, x: View<'_>, g: View<'_>, out: &mut Buffer) -> Result<()> {
    let op = "backward of cumprod";
    check_lanes(op, axis, &x, out, x.dtype())?;
    check_lanes(op, axis, &g, out, x.dtype())?;
    match (x.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_float!(x.dtype(), T => {
            let (xs, gs) = (x.contiguous::<T>()?.unwrap_or_default(), g.contiguous::<T>()?.unwrap_or_default());
            scan::cumprod_backward(x.dims(), axis, xs, gs, out.as_mut_slice::<T>()?)
        }, else Err(unsupported(op, x.dtype(), "f32, f16, bf16, f64"))),
        (Memory::Cuda(_), Memory::Cuda(out)) => cuda::cumprod_backward(axis, x, g, out),
        _ => Err(mixed_devices(op)),
    }
}

fn check_lanes(op: &'static str, axis: usize, input: &View<'_>, out: &Buffer, dtype: DType) -> Result<()> {
    let shape = *input.layout().shape();
    let fits = axis < shape.rank() && input.layout().is_contiguous() && out.len() == shape.numel();
    if !fits || out.dtype() != dtype {
        let expected = format!("an axis of a contiguous input, and {} outputs of {dtype}", shape.numel());
        return Err(Error::shape(op, expected, &[shape]));
    }
    Ok(())
}
