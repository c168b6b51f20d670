//! How a product is cut: a pure function of its shape (and of the processor's register tile), never of threads or load.

pub mod gpu;

use super::GemmDesc;
use super::micro::TileShape;

/// Multiply-adds below which handing work to another thread costs more than it saves (about 10 µs of work).
const SMALL: usize = 1 << 19;

/// Who computes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Everything on the calling thread.
    Sequential,
    /// Runs of this many products of the batch, each run on one thread.
    Batch(usize),
    /// Tiles of each product in parallel.
    Tiles,
}

/// How a product is computed on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmPlan {
    /// The register tile.
    pub tile: TileShape,
    /// Who computes what.
    pub schedule: Schedule,
    /// K is cut into blocks of this size; each is packed once and its products are added to the output.
    pub kc: usize,
    /// Rows of the output per task.
    pub mc: usize,
    /// Columns of the output per task.
    pub nc: usize,
    /// Whether an A of the accumulator's type whose rows are contiguous is read where it lies, unpacked.
    pub a_in_place: bool,
}

impl std::fmt::Display for GemmPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GemmPlan { tile, schedule, kc, mc, nc, a_in_place } = self;
        let a = if *a_in_place { "in place" } else { "packed" };
        write!(f, "{schedule:?}, blocks {mc}x{nc} over k {kc}, register tile {}x{}, A {a}", tile.mr, tile.nr())
    }
}

/// The plan for a product.
pub fn plan(desc: &GemmDesc, tile: TileShape) -> GemmPlan {
    let &GemmDesc { batch, m, n, k, .. } = desc;
    // A's panel of 8 × 512 floats (16 KB) stays in the L1 cache while panels of B (96 KB each) pass through the L2.
    let blocks = k.div_ceil(512).max(1);
    let kc = k.div_ceil(blocks).next_multiple_of(8).min(k).max(1);
    let work = m * n * k;
    // Four panels of B (384 KB) and a block of A (128 KB) share the L2 cache with what else passes.
    let (mc, nc) = (64.min(m.next_multiple_of(tile.mr)).max(1), 4 * tile.nr());
    let schedule = if batch * work <= SMALL {
        Schedule::Sequential
    } else if batch > 1 && (work <= 16 * SMALL || batch >= 16) {
        Schedule::Batch((SMALL / work.max(1)).clamp(1, batch))
    } else {
        Schedule::Tiles
    };
    // Packing A costs as much as multiplying it by some 40 columns, so it pays where there are many.
    let a_in_place = n <= 1024;
    GemmPlan { tile, schedule, kc, mc, nc, a_in_place }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gemm::{Activation, Precision};

    fn of(batch: usize, m: usize, n: usize, k: usize) -> GemmPlan {
        let desc = GemmDesc {
            batch,
            m,
            n,
            k,
            alpha: 1.0,
            beta: 0.0,
            activation: Activation::None,
            precision: Precision::Ieee,
        };
        plan(&desc, TileShape { mr: 8, lanes: 16 })
    }

    #[test]
    fn plans_follow_the_shape() {
        assert_eq!(of(1, 8, 8, 8).schedule, Schedule::Sequential);
        assert_eq!(of(1, 1024, 1024, 1024).schedule, Schedule::Tiles);
        assert_eq!(of(64, 128, 128, 32).schedule, Schedule::Batch(1));
        assert_eq!(of(10_000, 16, 16, 16).schedule, Schedule::Batch(128));
        assert_eq!(of(1, 100, 100, 513).kc, 264);
        assert_eq!(of(1, 100, 100, 0).kc, 1);
        assert!(of(1, 64, 64, 64).to_string().contains("register tile 8x48"));
    }
}
