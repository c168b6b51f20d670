//! Any shapes, strides and dtypes: against loops over multi-indices, and large tensors against small ones.

use crate::support::array::zip;
use crate::support::check::{round, tensor};
use crate::support::{Array, Random};
use proptest::prelude::*;
use warpsmith::{DType, Device, Result, Tensor};

/// Two shapes that broadcast together: common extents, each with some axes of 1 and some leading axes missing.
fn shapes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (prop::collection::vec(0usize..6, 0..5), any::<[u8; 2]>(), 0usize..3, 0usize..3).prop_map(|(dims, ones, p, q)| {
        let part = |mask: u8, skip: usize| -> Vec<usize> {
            dims.iter()
                .enumerate()
                .map(|(i, &d)| if mask >> i & 1 == 1 { 1 } else { d })
                .skip(skip.min(dims.len()))
                .collect()
        };
        // Leading axes are missing from one operand only.
        if p < q { (part(ones[0], 0), part(ones[1], q)) } else { (part(ones[0], p), part(ones[1], 0)) }
    })
}

/// The value as a view whose axes lie in memory in another order.
fn view(array: &Array, dtype: DType, seed: u64) -> Result<Tensor> {
    let mut random = Random::new(seed);
    let t = tensor(array, dtype)?;
    let rank = array.dims.len();
    let mut order: Vec<isize> = (0..rank as isize).collect();
    for i in (1..rank).rev() {
        order.swap(i, random.below(i + 1));
    }
    let mut inverse = vec![0; rank];
    order.iter().enumerate().for_each(|(i, &o)| inverse[o as usize] = i as isize);
    t.permute(&order)?.contiguous()?.permute(&inverse)
}

fn fill(dims: &[usize], dtype: DType, seed: u64) -> Array {
    let mut random = Random::new(seed);
    Array::from_fn(dims, |_| round(random.range(-40.0, 40.0).trunc() / 8.0, dtype))
}

proptest! {
    #[test]
    fn of_two_operands((a, b) in shapes(), dtype in prop::sample::select(DType::ALL.to_vec()), seed: u64) {
        // Eighths of up to 40: sums are exact in every float dtype but bf16, which `round` follows.
        let (x, y) = (fill(&a, dtype, seed), fill(&b, dtype, seed ^ 1));
        let (x, y) = if dtype.is_float() { (x, y) } else { (x.map(|v| v.abs().floor()), y.map(|v| v.abs().floor())) };
        let (p, q) = (view(&x, dtype, seed ^ 2).unwrap(), view(&y, dtype, seed ^ 3).unwrap());
        let sum = p.add(&q).unwrap();
        let expected = zip(&x, &y, |a, b| round(a + b, dtype));
        prop_assert_eq!(sum.dims(), &expected.dims[..]);
        prop_assert_eq!(sum.to_f64_vec().unwrap(), expected.data);
        let less = p.lt(&q).unwrap();
        prop_assert_eq!(less.to_f64_vec().unwrap(), zip(&x, &y, |a, b| (a < b) as u8 as f64).data);
        let larger = less.where_cond(&q, &p).unwrap();
        prop_assert_eq!(larger.to_f64_vec().unwrap(), zip(&x, &y, f64::max).data);
        let cast = p.to_dtype(DType::F64).unwrap();
        prop_assert_eq!(cast.to_f64_vec().unwrap(), x.data);
    }
}

/// Blocks, chunks and threads begin and end somewhere: sizes around them, every kind of operand.
#[test]
fn across_blocks_and_threads() -> Result<()> {
    for n in [1023, 1024, 1025, 4099, 32_767, 32_768, 32_769, 100_003] {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            let x = Array::new(&[n], (0..n).map(|i| round((i % 97) as f64 / 16.0, dtype)).collect());
            let y = Array::new(&[n], (0..n).map(|i| round((i % 89) as f64 / 8.0 - 5.0, dtype)).collect());
            let (p, q) = (tensor(&x, dtype)?, tensor(&y, dtype)?);
            let expected = |f: &dyn Fn(f64, f64) -> f64| zip(&x, &y, |a, b| round(f(a, b), dtype)).data;
            assert_eq!(p.add(&q)?.to_f64_vec()?, expected(&|a, b| a + b));
            let minus = Tensor::full(-1.5, (), dtype, &Device::Cpu)?;
            assert_eq!(p.mul(&minus)?.to_f64_vec()?, expected(&|a, _| a * -1.5));
            // In place: the same values, on either side.
            assert_eq!((p.copy()? - &q)?.to_f64_vec()?, expected(&|a, b| a - b));
            assert_eq!((&p + q.copy()?)?.to_f64_vec()?, expected(&|a, b| a + b));
            assert_eq!((p.copy()? * 2.0)?.to_f64_vec()?, expected(&|a, _| a * 2.0));
            assert_eq!(p.lt(&q)?.to_f64_vec()?, zip(&x, &y, |a, b| (a < b) as u8 as f64).data);
            assert_eq!(p.lt(&q)?.where_cond(&p, &q)?.to_f64_vec()?, expected(&f64::min));
        }
    }
    Ok(())
}

/// A channel's bias and a row's bias over sizes whose runs straddle blocks.
#[test]
fn biases() -> Result<()> {
    for (dims, bias) in [([3, 7, 49, 49], [7, 1, 1]), ([5, 11, 33, 3], [11, 1, 1]), ([2, 3, 5, 1031], [1, 1, 1031])] {
        let x = Array::from_fn(&dims, |i| (i[0] * 3 + i[1] * 5 + i[2] + i[3] % 7) as f64);
        let b = Array::from_fn(&bias, |i| (i.iter().sum::<usize>() * 2) as f64);
        for dtype in [DType::F32, DType::F64] {
            let found = tensor(&x, dtype)?.add(&tensor(&b, dtype)?)?;
            assert_eq!(found.to_f64_vec()?, zip(&x, &b, |x, b| x + b).data);
            let found = tensor(&x, dtype)?.transpose(1, 3)?.transpose(1, 3)?.mul(&tensor(&b, dtype)?)?;
            assert_eq!(found.to_f64_vec()?, zip(&x, &b, |x, b| x * b).data);
        }
    }
    Ok(())
}

/// One value must not depend on where in a tensor it stands: not on vector width, tails or threads.
#[test]
fn results_do_not_depend_on_position() -> Result<()> {
    let mut random = Random::fresh("position");
    let values: Vec<f32> = (0..70_001).map(|_| random.range(-6.0, 6.0) as f32).collect();
    let x = Tensor::from_slice(&values, values.len(), &Device::Cpu)?;
    for f in [
        Tensor::exp,
        Tensor::tanh,
        Tensor::gelu,
        Tensor::sin,
        Tensor::silu,
        Tensor::erf,
        Tensor::softplus,
        Tensor::mish,
    ] {
        let all = f(&x)?.to_vec::<f32>()?;
        for i in (0..values.len()).step_by(701).chain([values.len() - 1]) {
            let one = f(&Tensor::from_slice(&values[i..=i], 1usize, &Device::Cpu)?)?.to_vec::<f32>()?;
            assert_eq!(one[0].to_bits(), all[i].to_bits(), "element {i}, {}", values[i]);
        }
    }
    Ok(())
}
