//! Conversions between dtypes. To floats: rounded once, to nearest even. From floats to integers: truncated toward
//! zero and saturated, NaN to 0 (Rust's `as`). From integers to narrower ones: the low bits.

use super::{cpu, cuda};
use crate::device::cpu::Float;
use crate::device::{Buffer, Memory, View};
use crate::kernels::mixed_devices;
use crate::{Element, Error, Result, with_dtype};
use half::{bf16, f16};

/// Converts every element to the dtype of `out`, contiguous and of as many elements.
pub fn cast(input: View<'_>, out: &mut Buffer) -> Result<()> {
    if input.layout().numel() != out.len() {
        let expected = format!("an input of the output's {} elements", out.len());
        return Err(Error::shape("cast", expected, &[*input.layout().shape()]));
    }
    let (dtype, to) = (input.dtype(), out.dtype());
    match (input.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_dtype!(dtype, T => with_dtype!(to, U => {
            let block = |[x]: [&[T]; 1], out: &mut [U]| <T as CastTo<U>>::cast(x, out);
            cpu::combine::<1, T, U>(&block, &[input], out.as_mut_slice::<U>()?)
        })),
        (Memory::Cuda(_), Memory::Cuda(memory)) => cuda::cast(input, to, memory),
        _ => Err(mixed_devices("cast")),
    }
}

trait CastTo<U>: Sized {
    /// Both slices have the same length.
    fn cast(from: &[Self], to: &mut [U]);
}

/// An f64 that rounds to narrower floats as the integer does: bits that it cannot hold are folded into the last that it can.
#[inline(always)]
fn exactly(x: i64) -> f64 {
    const LOST: i64 = (1 << 11) - 1;
    let held = if x.unsigned_abs() >> 53 == 0 { x } else { x & !LOST | i64::from(x & LOST != 0) << 11 };
    held as f64
}

macro_rules! pairs {
    ($($from:ty => $($to:ty),+: |$x:ident| $convert:expr;)+) => {$($(
        impl CastTo<$to> for $from {
            fn cast(from: &[Self], to: &mut [$to]) {
                type To = $to;
                for (to, &$x) in to.iter_mut().zip(from) {
                    *to = $convert;
                }
            }
        }
    )+)+};
}

pairs! {
    f32 => f32, f64, i64, u32, u8: |x| x as To;
    f64 => f32, f64, i64, u32, u8: |x| x as To;
    i64 => f32, f64, i64, u32, u8: |x| x as To;
    u32 => f32, f64, i64, u32, u8: |x| x as To;
    u8 => f32, f64, i64, u32, u8: |x| x as To;
    f64 => f16, bf16: |x| <To as Element>::from_f64(x);
    i64 => f16, bf16: |x| <To as Element>::from_f64(exactly(x));
    u32 => f16, bf16: |x| <To as Element>::from_f64(f64::from(x));
    u8 => f16, bf16: |x| <To as Element>::from_f64(f64::from(x));
    f16 => f64, i64, u32, u8: |x| x.to_f32() as To;
    bf16 => f64, i64, u32, u8: |x| x.to_f32() as To;
    f16 => f16, bf16: |x| To::from_f32(x.to_f32());
    bf16 => f16, bf16: |x| To::from_f32(x.to_f32());
}

macro_rules! by_block {
    ($($half:ty),+) => {$(
        impl CastTo<f32> for $half {
            fn cast(from: &[Self], to: &mut [f32]) {
                <$half>::widen(from, to);
            }
        }
        impl CastTo<$half> for f32 {
            fn cast(from: &[Self], to: &mut [$half]) {
                <$half>::narrow(from, to);
            }
        }
    )+};
}

by_block!(f16, bf16);
