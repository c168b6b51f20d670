//! Along one axis: positions of extremes, running sums and products, sorting.

use super::*;

fn first_extreme(g: &[f64], better: fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (i, &v) in g.iter().enumerate() {
        if better(v, g[best]) || v.is_nan() && !g[best].is_nan() {
            best = i;
        }
    }
    best
}

#[test]
fn extremes_along_an_axis() {
    let mut random = Random::fresh("extremes");
    for dims in
        [vec![5], vec![1, 7], vec![40, 3], vec![3, 40], vec![2, 1500, 3], vec![3, 2049], vec![20, 600], vec![9, 3, 2]]
    {
        for dtype in DType::ALL {
            // Few distinct values: ties everywhere; for floats some NaN.
            let x = Array::from_fn(&dims, |_| match random.below(30) {
                0 if dtype.is_float() && dims.len() > 1 => f64::NAN,
                _ => random.below(9) as f64,
            });
            let t = tensor(&x, dtype).unwrap();
            for axis in 0..dims.len() {
                for t in [t.clone(), strided(&t).unwrap()] {
                    let largest = fold_axes(&x, &[axis], false, |g| first_extreme(g, |a, b| a > b) as f64);
                    let smallest = fold_axes(&x, &[axis], false, |g| first_extreme(g, |a, b| a < b) as f64);
                    let (values, indices) = t.max(axis as isize).unwrap();
                    assert_eq!(indices.dims(), largest.dims);
                    assert_eq!(indices.to_f64_vec().unwrap(), largest.data, "{dims:?} {axis} {dtype}");
                    let picked = t.gather(axis as isize, &t.argmax_keepdim(axis as isize).unwrap()).unwrap();
                    let bits = |t: &Tensor| t.to_f64_vec().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&values), bits(&picked));
                    assert_eq!(
                        t.argmin(axis as isize).unwrap().to_f64_vec().unwrap(),
                        smallest.data,
                        "{dims:?} {axis}"
                    );
                    assert_eq!(t.min_keepdim(axis as isize).unwrap().0.dims()[axis], 1);
                }
            }
        }
    }
}

fn gradients_of_extremes() {
    let distinct = Domain::Distinct(-2.0, 2.0);
    for (dims, axis) in [(vec![7], 0usize), (vec![3, 4], 1), (vec![3, 4], 0), (vec![2, 3, 4], 1)] {
        let at = axis as isize;
        let fold = move |x: &[Array], f: fn(f64, f64) -> f64| {
            fold_axes(&x[0], &[axis], false, |g| g.iter().copied().reduce(f).unwrap())
        };
        OpCheck::new("max", move |x| Ok(x[0].max(at)?.0), move |x| fold(x, f64::max))
            .input_in(&dims, distinct.clone())
            .ulps(0.0, 1.0)
            .run();
        OpCheck::new("min", move |x| Ok(x[0].min(at)?.0), move |x| fold(x, f64::min))
            .input_in(&dims, distinct.clone())
            .ulps(0.0, 1.0)
            .run();
    }
    let tied = Tensor::from_slice(&[1f32, 4.0, 4.0, 0.0], [4], &Device::Cpu).unwrap().track();
    let gradient = |y: Tensor| y.backward().unwrap().expect(&tied).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(gradient(tied.max(0).unwrap().0), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(gradient(tied.max_all().unwrap()), [0.0, 0.5, 0.5, 0.0]);
}

fn running_sums_and_products() {
    // From 32 lanes side by side on each has a thread, not a block.
    let cases =
        [(vec![9], 0usize), (vec![3, 4], 0), (vec![3, 4], 1), (vec![2, 5, 3], 1), (vec![2, 0], 1), (vec![3, 35], 0)];
    for (dims, axis) in cases {
        let at = axis as isize;
        let running = move |x: &Array, f: fn(f64, f64) -> f64| {
            let mut out = x.clone();
            for flat in 0..x.data.len() {
                let mut before = x.index_of(flat);
                if before[axis] > 0 {
                    before[axis] -= 1;
                    out.data[flat] = f(out.at(&before), x.data[flat]);
                }
            }
            out
        };
        OpCheck::new("cumsum", move |x| x[0].cumsum(at), move |x| running(&x[0], |a, b| a + b))
            .magnitude(move |x| running(&x[0].map(f64::abs), |a, b| a + b))
            .input(&dims)
            .ulps(10.0, 10.0)
            .run();
        let domain = Domain::Avoid { range: (-1.5, 1.5), points: vec![0.0], margin: 0.5 };
        OpCheck::new("cumprod", move |x| x[0].cumprod(at), move |x| running(&x[0], |a, b| a * b))
            .input_in(&dims, domain)
            .ulps(10.0, 20.0)
            .run();
    }
}

/// Stable order of the elements, NaN last (first when descending).
fn sorted_positions(g: &[f64], descending: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..g.len()).collect();
    let key = |i: usize| if g[i].is_nan() { f64::INFINITY } else { g[i] };
    order.sort_by(|&a, &b| {
        let ascending = (g[a].is_nan(), key(a)).partial_cmp(&(g[b].is_nan(), key(b))).unwrap();
        if descending { ascending.reverse() } else { ascending }
    });
    order
}

#[test]
fn sorting() {
    let mut random = Random::fresh("sorting");
    for (dims, axis) in
        [(vec![1], 0), (vec![17], 0), (vec![5, 33], 1), (vec![33, 5], 0), (vec![40_000], 0), (vec![3, 0], 1)]
    {
        for dtype in DType::ALL {
            let x = Array::from_fn(&dims, |_| match random.below(20) {
                0 if dtype.is_float() => f64::NAN,
                1 if dtype.is_float() => -0.0,
                2 if dtype.is_float() => f64::NEG_INFINITY,
                n if n < 10 && dtype != DType::U8 && dtype != DType::U32 => -1.0 - random.below(50) as f64,
                _ => random.below(50) as f64,
            });
            let t = tensor(&x, dtype).unwrap();
            let lanes = |x: &Array| tensor(x, DType::F64).unwrap().transpose(axis, -1).unwrap().to_f64_vec().unwrap();
            let length = dims[axis as usize];
            for descending in [false, true] {
                let (values, indices) = t.sort(axis, descending).unwrap();
                let lanes_of = |t: &Tensor| t.transpose(axis, -1).unwrap().to_f64_vec().unwrap();
                let (values, indices) = (lanes_of(&values), lanes_of(&indices));
                for (row, lane) in lanes(&x).chunks(length.max(1)).enumerate() {
                    let order = sorted_positions(lane, descending);
                    for (k, &from) in order.iter().enumerate() {
                        let at = row * length + k;
                        assert_eq!(indices[at], from as f64, "{dims:?} {dtype} descending {descending}");
                        assert_eq!(values[at].to_bits(), lane[from].to_bits());
                    }
                }
                let k = length / 3;
                let top = t.topk(k, axis, descending).unwrap().1;
                assert_eq!(top.dims()[axis as usize], k);
                let whole = t.argsort(axis, descending).unwrap();
                assert_eq!(top.to_f64_vec().unwrap(), whole.narrow(axis, 0, k).unwrap().to_f64_vec().unwrap());
            }
        }
    }
    let x = Tensor::zeros([3], DType::F32, &Device::Cpu).unwrap();
    assert!(x.topk(4, 0, true).unwrap_err().to_string().starts_with("topk: k = 4 of the 3 elements"));
}

fn gradients_of_sorting() {
    for (dims, axis) in [(vec![9], 0usize), (vec![4, 3], 0), (vec![2, 5], 1)] {
        let at = axis as isize;
        for descending in [false, true] {
            let sorted = move |x: &[Array], k: usize| {
                let mut dims = x[0].dims.clone();
                dims[axis] = k;
                Array::from_fn(&dims, |index| {
                    let mut own = index.to_vec();
                    let lane: Vec<f64> = (0..x[0].dims[axis])
                        .map(|i| {
                            own[axis] = i;
                            x[0].at(&own)
                        })
                        .collect();
                    lane[sorted_positions(&lane, descending)[index[axis]]]
                })
            };
            let length = dims[axis];
            OpCheck::new("sort", move |x| Ok(x[0].sort(at, descending)?.0), move |x| sorted(x, length))
                .input_in(&dims, Domain::Distinct(-2.0, 2.0))
                .ulps(0.0, 1.0)
                .run();
            OpCheck::new("topk", move |x| Ok(x[0].topk(2, at, descending)?.0), move |x| sorted(x, 2))
                .input_in(&dims, Domain::Distinct(-2.0, 2.0))
                .ulps(0.0, 1.0)
                .run();
        }
    }
}

crate::support::device_checks!(gradients_of_extremes, running_sums_and_products, gradients_of_sorting);
