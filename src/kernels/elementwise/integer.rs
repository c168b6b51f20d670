//! Arithmetic of the integer dtypes, which wraps as two's complement does.

use super::{check, cpu, cuda};
use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Result};

/// A function of `N` integers of one dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegerMap<const N: usize> {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// The larger
    Maximum,
    /// The smaller
    Minimum,
    /// −x
    Neg,
    /// |x|
    Abs,
    /// −1, 0 or 1
    Sign,
    /// x²
    Square,
    /// scale · x + shift
    Affine {
        /// The factor.
        scale: i64,
        /// The summand.
        shift: i64,
    },
    /// Limited to an interval
    Clamp {
        /// The lower end.
        low: i64,
        /// The upper end.
        high: i64,
    },
}

impl<const N: usize> IntegerMap<N> {
    /// The functor's name in `kernels/elementwise.cu` and in error messages.
    pub fn name(self) -> &'static str {
        match self {
            IntegerMap::Add => "add",
            IntegerMap::Sub => "sub",
            IntegerMap::Mul => "mul",
            IntegerMap::Maximum => "maximum",
            IntegerMap::Minimum => "minimum",
            IntegerMap::Neg => "neg",
            IntegerMap::Abs => "abs",
            IntegerMap::Sign => "sign",
            IntegerMap::Square => "square",
            IntegerMap::Affine { .. } => "affine",
            IntegerMap::Clamp { .. } => "clamp",
        }
    }

    /// The value for operands `a` (the first) and `b` (the last).
    #[inline(always)]
    fn eval(self, a: i64, b: i64) -> i64 {
        match self {
            IntegerMap::Add => a.wrapping_add(b),
            IntegerMap::Sub => a.wrapping_sub(b),
            IntegerMap::Mul => a.wrapping_mul(b),
            IntegerMap::Maximum => a.max(b),
            IntegerMap::Minimum => a.min(b),
            IntegerMap::Neg => a.wrapping_neg(),
            IntegerMap::Abs => a.wrapping_abs(),
            IntegerMap::Sign => a.signum(),
            IntegerMap::Square => a.wrapping_mul(a),
            IntegerMap::Affine { scale, shift } => a.wrapping_mul(scale).wrapping_add(shift),
            IntegerMap::Clamp { low, high } => a.max(low).min(high),
        }
    }
}

/// `out[i] = f(inputs[0][i], …)` for inputs of one integer dtype and shape; `out` is contiguous and of that dtype.
pub fn map_integer<const N: usize>(f: IntegerMap<N>, inputs: [View<'_>; N], out: &mut Buffer) -> Result<()> {
    let dtype = out.dtype();
    let host = check(f.name(), &inputs, out)?;
    let eval = |x: [i64; N]| f.eval(x[0], x[N - 1]);
    match out.memory_mut() {
        Memory::Cpu(_) if host => match dtype {
            DType::I64 => cpu::map_integer::<N, i64>(&eval, &inputs, out.as_mut_slice()?),
            DType::U32 => cpu::map_integer::<N, u32>(&eval, &inputs, out.as_mut_slice()?),
            DType::U8 => cpu::map_integer::<N, u8>(&eval, &inputs, out.as_mut_slice()?),
            _ => Err(unsupported(f.name(), dtype, "i64, u32, u8")),
        },
        Memory::Cuda(out) if !host => cuda::map_integer(f, &inputs, dtype, out),
        _ => Err(mixed_devices(f.name())),
    }
}
