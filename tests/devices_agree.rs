//! The same calls on the CPU device and on CUDA devices: what is exact must agree to the bit, in every dtype, for the
//! layouts and sizes on both sides of the kernels' switches. (What is rounded is held to f64 by each family's own tests.)

#[cfg(test)]
mod support;

use crate::support::{Random, devices};
use warpsmith::autograd::RowSparse;
use warpsmith::nn::{Param, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, Sgd, SgdConfig, grad_norm};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Error, Gradients, Result, Shape, Tensor, s};

const FLOATS: [DType; 3] = devices::CUDA_FLOATS;
const EVERY: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];

/// Values with their NaNs made alike.
fn bits(x: &Tensor) -> Result<Vec<u64>> {
    Ok(match x.dtype() {
        DType::I64 => x.to_vec::<i64>()?.into_iter().map(|v| v as u64).collect(),
        _ => x.to_f64_vec()?.into_iter().map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() }).collect(),
    })
}

/// Runs `f` on inputs on the CPU and on a CUDA device and compares everything that it gives.
fn agree(what: &str, inputs: &[&Tensor], f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>) {
    let seed = what.bytes().fold(inputs.len() as u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let run = |device: &Device| -> Result<Vec<Tensor>> {
        let inputs = inputs.iter().map(|x| moved(x, device)).collect::<Result<Vec<_>>>()?;
        f(&inputs)
    };
    let expected = run(&Device::Cpu).unwrap_or_else(|error| panic!("{what} on the CPU: {error}"));
    for gpu in devices::gpus(seed) {
        let fail = |error: Error| -> ! { panic!("{what} on {}: {error}{}", gpu.name, devices::reports()) };
        let found = run(&gpu.device).unwrap_or_else(|error| fail(error));
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!((found.dims(), found.dtype()), (expected.dims(), expected.dtype()), "{what}, result {i}");
            assert_eq!(found.device(), &gpu.device, "{what}, result {i}");
            let (a, b) = (bits(found).unwrap_or_else(|error| fail(error)), bits(expected).unwrap());
            if let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) {
                let show = |t: &Tensor| t.to_f64_vec().unwrap()[at];
                panic!("{what} on {}: result {i}[{at}] is {}, not {}", gpu.name, show(found), show(expected));
            }
        }
    }
}

/// On the device, with its layout: what is a view stays one.
fn moved(x: &Tensor, device: &Device) -> Result<Tensor> {
    let axes: Vec<isize> = {
        let mut axes: Vec<usize> = (0..x.rank()).collect();
        axes.sort_by_key(|&axis| std::cmp::Reverse(x.layout().strides()[axis]));
        axes.into_iter().map(|axis| axis as isize).collect()
    };
    let mut back = vec![0; axes.len()];
    for (at, &axis) in axes.iter().enumerate() {
        back[axis as usize] = at as isize;
    }
    // Stored in the order of its strides, one element into a buffer where it was.
    let stored = x.permute(&axes)?.contiguous()?.to_device(device)?;
    let stored = if x.layout().offset() == 1 {
        let pad = Tensor::zeros([1], x.dtype(), device)?;
        let flat = Tensor::cat(&[pad, stored.reshape([stored.numel()])?], 0)?;
        flat.narrow(0, 1, stored.numel())?.reshape(stored.shape())?
    } else {
        stored
    };
    stored.permute(&back)
}

/// Small whole numbers of a dtype, so that sums are exact.
fn whole(dims: &[usize], dtype: DType, random: &mut Random) -> Tensor {
    let low = if dtype == DType::U8 || dtype == DType::U32 { 0 } else { -3 };
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| (random.below(7) as i64 + low) as f64).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Its layouts: plain, with axes in reverse order, and one element into a buffer.
fn layouts(x: &Tensor) -> Vec<Tensor> {
    let reversed: Vec<isize> = (0..x.rank() as isize).rev().collect();
    let flat = Tensor::cat(&[x.reshape([x.numel()]).unwrap(), Tensor::zeros([1], x.dtype(), &Device::Cpu).unwrap()], 0);
    let shifted = flat.unwrap().narrow(0, 1, x.numel()).unwrap().reshape(x.shape()).unwrap();
    let turned = x.permute(&reversed).unwrap().contiguous().unwrap().permute(&reversed).unwrap();
    vec![x.clone(), turned, shifted]
}

/// Memory of another device is no operand, though it is device memory too.
#[test]
fn operands_on_two_gpus_are_refused() {
    let here = devices::gpus(0)[0].device.clone();
    let other = (0..2).filter_map(|ordinal| Device::cuda(ordinal).ok()).find(|device| *device != here);
    // A machine with one real device has no other.
    let Some(other) = other else { return };
    let ones = |dims: &[usize], device: &Device| Tensor::ones(dims, DType::F32, device).unwrap();
    let (x, grid, image) = (ones(&[3, 4], &here), ones(&[4, 4], &other), ones(&[1, 2, 4, 4], &here));
    let (row, plane) = (ones(&[4], &other), ones(&[2], &other));
    let index = Tensor::from_slice(&[0i64, 1], [2], &other).unwrap();
    let heads = |device: &Device| ones(&[1, 1, 4, 8], device);
    let results: Vec<(&str, Result<Tensor>)> = vec![
        ("add", &x + &ones(&[3, 4], &other)),
        ("matmul", x.matmul(&grid)),
        ("layer_norm", x.layer_norm(1, Some(&row), None, 1e-5)),
        ("rms_norm", x.rms_norm(Some(&row), 1e-5)),
        ("group_norm", image.group_norm(1, Some(&plane), None, 1e-5)),
        ("batch_norm", image.batch_norm_train(Some(&plane), None, 1e-5).map(|out| out.y)),
        ("batch_norm_infer", image.batch_norm_infer(&plane, &plane, None, None, 1e-5)),
        ("attention", heads(&here).scaled_dot_product_attention(&heads(&other), &heads(&here), &Default::default())),
        ("cross_entropy", x.cross_entropy(&ones(&[3, 4], &other), &Default::default())),
        ("conv2d", image.conv2d(&ones(&[1, 2, 2, 2], &other), None, Default::default())),
        ("index_select", x.index_select(0, &index)),
        ("embedding", x.embedding(&index)),
        ("cat", Tensor::cat(&[x.clone(), ones(&[3, 4], &other)], 0)),
    ];
    for (name, result) in results {
        let error = result.err().unwrap_or_else(|| panic!("{name} took operands of two devices")).to_string();
        assert!(error.contains("different devices"), "{name}: {error}");
    }
}

fn casts() {
    let inf = f64::INFINITY;
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        254.5,
        255.0,
        256.0,
        300.0,
        -300.0,
        65504.0,
        65520.0,
        1e5,
        4294967295.0,
        4294967296.0,
        9.2e18,
        9.3e18,
        -9.3e18,
        3e38,
        inf,
        -inf,
        f64::NAN,
        1e-8,
        6e-8,
        1e-40,
        257.0,
        2049.0,
        16777217.0,
    ];
    let x = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
    // Just above where f32 and bf16 could be rounded either way, by less than f32 can tell.
    let start: i64 = 1 << 31;
    let above = [start + (1 << 7) + 1, start + (1 << 23) + 1];
    let big = [
        i64::MAX,
        i64::MIN,
        (1 << 24) + 1,
        (1 << 53) + 1,
        -1,
        256,
        1 << 40,
        above[0],
        above[1],
        -above[1],
        (1 << 62) + (1 << 54) + 1,
    ];
    let long = Tensor::from_slice(&big, big.len(), &Device::Cpu).unwrap();
    for from in EVERY {
        let source = if from == DType::I64 {
            Tensor::cat(&[x.to_dtype(from).unwrap(), long.clone()], 0).unwrap()
        } else {
            x.to_dtype(from).unwrap()
        };
        let grid = source.unsqueeze(1).unwrap().expand([source.numel(), 5]).unwrap().contiguous().unwrap();
        for to in EVERY {
            for view in layouts(&grid) {
                agree(&format!("{from} to {to}"), &[&view], |x| Ok(vec![x[0].to_dtype(to)?]));
            }
        }
    }
}

fn relations_selection_and_integers() {
    let mut random = Random::fresh("relations");
    for dtype in EVERY {
        let (x, y) = (whole(&[7, 33], dtype, &mut random), whole(&[33], dtype, &mut random));
        for x in layouts(&x) {
            agree(&format!("relations of {dtype}"), &[&x, &y], |v| {
                let (x, y) = (&v[0], &v[1]);
                Ok(vec![
                    x.eq(y)?,
                    x.ne(y)?,
                    x.lt(y)?,
                    x.le(y)?,
                    x.gt(y)?,
                    x.ge(y)?,
                    x.logical_and(y)?,
                    x.logical_or(y)?,
                    x.logical_xor(y)?,
                    x.gt(y)?.where_cond(x, y)?,
                    x.masked_fill(&y.eq(y)?, 5.0)?,
                ])
            });
            agree(&format!("arithmetic of {dtype}"), &[&x, &y], |v| {
                let (x, y) = (&v[0], &v[1]);
                Ok(vec![
                    x.add(y)?,
                    x.sub(y)?,
                    x.mul(y)?,
                    x.maximum(y)?,
                    x.minimum(y)?,
                    x.abs()?,
                    x.sign()?,
                    x.square()?,
                    x.neg()?,
                    x.affine(3.0, 2.0)?,
                    x.clamp(-1.0, 2.0)?,
                ])
            });
        }
    }
    let nan = Tensor::from_slice(&[f32::NAN, 1.0, -0.0], [3], &Device::Cpu).unwrap();
    let other = Tensor::from_slice(&[f32::NAN, f32::NAN, 0.0], [3], &Device::Cpu).unwrap();
    agree("relations of NaN", &[&nan, &other], |v| {
        Ok(vec![v[0].eq(&v[1])?, v[0].ne(&v[1])?, v[0].lt(&v[1])?, v[0].ge(&v[1])?, v[0].maximum(&v[1])?])
    });
}

fn copies_between_layouts() {
    let mut random = Random::fresh("copies");
    for dtype in EVERY {
        for dims in [vec![1], vec![5], vec![64, 65], vec![33, 31], vec![3, 40, 36], vec![2, 17, 3, 16], vec![0, 4]] {
            let x = whole(&dims, dtype, &mut random);
            let views = layouts(&x);
            for view in [&views[0], &views[1 + random.below(2)]] {
                agree(&format!("copy of {dtype} {dims:?}"), &[view], |x| {
                    let last = x[0].rank() as isize - 1;
                    Ok(vec![
                        x[0].copy()?,
                        x[0].transpose(0, last)?.contiguous()?,
                        x[0].unsqueeze(0)?.expand([&[3][..], x[0].dims()].concat())?.contiguous()?,
                        Tensor::cat(&[&x[0], &x[0]], last)?,
                        x[0].full_like(2.0)?,
                        x[0].slice(&[(..).into()])?.contiguous()?,
                    ])
                });
            }
        }
        let x = whole(&[6, 9], dtype, &mut random);
        agree(&format!("assignment in {dtype}"), &[&x], |x| {
            let part = x[0].narrow(0, 0, 2)?.narrow(1, 0, 3)?;
            Ok(vec![
                x[0].slice_assign(&s![1..3, 2..8;2], &part)?,
                x[0].slice_assign(&s![.., -1], &Tensor::zeros((), dtype, x[0].device())?)?,
                x[0].pad(&[(1, 2), (0, 3)], 1.0)?,
                x[0].flip(&[0, 1])?,
                x[0].repeat(&[2, 3])?,
                x[0].tril(-1)?,
                x[0].triu(2)?,
            ])
        });
    }
}

fn random_bits() {
    for n in [0, 1, 3, 4, 5, 1023, 4099] {
        for dtype in FLOATS {
            for gpu in devices::gpus(n as u64) {
                let all = |device: &Device| -> Result<Vec<Vec<u64>>> {
                    let mut rng = Philox::new(9);
                    let drawn = [
                        Tensor::uniform(-1.0, 2.0, n, dtype, device, &mut rng)?,
                        Tensor::uniform(0.0, 1e-7, n, dtype, device, &mut rng)?,
                        Tensor::normal(1.0, 3.0, n, dtype, device, &mut rng)?,
                        Tensor::gamma(0.3, 2.0, n, dtype, device, &mut rng)?,
                        Tensor::gamma(4.5, 0.5, n, dtype, device, &mut rng)?,
                        Tensor::bernoulli(0.3, n, dtype, device, &mut rng)?,
                        Tensor::bernoulli(1.0, n, dtype, device, &mut rng)?,
                        Tensor::ones(n, dtype, device)?.dropout(0.4, &mut rng)?,
                        Tensor::full(0.25, n, dtype, device)?.sample_bernoulli(&mut rng)?,
                    ];
                    drawn.iter().map(bits).collect()
                };
                let (found, expected) = (all(&gpu.device).unwrap(), all(&Device::Cpu).unwrap());
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let differ = found.iter().zip(expected).filter(|(a, b)| a != b).count();
                    assert_eq!(differ, 0, "draw {i} of {n} {dtype} on {}: {differ} differ", gpu.name);
                }
            }
        }
    }
    let mut random = Random::fresh("dropout");
    let x = whole(&[9, 14], DType::F32, &mut random);
    for view in layouts(&x) {
        agree("dropout", &[&view], |x| {
            Ok(vec![x[0].dropout(0.5, &mut Philox::new(3))?, x[0].dropout(1.0, &mut Philox::new(3))?])
        });
        let p = view.clamp(0.0, 1.0).unwrap();
        agree("sample_bernoulli", &[&p], |p| Ok(vec![p[0].sample_bernoulli(&mut Philox::new(4))?]));
    }
}

fn sampling_by_weight() {
    let mut random = Random::fresh("multinomial");
    for (rows, n) in [(1, 1), (3, 5), (2, 255), (2, 257), (1, 1500)] {
        let weights: Vec<f32> =
            (0..rows * n).map(|_| if random.below(4) == 0 { 0.0 } else { random.unit() as f32 }).collect();
        let mut weights = weights;
        weights.iter_mut().step_by(n).for_each(|w| *w = 0.5);
        let w = Tensor::from_slice(&weights, [rows, n], &Device::Cpu).unwrap();
        let positive = weights.chunks(n).map(|row| row.iter().filter(|&&w| w > 0.0).count()).min().unwrap();
        agree(&format!("multinomial from {rows} × {n}"), &[&w], |w| {
            Ok(vec![
                w[0].multinomial(300, true, &mut Philox::new(7))?,
                w[0].multinomial(positive, false, &mut Philox::new(7))?,
                w[0].to_dtype(DType::BF16)?.multinomial(20, true, &mut Philox::new(7))?,
                w[0].to_dtype(DType::F16)?.multinomial(20, true, &mut Philox::new(7))?,
            ])
        });
    }
}

fn indexing() {
    let mut random = Random::fresh("indexing");
    for dtype in EVERY {
        // Few destinations, so that runs cross the stretches that are summed at once.
        for (case, (rows, inner, n)) in
            [(3, 1, 1), (3, 4, 200), (40, 17, 65), (5, 64, 129), (200, 3, 64), (1, 2, 1000)].into_iter().enumerate()
        {
            let index_dtype = [DType::I64, DType::U32, DType::U8][(case + dtype.size()) % 3];
            let index: Vec<i64> = (0..n).map(|_| random.below(rows) as i64).collect();
            let index = Tensor::from_slice(&index, n, &Device::Cpu).unwrap().to_dtype(index_dtype).unwrap();
            // Bounded so that halves stay exact: a thousand terms of at most 1.
            let x = whole(&[rows, inner], dtype, &mut random);
            let source = whole(&[n, inner], dtype, &mut random).clamp(-1.0, 1.0).unwrap();
            let what = format!("{n} of {rows} rows of {inner} {dtype}, {index_dtype}");
            agree(&what, &[&x, &index, &source], |v| {
                let (x, index, source) = (&v[0], &v[1], &v[2]);
                let wide = index.unsqueeze(1)?.expand([n, inner])?;
                let zeros = x.zeros_like()?;
                let mut all = vec![
                    x.index_select(0, index)?,
                    x.embedding(index)?,
                    x.gather(0, &wide)?,
                    index.one_hot(rows)?,
                    x.transpose(0, 1)?.index_select(1, index)?,
                ];
                if dtype != DType::BF16 || n < 200 {
                    all.push(zeros.index_add(0, index, source)?);
                    all.push(x.scatter_add(0, &wide, source)?);
                    all.push(x.transpose(0, 1)?.index_add(1, index, &source.transpose(0, 1)?)?);
                }
                Ok(all)
            });
        }
    }
}

fn row_sparse_gradients() {
    let mut random = Random::fresh("row-sparse");
    for (rows, n) in [(7, 1), (7, 5), (100, 130), (3, 700)] {
        let ids: Vec<i64> = (0..n).map(|_| random.below(rows) as i64).collect();
        let run = |device: &Device| -> Result<(Vec<i64>, Vec<f32>)> {
            let ids = Tensor::from_slice(&ids, n, device)?;
            let ones = Tensor::ones([n, 5], DType::F32, device)?;
            let RowSparse { indices, rows, .. } = RowSparse::sum_of(&ids, &ones, Shape::new(&[rows, 5])?)?;
            Ok((indices.to_vec()?, rows.to_vec()?))
        };
        for gpu in devices::gpus(n as u64) {
            assert_eq!(run(&gpu.device).unwrap(), run(&Device::Cpu).unwrap(), "{n} of {rows} on {}", gpu.name);
        }
    }
}

fn reductions_of_whole_numbers() {
    let mut random = Random::fresh("reductions");
    let shapes: [(&[usize], &[&[isize]]); 8] = [
        (&[1], &[&[0]]),
        (&[7], &[&[0]]),
        (&[33, 65], &[&[0], &[1], &[0, 1]]),
        (&[2, 3, 130], &[&[0], &[1], &[2], &[0, 2], &[0, 1]]),
        (&[1000, 3], &[&[0], &[1]]),
        (&[3, 1000], &[&[0], &[1]]),
        (&[4, 8, 5, 6], &[&[0, 2], &[1, 3], &[0, 2, 3]]),
        (&[20_011], &[&[0]]),
    ];
    for dtype in EVERY {
        for (dims, axes) in shapes {
            let x = whole(dims, dtype, &mut random);
            let views = layouts(&x);
            for &axes in axes {
                let view = &views[random.below(3)];
                {
                    agree(&format!("reductions of {dtype} {dims:?} over {axes:?}"), &[view], |x| {
                        let x = &x[0];
                        let mut all = vec![x.any(axes)?, x.all(axes)?, x.amax(axes)?, x.amin(axes)?];
                        if !dtype.is_float() || dtype == DType::F32 {
                            all.push(x.sum(axes)?);
                        }
                        if let &[axis] = axes {
                            let (most, at) = x.max(axis)?;
                            let (least, place) = x.min(axis)?;
                            all.extend([most, at, least, place]);
                            if !dtype.is_float() || dtype == DType::F32 {
                                all.push(x.cumsum(axis)?);
                            }
                            // Integers wrap, whatever the order.
                            if !dtype.is_float() {
                                all.extend([x.prod(axes)?, x.cumprod(axis)?]);
                            }
                        }
                        Ok(all)
                    });
                }
            }
        }
    }
    let nan = f32::NAN;
    let odd = [1.0, nan, 3.0, 3.0, nan, -f32::INFINITY, f32::INFINITY, -0.0, 0.0, -0.0, 0.0, 2.0];
    let x = Tensor::from_slice(&odd, [3, 4], &Device::Cpu).unwrap();
    agree("extremes of NaN and infinity", &[&x], |x| {
        let (a, b) = (x[0].max(1)?, x[0].min(0)?);
        Ok(vec![a.0, a.1, b.0, b.1, x[0].amax(&[1])?, x[0].amin(&[0])?, x[0].any(&[1])?, x[0].logsumexp(&[1])?])
    });
    let empty = Tensor::zeros([0, 3], DType::F32, &Device::Cpu).unwrap();
    agree("sums of nothing", &[&empty], |x| {
        Ok(vec![x[0].sum(&[0])?, x[0].prod(&[0])?, x[0].mean(&[0])?, x[0].any(&[0])?, x[0].all(&[0])?, x[0].sum(&[1])?])
    });
}

fn sorting() {
    let mut random = Random::fresh("sorting");
    for dtype in EVERY {
        for (rows, length) in [(1, 1), (3, 5), (2, 300), (37, 130), (1, 5000), (0, 4)] {
            // More than a tile, and rows beside each other, once: what is sorted are keys, whatever they came from.
            if length > 300 && dtype != DType::F32 || rows == 37 && dtype != DType::I64 {
                continue;
            }
            let x = whole(&[rows, length], dtype, &mut random);
            agree(&format!("sorts of {dtype} {rows} × {length}"), &[&x], |x| {
                let mut all = vec![];
                for descending in [false, true] {
                    let (values, places) = x[0].sort(1, descending)?;
                    let (top, at) = x[0].topk(length.min(3), 1, descending)?;
                    let (columns, order) = x[0].sort(0, descending)?;
                    all.extend([values, places, top, at, columns, order]);
                }
                Ok(all)
            });
        }
    }
    let odd = [1.0, f32::NAN, -0.0, 0.0, -f32::INFINITY, f32::INFINITY, -1e-40, 1e-40, f32::NAN, -3.5];
    let x = Tensor::from_slice(&odd, odd.len(), &Device::Cpu).unwrap();
    agree("sorts of NaN and zeros", &[&x], |x| {
        let ((a, b), (c, d)) = (x[0].sort(0, false)?, x[0].sort(0, true)?);
        Ok(vec![a, b, c, d])
    });
    let long = [i64::MAX, i64::MIN, 0, -1, 1, 1 << 40, -(1 << 40), i64::MAX];
    let x = Tensor::from_slice(&long, long.len(), &Device::Cpu).unwrap();
    agree("sorts of large integers", &[&x], |x| {
        let (values, places) = x[0].sort(0, false)?;
        Ok(vec![values, places])
    });
}

type Make = Box<dyn Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>>>;

fn optimizers() {
    let adam = AdamConfig::adamw(0.01);
    let momentum = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.1, ..SgdConfig::new(0.1) };
    let damped = SgdConfig { nesterov: false, dampening: 0.3, ..momentum };
    let makes: [(&str, Make); 5] = [
        ("damped momentum", Box::new(move |p| Ok(Box::new(Sgd::new(p, damped)?)))),
        ("sgd", Box::new(|p| Ok(Box::new(Sgd::new(p, SgdConfig::new(0.1))?)))),
        ("momentum", Box::new(move |p| Ok(Box::new(Sgd::new(p, momentum)?)))),
        ("adamw", Box::new(move |p| Ok(Box::new(Adam::new(p, adam)?)))),
        ("amsgrad", Box::new(move |p| Ok(Box::new(Adam::new(p, AdamConfig { amsgrad: true, ..adam })?)))),
    ];
    let mut random = Random::fresh("optimizers");
    let sizes = [1usize, 3, 4, 1025, 4096, 4099, 0, 130];
    let away = |random: &mut Random| random.range(0.25, 1.5) * if random.bits() & 1 == 0 { 1.0 } else { -1.0 };
    let values: Vec<Vec<f32>> = sizes.iter().map(|&n| (0..n).map(|_| away(&mut random) as f32).collect()).collect();
    for (name, make) in &makes {
        for dtype in FLOATS {
            let run = |device: &Device| -> Result<(Vec<Vec<f64>>, f64)> {
                let params = Params::new(device, dtype, 0);
                for (i, v) in values.iter().enumerate() {
                    params.param_from(&format!("p{i}"), &Tensor::from_slice(v, v.len(), device)?.to_dtype(dtype)?)?;
                }
                let params = params.trainable();
                let mut optimizer = make(params.clone())?;
                let mut norm = 0.0;
                for step in 0..3 {
                    let mut gradients = Gradients::default();
                    for ((_, p), v) in params.iter().zip(&values) {
                        let g = Tensor::from_slice(v, v.len(), device)?.affine(1.0 / (1.0 + step as f64), 0.25)?;
                        gradients.set(p, g.to_dtype(dtype)?)?;
                    }
                    norm = f64::from(grad_norm(&gradients, &params)?.item::<f32>()?);
                    optimizer.step_clipped(&gradients, Clip::Norm(3.0))?;
                }
                Ok((params.iter().map(|(_, p)| p.to_f64_vec()).collect::<Result<_>>()?, norm))
            };
            let (expected, norm) = run(&Device::Cpu).unwrap();
            for gpu in devices::gpus(3) {
                let (found, other) = run(&gpu.device).unwrap_or_else(|error| panic!("{name} {dtype}: {error}"));
                assert!((norm - other).abs() <= 1e-6 * norm, "{name} {dtype}: norm {other}, not {norm}");
                for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    // Three steps of a few f32 roundings each, and one of the storage type, which a fused product may
                    // turn over each time.
                    let bound = (32.0 * DType::F32.unit_roundoff()
                        + if dtype == DType::F32 { 0.0 } else { 6.0 * dtype.unit_roundoff() })
                        * expected.abs().max(0.25);
                    assert!(
                        (found - expected).abs() <= bound,
                        "{name} {dtype} on {}: {found}, not {expected}",
                        gpu.name
                    );
                }
            }
        }
    }
}

crate::support::device_checks!(
    casts,
    relations_selection_and_integers,
    copies_between_layouts,
    random_bits,
    sampling_by_weight,
    indexing,
    row_sparse_gradients,
    reductions_of_whole_numbers,
    sorting,
    optimizers,
);
