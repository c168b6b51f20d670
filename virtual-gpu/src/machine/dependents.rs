//! Programmatic dependent launch: a grid that starts before the one it depends on has ended.
//!
//! A grid's dependents may start once every block of it has executed `griddepcontrol.launch_dependents` or ended;
//! `griddepcontrol.wait` holds a dependent until the grid before it is complete and its writes are visible.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Something that happens once.
#[derive(Debug, Default)]
pub struct Signal {
    happened: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// It happens.
    pub fn open(&self) {
        *self.happened.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it has happened.
    pub fn is_open(&self) -> bool {
        *self.happened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until it has happened.
    pub fn wait(&self) {
        let mut happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        while !*happened {
            happened = self.changed.wait(happened).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Blocks until it has happened, or for this long.
    pub(super) fn wait_for(&self, time: Duration) {
        let happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        if !*happened {
            drop(self.changed.wait_timeout(happened, time).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What a launch has to do with the grids before and behind it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dependence<'d> {
    /// The end of the grid that `griddepcontrol.wait` waits for; without one it waits for nothing.
    pub prerequisite: Option<&'d Signal>,
    /// Opened when the grids that depend on this one may start.
    pub dependents: Option<&'d Signal>,
}
