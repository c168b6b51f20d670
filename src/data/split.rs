//! Which samples are for training and which for looking: fractions and folds, as numbers of samples.

use super::dataset::{generator, purpose};
use crate::random::shuffle;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The numbers 0 to `n` cut at random into parts of these fractions, each part in ascending order.
///
/// Fractions that add up to 1 use every number; otherwise the rest is in no part. Sizes are the shares rounded, so that
/// they too add up.
///
/// ```
/// use warpsmith::data::split::split;
/// let parts = split(10, &[0.7, 0.2, 0.1], 42)?;
/// assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [7, 2, 1]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn split(n: usize, fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    split_stratified(&vec![0u8; n], fractions, seed)
}

/// As [`split`], of every class on its own: each part has its share of each class, rounded up or down. What rounding
/// took from a part in one class it gets in the next.
///
/// ```
/// use warpsmith::data::split::split_stratified;
/// // Eight cats, four dogs.
/// let labels = [0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1];
/// let parts = split_stratified(&labels, &[0.75, 0.25], 1)?;
/// let dogs = |part: &[usize]| part.iter().filter(|&&i| labels[i] == 1).count();
/// assert_eq!((parts[0].len(), dogs(&parts[0])), (9, 3));
/// assert_eq!((parts[1].len(), dogs(&parts[1])), (3, 1));
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn split_stratified<L: Ord>(labels: &[L], fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let sum: f64 = fractions.iter().sum();
    // Fractions such as 0.7, 0.2 and 0.1 do not add up to 1 exactly.
    if fractions.iter().any(|f| !(0.0..=1.0).contains(f)) || sum > 1.0 + 1e-9 {
        let message = format!("fractions {fractions:?} must lie between 0 and 1 and add up to 1 at most");
        return Err(Error::argument("split", message));
    }
    // What is in no part is a part of its own, left out at the end.
    let rest = if sum > 1.0 - 1e-9 { 0.0 } else { 1.0 - sum };
    let shares: Vec<f64> = fractions.iter().copied().chain([rest]).collect();
    let mut parts = vec![Vec::new(); shares.len()];
    // What each part should have got so far, less what it got.
    let mut owed = vec![0f64; shares.len()];
    for class in classes(labels, seed) {
        let mut counts = Vec::new();
        for (share, owed) in shares.iter().zip(&mut owed) {
            let exact = share * class.len() as f64;
            // Shares that are whole numbers but for rounding are whole numbers.
            let count = (exact + 1e-6).floor();
            *owed += exact - count;
            counts.push(count as usize);
        }
        let mut order: Vec<usize> = (0..shares.len()).filter(|&part| shares[part] > 0.0).collect();
        order.sort_by(|&a, &b| owed[b].total_cmp(&owed[a]));
        let left = class.len() - counts.iter().sum::<usize>();
        for &part in order.iter().take(left) {
            counts[part] += 1;
            owed[part] -= 1.0;
        }
        let mut at = 0;
        for (part, count) in parts.iter_mut().zip(counts) {
            part.extend_from_slice(&class[at..at + count]);
            at += count;
        }
    }
    parts.pop();
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// One of the `k` ways to look at data in [`k_fold`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// What to train on.
    pub training: Vec<usize>,
    /// What to look at: a `k`-th of the data.
    pub validation: Vec<usize>,
}

/// The numbers 0 to `n` in `k` folds: each number is in the validation part of exactly one, and in the training part of
/// all others; parts differ in size by one at most and are in ascending order.
///
/// ```
/// use warpsmith::data::split::k_fold;
/// for fold in k_fold(10, 5, 42)? {
///     assert_eq!((fold.training.len(), fold.validation.len()), (8, 2));
/// }
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn k_fold(n: usize, k: usize, seed: u64) -> Result<Vec<Fold>> {
    k_fold_stratified(&vec![0u8; n], k, seed)
}

/// As [`k_fold`], where also the numbers of each class differ by one at most among the folds.
pub fn k_fold_stratified<L: Ord>(labels: &[L], k: usize, seed: u64) -> Result<Vec<Fold>> {
    let n = labels.len();
    if k < 2 || k > n {
        return Err(Error::argument("k_fold", format!("{k} folds of {n} samples: ask for 2 to {n}")));
    }
    let mut fold_of = vec![0; n];
    // Dealt out like cards, class after class.
    let dealt = classes(labels, seed).into_iter().flatten();
    dealt.enumerate().for_each(|(turn, sample)| fold_of[sample] = turn % k);
    let fold = |fold| {
        let (validation, training) = (0..n).partition(|&sample| fold_of[sample] == fold);
        Fold { training, validation }
    };
    Ok((0..k).map(fold).collect())
}

/// The samples of each class, shuffled; classes in ascending order.
fn classes<L: Ord>(labels: &[L], seed: u64) -> Vec<Vec<usize>> {
    let mut classes: BTreeMap<&L, Vec<usize>> = BTreeMap::new();
    labels.iter().enumerate().for_each(|(sample, label)| classes.entry(label).or_default().push(sample));
    let mut rng = generator(seed, 0, purpose::SPLIT);
    let mut classes: Vec<_> = classes.into_values().collect();
    classes.iter_mut().for_each(|class| shuffle(class, &mut rng));
    classes
}
