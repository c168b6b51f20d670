//! Reservations of virtual memory that is zero until touched.

/// A reserved range.
pub(super) struct Reservation {
    /// First address.
    pub base: u64,
    /// Bytes, without the padding behind.
    pub len: u64,
    mapped: usize,
}

/// Readable bytes behind each reservation.
const PADDING: u64 = 4096;

impl Reservation {
    /// Reserves `len` bytes; `None` where the system has no room.
    pub fn new(len: u64) -> Option<Reservation> {
        let mapped = usize::try_from(len + PADDING).ok()?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing of ours.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            return None;
        }
        Some(Reservation { base: p.expose_provenance() as u64, len, mapped })
    }

    /// A reservation of nothing.
    pub fn none() -> Reservation {
        Reservation { base: 4096, len: 0, mapped: 0 }
    }

    /// A pointer to an address of the reservation.
    #[inline(always)]
    pub fn pointer(&self, address: u64) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(address as usize)
    }

    /// Gives the whole pages of a range back to the system; they read as zero afterwards.
    pub fn discard(&self, address: u64, bytes: u64) {
        const PAGE: u64 = 4096;
        let first = address.next_multiple_of(PAGE);
        let last = (address + bytes) / PAGE * PAGE;
        if first >= last {
            return;
        }
        // SAFETY: whole pages of our own private anonymous mapping.
        unsafe {
            libc::madvise(self.pointer(first).cast(), (last - first) as usize, libc::MADV_DONTNEED);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.mapped != 0 {
            // SAFETY: the mapping is ours and nothing refers to it any more.
            unsafe {
                libc::munmap(self.pointer(self.base).cast(), self.mapped);
            }
        }
    }
}
