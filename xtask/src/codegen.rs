//! `cargo xtask codegen`: the Rust side of `kernels/params.h`.

use crate::Task;
use crate::support::{output, python_package, root};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process;

/// The library that bindgen parses with; pinned, for its output must not change by itself.
const REQUIREMENT: &str = "libclang==18.1.1";

pub const TASK: Task = Task {
    command: || {
        Command::new("codegen")
            .about("Write src/kernels/params.rs from kernels/params.h with bindgen")
            .arg(Arg::new("check").long("check").action(ArgAction::SetTrue).help("Only compare; fail on a difference"))
    },
    run,
};

fn run(arguments: &ArgMatches) -> Result<()> {
    let check = arguments.get_flag("check");
    if std::env::var_os("LIBCLANG_PATH").is_none() {
        // bindgen looks for libclang through the environment, which only a new process can change safely.
        let folder = python_package(REQUIREMENT, "libclang")?.join("clang").join("native");
        let mut again = process::Command::new(std::env::current_exe()?);
        again.arg("codegen").args(check.then_some("--check")).env("LIBCLANG_PATH", folder);
        let status = again.status().context("starting codegen with libclang")?;
        process::exit(status.code().unwrap_or(1));
    }
    let path = root().join("src/kernels/params.rs");
    let generated = generate()?;
    if !check {
        return std::fs::write(&path, generated).with_context(|| format!("writing {}", path.display()));
    }
    let committed = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let difference = committed.lines().zip(generated.lines()).position(|(a, b)| a != b);
    match difference {
        None if committed.lines().count() == generated.lines().count() => Ok(()),
        difference => {
            let line = difference.unwrap_or(committed.lines().count().min(generated.lines().count())) + 1;
            bail!("{}:{line} is not what kernels/params.h gives; run `cargo xtask codegen`", path.display())
        }
    }
}

fn generate() -> Result<String> {
    /// The header names its number types as Rust does; bindgen writes them with an underscore behind.
    const NUMBERS: [&str; 6] = ["i32", "u32", "i64", "u64", "f32", "f64"];
    let bindings = bindgen::Builder::default()
        .header(root().join("kernels/params.h").to_string_lossy())
        .clang_args(["-x", "c++", "-std=c++17", "--target=x86_64-unknown-linux-gnu", "-fparse-all-comments"])
        .derive_default(true)
        .derive_partialeq(true)
        .layout_tests(true)
        .use_core()
        .disable_header_comment()
        .formatter(bindgen::Formatter::None)
        .generate()
        .context("bindgen on kernels/params.h")?;
    let mut bindings = bindings.to_string();
    for name in NUMBERS {
        if let Some(start) = bindings.find(&format!("pub type {name}_ ="))
            && let Some(length) = bindings[start..].find(';')
        {
            bindings.replace_range(start..=start + length, "");
        }
        bindings = bindings.replace(&format!("{name}_"), name);
    }
    let text = format!(
        "//! The parameter structs of the kernels, as `kernels/params.h` declares them.\n//!\n\
         //! Written by `cargo xtask codegen`; change the header instead.\n\n{bindings}"
    );
    let partial = crate::support::target().join("params.rs");
    std::fs::write(&partial, text).with_context(|| format!("writing {}", partial.display()))?;
    let mut rustfmt = process::Command::new("rustfmt");
    rustfmt.current_dir(root()).args(["--edition", "2024", "--config-path"]).arg(root()).arg(&partial);
    output(&mut rustfmt)?;
    std::fs::read_to_string(&partial).with_context(|| format!("reading {}", partial.display()))
}
