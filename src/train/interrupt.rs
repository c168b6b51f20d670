//! Ctrl-C.

use crate::{Error, Result};
use parking_lot::Mutex;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The exit code of a process that Ctrl-C ended: 128 and the number of the signal.
const CODE: i32 = 130;

/// A flag that the first Ctrl-C (SIGINT) of this process sets, for
/// [`Trainer::interrupt_by`](super::Trainer::interrupt_by): the run finishes its step and saves. The second Ctrl-C ends
/// the process at once, with exit code 130, the one that a program should end with after [`Error::Interrupted`], too
/// ([`Error::exit_code`]). Each call gives the same flag.
pub fn ctrl_c() -> Result<Arc<AtomicBool>> {
    static FLAG: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);
    let mut installed = FLAG.lock();
    if let Some(flag) = &*installed {
        return Ok(flag.clone());
    }
    let flag = Arc::new(AtomicBool::new(false));
    // In this order: the first signal finds the flag unset, then sets it.
    flag::register_conditional_shutdown(SIGINT, CODE, flag.clone())
        .and_then(|_| flag::register(SIGINT, flag.clone()))
        .map_err(|error| Error::argument("ctrl_c", format!("no handler of SIGINT could be installed: {error}")))?;
    *installed = Some(flag.clone());
    Ok(flag)
}
