//! Exponentials, logarithms and the error function for f32 and f64, made of IEEE +, −, ×, ÷, fma, sqrt, integer
//! operations and selects only: branch-free, so they vectorise, and with the same bits at every vector width.
//!
//! Range reductions follow Cody & Waite ("Software Manual for the Elementary Functions", 1980) and FDLIBM; the
//! polynomials interpolate at Chebyshev nodes, computed with 60 digits. Errors are those of [`Real`](super::Real)'s
//! documentation, which the tests of this module measure.

macro_rules! functions {
    (
        $real:ident, $bits:ident, $int:ident,
        mantissa: $mantissa:literal, bias: $bias:literal, sqrt_half: $sqrt_half:literal,
        ln2: [$ln2_hi:literal, $ln2_lo:literal],
        exp: [$exp_low:literal, $exp_high:literal], exp2: [$exp2_low:literal, $exp2_high:literal],
        expm1: [$expm1_low:literal, $expm1_high:literal], tanh: $tanh_high:literal, erfc: $erfc_high:literal,
        EXPM1: $EXPM1:expr, ERF: $ERF:expr, ERFCX: $ERFCX:expr,
        log1p: |$f:ident, $e:ident| $log1p:expr
    ) => {
        type Real = $real;

        /// Adding and subtracting this rounds to an integer, whose two's complement is then in the low bits.
        const ROUND: Real = ((3 as $bits) << ($mantissa - 1)) as Real;
        const LN2_HI: Real = $ln2_hi;
        const LN2_LO: Real = $ln2_lo;
        const LOG2_E: Real = std::$real::consts::LOG2_E;

        #[inline(always)]
        fn poly<const K: usize>(x: Real, c: [Real; K]) -> Real {
            let mut y = c[K - 1];
            for i in (0..K - 1).rev() {
                y = y.mul_add(x, c[i]);
            }
            y
        }

        /// Within bounds; NaN stays.
        #[inline(always)]
        fn limit(x: Real, low: Real, high: Real) -> Real {
            if x < low {
                low
            } else if x > high {
                high
            } else {
                x
            }
        }

        /// 2ⁿ for n within the normal exponents.
        #[inline(always)]
        fn power_of_two(n: $int) -> Real {
            Real::from_bits((n.wrapping_add($bias) as $bits) << $mantissa)
        }

        /// y · 2ⁿ, where 2ⁿ itself may be out of range.
        #[inline(always)]
        fn scale(y: Real, n: $int) -> Real {
            let half = n >> 1;
            y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
        }

        #[inline(always)]
        fn integer(rounded: Real) -> $int {
            (rounded.to_bits() as $int).wrapping_sub(ROUND.to_bits() as $int)
        }

        /// eʳ − 1 for |r| ≤ ln 2 / 2.
        #[inline(always)]
        fn expm1_reduced(r: Real) -> Real {
            (r * r).mul_add(poly(r, $EXPM1), r)
        }

        /// x = n ln 2 + r: n (with its rounding bits) and eʳ − 1.
        #[inline(always)]
        fn reduce(x: Real) -> (Real, Real) {
            let rounded = x.mul_add(LOG2_E, ROUND);
            let n = rounded - ROUND;
            let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
            (rounded, expm1_reduced(r))
        }

        #[inline(always)]
        pub(in super::super) fn exp(x: Real) -> Real {
            let (rounded, e) = reduce(limit(x, $exp_low, $exp_high));
            scale(1.0 + e, integer(rounded))
        }

        #[inline(always)]
        pub(in super::super) fn exp2(x: Real) -> Real {
            let x = limit(x, $exp2_low, $exp2_high);
            let rounded = x + ROUND;
            let e = expm1_reduced((x - (rounded - ROUND)) * std::$real::consts::LN_2);
            scale(1.0 + e, integer(rounded))
        }

        #[inline(always)]
        pub(in super::super) fn expm1(x: Real) -> Real {
            let (rounded, e) = reduce(limit(x, $expm1_low, $expm1_high));
            // Halves, since 2ⁿ may just overflow where the result does not.
            let s = power_of_two(integer(rounded).wrapping_sub(1));
            2.0 * s.mul_add(e, s - 0.5)
        }

        /// x = 2ᵉ(1 + f) with 1 + f from √½ to √2: e and f. Normal positive x only.
        #[inline(always)]
        fn split(x: Real) -> ($int, Real) {
            let shifted = x.to_bits().wrapping_sub($sqrt_half) as $int;
            let fraction = (shifted as $bits) & ((1 << $mantissa) - 1);
            (shifted >> $mantissa, Real::from_bits(fraction.wrapping_add($sqrt_half)) - 1.0)
        }

        /// ln(1 + f) + e ln 2 for f from √½ − 1 to √2 − 1.
        #[inline(always)]
        fn log1p_reduced($f: Real, $e: Real) -> Real {
            $log1p
        }

        #[inline(always)]
        fn log_special(x: Real, y: Real) -> Real {
            if x > 0.0 && x < Real::INFINITY {
                y
            } else if x == 0.0 {
                Real::NEG_INFINITY
            } else if x > 0.0 {
                x
            } else {
                Real::NAN
            }
        }

        /// The exponent and fraction of positive x, subnormal ones included.
        #[inline(always)]
        fn split_any(x: Real) -> (Real, Real) {
            let small = x < Real::MIN_POSITIVE;
            let up = ((1 as $bits) << $mantissa) as Real;
            let (e, f) = split(if small { x * up } else { x });
            (e as Real - if small { $mantissa as Real } else { 0.0 }, f)
        }

        #[inline(always)]
        pub(in super::super) fn ln(x: Real) -> Real {
            let (e, f) = split_any(x);
            log_special(x, log1p_reduced(f, e))
        }

        #[inline(always)]
        pub(in super::super) fn log2(x: Real) -> Real {
            let (e, f) = split_any(x);
            log_special(x, log1p_reduced(f, 0.0).mul_add(LOG2_E, e))
        }

        #[inline(always)]
        pub(in super::super) fn log1p(x: Real) -> Real {
            let u = 1.0 + x;
            // 1 + x = u + lost exactly (Knuth's two-sum).
            let back = u - 1.0;
            let lost = (1.0 - (u - back)) + (x - back);
            let (e, f) = split(u);
            // 2⁻ᵉ as a normal number; where e is larger, `lost` no longer counts.
            let f = power_of_two((0 - e).max(1 - $bias)).mul_add(lost, f);
            log_special(u, log1p_reduced(f, e as Real))
        }

        #[inline(always)]
        pub(in super::super) fn tanh(x: Real) -> Real {
            let a = x.abs();
            let e = expm1(2.0 * if a > $tanh_high { $tanh_high } else { a });
            (e / (e + 2.0)).copysign(x)
        }

        #[inline(always)]
        pub(in super::super) fn sigmoid(x: Real) -> Real {
            let e = exp(-x.abs());
            (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
        }

        /// erf for |x| ≤ 1.
        #[inline(always)]
        fn erf_small(x: Real) -> Real {
            x.mul_add(poly(x * x, $ERF), x)
        }

        /// erfc for x ≥ 0.9, as e^(−x²) · erfcx(x).
        #[inline(always)]
        fn erfc_large(x: Real) -> Real {
            let x = if x > $erfc_high { $erfc_high } else { x };
            let square = x * x;
            // The rounding error of x², which e^(−x²) would magnify.
            let lost = x.mul_add(x, -square);
            let t = 1.0 / (0.5 as Real).mul_add(x, 1.0);
            t * poly(t - 0.421875, $ERFCX) * (exp(-square) * (1.0 - lost))
        }

        #[inline(always)]
        pub(in super::super) fn erf(x: Real) -> Real {
            let a = x.abs();
            let large = (1.0 - erfc_large(a)).copysign(x);
            if a < 0.9 { erf_small(x) } else { large }
        }

        #[inline(always)]
        pub(in super::super) fn erfc(x: Real) -> Real {
            let large = erfc_large(x.abs());
            if x.abs() < 0.9 {
                1.0 - erf_small(x)
            } else if x < 0.0 {
                2.0 - large
            } else {
                large
            }
        }
    };
}

#[allow(clippy::excessive_precision)]
pub(super) mod single {
    functions!(
        f32, u32, i32,
        mantissa: 23, bias: 127, sqrt_half: 0x3f35_04f3,
        ln2: [0.693359375, -2.12194440e-4],
        exp: [-104.0, 89.0], exp2: [-151.0, 129.0],
        expm1: [-20.0, 88.8], tanh: 10.0, erfc: 11.0,
        EXPM1: [0.5, 0.16666667, 0.041666463, 0.0083333105, 0.0013933731, 0.0001989108],
        ERF: [
            0.12837917, -0.37612626, 0.11283594, -0.026854211, 0.0051890872, -0.00080168643, 7.875875e-05,
        ],
        ERFCX: [
            0.46044284, 0.60280204, 0.51902324, 0.19235834, -0.12362662, -0.14097932, 0.055339344, 0.099748194,
            -0.044690844, -0.06526833,
        ],
        log1p: |f, e| {
            let p = poly(f, [
                0.3333333, -0.24999997, 0.20000716, -0.16667803, 0.14249058, -0.12425687, 0.1168542, -0.11479734,
                0.06971612,
            ]);
            let y = e.mul_add(LN2_LO, f * f * (f * p));
            let y = (-0.5 * f).mul_add(f, y);
            e.mul_add(LN2_HI, f + y)
        }
    );
}

#[allow(clippy::excessive_precision)]
pub(super) mod double {
    functions!(
        f64, u64, i64,
        mantissa: 52, bias: 1023, sqrt_half: 0x3fe6_a09e_667f_3bcd,
        ln2: [6.93147180369123816490e-01, 1.90821492927058770002e-10],
        exp: [-746.0, 710.0], exp2: [-1076.0, 1025.0],
        expm1: [-40.0, 709.9], tanh: 20.0, erfc: 28.0,
        EXPM1: [
            0.5, 0.16666666666666666, 0.04166666666666668, 0.008333333333333333, 0.0013888888888879004,
            0.00019841269841263252, 2.480158733663095e-05, 2.7557319247344507e-06, 2.755726307730941e-07,
            2.5052070959803662e-08, 2.091821231913398e-09, 1.6086677666787362e-10,
        ],
        ERF: [
            0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
            0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05,
            1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09,
            5.957176147748911e-11,
        ],
        ERFCX: [
            0.4604428531309203, 0.6028020515631746, 0.5190234233440694, 0.19235844133481864, -0.12364458633601065,
            -0.14098981498384577, 0.05605626883006526, 0.10016514383075735, -0.056684126573821915,
            -0.07193303407133499, 0.0774075531556931, 0.03590427854675914, -0.09959963654756107,
            0.022704405647150493, 0.09761302462195115, -0.10238722700032815, -0.03437070521878554,
            0.16547354676534207, -0.11151130975556532, -0.14358858844658062, 0.2773251803750789,
            0.03873578080668032, -0.26642338132661814,
        ],
        log1p: |f, e| {
            // ln(1 + f) = f − f²/2 + s(f²/2 + R(s²)), s = f / (2 + f).
            let s = f / (2.0 + f);
            let z = s * s;
            let r = z * poly(z, [
                0.6666666666666666, 0.4000000000000094, 0.2857142857076445, 0.2222222240054776, 0.181817947008978,
                0.15386290534658992, 0.13267418596474884, 0.1310072138350349,
            ]);
            let half = 0.5 * f * f;
            e.mul_add(LN2_HI, f - (half - s.mul_add(half + r, e * LN2_LO)))
        }
    );
}
