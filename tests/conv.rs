//! Convolutions against loops over their definition.

#[path = "conv/device.rs"]
pub mod device;
#[cfg(test)]
mod support;

use crate::support::check::{round, strided, tensor, tensor_on};
use crate::support::{Array, OpCheck, Random};
use warpsmith::ops::{Conv1dParams, Conv2dParams, ConvTranspose2dParams};
use warpsmith::{DType, Result, Tensor};

/// The position of the input that tap `k` of output `o` reads, if it is not padding.
fn at(o: usize, k: usize, stride: usize, padding: usize, dilation: usize, len: usize) -> Option<usize> {
    (o * stride + k * dilation).checked_sub(padding).filter(|&i| i < len)
}

fn outputs(len: usize, kernel: usize, p: &Conv2dParams, axis: usize) -> usize {
    (len + 2 * p.padding[axis] - p.dilation[axis] * (kernel - 1) - 1) / p.stride[axis] + 1
}

/// Calls `f(x index, weight index, y index)` for every product of a convolution.
fn products(x: &[usize], w: &[usize], y: &[usize], p: &Conv2dParams, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, og) = (w[1], w[0] / p.groups);
    for n in 0..y[0] {
        for o in 0..y[1] {
            for c in 0..cg {
                let channel = o / og * cg + c;
                for a in 0..w[2] {
                    for b in 0..w[3] {
                        for r in 0..y[2] {
                            let Some(i) = at(r, a, p.stride[0], p.padding[0], p.dilation[0], x[2]) else { continue };
                            for s in 0..y[3] {
                                let j = at(s, b, p.stride[1], p.padding[1], p.dilation[1], x[3]);
                                let Some(j) = j else { continue };
                                let xi = ((n * x[1] + channel) * x[2] + i) * x[3] + j;
                                let wi = ((o * cg + c) * w[2] + a) * w[3] + b;
                                f(xi, wi, ((n * y[1] + o) * y[2] + r) * y[3] + s);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn y_dims(x: &[usize], w: &[usize], p: &Conv2dParams) -> [usize; 4] {
    [x[0], w[0], outputs(x[2], w[2], p, 0), outputs(x[3], w[3], p, 1)]
}

fn conv(x: &Array, w: &Array, b: Option<&Array>, p: &Conv2dParams, f: impl Fn(f64, f64) -> f64) -> Array {
    let dims = y_dims(&x.dims, &w.dims, p);
    let mut y = Array::from_fn(&dims, |i| b.map_or(0.0, |b| f(b.data[i[1]], 1.0)));
    products(&x.dims, &w.dims, &dims, p, |i, j, k| y.data[k] += f(x.data[i], w.data[j]));
    y
}

/// The gradient of x: `dims` are x's.
fn input(y: &Array, w: &Array, dims: &[usize], p: &Conv2dParams, f: impl Fn(f64, f64) -> f64) -> Array {
    let mut x = Array::zeros(dims);
    products(dims, &w.dims, &y.dims, p, |i, j, k| x.data[i] += f(y.data[k], w.data[j]));
    x
}

/// The gradient of the weight: `dims` are its.
fn weight(x: &Array, y: &Array, dims: &[usize], p: &Conv2dParams, f: impl Fn(f64, f64) -> f64) -> Array {
    let mut w = Array::zeros(dims);
    products(&x.dims, dims, &y.dims, p, |i, j, k| w.data[j] += f(x.data[i], y.data[k]));
    w
}

fn mul(a: f64, b: f64) -> f64 {
    a * b
}

fn size(a: f64, b: f64) -> f64 {
    (a * b).abs()
}

fn params(stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2], groups: usize) -> Conv2dParams {
    Conv2dParams { stride, padding, dilation, groups }
}

fn conv2d() {
    for (x, w, p) in [
        ([1, 2, 4, 5], [3, 2, 3, 3], params([1, 1], [1, 1], [1, 1], 1)),
        ([2, 1, 5, 4], [2, 1, 2, 3], params([1, 1], [0, 0], [1, 1], 1)),
        ([1, 2, 5, 6], [2, 2, 3, 3], params([2, 2], [1, 1], [1, 1], 1)),
        ([1, 2, 6, 5], [2, 2, 1, 1], params([2, 2], [0, 0], [1, 1], 1)),
        ([1, 1, 6, 7], [2, 1, 2, 2], params([1, 2], [1, 2], [2, 3], 1)),
        ([1, 4, 4, 3], [4, 2, 2, 2], params([1, 1], [1, 0], [1, 1], 2)),
        ([1, 3, 4, 4], [6, 1, 3, 3], params([1, 1], [1, 1], [1, 1], 3)),
        ([2, 2, 3, 2], [3, 2, 1, 1], params([1, 1], [0, 0], [1, 1], 1)),
    ] {
        // K terms and a bias, each rounded; gradients sum over at most 60 outputs or 27 taps.
        let terms = (w[1] * w[2] * w[3]) as f64;
        OpCheck::new(
            "conv2d",
            move |t| t[0].conv2d(&t[1], Some(&t[2]), p),
            move |t| conv(&t[0], &t[1], Some(&t[2]), &p, mul),
        )
        .magnitude(move |t| conv(&t[0], &t[1], Some(&t[2]), &p, size))
        .input(&x)
        .input(&w)
        .input(&[w[0]])
        .ulps(terms + 2.0, 61.0)
        .run();
    }
}

fn conv2d_of_channels_last_gives_channels_last_and_the_same_values() {
    for (x, w, p) in [
        ([1, 8, 4, 3], [8, 8, 3, 3], params([1, 1], [1, 1], [1, 1], 1)),
        ([1, 8, 5, 4], [16, 8, 2, 2], params([2, 2], [1, 0], [1, 1], 1)),
        ([1, 3, 4, 5], [2, 3, 3, 2], params([1, 2], [1, 1], [1, 1], 1)),
        ([1, 4, 4, 3], [4, 1, 2, 2], params([1, 1], [1, 0], [1, 1], 4)),
        ([2, 8, 2, 3], [16, 8, 1, 1], params([1, 1], [0, 0], [1, 1], 1)),
    ] {
        let terms = (w[1] * w[2] * w[3]) as f64;
        // Either operand asks for it; gradients follow.
        for weight_too in [false, true] {
            OpCheck::new(
                "conv2d, channels last",
                move |t| {
                    let weight = if weight_too { t[1].channels_last()? } else { t[1].clone() };
                    let y = t[0].channels_last()?.conv2d(&weight, Some(&t[2]), p)?;
                    assert!(y.is_channels_last(), "{:?}", y.dims());
                    Ok(y)
                },
                move |t| conv(&t[0], &t[1], Some(&t[2]), &p, mul),
            )
            .magnitude(move |t| conv(&t[0], &t[1], Some(&t[2]), &p, size))
            .input(&x)
            .input(&w)
            .input(&[w[0]])
            .ulps(terms + 2.0, 130.0)
            .run();
        }
    }
}

fn a_network_of_channels_last_images_trains_through_norm_activation_and_pool() {
    use warpsmith::ops::Pool2dParams;
    let r = &mut Random::fresh("channels last network");
    let run = |device: &warpsmith::Device, x: &Array, w: &Array, last: bool| {
        let on = |array: &Array| tensor_on(array, DType::F32, device).unwrap().track();
        let (x, w) = (on(x), on(w));
        let input = if last { x.channels_last().unwrap() } else { x.clone() };
        let y = input.conv2d(&w, None, params([1, 1], [1, 1], [1, 1], 1)).unwrap();
        assert_eq!(y.is_channels_last(), last);
        let y = y.batch_norm_train(None, None, 1e-5).unwrap().y.relu().unwrap();
        let y = y.max_pool2d(Pool2dParams::new([2, 2])).unwrap();
        let loss = y.square().unwrap().sum(&[0, 1, 2, 3]).unwrap();
        let gradients = loss.backward().unwrap();
        [y.to_f64_vec(), gradients.expect(&x).unwrap().to_f64_vec(), gradients.expect(&w).unwrap().to_f64_vec()]
            .map(Result::unwrap)
    };
    let mut array = |dims: &[usize]| Array::from_fn(dims, |_| r.range(-1.0, 1.0));
    let (x, w) = (array(&[2, 8, 6, 6]), array(&[8, 8, 3, 3]));
    for device in crate::support::devices::devices(3) {
        for (found, expected) in run(&device, &x, &w, true).iter().zip(run(&device, &x, &w, false)) {
            assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(expected) {
                // The same sums of at most 72 products (and 72 gradients) in another order.
                assert!((f - e).abs() <= 1e-4 * (1.0 + e.abs()), "{f} instead of {e} on {device}");
            }
        }
    }
}

fn conv1d_is_conv2d_with_a_height_of_one() {
    let p = Conv1dParams { stride: 2, padding: 1, dilation: 2, groups: 1 };
    let flat = params([1, 2], [0, 1], [1, 2], 1);
    let lift = |a: &Array| Array::new(&[a.dims[0], a.dims[1], 1, a.dims[2]], a.data.clone());
    let drop = |a: Array| Array::new(&[a.dims[0], a.dims[1], a.dims[3]], a.data);
    OpCheck::new(
        "conv1d",
        move |t| t[0].conv1d(&t[1], None, p),
        move |t| drop(conv(&lift(&t[0]), &lift(&t[1]), None, &flat, mul)),
    )
    .magnitude(move |t| drop(conv(&lift(&t[0]), &lift(&t[1]), None, &flat, size)))
    .input(&[2, 3, 9])
    .input(&[2, 3, 3])
    .ulps(10.0, 21.0)
    .run();
}

fn conv_transpose2d() {
    for (x, w, p, extra) in [
        ([1, 2, 3, 4], [2, 3, 3, 3], params([1, 1], [0, 0], [1, 1], 1), [0, 0]),
        ([2, 2, 3, 2], [2, 1, 2, 3], params([2, 2], [1, 1], [1, 1], 1), [1, 1]),
        ([1, 4, 2, 3], [4, 2, 3, 3], params([2, 3], [1, 0], [1, 1], 2), [1, 2]),
        ([1, 1, 3, 3], [1, 2, 2, 2], params([1, 1], [0, 1], [2, 2], 1), [1, 0]),
        ([1, 2, 3, 3], [2, 2, 1, 1], params([2, 2], [0, 0], [1, 1], 1), [1, 0]),
    ] {
        let options = ConvTranspose2dParams {
            stride: p.stride,
            padding: p.padding,
            output_padding: extra,
            dilation: p.dilation,
            groups: p.groups,
        };
        let side =
            |i: usize| (x[2 + i] - 1) * p.stride[i] + p.dilation[i] * (w[2 + i] - 1) + extra[i] + 1 - 2 * p.padding[i];
        let dims = [x[0], w[1] * p.groups, side(0), side(1)];
        let with = move |t: &[Array], f: fn(f64, f64) -> f64| {
            let y = input(&t[0], &t[1], &dims, &p, f);
            Array::from_fn(&dims, |i| y.at(i) + f(t[2].data[i[1]], 1.0))
        };
        OpCheck::new(
            "conv_transpose2d",
            move |t| t[0].conv_transpose2d(&t[1], Some(&t[2]), options),
            move |t| with(t, mul),
        )
        .magnitude(move |t| with(t, size))
        .input(&x)
        .input(&w)
        .input(&[dims[1]])
        .ulps(41.0, 65.0)
        .run();
    }
}

/// Within `terms` roundoffs of the accumulator of Σ|ab|, and one of the dtype.
fn compare(name: &str, found: &Tensor, expected: &Array, size: &Array, terms: usize, dtype: DType) {
    let once = if matches!(dtype, DType::F16 | DType::BF16) { dtype.unit_roundoff() } else { 0.0 };
    let each = if dtype == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 } * (terms as f64 + 2.0) / 2.0;
    let tiny = if dtype == DType::F16 { 2f64.powi(-25) } else { 1e-38 };
    assert_eq!(found.dims(), expected.dims, "{name}");
    for (i, &f) in found.to_f64_vec().unwrap().iter().enumerate() {
        let bound = each * size.data[i] + once * (expected.data[i].abs() + each * size.data[i]) + tiny;
        let error = (f - expected.data[i]).abs();
        assert!(error <= bound, "{name} {dtype} [{i}]: {f} instead of {}, bound {bound:e}", expected.data[i]);
    }
}

fn random(dims: &[usize], dtype: DType, random: &mut Random) -> Array {
    let n = dims.iter().product();
    Array::new(dims, (0..n).map(|_| round(random.range(-1.0, 1.0), dtype)).collect())
}

/// The forward and every gradient of one larger convolution, in every dtype, from contiguous and strided operands.
fn check(x: [usize; 4], w: [usize; 4], p: Conv2dParams, r: &mut Random) {
    for (dtype, views) in [(DType::F32, false), (DType::F64, true), (DType::F16, true), (DType::BF16, false)] {
        let name = format!("{x:?} by {w:?} {p:?}");
        let (ax, aw, ab) = (random(&x, dtype, r), random(&w, dtype, r), random(&[w[0]], dtype, r));
        let g = random(&y_dims(&x, &w, &p), dtype, r);
        let make = |a: &Array| -> Result<Tensor> {
            let t = tensor(a, dtype)?;
            Ok(if views { strided(&t)? } else { t }.track())
        };
        let (tx, tw, tb) = (make(&ax).unwrap(), make(&aw).unwrap(), make(&ab).unwrap());
        let y = tx.conv2d(&tw, Some(&tb), p).unwrap();
        let terms = w[1] * w[2] * w[3];
        compare(&name, &y, &conv(&ax, &aw, Some(&ab), &p, mul), &conv(&ax, &aw, Some(&ab), &p, size), terms + 1, dtype);
        let grads = y.backward_with(&tensor(&g, dtype).unwrap()).unwrap();
        let (gx, gx_size) = (input(&g, &aw, &x, &p, mul), input(&g, &aw, &x, &p, size));
        let taps = w[0] / p.groups * w[2] * w[3];
        compare(&format!("{name} x"), &grads.expect(&tx).unwrap(), &gx, &gx_size, taps, dtype);
        let (gw, gw_size) = (weight(&ax, &g, &w, &p, mul), weight(&ax, &g, &w, &p, size));
        let pixels = g.dims[0] * g.dims[2] * g.dims[3];
        compare(&format!("{name} weight"), &grads.expect(&tw).unwrap(), &gw, &gw_size, pixels, dtype);
        let per_channel = |f: fn(f64) -> f64| {
            let mut sums = Array::zeros(&[w[0]]);
            let plane = g.dims[2] * g.dims[3];
            g.data.iter().enumerate().for_each(|(i, &v)| sums.data[i / plane % w[0]] += f(v));
            sums
        };
        let name = format!("{name} bias");
        compare(&name, &grads.expect(&tb).unwrap(), &per_channel(|v| v), &per_channel(f64::abs), pixels, dtype);
    }
}

#[test]
fn layers_of_networks_and_ragged_sizes() {
    let mut r = Random::fresh("larger convolutions");
    let same = params([1, 1], [1, 1], [1, 1], 1);
    let half = params([2, 2], [1, 1], [1, 1], 1);
    // Register tiles span 48 positions of a row and 8 channels; images are taken one at a time or several together.
    check([2, 3, 32, 32], [16, 3, 3, 3], same, &mut r);
    check([3, 16, 15, 17], [17, 16, 3, 3], same, &mut r);
    check([2, 7, 16, 16], [9, 7, 3, 3], half, &mut r);
    check([2, 8, 17, 13], [15, 8, 1, 1], params([2, 2], [0, 0], [1, 1], 1), &mut r);
    check([1, 3, 35, 33], [8, 3, 7, 7], params([2, 2], [3, 3], [1, 1], 1), &mut r);
    check([5, 24, 4, 4], [10, 24, 3, 3], same, &mut r);
    check([9, 33, 2, 2], [31, 33, 3, 3], same, &mut r);
    check([2, 5, 47, 1], [4, 5, 3, 1], params([1, 1], [1, 0], [1, 1], 1), &mut r);
    check([2, 6, 1, 50], [4, 6, 1, 5], params([1, 3], [0, 2], [1, 1], 1), &mut r);
    check([1, 1, 48, 49], [1, 1, 3, 3], same, &mut r);
}

#[test]
fn groups_dilations_and_wide_paddings() {
    let mut r = Random::fresh("grouped convolutions");
    check([2, 12, 14, 14], [12, 1, 3, 3], params([1, 1], [1, 1], [1, 1], 12), &mut r);
    check([2, 12, 14, 15], [24, 1, 3, 3], params([2, 2], [1, 1], [1, 1], 12), &mut r);
    check([1, 8, 20, 20], [6, 4, 3, 3], params([1, 1], [2, 2], [2, 2], 2), &mut r);
    check([1, 4, 21, 19], [5, 4, 2, 3], params([3, 2], [4, 5], [2, 3], 1), &mut r);
    check([1, 3, 10, 18], [4, 3, 2, 2], params([1, 1], [3, 0], [1, 1], 1), &mut r);
    check([2, 4, 9, 30], [3, 4, 1, 1], params([1, 1], [1, 2], [1, 1], 1), &mut r);
    check([1, 2, 13, 13], [2, 2, 3, 3], params([4, 4], [0, 0], [1, 1], 1), &mut r);
}

#[test]
fn a_second_derivative_of_conv2d() {
    use warpsmith::autograd::Backward;
    // y = ½ Σ conv(x, w)²; its gradient by x is g = convᵀ(conv(x, w), w), which is linear in x: the derivative of g·v by x
    // is convᵀ(conv(v, w), w), and by w it is two gradients of the weight.
    let mut r = Random::fresh("second derivative");
    let p = params([2, 1], [1, 0], [1, 1], 1);
    let dt = DType::F64;
    let (x, w, v) =
        (random(&[1, 2, 5, 6], dt, &mut r), random(&[3, 2, 3, 2], dt, &mut r), random(&[1, 2, 5, 6], dt, &mut r));
    let (tx, tw, tv) = (tensor(&x, dt).unwrap().track(), tensor(&w, dt).unwrap().track(), tensor(&v, dt).unwrap());
    let z = tx.conv2d(&tw, None, p).unwrap();
    let y = z.mul(&z).unwrap().sum_all().unwrap().affine(0.5, 0.0).unwrap();
    let g = Backward::new().create_graph().run(&y).unwrap().expect(&tx).unwrap();
    let grads = g.mul(&tv).unwrap().sum_all().unwrap().backward().unwrap();
    let expected = input(&conv(&v, &w, None, &p, mul), &w, &x.dims, &p, mul);
    let bound = input(&conv(&v, &w, None, &p, size), &w, &x.dims, &p, size);
    compare("by x", &grads.expect(&tx).unwrap(), &expected, &bound, 64, dt);
    let (zx, zv) = (conv(&x, &w, None, &p, mul), conv(&v, &w, None, &p, mul));
    let (a, b) = (weight(&v, &zx, &w.dims, &p, mul), weight(&x, &zv, &w.dims, &p, mul));
    let (sa, sb) = (weight(&v, &zx, &w.dims, &p, size), weight(&x, &zv, &w.dims, &p, size));
    let sum = Array::from_fn(&w.dims, |i| a.at(i) + b.at(i));
    let bound = Array::from_fn(&w.dims, |i| 64.0 * (sa.at(i) + sb.at(i)));
    compare("by the weight", &grads.expect(&tw).unwrap(), &sum, &bound, 64, dt);
}

#[test]
fn windows_as_columns() {
    use warpsmith::device::{Buffer, Device, View};
    use warpsmith::kernels::conv::{self, ConvDesc};
    use warpsmith::kernels::window::Window;
    use warpsmith::{Layout, Shape};
    let mut r = Random::fresh("im2col");
    let window = |kernel, stride, padding, dilation| Window { kernel, stride, padding, dilation };
    let windows = [window(2, 2, 1, 2), window(3, 1, 1, 1)];
    let (input, output) = ([5, 4], [3, 4]);
    let desc = ConvDesc { batch: 2, channels: [3, 1], groups: 1, input, output, windows, channels_last: false };
    let x = random(&[2, 3, 5, 4], DType::F32, &mut r);
    let cols = Array::from_fn(&[2, 3, 2, 3, 3, 4], |i| {
        let row = at(i[4], i[2], 2, 1, 2, 5);
        let col = at(i[5], i[3], 1, 1, 1, 4);
        row.zip(col).map_or(0.0, |(r, c)| x.at(&[i[0], i[1], r, c]))
    });
    let buffer = |a: &Array| {
        let values: Vec<f32> = a.data.iter().map(|&v| v as f32).collect();
        Buffer::from_slice(&Device::Cpu, &values).unwrap()
    };
    let from = buffer(&x);
    let view = |b| View::new(b, Layout::contiguous(Shape::new(&[b.len()]).unwrap())).unwrap();
    let mut found = Buffer::uninit(&Device::Cpu, DType::F32, cols.data.len()).unwrap();
    conv::im2col(&desc, view(&from), &mut found).unwrap();
    assert!(found.as_slice::<f32>().unwrap().iter().zip(&cols.data).all(|(&f, &e)| f as f64 == e));
    // col2im is the transpose: ⟨cols, im2col(x)⟩ = ⟨col2im(cols), x⟩, for small integers exactly.
    let c = cols.map(|_| 0.0);
    let c = Array::new(&c.dims, c.data.iter().map(|_| r.below(7) as f64 - 3.0).collect());
    let from = buffer(&c);
    let mut back = Buffer::uninit(&Device::Cpu, DType::F32, x.data.len()).unwrap();
    conv::col2im(&desc, view(&from), &mut back).unwrap();
    let mut expected = Array::zeros(&x.dims);
    for flat in 0..c.data.len() {
        let i = c.index_of(flat);
        if let Some((r, s)) = at(i[4], i[2], 2, 1, 2, 5).zip(at(i[5], i[3], 1, 1, 1, 4)) {
            let to = expected.flat(&[i[0], i[1], r, s]);
            expected.data[to] += c.data[flat];
        }
    }
    assert!(back.as_slice::<f32>().unwrap().iter().zip(&expected.data).all(|(&f, &e)| f as f64 == e));
}

#[test]
fn bits_do_not_depend_on_threads() {
    let mut r = Random::fresh("threads");
    for (x, w, p) in [
        ([6, 16, 16, 16], [24, 16, 3, 3], params([1, 1], [1, 1], [1, 1], 1)),
        ([8, 32, 4, 4], [40, 32, 3, 3], params([2, 2], [1, 1], [1, 1], 1)),
    ] {
        let dt = DType::F32;
        let (ax, aw) = (random(&x, dt, &mut r), random(&w, dt, &mut r));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (x, w) = (tensor(&ax, dt).unwrap().track(), tensor(&aw, dt).unwrap().track());
                let y = x.conv2d(&w, None, p).unwrap();
                let grads = y.backward_with(&y.detach()).unwrap();
                let bits = |t: &Tensor| t.to_vec::<f32>().unwrap();
                [bits(&y), bits(&grads.expect(&x).unwrap()), bits(&grads.expect(&w).unwrap())]
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }
}

#[test]
fn errors_and_empty_batches() {
    let x = |dims: &[usize]| tensor(&Array::zeros(dims), DType::F32).unwrap();
    let message = |r: Result<Tensor>| r.unwrap_err().to_string();
    let plain = Conv2dParams::default();
    assert!(message(x(&[1, 3, 4, 4]).conv2d(&x(&[2, 2, 3, 3]), None, plain)).contains("[1, 3, 4, 4] and [2, 2, 3, 3]"));
    assert!(message(x(&[1, 3, 2, 2]).conv2d(&x(&[2, 3, 3, 3]), None, plain)).contains("does not fit"));
    assert!(message(x(&[1, 3, 4, 4]).conv2d(&x(&[2, 3, 3, 3]), Some(&x(&[3])), plain)).contains("bias"));
    let grouped = Conv2dParams { groups: 2, ..plain };
    assert!(message(x(&[1, 4, 4, 4]).conv2d(&x(&[3, 2, 3, 3]), None, grouped)).contains("groups"));
    let still = Conv2dParams { stride: [0, 1], ..plain };
    assert!(message(x(&[1, 3, 4, 4]).conv2d(&x(&[2, 3, 3, 3]), None, still)).contains("at least 1"));
    let padded = ConvTranspose2dParams { output_padding: [1, 1], ..Default::default() };
    assert!(message(x(&[1, 3, 4, 4]).conv_transpose2d(&x(&[3, 2, 3, 3]), None, padded)).contains("output"));
    let (empty, w) = (x(&[0, 3, 4, 4]).track(), x(&[2, 3, 3, 3]).track());
    let y = empty.conv2d(&w, None, plain).unwrap();
    assert_eq!(y.dims(), [0, 2, 2, 2]);
    let g = y.backward_with(&y.detach()).unwrap();
    assert!(g.expect(&w).unwrap().to_vec::<f32>().unwrap().iter().all(|&v| v == 0.0));
}

crate::support::device_checks!(
    conv2d,
    conv2d_of_channels_last_gives_channels_last_and_the_same_values,
    a_network_of_channels_last_images_trains_through_norm_activation_and_pool,
    conv1d_is_conv2d_with_a_height_of_one,
    conv_transpose2d,
);
