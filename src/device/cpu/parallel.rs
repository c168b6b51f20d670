//! Threads: rayon's pool, with splits that depend on shapes only, so that results never depend on thread count.

use rayon::prelude::*;
use std::ops::Range;

/// Elements below which handing work to another thread costs more than it saves.
pub const GRAIN: usize = 1 << 14;

/// The number of threads that share work.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// The one place where work meets the pool: compiled once, whatever the work (a pool's machinery for each closure was
/// most of the library's code).
fn run(n: usize, f: &(dyn Fn(usize) + Sync)) {
    if n <= 1 {
        (0..n).for_each(f);
    } else {
        (0..n).into_par_iter().for_each(f);
    }
}

/// A slice that tasks take apart.
struct Parts<T>(*mut T);

// SAFETY: a task takes only its own part, as an exclusive slice, and T may be sent to its thread.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// # Safety
    /// `range` lies inside the slice, and no two tasks take overlapping ranges.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    unsafe fn take(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: inside one live slice and exclusive, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

/// Cuts `out` into chunks of `chunk` elements (the last may be shorter) and calls `f(chunk_index, chunk)` on each,
/// in parallel.
pub fn for_each_chunk<T: Send>(out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let chunk = chunk.max(1);
    let len = out.len();
    let parts = Parts(out.as_mut_ptr());
    run(len.div_ceil(chunk), &|i| {
        // SAFETY: chunk i is inside 0..len for i below the number of chunks, and chunks do not overlap; `out` is
        // borrowed exclusively until all tasks are done.
        f(i, unsafe { parts.take(i * chunk..len.min((i + 1) * chunk)) })
    });
}

/// Calls `f` for 0..n in parallel; `f` must find disjoint work for itself (or only read).
pub fn for_each_index(n: usize, f: impl Fn(usize) + Sync) {
    run(n, &f);
}

/// Cuts 0..n into ranges of `chunk` and collects `f` of each, in order: the base of fixed-order reductions.
pub fn map_ranges<R: Send>(n: usize, chunk: usize, f: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
    let chunk = chunk.max(1);
    let mut results: Vec<Option<R>> = (0..n.div_ceil(chunk)).map(|_| None).collect();
    for_each_chunk(&mut results, 1, |i, slot| slot[0] = Some(f(i * chunk..n.min((i + 1) * chunk))));
    results.into_iter().flatten().collect()
}

/// Calls `f` on every part in parallel. A part owns what its task writes (disjoint slices of several outputs), which the
/// caller has cut by shape.
pub fn for_each_part<P: Send>(parts: Vec<P>, f: impl Fn(usize, P) + Sync) {
    let mut parts: Vec<Option<P>> = parts.into_iter().map(Some).collect();
    for_each_chunk(&mut parts, 1, |i, slot| {
        if let Some(part) = slot[0].take() {
            f(i, part);
        }
    });
}

/// Calls `f` on every part in parallel and collects the results in order; see [`for_each_part`].
pub fn map_parts<P: Send, R: Send>(parts: Vec<P>, f: impl Fn(usize, P) -> R + Sync) -> Vec<R> {
    let mut slots: Vec<(Option<P>, Option<R>)> = parts.into_iter().map(|p| (Some(p), None)).collect();
    for_each_chunk(&mut slots, 1, |i, slot| slot[0].1 = slot[0].0.take().map(|p| f(i, p)));
    slots.into_iter().filter_map(|(_, r)| r).collect()
}
