//! What can go wrong between a `.cu` file and its machine code.

use std::fmt;
use std::path::PathBuf;

/// An error of finding NVRTC, compiling a kernel, or reading what came out of it.
#[non_exhaustive]
pub enum Error {
    /// No usable NVRTC was found; the text lists the places that were searched and how to get one.
    NvrtcMissing(String),
    /// A file could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A source includes a file that is in none of the include folders.
    Include(String),
    /// NVRTC refused the source; the text is its log.
    Compile(String),
    /// NVRTC accepted the source but its log or the machine code breaks a rule of this crate
    /// (a spill, a serialised tensor-core pipeline, a kernel without launch bounds).
    Rule(String),
    /// PTX, machine code or an image file is not of the expected form.
    Format(String),
    /// A setting (an environment variable, an architecture name) does not parse.
    Setting(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NvrtcMissing(text)
            | Self::Include(text)
            | Self::Compile(text)
            | Self::Rule(text)
            | Self::Format(text)
            | Self::Setting(text) => f.write_str(text),
        }
    }
}

/// As `Display`: a build script that returns the error prints it this way, and a log must stay readable.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
