//! What is drawn at random: rows, features, dropped trees. Each purpose, round and tree has a generator of its own, so
//! that nothing depends on the order in which trees are grown.

use crate::random::{Philox, below, permutation, philox};

/// What a generator is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Rows,
    Features,
    Dropped,
    Bootstrap,
}

pub(super) fn generator(seed: u64, purpose: Purpose, round: usize, tree: usize) -> Philox {
    let words = philox([seed as u32, (seed >> 32) as u32], [round as u32, tree as u32, purpose as u32, 0]);
    Philox::new(words[0] as u64 | (words[1] as u64) << 32)
}

/// How many of `all` a share is: rounded to the nearest, at least one.
pub(super) fn part_of(share: f64, all: usize) -> usize {
    ((share * all as f64).round() as usize).clamp(1, all)
}

/// `count` of 0..all without replacement, ascending (Knuth, The Art of Computer Programming 2, algorithm 3.4.2 S).
pub(super) fn rows(count: usize, all: usize, rng: &mut Philox) -> Vec<u32> {
    let mut chosen = Vec::with_capacity(count);
    for row in 0..all {
        if below(rng, (all - row) as u64) < (count - chosen.len()) as u64 {
            chosen.push(row as u32);
        }
    }
    chosen
}

/// Which of `all` features are among the drawn share.
pub(super) fn features(share: f64, all: usize, rng: &mut Philox) -> Vec<bool> {
    let mut active = vec![share >= 1.0; all];
    if share < 1.0 {
        permutation(all, rng).into_iter().take(part_of(share, all)).for_each(|feature| active[feature] = true);
    }
    active
}
