//! The functions of the elementwise family. A backward takes the gradient first (which it may overwrite), then what
//! the forward saved: its input `x` or its output `y`.

mod activation;
mod arithmetic;
mod loss;
mod transcendental;

pub use activation::*;
pub use arithmetic::*;
pub use loss::*;
pub use transcendental::*;

/// Declares unit structs that implement [`Map`](super::Map): doc comment, name, functor name, arguments => value.
macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident $kernel:literal [$($x:ident),+] => $body:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl $crate::kernels::elementwise::Map<{ [$(stringify!($x)),+].len() }> for $name {
            const NAME: &'static str = $kernel;
            #[inline(always)]
            fn eval<A: Real>(&self, [$($x),+]: [A; { [$(stringify!($x)),+].len() }]) -> A {
                $body
            }
        }
    )+};
}

/// The same with constants, which are the struct's fields, rounded to the accumulator type before use.
macro_rules! maps_with {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ } $kernel:literal
        [$($x:ident),+] => $body:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: f64,)+
        }
        impl $crate::kernels::elementwise::Map<{ [$(stringify!($x)),+].len() }> for $name {
            const NAME: &'static str = $kernel;
            #[inline(always)]
            fn eval<A: Real>(&self, [$($x),+]: [A; { [$(stringify!($x)),+].len() }]) -> A {
                $(let $field = A::of(self.$field);)+
                $body
            }
        }
    )+};
}

use {maps, maps_with};
