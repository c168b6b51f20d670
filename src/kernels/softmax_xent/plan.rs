//! How rows and columns are shared out: a pure function of the shape and of what alignment allows.

use super::SoftmaxDesc;
use std::fmt;

/// Where a softmax keeps what it normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A row in registers, at most 8 elements a thread.
    Eight,
    /// The same with 16.
    Sixteen,
    /// Nowhere: a block reads its row twice.
    Nowhere,
    /// Nowhere: columns of a middle axis, read twice.
    Columns,
}

/// How a pass over rows is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxPlan {
    /// Where the input is kept.
    pub held: Held,
    /// Whether memory moves in 16-byte accesses.
    pub vector: bool,
    /// Threads that share a row: a power of two up to 32, or the block's.
    pub lanes: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks.
    pub blocks: usize,
}

/// Threads of a block that takes several rows.
const THREADS: u32 = 128;
/// The most threads that hold one operand in registers by 16-byte accesses; half as many hold two, or hold one by
/// single accesses, whose addresses take registers too.
const HOLDING: usize = 1024;

impl SoftmaxPlan {
    /// The plan of a pass that holds `operands` operands, 1 or 2.
    pub fn new(desc: &SoftmaxDesc, operands: usize, vector: bool) -> Self {
        let &SoftmaxDesc { outer, width, inner, .. } = desc;
        if inner > 1 {
            let blocks = (outer * inner).div_ceil(32);
            return SoftmaxPlan { held: Held::Columns, vector: false, lanes: 32, threads: 256, blocks };
        }
        let shared = |held, lanes: u32| {
            let blocks = outer.div_ceil((THREADS / lanes) as usize);
            SoftmaxPlan { held, vector, lanes, threads: THREADS, blocks }
        };
        let block = |held, threads: u32| SoftmaxPlan { held, vector, lanes: threads, threads, blocks: outer };
        let holding = if operands == 1 && vector { HOLDING } else { HOLDING / 2 };
        match width {
            0..=256 => shared(Held::Eight, width.div_ceil(8).next_power_of_two() as u32),
            257..=512 => shared(Held::Sixteen, 32),
            _ if width <= 16 * holding => block(Held::Sixteen, width.div_ceil(16).next_multiple_of(32) as u32),
            _ => block(Held::Nowhere, 1024),
        }
    }
}

impl fmt::Display for SoftmaxPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SoftmaxPlan { held, vector, lanes, threads, blocks } = self;
        let access = if *vector { "16-byte accesses" } else { "single elements" };
        write!(f, "{held:?} held, {access}, {lanes} threads a row, {blocks} blocks of {threads}")
    }
}

/// How a pass over rows of logits is launched: nothing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossPlan {
    /// Whether memory moves in 16-byte accesses.
    pub vector: bool,
    /// Threads that share a row: a power of two up to 32, or the block's.
    pub lanes: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks.
    pub blocks: usize,
    /// Parts that a row's gradient is written in.
    pub parts: u32,
}

impl LossPlan {
    /// The plan for rows of which an access moves `accessed` elements: four accesses a thread where rows are short, and
    /// parts of rows where there are few of them.
    pub fn new(rows: usize, classes: usize, accessed: usize) -> Self {
        let (vector, accesses) = (accessed > 1, classes.div_ceil(accessed.max(1)));
        if accesses <= 128 {
            let lanes = accesses.div_ceil(4).next_power_of_two() as u32;
            let blocks = rows.div_ceil((THREADS / lanes) as usize);
            return LossPlan { vector, lanes, threads: THREADS, blocks, parts: 1 };
        }
        let threads = accesses.div_ceil(4).next_multiple_of(32).clamp(64, 1024) as u32;
        let wanted = 1024usize.div_ceil(rows.max(1)).min(accesses / (threads as usize * 4));
        LossPlan { vector, lanes: threads, threads, blocks: rows, parts: wanted.clamp(1, 64) as u32 }
    }
}

impl fmt::Display for LossPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LossPlan { vector, lanes, threads, blocks, parts } = self;
        let access = if *vector { "16-byte accesses" } else { "single elements" };
        write!(f, "{access}, {lanes} threads a row, {blocks} × {parts} blocks of {threads}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_fits_where_it_is_held() {
        for width in (0..20_000).chain([262_144]) {
            for operands in [1, 2] {
                let desc = SoftmaxDesc { outer: 9, width, inner: 1, log: false };
                let narrow = SoftmaxPlan::new(&desc, operands, false);
                assert!(narrow.held == Held::Nowhere || narrow.threads <= 512, "{width}: {narrow}");
                let plan = SoftmaxPlan::new(&desc, operands, true);
                let fits = match plan.held {
                    Held::Eight => plan.lanes as usize * 8 >= width,
                    Held::Sixteen => plan.lanes as usize * 16 >= width,
                    Held::Nowhere | Held::Columns => true,
                };
                let most = if plan.held == Held::Nowhere { 1024 } else { HOLDING / operands };
                assert!(fits && plan.threads as usize <= most, "{width}: {plan}");
                let shared = plan.lanes <= 32 && plan.lanes.is_power_of_two() && plan.threads == THREADS;
                assert!(shared || plan.lanes == plan.threads && plan.threads.is_multiple_of(32), "{width}: {plan}");
            }
        }
    }

    #[test]
    fn rows_of_logits_are_shared_by_powers_of_two_or_whole_blocks() {
        for classes in (0..5000).chain([50_257, 262_144]) {
            for accessed in [1, 4, 8] {
                for rows in [1, 4096] {
                    let plan = LossPlan::new(rows, classes, accessed);
                    let shared = plan.lanes <= 32 && plan.lanes.is_power_of_two() && plan.threads == THREADS;
                    let whole = plan.lanes == plan.threads && plan.threads.is_multiple_of(32) && plan.threads > 32;
                    assert!(shared && plan.parts == 1 || whole && plan.threads <= 1024, "{classes}: {plan}");
                }
            }
        }
        assert_eq!(LossPlan::new(1, 262_144, 8).parts, 8);
        assert_eq!(LossPlan::new(4096, 262_144, 8).parts, 1);
    }
}
