use super::Real;

/// |found − exact| in ulps of f32 at the exact value.
fn ulps(found: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if !rounded.is_finite() || exact.is_nan() {
        let same = found == rounded || found.is_nan() && exact.is_nan();
        return if same { 0.0 } else { f64::INFINITY };
    }
    let exponent = (exact.abs().max(f32::MIN_POSITIVE as f64)).log2().floor();
    (found as f64 - exact).abs() / (exponent - 23.0).exp2()
}

/// Every `step`-th bit pattern, so that all exponents, signs, infinities and NaN are met.
fn worst(step: usize, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    for bits in (0..=u32::MAX).step_by(step).chain([0x7f80_0000, 0xff80_0000, 0x8000_0000, 0x7fc0_0000]) {
        let x = f32::from_bits(bits);
        let error = ulps(f(x), exact(x as f64));
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

fn check(name: &str, bound: f64, f: impl Fn(f32) -> f32 + Copy, exact: impl Fn(f64) -> f64 + Copy) {
    // A prime step: the low bits vary too.
    let step = if cfg!(debug_assertions) { 20_011 } else { 1_009 };
    let (error, x) = worst(step, f, exact);
    println!("{name}: {error:.3} ulp at {x:e}");
    assert!(error <= bound, "{name}: {error} ulp at {x:e}: {:e} instead of {:e}", f(x), exact(x as f64));
}

/// erf by its Maclaurin series (small x) or Lentz's continued fraction of erfc.
fn erfc_exact(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if x < 0.0 {
        return 2.0 - erfc_exact(-x);
    }
    let mut fraction = x;
    for n in (1..200).rev() {
        fraction = x + n as f64 / 2.0 / fraction;
    }
    (-x * x).exp() / std::f64::consts::PI.sqrt() / fraction
}

fn erf_exact(x: f64) -> f64 {
    if x.abs() >= 2.5 || x.is_nan() {
        return 1.0 - erfc_exact(x);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn single_precision_functions_keep_their_bounds_everywhere() {
    check("exp", 1.1, Real::exp, f64::exp);
    check("exp2", 1.1, Real::exp2, f64::exp2);
    check("expm1", 1.6, Real::expm1, f64::exp_m1);
    check("ln", 1.0, Real::ln, f64::ln);
    check("log2", 2.5, Real::log2, f64::log2);
    check("log1p", 1.5, Real::log1p, f64::ln_1p);
    check("sin", 0.51, Real::sin, f64::sin);
    check("cos", 0.51, Real::cos, f64::cos);
    check("tan", 0.51, Real::tan, f64::tan);
    check("tanh", 2.5, Real::tanh, f64::tanh);
    check(
        "sigmoid",
        2.5,
        Real::sigmoid,
        |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
    );
    check("erf", 2.0, Real::erf, erf_exact);
    // Results near and below the smallest normal number lose bits in e^(−x²).
    check("erfc", 6.0, |x| if x > 9.0 { 0.0 } else { Real::erfc(x) }, |x| if x > 9.0 { 0.0 } else { erfc_exact(x) });
}

#[test]
fn dense_around_the_places_where_reductions_change() {
    for (name, bound, f, exact, centre) in [
        ("expm1", 1.6, f32::expm1 as fn(f32) -> f32, f64::exp_m1 as fn(f64) -> f64, std::f32::consts::LN_2 / 2.0),
        ("expm1", 1.6, Real::expm1, f64::exp_m1, -std::f32::consts::LN_2 / 2.0),
        ("ln", 1.0, Real::ln, f64::ln, 1.0),
        ("ln", 1.0, Real::ln, f64::ln, std::f32::consts::FRAC_1_SQRT_2),
        ("ln", 1.0, Real::ln, f64::ln, std::f32::consts::SQRT_2),
        ("log1p", 1.5, Real::log1p, f64::ln_1p, 0.41421356),
        ("log1p", 1.5, Real::log1p, f64::ln_1p, -0.29289322),
        ("erf", 2.0, Real::erf, erf_exact, 0.9),
        ("sin", 0.51, Real::sin, f64::sin, std::f32::consts::FRAC_PI_4),
        ("cos", 0.51, Real::cos, f64::cos, std::f32::consts::FRAC_PI_2),
        ("tan", 0.51, Real::tan, f64::tan, std::f32::consts::PI),
        ("exp", 1.1, Real::exp, f64::exp, 88.72),
        ("exp", 1.1, Real::exp, f64::exp, -87.33),
        ("tanh", 2.5, Real::tanh, f64::tanh, 9.0),
        ("tanh", 2.5, Real::tanh, f64::tanh, 0.17),
    ] {
        for offset in -40_000i32..=40_000 {
            let x = f32::from_bits(centre.to_bits().wrapping_add_signed(offset));
            let error = ulps(f(x), exact(x as f64));
            assert!(error <= bound, "{name}({x:e}): {error} ulp");
        }
    }
}

#[test]
fn powers_follow_ieee_754() {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        2.5,
        -2.5,
        1e-40,
        3e38,
        -3e38,
        16777217.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for x in special {
        for y in special {
            let (found, expected) = (Real::powf(x, y), (x as f64).powf(y as f64) as f32);
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(
                same || ulps(found, (x as f64).powf(y as f64)) < 0.51,
                "{x:e} ^ {y:e} = {found:e}, not {expected:e}"
            );
        }
    }
    for i in 0..20_000u32 {
        let x = f32::from_bits(i.wrapping_mul(106_033) & 0x7fff_ffff);
        for y in [-1.7f32, -1.0, 0.37, 2.0, 3.3, 11.0] {
            let error = ulps(Real::powf(x, y), (x as f64).powf(y as f64));
            assert!(error < 0.51, "{x:e} ^ {y}: {error} ulp");
        }
    }
}

/// The functions of f64 against the system's, which are good to one ulp.
#[test]
fn double_precision_functions_keep_their_bounds() {
    let relative = |found: f64, exact: f64| {
        if found == exact || found.is_nan() && exact.is_nan() {
            0.0
        } else {
            ((found - exact) / exact).abs() / f64::EPSILON
        }
    };
    for i in 0..200_000u64 {
        let bits = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for x in [
            f64::from_bits(bits),
            (bits as i64 as f64) / (1u64 << 57) as f64,
            (bits as i64 as f64) / (1u64 << 63) as f64,
        ] {
            for (name, bound, found, exact) in [
                ("exp", 2.0, Real::exp(x), f64::exp(x)),
                ("exp2", 2.0, Real::exp2(x), f64::exp2(x)),
                ("expm1", 2.6, Real::expm1(x), f64::exp_m1(x)),
                ("ln", 2.0, Real::ln(x), f64::ln(x)),
                ("log2", 3.5, Real::log2(x), f64::log2(x)),
                ("log1p", 2.5, Real::log1p(x), f64::ln_1p(x)),
                ("tanh", 3.5, Real::tanh(x), f64::tanh(x)),
            ] {
                if exact.abs() < f64::MIN_POSITIVE {
                    assert!((found - exact).abs() <= f64::MIN_POSITIVE * f64::EPSILON, "{name}({x:e})");
                } else {
                    let error = relative(found, exact);
                    assert!(error <= bound, "{name}({x:e}) = {found:e}, not {exact:e}: {error} ulp");
                }
            }
        }
    }
    // Values of erf and erfc from DLMF's tables and 40-digit arithmetic.
    for (x, erf, erfc) in [
        (0.5, 0.520_499_877_813_046_5, 0.479_500_122_186_953_5),
        (1.0, 0.842_700_792_949_714_9, 0.157_299_207_050_285_13),
        (2.0, 0.995_322_265_018_952_7, 0.004_677_734_981_047_266),
        (5.0, 0.999_999_999_998_462_5, 1.537_459_794_428_034_8e-12),
        (-1.5, -0.966_105_146_475_310_8, 1.966_105_146_475_310_8),
    ] {
        assert!(relative(Real::erf(x), erf) < 2.0, "erf({x}) = {:e}", Real::erf(x));
        assert!(relative(Real::erfc(x), erfc) < 8.0, "erfc({x}) = {:e}", Real::erfc(x));
    }
    for i in -2000..2000 {
        let x = i as f64 / 500.0;
        assert!(relative(Real::erf(x), erf_exact(x)) < 40.0, "{x}");
    }
}
