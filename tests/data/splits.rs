//! Fractions and folds.

use super::message;
use proptest::prelude::*;
use warpsmith::data::split::*;

fn sizes(parts: &[Vec<usize>]) -> Vec<usize> {
    parts.iter().map(Vec::len).collect()
}

fn count(part: &[usize], labels: &[u8], class: u8) -> usize {
    part.iter().filter(|&&i| labels[i] == class).count()
}

#[test]
fn fractions_by_hand() {
    assert_eq!(sizes(&split(10, &[0.7, 0.2, 0.1], 0).unwrap()), [7, 2, 1]);
    assert_eq!(sizes(&split(1000, &[0.3, 0.3, 0.4], 0).unwrap()), [300, 300, 400]);
    assert_eq!(sizes(&split(10, &[0.5, 0.2], 0).unwrap()), [5, 2]);
    assert_eq!(sizes(&split(3, &[0.5, 0.5], 0).unwrap()), [2, 1]);
    assert_eq!(sizes(&split(7, &[1.0, 0.0], 0).unwrap()), [7, 0]);
    assert_eq!(sizes(&split(0, &[0.5, 0.5], 0).unwrap()), [0, 0]);
    for bad in [&[0.6, 0.6][..], &[-0.1, 0.5], &[f64::NAN], &[1.5]] {
        assert!(message(split(10, bad, 0)).contains("between 0 and 1"));
    }
    // Three samples of each of four classes, halves: one class gives more to one part, the next to the other.
    let labels: Vec<u8> = (0..12).map(|i| i % 4).collect();
    assert_eq!(sizes(&split_stratified(&labels, &[0.5, 0.5], 0).unwrap()), [6, 6]);
}

#[test]
fn folds_by_hand() {
    let folds = k_fold(5, 2, 1).unwrap();
    assert_eq!(folds.iter().map(|fold| fold.validation.len()).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(
        (folds[0].validation.clone(), folds[0].training.clone()),
        (folds[1].training.clone(), folds[1].validation.clone())
    );
    assert_ne!(k_fold(40, 2, 1).unwrap(), k_fold(40, 2, 2).unwrap());
    assert_eq!(k_fold(40, 2, 1).unwrap(), k_fold(40, 2, 1).unwrap());
    for k in [0, 1, 6] {
        assert!(message(k_fold(5, k, 1)).contains("ask for 2 to 5"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_are_disjoint_and_have_their_shares(
        labels in prop::collection::vec(0u8..4, 0..120), first in 0u32..=100, second in 0u32..=100, seed: u64,
    ) {
        let (a, b) = (f64::from(first) / 100.0, f64::from(second.min(100 - first)) / 100.0);
        let parts = split_stratified(&labels, &[a, b], seed).unwrap();
        let mut all = parts.concat();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), parts.concat().len());
        if a + b > 1.0 - 1e-9 {
            prop_assert_eq!(all.len(), labels.len());
        }
        for (part, share) in parts.iter().zip([a, b]) {
            prop_assert!(part.is_sorted());
            for class in 0..4 {
                let exact = share * labels.iter().filter(|&&l| l == class).count() as f64;
                prop_assert!((count(part, &labels, class) as f64 - exact).abs() < 1.0 + 1e-6);
            }
        }
    }

    #[test]
    fn folds_are_partitions_with_equal_classes(
        labels in prop::collection::vec(0u8..3, 2..90), k in 2usize..9, seed: u64,
    ) {
        let k = k.min(labels.len());
        let folds = k_fold_stratified(&labels, k, seed).unwrap();
        let mut all: Vec<usize> = folds.iter().flat_map(|fold| fold.validation.clone()).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        for fold in &folds {
            let mut both = [fold.training.clone(), fold.validation.clone()].concat();
            both.sort_unstable();
            prop_assert_eq!(both, (0..labels.len()).collect::<Vec<_>>());
        }
        let spread = |counts: Vec<usize>| counts.iter().max().unwrap() - counts.iter().min().unwrap();
        prop_assert!(spread(folds.iter().map(|fold| fold.validation.len()).collect()) <= 1);
        for class in 0..3 {
            prop_assert!(spread(folds.iter().map(|fold| count(&fold.validation, &labels, class)).collect()) <= 1);
        }
    }
}
