//! What the row-wise families share on the CPU: row-major inputs, parameters in the accumulator type, rows widened
//! and narrowed, and optional outputs cut into parts.

use crate::device::cpu::{Float, GRAIN, Real, copy_strided};
use crate::device::{Buffer, Memory, View};
use crate::{DType, Device, Element, Error, Result, Shape, with_float};

/// A function of slices, compiled for each instruction set once per number type (and not once per dtype, as a closure
/// in a function of dtypes would be).
macro_rules! vectorized {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<A $(, const $flag:ident: bool)?>($($arg:ident: $ty:ty),* $(,)?)
        $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name<A: $crate::device::cpu::Real $(, const $flag: bool)?>($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            fn body<A: $crate::device::cpu::Real $(, const $flag: bool)?>($($arg: $ty),*) $(-> $out)? $body
            $crate::device::cpu::vectorize_wide(
                #[inline(always)]
                || body::<A $(, $flag)?>($($arg),*),
            )
        }
    };
}
pub(crate) use vectorized;

/// A view's elements in row-major order: the buffer's own where they lie so, else a copy.
pub(crate) enum Packed<'a, T> {
    Borrowed(&'a [T]),
    Copied(Buffer),
}

impl<'a, T: Element> Packed<'a, T> {
    pub(crate) fn new(view: View<'a>) -> Result<Self> {
        if let Some(slice) = view.contiguous::<T>()? {
            return Ok(Packed::Borrowed(slice));
        }
        let mut copy = Buffer::uninit(&Device::Cpu, T::DTYPE, view.layout().numel())?;
        copy_strided(view.buffer().as_slice::<T>()?, view.layout(), copy.as_mut_slice::<T>()?);
        Ok(Packed::Copied(copy))
    }

    pub(crate) fn slice(&self) -> Result<&[T]> {
        match self {
            Packed::Borrowed(slice) => Ok(slice),
            Packed::Copied(buffer) => buffer.as_slice::<T>(),
        }
    }
}

/// A parameter vector of any float dtype in the accumulator type; `default` everywhere where there is none.
pub(crate) fn parameter<A: Real>(view: Option<View<'_>>, n: usize, default: f64) -> Result<Vec<A>> {
    match view {
        Some(view) => Ok(view.to_f64_vec()?.into_iter().map(A::of).collect()),
        None => Ok(vec![A::of(default); n]),
    }
}

/// Rounds a parameter's gradient, once, to the parameter's dtype.
pub(crate) fn write_parameter(op: &'static str, values: &[f64], out: &mut Buffer) -> Result<()> {
    let dtype = out.dtype();
    with_float!(dtype, T => {
        for (o, &v) in out.as_mut_slice::<T>()?.iter_mut().zip(values) {
            *o = <T as Element>::from_f64(v);
        }
        Ok(())
    }, else Err(Error::dtype(op, "a float gradient", &[dtype])))
}

/// The slice itself where it is in the accumulator type, else its widened copy in `scratch`.
#[inline]
pub(crate) fn widened<'a, T: Float>(from: &'a [T], scratch: &'a mut [T::Acc]) -> &'a [T::Acc] {
    match T::as_acc(from) {
        Some(slice) => slice,
        None => {
            T::widen(from, &mut scratch[..from.len()]);
            &scratch[..from.len()]
        }
    }
}

/// Hands `f` the slice itself where it is in the accumulator type, else `scratch`, whose result is then rounded.
#[inline]
pub(crate) fn narrowed<T: Float>(out: &mut [T], scratch: &mut [T::Acc], f: impl FnOnce(&mut [T::Acc])) {
    let n = out.len();
    match T::as_acc_mut(out) {
        Some(slice) => f(slice),
        None => {
            f(&mut scratch[..n]);
            T::narrow(&scratch[..n], out);
        }
    }
}

/// Scratch of `n` elements for dtypes that need widening; none for the others.
pub(crate) fn scratch<T: Float>(n: usize) -> Vec<T::Acc> {
    if T::as_acc(&[]).is_some() { vec![] } else { vec![T::Acc::ZERO; n] }
}

/// Rows per part: enough elements to be worth handing over, at most `most` parts. A function of the shape only.
pub(crate) fn rows_per_part(rows: usize, width: usize, most: usize) -> usize {
    rows.div_ceil(most).max(GRAIN / width.max(1)).max(1)
}

/// An optional output cut into parts of `chunk` elements; `count` times none where there is none.
pub(crate) fn split<T>(out: Option<&mut [T]>, chunk: usize, count: usize) -> Vec<Option<&mut [T]>> {
    match out {
        Some(out) => out.chunks_mut(chunk.max(1)).map(Some).collect(),
        None => (0..count).map(|_| None).collect(),
    }
}

/// Whether all memories are the host's, or (`false`) all one CUDA device's; `None` where they are mixed.
pub(crate) fn on_host<'a>(memories: impl IntoIterator<Item = &'a Memory>) -> Option<bool> {
    let mut memories = memories.into_iter();
    let first = memories.next()?;
    let alike = |other: &Memory| match (first, other) {
        (Memory::Cpu(_), Memory::Cpu(_)) => true,
        (Memory::Cuda(first), Memory::Cuda(other)) => first.device() == other.device(),
        _ => false,
    };
    memories.all(alike).then_some(matches!(first, Memory::Cpu(_)))
}

/// Checks a parameter: `n` elements along one axis, of the input's dtype or f32.
pub(crate) fn check_parameter(op: &'static str, n: usize, dtype: DType, view: Option<View<'_>>) -> Result<()> {
    let Some(view) = view else { return Ok(()) };
    if view.layout().numel() != n {
        let expected = format!("a weight, bias or statistic of {n} elements");
        return Err(Error::shape(op, expected, &[*view.layout().shape()]));
    }
    if view.dtype() != dtype && view.dtype() != DType::F32 {
        let expected = format!("a weight, bias or statistic of dtype {dtype} or f32");
        return Err(Error::dtype(op, expected, &[view.dtype()]));
    }
    Ok(())
}

/// Checks a tensor operand or output: its number of elements and its dtype.
pub(crate) fn check_elements(op: &'static str, n: usize, dtype: DType, found: (usize, DType)) -> Result<()> {
    if found.1 != dtype {
        return Err(Error::dtype(op, format!("operands and outputs of dtype {dtype}"), &[found.1]));
    }
    if found.0 != n {
        return Err(Error::shape(op, format!("operands and outputs of {n} elements"), &[Shape::new(&[found.0])?]));
    }
    Ok(())
}

/// The dtype of statistics kept for the backward: f64 for f64, f32 for the others.
pub(crate) fn statistics_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
