//! Run-time choice of vector instructions.
//!
//! Everything here works by inlining: a loop, and what it calls, is compiled inside a function that may use the
//! instructions, so it must be inlinable (closures are; mark helpers `#[inline(always)]`). The entry points themselves
//! are not inlined, so that each loop is compiled once, not once per caller. Rust neither contracts nor reorders
//! floating-point operations, so plain loops give the same bits everywhere.

use std::sync::OnceLock;

/// The widest instruction set that the library has code for and the processor can run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    /// What the target guarantees.
    Baseline,
    /// AVX2 with FMA and the rest of x86-64-v3.
    Avx2,
    /// AVX-512 F, BW, CD, DQ and VL: x86-64-v4.
    Avx512,
}

/// What the processor has, or less where the environment asks for it: `WARPSMITH_SIMD` is `baseline` or `avx2`.
pub(super) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let asked = match std::env::var("WARPSMITH_SIMD").as_deref() {
            Ok("baseline") => Level::Baseline,
            Ok("avx2") => Level::Avx2,
            _ => Level::Avx512,
        };
        asked.min(detect())
    })
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    macro_rules! all {
        ($($feature:tt),*) => { $(std::is_x86_feature_detected!($feature))&&* };
    }
    let avx2 = all!("avx2", "fma", "f16c", "bmi1", "bmi2", "lzcnt", "popcnt", "movbe");
    match all!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl") {
        _ if !avx2 => Level::Baseline,
        false => Level::Avx2,
        true => Level::Avx512,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Runs `f` compiled for AVX2 with FMA where the processor has it, else for the baseline.
///
/// Not for AVX-512: most loops wait for memory, and there are hundreds of them, so that each further copy is felt in the
/// time of a build.
#[inline(never)]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx2 {
        // SAFETY: the processor has the features that `with_avx2` enables; `level` asked it.
        return unsafe { with_avx2(f) };
    }
    f()
}

/// Runs `f` compiled for the widest vector instructions of this processor, AVX-512 included: for the few loops that
/// compute more than they load.
#[inline(never)]
pub fn vectorize_wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the processor has the features; `level` asked it.
        Level::Avx512 => return unsafe { with_avx512(f) },
        // SAFETY: as above.
        Level::Avx2 => return unsafe { with_avx2(f) },
        Level::Baseline => {}
    }
    f()
}

/// # Safety
/// The processor has the features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,movbe")]
pub(super) unsafe fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// # Safety
/// The processor has the features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,movbe")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
pub(super) unsafe fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}
