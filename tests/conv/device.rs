//! The kernels of `conv.cu` on the CUDA devices under test, through the family's calls: every route, tile and direction.

use super::{conv as convolve, input, mul, params, size, weight, y_dims};
use crate::support::{Array, Random, check::round, devices as tested, record};
use std::collections::BTreeSet;
use warpsmith::device::cuda::kernel_table::Module;
use warpsmith::device::{Buffer, View};
use warpsmith::kernels::conv::plan::gpu::{TILES, vector_kernels};
use warpsmith::kernels::conv::{self, ConvDesc};
use warpsmith::kernels::images;
use warpsmith::kernels::named::NamedKernel;
use warpsmith::kernels::window::Window;
use warpsmith::ops::Conv2dParams;
use warpsmith::{DType, Device, Element, Layout, Shape, with_dtype};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// The CUDA devices under test: the virtual A100, RTX 4090 and H100, one real device, or none.
fn devices() -> Vec<Device> {
    tested::all_gpus()
}

/// How an array is stored: as it is; with its axes in reverse order, from an offset on; with its second axis last, from an
/// offset on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Usual,
    Turned,
    Last { offset: usize },
}

/// An array on a device.
fn upload(device: &Device, array: &Array, dtype: DType, stored: Stored) -> (Buffer, Layout) {
    let shape = Shape::new(&array.dims).unwrap();
    let rank = array.dims.len();
    let usual = || (0..rank).map(|axis| array.dims[axis + 1..].iter().product()).collect::<Vec<usize>>();
    let (strides, offset) = match (stored, &array.dims[..]) {
        (Stored::Turned, _) => ((0..rank).map(|axis| array.dims[..axis].iter().product()).collect(), 3),
        (Stored::Last { offset }, &[_, c, h, w]) => (vec![h * w * c, 1, w * c, c], offset),
        _ => (usual(), 0),
    };
    let layout = Layout::new(shape, &strides, offset).unwrap();
    with_dtype!(dtype, T => {
        let mut values = vec![<T as Element>::from_f64(f64::NAN); layout.span().max(offset)];
        for (flat, &value) in array.data.iter().enumerate() {
            let step: usize = array.index_of(flat).iter().zip(&strides).map(|(i, s)| i * s).sum();
            values[offset + step] = <T as Element>::from_f64(value);
        }
        (Buffer::from_slice(device, &values).unwrap(), layout)
    })
}

fn view((buffer, layout): &(Buffer, Layout)) -> View<'_> {
    View::new(buffer, *layout).unwrap()
}

fn values(buffer: &Buffer) -> Vec<f64> {
    with_dtype!(buffer.dtype(), T => buffer.to_vec::<T>().unwrap().into_iter().map(Element::to_f64).collect())
}

fn random(dims: &[usize], dtype: DType, r: &mut Random) -> Array {
    let n = dims.iter().product();
    Array::new(dims, (0..n).map(|_| round(r.range(-1.0, 1.0), dtype)).collect())
}

/// Tensor cores truncate: an ulp of f32 for every product; the result is rounded once to its dtype.
fn compare(name: &str, found: &Buffer, expected: &Array, size: &Array, terms: usize) {
    let dtype = found.dtype();
    let half = dtype != DType::F32;
    let once = if half { dtype.unit_roundoff() } else { 0.0 };
    let each = f64::from(f32::EPSILON) * (terms as f64 + 2.0) * if half { 1.0 } else { 0.5 };
    let tiny = if dtype == DType::F16 { 2f64.powi(-25) } else { 1e-38 };
    let found = values(found);
    assert_eq!(found.len(), expected.data.len(), "{name}");
    let mut worst = 0f64;
    for (i, &f) in found.iter().enumerate() {
        let bound = each * size.data[i] + once * (expected.data[i].abs() + each * size.data[i]) + tiny;
        let error = (f - expected.data[i]).abs();
        assert!(error <= bound, "{name} {dtype} [{i}]: {f} instead of {}, bound {bound:e}", expected.data[i]);
        worst = worst.max(record::ratio(error, bound));
    }
    record::case("", dtype, worst);
}

fn descriptor(x: [usize; 4], w: [usize; 4], p: &Conv2dParams) -> ConvDesc {
    let y = y_dims(&x, &w, p);
    let window = |axis: usize| Window {
        kernel: w[2 + axis],
        stride: p.stride[axis],
        padding: p.padding[axis],
        dilation: p.dilation[axis],
    };
    ConvDesc {
        batch: x[0],
        channels: [x[1], w[0]],
        groups: p.groups,
        input: [x[2], x[3]],
        output: [y[2], y[3]],
        windows: [window(0), window(1)],
        channels_last: false,
    }
}

/// All directions of one convolution.
#[allow(clippy::too_many_arguments)]
fn check(
    device: &Device,
    x: [usize; 4],
    w: [usize; 4],
    p: Conv2dParams,
    dtype: DType,
    stored: Stored,
    channels_last: bool,
    r: &mut Random,
) {
    let name = format!("{x:?} by {w:?} {p:?}, {stored:?}, channels last: {channels_last}");
    let desc = ConvDesc { channels_last, ..descriptor(x, w, &p) };
    // What is expected, in the order that it is written in.
    let ordered = |array: Array| {
        let &[n, c, h, w] = &array.dims[..] else { unreachable!("results have four axes") };
        if channels_last { Array::from_fn(&[n, h, w, c], |i| array.at(&[i[0], i[3], i[1], i[2]])) } else { array }
    };
    let compare = |name: &str, found: &Buffer, expected: Array, size: Array, terms| {
        compare(name, found, &ordered(expected), &ordered(size), terms)
    };
    let (ax, aw, ab) = (random(&x, dtype, r), random(&w, dtype, r), random(&[w[0]], dtype, r));
    let (g, bx) = (random(&y_dims(&x, &w, &p), dtype, r), random(&[x[1]], dtype, r));
    let on = |a: &Array| upload(device, a, dtype, stored);
    let (vx, vw, vb, vg, vbx) = (on(&ax), on(&aw), on(&ab), on(&g), on(&bx));
    let buffer = |len| Buffer::uninit(device, dtype, len).unwrap();
    let mut y = buffer(desc.y_len());
    conv::forward(&desc, view(&vx), view(&vw), Some(view(&vb)), &mut y).unwrap();
    let terms = w[1] * w[2] * w[3];
    compare(&name, &y, convolve(&ax, &aw, Some(&ab), &p, mul), convolve(&ax, &aw, Some(&ab), &p, size), terms + 1);
    let mut gx = buffer(desc.x_len());
    conv::backward_input(&desc, view(&vg), view(&vw), Some(view(&vbx)), &mut gx).unwrap();
    let plane = x[2] * x[3];
    let biased = |f: fn(f64, f64) -> f64| {
        let mut sum = input(&g, &aw, &x, &p, f);
        sum.data.iter_mut().enumerate().for_each(|(i, v)| *v += f(bx.data[i / plane % x[1]], 1.0));
        sum
    };
    let taps = w[0] / p.groups * w[2] * w[3];
    compare(&format!("{name} x"), &gx, biased(mul), biased(size), taps + 1);
    let mut gw = buffer(desc.weight_len());
    conv::backward_weight(&desc, view(&vx), view(&vg), &mut gw).unwrap();
    let pixels = g.dims[0] * g.dims[2] * g.dims[3];
    compare(&format!("{name} w"), &gw, weight(&ax, &g, &w, &p, mul), weight(&ax, &g, &w, &p, size), pixels);
}

/// The kernels of a file that were launched.
fn launched(devices: &[Device], module: &'static Module) -> BTreeSet<String> {
    let launches = devices.iter().filter_map(|device| match device {
        Device::Cuda(device) => Some(device.launches(module)),
        Device::Cpu => None,
    });
    launches.flatten().filter_map(|(name, count)| (count > 0).then_some(name)).collect()
}

fn every_kernel_of_the_family_is_reached_and_right() {
    let mut r = Random::fresh("convolutions");
    let devices = devices();
    let same = params([1, 1], [1, 1], [1, 1], 1);
    let cases = [
        // Tiles have 128 columns and 32 or 64 rows; slices of k are 16 or 32 deep.
        ([2, 3, 8, 8], [4, 3, 3, 3], same),
        ([1, 5, 11, 13], [33, 5, 3, 2], params([1, 1], [1, 0], [1, 1], 1)),
        ([1, 2, 9, 7], [65, 2, 1, 1], params([1, 1], [1, 2], [1, 1], 1)),
        ([2, 33, 5, 4], [3, 33, 3, 3], params([2, 2], [1, 1], [1, 1], 1)),
        ([1, 65, 6, 5], [31, 65, 2, 2], params([2, 1], [0, 1], [1, 1], 1)),
        // Strides against dilations: phases that taps reach in steps, or not at all.
        ([1, 2, 12, 13], [3, 2, 3, 2], params([2, 3], [2, 1], [2, 2], 1)),
        ([1, 2, 13, 12], [2, 2, 2, 3], params([4, 2], [3, 1], [2, 3], 1)),
        ([1, 3, 12, 17], [2, 3, 2, 3], params([1, 4], [1, 3], [1, 2], 1)),
        ([2, 1, 9, 9], [2, 1, 2, 2], params([4, 4], [0, 0], [1, 1], 1)),
        ([1, 1, 1, 21], [3, 1, 1, 5], params([1, 2], [0, 2], [1, 1], 1)),
        // Groups, of several channels and of one.
        ([2, 4, 5, 6], [6, 2, 3, 3], params([1, 2], [1, 1], [1, 1], 2)),
        ([2, 3, 6, 5], [6, 1, 3, 3], params([2, 1], [1, 1], [1, 2], 3)),
        ([1, 4, 7, 5], [4, 1, 2, 3], params([1, 1], [0, 1], [2, 1], 4)),
        // More pixels than a block that sums up a depthwise weight has threads.
        ([2, 3, 12, 13], [6, 1, 3, 3], params([1, 1], [1, 1], [1, 1], 3)),
        // One tap that does not move.
        ([2, 5, 4, 6], [7, 5, 1, 1], params([1, 1], [0, 0], [1, 1], 1)),
        ([2, 8, 4, 4], [16, 8, 1, 1], params([1, 1], [0, 0], [1, 1], 1)),
        // Enough pixels for the weight's gradient to be split.
        ([3, 2, 20, 19], [2, 2, 3, 3], same),
    ];
    for (turn, (x, w, p)) in cases.into_iter().enumerate() {
        for (offset, dtype) in TYPES.into_iter().enumerate() {
            let Some(at) = (turn + offset).checked_rem(devices.len()) else { return };
            let device = &devices[at];
            let stored = if (turn + offset) % 4 == 3 { Stored::Turned } else { Stored::Usual };
            check(device, x, w, p, dtype, stored, false, &mut r);
        }
    }
    let launched = launched(&devices, &images::CONV);
    let names: BTreeSet<&str> = TILES.iter().flat_map(|tile| tile.kernels.iter().map(NamedKernel::name)).collect();
    for name in names {
        assert!(launched.contains(name), "{name} was not reached");
    }
}

fn channels_last_is_read_in_place_and_written_in_every_route() {
    let mut r = Random::fresh("channels last");
    let devices = devices();
    let same = params([1, 1], [1, 1], [1, 1], 1);
    // Tiles have 128 pixels by 64 channels, slices of k 32 numbers: below, beyond and between.
    let cases = [
        ([2, 8, 8, 8], [8, 8, 3, 3], same),
        ([1, 16, 11, 12], [72, 16, 3, 2], params([1, 1], [1, 0], [1, 1], 1)),
        ([1, 72, 5, 7], [24, 72, 2, 2], params([1, 1], [1, 1], [1, 1], 1)),
        ([1, 40, 9, 7], [64, 40, 1, 1], params([1, 1], [1, 2], [1, 1], 1)),
        // Strides against dilations: phases that taps reach in steps, or not at all.
        ([2, 8, 9, 8], [16, 8, 3, 3], params([2, 2], [1, 1], [1, 1], 1)),
        ([1, 16, 12, 13], [8, 16, 3, 2], params([2, 3], [2, 1], [2, 2], 1)),
        ([1, 8, 13, 12], [8, 8, 2, 3], params([4, 2], [3, 1], [2, 3], 1)),
        ([2, 8, 9, 9], [8, 8, 2, 2], params([4, 4], [0, 0], [1, 1], 1)),
        // Groups of eights.
        ([1, 32, 6, 5], [16, 16, 3, 3], params([1, 2], [1, 1], [1, 1], 2)),
        ([1, 24, 7, 5], [48, 8, 2, 2], params([2, 1], [0, 1], [1, 2], 3)),
        // Enough pixels for the weight's gradient to be split.
        ([3, 8, 20, 19], [8, 8, 3, 3], same),
        // Channels that are no eights, one a group, one tap.
        ([2, 3, 6, 5], [4, 3, 3, 3], params([2, 1], [1, 1], [1, 1], 1)),
        ([1, 6, 7, 6], [9, 2, 2, 3], params([1, 2], [1, 1], [2, 1], 3)),
        ([2, 4, 6, 5], [8, 1, 3, 3], params([1, 1], [1, 1], [1, 1], 4)),
        ([2, 24, 4, 6], [16, 24, 1, 1], params([1, 1], [0, 0], [1, 1], 1)),
        ([2, 5, 4, 6], [7, 5, 1, 1], params([1, 1], [0, 0], [1, 1], 1)),
    ];
    for (turn, (x, w, p)) in cases.into_iter().enumerate() {
        for (offset, dtype) in TYPES.into_iter().enumerate() {
            let Some(at) = (turn + offset).checked_rem(devices.len()) else { continue };
            let device = &devices[at];
            // As it is wanted mostly; in another order, which is copied; at an address that is no multiple of 16 bytes.
            let stored = match turn % 7 {
                3 => Stored::Usual,
                5 => Stored::Last { offset: 1 },
                _ => Stored::Last { offset: 0 },
            };
            check(device, x, w, p, dtype, stored, true, &mut r);
        }
    }
    let launched = launched(&devices, &images::CONV_NHWC);
    for kernel in TYPES.into_iter().filter_map(vector_kernels).flatten() {
        assert!(devices.is_empty() || launched.contains(kernel.name()), "{kernel:?} was not reached");
    }
    if let Some(gpu) = tested::driver() {
        let profile = gpu.profile_json();
        let (_, sums) = profile.split_once("\"kernels\":").expect("sums by kernel");
        for kernel in sums.split("\"kernel\":").filter(|kernel| kernel.starts_with("\"_Z9conv_nhwc")) {
            assert!(kernel.contains("\"bank_conflicts\":0,"), "{kernel}");
        }
    }
    // The CPU device writes the same order.
    for (x, w, p) in cases.into_iter().take(6) {
        check(&Device::Cpu, x, w, p, DType::F32, Stored::Last { offset: 0 }, true, &mut r);
    }
}

fn channels_last_needs_operands_of_four_axes() {
    for device in devices().into_iter().chain([Device::Cpu]) {
        let device = &device;
        let p = params([1, 1], [0, 0], [1, 1], 1);
        let desc = ConvDesc { channels_last: true, ..descriptor([1, 2, 3, 3], [2, 2, 1, 1], &p) };
        let buffer = Buffer::zeros(device, DType::F32, 18).unwrap();
        let flat = View::new(&buffer, Layout::contiguous(Shape::new(&[18]).unwrap())).unwrap();
        let weight = flat.with_layout(Layout::contiguous(Shape::new(&[2, 2, 1, 1]).unwrap())).unwrap();
        let mut y = Buffer::uninit(device, DType::F32, 18).unwrap();
        let error = conv::forward(&desc, flat, weight, None, &mut y).unwrap_err().to_string();
        assert!(error.contains("four axes"), "{error}");
    }
}

fn empty_batches_give_empty_outputs_and_gradients_of_zero() {
    let devices = devices();
    let Some(device) = devices.first() else { return };
    let w = [2, 3, 3, 3];
    let desc = descriptor([0, 3, 4, 4], w, &params([1, 1], [0, 0], [1, 1], 1));
    for dtype in TYPES {
        let (empty, shape) = (Buffer::zeros(device, dtype, 0).unwrap(), Shape::new(&[0]).unwrap());
        let none = View::new(&empty, Layout::contiguous(shape)).unwrap();
        let mut gw = Buffer::uninit(device, dtype, desc.weight_len()).unwrap();
        conv::backward_weight(&desc, none, none, &mut gw).unwrap();
        assert_eq!(values(&gw), vec![0.0; desc.weight_len()]);
    }
}

fn windows_as_columns_and_back() {
    let mut r = Random::fresh("im2col");
    let devices = devices();
    // Without padding, windows end before the image does.
    for p in [params([2, 1], [1, 2], [2, 1], 1), params([1, 1], [0, 0], [1, 1], 1)] {
        let (x, w) = ([2, 3, 7, 5], [1, 3, 2, 3]);
        let desc = descriptor(x, w, &p);
        let [_, _, oh, ow] = y_dims(&x, &w, &p);
        let dims = [x[0], x[1], w[2], w[3], oh, ow];
        for (device, dtype) in devices.iter().cycle().zip(TYPES) {
            let at = |i: &[usize]| {
                let row = super::at(i[4], i[2], p.stride[0], p.padding[0], p.dilation[0], x[2]);
                row.zip(super::at(i[5], i[3], p.stride[1], p.padding[1], p.dilation[1], x[3]))
            };
            let ax = random(&x, dtype, &mut r);
            let expected = Array::from_fn(&dims, |i| at(i).map_or(0.0, |(row, col)| ax.at(&[i[0], i[1], row, col])));
            let mut cols = Buffer::uninit(device, dtype, expected.data.len()).unwrap();
            conv::im2col(&desc, view(&upload(device, &ax, dtype, Stored::Turned)), &mut cols).unwrap();
            assert_eq!(values(&cols), expected.data, "{dtype}");
            // Small integers, so that sums are exact.
            let c = Array::from_fn(&dims, |_| r.below(7) as f64 - 3.0);
            let mut back = Array::zeros(&x);
            for flat in 0..c.data.len() {
                let i = c.index_of(flat);
                if let Some((row, col)) = at(&i) {
                    let to = back.flat(&[i[0], i[1], row, col]);
                    back.data[to] += c.data[flat];
                }
            }
            let mut found = Buffer::uninit(device, dtype, desc.x_len()).unwrap();
            conv::col2im(&desc, view(&upload(device, &c, dtype, Stored::Usual)), &mut found).unwrap();
            assert_eq!(values(&found), back.data, "{dtype}");
        }
    }
}

crate::support::device_checks!(
    every_kernel_of_the_family_is_reached_and_right,
    channels_last_is_read_in_place_and_written_in_every_route,
    channels_last_needs_operands_of_four_axes,
    empty_batches_give_empty_outputs_and_gradients_of_zero,
    windows_as_columns_and_back,
);
