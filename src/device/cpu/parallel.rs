//! Threads: rayon's pool, with splits that depend on shapes only, so that results never depend on thread count.

use rayon::prelude::*;
use std::ops::Range;

/// Elements below which handing work to another thread costs more than it saves.
pub const GRAIN: usize = 1 << 14;

/// The number of threads that share work.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

// The closures go to rayon behind references: its machinery is compiled once per element type, not per call.

/// Cuts `out` into chunks of `chunk` elements (the last may be shorter) and calls `f(chunk_index, chunk)` on each,
/// in parallel.
pub fn for_each_chunk<T: Send>(out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    fn parallel<T: Send>(out: &mut [T], chunk: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, c)| f(i, c));
    }
    let chunk = chunk.max(1);
    if out.len() > chunk {
        parallel(out, chunk, &f);
    } else if !out.is_empty() {
        f(0, out);
    }
}

/// Calls `f` for 0..n in parallel; `f` must find disjoint work for itself (or only read).
pub fn for_each_index(n: usize, f: impl Fn(usize) + Sync) {
    fn parallel(n: usize, f: &(dyn Fn(usize) + Sync)) {
        (0..n).into_par_iter().for_each(f);
    }
    if n > 1 {
        parallel(n, &f);
    } else {
        (0..n).for_each(f);
    }
}

/// Cuts 0..n into ranges of `chunk` and collects `f` of each, in order: the base of fixed-order reductions.
pub fn map_ranges<R: Send>(n: usize, chunk: usize, f: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
    fn parallel<R: Send>(count: usize, f: &(dyn Fn(usize) -> R + Sync)) -> Vec<R> {
        (0..count).into_par_iter().map(f).collect()
    }
    let chunk = chunk.max(1);
    let count = n.div_ceil(chunk);
    let part = |i: usize| f(i * chunk..n.min((i + 1) * chunk));
    if count > 1 { parallel(count, &part) } else { (0..count).map(part).collect() }
}

/// Calls `f` on every part in parallel and collects the results in order. A part owns what its task writes (disjoint
/// slices of several outputs), which the caller has cut by shape.
pub fn map_parts<P: Send, R: Send>(parts: Vec<P>, f: impl Fn(usize, P) -> R + Sync) -> Vec<R> {
    if parts.len() <= 1 {
        parts.into_iter().enumerate().map(|(i, p)| f(i, p)).collect()
    } else {
        parts.into_par_iter().enumerate().map(|(i, p)| f(i, p)).collect()
    }
}
