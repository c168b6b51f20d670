//! Shared, lockable storage with a version that counts in-place writes.

use crate::device::{Buffer, View, replay};
use crate::{DType, Device, Layout, Result};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// One buffer, shared by every tensor that views it. Only a variable's storage is ever written again.
pub(crate) struct Storage {
    buffer: RwLock<Buffer>,
    dtype: DType,
    device: Device,
    version: Arc<AtomicU64>,
    name: OnceLock<String>,
}

impl Storage {
    pub(crate) fn new(buffer: Buffer) -> Self {
        let (dtype, device) = (buffer.dtype(), buffer.device());
        Storage { buffer: RwLock::new(buffer), dtype, device, version: Arc::default(), name: OnceLock::new() }
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Counts the in-place writes so far.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The name that errors give this storage.
    pub(crate) fn name(&self) -> &str {
        self.name.get().map_or("an unnamed variable", String::as_str)
    }

    /// Names the storage; the first name stays.
    pub(crate) fn set_name(&self, name: &str) {
        let _ = self.name.set(name.to_owned());
    }

    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer.into_inner()
    }

    pub(crate) fn read(&self, layout: Layout) -> ReadGuard<'_> {
        // Recursive: an operation may read one storage through two operands while another thread waits to write.
        ReadGuard { buffer: self.buffer.read_recursive(), layout }
    }

    /// Locks for writing in place, and counts it: optimizers hold many at once.
    pub(crate) fn write_guard(&self) -> RwLockWriteGuard<'_, Buffer> {
        let buffer = self.buffer.write();
        self.version.fetch_add(1, Ordering::AcqRel);
        replay::note(|| {
            let version = self.version.clone();
            move || {
                version.fetch_add(1, Ordering::AcqRel);
            }
        });
        buffer
    }

    /// Writes in place and counts it.
    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut Buffer) -> Result<R>) -> Result<R> {
        f(&mut self.write_guard())
    }
}

/// A tensor's storage, locked for reading.
pub struct ReadGuard<'a> {
    buffer: RwLockReadGuard<'a, Buffer>,
    layout: Layout,
}

impl ReadGuard<'_> {
    /// The elements as kernel families take them.
    pub fn view(&self) -> Result<View<'_>> {
        View::new(&self.buffer, self.layout)
    }
}
