//! Matrix products against loops over their definition.

#[path = "gemm/device.rs"]
pub mod device;
#[path = "gemm/hopper.rs"]
pub mod hopper;
#[cfg(test)]
mod support;

use crate::support::check::{round, strided, tensor};
use crate::support::{Array, Domain, OpCheck, Random, array::broadcast_dims};
use warpsmith::{DType, Result, Tensor};

/// Σ over k of f(a, b), for operands of at least two axes.
fn product(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let (ra, rb) = (a.dims.len(), b.dims.len());
    let (m, k, n) = (a.dims[ra - 2], a.dims[ra - 1], b.dims[rb - 1]);
    assert_eq!(k, b.dims[rb - 2]);
    let mut dims = broadcast_dims(&a.dims[..ra - 2], &b.dims[..rb - 2]);
    dims.extend([m, n]);
    if dims.len() == 2 {
        let element = |i: usize| (0..k).map(|x| f(a.data[i / n * k + x], b.data[x * n + i % n])).sum();
        return Array::new(&dims, (0..m * n).map(element).collect());
    }
    Array::from_fn(&dims, |i| {
        let outer = &i[..i.len() - 2];
        let (row, col) = (i[i.len() - 2], i[i.len() - 1]);
        let index = |r: usize, c: usize| [outer, &[r, c]].concat();
        (0..k).map(|x| f(a.at_broadcast(&index(row, x)), b.at_broadcast(&index(x, col)))).sum()
    })
}

fn matmul(a: &Array, b: &Array) -> Array {
    product(a, b, |x, y| x * y)
}

fn magnitude(a: &Array, b: &Array) -> Array {
    product(a, b, |x, y| (x * y).abs())
}

fn reshaped(a: &Array, dims: &[usize]) -> Array {
    Array::new(dims, a.data.clone())
}

fn transposed(a: &Array) -> Array {
    let r = a.dims.len();
    let mut dims = a.dims.clone();
    dims.swap(r - 1, r - 2);
    Array::from_fn(&dims, |i| {
        let mut i = i.to_vec();
        i.swap(r - 1, r - 2);
        a.at(&i)
    })
}

fn matmul_with_broadcasting() {
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[3, 4], &[4, 5]),
        (&[1, 1], &[1, 1]),
        (&[2, 3, 4], &[4, 2]),
        (&[2, 3, 4], &[2, 4, 2]),
        (&[2, 1, 2, 3], &[3, 3, 2]),
        (&[1, 2, 3], &[2, 3, 2]),
        (&[9, 2], &[2, 17]),
        (&[0, 3], &[3, 2]),
        (&[2, 2, 3], &[1, 3, 1]),
    ];
    for (a, b) in shapes {
        // A sum of K fused products is off by at most K roundoffs of Σ|ab|; storing f16 and bf16 adds one. Gradients sum
        // over n, or over m and the broadcast axes.
        let (ra, rb) = (a.len(), b.len());
        let forward = a[ra - 1] as f64 + 1.0;
        let outer: usize = broadcast_dims(&a[..ra - 2], &b[..rb - 2]).iter().product();
        let backward = (outer * b[rb - 1].max(a[ra - 2])) as f64 + 2.0;
        OpCheck::new("matmul", |x| x[0].matmul(&x[1]), |x| matmul(&x[0], &x[1]))
            .magnitude(|x| magnitude(&x[0], &x[1]))
            .input(a)
            .input(b)
            .ulps(forward + 1.0, backward + 1.0)
            .run();
    }
}

#[test]
fn a_sum_of_no_products_is_zero() {
    let (a, b) = (Array::zeros(&[2, 0]), Array::zeros(&[0, 3]));
    let (a, b) = (tensor(&a, DType::F32).unwrap().track(), tensor(&b, DType::F32).unwrap().track());
    let y = a.matmul(&b).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [0.0; 6]);
    assert_eq!(y.backward_with(&y.ones_like().unwrap()).unwrap().expect(&a).unwrap().dims(), [2, 0]);
}

fn vectors_are_rows_and_columns() {
    let column = |a: &Array| reshaped(a, &[a.data.len(), 1]);
    let row = |a: &Array| reshaped(a, &[1, a.data.len()]);
    let vec = |a: Array| Array::new(&[a.data.len()], a.data);
    OpCheck::new("matmul 2x1", |x| x[0].matmul(&x[1]), move |x| vec(matmul(&x[0], &column(&x[1]))))
        .magnitude(move |x| vec(magnitude(&x[0], &column(&x[1]))))
        .input(&[3, 5])
        .input(&[5])
        .ulps(6.0, 6.0)
        .run();
    OpCheck::new("matmul 1x2", |x| x[0].matmul(&x[1]), move |x| vec(matmul(&row(&x[0]), &x[1])))
        .magnitude(move |x| vec(magnitude(&row(&x[0]), &x[1])))
        .input(&[5])
        .input(&[5, 3])
        .ulps(6.0, 6.0)
        .run();
    OpCheck::new("dot", |x| x[0].dot(&x[1]), move |x| reshaped(&matmul(&row(&x[0]), &column(&x[1])), &[]))
        .magnitude(move |x| reshaped(&magnitude(&row(&x[0]), &column(&x[1])), &[]))
        .input(&[7])
        .input(&[7])
        .ulps(8.0, 2.0)
        .run();
    OpCheck::new("outer", |x| x[0].outer(&x[1]), move |x| matmul(&column(&x[0]), &row(&x[1])))
        .input(&[3])
        .input(&[4])
        .ulps(2.0, 6.0)
        .run();
    OpCheck::new("bmm", |x| x[0].bmm(&x[1]), |x| matmul(&x[0], &x[1]))
        .magnitude(|x| magnitude(&x[0], &x[1]))
        .input(&[2, 3, 4])
        .input(&[2, 4, 3])
        .ulps(6.0, 6.0)
        .run();
}

fn with_bias(x: &[Array], f: impl Fn(f64, f64) -> f64) -> Array {
    let rows: usize = x[0].dims[..x[0].dims.len() - 1].iter().product();
    let flat = reshaped(&x[0], &[rows, x[1].dims[1]]);
    let y = product(&flat, &transposed(&x[1]), &f);
    let y = match x.get(2) {
        Some(b) => Array::from_fn(&y.dims, |i| y.at(i) + f(b.data[i[1]], 1.0)),
        None => y,
    };
    let mut dims = x[0].dims.clone();
    *dims.last_mut().unwrap() = x[1].dims[0];
    reshaped(&y, &dims)
}

fn linear_with_and_without_bias() {
    let plain = |x: &[Array]| with_bias(x, |a, b| a * b);
    let size = |x: &[Array]| with_bias(x, |a, b| (a * b).abs());
    for dims in [&[3, 4][..], &[2, 3, 4], &[4]] {
        OpCheck::new("linear", |x| x[0].linear(&x[1], Some(&x[2])), plain)
            .magnitude(size)
            .input(dims)
            .input(&[5, 4])
            .input(&[5])
            .ulps(7.0, 8.0)
            .run();
        OpCheck::new("linear without bias", |x| x[0].linear(&x[1], None), plain)
            .magnitude(size)
            .input(dims)
            .input(&[5, 4])
            .ulps(6.0, 8.0)
            .run();
    }
}

/// A forward and all gradients of `f` in a dtype, against f64 loops, with bounds of K·u·Σ|ab|.
fn compare(name: &str, found: &Tensor, expected: &Array, size: &Array, terms: usize, dtype: DType) {
    // f16 and bf16 accumulate in f32 and round once.
    let once = if matches!(dtype, DType::F16 | DType::BF16) { dtype.unit_roundoff() } else { 0.0 };
    let each = if dtype == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 } * (terms as f64 + 2.0);
    assert_eq!(found.dims(), expected.dims, "{name}");
    for (i, &f) in found.to_f64_vec().unwrap().iter().enumerate() {
        let tiny = if dtype == DType::F16 { 2f64.powi(-25) } else { 1e-38 };
        let bound = each * size.data[i] + once * (expected.data[i].abs() + each * size.data[i]) + tiny;
        let error = (f - expected.data[i]).abs();
        assert!(error <= bound, "{name} {dtype} [{i}]: {f} instead of {}, bound {bound:e}", expected.data[i]);
    }
}

fn random(dims: &[usize], dtype: DType, random: &mut Random) -> Array {
    let n = dims.iter().product();
    Array::new(dims, (0..n).map(|_| round(random.range(-1.0, 1.0), dtype)).collect())
}

#[test]
fn ragged_sizes_around_every_block() {
    ragged_sizes([DType::F32, DType::F64]);
}

#[test]
fn ragged_sizes_around_every_block_in_halves() {
    ragged_sizes([DType::F16, DType::BF16]);
}

fn ragged_sizes(dtypes: [DType; 2]) {
    let mut r = Random::fresh("ragged matmul");
    // Register tiles are 8 × 48 (f32, AVX-512), tasks 64 × 192, blocks of K 512; the threads join in above 2^19 products.
    let sizes = [
        (7, 47, 15),
        (8, 48, 16),
        (9, 49, 17),
        (1, 193, 31),
        (65, 1, 33),
        (63, 191, 511),
        (64, 192, 512),
        (65, 193, 513),
        (13, 17, 1031),
        (129, 385, 97),
        (257, 101, 600),
        // A is read in place up to 1,024 columns, unless its rows are multiples of 4 KB apart.
        (17, 1025, 20),
        (17, 33, 1024),
    ];
    for (m, n, k) in sizes {
        for dtype in dtypes {
            let (a, b, g) =
                (random(&[m, k], dtype, &mut r), random(&[k, n], dtype, &mut r), random(&[m, n], dtype, &mut r));
            let (at, bt) = (transposed(&a), transposed(&b));
            let products = |a: &Array, b: &Array| (matmul(a, b), magnitude(a, b));
            let (y, y_a, y_b) = (products(&a, &b), products(&g, &bt), products(&at, &g));
            for views in [false, true] {
                let make = |a: &Array| -> Result<Tensor> {
                    let t = tensor(a, dtype)?;
                    Ok(if views { strided(&t)? } else { t }.track())
                };
                let (ta, tb) = (make(&a).unwrap(), make(&b).unwrap());
                let out = ta.matmul(&tb).unwrap();
                compare(&format!("{m}x{n}x{k}"), &out, &y.0, &y.1, k, dtype);
                let gradients = out.backward_with(&tensor(&g, dtype).unwrap()).unwrap();
                let ga = gradients.expect(&ta).unwrap();
                compare(&format!("{m}x{n}x{k} a"), &ga, &y_a.0, &y_a.1, n, dtype);
                let gb = gradients.expect(&tb).unwrap();
                compare(&format!("{m}x{n}x{k} b"), &gb, &y_b.0, &y_b.1, m, dtype);
            }
        }
    }
}

#[test]
fn linear_relu_is_linear_then_relu() {
    // Inputs on a grid that keeps every pre-activation at least 1/8 from the kink: sums of multiples of 1/2 times
    // odd multiples of 1/2, plus a bias of 1/8 more.
    let mut r = Random::fresh("linear_relu");
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let grid = |dims: &[usize], shift: f64, r: &mut Random| {
            let n = dims.iter().product();
            Array::new(dims, (0..n).map(|_| (r.below(9) as f64 - 4.0) / 2.0 + shift).collect())
        };
        let (x, w, b) = (grid(&[5, 6], 0.0, &mut r), grid(&[7, 6], 0.0, &mut r), grid(&[7], 0.125, &mut r));
        let g = grid(&[5, 7], 0.25, &mut r);
        let pre = with_bias(&[x.clone(), w.clone(), b.clone()], |a, b| a * b);
        let masked = Array::from_fn(&g.dims, |i| if pre.at(i) > 0.0 { g.at(i) } else { 0.0 });
        let t = |a: &Array| tensor(a, dtype).unwrap().track();
        let (tx, tw, tb) = (t(&x), t(&w), t(&b));
        let y = tx.linear_relu(&tw, Some(&tb)).unwrap();
        compare("linear_relu", &y, &pre.map(|v| v.max(0.0)), &pre.map(f64::abs), 7, dtype);
        let grads = y.backward_with(&tensor(&g, dtype).unwrap()).unwrap();
        let gx = matmul(&masked, &w);
        compare("linear_relu x", &grads.expect(&tx).unwrap(), &gx, &magnitude(&masked, &w), 7, dtype);
        let turned = transposed(&masked);
        let gw = matmul(&turned, &x);
        compare("linear_relu w", &grads.expect(&tw).unwrap(), &gw, &magnitude(&turned, &x), 5, dtype);
        let gb = Array::from_fn(&[7], |i| (0..5).map(|n| masked.at(&[n, i[0]])).sum());
        let size = Array::from_fn(&[7], |i| (0..5).map(|n| masked.at(&[n, i[0]]).abs()).sum());
        compare("linear_relu b", &grads.expect(&tb).unwrap(), &gb, &size, 5, dtype);
    }
}

/// Φ(x) by its series at 0 (Marsaglia 2004, "Evaluating the normal distribution"): good to 1e-15 for |x| < 3.
fn normal_cdf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..60 {
        term *= x * x / (2 * n + 1) as f64;
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn linear_gelu() {
    // GELU's slope is at most 1.13, so it passes on the error of a sum of five terms; Φ and two products add a few
    // roundoffs of the result.
    let gelu = |x: &[Array]| with_bias(x, |a, b| a * b).map(|v| v * normal_cdf(v));
    let size = |x: &[Array]| with_bias(x, |a, b| (a * b).abs());
    OpCheck::new("linear_gelu", |x| x[0].linear_gelu(&x[1], Some(&x[2])), gelu)
        .magnitude(size)
        .input_in(&[3, 4], Domain::Range(-0.7, 0.7))
        .input_in(&[5, 4], Domain::Range(-0.7, 0.7))
        .input_in(&[5], Domain::Range(-0.7, 0.7))
        .ulps(13.0, 17.0)
        .run();
}

#[test]
fn a_second_derivative_through_activations() {
    use warpsmith::autograd::Backward;
    let mut r = Random::fresh("second derivative");
    let dt = DType::F64;
    let t = |dims: &[usize], r: &mut Random| tensor(&random(dims, dt, r), dt).unwrap().track();
    let (x, w, b) = (t(&[3, 4], &mut r), t(&[2, 4], &mut r), t(&[2], &mut r));
    let second = |y: Tensor| {
        let first = Backward::new().create_graph().run(&y.mul(&y).unwrap().sum_all().unwrap()).unwrap();
        let g = first.expect(&x).unwrap();
        let grads = g.mul(&g).unwrap().sum_all().unwrap().backward().unwrap();
        [&x, &w, &b].map(|t| grads.expect(t).unwrap().to_f64_vec().unwrap())
    };
    let same = |fused: [Vec<f64>; 3], plain: [Vec<f64>; 3]| {
        for (f, p) in fused.iter().flatten().zip(plain.iter().flatten()) {
            assert!((f - p).abs() <= 1e-12 * (1.0 + p.abs()), "{f} instead of {p}");
        }
    };
    let linear = || x.linear(&w, Some(&b)).unwrap();
    same(second(x.linear_relu(&w, Some(&b)).unwrap()), second(linear().relu().unwrap()));
    same(second(x.linear_gelu(&w, Some(&b)).unwrap()), second(linear().gelu().unwrap()));
}

#[test]
fn a_second_derivative_of_matmul() {
    use warpsmith::autograd::Backward;
    // y = Σ (x·w)², so ∂y/∂x = 2 (x·w)·wᵀ, and the derivative of its sum by x is 2 · 1·(w·wᵀ).
    let mut r = Random::fresh("second derivative");
    let (x, w) = (random(&[3, 4], DType::F64, &mut r), random(&[4, 2], DType::F64, &mut r));
    let (tx, tw) = (tensor(&x, DType::F64).unwrap().track(), tensor(&w, DType::F64).unwrap());
    let z = tx.matmul(&tw).unwrap();
    let y = z.mul(&z).unwrap().sum_all().unwrap();
    let first = Backward::new().create_graph().run(&y).unwrap().expect(&tx).unwrap();
    let second = first.sum_all().unwrap().backward().unwrap().expect(&tx).unwrap();
    let square = matmul(&w, &transposed(&w));
    let ones = x.map(|_| 2.0);
    compare("second", &second, &matmul(&ones, &square), &magnitude(&ones, &square.map(f64::abs)), 64, DType::F64);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let mut r = Random::fresh("threads");
    let (a, b) = (random(&[150, 700], DType::F32, &mut r), random(&[700, 200], DType::F32, &mut r));
    let (a, b) = (tensor(&a, DType::F32).unwrap(), tensor(&b, DType::F32).unwrap());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| a.matmul(&b).unwrap().to_vec::<f32>().unwrap())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn bits_do_not_depend_on_how_a_is_stored() {
    let mut r = Random::fresh("storage of A");
    for dtype in [DType::F32, DType::F64] {
        // Both sides of what is read in place, and rows that fill no register tile.
        for (m, n, k) in [(150, 96, 700), (150, 1025, 60), (21, 40, 1024), (5, 7, 9)] {
            let (a, b) = (random(&[m, k], dtype, &mut r), random(&[k, n], dtype, &mut r));
            let (rows, b) = (tensor(&a, dtype).unwrap(), tensor(&b, dtype).unwrap());
            let columns = rows.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap();
            let product = |a: &Tensor| a.matmul(&b).unwrap().to_f64_vec().unwrap();
            assert_eq!(product(&rows), product(&columns), "{m}x{n}x{k} of {dtype}");
        }
    }
}

#[test]
fn errors_name_shapes_and_dtypes() {
    let zeros = |dims: &[usize], dtype| tensor(&Array::zeros(dims), dtype).unwrap();
    let f = |dims: &[usize]| zeros(dims, DType::F32);
    let message = |r: Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(f(&[2, 3]).matmul(&f(&[4, 5]))).contains("[2, 3] and [4, 5]"));
    assert!(message(f(&[2, 2, 3]).matmul(&f(&[3, 3, 5]))).contains("broadcast"));
    assert!(message(f(&[]).matmul(&f(&[2]))).contains("at least one axis"));
    assert!(message(f(&[2, 3]).matmul(&zeros(&[3, 2], DType::F16))).contains("f32 and f16"));
    assert!(message(zeros(&[2, 3], DType::I64).matmul(&zeros(&[3, 2], DType::I64))).contains("no i64 kernel"));
    assert!(message(f(&[2, 3]).linear(&f(&[4, 3]), Some(&f(&[3])))).contains("(out, in)"));
    assert!(message(f(&[2]).dot(&f(&[3]))).contains("one length"));
    assert!(message(f(&[2, 2]).outer(&f(&[3]))).contains("two vectors"));
    assert!(message(f(&[2, 2]).bmm(&f(&[2, 2]))).contains("(b, m, k)"));
}

crate::support::device_checks!(
    matmul_with_broadcasting,
    vectors_are_rows_and_columns,
    linear_with_and_without_bias,
    linear_gelu,
);
