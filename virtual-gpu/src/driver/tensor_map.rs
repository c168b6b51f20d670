//! `cuTensorMapEncode*`: the rules of the driver API reference, and the machine's own 128 bytes.

use super::abi::{CuResult, In, Out};
use super::call;
use super::error::{Code, Error, Res};
use super::state::driver;
use crate::machine::tensor_map::{ElementType, Im2col, TensorMap};

/// `CUtensorMap`: 128 bytes, of which the caller promises that they are aligned to 64.
type Bytes = [u8; 128];
const ALIGNMENT: usize = 64;
/// The largest extent of a dimension.
const LARGEST_DIM: u64 = 1 << 32;
const LARGEST_STRIDE: u64 = 1 << 40;
const LARGEST_BOX: u32 = 256;
const LARGEST_STEP: u32 = 8;

const INTERLEAVE_32: u32 = 2;
/// Bytes that a swizzle pattern spans, by `CUtensorMapSwizzle`.
const SWIZZLE_SPAN: [u32; 4] = [u32::MAX, 32, 64, 128];

fn wrong(text: impl Into<String>) -> Error {
    Error::invalid(text)
}

/// What both modes have in common.
struct Common {
    element: u32,
    rank: u32,
    address: u64,
    dims: In<u64>,
    strides: In<u64>,
    steps: In<u32>,
    interleave: u32,
    swizzle: u32,
    promotion: u32,
    fill: u32,
}

impl Common {
    fn map(&self, smallest_rank: u32) -> Res<TensorMap> {
        driver()?;
        let element = ElementType::from_raw(self.element)
            .ok_or_else(|| wrong(format!("{} is no tensor map data type of these devices", self.element)))?;
        let rank = self.rank as usize;
        if !(smallest_rank..=5).contains(&self.rank) {
            return Err(wrong(format!("the rank is {}, and has to be {smallest_rank} to 5", self.rank)));
        }
        if self.interleave > INTERLEAVE_32 || self.swizzle > 3 || self.promotion > 3 || self.fill > 1 {
            return Err(wrong("interleave, swizzle, L2 promotion or fill has no such value on these devices"));
        }
        if self.interleave != 0 && self.rank < 3 {
            return Err(wrong("interleaved layouts have at least 3 dimensions"));
        }
        let alignment = if self.interleave == INTERLEAVE_32 { 32 } else { 16 };
        if self.address == 0 || !self.address.is_multiple_of(alignment) {
            return Err(wrong(format!("the address {:#x} is not aligned to {alignment} bytes", self.address)));
        }
        let integer = matches!(self.element, 0..=5);
        if self.fill == 1 && integer {
            return Err(wrong("out-of-range elements of integers are 0, not NaN"));
        }
        if self.interleave == INTERLEAVE_32 && self.swizzle != 1 {
            return Err(wrong("an interleave of 32 bytes goes with a swizzle of 32 bytes"));
        }
        let (dims, strides, steps) = (self.dims.all(rank)?, self.strides.all(rank - 1)?, self.steps.all(rank)?);
        for (index, &dim) in dims.iter().enumerate() {
            if dim == 0 || dim > LARGEST_DIM {
                return Err(wrong(format!("dimension {index} has {dim} elements, and may have 1 to 2^32")));
            }
        }
        for (index, &stride) in strides.iter().enumerate() {
            if !stride.is_multiple_of(alignment) || stride >= LARGEST_STRIDE {
                let rule = format!("has to be a multiple of {alignment} below 2^40");
                return Err(wrong(format!("the stride of dimension {} is {stride} bytes and {rule}", index + 1)));
            }
        }
        for (index, &step) in steps.iter().enumerate() {
            if step == 0 || step > LARGEST_STEP {
                return Err(wrong(format!("the element stride of dimension {index} is {step}, and may be 1 to 8")));
            }
        }
        Ok(TensorMap {
            element,
            rank: self.rank,
            address: self.address,
            dims: std::array::from_fn(|index| dims.get(index).copied().unwrap_or(0)),
            strides: std::array::from_fn(|index| strides.get(index).copied().unwrap_or(0)),
            box_dims: [0; 5],
            element_strides: std::array::from_fn(|index| steps.get(index).copied().unwrap_or(0)),
            interleave: self.interleave as u8,
            swizzle: self.swizzle as u8,
            l2_promotion: self.promotion as u8,
            nan_fill: self.fill == 1,
            im2col: None,
        })
    }

    /// Checks the innermost run of a box, in bytes.
    fn check_inner(&self, bytes: u32) -> Res {
        let span = SWIZZLE_SPAN[self.swizzle as usize];
        if self.interleave == 0 && bytes > span {
            return Err(wrong(format!("the box is {bytes} bytes wide, more than the {span} that the swizzle spans")));
        }
        if self.interleave == 0 && !bytes.is_multiple_of(16) {
            return Err(wrong(format!("the box is {bytes} bytes wide, and has to be a multiple of 16")));
        }
        Ok(())
    }
}

fn write(out: Out<Bytes>, map: &TensorMap) -> Res {
    out.check()?;
    if !out.address().is_multiple_of(ALIGNMENT) {
        return Err(wrong("a CUtensorMap is aligned to 64 bytes"));
    }
    out.set(map.to_bytes())
}

#[unsafe(no_mangle)]
extern "C" fn cuTensorMapEncodeTiled(
    out: Out<Bytes>,
    element: u32,
    rank: u32,
    address: u64,
    dims: In<u64>,
    strides: In<u64>,
    boxes: In<u32>,
    steps: In<u32>,
    interleave: u32,
    swizzle: u32,
    promotion: u32,
    fill: u32,
) -> CuResult {
    let common = Common { element, rank, address, dims, strides, steps, interleave, swizzle, promotion, fill };
    call("cuTensorMapEncodeTiled", || {
        let mut map = common.map(1)?;
        let boxes = boxes.all(rank as usize)?;
        for (index, &extent) in boxes.iter().enumerate() {
            if extent == 0 || extent > LARGEST_BOX {
                return Err(wrong(format!(
                    "the box has {extent} elements in dimension {index}, and may have 1 to 256"
                )));
            }
            map.box_dims[index] = extent;
        }
        // With a step the box holds every step-th element of its extent.
        let wide = boxes[0].div_ceil(if interleave == 0 { 1 } else { map.element_strides[0] });
        common.check_inner(wide * map.element.bytes())?;
        write(out, &map)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuTensorMapEncodeIm2col(
    out: Out<Bytes>,
    element: u32,
    rank: u32,
    address: u64,
    dims: In<u64>,
    strides: In<u64>,
    lower: In<i32>,
    upper: In<i32>,
    channels: u32,
    pixels: u32,
    steps: In<u32>,
    interleave: u32,
    swizzle: u32,
    promotion: u32,
    fill: u32,
) -> CuResult {
    let common = Common { element, rank, address, dims, strides, steps, interleave, swizzle, promotion, fill };
    call("cuTensorMapEncodeIm2col", || {
        let mut map = common.map(3)?;
        if channels == 0 || channels > 256 || pixels == 0 || pixels > 1_024 {
            return Err(wrong(format!(
                "{channels} channels of {pixels} pixels; a column has 1 to 256 channels and 1 to 1024 pixels"
            )));
        }
        let spatial = rank as usize - 2;
        // Corners have 16, 8 or 5 bits, by the number of spatial dimensions.
        let bound = [1 << 15, 1 << 7, 1 << 4][spatial - 1];
        let (lower, upper) = (lower.all(spatial)?, upper.all(spatial)?);
        for (index, (&low, &high)) in lower.iter().zip(&upper).enumerate() {
            let range = -bound..bound;
            if !range.contains(&low) || !range.contains(&high) {
                return Err(wrong(format!("corner {index} of the pixel box is outside {} to {}", -bound, bound - 1)));
            }
            let extent = i64::from(high) - i64::from(low) + map.dims[index + 1] as i64;
            if extent <= 0 {
                return Err(wrong(format!("the pixel box is empty in spatial dimension {index}")));
            }
        }
        common.check_inner(channels * map.element.bytes())?;
        map.im2col = Some(Im2col {
            lower: std::array::from_fn(|index| lower.get(index).copied().unwrap_or(0)),
            upper: std::array::from_fn(|index| upper.get(index).copied().unwrap_or(0)),
            channels,
            pixels,
        });
        write(out, &map)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuTensorMapReplaceAddress(map: Out<Bytes>, address: u64) -> CuResult {
    call("cuTensorMapReplaceAddress", || {
        driver()?;
        let mut decoded = TensorMap::from_bytes(&map.get()?).ok_or(Code::InvalidValue)?;
        let alignment = if u32::from(decoded.interleave) == INTERLEAVE_32 { 32 } else { 16 };
        if address == 0 || !address.is_multiple_of(alignment) {
            return Err(wrong(format!("the address {address:#x} is not aligned to {alignment} bytes")));
        }
        decoded.address = address;
        write(map, &decoded)
    })
}
