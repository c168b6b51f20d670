//! What the tests share: the devices under test, f64 arrays, fresh random inputs, and the check of one operation against
//! its definition.
#![allow(dead_code, unused_imports)] // every test binary uses its own part

pub mod array;
pub mod check;
pub mod devices;
pub mod families;
pub mod large;
pub mod random;

pub use array::Array;
pub use check::{Domain, OpCheck};
pub use random::Random;
