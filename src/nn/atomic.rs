//! Writing a file so that it is either the old one or the new one, whatever happens.

use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a temporary file beside `path`, forces it to disk and renames it into place. On an error (a full disk) the
/// temporary file is removed and an older `path` stays as it was.
pub(crate) fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let io = |source| Error::Io { action: "writing", path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| io(std::io::Error::other("the path has no file name")))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{}.{}.{unique}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_and_sync(&temporary, write).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(e) = written {
        // The first error is the one to tell; a temporary file that cannot be removed harms nothing.
        let _ = std::fs::remove_file(&temporary);
        return Err(io(e));
    }
    sync_folder(&folder).map_err(io)
}

/// Removes temporary files that processes which were killed have left behind in a folder, of files with such names.
pub(crate) fn remove_leftovers(folder: &Path, is_of: impl Fn(&str) -> bool) -> Result<()> {
    let io = |source| Error::Io { action: "reading", path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let found = entry.map_err(io)?;
        let name = found.file_name();
        // .NAME.PROCESS.COUNT.tmp
        let middle = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp"));
        let mut parts = middle.unwrap_or_default().rsplitn(3, '.');
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u64>().ok());
        let (count, process) = (number(parts.next()), number(parts.next()));
        let other = process.is_some_and(|process| process != u64::from(std::process::id()));
        if count.is_some() && other && parts.next().is_some_and(&is_of) {
            std::fs::remove_file(found.path()).map_err(io)?;
        }
    }
    Ok(())
}

fn write_and_sync(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 16, File::create_new(path)?);
    write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// Makes the rename itself durable, where folders can be synced.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("warpsmith-atomic-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        write_atomically(&path, |to| to.write_all(b"old")).unwrap();
        let full = write_atomically(&path, |to| {
            to.write_all(&[0; 100_000])?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        });
        assert!(matches!(full, Err(Error::Io { action: "writing", .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        write_atomically(&path, |to| to.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // Only what a process that was killed has left of this file goes.
        let names = [".file.1.0.tmp", ".file.1.x.tmp", ".other.1.0.tmp", ".file.tmp", "file.1.0.tmp"];
        names.iter().for_each(|name| std::fs::write(folder.join(name), "").unwrap());
        remove_leftovers(&folder, |name| name == "file").unwrap();
        assert!(!folder.join(names[0]).exists() && names[1..].iter().all(|name| folder.join(name).exists()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
