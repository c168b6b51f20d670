//! Random fills, dropout and sampling from Philox counters. Which counters an element takes is a function of its index
//! alone, and every number is made of integer operations and IEEE +, ×, fma, √ and ÷: any device, any number of threads
//! and any vector width give the same bits.
//!
//! Element `i` of a fill takes its words from block `first + i / k`, k being the elements of a block: 4 (2 in f64), or 1
//! for gamma, whose rejected attempts count in the third word of the counter.

mod cpu;
mod cuda;
mod multinomial;
mod variates;

pub use multinomial::{multinomial, multinomial_blocks};

use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Error, Layout, Result, Shape, with_float};

/// What a fill draws from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Uniform in low..high, in steps of high − low over 2²⁴ (f16: 2¹¹, bf16: 2⁸, f64: 2⁵³).
    Uniform {
        /// The smallest value.
        low: f64,
        /// The bound above all values.
        high: f64,
    },
    /// Normal, by Box & Muller 1958.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// 1 with probability p, else 0.
    Bernoulli {
        /// The probability of 1, rounded to a multiple of 2⁻³².
        p: f64,
    },
    /// Gamma, by Marsaglia & Tsang 2000, "A simple method for generating gamma variables".
    Gamma {
        /// The shape α > 0.
        shape: f64,
        /// The scale θ > 0.
        scale: f64,
    },
}

impl Distribution {
    /// The blocks of counters that `n` elements take.
    pub fn blocks(&self, n: usize, dtype: DType) -> u64 {
        n.div_ceil(self.per_block(dtype)) as u64
    }

    fn per_block(&self, dtype: DType) -> usize {
        match self {
            Distribution::Gamma { .. } => 1,
            Distribution::Bernoulli { .. } => 4,
            _ if dtype == DType::F64 => 2,
            _ => 4,
        }
    }

    fn check(&self) -> Result<()> {
        let (op, message) = match *self {
            Distribution::Uniform { low, high } if !(low <= high && (high - low).is_finite()) => {
                ("uniform", format!("needs finite low ≤ high, got {low} and {high}"))
            }
            Distribution::Normal { mean, std } if !(mean.is_finite() && std >= 0.0 && std.is_finite()) => {
                ("normal", format!("needs a finite mean and a standard deviation of at least 0, got {mean} and {std}"))
            }
            Distribution::Bernoulli { p } if !(0.0..=1.0).contains(&p) => {
                ("bernoulli", format!("needs a probability from 0 to 1, got {p}"))
            }
            Distribution::Gamma { shape, scale } if !(shape > 0.0 && scale > 0.0 && (shape * scale).is_finite()) => {
                ("gamma", format!("needs a finite shape and scale above 0, got {shape} and {scale}"))
            }
            _ => return Ok(()),
        };
        Err(Error::argument(op, message))
    }
}

/// Fills `out` with draws from the blocks that start at `first`.
pub fn fill(distribution: Distribution, key: [u32; 2], first: u64, out: &mut Buffer) -> Result<()> {
    distribution.check()?;
    let (dtype, len) = (out.dtype(), out.len());
    match out.memory_mut() {
        Memory::Cpu(_) => with_float!(dtype, T => cpu::fill::<T>(distribution, key, first, out.as_mut_slice::<T>()?),
            else Err(unsupported("random", dtype, "f32, f16, bf16, f64"))),
        Memory::Cuda(memory) => cuda::fill(distribution, key, first, dtype, len, memory),
    }
}

/// `out[i] = 1` with probability `p[i]` (which is not checked: below 0 counts as 0, above 1 as 1), else 0, from the
/// blocks that start at `first`, four elements to a block.
pub fn bernoulli(p: View<'_>, key: [u32; 2], first: u64, out: &mut Buffer) -> Result<()> {
    let dtype = p.dtype();
    if out.dtype() != dtype || p.layout().numel() != out.len() {
        return Err(Error::shape(
            "bernoulli",
            format!("{} {} elements", out.len(), out.dtype()),
            &[*p.layout().shape()],
        ));
    }
    match (p.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => {
            with_float!(dtype, T => cpu::bernoulli::<T>(p, key, first, out.as_mut_slice::<T>()?),
                else Err(unsupported("bernoulli", dtype, "f32, f16, bf16, f64")))
        }
        (Memory::Cuda(_), Memory::Cuda(out)) => cuda::bernoulli(p, key, first, out),
        _ => Err(mixed_devices("bernoulli")),
    }
}

/// The blocks of counters that dropout of `n` elements takes.
pub fn dropout_blocks(n: usize) -> u64 {
    n.div_ceil(4) as u64
}

/// `out[i] = input[i] / (1 − p)`, or 0 with probability `p` (rounded to a multiple of 2⁻³²): the same mask for the same
/// key and first block, so that the backward is the same call on the gradient. No input: `out` is changed in place.
pub fn dropout(p: f64, key: [u32; 2], first: u64, input: Option<View<'_>>, out: &mut Buffer) -> Result<()> {
    if !(0.0..=1.0).contains(&p) {
        return Err(Error::argument("dropout", format!("needs a probability from 0 to 1, got {p}")));
    }
    let (dtype, len) = (out.dtype(), out.len());
    if let Some(input) = &input
        && (input.layout().numel() != out.len() || input.dtype() != dtype)
    {
        let expected = format!("an input of {} {dtype} elements", out.len());
        return Err(Error::shape("dropout", expected, &[*input.layout().shape()]));
    }
    let whole = Layout::contiguous(Shape::new(&[out.len()])?);
    let host = input.is_none_or(|i| matches!(i.buffer().memory(), Memory::Cpu(_)));
    match out.memory_mut() {
        Memory::Cpu(_) if host => {
            with_float!(dtype, T => cpu::dropout::<T>(p, key, first, input, whole, out.as_mut_slice::<T>()?),
                else Err(unsupported("dropout", dtype, "f32, f16, bf16, f64")))
        }
        Memory::Cuda(memory) if input.is_none() || !host => cuda::dropout(p, key, first, input, dtype, len, memory),
        _ => Err(mixed_devices("dropout")),
    }
}
