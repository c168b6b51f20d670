//! Files mapped into memory, read by copying.

use crate::{Error, Result};
use memmap2::{MmapOptions, MmapRaw};
use std::path::{Path, PathBuf};

/// A file in the address space: the system reads what is touched, and forgets it again where memory is short.
///
/// The file must stay as long as it was: where another process cuts it, the system ends this one.
#[derive(Debug)]
pub struct MappedFile {
    map: MmapRaw,
    path: PathBuf,
    len: usize,
}

impl MappedFile {
    /// Maps a file for reading.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let io = |source| Error::Io { action: "mapping", path: path.clone(), source };
        let file = std::fs::File::open(&path).map_err(io)?;
        let map = MmapOptions::new().map_raw_read_only(&file).map_err(io)?;
        let len = file.metadata().map_err(io)?.len().min(map.len() as u64) as usize;
        Ok(MappedFile { map, len, path })
    }

    /// The file's length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies the file's bytes from `offset` on.
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        if offset.checked_add(to.len()).is_none_or(|end| end > self.len) {
            let message = format!("bytes {offset} and {} after it, of a file of {}", to.len(), self.len);
            return Err(Error::Format { what: self.path.display().to_string(), message });
        }
        // SAFETY: the range lies inside the mapping, which lives as long as self and is readable; `to` is exclusively
        // borrowed memory of its length, which no mapping made here overlaps. No reference into the mapping is made, so
        // that another process may write to the file: what is copied then is old bytes or new ones.
        unsafe { std::ptr::copy_nonoverlapping(self.map.as_ptr().add(offset), to.as_mut_ptr(), to.len()) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_what_the_file_holds_and_refuses_the_rest() {
        let path = std::env::temp_dir().join(format!("warpsmith-mapped-{}", std::process::id()));
        std::fs::write(&path, [1u8, 2, 3, 4, 5]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let mut three = [0; 3];
        file.copy_to(2, &mut three).unwrap();
        assert_eq!((file.len(), three), (5, [3, 4, 5]));
        assert!(file.copy_to(3, &mut three).is_err() && file.copy_to(usize::MAX, &mut three).is_err());
        std::fs::write(&path, []).unwrap();
        let empty = MappedFile::open(&path).unwrap();
        assert!(empty.is_empty() && empty.copy_to(0, &mut []).is_ok() && empty.copy_to(0, &mut three).is_err());
        std::fs::remove_file(&path).unwrap();
        let missing = MappedFile::open(&path).unwrap_err().to_string();
        assert!(missing.contains("mapping"), "{missing}");
    }
}
