//! Tensor maps: how the tensor memory accelerator (TMA, compute capability 9.0 and later) walks an array.

use super::CudaDevice;
use super::argument::{Argument, DevicePtr};
use super::kernel_table::{Param, ParamType};
use super::memory::CudaMemory;
use crate::{DType, Element, Error, Result};
use cudarc::driver::sys;
use std::marker::PhantomData;

const OP: &str = "tensor map";

/// How the 16-byte chunks of a box are exchanged in shared memory, so that a column of them falls into different banks;
/// `wgmma` reads the same patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swizzle {
    /// Not at all.
    #[default]
    None,
    /// Within 32 bytes: a box is at most as wide.
    Bytes32,
    /// Within 64 bytes.
    Bytes64,
    /// Within 128 bytes; boxes lie at multiples of 1,024 bytes then.
    Bytes128,
}

impl Swizzle {
    /// The widest box, in bytes.
    const fn span(self) -> Option<usize> {
        match self {
            Swizzle::None => None,
            Swizzle::Bytes32 => Some(32),
            Swizzle::Bytes64 => Some(64),
            Swizzle::Bytes128 => Some(128),
        }
    }
}

/// An array and the boxes that a kernel moves of it; dimensions innermost first, of which the innermost is contiguous.
///
/// What of a box lies outside the array is read as zero and not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boxes<'d> {
    /// Elements along each of the 1 to 5 dimensions, 1 to 2³².
    pub dims: &'d [usize],
    /// From one element of each dimension but the innermost to the next, in elements: multiples of 16 bytes below 2⁴⁰,
    /// and not 0. Of a dimension with one element it is not looked at.
    pub strides: &'d [usize],
    /// Elements of a box along each dimension, 1 to 256; the innermost run is a multiple of 16 bytes.
    pub sides: &'d [u32],
    /// How a box lies in shared memory.
    pub swizzle: Swizzle,
}

/// A tensor map, passed to kernels by value: `const __grid_constant__ CUtensorMap`, a struct of 128 bytes with that name,
/// aligned to 64 (to 128 in CUDA 13's header).
///
/// ```no_run
/// use warpsmith::device::cuda::{Boxes, CudaMemory, Swizzle};
/// # fn f(memory: &CudaMemory) -> warpsmith::Result<()> {
/// // Boxes of 64 columns by 128 rows of a 1000×512 matrix of f16.
/// let boxes = Boxes { dims: &[512, 1000], strides: &[512], sides: &[64, 128], swizzle: Swizzle::Bytes128 };
/// let map = memory.tensor_map::<half::f16>(0, &boxes)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct TensorMap<'a> {
    map: sys::CUtensorMap,
    memory: PhantomData<&'a ()>,
}

// SAFETY: 128 bytes, which the driver has written.
unsafe impl Argument for TensorMap<'_> {
    const PARAM: Param = Param { ty: ParamType::TensorMap, offset: 0, size: 128, align: 128 };
}

const _: () = assert!(size_of::<TensorMap<'_>>() == 128 && align_of::<TensorMap<'_>>() == 128);

impl<'a> TensorMap<'a> {
    /// A map of an array that starts at a pointer. That the array lies in the pointer's memory is the word of whoever
    /// launches a kernel with it; [`CudaMemory::tensor_map`] checks it.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the rule of TMA which the array or its boxes break, or the device without TMA.
    pub fn new<T: Element>(device: &CudaDevice, first: DevicePtr<'a, T>, boxes: &Boxes<'_>) -> Result<Self> {
        let spec = device.spec();
        if spec.compute_capability < (9, 0) {
            let (major, minor) = spec.compute_capability;
            return refuse(format!(
                "{} has compute capability {major}.{minor}; tensor maps start at 9.0: copy with cp.async there",
                spec.name
            ));
        }
        let encoded = check(first.address(), size_of::<T>(), boxes)?;
        let mut map = TensorMap { map: sys::CUtensorMap { opaque: [0; 16] }, memory: PhantomData };
        // SAFETY: the map is aligned to 128 bytes, and every array has as many numbers as the rank asks for (checked).
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map.map,
                data_type(T::DTYPE),
                boxes.dims.len() as u32,
                std::ptr::with_exposed_provenance_mut(first.address() as usize),
                encoded.dims.as_ptr(),
                encoded.strides.as_ptr(),
                boxes.sides.as_ptr(),
                [1; RANK].as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle(boxes.swizzle),
                // Neighbouring boxes mostly share the lines of the level-2 cache that lie between them.
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        }
        .result()
        .map_err(|error| device.failed(OP, error))?;
        Ok(map)
    }
}

impl CudaMemory {
    /// A tensor map of an array in this memory that starts at element `offset`.
    ///
    /// # Errors
    /// As [`TensorMap::new`]; and where the array does not lie in the memory.
    pub fn tensor_map<T: Element>(&self, offset: usize, boxes: &Boxes<'_>) -> Result<TensorMap<'_>> {
        let steps = std::iter::once(&1).chain(boxes.strides);
        let last = boxes
            .dims
            .iter()
            .zip(steps)
            .try_fold(0usize, |last, (&dim, &step)| last.checked_add(dim.saturating_sub(1).checked_mul(step)?));
        let len = last.and_then(|last| last.checked_add(1)).unwrap_or(usize::MAX);
        TensorMap::new(self.device(), self.read::<T>(offset, len)?, boxes)
    }
}

fn refuse<R>(message: String) -> Result<R> {
    Err(Error::argument(OP, message))
}

/// The most dimensions of a map.
const RANK: usize = 5;

/// Extents and strides as the driver takes them.
struct Encoded {
    dims: [u64; RANK],
    strides: [u64; RANK],
}

/// The rules of `cuTensorMapEncodeTiled` (CUDA driver API, "Tensor Map Object Management").
fn check(address: u64, size: usize, boxes: &Boxes<'_>) -> Result<Encoded> {
    let Boxes { dims, strides, sides, swizzle } = *boxes;
    if !(1..=RANK).contains(&dims.len()) || strides.len() + 1 != dims.len() || sides.len() != dims.len() {
        return refuse(format!(
            "{} dimensions, {} strides and boxes of {} sides; 1 to {RANK} dimensions, a stride for each but the \
             innermost and a side for each are needed",
            dims.len(),
            strides.len(),
            sides.len()
        ));
    }
    if address == 0 || !address.is_multiple_of(16) {
        return refuse(format!("the array starts at {address:#x}, which is not a multiple of 16 bytes; copy it"));
    }
    let mut encoded = Encoded { dims: [0; RANK], strides: [0; RANK] };
    for (axis, &dim) in dims.iter().enumerate() {
        if dim == 0 || dim as u64 > 1 << 32 {
            return refuse(format!("dimension {axis} of {dims:?} has {dim} elements; 1 to 2^32 are possible"));
        }
        encoded.dims[axis] = dim as u64;
    }
    for (index, (&stride, &dim)) in strides.iter().zip(&dims[1..]).enumerate() {
        let bytes = stride.saturating_mul(size);
        if dim == 1 {
            // Never added, but the driver looks at it.
            encoded.strides[index] = 16;
        } else if bytes == 0 || !bytes.is_multiple_of(16) || bytes as u64 >= 1 << 40 {
            return refuse(format!(
                "dimension {} of {dims:?} has a stride of {stride} elements of {size} bytes; a multiple of 16 bytes \
                 from 16 to below 2^40 is needed: pad or copy",
                index + 1
            ));
        } else {
            encoded.strides[index] = bytes as u64;
        }
    }
    if let Some(&side) = sides.iter().find(|side| !(1..=256).contains(*side)) {
        return refuse(format!("a box of {sides:?} has a side of {side} elements; 1 to 256 are possible"));
    }
    let wide = sides[0] as usize * size;
    if !wide.is_multiple_of(16) {
        return refuse(format!("a box of {sides:?} is {wide} bytes wide; a multiple of 16 is needed"));
    }
    if let Some(span) = swizzle.span().filter(|&span| wide > span) {
        return refuse(format!(
            "a box of {sides:?} is {wide} bytes wide, more than the {span} of its swizzle; move several narrower boxes"
        ));
    }
    Ok(encoded)
}

fn swizzle(swizzle: Swizzle) -> sys::CUtensorMapSwizzle {
    match swizzle {
        Swizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::Bytes32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        Swizzle::Bytes64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        Swizzle::Bytes128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    }
}

fn data_type(dtype: DType) -> sys::CUtensorMapDataType {
    match dtype {
        DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::F16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DType::BF16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::F64 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
        DType::I64 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_INT64,
        DType::U32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        DType::U8 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(address: u64, boxes: Boxes<'_>, words: &str) {
        match check(address, 2, &boxes) {
            Err(error) => assert!(error.to_string().contains(words), "`{words}` is not in: {error}"),
            Ok(_) => panic!("{boxes:?} was accepted"),
        }
    }

    #[test]
    fn every_rule_of_the_driver_is_checked_first() {
        let good = Boxes { dims: &[100, 30], strides: &[104], sides: &[64, 30], swizzle: Swizzle::Bytes128 };
        assert!(check(4096, 2, &good).is_ok());
        refused(4104, good, "multiple of 16");
        refused(0, good, "0x0");
        refused(4096, Boxes { dims: &[], strides: &[], sides: &[], ..good }, "1 to 5 dimensions");
        refused(4096, Boxes { dims: &[1; 6], strides: &[8; 5], sides: &[8; 6], ..good }, "6 dimensions");
        refused(4096, Boxes { strides: &[], ..good }, "0 strides");
        refused(4096, Boxes { sides: &[64], ..good }, "1 sides");
        refused(4096, Boxes { dims: &[100, 0], ..good }, "0 elements");
        refused(4096, Boxes { dims: &[(1 << 32) + 1, 30], ..good }, "2^32");
        refused(4096, Boxes { strides: &[100], ..good }, "stride of 100");
        refused(4096, Boxes { strides: &[0], ..good }, "stride of 0");
        refused(4096, Boxes { strides: &[1 << 39], ..good }, "2^40");
        refused(4096, Boxes { sides: &[64, 257], ..good }, "257");
        refused(4096, Boxes { sides: &[0, 30], ..good }, "side of 0");
        refused(4096, Boxes { sides: &[60, 30], ..good }, "120 bytes wide");
        refused(4096, Boxes { sides: &[72, 30], ..good }, "more than the 128");
        refused(4096, Boxes { swizzle: Swizzle::Bytes64, ..good }, "more than the 64");
        assert!(check(4096, 2, &Boxes { sides: &[256, 30], swizzle: Swizzle::None, ..good }).is_ok());
        let single = check(4096, 2, &Boxes { dims: &[100, 1], strides: &[3], ..good }).unwrap();
        assert_eq!(single.strides[0], 16, "the stride of a single line is not looked at");
    }
}
