//! `cargo xtask kernel-faults`: proves that the tests notice a fault in any family of kernels, and writes the list.
//!
//! Each fault of [`FAULTS`] is planted in a copy of `kernels/`, compiled to PTX, and handed to the self-test of its family
//! on the virtual GPU in the place of the module that was built (`WARPSMITH_PTX`); the self-test, which runs the family's
//! tests, must fail. So nothing is built anew for a fault.

use crate::Task;
use crate::kernel_fault_list::{FAULTS, Fault};
use crate::support::{cargo, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, Command};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process;
use warpsmith_build::{Arch, DEFAULT_ARCHS, Nvrtc, Source};

const LIST: &str = "docs/kernel-faults.md";
/// The seed of every run: what is noticed is noticed again.
const SEED: &str = "1";
const UNNOTICED: &str = "NOT NOTICED";

pub const TASK: Task = Task {
    command: || {
        Command::new("kernel-faults")
            .about("Plant faults in the kernels, see the families' tests fail, write docs/kernel-faults.md")
            .arg(
                Arg::new("only")
                    .long("only")
                    .value_name("FAMILY")
                    .help("Only this family's faults; of the others what was found before stands in the list"),
            )
    },
    run,
};

fn run(arguments: &ArgMatches) -> Result<()> {
    let only = arguments.get_one::<String>("only");
    let chosen: Vec<&Fault> = FAULTS.iter().filter(|f| only.is_none_or(|only| only == f.family)).collect();
    let nvrtc = warpsmith_build::find(&DEFAULT_ARCHS, Some(&target()))?;
    run_command(&mut cargo(&["build", "--package", "warpsmith", "--example", "selftest"]))?;
    let folder = target().join("kernel-faults");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // A copy, so that a build meanwhile does not change what judges.
    let judge = folder.join("selftest");
    if judge.exists() {
        // One that still runs could not be written over.
        fs::remove_file(&judge).with_context(|| format!("removing {}", judge.display()))?;
    }
    fs::copy(target().join("debug/examples/selftest"), &judge).context("copying the self-test")?;
    let file = folder.join("noticed.tsv");
    let known = if only.is_some() { fs::read_to_string(&file).unwrap_or_default() } else { String::new() };
    let mut found: BTreeMap<String, String> =
        known.lines().filter_map(|line| line.split_once('\t')).map(|(k, by)| (k.to_owned(), by.to_owned())).collect();
    for fault in chosen {
        let noticed = planted(fault, &nvrtc, &folder)
            .and_then(|arch| notice(fault, arch, &folder))
            .with_context(|| format!("{} in {}: {}", fault.family, fault.file, fault.what))?;
        let by = noticed.unwrap_or_else(|| UNNOTICED.to_owned());
        println!("{:<14}{:<24}{:<56}{by}", fault.family, fault.file, fault.what);
        found.insert(key(fault), by);
        let lines: String = found.iter().map(|(key, by)| format!("{key}\t{by}\n")).collect();
        fs::write(&file, lines).with_context(|| format!("writing {}", file.display()))?;
    }
    let rows: Vec<(&Fault, &str)> =
        FAULTS.iter().filter_map(|fault| Some((fault, found.get(&key(fault))?.as_str()))).collect();
    if !rows.is_empty() {
        fs::write(root().join(LIST), page(&rows)).with_context(|| format!("writing {LIST}"))?;
        println!("wrote {LIST}: {} faults", rows.len());
    }
    let unnoticed: Vec<String> = rows
        .iter()
        .filter(|(fault, by)| *by == UNNOTICED && only.is_none_or(|only| only == fault.family))
        .map(|(fault, _)| format!("{}: {}", fault.file, fault.what))
        .collect();
    if !unnoticed.is_empty() {
        bail!("{} faults were not noticed: {unnoticed:#?}", unnoticed.len());
    }
    Ok(())
}

/// What tells a fault from all others.
fn key(fault: &Fault) -> String {
    let Fault { module, file, after, from, to, .. } = fault;
    format!("{module} {file} {after} {from} {to}").replace(['\n', '\t'], " ")
}

/// Writes the PTX of the module with the fault in it, for an architecture that the module is for, and gives that one.
fn planted(fault: &Fault, nvrtc: &Nvrtc, folder: &Path) -> Result<Arch> {
    let (kernels, ptx) = (folder.join("kernels"), folder.join("ptx"));
    for stale in [&kernels, &ptx] {
        if stale.exists() {
            fs::remove_dir_all(stale).with_context(|| format!("removing {}", stale.display()))?;
        }
        fs::create_dir_all(stale).with_context(|| format!("making {}", stale.display()))?;
    }
    copy(&root().join("kernels"), &kernels)?;
    let file = kernels.join(fault.file);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let behind = text.find(fault.after).map(|at| at + fault.after.len());
    let place = behind.and_then(|behind| text[behind..].find(fault.from).map(|at| behind + at));
    let Some(place) = place else { bail!("there is no {:?} behind {:?}", fault.from, fault.after) };
    let changed = format!("{}{}{}", &text[..place], fault.to, &text[place + fault.from.len()..]);
    fs::write(&file, changed).with_context(|| format!("writing {}", file.display()))?;
    let name = format!("{}.cu", fault.module);
    let (source, _) = Source::read(&kernels.join(&name), &format!("kernels/{name}"), &[])?;
    let arch = source.architectures()?.and_then(|archs| archs.first().copied()).unwrap_or(DEFAULT_ARCHS[0]);
    let text = nvrtc.ptx(&source, arch)?;
    let to = ptx.join(format!("{}.ptx", fault.module));
    fs::write(&to, text).with_context(|| format!("writing {}", to.display()))?;
    Ok(arch)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

/// The check that failed, in words; `None` if all passed.
fn notice(fault: &Fault, arch: Arch, folder: &Path) -> Result<Option<String>> {
    let mut selftest = process::Command::new(folder.join("selftest"));
    selftest.args(["--device", "virtual", "--stop", "--seed", SEED, "--only", fault.family]).current_dir(root());
    // The general PTX is what the A100 model runs; on the others code for their own chips might be preferred.
    let model = if arch.specific { "h100" } else { "a100" };
    selftest.env("VIRTUAL_GPU_DEVICE", model).env("WARPSMITH_PTX", folder.join("ptx"));
    let output = selftest.output().context("starting the self-test")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(None);
    }
    let failed = text.lines().find_map(|line| line.strip_prefix("FAILED ")?.strip_suffix(':'));
    let failed = failed.and_then(|line| line.split_once(", ")).map(|(_, check)| check.to_owned());
    match failed {
        Some(check) => Ok(Some(check)),
        None if text.contains("the virtual GPU reports:") => Ok(Some("a report of the virtual GPU".to_owned())),
        None => bail!("the self-test failed in another way:\n{text}\n{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn page(rows: &[(&Fault, &str)]) -> String {
    let mut out = String::from(
        "# Faults planted in the kernels\n\nWritten by `cargo xtask kernel-faults`. Each fault was planted alone, in the place that the list in\n\
         `xtask/src/kernel_fault_list.rs` names, and the checks of its family run on the virtual A100 (for\n\
         Hopper's own kernels on the virtual H100) until one failed.\n\n",
    );
    out += "| family | file | fault | first check that failed |\n|---|---|---|---|\n";
    for (fault, by) in rows {
        out += &format!("| {} | {} | {} | {by} |\n", fault.family, fault.file, fault.what);
    }
    let noticed = rows.iter().filter(|(_, by)| *by != UNNOTICED).count();
    out += &format!("\n{} faults, {noticed} noticed.\n", rows.len());
    if rows.len() < FAULTS.len() {
        out += &format!("{} more are in the list and were not planted yet.\n", FAULTS.len() - rows.len());
    }
    out
}
