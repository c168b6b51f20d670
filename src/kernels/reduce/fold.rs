//! What a reduction does to one more element, and to two partial results.

use crate::Element;
use crate::device::cpu::{CpuMemory, Float, Real};
use crate::{Error, Result};
use half::{bf16, f16};

/// f32, f64 or i64: what reductions accumulate in.
pub(crate) trait Number: Element<Acc = Self> {
    const ZERO: Self;
    const ONE: Self;
    /// Not above any value.
    const LOWEST: Self;
    /// Not below any value.
    const HIGHEST: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// The larger; NaN if either is NaN.
    fn larger(self, other: Self) -> Self;
    /// The smaller; NaN if either is NaN.
    fn smaller(self, other: Self) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! float_number {
    ($ty:ident) => {
        impl Number for $ty {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $ty::NEG_INFINITY;
            const HIGHEST: Self = $ty::INFINITY;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                Real::maximum(self, other)
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                Real::minimum(self, other)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $ty::is_nan(self)
            }
        }
    };
}

float_number!(f32);
float_number!(f64);

impl Number for i64 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    const LOWEST: Self = i64::MIN;
    const HIGHEST: Self = i64::MAX;
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        false
    }
}

/// Any dtype, as reductions read it.
pub(crate) trait Operand: Element<Acc: super::Accumulator> {
    /// Widens a slice; both have the same length.
    fn load(from: &[Self], to: &mut [Self::Acc]);
    /// Rounds (floats) or truncates (integers) a slice; both have the same length.
    fn store(from: &[Self::Acc], to: &mut [Self]);
    /// The slice itself where the dtype is its own accumulator.
    fn direct(from: &[Self]) -> Option<&[Self::Acc]>;
    /// The slice itself where the dtype is its own accumulator.
    fn direct_mut(from: &mut [Self]) -> Option<&mut [Self::Acc]>;
}

macro_rules! float_operand {
    ($($ty:ty),*) => {$(
        impl Operand for $ty {
            fn load(from: &[Self], to: &mut [Self::Acc]) {
                <$ty as Float>::widen(from, to);
            }
            fn store(from: &[Self::Acc], to: &mut [Self]) {
                <$ty as Float>::narrow(from, to);
            }
            fn direct(from: &[Self]) -> Option<&[Self::Acc]> {
                <$ty as Float>::as_acc(from)
            }
            fn direct_mut(from: &mut [Self]) -> Option<&mut [Self::Acc]> {
                <$ty as Float>::as_acc_mut(from)
            }
        }
    )*};
}

float_operand!(f32, f64, f16, bf16);

macro_rules! integer_operand {
    ($ty:ty, |$x:ident| $direct:expr) => {
        impl Operand for $ty {
            fn load(from: &[Self], to: &mut [i64]) {
                to.iter_mut().zip(from).for_each(|(t, &f)| *t = f as i64);
            }
            fn store(from: &[i64], to: &mut [Self]) {
                to.iter_mut().zip(from).for_each(|(t, &f)| *t = f as $ty);
            }
            fn direct($x: &[Self]) -> Option<&[i64]> {
                $direct
            }
            fn direct_mut($x: &mut [Self]) -> Option<&mut [i64]> {
                $direct
            }
        }
    };
}

integer_operand!(i64, |x| Some(x));
integer_operand!(u32, |_x| None);
integer_operand!(u8, |_x| None);

/// A reduction's arithmetic. `shift` is a number per output, found before: a mean, a maximum.
pub(super) trait Fold<A: Number>: Sync {
    /// The result for no elements.
    const EMPTY: A;
    /// One more element.
    fn step(acc: A, x: A, shift: A) -> A;
    /// Two partial results.
    fn merge(a: A, b: A) -> A;
    /// The shift of every output; without it, steps get 0.
    fn shifts(&self) -> Option<&[A]> {
        None
    }
}

macro_rules! fold {
    ($(#[$doc:meta])* $name:ident: $bound:ident, $empty:expr, |$acc:ident, $x:ident| $step:expr, |$a:ident, $b:ident| $merge:expr) => {
        $(#[$doc])*
        pub(super) struct $name;
        impl<A: Number + $bound> Fold<A> for $name {
            const EMPTY: A = $empty;
            #[inline(always)]
            fn step($acc: A, $x: A, _: A) -> A {
                $step
            }
            #[inline(always)]
            fn merge($a: A, $b: A) -> A {
                $merge
            }
        }
    };
}

fold!(/** Σ x */ Sum: Number, A::ZERO, |acc, x| acc.plus(x), |a, b| a.plus(b));
fold!(/** Π x */ Product: Number, A::ONE, |acc, x| acc.times(x), |a, b| a.times(b));
fold!(/** The largest x; NaN if any is. */ Largest: Number, A::LOWEST, |acc, x| acc.larger(x), |a, b| a.larger(b));
fold!(/** The smallest x; NaN if any is. */ Smallest: Number, A::HIGHEST, |acc, x| acc.smaller(x), |a, b| a.smaller(b));
fold!(/** 1 if any x is not 0. */ Any: Number, A::ZERO,
    |acc, x| if x != A::ZERO { A::ONE } else { acc }, |a, b| a.larger(b));
fold!(/** 1 if every x is not 0. */ All: Number, A::ONE,
    |acc, x| if x == A::ZERO { A::ZERO } else { acc }, |a, b| a.smaller(b));
fold!(/** Σ |x| */ SumAbs: Real, <A as Number>::ZERO, |acc, x| acc.plus(x.abs()), |a, b| a.plus(b));
fold!(/** Σ x² */ SumSquares: Real, <A as Number>::ZERO, |acc, x| x.mul_add(x, acc), |a, b| a.plus(b));

/// Σ (x − mean)²: the second pass of a variance.
pub(super) struct SquaredDeviations<'a, A>(pub(super) &'a [A]);

impl<A: Number + Real> Fold<A> for SquaredDeviations<'_, A> {
    const EMPTY: A = <A as Number>::ZERO;
    #[inline(always)]
    fn step(acc: A, x: A, mean: A) -> A {
        (x - mean).mul_add(x - mean, acc)
    }
    #[inline(always)]
    fn merge(a: A, b: A) -> A {
        a + b
    }
    fn shifts(&self) -> Option<&[A]> {
        Some(self.0)
    }
}

/// Σ exp(x − largest): the second pass of logsumexp.
pub(super) struct SumExp<'a, A>(pub(super) &'a [A]);

impl<A: Number + Real> Fold<A> for SumExp<'_, A> {
    const EMPTY: A = <A as Number>::ZERO;
    #[inline(always)]
    fn step(acc: A, x: A, largest: A) -> A {
        acc + (x - largest).exp()
    }
    #[inline(always)]
    fn merge(a: A, b: A) -> A {
        a + b
    }
    fn shifts(&self) -> Option<&[A]> {
        Some(self.0)
    }
}

/// Scratch numbers from the free list.
pub(crate) struct Scratch<A> {
    memory: CpuMemory,
    len: usize,
    of: std::marker::PhantomData<A>,
}

impl<A: Element> Scratch<A> {
    pub(crate) fn new(len: usize) -> Result<Self> {
        let bytes = len
            .checked_mul(size_of::<A>())
            .ok_or_else(|| Error::argument("allocation", format!("{len} scratch elements are too many")))?;
        Ok(Scratch { memory: CpuMemory::uninit(bytes)?, len, of: std::marker::PhantomData })
    }

    pub(crate) fn get(&self) -> &[A] {
        self.memory.as_slice(self.len)
    }

    pub(crate) fn get_mut(&mut self) -> &mut [A] {
        self.memory.as_mut_slice(self.len)
    }
}
