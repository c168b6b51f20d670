//! Copies between layouts, and one value everywhere.

use super::cuda;
use crate::device::cpu::{copy_strided, for_each_chunk};
use crate::device::{Buffer, Memory, View};
use crate::kernels::mixed_devices;
use crate::{Element, Error, Layout, Result, Shape, with_dtype};

/// Elements that one thread fills at a time.
const CHUNK: usize = 1 << 15;

/// Copies the elements in row-major order into `out`, contiguous and of the same dtype and count; any dtype.
pub fn copy(input: View<'_>, out: &mut Buffer) -> Result<()> {
    let op = "copy";
    if input.dtype() != out.dtype() {
        return Err(Error::dtype(op, "an output of the input's dtype", &[input.dtype(), out.dtype()]));
    }
    if input.layout().numel() != out.len() {
        let expected = format!("an input of the output's {} elements", out.len());
        return Err(Error::shape(op, expected, &[*input.layout().shape()]));
    }
    match (input.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_dtype!(input.dtype(), T => {
            copy_strided(input.buffer().as_slice::<T>()?, input.layout(), out.as_mut_slice::<T>()?);
            Ok(())
        }),
        (Memory::Cuda(_), Memory::Cuda(memory)) => {
            cuda::copy(input, &Layout::contiguous(*input.layout().shape()), memory)
        }
        _ => Err(mixed_devices(op)),
    }
}

/// Writes one value, rounded to the dtype, to every element; any dtype.
pub fn fill(value: f64, out: &mut Buffer) -> Result<()> {
    let (dtype, count) = (out.dtype(), out.len());
    with_dtype!(dtype, T => {
        let value = <T as Element>::from_f64(value);
        match out.memory_mut() {
            Memory::Cpu(_) => for_each_chunk(out.as_mut_slice::<T>()?, CHUNK, |_, out| out.fill(value)),
            Memory::Cuda(memory) => cuda::fill(bits(value)?, dtype.size(), count, memory)?,
        }
    });
    Ok(())
}

/// The bits of a value, in the lower bytes of a word.
fn bits<T: Element>(value: T) -> Result<u64> {
    let one = Buffer::from_slice(&crate::Device::Cpu, &[value])?;
    let Memory::Cpu(memory) = one.memory() else { unreachable!("a buffer of the CPU device") };
    let mut word = [0; 8];
    word[..size_of::<T>()].copy_from_slice(memory.as_slice::<u8>(size_of::<T>()));
    Ok(u64::from_le_bytes(word))
}

/// A view's elements, contiguous: the view itself, or a copy where it is not.
pub struct Contiguous<'a> {
    source: Source<'a>,
}

enum Source<'a> {
    View(View<'a>),
    Copy(Buffer, Shape),
}

impl Contiguous<'_> {
    /// The elements.
    pub fn view(&self) -> View<'_> {
        match &self.source {
            Source::View(view) => *view,
            Source::Copy(buffer, shape) => match View::new(buffer, Layout::contiguous(*shape)) {
                Ok(view) => view,
                Err(_) => unreachable!("the copy was made for this shape"),
            },
        }
    }
}

/// The view's elements in row-major order without gaps: copied only where they are not so already; any dtype.
pub fn contiguous(view: View<'_>) -> Result<Contiguous<'_>> {
    if view.layout().is_contiguous() {
        return Ok(Contiguous { source: Source::View(view) });
    }
    Ok(Contiguous { source: Source::Copy(packed(view)?, *view.layout().shape()) })
}

/// A copy of the view's elements in memory of its own, in row-major order.
pub(crate) fn packed(view: View<'_>) -> Result<Buffer> {
    let mut out = Buffer::uninit(&view.buffer().device(), view.dtype(), view.layout().numel())?;
    copy(view, &mut out)?;
    Ok(out)
}
