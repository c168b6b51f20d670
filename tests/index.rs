//! Reading and writing by index, joining and cutting, against their definitions.

#[cfg(test)]
mod support;

use crate::support::check::{strided, tensor};
use crate::support::{Array, OpCheck, Random};
use proptest::prelude::*;
use warpsmith::autograd::{Gradient, RowSparse};
use warpsmith::{DType, Device, Shape, Slice, Tensor, Var, s};

fn ids(values: &[i64], dims: &[usize]) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
}

/// The index on the device of the operands.
fn beside(index: &Tensor, x: &[Tensor]) -> warpsmith::Result<Tensor> {
    index.to_device(x[0].device())
}

/// The array with coordinate `axis` of each index replaced.
fn at_replaced(x: &Array, index: &[usize], axis: usize, by: usize) -> f64 {
    let mut own = index.to_vec();
    own[axis] = by;
    x.at(&own)
}

/// The input's shape, the axis, and the index with its shape.
type IndexCase = (&'static [usize], usize, &'static [usize], &'static [i64]);

fn gather() {
    let cases: [IndexCase; 4] = [
        (&[5], 0, &[7], &[0, 4, 4, 1, 2, 2, 2]),
        (&[3, 4], 0, &[2, 4], &[0, 1, 2, 2, 2, 2, 0, 1]),
        (&[3, 4], 1, &[3, 2], &[3, 3, 0, 1, 2, 0]),
        (&[2, 3, 2], 1, &[1, 4, 2], &[0, 2, 1, 1, 2, 2, 0, 0]),
    ];
    for (dims, axis, index_dims, index) in cases {
        let picked: Vec<usize> = index.iter().map(|&i| i as usize).collect();
        let shape = index_dims.to_vec();
        let definition = move |x: &[Array]| {
            let place = Array::zeros(&shape);
            Array::from_fn(&shape, |i| at_replaced(&x[0], i, axis, picked[place.flat(i)]))
        };
        let index = ids(index, index_dims);
        OpCheck::new("gather", move |x| x[0].gather(axis as isize, &beside(&index, x)?), definition)
            .input(dims)
            .ulps(0.0, 8.0) // up to 7 gradients meet
            .run();
    }
}

fn scatter_add() {
    let cases: [IndexCase; 4] = [
        (&[5], 0, &[7], &[0, 4, 4, 1, 2, 2, 2]),
        (&[3, 4], 0, &[2, 4], &[0, 1, 2, 2, 0, 2, 0, 1]),
        (&[3, 4], 1, &[3, 2], &[3, 3, 0, 1, 2, 0]),
        (&[2, 3, 2], 1, &[1, 4, 2], &[0, 2, 1, 1, 2, 2, 0, 0]),
    ];
    for (dims, axis, index_dims, index) in cases {
        let picked: Vec<usize> = index.iter().map(|&i| i as usize).collect();
        let definition = move |x: &[Array], f: fn(f64) -> f64| {
            let mut out = x[0].map(f);
            for (flat, &row) in picked.iter().enumerate() {
                let mut to = x[1].index_of(flat);
                to[axis] = row;
                let to = out.flat(&to);
                out.data[to] += f(x[1].data[flat]);
            }
            out
        };
        let of_magnitudes = definition.clone();
        let index = ids(index, index_dims);
        OpCheck::new(
            "scatter_add",
            move |x| x[0].scatter_add(axis as isize, &beside(&index, x)?, &x[1]),
            move |x| definition(x, |v| v),
        )
        .magnitude(move |x| of_magnitudes(x, f64::abs))
        .input(dims)
        .input(index_dims)
        .ulps(8.0, 1.0)
        .run();
    }
}

fn index_select_and_index_add() {
    for (dims, axis, index) in [
        (vec![5], 0usize, vec![4i64, 0, 4]),
        (vec![3, 4], 0, vec![2, 2, 1, 0]),
        (vec![2, 3, 2], 1, vec![2, 0, 2, 1]),
        (vec![3, 2], 1, vec![]),
    ] {
        let at = axis as isize;
        let rows: Vec<usize> = index.iter().map(|&i| i as usize).collect();
        let mut selected = dims.clone();
        selected[axis] = rows.len();
        let (shape, picked) = (selected.clone(), rows.clone());
        let select = move |x: &[Array]| Array::from_fn(&shape, |i| at_replaced(&x[0], i, axis, picked[i[axis]]));
        for dtype in [DType::I64, DType::U32, DType::U8] {
            let index = tensor(&Array::new(&[index.len()], index.iter().map(|&i| i as f64).collect()), dtype).unwrap();
            let select = select.clone();
            OpCheck::new("index_select", move |x| x[0].index_select(at, &beside(&index, x)?), select)
                .input(&dims)
                .ulps(0.0, 4.0)
                .run();
        }
        let add = move |x: &[Array], f: fn(f64) -> f64| {
            let mut out = x[0].map(f);
            for flat in 0..x[1].data.len() {
                let mut to = x[1].index_of(flat);
                to[axis] = rows[to[axis]];
                let to = out.flat(&to);
                out.data[to] += f(x[1].data[flat]);
            }
            out
        };
        let of_magnitudes = add.clone();
        let index = ids(&index, &[index.len()]);
        let check =
            OpCheck::new("index_add", move |x| x[0].index_add(at, &beside(&index, x)?, &x[1]), move |x| add(x, |v| v))
                .magnitude(move |x| of_magnitudes(x, f64::abs))
                .input(&dims)
                .input(&selected);
        let check = check.ulps(5.0, 1.0);
        // A source without rows has no gradient whose fault could show.
        if selected.contains(&0) { check.silent("index_add", 1).run() } else { check.run() }
    }
}

#[test]
fn many_rows_meet_in_the_order_of_the_sources() {
    let mut random = Random::fresh("index_add");
    for (rows, inner, n) in [(7usize, 3usize, 20_001usize), (600, 40, 1500), (1, 1, 50_000), (100, 700, 101)] {
        let index: Vec<usize> = (0..n).map(|_| random.below(rows)).collect();
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64] {
            let source = Array::from_fn(&[n, inner], |_| random.below(200) as f64 - 100.0);
            let mut sums = Array::zeros(&[rows, inner]);
            for (i, &row) in index.iter().enumerate() {
                for j in 0..inner {
                    let at = sums.flat(&[row, j]);
                    sums.data[at] += source.at(&[i, j]);
                }
            }
            // Sums of whole numbers below 2²⁴ are exact in the accumulator, so all that is left is the last rounding.
            let expected: Vec<f64> = sums.data.iter().map(|&v| support::check::round(v, dtype)).collect();
            let tensors = (tensor(&source, dtype).unwrap(), Tensor::zeros([rows, inner], dtype, &Device::Cpu).unwrap());
            let index = Tensor::from_iter(index.iter().map(|&i| i as i64), &Device::Cpu).unwrap();
            let found = tensors.1.index_add(0, &index, &tensors.0).unwrap();
            assert_eq!(found.to_f64_vec().unwrap(), expected, "index_add {rows} {inner} {n} {dtype}");
            let spread = index.reshape([n, 1]).unwrap().expand([n, inner]).unwrap();
            let found = tensors.1.scatter_add(0, &spread, &tensors.0).unwrap();
            assert_eq!(found.to_f64_vec().unwrap(), expected, "scatter_add {rows} {inner} {n} {dtype}");
            if dtype.is_float() {
                let sparse = RowSparse::sum_of(&index, &tensors.0, Shape::new(&[rows, inner]).unwrap()).unwrap();
                let unique = sparse.indices.to_vec::<i64>().unwrap();
                assert!(unique.windows(2).all(|w| w[0] < w[1]));
                assert_eq!(sparse.dense().unwrap().to_f64_vec().unwrap(), expected, "rows {rows} {inner} {n} {dtype}");
            }
        }
    }
}

fn embedding() {
    let values = [4i64, 0, 4, 1, 1, 4];
    let definition = move |x: &[Array]| {
        Array::from_fn(&[2, 3, x[0].dims[1]], |i| x[0].at(&[values[i[0] * 3 + i[1]] as usize, i[2]]))
    };
    for dims in [[6, 1], [5, 4]] {
        OpCheck::new("embedding", move |x| x[0].embedding(&beside(&ids(&values, &[2, 3]), x)?), definition)
            .input(&dims)
            .ulps(0.0, 4.0)
            .run();
    }
}

#[test]
fn a_table_gets_a_row_sparse_gradient() {
    let table =
        Var::new(&Tensor::arange(0.0, 12.0, 1.0, DType::F32, &Device::Cpu).unwrap().reshape([6, 2]).unwrap()).unwrap();
    let use_of = |values: &[i64]| table.embedding(&ids(values, &[values.len()])).unwrap().sum_all().unwrap();
    let rows = |g: &Gradient| match g {
        Gradient::Rows(rows) => {
            (rows.indices.to_vec::<i64>().unwrap(), rows.rows.to_vec2::<f32>().unwrap(), rows.shape.dims().to_vec())
        }
        Gradient::Dense(_) => panic!("a dense gradient"),
    };
    let gradients = use_of(&[4, 1, 4]).backward().unwrap();
    let expected = (vec![1, 4], vec![vec![1.0, 1.0], vec![2.0, 2.0]], vec![6, 2]);
    assert_eq!(rows(gradients.get_sparse(&table).unwrap()), expected);
    // Used twice in one loss, and accumulated over two losses: rows merge.
    let twice = use_of(&[4, 1, 4]).add(&use_of(&[1, 5])).unwrap().backward().unwrap();
    let expected = (vec![1, 4, 5], vec![vec![2.0; 2], vec![2.0; 2], vec![1.0; 2]], vec![6, 2]);
    assert_eq!(rows(twice.get_sparse(&table).unwrap()), expected);
    let mut sum = use_of(&[4, 1, 4]).backward().unwrap();
    sum.accumulate(use_of(&[1, 5]).backward().unwrap()).unwrap();
    assert_eq!(rows(sum.get_sparse(&table).unwrap()), expected);
    let dense = [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0, 1.0];
    assert_eq!(sum.expect(&table).unwrap().to_vec::<f32>().unwrap(), dense);
    // With a dense use beside it the sum is dense.
    let mixed = use_of(&[0]).add(&table.sum_all().unwrap()).unwrap().backward().unwrap();
    assert!(matches!(mixed.get_sparse(&table), Some(Gradient::Dense(_))));
    assert_eq!(mixed.expect(&table).unwrap().to_vec::<f32>().unwrap()[..3], [2.0, 2.0, 1.0]);
    // A table that is itself computed gets a dense gradient.
    let scaled = table.affine(2.0, 0.0).unwrap().embedding(&ids(&[3, 3], &[2])).unwrap().sum_all().unwrap();
    assert_eq!(scaled.backward().unwrap().expect(&table).unwrap().to_vec::<f32>().unwrap()[6..8], [4.0, 4.0]);
    // No ids: a gradient of no rows.
    let none = use_of(&[]).backward().unwrap();
    assert_eq!(none.expect(&table).unwrap().to_vec::<f32>().unwrap(), [0.0; 12]);
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "what the range is refused for")]
fn an_index_out_of_range_is_named() {
    let x = Tensor::zeros([3, 4], DType::F32, &Device::Cpu).unwrap();
    let message = |r: warpsmith::Result<Tensor>| r.unwrap_err().to_string();
    let bad = ids(&[0, 7], &[2]);
    assert_eq!(message(x.index_select(0, &bad)), "index_select: index 7 is out of range, valid are 0 to 3 exclusive");
    assert_eq!(message(x.embedding(&bad)), "embedding: index 7 is out of range, valid are 0 to 3 exclusive");
    let negative = ids(&[-1], &[1, 1]);
    assert_eq!(message(x.gather(1, &negative)), "gather: index -1 is out of range, valid are 0 to 4 exclusive");
    let one = Tensor::zeros([1, 1], DType::F32, &Device::Cpu).unwrap();
    assert!(message(x.scatter_add(1, &negative, &one)).starts_with("scatter_add: index -1"));
    assert!(message(bad.one_hot(7)).starts_with("one_hot: index 7"));
    assert!(
        message(x.index_add(0, &bad, &Tensor::zeros([2, 4], DType::F32, &Device::Cpu).unwrap())).contains("index 7")
    );
    assert_eq!(message(x.select(1, 4)), "select: index 4 is out of range, valid are 0 to 4 exclusive");
    assert_eq!(message(x.get(-4)), "select: index -4 is out of range, valid are 0 to 3 exclusive");
    assert_eq!(message(x.slice(&s![.., 2..6])), "slice: end 6 is out of range, valid are 0 to 5 exclusive");
    assert_eq!(message(x.narrow(1, 3, 2)), "narrow: end 5 is out of range, valid are 0 to 5 exclusive");
    assert_eq!(message(x.narrow(1, usize::MAX, 2)), "narrow: end -1 is out of range, valid are 0 to 5 exclusive");
    assert!(message(x.slice(&s![0..2; 0])).contains("step ≥ 1"));
    assert!(message(x.slice(&s![2..1])).contains("start ≤ end"));
    assert!(message(x.slice(&s![0, 0, 0])).contains("3 slices for the 2 axes of [3, 4]"));
    assert!(message(x.gather(0, &x)).contains("indices of i64, u32 or u8"));
    assert!(message(x.gather(0, &ids(&[0], &[1]))).contains("an index of the same rank"));
    assert!(message(x.gather(0, &ids(&[0; 5], &[1, 5]))).contains("no larger on any axis but axis 0"));
    assert!(message(x.index_select(0, &ids(&[0], &[1, 1]))).contains("a 1-d index"));
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "-1 counts from the end")]
fn slices() {
    let x = Tensor::arange(0.0, 24.0, 1.0, DType::F32, &Device::Cpu).unwrap().reshape([2, 3, 4]).unwrap();
    let values = |slices: &[Slice]| x.slice(slices).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(values(&s![1, 2, 3]), [23.0]);
    assert_eq!(values(&s![-2, 1..=1, -2..]), [6.0, 7.0]);
    assert_eq!(values(&s![0, .., ..; 3]), [0.0, 3.0, 4.0, 7.0, 8.0, 11.0]);
    assert_eq!(values(&s![0, 0, 1..-1]), [1.0, 2.0]);
    assert_eq!(values(&[(1..2).into(), (..1usize).into(), Slice::from(1isize..).step(2)]), [13.0, 15.0]);
    assert_eq!(x.slice(&s![2.., 0]).unwrap().dims(), [0, 4]);
    assert_eq!(x.slice(&[]).unwrap().dims(), [2, 3, 4]);
    assert_eq!(x.get(1).unwrap().select(-1, 0).unwrap().to_vec::<f32>().unwrap(), [12.0, 16.0, 20.0]);
}

fn gradients_of_slices() {
    OpCheck::new(
        "slice",
        |x| x[0].slice(&s![1.., -1, ..; 2]),
        |x| Array::from_fn(&[2, 2], |i| x[0].at(&[i[0] + 1, 2, 2 * i[1]])),
    )
    .input(&[3, 3, 4])
    .ulps(0.0, 1.0)
    .run();
    OpCheck::new("narrow", |x| x[0].narrow(-1, 1, 2), |x| Array::from_fn(&[3, 2], |i| x[0].at(&[i[0], i[1] + 1])))
        .input(&[3, 4])
        .ulps(0.0, 1.0)
        .run();
    OpCheck::new(
        "slice_assign",
        |x| x[0].slice_assign(&s![.., 1..3, 0], &x[1]),
        |x| {
            Array::from_fn(&[2, 4, 2], |i| {
                if i[2] == 0 && (1..3).contains(&i[1]) { x[1].at(&[i[1] - 1]) } else { x[0].at(i) }
            })
        },
    )
    .input(&[2, 4, 2])
    .input(&[2]) // broadcast over the first axis
    .ulps(0.0, 3.0)
    .run();
}

#[test]
fn variables_are_assigned_in_place() {
    let var = Var::named("grid", &Tensor::zeros([2, 3], DType::F32, &Device::Cpu).unwrap()).unwrap();
    let seen = var.as_tensor().clone();
    let square = var.mul(&var).unwrap().sum_all().unwrap();
    var.set_slice(&s![.., 1], &Tensor::from_slice(&[5f32, 7.0], [2], &Device::Cpu).unwrap()).unwrap();
    assert_eq!(seen.to_vec::<f32>().unwrap(), [0.0, 5.0, 0.0, 0.0, 7.0, 0.0]);
    // From itself, to where it overlaps.
    var.set_slice(&s![.., 0..2], &var.narrow(1, 1, 2).unwrap()).unwrap();
    assert_eq!(var.to_vec::<f32>().unwrap(), [5.0, 0.0, 0.0, 7.0, 0.0, 0.0]);
    assert!(square.backward().unwrap_err().to_string().contains("grid was overwritten"));
    let wrong = Tensor::zeros([4], DType::F32, &Device::Cpu).unwrap();
    assert!(var.set_slice(&s![0], &wrong).unwrap_err().to_string().contains("broadcasts to [3], got [4]"));
    let wrong = Tensor::zeros([3], DType::F64, &Device::Cpu).unwrap();
    assert!(var.set_slice(&s![0], &wrong).unwrap_err().to_string().contains("the tensor's dtype"));
}

fn cat_and_stack() {
    for axis in [0usize, 1, 2] {
        let extents = [2, 0, 3];
        let dims = move |n: usize| {
            let mut dims = vec![2, 3, 2];
            dims[axis] = n;
            dims
        };
        let definition = move |x: &[Array]| {
            Array::from_fn(&dims(5), |i| {
                let (part, at) = if i[axis] < 2 { (0, i[axis]) } else { (2, i[axis] - 2) };
                at_replaced(&x[part], i, axis, at)
            })
        };
        let check = OpCheck::new("cat", move |x| Tensor::cat(x, axis as isize), definition).ulps(0.0, 1.0);
        // The second part has no elements, so that no fault of its gradient shows.
        extents.iter().fold(check, |check, &n| check.input(&dims(n))).silent("cat", 1).run();
        let stacked = move |x: &[Array]| {
            let mut dims = vec![2, 3];
            dims.insert(axis, 2);
            Array::from_fn(&dims, |i| {
                let mut own = i.to_vec();
                x[own.remove(axis)].at(&own)
            })
        };
        OpCheck::new("stack", move |x| Tensor::stack(x, axis as isize), stacked)
            .input(&[2, 3])
            .input(&[2, 3])
            .ulps(0.0, 1.0)
            .run();
    }
    let (a, b) =
        (Tensor::zeros([2], DType::F32, &Device::Cpu).unwrap(), Tensor::zeros([3], DType::F32, &Device::Cpu).unwrap());
    assert!(Tensor::stack(&[&a, &b], 0).unwrap_err().to_string().starts_with("stack: expected tensors of one shape"));
    let other = Tensor::zeros([2], DType::F64, &Device::Cpu).unwrap();
    assert!(Tensor::cat(&[&a, &other], 0).unwrap_err().to_string().contains("one dtype, got f32 and f64"));
    assert!(Tensor::cat(&[&a, &b.reshape([3, 1]).unwrap()], 0).unwrap_err().to_string().contains("every axis but 0"));
    assert!(Tensor::cat(&[] as &[Tensor], 0).unwrap_err().to_string().contains("at least one tensor"));
}

#[test]
fn split_and_chunk() {
    let x = Tensor::arange(0.0, 14.0, 1.0, DType::I64, &Device::Cpu).unwrap().reshape([2, 7]).unwrap();
    let parts = x.split(&[3, 0, 4], 1).unwrap();
    assert_eq!(parts.iter().map(|p| p.dims()[1]).collect::<Vec<_>>(), [3, 0, 4]);
    assert_eq!(Tensor::cat(&parts, 1).unwrap().to_vec::<i64>().unwrap(), x.to_vec::<i64>().unwrap());
    let extents = |n: usize| x.chunk(n, -1).unwrap().iter().map(|p| p.dims()[1]).collect::<Vec<_>>();
    assert_eq!(
        (extents(3), extents(1), extents(4), extents(9)),
        (vec![3, 3, 1], vec![7], vec![2, 2, 2, 1], vec![1; 7])
    );
    assert!(x.split(&[3, 3], 1).unwrap_err().to_string().contains("[3, 3]"));
    assert!(x.chunk(0, 1).is_err());
    assert_eq!(x.narrow(1, 0, 0).unwrap().chunk(2, 1).unwrap().len(), 1);
}

fn padding_and_repetition() {
    for (before, after) in [(0, 0), (2, 1), (0, 3)] {
        let definition = move |x: &[Array]| {
            Array::from_fn(&[2, 1 + before + after, 4], |i| {
                let inside = i[0] > 0 && i[1] >= before && i[1] < before + 1 && i[2] < 3;
                if inside { x[0].at(&[i[0] - 1, i[1] - before, i[2]]) } else { 0.5 }
            })
        };
        OpCheck::new("pad", move |x| x[0].pad(&[(1, 0), (before, after), (0, 1)], 0.5), definition)
            .input(&[1, 1, 3])
            .ulps(0.0, 1.0)
            .run();
    }
    OpCheck::new("repeat", |x| x[0].repeat(&[2, 1, 3]), |x| Array::from_fn(&[2, 2, 9], |i| x[0].at(&[i[1], i[2] % 3])))
        .input(&[2, 3])
        .ulps(0.0, 8.0) // sums of 6, rounded on the way
        .run();
    let x = Tensor::zeros([2, 3], DType::F32, &Device::Cpu).unwrap();
    assert_eq!(x.repeat(&[0, 2]).unwrap().dims(), [0, 6]);
    assert!(x.repeat(&[2]).is_err() && x.pad(&[(1, 1)], 0.0).is_err());
    assert_eq!(Tensor::scalar(3i64, &Device::Cpu).unwrap().pad(&[], 0.0).unwrap().item::<i64>().unwrap(), 3);
}

fn flips() {
    OpCheck::new(
        "flip",
        |x| x[0].flip(&[0, -1]),
        |x| Array::from_fn(&[2, 3, 4], |i| x[0].at(&[1 - i[0], i[1], 3 - i[2]])),
    )
    .input(&[2, 3, 4])
    .ulps(0.0, 1.0)
    .run();
}

fn triangles() {
    for diagonal in [-5i64, -1, 0, 2, i64::MAX, i64::MIN] {
        for dims in [vec![4, 4], vec![3, 5], vec![2, 5, 3]] {
            let offset = |i: &[usize]| i[i.len() - 1] as i64 - i[i.len() - 2] as i64;
            let lower =
                move |x: &[Array]| Array::from_fn(&x[0].dims, |i| if offset(i) <= diagonal { x[0].at(i) } else { 0.0 });
            let upper =
                move |x: &[Array]| Array::from_fn(&x[0].dims, |i| if offset(i) >= diagonal { x[0].at(i) } else { 0.0 });
            // Where nothing is kept there is no gradient whose fault could show.
            let all_gone = |keep: &dyn Fn(i64) -> bool| !(-10..10).any(keep);
            let check = |name, forward: fn(&Tensor, i64) -> warpsmith::Result<Tensor>| {
                OpCheck::new(
                    name,
                    move |x| forward(&x[0], diagonal),
                    match name {
                        "tril" => Box::new(lower) as Box<dyn Fn(&[Array]) -> Array>,
                        _ => Box::new(upper),
                    },
                )
                .input(&dims)
                .ulps(0.0, 1.0)
            };
            for (name, forward, gone) in [
                ("tril", Tensor::tril as fn(&Tensor, i64) -> _, all_gone(&|o| o <= diagonal) || diagonal == -5),
                ("triu", Tensor::triu as fn(&Tensor, i64) -> _, all_gone(&|o| o >= diagonal)),
            ] {
                let check = check(name, forward);
                if gone { check.forward_only().run() } else { check.run() }
            }
        }
    }
    let mask = Tensor::tril_mask(2, 3, 1, &Device::Cpu).unwrap();
    assert_eq!((mask.dtype(), mask.to_vec::<u8>().unwrap()), (DType::U8, vec![1, 1, 0, 1, 1, 1]));
    assert_eq!(Tensor::triu_mask(2, 3, 1, &Device::Cpu).unwrap().to_vec::<u8>().unwrap(), [0, 1, 1, 0, 0, 1]);
    assert!(Tensor::zeros([3], DType::F32, &Device::Cpu).unwrap().tril(0).is_err());
}

#[test]
fn one_hot_and_nonzero() {
    let x = ids(&[2, 0, 1, 2], &[2, 2]);
    let hot = x.one_hot(3).unwrap();
    assert_eq!(hot.dims(), [2, 2, 3]);
    assert_eq!(hot.to_vec::<i64>().unwrap(), [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(hot.argmax(-1).unwrap().to_vec::<i64>().unwrap(), x.to_vec::<i64>().unwrap());
    let found = strided(&x).unwrap().nonzero().unwrap();
    assert_eq!(found.to_vec2::<i64>().unwrap(), [[0, 0], [1, 0], [1, 1]]);
    assert_eq!(Tensor::zeros([2, 0, 3], DType::U8, &Device::Cpu).unwrap().nonzero().unwrap().dims(), [0, 3]);
    assert_eq!(Tensor::scalar(f32::NAN, &Device::Cpu).unwrap().nonzero().unwrap().dims(), [1, 0]);
}

#[test]
fn indices_of_any_layout() {
    let x = Tensor::arange(0.0, 12.0, 1.0, DType::F32, &Device::Cpu).unwrap().reshape([3, 4]).unwrap();
    let index = ids(&[0, 9, 2, 9, 1, 9], &[3, 2]).select(1, 0).unwrap();
    assert_eq!(x.index_select(0, &index).unwrap().select(1, 0).unwrap().to_vec::<f32>().unwrap(), [0.0, 8.0, 4.0]);
    let spread = index.reshape([3, 1]).unwrap().expand([3, 4]).unwrap();
    assert_eq!(
        x.gather(0, &spread).unwrap().to_vec::<f32>().unwrap(),
        x.index_select(0, &index).unwrap().to_vec::<f32>().unwrap()
    );
}

/// Start, end and step.
type Steps = (usize, usize, usize);

/// A slice of one axis, always valid.
fn any_slice(extent: usize) -> impl Strategy<Value = Steps> {
    (0..=extent).prop_flat_map(move |start| (Just(start), start..=extent, 1usize..4))
}

fn sliced_shape() -> impl Strategy<Value = (Vec<usize>, Vec<Steps>, Vec<usize>)> {
    prop::collection::vec(0usize..7, 1..5).prop_flat_map(|dims| {
        let slices = dims.iter().map(|&d| any_slice(d)).collect::<Vec<_>>();
        let order = Just((0..dims.len()).collect::<Vec<_>>()).prop_shuffle();
        (Just(dims), slices, order)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_slice_reads_and_writes_its_elements((dims, parts, order) in sliced_shape(), dtype in 0..DType::ALL.len()) {
        let dtype = DType::ALL[dtype];
        let mut next = 0.0;
        let x = Array::from_fn(&dims, |_| { next += 1.0; next % 200.0 });
        let signed: Vec<isize> = order.iter().map(|&a| a as isize).collect();
        let mut inverse = vec![0isize; order.len()];
        order.iter().enumerate().for_each(|(i, &a)| inverse[a] = i as isize);
        let t = tensor(&x, dtype).unwrap().permute(&signed).unwrap().contiguous().unwrap().permute(&inverse).unwrap();
        let slices: Vec<Slice> = parts.iter().map(|&(a, b, step)| Slice::from(a..b).step(step)).collect();
        let out: Vec<usize> = parts.iter().map(|&(a, b, step)| (a..b).step_by(step).count()).collect();
        let expected = Array::from_fn(&out, |i| {
            x.at(&i.iter().zip(&parts).map(|(&i, &(a, _, step))| a + i * step).collect::<Vec<_>>())
        });
        let part = t.slice(&slices).unwrap();
        prop_assert_eq!(part.dims(), &out[..]);
        prop_assert_eq!(part.to_f64_vec().unwrap(), expected.data.clone());
        // Copied, joined with nothing, and written over itself it is the same.
        prop_assert_eq!(part.copy().unwrap().to_f64_vec().unwrap(), expected.data.clone());
        prop_assert_eq!(Tensor::cat(&[&part], 0).unwrap().to_f64_vec().unwrap(), expected.data);
        let back = t.slice_assign(&slices, &part).unwrap();
        prop_assert_eq!(back.to_f64_vec().unwrap(), x.data.clone());
        let cleared = t.slice_assign(&slices, &Tensor::zeros((), dtype, &Device::Cpu).unwrap()).unwrap();
        let inside = |i: &[usize]| i.iter().zip(&parts).all(|(&i, &(a, b, step))| (a..b).step_by(step).any(|k| k == i));
        let expected = Array::from_fn(&dims, |i| if inside(i) { 0.0 } else { x.at(i) });
        prop_assert_eq!(cleared.to_f64_vec().unwrap(), expected.data);
    }
}

crate::support::device_checks!(
    gather,
    scatter_add,
    index_select_and_index_add,
    embedding,
    gradients_of_slices,
    cat_and_stack,
    padding_and_repetition,
    flips,
    triangles
);
