//! Page-locked host memory that copies pass through: the device reads and writes it by itself, while the host goes on.
//!
//! Blocks are the process' own memory, registered with the driver, and stay for the life of the device: the process
//! owns them at its end, not the driver.

use super::CudaDevice;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUevent, CUevent_flags};
use std::alloc::Layout;

/// The smallest and the largest block; longer copies are cut.
const BLOCKS: [usize; 2] = [64 << 10, 32 << 20];
/// Bytes of blocks that are kept; beyond, a copy waits for an earlier one.
const MOST: usize = 128 << 20;
/// What blocks start at multiples of: whole pages, of whatever size the system has.
const PAGE: usize = 64 << 10;

/// Blocks of page-locked memory that no thread uses, each with the event behind its last copy, in the order of their use.
#[derive(Default)]
pub(super) struct Staging {
    blocks: Vec<Block>,
    /// Bytes of all blocks, also of those in use.
    bytes: usize,
}

struct Block {
    host: *mut u8,
    bytes: usize,
    done: CUevent,
}

// SAFETY: the memory belongs to the block alone, and events may be used from any thread.
unsafe impl Send for Block {}

/// Calls `f` with a block of at least that many bytes that nothing else uses.
fn with_block<R>(
    device: &CudaDevice,
    bytes: usize,
    f: impl FnOnce(&mut Block) -> Result<R, DriverError>,
) -> Result<R, DriverError> {
    let mut block = device.staging().lock().take(bytes)?;
    let out = f(&mut block);
    // Whatever came of it: the event tells when the block is free.
    device.staging().lock().blocks.push(block);
    out
}

/// Copies host bytes to device memory in stream order. They have been read when the call returns.
///
/// # Safety
/// `address` has room for the bytes, and the device's context is current.
pub(super) unsafe fn upload(device: &CudaDevice, address: u64, bytes: &[u8]) -> Result<(), DriverError> {
    for (i, part) in bytes.chunks(BLOCKS[1]).enumerate() {
        with_block(device, part.len(), |block| {
            // SAFETY: the block has at least as many bytes, and no copy uses it (`take`); the device memory has room, by
            // the caller's promise, and the event is the block's own.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(block.host, part.len());
                staged.copy_from_slice(part);
                result::memcpy_htod_async(address + (i * BLOCKS[1]) as u64, staged, device.main_stream())?;
                result::event::record(block.done, device.main_stream())
            }
        })?;
    }
    Ok(())
}

/// Copies device memory to the host, after all work that writes it; waits for it.
///
/// # Safety
/// `address` has as many bytes, and the device's context is current.
pub(super) unsafe fn download(device: &CudaDevice, address: u64, to: &mut [u8]) -> Result<(), DriverError> {
    for (i, part) in to.chunks_mut(BLOCKS[1]).enumerate() {
        with_block(device, part.len(), |block| {
            // SAFETY: as in `upload`; the block is read after the stream was waited for.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(block.host, part.len());
                result::memcpy_dtoh_async(staged, address + (i * BLOCKS[1]) as u64, device.main_stream())?;
                device.wait()?;
                part.copy_from_slice(staged);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Host memory of whole pages that the device may access; it stays for the life of the process.
///
/// # Errors
/// The driver's, or `CUDA_ERROR_OUT_OF_MEMORY` where the process has not that much.
pub(super) fn registered(bytes: usize) -> Result<*mut u8, DriverError> {
    let none = DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| none)?;
    // SAFETY: the layout is not empty: nobody asks for no bytes.
    let host = unsafe { std::alloc::alloc_zeroed(layout) };
    if host.is_null() {
        return Err(none);
    }
    let flags = sys::CU_MEMHOSTREGISTER_DEVICEMAP | sys::CU_MEMHOSTREGISTER_PORTABLE;
    // SAFETY: whole pages of the process' own memory, which is not freed while they are registered.
    let done = unsafe { sys::cuMemHostRegister_v2(host.cast(), bytes, flags) }.result();
    if let Err(error) = done {
        // SAFETY: allocated above with this layout, and known to nobody.
        unsafe { std::alloc::dealloc(host, layout) };
        return Err(error);
    }
    Ok(host)
}

impl Staging {
    /// A block of at least that many bytes that no copy uses: one that is free, a new one, or the first that is done.
    /// The device's context is current.
    fn take(&mut self, bytes: usize) -> Result<Block, DriverError> {
        let wanted = bytes.max(BLOCKS[0]).next_power_of_two();
        // SAFETY: events are destroyed never.
        let free = |block: &Block| block.bytes == wanted && unsafe { result::event::query(block.done) }.is_ok();
        if let Some(at) = self.blocks.iter().position(free) {
            return Ok(self.blocks.remove(at));
        }
        if self.bytes + wanted > MOST
            && let Some(at) = self.blocks.iter().position(|block| block.bytes == wanted)
        {
            // SAFETY: as above. Copies end in the order in which they were given, so the block that was used longest ago,
            // which stands first, is done first.
            unsafe { result::event::synchronize(self.blocks[at].done) }?;
            return Ok(self.blocks.remove(at));
        }
        let done = result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        let host = registered(wanted).inspect_err(|_| {
            // SAFETY: the event is this function's own.
            let _ = unsafe { result::event::destroy(done) };
        })?;
        self.bytes += wanted;
        Ok(Block { host, bytes: wanted, done })
    }
}
