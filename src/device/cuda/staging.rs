//! Page-locked host memory that copies pass through: the device reads and writes it by itself, while the host goes on.

use super::CudaDevice;
use crate::Result;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{CUevent, CUevent_flags};

/// The smallest and the largest block; longer copies are cut.
const BLOCKS: [usize; 2] = [64 << 10, 32 << 20];
/// Bytes of blocks that are kept; beyond, a copy waits for an earlier one.
const MOST: usize = 128 << 20;

/// Blocks of page-locked memory, each with the event behind its last copy.
#[derive(Default)]
pub(super) struct Staging {
    blocks: Vec<Block>,
}

struct Block {
    host: *mut u8,
    bytes: usize,
    done: CUevent,
}

// SAFETY: the memory belongs to the block alone, and events may be used from any thread.
unsafe impl Send for Block {}

impl Staging {
    /// Copies host bytes to device memory in stream order. They have been read when the call returns.
    ///
    /// # Safety
    /// `address` has room for the bytes, and the device's context is current.
    pub unsafe fn upload(&mut self, device: &CudaDevice, address: u64, bytes: &[u8]) -> Result<(), DriverError> {
        for (i, part) in bytes.chunks(BLOCKS[1]).enumerate() {
            let block = self.block(part.len())?;
            // SAFETY: the block has at least as many bytes, and no copy uses it (`block`); the device memory has room, by
            // the caller's promise, and the event is the block's own.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(block.host, part.len());
                staged.copy_from_slice(part);
                result::memcpy_htod_async(address + (i * BLOCKS[1]) as u64, staged, device.stream())?;
                result::event::record(block.done, device.stream())?;
            }
        }
        Ok(())
    }

    /// Copies device memory to the host, after all work that writes it; waits for it.
    ///
    /// # Safety
    /// `address` has as many bytes, and the device's context is current.
    pub unsafe fn download(&mut self, device: &CudaDevice, address: u64, to: &mut [u8]) -> Result<(), DriverError> {
        for (i, part) in to.chunks_mut(BLOCKS[1]).enumerate() {
            let block = self.block(part.len())?;
            // SAFETY: as in `upload`; the block is read after the stream was waited for.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(block.host, part.len());
                result::memcpy_dtoh_async(staged, address + (i * BLOCKS[1]) as u64, device.stream())?;
                result::stream::synchronize(device.stream())?;
                part.copy_from_slice(staged);
            }
        }
        Ok(())
    }

    /// A block of at least that many bytes that no copy uses: one that is free, a new one, or the first that is done.
    fn block(&mut self, bytes: usize) -> Result<&mut Block, DriverError> {
        let wanted = bytes.max(BLOCKS[0]).next_power_of_two();
        // SAFETY: events are destroyed never.
        let free = |block: &Block| block.bytes == wanted && unsafe { result::event::query(block.done) }.is_ok();
        let at = match self.blocks.iter().position(free) {
            Some(at) => at,
            None if self.blocks.iter().map(|block| block.bytes).sum::<usize>() + wanted > MOST => {
                match self.blocks.iter().position(|block| block.bytes == wanted) {
                    Some(at) => {
                        // SAFETY: as above. Copies end in the order in which they were given, so the block that was used
                        // longest ago, which stands first, is done first.
                        unsafe { result::event::synchronize(self.blocks[at].done) }?;
                        at
                    }
                    None => self.add(wanted)?,
                }
            }
            None => self.add(wanted)?,
        };
        // To the end, so that blocks stand in the order of their use.
        let block = self.blocks.remove(at);
        self.blocks.push(block);
        let last = self.blocks.len() - 1;
        Ok(&mut self.blocks[last])
    }

    fn add(&mut self, bytes: usize) -> Result<usize, DriverError> {
        let done = result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        // SAFETY: the context is current (callers promise it). Blocks live as long as their device: for ever.
        let host = unsafe { result::malloc_host(bytes, 0) }?.cast();
        // SAFETY: fresh memory of that size: written before it is first read as a slice of initialised bytes.
        unsafe { std::ptr::write_bytes(host, 0, bytes) };
        self.blocks.push(Block { host, bytes, done });
        Ok(self.blocks.len() - 1)
    }
}
