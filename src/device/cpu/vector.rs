//! f32 and f64 as whole vector registers, for kernels that hold their accumulators in registers.
//!
//! A kernel is a value whose [`WithSimd::with_simd`] is compiled once per instruction set; [`dispatch`] picks the one of
//! this processor. Registers are plain values (`A::Register<S>`), so register tiles are arrays of them, in safe code.

use super::Real;
use super::simd::{Level, level};
#[cfg(target_arch = "x86_64")]
use super::simd::{with_avx2, with_avx512};

/// An instruction set: a value that exists only where the processor has it.
pub trait Simd: Copy {
    /// Vector registers that code can name.
    const REGISTERS: usize;
    /// Of f32.
    type F32: Registers<Self, f32>;
    /// Of f64.
    type F64: Registers<Self, f64>;
}

/// What a register of some number type can do.
pub trait Registers<S, A>: Copy {
    /// Numbers per register.
    const LANES: usize;
    /// One number in every lane.
    fn splat(simd: S, x: A) -> Self;
    /// The first `LANES` numbers of a slice, which must have them.
    fn load(simd: S, from: &[A]) -> Self;
    /// Writes the first `LANES` numbers of a slice, which must have them.
    fn store(self, simd: S, to: &mut [A]);
    /// `self · b + c` per lane, rounded once.
    fn fma(self, simd: S, b: Self, c: Self) -> Self;
    /// `self + b` per lane.
    fn add(self, simd: S, b: Self) -> Self;
}

/// A computation over registers of one number type.
pub trait WithSimd {
    /// The number type.
    type Number: Vector;
    /// What it results in.
    type Output;
    /// The computation; must be `#[inline(always)]`.
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs a kernel compiled for the widest vector instructions of this processor (for f64, which is there to check the
/// others, no wider than AVX2). Not inlined: see [`vectorize`](super::vectorize).
#[inline(never)]
pub fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if const { K::Number::WIDE } && level() == Level::Avx512 {
            // SAFETY: the processor has the features that `with_avx512` enables; `level` asked it.
            return unsafe {
                with_avx512(
                    #[inline(always)]
                    || kernel.with_simd(Avx512(())),
                )
            };
        }
        if level() >= Level::Avx2 {
            // SAFETY: as above.
            return unsafe {
                with_avx2(
                    #[inline(always)]
                    || kernel.with_simd(Avx2(())),
                )
            };
        }
    }
    kernel.with_simd(Baseline)
}

/// What every processor of the target has: short arrays, for the compiler to vectorise.
#[derive(Clone, Copy)]
struct Baseline;

impl Simd for Baseline {
    const REGISTERS: usize = if cfg!(target_arch = "aarch64") { 32 } else { 16 };
    type F32 = [f32; 4];
    type F64 = [f64; 2];
}

macro_rules! array_registers {
    ($ty:ident, $lanes:literal) => {
        impl Registers<Baseline, $ty> for [$ty; $lanes] {
            const LANES: usize = $lanes;
            #[inline(always)]
            fn splat(_: Baseline, x: $ty) -> Self {
                [x; $lanes]
            }
            #[inline(always)]
            fn load(_: Baseline, from: &[$ty]) -> Self {
                let mut register = [0.0; $lanes];
                register.copy_from_slice(&from[..$lanes]);
                register
            }
            #[inline(always)]
            fn store(self, _: Baseline, to: &mut [$ty]) {
                to[..$lanes].copy_from_slice(&self);
            }
            #[inline(always)]
            fn fma(mut self, _: Baseline, b: Self, c: Self) -> Self {
                for i in 0..$lanes {
                    self[i] = self[i].mul_add(b[i], c[i]);
                }
                self
            }
            #[inline(always)]
            fn add(mut self, _: Baseline, b: Self) -> Self {
                for i in 0..$lanes {
                    self[i] += b[i];
                }
                self
            }
        }
    };
}

array_registers!(f32, 4);
array_registers!(f64, 2);

#[cfg(target_arch = "x86_64")]
use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Registers, Simd};
    use std::arch::x86_64::*;

    /// Made only by `dispatch`, where the processor has AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(pub(super) ());

    /// Made only by `dispatch`, where the processor has AVX-512.
    #[derive(Clone, Copy)]
    pub(super) struct Avx512(pub(super) ());

    impl Simd for Avx2 {
        const REGISTERS: usize = 16;
        type F32 = __m256;
        type F64 = __m256d;
    }

    impl Simd for Avx512 {
        const REGISTERS: usize = 32;
        type F32 = __m512;
        type F64 = __m512d;
    }

    macro_rules! registers {
        ($set:ident, $register:ident, $ty:ident, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident,
         $add:ident) => {
            impl Registers<$set, $ty> for $register {
                const LANES: usize = $lanes;
                #[inline(always)]
                fn splat(_: $set, x: $ty) -> Self {
                    // SAFETY: a value of the set exists, so the processor has the instruction.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                fn load(_: $set, from: &[$ty]) -> Self {
                    let from = &from[..$lanes];
                    // SAFETY: as above; the slice has as many numbers as are read, at any alignment.
                    unsafe { $load(from.as_ptr()) }
                }
                #[inline(always)]
                fn store(self, _: $set, to: &mut [$ty]) {
                    let to = &mut to[..$lanes];
                    // SAFETY: as above; the slice has as many numbers as are written, at any alignment.
                    unsafe { $store(to.as_mut_ptr(), self) }
                }
                #[inline(always)]
                fn fma(self, _: $set, b: Self, c: Self) -> Self {
                    // SAFETY: a value of the set exists, so the processor has the instruction.
                    unsafe { $fma(self, b, c) }
                }
                #[inline(always)]
                fn add(self, _: $set, b: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $add(self, b) }
                }
            }
        };
    }

    registers!(Avx2, __m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_add_ps);
    registers!(
        Avx2,
        __m256d,
        f64,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_fmadd_pd,
        _mm256_add_pd
    );
    registers!(
        Avx512,
        __m512,
        f32,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps
    );
    registers!(
        Avx512,
        __m512d,
        f64,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_fmadd_pd,
        _mm512_add_pd
    );
}

/// The most lanes of any register.
pub const MAX_LANES: usize = 16;

/// A number type that fills vector registers: f32 or f64.
pub trait Vector: Real + crate::Element<Acc = Self> + super::Float {
    /// Whether kernels are compiled for AVX-512 too.
    const WIDE: bool;
    /// A register of an instruction set.
    type Register<S: Simd>: Registers<S, Self>;

    /// Numbers per register.
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        Self::Register::<S>::LANES
    }
    /// One number in every lane.
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Register<S> {
        Registers::splat(simd, x)
    }
    /// The first `lanes` numbers of a slice, which must have them.
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Register<S> {
        Registers::load(simd, from)
    }
    /// Writes the first `lanes` numbers of a slice, which must have them.
    #[inline(always)]
    fn store<S: Simd>(simd: S, x: Self::Register<S>, to: &mut [Self]) {
        x.store(simd, to);
    }
    /// `a · b + c` per lane, rounded once.
    #[inline(always)]
    fn fma<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>, c: Self::Register<S>) -> Self::Register<S> {
        a.fma(simd, b, c)
    }
    /// `a + b` per lane.
    #[inline(always)]
    fn add<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S> {
        a.add(simd, b)
    }
}

/// The sum of a stored register: one half of the lanes onto the other, until one is left. Registers are stored first,
/// for a loop of sums too long to unroll would keep accumulators in memory all along.
pub fn sum_of_lanes<A: Vector>(mut lanes: [A; MAX_LANES], count: usize) -> A {
    let mut half = count / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

impl Vector for f32 {
    const WIDE: bool = true;
    type Register<S: Simd> = S::F32;
}

impl Vector for f64 {
    const WIDE: bool = false;
    type Register<S: Simd> = S::F64;
}
