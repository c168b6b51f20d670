//! Metrics: cases computed by hand, their definitions by brute force on random inputs, and what is refused.

use proptest::prelude::*;
use warpsmith::metrics::*;
use warpsmith::{DType, Device, Error, Tensor};

const CPU: Device = Device::Cpu;

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} is not {expected}");
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

fn logits(rows: &[[f32; 4]]) -> Tensor {
    Tensor::from_slice(&rows.concat(), [rows.len(), 4], &CPU).unwrap()
}

fn labels(values: &[i64]) -> Tensor {
    Tensor::from_slice(values, [values.len()], &CPU).unwrap()
}

#[test]
fn top_k_counts_what_ranks_before_the_label() {
    let x = logits(&[[0.0, 3.0, 2.0, 1.0], [5.0, 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0]]);
    let y = labels(&[3, 0, 2]);
    // Ranks of the labels from 1: 3, 1, and 3 among equals, where the first leads.
    for (k, expected) in [(1, 1), (2, 1), (3, 3), (4, 3), (9, 3)] {
        assert_eq!(top_k_correct(&x, &y, k).unwrap(), expected, "k = {k}");
    }
    assert_eq!(correct(&x, &y).unwrap(), 1);
    near(accuracy(&x, &y).unwrap(), 1.0 / 3.0);
    near(top_k_accuracy(&x, &y, 3).unwrap(), 1.0);
    let nan = f32::NAN;
    let low = f32::NEG_INFINITY;
    let x = logits(&[[nan; 4], [nan, 1.0, nan, nan], [low; 4], [nan, 0.0, low, low]]);
    assert_eq!(top_k_correct(&x, &labels(&[0, 1, 0, 2]), 4).unwrap(), 1, "NaN and what is masked are no answers");
    for dtype in [DType::F16, DType::F64] {
        let x = logits(&[[0.0, 3.0, 2.0, 1.0]]).to_dtype(dtype).unwrap();
        assert_eq!(accuracy(&x, &labels(&[1])).unwrap(), 1.0);
        assert_eq!(accuracy(&x, &labels(&[1]).to_dtype(DType::U8).unwrap()).unwrap(), 1.0);
    }
    refused(top_k_correct(&x, &labels(&[0; 4]), 0), &["k", "0"]);
    refused(accuracy(&x, &labels(&[0, 0])), &["one label per row", "[4, 4]", "[2]"]);
    refused(accuracy(&x, &labels(&[0, 4, 0, 0])), &["label 4", "0 to 4"]);
    refused(accuracy(&x, &labels(&[0, -1, 0, 0])), &["label -1"]);
    refused(accuracy(&x, &labels(&[0; 4]).to_dtype(DType::F32).unwrap()), &["f32"]);
    refused(accuracy(&Tensor::zeros([0, 4], DType::F32, &CPU).unwrap(), &labels(&[])), &["at least one row"]);
    refused(accuracy(&labels(&[1]), &labels(&[1])), &["(B, classes)"]);
}

#[test]
fn scores_of_classes_by_hand() {
    let mut c = Confusion::named(&["cat", "dog", "bird"]).unwrap();
    c.add_all(&[0, 0, 0, 0, 1, 1, 1, 2], &[0, 0, 0, 1, 1, 0, 2, 1]).unwrap();
    assert_eq!(
        (c.classes(), c.total(), c.count(0, 0), c.count(1, 2), c.count(2, 2), c.count(3, 0)),
        (3, 8, 3, 1, 0, 0)
    );
    near(c.accuracy().unwrap(), 4.0 / 8.0);
    let [cat, dog, bird] = c.per_class()[..] else { panic!("three classes") };
    assert_eq!(cat, ClassScores { precision: 0.75, recall: 0.75, f1: 0.75, support: 4 });
    near(dog.precision, 1.0 / 3.0);
    near(dog.recall, 1.0 / 3.0);
    near(dog.f1, 1.0 / 3.0);
    assert_eq!(bird, ClassScores { precision: 0.0, recall: 0.0, f1: 0.0, support: 1 });
    let of = |average| c.average(average).unwrap();
    near(of(Average::Macro).f1, (0.75 + 1.0 / 3.0) / 3.0);
    near(of(Average::Weighted).precision, (4.0 * 0.75 + 3.0 / 3.0) / 8.0);
    assert_eq!(of(Average::Micro), ClassScores { precision: 0.5, recall: 0.5, f1: 0.5, support: 8 });
    let table = "\
true \\ predicted  cat  dog  bird  | precision  recall      F1
cat                 3    1     0  |    0.7500  0.7500  0.7500
dog                 1    1     1  |    0.3333  0.3333  0.3333
bird                0    1     0  |    0.0000  0.0000  0.0000";
    assert_eq!(c.to_string(), table);
    // Precision and recall differ: of three that were named one is right, of two that are one was found.
    let mut one = Confusion::new(2).unwrap();
    one.add_all(&[0, 0, 1, 1], &[1, 1, 1, 0]).unwrap();
    let scores = one.class(1).unwrap();
    near(scores.precision, 1.0 / 3.0);
    near(scores.recall, 0.5);
    near(scores.f1, 0.4);
    let mut merged = c.clone();
    merged.merge(&c).unwrap();
    assert_eq!((merged.total(), merged.count(1, 2)), (16, 2));
    refused(merged.merge(&one), &["3", "2"]);
}

#[test]
fn confusion_reads_logits_and_refuses_what_is_no_class() {
    let mut c = Confusion::new(4).unwrap();
    let x = logits(&[[0.0, 3.0, 2.0, 1.0], [5.0, 5.0, 2.0, 0.0]]);
    c.add_logits(&x, &labels(&[2, 1])).unwrap();
    assert_eq!((c.count(2, 1), c.count(1, 0), c.total()), (1, 1, 2), "the first of equal maxima counts");
    refused(c.add_logits(&logits(&[[f32::NAN; 4]]), &labels(&[0])), &["NaN", "diverged"]);
    refused(c.add(4, 0), &["true class 4"]);
    refused(c.add(0, 7), &["predicted class 7"]);
    refused(c.class(4), &["class 4"]);
    refused(c.add_all(&[0], &[]), &["1", "0"]);
    refused(Confusion::new(3).unwrap().add_logits(&x, &labels(&[2, 1])), &["3 classes"]);
    refused(Confusion::new(0), &["0 classes"]);
    refused(Confusion::new(3).unwrap().accuracy(), &["no sample"]);
    refused(Confusion::new(3).unwrap().average(Average::Macro), &["no sample"]);
}

#[test]
fn area_under_the_curve_by_hand() {
    let at = |scores: &[f64], labels: &[u8]| auc(scores, &labels.iter().map(|&l| l == 1).collect::<Vec<_>>());
    near(at(&[0.1, 0.2, 0.3], &[0, 0, 1]).unwrap(), 1.0);
    near(at(&[0.1, 0.2, 0.3], &[1, 0, 0]).unwrap(), 0.0);
    near(at(&[0.5; 5], &[0, 1, 0, 1, 1]).unwrap(), 0.5);
    // Pairs (0.3, 0.3) count half: of 2 · 2 pairs, 2.5 are in order.
    near(at(&[0.3, 0.3, 0.1, 0.9], &[1, 0, 0, 1]).unwrap(), 3.5 / 4.0);
    near(at(&[0.0, -0.0], &[1, 0]).unwrap(), 0.5);
    near(at(&[f64::NEG_INFINITY, 0.0, f64::INFINITY], &[0, 1, 1]).unwrap(), 1.0);
    refused(at(&[0.1, 0.2], &[1, 1]), &["2 positive", "0 negative"]);
    refused(at(&[0.1, 0.2], &[0, 0]), &["0 positive"]);
    refused(at(&[0.1], &[0, 1]), &["scores", "labels", "1", "2"]);
    refused(at(&[], &[]), &["at least one"]);
    refused(at(&[0.1, f64::NAN], &[0, 1]), &["number 1", "NaN"]);
}

#[test]
fn losses_of_probabilities_by_hand() {
    near(log_loss(&[0.8, 0.1], &[true, false]).unwrap(), -(0.8f64.ln() + 0.9f64.ln()) / 2.0);
    near(log_loss(&[0.0], &[true]).unwrap(), 15.0 * 10f64.ln());
    assert!(log_loss(&[1.0], &[true]).unwrap().abs() < 2e-15);
    let rows = [0.7, 0.2, 0.1, 0.0, 0.5, 0.5];
    near(multiclass_log_loss(&rows, 3, &[0, 2]).unwrap(), -(0.7f64.ln() + 0.5f64.ln()) / 2.0);
    near(multiclass_log_loss(&rows[3..], 3, &[0]).unwrap(), 15.0 * 10f64.ln());
    near(perplexity(0.0), 1.0);
    near(perplexity(2f64.ln()), 2.0);
    refused(log_loss(&[1.5], &[true]), &["[0, 1]", "1.5", "sigmoid"]);
    refused(log_loss(&[f64::NAN], &[true]), &["NaN"]);
    refused(log_loss(&[0.5], &[]), &["1", "0"]);
    refused(multiclass_log_loss(&rows, 3, &[0, 3]), &["label 3"]);
    refused(multiclass_log_loss(&rows, 2, &[0, 1]), &["6", "4"]);
    refused(multiclass_log_loss(&[], 0, &[]), &["at least one"]);
}

#[test]
fn orders_by_hand() {
    let relevant = [true, false, true, false];
    near(recall_at_k(&[0.1, 0.9, 0.8, 0.2], &relevant, 1).unwrap(), 0.0);
    near(recall_at_k(&[0.1, 0.9, 0.8, 0.2], &relevant, 2).unwrap(), 0.5);
    near(recall_at_k(&[0.1, 0.9, 0.8, 0.2], &relevant, 3).unwrap(), 0.5);
    near(recall_at_k(&[0.1, 0.9, 0.8, 0.2], &relevant, 99).unwrap(), 1.0);
    near(recall_at_k(&[0.5; 4], &relevant, 1).unwrap(), 0.5);
    refused(recall_at_k(&[0.5; 2], &[false; 2], 1), &["no relevant item"]);
    refused(recall_at_k(&[0.5; 2], &[true; 2], 0), &["k"]);
    refused(recall_at_k(&[f64::NAN; 2], &[true; 2], 1), &["NaN"]);
    // Gains 2³ − 1, 2¹ − 1 and 0; the order by score is the second, the first, the third.
    let (scores, relevance) = ([2.0, 3.0, 1.0], [3.0, 1.0, 0.0]);
    let second = 1.0 / 3f64.log2();
    near(ndcg(&scores, &relevance, None).unwrap(), (1.0 + 7.0 * second) / (7.0 + second));
    near(ndcg(&scores, &relevance, Some(1)).unwrap(), 1.0 / 7.0);
    near(ndcg(&scores, &[0.0; 3], None).unwrap(), 1.0);
    near(ndcg(&[0.5, 0.5], &[0.0, 1.0], None).unwrap(), second);
    let mean = mean_ndcg(&[2.0, 3.0, 1.0, 5.0], &[3.0, 1.0, 0.0, 1.0], &[3, 1], Some(1)).unwrap();
    near(mean, (1.0 / 7.0 + 1.0) / 2.0);
    refused(ndcg(&scores, &[1.0, -1.0, 0.0], None), &["number 1", "-1"]);
    refused(ndcg(&scores, &relevance, Some(0)), &["k"]);
    refused(mean_ndcg(&scores, &relevance, &[1, 1], None), &["3", "2"]);
    refused(mean_ndcg(&scores, &relevance, &[3, 0], None), &["without items"]);
}

#[test]
fn errors_of_numbers_by_hand() {
    let (p, t) = ([1.0, -2.0, 3.5, 0.0], [0.0, -2.0, 4.0, 1.0]);
    near(mse(&p, &t).unwrap(), (1.0 + 0.0 + 0.25 + 1.0) / 4.0);
    near(rmse(&p, &t).unwrap(), 0.75);
    near(mae(&p, &t).unwrap(), 2.5 / 4.0);
    // Targets' mean 0.75: squared deviations 0.5625, 7.5625, 10.5625, 0.0625.
    near(r2(&p, &t).unwrap(), 1.0 - 2.25 / 18.75);
    near(r2(&[0.75; 4], &t).unwrap(), 0.0);
    assert!(r2(&[9.0; 4], &t).unwrap() < 0.0);
    refused(r2(&[0.1, 0.2, 0.3], &[0.1; 3]), &["all 3 targets", "0.1", "variance"]);
    refused(mse(&p, &t[..3]), &["predictions", "4", "3"]);
    refused(mae(&[], &[]), &["at least one"]);
    refused(rmse(&[f64::NAN], &[0.0]), &["predictions", "NaN"]);
    refused(r2(&[0.0], &[f64::NAN]), &["targets", "NaN"]);
}

#[test]
fn values_are_followed() {
    let mut running = Running::default();
    assert_eq!(running.mean(), None);
    running.add_batch(f64::NAN, 0);
    running.add_batch(1.0, 3);
    running.add(5.0);
    assert_eq!((running.mean(), running.count()), (Some(2.0), 4));
    running.reset();
    assert_eq!((running.mean(), running.count()), (None, 0));

    let mut smoothed = Smoothed::new(0.9).unwrap();
    assert_eq!(smoothed.value(), None);
    let values = [3.0, -1.0, 4.0, 1.5];
    for n in 1..=values.len() {
        smoothed.add(values[n - 1]);
        // The weights 0.9ⁿ⁻ⁱ of the definition, divided by their sum.
        let weight = |i: usize| 0.9f64.powi((n - 1 - i) as i32);
        let sum: f64 = (0..n).map(|i| weight(i) * values[i]).sum();
        near(smoothed.value().unwrap(), sum / (0..n).map(weight).sum::<f64>());
    }
    let mut last = Smoothed::new(0.0).unwrap();
    last.add(1.0);
    near(last.add(7.0), 7.0);
    refused(Smoothed::new(1.0), &["[0, 1)", "1"]);
    refused(Smoothed::new(f64::NAN), &["NaN"]);
}

/// Scores of few distinct values, so that many are equal.
fn samples() -> impl Strategy<Value = Vec<(f64, bool)>> {
    prop::collection::vec((0..12u8, any::<bool>()), 2..60)
        .prop_map(|v| v.into_iter().map(|(s, l)| (f64::from(s) / 8.0 - 0.5, l)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn auc_is_the_share_of_ordered_pairs(samples in samples()) {
        let (scores, labels): (Vec<f64>, Vec<bool>) = samples.iter().copied().unzip();
        let (mut ordered, mut pairs) = (0.0, 0.0);
        for &(positive, _) in samples.iter().filter(|s| s.1) {
            for &(negative, _) in samples.iter().filter(|s| !s.1) {
                pairs += 1.0;
                ordered += if positive > negative { 1.0 } else if positive == negative { 0.5 } else { 0.0 };
            }
        }
        match auc(&scores, &labels) {
            Ok(found) => prop_assert_eq!(found, ordered / pairs),
            Err(_) => prop_assert_eq!(pairs, 0.0),
        }
    }

    #[test]
    fn confusion_counts_as_its_definitions(pairs in prop::collection::vec((0..3usize, 0..3usize), 1..40)) {
        let (truth, predicted): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
        let mut confusion = Confusion::new(3).unwrap();
        confusion.add_all(&truth, &predicted).unwrap();
        let share = |of: &dyn Fn(&(usize, usize)) -> bool, hit: &dyn Fn(&(usize, usize)) -> bool| {
            let all: Vec<_> = pairs.iter().filter(|p| of(p)).collect();
            if all.is_empty() { 0.0 } else { all.iter().filter(|p| hit(p)).count() as f64 / all.len() as f64 }
        };
        let mut f1s = 0.0;
        for class in 0..3 {
            let scores = confusion.class(class).unwrap();
            let precision = share(&|p| p.1 == class, &|p| p.0 == class);
            let recall = share(&|p| p.0 == class, &|p| p.1 == class);
            let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
            near(scores.precision, precision);
            near(scores.recall, recall);
            near(scores.f1, f1);
            f1s += f1;
        }
        near(confusion.average(Average::Macro).unwrap().f1, f1s / 3.0);
        near(confusion.accuracy().unwrap(), share(&|_| true, &|p| p.0 == p.1));
        near(confusion.average(Average::Weighted).unwrap().recall, confusion.accuracy().unwrap());
    }

    #[test]
    fn ndcg_is_one_for_the_best_order_only(relevance in prop::collection::vec(0..5u8, 1..12), k in 1..14usize) {
        let relevance: Vec<f64> = relevance.into_iter().map(f64::from).collect();
        prop_assert_eq!(ndcg(&relevance, &relevance, Some(k)).unwrap(), 1.0);
        let worst: Vec<f64> = relevance.iter().map(|r| -r).collect();
        let found = ndcg(&worst, &relevance, Some(k)).unwrap();
        // The definition, by repeated picking of the least relevant item.
        let mut left = relevance.clone();
        let mut best = relevance.clone();
        let (mut gained, mut possible) = (0.0, 0.0);
        for rank in 1..=k.min(relevance.len()) {
            let discount = 1.0 / ((rank + 1) as f64).log2();
            let least = (0..left.len()).min_by(|&a, &b| left[a].total_cmp(&left[b])).unwrap();
            let most = (0..best.len()).max_by(|&a, &b| best[a].total_cmp(&best[b])).unwrap();
            gained += discount * (left.remove(least).exp2() - 1.0);
            possible += discount * (best.remove(most).exp2() - 1.0);
        }
        near(found, if possible == 0.0 { 1.0 } else { gained / possible });
    }

    #[test]
    fn recall_counts_items_that_fewer_than_k_lead(samples in samples(), k in 1..20usize) {
        let (scores, relevant): (Vec<f64>, Vec<bool>) = samples.iter().copied().unzip();
        let leads = |i: usize, j: usize| scores[i] > scores[j] || scores[i] == scores[j] && i < j;
        let found = |j: &usize| (0..scores.len()).filter(|&i| leads(i, *j)).count() < k;
        let all: Vec<usize> = (0..scores.len()).filter(|&j| relevant[j]).collect();
        match recall_at_k(&scores, &relevant, k) {
            Ok(recall) => near(recall, all.iter().filter(|j| found(j)).count() as f64 / all.len() as f64),
            Err(_) => prop_assert!(all.is_empty()),
        }
    }
}
