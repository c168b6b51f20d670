//! The driver API: `cu*` entry points over the machine.
//!
//! Each room exports the entry points of its subject. An entry point is an `extern "C"` function whose body runs inside
//! [`call`], returns [`Res`], and takes handles as integers and pointers as [`abi::In`] and [`abi::Out`]. Names that no
//! room exports are exported by a table that the build script writes (`unimplemented.rs`).

// The entry points carry the names of cuda.h.
#![allow(non_snake_case)]

pub mod abi;
mod capture;
mod capture_api;
pub mod config;
mod context;
mod context_settings;
mod control;
mod copy;
mod device;
mod device_attributes;
mod error;
mod event;
mod fatbin;
mod function;
mod graph;
mod graph_api;
mod graph_exec;
mod graph_nodes;
mod graph_params;
mod graph_run;
mod inject;
mod jit;
mod launch;
mod layouts;
mod library;
mod link;
mod lz4;
mod memory;
mod memory_copy;
mod memory_host;
mod memory_set;
mod memory_virtual;
mod module;
mod names;
mod occupancy;
mod ops;
mod peer;
mod per_thread;
mod pointer;
mod pool;
mod primary;
mod profile;
mod queue;
mod state;
mod stream;
mod stream_api;
mod stream_values;
mod table;
mod tensor_map;
mod unimplemented;
mod user_object;

use abi::CuResult;
use error::{Code, Error, Res};
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;

thread_local! {
    /// The last refusal on this thread: code, entry point and explanation.
    static LAST_ERROR: RefCell<Option<(Code, String)>> = const { RefCell::new(None) };
}

/// Runs the body of an entry point: turns its error into a code, keeps the explanation, and lets no panic out.
pub fn call(name: &'static str, body: impl FnOnce() -> Res) -> CuResult {
    profile::count_call(name);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(Error::new(Code::Unknown, "a defect of virtual-gpu itself: the call panicked")));
    match outcome {
        Ok(()) => Code::Success as CuResult,
        Err(error) => {
            let text = match &error.message {
                Some(message) => format!("{name}: {} ({}): {message}", error.code.name(), error.code as u32),
                None => format!("{name}: {} ({})", error.code.name(), error.code as u32),
            };
            // Clients offer machine code first and PTX next: that refusal is no news.
            let news = error.message.is_some() && error.code != Code::NoBinaryForGpu;
            if news && config::read(|config| config.log) {
                eprintln!("virtual-gpu: {text}");
            }
            // A thread that is ending has no storage left; the code still goes back.
            let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = Some((error.code, text)));
            error.code as CuResult
        }
    }
}

/// The explanation of the last refusal on this thread.
pub fn last_error() -> Option<String> {
    LAST_ERROR.with(|last| last.borrow().as_ref().map(|(_, text)| text.clone()))
}
