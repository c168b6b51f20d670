//! How trees are grown.

use crate::{Error, Result};

/// How one boosted tree is grown.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeConfig {
    /// Leaves of a tree: the leaf with the largest gain is split next, until there are so many.
    pub max_leaves: usize,
    /// Splits from the root to a leaf.
    pub max_depth: usize,
    /// Rows of a leaf.
    pub min_data: usize,
    /// The sum of second derivatives of a leaf.
    pub min_weight: f64,
    /// λ₁ on the leaves' values.
    pub l1: f64,
    /// λ₂ on the leaves' values.
    pub l2: f64,
    /// What a split must gain: G²/(H + λ₂) of the children less that of the leaf (twice the fall of the loss).
    pub min_gain: f64,
    /// The share of features, drawn without replacement for each tree.
    pub feature_fraction: f64,
    /// Splits by categories.
    pub categories: CategoryConfig,
}

impl Default for TreeConfig {
    fn default() -> Self {
        TreeConfig {
            max_leaves: 31,
            max_depth: usize::MAX,
            min_data: 20,
            min_weight: 1e-3,
            l1: 0.0,
            l2: 0.0,
            min_gain: 0.0,
            feature_fraction: 1.0,
            categories: CategoryConfig::default(),
        }
    }
}

/// Splits by categories, with the meanings and values that LightGBM gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct CategoryConfig {
    /// With at most so many categories, each is tried against the rest.
    pub one_vs_rest: usize,
    /// Added to the second derivative in the ratio that categories are sorted by; also the rows below which one is not
    /// considered.
    pub smooth: f64,
    /// λ₂ besides the tree's.
    pub l2: f64,
    /// Categories on the left of a split.
    pub most_in_set: usize,
    /// Rows between candidates, and rows that must be left on the right.
    pub min_data: usize,
}

impl Default for CategoryConfig {
    fn default() -> Self {
        CategoryConfig { one_vs_rest: 4, smooth: 10.0, l2: 10.0, most_in_set: 32, min_data: 100 }
    }
}

/// An error unless `value` is a number from `low` to `high`.
pub(super) fn in_range(op: &'static str, name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value >= low && value <= high {
        return Ok(());
    }
    let range = if high.is_infinite() { format!("at least {low}") } else { format!("{low} to {high}") };
    Err(Error::argument(op, format!("{name} must be {range}, got {value}")))
}

/// An error unless `value` is a share: above 0 and at most 1.
pub(super) fn share(op: &'static str, name: &str, value: f64) -> Result<()> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    Err(Error::argument(op, format!("{name} must be above 0 and at most 1, got {value}")))
}

impl TreeConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        if self.max_leaves < 2 || self.max_depth < 1 {
            let message = format!(
                "a tree needs at least 2 leaves and a depth of 1, got max_leaves {} and max_depth {}",
                self.max_leaves, self.max_depth
            );
            return Err(Error::argument(op, message));
        }
        let numbers = [
            ("min_weight", self.min_weight),
            ("l1", self.l1),
            ("l2", self.l2),
            ("min_gain", self.min_gain),
            ("categories.smooth", self.categories.smooth),
            ("categories.l2", self.categories.l2),
        ];
        numbers.into_iter().try_for_each(|(name, value)| in_range(op, name, value, 0.0, f64::INFINITY))?;
        share(op, "feature_fraction", self.feature_fraction)
    }
}
