//! f32 and f64 as whole vector registers, for kernels that hold their accumulators in registers.
//!
//! A kernel is a value whose [`WithSimd::with_simd`] is compiled once per instruction set; [`dispatch`] picks the one of
//! this processor. Registers are plain values (`A::Register<S>`), so register tiles are arrays of them, in safe code.

use super::Real;
use pulp::Simd;
pub use pulp::WithSimd;
use std::sync::OnceLock;

/// Runs a kernel compiled for the widest vector instructions of this processor. Not inlined: see
/// [`vectorize`](super::vectorize).
#[inline(never)]
pub fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(kernel)
}

/// A number type that fills vector registers: f32 or f64.
pub trait Vector: Real + crate::Element<Acc = Self> + super::Float {
    /// A register of an instruction set.
    type Register<S: Simd>: Copy;
    /// Numbers per register.
    fn lanes<S: Simd>() -> usize;
    /// One number in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Register<S>;
    /// The first `lanes` numbers of a slice, which must have them.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Register<S>;
    /// Writes the first `lanes` numbers of a slice, which must have them.
    fn store<S: Simd>(simd: S, x: Self::Register<S>, to: &mut [Self]);
    /// `a · b + c` per lane, rounded once.
    fn fma<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>, c: Self::Register<S>) -> Self::Register<S>;
    /// `a + b` per lane.
    fn add<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>) -> Self::Register<S>;
    /// The sum of the lanes, in a fixed order.
    fn reduce<S: Simd>(simd: S, x: Self::Register<S>) -> Self;
}

macro_rules! vector {
    ($ty:ident, $register:ident, $lanes:ident, $splat:ident, $as:ident, $as_mut:ident, $fma:ident, $add:ident, $sum:ident) => {
        impl Vector for $ty {
            type Register<S: Simd> = S::$register;
            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$register {
                simd.$splat(x)
            }
            #[inline(always)]
            fn load<S: Simd>(_: S, from: &[Self]) -> S::$register {
                S::$as(&from[..S::$lanes]).0[0]
            }
            #[inline(always)]
            fn store<S: Simd>(_: S, x: S::$register, to: &mut [Self]) {
                S::$as_mut(&mut to[..S::$lanes]).0[0] = x;
            }
            #[inline(always)]
            fn fma<S: Simd>(simd: S, a: S::$register, b: S::$register, c: S::$register) -> S::$register {
                simd.$fma(a, b, c)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$register, b: S::$register) -> S::$register {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn reduce<S: Simd>(simd: S, x: S::$register) -> Self {
                simd.$sum(x)
            }
        }
    };
}

vector!(f32, f32s, F32_LANES, splat_f32s, as_simd_f32s, as_mut_simd_f32s, mul_add_f32s, add_f32s, reduce_sum_f32s);
vector!(f64, f64s, F64_LANES, splat_f64s, as_simd_f64s, as_mut_simd_f64s, mul_add_f64s, add_f64s, reduce_sum_f64s);
