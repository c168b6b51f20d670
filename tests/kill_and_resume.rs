//! Runs in processes of their own that are killed or interrupted: whatever the moment, every checkpoint that is there
//! can be read, and the run that is taken up ends with the bits of one that was never stopped.

#![cfg(unix)] // signals

#[path = "support/random.rs"]
#[allow(dead_code)]
mod random;
#[path = "trainer/task.rs"]
mod task;

use random::Random;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use task::{Folder, Task, weights};
use warpsmith::nn::StateDict;
use warpsmith::train::{
    Callback, Checkpoint, Checkpoints, Every, Goal, History, MetricLog, Run, Trainer, batches, ctrl_c,
};
use warpsmith::{DType, Device, Result, Tensor};

/// Says in a child what it is to do: `FOLDER` to train, or `FOLDER:STEP` to wait for a signal there.
const CHILD: &str = "WARPSMITH_TEST_CHILD";
const EPOCHS: u64 = 13;
const BATCHES: u64 = 21;
/// No child gets further before it is killed, so that twenty of them do not end the run.
const ANNOUNCEMENTS: usize = 36;

/// Tells the parent how far the child is.
struct Announce;

fn say(what: &str) {
    // On lines of their own, whatever the test's harness prints.
    println!("\n@{what}");
    let _ = std::io::stdout().flush();
}

impl Callback for Announce {
    fn step_start(&mut self, _: &mut Run<'_>) -> Result<()> {
        say("start");
        Ok(())
    }
    fn step_end(&mut self, _: &mut Run<'_>) -> Result<()> {
        say("end");
        Ok(())
    }
    fn step_over(&mut self, _: &mut Run<'_>) -> Result<()> {
        say("over");
        Ok(())
    }
    fn checkpoint_written(&mut self, _: &mut Run<'_>, _: &Path) -> Result<()> {
        say("written");
        Ok(())
    }
}

/// Waits for signals at the beginning of a step.
struct Wait {
    step: u64,
    flag: Arc<AtomicBool>,
}

impl Callback for Wait {
    fn step_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        if run.place().step == self.step {
            say("waiting");
            while !self.flag.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            say("interrupted");
            // The parent's word to go on, or another signal.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        Ok(())
    }
}

/// Elements that are saved and not trained.
const BALLAST: usize = 400_000;

/// With so much that is saved and not trained that writing it takes a while.
fn heavy() -> Task {
    let task = Task::new(0.3);
    task.params.buffer("ballast", Tensor::ones(BALLAST, DType::F32, &Device::Cpu).unwrap()).unwrap();
    task
}

fn trainer<'a>(task: &'a Task, folder: &Path) -> Trainer<'a> {
    task.trainer()
        .ema(0.9)
        .unwrap()
        .evaluate(Every::Steps(5), |_| Ok([("error", task.error()?)].into()))
        .callback(MetricLog::csv(folder.join("log.csv")))
        .callback(MetricLog::tensorboard(folder))
        .callback(History::new())
        .callback(Checkpoints::new(folder).every(Every::Steps(2)).best("error", Goal::Lowest).keep(2))
}

/// One process' part of the run.
fn child(order: &str) -> Result<()> {
    let (folder, wait) = order.split_once(':').map_or((order, None), |(folder, step)| (folder, Some(step)));
    let folder = PathBuf::from(folder);
    let task = heavy();
    let mut trainer = trainer(&task, &folder).callback(Announce);
    if let Some(step) = wait {
        let flag = ctrl_c()?;
        trainer = trainer.interrupt_by(flag.clone()).callback(Wait { step: step.parse().unwrap(), flag });
    }
    let last = Checkpoints::last_in(&folder);
    if last.exists() {
        trainer.resume(last)?;
    }
    let source = batches(BATCHES, |epoch, batch| task.batch(epoch, batch).map(Some));
    trainer.fit(&source, EPOCHS)?;
    drop(trainer);
    // Not the averages: those of the last step.
    task.params.save(folder.join("model.safetensors"))
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// This test's program again, as a child.
fn start(test: &str, order: &str) -> Process {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD, order)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    Process { child, stdin, lines: BufReader::new(stdout).lines() }
}

impl Process {
    /// The next announcement; none once the child is gone.
    fn next(&mut self) -> Option<String> {
        self.lines.by_ref().map_while(|line| line.ok()).find_map(|line| line.strip_prefix('@').map(str::to_owned))
    }

    fn until(&mut self, what: &str) {
        while let Some(found) = self.next() {
            if found == what {
                return;
            }
        }
        panic!("the child never said {what}");
    }

    fn interrupt(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -INT $0", &id]).status().unwrap().success());
    }
}

/// If this process is a child, it does its part and ends.
fn act() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let code = match child(&order) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    };
    std::process::exit(code.into());
}

fn model_in(folder: &Folder) -> Vec<(String, Vec<f64>)> {
    let dict = StateDict::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    dict.iter().map(|(name, value)| (name.to_owned(), value.to_f64_vec().unwrap())).collect()
}

/// The weights at the end of a run that nobody stops, and its log.
fn through(name: &str) -> (Vec<(String, Vec<f64>)>, String) {
    let (task, folder) = (heavy(), Folder::new(name));
    trainer(&task, folder.path()).fit(&task.source(BATCHES), EPOCHS).unwrap();
    (weights(&task), std::fs::read_to_string(folder.path().join("log.csv")).unwrap())
}

/// Whether a checkpoint of a folder is not whole yet, or not yet in its place.
fn is_writing(folder: &Folder) -> bool {
    let part = |name: &String| {
        let length = std::fs::metadata(folder.path().join(name)).map_or(u64::MAX, |found| found.len());
        name.contains(".safetensors") && (name.ends_with(".tmp") || length < 4 * BALLAST as u64)
    };
    folder.files().iter().any(part)
}

/// Reads every checkpoint of a folder, whole.
fn read_all(folder: &Folder) -> usize {
    let checkpoint = |name: &String| name.ends_with(".safetensors") && name != "model.safetensors";
    let files: Vec<String> = folder.files().into_iter().filter(checkpoint).collect();
    for file in &files {
        let checkpoint = Checkpoint::load(folder.path().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let task = heavy();
        let mut resumed = task.trainer();
        resumed.resume(folder.path().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(resumed.run().place().step, checkpoint.counter("step").unwrap());
    }
    files.len()
}

#[test]
fn a_run_that_is_killed_twenty_times_ends_with_the_same_weights() {
    act();
    const TEST: &str = "a_run_that_is_killed_twenty_times_ends_with_the_same_weights";
    let mut random = Random::fresh("kills");
    let (expected, log) = through("never-killed");
    let folder = Folder::new("killed");
    let order = folder.path().display().to_string();
    let (mut killed, mut temporary, mut furthest) = (0, 0, 0);
    for round in 0..20 {
        let mut process = start(TEST, &order);
        let announcements = 1 + random.below(ANNOUNCEMENTS);
        let seen = (0..announcements).take_while(|_| process.next().is_some()).count();
        if round % 2 == 0 {
            // Somewhere between two announcements.
            for _ in 0..random.below(200_000) {
                std::hint::spin_loop();
            }
        } else {
            // While a checkpoint is being written.
            while !is_writing(&folder) && process.child.try_wait().unwrap().is_none() {
                std::hint::spin_loop();
            }
        }
        process.child.kill().unwrap();
        let status = process.child.wait().unwrap();
        killed += usize::from(status.code().is_none());
        assert!(seen == announcements, "the child ended by itself after {seen} announcements: {status}");
        read_all(&folder);
        temporary += folder.files().iter().filter(|name| name.ends_with(".tmp")).count();
        let last = Checkpoints::last_in(folder.path());
        if last.exists() {
            let step = Checkpoint::load(last).unwrap().counter("step").unwrap();
            assert!(step >= furthest, "step {step} after {furthest}");
            furthest = step;
        }
    }
    assert_eq!(killed, 20);
    assert!(furthest > 20 && furthest < EPOCHS * BATCHES, "{furthest} steps");
    assert!(temporary >= 5, "{temporary} temporary files were left: the kills came between two writes");
    println!("{furthest} of {} steps after 20 kills, {temporary} temporary files left on the way", EPOCHS * BATCHES);
    let mut last = start(TEST, &order);
    while last.next().is_some() {}
    assert!(last.child.wait().unwrap().success());
    assert_eq!(model_in(&folder), expected);
    // The log tells of each step once, and nothing unfinished is left.
    assert_eq!(std::fs::read_to_string(folder.path().join("log.csv")).unwrap(), log);
    assert_eq!(folder.files().iter().filter(|name| name.ends_with(".tmp")).count(), 0, "{:?}", folder.files());
    assert_eq!(read_all(&folder), 4, "the last, the best and two numbered ones: {:?}", folder.files());
}

#[test]
fn ctrl_c_finishes_the_step_saves_and_exits_130_and_a_second_one_exits_at_once() {
    act();
    const TEST: &str = "ctrl_c_finishes_the_step_saves_and_exits_130_and_a_second_one_exits_at_once";
    let mut random = Random::fresh("ctrl-c");
    let (expected, _) = through("never-interrupted");
    let step = 3 + random.below(100) as u64;
    let folder = Folder::new("ctrl-c");
    let order = format!("{}:{step}", folder.path().display());
    // Twice: nothing is finished.
    let mut process = start(TEST, &order);
    process.until("waiting");
    process.interrupt();
    process.until("interrupted");
    process.interrupt();
    assert_eq!(process.child.wait().unwrap().code(), Some(130));
    let at = |folder: &Folder| Checkpoint::load(Checkpoints::last_in(folder.path())).unwrap().counter("step").unwrap();
    assert_eq!(at(&folder), step / 2 * 2, "that of the last even step");
    read_all(&folder);
    // Once: the step at hand is finished.
    let mut process = start(TEST, &order);
    process.until("waiting");
    process.interrupt();
    process.until("interrupted");
    process.stdin.write_all(b"go on\n").unwrap();
    while process.next().is_some() {}
    assert_eq!(process.child.wait().unwrap().code(), Some(130));
    assert_eq!(at(&folder), step + 1);
    read_all(&folder);
    let mut last = start(TEST, &folder.path().display().to_string());
    while last.next().is_some() {}
    assert!(last.child.wait().unwrap().success());
    assert_eq!(model_in(&folder), expected);
}
