//! Exact arithmetic with directed rounding, for binary16, bfloat16, binary32 and binary64.
//!
//! Operands come as f64 (which holds the narrower formats exactly). A result is formed exactly in 128-bit integers,
//! with what is shifted out jammed into the lowest bit, and rounded once.

/// Rounding modes, as numbered in operand `x` of the instructions that use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Round {
    /// To nearest, ties to even.
    Nearest = 0,
    /// Towards zero.
    Zero = 1,
    /// Towards minus infinity.
    Down = 2,
    /// Towards plus infinity.
    Up = 3,
    /// To nearest, ties away from zero.
    Away = 4,
}

impl Round {
    pub fn from_name(name: &str) -> Option<Round> {
        Some(match name {
            "rn" => Round::Nearest,
            "rz" => Round::Zero,
            "rm" => Round::Down,
            "rp" => Round::Up,
            "rna" => Round::Away,
            _ => return None,
        })
    }

    pub fn from_bits(bits: u32) -> Round {
        [Round::Nearest, Round::Zero, Round::Down, Round::Up, Round::Away][bits as usize % 5]
    }
}

/// A binary format: significant bits, and exponent of the smallest normal and of the largest value.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub bits: u32,
    pub low: i32,
    pub high: i32,
}

pub const F64: Format = Format { bits: 53, low: -1022, high: 1023 };
pub const F32: Format = Format { bits: 24, low: -126, high: 127 };
pub const F16: Format = Format { bits: 11, low: -14, high: 15 };
pub const BF16: Format = Format { bits: 8, low: -126, high: 127 };
pub const TF32: Format = Format { bits: 11, low: -126, high: 127 };

/// A finite nonzero value: `mant × 2^exp`.
#[derive(Clone, Copy)]
struct Parts {
    negative: bool,
    mant: u128,
    exp: i32,
}

fn parts(v: f64) -> Parts {
    let bits = v.to_bits();
    let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let (mant, exp) = if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
    Parts { negative: v.is_sign_negative(), mant: u128::from(mant), exp }
}

fn shift_jam(v: u128, by: u32) -> u128 {
    match by {
        0 => v,
        1..=127 => v >> by | u128::from(v << (128 - by) != 0),
        _ => u128::from(v != 0),
    }
}

/// 2^e for exponents of f64, subnormal ones included.
fn power(e: i32) -> f64 {
    if e >= -1022 { f64::from_bits(((e + 1023) as u64) << 52) } else { f64::from_bits(1 << (e + 1074)) }
}

/// Rounds `mant × 2^exp` (mant's lowest bit may be a jam) into a format; the result as f64.
fn round(p: Parts, fmt: Format, mode: Round) -> f64 {
    let sign = |v: f64| if p.negative { -v } else { v };
    if p.mant == 0 {
        return sign(0.0);
    }
    let top = 127 - p.mant.leading_zeros() as i32;
    let e = p.exp + top;
    // Exponent of the last place kept.
    let last = e.max(fmt.low) - (fmt.bits as i32 - 1);
    let drop = last - p.exp;
    let (kept, rest, half) = if drop <= 0 {
        (p.mant << (-drop).min(127), 0, 1)
    } else if drop > 126 {
        (0, 1, 2)
    } else {
        (p.mant >> drop, p.mant & ((1 << drop) - 1), 1u128 << (drop - 1))
    };
    let up = match mode {
        Round::Nearest => rest > half || (rest == half && rest != 0 && kept & 1 == 1),
        Round::Away => rest >= half && rest != 0,
        Round::Zero => false,
        Round::Down => rest != 0 && p.negative,
        Round::Up => rest != 0 && !p.negative,
    };
    let kept = kept + u128::from(up);
    let largest = (((1u64 << fmt.bits) - 1) as f64) * power(fmt.high - fmt.bits as i32 + 1);
    let overflow = match mode {
        Round::Nearest | Round::Away => f64::INFINITY,
        Round::Zero => largest,
        Round::Down => {
            if p.negative {
                f64::INFINITY
            } else {
                largest
            }
        }
        Round::Up => {
            if p.negative {
                largest
            } else {
                f64::INFINITY
            }
        }
    };
    if kept == 0 {
        return sign(0.0);
    }
    if last + 127 - kept.leading_zeros() as i32 > fmt.high {
        return sign(overflow);
    }
    // kept has at most 53 bits plus a carry: exact; the scale is split so that neither factor overflows.
    let half_scale = last / 2;
    sign(kept as f64 * power(half_scale) * power(last - half_scale))
}

/// `a × b + c`, rounded once.
pub fn fma(a: f64, b: f64, c: f64, fmt: Format, mode: Round) -> f64 {
    if !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return a * b + c;
    }
    if a == 0.0 || b == 0.0 {
        let product = a * b;
        if c == 0.0 {
            return zero_sum(product.is_sign_negative(), c.is_sign_negative(), mode);
        }
        return round(parts(c), fmt, mode);
    }
    let (pa, pb) = (parts(a), parts(b));
    let mut p = Parts { negative: pa.negative ^ pb.negative, mant: pa.mant * pb.mant, exp: pa.exp + pb.exp };
    if c == 0.0 {
        return round(p, fmt, mode);
    }
    let mut q = parts(c);
    for v in [&mut p, &mut q] {
        let up = v.mant.leading_zeros() - 2;
        v.mant <<= up;
        v.exp -= up as i32;
    }
    let (big, mut small) = if p.exp >= q.exp { (p, q) } else { (q, p) };
    small.mant = shift_jam(small.mant, (big.exp - small.exp) as u32);
    let sum = if big.negative == small.negative {
        Parts { mant: big.mant + small.mant, ..big }
    } else if big.mant >= small.mant {
        Parts { mant: big.mant - small.mant, ..big }
    } else {
        Parts { mant: small.mant - big.mant, negative: small.negative, exp: big.exp }
    };
    if sum.mant == 0 {
        return zero_sum(p.negative, q.negative, mode);
    }
    round(sum, fmt, mode)
}

/// The sign of a sum that is exactly zero.
fn zero_sum(a_negative: bool, b_negative: bool, mode: Round) -> f64 {
    let negative = if a_negative == b_negative { a_negative } else { mode == Round::Down };
    if negative { -0.0 } else { 0.0 }
}

/// `a + b`.
pub fn add(a: f64, b: f64, fmt: Format, mode: Round) -> f64 {
    fma(a, 1.0, b, fmt, mode)
}

/// `a × b`.
pub fn mul(a: f64, b: f64, fmt: Format, mode: Round) -> f64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return a * b;
    }
    let (pa, pb) = (parts(a), parts(b));
    round(Parts { negative: pa.negative ^ pb.negative, mant: pa.mant * pb.mant, exp: pa.exp + pb.exp }, fmt, mode)
}

/// `a / b`.
pub fn div(a: f64, b: f64, fmt: Format, mode: Round) -> f64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return a / b;
    }
    let (pa, pb) = (parts(a), parts(b));
    // One bit stays free: a divisor may have a single one.
    let up = pa.mant.leading_zeros() - 1;
    let numerator = pa.mant << up;
    let quotient = numerator / pb.mant;
    let jam = u128::from(!numerator.is_multiple_of(pb.mant));
    // The quotient has at least 73 bits: one more place holds the jam.
    let mant = quotient << 1 | jam;
    round(Parts { negative: pa.negative ^ pb.negative, mant, exp: pa.exp - up as i32 - pb.exp - 1 }, fmt, mode)
}

/// The square root.
pub fn sqrt(a: f64, fmt: Format, mode: Round) -> f64 {
    if a.is_nan() || a <= 0.0 || a.is_infinite() {
        return a.sqrt();
    }
    let p = parts(a);
    let mut up = p.mant.leading_zeros() - 2;
    up -= (p.exp - up as i32).rem_euclid(2) as u32;
    let (n, exp) = (p.mant << up, p.exp - up as i32);
    let mut root = n.isqrt();
    let jam = u128::from(root * root != n);
    root = root << 1 | jam;
    round(Parts { negative: false, mant: root, exp: exp / 2 - 1 }, fmt, mode)
}

/// A value in a narrower format.
pub fn convert(a: f64, fmt: Format, mode: Round) -> f64 {
    if !a.is_finite() || a == 0.0 {
        return a;
    }
    round(parts(a), fmt, mode)
}
