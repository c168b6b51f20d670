//! The best split of a leaf by one feature.
//!
//! With G and H the sums of gradients and second derivatives of a leaf, its best value is −T(G)/(H + λ₂), where
//! T(G) = sign(G)·max(|G| − λ₁, 0), and the loss falls by half of T(G)²/(H + λ₂) (Chen & Guestrin 2016, section 2.2). A
//! split's gain is what that is for the two children less what it is for the leaf, without the half.

use super::binning::{Cuts, Feature, MISSING};
use super::config::TreeConfig;
use super::histogram::{Cell, Scale, Sums, add, sub};

/// Bins as a set of bits.
pub(super) type BinSet = [u64; 4];

pub(super) fn contains(set: &BinSet, bin: usize) -> bool {
    set.get(bin / 64).is_some_and(|word| word >> (bin % 64) & 1 == 1)
}

/// Which rows go left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// Bins up to and with this one.
    UpTo(u8),
    /// The bins of this set.
    Set(BinSet),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub gain: f64,
    pub feature: usize,
    pub rule: Rule,
    /// Whether missing values go left.
    pub missing_left: bool,
    /// What goes left.
    pub left: Cell,
    /// λ₂ of the children's values.
    pub l2: f64,
}

impl Split {
    /// Which of a feature's bins go left, the missing values' one among them.
    pub fn goes_left(&self, bins: usize) -> [bool; 256] {
        let mut goes_left = [false; 256];
        for (bin, goes_left) in goes_left[..bins].iter_mut().enumerate() {
            *goes_left = match &self.rule {
                Rule::UpTo(last) => bin <= *last as usize,
                Rule::Set(set) => contains(set, bin),
            };
        }
        goes_left[MISSING as usize] = self.missing_left;
        goes_left
    }
}

/// The leaf that is to be split.
pub(super) struct Parent<'a> {
    pub total: Cell,
    pub scale: Scale,
    pub config: &'a TreeConfig,
    /// What a split's children must exceed together.
    floor: f64,
}

/// −T(G)/(H + λ₂); 0 for a leaf without curvature.
pub(super) fn leaf_value(sums: Sums, l1: f64, l2: f64) -> f64 {
    let curvature = sums.hessian + l2;
    if curvature > 0.0 { -shrunk(sums.gradient, l1) / curvature } else { 0.0 }
}

fn shrunk(gradient: f64, l1: f64) -> f64 {
    gradient.signum() * (gradient.abs() - l1).max(0.0)
}

/// T(G)²/(H + λ₂).
#[inline(always)]
fn score(sums: Sums, l1: f64, l2: f64) -> f64 {
    let curvature = sums.hessian + l2;
    let g = (sums.gradient.abs() - l1).max(0.0);
    if curvature > 0.0 { g * g / curvature } else { 0.0 }
}

impl<'a> Parent<'a> {
    pub fn new(total: Cell, scale: Scale, config: &'a TreeConfig) -> Self {
        let floor = score(scale.sums(total), config.l1, config.l2) + config.min_gain;
        Parent { total, scale, config, floor }
    }

    /// Whether a leaf with these sums can have two children that are large enough.
    pub fn divisible(&self) -> bool {
        let (sums, config) = (self.scale.sums(self.total), self.config);
        sums.count >= 2 * config.min_data.max(1) as u64 && sums.hessian >= 2.0 * config.min_weight
    }

    /// The sums of both children where both are large enough.
    #[inline(always)]
    fn children(&self, left: Cell) -> Option<(Sums, Sums)> {
        let (l, r) = (self.scale.sums(left), self.scale.sums(sub(self.total, left)));
        let (rows, weight) = (self.config.min_data.max(1) as u64, self.config.min_weight);
        let large = l.count.min(r.count) >= rows && l.hessian.min(r.hessian) >= weight;
        large.then_some((l, r))
    }

    #[inline(always)]
    fn gain(&self, l: Sums, r: Sums, l2: f64) -> f64 {
        score(l, self.config.l1, l2) + score(r, self.config.l1, l2) - self.floor
    }

    /// The best split by this feature whose gain is above `min_gain` (and so above zero): `cells` are those of its bins
    /// and, last, of missing values. Of equal ones the first counts.
    pub fn best(&self, number: usize, feature: &Feature, cells: &[Cell]) -> Option<Split> {
        let (cells, missing) = cells.split_at(feature.bins);
        let missing = missing[0];
        let mut best = Best { parent: self, feature: number, split: None };
        match feature.cuts {
            Cuts::Numeric(_) => best.numeric(cells, missing),
            Cuts::Categorical if feature.bins <= self.config.categories.one_vs_rest => best.one_vs_rest(cells),
            Cuts::Categorical => best.sorted(cells),
        }
        best.split
    }
}

struct Best<'a> {
    parent: &'a Parent<'a>,
    feature: usize,
    split: Option<Split>,
}

impl Best<'_> {
    #[inline(always)]
    fn offer(&mut self, left: Cell, (l, r): (Sums, Sums), l2: f64, missing_left: bool, rule: impl FnOnce() -> Rule) {
        let gain = self.parent.gain(l, r, l2);
        if gain > self.split.map_or(0.0, |s| s.gain) {
            self.split = Some(Split { gain, feature: self.feature, rule: rule(), missing_left, left, l2 });
        }
    }

    /// Every threshold, with missing values right, and where there are any, left too. Without any in the leaf, those of
    /// later follow the larger child.
    fn numeric(&mut self, cells: &[Cell], missing: Cell) {
        let (parent, l2) = (self.parent, self.parent.config.l2);
        let some_missing = parent.scale.count(missing) > 0;
        let (least, all) = (parent.config.min_data.max(1) as u64, parent.scale.count(parent.total));
        for missing_left in [false, true] {
            if missing_left && !some_missing {
                break;
            }
            let mut left = if missing_left { missing } else { [0; 2] };
            for (bin, &cell) in cells.iter().enumerate() {
                // An empty bin's threshold parts the rows as the one before it.
                if parent.scale.count(cell) == 0 {
                    continue;
                }
                left = add(left, cell);
                let count = parent.scale.count(left);
                if count < least {
                    continue;
                }
                if count + least > all {
                    break;
                }
                if let Some((l, r)) = parent.children(left) {
                    let missing_left = if some_missing { missing_left } else { l.count > r.count };
                    self.offer(left, (l, r), l2, missing_left, || Rule::UpTo(bin as u8));
                }
            }
        }
    }

    /// Each category by itself against all others.
    fn one_vs_rest(&mut self, cells: &[Cell]) {
        for (bin, &left) in cells.iter().enumerate() {
            if let Some(children) = self.parent.children(left) {
                self.offer(left, children, self.parent.config.l2, false, || Rule::Set(set_of(&[bin as u8])));
            }
        }
    }

    /// Categories in the order of their gradient to second derivative: the best set is a stretch from one end (Fisher
    /// 1958). As LightGBM does it: rare categories stay right, the ratio and the gain are smoothed, a set has at most
    /// so many categories, and candidates are so many rows apart.
    fn sorted(&mut self, cells: &[Cell]) {
        let (parent, options) = (self.parent, &self.parent.config.categories);
        let l2 = parent.config.l2 + options.l2;
        let ratio = |s: Sums| s.gradient / (s.hessian + options.smooth);
        let mut order: Vec<(f64, u8)> = cells
            .iter()
            .enumerate()
            .map(|(bin, &cell)| (parent.scale.sums(cell), bin as u8))
            .filter(|(s, _)| s.count > 0 && s.count as f64 >= options.smooth)
            .map(|(s, bin)| (ratio(s), bin))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let most = options.most_in_set.min(order.len().div_ceil(2));
        let least_right = (parent.config.min_data.max(options.min_data) as u64).max(1);
        let order: Vec<u8> = order.into_iter().map(|(_, bin)| bin).collect();
        let backwards: Vec<u8> = order.iter().rev().copied().collect();
        for order in [order, backwards] {
            let (mut left, mut since) = ([0; 2], 0);
            for (place, &bin) in order.iter().take(most).enumerate() {
                let cell = cells[bin as usize];
                left = add(left, cell);
                since += parent.scale.count(cell);
                if parent.scale.count(sub(parent.total, left)) < least_right {
                    break;
                }
                let Some(children) = parent.children(left).filter(|_| since >= options.min_data as u64) else {
                    continue;
                };
                since = 0;
                self.offer(left, children, l2, false, || Rule::Set(set_of(&order[..=place])));
            }
        }
    }
}

pub(super) fn set_of(bins: &[u8]) -> BinSet {
    let mut set = [0; 4];
    bins.iter().for_each(|&bin| set[bin as usize / 64] |= 1 << (bin % 64));
    set
}
