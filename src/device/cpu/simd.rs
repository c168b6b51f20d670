//! Run-time vector dispatch of plain loops.
//!
//! Both work by inlining: `f` and what it calls must be inlinable (closures are; mark helpers `#[inline(always)]`). They
//! themselves are not inlined, so that each loop is compiled once, not once per caller.
//! Rust neither contracts nor reorders floating-point operations, so results do not depend on the choice.

use std::sync::OnceLock;

/// Runs `f` compiled for AVX2 with FMA where the processor has it, else for the baseline.
///
/// Not for AVX-512: most loops wait for memory, and there are hundreds of them, so that each further copy is felt in the
/// time of a build.
#[inline(never)]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        static V3: OnceLock<Option<pulp::x86::V3>> = OnceLock::new();
        if let Some(v3) = V3.get_or_init(pulp::x86::V3::try_new) {
            return v3.vectorize(f);
        }
    }
    f()
}

/// Runs `f` compiled for the widest vector instructions of this processor, AVX-512 included: for the few loops that
/// compute more than they load.
#[inline(never)]
pub fn vectorize_wide<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(f)
}
