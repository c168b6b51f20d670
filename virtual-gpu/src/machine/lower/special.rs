//! Special registers.

use super::Width;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{Lane, OpPair};

/// A special register; most have a slot that is filled when a warp starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Special {
    TidX,
    TidY,
    TidZ,
    NtidX,
    NtidY,
    NtidZ,
    CtaidX,
    CtaidY,
    CtaidZ,
    NctaidX,
    NctaidY,
    NctaidZ,
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    ClusterIdX,
    ClusterIdY,
    ClusterIdZ,
    NClusterIdX,
    NClusterIdY,
    NClusterIdZ,
    ClusterCtaidX,
    ClusterCtaidY,
    ClusterCtaidZ,
    ClusterNctaidX,
    ClusterNctaidY,
    ClusterNctaidZ,
    ClusterCtaRank,
    ClusterNctaRank,
    TotalSmem,
    DynamicSmem,
    AggrSmem,
    Zero,
    DynamicShared,
    GridId,
    FramePointer,
    IsExplicitCluster,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    GlobalTimerLo,
    GlobalTimerHi,
}

/// Bytes of the arena that special registers take.
pub const SPECIAL_BYTES: u32 = Special::GridId as u32 * 128 + 3 * 256;

impl Special {
    /// All that have a slot.
    pub fn all() -> impl Iterator<Item = Special> {
        use Special::*;
        [
            TidX,
            TidY,
            TidZ,
            NtidX,
            NtidY,
            NtidZ,
            CtaidX,
            CtaidY,
            CtaidZ,
            NctaidX,
            NctaidY,
            NctaidZ,
            LaneId,
            WarpId,
            NWarpId,
            SmId,
            NSmId,
            LaneMaskEq,
            LaneMaskLt,
            LaneMaskLe,
            LaneMaskGt,
            LaneMaskGe,
            ClusterIdX,
            ClusterIdY,
            ClusterIdZ,
            NClusterIdX,
            NClusterIdY,
            NClusterIdZ,
            ClusterCtaidX,
            ClusterCtaidY,
            ClusterCtaidZ,
            ClusterNctaidX,
            ClusterNctaidY,
            ClusterNctaidZ,
            ClusterCtaRank,
            ClusterNctaRank,
            TotalSmem,
            DynamicSmem,
            AggrSmem,
            Zero,
            DynamicShared,
            GridId,
            FramePointer,
            IsExplicitCluster,
        ]
        .into_iter()
    }

    /// The register a name stands for.
    pub fn from_name(name: &str) -> Option<Special> {
        use Special::*;
        Some(match name {
            "%tid.x" | "%tid" => TidX,
            "%tid.y" => TidY,
            "%tid.z" => TidZ,
            "%ntid.x" | "%ntid" => NtidX,
            "%ntid.y" => NtidY,
            "%ntid.z" => NtidZ,
            "%ctaid.x" | "%ctaid" => CtaidX,
            "%ctaid.y" => CtaidY,
            "%ctaid.z" => CtaidZ,
            "%nctaid.x" | "%nctaid" => NctaidX,
            "%nctaid.y" => NctaidY,
            "%nctaid.z" => NctaidZ,
            "%laneid" => LaneId,
            "%warpid" => WarpId,
            "%nwarpid" => NWarpId,
            "%smid" => SmId,
            "%nsmid" => NSmId,
            "%lanemask_eq" => LaneMaskEq,
            "%lanemask_lt" => LaneMaskLt,
            "%lanemask_le" => LaneMaskLe,
            "%lanemask_gt" => LaneMaskGt,
            "%lanemask_ge" => LaneMaskGe,
            "%clusterid.x" => ClusterIdX,
            "%clusterid.y" => ClusterIdY,
            "%clusterid.z" => ClusterIdZ,
            "%nclusterid.x" => NClusterIdX,
            "%nclusterid.y" => NClusterIdY,
            "%nclusterid.z" => NClusterIdZ,
            "%cluster_ctaid.x" => ClusterCtaidX,
            "%cluster_ctaid.y" => ClusterCtaidY,
            "%cluster_ctaid.z" => ClusterCtaidZ,
            "%cluster_nctaid.x" => ClusterNctaidX,
            "%cluster_nctaid.y" => ClusterNctaidY,
            "%cluster_nctaid.z" => ClusterNctaidZ,
            "%cluster_ctarank" => ClusterCtaRank,
            "%cluster_nctarank" => ClusterNctaRank,
            "%total_smem_size" => TotalSmem,
            "%dynamic_smem_size" => DynamicSmem,
            "%aggr_smem_size" => AggrSmem,
            "%tid.w"
            | "%ntid.w"
            | "%ctaid.w"
            | "%nctaid.w"
            | "%reserved_smem_offset_begin"
            | "%reserved_smem_offset_end"
            | "%reserved_smem_offset_cap"
            | "%reserved_smem_offset_0"
            | "%reserved_smem_offset_1"
            | "%current_graph_exec" => Zero,
            "%gridid" => GridId,
            "%is_explicit_cluster" => IsExplicitCluster,
            "%clock" => Clock,
            "%clock_hi" => ClockHi,
            "%clock64" => Clock64,
            "%globaltimer" => GlobalTimer,
            "%globaltimer_lo" => GlobalTimerLo,
            "%globaltimer_hi" => GlobalTimerHi,
            _ if name.starts_with("%envreg") || name.starts_with("%pm") => Zero,
            _ => return None,
        })
    }

    /// Width class.
    pub fn width(self) -> Width {
        match self {
            Special::GridId | Special::FramePointer | Special::Clock64 | Special::GlobalTimer => Width::W64,
            Special::IsExplicitCluster => Width::P,
            _ => Width::W32,
        }
    }

    /// Offset of its slot.
    pub fn offset(self) -> u32 {
        let narrow = Special::GridId as u32;
        let at = u32::from(self as u8);
        if at < narrow { at * 128 } else { narrow * 128 + (at - narrow) * 256 }
    }

    /// Code that reads it, for those that change.
    pub fn dynamic(self) -> Option<OpPair> {
        use Special::*;
        match self {
            Clock | ClockHi | GlobalTimerLo | GlobalTimerHi => Some(OpPair::same(read32)),
            Clock64 | GlobalTimer => Some(OpPair::same(read64)),
            _ => None,
        }
    }
}

unsafe fn read32(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let t = cx.launch.ticks();
    let high = i.x == Special::ClockHi as u32 || i.x == Special::GlobalTimerHi as u32;
    let v = if high { (t >> 32) as u32 } else { t as u32 };
    cx.put(i.d, &[v; 32], m);
    Flow::Next
}

unsafe fn read64(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let t = cx.launch.ticks();
    // SAFETY: the decoder gave a 64-bit slot.
    unsafe { u64::put(cx.slot(i.d), &[t; 32], m) };
    Flow::Next
}
