//! Floor 5: data sets, how they become batches, and what prepares them.
//!
//! A [`Dataset`] gives samples by number: [`TensorDataset`] from memory, [`MappedDataset`] from files larger than memory,
//! or one's own `impl`. [`Subset`], [`Concat`] and [`Map`] are made of others; [`split`](split::split) and
//! [`k_fold`](split::k_fold) say which samples are for what. A [`DataLoader`] makes batches of one, in an order that
//! depends on the seed and the epoch only, with threads that work ahead. What can only be read from its beginning is a
//! [`Stream`], for a [`StreamLoader`].
//!
//! Readers: [`load_idx`], [`Table`] (CSV, with the feature `csv`) with [`Features`] for what is missing or a category,
//! `ImageFolder` (PNG and JPEG, with the feature `image`), [`Characters`], [`Words`] and `BytePairs` (with the feature
//! `tokenizers`) for text, [`TensorDataset::load`] and [`MappedDataset`] for safetensors.
//!
//! ```
//! use warpsmith::data::{DataLoader, TensorDataset};
//! use warpsmith::{DType, Device, Tensor};
//!
//! let x = Tensor::arange(0.0, 10.0, 1.0, DType::F32, &Device::Cpu)?.reshape([10, 1])?;
//! let y = x.affine(2.0, 0.0)?;
//! let loader = DataLoader::new(TensorDataset::new(&[&x, &y])?, 4).shuffle(42).workers(2);
//! let mut seen = 0;
//! for epoch in 0..2 {
//!     for batch in loader.epoch(epoch) {
//!         let [x, y] = &batch?[..] else { unreachable!("two tensors went in") };
//!         assert_eq!(x.dims(), y.dims());
//!         seen += x.dims()[0];
//!     }
//! }
//! assert_eq!(seen, 20);
//! # Ok::<(), warpsmith::Error>(())
//! ```

#[cfg(feature = "tokenizers")]
mod byte_pairs;
pub mod collate;
mod dataset;
mod idx;
#[cfg(feature = "image")]
mod image_folder;
mod loader;
mod mapped;
mod prefetch;
pub mod split;
mod stream;
mod table;
mod text;
pub mod transform;

#[cfg(feature = "tokenizers")]
pub use byte_pairs::BytePairs;
pub use dataset::{Concat, Dataset, Map, Subset, TensorDataset, sample_rng};
pub use idx::{load_idx, read_idx};
#[cfg(feature = "image")]
pub use image_folder::ImageFolder;
pub use loader::DataLoader;
pub use mapped::MappedDataset;
pub use prefetch::EpochBatches;
pub use stream::{LimitedStream, Samples, Stream, StreamLoader};
pub use table::{Categories, Column, Features, Fill, Filler, FittedFeatures, Standardiser, Table, Unknown};
#[cfg(feature = "csv")]
pub use table::{ColumnType, CsvOptions};
pub use text::{Characters, Windows, Words, WordsConfig};
