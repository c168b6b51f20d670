//! Host memory blocks with a size-classed, bounded, clearable free list.
//!
//! Fresh memory is dear: the kernel zeroes each page on first touch (262 MB cost 115 ms). Blocks that are dropped
//! are kept by size class and handed out again. Blocks are zeroed when first taken from the system and hold old
//! values when reused, so a block is always initialised memory and every byte pattern is a valid [`Element`].

use crate::{Element, Error, Result};
use parking_lot::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Cache lines and AVX-512 vectors are 64 bytes.
const ALIGN: usize = 64;
/// Blocks below this are left to the system allocator, which is fast there.
const SMALLEST_CACHED: usize = 1 << 12;
/// Bytes kept by default: enough for the activations of a mid-sized network.
const DEFAULT_LIMIT: usize = 2 << 30;

struct Cache {
    /// Free blocks by size class.
    free: std::collections::BTreeMap<usize, Vec<Block>>,
    bytes: usize,
    limit: usize,
}

static CACHE: Mutex<Cache> =
    Mutex::new(Cache { free: std::collections::BTreeMap::new(), bytes: 0, limit: DEFAULT_LIMIT });

/// Gives every cached block back to the system.
pub fn clear_cache() {
    let mut cache = CACHE.lock();
    cache.bytes = 0;
    let free = std::mem::take(&mut cache.free);
    // Released outside the lock: unmapping large blocks takes long.
    drop(cache);
    drop(free);
}

/// The bytes held in the free list.
pub fn cached_bytes() -> usize {
    CACHE.lock().bytes
}

/// Bounds the free list; blocks dropped beyond it go back to the system at once. The default is 2 GiB.
pub fn set_cache_limit(bytes: usize) {
    CACHE.lock().limit = bytes;
    if cached_bytes() > bytes {
        clear_cache();
    }
}

/// Rounds up to a quarter of a power of two: at most 25 % waste, few classes.
fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(ALIGN);
    if bytes < SMALLEST_CACHED {
        return bytes.next_multiple_of(ALIGN);
    }
    let step = (bytes.next_power_of_two() / 8).max(ALIGN);
    bytes.next_multiple_of(step)
}

/// Memory from the system allocator, freed on drop.
#[derive(Debug)]
struct Block {
    ptr: NonNull<u8>,
    size: usize,
}

// SAFETY: a block owns its memory exclusively, like a Box<[u8]>; access goes through & and &mut of its owner.
unsafe impl Send for Block {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Block {}

impl Block {
    fn layout(size: usize) -> Option<Layout> {
        Layout::from_size_align(size, ALIGN).ok()
    }

    fn fresh(size: usize) -> Option<Block> {
        let layout = Self::layout(size)?;
        // SAFETY: size classes are at least ALIGN bytes, so the layout is not zero-sized.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map(|ptr| Block { ptr, size })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.size) {
            // SAFETY: the pointer came from alloc_zeroed with this very layout and is freed once.
            unsafe { dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}

/// Bytes of host memory, aligned to 64, always initialised.
#[derive(Debug)]
pub struct CpuMemory {
    block: Option<Block>,
    bytes: usize,
}

impl CpuMemory {
    /// Memory whose contents are arbitrary values left by earlier owners.
    pub fn uninit(bytes: usize) -> Result<Self> {
        Self::take(bytes).map(|(memory, _)| memory)
    }

    /// Memory of zeros.
    pub fn zeros(bytes: usize) -> Result<Self> {
        let (mut memory, fresh) = Self::take(bytes)?;
        if !fresh {
            memory.as_mut_slice::<u8>(bytes).fill(0);
        }
        Ok(memory)
    }

    fn take(bytes: usize) -> Result<(Self, bool)> {
        let size = size_class(bytes);
        let mut cache = CACHE.lock();
        if let Some(block) = cache.free.get_mut(&size).and_then(Vec::pop) {
            cache.bytes -= size;
            return Ok((CpuMemory { block: Some(block), bytes }, false));
        }
        drop(cache);
        let block = Block::fresh(size).or_else(|| {
            // The free list may be what fills the memory.
            clear_cache();
            Block::fresh(size)
        });
        match block {
            Some(block) => Ok((CpuMemory { block: Some(block), bytes }, true)),
            None => Err(Error::Device { op: "allocation", message: format!("out of host memory for {bytes} bytes") }),
        }
    }

    fn ptr(&self) -> *mut u8 {
        self.block.as_ref().map_or(std::ptr::dangling_mut::<u64>().cast(), |block| block.ptr.as_ptr())
    }

    /// The first `len` elements.
    pub fn as_slice<T: Element>(&self, len: usize) -> &[T] {
        assert!(
            len.checked_mul(size_of::<T>()).is_some_and(|b| b <= self.bytes),
            "{len} elements in {} bytes",
            self.bytes
        );
        // SAFETY: the block holds at least `bytes` initialised bytes, aligned to 64, and every bit pattern is a
        // valid value of every (sealed) Element; the borrow of self keeps it alive and unwritten.
        unsafe { std::slice::from_raw_parts(self.ptr().cast::<T>(), len) }
    }

    /// The first `len` elements, mutable.
    pub fn as_mut_slice<T: Element>(&mut self, len: usize) -> &mut [T] {
        assert!(
            len.checked_mul(size_of::<T>()).is_some_and(|b| b <= self.bytes),
            "{len} elements in {} bytes",
            self.bytes
        );
        // SAFETY: as in as_slice; the exclusive borrow of self makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.ptr().cast::<T>(), len) }
    }

    /// Copies the bytes of another run of the same size.
    pub fn copy_from(&mut self, other: &CpuMemory) {
        let bytes = self.bytes.min(other.bytes);
        self.as_mut_slice::<u8>(bytes).copy_from_slice(other.as_slice::<u8>(bytes));
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        if block.size < SMALLEST_CACHED {
            return;
        }
        let mut cache = CACHE.lock();
        if cache.bytes + block.size <= cache.limit {
            cache.bytes += block.size;
            cache.free.entry(block.size).or_default().push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_a_quarter() {
        for bytes in [1, 63, 64, 65, 4095, 4096, 4097, 5000, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(ALIGN));
            assert!(bytes < SMALLEST_CACHED || class <= bytes + bytes / 4 + ALIGN, "{bytes} -> {class}");
        }
    }

    #[test]
    fn zeros_are_zeros_after_reuse() {
        let mut a = CpuMemory::uninit(10_000).unwrap();
        a.as_mut_slice::<u8>(10_000).fill(7);
        drop(a);
        assert!(CpuMemory::zeros(10_000).unwrap().as_slice::<u8>(10_000).iter().all(|&b| b == 0));
    }
}
