//! Sine, cosine and tangent of every f32, through f64, without a branch: they vectorise.
//!
//! The reduction is that of Payne & Hanek ("Radian reduction for trigonometric functions", 1983): x = m 2ˢ with an
//! integer m below 2²⁴, and 2ˢ · 2/π modulo 4 comes from a table, in two parts, so that m times the first is exact.

use std::f64::consts::FRAC_PI_2;

/// The first 320 bits of 2/π.
const TWO_OVER_PI: [u32; 10] = [
    0xa2f9_836e,
    0x4e44_1529,
    0xfc27_57d1,
    0xf534_ddc0,
    0xdb62_9599,
    0x3c43_9041,
    0xfe51_63ab,
    0xdebb_c561,
    0xb724_6e3a,
    0x424d_d2e0,
];

/// Bits `from..from + count` (at most 64) of 2/π, the first being worth ½.
const fn bits(from: usize, count: usize) -> u64 {
    let mut value = 0;
    let mut i = from;
    while i < from + count {
        value = value << 1 | (TWO_OVER_PI[i / 32] >> (31 - i % 32) & 1) as u64;
        i += 1;
    }
    value
}

const fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// By biased exponent of x: 2ˢ · 2/π modulo 4, 29 bits and the 64 after them.
const fn quarters() -> [[f64; 2]; 256] {
    let mut table = [[f64::NAN; 2]; 256];
    let mut exponent = 0;
    while exponent < 255 {
        // Subnormal numbers have the exponent of the smallest normal ones.
        let s = if exponent == 0 { 1 } else { exponent } - 150;
        // Bit k of 2/π is worth 2^(s − k − 1); those from 4 on drop out.
        let from = if s > 2 { s - 2 } else { 0 };
        let high = bits(from as usize, 29) as f64 * power_of_two(s - from - 29);
        let low = bits(from as usize + 29, 64) as f64 * power_of_two(s - from - 93);
        table[exponent as usize] = [high, low];
        exponent += 1;
    }
    table
}

static QUARTERS: [[f64; 2]; 256] = quarters();

/// |x| as quarter turns: their number (its low bits in those of the second value) and the rest in radians, at most π/4.
#[inline(always)]
fn reduce(x: f32) -> (f64, u64) {
    const ROUND: f64 = (3u64 << 51) as f64;
    let bits = x.to_bits() & 0x7fff_ffff;
    let exponent = bits >> 23;
    let implicit = if exponent == 0 { 0 } else { 1 << 23 };
    let m = ((bits & 0x7f_ffff) | implicit) as i32 as f64;
    let [high, low] = QUARTERS[(exponent & 255) as usize];
    let turns = m * high;
    let rounded = m.mul_add(low, turns) + ROUND;
    let rest = m.mul_add(low, turns - (rounded - ROUND));
    (rest * FRAC_PI_2, rounded.to_bits())
}

/// Sine and cosine for |r| ≤ π/4, to 2⁻³⁷.
#[inline(always)]
fn reduced(r: f64) -> (f64, f64) {
    let z = r * r;
    let s = 2.716964309110184e-06f64
        .mul_add(z, -0.00019839160831534804)
        .mul_add(z, 0.00833332864500319)
        .mul_add(z, -0.16666666630170537)
        .mul_add(z, -4.547190468521859e-12);
    let c = (-2.716961555116668e-07f64)
        .mul_add(z, 2.479887554656172e-05)
        .mul_add(z, -0.0013888880137186553)
        .mul_add(z, 0.04166666653893945)
        .mul_add(z, -0.49999999999318084)
        .mul_add(z, 0.999999999999941);
    (r.mul_add(s, r), c)
}

#[inline(always)]
fn flip(value: f64, sign: u64) -> f64 {
    f64::from_bits(value.to_bits() ^ sign << 63)
}

#[inline(always)]
pub(super) fn sin(x: f32) -> f32 {
    let (r, n) = reduce(x);
    let (s, c) = reduced(r);
    flip(if n & 1 == 0 { s } else { c }, (n >> 1 & 1) ^ (x.to_bits() >> 31) as u64) as f32
}

#[inline(always)]
pub(super) fn cos(x: f32) -> f32 {
    let (r, n) = reduce(x);
    let (s, c) = reduced(r);
    flip(if n & 1 == 0 { c } else { s }, (n >> 1 & 1) ^ (n & 1)) as f32
}

#[inline(always)]
pub(super) fn tan(x: f32) -> f32 {
    let (r, n) = reduce(x);
    let (s, c) = reduced(r);
    let t = if n & 1 == 0 { s / c } else { -c / s };
    flip(t, (x.to_bits() >> 31) as u64) as f32
}
