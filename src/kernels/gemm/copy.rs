//! Contiguous copies of strided operands on a CUDA device.

use crate::device::cuda::{DevicePtr, DevicePtrMut, LaunchConfig};
use crate::device::{Buffer, Memory, View};
use crate::kernels::params::{Divisor, StridedParams};
use crate::kernels::{images, mixed_devices, on_device};
use crate::{DType, Element, Error, Layout, Result, Shape};
use half::{bf16, f16};

const OP: &str = "contiguous";

/// A view's elements, contiguous: the view itself, or a copy where it is not.
pub(crate) enum Contiguous<'a> {
    View(View<'a>),
    Copy(Buffer, Shape),
}

impl Contiguous<'_> {
    /// The elements.
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Contiguous::View(view) => *view,
            Contiguous::Copy(buffer, shape) => match View::new(buffer, Layout::contiguous(*shape)) {
                Ok(view) => view,
                Err(_) => unreachable!("the copy was made for this shape"),
            },
        }
    }
}

/// The elements of a float view in row-major order, copied only where they are not so already.
pub(crate) fn contiguous(view: View<'_>) -> Result<Contiguous<'_>> {
    if view.layout().is_contiguous() {
        return Ok(Contiguous::View(view));
    }
    let buffer = match view.dtype() {
        DType::F16 => copy::<f16>(&view, "map_strided<f::maximum, f16>")?,
        DType::BF16 => copy::<bf16>(&view, "map_strided<f::maximum, bf16>")?,
        _ => copy::<f32>(&view, "map_strided<f::maximum, f32>")?,
    };
    Ok(Contiguous::Copy(buffer, *view.layout().shape()))
}

fn copy<T: Element>(view: &View<'_>, kernel: &'static str) -> Result<Buffer> {
    let (layout, device) = (view.layout(), view.buffer().device());
    let crate::Device::Cuda(cuda) = &device else { return Err(mixed_devices(OP)) };
    let len = layout.numel();
    let count = u32::try_from(len).ok().filter(|&count| count < 1 << 31);
    let Some(count) = count else {
        return Err(Error::argument(OP, format!("{len} elements; 2^31 is the limit of a strided copy")));
    };
    let rank = layout.dims().len();
    // The larger of x and x is x, -0 and NaN included.
    let mut params = StridedParams { count, rank: rank as u32, ..StridedParams::default() };
    let mut step = 1;
    for (at, axis) in (0..rank).rev().enumerate() {
        let size = layout.dims()[axis];
        params.sizes[at] = divisor(size as u32);
        params.out[at] = step;
        params.operands[..2].iter_mut().for_each(|operand| operand[at] = layout.strides()[axis] as i64);
        step *= size as i64;
    }
    let mut out = Buffer::uninit(&device, T::DTYPE, len)?;
    let from = on_device(OP, view, cuda)?.read::<T>(layout.offset(), layout.span() - layout.offset())?;
    let to: DevicePtrMut<'_, T> = match out.memory_mut() {
        Memory::Cuda(memory) => memory.write(0, len)?,
        Memory::Cpu(_) => return Err(mixed_devices(OP)),
    };
    let config = LaunchConfig::covering(len, 256, 8 * cuda.spec().multiprocessors);
    let none = DevicePtr::<T>::null;
    let kernel = cuda.kernel(&images::ELEMENTWISE, kernel)?;
    // SAFETY: the operand is read at the indices of its layout, whose span was checked; the output has all elements.
    unsafe { kernel.launch(&config, (params, to, from, from, none(), none()))? };
    Ok(out)
}

/// Granlund and Montgomery's constants for numbers below 2^31.
fn divisor(divisor: u32) -> Divisor {
    let log = divisor.next_power_of_two().trailing_zeros();
    let multiplier = (1u64 << (31 + log)).div_ceil(u64::from(divisor.max(1))) as u32;
    Divisor { divisor, multiplier, shift: log.wrapping_sub(1) }
}
