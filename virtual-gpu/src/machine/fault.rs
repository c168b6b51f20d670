//! What goes wrong on the device.

use std::fmt;

/// The class of a fault; the driver maps it to a `CUresult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An access outside every live allocation (700).
    IllegalAddress,
    /// An access that is not a multiple of its size (716).
    Misaligned,
    /// An instruction that cannot be executed (715), tensor-map and descriptor errors included.
    IllegalInstruction,
    /// A failed device-side assertion (710).
    Assert,
    /// An instruction used on an address space that it does not take (717).
    InvalidAddressSpace,
    /// A jump or call to an address that holds no function (718).
    InvalidPc,
    /// `trap`, and every violation that a check found but hardware has no code for (719).
    LaunchFailed,
    /// The launch needs more than the device has (701).
    OutOfResources,
    /// A launch configuration or argument that is wrong in itself (1).
    InvalidValue,
    /// A cooperative launch too large to be resident at once (720).
    CooperativeTooLarge,
    /// A cluster that cannot be scheduled (912).
    InvalidClusterSize,
    /// Blocks or warps wait for each other and nothing can move (702).
    Timeout,
}

/// A fault with its report: kernel, instruction, source line, block, thread, address and allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The class.
    pub kind: FaultKind,
    /// The check that found it, as named in `Checks`; `None` for what hardware itself reports.
    pub check: Option<&'static str>,
    /// The report, several lines.
    pub report: String,
}

impl Fault {
    /// A fault that hardware would report as well.
    pub fn new(kind: FaultKind, report: impl Into<String>) -> Self {
        Fault { kind, check: None, report: report.into() }
    }

    /// A fault found by one of the checks.
    pub fn checked(kind: FaultKind, check: &'static str, report: impl Into<String>) -> Self {
        Fault { kind, check: Some(check), report: report.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl std::error::Error for Fault {}
