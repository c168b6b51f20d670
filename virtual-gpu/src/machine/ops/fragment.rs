//! Matrix operands as the registers of a warp hold them, and their products.
//!
//! With E elements in a 32-bit register, register r of A holds rows 8(r mod 2) to 8(r mod 2) + 7 of the columns from
//! 4E(r div 2) on: lane 4·row + j has elements j·E to j·E + E - 1. Register r of B is the same of Bᵀ, all of whose 8
//! rows fit one register. Accumulator registers 2h and 2h + 1 hold the even and the odd columns of rows 8h to 8h + 7,
//! lane 4·row + j those of columns 2j and 2j + 1. A product therefore needs, for each k, a value of A spread over four
//! neighbouring lanes and four values of B repeated eight times: nothing crosses a vector of 4 × 32 bits.

use super::half::{b2f, h2f};
use crate::machine::lanes::wide_vectors;
use crate::ptx::Ty;

/// The lanes of registers, widened: for each register one array for each of the E elements in a lane.
pub type Widened = [[f32; 32]];
/// Accumulators of 16 × 8 elements.
pub type Sums = [[f32; 32]; 4];
/// For each k in order: the even and the odd columns of B.
pub type Columns = [[[f32; 4]; 2]; 32];

/// Room for widened operands, kept by a worker so that it is not cleared for every product.
pub struct Scratch {
    /// Up to four registers of four elements.
    pub a: [[f32; 32]; 16],
    /// Up to two registers.
    pub b: [[f32; 32]; 8],
    pub columns: Columns,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { a: [[0.0; 32]; 16], b: [[0.0; 32]; 8], columns: [[[0.0; 4]; 2]; 32] }
    }
}

/// Widens an 8-bit float; branch-free, so that it vectorises.
#[inline(always)]
fn f8(bits: u8, e5m2: bool) -> f32 {
    if e5m2 {
        // The upper half of a binary16.
        return h2f(u16::from(bits) << 8);
    }
    let rest = u32::from(bits & 0x7f);
    // Scaling by 2^120 moves the exponent, subnormals included.
    let scaled = f32::from_bits(rest << 20) * f32::from_bits(0x7b80_0000);
    let v = if rest == 0x7f { 0x7fff_ffff } else { scaled.to_bits() };
    f32::from_bits(v | u32::from(bits & 0x80) << 24)
}

/// Widens a register of a float type with E elements into E arrays.
#[inline(always)]
pub fn widen<const E: usize>(raw: &[u32; 32], ty: Ty, out: &mut Widened) {
    #[cfg(target_arch = "x86_64")]
    if wide_vectors() {
        // SAFETY: the machine has AVX-512.
        return unsafe { widen_wide::<E>(raw, ty, out) };
    }
    widen_portable::<E>(raw, ty, out);
}

#[inline(always)]
fn widen_portable<const E: usize>(raw: &[u32; 32], ty: Ty, out: &mut Widened) {
    // Plain loops: closures that are not inlined lose the vector extensions of their caller.
    macro_rules! each {
        ($v:ident => $f:expr) => {
            for e in 0..E {
                for l in 0..32 {
                    let $v = raw[l] >> (32 / E * e);
                    out[e][l] = $f;
                }
            }
        };
    }
    match ty {
        Ty::F16 => each!(v => h2f(v as u16)),
        Ty::BF16 => each!(v => b2f(v as u16)),
        Ty::TF32 => each!(v => f32::from_bits(v & 0xffff_e000)),
        Ty::E5M2 => each!(v => f8(v as u8, true)),
        _ => each!(v => f8(v as u8, false)),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
fn widen_wide<const E: usize>(raw: &[u32; 32], ty: Ty, out: &mut Widened) {
    use std::arch::x86_64::*;
    if E == 4 {
        return widen_portable::<E>(raw, ty, out);
    }
    let cut = _mm512_set1_epi32(0xffff_e000_u32 as i32);
    let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    for h in 0..2 {
        // SAFETY: halves of arrays of 32 values.
        unsafe {
            let v = _mm512_loadu_si512(raw.as_ptr().add(16 * h).cast());
            let mut put = |e: usize, v: __m512| _mm512_storeu_ps(out[e].as_mut_ptr().add(16 * h), v);
            if E == 1 {
                put(0, _mm512_castsi512_ps(_mm512_and_si512(v, cut)));
            } else if ty == Ty::BF16 {
                put(0, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v)));
                put(1, _mm512_castsi512_ps(_mm512_and_si512(v, high)));
            } else {
                put(0, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)));
                put(1, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(v))));
            }
        }
    }
}

/// The columns of B by k, from its registers.
#[inline(always)]
pub fn columns<const E: usize>(b: &Widened, out: &mut Columns) {
    #[cfg(target_arch = "x86_64")]
    if wide_vectors() {
        // SAFETY: the machine has AVX-512.
        return unsafe { columns_wide::<E>(b, out) };
    }
    for (r, register) in b.chunks_exact(E).enumerate() {
        for j in 0..4 {
            for (e, lanes) in register.iter().enumerate() {
                for col in 0..8 {
                    out[(4 * r + j) * E + e][col & 1][col / 2] = lanes[4 * col + j];
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn columns_wide<const E: usize>(b: &Widened, out: &mut Columns) {
    use std::arch::x86_64::*;
    // Lanes 4·col + j for two j: even columns, odd columns.
    let first = _mm512_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28, 1, 9, 17, 25, 5, 13, 21, 29);
    let second = _mm512_add_epi32(first, _mm512_set1_epi32(2));
    for (r, register) in b.chunks_exact(E).enumerate() {
        for (e, lanes) in register.iter().enumerate() {
            // SAFETY: the halves of 32 values, and columns of 8 values each.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(lanes.as_ptr()), _mm512_loadu_ps(lanes.as_ptr().add(16)));
                for (pair, index) in [first, second].into_iter().enumerate() {
                    let v = _mm512_castps_pd(_mm512_permutex2var_ps(low, index, high));
                    let mut put = |j: usize, v: __m256d| {
                        let to = out[(4 * r + j) * E + e].as_mut_ptr().cast::<f32>();
                        _mm256_storeu_ps(to, _mm256_castpd_ps(v));
                    };
                    put(2 * pair, _mm512_castpd512_pd256(v));
                    put(2 * pair + 1, _mm512_extractf64x4_pd::<1>(v));
                }
            }
        }
    }
}

/// A register of pairs of 16-bit floats in two halves, as the even and the odd elements of each half.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
fn pairs_wide(words: std::arch::x86_64::__m512i, bf16: bool) -> [std::arch::x86_64::__m512; 2] {
    use std::arch::x86_64::*;
    if bf16 {
        let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
        [even, _mm512_castsi512_ps(_mm512_and_si512(words, high))]
    } else {
        let even = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
        [even, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words)))]
    }
}

/// `columns` of one register of pairs of 16-bit floats, given as its two halves, from entry 0 of `out` on.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
fn columns_of_pairs([low, upper]: [std::arch::x86_64::__m512i; 2], bf16: bool, out: &mut [[[f32; 4]; 2]; 8]) {
    use std::arch::x86_64::*;
    let first = _mm512_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28, 1, 9, 17, 25, 5, 13, 21, 29);
    let second = _mm512_add_epi32(first, _mm512_set1_epi32(2));
    let to = out.as_mut_ptr().cast::<f32>();
    for (pair, index) in [first, second].into_iter().enumerate() {
        let [even, odd] = pairs_wide(_mm512_permutex2var_epi32(low, index, upper), bf16);
        // SAFETY: four entries of eight floats each for either pair.
        unsafe {
            _mm512_storeu_ps(to.add(32 * pair), _mm512_shuffle_f32x4::<0b01_00_01_00>(even, odd));
            _mm512_storeu_ps(to.add(32 * pair + 16), _mm512_shuffle_f32x4::<0b11_10_11_10>(even, odd));
        }
    }
}

/// The columns of a B of 16-bit floats from the memory of Bᵀ: `rows` are its eight rows' first 16 bytes, then their second.
/// What `widen` and `columns` make of it, without a round through memory.
///
/// # Safety
/// 16 bytes can be read at each address, and the machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub unsafe fn columns_of_rows(rows: &[*const u8; 16], bf16: bool, out: &mut Columns) {
    use std::arch::x86_64::*;
    for (part, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate().take(2) {
        let halves = [0, 4].map(|from| {
            // SAFETY: the caller vouches for the addresses.
            let row = |k: usize| unsafe { _mm_loadu_si128(rows[8 * part + from + k].cast()) };
            let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(0)), row(1));
            let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(2)), row(3));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        });
        columns_of_pairs(halves, bf16, out);
    }
}

/// What `widen` and `columns` make of the registers of A and B where their elements are 16-bit floats.
///
/// # Safety
/// The machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")]
pub unsafe fn operands_of_pairs<const BLOCKS: usize>(
    a: [&[u32; 32]; 4],
    b: [&[u32; 32]; 2],
    bf16: bool,
    scratch: &mut Scratch,
) {
    use std::arch::x86_64::*;
    // SAFETY: halves of arrays of 32 values.
    let half = |raw: &[u32; 32], h: usize| unsafe { _mm512_loadu_si512(raw.as_ptr().add(16 * h).cast()) };
    for r in 0..2 * BLOCKS {
        for h in 0..2 {
            for (e, v) in pairs_wide(half(a[r], h), bf16).into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(scratch.a[2 * r + e].as_mut_ptr().add(16 * h), v) };
            }
        }
    }
    for (r, out) in scratch.columns.as_chunks_mut::<8>().0.iter_mut().enumerate().take(BLOCKS) {
        columns_of_pairs([half(b[r], 0), half(b[r], 1)], bf16, out);
    }
}

/// `acc += A·B`, the products of an element added in the order of k, each sum rounded once.
#[inline(always)]
pub fn product<const E: usize>(a: &Widened, b: &Columns, acc: &mut Sums) {
    #[cfg(target_arch = "x86_64")]
    if wide_vectors() {
        // SAFETY: the machine has AVX-512.
        return unsafe {
            let to = acc.each_mut().map(|sums| sums.as_mut_ptr());
            product_wide::<E, false>(a, b, to.map(|p| p.cast_const()), to)
        };
    }
    product_portable::<E>(a, b, acc);
}

fn product_portable<const E: usize>(a: &Widened, b: &Columns, acc: &mut Sums) {
    for (block, pair) in a.chunks_exact(2 * E).enumerate() {
        for j in 0..4 {
            for e in 0..E {
                let columns = &b[(4 * block + j) * E + e];
                for (k, sums) in acc.iter_mut().enumerate() {
                    let (rows, columns) = (&pair[k / 2 * E + e], &columns[k & 1]);
                    for (l, sum) in sums.iter_mut().enumerate() {
                        *sum = multiply_add(rows[l & !3 | j], columns[l & 3], *sum);
                    }
                }
            }
        }
    }
}

/// `a × b + c` rounded once, without the instruction: the product is exact in f64, and where the sum is not, its last
/// bit is set from the error, so that the rounding to f32 sees which side of a tie it is on (Boldo, Melquiond 2008).
#[inline(always)]
pub fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let s = p + c;
    let t = s - p;
    let error = (p - (s - t)) + (c - t);
    let bits = s.to_bits();
    // Towards the error when that is further from zero than s, else one step back.
    let odd = if (error > 0.0) == (bits >> 63 == 0) { bits | 1 } else { bits.wrapping_sub(1) | 1 };
    let inexact = error != 0.0 && error.is_finite() && bits & 1 == 0;
    f64::from_bits(if inexact { odd } else { bits }) as f32
}

/// As `product`, from the registers at `c` to those at `d`, NaNs made canonical if `CANON`.
///
/// # Safety
/// Each of `c` and `d` is a register of 32 floats, and the machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub unsafe fn product_wide<const E: usize, const CANON: bool>(
    a: &Widened,
    b: &Columns,
    c: [*const f32; 4],
    d: [*mut f32; 4],
) {
    use std::arch::x86_64::*;
    // SAFETY: every load and store covers one half of an array of 32 values, or four of the columns'.
    unsafe {
        let half = |v: *const f32, h: usize| _mm512_loadu_ps(v.add(16 * h));
        let mut sums = [[_mm512_setzero_ps(); 2]; 4];
        for (sums, c) in sums.iter_mut().zip(c) {
            *sums = [half(c, 0), half(c, 1)];
        }
        for (block, pair) in a.chunks_exact(2 * E).enumerate() {
            macro_rules! step {
                ($j:literal, $all:literal) => {
                    for e in 0..E {
                        let columns = &b[(4 * block + $j) * E + e];
                        let even = _mm512_broadcast_f32x4(_mm_loadu_ps(columns[0].as_ptr()));
                        let odd = _mm512_broadcast_f32x4(_mm_loadu_ps(columns[1].as_ptr()));
                        for rows in 0..2 {
                            for h in 0..2 {
                                let v = _mm512_permute_ps::<$all>(half(pair[rows * E + e].as_ptr(), h));
                                sums[2 * rows][h] = _mm512_fmadd_ps(v, even, sums[2 * rows][h]);
                                sums[2 * rows + 1][h] = _mm512_fmadd_ps(v, odd, sums[2 * rows + 1][h]);
                            }
                        }
                    }
                };
            }
            step!(0, 0x00);
            step!(1, 0x55);
            step!(2, 0xaa);
            step!(3, 0xff);
        }
        let nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fff_ffff));
        for (d, sums) in d.into_iter().zip(sums) {
            for (h, v) in sums.into_iter().enumerate() {
                let bad = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
                let v = if CANON { _mm512_mask_mov_ps(v, bad, nan) } else { v };
                _mm512_storeu_ps(d.add(16 * h), v);
            }
        }
    }
}

/// Products of integer elements: for the even and the odd columns the sums over the words of a row of A and a column of
/// B, each pair of words multiplied by `dot`. `a` has a register for each block of columns, `b` the same of Bᵀ.
#[inline(always)]
pub fn integer_sums(a: &[[u32; 32]], b: &[[u32; 32]], dot: impl Fn(u32, u32) -> i32) -> [[i32; 32]; 2] {
    let mut out = [[0i32; 32]; 2];
    for (a, b) in a.iter().zip(b) {
        for (odd, out) in out.iter_mut().enumerate() {
            for (l, sum) in out.iter_mut().enumerate() {
                let (row, col) = (l / 4, 2 * (l % 4) + odd);
                for j in 0..4 {
                    *sum = sum.wrapping_add(dot(a[4 * row + j], b[4 * col + j]));
                }
            }
        }
    }
    out
}

/// How words of integer elements multiply: types of A and B, and whether bits combine by exclusive or.
#[inline(always)]
pub fn integer_product(a: &[[u32; 32]], b: &[[u32; 32]], ta: Ty, tb: Ty, xor: bool) -> [[i32; 32]; 2] {
    #[inline(always)]
    fn bytes(a: u32, b: u32, f: impl Fn(u32) -> i32, g: impl Fn(u32) -> i32) -> i32 {
        (0..4).map(|k| f(a >> (8 * k)) * g(b >> (8 * k))).sum()
    }
    #[inline(always)]
    fn nibbles(a: u32, b: u32, f: impl Fn(u32) -> i32, g: impl Fn(u32) -> i32) -> i32 {
        (0..8).map(|k| f(a >> (4 * k)) * g(b >> (4 * k))).sum()
    }
    let (s8, u8): (fn(u32) -> i32, fn(u32) -> i32) = (|v| i32::from(v as i8), |v| i32::from(v as u8));
    let (s4, u4): (fn(u32) -> i32, fn(u32) -> i32) = (|v| (v << 28) as i32 >> 28, |v| (v & 15) as i32);
    match (ta, tb) {
        (Ty::B1, _) if xor => integer_sums(a, b, |x, y| (x ^ y).count_ones() as i32),
        (Ty::B1, _) => integer_sums(a, b, |x, y| (x & y).count_ones() as i32),
        (Ty::S8, Ty::S8) => integer_sums(a, b, |x, y| bytes(x, y, s8, s8)),
        (Ty::S8, _) => integer_sums(a, b, |x, y| bytes(x, y, s8, u8)),
        (Ty::U8, Ty::S8) => integer_sums(a, b, |x, y| bytes(x, y, u8, s8)),
        (Ty::U8, _) => integer_sums(a, b, |x, y| bytes(x, y, u8, u8)),
        (Ty::S4, Ty::S4) => integer_sums(a, b, |x, y| nibbles(x, y, s4, s4)),
        (Ty::S4, _) => integer_sums(a, b, |x, y| nibbles(x, y, s4, u4)),
        (_, Ty::S4) => integer_sums(a, b, |x, y| nibbles(x, y, u4, s4)),
        _ => integer_sums(a, b, |x, y| nibbles(x, y, u4, u4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(state: &mut u64) -> u32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 32) as u32
    }

    /// Values of all magnitudes, many of which cancel.
    fn value(state: &mut u64) -> f32 {
        let bits = draw(state);
        match bits % 5 {
            0 => f32::from_bits(bits & 0xffff_e000),
            1 => (bits >> 20) as f32 - 2048.0,
            2 => f32::from_bits(bits & 0x80ff_ffff),
            _ => f32::from_bits(bits & 0x83ff_ffff | 0x3c00_0000),
        }
    }

    #[test]
    fn the_sum_rounds_as_the_instruction_does() {
        let mut state = 1;
        for _ in 0..200_000 {
            let (a, b) = (value(&mut state), value(&mut state));
            // A third of the sums nearly cancel the product.
            let c = if draw(&mut state).is_multiple_of(3) { -(a * b) } else { value(&mut state) };
            let (got, want) = (multiply_add(a, b, c), a.mul_add(b, c));
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            assert!(same, "{a:e} × {b:e} + {c:e}: {got:e}, not {want:e}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn columns_are_those_of_widened_registers() {
        if !wide_vectors() {
            return;
        }
        let mut state = 3;
        for ty in [Ty::BF16, Ty::F16] {
            let raw: [[u32; 32]; 2] = std::array::from_fn(|_| std::array::from_fn(|_| draw(&mut state)));
            let mut wide = [[0f32; 32]; 4];
            for (raw, wide) in raw.iter().zip(wide.chunks_exact_mut(2)) {
                widen_portable::<2>(raw, ty, wide);
            }
            let (mut want, mut got) = (Scratch::default().columns, Scratch::default().columns);
            columns::<2>(&wide, &mut want);
            let rows = std::array::from_fn(|r| raw[r / 8][4 * (r % 8)..].as_ptr().cast());
            // SAFETY: each row is four words of `raw`.
            unsafe { columns_of_rows(&rows, ty == Ty::BF16, &mut got) };
            let same = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            let flat = |c: &Columns| c.as_flattened().as_flattened()[..128].to_vec();
            assert!(flat(&want).iter().zip(&flat(&got)).all(same), "{ty:?}");
        }
    }

    #[test]
    fn both_versions_have_the_same_bits() {
        if !wide_vectors() {
            return;
        }
        let mut state = 2;
        for _ in 0..50 {
            let mut a = [[0f32; 32]; 8];
            for v in a.iter_mut().flatten() {
                *v = b2f((value(&mut state).to_bits() >> 16) as u16);
            }
            let mut b = Scratch::default().columns;
            columns::<2>(&a[..4], &mut b);
            let start: Sums = std::array::from_fn(|_| std::array::from_fn(|_| value(&mut state)));
            let (mut x, mut y) = (start, start);
            product::<2>(&a, &b, &mut x);
            product_portable::<2>(&a, &b, &mut y);
            let same = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            assert!(x.iter().flatten().zip(y.iter().flatten()).all(same));
        }
    }
}
