//! Counts of what was taken for what, and the scores that follow from them.

use super::classification::rows;
use super::paired;
use crate::{Error, Result, Tensor};
use std::fmt;

/// How often each class was taken for each other: rows are what is true, columns what was predicted.
///
/// ```
/// # use warpsmith::metrics::{Average, Confusion};
/// let mut confusion = Confusion::new(2)?;
/// confusion.add_all(&[0, 0, 0, 1], &[0, 0, 1, 1])?;
/// assert_eq!(confusion.count(0, 1), 1);
/// assert_eq!(confusion.accuracy()?, 0.75);
/// let scores = confusion.class(1)?;
/// assert_eq!((scores.precision, scores.recall), (0.5, 1.0));
/// assert_eq!(confusion.average(Average::Macro)?.recall, (2.0 / 3.0 + 1.0) / 2.0);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
    names: Vec<String>,
}

/// Precision, recall and F1 of a class, or an average of them. Where nothing was predicted as the class its precision
/// is 0, where it never occurs its recall is 0, and F1 is 0 where both are (scikit-learn's `zero_division=0`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassScores {
    /// The share of right answers among those that named the class.
    pub precision: f64,
    /// The share of the class' samples that were found.
    pub recall: f64,
    /// The harmonic mean of the two; an average of F1 is the average of the classes' F1.
    pub f1: f64,
    /// How many samples are of the class; for an average, of all.
    pub support: u64,
}

/// How the scores of several classes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// Every class counts the same, one that never occurs too.
    Macro,
    /// Every sample counts the same: with one class per sample all three scores are the accuracy.
    Micro,
    /// Each class counts as often as it occurs.
    Weighted,
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

impl Confusion {
    /// Nothing counted yet, for this many classes.
    pub fn new(classes: usize) -> Result<Self> {
        let Some(cells) = classes.checked_mul(classes).filter(|&n| n > 0) else {
            return Err(Error::argument("confusion", format!("a table of {classes} classes cannot be")));
        };
        Ok(Confusion { classes, counts: vec![0; cells], names: vec![] })
    }

    /// As [`new`](Confusion::new) with the names that the printed table shows.
    pub fn named(names: &[impl AsRef<str>]) -> Result<Self> {
        let names: Vec<String> = names.iter().map(|n| n.as_ref().to_owned()).collect();
        let empty = Self::new(names.len())?;
        Ok(Confusion { names, ..empty })
    }

    /// Counts one sample.
    pub fn add(&mut self, truth: usize, predicted: usize) -> Result<()> {
        for (what, class) in [("true class", truth), ("predicted class", predicted)] {
            if class >= self.classes {
                return Err(Error::OutOfRange { op: "confusion", what, index: class as i64, bound: self.classes });
            }
        }
        self.counts[truth * self.classes + predicted] += 1;
        Ok(())
    }

    /// Counts samples. At an error those before it are counted.
    pub fn add_all(&mut self, truth: &[usize], predicted: &[usize]) -> Result<()> {
        if !truth.is_empty() || !predicted.is_empty() {
            paired("confusion", ["true classes", "predictions"], [truth.len(), predicted.len()])?;
        }
        truth.iter().zip(predicted).try_for_each(|(&t, &p)| self.add(t, p))
    }

    /// Counts each row of `logits` (B, classes) as the class where it is largest, the first of equal ones; `labels` (B)
    /// are the true classes.
    pub fn add_logits(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let (values, labels, classes) = rows("confusion", logits, labels)?;
        if classes != self.classes {
            let expected = format!("logits of {} classes", self.classes);
            return Err(Error::shape("confusion", expected, &[*logits.shape()]));
        }
        super::no_nan("confusion", "logits", &values)?;
        for (row, &label) in values.chunks_exact(classes).zip(&labels) {
            let largest = (1..classes).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            self.add(label, largest)?;
        }
        Ok(())
    }

    /// Adds the counts of another table with as many classes.
    pub fn merge(&mut self, other: &Confusion) -> Result<()> {
        if other.classes != self.classes {
            let message = format!("tables of {} and {} classes do not add up", self.classes, other.classes);
            return Err(Error::argument("confusion", message));
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many samples of class `truth` were taken for `predicted`; 0 for classes that are not.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        if truth.max(predicted) < self.classes { self.counts[truth * self.classes + predicted] } else { 0 }
    }

    /// How many samples were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn right(&self) -> u64 {
        (0..self.classes).map(|c| self.count(c, c)).sum()
    }

    /// The share of samples on the diagonal; an error before the first one.
    pub fn accuracy(&self) -> Result<f64> {
        self.some().map(|total| self.right() as f64 / total as f64)
    }

    fn some(&self) -> Result<u64> {
        match self.total() {
            0 => Err(Error::argument("confusion", "no sample was counted yet")),
            total => Ok(total),
        }
    }

    /// The scores of one class against all others.
    pub fn class(&self, class: usize) -> Result<ClassScores> {
        if class >= self.classes {
            return Err(Error::OutOfRange { op: "confusion", what: "class", index: class as i64, bound: self.classes });
        }
        let support = (0..self.classes).map(|p| self.count(class, p)).sum();
        let named = (0..self.classes).map(|t| self.count(t, class)).sum();
        let hits = self.count(class, class);
        Ok(ClassScores {
            precision: ratio(hits, named),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, named + support),
            support,
        })
    }

    /// The scores of every class.
    pub fn per_class(&self) -> Vec<ClassScores> {
        (0..self.classes).filter_map(|c| self.class(c).ok()).collect()
    }

    /// One score for all classes; an error before the first sample.
    pub fn average(&self, average: Average) -> Result<ClassScores> {
        let total = self.some()?;
        if average == Average::Micro {
            let share = self.right() as f64 / total as f64;
            return Ok(ClassScores { precision: share, recall: share, f1: share, support: total });
        }
        let mut out = ClassScores { support: total, ..Default::default() };
        for class in self.per_class() {
            let weight = match average {
                Average::Weighted => class.support as f64 / total as f64,
                _ => 1.0 / self.classes as f64,
            };
            out.precision += weight * class.precision;
            out.recall += weight * class.recall;
            out.f1 += weight * class.f1;
        }
        Ok(out)
    }

    fn name(&self, class: usize) -> String {
        self.names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

impl fmt::Display for Confusion {
    /// The counts, truth downwards, with each class' scores beside its row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = (0..self.classes).map(|c| self.name(c)).collect();
        let first = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max("true \\ predicted".len());
        let widths: Vec<usize> = (0..self.classes)
            .map(|p| {
                let count = (0..self.classes).map(|t| self.count(t, p)).max().unwrap_or(0);
                names[p].chars().count().max(count.to_string().len())
            })
            .collect();
        write!(f, "{:first$}", "true \\ predicted")?;
        for (name, width) in names.iter().zip(&widths) {
            write!(f, "  {name:>width$}")?;
        }
        write!(f, "  | precision  recall      F1")?;
        for (t, scores) in self.per_class().into_iter().enumerate() {
            write!(f, "\n{:first$}", names[t])?;
            for (p, width) in widths.iter().enumerate() {
                write!(f, "  {:>width$}", self.count(t, p))?;
            }
            write!(f, "  |    {:.4}  {:.4}  {:.4}", scores.precision, scores.recall, scores.f1)?;
        }
        Ok(())
    }
}
