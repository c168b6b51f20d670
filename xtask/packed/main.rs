//! A program of a user: depends on the packed crate and has a kernel of its own.

use warpsmith::device::cuda::kernel_table::{Contents, Module};
use warpsmith::device::cuda::{CudaMemory, DevicePtr, DevicePtrMut, LaunchConfig};
use warpsmith::device::{Buffer, Memory};
use warpsmith::{DType, Device};

mod kernels {
    warpsmith::include_kernels!();
}

warpsmith::launches! {
    in kernels::SAXPY;
    /// y += a·x
    pub unsafe fn saxpy(y: DevicePtrMut<'_, f32>, x: DevicePtr<'_, f32>, a: f32, n: u32);
}

#[cfg(feature = "wrong")]
mod wrong {
    use super::*;
    warpsmith::launches! {
        in kernels::SAXPY;
        /// The factor is no f64.
        pub unsafe fn wrong_type = "saxpy" (y: DevicePtrMut<'_, f32>, x: DevicePtr<'_, f32>, a: f64, n: u32);
    }
}

fn compiled(module: &Module) -> bool {
    matches!(module.contents, Contents::Compiled { .. })
}

fn memory(buffer: &mut Buffer) -> &mut CudaMemory {
    match buffer.memory_mut() {
        Memory::Cuda(memory) => memory,
        Memory::Cpu(_) => unreachable!("the buffer was made on a CUDA device"),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let expect_own = std::env::args().nth(1).as_deref() == Some("compiled");
    for module in warpsmith::kernels::images::MODULES {
        assert!(compiled(module), "{} of the packed crate is not embedded as images", module.name);
    }
    assert_eq!(compiled(&kernels::SAXPY), expect_own, "saxpy");
    if expect_own {
        let info = kernels::SAXPY.kernel("saxpy").ok_or("saxpy is not in its table")?;
        assert_eq!(info.signature(), "saxpy(*mut f32, *const f32, f32, u32)");
        assert_eq!(info.resources.len(), 3);
    }
    assert_eq!(Buffer::zeros(&Device::cpu(), DType::F32, 3)?.to_vec::<f32>()?, [0.0; 3]);
    match Device::cuda(0) {
        Err(error) => println!("packed: ok, without a GPU ({error})"),
        Ok(device) => {
            let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
            let mut y = Buffer::zeros(&device, DType::F32, x.len())?;
            let mut x_on_device = Buffer::from_slice(&device, &x)?;
            let (to, from) = (memory(&mut y), memory(&mut x_on_device));
            let cuda = to.device().clone();
            // SAFETY: both buffers have 1,000 elements, and the kernel is told so.
            unsafe {
                saxpy(&cuda, &LaunchConfig::covering(1000, 256, 4), to.write(0, 1000)?, from.read(0, 1000)?, 2.0, 1000)?;
            }
            let expected: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
            assert_eq!(y.to_vec::<f32>()?, expected);
            println!("packed: ok, on {}", cuda.spec().name);
        }
    }
    Ok(())
}
