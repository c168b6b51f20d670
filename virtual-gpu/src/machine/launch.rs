//! Modules and launches.

use super::fault::{Fault, FaultKind};
use super::memory::{Memory, MemoryError};
use super::program::Program;
use std::sync::Arc;

/// A program with its variables placed in a device's memory.
pub struct Module {
    program: Arc<Program>,
    memory: Arc<Memory>,
}

impl Module {
    /// Places the program's variables.
    pub fn instantiate(program: Arc<Program>, memory: Arc<Memory>) -> Result<Module, MemoryError> {
        Ok(Module { program, memory })
    }

    /// Address and size of a variable.
    pub fn global(&self, _name: &str) -> Option<(u64, u64)> {
        None
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The memory it lives in.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

/// Identifies the stream of a launch, for the ordering between streams that the race check knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StreamTag(pub u64);

/// How a kernel is launched.
#[derive(Debug, Clone)]
pub struct LaunchConfig {
    /// Blocks per dimension.
    pub grid: [u32; 3],
    /// Threads per dimension.
    pub block: [u32; 3],
    /// Blocks per cluster and dimension; `[1, 1, 1]` without clusters.
    pub cluster: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub dynamic_shared: u32,
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES` as opted in for the function.
    pub max_dynamic_shared: u32,
    /// A non-portable cluster size was allowed for the function.
    pub non_portable_cluster: bool,
    /// All blocks must be resident at once.
    pub cooperative: bool,
    /// Programmatic stream serialisation: may start before the previous kernel ends.
    pub programmatic: bool,
    /// Stream of the launch.
    pub stream: StreamTag,
    /// Registers per thread as a cubin beside the PTX declares them, where one was passed.
    pub cubin_registers: Option<u32>,
}

impl Default for LaunchConfig {
    fn default() -> Self {
        LaunchConfig {
            grid: [1; 3],
            block: [1; 3],
            cluster: [1; 3],
            dynamic_shared: 0,
            max_dynamic_shared: 0,
            non_portable_cluster: false,
            cooperative: false,
            programmatic: false,
            stream: StreamTag(0),
            cubin_registers: None,
        }
    }
}

/// Which checks are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Bounds, alignment, use after free.
    pub memory: bool,
    /// Uninitialised values.
    pub uninitialised: bool,
    /// Races.
    pub races: bool,
    /// Convergence and deadlock.
    pub convergence: bool,
    /// Asynchronous operations.
    pub asynchrony: bool,
    /// Launch limits.
    pub limits: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Checks { memory: true, uninitialised: true, races: true, convergence: true, asynchrony: true, limits: true }
    }
}

/// One choice among the orders that hardware may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Seed; 0 is the plain order.
    pub seed: u64,
}

/// What a launch did.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Warp instructions executed.
    pub instructions: u64,
}

/// A finished launch.
#[derive(Debug, Clone, Default)]
pub struct LaunchReport {
    /// What it did.
    pub counters: Counters,
    /// Remarks that are not faults.
    pub notes: Vec<String>,
}

/// Runs a kernel to its end on the caller's thread and helpers. `entry` indexes `Program::entries`, `params` is the
/// parameter block (`Entry::param_bytes` long).
pub fn launch(
    _module: &Module,
    _entry: usize,
    _config: &LaunchConfig,
    _params: &[u8],
    _checks: &Checks,
    _schedule: Schedule,
) -> Result<LaunchReport, Fault> {
    Err(Fault::new(FaultKind::LaunchFailed, "no machine yet"))
}
