//! Boosted trees and forests against definitions that share nothing with them: exact greedy search over all thresholds,
//! cases made by hand, and what must hold for any data.

#[path = "trees/boosting.rs"]
mod boosting;
#[path = "trees/exact.rs"]
mod exact;
#[path = "trees/files.rs"]
mod files;
#[path = "trees/forest.rs"]
mod forest;
#[path = "trees/handmade.rs"]
mod handmade;

use warpsmith::random::{Philox, below};
use warpsmith::trees::{BoostConfig, CategoryConfig, Features, Objective, TreeConfig};

/// Uniform in [0, 1).
pub fn uniform(rng: &mut Philox) -> f64 {
    below(rng, 1 << 53) as f64 * 2f64.powi(-53)
}

/// Whole numbers below `levels`; every tenth is missing where asked.
pub fn numbers(rows: usize, levels: u64, missing: bool, rng: &mut Philox) -> Vec<f64> {
    let one = |rng: &mut Philox| {
        if missing && below(rng, 10) == 0 { f64::NAN } else { below(rng, levels) as f64 }
    };
    (0..rows).map(|_| one(rng)).collect()
}

/// Without limits on a tree's leaves but their number: every split that gains is made.
pub fn free(objective: Objective, max_leaves: usize) -> BoostConfig {
    let categories = CategoryConfig { smooth: 0.0, l2: 0.0, min_data: 1, most_in_set: 255, one_vs_rest: 2 };
    let tree = TreeConfig { max_leaves, min_data: 1, min_weight: 0.0, categories, ..Default::default() };
    BoostConfig { tree, min_data_in_bin: 1, learning_rate: 1.0, rounds: 1, ..BoostConfig::new(objective) }
}

/// Rows with two numbers, one category with gaps, and a smooth target in [0, 1].
pub fn mixed(rows: usize, seed: u64) -> (Features, Vec<f64>) {
    let mut rng = Philox::new(seed);
    let (a, b) = (numbers(rows, 1000, true, &mut rng), numbers(rows, 50, false, &mut rng));
    let kinds = ["ash", "birch", "cedar", "elm", "fir", "oak", "pine"];
    let kind: Vec<usize> = (0..rows).map(|_| below(&mut rng, 8) as usize).collect();
    let target = (0..rows).map(|i| {
        let wave = (if a[i].is_nan() { 0.7 } else { (a[i] / 150.0).sin() }) * (b[i] / 50.0 - 0.3);
        let noise = uniform(&mut rng) - 0.5;
        1.0 / (1.0 + (-2.0 * wave - 0.5 * (kind[i] % 3) as f64 + 0.5 - noise).exp())
    });
    let target = target.collect();
    let table = Features::new().numeric("a", a).and_then(|t| t.numeric("b", b));
    let table = table.and_then(|t| t.categorical("kind", kind.iter().map(|&k| kinds.get(k))));
    (table.unwrap(), target)
}

/// Class labels from a target in [0, 1].
pub fn classes(target: &[f64], classes: usize) -> Vec<f64> {
    target.iter().map(|y| (y * classes as f64).floor().min(classes as f64 - 1.0)).collect()
}
