//! The CPU device: memory from a free list, threads, run-time vector dispatch, conversions and math primitives.
//!
//! Everything here is a safe primitive; kernel families' `cpu.rs` build on it without `unsafe`.

mod convert;
mod mapped;
mod math;
mod memory;
mod parallel;
mod rows;
mod simd;
mod tiles;
mod vector;

pub use convert::{BLOCK, Float, copy_strided, load_elements, load_strided};
pub use mapped::MappedFile;
pub use math::Real;
pub use memory::{CpuMemory, cached_bytes, clear_cache, set_cache_limit};
pub use parallel::{GRAIN, for_each_chunk, for_each_index, for_each_part, map_parts, map_ranges, threads};
pub use rows::{larger, largest, sums};
pub use simd::{vectorize, vectorize_wide};
pub use tiles::{TileAt, TileMut, for_each_tile};
pub use vector::{MAX_LANES, Simd, Vector, WithSimd, dispatch, sum_of_lanes};
