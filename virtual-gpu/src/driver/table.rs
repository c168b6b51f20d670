//! Handles: integers that name objects, looked up and never dereferenced, so that a freed or invented one is an error.

use super::abi::Handle;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The live objects of one kind. No handle is ever given out twice.
pub struct Table<T> {
    kind: usize,
    next: AtomicUsize,
    live: RwLock<BTreeMap<Handle, Arc<T>>>,
}

impl<T> Table<T> {
    /// `kind` (1 to 255) keeps the handles of different tables apart.
    pub const fn new(kind: u8) -> Table<T> {
        Table { kind: kind as usize, next: AtomicUsize::new(1), live: RwLock::new(BTreeMap::new()) }
    }

    /// A handle that no object has had.
    pub fn reserve(&self) -> Handle {
        self.kind << 40 | self.next.fetch_add(1, Ordering::Relaxed) << 4
    }

    /// Enters an object under a handle from [`Table::reserve`].
    pub fn insert(&self, handle: Handle, object: Arc<T>) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).insert(handle, object);
    }

    /// Builds an object that knows its handle and enters it.
    pub fn add(&self, build: impl FnOnce(Handle) -> T) -> Arc<T> {
        let handle = self.reserve();
        let object = Arc::new(build(handle));
        self.insert(handle, object.clone());
        object
    }

    pub fn get(&self, handle: Handle) -> Option<Arc<T>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).get(&handle).cloned()
    }

    pub fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        self.live.write().unwrap_or_else(PoisonError::into_inner).remove(&handle)
    }

    /// Every live object, oldest first.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Locks a mutex; a panic of another thread does not make the data unusable here, where every update is one step.
pub fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_handle_stays_invalid() {
        static TABLE: Table<u32> = Table::new(9);
        let first = TABLE.reserve();
        TABLE.insert(first, Arc::new(5));
        assert_eq!(TABLE.get(first).as_deref(), Some(&5));
        assert!(TABLE.remove(first).is_some());
        assert!(TABLE.get(first).is_none() && TABLE.remove(first).is_none());
        assert_ne!(TABLE.reserve(), first);
    }
}
