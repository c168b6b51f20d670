//! Which features trees use.

use super::features::Schema;
use super::tree::Tree;

/// How a feature's importance is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// The sum of the gains of its splits.
    Gain,
    /// The number of its splits.
    Splits,
}

pub(super) fn importance<'a>(schema: &'a Schema, trees: &[Tree], kind: Importance) -> Vec<(&'a str, f64)> {
    let mut sums = vec![0.0; schema.columns.len()];
    for node in trees.iter().flat_map(|tree| &tree.nodes) {
        sums[node.feature] += if kind == Importance::Gain { node.gain } else { 1.0 };
    }
    schema.columns.iter().map(|(name, _)| name.as_str()).zip(sums).collect()
}
