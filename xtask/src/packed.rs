//! `cargo xtask packed`: the crate as users get it.
//!
//! Packs `warpsmith` and `warpsmith-build`, and builds `examples/own_kernel`, a user's crate with a kernel of its own,
//! upon them, offline: first as on a machine without NVRTC, where the packed images must be embedded and its own kernel
//! as source; then with images that it carries too, still without NVRTC, and run on the virtual GPU; then with NVRTC,
//! where its kernel is compiled, and a launch declared with a wrong type must not compile.

use crate::support::{cargo, output, root, run as run_command, target};
use crate::{Task, package};
use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Command};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::SystemTime;
use warpsmith_build::{DEFAULT_ARCHS, Kernels};

pub const TASK: Task = Task {
    command: || Command::new("packed").about("Pack the crates and build a program that depends on them, offline"),
    run,
};

const FILES: [(&str, &str); 4] = [
    ("src/lib.rs", include_str!("../../examples/own_kernel/src/lib.rs")),
    ("src/main.rs", include_str!("../../examples/own_kernel/src/main.rs")),
    ("build.rs", include_str!("../../examples/own_kernel/build.rs")),
    ("kernels/swiglu.cu", include_str!("../../examples/own_kernel/kernels/swiglu.cu")),
];

fn run(_: &ArgMatches) -> Result<()> {
    check()
}

/// The whole check.
pub fn check() -> Result<()> {
    package::write_images()?;
    let folder = target().join("packed");
    let crates = pack(&folder)?;
    // Left there, later builds would carry them, without source lines, instead of what is compiled here.
    let images = root().join("images");
    fs::remove_dir_all(&images).with_context(|| format!("removing {}", images.display()))?;
    let program = write_program(&folder, &crates)?;
    run_command(&mut cargo(&["build", "--quiet", "--package", "virtual-gpu"]))?;
    let own = program.join("images");
    if own.exists() {
        fs::remove_dir_all(&own).with_context(|| format!("removing {}", own.display()))?;
    }
    println!("{}", build(&program, &folder, "off", &["--", "source"])?);
    // As its author would, before publishing: its sources are known by their path from its folder.
    std::env::set_current_dir(&program).context("entering the program's folder")?;
    Kernels::new().folder("kernels").images("images").architectures(&DEFAULT_ARCHS).package(&target())?;
    // Cargo does not know of a folder that was absent before; in a published crate the images are there from the start.
    let source = program.join("kernels/swiglu.cu");
    let touched = fs::File::options().append(true).open(&source).and_then(|file| file.set_modified(SystemTime::now()));
    touched.with_context(|| format!("touching {}", source.display()))?;
    println!("{}", build(&program, &folder, "off", &["--", "embedded"])?);
    println!("{}, without NVRTC", on_virtual_gpu(&program, &folder)?);
    fs::remove_dir_all(&own).with_context(|| format!("removing {}", own.display()))?;
    let nvrtc = warpsmith_build::find(&DEFAULT_ARCHS, Some(&target()))?;
    let nvrtc = nvrtc.path().to_string_lossy().into_owned();
    println!("{}", build(&program, &folder, &nvrtc, &["--", "embedded"])?);
    println!("{}", on_virtual_gpu(&program, &folder)?);
    match build(&program, &folder, &nvrtc, &["--features", "wrong"]) {
        Err(error) if format!("{error:#}").contains("has no kernel that is named and takes what `wrong_type`") => {
            println!("packed: a launch of a wrong type does not compile");
            Ok(())
        }
        Err(error) => Err(error.context("a launch of a wrong type failed for another reason")),
        Ok(_) => bail!("a launch declared with a wrong type compiled"),
    }
}

/// Packs both crates and unpacks them again; returns their folders.
fn pack(folder: &Path) -> Result<Vec<PathBuf>> {
    let packing = folder.join("package");
    let mut command = cargo(&["package", "--offline", "--no-verify", "--allow-dirty", "--quiet"]);
    command.args(["--package", "warpsmith-build", "--package", "warpsmith", "--target-dir"]).arg(&packing);
    run_command(&mut command)?;
    let mut crates = Vec::new();
    for name in ["warpsmith-build", "warpsmith"] {
        let package = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let file = packing.join("package").join(format!("{package}.crate"));
        let bytes = fs::metadata(&file).with_context(|| format!("reading {}", file.display()))?.len();
        println!("{bytes:>9} bytes  {package}.crate");
        if bytes > 10 << 20 {
            bail!("{package}.crate has {bytes} bytes; crates.io takes no more than 10 MiB");
        }
        let unpacked = folder.join(&package);
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked).with_context(|| format!("removing {}", unpacked.display()))?;
        }
        let mut tar = process::Command::new("tar");
        tar.arg("-xzf").arg(&file).arg("-C").arg(folder);
        output(&mut tar)?;
        crates.push(unpacked);
    }
    Ok(crates)
}

fn write_program(folder: &Path, crates: &[PathBuf]) -> Result<PathBuf> {
    let program = folder.join("program");
    for part in ["src", "kernels"] {
        fs::create_dir_all(program.join(part)).with_context(|| format!("making {}", program.display()))?;
    }
    let [build, library] = crates else { bail!("two crates were to be packed") };
    let manifest = format!(
        "[package]\nname = \"own-kernel\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [features]\nwrong = []\n\n[dependencies]\nwarpsmith = {{ path = {library:?} }}\n\n\
         [build-dependencies]\nwarpsmith-build = {{ path = {build:?} }}\n\n\
         [patch.crates-io]\nwarpsmith-build = {{ path = {build:?} }}\n\n\
         [profile.dev]\ndebug = false\nincremental = false\n"
    );
    let write = |name: &str, text: &str| {
        let path = program.join(name);
        // An unchanged file keeps its time stamp, and what was built from it.
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    write("Cargo.toml", &manifest)?;
    for (name, text) in FILES {
        write(name, text)?;
    }
    // The versions that are at hand offline.
    fs::copy(root().join("Cargo.lock"), program.join("Cargo.lock")).context("copying Cargo.lock")?;
    Ok(program)
}

/// Builds and runs the program, offline; returns its own words.
fn build(program: &Path, folder: &Path, nvrtc: &str, arguments: &[&str]) -> Result<String> {
    let mut command = cargo(&["run", "--quiet", "--offline"]);
    command.args(arguments).current_dir(program);
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("WARPSMITH_NVRTC", nvrtc);
    command.env_remove("WARPSMITH_REQUIRE_NVRTC").env_remove("WARPSMITH_CUDA_ARCHS");
    let text = output(&mut command)?;
    said(&text)
}

/// Runs the program that was built, on the virtual GPU; returns its own words.
fn on_virtual_gpu(program: &Path, folder: &Path) -> Result<String> {
    let mut command = process::Command::new(target().join("debug/virtual-gpu"));
    command.arg("run").arg(folder.join("target/debug/own-kernel")).arg("embedded").current_dir(program);
    let words = said(&output(&mut command)?)?;
    if !words.contains("cuda") {
        bail!("the program did not run on the virtual GPU: {words}");
    }
    Ok(words)
}

fn said(text: &str) -> Result<String> {
    let said = text.lines().find(|line| line.starts_with("own kernel: "));
    Ok(said.with_context(|| format!("the program did not say that it is done:\n{text}"))?.to_owned())
}
