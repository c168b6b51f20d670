//! What the tests share: the devices under test, f64 arrays, fresh random inputs, and the check of one operation against
//! its definition.
#![allow(dead_code, unused_imports)] // every test binary uses its own part

pub mod array;
pub mod check;
pub mod devices;
pub mod large;
pub mod random;
pub mod record;

pub use array::Array;
pub use check::{Domain, OpCheck};
pub use random::Random;

/// Makes tests of functions that run on the devices under test, and lists them for `examples/selftest.rs`, which is made
/// of the same files.
#[allow(unused_macros)] // every test binary uses its own part
macro_rules! device_checks {
    ($($check:ident),+ $(,)?) => {
        /// The checks of this file, by name.
        #[cfg(not(test))]
        pub const CHECKS: &[(&str, fn())] = &[$((stringify!($check), $check)),+];

        #[cfg(test)]
        mod on_devices {
            $(
                #[test]
                fn $check() {
                    super::$check();
                }
            )+
        }
    };
}
pub(crate) use device_checks;
