//! Trains a gate by the kernel: on the first CUDA device if there is one, else on the CPU. `embedded` or `source` as
//! argument: also checks that the kernels are embedded so (`cargo xtask packed` does).

use own_kernel::{kernels, swiglu};
use warpsmith::device::cuda::kernel_table::{Contents, Module};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Result, Tensor, Var};

fn embedded(module: &Module) -> bool {
    matches!(module.contents, Contents::Compiled { .. })
}

fn main() -> Result<()> {
    if let Some(expected) = std::env::args().nth(1) {
        for module in warpsmith::kernels::images::MODULES {
            assert!(embedded(module), "{} of warpsmith is not embedded as images", module.name);
        }
        assert_eq!(embedded(&kernels::SWIGLU), expected == "embedded", "the crate's own kernels");
    }
    let device = Device::best();
    let mut rng = Philox::new(7);
    let x = Tensor::normal(0.0, 1.0, [64, 8], DType::F32, &device, &mut rng)?;
    let target = swiglu(&x, &x.affine(0.5, 1.0)?)?;
    let weight = Var::named("gate", &Tensor::ones([8], DType::F32, &device)?)?;
    let mut losses = vec![];
    for _ in 0..30 {
        let error = swiglu(&x, &x.mul(&weight)?.add(&weight)?)?.sub(&target)?;
        let loss = error.square()?.mean_all()?;
        let gradient = loss.backward()?.expect(&weight)?;
        weight.set(&weight.sub(&gradient.affine(0.3, 0.0)?)?.detach())?;
        losses.push(loss.item::<f32>()?);
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.5 * first, "the loss went from {first} to {last}");
    println!("own kernel: the loss went from {first:.4} to {last:.4} on {device}");
    Ok(())
}
