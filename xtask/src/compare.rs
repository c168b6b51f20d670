//! `cargo xtask compare`: models of real size with PyTorch's names and random weights, in warpsmith and in PyTorch: logits,
//! loss and all gradients.

use crate::Task;
use crate::support::{cargo, output, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const PAGE: &str = "docs/compare.md";
/// What `xtask/compare.py` runs on; the same environment as that of `cargo xtask peers`.
const PACKAGES: [&str; 5] = ["torch==2.15.0", "torchvision==0.29.2", "transformers==5.23.0", "safetensors", "numpy"];
/// Model, and what is compared.
const MODELS: [(&str, &str); 3] = [
    ("gpt2", "GPT-2 (`GPT2LMHeadModel`, 124 million parameters), 2 × 64 tokens, next-token loss"),
    (
        "bert",
        "BERT base (`BertForMaskedLM`, 110 million), 2 × 64 tokens with padding and two segments, masked-token loss",
    ),
    ("resnet50", "ResNet-50 (torchvision's, 26 million), 4 × 3 × 224 × 224 in training mode, class loss"),
];

pub const TASK: Task = Task {
    command: || {
        clap::Command::new("compare")
            .about("Compare logits, losses and gradients of GPT-2, BERT and ResNet-50 with PyTorch's and write docs/compare.md")
            .arg(Arg::new("models").long("models").value_delimiter(',').help("Of gpt2, bert, resnet50; all by default"))
    },
    run,
};

fn run(arguments: &ArgMatches) -> Result<()> {
    let chosen: Vec<&String> = arguments.get_many("models").unwrap_or_default().collect();
    if let Some(unknown) = chosen.iter().find(|name| !MODELS.iter().any(|(model, _)| model == *name)) {
        bail!("no model is called {unknown}; there are gpt2, bert and resnet50");
    }
    let python = python()?;
    run_command(&mut cargo(&["build", "--release", "--example", "compare_torch"]))?;
    let program = target().join("release/examples/compare_torch");
    let (mut rows, mut missed) = (vec![], vec![]);
    for (model, _) in MODELS.iter().filter(|(model, _)| chosen.is_empty() || chosen.iter().any(|name| *name == model)) {
        let folder = target().join("compare").join(model);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        run_command(Command::new(&python).arg(root().join("xtask/compare.py")).arg(model).arg(&folder))?;
        let text = output(Command::new(&program).arg(model).arg(&folder))?;
        print!("{text}");
        // One to two gigabytes.
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        rows.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("compared: "))
                .map(Row::read)
                .collect::<Result<Vec<_>>>()?,
        );
        missed.extend(
            text.lines().filter(|line| line.starts_with("figure: ") && line.ends_with("missed")).map(str::to_owned),
        );
    }
    if chosen.is_empty() {
        let path = root().join(PAGE);
        fs::write(&path, page(&rows)).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {PAGE}");
    }
    if !missed.is_empty() {
        bail!("{}", missed.join("\n"));
    }
    Ok(())
}

/// PyTorch's environment.
fn python() -> Result<PathBuf> {
    let folder = target().join("peers/torch");
    let python = folder.join("bin/python");
    if !python.exists() {
        output(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let there = Command::new(&python).args(["-c", "import torch, torchvision, transformers, safetensors"]).output();
    if !there.is_ok_and(|found| found.status.success()) {
        println!("Installing {PACKAGES:?} from PyPI into {} (6 GB)", folder.display());
        let mut pip = Command::new(&python);
        output(pip.args(["-m", "pip", "install", "--quiet", "--no-cache-dir"]).args(PACKAGES))?;
    }
    Ok(python)
}

/// A line `MODEL DTYPE KIND TENSORS OURS TORCH MEDIAN LARGEST` of the example.
struct Row {
    model: String,
    dtype: String,
    kind: String,
    tensors: usize,
    /// Largest error of a tensor, ours and PyTorch's; median and largest ratio of the two.
    numbers: [f64; 4],
}

impl Row {
    fn read(line: &str) -> Result<Row> {
        let words: Vec<&str> = line.split(' ').collect();
        let [model, dtype, kind, tensors, numbers @ ..] = &words[..] else { bail!("{line} is no row") };
        let numbers = numbers.iter().map(|word| word.parse()).collect::<Result<Vec<f64>, _>>()?;
        let numbers = numbers.try_into().map_err(|_| anyhow::anyhow!("{line} has not four numbers"))?;
        let [model, dtype, kind] = [model, dtype, kind].map(|word| word.to_string());
        Ok(Row { model, dtype, kind, tensors: tensors.parse()?, numbers })
    }
}

const HEAD: &str = "\
# Against PyTorch

Written by `cargo xtask compare`. PyTorch makes models of real size with random weights, under its own names, and computes
logits, loss and the gradient of every parameter in f64 and in f32. warpsmith loads the same weights by those names and
computes the same on the CPU. An error is the norm of the difference from PyTorch's f64 result over that result's norm.

In f32 PyTorch's own error is the yardstick, since both round the same real numbers: the ratio is of warpsmith's error to
PyTorch's for one tensor, each counted as at least one rounding (2⁻²⁴). In f64 it is the number of roundings (2⁻⁵³) that
warpsmith's error is worth over the number that PyTorch's in f32 is worth; there both round alike, and PyTorch has nothing
wider for the sums that it takes in f64 when all else is f32. Ratios may be up to 4 in f32 and up to 16 in f64. (A network of
rectified linear units has gradients that jump where a rounding moves an activation across 0: hence the large errors of both
for ResNet-50 in f32.)

";

fn page(rows: &[Row]) -> String {
    let mut text = String::from(HEAD);
    for (model, what) in MODELS {
        text += &format!("- `{model}`: {what}\n");
    }
    text += "\n| model | precision | what | tensors | largest error | PyTorch's largest in f32 | median ratio | largest |\n";
    text += "|---|---|---|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let [ours, torch, median, largest] = row.numbers;
        let Row { model, dtype, kind, tensors, .. } = row;
        text += &format!(
            "| {model} | {dtype} | {kind} | {tensors} | {ours:.1e} | {torch:.1e} | {median:.2} | {largest:.2} |\n"
        );
    }
    text
}
