//! Shuffles and permutations by any generator of the `rand` crates.

use rand_core::Rng;

/// Uniform in 0..n without bias (Lemire 2019, "Fast random integer generation in an interval"); 0 for n = 0.
pub fn below(rng: &mut (impl Rng + ?Sized), n: u64) -> u64 {
    // 2⁶⁴ mod n products fall where some results have one chance too many.
    let surplus = n.wrapping_neg().checked_rem(n).unwrap_or(0);
    loop {
        let product = rng.next_u64() as u128 * n as u128;
        if product as u64 >= surplus {
            return (product >> 64) as u64;
        }
    }
}

/// Puts the values in a uniformly random order (Fisher & Yates; Durstenfeld 1964).
///
/// ```
/// use warpsmith::random::{Philox, shuffle};
/// let mut deck: Vec<u32> = (0..52).collect();
/// shuffle(&mut deck, &mut Philox::new(1));
/// assert!(deck.iter().enumerate().any(|(i, &card)| card != i as u32));
/// ```
pub fn shuffle<T>(values: &mut [T], rng: &mut (impl Rng + ?Sized)) {
    for i in (1..values.len()).rev() {
        values.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// 0..n in a uniformly random order.
pub fn permutation(n: usize, rng: &mut (impl Rng + ?Sized)) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut order, rng);
    order
}
