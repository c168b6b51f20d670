//! The build script's side: which files, for which architectures, from where.

use crate::arch::Arch;
use crate::bytes::Writer;
use crate::compile::{Compiled, merge};
use crate::compile::{Lines, compile_with};
use crate::image::{Compression, Contents, Format, Image, Module, deflate, pack};
use crate::nvrtc::Nvrtc;
use crate::source::Source;
use crate::{Error, Result, embed, find, store};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, thread};

/// The architectures that kernels are compiled for unless `WARPSMITH_CUDA_ARCHS` says otherwise.
pub const DEFAULT_ARCHS: [Arch; 3] = [Arch::new(8, 0, false), Arch::new(9, 0, true), Arch::new(12, 0, false)];

/// The kernels of a crate, to be compiled and embedded by its build script.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    includes: Vec<PathBuf>,
    options: Vec<String>,
    archs: Option<Vec<Arch>>,
    images: Option<PathBuf>,
}

/// What [`Kernels::package`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packaged {
    /// The image files.
    pub files: Vec<PathBuf>,
    /// Their bytes in all.
    pub bytes: u64,
}

impl Kernels {
    /// No kernels yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `.cu` file; a relative path starts at the crate's folder.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Adds every `.cu` file directly in a folder.
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.folders.push(path.into());
        self
    }

    /// Adds a folder where `#include` looks, after the including file's and the `.cu` file's own.
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Self {
        self.includes.push(folder.into());
        self
    }

    /// Defines a macro.
    pub fn define(mut self, name: &str, value: &str) -> Self {
        self.options.push(format!("-D{name}={value}"));
        self
    }

    /// The architectures to compile for, in place of `WARPSMITH_CUDA_ARCHS` and its default.
    pub fn architectures(mut self, archs: &[Arch]) -> Self {
        self.archs = Some(archs.to_vec());
        self
    }

    /// The folder of the images that the published crate carries; it need not exist.
    pub fn images(mut self, folder: impl Into<PathBuf>) -> Self {
        self.images = Some(folder.into());
        self
    }

    /// Compiles and embeds: writes the table of kernels into `OUT_DIR` and tells cargo what it depends on.
    ///
    /// # Errors
    /// Whatever [`compile`](crate::compile()) finds wrong with a kernel; [`Error::NvrtcMissing`] without NVRTC under
    /// `WARPSMITH_REQUIRE_NVRTC=1`; [`Error::Setting`] outside a build script.
    pub fn build(self) -> Result<()> {
        let out = env::var_os("OUT_DIR").map(PathBuf::from);
        let out = out.ok_or_else(|| Error::Setting("OUT_DIR is not set: this is for build scripts".to_owned()))?;
        let target = find::target_folder(&out);
        for variable in find::VARIABLES.into_iter().chain(["WARPSMITH_CUDA_ARCHS", "WARPSMITH_REQUIRE_NVRTC"]) {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        for path in self.folders.iter().chain(self.images.as_ref().filter(|folder| folder.exists())) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        // Cargo runs a build script again whenever a path that it named is absent, so an absent one is not named.
        if let Some(nvrtc) = target.as_deref().map(|target| target.join("nvrtc")).filter(|folder| folder.exists()) {
            println!("cargo::rerun-if-changed={}", nvrtc.display());
        }
        let (sources, paths) = self.sources()?;
        for path in paths {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        let archs = self.archs()?;
        let cache = target.as_deref().unwrap_or(&out).join("warpsmith-kernels");
        let require = env::var_os("WARPSMITH_REQUIRE_NVRTC").is_some_and(|value| value != "0" && !value.is_empty());
        let wanted = sources.iter().map(|source| meant_for(source, &archs)).collect::<Result<Vec<_>>>()?;
        let load = |folder: &Path, source, archs: &[Arch]| {
            archs.iter().map(|&arch| store::load(&store::path(folder, source, arch, None))).collect()
        };
        let carried: Vec<Option<Vec<Compiled>>> = match &self.images {
            Some(folder) if !require => {
                sources.iter().zip(&wanted).map(|(source, archs)| load(folder, source, archs)).collect()
            }
            _ => vec![None; sources.len()],
        };
        let nvrtc = if carried.iter().all(Option::is_some) {
            None
        } else {
            match find::find(&archs, target.as_deref()) {
                Ok(nvrtc) => Some(nvrtc),
                Err(error) if require => return Err(error),
                Err(error) => {
                    let text = error.to_string();
                    println!(
                        "cargo::warning=kernels are embedded as source, for NVRTC at first use: {}",
                        text.lines().next().unwrap_or("no NVRTC was found")
                    );
                    None
                }
            }
        };
        let mut compiled = match &nvrtc {
            Some(nvrtc) => {
                let all = sources.iter().zip(wanted).zip(&carried);
                let missing: Vec<(&Source, Vec<Arch>)> =
                    all.filter(|(_, carried)| carried.is_none()).map(|(missing, _)| missing).collect();
                compile_all(nvrtc, &missing, &cache, Lines::Kept)?.into_iter()
            }
            None => Vec::new().into_iter(),
        };
        let mut modules = Vec::new();
        for (source, carried) in sources.iter().zip(carried) {
            let module = match carried.or_else(|| compiled.next()) {
                Some(results) => {
                    for warning in results.iter().flat_map(|result| result.warnings.lines()) {
                        println!("cargo::warning={warning}");
                    }
                    module(&source.name, &results)?
                }
                None => source_module(source),
            };
            modules.push((module, source.label.clone()));
        }
        embed::write(&out, &modules)
    }

    /// Compiles with NVRTC and writes the images that a published crate carries into the folder given to
    /// [`images`](Self::images), removing older ones.
    ///
    /// # Errors
    /// As [`build`](Self::build); without NVRTC always [`Error::NvrtcMissing`].
    pub fn package(self, target: &Path) -> Result<Packaged> {
        let folder =
            self.images.clone().ok_or_else(|| Error::Setting("no folder for the images was given".to_owned()))?;
        let (sources, _) = self.sources()?;
        let archs = self.archs()?;
        let nvrtc = find::find(&archs, Some(target))?;
        let sources =
            sources.iter().map(|source| Ok((source, meant_for(source, &archs)?))).collect::<Result<Vec<_>>>()?;
        let cache = target.join("warpsmith-kernels/published");
        let compiled = compile_all(&nvrtc, &sources, &cache, Lines::Left)?;
        let old = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in old.filter(|path| path.extension().is_some_and(|extension| extension == "image")) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        let mut packaged = Packaged { files: Vec::new(), bytes: 0 };
        for ((source, archs), results) in sources.iter().zip(compiled) {
            for mut result in results {
                result.images.retain(|image| published(archs, image));
                for image in &mut result.images {
                    image.bytes = Cow::Owned(pack(&image.decompress()?)?);
                    image.compression = Compression::Lzma;
                }
                let path = store::path(&folder, source, result.arch, None);
                store::save(&path, &result)?;
                packaged.bytes += fs::metadata(&path).map_err(Error::io(&path))?.len();
                packaged.files.push(path);
            }
        }
        Ok(packaged)
    }

    fn archs(&self) -> Result<Vec<Arch>> {
        if let Some(archs) = &self.archs {
            return Ok(archs.clone());
        }
        let Ok(text) = env::var("WARPSMITH_CUDA_ARCHS") else { return Ok(DEFAULT_ARCHS.to_vec()) };
        let mut archs = text.split(',').map(Arch::parse).collect::<Result<Vec<_>>>()?;
        archs.sort();
        archs.dedup();
        Ok(archs)
    }

    /// The sources, sorted by name, and every path that was read.
    fn sources(&self) -> Result<(Vec<Source>, Vec<PathBuf>)> {
        let mut files = self.files.clone();
        for folder in &self.folders {
            for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
                let path = entry.map_err(Error::io(folder))?.path();
                if path.extension().is_some_and(|extension| extension == "cu") {
                    files.push(path);
                }
            }
        }
        files.sort();
        let mut sources: Vec<Source> = Vec::new();
        let mut paths = Vec::new();
        for file in files {
            let label = file.to_string_lossy().replace('\\', "/");
            let (mut source, read) = Source::read(&file, &label, &self.includes)?;
            if sources.iter().any(|known| known.name == source.name) {
                return Err(Error::Setting(format!("two kernel files are named {}.cu", source.name)));
            }
            source.options.clone_from(&self.options);
            sources.push(source);
            paths.extend(read);
        }
        paths.sort();
        paths.dedup();
        Ok((sources, paths))
    }
}

/// Compiles one source for one architecture, or takes the result from the cache in `folder`.
///
/// # Errors
/// As [`compile`](crate::compile()); a cache that cannot be written is an error too.
pub fn load_or_compile(nvrtc: &Nvrtc, source: &Source, arch: Arch, folder: &Path) -> Result<Compiled> {
    known_or_compiled(nvrtc, source, arch, folder, Lines::Kept)
}

fn known_or_compiled(nvrtc: &Nvrtc, source: &Source, arch: Arch, folder: &Path, lines: Lines) -> Result<Compiled> {
    let path = store::path(folder, source, arch, Some(nvrtc.version()));
    if let Some(known) = store::load(&path) {
        return Ok(known);
    }
    let compiled = compile_with(nvrtc, source, arch, lines)?;
    store::save(&path, &compiled)?;
    Ok(compiled)
}

/// Whether a published crate carries an image of a file that is for these architectures. PTX goes along once: what runs on
/// a device with PTX of its own runs on it with the oldest general one, too, where there is one.
fn published(archs: &[Arch], image: &Image) -> bool {
    let oldest = archs.iter().filter(|arch| !arch.specific).min();
    image.format == Format::Cubin || oldest.is_none_or(|oldest| *oldest == image.arch)
}

/// Which of the architectures the file is for.
fn meant_for(source: &Source, archs: &[Arch]) -> Result<Vec<Arch>> {
    let meant = source.architectures()?;
    Ok(archs.iter().copied().filter(|arch| meant.as_ref().is_none_or(|meant| meant.contains(arch))).collect())
}

/// Compiles every source for its architectures, several at once; the results lie by source, then architecture.
fn compile_all(
    nvrtc: &Nvrtc,
    sources: &[(&Source, Vec<Arch>)],
    cache: &Path,
    lines: Lines,
) -> Result<Vec<Vec<Compiled>>> {
    let jobs: Vec<(&Source, Arch)> =
        sources.iter().flat_map(|(source, archs)| archs.iter().map(|&arch| (*source, arch))).collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<Compiled>>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    let workers = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    let workers = workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1);
    thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(source, arch)) = jobs.get(index) else { break };
                    let result = known_or_compiled(nvrtc, source, arch, cache, lines);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = results.into_iter();
    let of_source = |(_, archs): &(&Source, Vec<Arch>)| {
        let missing = || Error::Compile("a kernel was not compiled".to_owned());
        results.by_ref().take(archs.len()).map(|result| result.ok_or_else(missing)?).collect()
    };
    sources.iter().map(of_source).collect()
}

/// Which architectures' PTX travels along: the oldest general one, which drivers compile for chips to come, and those
/// of `a` targets, for a device that runs PTX only. PTX of an `a` target is never a fallback.
fn kept_ptx(archs: &[Arch]) -> Vec<Arch> {
    let oldest = archs.iter().filter(|arch| !arch.specific).min();
    archs.iter().filter(|&arch| arch.specific || Some(arch) == oldest).copied().collect()
}

fn module(name: &str, results: &[Compiled]) -> Result<Module> {
    let archs: Vec<Arch> = results.iter().map(|result| result.arch).collect();
    let kept = kept_ptx(&archs);
    let keep = |image: &&Image| image.format == Format::Cubin || kept.contains(&image.arch);
    let images: Vec<Image> = results.iter().flat_map(|result| &result.images).filter(keep).cloned().collect();
    let nvrtc = results.iter().map(|result| result.nvrtc).max().unwrap_or((0, 0));
    let kernels = merge(results)?;
    Ok(Module {
        name: Cow::Owned(name.to_owned()),
        contents: Contents::Compiled { nvrtc, kernels: Cow::Owned(kernels), images: Cow::Owned(images) },
    })
}

fn source_module(source: &Source) -> Module {
    let mut writer = Writer::default();
    source.write(&mut writer);
    let bytes = writer.finish();
    Module {
        name: Cow::Owned(source.name.clone()),
        contents: Contents::Source { len: bytes.len() as u32, bytes: Cow::Owned(deflate(&bytes)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_crates_carry_one_ptx_of_each_file() {
        let carried = |archs: &[Arch]| -> Vec<String> {
            let image = |&arch, format| {
                let (len, compression, bytes) = (0, Compression::Deflate, Cow::Borrowed(&[][..]));
                Image { arch, format, len, compression, bytes }
            };
            let all = archs.iter().flat_map(|arch| [image(arch, Format::Cubin), image(arch, Format::Ptx)]);
            let kept = all.filter(|image| published(archs, image));
            kept.filter(|image| image.format == Format::Ptx).map(|image| image.arch.to_string()).collect()
        };
        assert_eq!(carried(&DEFAULT_ARCHS), ["sm_80"]);
        assert_eq!(carried(&[Arch::new(9, 0, true)]), ["sm_90a"], "a file for one chip has no other");
    }

    #[test]
    fn a_file_is_compiled_for_those_of_the_wanted_architectures_that_it_is_for() {
        let source = Source::from_text("own", "// architectures: 90a\n");
        assert_eq!(meant_for(&source, &DEFAULT_ARCHS).unwrap(), [Arch::new(9, 0, true)]);
        assert_eq!(meant_for(&source, &[Arch::new(8, 0, false)]).unwrap(), []);
        assert_eq!(meant_for(&Source::from_text("all", ""), &DEFAULT_ARCHS).unwrap(), DEFAULT_ARCHS);
    }
}
