//! The functions of the elementwise family. A backward takes the gradient first (which it may overwrite), then what
//! the forward saved: its input `x` or its output `y`.

mod activation;
mod arithmetic;
mod loss;
mod reductions;
mod transcendental;

pub use activation::*;
pub use arithmetic::*;
pub use loss::*;
pub use reductions::*;
pub use transcendental::*;

/// Declares unit structs that implement [`Map`](super::Map): doc comment, name, functor name, arguments => value.
macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident $kernel:literal [$($x:ident),+] => $body:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl $crate::kernels::elementwise::Map<{ [$(stringify!($x)),+].len() }> for $name {
            const NAME: &'static str = $kernel;
            fn kernels() -> &'static $crate::kernels::elementwise::MapKernels {
                static KERNELS: $crate::kernels::elementwise::MapKernels =
                    $crate::kernels::elementwise::MapKernels::new($kernel);
                &KERNELS
            }
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
            fn kernels() -> &'static $crate::kernels::elementwise::MapKernels {
                static KERNELS: $crate::kernels::elementwise::MapKernels =
                    $crate::kernels::elementwise::MapKernels::new($kernel);
                &KERNELS
            }
            fn constants(&self) -> [f32; 2] {
                let mut constants = [0.0; 2];
                for (constant, value) in constants.iter_mut().zip([$(self.$field),+]) {
                    *constant = value as f32;
                }
                constants
            }
            #[inline(always)]
            fn eval<A: Real>(&self, [$($x),+]: [A; { [$(stringify!($x)),+].len() }]) -> A {
                $(let $field = A::of(self.$field);)+
                $body
            }
        }
    )+};
}

use {maps, maps_with};
