//! The kernel on the virtual GPU, every check of it on, against the definition in f64: forward and gradients.

use own_kernel::swiglu;
use warpsmith::{Device, Tensor};

fn values(n: usize, step: usize) -> Vec<f32> {
    (0..n).map(|i| (i * step % 1000) as f32 / 200.0 - 2.5).collect()
}

#[test]
fn agrees_with_the_definition_on_the_virtual_gpu() {
    virtual_gpu::install().expect("the virtual GPU");
    let device = Device::cuda(0).expect("a device of the virtual GPU");
    for dims in [[1, 1], [3, 85], [1, 257], [40, 33], [0, 4]] {
        let n = dims[0] * dims[1];
        let (a, b, dy) = (values(n, 7919), values(n, 6007), values(n, 4999));
        let put = |values: &[f32]| Tensor::from_slice(values, dims, &device).unwrap();
        let (ta, tb) = (put(&a).track(), put(&b).track());
        let y = swiglu(&ta, &tb).unwrap();
        let gradients = y.backward_with(&put(&dy)).unwrap();
        let found = [y.detach(), gradients.expect(&ta).unwrap(), gradients.expect(&tb).unwrap()]
            .map(|t| t.to_f64_vec().unwrap());
        for i in 0..n {
            let [a, b, dy] = [a[i], b[i], dy[i]].map(f64::from);
            let gate = 1.0 / (1.0 + (-a).exp());
            let expected = [a * gate * b, dy * b * gate * (1.0 + a * (1.0 - gate)), dy * a * gate];
            for (found, expected) in found.iter().zip(expected) {
                // Eight roundings; the terms of 1 + a·(1 − σ) cancel no more than to a third.
                let bound = 24.0 * f64::from(f32::EPSILON) * (expected.abs() + (dy * b).abs());
                assert!((found[i] - expected).abs() <= bound, "{dims:?} [{i}]: {} instead of {expected}", found[i]);
            }
        }
    }
}

#[test]
fn strided_operands_and_the_cpu_give_the_same() {
    virtual_gpu::install().expect("the virtual GPU");
    let device = Device::cuda(0).expect("a device of the virtual GPU");
    let run = |device: &Device| {
        let a = Tensor::from_slice(&values(60, 7919), [12, 5], device).unwrap().transpose(0, 1).unwrap();
        let b = Tensor::from_slice(&values(60, 6007), [5, 12], device).unwrap();
        swiglu(&a, &b).unwrap().to_f64_vec().unwrap()
    };
    for (gpu, cpu) in run(&device).iter().zip(run(&Device::Cpu)) {
        assert!((gpu - cpu).abs() <= 1e-6 * (1.0 + cpu.abs()), "{gpu} and {cpu}");
    }
    let half = Tensor::from_slice(&values(4, 3), [4], &device).unwrap().to_dtype(warpsmith::DType::F16).unwrap();
    assert!(swiglu(&half, &half).unwrap_err().to_string().contains("f32"));
}
