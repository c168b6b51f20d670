//! What the examples share.
#![allow(dead_code)] // each example uses its own part

pub mod digits;
pub mod fetched;
pub mod figures;
pub mod tables;
pub mod text;

use clap::{Arg, ArgMatches, value_parser};
use warpsmith::random::Philox;
use warpsmith::train::Progress;
use warpsmith::{Device, Error, Result};

/// The values that [`device`] takes, for `--help`.
pub const DEVICES: &str =
    "auto (the first CUDA device, else the CPU), cpu, cuda, cuda:N, or virtual (a GPU in software)";

/// The device of that name, one of [`DEVICES`]. `virtual` installs the virtual GPU in place of NVIDIA's driver; the
/// environment variable `VIRTUAL_GPU_DEVICE` says which model it plays.
pub fn device(name: &str) -> Result<Device> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("auto", "0") => Ok(Device::best()),
        ("cpu", "0") => Ok(Device::Cpu),
        ("cuda", ordinal) => {
            let ordinal = ordinal.parse().map_err(|_| Error::argument("device", format!("{name}: no such number")))?;
            Device::cuda(ordinal)
        }
        ("virtual", "0") => {
            virtual_gpu::install().map_err(|error| Error::argument("device", error.to_string()))?;
            Device::cuda(0)
        }
        _ => Err(Error::argument("device", format!("expected {DEVICES}; got {name}"))),
    }
}

/// `--steps`, for [`stops`].
pub fn steps() -> Arg {
    Arg::new("steps").long("steps").value_name("VALUE").help("stop early").value_parser(value_parser!(u64).range(1..))
}

/// Whether `--steps` ends a run before its figures, after so many steps. Then it says so.
pub fn stops(args: &ArgMatches, step: u64, progress: &Progress) -> bool {
    let stops = args.get_one("steps") == Some(&step);
    if stops {
        progress.line(&format!("stopped after {step} steps"));
    }
    stops
}

/// A generator for one purpose and number, so that resuming needs none of the earlier draws.
pub fn generator(seed: u64, purpose: u64, number: u64) -> Philox {
    Philox::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (purpose << 56) ^ number)
}

/// Values as the points of a curve, numbered from 1, `scale` apart.
pub fn numbered(values: &[f64], scale: f64) -> Vec<(f64, f64)> {
    values.iter().enumerate().map(|(i, &v)| ((i + 1) as f64 * scale, v)).collect()
}
