//! Data sets, loaders, readers and transforms.

#[cfg(feature = "tokenizers")]
#[path = "data/byte_pairs.rs"]
mod byte_pairs;
#[path = "data/idx.rs"]
mod idx;
#[cfg(feature = "image")]
#[path = "data/images.rs"]
mod images;
#[path = "data/loader.rs"]
mod loader;
#[path = "data/sets.rs"]
mod sets;
#[path = "data/splits.rs"]
mod splits;
#[path = "data/streams.rs"]
mod streams;
#[path = "data/tables.rs"]
mod tables;
#[path = "data/texts.rs"]
mod texts;
#[path = "data/transforms.rs"]
mod transforms;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use warpsmith::{DType, Device, Result, Tensor};

/// A folder of its own for a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("warpsmith-data-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// 0, 1, 2, … below n.
fn numbers(n: usize) -> Tensor {
    Tensor::arange(0.0, n as f64, 1.0, DType::I64, &Device::Cpu).unwrap()
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}
