//! Random numbers: bits, distributions, independence of threads and position, resumption.

mod support;

use rand_core::{Rng, SeedableRng};
use support::{Array, Domain, OpCheck};
use warpsmith::random::{Philox, PhiloxState, below, permutation, philox, shuffle};
use warpsmith::{DType, Device, Error, Result, Tensor, with_dtype};

const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

fn uniform(low: f64, high: f64, n: usize, dtype: DType, rng: &mut Philox) -> Vec<f64> {
    Tensor::uniform(low, high, n, dtype, &Device::Cpu, rng).unwrap().to_f64_vec().unwrap()
}

fn normal(n: usize, dtype: DType, rng: &mut Philox) -> Vec<f64> {
    Tensor::normal(0.0, 1.0, n, dtype, &Device::Cpu, rng).unwrap().to_f64_vec().unwrap()
}

fn gamma(alpha: f64, n: usize, dtype: DType, rng: &mut Philox) -> Vec<f64> {
    Tensor::gamma(alpha, 2.0, n, dtype, &Device::Cpu, rng).unwrap().to_f64_vec().unwrap()
}

/// The words of the generator's blocks from the first, two words to a number in f64.
fn words(seed: u64, n: usize) -> Vec<u32> {
    let key = [seed as u32, (seed >> 32) as u32];
    (0..n).map(|i| philox(key, [(i / 4) as u32, 0, 0, 0])[i % 4]).collect()
}

#[test]
fn single_draws_walk_through_the_blocks() {
    let mut rng = Philox::seed_from_u64(0x1234_5678_9abc_def0);
    let expected = words(0x1234_5678_9abc_def0, 24);
    for &word in &expected[..7] {
        assert_eq!(rng.next_u32(), word);
    }
    assert_eq!(rng.next_u64(), expected[7] as u64 | (expected[8] as u64) << 32);
    let mut bytes = [0; 6];
    rng.fill_bytes(&mut bytes);
    assert_eq!(bytes[..4], expected[9].to_le_bytes());
    assert_eq!(bytes[4..], expected[10].to_le_bytes()[..2]);
    // A tensor takes whole blocks, from the next on.
    let drawn = uniform(0.0, 1.0, 1, DType::F32, &mut rng)[0];
    assert_eq!(drawn, (expected[12] >> 8) as f64 / 16777216.0);
    assert_eq!(rng.next_u32(), expected[16]);
    assert_eq!(Philox::from_seed(7u64.to_le_bytes()), Philox::new(7));
    assert_ne!(Philox::new(7).split(), Philox::new(7));
}

#[test]
fn a_saved_state_goes_on_at_any_word() {
    for used in 0..9 {
        let mut rng = Philox::new(99);
        for _ in 0..used {
            rng.next_u32();
        }
        let mut again = Philox::from_state(PhiloxState::from_array(rng.state().to_array()));
        assert_eq!(again.state(), rng.state());
        for _ in 0..10 {
            assert_eq!(again.next_u32(), rng.next_u32());
        }
        assert_eq!(normal(5, DType::F32, &mut again), normal(5, DType::F32, &mut rng));
        assert_eq!(again, rng);
    }
}

#[test]
fn uniform_is_what_its_definition_says() {
    for (low, high) in [(0.0, 1.0), (-3.0, 5.0)] {
        for (dtype, digits) in [(DType::F32, 24), (DType::F16, 11), (DType::BF16, 8)] {
            let found = uniform(low, high, 1001, dtype, &mut Philox::new(5));
            for (x, w) in found.into_iter().zip(words(5, 1001)) {
                let exact = low + (high - low) * (w >> (32 - digits)) as f64 / (1u64 << digits) as f64;
                let rounded = support::check::round(exact as f32 as f64, dtype);
                assert_eq!(x, if rounded >= high { low } else { rounded });
            }
        }
        let found = uniform(low, high, 1001, DType::F64, &mut Philox::new(5));
        for (x, w) in found.into_iter().zip(words(5, 2002).chunks(2)) {
            let unit = ((w[0] as u64 | (w[1] as u64) << 32) >> 11) as f64 / (1u64 << 53) as f64;
            assert_eq!(x, unit.mul_add(high - low, low));
        }
    }
}

#[test]
fn uniform_stays_below_its_upper_bound() {
    for dtype in FLOATS {
        // Narrow intervals, where rounding often reaches a bound.
        for (low, high) in [(0.1, 0.1004), (-1.0, -0.99), (1e3, 1e3 + 1.0), (2.0, 2.0)] {
            let (low, high) = (support::check::round(low, dtype), support::check::round(high, dtype));
            let found = uniform(low, high, 5000, dtype, &mut Philox::new(1));
            assert!(found.iter().all(|&x| x >= low && (x < high || low == high)), "{dtype} {low} {high}");
        }
    }
}

/// Against Box & Muller's formula with the system's logarithm, sine and cosine.
#[test]
fn normal_is_what_its_definition_says() {
    let turn = std::f64::consts::TAU;
    let found = normal(4000, DType::F32, &mut Philox::new(8));
    for (z, w) in found.chunks(2).zip(words(8, 4000).chunks(2)) {
        let u = (w[0] as f64 + 0.5) / 4294967296.0;
        let (sin, cos) = (w[1] as f64 / 4294967296.0 * turn).sin_cos();
        let radius = (-2.0 * u.ln()).sqrt();
        // u is rounded to 24 bits, which moves ln u by 2⁻²⁴; then a few roundings of |z| ≤ radius.
        let bound = 2f64.powi(-24) * (4.0 * radius + 1.0 / radius);
        assert!((z[0] - radius * cos).abs() <= bound && (z[1] - radius * sin).abs() <= bound, "{z:?} {w:?}");
    }
    let found = normal(4000, DType::F64, &mut Philox::new(8));
    for (z, w) in found.chunks(2).zip(words(8, 8000).chunks(4)) {
        let long = |w: &[u32]| w[0] as u64 | (w[1] as u64) << 32;
        let u = ((long(w) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let (sin, cos) = (long(&w[2..]) as f64 / 2f64.powi(64) * turn).sin_cos();
        let radius = (-2.0 * u.ln()).sqrt();
        // The definition's own angle is rounded at up to 2π.
        let bound = 2f64.powi(-53) * 16.0 * (radius + 1.0);
        assert!((z[0] - radius * cos).abs() <= bound && (z[1] - radius * sin).abs() <= bound, "{z:?} {w:?}");
    }
    for dtype in [DType::F16, DType::BF16] {
        let narrow = normal(4000, dtype, &mut Philox::new(8));
        let wide = normal(4000, DType::F32, &mut Philox::new(8));
        assert!(narrow.iter().zip(wide).all(|(&n, w)| n == support::check::round(w, dtype)));
    }
}

/// FNV-1a over the bytes of 4,099 draws in every dtype.
fn fingerprint(draw: impl Fn(DType, &mut Philox) -> Result<Tensor>) -> Vec<u64> {
    let of = |dtype| {
        let drawn = draw(dtype, &mut Philox::new(0xfeed_beef_cafe_0001)).unwrap();
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        with_dtype!(dtype, T => for x in drawn.to_vec::<T>().unwrap() {
            for byte in x.to_le_bytes() {
                hash = (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3);
            }
        });
        hash
    };
    FLOATS.into_iter().map(of).collect()
}

/// Every device must draw these very bits, in every version: checkpoints and published results depend on them.
#[test]
fn bits_are_pinned() {
    const N: usize = 4099;
    let d = &Device::Cpu;
    assert_eq!(fingerprint(|t, r| Tensor::uniform(-2.0, 3.0, N, t, d, r)), PINNED_UNIFORM);
    assert_eq!(fingerprint(|t, r| Tensor::normal(0.5, 2.0, N, t, d, r)), PINNED_NORMAL);
    assert_eq!(fingerprint(|t, r| Tensor::gamma(0.4, 1.5, N, t, d, r)), PINNED_GAMMA_BELOW_ONE);
    assert_eq!(fingerprint(|t, r| Tensor::gamma(3.5, 1.5, N, t, d, r)), PINNED_GAMMA);
    assert_eq!(fingerprint(|t, r| Tensor::bernoulli(0.3, N, t, d, r)), PINNED_BERNOULLI);
    let bits: Vec<u32> = normal(4, DType::F32, &mut Philox::new(0)).iter().map(|&x| (x as f32).to_bits()).collect();
    assert_eq!(bits, PINNED_FIRST_NORMALS);
}

const PINNED_UNIFORM: [u64; 4] =
    [0xd3fb_daa9_d736_4d4a, 0x2bd9_0355_9eec_97e1, 0x89d7_068e_461c_9335, 0xf694_34f7_85cf_5323];
const PINNED_NORMAL: [u64; 4] =
    [0x2f64_82e2_0bf6_64b9, 0xe7fa_b76e_9c74_dc89, 0xa2ac_7b74_f7e7_c86b, 0x30dc_87ae_38b2_555b];
const PINNED_GAMMA_BELOW_ONE: [u64; 4] =
    [0x8889_27e1_2c7e_2b69, 0xda26_8bfa_3ac1_59ff, 0x8436_b2b5_df6f_5cfc, 0x399d_0862_e63e_e134];
const PINNED_GAMMA: [u64; 4] =
    [0x0205_1dd9_9b58_6cca, 0xe7db_50ae_815b_5ff0, 0xa7d7_09a0_6928_42e7, 0x05e0_0ec5_e3df_feb7];
const PINNED_BERNOULLI: [u64; 4] =
    [0x211e_fc47_e873_1d08, 0xe68f_8368_3458_3b19, 0x35cc_422e_81bd_86f8, 0xe974_156d_96dd_81d8];
const PINNED_FIRST_NORMALS: [u32; 4] = [0x3f7d_bb31, 0xbf6c_b6b0, 0xbf1e_1b9f, 0xbef6_d1b2];

#[test]
fn any_number_of_threads_draws_the_same() {
    let draw = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rng = &mut Philox::new(3);
            let mut all = normal(100_003, DType::F32, rng);
            all.extend(uniform(0.0, 1.0, 70_001, DType::F64, rng));
            all.extend(gamma(0.7, 20_011, DType::F32, rng));
            let x = Tensor::ones(100_003, DType::F32, &Device::Cpu).unwrap();
            all.extend(x.dropout(0.4, rng).unwrap().to_f64_vec().unwrap());
            all
        })
    };
    let one = draw(1);
    assert_eq!(one, draw(2));
    assert_eq!(one, draw(5));
}

#[test]
fn an_element_does_not_depend_on_how_many_follow() {
    for dtype in FLOATS {
        let long = normal(40_000, dtype, &mut Philox::new(3));
        for n in [0, 1, 2, 3, 5, 1023, 1024, 1025, 16_385, 33_000] {
            assert_eq!(normal(n, dtype, &mut Philox::new(3)), long[..n], "{dtype} {n}");
            assert_eq!(
                uniform(0.0, 1.0, n, dtype, &mut Philox::new(3)),
                uniform(0.0, 1.0, 40_000, dtype, &mut Philox::new(3))[..n]
            );
        }
        let long = gamma(2.0, 3000, dtype, &mut Philox::new(3));
        assert_eq!(gamma(2.0, 1501, dtype, &mut Philox::new(3)), long[..1501]);
    }
}

/// The r-th raw moment of a sample with a bound of five standard errors, from the distribution's own 2r-th moment.
fn check_moment(what: &str, sample: &[f64], r: i32, moment: f64, twice: f64) {
    let n = sample.len() as f64;
    let found = sample.iter().map(|x| x.powi(r)).sum::<f64>() / n;
    let error = 5.0 * ((twice - moment * moment) / n).sqrt();
    assert!((found - moment).abs() < error, "{what}: moment {r} is {found}, not {moment} ± {error}");
}

#[test]
fn moments_are_right() {
    // One fixed seed: five standard errors hold or they do not, the same on every run.
    const N: usize = 200_000;
    for dtype in [DType::F32, DType::F64] {
        let z = normal(N, dtype, &mut Philox::new(21));
        for (r, moment, twice) in [(1, 0.0, 1.0), (2, 1.0, 3.0), (3, 0.0, 15.0), (4, 3.0, 105.0)] {
            check_moment("normal", &z, r, moment, twice);
        }
        // Neighbours of a pair are independent.
        let products: Vec<f64> = z.chunks(2).map(|p| p[0] * p[1]).collect();
        check_moment("product", &products, 1, 0.0, 1.0);
        let u = uniform(0.0, 1.0, N, dtype, &mut Philox::new(22));
        for r in 1..5 {
            check_moment("uniform", &u, r, 1.0 / (r + 1) as f64, 1.0 / (2 * r + 1) as f64);
        }
        for alpha in [0.2, 0.9, 1.0, 3.7, 50.0] {
            // E xʳ = θʳ α (α + 1) … (α + r − 1).
            let moment = |r: i32| (0..r).map(|i| 2.0 * (alpha + i as f64)).product::<f64>();
            let g = gamma(alpha, N, dtype, &mut Philox::new(23));
            assert!(g.iter().all(|&x| x >= 0.0));
            for r in 1..4 {
                check_moment("gamma", &g, r, moment(r), moment(2 * r));
            }
        }
    }
}

/// Kolmogorov & Smirnov's distance to the distribution function.
#[test]
fn distribution_functions_are_right() {
    const N: usize = 100_000;
    let distance = |mut sample: Vec<f64>, cdf: &dyn Fn(f64) -> f64| {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        let gap = |(i, &x): (usize, &f64)| (cdf(x) - i as f64 / n).abs().max((cdf(x) - (i + 1) as f64 / n).abs());
        sample.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
    };
    // Passed by chance once in 10⁵ if the distribution is right: the bound is 2.4.
    let cdf = |x: f64| 0.5 * (1.0 + erf(x / 2f64.sqrt()));
    assert!(distance(normal(N, DType::F32, &mut Philox::new(31)), &cdf) < 2.4);
    assert!(distance(uniform(0.0, 1.0, N, DType::F32, &mut Philox::new(32)), &|x| x) < 2.4);
    // Shape 1 is exponential; shape ½ and scale 2 is the square of a normal number.
    assert!(distance(gamma(1.0, N, DType::F32, &mut Philox::new(33)), &|x| 1.0 - (-x / 2.0).exp()) < 2.4);
    assert!(distance(gamma(0.5, N, DType::F32, &mut Philox::new(34)), &|x| erf((x / 2.0).sqrt())) < 2.4);
}

/// Abramowitz & Stegun 7.1.6; 1 beyond 6.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

#[test]
fn bernoulli_counts() {
    for dtype in FLOATS {
        for p in [0.0, 0.1, 0.5, 1.0] {
            let x =
                Tensor::bernoulli(p, 10_001, dtype, &Device::Cpu, &mut Philox::new(4)).unwrap().to_f64_vec().unwrap();
            let expected = words(4, 10_001).into_iter().map(|w| ((w as f64) < p * 4294967296.0) as u8 as f64);
            assert!(x.into_iter().eq(expected), "{dtype} {p}");
        }
        let p: Vec<f64> = (0..2000).map(|i| i as f64 / 2000.0).collect();
        let p =
            Tensor::from_slice(&p, [40, 50], &Device::Cpu).unwrap().to_dtype(dtype).unwrap().transpose(0, 1).unwrap();
        let x = p.sample_bernoulli(&mut Philox::new(4)).unwrap().to_f64_vec().unwrap();
        for ((x, p), w) in x.into_iter().zip(p.to_f64_vec().unwrap()).zip(words(4, 2000)) {
            assert_eq!(x == 1.0, (w as f64) < p * 4294967296.0);
        }
    }
    let error = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap().track().sample_bernoulli(&mut Philox::new(0));
    assert!(matches!(error, Err(Error::NoBackward { .. })));
}

/// χ² of counts against expected ones.
fn chi_squared(counts: &[usize], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(&c, e)| (c as f64 - e).powi(2) / e).sum()
}

#[test]
fn multinomial_draws_in_proportion() -> Result<()> {
    let weights = [0.5f32, 0.0, 2.0, 1.5, 0.0, 4.0];
    let w = Tensor::from_slice(&weights, [6], &Device::Cpu)?;
    let n = 50_000;
    let drawn = w.multinomial(n, true, &mut Philox::new(2))?;
    assert_eq!((drawn.dims(), drawn.dtype()), (&[n][..], DType::I64));
    let mut counts = [0; 6];
    drawn.to_vec::<i64>()?.iter().for_each(|&i| counts[i as usize] += 1);
    assert_eq!((counts[1], counts[4]), (0, 0));
    let of = |i: usize| weights[i] as f64 / 8.0 * n as f64;
    // Four classes: below 21 but for one seed in 10⁴.
    let kept = [0, 2, 3, 5];
    assert!(chi_squared(&kept.map(|i| counts[i]), &kept.map(of)) < 21.0, "{counts:?}");

    // Rows of their own, each a permutation of the positive weights; the first draw in proportion.
    let rows = w.expand([3000, 6])?;
    let drawn = rows.multinomial(4, false, &mut Philox::new(3))?;
    assert_eq!(drawn.dims(), [3000, 4]);
    let mut counts = [0; 6];
    for row in drawn.to_vec::<i64>()?.chunks(4) {
        counts[row[0] as usize] += 1;
        let mut sorted = row.to_vec();
        sorted.sort();
        assert_eq!(sorted, [0, 2, 3, 5]);
    }
    let of = |i: usize| weights[i] as f64 / 8.0 * 3000.0;
    assert!(chi_squared(&kept.map(|i| counts[i]), &kept.map(of)) < 21.0, "{counts:?}");

    let message = |r: Result<Tensor>| r.unwrap_err().to_string();
    let rng = &mut Philox::new(0);
    assert!(message(w.multinomial(5, false, rng)).contains("5 samples without replacement from 4 positive weights"));
    assert!(message(w.neg()?.multinomial(1, true, rng)).contains("at least 0, found -0.5"));
    assert!(message(w.zeros_like()?.multinomial(1, true, rng)).contains("none above 0"));
    assert_eq!(*rng, Philox::new(0), "a refused call leaves the generator as it was");
    assert_eq!(w.multinomial(0, true, rng)?.dims(), [0]);
    Ok(())
}

#[test]
fn shuffles_are_uniform() {
    let rng = &mut Philox::new(6);
    let mut counts = [0; 24];
    for _ in 0..24_000 {
        let p = permutation(4, rng);
        let mut sorted = p.clone();
        sorted.sort();
        assert_eq!(sorted, [0, 1, 2, 3]);
        let index = p[0] * 6 + p[1..].iter().filter(|&&x| x < p[1]).count() * 2 + (p[2] > p[3]) as usize;
        counts[index] += 1;
    }
    // 23 degrees of freedom: below 58 but for one seed in 10⁴.
    assert!(chi_squared(&counts, &[1000.0; 24]) < 58.0, "{counts:?}");
    // Any generator serves.
    let mut values: Vec<u8> = (0..100).collect();
    shuffle(&mut values, &mut rand::rngs::SmallRng::seed_from_u64(1));
    assert!(values.windows(2).any(|w| w[0] > w[1]));
    let t = Tensor::permutation(50, &Device::Cpu, rng).unwrap().to_vec::<i64>().unwrap();
    let mut sorted = t.clone();
    sorted.sort();
    assert!(sorted.into_iter().eq(0..50) && t[0..3] != [0, 1, 2]);
    assert!((0..1000).all(|_| below(rng, 3) < 3 && below(rng, 1) == 0));
}

/// The mask by its definition: word i is below p · 2³².
fn mask(seed: u64, n: usize, p: f64) -> Vec<f64> {
    let keep = 1.0 / (1.0 - p);
    words(seed, n).into_iter().map(|w| if (w as f64) < p * 4294967296.0 { 0.0 } else { keep }).collect()
}

#[test]
fn dropout_and_its_gradient_share_a_mask() {
    for dims in [vec![37], vec![5, 9], vec![2, 3, 11], vec![0], vec![]] {
        let reference = |x: &[Array]| {
            let m = mask(11, x[0].data.len(), 0.25);
            Array::new(&x[0].dims, x[0].data.iter().zip(m).map(|(x, m)| x * m).collect())
        };
        OpCheck::new("dropout", |x| x[0].dropout(0.25, &mut Philox::new(11)), reference)
            .input_in(&dims, Domain::Range(0.5, 2.0))
            .ulps(3.0, 3.0) // the scale is rounded, and the product
            .run();
    }
    // Larger than a thread's share, and twice in one graph.
    let n = 40_001;
    let x = Tensor::ones(n, DType::F32, &Device::Cpu).unwrap().track();
    let rng = &mut Philox::new(12);
    let y = x.dropout(0.5, rng).unwrap().dropout(0.5, rng).unwrap();
    let gradient = y.sum_all().unwrap().backward().unwrap().expect(&x).unwrap().to_f64_vec().unwrap();
    assert_eq!(gradient, y.to_f64_vec().unwrap());
    let first = mask(12, n, 0.5);
    assert!(gradient.iter().zip(&first).all(|(g, m)| *m != 0.0 || *g == 0.0));
    assert!((gradient.iter().sum::<f64>() / n as f64 - 1.0).abs() < 0.05);
}

#[test]
fn dropout_at_its_limits() -> Result<()> {
    let x = Tensor::from_slice(&[1f32, -2.0, f32::INFINITY], [3], &Device::Cpu)?;
    let rng = &mut Philox::new(0);
    assert_eq!(x.dropout(0.0, rng)?.to_vec::<f32>()?, [1.0, -2.0, f32::INFINITY]);
    assert_eq!(x.dropout(1.0, rng)?.to_vec::<f32>()?, [0.0, 0.0, 0.0]);
    let before = rng.state();
    for p in [-0.1, 1.1, f64::NAN] {
        assert!(x.dropout(p, rng).unwrap_err().to_string().starts_with("dropout: needs a probability from 0 to 1"));
    }
    assert_eq!(rng.state(), before);
    Ok(())
}

#[test]
fn senseless_parameters_are_refused() {
    let rng = &mut Philox::new(0);
    let d = &Device::Cpu;
    let mut refused = |r: fn(&Device, &mut Philox) -> Result<Tensor>| {
        assert!(matches!(r(d, rng), Err(Error::Argument { .. })));
        assert_eq!(*rng, Philox::new(0));
    };
    refused(|d, r| Tensor::uniform(1.0, 0.0, 3, DType::F32, d, r));
    refused(|d, r| Tensor::uniform(0.0, f64::INFINITY, 3, DType::F32, d, r));
    refused(|d, r| Tensor::normal(0.0, -1.0, 3, DType::F32, d, r));
    refused(|d, r| Tensor::normal(f64::NAN, 1.0, 3, DType::F32, d, r));
    refused(|d, r| Tensor::gamma(0.0, 1.0, 3, DType::F32, d, r));
    refused(|d, r| Tensor::gamma(1.0, -1.0, 3, DType::F32, d, r));
    refused(|d, r| Tensor::bernoulli(1.5, 3, DType::F32, d, r));
    let error = Tensor::uniform(0.0, 1.0, 3, DType::I64, d, rng).unwrap_err().to_string();
    assert_eq!(error, "random: no i64 kernel on cpu (available: f32, f16, bf16, f64)");
}
