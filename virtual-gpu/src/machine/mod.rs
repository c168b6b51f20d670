//! The machine that executes PTX: programs, memory, launches, checks and counters.

mod fault;
mod launch;
mod memory;
mod program;
pub mod tensor_map;

pub use fault::{Fault, FaultKind};
pub use launch::{Checks, Counters, LaunchConfig, LaunchReport, Module, Schedule, StreamTag, launch};
pub use memory::{AllocationInfo, AllocationKind, Memory, MemoryError};
pub use program::{Entry, Global, GlobalSpace, LoadError, LoadErrorKind, LoadOptions, Param, Program, Relocation};
