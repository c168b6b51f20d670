//! What the public interface does not show: gradients, cuts, histograms, partitions.

use super::binning::{Binned, bounds};
use super::features::{Features, Unknown};
use super::histogram::{Rows, Scratch, quantize, sub};
use super::objective::{Objective, Target};
use super::partition::partition;
use super::rank::LambdaRank;
use crate::random::{Philox, below};

fn uniform(rng: &mut Philox) -> f64 {
    below(rng, 1 << 53) as f64 * 2f64.powi(-53)
}

/// Gradients against central differences of the loss, second derivatives against those of the gradients; of `factor`
/// times the second derivative. With a step of 1e-5 the differences are good to about 1e-10 (curvature) + 1e-10
/// (roundoff).
fn check_derivatives(objective: &Objective, labels: &[f64], factor: f64) {
    let (outputs, rows) = (objective.outputs(), labels.len());
    let mut rng = Philox::new(11);
    let scores: Vec<f64> = (0..rows * outputs).map(|_| 6.0 * uniform(&mut rng) - 3.0).collect();
    let target = Target::new(labels);
    let gradients = |scores: &[f64]| {
        let mut out = vec![[f64::NAN; 2]; scores.len()];
        objective.gradients(scores, &target, &mut out);
        out
    };
    let found = gradients(&scores);
    for place in 0..scores.len() {
        let moved = |by: f64| {
            let mut scores = scores.clone();
            scores[place] += by;
            (objective.loss(&scores, &target) * rows as f64, gradients(&scores)[place][0])
        };
        let (up, down) = (moved(1e-5), moved(-1e-5));
        let [gradient, hessian] = found[place];
        assert!((gradient - (up.0 - down.0) / 2e-5).abs() < 1e-8, "{objective:?} {place}: {gradient}");
        assert!((hessian - factor * (up.1 - down.1) / 2e-5).abs() < 1e-8, "{objective:?} {place}: {hessian}");
    }
}

#[test]
fn derivatives_are_those_of_the_loss() {
    check_derivatives(&Objective::L2, &[1.5, -2.0, 0.0, 7.0], 1.0);
    check_derivatives(&Objective::Logistic, &[1.0, 0.0, 0.0, 1.0], 1.0);
    check_derivatives(&Objective::CrossEntropy, &[0.3, 0.0, 0.9, 1.0], 1.0);
    check_derivatives(&Objective::Softmax { classes: 4 }, &[1.0, 0.0, 3.0, 2.0, 1.0], 4.0 / 3.0);
}

/// The definition, pair by pair, with ranks found by counting.
fn lambda_rank_by_pairs(rank: &LambdaRank, scores: &[f64], labels: &[f64]) -> Vec<[f64; 2]> {
    let n = scores.len();
    let place = |i: usize| (0..n).filter(|&j| scores[j] > scores[i] || scores[j] == scores[i] && j < i).count();
    let gain = |i: usize| 2f64.powf(labels[i]) - 1.0;
    let mut best = labels.to_vec();
    best.sort_by(|a, b| b.partial_cmp(a).unwrap());
    let ideal: f64 = best
        .iter()
        .take(rank.truncation)
        .enumerate()
        .map(|(p, y)| (2f64.powf(*y) - 1.0) / (p as f64 + 2.0).log2())
        .sum();
    let mut out = vec![[0.0; 2]; n];
    let mut sum = 0.0;
    for i in 0..n {
        for j in 0..n {
            if labels[i] <= labels[j] || place(i).min(place(j)) >= rank.truncation {
                continue;
            }
            let discount = |k: usize| 1.0 / (place(k) as f64 + 2.0).log2();
            let mut weight = ((gain(i) - gain(j)) * (discount(i) - discount(j))).abs() / ideal;
            if rank.normalize && scores.iter().any(|s| *s != scores[0]) {
                weight /= 0.01 + (scores[i] - scores[j]).abs();
            }
            // d/ds_i of ln(1 + e^(−σ(s_i − s_j))) is −σ/(1 + e^(σ(s_i − s_j))).
            let p = 1.0 / (1.0 + (rank.sigmoid * (scores[i] - scores[j])).exp());
            out[i][0] -= rank.sigmoid * p * weight;
            out[j][0] += rank.sigmoid * p * weight;
            out[i][1] += rank.sigmoid * rank.sigmoid * p * (1.0 - p) * weight;
            out[j][1] += rank.sigmoid * rank.sigmoid * p * (1.0 - p) * weight;
            sum += 2.0 * rank.sigmoid * p * weight;
        }
    }
    if rank.normalize && sum > 0.0 {
        out.iter_mut().flatten().for_each(|v| *v *= (1.0 + sum).log2() / sum);
    }
    out
}

#[test]
fn lambda_rank_is_its_definition() {
    let mut rng = Philox::new(5);
    for case in 0..40 {
        let rank = LambdaRank {
            sigmoid: [1.0, 0.7][case % 2],
            truncation: [3, 30][case / 2 % 2],
            normalize: case / 4 % 2 == 0,
        };
        let groups: Vec<usize> = (0..3).map(|_| 1 + below(&mut rng, 12) as usize).collect();
        let rows = groups.iter().sum();
        // Few different scores, so that there are ties; in some cases one score only.
        let levels = 1 + below(&mut rng, 6);
        let scores: Vec<f64> = (0..rows).map(|_| 0.4 * below(&mut rng, levels) as f64).collect();
        let labels: Vec<f64> = (0..rows).map(|_| below(&mut rng, 4) as f64).collect();
        let mut found = vec![[f64::NAN; 2]; rows];
        let target = Target::grouped(&labels, &groups);
        Objective::LambdaRank(rank.clone()).gradients(&scores, &target, &mut found);
        let mut begin = 0;
        for size in groups {
            let range = begin..begin + size;
            let wanted = lambda_rank_by_pairs(&rank, &scores[range.clone()], &labels[range.clone()]);
            for (found, wanted) in found[range].iter().zip(&wanted) {
                // Sums of at most 150 terms below 100.
                let near = |k: usize| (found[k] - wanted[k]).abs() <= 1e-11 * (1.0 + wanted[k].abs());
                assert!(near(0) && near(1), "{rank:?}: {found:?}, {wanted:?}");
            }
            begin += size;
        }
    }
}

#[test]
fn ndcg_by_hand() {
    let rank = LambdaRank { truncation: 2, ..Default::default() };
    // Best two by score have labels 1 and 2; the ideal order is 2, 1.
    let ndcg = rank.ndcg(&[0.9, 0.1, 0.5], &[1.0, 0.0, 2.0], &[3]);
    let wanted = (1.0 + 3.0 / 3f64.log2()) / (3.0 + 1.0 / 3f64.log2());
    assert!((ndcg - wanted).abs() < 1e-15, "{ndcg} {wanted}");
    // A group without relevant rows counts 1.
    let both = rank.ndcg(&[0.9, 0.1, 0.5, 1.0], &[1.0, 0.0, 2.0, 0.0], &[3, 1]);
    assert!((both - (wanted + 1.0) / 2.0).abs() < 1e-15);
}

#[test]
fn cuts_part_values_evenly() {
    let mut rng = Philox::new(3);
    for case in 0..60 {
        let n = 1 + below(&mut rng, 3000) as usize;
        let levels = [3, 40, 400, 1 << 40][case % 4];
        let (max_bins, least) = ([2, 16, 255][case % 3], [1, 3, 20][case / 3 % 3]);
        let values: Vec<f64> = (0..n).map(|_| below(&mut rng, levels) as f64 - 7.0).collect();
        let bounds = bounds(&values, max_bins, least);
        assert!(bounds.len() < max_bins && bounds.is_sorted_by(|a, b| a < b));
        let mut counts = vec![0; bounds.len() + 1];
        values.iter().for_each(|v| counts[bounds.iter().filter(|b| *b < v).count()] += 1);
        let (last, others) = counts.split_last().unwrap();
        assert!(others.iter().all(|&c| c >= least), "{counts:?}");
        assert!(*last > 0);
        let mut distinct = values.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        if distinct.len() <= max_bins && least == 1 {
            assert_eq!(counts.len(), distinct.len(), "each value has a bin");
        } else if levels == 1 << 40 && n > 20 * max_bins && least == 1 {
            let share = n.div_ceil(max_bins);
            assert!(counts.iter().all(|&c| c <= share + 1), "{share}: {counts:?}");
        }
    }
    assert_eq!(bounds(&[f64::NAN, 1.0, 1.0, 2.0], 255, 1), [1.5]);
    assert_eq!(bounds(&[-0.0, 0.0], 255, 1), [0f64; 0]);
    // Between neighbours there is no middle, and between infinities none that is a number.
    let next = f64::from_bits(1f64.to_bits() + 1);
    assert_eq!(bounds(&[1.0, next], 255, 1), [1.0]);
    let ends = bounds(&[f64::NEG_INFINITY, 0.0, f64::INFINITY], 255, 1);
    assert!(ends[0] < 0.0 && (0.0..f64::INFINITY).contains(&ends[1]), "{ends:?}");
}

/// One value that half of the rows have fills a bin, with less than half a bin of others, which share the other bins.
#[test]
fn heavy_values_have_bins_of_their_own() {
    let values: Vec<f64> = (0..4000).map(|i| if i % 2 == 0 { 0.5 } else { i as f64 / 4000.0 }).collect();
    let bounds = bounds(&values, 16, 1);
    assert_eq!(bounds.len(), 15);
    let bin = |v: f64| bounds.iter().filter(|b| **b < v).count();
    let with_it = values.iter().filter(|&&v| v != 0.5 && bin(v) == bin(0.5)).count();
    assert!(with_it < 2000 / 15 / 2, "{with_it}");
    let rest = |b: usize| values.iter().filter(|&&v| bin(v) == b).count();
    assert!((0..16).filter(|&b| b != bin(0.5)).all(|b| rest(b) <= 2000 / 15 + 1), "{bounds:?}");
}

fn table(rows: usize, columns: usize, rng: &mut Philox) -> Features {
    (0..columns).fold(Features::new(), |table, c| {
        let value = |rng: &mut Philox| if below(rng, 10) == 0 { f64::NAN } else { below(rng, 300) as f64 };
        table.numeric(&format!("c{c}"), (0..rows).map(|_| value(rng)).collect()).unwrap()
    })
}

#[test]
fn histograms_are_sums_in_any_division() {
    let mut rng = Philox::new(8);
    for columns in [1, 5, 8, 11] {
        let rows = 40_000;
        let binned = Binned::new("test", &table(rows, columns, &mut rng), 255, 1, Unknown::Error).unwrap();
        let gradients: Vec<[f64; 2]> = (0..rows).map(|_| [uniform(&mut rng) - 0.7, uniform(&mut rng)]).collect();
        let mut cells = Vec::new();
        let scale = quantize(&gradients, 0, 1, &mut cells);
        let chosen: Vec<u32> = (0..rows as u32).filter(|_| below(&mut rng, 3) > 0).collect();
        let others: Vec<u32> = (0..rows as u32).filter(|r| chosen.binary_search(r).is_err()).collect();
        for group in &binned.groups {
            let histogram = |rows: Rows, parts: usize| -> Vec<Vec<[i64; 2]>> {
                let mut scratch = Scratch::new(group);
                scratch.build(group, &rows, &cells, parts);
                let take = |j: usize, scratch: &mut Scratch| {
                    let bins = binned.features[group.first + j].bins;
                    let mut cells = vec![[0; 2]; bins + 1];
                    scratch.take(j, bins, &mut cells, None);
                    cells
                };
                let first = (0..group.width).map(|j| take(j, &mut scratch)).collect();
                // What was taken is gone: the scratch serves again.
                assert!((0..group.width).all(|j| take(j, &mut scratch).iter().all(|c| *c == [0; 2])));
                first
            };
            let (whole, part) = (histogram(Rows::Stretch(0..rows), 1), histogram(Rows::Chosen(&chosen), 1));
            assert_eq!(whole, histogram(Rows::Stretch(0..rows), 3));
            assert_eq!(part, histogram(Rows::Chosen(&chosen), 4));
            let sibling = histogram(Rows::Chosen(&others), 2);
            for j in 0..group.width {
                let feature = &binned.features[group.first + j];
                for bin in 0..=feature.bins {
                    assert_eq!(sub(whole[j][bin], part[j][bin]), sibling[j][bin]);
                    let number = if bin == feature.bins { 255 } else { bin as u8 };
                    let rows = chosen.iter().filter(|&&r| feature.column[r as usize] == number);
                    let count = rows.clone().count();
                    let sums = scale.sums(part[j][bin]);
                    assert_eq!(sums.count, count as u64);
                    // Each row is rounded by at most half a unit of 2⁻³⁰ (gradients below 1 in magnitude).
                    let bound = count as f64 * 2f64.powi(-31) + 1e-12;
                    for (k, found) in [sums.gradient, sums.hessian].into_iter().enumerate() {
                        let wanted: f64 = rows.clone().map(|&r| gradients[r as usize][k]).sum();
                        assert!((found - wanted).abs() <= bound, "{found} {wanted} {bound}");
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_of_any_size_are_rounded_finely() {
    for size in [1e-200, 1e-9, 1.0, 3e7, 1e200] {
        let gradients = [[size, 0.9 * size], [-0.3 * size, 0.0], [1e-3 * size, 1e-3 * size]];
        let mut cells = Vec::new();
        let scale = quantize(&gradients, 0, 1, &mut cells);
        for (cell, wanted) in cells.iter().zip(gradients) {
            let sums = scale.sums(*cell);
            assert!((sums.gradient - wanted[0]).abs() <= size * 2f64.powi(-30), "{sums:?} {wanted:?}");
            assert!((sums.hessian - wanted[1]).abs() <= size * 2f64.powi(-30), "{sums:?} {wanted:?}");
            assert_eq!(sums.count, 1);
        }
    }
    let mut cells = Vec::new();
    let scale = quantize(&[[0.0, 1.0]; 5], 0, 1, &mut cells);
    let total = cells.iter().fold([0; 2], |sum, c| [sum[0] + c[0], sum[1] + c[1]]);
    let sums = scale.sums(total);
    assert_eq!((sums.gradient, sums.hessian, sums.count), (0.0, 5.0, 5));
}

#[test]
fn partitions_keep_the_order() {
    let mut rng = Philox::new(2);
    let column: Vec<u8> = (0..30_000).map(|_| below(&mut rng, 256) as u8).collect();
    let goes_left: [bool; 256] = std::array::from_fn(|_| below(&mut rng, 3) == 0);
    for length in [0, 1, 100, 4096, 8192, 20_001, 30_000] {
        let mut index: Vec<u32> = (0..30_000).filter(|i| i % 30_000 < length).collect();
        let left = |row: &&u32| goes_left[column[**row as usize] as usize];
        let mut wanted: Vec<u32> = index.iter().filter(left).copied().collect();
        let count = wanted.len();
        wanted.extend(index.iter().filter(|r| !left(r)));
        let mut buffer = vec![0; index.len()];
        assert_eq!(partition(&mut index, &mut buffer, &column, &goes_left), count);
        assert_eq!(index, wanted);
    }
}
