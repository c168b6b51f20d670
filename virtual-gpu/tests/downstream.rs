//! The crate as it is published, used by a package outside this workspace: `install()` in its tests and doc tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const MANIFEST: &str = r#"
[package]
name = "downstream"
version = "0.1.0"
edition = "2024"

[dependencies]
cudarc = { version = "0.19.10", default-features = false, features = ["std", "driver", "fallback-dynamic-loading", "cuda-12090"] }

[dev-dependencies]
virtual-gpu = { path = "PACKED" }

[workspace]
"#;

const LIBRARY: &str = r#"
/// The devices there are.
/// ```
/// let gpu = virtual_gpu::install().unwrap();
/// assert_eq!(downstream::count(), 1);
/// assert!(gpu.faults().is_empty());
/// ```
pub fn count() -> i32 {
    cudarc::driver::CudaContext::device_count().unwrap()
}
"#;

const TEST: &str = r#"
#[test]
fn bytes_come_back() {
    virtual_gpu::install().unwrap();
    let stream = cudarc::driver::CudaContext::new(0).unwrap().default_stream();
    let device = stream.clone_htod(&[1.0f32, 2.0]).unwrap();
    assert_eq!(stream.clone_dtoh(&device).unwrap(), [1.0, 2.0]);
}
"#;

/// Runs cargo with a build folder of its own: the one that runs this test holds the lock of the other.
fn cargo(folder: &Path, target: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_package_elsewhere_tests_with_the_packed_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("downstream");
    let (package, target) = (work.join("package"), work.join("target"));
    cargo(root, &target, &["package", "-p", "virtual-gpu", "--no-verify", "--allow-dirty", "--quiet"]);
    let version = env!("CARGO_PKG_VERSION");
    let archive = target.join(format!("package/virtual-gpu-{version}.crate"));
    // What an earlier version left would lie beside this one's files.
    let packed: PathBuf = work.join(format!("virtual-gpu-{version}"));
    if packed.exists() {
        fs::remove_dir_all(&packed).expect("an earlier package can be removed");
    }
    let unpacked = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&work).status();
    assert!(unpacked.is_ok_and(|status| status.success()), "{}", archive.display());
    for folder in ["src", "tests"] {
        fs::create_dir_all(package.join(folder)).expect("folders can be made");
    }
    let manifest = MANIFEST.replace("PACKED", &packed.display().to_string());
    for (name, text) in [("Cargo.toml", manifest.as_str()), ("src/lib.rs", LIBRARY), ("tests/bytes.rs", TEST)] {
        fs::write(package.join(name), text).expect("files can be written");
    }
    let said = cargo(&package, &target, &["test", "--quiet"]);
    assert_eq!(said.matches("1 passed").count(), 2, "{said}");
}
