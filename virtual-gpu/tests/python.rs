//! Programs that are not written in Rust, under `virtual-gpu run`: ctypes, and NVIDIA's own Python bindings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

fn run(device: &str, python: &Path, name: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_virtual-gpu"))
        .args(["run", "--device", device])
        .arg(python)
        .arg(script(name))
        .output()
        .expect("the command line runs")
}

#[track_caller]
fn passes(output: &Output, said: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains(said), "{}\n{out}\n{err}", output.status);
    assert!(!err.contains("never freed"), "{err}");
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: there is no python3 here");
    }
    found
}

#[test]
fn a_ctypes_program_runs_on_every_model() {
    if !has_python() {
        return;
    }
    for (device, name) in [("h100", "H100"), ("a100", "A100"), ("rtx4090", "4090")] {
        let output = run(device, Path::new("python3"), "plain_ctypes.py");
        passes(&output, "ok");
        assert!(String::from_utf8_lossy(&output.stdout).contains(name));
    }
}

/// A virtual environment with the bindings, made once below the build's folder.
fn environment() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-bindings");
    let python = folder.join("bin/python");
    let ready = || {
        let probe = Command::new(&python).args(["-c", "import cuda.bindings.driver"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    if !ready() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let installed = Command::new(&python).args(["-m", "pip", "install", "-q", "cuda-bindings"]).output();
        if !ready() {
            println!("skipped: cuda-bindings cannot be installed ({made:?}, {installed:?})");
            return None;
        }
    }
    Some(python)
}

#[test]
fn the_python_bindings_run() {
    if !has_python() {
        return;
    }
    let Some(python) = environment() else { return };
    passes(&run("h100", &python, "bindings.py"), "ok 9");
    passes(&run("a100", &python, "bindings.py"), "ok 8");
}
