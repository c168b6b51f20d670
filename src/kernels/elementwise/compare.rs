//! Comparisons and logic, which give masks (u8, 0 or 1), and selection by a mask.

use super::{cpu, cuda};
use crate::device::cpu::vectorize;
use crate::device::{Buffer, Memory, View};
use crate::kernels::mixed_devices;
use crate::{DType, Element, Error, Result, with_dtype};

/// A relation of two values of one dtype. NaN equals nothing, not even itself; for the logical ones every value but 0
/// is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// a = b
    Eq,
    /// a ≠ b
    Ne,
    /// a < b
    Lt,
    /// a ≤ b
    Le,
    /// a > b
    Gt,
    /// a ≥ b
    Ge,
    /// a and b
    And,
    /// a or b
    Or,
    /// a or b, not both
    Xor,
}

impl Relation {
    /// Its name in error messages.
    pub fn name(self) -> &'static str {
        match self {
            Relation::Eq => "eq",
            Relation::Ne => "ne",
            Relation::Lt => "lt",
            Relation::Le => "le",
            Relation::Gt => "gt",
            Relation::Ge => "ge",
            Relation::And => "logical_and",
            Relation::Or => "logical_or",
            Relation::Xor => "logical_xor",
        }
    }

    fn block<T: Element>(self, a: &[T], b: &[T], out: &mut [u8]) {
        let zero = T::default();
        match self {
            Relation::Eq => holds(a, b, out, |a, b| a == b),
            Relation::Ne => holds(a, b, out, |a, b| a != b),
            Relation::Lt => holds(a, b, out, |a, b| a < b),
            Relation::Le => holds(a, b, out, |a, b| a <= b),
            Relation::Gt => holds(a, b, out, |a, b| a > b),
            Relation::Ge => holds(a, b, out, |a, b| a >= b),
            Relation::And => holds(a, b, out, |a, b| (a != zero) & (b != zero)),
            Relation::Or => holds(a, b, out, |a, b| (a != zero) | (b != zero)),
            Relation::Xor => holds(a, b, out, |a, b| (a != zero) ^ (b != zero)),
        }
    }
}

fn holds<T: Copy>(a: &[T], b: &[T], out: &mut [u8], f: impl Fn(T, T) -> bool) {
    vectorize(
        #[inline(always)]
        || {
            for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *o = f(a, b) as u8;
            }
        },
    );
}

/// `out[i] = relation(a[i], b[i])` for inputs of one dtype and shape; `out` is a contiguous u8 buffer.
pub fn compare(relation: Relation, a: View<'_>, b: View<'_>, out: &mut Buffer) -> Result<()> {
    let (name, dtype) = (relation.name(), a.dtype());
    if b.dtype() != dtype || out.dtype() != DType::U8 {
        return Err(Error::dtype(name, "two operands of one dtype and a u8 output", &[dtype, b.dtype(), out.dtype()]));
    }
    same_shape(name, &[a, b], out)?;
    match (a.buffer().memory(), b.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_), Memory::Cpu(_)) => with_dtype!(dtype, T => {
            let block = |[a, b]: [&[T]; 2], out: &mut [u8]| relation.block(a, b, out);
            cpu::combine::<2, T, u8>(&block, &[a, b], out.as_mut_slice::<u8>()?)
        }),
        (Memory::Cuda(_), Memory::Cuda(_), Memory::Cuda(out)) => cuda::compare(relation, a, b, out),
        _ => Err(mixed_devices(name)),
    }
}

/// `out[i] = a[i]` where `mask[i]` is not 0, else `b[i]`: inputs of one shape, `mask` u8, `a`, `b` and the contiguous
/// `out` of one dtype.
pub fn select(mask: View<'_>, a: View<'_>, b: View<'_>, out: &mut Buffer) -> Result<()> {
    let dtype = out.dtype();
    if mask.dtype() != DType::U8 || a.dtype() != dtype || b.dtype() != dtype {
        let expected = format!("a u8 mask and two operands of {dtype}");
        return Err(Error::dtype("where", expected, &[mask.dtype(), a.dtype(), b.dtype()]));
    }
    same_shape("where", &[mask, a, b], out)?;
    let host = [mask, a, b].iter().all(|v| matches!(v.buffer().memory(), Memory::Cpu(_)));
    match out.memory_mut() {
        Memory::Cpu(_) if host => with_dtype!(dtype, T => cpu::select::<T>(mask, a, b, out.as_mut_slice::<T>()?)),
        Memory::Cuda(out) if !host => cuda::select(mask, a, b, out),
        _ => Err(mixed_devices("where")),
    }
}

pub(super) fn same_shape(op: &'static str, inputs: &[View<'_>], out: &Buffer) -> Result<()> {
    let first = inputs[0].layout();
    if first.numel() == out.len() && inputs.iter().all(|i| i.layout().shape() == first.shape()) {
        return Ok(());
    }
    let shapes: Vec<_> = inputs.iter().map(|i| *i.layout().shape()).collect();
    Err(Error::shape(op, format!("inputs of one shape with {} elements", out.len()), &shapes))
}
