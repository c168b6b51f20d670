//! Matrix products: `out = activation(alpha · A·B + beta · out + bias + residual)`, batched, of any strides.
//!
//! On the CPU operands are packed into panels (f16 and bf16 widened on the way: products accumulate in f32) and
//! multiplied by a register tile of our own (`micro.rs`), after Goto and van de Geijn, "Anatomy of High-Performance
//! Matrix Multiplication" (ACM TOMS 34, 2008). Each element is one chain of fused multiply-adds over k (one chain per
//! block of at most 512), so its bits depend on neither the threads nor the tile it falls into. (The `gemm` crates were
//! measured beside it: a few per cent slower at every size but 128 × 512 × 784, without bf16, and their bits depend on how
//! a product is cut.)
//!
//! On CUDA devices (`kernels/gemm.cu`) f32 is multiplied on the ordinary cores and f16 and bf16 on the tensor cores, with
//! sums in f32; [`plan::gpu`] chooses the tile, of Hopper's own (`kernels/gemm_wgmma.cu`) where they pay. Operands whose rows or columns are neighbours in memory are read in
//! place, others through one contiguous copy.

mod cpu;
mod cuda;
pub(crate) mod micro;
pub(crate) mod pack;
pub mod plan;

pub(crate) use cpu::{multiply, scratch};

use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{Error, Result, with_float};

/// What is applied to each output while it is in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0)
    Relu,
    /// x Φ(x), with the normal distribution function Φ
    Gelu,
}

/// How exactly f32 operands are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As IEEE f32.
    #[default]
    Ieee,
    /// On CUDA devices with factors rounded to TF32 (10 bits of mantissa), on the tensor cores; sums are f32. On the CPU
    /// as [`Ieee`](Precision::Ieee).
    Tf32,
}

/// A product of `batch` pairs of matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GemmDesc {
    /// How many products.
    pub batch: usize,
    /// Rows of A and of the output.
    pub m: usize,
    /// Columns of B and of the output.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// The factor of the product.
    pub alpha: f64,
    /// The factor of what the output held before; 0 does not read it.
    pub beta: f64,
    /// Applied last.
    pub activation: Activation,
    /// Of f32 operands; other dtypes do not ask.
    pub precision: Precision,
}

impl GemmDesc {
    /// The plain product of two views of shapes (…, m, k) and (…, k, n), with equal leading axes.
    pub fn of(a: &View<'_>, b: &View<'_>) -> Result<Self> {
        let (da, db) = (a.dims(), b.dims());
        let (ra, rb) = (da.len(), db.len());
        if ra < 2 || ra != rb || da[..ra - 2] != db[..rb - 2] || da[ra - 1] != db[rb - 2] {
            let shapes = [*a.layout().shape(), *b.layout().shape()];
            return Err(Error::shape("matmul", "(…, m, k) and (…, k, n) with equal leading axes", &shapes));
        }
        let batch = da[..ra - 2].iter().product();
        let (m, k, n) = (da[ra - 2], da[ra - 1], db[rb - 1]);
        Ok(GemmDesc { batch, m, n, k, alpha: 1.0, beta: 0.0, activation: Activation::None, precision: Precision::Ieee })
    }
}

/// What is added to the product while it is in registers. Both are of the output's dtype.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `n` numbers, one per column.
    pub bias: Option<View<'a>>,
    /// Numbers of the output's shape.
    pub residual: Option<View<'a>>,
}

/// Multiplies: `a` of shape (…, m, k) and `b` of shape (…, k, n), of any strides and one float dtype, into `out`,
/// contiguous (…, m, n). `before` takes the values before the activation, of the output's shape.
pub fn gemm(
    desc: &GemmDesc,
    a: View<'_>,
    b: View<'_>,
    epilogue: Epilogue<'_>,
    before: Option<&mut Buffer>,
    out: &mut Buffer,
) -> Result<()> {
    let dtype = out.dtype();
    let GemmDesc { alpha, beta, activation, precision, .. } = *desc;
    let found = GemmDesc { alpha, beta, activation, precision, ..GemmDesc::of(&a, &b)? };
    let len = desc.batch * desc.m * desc.n;
    let sized = |buffer: Option<&Buffer>| buffer.is_none_or(|b| b.len() == len && b.dtype() == dtype);
    if found != *desc || !sized(Some(out)) || !sized(before.as_deref()) {
        let expected = format!("operands of {desc:?} and contiguous outputs of {len} {dtype}");
        return Err(Error::shape("matmul", expected, &[*a.layout().shape(), *b.layout().shape()]));
    }
    let extras = [epilogue.bias, epilogue.residual];
    for (extra, wanted) in extras.iter().zip([desc.n, len]) {
        if extra.is_some_and(|e| e.layout().numel() != wanted) {
            let shapes: Vec<_> = extras.iter().flatten().map(|e| *e.layout().shape()).collect();
            return Err(Error::shape("matmul", format!("a bias of {} and a residual of {len}", desc.n), &shapes));
        }
    }
    let inputs: Vec<View<'_>> = [Some(a), Some(b)].into_iter().chain(extras).flatten().collect();
    if let Some(other) = inputs.iter().find(|i| i.dtype() != dtype) {
        return Err(Error::dtype("matmul", "operands of one dtype (convert with to_dtype)", &[dtype, other.dtype()]));
    }
    let on = |memory: &Memory| matches!(memory, Memory::Cpu(_));
    let host = on(out.memory());
    if inputs.iter().any(|i| on(i.buffer().memory()) != host) {
        return Err(mixed_devices("matmul"));
    }
    match out.memory() {
        Memory::Cpu(_) => with_float!(dtype, T => {
            let before = before.map(|b| b.as_mut_slice::<T>()).transpose()?;
            cpu::gemm::<T>(desc, a, b, epilogue, before, out.as_mut_slice::<T>()?)
        }, else Err(unsupported("matmul", dtype, "f32, f16, bf16, f64"))),
        Memory::Cuda(_) => cuda::gemm(desc, a, b, epilogue, before, out),
    }
}
