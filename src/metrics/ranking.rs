//! How well scores order things.

use super::{no_nan, paired};
use crate::{Error, Result};

/// The area under the ROC curve: the share of pairs of a positive and a negative sample in which the positive one has
/// the higher score, equal scores counting half. Exact, by ranks (Hanley and McNeil 1982), in n log n. An error where
/// one of the classes is absent.
///
/// ```
/// # use warpsmith::metrics::auc;
/// assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true])?, 0.75);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn auc(scores: &[f64], labels: &[bool]) -> Result<f64> {
    const OP: &str = "auc";
    paired(OP, ["scores", "labels"], [scores.len(), labels.len()])?;
    no_nan(OP, "scores", scores)?;
    let positives = labels.iter().filter(|&&l| l).count();
    let negatives = labels.len() - positives;
    if positives == 0 || negatives == 0 {
        let message = format!("{positives} positive and {negatives} negative labels: without both there are no pairs");
        return Err(Error::argument(OP, message));
    }
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the ordered pairs, in integers: nothing is rounded before the last division.
    let (mut twice, mut below) = (0u128, 0u128);
    // 0 and −0 are neighbours in the total order, and equal.
    for equal in order.chunk_by(|a, b| a.0 == b.0) {
        let positive = equal.iter().filter(|(_, label)| *label).count() as u128;
        let negative = equal.len() as u128 - positive;
        twice += positive * (2 * below + negative);
        below += negative;
    }
    Ok(twice as f64 / (2.0 * positives as f64 * negatives as f64))
}

/// Places in falling order of score; of equal scores the first place leads.
fn ranked(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(std::cmp::Ordering::Equal));
    order
}

fn some_of(op: &'static str, k: Option<usize>) -> Result<()> {
    if k == Some(0) { Err(Error::argument(op, "k of at least 1 is expected, got 0")) } else { Ok(()) }
}

/// One query: the share of its relevant items that are among the `k` with the highest scores, of equal scores the
/// first. An error for a query without relevant items: its recall does not exist, leave it out of the mean.
///
/// For many queries with one relevant item each, see [`top_k_accuracy`](super::top_k_accuracy).
pub fn recall_at_k(scores: &[f64], relevant: &[bool], k: usize) -> Result<f64> {
    const OP: &str = "recall_at_k";
    paired(OP, ["scores", "marks of relevance"], [scores.len(), relevant.len()])?;
    no_nan(OP, "scores", scores)?;
    some_of(OP, Some(k))?;
    let all = relevant.iter().filter(|&&r| r).count();
    if all == 0 {
        return Err(Error::argument(OP, "the query has no relevant item; leave it out"));
    }
    let found = ranked(scores).into_iter().take(k).filter(|&i| relevant[i]).count();
    Ok(found as f64 / all as f64)
}

/// One query: the normalised discounted cumulative gain (Järvelin and Kekäläinen 2002; with the gains 2^relevance − 1
/// of Burges et al. 2005 and the discounts 1 / log₂(rank + 1), as in LightGBM) of the order by score, of the first `k`
/// ranks or all. Of equal scores the first ranks higher. As in LightGBM a query where nothing is relevant counts as 1.
///
/// ```
/// # use warpsmith::metrics::ndcg;
/// assert_eq!(ndcg(&[3.0, 2.0, 1.0], &[2.0, 1.0, 0.0], None)?, 1.0);
/// assert_eq!(ndcg(&[1.0, 2.0], &[1.0, 0.0], Some(1))?, 0.0);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn ndcg(scores: &[f64], relevance: &[f64], k: Option<usize>) -> Result<f64> {
    const OP: &str = "ndcg";
    paired(OP, ["scores", "relevances"], [scores.len(), relevance.len()])?;
    no_nan(OP, "scores", scores)?;
    some_of(OP, k)?;
    if let Some(at) = relevance.iter().position(|r| !(0.0..=1000.0).contains(r)) {
        let message = format!("relevances from 0 to 1000 are expected, number {at} is {}", relevance[at]);
        return Err(Error::argument(OP, message));
    }
    let gain = |order: &[usize]| -> f64 {
        let ranks = order.iter().take(k.unwrap_or(usize::MAX)).enumerate();
        ranks.map(|(rank, &i)| (relevance[i].exp2() - 1.0) / (rank as f64 + 2.0).log2()).sum()
    };
    match gain(&ranked(relevance)) {
        0.0 => Ok(1.0),
        best => Ok(gain(&ranked(scores)) / best),
    }
}

/// The mean [`ndcg`] of queries that follow each other, `queries` holding the number of items of each.
pub fn mean_ndcg(scores: &[f64], relevance: &[f64], queries: &[usize], k: Option<usize>) -> Result<f64> {
    const OP: &str = "mean_ndcg";
    paired(OP, ["scores", "relevances"], [scores.len(), relevance.len()])?;
    paired(OP, ["scores", "items in all queries"], [scores.len(), queries.iter().sum()])?;
    let (mut at, mut sum) = (0, 0.0);
    for &items in queries {
        if items == 0 {
            return Err(Error::argument(OP, "a query without items has no order; leave it out"));
        }
        sum += ndcg(&scores[at..at + items], &relevance[at..at + items], k)?;
        at += items;
    }
    Ok(sum / queries.len() as f64)
}
