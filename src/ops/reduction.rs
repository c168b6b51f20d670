//! How a loss becomes one number.

/// How a loss combines the elements (or samples) it was computed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The mean, PyTorch's default.
    #[default]
    Mean,
    /// The sum.
    Sum,
    /// No reduction: one loss per element (or sample).
    None,
}
