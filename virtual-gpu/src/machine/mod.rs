//! The machine that executes PTX: programs, memory, launches, checks and counters.

// Lanes are indices everywhere here, and masks are tested as `mask >> lane & 1`.
#![allow(clippy::needless_range_loop, clippy::precedence)]

mod accumulators;
mod asynchronous;
mod cluster;
mod counters;
mod dependents;
mod exec;
mod fault;
mod interpreter;
mod l2;
mod lanes;
mod launch;
mod limits;
mod lower;
mod memory;
mod objects;
mod ops;
mod program;
mod races;
mod registers;
mod report;
mod shadow;
mod streams;
mod sync;
mod taint;
pub mod tensor_map;

pub use counters::{CLASSES, Counters, Traffic};
pub use dependents::{Dependence, Signal};
pub use fault::{Fault, FaultKind};
pub use launch::{Checks, LaunchConfig, LaunchReport, Module, Schedule, launch, launch_dependent};
pub use memory::{AllocationInfo, AllocationKind, Memory, MemoryError};
pub use program::{Entry, Global, GlobalSpace, LoadError, LoadErrorKind, LoadOptions, Param, Program, Relocation};
pub use streams::{GraphNode, StreamTag};
