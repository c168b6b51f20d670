//! What kernels report of wrong values (an index out of range), where the host cannot look without waiting: the first
//! report of a device stays in host memory that the device can reach until the host waits for the device anyway, and is an
//! error then. Looking there costs no copy; a kernel that has nothing to report touches it never.

use super::{CudaDevice, staging};
use crate::{Error, Result};
use cudarc::driver::sys;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes an error of a report's kind, value and bound; the operation's name comes first.
pub type Explain = fn(&'static str, u32, i64, i64) -> Error;

/// Kind and operation, value, bound: three words, as `Report` of `kernels/params.h` has them.
type Words = [AtomicU64; 3];

/// The operations of a device that may report, and where they do.
#[derive(Default)]
pub(super) struct Reports {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    place: Option<Place>,
    operations: Vec<(&'static str, Explain)>,
}

/// The words of a device.
#[derive(Clone, Copy)]
struct Place {
    host: &'static Words,
    /// The device's address of them.
    address: u64,
}

impl Place {
    /// The device's context is current.
    fn new() -> Result<Self, cudarc::driver::result::DriverError> {
        let host = staging::registered(size_of::<Words>().next_multiple_of(4096))?;
        let mut address = 0;
        // SAFETY: the memory is registered, and mapped.
        unsafe { sys::cuMemHostGetDevicePointer_v2(&mut address, host.cast(), 0) }.result()?;
        // SAFETY: zeros of more than three words, aligned to a page, that stay; the device writes them as the host reads
        // them: as words that others may change.
        let host = unsafe { &*host.cast::<Words>() };
        Ok(Place { host, address })
    }

    fn read(&self) -> [u64; 3] {
        [0, 1, 2].map(|i: usize| self.host[i].load(Ordering::Acquire))
    }
}

impl CudaDevice {
    /// Where a launch of `op` may report wrong values, and the operation's number in reports. What it reports is an error
    /// of the next call that waits for the device.
    pub fn report(&self, op: &'static str, explain: Explain) -> Result<(u64, u32)> {
        let mut state = self.reports().state.lock();
        let place = match state.place {
            Some(place) => place,
            None => {
                self.bind(op)?;
                let place = Place::new().map_err(|error| self.failed(op, error))?;
                *state.place.insert(place)
            }
        };
        let known = state.operations.iter().position(|&(name, _)| name == op);
        let number = known.unwrap_or_else(|| {
            state.operations.push((op, explain));
            state.operations.len() - 1
        });
        Ok((place.address, number as u32))
    }

    /// An error where a kernel has reported one, after the device was waited for.
    pub(super) fn reported(&self, op: &'static str) -> Result<()> {
        let state = self.reports().state.lock();
        let Some(place) = state.place else { return Ok(()) };
        if place.read()[0] as u32 == 0 {
            return Ok(());
        }
        // Another thread's kernel may have begun its report after the wait: let it be whole.
        self.wait().map_err(|error| self.failed(op, error))?;
        let [what, value, bound] = place.read();
        let (kind, operation) = (what as u32, (what >> 32) as usize);
        place.host.iter().rev().for_each(|word| word.store(0, Ordering::Release));
        match state.operations.get(operation) {
            Some((name, explain)) => Err(explain(name, kind, value as i64, bound as i64)),
            None => unreachable!("only operations that were given a number report"),
        }
    }
}
