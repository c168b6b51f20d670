//! An operation of a user's own: a kernel compiled by `warpsmith-build`, typed launches, and a backward that autograd
//! walks like any other.

use warpsmith::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use warpsmith::device::cuda::{CudaMemory, DevicePtr, DevicePtrMut, LaunchConfig};
use warpsmith::device::{Buffer, Memory, View};
use warpsmith::{DType, Error, Result, Tensor};

/// The table of kernels that the build script has written.
pub mod kernels {
    warpsmith::include_kernels!();
}

warpsmith::launches! {
    in kernels::SWIGLU;
    /// y = a·σ(a)·b
    unsafe fn launch_forward = "swiglu"
        (y: DevicePtrMut<'_, f32>, a: DevicePtr<'_, f32>, b: DevicePtr<'_, f32>, n: u32);
    /// The gradients of a and b.
    unsafe fn launch_backward = "swiglu_backward"
        (da: DevicePtrMut<'_, f32>, db: DevicePtrMut<'_, f32>, dy: DevicePtr<'_, f32>, a: DevicePtr<'_, f32>,
            b: DevicePtr<'_, f32>, n: u32);
}

#[cfg(feature = "wrong")]
mod wrong {
    use super::*;
    warpsmith::launches! {
        in kernels::SWIGLU;
        /// The count is no f64.
        pub unsafe fn wrong_type = "swiglu"
            (y: DevicePtrMut<'_, f32>, a: DevicePtr<'_, f32>, b: DevicePtr<'_, f32>, n: f64);
    }
}

/// a·σ(a)·b, elementwise; operands of one shape. On a CUDA device by the kernel, in f32; on the CPU by warpsmith's own
/// operations.
///
/// # Errors
/// Operands of different shapes or devices; on a CUDA device those that are not f32.
pub fn swiglu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() || a.device() != b.device() {
        return Err(Error::shape("swiglu", "operands of one shape, on one device", &[*a.shape(), *b.shape()]));
    }
    if a.device().is_cpu() {
        return a.silu()?.mul(b);
    }
    let n = a.numel();
    let mut y = Buffer::uninit(a.device(), DType::F32, n)?;
    let (plain_a, plain_b) = (a.detach().contiguous()?, b.detach().contiguous()?);
    let (read_a, read_b) = (plain_a.read(), plain_b.read());
    let (from_a, from_b) = (numbers(read_a.view()?)?, numbers(read_b.view()?)?);
    let to = memory(&mut y)?;
    let device = to.device().clone();
    if n > 0 {
        // SAFETY: `numbers` and `write` have checked that all three have n numbers.
        unsafe { launch_forward(&device, &config(n), to.write(0, n)?, from_a, from_b, count(n)?)? };
    }
    let y = Tensor::from_buffer(y, *a.shape())?;
    // Without a backward this would be an error: a gradient is never lost in silence.
    record(y, &[a, b], || Swiglu { a: Saved::input(0, a), b: Saved::input(1, b) })
}

/// What the backward needs.
struct Swiglu {
    a: Saved,
    b: Saved,
}

impl Op for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b, dy) = (self.a.get(ctx)?.contiguous()?, self.b.get(ctx)?.contiguous()?, grad.contiguous()?);
        let n = a.numel();
        let mut da = Buffer::uninit(a.device(), DType::F32, n)?;
        let mut db = Buffer::uninit(a.device(), DType::F32, n)?;
        let (read_a, read_b, read_dy) = (a.read(), b.read(), dy.read());
        let (from_a, from_b) = (numbers(read_a.view()?)?, numbers(read_b.view()?)?);
        let (to_a, to_b) = (memory(&mut da)?, memory(&mut db)?);
        let device = to_a.device().clone();
        if n > 0 {
            let (to_a, to_b, from_dy) = (to_a.write(0, n)?, to_b.write(0, n)?, numbers(read_dy.view()?)?);
            // SAFETY: all five have n numbers, as above.
            unsafe { launch_backward(&device, &config(n), to_a, to_b, from_dy, from_a, from_b, count(n)?)? };
        }
        let of = |buffer: Buffer| Tensor::from_buffer(buffer, *a.shape());
        Ok(vec![Some(of(da)?.into()), Some(of(db)?.into())])
    }
}

/// A thread for each number, up to 65,536 blocks; the kernels loop over the rest.
fn config(n: usize) -> LaunchConfig {
    LaunchConfig::covering(n, 256, 1 << 16)
}

fn count(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::argument("swiglu", format!("{n} numbers are too many for a launch")))
}

/// The numbers of a contiguous view in device memory, as a kernel argument.
fn numbers<'a>(view: View<'a>) -> Result<DevicePtr<'a, f32>> {
    match view.buffer().memory() {
        Memory::Cuda(memory) if view.dtype() == DType::F32 => {
            memory.read::<f32>(view.layout().offset(), view.layout().numel())
        }
        _ => Err(Error::dtype("swiglu", "f32 in the memory of a CUDA device", &[view.dtype()])),
    }
}

fn memory(buffer: &mut Buffer) -> Result<&mut CudaMemory> {
    match buffer.memory_mut() {
        Memory::Cuda(memory) => Ok(memory),
        Memory::Cpu(_) => Err(Error::argument("swiglu", "the output is on a CUDA device")),
    }
}
