//! `cargo xtask counters`: what every family's kernels move and compute on the virtual GPUs, against its floor.
//!
//! Runs the benches' device reports (`benches/support/gpu.rs`) on each model and writes docs/counters.md from what they
//! counted. Nothing is timed, so that the tables are the same on every machine.

use crate::Task;
use crate::support::{cargo, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;

const LIST: &str = "docs/counters.md";
/// Their short names, as `VIRTUAL_GPU_DEVICE` takes them.
const MODELS: [&str; 3] = ["a100", "rtx4090", "h100"];
/// Moves of more than this many floors are listed first.
const FAR: f64 = 1.5;

pub const TASK: Task = Task {
    command: || {
        Command::new("counters")
            .about("Count what every family's kernels move on the virtual GPUs, write docs/counters.md")
            .arg(Arg::new("only").long("only").value_name("BENCH").help("Only this bench, to the terminal"))
            .arg(
                Arg::new("counted")
                    .long("counted")
                    .action(ArgAction::SetTrue)
                    .conflicts_with("only")
                    .help("Count nothing: write the page from what was counted last"),
            )
    },
    run,
};

/// One call on one model.
struct Row {
    model: String,
    floor: f64,
    moved: f64,
    needed: f64,
    operations: f64,
    instructions: f64,
    conflicts: f64,
    passes: f64,
}

impl Row {
    fn over(&self) -> f64 {
        self.moved / self.floor.max(1.0)
    }
}

/// Calls in the order in which they ran, and each family's.
type Table = BTreeMap<String, Vec<(String, Vec<Row>)>>;

fn run(arguments: &ArgMatches) -> Result<()> {
    let only = arguments.get_one::<String>("only");
    let file = target().join("counters.tsv");
    let counted = arguments.get_flag("counted");
    if file.exists() && !counted {
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    let benches = match only {
        Some(name) => vec![name.clone()],
        None => benches()?,
    };
    for model in MODELS.into_iter().filter(|_| !counted) {
        // Unoptimised: what counts runs in the virtual GPU, which is always optimised. No bench of the CPU has that name.
        let mut command = cargo(&["bench", "--package", "warpsmith", "--profile", "dev"]);
        command.args(benches.iter().flat_map(|name| ["--bench", name])).args(["--", "^$"]);
        command.env("WARPSMITH_BENCH_GPU", "virtual").env("VIRTUAL_GPU_DEVICE", model);
        run_command(command.env("WARPSMITH_BENCH_TABLE", &file))?;
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let table = parse(&text)?;
    let page = page(&table);
    if only.is_some() {
        println!("{page}");
        return Ok(());
    }
    std::fs::write(root().join(LIST), page).with_context(|| format!("writing {LIST}"))?;
    println!("wrote {LIST}: {} calls", table.values().map(Vec::len).sum::<usize>());
    Ok(())
}

/// The benches that report on a device.
fn benches() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("benches")).context("reading benches/")? {
        let path = entry?.path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if is_source && std::fs::read_to_string(&path)?.contains("support/gpu.rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn parse(text: &str) -> Result<Table> {
    let mut table = Table::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [family, model, name, numbers @ ..] = &fields[..] else { bail!("not a line of counters: {line}") };
        let numbers: Vec<f64> = numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>().context("a counter")?;
        let [floor, moved, needed, operations, instructions, conflicts, passes] = numbers[..] else {
            bail!("not seven counters: {line}")
        };
        let row = Row { model: (*model).into(), floor, moved, needed, operations, instructions, conflicts, passes };
        let calls = table.entry((*family).to_owned()).or_default();
        match calls.iter_mut().find(|(known, _)| known == name) {
            Some((_, rows)) => rows.push(row),
            None => calls.push(((*name).to_owned(), vec![row])),
        }
    }
    Ok(table)
}

/// Models whose counters agree share a line.
fn page(table: &Table) -> String {
    let mut out = String::from(
        "# What the kernels move\n\nWritten by `cargo xtask counters`, from the virtual GPU's counters at small sizes; nothing here is timed. The floor is\n\
         what a call must move between memory and multiprocessors if each operand is read once and each result written\n\
         once; `moved` are the sectors of 32 bytes that warps' accesses touch, over the floor (a first-level cache, which is\n\
         not modelled, takes some of them; a tile of a product is read by many blocks, so products move more than their\n\
         floor by design); `needed` is the share of those bytes that threads asked for; conflicts are extra passes of shared\n\
         memory, in per cent. At these sizes everything stays in the second-level cache.\n\n",
    );
    let mut far: Vec<(f64, String)> = Vec::new();
    for (family, calls) in table.iter().filter(|(family, _)| !PRODUCTS.contains(&family.as_str())) {
        for (name, rows) in calls {
            let over = rows.iter().map(Row::over).fold(0.0, f64::max);
            if over > FAR {
                far.push((over, format!("| {family} | {name} | {over:.2} |\n")));
            }
        }
    }
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    out +=
        &format!("## More than {FAR} floors\n\nOf all families but those of products ({}).\n\n", PRODUCTS.join(", "));
    out += "| family | call | moved / floor |\n|---|---|---:|\n";
    far.iter().for_each(|(_, line)| out += line);
    for (family, calls) in table {
        out += &format!("\n## {family}\n\n| call | model | floor, KB | moved | needed | warp instructions |");
        out += " operations each | conflicts |\n|---|---|---:|---:|---:|---:|---:|---:|\n";
        for (name, rows) in calls {
            let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
            for row in rows {
                let line = cells(row);
                match lines.iter_mut().find(|(known, _)| *known == line) {
                    Some((_, models)) => models.push(&row.model),
                    None => lines.push((line, vec![&row.model])),
                }
            }
            for (line, models) in lines {
                let models = if models.len() == rows.len() { "all".to_owned() } else { short(&models) };
                out += &format!("| {name} | {models} | {line} |\n");
            }
        }
    }
    out
}

/// Families of products.
const PRODUCTS: [&str; 3] = ["attention", "conv", "gemm"];

fn short(models: &[&str]) -> String {
    let name = |model: &&str| ["A100", "4090", "H100"].into_iter().find(|name| model.contains(name)).map(String::from);
    models.iter().map(|model| name(model).unwrap_or_else(|| (*model).to_owned())).collect::<Vec<_>>().join(", ")
}

fn cells(row: &Row) -> String {
    let each =
        if row.operations > 0.0 { format!("{:.0}", row.operations / row.instructions.max(1.0)) } else { String::new() };
    let conflicts =
        if row.passes > 0.0 { format!("{:.1} %", 100.0 * row.conflicts / row.passes) } else { String::new() };
    format!(
        "{:.1} | {:.2} | {:.0} % | {:.0} | {each} | {conflicts}",
        row.floor / 1e3,
        row.over(),
        100.0 * row.needed / row.moved.max(1.0),
        row.instructions,
    )
}
