//! `virtual-gpu run PROGRAM ARGS...` runs a program on virtual GPUs; `virtual-gpu info` lists them.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};
use virtual_gpu::model::MODELS;

const USAGE: &str = "\
usage: virtual-gpu run [OPTIONS] PROGRAM [ARGS...]
       virtual-gpu info

options of run:
  --device LIST     h100, a100, rtx4090; several: 2xh100 or h100,a100
  --driver VERSION  the driver version, 12.0 to 13.x
  --check LIST      all, none, or names: memory, uninitialised, races, convergence,
                    asynchrony, limits, leaks; -NAME takes one away
  --schedule SEED   one of the orders that hardware may take; 0 is the plain one
  --profile FILE    counters as JSON when the program ends, and a table; - for the table alone
  --fault LIST      allocation=N,launch=N,lost=N: what fails, counted from 1
";

/// Options and the variables that carry them to the driver.
const OPTIONS: [(&str, &str); 6] = [
    ("--device", "VIRTUAL_GPU_DEVICE"),
    ("--driver", "VIRTUAL_GPU_DRIVER"),
    ("--check", "VIRTUAL_GPU_CHECK"),
    ("--schedule", "VIRTUAL_GPU_SCHEDULE"),
    ("--profile", "VIRTUAL_GPU_PROFILE"),
    ("--fault", "VIRTUAL_GPU_FAULT"),
];

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let outcome = match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some("run") => run(arguments.collect()),
        Some("info") => info(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|problem| {
        eprintln!("virtual-gpu: {problem}");
        ExitCode::from(2)
    })
}

fn info() -> Result<ExitCode, String> {
    println!(
        "{:<10} {:<26} {:>4} {:>5} {:>8} {:>7} {:>14}",
        "device", "name", "sm", "SMs", "memory", "L2", "shared/block"
    );
    for model in &MODELS {
        println!(
            "{:<10} {:<26} {:>4} {:>5} {:>5} MiB {:>3} MiB {:>10} KiB",
            model.id,
            model.name,
            model.sm(),
            model.multiprocessors,
            model.memory_bytes >> 20,
            model.l2_bytes >> 20,
            model.shared_per_block_optin >> 10
        );
    }
    match virtual_gpu::library_path() {
        Ok(path) => println!("library: {}", path.display()),
        Err(error) => println!("library: {error}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn run(arguments: Vec<std::ffi::OsString>) -> Result<ExitCode, String> {
    let mut arguments = arguments.into_iter().peekable();
    let mut settings = Vec::new();
    while let Some(option) = arguments.next_if(|word| word.as_encoded_bytes().starts_with(b"--")) {
        if option == "--" {
            break;
        }
        let text = option.to_str().unwrap_or("");
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.into())),
            None => (text, None),
        };
        let known = OPTIONS.iter().find(|known| known.0 == name);
        let (_, variable) = known.ok_or_else(|| format!("{} is no option of run\n{USAGE}", option.display()))?;
        let value = value.or_else(|| arguments.next()).ok_or_else(|| format!("{name} needs a value"))?;
        settings.push((*variable, value));
    }
    let program = arguments.next().ok_or_else(|| format!("no program is given\n{USAGE}"))?;
    let library = virtual_gpu::library_path().map_err(|error| error.to_string())?;
    let folder = Links::make(&library).map_err(|error| format!("links to {}: {error}", library.display()))?;
    let mut path = folder.0.clone().into_os_string();
    if let Some(before) = env::var_os("LD_LIBRARY_PATH").filter(|before| !before.is_empty()) {
        path.push(":");
        path.push(before);
    }
    let status = Command::new(&program)
        .args(arguments)
        .envs(settings)
        .env("LD_LIBRARY_PATH", path)
        .status()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    // As shells report it: 128 and the signal.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// A folder with the names under which programs look for the driver, gone when the program has ended. It lies outside the
/// build's folders, where a file called libcuda.so would shadow a real driver.
struct Links(PathBuf);

impl Links {
    fn make(library: &Path) -> io::Result<Links> {
        let library = fs::canonicalize(library)?;
        let links = Links(env::temp_dir().join(format!("virtual-gpu-{}", std::process::id())));
        fs::create_dir(&links.0)?;
        for name in ["libcuda.so", "libcuda.so.1"] {
            std::os::unix::fs::symlink(&library, links.0.join(name))?;
        }
        Ok(links)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // A folder that stays behind in the temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
