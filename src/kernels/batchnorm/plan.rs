//! How channels are shared out: a pure function of the shape and of what alignment allows.

use super::BatchNormDesc;
use std::fmt;

/// How the passes of a batch norm are launched, in blocks of 256 threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormPlan {
    /// Whether threads belong to columns of C·L elements and walk the samples, or blocks to channels.
    pub columns: bool,
    /// Elements of an access: 1, or 16 bytes' worth.
    pub accessed: usize,
    /// Blocks side by side: channels, or groups of columns.
    pub blocks: usize,
    /// Parts that their elements are walked in.
    pub parts: u32,
    /// Columns of a channel whose sums are merged at the end.
    pub span: usize,
}

/// Runs shorter than this leave most of a block's threads without an access of their own.
const RUN: usize = 16;
/// Blocks that fill the largest chips several times over.
const BLOCKS: usize = 1024;

impl BatchNormPlan {
    /// The plan; `lanes` elements can be moved at once where the pointers are aligned, else 1.
    pub fn new(desc: &BatchNormDesc, lanes: usize) -> Self {
        let &BatchNormDesc { samples, channels, length, .. } = desc;
        let columns = length < RUN;
        let line = if columns { channels * length } else { length };
        let accessed = if line.is_multiple_of(lanes) { lanes } else { 1 };
        // Four accesses a thread, if that leaves enough blocks.
        let (blocks, most) = if columns {
            (line.div_ceil(32 * accessed), samples.div_ceil(8 * 4))
        } else {
            (channels, (samples * (length / accessed)).div_ceil(256 * 4))
        };
        let parts = if desc.numel() == 0 { 0 } else { BLOCKS.div_ceil(blocks.max(1)).clamp(1, most.max(1)) as u32 };
        BatchNormPlan { columns, accessed, blocks, parts, span: if columns { length } else { 1 } }
    }
}

impl fmt::Display for BatchNormPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BatchNormPlan { columns, accessed, blocks, parts, .. } = self;
        let what = if *columns { "groups of columns" } else { "channels" };
        write!(f, "{blocks} {what} in {parts} parts, accesses of {accessed}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(samples: usize, channels: usize, length: usize, lanes: usize) -> BatchNormPlan {
        let desc = BatchNormDesc { samples, channels, length, eps: 1e-5, relu: false, fixed: false };
        BatchNormPlan::new(&desc, lanes)
    }

    #[test]
    fn short_runs_go_by_columns_and_long_ones_by_channels() {
        assert!(plan(8, 3, 15, 4).columns && !plan(8, 3, 16, 4).columns);
        assert_eq!(plan(64, 256, 49, 8), BatchNormPlan { columns: false, accessed: 1, blocks: 256, parts: 4, span: 1 });
        assert_eq!(plan(64, 256, 56 * 56, 8).accessed, 8);
        assert_eq!(plan(100, 12, 1, 8), BatchNormPlan { columns: true, accessed: 1, blocks: 1, parts: 4, span: 1 });
        assert_eq!(plan(0, 12, 1, 8).parts, 0);
    }

    #[test]
    fn accesses_never_cross_a_run() {
        for length in 1..100 {
            for lanes in [1, 4, 8] {
                let plan = plan(5, 6, length, lanes);
                let line = if plan.columns { 6 * length } else { length };
                assert_eq!(line % plan.accessed, 0, "{length}: {plan}");
                assert!(plan.parts >= 1, "{length}: {plan}");
            }
        }
    }
}
