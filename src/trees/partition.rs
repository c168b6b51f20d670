//! Parting a leaf's rows between its children, in their order.

use rayon::prelude::*;

/// Rows for one thread at least.
const PART: usize = 4096;

/// Puts the rows of `index` whose bin goes left before the others, each side in the order it had; returns how many go
/// left. `buffer` is as long as `index`.
pub(super) fn partition(index: &mut [u32], buffer: &mut [u32], column: &[u8], goes_left: &[bool; 256]) -> usize {
    let parts = (index.len() / PART).clamp(1, rayon::current_num_threads());
    if parts == 1 {
        let left = part(index, buffer, column, goes_left);
        index[left..].copy_from_slice(&buffer[..buffer.len() - left]);
        return left;
    }
    let length = index.len().div_ceil(parts);
    let lefts: Vec<usize> = index
        .par_chunks_mut(length)
        .zip(buffer.par_chunks_mut(length))
        .map(|(index, buffer)| part(index, buffer, column, goes_left))
        .collect();
    let mut left = 0;
    for (p, &count) in lefts.iter().enumerate() {
        index.copy_within(p * length..p * length + count, left);
        left += count;
    }
    let mut at = left;
    for (p, chunk) in buffer.chunks(length).enumerate() {
        let count = chunk.len() - lefts[p];
        index[at..at + count].copy_from_slice(&chunk[..count]);
        at += count;
    }
    left
}

/// Gathers what goes left at the front of `index` and the rest at the front of `buffer`, without a branch.
fn part(index: &mut [u32], buffer: &mut [u32], column: &[u8], goes_left: &[bool; 256]) -> usize {
    let buffer = &mut buffer[..index.len()];
    let (mut left, mut right) = (0, 0);
    for at in 0..index.len() {
        let row = index[at];
        let goes_left = goes_left[column[row as usize] as usize] as usize;
        index[left] = row;
        buffer[right] = row;
        left += goes_left;
        right += 1 - goes_left;
    }
    left
}
