//! What kernels report of wrong values (an index out of range), where the host cannot look without waiting: the first
//! report of a device stays in its memory until the host waits for the device anyway, and is an error then.

use super::CudaDevice;
use crate::{Error, Result};
use cudarc::driver::result;
use parking_lot::Mutex;

/// Makes an error of a report's kind, value and bound; the operation's name comes first.
pub type Explain = fn(&'static str, u32, i64, i64) -> Error;

/// Kind and operation, value, bound: three words, as `Report` of `kernels/params.h` has them.
pub(super) const WORDS: usize = 3;

/// The operations of a device that may report, and where they do.
#[derive(Default)]
pub(super) struct Reports {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// 0 until an operation is launched that may report.
    address: u64,
    operations: Vec<(&'static str, Explain)>,
}

impl CudaDevice {
    /// Where a launch of `op` may report wrong values, and the operation's number in reports. What it reports is an error
    /// of the next call that waits for the device.
    pub fn report(&self, op: &'static str, explain: Explain) -> Result<(u64, u32)> {
        let mut state = self.reports().state.lock();
        if state.address == 0 {
            self.bind(op)?;
            let bytes = WORDS * size_of::<u64>();
            // SAFETY: the context is current; the memory has as many bytes, and stays for the life of the program.
            let address = unsafe {
                let address = result::malloc_sync(bytes).map_err(|error| self.failed(op, error))?;
                result::memset_d8_async(address, 0, bytes, self.stream()).map_err(|error| self.failed(op, error))?;
                address
            };
            state.address = address;
        }
        let known = state.operations.iter().position(|&(name, _)| name == op);
        let number = known.unwrap_or_else(|| {
            state.operations.push((op, explain));
            state.operations.len() - 1
        });
        Ok((state.address, number as u32))
    }

    /// An error where a kernel has reported one, after the device was waited for.
    pub(super) fn reported(&self, op: &'static str) -> Result<()> {
        let state = self.reports().state.lock();
        if state.address == 0 {
            return Ok(());
        }
        let mut words = [0u64; WORDS];
        // SAFETY: the memory has as many words, which are not looked at before the stream was waited for.
        unsafe {
            result::memcpy_dtoh_async(&mut words, state.address, self.stream())
                .and_then(|()| result::stream::synchronize(self.stream()))
        }
        .map_err(|error| self.failed(op, error))?;
        let [what, value, bound] = words;
        let (kind, operation) = (what as u32, (what >> 32) as usize);
        if kind == 0 {
            return Ok(());
        }
        // SAFETY: the memory has as many bytes.
        unsafe { result::memset_d8_async(state.address, 0, size_of_val(&words), self.stream()) }
            .map_err(|error| self.failed(op, error))?;
        match state.operations.get(operation) {
            Some((name, explain)) => Err(explain(name, kind, value as i64, bound as i64)),
            None => unreachable!("only operations that were given a number report"),
        }
    }
}
