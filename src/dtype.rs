//! Element types: the runtime tag [`DType`] and the sealed trait [`Element`] behind it.

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// IEEE binary64 (CPU only).
    F64,
    /// 64-bit signed integer, for indices and labels.
    I64,
    /// 32-bit unsigned integer, for indices and labels.
    U32,
    /// 8-bit unsigned integer, for masks (0 or 1) and bytes.
    U8,
}

impl DType {
    /// Every dtype.
    pub const ALL: [DType; 7] = [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I64, DType::U32, DType::U8];

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::F32 | DType::U32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// Whether values of this dtype can carry a gradient.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }

    /// The lower-case name, as in Rust: `f32`, `bf16`, `i64`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::U32 => "u32",
            DType::U8 => "u8",
        }
    }

    /// The unit roundoff of a float dtype (half the distance from 1 to the next value); 0 for integers.
    pub const fn unit_roundoff(self) -> f64 {
        match self {
            DType::F64 => f64::EPSILON / 2.0,
            DType::F32 => f32::EPSILON as f64 / 2.0,
            DType::F16 => 1.0 / 2048.0,
            DType::BF16 => 1.0 / 256.0,
            DType::I64 | DType::U32 | DType::U8 => 0.0,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that tensors can hold.
pub trait Element:
    sealed::Sealed + Copy + Default + Send + Sync + PartialEq + PartialOrd + std::fmt::Debug + std::fmt::Display + 'static
{
    /// The runtime tag.
    const DTYPE: DType;
    /// What sums and transcendental functions of this type are computed in:
    /// f32 for f32, f16 and bf16; f64 for f64; i64 for integers.
    type Acc: Copy + Default + Send + Sync + PartialOrd + 'static;
    /// Widens to the accumulator type, exactly.
    fn to_acc(self) -> Self::Acc;
    /// Rounds to nearest even (floats); truncates to the low bits (integers).
    fn from_acc(acc: Self::Acc) -> Self;
    /// Converts to f64 (exact for every dtype but large i64).
    fn to_f64(self) -> f64;
    /// Converts from f64: rounds to nearest even (floats); truncates toward zero and saturates (integers).
    fn from_f64(value: f64) -> Self;
}

/// An f32 that rounds to f16 and bf16 as the f64 does: what it loses is folded into its last bit (round to odd; Boldo and
/// Melquiond 2008). The `half` crate's own conversion drops the f64's low word first.
#[inline(always)]
fn rounded_to_odd(x: f64) -> f32 {
    let y = x as f32;
    if f64::from(y) == x || y.is_nan() {
        return y;
    }
    // Toward zero, then odd.
    let bits = y.to_bits();
    f32::from_bits(if f64::from(y).abs() > x.abs() { bits - 1 } else { bits } | 1)
}

macro_rules! element {
    ($ty:ty, $tag:ident, $acc:ty, $to_acc:expr, $from_acc:expr, $to_f64:expr, $from_f64:expr) => {
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$tag;
            type Acc = $acc;
            #[inline(always)]
            fn to_acc(self) -> $acc {
                $to_acc(self)
            }
            #[inline(always)]
            fn from_acc(acc: $acc) -> Self {
                $from_acc(acc)
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                $from_f64(value)
            }
        }
    };
}

element!(f32, F32, f32, |x| x, |x| x, |x| x as f64, |x| x as f32);
element!(f64, F64, f64, |x| x, |x| x, |x| x, |x| x);
element!(f16, F16, f32, f16::to_f32, f16::from_f32, f16::to_f64, |x| f16::from_f32(rounded_to_odd(x)));
element!(bf16, BF16, f32, bf16::to_f32, bf16::from_f32, bf16::to_f64, |x| bf16::from_f32(rounded_to_odd(x)));
element!(i64, I64, i64, |x| x, |x| x, |x| x as f64, |x| x as i64);
element!(u32, U32, i64, |x| x as i64, |x| x as u32, |x| x as f64, |x| x as u32);
element!(u8, U8, i64, |x| x as i64, |x| x as u8, |x| x as f64, |x| x as u8);

/// Runs the body with `$t` bound to the Rust type of a [`DType`](crate::DType).
///
/// ```
/// use warpsmith::{DType, with_dtype};
/// let size = with_dtype!(DType::BF16, T => std::mem::size_of::<T>());
/// assert_eq!(size, 2);
/// ```
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = $crate::half::bf16;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::U32 => {
                type $t = u32;
                $body
            }
            $crate::DType::U8 => {
                type $t = u8;
                $body
            }
        }
    };
}

/// Runs the body with `$t` bound to the Rust type of a float [`DType`](crate::DType); otherwise evaluates `$other`.
#[macro_export]
macro_rules! with_float {
    ($dtype:expr, $t:ident => $body:expr, else $other:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = $crate::half::bf16;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            _ => $other,
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_once_from_f64() {
        // Just above, at and just below where either neighbour is as near; of several magnitudes, subnormal ones too.
        for scale in [1.0, 2f64.powi(100), 2f64.powi(-120), 2f64.powi(-130)] {
            let tie = scale * (1.0 + 2f64.powi(-8));
            let (down, up) = (bf16::from_f64(scale), bf16::from_f64(scale * (1.0 + 2f64.powi(-7))));
            if scale > 2f64.powi(-126) {
                assert_eq!(<bf16 as Element>::from_f64(tie), down, "to even");
                assert_eq!(<bf16 as Element>::from_f64(tie * (1.0 + 2f64.powi(-52))), up);
                assert_eq!(<bf16 as Element>::from_f64(tie * (1.0 - 2f64.powi(-52))), down);
                assert_eq!(<bf16 as Element>::from_f64(-tie * (1.0 + 2f64.powi(-52))), -up);
            }
        }
        let least = bf16::from_bits(1).to_f64();
        assert_eq!(<bf16 as Element>::from_f64(least * 0.5), bf16::ZERO, "to even");
        assert_eq!(<bf16 as Element>::from_f64(least * 0.5 * (1.0 + 2f64.powi(-52))).to_bits(), 1);
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(<f16 as Element>::from_f64(tie), f16::ONE);
        assert_eq!(<f16 as Element>::from_f64(tie + 2f64.powi(-52)).to_bits(), f16::ONE.to_bits() + 1);
        assert_eq!(<f16 as Element>::from_f64(65520.0 - 1e-9).to_f64(), 65504.0);
        assert_eq!(<f16 as Element>::from_f64(65520.0), f16::INFINITY);
        for (value, expected) in
            [(f64::MAX, f32::INFINITY), (1e-300, 0.0), (-1e-300, -0.0), (f64::INFINITY, f32::INFINITY)]
        {
            assert_eq!(<f16 as Element>::from_f64(value).to_f32().to_bits(), expected.to_bits());
            assert_eq!(<bf16 as Element>::from_f64(value).to_f32().to_bits(), expected.to_bits());
        }
        assert!(<bf16 as Element>::from_f64(f64::NAN).is_nan() && <f16 as Element>::from_f64(f64::NAN).is_nan());
    }
}
