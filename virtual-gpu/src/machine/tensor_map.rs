//! Tensor maps: the 128 bytes that `cuTensorMapEncode*` writes and TMA instructions read.

/// Element types, in the driver's order (`CUtensorMapDataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ElementType {
    U8 = 0,
    U16,
    U32,
    S32,
    U64,
    S64,
    F16,
    F32,
    F64,
    Bf16,
    F32Ftz,
    Tf32,
    Tf32Ftz,
}

/// A decoded tensor map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// `CUtensorMapDataType`.
    pub element: ElementType,
    /// Dimensions, 1 to 5.
    pub rank: u32,
    /// Address of the tensor.
    pub address: u64,
    /// Extent per dimension, innermost first.
    pub dims: [u64; 5],
    /// Stride in bytes of dimensions 1 and up (`strides[0]` belongs to dimension 1).
    pub strides: [u64; 4],
    /// Tiled: box per dimension. Im2col: unused.
    pub box_dims: [u32; 5],
    /// Step per dimension in elements.
    pub element_strides: [u32; 5],
    /// `CUtensorMapInterleave`: 0 none, 1 16 B, 2 32 B.
    pub interleave: u8,
    /// `CUtensorMapSwizzle`: 0 none, 1 32 B, 2 64 B, 3 128 B.
    pub swizzle: u8,
    /// `CUtensorMapL2promotion`.
    pub l2_promotion: u8,
    /// Out-of-range elements read as NaN instead of zero.
    pub nan_fill: bool,
    /// Im2col mode with its fields.
    pub im2col: Option<Im2col>,
}

/// The im2col fields of a tensor map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Im2col {
    /// `pixelBoxLowerCorner` (`rank - 2` entries).
    pub lower: [i32; 3],
    /// `pixelBoxUpperCorner`.
    pub upper: [i32; 3],
    /// Channels per pixel.
    pub channels: u32,
    /// Pixels per column.
    pub pixels: u32,
}

/// Marks the bytes as a map of this machine; real maps differ, and other bytes are refused.
const MAGIC: [u8; 8] = *b"VGPUTMAP";

impl ElementType {
    /// Bytes of an element.
    pub fn bytes(self) -> u32 {
        use ElementType::*;
        match self {
            U8 => 1,
            U16 | F16 | Bf16 => 2,
            U32 | S32 | F32 | F32Ftz | Tf32 | Tf32Ftz => 4,
            U64 | S64 | F64 => 8,
        }
    }

    /// The element type with a `CUtensorMapDataType` value.
    pub fn from_raw(raw: u32) -> Option<ElementType> {
        use ElementType::*;
        [U8, U16, U32, S32, U64, S64, F16, F32, F64, Bf16, F32Ftz, Tf32, Tf32Ftz].get(raw as usize).copied()
    }
}

impl TensorMap {
    /// What the driver would refuse of this map, for maps that a kernel changed.
    pub fn flaw(&self) -> Option<String> {
        let alignment = if self.interleave == 2 { 32 } else { 16 };
        if self.address == 0 || !self.address.is_multiple_of(alignment) {
            return Some(format!("its address {:#x} is not a multiple of {alignment}", self.address));
        }
        let rank = self.rank as usize;
        if let Some(k) =
            (0..rank - 1).find(|k| !self.strides[*k].is_multiple_of(alignment) || self.strides[*k] >> 40 != 0)
        {
            let stride = self.strides[k];
            return Some(format!("the stride {stride} of dimension {} is not a multiple of {alignment}", k + 1));
        }
        if let Some(k) = (0..rank).find(|k| !(1..=8).contains(&self.element_strides[*k])) {
            return Some(format!("the element stride {} of dimension {k} is not 1 to 8", self.element_strides[k]));
        }
        let inner = match self.im2col {
            Some(im2col) => im2col.channels,
            None => {
                if let Some(k) = (0..rank).find(|k| !(1..=256).contains(&self.box_dims[*k])) {
                    return Some(format!("the box has {} elements in dimension {k}, not 1 to 256", self.box_dims[k]));
                }
                self.box_dims[0]
            }
        };
        let bytes = inner * self.element.bytes();
        let span = [u32::MAX, 32, 64, 128][self.swizzle as usize & 3];
        if self.interleave == 0 && (!bytes.is_multiple_of(16) || bytes > span) {
            return Some(format!(
                "its box is {bytes} bytes wide, which is no multiple of 16 or more than the swizzle spans"
            ));
        }
        None
    }

    /// The 128 opaque bytes.
    pub fn to_bytes(&self) -> [u8; 128] {
        let mut out = [0u8; 128];
        out[..8].copy_from_slice(&MAGIC);
        out[8] = self.element as u8;
        out[9] = self.rank as u8;
        out[10] = self.interleave;
        out[11] = self.swizzle;
        out[12] = self.l2_promotion;
        out[13] = u8::from(self.nan_fill);
        out[14] = u8::from(self.im2col.is_some());
        out[16..24].copy_from_slice(&self.address.to_le_bytes());
        for k in 0..5 {
            // Extents go up to 2^32 inclusive; stored less one.
            let extent = (self.dims[k].wrapping_sub(1)) as u32;
            out[24 + 4 * k..28 + 4 * k].copy_from_slice(&extent.to_le_bytes());
            out[76 + 2 * k..78 + 2 * k].copy_from_slice(&(self.box_dims[k] as u16).to_le_bytes());
            out[86 + k] = self.element_strides[k] as u8;
        }
        for k in 0..4 {
            out[44 + 8 * k..52 + 8 * k].copy_from_slice(&self.strides[k].to_le_bytes());
        }
        if let Some(im2col) = &self.im2col {
            for k in 0..3 {
                out[92 + 2 * k..94 + 2 * k].copy_from_slice(&(im2col.lower[k] as i16).to_le_bytes());
                out[98 + 2 * k..100 + 2 * k].copy_from_slice(&(im2col.upper[k] as i16).to_le_bytes());
            }
            out[104..106].copy_from_slice(&(im2col.channels as u16).to_le_bytes());
            out[106..108].copy_from_slice(&(im2col.pixels as u16).to_le_bytes());
        }
        out
    }

    /// Reads what `to_bytes` wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8; 128]) -> Option<TensorMap> {
        if bytes[..8] != MAGIC {
            return None;
        }
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let rank = u32::from(bytes[9]);
        if !(1..=5).contains(&rank) {
            return None;
        }
        let im2col = (bytes[14] != 0).then(|| Im2col {
            lower: std::array::from_fn(|k| i32::from(u16_at(92 + 2 * k) as i16)),
            upper: std::array::from_fn(|k| i32::from(u16_at(98 + 2 * k) as i16)),
            channels: u32::from(u16_at(104)),
            pixels: u32::from(u16_at(106)),
        });
        Some(TensorMap {
            element: ElementType::from_raw(u32::from(bytes[8]))?,
            rank,
            address: u64_at(16),
            dims: std::array::from_fn(|k| if k < rank as usize { u64::from(u32_at(24 + 4 * k)) + 1 } else { 0 }),
            strides: std::array::from_fn(|k| u64_at(44 + 8 * k)),
            box_dims: std::array::from_fn(|k| u32::from(u16_at(76 + 2 * k))),
            element_strides: std::array::from_fn(|k| u32::from(bytes[86 + k])),
            interleave: bytes[10],
            swizzle: bytes[11],
            l2_promotion: bytes[12],
            nan_fill: bytes[13] != 0,
            im2col,
        })
    }
}
