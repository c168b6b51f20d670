//! From random words to numbers, in operations that every IEEE machine rounds alike.

use crate::device::cpu::Real;

/// f32 or f64 with the words of its draws.
pub(super) trait Variate: Real {
    /// Words of one uniform draw.
    const WORDS: usize;
    /// Uniform in [0, 1) with `digits` binary digits.
    fn unit(words: &[u32], digits: u32) -> Self;
    /// Uniform in (0, 1].
    fn positive(words: &[u32]) -> Self;
    /// The sine and cosine of a uniform angle.
    fn direction(words: &[u32]) -> (Self, Self);
}

#[inline(always)]
fn poly<A: Real, const K: usize>(x: A, c: [A; K]) -> A {
    let mut y = c[K - 1];
    for i in (0..K - 1).rev() {
        y = y.mul_add(x, c[i]);
    }
    y
}

/// Sine and cosine of f + n quarter turns, from those of f.
#[inline(always)]
fn turned<A: Real>(sin: A, cos: A, n: u32) -> (A, A) {
    let (s, c) = if n & 1 == 0 { (sin, cos) } else { (cos, sin) };
    (if n & 2 == 0 { s } else { -s }, if (n ^ n >> 1) & 1 == 0 { c } else { -c })
}

impl Variate for f32 {
    const WORDS: usize = 1;

    #[inline(always)]
    fn unit(words: &[u32], digits: u32) -> f32 {
        // Exact: at most 24 bits times a power of two.
        (words[0] >> (32 - digits)) as i32 as f32 * f32::from_bits((127 - digits) << 23)
    }

    #[inline(always)]
    fn positive(words: &[u32]) -> f32 {
        const STEP: f32 = 1.0 / 4294967296.0;
        (words[0] as f32).mul_add(STEP, STEP / 2.0)
    }

    /// sin and cos of π/2 · f, |f| ≤ 1/2, by polynomials good to 2⁻²⁵.
    #[inline(always)]
    fn direction(words: &[u32]) -> (f32, f32) {
        let n = words[0].wrapping_add(1 << 29) >> 30;
        let f = words[0].wrapping_sub(n << 30) as i32 as f32 * (1.0 / (1 << 30) as f32);
        let z = f * f;
        let s = f * poly(z, [1.5707964, -0.6459641, 0.07969258, -0.0046812664, 0.0001582063]);
        let c = poly(z, [1.0, -1.2337005, 0.2536692, -0.02086007, 0.00090362807]);
        turned(s, c, n)
    }
}

impl Variate for f64 {
    const WORDS: usize = 2;

    #[inline(always)]
    fn unit(words: &[u32], digits: u32) -> f64 {
        (long(words) >> (64 - digits)) as f64 * f64::from_bits(((1023 - digits) as u64) << 52)
    }

    #[inline(always)]
    fn positive(words: &[u32]) -> f64 {
        ((long(words) >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// sin and cos of π/2 · f, |f| ≤ 1/2, by polynomials good to 2⁻⁵⁴.
    #[inline(always)]
    fn direction(words: &[u32]) -> (f64, f64) {
        let w = long(words);
        let n = w.wrapping_add(1 << 61) >> 62;
        let f = w.wrapping_sub(n << 62) as i64 as f64 * (1.0 / (1u64 << 62) as f64);
        let z = f * f;
        #[rustfmt::skip]
        let s = f * poly(z, [
            std::f64::consts::FRAC_PI_2, -0.6459640975062463, 0.07969262624616692, -0.004681754135314827,
            0.0001604411847266723, -3.598842717144858e-06, 5.691927850489633e-08, -6.627624938992472e-10,
        ]);
        #[rustfmt::skip]
        let c = poly(z, [
            1.0, -1.2337005501361697, 0.25366950790104803, -0.020863480763352916, 0.0009192602748385331,
            -2.5202042362733303e-05, 4.7108740775364384e-07, -6.386325463386356e-09, 6.506654235424698e-11,
        ]);
        turned(s, c, n as u32)
    }
}

#[inline(always)]
fn long(words: &[u32]) -> u64 {
    words[0] as u64 | (words[1] as u64) << 32
}

/// Two independent standard normal numbers (Box & Muller 1958): √(−2 ln u) times a uniform direction.
#[inline(always)]
pub(super) fn normal_pair<A: Variate>(words: &[u32]) -> (A, A) {
    let radius = (A::of(-2.0) * A::positive(&words[..A::WORDS]).ln()).sqrt();
    let (sin, cos) = A::direction(&words[A::WORDS..]);
    (radius * cos, radius * sin)
}

/// A gamma variate of scale 1 (Marsaglia & Tsang 2000) from the blocks that `attempt` gives, one to an attempt.
/// Below shape 1 it is a variate of shape + 1 times u^(1/shape). (Words have 32 bits in f64 too.)
#[inline(always)]
pub(super) fn gamma<A: Variate>(shape: A, mut attempt: impl FnMut(u32) -> [u32; 4]) -> A {
    let third = A::ONE / A::of(3.0);
    let small = shape < A::ONE;
    let d = (if small { shape + A::ONE } else { shape }) - third;
    let c = third / d.sqrt();
    let mut boost = A::ONE;
    // An attempt is rejected once in twenty times at most; the end is never reached.
    for k in 0..u32::MAX {
        let words = attempt(k);
        if k == 0 && small {
            boost = (A::of(f32::positive(&words[3..]) as f64).ln() / shape).exp();
        }
        let x = A::of(normal_pair::<f32>(&words[..2]).0 as f64);
        let root = c.mul_add(x, A::ONE);
        if root <= A::ZERO {
            continue;
        }
        let v = root * root * root;
        let limit = (A::of(0.5) * x).mul_add(x, d * (A::ONE - v + v.ln()));
        if A::of(f32::positive(&words[2..3]) as f64).ln() < limit {
            return d * v * boost;
        }
    }
    d
}
