//! Occupancy: how many blocks a multiprocessor holds, by the rules of NVIDIA's occupancy calculator.

use super::abi::{BlockToShared, CuResult, Handle, In, Out, call_block_to_shared};
use super::call;
use super::error::{Code, Error, Res};
use super::function::{Function, function};
use super::launch::read_config;
use super::layouts::LaunchConfigC;
use super::table::lock;

/// Blocks of `threads` threads with `shared` bytes of dynamic shared memory that one multiprocessor holds; 0 where not
/// even one fits.
pub fn resident_blocks(function: &Function, threads: u32, shared: u32) -> Res<u32> {
    let model = function.model()?;
    let entry = function.entry();
    if threads == 0 || threads > function.max_threads()? {
        return Ok(0);
    }
    let warps = threads.div_ceil(model.warp_size);
    let by_warps = model.max_threads_per_multiprocessor / model.warp_size / warps;
    // Registers are given to warps in units, and every quarter of the multiprocessor has its own.
    let per_warp = (function.registers() * model.warp_size).next_multiple_of(model.register_allocation_unit).max(1);
    let quarter = model.registers_per_multiprocessor / 4;
    let by_registers = quarter / per_warp * 4 / warps;
    // An estimate does not keep a block from running.
    let by_registers = if function.declared_registers().is_none() { by_registers.max(1) } else { by_registers };
    let block = (entry.static_shared_bytes + model.reserved_shared_per_block)
        .checked_add(shared)
        .ok_or(Code::InvalidValue)?
        .next_multiple_of(model.shared_allocation_unit);
    let by_shared = model.shared_per_multiprocessor / block;
    Ok(by_warps.min(by_registers).min(by_shared).min(model.max_blocks_per_multiprocessor))
}

fn check_flags(flags: u32) -> Res {
    // CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE
    if flags > 1 { Err(Code::InvalidValue.into()) } else { Ok(()) }
}

fn max_active_blocks(out: Out<i32>, handle: Handle, block: i32, shared: usize, flags: u32) -> Res {
    out.check()?;
    let function = function(handle)?;
    check_flags(flags)?;
    let block = u32::try_from(block).ok().filter(|block| *block > 0).ok_or(Code::InvalidValue)?;
    let limit = function.max_dynamic_shared()?;
    // More than the function may have fits no block, as a launch would find.
    let blocks = match u32::try_from(shared) {
        Ok(shared) if shared <= limit => resident_blocks(&function, block, shared)?,
        _ => 0,
    };
    out.set(blocks as i32)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    out: Out<i32>,
    handle: Handle,
    block: i32,
    shared: usize,
) -> CuResult {
    call("cuOccupancyMaxActiveBlocksPerMultiprocessor", || max_active_blocks(out, handle, block, shared, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    out: Out<i32>,
    handle: Handle,
    block: i32,
    shared: usize,
    flags: u32,
) -> CuResult {
    call("cuOccupancyMaxActiveBlocksPerMultiprocessor", || max_active_blocks(out, handle, block, shared, flags))
}

struct Sizing {
    to_shared: BlockToShared,
    shared: usize,
    limit: i32,
    flags: u32,
}

fn max_potential_block_size(grid: Out<i32>, block: Out<i32>, handle: Handle, sizing: Sizing) -> Res {
    grid.check()?;
    block.check()?;
    check_flags(sizing.flags)?;
    let function = function(handle)?;
    let model = function.model()?;
    let most = function.max_threads()?;
    let limit = u32::try_from(sizing.limit).map_err(|_| Code::InvalidValue)?;
    let most = if limit == 0 { most } else { most.min(limit) };
    let allowed = function.max_dynamic_shared()?;
    let (mut best, mut best_threads) = (0, (0, 0));
    // From large to small, so that of equals the larger block is taken.
    let mut threads = most.next_multiple_of(model.warp_size);
    while threads > 0 {
        let candidate = threads.min(most);
        let shared = call_block_to_shared(sizing.to_shared, candidate, sizing.shared);
        if let Ok(shared) = u32::try_from(shared)
            && shared <= allowed
        {
            let blocks = resident_blocks(&function, candidate, shared)?;
            if blocks * candidate > best {
                best = blocks * candidate;
                best_threads = (candidate, blocks);
            }
        }
        threads -= model.warp_size;
    }
    if best == 0 {
        return Err(Error::invalid("no block of this function fits a multiprocessor"));
    }
    block.set(best_threads.0 as i32)?;
    grid.set((best_threads.1 * model.multiprocessors) as i32)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: Out<i32>,
    block: Out<i32>,
    handle: Handle,
    to_shared: BlockToShared,
    shared: usize,
    limit: i32,
) -> CuResult {
    let sizing = Sizing { to_shared, shared, limit, flags: 0 };
    call("cuOccupancyMaxPotentialBlockSize", || max_potential_block_size(grid, block, handle, sizing))
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: Out<i32>,
    block: Out<i32>,
    handle: Handle,
    to_shared: BlockToShared,
    shared: usize,
    limit: i32,
    flags: u32,
) -> CuResult {
    let sizing = Sizing { to_shared, shared, limit, flags };
    call("cuOccupancyMaxPotentialBlockSize", || max_potential_block_size(grid, block, handle, sizing))
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    out: Out<usize>,
    handle: Handle,
    blocks: i32,
    block: i32,
) -> CuResult {
    call("cuOccupancyAvailableDynamicSMemPerBlock", || {
        out.check()?;
        let function = function(handle)?;
        let model = function.model()?;
        let blocks = u32::try_from(blocks).ok().filter(|blocks| *blocks > 0).ok_or(Code::InvalidValue)?;
        let block = u32::try_from(block).ok().filter(|block| *block > 0).ok_or(Code::InvalidValue)?;
        if resident_blocks(&function, block, 0)? < blocks {
            return Err(Error::invalid(format!("{blocks} blocks of {block} threads do not fit a multiprocessor")));
        }
        let unit = model.shared_allocation_unit;
        let share = model.shared_per_multiprocessor / blocks / unit * unit;
        let taken = function.entry().static_shared_bytes + model.reserved_shared_per_block;
        let most = model.shared_per_block_optin.saturating_sub(function.entry().static_shared_bytes);
        out.set(share.saturating_sub(taken).min(most) as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialClusterSize(out: Out<i32>, handle: Handle, config: In<LaunchConfigC>) -> CuResult {
    call("cuOccupancyMaxPotentialClusterSize", || {
        out.check()?;
        let function = function(handle)?;
        let model = function.model()?;
        let (request, _) = read_config(config)?;
        let threads = request.block.iter().product();
        let most = if lock(&function.attributes).non_portable_cluster {
            model.max_cluster_non_portable
        } else {
            model.max_cluster
        };
        // A cluster lies in one of the device's GPCs, which hold this many multiprocessors.
        let per_cluster = resident_blocks(&function, threads, request.shared)? * GPC;
        let size = (1..=most).rev().find(|size| size.is_power_of_two() && *size <= per_cluster);
        out.set(size.unwrap_or(0) as i32)
    })
}

/// Multiprocessors of a GPC of the H100 SXM, where some have 18.
const GPC: u32 = 16;

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveClusters(out: Out<i32>, handle: Handle, config: In<LaunchConfigC>) -> CuResult {
    call("cuOccupancyMaxActiveClusters", || {
        out.check()?;
        let function = function(handle)?;
        let model = function.model()?;
        let (request, _) = read_config(config)?;
        let threads = request.block.iter().product();
        let asked = request.attributes.iter().find(|attribute| attribute.id == 4);
        let declared = function.entry().req_nctapercluster;
        let cluster = asked.map(|one| [one.value[0], one.value[1], one.value[2]]).or(declared).unwrap_or([1; 3]);
        let size = cluster.iter().product::<u32>();
        let set = lock(&function.attributes).clone();
        let most = if set.non_portable_cluster { model.max_cluster_non_portable } else { model.max_cluster };
        if size == 0 || size > most {
            return Err(Error::new(Code::InvalidClusterSize, format!("clusters of {size} blocks; {most} are allowed")));
        }
        let resident = resident_blocks(&function, threads, request.shared)?;
        let per_gpc = resident * GPC / size;
        out.set((per_gpc * (model.multiprocessors / GPC)) as i32)
    })
}
