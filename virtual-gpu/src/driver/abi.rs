//! What crosses the C boundary: argument wrappers, structure layouts, numbers.
//!
//! Handles are plain integers that are looked up in tables and never dereferenced. Pointers to host memory are wrapped
//! in [`In`] and [`Out`], which refuse null (and the first page, where a null structure's fields lie) and make no
//! assumption about alignment. Everything else a C caller promises, that a pointer it hands in is good for the size the
//! API documents, has to be believed here as in any driver; the wrappers are where it is believed.

use super::error::{Code, Error, Res};
use crate::machine::Memory;
use std::ffi::{c_char, c_void};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};

/// A `CUcontext`, `CUstream`, ... as the caller sees it.
pub type Handle = usize;
/// What every entry point returns: a `CUresult`.
pub type CuResult = u32;

const FIRST_PAGE: usize = 4_096;

/// An optional pointer that an entry point writes through.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// The same address seen as another type.
    pub fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// An output at a host address.
    pub fn at_address(address: usize) -> Out<T> {
        Out(std::ptr::with_exposed_provenance_mut(address))
    }

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub fn address(&self) -> usize {
        self.0.expose_provenance()
    }

    /// Fails with `CUDA_ERROR_INVALID_VALUE` where the pointer cannot be one.
    pub fn check(&self) -> Res {
        if self.0.addr() < FIRST_PAGE { Err(Code::InvalidValue.into()) } else { Ok(()) }
    }

    pub fn set(&self, value: T) -> Res {
        self.check()?;
        // SAFETY: not null; the caller of the C entry point promises room for a T. Unaligned on purpose.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// Writes where the caller asked for the value, and does nothing where it passed null.
    pub fn set_if_wanted(&self, value: T) -> Res {
        if self.is_null() { Ok(()) } else { self.set(value) }
    }

    pub fn set_at(&self, index: usize, value: T) -> Res {
        self.check()?;
        // SAFETY: not null; the caller promises an array of more than `index` elements.
        unsafe { self.0.wrapping_add(index).write_unaligned(value) };
        Ok(())
    }
}

impl<T: Copy> Out<T> {
    /// Reads what the caller put there (for in-out arguments).
    pub fn get(&self) -> Res<T> {
        In(self.0.cast_const()).get()
    }
}

impl Out<c_char> {
    /// Writes `text` and its terminating zero into a buffer of `len` bytes, cut short where it is longer.
    pub fn set_text(&self, text: &str, len: usize) -> Res {
        if len == 0 {
            return Err(Code::InvalidValue.into());
        }
        let bytes = &text.as_bytes()[..text.len().min(len - 1)];
        for (index, byte) in bytes.iter().chain(std::iter::once(&0)).enumerate() {
            self.set_at(index, *byte as c_char)?;
        }
        Ok(())
    }
}

/// An optional pointer that an entry point reads through.
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for In<T> {}

impl<T> In<T> {
    /// An input at a pointer of this object (for structures handed out).
    pub fn from_pointer(pointer: *const T) -> In<T> {
        In(pointer)
    }
}

impl<T: Copy> In<T> {
    pub fn cast<U: Copy>(self) -> In<U> {
        In(self.0.cast())
    }

    /// An input at a host address.
    pub fn at_address(address: usize) -> In<T> {
        In(std::ptr::with_exposed_provenance(address))
    }

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub fn get(&self) -> Res<T> {
        self.at(0)
    }

    pub fn at(&self, index: usize) -> Res<T> {
        if self.0.addr() < FIRST_PAGE {
            return Err(Code::InvalidValue.into());
        }
        // SAFETY: not null; the caller of the C entry point promises `index + 1` elements. Unaligned on purpose, and T is
        // one of the plain integer structures of this module, for which every bit pattern is a value.
        Ok(unsafe { self.0.wrapping_add(index).read_unaligned() })
    }

    /// The first `count` elements; none are read where `count` is 0.
    pub fn all(&self, count: usize) -> Res<Vec<T>> {
        (0..count).map(|index| self.at(index)).collect()
    }
}

impl In<u8> {
    /// `len` bytes of host memory.
    pub fn bytes(&self, len: usize) -> Res<Vec<u8>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        if self.0.addr() < FIRST_PAGE {
            return Err(Code::InvalidValue.into());
        }
        let mut bytes = vec![0; len];
        // SAFETY: not null; the caller promises `len` readable bytes, and the destination is a fresh vector of that size.
        unsafe { std::ptr::copy_nonoverlapping(self.0, bytes.as_mut_ptr(), len) };
        Ok(bytes)
    }
}

impl In<c_char> {
    /// The bytes before the terminating zero.
    pub fn c_bytes(&self) -> Res<Vec<u8>> {
        if self.0.addr() < FIRST_PAGE {
            return Err(Code::InvalidValue.into());
        }
        // SAFETY: not null; the caller promises a zero-terminated string.
        Ok(unsafe { std::ffi::CStr::from_ptr(self.0) }.to_bytes().to_vec())
    }

    /// The string before the terminating zero.
    pub fn text(&self) -> Res<String> {
        String::from_utf8(self.c_bytes()?).map_err(|_| Error::new(Code::InvalidValue, "a name is not UTF-8"))
    }
}

/// A `CUhostFn`.
pub type HostFn = Option<unsafe extern "C" fn(*mut c_void)>;
/// A `CUstreamCallback`.
pub type StreamCallback = Option<unsafe extern "C" fn(Handle, CuResult, *mut c_void)>;
/// A `CUoccupancyB2DSize`.
pub type BlockToShared = Option<unsafe extern "C" fn(i32) -> usize>;

/// Calls back into the program.
pub fn call_host(function: HostFn, data: usize) {
    if let Some(function) = function {
        // SAFETY: the program registered this function to be called with this argument.
        unsafe { function(std::ptr::with_exposed_provenance_mut(data)) }
    }
}

/// Calls a stream callback of the program.
pub fn call_stream_callback(function: StreamCallback, stream: Handle, status: CuResult, data: usize) {
    if let Some(function) = function {
        // SAFETY: the program registered this function to be called with these arguments.
        unsafe { function(stream, status, std::ptr::with_exposed_provenance_mut(data)) }
    }
}

/// Asks the program how much dynamic shared memory a block of `threads` needs.
pub fn call_block_to_shared(function: BlockToShared, threads: u32, otherwise: usize) -> usize {
    match function {
        // SAFETY: the program passed this function to be called with a block size.
        Some(function) => unsafe { function(threads as i32) },
        None => otherwise,
    }
}

/// Lends `len` bytes of host memory for reading.
pub fn with_host_bytes<R>(address: u64, len: u64, body: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: the program passed this range to be read by a copy, which the driver checked not to be null, and promises
    // to leave it alone until the copy is over.
    body(unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address as usize), len as usize) })
}

/// Lends `len` bytes of host memory for writing.
pub fn with_host_bytes_mut<R>(address: u64, len: u64, body: impl FnOnce(&mut [u8]) -> R) -> R {
    let start = std::ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: the program passed this range to be written by a copy, which the driver checked not to be null, and
    // promises to leave it alone until the copy is over.
    body(unsafe { std::slice::from_raw_parts_mut(start, len as usize) })
}

/// Copies host memory to host memory; the ranges may overlap.
pub fn copy_host(to: u64, from: u64, len: u64) {
    let from: *const u8 = std::ptr::with_exposed_provenance(from as usize);
    let to: *mut u8 = std::ptr::with_exposed_provenance_mut(to as usize);
    // SAFETY: the program passed both ranges to a copy, which the driver checked not to be null.
    unsafe { std::ptr::copy(from, to, len as usize) };
}

/// Registers a function to run when the process ends.
pub fn at_exit(function: extern "C" fn()) {
    // SAFETY: the object is never unloaded, so that the function is there when the process ends.
    unsafe { libc::atexit(function) };
}

/// Reserves addresses that nothing can be read from or written to yet.
pub fn reserve_pages(bytes: u64, alignment: u64) -> Option<u64> {
    let whole = bytes.checked_add(alignment)? as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the system's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.expose_provenance() as u64;
    let address = start.next_multiple_of(alignment);
    // What lies before and behind the aligned part goes back.
    for (from, to) in [(start, address), (address + bytes, start + whole as u64)] {
        if to > from {
            free_pages(from, to - from);
        }
    }
    Some(address)
}

/// Gives up addresses of [`reserve_pages`].
pub fn free_pages(address: u64, bytes: u64) {
    let start = std::ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: the range was reserved here, and the caller knows that nothing is mapped in it any more.
    unsafe { libc::munmap(start, bytes as usize) };
}

/// Maps a file over reserved addresses.
pub fn map_pages(address: u64, bytes: u64, file: &File) -> bool {
    let start = std::ptr::with_exposed_provenance_mut(address as usize);
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range lies in addresses that were reserved here and hold nothing.
    unsafe { libc::mmap(start, bytes as usize, rights, flags, file.as_raw_fd(), 0) != libc::MAP_FAILED }
}

/// Makes mapped addresses reserved ones again.
pub fn unmap_pages(address: u64, bytes: u64) {
    let start = std::ptr::with_exposed_provenance_mut(address as usize);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the range was mapped by `map_pages` and the machine no longer sees it.
    unsafe { libc::mmap(start, bytes as usize, libc::PROT_NONE, flags, -1, 0) };
}

/// A file without a name, in memory.
pub fn anonymous_file() -> std::io::Result<File> {
    // SAFETY: a zero-terminated name.
    let descriptor = unsafe { libc::memfd_create(c"virtual-gpu".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Makes host memory addressable by a device.
pub fn register(memory: &Memory, address: u64, bytes: u64) -> Res {
    // SAFETY: the range is an allocation of another device's memory, which hides it before it is freed, or was passed to
    // cuMemHostRegister, whose caller promises to keep it until it is unregistered.
    Ok(unsafe { memory.register(address, bytes) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_an_error_and_not_a_crash() {
        assert!(In::<u64>::at_address(0).get().is_err());
        assert!(In::<u64>::at_address(8).get().is_err());
        assert!(Out::<u64>::at_address(0).set(1).is_err());
        assert!(Out::<u64>::at_address(0).set_if_wanted(1).is_ok());
    }
}
