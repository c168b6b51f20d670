//! Random forests.

use super::{classes, mixed, numbers, uniform};
use warpsmith::random::{Philox, below};
use warpsmith::trees::{Features, Forest, ForestConfig, Importance, Target};

fn whole(config: ForestConfig) -> ForestConfig {
    ForestConfig { trees: 1, bootstrap: false, features_per_node: 1.0, ..config }
}

#[test]
fn a_tree_without_limits_knows_its_rows() {
    let mut rng = Philox::new(1);
    let x: Vec<f64> = (0..400).map(|_| uniform(&mut rng)).collect();
    let table = Features::from_rows(&x, 2).unwrap();
    let config = ForestConfig { max_bins: 255, ..whole(ForestConfig::classification(3, 2)) };
    let labels: Vec<f64> = (0..200).map(|_| below(&mut rng, 3) as f64).collect();
    let forest = Forest::fit(&table, &Target::new(&labels), &config).unwrap();
    for (row, label) in forest.predict(&table).unwrap().chunks(3).zip(&labels) {
        assert_eq!(row[*label as usize], 1.0);
    }
    assert_eq!(forest.out_of_bag_score(), None);
    let values: Vec<f64> = (0..200).map(|_| uniform(&mut rng)).collect();
    let config = whole(ForestConfig::regression());
    let forest = Forest::fit(&table, &Target::new(&values), &config).unwrap();
    for (found, wanted) in forest.predict(&table).unwrap().iter().zip(&values) {
        assert!((found - wanted).abs() < 1e-12);
    }
}

/// The first split against all thresholds: n times the fall of the Gini impurity, or of the squared error.
#[test]
fn one_split_is_the_best_of_all() {
    for case in 0..80 {
        let mut rng = Philox::new(case);
        let (rows, kinds) = (10 + below(&mut rng, 40) as usize, 2 + case as usize % 3);
        let columns: Vec<Vec<f64>> = (0..2).map(|c| numbers(rows, 9, c == 1, &mut rng)).collect();
        let regression = case % 2 == 0;
        let label = |rng: &mut Philox| if regression { 50.0 + uniform(rng) } else { below(rng, kinds as u64) as f64 };
        let labels: Vec<f64> = (0..rows).map(|_| label(&mut rng)).collect();
        let kind = if regression { ForestConfig::regression() } else { ForestConfig::classification(kinds, 2) };
        let least = 1 + case as usize % 4;
        let config = ForestConfig { max_depth: 1, min_data: least, ..whole(kind) };
        let table = Features::new().numeric("a", columns[0].clone()).unwrap().numeric("b", columns[1].clone()).unwrap();
        let forest = Forest::fit(&table, &Target::new(&labels), &config).unwrap();

        let impurity = |rows: &[usize]| {
            let n = rows.len() as f64;
            if regression {
                let mean = rows.iter().map(|&r| labels[r]).sum::<f64>() / n;
                rows.iter().map(|&r| (labels[r] - mean).powi(2)).sum::<f64>()
            } else {
                let share = |k: usize| rows.iter().filter(|&&r| labels[r] == k as f64).count() as f64 / n;
                n * (1.0 - (0..kinds).map(|k| share(k).powi(2)).sum::<f64>())
            }
        };
        let all: Vec<usize> = (0..rows).collect();
        let mut best = 0f64;
        for column in &columns {
            for cut in 0..9 {
                for missing_left in [false, true] {
                    let left = |r: &usize| column[*r] <= cut as f64 || column[*r].is_nan() && missing_left;
                    let (left, right): (Vec<usize>, Vec<usize>) = all.iter().partition(|r| left(r));
                    if left.len().min(right.len()) >= least {
                        best = best.max(impurity(&all) - impurity(&left) - impurity(&right));
                    }
                }
            }
        }
        let found: f64 = forest.importance(Importance::Gain).iter().map(|(_, gain)| gain).sum();
        assert!((found - best).abs() < 1e-9, "case {case}: {found} {best}");
    }
}

#[test]
fn probabilities_sum_to_one_and_categories_are_used() {
    let (table, target) = mixed(500, 3);
    for count in [2, 4] {
        let labels = classes(&target, count);
        let config = ForestConfig { trees: 20, ..ForestConfig::classification(count, 3) };
        let forest = Forest::fit(&table, &Target::new(&labels), &config).unwrap();
        for row in forest.predict(&table).unwrap().chunks(count) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12 && row.iter().all(|p| (0.0..=1.0).contains(p)));
        }
        assert!(forest.importance(Importance::Splits).iter().all(|(_, splits)| *splits > 0.0));
    }
}

/// Labels by chance: rows are known by heart, but not by the trees that did not see them.
#[test]
fn out_of_bag_rows_were_not_seen() {
    let mut rng = Philox::new(4);
    let x: Vec<f64> = (0..600).map(|_| uniform(&mut rng)).collect();
    let table = Features::from_rows(&x, 2).unwrap();
    let chance: Vec<f64> = (0..300).map(|_| below(&mut rng, 2) as f64).collect();
    let config = ForestConfig { trees: 40, ..ForestConfig::classification(2, 2) };
    let forest = Forest::fit(&table, &Target::new(&chance), &config).unwrap();
    let known = forest.predict(&table).unwrap();
    let right = known.chunks(2).zip(&chance).filter(|(row, y)| (row[1] > row[0]) == (**y == 1.0)).count();
    assert!(right > 290, "{right}");
    // 300 coins: standard deviation 0.03; 0.5 ± 5 of these.
    let score = forest.out_of_bag_score().unwrap();
    assert!((0.35..0.65).contains(&score), "{score}");
    // A rule that can be learnt shows out of the bag too, in accuracy and in R².
    let rule: Vec<f64> = x.chunks(2).map(|x| if x[0] > 0.5 { 1.0 } else { 0.0 }).collect();
    assert!(Forest::fit(&table, &Target::new(&rule), &config).unwrap().out_of_bag_score().unwrap() > 0.95);
    let config = ForestConfig { trees: 40, ..ForestConfig::regression() };
    assert!(Forest::fit(&table, &Target::new(&rule), &config).unwrap().out_of_bag_score().unwrap() > 0.85);
    let score = Forest::fit(&table, &Target::new(&chance), &config).unwrap().out_of_bag_score().unwrap();
    assert!(score < 0.1, "{score}");
}

#[test]
fn nodes_draw_their_features() {
    // Only the first of six features says anything; a node that draws one of six mostly misses it.
    let mut rng = Philox::new(5);
    let x: Vec<f64> = (0..1800).map(|_| uniform(&mut rng)).collect();
    let table = Features::from_rows(&x, 6).unwrap();
    let labels: Vec<f64> = x.chunks(6).map(|x| if x[0] > 0.5 { 1.0 } else { 0.0 }).collect();
    let first_splits = |share: f64| {
        let config =
            ForestConfig { features_per_node: share, max_depth: 1, trees: 120, ..ForestConfig::classification(2, 6) };
        Forest::fit(&table, &Target::new(&labels), &config).unwrap().importance(Importance::Splits)[0].1
    };
    assert_eq!(first_splits(1.0), 120.0);
    // One of six: 20 expected, standard deviation 4.
    let some = first_splits(1.0 / 6.0);
    assert!((2.0..45.0).contains(&some), "{some}");
}
