//! How rows are shared out: a pure function of the shape and of what alignment allows.

use std::fmt;

/// The threads that work on a row, and where they keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A warp holds the row in registers, at most 8 elements a thread.
    Warp8,
    /// The same with 16: two operands fit.
    Warp16,
    /// The same with 32.
    Warp32,
    /// A block holds the row, at most 8 elements a thread.
    Block8,
    /// The same with 16.
    Block16,
    /// A block reads the row again for each pass.
    Rereading,
}

/// How a pass over rows is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlan {
    /// Who holds a row.
    pub rows: Rows,
    /// Whether memory moves in 16-byte accesses.
    pub vector: bool,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks.
    pub blocks: usize,
}

/// Rows that the four warps of a block take.
const WARPS: usize = 4;
/// The most blocks of a backward: their partial sums stay small beside the rows, and they fill the largest chips.
const PARTS: usize = 512;

impl RowPlan {
    /// The forward's plan. A block holds at most 1,024 × 16 elements in the 64 registers that a thread then has.
    pub fn forward(rows: usize, width: usize, vector: bool) -> Self {
        let warps = RowPlan { rows: Rows::Warp8, vector, threads: 128, blocks: rows.div_ceil(WARPS) };
        match width {
            0..=256 => warps,
            257..=1024 if vector => RowPlan { rows: Rows::Warp32, ..warps },
            257..=16_384 => RowPlan { rows: Rows::Block16, vector, threads: block(width, 16), blocks: rows },
            _ => RowPlan { rows: Rows::Rereading, vector, threads: 1024, blocks: rows },
        }
    }

    /// The backward's plan: two operands and two sums are held, in the 168 registers of each of at most 384 threads.
    /// Single accesses take more of them for addresses, so fewer elements are held, by at most 512.
    pub fn backward(rows: usize, width: usize, vector: bool) -> Self {
        let parts = |rows_of_block: usize| rows.div_ceil(rows_of_block).clamp(1, PARTS);
        let warps = RowPlan { rows: Rows::Warp8, vector, threads: 128, blocks: parts(4 * WARPS) };
        match width {
            0..=256 => warps,
            257..=512 if vector => RowPlan { rows: Rows::Warp16, ..warps },
            513..=6144 if vector => {
                RowPlan { rows: Rows::Block16, vector, threads: block(width, 16), blocks: parts(4) }
            }
            257..=4096 if !vector => RowPlan { rows: Rows::Block8, vector, threads: block(width, 8), blocks: parts(4) },
            _ => RowPlan { rows: Rows::Rereading, vector, threads: 1024, blocks: rows },
        }
    }
}

/// Whole warps with at most `held` elements a thread.
fn block(width: usize, held: usize) -> u32 {
    width.div_ceil(held).next_multiple_of(32) as u32
}

impl fmt::Display for RowPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowPlan { rows, vector, threads, blocks } = self;
        let access = if *vector { "16-byte accesses" } else { "single elements" };
        write!(f, "{rows:?}, {access}, {blocks} blocks of {threads} threads")
    }
}

/// How group norm's backward is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelPlan {
    /// Whether memory moves in 16-byte accesses.
    pub vector: bool,
    /// Threads that sum a channel's run: a power of two up to 32, or 256.
    pub lanes: u32,
    /// Parts that a row's gradient is written in.
    pub parts: u32,
}

impl ChannelPlan {
    /// Four accesses a thread, up to a warp; a block where a warp would have a long way to go.
    pub fn new(width: usize, length: usize, accessed: usize) -> Self {
        let accesses = length.div_ceil(accessed.max(1));
        let lanes = if accesses >= 2048 { 256 } else { accesses.div_ceil(4).next_power_of_two().min(32) as u32 };
        ChannelPlan { vector: accessed > 1, lanes, parts: (width / 8192).clamp(1, 64) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_fits_where_it_is_held() {
        for width in (0..20_000).chain([262_144]) {
            for vector in [false, true] {
                let backward = RowPlan::backward(7, width, vector);
                for plan in [RowPlan::forward(7, width, vector), backward] {
                    let held = match plan.rows {
                        Rows::Warp8 => 32 * 8,
                        Rows::Warp16 => 32 * 16,
                        Rows::Warp32 => 32 * 32,
                        Rows::Block8 => plan.threads as usize * 8,
                        Rows::Block16 => plan.threads as usize * 16,
                        Rows::Rereading => width,
                    };
                    assert!(held >= width && plan.threads <= 1024 && plan.threads % 32 == 0, "{width}: {plan}");
                }
                let most = if vector { 384 } else { 512 };
                assert!(backward.rows == Rows::Rereading || backward.threads <= most, "{width}: {backward}");
            }
        }
    }

    #[test]
    fn the_order_of_sums_depends_on_the_shape_alone() {
        assert_eq!(RowPlan::backward(1 << 20, 768, true).blocks, 512);
        assert_eq!(RowPlan::backward(0, 768, true).blocks, 1);
        assert_eq!(RowPlan::backward(100, 100, true).blocks, 7);
    }

    #[test]
    fn runs_of_channels_are_shared_by_powers_of_two() {
        for length in 1..10_000 {
            let plan = ChannelPlan::new(length, length, 1);
            assert!(plan.lanes == 256 || plan.lanes <= 32 && plan.lanes.is_power_of_two(), "{length}: {plan:?}");
        }
        assert_eq!(ChannelPlan::new(1 << 20, 1 << 14, 8).lanes, 256);
        assert_eq!(ChannelPlan::new(64, 1, 1), ChannelPlan { vector: false, lanes: 1, parts: 1 });
    }
}
