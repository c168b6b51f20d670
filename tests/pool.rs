//! Pooling against loops over its definition.

#[cfg(test)]
mod support;

use crate::support::check::{round, strided, tensor, tensor_on};
use crate::support::devices::devices;
use crate::support::large::{Large, compare};
use crate::support::{Array, Domain, OpCheck, Random};
use warpsmith::ops::{Pool1dParams, Pool2dParams};
use warpsmith::{DType, Tensor};

/// The number of windows by PyTorch's rule.
fn outputs(len: usize, kernel: usize, stride: usize, pad: usize, dilation: usize, ceil: bool) -> usize {
    let room = len + 2 * pad - dilation * (kernel - 1) - 1;
    let mut n = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
    if ceil && (n - 1) * stride >= len + pad {
        n -= 1;
    }
    n
}

/// Calls `f` with the values of each window (positions outside are `None`) over the last two axes.
fn pool(x: &Array, p: &Pool2dParams, f: impl Fn(&[Option<f64>]) -> f64) -> Array {
    let r = x.dims.len();
    let (h, w) = (x.dims[r - 2], x.dims[r - 1]);
    let mut dims = x.dims.clone();
    dims[r - 2] = outputs(h, p.kernel[0], p.stride[0], p.padding[0], p.dilation[0], p.ceil_mode);
    dims[r - 1] = outputs(w, p.kernel[1], p.stride[1], p.padding[1], p.dilation[1], p.ceil_mode);
    Array::from_fn(&dims, |i| {
        let mut values = vec![];
        for a in 0..p.kernel[0] {
            for b in 0..p.kernel[1] {
                let y = (i[r - 2] * p.stride[0] + a * p.dilation[0]) as i64 - p.padding[0] as i64;
                let z = (i[r - 1] * p.stride[1] + b * p.dilation[1]) as i64 - p.padding[1] as i64;
                // Beyond the right padding (ceil mode) is no position at all.
                if y >= (h + p.padding[0]) as i64 || z >= (w + p.padding[1]) as i64 {
                    continue;
                }
                let inside = (0..h as i64).contains(&y) && (0..w as i64).contains(&z);
                let mut index = i.to_vec();
                (index[r - 2], index[r - 1]) = (y.max(0) as usize, z.max(0) as usize);
                values.push(inside.then(|| x.at(&index)));
            }
        }
        f(&values)
    })
}

fn max(x: &Array, p: &Pool2dParams) -> Array {
    pool(x, p, |v| v.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn average(x: &Array, p: &Pool2dParams) -> Array {
    pool(x, p, |v| {
        let inside = v.iter().flatten().count();
        let count = p.divisor.unwrap_or(if p.count_include_pad { v.len() } else { inside });
        v.iter().flatten().sum::<f64>() / count as f64
    })
}

fn windows() -> Vec<Pool2dParams> {
    let new = Pool2dParams::new;
    vec![
        new([2, 2]),
        new([1, 1]),
        Pool2dParams { stride: [2, 2], padding: [1, 1], ..new([3, 3]) },
        Pool2dParams { stride: [1, 1], padding: [1, 0], ..new([3, 2]) },
        Pool2dParams { stride: [3, 2], ceil_mode: true, padding: [1, 1], ..new([2, 3]) },
        Pool2dParams { stride: [2, 3], ceil_mode: true, ..new([2, 2]) },
        Pool2dParams { stride: [1, 4], ..new([2, 1]) },
    ]
}

fn maximum() {
    let dilated = Pool2dParams { stride: [1, 2], padding: [1, 2], dilation: [2, 3], ..Pool2dParams::new([2, 2]) };
    for p in windows().into_iter().chain([dilated]) {
        for dims in [&[1, 5, 6][..], &[2, 2, 4, 5]] {
            OpCheck::new("max_pool2d", move |x| x[0].max_pool2d(p), move |x| max(&x[0], &p))
                .input_in(dims, Domain::Distinct(-2.0, 2.0))
                .ulps(1.0, 10.0) // up to nine windows share a maximum
                .run();
        }
    }
}

fn averages() {
    let more = [
        Pool2dParams { stride: [2, 2], padding: [1, 1], count_include_pad: false, ..Pool2dParams::new([3, 3]) },
        Pool2dParams {
            stride: [2, 2],
            padding: [1, 1],
            ceil_mode: true,
            divisor: Some(5),
            ..Pool2dParams::new([2, 3])
        },
    ];
    for p in windows().into_iter().chain(more) {
        for dims in [&[1, 5, 6][..], &[2, 2, 4, 5]] {
            let absolute = move |x: &[Array]| average(&x[0].map(f64::abs), &p);
            OpCheck::new("avg_pool2d", move |x| x[0].avg_pool2d(p), move |x| average(&x[0], &p))
                .magnitude(absolute)
                .input(dims)
                .ulps(12.0, 12.0) // sums of up to nine terms, a rounded factor and a product
                .run();
        }
    }
}

fn adaptive_averages() {
    for (dims, out) in [([1, 2, 5, 7], [1, 1]), ([2, 1, 5, 7], [2, 3]), ([1, 1, 2, 3], [4, 5]), ([1, 2, 4, 6], [2, 3])]
    {
        let reference = move |x: &Array| {
            Array::from_fn(&[dims[0], dims[1], out[0], out[1]], |i| {
                let span = |o: usize, len: usize, n: usize| o * len / n..((o + 1) * len).div_ceil(n);
                let (rows, cols) = (span(i[2], dims[2], out[0]), span(i[3], dims[3], out[1]));
                let count = (rows.len() * cols.len()) as f64;
                rows.map(|r| cols.clone().map(|c| x.at(&[i[0], i[1], r, c])).sum::<f64>()).sum::<f64>() / count
            })
        };
        OpCheck::new("adaptive_avg_pool2d", move |x| x[0].adaptive_avg_pool2d(out), move |x| reference(&x[0]))
            .magnitude(move |x| reference(&x[0].map(f64::abs)))
            .input(&dims)
            .ulps(38.0, 38.0) // sums of up to 35 terms, a rounded factor and a product
            .run();
    }
}

/// From 64 positions on a warp adds a window up; and positions may be wanted as i64.
fn windows_for_a_warp_and_positions() {
    let mut r = Random::fresh("large windows");
    let devices = devices(r.seed());
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (dims, p) in [
            ([2, 3, 7, 9], Pool2dParams::new([7, 9])),
            ([1, 2, 9, 20], Pool2dParams { stride: [1, 3], padding: [1, 4], ..Pool2dParams::new([8, 8]) }),
            ([1, 5, 33, 2], Pool2dParams { stride: [2, 1], ceil_mode: true, ..Pool2dParams::new([32, 2]) }),
        ] {
            let draw = |random: &mut Random| round(random.range(-2.0, 2.0), dtype);
            let x = Array::from_fn(&dims, |_| draw(&mut r));
            let large = Large { expected: average(&x, &p), magnitude: average(&x.map(f64::abs), &p) };
            let maxima = max(&x, &p);
            let positions = pool(&x, &p, |values| values.len() as f64).dims;
            for device in &devices {
                let t = tensor_on(&x, dtype, device).unwrap();
                // At most 80 terms in f32, a division and a rounding.
                let bound = 2.0 * dtype.unit_roundoff() + 82.0 * DType::F32.unit_roundoff();
                compare("average", &t.avg_pool2d(p).unwrap(), &large, bound);
                let (out, at) = t.max_pool2d_with_indices(p).unwrap();
                assert_eq!(out.to_f64_vec().unwrap(), maxima.data);
                assert_eq!(at.dims(), positions);
                let outputs = maxima.data.len() / (dims[0] * dims[1]);
                for (i, &at) in at.to_vec::<i64>().unwrap().iter().enumerate() {
                    let plane = i / outputs * dims[2] * dims[3];
                    assert_eq!(x.data[plane + at as usize], maxima.data[i], "{dtype} {dims:?} {i}");
                }
            }
        }
    }
}

fn one_dimension_is_two_with_a_height_of_one() {
    let p = Pool1dParams { stride: 2, padding: 1, ..Pool1dParams::new(3) };
    let flat = Pool2dParams { stride: [1, 2], padding: [0, 1], ..Pool2dParams::new([1, 3]) };
    let lift = |x: &Array| Array::new(&[x.dims[0], x.dims[1], 1, x.dims[2]], x.data.clone());
    let drop = |x: Array| Array::new(&[x.dims[0], x.dims[1], x.dims[3]], x.data);
    OpCheck::new("max_pool1d", move |x| x[0].max_pool1d(p), move |x| drop(max(&lift(&x[0]), &flat)))
        .input_in(&[2, 3, 7], Domain::Distinct(-2.0, 2.0))
        .run();
    OpCheck::new("avg_pool1d", move |x| x[0].avg_pool1d(p), move |x| drop(average(&lift(&x[0]), &flat)))
        .magnitude(move |x| drop(average(&lift(&x[0].map(f64::abs)), &flat)))
        .input(&[2, 3, 7])
        .ulps(6.0, 6.0)
        .run();
    let halves =
        |x: &Array| Array::from_fn(&[2, 2], |i| (0..3).map(|k| x.at(&[i[0], i[1] * 3 + k])).sum::<f64>() / 3.0);
    OpCheck::new("adaptive_avg_pool1d", |x| x[0].adaptive_avg_pool1d(2), move |x| halves(&x[0]))
        .magnitude(move |x| halves(&x[0].map(f64::abs)))
        .input(&[2, 6])
        .ulps(6.0, 6.0)
        .run();
}

#[test]
fn larger_planes_and_their_gradients() {
    let mut r = Random::fresh("larger pools");
    for (dims, p) in [
        ([3, 70, 17, 33], Pool2dParams { stride: [2, 2], padding: [1, 1], ..Pool2dParams::new([3, 3]) }),
        ([2, 5, 64, 49], Pool2dParams { stride: [1, 1], padding: [1, 1], ..Pool2dParams::new([3, 3]) }),
        ([1, 40, 40, 40], Pool2dParams { stride: [3, 3], ceil_mode: true, ..Pool2dParams::new([2, 2]) }),
    ] {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let n = dims.iter().product();
            let x = Array::new(&dims, (0..n).map(|_| round(r.range(-1.0, 1.0), dtype)).collect());
            let y = max(&x, &p);
            let t = strided(&tensor(&x, dtype).unwrap()).unwrap().track();
            let (out, positions) = t.max_pool2d_with_indices(p).unwrap();
            assert_eq!(out.to_f64_vec().unwrap(), y.data);
            let g = y.map(|v| round(1.0 + v / 4.0, dtype));
            let found = out.backward_with(&tensor(&g, dtype).unwrap()).unwrap().expect(&t).unwrap();
            // The reference gradient goes where the positions say, and the positions are where the maxima are.
            let positions = positions.to_vec::<i64>().unwrap();
            let (size, outputs) = (dims[2] * dims[3], y.dims[2] * y.dims[3]);
            let mut expected = vec![0.0; n];
            for (i, (&at, &g)) in positions.iter().zip(&g.data).enumerate() {
                let at = i / outputs * size + at as usize;
                assert_eq!(x.data[at], y.data[i]);
                expected[at] += g;
            }
            let u = dtype.unit_roundoff();
            for (f, e) in found.to_f64_vec().unwrap().iter().zip(&expected) {
                assert!((f - e).abs() <= 9.0 * u * e.abs(), "{dtype}: {f} instead of {e}");
            }
        }
    }
}

fn positions_are_the_first_of_equals_and_nan_wins() {
    let x = [3.0, 3.0, 1.0, f64::NAN, 7.0, 2.0, f64::NEG_INFINITY, f64::NEG_INFINITY];
    for device in devices(0) {
        let t = tensor_on(&Array::new(&[1, 1, 8], x.to_vec()), DType::F32, &device).unwrap();
        let (y, at) = t.max_pool2d_with_indices(Pool2dParams::new([1, 2])).unwrap();
        let y = y.to_vec::<f32>().unwrap();
        assert!(y[0] == 3.0 && y[1].is_nan() && y[2] == 7.0 && y[3] == f32::NEG_INFINITY);
        assert_eq!(at.to_vec::<i64>().unwrap(), [0, 3, 4, 6]);
    }
}

#[test]
fn errors_say_what_does_not_fit() {
    let x = |dims: &[usize]| tensor(&Array::zeros(dims), DType::F32).unwrap();
    let message = |r: warpsmith::Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(x(&[1, 2, 2]).max_pool2d(Pool2dParams::new([3, 3]))).contains("does not fit"));
    assert!(message(x(&[2, 2]).max_pool2d(Pool2dParams::new([2, 2]))).contains("(N, C, H, W)"));
    let padded = Pool2dParams { padding: [2, 2], ..Pool2dParams::new([2, 2]) };
    assert!(message(x(&[1, 4, 4]).avg_pool2d(padded)).contains("half"));
    let still = Pool2dParams { stride: [0, 1], ..Pool2dParams::new([2, 2]) };
    assert!(message(x(&[1, 4, 4]).avg_pool2d(still)).contains("at least 1"));
    assert!(message(x(&[1, 4, 4]).adaptive_avg_pool2d([0, 1])).contains("empty"));
    assert_eq!(x(&[0, 3, 4, 4]).max_pool2d(Pool2dParams::new([2, 2])).unwrap().dims(), [0, 3, 2, 2]);
}

crate::support::device_checks!(
    maximum,
    averages,
    adaptive_averages,
    one_dimension_is_two_with_a_height_of_one,
    windows_for_a_warp_and_positions,
    positions_are_the_first_of_equals_and_nan_wins
);
