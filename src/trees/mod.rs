//! Trees that decide by one feature at a time: gradient boosting with several objectives and DART, random forests.
//!
//! [`Features`] is a table of named columns, numbers or categories, with missing values; [`Target`] the labels.
//! [`Boosted::fit`] grows trees leaf by leaf on histograms of first and second derivatives (Chen & Guestrin 2016,
//! "XGBoost"; Ke et al. 2017, "LightGBM", whose names of options and defaults it takes); [`Forest::fit`] grows them to
//! the end on bootstrap samples (Breiman 2001). Both say which features matter, and save and load as text.
//!
//! - Features are cut at quantiles into at most 255 bins and one for missing values.
//! - Sums of gradients are integers, so that the same model comes out, bit for bit, on any number of threads.
//! - A split learns where missing values go; where the rows of a leaf had none, they follow the larger child.
//!   Categories go left as a set; missing, rare and (where allowed) unknown ones go where missing values go.
//!
//! ```
//! use warpsmith::trees::{BoostConfig, Boosted, Features, Objective, Target};
//! let colours = ["red", "green", "blue"];
//! let table = Features::new()
//!     .numeric("size", (0..600).map(|i| i as f64).collect())?
//!     .categorical("colour", (0..600).map(|i| Some(colours[i % 3])))?;
//! let labels: Vec<f64> = (0..600).map(|i| if i % 3 == 1 && i > 150 { 1.0 } else { 0.0 }).collect();
//! let model = Boosted::fit(&table, &Target::new(&labels), &BoostConfig::new(Objective::Logistic))?;
//! let one = Features::new().numeric("size", vec![400.0])?.categorical("colour", [Some("green")])?;
//! assert!(model.predict(&one)?[0] > 0.9);
//! # Ok::<(), warpsmith::Error>(())
//! ```

mod binning;
mod boost;
mod config;
mod convert;
mod dart;
mod features;
mod file;
mod forest;
mod forest_grow;
mod grow;
mod histogram;
mod importance;
mod matrix;
mod objective;
mod partition;
mod rank;
mod sample;
mod split;
mod tree;
#[cfg(test)]
mod unit_tests;

pub use boost::{BoostConfig, Boosted};
pub use config::{CategoryConfig, TreeConfig};
pub use dart::Dart;
pub use features::{Features, Unknown};
pub use forest::{Forest, ForestConfig, ForestTask};
pub use importance::Importance;
pub use objective::{Objective, Target};
pub use rank::LambdaRank;
pub use tree::Tree;
