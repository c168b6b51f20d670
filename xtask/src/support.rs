//! What tasks share: folders, commands, Python packages.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The target folder: `CARGO_TARGET_DIR`, or `target` in the root.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Cargo, started in the root.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    // Set by `cargo run` for the task itself; a build script must not take them for its own package's.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command; an error names it.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("`{line}` does not start"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and returns what it printed; an error carries all of that.
pub fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("`{line}` does not start"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("`{line}` failed ({}):\n{text}", output.status);
    }
    Ok(text)
}

/// A command as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Installs a package of PyPI, without what it depends on, into `target/NAME`; returns that folder.
pub fn python_package(requirement: &str, name: &str) -> Result<PathBuf> {
    let folder = target().join(name);
    let marker = folder.join("installed");
    if fs::read_to_string(&marker).is_ok_and(|known| known == requirement) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    println!("Installing {requirement} from PyPI into {}", folder.display());
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--no-deps", "--only-binary", ":all:", "--target"])
        .arg(&folder)
        .arg(requirement);
    output(&mut pip).context("Python 3 with pip and a connection to PyPI are needed")?;
    fs::write(&marker, requirement).with_context(|| format!("writing {}", marker.display()))?;
    Ok(folder)
}

/// The processor's name and thread count.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, value) in info.lines().filter_map(|line| line.split_once(':')) {
        fields.entry(key.trim()).or_insert(value.trim());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let avx512 = fields.get("flags").is_some_and(|flags| flags.split(' ').any(|f| f == "avx512f"));
    let vectors = if avx512 { "AVX-512" } else { "no AVX-512" };
    format!(
        "{} with {threads} hardware threads ({vectors})",
        fields.get("model name").unwrap_or(&"an unnamed processor")
    )
}

/// The middle value, or the mean of the middle two; NaN of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { f64::NAN } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
}
