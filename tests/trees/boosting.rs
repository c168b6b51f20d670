//! What must hold for boosting on any data.

use super::{classes, free, mixed, uniform};
use proptest::prelude::*;
use warpsmith::random::{Philox, below};
use warpsmith::trees::{
    BoostConfig, Boosted, Dart, Features, Forest, ForestConfig, Importance, LambdaRank, Objective, Target,
};

/// Each objective with labels that it takes.
fn objectives(target: &[f64]) -> Vec<(Objective, Vec<f64>)> {
    vec![
        (Objective::L2, target.to_vec()),
        (Objective::Logistic, classes(target, 2)),
        (Objective::CrossEntropy, target.to_vec()),
        (Objective::Softmax { classes: 4 }, classes(target, 4)),
    ]
}

#[test]
fn training_loss_falls_each_round() {
    let (table, target) = mixed(800, 1);
    for (objective, labels) in objectives(&target) {
        let mut config = BoostConfig { rounds: 25, ..BoostConfig::new(objective) };
        config.tree.l2 = 1.0;
        let model = Boosted::fit(&table, &Target::new(&labels), &config).unwrap();
        let loss = |rounds: usize| model.truncated(rounds).loss(&table, &Target::new(&labels)).unwrap();
        let losses: Vec<f64> = (0..=25).map(loss).collect();
        assert!(losses.is_sorted_by(|a, b| a > b), "{:?}: {losses:?}", model.objective());
        assert!(losses[25] < 0.95 * losses[0], "{:?}: {losses:?}", model.objective());
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    // Enough rows that histograms, partitions and samples are shared out.
    let (table, target) = mixed(20_000, 2);
    let groups = vec![20; 1000];
    let ranked = (Objective::LambdaRank(LambdaRank::default()), classes(&target, 5));
    let mut cases: Vec<(BoostConfig, Vec<f64>)> = objectives(&target)
        .into_iter()
        .chain([ranked])
        .map(|(objective, labels)| (BoostConfig { rounds: 2, ..BoostConfig::new(objective) }, labels))
        .collect();
    cases[0].0.row_fraction = 0.5;
    cases[1].0.tree.feature_fraction = 0.7;
    cases[2].0.dart = Some(Dart { drop_rate: 0.5, skip_drop: 0.0, max_drop: 3 });
    for (config, labels) in cases {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Boosted::fit(&table, &Target::grouped(&labels, &groups), &config)).unwrap()
        };
        let one = on(1);
        assert_eq!(one.rounds(), 2);
        for threads in [2, 5] {
            assert!(one == on(threads), "{:?} on {threads} threads", config.objective);
        }
    }
    let few = table.select(&(0..3000).collect::<Vec<_>>()).unwrap();
    let labels = classes(&target[..3000], 3);
    let config = ForestConfig { trees: 5, ..ForestConfig::classification(3, 3) };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Forest::fit(&few, &Target::new(&labels), &config)).unwrap()
    };
    assert!(on(1) == on(3));
}

#[test]
fn early_stopping_keeps_the_best_rounds() {
    let (table, target) = mixed(600, 3);
    let labels = classes(&target, 2);
    let (validation, other) = mixed(300, 4);
    let other = classes(&other, 2);
    let mut config = BoostConfig { rounds: 400, learning_rate: 0.3, ..BoostConfig::new(Objective::Logistic) };
    let fit = |config: &BoostConfig| {
        let rows = ((&table, &Target::new(&labels)), (&validation, &Target::new(&other)));
        Boosted::fit_validated(rows.0, rows.1, config).unwrap()
    };
    config.early_stopping = Some(7);
    let stopped = fit(&config);
    let losses = stopped.validation_losses();
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert!(best > 0 && losses.len() < 400, "{losses:?}");
    assert_eq!((stopped.rounds(), losses.len()), (best + 1, best + 1 + 7));
    // The losses are those of the models.
    let loss = |model: &Boosted| model.loss(&validation, &Target::new(&other)).unwrap();
    assert!((loss(&stopped) - losses[best]).abs() < 1e-12);
    config.early_stopping = None;
    config.rounds = losses.len();
    let whole = fit(&config);
    assert_eq!(whole.rounds(), losses.len());
    assert_eq!(whole.truncated(best + 1).trees(), stopped.trees());
    assert_eq!(whole.validation_losses(), losses);
}

/// Dropped trees leave the scores and come back with less weight: what was followed is what the model gives.
#[test]
fn dart_follows_its_own_scores() {
    let (table, target) = mixed(500, 5);
    let (validation, other) = mixed(200, 6);
    for (objective, labels) in objectives(&target) {
        let other = objectives(&other).into_iter().find(|(o, _)| *o == objective).unwrap().1;
        let dart = Dart { drop_rate: 0.3, skip_drop: 0.2, max_drop: 4 };
        let config = BoostConfig { rounds: 20, dart: Some(dart), ..BoostConfig::new(objective) };
        let rows = ((&table, &Target::new(&labels)), (&validation, &Target::new(&other)));
        let model = Boosted::fit_validated(rows.0, rows.1, &config).unwrap();
        let loss = model.loss(&validation, &Target::new(&other)).unwrap();
        let last = model.validation_losses()[19];
        assert!((loss - last).abs() < 1e-9, "{loss} {last}");
        let loss = |rounds: usize| model.truncated(rounds).loss(&table, &Target::new(&labels)).unwrap();
        assert!(loss(20) < 0.98 * loss(0));
    }
}

#[test]
fn samples_follow_the_seed() {
    let (table, target) = mixed(2000, 7);
    let fit = |seed: u64, rows: f64, features: f64| {
        let mut config = BoostConfig { rounds: 6, seed, row_fraction: rows, ..BoostConfig::new(Objective::L2) };
        config.tree.feature_fraction = features;
        Boosted::fit(&table, &Target::new(&target), &config).unwrap()
    };
    assert!(fit(1, 1.0, 1.0) == fit(2, 1.0, 1.0));
    assert!(fit(1, 0.5, 1.0) == fit(1, 0.5, 1.0));
    assert!(fit(1, 0.5, 1.0) != fit(2, 0.5, 1.0));
    let model = fit(1, 1.0, 0.3);
    let splits = |rounds: usize| -> Vec<f64> {
        model.truncated(rounds).importance(Importance::Splits).into_iter().map(|(_, splits)| splits).collect()
    };
    let mut used = [false; 3];
    for round in 0..6 {
        let (before, after) = (splits(round), splits(round + 1));
        let new: Vec<usize> = (0..3).filter(|&f| after[f] > before[f]).collect();
        assert_eq!(new.len(), 1, "one of three features for each tree");
        used[new[0]] = true;
    }
    assert!(used.iter().filter(|u| **u).count() > 1);
}

/// Scores follow rows that a round left out: were they to stay, each round would fit the same again, and overshoot.
#[test]
fn rows_that_are_left_out_have_scores_too() {
    let (table, target) = mixed(1000, 8);
    let config = BoostConfig { rounds: 30, learning_rate: 0.3, row_fraction: 0.5, ..BoostConfig::new(Objective::L2) };
    let model = Boosted::fit(&table, &Target::new(&target), &config).unwrap();
    let loss = |rounds: usize| model.truncated(rounds).loss(&table, &Target::new(&target)).unwrap();
    assert!(loss(30) < loss(8) && loss(8) < loss(2), "{} {} {}", loss(2), loss(8), loss(30));
}

/// Rows that are left out still get the round's tree: with a learning rate of 1 and one round, all that fell into a
/// leaf have its value.
#[test]
fn sampled_rows_are_a_share() {
    let x: Vec<f64> = (0..1000).map(f64::from).collect();
    let table = Features::new().numeric("x", x).unwrap();
    let y: Vec<f64> = (0..1000).map(|i| if i < 500 { 0.0 } else { 1.0 }).collect();
    let mut config = BoostConfig { row_fraction: 0.25, ..free(Objective::L2, 2) };
    let sizes = |config: &BoostConfig| Boosted::fit(&table, &Target::new(&y), config).unwrap().trees()[0].leaves();
    assert_eq!(sizes(&config), 2);
    // 250 rows are drawn: two leaves of 126 do not fit, two of 90 do.
    config.tree.min_data = 126;
    assert_eq!(sizes(&config), 1);
    config.tree.min_data = 90;
    assert_eq!(sizes(&config), 2);
}

#[test]
fn ranking_learns_the_order() {
    let mut rng = Philox::new(9);
    let groups: Vec<usize> = (0..100).map(|_| 5 + below(&mut rng, 20) as usize).collect();
    let rows: usize = groups.iter().sum();
    let x: Vec<f64> = (0..3 * rows).map(|_| uniform(&mut rng)).collect();
    let label = |x: &[f64]| (4.0 * (0.7 * x[0] + 0.3 * x[1] * x[1])).floor();
    let labels: Vec<f64> = x.chunks(3).map(label).collect();
    let table = Features::from_rows(&x, 3).unwrap();
    let target = Target::grouped(&labels, &groups);
    for normalize in [true, false] {
        let rank = LambdaRank { normalize, truncation: 10, ..Default::default() };
        let config = BoostConfig { rounds: 30, ..BoostConfig::new(Objective::LambdaRank(rank)) };
        let model = Boosted::fit(&table, &target, &config).unwrap();
        let (before, after) = (model.truncated(0).loss(&table, &target).unwrap(), model.loss(&table, &target).unwrap());
        assert!(before > 0.3 && after < 0.02, "1 − NDCG {before} to {after}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..Default::default() })]

    /// Trees keep to their limits, and a model read back is the same.
    #[test]
    fn limits_hold(
        seed in 0u64..1000, leaves in 2usize..20, depth in 1usize..6, least in 1usize..40, bins in 2usize..40,
    ) {
        let (table, target) = mixed(300, seed);
        let mut config = BoostConfig { max_bins: bins, ..free(Objective::L2, leaves) };
        (config.tree.max_depth, config.tree.min_data) = (depth, least);
        let model = Boosted::fit(&table, &Target::new(&target), &config).unwrap();
        let tree = &model.trees()[0];
        prop_assert!(tree.leaves() <= leaves && tree.depth() <= depth);
        let mut scores = model.scores(&table).unwrap();
        scores.sort_by(f64::total_cmp);
        prop_assert!(tree.leaves() == 1 || scores.chunk_by(|a, b| a == b).all(|leaf| leaf.len() >= least));
        prop_assert!(Boosted::from_json(&model.to_json()).unwrap() == model);
    }

    /// The mean of the leaves is the mean of the labels: nothing is lost on the way down.
    #[test]
    fn leaves_average_to_the_labels(seed in 0u64..1000, leaves in 2usize..30) {
        let (table, target) = mixed(400, seed);
        let model = Boosted::fit(&table, &Target::new(&target), &free(Objective::L2, leaves)).unwrap();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        prop_assert!((mean(&model.scores(&table).unwrap()) - mean(&target)).abs() < 1e-8);
    }
}
