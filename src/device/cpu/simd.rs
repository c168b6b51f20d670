//! Run-time vector dispatch.

use std::sync::OnceLock;

/// Runs `f` compiled for the widest vector instructions of this processor (AVX-512, AVX2 with FMA, or the baseline).
///
/// Works by inlining: `f` and what it calls must be inlinable (closures are; mark helpers `#[inline(always)]`).
/// Rust neither contracts nor reorders floating-point operations, so the result does not depend on the choice.
#[inline]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(f)
}
