//! A `.cu` file with everything it includes: what a compilation depends on, and nothing else.
//!
//! Includes are resolved here and handed to NVRTC as texts, so that a compilation touches no file system: its result
//! is a function of a [`Source`], and a `Source` can travel inside a program.

use crate::arch::Arch;
use crate::bytes::{Reader, Writer};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A self-contained source: the file, its headers and its macro definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's name without its extension.
    pub name: String,
    /// How messages and line tables call the file.
    pub label: String,
    /// The file's text.
    pub text: String,
    /// Every header that it includes, directly or not: the name as written, and the text.
    pub headers: Vec<(String, String)>,
    /// Options given beside those that every compilation has: `-DNAME=VALUE`.
    pub options: Vec<String>,
}

impl Source {
    /// A source from its text alone, without headers.
    pub fn from_text(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: format!("{name}.cu"),
            text: text.to_owned(),
            headers: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Reads `file` and all it includes, searching the including file's folder, the file's own and `folders`.
    ///
    /// Also returns the paths that were read. An include found nowhere is left for NVRTC to report (it may stand in a
    /// branch that is not taken).
    pub fn read(file: &Path, label: &str, folders: &[PathBuf]) -> Result<(Self, Vec<PathBuf>)> {
        let name = file.file_stem().and_then(|stem| stem.to_str());
        let name = name.ok_or_else(|| Error::Setting(format!("{} has no usable name", file.display())))?;
        let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
        let mut source = Self { label: label.to_owned(), ..Self::from_text(name, &text) };
        let mut paths = vec![file.to_owned()];
        let mut open = vec![(file.to_owned(), text)];
        while let Some((path, text)) = open.pop() {
            for include in includes(&text) {
                let near = [path.parent(), file.parent()].into_iter().flatten();
                let found = near
                    .chain(folders.iter().map(PathBuf::as_path))
                    .map(|folder| folder.join(include))
                    .find(|candidate| candidate.is_file());
                let Some(found) = found else { continue };
                let header = std::fs::read_to_string(&found).map_err(Error::io(&found))?;
                match source.headers.iter().find(|(name, _)| name == include) {
                    Some((_, known)) if *known == header => continue,
                    Some(_) => {
                        return Err(Error::Include(format!(
                            "two different files are included as \"{include}\"; write each with its path from {}",
                            file.parent().unwrap_or(Path::new(".")).display()
                        )));
                    }
                    None => {}
                }
                source.headers.push((include.to_owned(), header.clone()));
                if !paths.contains(&found) {
                    paths.push(found.clone());
                }
                open.push((found, header));
            }
        }
        source.headers.sort();
        Ok((source, paths))
    }

    /// The architectures that the file is for, where it says so in a line `// architectures: 90a` of its own (several
    /// are separated by commas); `None` where it is for all. Such a file is left out of builds for others.
    ///
    /// # Errors
    /// [`Error::Setting`] where the line names none, or something else.
    pub fn architectures(&self) -> Result<Option<Vec<Arch>>> {
        let Some(list) = self.text.lines().find_map(|line| line.strip_prefix("// architectures:")) else {
            return Ok(None);
        };
        let parsed: Result<Vec<Arch>> = list.split(',').map(Arch::parse).collect();
        parsed.map(Some).map_err(|error| Error::Setting(format!("{}: {error}", self.label)))
    }

    /// A hash of all that the source's compilation depends on except NVRTC's version and the architecture.
    pub fn hash(&self) -> u128 {
        let mut writer = Writer::default();
        writer.u32(crate::compile::RECIPE);
        self.write(&mut writer);
        crate::bytes::fnv1a(&writer.finish())
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        for text in [&self.name, &self.label, &self.text] {
            writer.text(text);
        }
        writer.u32(self.headers.len() as u32);
        for (name, text) in &self.headers {
            writer.text(name);
            writer.text(text);
        }
        writer.u32(self.options.len() as u32);
        for option in &self.options {
            writer.text(option);
        }
    }

    /// Reads back what a module that carries its source has embedded.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (name, label, text) = (reader.text()?, reader.text()?, reader.text()?);
        let mut headers = Vec::new();
        for _ in 0..reader.u32()? {
            headers.push((reader.text()?, reader.text()?));
        }
        let mut options = Vec::new();
        for _ in 0..reader.u32()? {
            options.push(reader.text()?);
        }
        reader.end()?;
        Ok(Self { name, label, text, headers, options })
    }
}

/// The names in `#include "…"` and `#include <…>`.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?.trim_start();
        let close = match rest.chars().next()? {
            '"' => '"',
            '<' => '>',
            _ => return None,
        };
        rest[1..].split_once(close).map(|(name, _)| name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_can_be_for_some_architectures_only() {
        let of = |text: &str| Source::from_text("k", text).architectures();
        assert_eq!(of("// wgmma\n// for architectures: 80\n").unwrap(), None);
        let both = vec![Arch::new(9, 0, true), Arch::new(12, 0, false)];
        assert_eq!(of("// wgmma\n// architectures: 90a, 120\nint x;").unwrap(), Some(both));
        let error = of("// architectures:\n").unwrap_err().to_string();
        assert!(error.contains("k.cu"), "{error}");
    }

    #[test]
    fn includes_are_found_recursively_and_change_the_hash() {
        let folder = std::env::temp_dir().join(format!("warpsmith-build-source-{}", std::process::id()));
        let common = folder.join("common");
        std::fs::create_dir_all(&common).unwrap();
        let file = folder.join("a.cu");
        std::fs::write(&file, "#include \"common/x.cuh\"\n#  include <absent.h>\n").unwrap();
        std::fs::write(common.join("x.cuh"), "#pragma once\n#include \"y.cuh\"\n").unwrap();
        std::fs::write(common.join("y.cuh"), "#include \"common/x.cuh\" // again\nint y;\n").unwrap();
        let (source, paths) = Source::read(&file, "a.cu", &[]).unwrap();
        let names: Vec<&str> = source.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["common/x.cuh", "y.cuh"]);
        assert_eq!(paths.len(), 3);
        let mut writer = Writer::default();
        source.write(&mut writer);
        assert_eq!(Source::from_bytes(&writer.finish()).unwrap(), source);

        std::fs::write(common.join("y.cuh"), "int z;\n").unwrap();
        let (changed, _) = Source::read(&file, "a.cu", &[]).unwrap();
        assert_ne!(changed.hash(), source.hash());

        std::fs::write(folder.join("y.cuh"), "int other;\n").unwrap();
        std::fs::write(&file, "#include \"common/x.cuh\"\n#include \"y.cuh\"\n").unwrap();
        let clash = Source::read(&file, "a.cu", &[]).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(clash.to_string().contains("y.cuh"), "{clash}");
    }
}
