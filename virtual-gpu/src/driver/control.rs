//! `vgpu_*`: what the crate's handles and the command line ask of the loaded object, beside the driver API.

use super::abi::{In, Out};
use super::config;
use super::inject::Injection;
use super::{last_error, profile, state};
use std::ffi::{CStr, c_char};

/// The build, where `install` can find it in the file without loading it.
#[used]
static BUILD: &CStr = match CStr::from_bytes_with_nul(crate::BUILD_MARK.as_bytes()) {
    Ok(mark) => mark,
    Err(_) => c"",
};

#[unsafe(no_mangle)]
extern "C" fn vgpu_build() -> In<c_char> {
    In::from_pointer(BUILD.as_ptr())
}

/// Sets `key=value` lines (`device`, `driver`, `check`, `schedule`, `profile`, `fault`, `log`). 0, or 1 with an explanation
/// in `problem`.
#[unsafe(no_mangle)]
extern "C" fn vgpu_configure(lines: In<c_char>, problem: Out<c_char>, room: usize) -> i32 {
    match configure(lines) {
        Ok(()) => 0,
        Err(text) => {
            // Without room for it the number has to do.
            let _ = problem.set_text(&text, room);
            1
        }
    }
}

fn configure(lines: In<c_char>) -> Result<(), String> {
    let text = lines.text().map_err(|_| "the settings are no text".to_owned())?;
    let mut new = config::get();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once('=').ok_or_else(|| format!("`{line}` is not key=value"))?;
        let (devices, version) = (new.devices.clone(), new.driver_version);
        new.set(key.trim(), value)?;
        if state::is_initialised() && (new.devices != devices || new.driver_version != version) {
            return Err(format!("{key} cannot be changed after cuInit"));
        }
    }
    config::update(|config| *config = new);
    Ok(())
}

/// Counts down to faults from now on: the n-th allocation, the n-th launch, the device at the n-th launch; 0 is never.
#[unsafe(no_mangle)]
extern "C" fn vgpu_inject(allocation: u64, launch: u64, lost: u64) {
    Injection { allocation: Some(allocation), launch: Some(launch), lost: Some(lost) }.install();
}

/// Copies a text into `out` (cut to `room` bytes with its zero) and gives its full length: 0 the profile as JSON, 1 the
/// faults, 2 the last refusal on this thread, 3 the leaks, 4 the driver's entry points with how often each was called.
#[unsafe(no_mangle)]
extern "C" fn vgpu_text(which: u32, out: Out<c_char>, room: usize) -> usize {
    let text = match which {
        0 => profile::json(),
        1 => profile::faults_text(),
        2 => last_error().unwrap_or_default(),
        3 => profile::leaks().join("\n"),
        4 => profile::calls_text(),
        _ => String::new(),
    };
    if !out.is_null() && room > 0 {
        // There is room for at least the zero.
        let _ = out.set_text(&text, room);
    }
    text.len()
}

/// Forgets launches (bit 0), faults (bit 1) and calls (bit 2).
#[unsafe(no_mangle)]
extern "C" fn vgpu_clear(what: u32) {
    if what & 1 != 0 {
        profile::clear_records();
    }
    if what & 2 != 0 {
        profile::clear_faults();
    }
    if what & 4 != 0 {
        profile::clear_calls();
    }
}
