//! Creation, conversion, views and printing.

mod support;

use proptest::prelude::*;
use support::check::{strided, tensor};
use support::{Array, OpCheck};
use warpsmith::{DType, Device, Element, Error, Shape, Tensor, with_dtype};

const CPU: Device = Device::Cpu;

fn f32s(values: &[f32], dims: &[usize]) -> Tensor {
    Tensor::from_slice(values, dims, &CPU).unwrap()
}

#[test]
fn creation_in_every_dtype() {
    for dtype in DType::ALL {
        let values = |t: warpsmith::Result<Tensor>| {
            let t = t.unwrap();
            assert_eq!(t.dtype(), dtype);
            t.to_f64_vec().unwrap()
        };
        assert_eq!(values(Tensor::zeros([2, 2], dtype, &CPU)), [0.0; 4]);
        assert_eq!(values(Tensor::ones(3, dtype, &CPU)), [1.0; 3]);
        assert_eq!(values(Tensor::full(7.0, (), dtype, &CPU)), [7.0]);
        assert!(values(Tensor::full(7.0, [0, 3], dtype, &CPU)).is_empty());
        assert_eq!(values(Tensor::arange(1.0, 8.0, 2.0, dtype, &CPU)), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(values(Tensor::eye(2, dtype, &CPU)), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(values(Tensor::linspace(0.0, 9.0, 4, dtype, &CPU)), [0.0, 3.0, 6.0, 9.0]);
        let like = Tensor::zeros([2], dtype, &CPU).unwrap();
        assert_eq!(values(like.full_like(3.0)), [3.0; 2]);
        assert_eq!(values(like.ones_like().and_then(|x| x.zeros_like())), [0.0; 2]);
        with_dtype!(dtype, T => {
            let list: Vec<T> = [1.0, 0.0].map(<T as Element>::from_f64).to_vec();
            assert_eq!(values(Tensor::from_vec(list.clone(), [2, 1], &CPU)), [1.0, 0.0]);
            assert_eq!(values(Tensor::from_iter(list.clone(), &CPU)), [1.0, 0.0]);
            assert_eq!(values(Tensor::scalar(list[0], &CPU)), [1.0]);
            assert!(Tensor::scalar(list[0], &CPU).unwrap().item::<T>().unwrap() == list[0]);
        });
    }
}

#[test]
fn ranges_at_their_edges() {
    let count = |a: f64, b: f64, s: f64| Tensor::arange(a, b, s, DType::F64, &CPU).map(|t| t.numel());
    assert_eq!(count(0.0, 0.0, 1.0).unwrap(), 0);
    assert_eq!(count(3.0, 0.0, 1.0).unwrap(), 0);
    assert_eq!(count(3.0, 0.0, -1.0).unwrap(), 3);
    assert_eq!(count(0.0, 1.0, 0.3).unwrap(), 4);
    assert!(count(0.0, 1.0, 0.0).is_err() && count(f64::NAN, 1.0, 1.0).is_err() && count(0.0, 1e300, 1.0).is_err());
    let line = |n| Tensor::linspace(-1.0, 1.0, n, DType::F64, &CPU).unwrap().to_vec::<f64>().unwrap();
    assert_eq!((line(0), line(1), line(2), line(3)), (vec![], vec![-1.0], vec![-1.0, 1.0], vec![-1.0, 0.0, 1.0]));
    let thousand = line(1001);
    assert!(thousand.iter().zip(thousand.iter().rev()).all(|(a, b)| a == &-b));
    assert_eq!(Tensor::eye(0, DType::F32, &CPU).unwrap().dims(), [0, 0]);
    let (x, y) = (f32s(&[1.0, 2.0], &[2]), f32s(&[3.0, 4.0, 5.0], &[3]));
    let grid = Tensor::meshgrid(&[&x, &y]).unwrap();
    assert_eq!(grid[0].to_vec2::<f32>().unwrap(), [[1.0; 3], [2.0; 3]]);
    assert_eq!(grid[1].to_vec2::<f32>().unwrap(), [[3.0, 4.0, 5.0]; 2]);
    assert!(Tensor::meshgrid(&[&grid[0]]).is_err());
}

#[test]
fn conversions_to_vectors() {
    let x = Tensor::arange(0.0, 12.0, 1.0, DType::I64, &CPU).unwrap();
    assert_eq!(x.reshape([3, 4]).unwrap().transpose(0, 1).unwrap().to_vec2::<i64>().unwrap()[1], [1, 5, 9]);
    assert_eq!(x.reshape([2, 3, 2]).unwrap().to_vec3::<i64>().unwrap()[1][2], [10, 11]);
    assert_eq!(x.reshape([2, 0, 3]).unwrap_err().to_string().split(':').next(), Some("reshape"));
    assert_eq!(Tensor::zeros([2, 0], DType::F32, &CPU).unwrap().to_vec2::<f32>().unwrap(), [[0f32; 0]; 2]);
    assert!(x.to_vec2::<i64>().unwrap_err().to_string().contains("two axes, got [12]"));
    assert!(x.to_vec::<f32>().unwrap_err().to_string().contains("f32"));
    assert!(x.item::<i64>().unwrap_err().to_string().contains("exactly one element, got [12]"));
    let big = (1i64 << 60) + 1;
    assert_eq!(Tensor::scalar(big, &CPU).unwrap().item::<i64>().unwrap(), big);
    assert_eq!(Tensor::scalar(2.5f32, &CPU).unwrap().item::<f64>().unwrap(), 2.5);
    assert!(matches!(Tensor::from_slice(&[1f32], [2], &CPU), Err(Error::Shape { op: "from_slice", .. })));
}

#[test]
fn conversions_from_and_to_ndarray() {
    let array = ndarray::Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (i * 100 + j * 10 + k) as f64);
    let slice = array.slice(ndarray::s![.., ..;-1, 1..;2]);
    let x = Tensor::from_ndarray(slice, &CPU).unwrap();
    assert_eq!(x.dims(), [2, 3, 2]);
    assert_eq!(x.to_ndarray::<f64>().unwrap(), slice.into_dyn());
    assert_eq!(x.permute(&[2, 0, 1]).unwrap().to_ndarray::<f64>().unwrap(), slice.permuted_axes([2, 0, 1]).into_dyn());
    assert!(x.to_ndarray::<f32>().is_err());
}

#[test]
fn views_and_their_gradients() {
    let flat = |dims: &'static [usize]| move |x: &[Array]| Array::new(dims, x[0].data.clone());
    OpCheck::new("reshape", |x| x[0].reshape([4, 6]), flat(&[4, 6])).input(&[2, 3, 4]).ulps(0.0, 1.0).run();
    OpCheck::new("reshape_infer", |x| x[0].reshape_infer(&[-1, 4]), flat(&[6, 4]))
        .input(&[2, 3, 4])
        .ulps(0.0, 1.0)
        .run();
    OpCheck::new("squeeze", |x| x[0].squeeze(-2), flat(&[2, 3])).input(&[2, 1, 3]).ulps(0.0, 1.0).run();
    OpCheck::new("unsqueeze", |x| x[0].unsqueeze(-1), flat(&[2, 3, 1])).input(&[2, 3]).ulps(0.0, 1.0).run();
    OpCheck::new("flatten", |x| x[0].flatten(1, -2), flat(&[2, 12, 2])).input(&[2, 3, 4, 2]).ulps(0.0, 1.0).run();
    OpCheck::new("flatten", |x| x[0].flatten(0, -1), flat(&[1])).input(&[]).ulps(0.0, 1.0).run();
    OpCheck::new(
        "permute",
        |x| x[0].permute(&[2, 0, -2]),
        |x| Array::from_fn(&[4, 2, 3], |i| x[0].at(&[i[1], i[2], i[0]])),
    )
    .input(&[2, 3, 4])
    .ulps(0.0, 1.0)
    .run();
    OpCheck::new("expand", |x| x[0].expand([2, 3, 4]), |x| Array::from_fn(&[2, 3, 4], |i| x[0].at(&[i[1], 0])))
        .input(&[3, 1])
        .ulps(0.0, 9.0)
        .run();
    OpCheck::new(
        "contiguous",
        |x| x[0].transpose(0, 1)?.contiguous(),
        |x| Array::from_fn(&[3, 2], |i| x[0].at(&[i[1], i[0]])),
    )
    .input(&[2, 3])
    .ulps(0.0, 1.0)
    .run();
}

#[test]
fn views_share_storage_and_refuse_what_does_not_fit() {
    let x = f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
    let whole = x.transpose(0, 1).unwrap().narrow(0, 1, 2).unwrap();
    assert!(!whole.is_contiguous() && whole.contiguous().unwrap().is_contiguous());
    let message = |r: warpsmith::Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(x.reshape([4])).contains("6 elements, got [2, 3] and [4]"));
    assert!(message(x.reshape_infer(&[-1, 4])).contains("[-1, 4] divides"));
    assert!(message(x.reshape_infer(&[-1, -1])).contains("at most one"));
    assert!(message(x.reshape_infer(&[-1, 0])).contains("divides"));
    assert!(message(x.squeeze(0)).contains("extent 1 on axis 0, got [2, 3]"));
    assert!(message(x.unsqueeze(3)).contains("axis 3 is out of range, valid are 0 to 3"));
    assert!(message(x.permute(&[0, 0])).contains("not a permutation"));
    assert!(message(x.expand([2, 4])).contains("broadcasts to"));
    assert!(message(x.flatten(1, 0)).contains("reverse"));
    assert!(message(x.reshape([1, 1, 1, 1, 1, 1, 1, 2, 3])).contains("more than the 8"));
    let pair = Tensor::broadcast_together(&[&x, &f32s(&[1.0, 2.0], &[2, 1])]).unwrap();
    assert_eq!(pair[1].to_vec2::<f32>().unwrap(), [[1.0; 3], [2.0; 3]]);
    assert_eq!(f32s(&[9.0], &[]).expand_as(&x).unwrap().dims(), [2, 3]);
}

#[test]
fn printing_small_tensors() {
    let text = |t: &Tensor| t.to_string();
    assert_eq!(text(&Tensor::scalar(1.5f32, &CPU).unwrap()), "tensor(1.5000)");
    assert_eq!(text(&Tensor::scalar(3f64, &CPU).unwrap()), "tensor(3., dtype=f64)");
    assert_eq!(text(&Tensor::scalar(3i64, &CPU).unwrap()), "tensor(3)");
    assert_eq!(text(&f32s(&[1.0, -2.0, 30.0], &[3])), "tensor([ 1., -2., 30.])");
    let expected = "tensor([[ 1.0000, -2.5000],\n        [10.2500,  0.0000]])";
    assert_eq!(text(&f32s(&[1.0, -2.5, 10.25, 0.0], &[2, 2])), expected);
    assert_eq!(text(&strided(&f32s(&[1.0, -2.5, 10.25, 0.0], &[2, 2])).unwrap()), expected);
    let deep = Tensor::arange(0.0, 8.0, 1.0, DType::I64, &CPU).unwrap().reshape([2, 2, 2]).unwrap();
    assert_eq!(text(&deep), "tensor([[[0, 1],\n         [2, 3]],\n\n        [[4, 5],\n         [6, 7]]])");
    assert_eq!(text(&Tensor::zeros([2], DType::U8, &CPU).unwrap()), "tensor([0, 0], dtype=u8)");
    assert_eq!(text(&Tensor::full(0.1, [1], DType::BF16, &CPU).unwrap()), "tensor([0.1001], dtype=bf16)");
    assert_eq!(text(&Tensor::zeros([0], DType::F32, &CPU).unwrap()), "tensor([])");
    assert_eq!(text(&Tensor::zeros([2, 0], DType::F16, &CPU).unwrap()), "tensor([], shape=[2, 0], dtype=f16)");
    assert_eq!(text(&f32s(&[1.0], &[1]).track()), "tensor([1.], requires_grad)");
}

#[test]
fn printing_chooses_a_form_that_shows_the_digits() {
    let text = |values: &[f32]| f32s(values, &[values.len()]).to_string();
    assert_eq!(text(&[1e-5, 1.0]), "tensor([1.0000e-05, 1.0000e+00])");
    assert_eq!(text(&[-1.5e9, 0.0]), "tensor([-1.5000e+09,  0.0000e+00])");
    assert_eq!(text(&[1e10]), "tensor([1.0000e+10])");
    assert_eq!(text(&[999.0, 1.0]), "tensor([999.,   1.])");
    assert_eq!(text(&[f32::NAN, 1.0, f32::NEG_INFINITY]), "tensor([ nan,   1., -inf])");
    assert_eq!(text(&[f32::INFINITY, 0.5]), "tensor([   inf, 0.5000])");
    assert_eq!(Tensor::scalar(1e-100f64, &CPU).unwrap().to_string(), "tensor(1.0000e-100, dtype=f64)");
}

#[test]
fn printing_breaks_and_summarises() {
    let x = Tensor::arange(0.0, 20.0, 1.0, DType::F64, &CPU).unwrap().affine(1.0, 0.5).unwrap();
    let lines: Vec<String> = x.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|l| l.len() <= 81) && lines[1].starts_with("         8.5000,"), "{lines:?}");
    let x = Tensor::arange(0.0, 1001.0, 1.0, DType::I64, &CPU).unwrap();
    assert_eq!(x.to_string(), "tensor([   0,    1,    2, ...,  998,  999, 1000])");
    assert!(!x.narrow(0, 0, 1000).unwrap().to_string().contains("..."));
    let x = Tensor::arange(0.0, 1010.0, 1.0, DType::I64, &CPU).unwrap().reshape([101, 10]).unwrap();
    let expected = "tensor([[   0,    1,    2, ...,    7,    8,    9],\n        [  10,   11,   12, ...,   17,   18,   19],\n        \
        [  20,   21,   22, ...,   27,   28,   29],\n        ...,\n        [ 980,  981,  982, ...,  987,  988,  989],\n        \
        [ 990,  991,  992, ...,  997,  998,  999],\n        [1000, 1001, 1002, ..., 1007, 1008, 1009]])";
    assert_eq!(x.to_string(), expected);
    // Reads only the edges of what is large.
    assert!(Tensor::zeros((), DType::F32, &CPU).unwrap().expand([1 << 30]).unwrap().to_string().len() < 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reshapes_keep_the_order_of_elements(
        dims in prop::collection::vec(1usize..5, 1..5),
        order in Just([0usize, 1, 2, 3]).prop_shuffle(),
        step in 1usize..3,
        cut in 0usize..4,
        dtype in 0..DType::ALL.len(),
    ) {
        let dtype = DType::ALL[dtype];
        let mut next = 0.0;
        let x = Array::from_fn(&dims, |_| { next += 1.0; next % 200.0 });
        let order: Vec<isize> = order.iter().filter(|&&a| a < dims.len()).map(|&a| a as isize).collect();
        let permuted = tensor(&x, dtype).unwrap().permute(&order).unwrap();
        let cut = cut.min(permuted.dims()[0]);
        let part = permuted.slice(&[warpsmith::Slice::from(cut..).step(step)]).unwrap();
        let values = part.to_f64_vec().unwrap();
        let n = values.len();
        let mut shapes = vec![vec![n], vec![n, 1], vec![1, n]];
        shapes.extend((2..=n).filter(|k| n.is_multiple_of(*k)).map(|k| vec![k, n / k]));
        for shape in shapes {
            let reshaped = part.reshape(&shape).unwrap();
            prop_assert_eq!(reshaped.shape(), &Shape::new(&shape).unwrap());
            prop_assert_eq!(reshaped.to_f64_vec().unwrap(), values.clone());
        }
        prop_assert_eq!(part.contiguous().unwrap().to_f64_vec().unwrap(), values);
    }
}
