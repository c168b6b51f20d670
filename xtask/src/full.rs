//! `cargo xtask test --full`: the whole sweep, in shards that can be stopped, resumed and shared out.
//!
//! A shard is one test file with one seed, on every device model and with ten times the cases of every property; or one
//! model's self-test; or a long stretch of random inputs. What is done stands in `target/full/shards.tsv`, for the
//! revision that it was done for: a run goes on where the last one stopped. When nothing is left, the summary goes to
//! docs/full-test.md.

use crate::support::{cargo, line, output, root, target};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Instant;

const LIST: &str = "docs/full-test.md";
/// Seeds for every test: with all models and all properties' cases, about an hour and a half in one process; two share it
/// out in less (`--shard`), for the long ones keep one core busy.
const SEEDS: u64 = 2;
/// Cases of every property (256 as a rule).
const CASES: &str = "2048";
/// Inputs for the PTX loader and driver calls of each seed, in thousands, several times what the ordinary run takes.
const FUZZ: [(&str, &str); 2] = [("fuzz", "4000"), ("sequences", "4000")];
const MODELS: [&str; 3] = ["a100", "rtx4090", "h100"];

/// What of the sweep is wanted.
pub struct Part {
    /// Forget what is done.
    pub fresh: bool,
    /// The number from which all seeds are drawn; another one starts afresh.
    pub seed: Option<u64>,
    /// Only every `of`-th shard, from number `from` on.
    pub from: usize,
    pub of: usize,
}

/// A shard that is done.
struct Done {
    well: bool,
    seconds: f64,
    tests: usize,
}

/// What to run: its name, and the command.
struct Shard {
    name: String,
    command: process::Command,
}

/// Runs what is left of the part, and writes the summary when nothing is left of the whole.
pub fn run(part: &Part, fresh_seed: impl FnOnce() -> u64) -> Result<()> {
    let folder = target().join("full");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.join("shards.tsv");
    let revision = revision()?;
    let known = fs::read_to_string(&file).unwrap_or_default();
    let head = known.lines().next().unwrap_or_default().to_owned();
    let (of, base) = head.split_once('\t').unwrap_or(("", ""));
    let base: Option<u64> = base.parse().ok();
    let goes_on = !part.fresh && of == revision && base.is_some() && part.seed.is_none_or(|seed| Some(seed) == base);
    let (base, mut done) = match base {
        Some(base) if goes_on => (base, read(&known)?),
        _ => {
            let base = part.seed.unwrap_or_else(fresh_seed);
            fs::write(&file, format!("{revision}\t{base}\n")).with_context(|| format!("writing {}", file.display()))?;
            (base, BTreeMap::new())
        }
    };
    println!("the sweep of {revision}, seed {base}: {} shards are done", done.len());
    let shards = shards(base)?;
    let all = shards.len();
    for (index, mut shard) in shards.into_iter().enumerate() {
        if index % part.of != part.from || done.contains_key(&shard.name) {
            continue;
        }
        println!("\n== {} of {all}: {}\n{}", index + 1, shard.name, line(&shard.command));
        let result = one(&mut shard, &folder)?;
        let words = if result.well { "ok" } else { "FAILED" };
        println!("{words}, {} tests, {:.1} s", result.tests, result.seconds);
        let mut list = fs::OpenOptions::new().append(true).open(&file).context("opening the list of shards")?;
        writeln!(list, "{}\t{words}\t{}\t{:.1}", shard.name, result.tests, result.seconds)?;
        done.insert(shard.name, result);
    }
    if done.len() < all {
        println!("\n{} of {all} shards are done; the rest is for another run", done.len());
        return Ok(());
    }
    let page = page(&revision, base, &done);
    fs::write(root().join(LIST), &page).with_context(|| format!("writing {LIST}"))?;
    println!("\n{page}\nwrote {LIST}");
    let failed: Vec<&String> = done.iter().filter(|(_, done)| !done.well).map(|(name, _)| name).collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {failed:?}; their logs are in {}", folder.display()) }
}

/// The commit, and a mark where the tree is not its.
fn revision() -> Result<String> {
    let git = |arguments: &[&str]| output(process::Command::new("git").current_dir(root()).args(arguments));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    // The summary itself is no change.
    let changed = git(&["status", "--porcelain"])?.lines().any(|line| !line.ends_with(LIST));
    Ok(if changed { format!("{commit} with changes") } else { commit })
}

fn read(known: &str) -> Result<BTreeMap<String, Done>> {
    let mut done = BTreeMap::new();
    for line in known.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, words, tests, seconds] = fields[..] else { bail!("not a line of a shard: {line}") };
        let (tests, seconds) = (tests.parse().context("a number of tests")?, seconds.parse().context("seconds")?);
        done.insert(name.to_owned(), Done { well: words == "ok", seconds, tests });
    }
    Ok(done)
}

fn shards(base: u64) -> Result<Vec<Shard>> {
    let mut shards = Vec::new();
    for number in 0..SEEDS {
        // Neighbours differ in every bit (the increment of SplitMix64).
        let seed = base.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_string();
        // The whole workspace with all features, as `cargo xtask test` builds it: whatever differs is built again.
        let cargo_test = |arguments: &[&str]| cargo(&[&["test", "--workspace", "--all-features"], arguments].concat());
        let mut tests = vec![("unit tests".to_owned(), cargo_test(&["--no-fail-fast", "--lib", "--bins"]))];
        for package in [".", "virtual-gpu", "kernel-build"] {
            for test in test_targets(&root().join(package).join("tests"))? {
                let command = cargo_test(&["--no-fail-fast", "--test", &test]);
                tests.push((test, command));
            }
        }
        for (test, mut command) in tests {
            command.env("WARPSMITH_TEST_SEED", &seed).env("PROPTEST_RNG_SEED", &seed);
            command.env("PROPTEST_CASES", CASES).env("WARPSMITH_TEST_MODELS", "all");
            shards.push(Shard { name: format!("{test}, seed {}", number + 1), command });
        }
        for (test, count) in FUZZ {
            let mut command = cargo_test(&["--test", test]);
            command.env("VIRTUAL_GPU_FUZZ", count).env("VIRTUAL_GPU_FUZZ_SEED", seed.get(..9).unwrap_or(&seed));
            shards.push(Shard { name: format!("long {test}, seed {}", number + 1), command });
        }
        for model in MODELS {
            let arguments = ["run", "--release", "--package", "warpsmith", "--example", "selftest", "--"];
            let mut command = cargo(&arguments);
            command.args(["--device", "virtual", "--seed", &seed]).env("VIRTUAL_GPU_DEVICE", model);
            shards.push(Shard { name: format!("self-test on {model}, seed {}", number + 1), command });
        }
    }
    Ok(shards)
}

/// The tests of a folder as cargo finds them, by name: files, and folders with a `main.rs`.
fn test_targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file() {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs a shard; what it prints goes into a log beside the list.
fn one(shard: &mut Shard, folder: &Path) -> Result<Done> {
    let started = Instant::now();
    let output = shard.command.output().with_context(|| format!("`{}` does not start", line(&shard.command)))?;
    let seconds = started.elapsed().as_secs_f64();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = folder.join(format!("{}.log", shard.name.replace([' ', ','], "_")));
    fs::write(&log, &text).with_context(|| format!("writing {}", log.display()))?;
    Ok(Done { well: output.status.success(), seconds, tests: tests(&text) })
}

/// How many tests passed, as the harness and the self-test tell it.
fn tests(text: &str) -> usize {
    let number_before = |line: &str, word: &str| -> usize {
        let before = line.split(word).next().unwrap_or_default();
        before.rsplit(' ').find_map(|part| part.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()).unwrap_or(0)
    };
    let of = |line: &str| {
        if line.starts_with("test result:") {
            number_before(line, " passed")
        } else if line.starts_with("passed: ") {
            number_before(line, " results")
        } else {
            0
        }
    };
    text.lines().map(of).sum()
}

fn page(revision: &str, base: u64, done: &BTreeMap<String, Done>) -> String {
    let mut out = format!(
        "# The whole sweep\n\nWritten by `cargo xtask test --full --seed {base}` at {revision}: every test with {SEEDS} seeds, on every\n\
         device model, {CASES} cases for every property; long random inputs; the self-test of every model (results that were\n\
         compared count as tests).\n\n| shard | seeds | failed | tests | seconds |\n|---|---:|---:|---:|---:|\n"
    );
    let mut by_name: BTreeMap<&str, Vec<&Done>> = BTreeMap::new();
    for (name, result) in done {
        let name = name.split_once(", seed").map_or(name.as_str(), |(name, _)| name);
        by_name.entry(name).or_default().push(result);
    }
    for (name, results) in &by_name {
        let failed = results.iter().filter(|result| !result.well).count();
        let tests: usize = results.iter().map(|result| result.tests).sum();
        let seconds: f64 = results.iter().map(|result| result.seconds).sum();
        out += &format!("| {name} | {} | {failed} | {tests} | {seconds:.0} |\n", results.len());
    }
    let failed = done.values().filter(|result| !result.well).count();
    let tests: usize = done.values().map(|result| result.tests).sum();
    let hours = done.values().map(|result| result.seconds).sum::<f64>() / 3600.0;
    out + &format!("\n{} shards, {failed} failed, {tests} tests, {hours:.1} hours.\n", done.len())
}

#[cfg(test)]
mod check {
    use super::tests;

    #[test]
    fn tests_are_counted_from_what_is_printed() {
        let text = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored\n\
                    test result: FAILED. 12 passed; 2 failed\npassed: 13504 results, 0 failed checks";
        assert_eq!(tests(text), 3 + 12 + 13504);
        assert_eq!(tests("nothing"), 0);
    }
}
