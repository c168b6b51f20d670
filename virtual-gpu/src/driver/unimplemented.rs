//! The names of cuda.h that have no implementation here. The build script finds them: every name of `names.txt` that no
//! file of this folder defines. They are exported all the same, because clients resolve names they never call.

use super::abi::CuResult;
use super::error::{Code, Error, Res};
use super::table::lock;
use std::collections::BTreeSet;
use std::sync::Mutex;

static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// What an entry point without an implementation returns: 801, explained once.
fn missing(name: &'static str) -> CuResult {
    super::call(name, || -> Res {
        if lock(&SAID).insert(name) {
            Err(Error::new(Code::NotSupported, "virtual-gpu does not implement this call"))
        } else {
            Err(Code::NotSupported.into())
        }
    })
}

macro_rules! unimplemented_names {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> CuResult {
            missing(stringify!($name))
        }
    )*};
}

include!(concat!(env!("OUT_DIR"), "/unimplemented.rs"));
