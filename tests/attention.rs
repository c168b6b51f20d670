//! Attention and rotary embedding against their definitions.

#[cfg(test)]
mod support;

use crate::support::check::{round, strided, tensor, tensor_on};
use crate::support::devices::{CUDA_FLOATS, devices};
use crate::support::large::{Large, compare};
use crate::support::{Array, OpCheck, Random};
use std::collections::BTreeSet;
use warpsmith::kernels::attention::plan::AttentionPlan;
use warpsmith::{AttentionParams, DType, Device, Tensor, no_grad};

const WIDE: [DType; 2] = [DType::F64, DType::F32];
const HALF: [DType; 2] = [DType::F16, DType::BF16];

/// What is added to each score: −∞ for a hidden key.
type Bias<'a> = &'a dyn Fn([usize; 4]) -> f64;

/// Everything about one attention, from the definition: probabilities of each query, and with the gradient of the
/// result those of the operands, with the magnitudes of the terms.
struct Reference {
    out: Large,
    gradients: [Large; 3],
    /// The largest Σ |q k| scale.
    largest: f64,
}

fn reference(q: &Array, k: &Array, v: &Array, dout: Option<&Array>, scale: f64, bias: Bias<'_>) -> Reference {
    let [b, h, tq, d] = q.dims[..] else { panic!() };
    let [_, kv, tk, dv] = v.dims[..] else { panic!() };
    let mut out = Large::zeros(&[b, h, tq, dv]);
    let mut gradients = [q, k, v].map(|x| Large::zeros(&x.dims));
    let mut largest = 0f64;
    for (b, h, i) in (0..b).flat_map(|b| (0..h).flat_map(move |h| (0..tq).map(move |i| (b, h, i)))) {
        let g = h / (q.dims[1] / kv);
        let dot = |j: usize, f: &dyn Fn(f64) -> f64| -> f64 {
            (0..d).map(|c| f(q.at(&[b, h, i, c]) * k.at(&[b, g, j, c]))).sum::<f64>() * scale
        };
        let scores: Vec<f64> = (0..tk).map(|j| dot(j, &|x| x) + bias([b, h, i, j])).collect();
        let m = scores.iter().fold(f64::NEG_INFINITY, |m, &s| m.max(s));
        if m == f64::NEG_INFINITY {
            continue;
        }
        let total: f64 = scores.iter().map(|s| (s - m).exp()).sum();
        let p: Vec<f64> = scores.iter().map(|s| (s - m).exp() / total).collect();
        for (j, &p) in p.iter().enumerate() {
            (0..dv).for_each(|c| out.add(out.expected.flat(&[b, h, i, c]), p * v.at(&[b, g, j, c])));
        }
        let Some(dout) = dout else { continue };
        largest = (0..tk).map(|j| dot(j, &f64::abs)).fold(largest, f64::max);
        let (mut delta, mut delta_abs) = (0.0, 0.0);
        for c in 0..dv {
            let at = out.expected.flat(&[b, h, i, c]);
            delta += dout.data[at] * out.expected.data[at];
            delta_abs += dout.data[at].abs() * out.magnitude.data[at];
        }
        for (j, &p) in p.iter().enumerate() {
            let (mut dp, mut dp_abs) = (0.0, 0.0);
            for c in 0..dv {
                let (g_out, value) = (dout.at(&[b, h, i, c]), v.at(&[b, g, j, c]));
                dp += g_out * value;
                dp_abs += (g_out * value).abs();
                gradients[2].add(v.flat(&[b, g, j, c]), p * g_out);
            }
            let (ds, ds_abs) = (p * (dp - delta) * scale, p * (dp_abs + delta_abs) * scale);
            for c in 0..d {
                let (qi, kj) = (q.flat(&[b, h, i, c]), k.flat(&[b, g, j, c]));
                gradients[0].expected.data[qi] += ds * k.data[kj];
                gradients[0].magnitude.data[qi] += ds_abs * k.data[kj].abs();
                gradients[1].expected.data[kj] += ds * q.data[qi];
                gradients[1].magnitude.data[kj] += ds_abs * q.data[qi].abs();
            }
        }
    }
    Reference { out, gradients, largest }
}

fn causal(i: [usize; 4]) -> f64 {
    if i[3] > i[2] { f64::NEG_INFINITY } else { 0.0 }
}

fn attention_in_every_variant() {
    // (heads, kv heads, queries, keys, dim, value dim)
    for (h, kv, tq, tk, d, dv) in [(1, 1, 1, 1, 1, 1), (2, 1, 3, 4, 2, 3), (2, 2, 5, 3, 3, 2), (1, 1, 2, 9, 1, 2)] {
        for variant in ["plain", "causal", "keep", "add", "scale"] {
            let scale = if variant == "scale" { 0.7 } else { 1.0 / (d as f64).sqrt() };
            // One row per query, so that each sees a key; broadcast over batch and heads.
            let keep = move |i: usize, j: usize| j == i % tk || (i * 3 + j * 5) % 4 < 2;
            let added = move |i: usize, j: usize| ((i * 7 + j * 3) % 5) as f64 * 0.25 - 0.5;
            let bias = move |i: [usize; 4]| match variant {
                "causal" => causal(i),
                "keep" if !keep(i[2], i[3]) => f64::NEG_INFINITY,
                "add" => added(i[2], i[3]),
                _ => 0.0,
            };
            let forward = move |x: &[Tensor]| {
                let mask = match variant {
                    "keep" => {
                        let bytes: Vec<u8> = (0..tq * tk).map(|n| keep(n / tk, n % tk) as u8).collect();
                        Some(Tensor::from_slice(&bytes, [tq, tk], x[0].device())?)
                    }
                    "add" => {
                        let values = Array::from_fn(&[tq, tk], |i| added(i[0], i[1]));
                        Some(tensor_on(&values, x[0].dtype(), x[0].device())?)
                    }
                    _ => None,
                };
                let scale = (variant == "scale").then_some(0.7);
                let params = AttentionParams { causal: variant == "causal", mask, scale };
                x[0].scaled_dot_product_attention(&x[1], &x[2], &params)
            };
            let check = OpCheck::new("attention", forward, move |x| {
                reference(&x[0], &x[1], &x[2], None, scale, &bias).out.expected
            });
            // Scores of |s| ≤ 12 round to a dozen units each, which the exponential passes on; half dtypes compute in
            // f32 and round the result, which the backward reads in Σ dout · out. The gradients are differences between
            // keys: their errors scale with the terms.
            let check = check
                .magnitude(move |x| reference(&x[0], &x[1], &x[2], None, scale, &bias).out.magnitude)
                .gradient_magnitude(move |x, dout| {
                    reference(&x[0], &x[1], &x[2], Some(dout), scale, &bias).gradients.map(|g| g.magnitude).into()
                })
                .input(&[2, h, tq, d])
                .input(&[2, kv, tk, d])
                .input(&[2, kv, tk, dv])
                .dtypes(&WIDE)
                .ulps(32.0, 96.0);
            // Where there is one key, its probability is 1 whatever q and k are: their gradients are rounding alone.
            let check = if tk == 1 {
                check.silent("scaled_dot_product_attention", 0).silent("scaled_dot_product_attention", 1)
            } else {
                check
            };
            check.run();
            check.dtypes(&HALF).ulps(2.0, 4.0).run();
        }
    }
}

#[test]
fn ragged_sizes_agree_with_plain_loops() {
    let mut random = Random::fresh("attention of ragged sizes");
    // Around panels of 32 queries, register tiles of 8 and tiles of 64 keys; heads that share keys; one that is cut
    // into tasks of 256 queries.
    let shapes: [[usize; 7]; 7] = [
        [1, 1, 1, 31, 63, 8, 8],
        [1, 2, 2, 32, 64, 7, 9],
        [2, 4, 2, 33, 65, 16, 32],
        [1, 3, 1, 65, 130, 33, 31],
        [1, 1, 1, 130, 71, 64, 64],
        [1, 2, 1, 5, 200, 1, 40],
        [1, 1, 1, 600, 67, 4, 5],
    ];
    for [b, h, kv, tq, tk, d, dv] in shapes {
        for (dtype, is_causal) in
            [(DType::F32, false), (DType::F32, true), (DType::F16, true), (DType::BF16, false), (DType::F64, true)]
        {
            let mut draw = |dims: &[usize]| Array::from_fn(dims, |_| round(random.range(-1.5, 1.5), dtype));
            let (q, k, v) = (draw(&[b, h, tq, d]), draw(&[b, kv, tk, d]), draw(&[b, kv, tk, dv]));
            let dout = draw(&[b, h, tq, dv]);
            let scale = 1.0 / (d as f64).sqrt();
            let bias: Bias<'_> = if is_causal { &causal } else { &|_| 0.0 };
            let expected = reference(&q, &k, &v, Some(&dout), scale, bias);
            // As after a projection: strided operands.
            let operands = [&q, &k, &v].map(|x| strided(&tensor(x, dtype).unwrap()).unwrap().track());
            let params = AttentionParams { causal: is_causal, ..AttentionParams::default() };
            let out = operands[0].scaled_dot_product_attention(&operands[1], &operands[2], &params).unwrap();
            let (unit, acc) =
                (dtype.unit_roundoff(), if dtype == DType::F64 { 2f64.powi(-53) } else { 2f64.powi(-24) });
            // A score is wrong by dim · Σ|qk| units, its probability by twice that; sums over keys and queries add
            // their lengths.
            let accumulated = (2.0 * (d as f64 + 2.0) * expected.largest + (tk + tq * h / kv) as f64 + 16.0) * acc;
            compare("out", &out, &expected.out, 2.0 * unit + accumulated);
            let found = out.backward_with(&tensor(&dout, dtype).unwrap()).unwrap();
            for (name, (x, large)) in ["dq", "dk", "dv"].iter().zip(operands.iter().zip(&expected.gradients)) {
                compare(name, &found.expect(x).unwrap(), large, 3.0 * unit + 2.0 * accumulated);
            }
            let again = operands[0].scaled_dot_product_attention(&operands[1], &operands[2], &params).unwrap();
            assert_eq!(again.to_f64_vec().unwrap(), out.to_f64_vec().unwrap());
            let repeated = again.backward_with(&tensor(&dout, dtype).unwrap()).unwrap();
            for x in &operands {
                let bits = |g: &warpsmith::Gradients| g.expect(x).unwrap().to_f64_vec().unwrap();
                assert_eq!(bits(&found), bits(&repeated));
            }
        }
    }
}

/// A tensor (B, H, T, D) whose memory is (B, T, H, D), as after a projection, `shift` elements into its buffer.
fn projected(x: &Array, shift: usize, dtype: DType, device: &Device) -> Tensor {
    let [b, h, t, d] = x.dims[..] else { panic!() };
    let stored = Array::from_fn(&[b, t, h, d], |i| x.at(&[i[0], i[2], i[1], i[3]]));
    let mut data = vec![7.0; shift];
    data.extend(&stored.data);
    let whole = tensor_on(&Array::new(&[data.len()], data), dtype, device).unwrap();
    let stored = whole.narrow(0, shift, x.data.len()).unwrap().reshape([b, t, h, d]).unwrap();
    stored.permute(&[0, 2, 1, 3]).unwrap()
}

fn every_tile_of_the_cuda_kernels_agrees_with_plain_loops() {
    let mut random = Random::fresh("attention by every tile");
    let devices = devices(random.seed());
    let mut tiles = BTreeSet::new();
    // Both sides of each switch of the head dimension, around tiles of 16, 32 and 64; heads that share keys.
    let shapes: [[usize; 7]; 20] = [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 2, 63, 65, 31, 33],
        [2, 4, 2, 65, 64, 32, 16],
        [1, 2, 1, 64, 63, 33, 64],
        [1, 1, 1, 130, 129, 64, 64],
        [1, 3, 1, 66, 70, 65, 20],
        [1, 1, 1, 33, 97, 128, 128],
        [1, 2, 1, 17, 31, 129, 40],
        [1, 1, 1, 34, 33, 256, 255],
        [1, 1, 1, 5, 200, 24, 24],
        [1, 1, 1, 200, 5, 8, 72],
        // Whole chunks of 16 bytes, with queries and keys around the tensor cores' tiles.
        [1, 2, 1, 65, 130, 64, 64],
        [2, 2, 2, 129, 63, 16, 56],
        [1, 1, 1, 66, 97, 128, 120],
        [1, 1, 1, 70, 33, 256, 256],
        // Every tile in every dtype, small.
        [1, 1, 1, 9, 11, 24, 32],
        [1, 2, 1, 10, 12, 64, 40],
        [1, 1, 1, 9, 11, 128, 72],
        [1, 1, 1, 9, 11, 256, 136],
        [1, 1, 1, 11, 9, 248, 256],
    ];
    for (index, [b, h, kv, tq, tk, d, dv]) in shapes.into_iter().enumerate() {
        // Aligned and shifted, with and without a mask, over the shapes.
        let mut variants = if index % 2 == 0 { vec![(0, false), (3, true)] } else { vec![(2, false), (1, true)] };
        // On the tensor cores, which skip what a mask would ask of every score, also causal without one.
        let whole = d % 8 == 0 && dv % 8 == 0 && tq > 32;
        if whole {
            variants.push((4, true));
        }
        let all = if tq * tk < 200 { CUDA_FLOATS.to_vec() } else { vec![] };
        let turns = variants.into_iter().flat_map(|v| {
            let one = if v.0 == 4 { CUDA_FLOATS[1 + index % 2] } else { CUDA_FLOATS[(index + v.0) % 3] };
            let one = vec![one];
            let dtypes = if all.is_empty() { one } else { all.clone() };
            dtypes.into_iter().map(move |dtype| (v, dtype))
        });
        for ((variant, is_causal), dtype) in turns {
            let shift = variant % 2;
            let tensor = dtype != DType::F32 && shift == 0 && d % 8 == 0 && dv % 8 == 0;
            tiles.insert(format!("forward: {}", AttentionPlan::forward(d.max(dv), tensor).unwrap()));
            tiles.insert(format!("backward: {}", AttentionPlan::backward(d.max(dv), tensor).unwrap()));
            let mut draw = |dims: &[usize]| Array::from_fn(dims, |_| round(random.range(-1.5, 1.5), dtype));
            let (q, k, v) = (draw(&[b, h, tq, d]), draw(&[b, kv, tk, d]), draw(&[b, kv, tk, dv]));
            let dout = draw(&[b, h, tq, dv]);
            let added = draw(&[b, 1, tq, tk]);
            // Query 3 sees nothing, and the first tile of keys is hidden from query 1; or a bias is added.
            let keep = |i: usize, j: usize| i != 3 && (i != 1 || j >= 64) && !(i + 2 * j).is_multiple_of(3);
            let bias = |i: [usize; 4]| -> f64 {
                let hidden = if is_causal { causal(i) } else { 0.0 };
                hidden
                    + match variant {
                        2 if !keep(i[2], i[3]) => f64::NEG_INFINITY,
                        3 => added.at(&[i[0], 0, i[2], i[3]]),
                        _ => 0.0,
                    }
            };
            let scale = 1.0 / (d as f64).sqrt();
            let expected = reference(&q, &k, &v, Some(&dout), scale, &bias);
            for device in devices.iter().filter(|device| !device.is_cpu()) {
                let operands = [&q, &k, &v].map(|x| projected(x, shift, dtype, device).track());
                let mask = match variant {
                    2 => {
                        let bytes: Vec<u8> = (0..tq * tk).map(|n| keep(n / tk, n % tk) as u8).collect();
                        Some(Tensor::from_slice(&bytes, [tq, tk], device).unwrap())
                    }
                    3 => Some(tensor_on(&added, dtype, device).unwrap()),
                    _ => None,
                };
                let params = AttentionParams { causal: is_causal, mask, scale: None };
                let forward = || operands[0].scaled_dot_product_attention(&operands[1], &operands[2], &params).unwrap();
                let out = forward();
                // As for ragged sizes; scores in powers of two add a rounding each way.
                let (unit, acc) = (dtype.unit_roundoff(), 2f64.powi(-24));
                let accumulated =
                    (2.0 * (d as f64 + 4.0) * (expected.largest + 3.0) + (tk + tq * h / kv) as f64 + 24.0) * acc;
                compare("out", &out, &expected.out, 2.0 * unit + accumulated);
                let found = out.backward_with(&projected(&dout, shift, dtype, device)).unwrap();
                for (name, (x, large)) in ["dq", "dk", "dv"].iter().zip(operands.iter().zip(&expected.gradients)) {
                    compare(name, &found.expect(x).unwrap(), large, 3.0 * unit + 2.0 * accumulated);
                }
                if variant < 2 {
                    continue;
                }
                let repeated = forward().backward_with(&projected(&dout, shift, dtype, device)).unwrap();
                for x in &operands {
                    let bits = |g: &warpsmith::Gradients| g.expect(x).unwrap().to_f64_vec().unwrap();
                    assert_eq!(bits(&found), bits(&repeated));
                }
            }
        }
    }
    for (cores, forward, backward) in [
        ("ordinary", [32, 64, 128, 256].as_slice(), [32, 64, 128, 256].as_slice()),
        ("tensor", &[64, 128, 256], &[64, 128]),
    ] {
        for (of, all) in [("forward", forward), ("backward", backward)] {
            for columns in all {
                let reached =
                    tiles.iter().any(|t| t.starts_with(of) && t.contains(&format!("of {columns} columns, {cores}")));
                assert!(reached, "{of}, {columns} columns, {cores} cores: not among {tiles:?}");
            }
        }
    }
    for device in devices.iter().filter(|device| !device.is_cpu()) {
        let wide = Tensor::from_slice(&[0f32; 257], [1, 1, 1, 257], device).unwrap();
        let error = wide.scaled_dot_product_attention(&wide, &wide, &AttentionParams::default()).unwrap_err();
        assert!(error.to_string().contains("up to 256"), "{error}");
    }
}

fn rotary_embedding_of_strided_rows_turns_back() {
    let mut random = Random::fresh("rotary embedding");
    for [b, h, t, d] in [[2, 3, 5, 2], [1, 2, 33, 62], [1, 1, 7, 128], [1, 2, 3, 600]] {
        for device in devices(random.seed()).iter().filter(|device| !device.is_cpu()) {
            for dtype in CUDA_FLOATS {
                let x = Array::from_fn(&[b, h, t, d], |_| round(random.range(-2.0, 2.0), dtype));
                let angles = Array::from_fn(&[t, d / 2], |i| 0.1 + i[0] as f64 / (1.0 + i[1] as f64));
                let table = |f: fn(f64) -> f64| angles.map(|a| round(f(a), DType::F32));
                let (cos, sin) = (table(f64::cos), table(f64::sin));
                let mut y = Large::zeros(&x.dims);
                for i in 0..x.data.len() {
                    let at = x.index_of(i);
                    let pair = at[3] % (d / 2);
                    let of = |column: usize| x.at(&[at[0], at[1], at[2], column]);
                    let (c, s) = (cos.at(&[at[2], pair]), sin.at(&[at[2], pair]));
                    let terms = if at[3] < d / 2 {
                        [of(pair) * c, -of(pair + d / 2) * s]
                    } else {
                        [of(pair + d / 2) * c, of(pair) * s]
                    };
                    y.set(i, terms);
                }
                let put = |a: &Array| tensor_on(a, DType::F32, device).unwrap();
                let t = projected(&x, 1, dtype, device).track();
                let out = t.rotary_embedding(&put(&cos), &put(&sin)).unwrap();
                let unit = dtype.unit_roundoff();
                compare("rotated", &out, &y, 2.0 * unit + 4.0 * 2f64.powi(-24));
                // A rotation's gradient is the rotation back: of the result, the input (and cos² + sin² = 1).
                let back = out.backward_with(&out.detach()).unwrap().expect(&t).unwrap();
                let magnitude = x.map(|_| 4.0);
                compare("back", &back, &Large { expected: x, magnitude }, 3.0 * unit + 8.0 * 2f64.powi(-24));
            }
        }
    }
}

#[test]
fn masks_over_several_tiles_and_hidden_queries() {
    let mut random = Random::fresh("attention masks");
    let (b, h, tq, tk, d) = (2, 2, 40, 150, 6);
    let mut draw = |dims: &[usize]| Array::from_fn(dims, |_| random.range(-1.5, 1.5));
    let (q, k, v) = (draw(&[b, h, tq, d]), draw(&[b, h, tk, d]), draw(&[b, h, tk, d]));
    let dout = draw(&[b, h, tq, d]);
    // Query 7 sees nothing; in batch 1 the first tile of keys is hidden; the rest is a pattern.
    let visible = |b: usize, i: usize, j: usize| i != 7 && (b == 0 || j >= 70) && !(i + 2 * j).is_multiple_of(3);
    let bias = |i: [usize; 4]| if visible(i[0], i[2], i[3]) { 0.0 } else { f64::NEG_INFINITY };
    let mask: Vec<u8> =
        (0..b * tq * tk).map(|n| visible(n / (tq * tk), n / tk % tq, n % tk) as u8 * (1 + (n % 3) as u8)).collect();
    let mask = Tensor::from_slice(&mask, [b, 1, tq, tk], &Device::Cpu).unwrap();
    let scale = 1.0 / (d as f64).sqrt();
    let expected = reference(&q, &k, &v, Some(&dout), scale, &bias);
    let added = Array::from_fn(&[b, 1, tq, tk], |i| bias([i[0], 0, i[2], i[3]]));
    for mask in [mask, tensor(&added, DType::F64).unwrap()] {
        let operands = [&q, &k, &v].map(|x| tensor(x, DType::F64).unwrap().track());
        let params = AttentionParams { mask: Some(mask), ..AttentionParams::default() };
        let out = operands[0].scaled_dot_product_attention(&operands[1], &operands[2], &params).unwrap();
        // The magnitude is Σ p |v|, 0 for the hidden query: exactly 0 there but for compare's allowance near zero.
        compare("out", &out, &expected.out, 1e-12);
        let values = out.to_vec::<f64>().unwrap();
        assert!((0..b * h).all(|n| values[(n * tq + 7) * d..(n * tq + 8) * d].iter().all(|&x| x == 0.0)));
        let found = out.backward_with(&tensor(&dout, DType::F64).unwrap()).unwrap();
        for (x, large) in operands.iter().zip(&expected.gradients) {
            compare("gradient", &found.expect(x).unwrap(), large, 1e-12);
        }
    }
}

#[test]
fn bad_operands_are_refused_with_the_shapes() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let params = AttentionParams::default;
    let (q, k) = (zeros(&[2, 4, 3, 8]), zeros(&[2, 3, 5, 8]));
    let error = q.scaled_dot_product_attention(&k, &k, &params()).unwrap_err().to_string();
    assert!(error.contains("Hkv dividing H") && error.contains("[2, 3, 5, 8]"), "{error}");
    let flat = zeros(&[3, 8]);
    assert!(flat.scaled_dot_product_attention(&flat, &flat, &params()).is_err());
    let k = zeros(&[2, 2, 5, 8]);
    let masked = |mask: Tensor| AttentionParams { mask: Some(mask), ..AttentionParams::default() };
    let error = q.scaled_dot_product_attention(&k, &k, &masked(zeros(&[4, 5]))).unwrap_err().to_string();
    assert!(error.contains("[2, 4, 3, 5]") && error.contains("[4, 5]"), "{error}");
    let tracked = masked(zeros(&[3, 5]).track());
    let error = q.scaled_dot_product_attention(&k, &k, &tracked).unwrap_err().to_string();
    assert!(error.contains("mask") && error.contains("no backward"), "{error}");
    assert!(no_grad(|| q.scaled_dot_product_attention(&k, &k, &tracked)).is_ok());
    let ids = Tensor::zeros([3, 5], DType::I64, &Device::Cpu).unwrap();
    assert!(q.scaled_dot_product_attention(&k, &k, &masked(ids)).unwrap_err().to_string().contains("i64"));
    // Nothing to attend to, and nobody to attend.
    let (none, q) = (zeros(&[2, 2, 0, 8]).track(), q.track());
    let out = q.scaled_dot_product_attention(&none, &none, &params()).unwrap();
    assert_eq!(out.to_vec::<f32>().unwrap(), vec![0.0; 2 * 4 * 3 * 8]);
    let gradients = out.backward_with(&out.ones_like().unwrap()).unwrap();
    assert_eq!(gradients.expect(&q).unwrap().to_vec::<f32>().unwrap(), vec![0.0; 2 * 4 * 3 * 8]);
    let nobody = zeros(&[2, 4, 0, 8]);
    assert_eq!(nobody.scaled_dot_product_attention(&k, &k, &params()).unwrap().dims(), [2, 4, 0, 8]);
}

fn rotary_embedding() {
    for [b, h, t, d] in [[1, 1, 1, 2], [2, 1, 3, 4], [1, 2, 2, 6]] {
        let angle = |t: usize, i: usize| 0.3 + t as f64 * 0.9 / (1.0 + i as f64);
        let table = move |f: fn(f64) -> f64, dtype: DType| {
            move |device: &Device| tensor_on(&Array::from_fn(&[t, d / 2], |i| f(angle(i[0], i[1]))), dtype, device)
        };
        let definition = move |x: &[Array], magnitude: bool| {
            // The tables as f32 has them.
            let (cos, sin) = ((|a: f64| a.cos() as f32 as f64), (|a: f64| a.sin() as f32 as f64));
            Array::from_fn(&[b, h, t, d], |i| {
                let (half, pair) = (d / 2, i[3] % (d / 2));
                let at = |c: usize| x[0].at(&[i[0], i[1], i[2], c]);
                let (c, s) = (cos(angle(i[2], pair)), sin(angle(i[2], pair)));
                let terms = if i[3] < half {
                    [at(pair) * c, -at(pair + half) * s]
                } else {
                    [at(pair + half) * c, at(pair) * s]
                };
                if magnitude { terms[0].abs() + terms[1].abs() } else { terms[0] + terms[1] }
            })
        };
        OpCheck::new(
            "rotary_embedding",
            move |x| {
                let device = x[0].device();
                x[0].rotary_embedding(&table(f64::cos, DType::F32)(device)?, &table(f64::sin, DType::F32)(device)?)
            },
            move |x| definition(x, false),
        )
        .magnitude(move |x| definition(x, true))
        .input(&[b, h, t, d])
        .run();
    }
    let x = Tensor::zeros([1, 1, 2, 3], DType::F32, &Device::Cpu).unwrap();
    let table = Tensor::zeros([2, 1], DType::F32, &Device::Cpu).unwrap();
    assert!(x.rotary_embedding(&table, &table).unwrap_err().to_string().contains("even D"));
    let x = Tensor::zeros([1, 1, 2, 2], DType::F32, &Device::Cpu).unwrap();
    assert!(x.rotary_embedding(&table.track(), &table).unwrap_err().to_string().contains("no backward"));
}

crate::support::device_checks!(
    attention_in_every_variant,
    every_tile_of_the_cuda_kernels_agrees_with_plain_loops,
    rotary_embedding_of_strided_rows_turns_back,
    rotary_embedding,
);
