//! The crate as it is published, used by a package outside this workspace: `install()` in its tests, doc tests, examples
//! and benches.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const MANIFEST: &str = r#"
[package]
name = "downstream"
version = "0.1.0"
edition = "2024"

[dependencies]
cudarc = { version = "0.19.10", default-features = false, features = ["std", "driver", "nvrtc", "fallback-dynamic-loading", "cuda-12090"] }

[dev-dependencies]
virtual-gpu = { version = "VERSION", registry = "packed" }

[[bench]]
name = "launches"
harness = false

[workspace]

[profile.dev]
debug = false
incremental = false
"#;

/// The packed crate stands in for a registry: unlike a path, a registry's crate gives its shared object a hashed name.
const CONFIG: &str = r#"
[registries.packed]
index = "sparse+http://localhost/"

[source.packed-registry]
registry = "sparse+http://localhost/"
replace-with = "packed-folder"

[source.packed-folder]
directory = "FOLDER"
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

const PTX: &str = ".version 7.0
.target sm_80
.address_size 64
.visible .entry double(.param .u64 p)
{
.reg .b32 %r<3>; .reg .f32 %f<3>; .reg .b64 %rd<4>;
ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2;
ld.global.f32 %f1, [%rd3]; add.f32 %f2, %f1, %f1; st.global.f32 [%rd3], %f2;
ret;
}
";

/// Doubles numbers, one thread each.
pub fn double(numbers: &[f32]) -> Vec<f32> {
    use cudarc::driver::PushKernelArg;
    let context = cudarc::driver::CudaContext::new(0).unwrap();
    let module = context.load_module(cudarc::nvrtc::Ptx::from_src(PTX)).unwrap();
    let kernel = module.load_function("double").unwrap();
    let stream = context.default_stream();
    let mut device = stream.clone_htod(numbers).unwrap();
    let config = cudarc::driver::LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (numbers.len() as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    unsafe { stream.launch_builder(&kernel).arg(&mut device).launch(config) }.unwrap();
    stream.clone_dtoh(&device).unwrap()
}
"#;

const TEST: &str = r#"
#[test]
fn numbers_double() {
    virtual_gpu::install().unwrap();
    assert_eq!(downstream::double(&[1.0, 2.0]), [2.0, 4.0]);
}
"#;

/// An example and a bench.
const MAIN: &str = r#"
fn main() {
    let gpu = virtual_gpu::install().unwrap();
    assert_eq!(downstream::double(&[3.0]), [6.0]);
    assert!(gpu.faults().is_empty());
    let path = virtual_gpu::library_path().unwrap();
    println!("doubled by {}", path.file_name().unwrap().to_str().unwrap());
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
fn a_package_elsewhere_uses_the_packed_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("downstream");
    let (package, target, registry) = (work.join("package"), work.join("target"), work.join("registry"));
    cargo(root, &target, &["package", "-p", "virtual-gpu", "--no-verify", "--allow-dirty", "--quiet"]);
    let version = env!("CARGO_PKG_VERSION");
    let archive = target.join(format!("package/virtual-gpu-{version}.crate"));
    // What an earlier version left would lie beside this one's files.
    if registry.exists() {
        fs::remove_dir_all(&registry).expect("an earlier package can be removed");
    }
    fs::create_dir_all(&registry).expect("folders can be made");
    let unpacked = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&registry).status();
    assert!(unpacked.is_ok_and(|status| status.success()), "{}", archive.display());
    let packed = registry.join(format!("virtual-gpu-{version}"));
    for folder in ["src", "tests", "examples", "benches", ".cargo"].map(|folder| package.join(folder)) {
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("an earlier package can be removed");
        }
        fs::create_dir_all(folder).expect("folders can be made");
    }
    let manifest = MANIFEST.replace("VERSION", version);
    let config = CONFIG.replace("FOLDER", &registry.display().to_string());
    for (path, text) in [
        (packed.join(".cargo-checksum.json"), "{\"files\":{}}"),
        (package.join(".cargo/config.toml"), &config),
        (package.join("Cargo.toml"), &manifest),
        (package.join("src/lib.rs"), LIBRARY),
        (package.join("tests/doubles.rs"), TEST),
        (package.join("examples/double.rs"), MAIN),
        (package.join("benches/launches.rs"), MAIN),
    ] {
        fs::write(path, text).expect("files can be written");
    }
    let said = cargo(&package, &target, &["test", "--quiet"]);
    assert_eq!(said.matches("1 passed").count(), 2, "{said}");
    for program in [&["run", "--quiet", "--example", "double"][..], &["bench", "--quiet", "--profile", "dev"]] {
        let said = cargo(&package, &target, program);
        assert!(said.contains("doubled by libvirtual_gpu-"), "{said}");
    }
}
