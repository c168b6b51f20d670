//! Named numbers.

use crate::{Error, Result};
use std::fmt;

/// Named numbers in the order that they were given: what a step or an evaluation found.
///
/// ```
/// # use warpsmith::train::Figures;
/// let figures = Figures::from([("validation loss", 1.25), ("accuracy", 0.5)]);
/// assert_eq!(figures.get("accuracy"), Some(0.5));
/// assert_eq!(figures.to_string(), "validation loss 1.2500, accuracy 0.5000");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a figure, or replaces the one of this name.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }

    /// The figure of this name, or an error that says which ones there are.
    pub fn expect(&self, name: &str) -> Result<f64> {
        self.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(|(name, _)| name).collect();
            Error::argument("train", format!("there is no figure named {name:?} among {known:?}"))
        })
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds others, which replace those of the same names.
    pub fn extend(&mut self, others: Figures) {
        others.0.into_iter().for_each(|(name, value)| self.insert(name, value));
    }
}

impl<N: Into<String>, const COUNT: usize> From<[(N, f64); COUNT]> for Figures {
    fn from(figures: [(N, f64); COUNT]) -> Self {
        figures.into_iter().collect()
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Figures {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(figures: I) -> Self {
        let mut out = Figures::new();
        figures.into_iter().for_each(|(name, value)| out.insert(name, value));
        out
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
                write!(f, "{comma}{name} {value:.4}")?;
            } else {
                write!(f, "{comma}{name} {value:.3e}")?;
            }
        }
        Ok(())
    }
}
