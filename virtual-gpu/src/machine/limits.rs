//! What a launch may ask for, and how much of an SM it fills.

use super::fault::{Fault, FaultKind};
use super::launch::{Checks, LaunchConfig};
use super::program::Entry;

/// How a launch fills an SM.
pub(super) struct Occupancy {
    /// Blocks an SM holds.
    pub blocks: u32,
    /// Registers per thread assumed.
    pub registers: u32,
    /// Resident warps of the most possible, in percent.
    pub percent: u32,
}

impl Occupancy {
    /// Share of all warps that are resident on average, in percent: the blocks of a wave over what the device holds.
    pub fn achieved(&self, config: &LaunchConfig) -> u32 {
        let m = &config.model;
        let blocks: u64 = config.grid.iter().map(|g| u64::from(*g)).product();
        let wave = u64::from(m.multiprocessors) * u64::from(self.blocks);
        let waves = blocks.div_ceil(wave).max(1);
        let threads = u64::from(config.block.iter().product::<u32>().next_multiple_of(32));
        let room = waves * u64::from(m.multiprocessors) * u64::from(m.max_threads_per_multiprocessor);
        (blocks * threads * 100 / room.max(1)) as u32
    }
}

/// Registers are given to a warp in units of this many.
const REGISTER_UNIT: u32 = 256;

/// Checks a launch against the device and the entry's bounds.
pub(super) fn check(entry: &Entry, config: &LaunchConfig, params: usize, checks: &Checks) -> Result<Occupancy, Fault> {
    let m = &config.model;
    let invalid = |text: String| Err(Fault::new(FaultKind::InvalidValue, format!("launch of {}: {text}", entry.name)));
    let resources =
        |text: String| Err(Fault::new(FaultKind::OutOfResources, format!("launch of {}: {text}", entry.name)));
    if params < entry.param_bytes as usize {
        return invalid(format!("{params} bytes of parameters, the kernel takes {}", entry.param_bytes));
    }
    for k in 0..3 {
        let axis = ["x", "y", "z"][k];
        if config.grid[k] == 0 || config.block[k] == 0 || config.cluster[k] == 0 {
            return invalid(format!("an extent of the grid, block or cluster is zero in {axis}"));
        }
        if config.grid[k] > m.max_grid[k] {
            return invalid(format!("{} blocks in {axis}, the device takes {}", config.grid[k], m.max_grid[k]));
        }
        if config.block[k] > m.max_block[k] {
            return invalid(format!("{} threads in {axis}, the device takes {}", config.block[k], m.max_block[k]));
        }
        if !config.grid[k].is_multiple_of(config.cluster[k]) {
            return invalid(format!(
                "the grid has {} blocks in {axis}, which clusters of {} do not divide",
                config.grid[k], config.cluster[k]
            ));
        }
    }
    let threads = config.block.iter().map(|b| u64::from(*b)).product::<u64>();
    if threads > u64::from(m.max_threads_per_block) {
        return invalid(format!("a block of {threads} threads, the device takes {}", m.max_threads_per_block));
    }
    let threads = threads as u32;
    let blocks = config.cluster.iter().map(|c| u64::from(*c)).product::<u64>();
    let most = if config.non_portable_cluster { m.max_cluster * 2 } else { m.max_cluster };
    if blocks > 1 && (m.max_cluster <= 1 || blocks > u64::from(most)) {
        return Err(Fault::new(
            FaultKind::InvalidClusterSize,
            format!("launch of {}: a cluster of {blocks} blocks, the device takes {most}", entry.name),
        ));
    }
    if entry.max_cluster_rank.is_some_and(|r| blocks > u64::from(r)) {
        return invalid(format!("a cluster of {blocks} blocks exceeds .maxclusterrank"));
    }
    let shared = entry.static_shared_bytes + config.dynamic_shared;
    if shared > m.shared_per_block_optin {
        return invalid(format!("{shared} bytes of shared memory, a block has {}", m.shared_per_block_optin));
    }
    let warps = threads.div_ceil(32);
    let registers = config.cubin_registers.unwrap_or(entry.registers).max(16);
    if checks.limits {
        if entry.static_shared_bytes > m.shared_per_block {
            return resources(format!(
                "{} bytes of static shared memory, {} are allowed",
                entry.static_shared_bytes, m.shared_per_block
            ));
        }
        let granted = config.max_dynamic_shared.max(m.shared_per_block.saturating_sub(entry.static_shared_bytes));
        if config.dynamic_shared > granted {
            return invalid(format!(
                "{} bytes of dynamic shared memory, {granted} were granted: opt in with \
                 CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES",
                config.dynamic_shared
            ));
        }
        if let Some(max) = entry.max_ntid
            && threads > max.iter().product::<u32>()
        {
            return invalid(format!("{threads} threads, .maxntid allows {}", max.iter().product::<u32>()));
        }
        if let Some(want) = entry.req_ntid
            && config.block != want
        {
            return invalid(format!("a block of {:?}, .reqntid asks for {want:?}", config.block));
        }
        let per_thread = config.cubin_registers.or(entry.max_nreg);
        if let Some(per_thread) = per_thread {
            let need = (per_thread * 32).next_multiple_of(REGISTER_UNIT) * warps;
            if need > m.registers_per_block {
                return resources(format!(
                    "{per_thread} registers for each of {threads} threads take {need}, a block has {}",
                    m.registers_per_block
                ));
            }
        }
    }
    let by_threads = m.max_threads_per_multiprocessor / (warps * 32);
    let by_shared = m
        .shared_per_multiprocessor
        .checked_div(if shared == 0 { 0 } else { shared.next_multiple_of(128) + m.reserved_shared_per_block })
        .unwrap_or(u32::MAX);
    let unit = (registers * 32).next_multiple_of(REGISTER_UNIT) * warps;
    let by_registers = (m.registers_per_multiprocessor / unit).max(1);
    let blocks = by_threads.min(by_shared).min(by_registers).min(m.max_blocks_per_multiprocessor).max(1);
    Ok(Occupancy { blocks, registers, percent: blocks * warps * 32 * 100 / m.max_threads_per_multiprocessor })
}
