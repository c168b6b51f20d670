//! Exact numbers: sign, magnitude of any length, power of two. What is rounded is compared with them.

use std::cmp::Ordering;

/// `±magnitude × 2^exponent`.
#[derive(Clone, Debug)]
pub struct Exact {
    negative: bool,
    magnitude: Vec<u64>,
    exponent: i32,
}

impl Exact {
    pub fn integer(v: i128) -> Exact {
        let m = v.unsigned_abs();
        Exact { negative: v < 0, magnitude: vec![m as u64, (m >> 64) as u64], exponent: 0 }
    }

    pub fn power(exponent: i32) -> Exact {
        Exact { negative: false, magnitude: vec![1], exponent }
    }

    pub fn is_zero(&self) -> bool {
        self.magnitude.iter().all(|w| *w == 0)
    }

    pub fn negate(mut self) -> Exact {
        self.negative = !self.negative;
        self
    }

    pub fn abs(mut self) -> Exact {
        self.negative = false;
        self
    }

    pub fn is_negative(&self) -> bool {
        self.negative && !self.is_zero()
    }

    pub fn times(&self, o: &Exact) -> Exact {
        let mut out = vec![0u64; self.magnitude.len() + o.magnitude.len()];
        for (i, a) in self.magnitude.iter().enumerate() {
            let mut carry = 0u128;
            for (j, b) in o.magnitude.iter().enumerate() {
                let v = u128::from(*a) * u128::from(*b) + u128::from(out[i + j]) + carry;
                out[i + j] = v as u64;
                carry = v >> 64;
            }
            out[i + o.magnitude.len()] = carry as u64;
        }
        while out.len() > 1 && out.last() == Some(&0) {
            out.pop();
        }
        Exact { negative: self.negative != o.negative, magnitude: out, exponent: self.exponent + o.exponent }
    }

    /// The magnitude in units of `2^exponent`, which is not above the own exponent.
    fn aligned(&self, exponent: i32) -> Vec<u64> {
        let shift = (self.exponent - exponent) as usize;
        let (words, bits) = (shift / 64, shift % 64);
        let mut out = vec![0u64; words];
        let mut carry = 0u64;
        for w in &self.magnitude {
            out.push(if bits == 0 { *w } else { w << bits | carry });
            carry = if bits == 0 { 0 } else { w >> (64 - bits) };
        }
        out.push(carry);
        out
    }

    pub fn plus(&self, o: &Exact) -> Exact {
        if self.is_zero() {
            return o.clone();
        }
        if o.is_zero() {
            return self.clone();
        }
        let exponent = self.exponent.min(o.exponent);
        let (mut a, mut b) = (self.aligned(exponent), o.aligned(exponent));
        let n = a.len().max(b.len()) + 1;
        a.resize(n, 0);
        b.resize(n, 0);
        if self.negative == o.negative {
            let mut carry = false;
            for (x, y) in a.iter_mut().zip(&b) {
                let (s, c1) = x.overflowing_add(*y);
                let (s, c2) = s.overflowing_add(u64::from(carry));
                (*x, carry) = (s, c1 || c2);
            }
            return Exact { negative: self.negative, magnitude: a, exponent };
        }
        let less = a.iter().rev().cmp(b.iter().rev()) == Ordering::Less;
        let (mut large, small, negative) = if less { (b, a, o.negative) } else { (a, b, self.negative) };
        let mut borrow = false;
        for (x, y) in large.iter_mut().zip(&small) {
            let (s, c1) = x.overflowing_sub(*y);
            let (s, c2) = s.overflowing_sub(u64::from(borrow));
            (*x, borrow) = (s, c1 || c2);
        }
        Exact { negative, magnitude: large, exponent }
    }

    pub fn minus(&self, o: &Exact) -> Exact {
        self.plus(&o.clone().negate())
    }

    pub fn sign(&self) -> Ordering {
        match (self.is_zero(), self.negative) {
            (true, _) => Ordering::Equal,
            (_, true) => Ordering::Less,
            _ => Ordering::Greater,
        }
    }

    /// The same as `f64`, cut off: for messages and for approximate functions.
    pub fn to_f64(&self) -> f64 {
        let mut v = 0.0;
        for (k, w) in self.magnitude.iter().enumerate() {
            let e = self.exponent + 64 * k as i32;
            // In two steps, for subnormal results.
            v += *w as f64 * f64::powi(2.0, e / 2) * f64::powi(2.0, e - e / 2);
        }
        if self.negative { -v } else { v }
    }
}

/// A binary floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub bits: u32,
    pub fraction: u32,
    pub bias: i32,
    /// All ones in the exponent are infinities and NaNs; without it only all ones everywhere is a NaN.
    pub infinities: bool,
}

pub const F64: Format = Format { bits: 64, fraction: 52, bias: 1023, infinities: true };
pub const F32: Format = Format { bits: 32, fraction: 23, bias: 127, infinities: true };
pub const F16: Format = Format { bits: 16, fraction: 10, bias: 15, infinities: true };
pub const BF16: Format = Format { bits: 16, fraction: 7, bias: 127, infinities: true };
pub const E5M2: Format = Format { bits: 8, fraction: 2, bias: 15, infinities: true };
pub const E4M3: Format = Format { bits: 8, fraction: 3, bias: 7, infinities: false };

/// A decoded value.
#[derive(Clone, Debug)]
pub enum Value {
    Nan,
    Infinity(bool),
    /// A number, and whether its sign bit is set (for zeros).
    Number(Exact, bool),
}

impl Format {
    pub fn sign_bit(&self) -> u64 {
        1 << (self.bits - 1)
    }

    fn exponent_mask(&self) -> u64 {
        (1 << (self.bits - 1 - self.fraction)) - 1
    }

    /// Bits of the largest finite magnitude.
    pub fn largest(&self) -> u64 {
        let all = self.sign_bit() - 1;
        if self.infinities { all - (1 << self.fraction) } else { all - 1 }
    }

    pub fn infinity(&self) -> u64 {
        self.exponent_mask() << self.fraction
    }

    pub fn is_subnormal(&self, bits: u64) -> bool {
        bits >> self.fraction & self.exponent_mask() == 0 && bits & ((1 << self.fraction) - 1) != 0
    }

    pub fn is_nan(&self, bits: u64) -> bool {
        matches!(self.decode(bits), Value::Nan)
    }

    pub fn decode(&self, bits: u64) -> Value {
        let negative = bits & self.sign_bit() != 0;
        let fraction = bits & ((1 << self.fraction) - 1);
        let exponent = bits >> self.fraction & self.exponent_mask();
        if self.infinities && exponent == self.exponent_mask() {
            return if fraction == 0 { Value::Infinity(negative) } else { Value::Nan };
        }
        if !self.infinities && bits & (self.sign_bit() - 1) == self.sign_bit() - 1 {
            return Value::Nan;
        }
        Value::Number(self.number(bits & (self.sign_bit() - 1), negative), negative)
    }

    /// The value of a magnitude as if the exponent had no end, so that what follows the largest number has a value.
    fn number(&self, magnitude: u64, negative: bool) -> Exact {
        let fraction = magnitude & ((1 << self.fraction) - 1);
        let exponent = (magnitude >> self.fraction) as i32;
        let (m, e) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << self.fraction, exponent) };
        Exact { negative, magnitude: vec![m], exponent: e - self.bias - self.fraction as i32 }
    }

    /// Whether `got` is the exact value, of which only the sign of its distance from a number is known, rounded in a
    /// mode ("rn", "rz", "rm", "rp", "rna"). `distance(x)` is the sign of exact − x. `saturating`: what is too large
    /// becomes the largest finite number.
    pub fn is_rounded(&self, got: u64, mode: &str, saturating: bool, distance: &dyn Fn(&Exact) -> Ordering) -> bool {
        let magnitude = got & (self.sign_bit() - 1);
        if self.is_nan(got) || magnitude > self.infinity() && self.infinities {
            return false;
        }
        let exact_sign = distance(&Exact::integer(0));
        let negative = got & self.sign_bit() != 0;
        // A result of the wrong sign is wrong unless both are zero; the sign of zeros is the caller's.
        if exact_sign == Ordering::Equal {
            return magnitude == 0;
        }
        if negative != (exact_sign == Ordering::Less) {
            return false;
        }
        // From here on magnitudes: `beyond(x)` says where |exact| lies from x.
        let beyond = |x: &Exact| -> Ordering {
            let signed = if negative { x.clone().negate() } else { x.clone() };
            let d = distance(&signed);
            if negative { d.reverse() } else { d }
        };
        let here = self.number(magnitude, false);
        let after = self.number(magnitude + 1, false);
        let top = saturating && magnitude == self.largest();
        let half = Exact::power(-1);
        let below_half = |low: &Exact, high: &Exact| beyond(&low.plus(high).times(&half));
        let away = match mode {
            "rm" => negative,
            "rp" => !negative,
            _ => false,
        };
        match mode {
            "rn" | "rna" => {
                let even = magnitude & 1 == 0;
                let up = below_half(&here, &after);
                let not_higher = top
                    || magnitude == self.infinity() && self.infinities
                    || up == Ordering::Less
                    || up == Ordering::Equal && even && mode == "rn";
                let not_lower = magnitude == 0 || {
                    let down = below_half(&self.number(magnitude - 1, false), &here);
                    down == Ordering::Greater || down == Ordering::Equal && (even || mode == "rna")
                };
                not_higher && not_lower
            }
            _ if away => {
                let reached = top || magnitude == self.infinity() || beyond(&here) != Ordering::Greater;
                reached && magnitude != 0 && beyond(&self.number(magnitude - 1, false)) == Ordering::Greater
            }
            // Towards zero never reaches infinity.
            _ => {
                let finite = magnitude <= self.largest();
                let largest = magnitude == self.largest();
                finite && beyond(&here) != Ordering::Less && (largest || beyond(&after) == Ordering::Less)
            }
        }
    }
}

#[test]
fn rounding_is_judged_rightly() {
    // Against the conversions of the language, which round to nearest even.
    let mut state = 7u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let v = f64::from_bits((state & !(0x7ff << 52)) | (1023 - 160 + (state >> 52 & 0x1ff).min(300)) << 52);
        let Value::Number(exact, _) = F64.decode(v.to_bits()) else { continue };
        let distance = |x: &Exact| exact.minus(x).sign();
        let right = u64::from((v as f32).to_bits());
        assert!(F32.is_rounded(right, "rn", false, &distance), "{v:e}");
        if right & 0x7fff_ffff < 0x7f80_0000 {
            assert!(!F32.is_rounded(right + 1, "rn", false, &distance), "{v:e}");
        }
        if right & 0x7fff_ffff > 0 {
            assert!(!F32.is_rounded(right - 1, "rn", false, &distance), "{v:e}");
        }
    }
}
