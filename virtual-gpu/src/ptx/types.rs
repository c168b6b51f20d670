//! Scalar types and state spaces.

/// A PTX type. Packed and matrix types stand beside the fundamental ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Ty {
    Pred,
    B1,
    U2,
    S2,
    B4,
    U4,
    S4,
    B8,
    U8,
    S8,
    E4M3,
    E5M2,
    E2M3,
    E3M2,
    E2M1,
    UE8M0,
    B16,
    U16,
    S16,
    F16,
    BF16,
    E4M3X2,
    E5M2X2,
    UE8M0X2,
    B32,
    U32,
    S32,
    F32,
    TF32,
    F16X2,
    BF16X2,
    U16X2,
    S16X2,
    U8X4,
    S8X4,
    E4M3X4,
    E5M2X4,
    B64,
    U64,
    S64,
    F64,
    F32X2,
    B128,
}

impl Ty {
    /// The type a modifier names, if it names one.
    pub fn from_name(name: &str) -> Option<Ty> {
        use Ty::*;
        Some(match name {
            "pred" => Pred,
            "b1" => B1,
            "u2" => U2,
            "s2" => S2,
            "b4" => B4,
            "u4" => U4,
            "s4" => S4,
            "b8" => B8,
            "u8" => U8,
            "s8" => S8,
            "e4m3" => E4M3,
            "e5m2" => E5M2,
            "e2m3" => E2M3,
            "e3m2" => E3M2,
            "e2m1" => E2M1,
            "ue8m0" => UE8M0,
            "b16" => B16,
            "u16" => U16,
            "s16" => S16,
            "f16" => F16,
            "bf16" => BF16,
            "e4m3x2" => E4M3X2,
            "e5m2x2" => E5M2X2,
            "ue8m0x2" => UE8M0X2,
            "b32" => B32,
            "u32" => U32,
            "s32" => S32,
            "f32" => F32,
            "tf32" => TF32,
            "f16x2" => F16X2,
            "bf16x2" => BF16X2,
            "u16x2" => U16X2,
            "s16x2" => S16X2,
            "u8x4" => U8X4,
            "s8x4" => S8X4,
            "e4m3x4" => E4M3X4,
            "e5m2x4" => E5M2X4,
            "b64" => B64,
            "u64" => U64,
            "s64" => S64,
            "f64" => F64,
            "f32x2" => F32X2,
            "b128" => B128,
            _ => return None,
        })
    }

    /// Bits of a value; 1 for predicates.
    pub fn bits(self) -> u32 {
        use Ty::*;
        match self {
            Pred | B1 => 1,
            U2 | S2 => 2,
            B4 | U4 | S4 | E2M1 => 4,
            B8 | U8 | S8 | E4M3 | E5M2 | E2M3 | E3M2 | UE8M0 => 8,
            B16 | U16 | S16 | F16 | BF16 | E4M3X2 | E5M2X2 | UE8M0X2 => 16,
            B32 | U32 | S32 | F32 | TF32 | F16X2 | BF16X2 | U16X2 | S16X2 | U8X4 | S8X4 | E4M3X4 | E5M2X4 => 32,
            B64 | U64 | S64 | F64 | F32X2 => 64,
            B128 => 128,
        }
    }

    /// Bytes in memory.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// A signed integer.
    pub fn is_signed(self) -> bool {
        matches!(self, Ty::S2 | Ty::S4 | Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64)
    }

    /// An integer or untyped bits of 8 to 64 bits.
    pub fn is_int(self) -> bool {
        use Ty::*;
        matches!(self, B8 | U8 | S8 | B16 | U16 | S16 | B32 | U32 | S32 | B64 | U64 | S64)
    }

    /// A scalar float of 16 to 64 bits.
    pub fn is_float(self) -> bool {
        matches!(self, Ty::F16 | Ty::BF16 | Ty::F32 | Ty::F64)
    }
}

/// A state space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Space {
    Reg,
    Global,
    Const,
    Shared,
    Local,
    Param,
}
