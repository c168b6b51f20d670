//! Where NVRTC may be.
//!
//! In this order: `WARPSMITH_NVRTC` (the library itself or its folder; `off` ends the search); `CUDA_HOME` and `CUDA_PATH`; `nvrtc` in the
//! build's target folder, where `cargo xtask nvrtc` puts a pinned one; the loader's path; the usual toolkit folders;
//! the `nvidia` packages of Python environments. The first that compiles for all the architectures asked for is taken.

use crate::arch::Arch;
use crate::nvrtc::Nvrtc;
use crate::{Error, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variables that decide where NVRTC is looked for.
pub(crate) const VARIABLES: [&str; 5] = ["WARPSMITH_NVRTC", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"];

const HOW_TO_GET_IT: &str = "Get it with one of\n  \
    cargo xtask nvrtc                               (in a clone of warpsmith: PyPI's wheel, into target/nvrtc)\n  \
    python3 -m pip install nvidia-cuda-nvrtc-cu12   (anywhere)\n  \
    a CUDA toolkit of version 12.8 or newer, with CUDA_HOME naming its folder\n\
    or name the library with WARPSMITH_NVRTC.";

/// Finds an NVRTC that compiles for every architecture of `archs`.
///
/// `target` is the build's target folder, where there is one.
///
/// # Errors
/// [`Error::NvrtcMissing`] says what was tried and how to get one.
pub fn find(archs: &[Arch], target: Option<&Path>) -> Result<Nvrtc> {
    let mut tried: Vec<String> = Vec::new();
    let mut attempt = |path: &Path| match Nvrtc::load(path) {
        Ok(nvrtc) => match archs.iter().find(|&&arch| !nvrtc.supports(arch)) {
            None => Some(nvrtc),
            Some(arch) => {
                let (major, minor) = nvrtc.version();
                tried.push(format!("{}: NVRTC {major}.{minor} does not compile for {arch}", path.display()));
                None
            }
        },
        Err(error) => {
            tried.push(error.to_string());
            None
        }
    };
    if let Some(named) = env::var_os("WARPSMITH_NVRTC").map(PathBuf::from) {
        if named == Path::new("off") {
            return Err(Error::NvrtcMissing("WARPSMITH_NVRTC=off: NVRTC is not looked for".to_owned()));
        }
        let found = if named.is_dir() { libraries(&named) } else { vec![named] };
        if let Some(nvrtc) = found.iter().find_map(|path| attempt(path)) {
            return Ok(nvrtc);
        }
    }
    for root in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from) {
        if let Some(nvrtc) = toolkit(&root).iter().find_map(|path| attempt(path)) {
            return Ok(nvrtc);
        }
    }
    if let Some(target) = target
        && let Some(nvrtc) = packages(&target.join("nvrtc")).iter().find_map(|path| attempt(path))
    {
        return Ok(nvrtc);
    }
    let mut missing = Vec::new();
    for name in NAMES {
        match Nvrtc::load(Path::new(name)) {
            Ok(_) => {
                if let Some(nvrtc) = attempt(Path::new(name)) {
                    return Ok(nvrtc);
                }
            }
            Err(_) => missing.push(*name),
        }
    }
    for root in toolkit_folders() {
        if let Some(nvrtc) = toolkit(&root).iter().find_map(|path| attempt(path)) {
            return Ok(nvrtc);
        }
    }
    for site in python_folders() {
        if let Some(nvrtc) = packages(&site).iter().find_map(|path| attempt(path)) {
            return Ok(nvrtc);
        }
    }
    tried.push(format!("the loader knows none of {}", missing.join(", ")));
    Err(Error::NvrtcMissing(format!(
        "no usable NVRTC (libnvrtc, NVIDIA's run-time compiler) was found. Searched: CUDA_HOME and CUDA_PATH, \
         target/nvrtc, the loader's path, the usual toolkit folders, Python's site-packages.\n  {}\n{HOW_TO_GET_IT}",
        tried.join("\n  ")
    )))
}

#[cfg(windows)]
const NAMES: &[&str] = &["nvrtc64_120_0.dll", "nvrtc64_130_0.dll", "nvrtc64.dll"];
#[cfg(not(windows))]
const NAMES: &[&str] = &["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so"];

/// The NVRTC libraries that lie directly in a folder, the plainest name first.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            let library = name.starts_with("libnvrtc.so") || (name.starts_with("nvrtc64") && name.ends_with(".dll"));
            library && !name.contains("alt") && !name.contains("builtins")
        })
        .collect();
    found.sort();
    found
}

/// The libraries of a toolkit.
fn toolkit(root: &Path) -> Vec<PathBuf> {
    let folders = ["lib64", "lib", "bin", "bin/x64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "."];
    folders.iter().flat_map(|folder| libraries(&root.join(folder))).collect()
}

fn toolkit_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda"].into_iter().map(PathBuf::from).collect();
    let mut versions = children(Path::new("/usr/local"));
    versions.extend(children(Path::new(r"C:\Program Files\NVIDIA GPU Computing Toolkit\CUDA")));
    versions.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        name.starts_with("cuda-") || name.starts_with('v')
    });
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.extend(env::var_os("CONDA_PREFIX").map(PathBuf::from));
    folders
}

/// The libraries in `nvidia/**/lib` of a site-packages folder: `nvidia/cuda_nvrtc/lib`, `nvidia/cu13/lib`.
fn packages(site: &Path) -> Vec<PathBuf> {
    let folders = children(&site.join("nvidia")).into_iter();
    folders.flat_map(|folder| [libraries(&folder.join("lib")), libraries(&folder.join("bin"))].concat()).collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The site-packages folders of the Python that `python3` starts, and of an active environment.
fn python_folders() -> Vec<PathBuf> {
    const SCRIPT: &str = "import site, sysconfig\n\
        print(sysconfig.get_path('purelib'))\n\
        print(sysconfig.get_path('platlib'))\n\
        print('\\n'.join(getattr(site, 'getsitepackages', list)()))\n\
        print(site.getusersitepackages())";
    let mut folders = Vec::new();
    let mut pythons = Vec::new();
    for root in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(env::var_os) {
        let root = PathBuf::from(root);
        pythons.push(root.join("bin").join("python3"));
        pythons.push(root.join("python.exe"));
    }
    pythons.retain(|python| python.is_file());
    pythons.push(PathBuf::from("python3"));
    for python in pythons {
        let Ok(output) = Command::new(python).args(["-c", SCRIPT]).output() else { continue };
        folders.extend(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from));
    }
    folders.dedup();
    folders
}

/// The target folder of the build script whose `OUT_DIR` this is: the nearest one above it that cargo has marked. It marks
/// only what it makes; one that was there before (restored from a cache, say) is known by what lies beneath it:
/// `PROFILE/build/PACKAGE/out`.
pub(crate) fn target_folder(out: &Path) -> Option<PathBuf> {
    let marked = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.or_else(|| out.ancestors().nth(4)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::target_folder;
    use std::path::Path;

    #[test]
    fn a_target_folder_without_cargo_s_mark_is_known_by_its_shape() {
        let out = Path::new("/nowhere/target/debug/build/package-0123456789abcdef/out");
        assert_eq!(target_folder(out).as_deref(), Some(Path::new("/nowhere/target")));
    }
}
