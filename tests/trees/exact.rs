//! Exact greedy search: every threshold of every feature, by plain sums over rows.

use super::{free, numbers, uniform};
use warpsmith::random::{Philox, below};
use warpsmith::trees::{BoostConfig, Boosted, Features, Importance, Objective, Target};

/// A leaf's rows, and its best split.
struct Leaf {
    rows: Vec<usize>,
    depth: usize,
    split: Option<(f64, Vec<usize>, Vec<usize>)>,
}

struct Reference<'a> {
    columns: &'a [Vec<f64>],
    gradients: Vec<f64>,
    hessians: Vec<f64>,
    config: &'a BoostConfig,
    /// What rounding may add to the difference of two gains.
    tolerance: f64,
    /// Whether two splits were so near that rounding decides.
    tie: bool,
    /// The sum of the gains of the splits that were made.
    gain: f64,
}

impl Reference<'_> {
    fn sums(&self, rows: &[usize]) -> (f64, f64) {
        (rows.iter().map(|&r| self.gradients[r]).sum(), rows.iter().map(|&r| self.hessians[r]).sum())
    }

    fn score(&self, rows: &[usize]) -> f64 {
        let (g, h) = self.sums(rows);
        let g = (g.abs() - self.config.tree.l1).max(0.0);
        g * g / (h + self.config.tree.l2)
    }

    fn value(&self, rows: &[usize]) -> f64 {
        let (g, h) = self.sums(rows);
        -g.signum() * (g.abs() - self.config.tree.l1).max(0.0) / (h + self.config.tree.l2)
    }

    fn leaf(&mut self, rows: Vec<usize>, depth: usize) -> Leaf {
        let tree = &self.config.tree;
        let mut found: Vec<(f64, Vec<usize>, Vec<usize>)> = Vec::new();
        if depth < tree.max_depth {
            for column in self.columns {
                let mut cuts: Vec<f64> = rows.iter().map(|&r| column[r]).filter(|v| !v.is_nan()).collect();
                cuts.sort_by(f64::total_cmp);
                cuts.dedup();
                for cut in cuts {
                    for missing_left in [false, true] {
                        let goes_left = |r: &usize| column[*r] <= cut || column[*r].is_nan() && missing_left;
                        let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|r| goes_left(r));
                        let (hl, hr) = (self.sums(&left).1, self.sums(&right).1);
                        if left.len().min(right.len()) < tree.min_data.max(1) || hl.min(hr) < tree.min_weight {
                            continue;
                        }
                        let gain = self.score(&left) + self.score(&right) - self.score(&rows) - tree.min_gain;
                        found.push((gain, left, right));
                    }
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let best = found.first().map_or(0.0, |f| f.0);
        self.tie |= best.abs() < self.tolerance && !found.is_empty();
        let other = |f: &&(f64, Vec<usize>, Vec<usize>)| f.1 != found[0].1 && f.1 != found[0].2;
        self.tie |= found.iter().find(other).is_some_and(|f| best - f.0 < self.tolerance);
        let split = found.into_iter().next().filter(|f| f.0 > 0.0);
        Leaf { rows, depth, split }
    }

    fn grow(&mut self) -> Vec<Leaf> {
        let mut leaves = vec![self.leaf((0..self.gradients.len()).collect(), 0)];
        while leaves.len() < self.config.tree.max_leaves {
            let gain = |leaf: &Leaf| leaf.split.as_ref().map_or(f64::NEG_INFINITY, |s| s.0);
            let place =
                (0..leaves.len()).fold(0, |best, i| if gain(&leaves[i]) > gain(&leaves[best]) { i } else { best });
            let best = gain(&leaves[place]);
            self.tie |= (0..leaves.len()).any(|i| i != place && best - gain(&leaves[i]) < self.tolerance);
            let Leaf { depth, split: Some((gain, left, right)), .. } = leaves.swap_remove(place) else { break };
            self.gain += gain;
            for rows in [left, right] {
                let leaf = self.leaf(rows, depth + 1);
                leaves.push(leaf);
            }
        }
        leaves
    }
}

fn check(max_leaves: usize, cases: u64) {
    let mut compared = 0;
    for case in 0..cases {
        let mut rng = Philox::new(1000 * max_leaves as u64 + case);
        let rows = 5 + below(&mut rng, 50) as usize;
        let columns: Vec<Vec<f64>> = (0..1 + case % 4)
            .map(|_| {
                let levels = [4, 12, 1000][below(&mut rng, 3) as usize];
                numbers(rows, levels, case % 2 == 0, &mut rng)
            })
            .collect();
        let logistic = case % 3 == 0;
        let mut config = free(if logistic { Objective::Logistic } else { Objective::L2 }, max_leaves);
        config.tree.l2 = 0.1 + uniform(&mut rng);
        config.tree.l1 = [0.0, 0.2][below(&mut rng, 2) as usize];
        config.tree.min_data = 1 + below(&mut rng, 4) as usize;
        config.tree.min_weight = uniform(&mut rng);
        config.tree.min_gain = 0.1 * uniform(&mut rng);
        config.tree.max_depth = 1 + below(&mut rng, 4) as usize;
        let label = |rng: &mut Philox| if logistic { below(rng, 2) as f64 } else { uniform(rng) };
        let labels: Vec<f64> = (0..rows).map(|_| label(&mut rng)).collect();
        let table = columns
            .iter()
            .enumerate()
            .fold(Features::new(), |table, (c, column)| table.numeric(&format!("c{c}"), column.clone()).unwrap());
        let model = Boosted::fit(&table, &Target::new(&labels), &config).unwrap();

        let mean = labels.iter().sum::<f64>() / rows as f64;
        if logistic && (mean == 0.0 || mean == 1.0) {
            continue;
        }
        // At the best constant, logistic regression's probability is the mean too.
        let gradients = labels.iter().map(|y| mean - y).collect();
        let hessian = if logistic { mean * (1.0 - mean) } else { 1.0 };
        let initial = if logistic { (mean / (1.0 - mean)).ln() } else { mean };
        let hessians = vec![hessian; rows];
        // Gradients are at most 1 and rounded by 2⁻³¹, second derivatives less: sums by `step`. A leaf's ratio |G|/H is
        // at most `ratio`, so its score moves by (2·ratio + ratio²)·step; a gain has three, two gains six.
        let step = rows as f64 * 2f64.powi(-31);
        let ratio = if logistic { 1.0 / mean.min(1.0 - mean) } else { 1.0 };
        let tolerance = 6.0 * (2.0 * ratio + ratio * ratio) * step;
        let mut reference =
            Reference { columns: &columns, gradients, hessians, config: &config, tolerance, tie: false, gain: 0.0 };
        let leaves = reference.grow();
        if reference.tie {
            continue;
        }
        compared += 1;
        let scores = model.scores(&table).unwrap();
        for leaf in &leaves {
            let wanted = initial + reference.value(&leaf.rows);
            for &row in &leaf.rows {
                let bound = (1.0 + ratio) * step / config.tree.l2 + 1e-12;
                assert!((scores[row] - wanted).abs() <= bound, "case {case}, row {row}: {} {wanted}", scores[row]);
            }
        }
        let gain: f64 = model.importance(Importance::Gain).iter().map(|(_, gain)| gain).sum();
        assert!(
            (gain - reference.gain).abs() <= tolerance * max_leaves as f64,
            "case {case}: {gain} {}",
            reference.gain
        );
    }
    assert!(compared * 2 > cases, "only {compared} of {cases} cases had no ties");
}

#[test]
fn one_split_is_the_best_of_all() {
    check(2, 150);
}

#[test]
fn trees_are_those_of_exact_greedy_growth() {
    check(6, 150);
}

/// With squared errors, the stretches of categories sorted by their mean contain the best of all sets (Fisher 1958).
#[test]
fn sorted_categories_find_the_best_of_all_sets() {
    for case in 0..60 {
        let mut rng = Philox::new(case);
        let (rows, kinds) = (40, 3 + below(&mut rng, 4) as usize);
        let kind: Vec<usize> = (0..rows).map(|_| below(&mut rng, kinds as u64) as usize).collect();
        let labels: Vec<f64> = (0..rows).map(|_| uniform(&mut rng)).collect();
        let table = Features::new().categorical("kind", kind.iter().map(|k| Some(k.to_string()))).unwrap();
        // Half of the categories at most go left, from either end: every stretch is tried.
        let model = Boosted::fit(&table, &Target::new(&labels), &free(Objective::L2, 2)).unwrap();
        let mean = labels.iter().sum::<f64>() / rows as f64;
        let score = |inside: &dyn Fn(usize) -> bool| {
            let chosen: Vec<usize> = (0..rows).filter(|&r| inside(kind[r])).collect();
            let sum: f64 = chosen.iter().map(|&r| labels[r] - mean).sum();
            if chosen.is_empty() { 0.0 } else { sum * sum / chosen.len() as f64 }
        };
        let all = 0..1usize << kinds;
        let gain = |set: usize| score(&|k| set >> k & 1 == 1) + score(&|k| set >> k & 1 == 0) - score(&|_| true);
        let best = all.map(gain).fold(0.0, f64::max);
        let found = model.importance(Importance::Gain)[0].1;
        assert!((found - best).abs() < 1e-6, "case {case}: {found} {best}");
    }
}

/// The rules for categories in LightGBM's documentation, tried over all stretches by plain sums.
#[test]
fn smoothing_and_limits_of_categories() {
    let mut splits = 0;
    for case in 0..80 {
        let mut rng = Philox::new(case);
        let (rows, kinds) = (300, 8);
        let kind: Vec<usize> = (0..rows).map(|_| (kinds as f64 * uniform(&mut rng).powi(2)) as usize).collect();
        let labels: Vec<f64> = kind.iter().map(|k| uniform(&mut rng) + 0.3 * (k % 3) as f64).collect();
        let table = Features::new().categorical("kind", kind.iter().map(|k| Some(k.to_string()))).unwrap();
        let mut config = free(Objective::L2, 2);
        config.tree.l2 = 0.5;
        config.tree.min_data = 10;
        let limits = &mut config.tree.categories;
        (limits.smooth, limits.l2, limits.min_data, limits.most_in_set) = (20.0, 3.0, 30, 3);
        let model = Boosted::fit(&table, &Target::new(&labels), &config).unwrap();

        let mean = labels.iter().sum::<f64>() / rows as f64;
        let of = |k: usize| {
            let rows: Vec<usize> = (0..rows).filter(|&r| kind[r] == k).collect();
            (rows.iter().map(|&r| mean - labels[r]).sum::<f64>(), rows.len())
        };
        let mut order: Vec<usize> = (0..kinds).filter(|&k| of(k).1 >= 20).collect();
        order.sort_by(|&a, &b| (of(a).0 / (of(a).1 as f64 + 20.0)).total_cmp(&(of(b).0 / (of(b).1 as f64 + 20.0))));
        let most = order.len().div_ceil(2).min(3);
        let (mut best, mut set) = (0f64, None);
        for order in [order.clone(), order.into_iter().rev().collect()] {
            let (mut g, mut n, mut since) = (0.0, 0, 0);
            for (place, &k) in order.iter().take(most).enumerate() {
                g += of(k).0;
                n += of(k).1;
                since += of(k).1;
                if rows - n < 30 {
                    break;
                }
                if n < 10 || since < 30 {
                    continue;
                }
                since = 0;
                let score = |g: f64, n: usize| g * g / (n as f64 + 3.5);
                let gain = score(g, n) + score(-g, rows - n);
                if gain > best {
                    (best, set) = (gain, Some((order[..=place].to_vec(), g, n)));
                }
            }
        }
        let found = model.importance(Importance::Gain)[0].1;
        assert!((found - best).abs() < 1e-6, "case {case}: {found} {best}");
        let Some((set, g, n)) = set else { continue };
        splits += 1;
        for (score, k) in model.scores(&table).unwrap().iter().zip(&kind) {
            // The gradients sum to nothing, so the right side has −g.
            let (g, n) = if set.contains(k) { (g, n) } else { (-g, rows - n) };
            let wanted = mean - g / (n as f64 + 3.5);
            assert!((score - wanted).abs() < 1e-6, "case {case}: {score} {wanted}");
        }
    }
    assert!(splits > 40, "{splits}");
}
