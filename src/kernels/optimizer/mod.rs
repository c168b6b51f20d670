//! Optimizer steps over many tensors at once, in place: every parameter, gradient and state is read and written once.
//!
//! A step is a value of a type that implements [`Rule`]; each tensor carries its own, so that parameter groups with
//! different rates and decays go in one call. State lives in the accumulator's dtype (f32 for half-precision
//! parameters), and each new parameter is rounded once.

mod cpu;
mod cuda;
mod rules;

pub use cuda::RuleConstants;
pub use rules::*;

use crate::device::cpu::Real;
use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Error, Result, with_float};

/// The update of one element with `N` numbers of state.
pub trait Rule<const N: usize>: Copy + Send + Sync {
    /// The kernel's name, for errors.
    const NAME: &'static str;

    /// The new parameter and state, from the parameter, its gradient and its state. Must be `#[inline(always)]`.
    fn step<A: Real>(&self, p: A, g: A, state: [A; N]) -> (A, [A; N]);

    /// The rule as `kernels/optimizer.cu` knows it; `None` for a rule that only the CPU device has.
    fn constants(&self) -> Option<RuleConstants> {
        None
    }

    /// Whether a gradient of zero leaves parameter and state as they are, so that absent rows of a row-sparse
    /// gradient need not be touched.
    fn zero_is_identity(&self) -> bool {
        false
    }
}

/// The gradient of one parameter.
#[derive(Clone, Copy, Debug)]
pub enum Grad<'a> {
    /// One number per element, in any layout.
    Dense(View<'a>),
    /// Some rows of the parameter's first axis; the others are zero.
    Rows {
        /// Contiguous i64 row numbers, ascending and unique.
        indices: View<'a>,
        /// The rows, one after the other, contiguous.
        rows: View<'a>,
    },
}

impl Grad<'_> {
    fn values(&self) -> &View<'_> {
        match self {
            Grad::Dense(view) => view,
            Grad::Rows { rows, .. } => rows,
        }
    }
}

/// One parameter of a step.
pub struct Slot<'a, R, const N: usize> {
    /// The update.
    pub rule: R,
    /// The parameter, contiguous, of a float dtype.
    pub param: &'a mut Buffer,
    /// Its gradient, of the parameter's dtype.
    pub grad: Grad<'a>,
    /// Its state: as many elements as the parameter has, of [`state_dtype`].
    pub state: [&'a mut Buffer; N],
}

/// The dtype of the state for parameters of `dtype`: f64 for f64, else f32.
pub fn state_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Updates every slot in place. The parameters share one device; dtypes may differ.
pub fn step<R: Rule<N>, const N: usize>(slots: &mut [Slot<'_, R, N>]) -> Result<()> {
    for slot in slots.iter() {
        check(slot)?;
    }
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let of_dtype: Vec<_> = slots.iter_mut().filter(|s| s.param.dtype() == dtype).collect();
        if of_dtype.is_empty() {
            continue;
        }
        match of_dtype[0].param.memory() {
            Memory::Cpu(_) => with_float!(dtype, T => cpu::step::<T, R, N>(of_dtype)?,
                else return Err(unsupported(R::NAME, dtype, "f32, f16, bf16, f64"))),
            Memory::Cuda(_) => cuda::step(of_dtype, dtype)?,
        }
    }
    Ok(())
}

fn check<R: Rule<N>, const N: usize>(slot: &Slot<'_, R, N>) -> Result<()> {
    let (dtype, len) = (slot.param.dtype(), slot.param.len());
    let values = slot.grad.values();
    if !dtype.is_float() {
        return Err(unsupported(R::NAME, dtype, "f32, f16, bf16, f64"));
    }
    if values.dtype() != dtype {
        return Err(Error::dtype(R::NAME, "a gradient of the parameter's dtype", &[dtype, values.dtype()]));
    }
    let count = values.layout().numel();
    let fits = match &slot.grad {
        Grad::Dense(_) => count == len,
        Grad::Rows { indices, rows } => {
            let n = indices.layout().numel();
            let contiguous = rows.layout().is_contiguous() && indices.layout().is_contiguous();
            let row = count.checked_div(n).unwrap_or(0);
            contiguous
                && indices.dtype() == DType::I64
                && (n == 0 || row > 0 && count.is_multiple_of(n) && len.is_multiple_of(row))
        }
    };
    if !fits {
        let message = format!("a gradient of {count} elements does not fit a parameter of {len}");
        return Err(Error::argument(R::NAME, message));
    }
    for state in &slot.state {
        if state.len() != len || state.dtype() != state_dtype(dtype) {
            let found = format!("{} of {}", state.len(), state.dtype());
            let message = format!("state of {found} beside a parameter of {len} of {dtype}");
            return Err(Error::argument(R::NAME, message));
        }
    }
    let host = |b: &Buffer| matches!(b.memory(), Memory::Cpu(_));
    let here = host(slot.param);
    if host(values.buffer()) != here || slot.state.iter().any(|s| host(s) != here) {
        return Err(mixed_devices(R::NAME));
    }
    Ok(())
}

/// Σ g² over all the gradients, in f64 (f32 inside blocks of 64 elements, or 16 on CUDA devices), in an order that depends on
/// shapes only. Waits for the device.
pub fn sum_of_squares(gradients: &[View<'_>]) -> Result<f64> {
    let mut total = 0.0;
    if let Some(Memory::Cuda(memory)) = gradients.first().map(|g| g.buffer().memory()) {
        return cuda::sum_of_squares(gradients, memory.device());
    }
    for g in gradients {
        total += match g.buffer().memory() {
            Memory::Cpu(_) => with_float!(g.dtype(), T => cpu::sum_of_squares::<T>(g)?,
                else return Err(unsupported("sum_of_squares", g.dtype(), "f32, f16, bf16, f64"))),
            Memory::Cuda(_) => return Err(mixed_devices("sum_of_squares")),
        };
    }
    Ok(total)
}
