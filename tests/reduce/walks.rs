//! Every way in which reductions walk their operands, on both sides of every switch.

use super::*;

#[test]
fn ragged_sums_on_both_sides_of_every_switch() {
    let mut random = Random::fresh("ragged sums");
    let cases: &[(&[usize], &[usize])] = &[
        (&[31], &[0]),
        (&[32], &[0]),
        (&[33], &[0]),
        (&[1023], &[0]),
        (&[1025], &[0]),
        (&[16_384], &[0]),
        (&[16_385], &[0]),
        (&[50_003], &[0]),
        (&[3, 40_001], &[1]),
        (&[130, 31], &[0]),
        (&[131, 32], &[0]),
        (&[64, 33], &[0]),
        (&[65, 33], &[0]),
        (&[5000, 2], &[0]),
        (&[200, 511], &[0]),
        (&[129, 512], &[0]),
        (&[64, 513], &[0]),
        (&[3, 70, 600], &[1]),
        (&[300, 7, 5], &[1]),
        (&[8, 5, 49], &[0, 2]),
        (&[40, 3, 1100], &[0, 2]),
        (&[2, 600, 3, 40], &[0, 2]),
        (&[0, 5], &[0]),
        (&[5, 0], &[0]),
        (&[4, 9], &[]),
    ];
    for &(dims, axes) in cases {
        for dtype in FLOATS {
            let x = random_array(dims, dtype, &mut random);
            let terms = axes.iter().map(|&a| dims[a]).product();
            let sums = fold_axes(&x, axes, false, |g| g.iter().sum());
            let magnitudes = fold_axes(&x, axes, false, sum_abs);
            let squares = fold_axes(&x, axes, false, |g| var(g, g.len() as f64 - 1.0));
            let t = tensor(&x, dtype).unwrap();
            for t in [t.clone(), strided(&t).unwrap()] {
                let found = t.sum(&signed(axes)).unwrap();
                assert_eq!(found.dims(), sums.dims);
                let found = found.to_f64_vec().unwrap();
                for (i, (&f, &e)) in found.iter().zip(&sums.data).enumerate() {
                    let bound = sum_bound(dtype, terms, magnitudes.data[i], e);
                    assert!((f - e).abs() <= bound, "{dims:?} over {axes:?} {dtype}: {f} instead of {e} ± {bound}");
                }
                if terms == 0 || dtype == DType::F16 && terms > 10_000 {
                    continue; // no variance; beyond the range of f16
                }
                let found = t.var(&signed(axes), 1.0 - terms as f64).unwrap().to_f64_vec().unwrap();
                for (&f, &e) in found.iter().zip(&squares.data) {
                    let e = e / (2 * terms - 1) as f64;
                    let bound = 4.0 * sum_bound(dtype, terms, e, e);
                    assert!(
                        (f - e).abs() <= bound,
                        "var of {dims:?} over {axes:?} {dtype}: {f} instead of {e} ± {bound}"
                    );
                }
            }
        }
    }
}

/// Both sides of each switch of the walk over blocks: results that lie side by side or elements that do, one part or
/// several (whose states a second kernel merges), groups that lie in one run or not, 16-byte accesses or single ones.
fn every_walk_of_the_cuda_kernels_agrees_with_plain_loops() {
    let mut random = Random::fresh("reductions by every walk");
    let devices = devices(random.seed());
    let cases: &[(&[usize], &[usize])] = &[
        (&[1], &[0]),
        (&[15], &[0]),
        (&[16], &[0]),
        (&[17], &[0]),
        // Rows: a thread, some, a warp, a block to each.
        (&[300, 9], &[1]),
        (&[70, 64], &[1]),
        (&[33, 520], &[1]),
        (&[5, 4100], &[1]),
        (&[2, 4099], &[1]),
        // Several parts.
        (&[40_003], &[0]),
        (&[40_000], &[0]),
        (&[3, 20_008], &[1]),
        // Columns: fewer than a warp, more, in several parts.
        (&[9, 5], &[0]),
        (&[130, 33], &[0]),
        (&[65, 129], &[0]),
        (&[5000, 7], &[0]),
        (&[3000, 40], &[0]),
        // Runs that groups do not fill, and that they do; results of two axes.
        (&[4, 6, 35], &[0, 2]),
        (&[4, 6, 40], &[0, 2]),
        (&[12, 3, 600], &[0, 2]),
        (&[3, 50, 4, 6], &[1, 3]),
        (&[2, 0, 3], &[1]),
    ];
    for (index, &(dims, axes)) in cases.iter().enumerate() {
        for dtype in CUDA_FLOATS {
            let x = random_array(dims, dtype, &mut random);
            let terms: usize = axes.iter().map(|&a| dims[a]).product();
            let magnitude = fold_axes(&x, axes, false, sum_abs);
            let sums = Large { expected: fold_axes(&x, axes, false, |g| g.iter().sum()), magnitude };
            let f32 = DType::F32.unit_roundoff();
            let bound = (100.0 + (terms.max(1) as f64).log2()) * f32 + dtype.unit_roundoff();
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                let plain = tensor_on(&x, dtype, device).unwrap();
                let shifted = check::shifted(&x, dtype, device).unwrap();
                for t in [strided(&plain).unwrap(), shifted, plain] {
                    compare("sum", &t.sum(&signed(axes)).unwrap(), &sums, bound);
                    if terms < 2 || !index.is_multiple_of(3) {
                        continue;
                    }
                    let extremes = fold_axes(&x, axes, false, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                    assert_eq!(
                        t.amax(&signed(axes)).unwrap().to_f64_vec().unwrap(),
                        extremes.data,
                        "{dims:?} {axes:?}"
                    );
                    let squares = fold_axes(&x, axes, false, |g| var(g, 1.0));
                    let spread = Large { magnitude: squares.map(|v| v + 1e-3), expected: squares };
                    compare("var", &t.var(&signed(axes), 1.0).unwrap(), &spread, 4.0 * bound);
                }
            }
        }
    }
}

/// Every reduction by itself, with results of the input's type and of f32, where several parts are merged and where not.
fn every_reduction_of_every_type_and_result() {
    let mut random = Random::fresh("reductions of every type");
    let devices = devices(random.seed());
    let all: &[(Reduction, fn(&[f64]) -> f64)] = &[
        (Reduction::Sum, |g| g.iter().sum()),
        (Reduction::Mean, mean),
        (Reduction::Product, |g| g.iter().product()),
        (Reduction::Max, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        (Reduction::Min, |g| g.iter().copied().fold(f64::INFINITY, f64::min)),
        (Reduction::Norm1, sum_abs),
        (Reduction::Norm2, |g| g.iter().map(|x| x * x).sum::<f64>().sqrt()),
        (Reduction::LogSumExp, |g| g.iter().map(|x| x.exp()).sum::<f64>().ln()),
        (Reduction::Var { correction: 1.0 }, |g| var(g, 1.0)),
        (Reduction::Std { correction: 0.0 }, |g| var(g, 0.0).sqrt()),
        (Reduction::Any, |g| g.iter().any(|&x| x != 0.0).into()),
        (Reduction::All, |g| g.iter().all(|&x| x != 0.0).into()),
    ];
    for dims in [[2, 20_008], [3, 65]] {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8] {
            for &(reduction, definition) in all {
                let Ok(own) = reduction.output(dtype) else { continue };
                // Factors of which long products are exact; else anything.
                let draw = |r: &mut Random| match reduction {
                    Reduction::Product if dtype.is_float() => [1.0, -1.0, 1.0, 1.0][r.below(4)],
                    Reduction::Product => (1 + r.below(2000) / 1999) as f64,
                    _ if dtype.is_float() => r.range(-2.0, 2.0),
                    _ => r.below(9) as f64,
                };
                let x = Array::from_fn(&dims, |_| round(draw(&mut random), dtype));
                let expected = fold_axes(&x, &[1], false, definition);
                let magnitude = match reduction {
                    Reduction::LogSumExp => expected.map(|e| 1.0 + e.abs()),
                    Reduction::Sum | Reduction::Mean => {
                        let n = if reduction == Reduction::Mean { dims[1] as f64 } else { 1.0 };
                        fold_axes(&x, &[1], false, sum_abs).map(|sum| sum / n)
                    }
                    _ => expected.map(f64::abs),
                };
                let desc = ReduceDesc { reduced: vec![false, true] };
                let wide = matches!(own, DType::F16 | DType::BF16).then_some(DType::F32);
                for device in &devices {
                    for to in [Some(own), wide].into_iter().flatten() {
                        let input = with_dtype!(dtype, T => {
                            let values: Vec<T> = x.data.iter().map(|&v| <T as Element>::from_f64(v)).collect();
                            Buffer::from_slice(device, &values).unwrap()
                        });
                        let view = View::new(&input, Layout::contiguous(Shape::new(&dims).unwrap())).unwrap();
                        let mut out = Buffer::uninit(device, to, dims[0]).unwrap();
                        reduce(&desc, reduction, view, &mut out).unwrap();
                        let found: Vec<f64> = with_dtype!(to, T => {
                            out.to_vec::<T>().unwrap().into_iter().map(Element::to_f64).collect()
                        });
                        if !to.is_float() {
                            assert_eq!(found, expected.data, "{reduction:?} of {dims:?} {dtype}");
                            continue;
                        }
                        for ((f, e), m) in found.iter().zip(&expected.data).zip(&magnitude.data) {
                            // As documented of sums; a variance squares distances, a product rounds at each factor.
                            let unit = 4.0 * 115.0 * DType::F32.unit_roundoff() + to.unit_roundoff();
                            let close = (f - e).abs() <= unit * m;
                            assert!(close, "{reduction:?} of {dims:?} {dtype} to {to}: {f:e} instead of {e:e}");
                        }
                    }
                }
            }
        }
    }
}

crate::support::device_checks!(
    every_walk_of_the_cuda_kernels_agrees_with_plain_loops,
    every_reduction_of_every_type_and_result,
);
