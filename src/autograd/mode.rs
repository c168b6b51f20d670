//! Whether operations are recorded, per thread.

use std::cell::Cell;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations on this thread are recorded.
pub fn grad_enabled() -> bool {
    ENABLED.get()
}

/// Runs `f` without recording anything on this thread.
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _restore = set(false);
    f()
}

/// Sets the mode until the guard is dropped, also by a panic.
pub(crate) fn set(enabled: bool) -> Restore {
    Restore(ENABLED.replace(enabled))
}

pub(crate) struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        ENABLED.set(self.0);
    }
}
