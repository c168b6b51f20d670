//! Registers as 32 lanes, and operations built from scalar closures.
//!
//! A warp's registers lie in one arena aligned to 64 bytes: 128 bytes for a register of up to 32 bits (16-bit values
//! are zero-extended), 256 for 64 bits, 512 for 128 bits, and one 32-bit mask for a predicate. A closure such as
//! `|a: u32, b: u32| a.wrapping_add(b)` becomes a loop over the lanes that the compiler vectorises, in two versions:
//! one for AVX-512 and one for the baseline of the target.

use super::exec::{Cx, Flow, Instr, OpFn};

/// A value that a lane of a register holds.
pub trait Lane: Copy + 'static {
    /// What the result array starts as.
    const ZERO: Self;
    /// Reads lane `l`.
    ///
    /// # Safety
    /// `p` is a register slot of this type's width.
    unsafe fn get(p: *const u8, l: usize) -> Self;
    /// Writes the lanes of `mask`.
    ///
    /// # Safety
    /// `p` is a register slot of this type's width.
    unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32);
}

/// Writes the lanes of `mask` of a slot.
///
/// # Safety
/// `p` is a slot of 32 values of `T`, aligned to 64 bytes.
#[inline(always)]
unsafe fn blend<T: Copy>(p: *mut T, v: &[T; 32], mask: u32) {
    // SAFETY: the caller passes a slot of 32 aligned values.
    unsafe {
        let slot = &mut *p.cast::<[T; 32]>();
        if mask == u32::MAX {
            *slot = *v;
        } else {
            let old = *slot;
            let mut out = old;
            for l in 0..32 {
                out[l] = if mask >> l & 1 != 0 { v[l] } else { old[l] };
            }
            *slot = out;
        }
    }
}

macro_rules! plain_lane {
    ($t:ty, $slot:ty, $x:ident, $from:expr, $to:expr) => {
        impl Lane for $t {
            const ZERO: Self = 0 as $t;
            #[inline(always)]
            unsafe fn get(p: *const u8, l: usize) -> Self {
                // SAFETY: the slot holds 32 values and l < 32.
                let $x: $slot = unsafe { *p.cast::<$slot>().add(l) };
                $from
            }
            #[inline(always)]
            unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32) {
                let mut out = [0 as $slot; 32];
                for l in 0..32 {
                    let $x: $t = v[l];
                    out[l] = $to;
                }
                // SAFETY: as the caller guarantees.
                unsafe { blend(p.cast::<$slot>(), &out, mask) }
            }
        }
    };
}

plain_lane!(u32, u32, x, x, x);
plain_lane!(i32, u32, x, x as i32, x as u32);
plain_lane!(f32, u32, x, f32::from_bits(x), f32::to_bits(x));
plain_lane!(u16, u32, x, x as u16, u32::from(x));
plain_lane!(i16, u32, x, x as i16, u32::from(x as u16));
plain_lane!(u64, u64, x, x, x);
plain_lane!(i64, u64, x, x as i64, x as u64);
plain_lane!(f64, u64, x, f64::from_bits(x), f64::to_bits(x));

/// Two 64-bit halves, low first: a 128-bit register.
impl Lane for [u64; 2] {
    const ZERO: Self = [0; 2];
    #[inline(always)]
    unsafe fn get(p: *const u8, l: usize) -> Self {
        // SAFETY: the slot holds 32 values and l < 32.
        unsafe { *p.cast::<[u64; 2]>().add(l) }
    }
    #[inline(always)]
    unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32) {
        // SAFETY: as the caller guarantees.
        unsafe { blend(p.cast::<[u64; 2]>(), v, mask) }
    }
}

/// A predicate: one bit of a mask.
impl Lane for bool {
    const ZERO: Self = false;
    #[inline(always)]
    unsafe fn get(p: *const u8, l: usize) -> Self {
        // SAFETY: a predicate slot is one aligned u32.
        unsafe { *p.cast::<u32>() >> l & 1 != 0 }
    }
    #[inline(always)]
    unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32) {
        let mut bits = 0u32;
        for l in 0..32 {
            bits |= u32::from(v[l]) << l;
        }
        // SAFETY: a predicate slot is one aligned u32.
        unsafe {
            let slot = p.cast::<u32>();
            *slot = (*slot & !mask) | (bits & mask);
        }
    }
}

/// A binary16 value as its bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct H(pub u16);
/// A bfloat16 value as its bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct B(pub u16);

macro_rules! bits_lane {
    ($t:ident) => {
        impl Lane for $t {
            const ZERO: Self = $t(0);
            #[inline(always)]
            unsafe fn get(p: *const u8, l: usize) -> Self {
                // SAFETY: as the caller guarantees.
                $t(unsafe { u16::get(p, l) })
            }
            #[inline(always)]
            unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32) {
                let mut out = [0u16; 32];
                for l in 0..32 {
                    out[l] = v[l].0;
                }
                // SAFETY: as the caller guarantees.
                unsafe { u16::put(p, &out, mask) }
            }
        }
    };
}
bits_lane!(H);
bits_lane!(B);

/// An operation in its two versions.
#[derive(Debug, Clone, Copy)]
pub struct OpPair {
    /// For AVX-512.
    pub wide: OpFn,
    /// For any machine.
    pub base: OpFn,
}

impl OpPair {
    /// The same function on every machine.
    pub const fn same(f: OpFn) -> OpPair {
        OpPair { wide: f, base: f }
    }

    /// The version for this machine.
    pub fn pick(self) -> OpFn {
        if wide_vectors() { self.wide } else { self.base }
    }
}

/// Whether the AVX-512 versions run here. `VIRTUAL_GPU_PORTABLE=1` turns them off.
pub fn wide_vectors() -> bool {
    use std::sync::OnceLock;
    static WIDE: OnceLock<bool> = OnceLock::new();
    *WIDE.get_or_init(|| {
        if std::env::var_os("VIRTUAL_GPU_PORTABLE").is_some_and(|v| v == "1") {
            return false;
        }
        #[cfg(target_arch = "x86_64")]
        {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt")
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    })
}

/// The two versions of an `#[inline(always)]` body.
macro_rules! op_versions {
    ($body:path) => {{
        #[cfg_attr(
            target_arch = "x86_64",
            target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi1,bmi2,lzcnt,popcnt")
        )]
        unsafe fn wide(
            cx: &mut $crate::machine::exec::Cx<'_>,
            i: &$crate::machine::exec::Instr,
            m: u32,
        ) -> $crate::machine::exec::Flow {
            // SAFETY: the caller upholds what the body asks.
            unsafe { $body(cx, i, m) }
        }
        unsafe fn base(
            cx: &mut $crate::machine::exec::Cx<'_>,
            i: &$crate::machine::exec::Instr,
            m: u32,
        ) -> $crate::machine::exec::Flow {
            // SAFETY: the caller upholds what the body asks.
            unsafe { $body(cx, i, m) }
        }
        $crate::machine::lanes::OpPair { wide, base }
    }};
}
pub(crate) use op_versions;

/// A closure without captures, made again from its type.
#[inline(always)]
fn conjure<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "operations are closures without captures") };
    // SAFETY: F has no bytes, is Copy and a value of it existed when the operation was built.
    unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() }
}

/// `d = f(a)`.
pub fn un<A: Lane, R: Lane, F: Fn(A) -> R + Copy + 'static>(_: F) -> OpPair {
    #[inline(always)]
    unsafe fn body<A: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A) -> R + Copy + 'static,
    {
        let f = conjure::<F>();
        let a = cx.slot(i.a);
        let mut out = [R::ZERO; 32];
        // SAFETY: the decoder gave slots of the operands' widths.
        unsafe {
            for (l, o) in out.iter_mut().enumerate() {
                *o = f(A::get(a, l));
            }
            R::put(cx.slot(i.d), &out, m);
        }
        Flow::Next
    }
    #[cfg_attr(
        target_arch = "x86_64",
        target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi1,bmi2,lzcnt,popcnt")
    )]
    unsafe fn wide<A: Lane, R: Lane, F: Fn(A) -> R + Copy + 'static>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
        // SAFETY: passed on.
        unsafe { body::<A, R, F>(cx, i, m) }
    }
    unsafe fn base<A: Lane, R: Lane, F: Fn(A) -> R + Copy + 'static>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
        // SAFETY: passed on.
        unsafe { body::<A, R, F>(cx, i, m) }
    }
    OpPair { wide: wide::<A, R, F>, base: base::<A, R, F> }
}

/// `d = f(a, b)`.
pub fn bin<A: Lane, B: Lane, R: Lane, F: Fn(A, B) -> R + Copy + 'static>(_: F) -> OpPair {
    #[inline(always)]
    unsafe fn body<A: Lane, B: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B) -> R + Copy + 'static,
    {
        let f = conjure::<F>();
        let (a, b) = (cx.slot(i.a), cx.slot(i.b));
        let mut out = [R::ZERO; 32];
        // SAFETY: the decoder gave slots of the operands' widths.
        unsafe {
            for (l, o) in out.iter_mut().enumerate() {
                *o = f(A::get(a, l), B::get(b, l));
            }
            R::put(cx.slot(i.d), &out, m);
        }
        Flow::Next
    }
    #[cfg_attr(
        target_arch = "x86_64",
        target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi1,bmi2,lzcnt,popcnt")
    )]
    unsafe fn wide<A: Lane, B: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B) -> R + Copy + 'static,
    {
        // SAFETY: passed on.
        unsafe { body::<A, B, R, F>(cx, i, m) }
    }
    unsafe fn base<A: Lane, B: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B) -> R + Copy + 'static,
    {
        // SAFETY: passed on.
        unsafe { body::<A, B, R, F>(cx, i, m) }
    }
    OpPair { wide: wide::<A, B, R, F>, base: base::<A, B, R, F> }
}

/// `d = f(a, b, c)`.
pub fn ter<A: Lane, B: Lane, C: Lane, R: Lane, F: Fn(A, B, C) -> R + Copy + 'static>(_: F) -> OpPair {
    #[inline(always)]
    unsafe fn body<A: Lane, B: Lane, C: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B, C) -> R + Copy + 'static,
    {
        let f = conjure::<F>();
        let (a, b, c) = (cx.slot(i.a), cx.slot(i.b), cx.slot(i.c));
        let mut out = [R::ZERO; 32];
        // SAFETY: the decoder gave slots of the operands' widths.
        unsafe {
            for (l, o) in out.iter_mut().enumerate() {
                *o = f(A::get(a, l), B::get(b, l), C::get(c, l));
            }
            R::put(cx.slot(i.d), &out, m);
        }
        Flow::Next
    }
    #[cfg_attr(
        target_arch = "x86_64",
        target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi1,bmi2,lzcnt,popcnt")
    )]
    unsafe fn wide<A: Lane, B: Lane, C: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B, C) -> R + Copy + 'static,
    {
        // SAFETY: passed on.
        unsafe { body::<A, B, C, R, F>(cx, i, m) }
    }
    unsafe fn base<A: Lane, B: Lane, C: Lane, R: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B, C) -> R + Copy + 'static,
    {
        // SAFETY: passed on.
        unsafe { body::<A, B, C, R, F>(cx, i, m) }
    }
    OpPair { wide: wide::<A, B, C, R, F>, base: base::<A, B, C, R, F> }
}

/// `(d, e) = f(a, b, c)`: carries and the two predicates of `setp`.
pub fn ter2<A: Lane, B: Lane, C: Lane, R: Lane, S: Lane, F>(_: F) -> OpPair
where
    F: Fn(A, B, C) -> (R, S) + Copy + 'static,
{
    #[inline(always)]
    unsafe fn body<A: Lane, B: Lane, C: Lane, R: Lane, S: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B, C) -> (R, S) + Copy + 'static,
    {
        let f = conjure::<F>();
        let (a, b, c) = (cx.slot(i.a), cx.slot(i.b), cx.slot(i.c));
        let mut out = [R::ZERO; 32];
        let mut second = [S::ZERO; 32];
        // SAFETY: the decoder gave slots of the operands' widths.
        unsafe {
            for l in 0..32 {
                (out[l], second[l]) = f(A::get(a, l), B::get(b, l), C::get(c, l));
            }
            R::put(cx.slot(i.d), &out, m);
            S::put(cx.slot(i.e), &second, m);
        }
        Flow::Next
    }
    #[cfg_attr(
        target_arch = "x86_64",
        target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi1,bmi2,lzcnt,popcnt")
    )]
    unsafe fn wide<A: Lane, B: Lane, C: Lane, R: Lane, S: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B, C) -> (R, S) + Copy + 'static,
    {
        // SAFETY: passed on.
        unsafe { body::<A, B, C, R, S, F>(cx, i, m) }
    }
    unsafe fn base<A: Lane, B: Lane, C: Lane, R: Lane, S: Lane, F>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow
    where
        F: Fn(A, B, C) -> (R, S) + Copy + 'static,
    {
        // SAFETY: passed on.
        unsafe { body::<A, B, C, R, S, F>(cx, i, m) }
    }
    OpPair { wide: wide::<A, B, C, R, S, F>, base: base::<A, B, C, R, S, F> }
}
