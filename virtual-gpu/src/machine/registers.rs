//! The registers of a block, as `setmaxnreg` moves them between its warps.
//!
//! A block starts with the registers that the kernel was compiled for, times its threads. `.dec` gives a warp's surplus
//! to the block, `.inc` takes from there and waits while there is too little. All four warps of a warpgroup execute the
//! same changes. Where the register count at entry is not settled, by `.maxnreg` or by `.maxntid` or `.reqntid` together
//! with `.minnctapersm`, the instruction has no effect (PTX ISA, "setmaxnreg"; ptxas then says C7508).

use super::launch::Launch;

/// Registers of a block.
#[derive(Debug, Default)]
pub struct Registers {
    /// Per thread of each warp; empty before the first change.
    held: Vec<u32>,
    /// Free, counted per thread of a warp.
    pub free: u32,
    /// Changes that each warp made, by pc.
    changes: Vec<Vec<u32>>,
}

/// What comes of a change.
pub enum Change {
    Done,
    /// The block has too few free; this many are needed.
    Short(u32),
    Wrong(String),
}

/// Registers of a thread at launch, where the kernel's declarations settle them as they do for ptxas.
fn at_launch(launch: &Launch<'_>) -> Option<u32> {
    let entry = launch.entry;
    if entry.max_nreg.is_some() {
        return entry.max_nreg;
    }
    let block: u32 = entry.req_ntid.or(entry.max_ntid)?.iter().product();
    let warps = block.div_ceil(32).next_multiple_of(4) * entry.min_nctapersm?.max(1);
    let most = launch.config.model.registers_per_multiprocessor / (32 * warps.max(1));
    Some(launch.config.cubin_registers.unwrap_or((most / 8 * 8).clamp(24, 255)))
}

impl Registers {
    /// A warp changes its count.
    pub fn change(&mut self, launch: &Launch<'_>, warp: usize, pc: u32, count: u32, more: bool) -> Change {
        let Some(start) = at_launch(launch) else {
            launch.note("setmaxnreg has no effect: neither .maxnreg nor .maxntid with .minnctapersm settles the registers at entry");
            return Change::Done;
        };
        let warps = launch.threads().div_ceil(32) as usize;
        if self.held.is_empty() {
            self.held = vec![start; warps];
            self.changes = vec![Vec::new(); warps];
        }
        let group = warp / 4 * 4;
        if group + 4 > warps {
            return Change::Wrong(format!(
                "setmaxnreg by warp {warp} of {warps}: all four warps of a warpgroup must execute it"
            ));
        }
        let at = self.changes[warp].len();
        if let Some(other) = (group..group + 4).find(|w| self.changes[*w].get(at).is_some_and(|p| *p != pc)) {
            return Change::Wrong(format!(
                "warp {other} of the same warpgroup executed another setmaxnreg than warp {warp}"
            ));
        }
        let held = self.held[warp];
        match (more, held.cmp(&count)) {
            (true, std::cmp::Ordering::Greater) | (false, std::cmp::Ordering::Less) => {
                let what = if more { "inc" } else { "dec" };
                return Change::Wrong(format!("setmaxnreg.{what} to {count} of a warp with {held} registers a thread"));
            }
            (true, _) if count - held > self.free => return Change::Short(count - held),
            _ => {}
        }
        self.free = self.free + held - count;
        self.held[warp] = count;
        self.changes[warp].push(pc);
        Change::Done
    }

    /// The warpgroup whose warps made different numbers of changes, if one did.
    pub fn uneven(&self) -> Option<usize> {
        self.changes.chunks(4).position(|group| group.iter().any(|c| c.len() != group[0].len()))
    }
}
