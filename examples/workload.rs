//! One workload of `peers/README.md`, timed; prints one JSON line. `cargo xtask peers` runs it beside other engines.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo run --release --example workload -- resnet20 2.0
//! ```

#[path = "support/workloads.rs"]
mod workloads;

use std::time::{Duration, Instant};
use warpsmith::Result;

/// At least 3 steps and 1 s unmeasured, then at least 10 steps and `seconds` measured; milliseconds per step, and the
/// last loss. Steps of more than 5 s are run once and then three times.
fn measure(seconds: f64, step: &mut dyn FnMut() -> Result<f64>) -> Result<(Vec<f64>, f64)> {
    let mut timed = || -> Result<(f64, Duration)> {
        let started = Instant::now();
        Ok((step()?, started.elapsed()))
    };
    let started = Instant::now();
    let mut warm = 0;
    let slow = loop {
        let (_, took) = timed()?;
        warm += 1;
        if took.as_secs() >= 5 {
            break true;
        }
        if warm >= 3 && started.elapsed().as_secs_f64() > 1.0 {
            break false;
        }
    };
    let (fewest, most) = if slow { (3, 3) } else { (10, 2000) };
    let (mut times, mut last) = (vec![], 0.0);
    let started = Instant::now();
    while times.len() < fewest || started.elapsed().as_secs_f64() < seconds && times.len() < most {
        let (loss, took) = timed()?;
        last = loss;
        times.push(took.as_secs_f64() * 1e3);
    }
    Ok((times, last))
}

/// The largest resident set so far, in MiB, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib / 1024.0)
}

fn run(name: &str, seconds: f64) -> Result<String> {
    let mut workload = workloads::workload(name)?;
    let first = (workload.step)()?;
    let (mut times, last) = measure(seconds, &mut workload.step)?;
    times.sort_by(f64::total_cmp);
    let n = times.len();
    let median = (times[(n - 1) / 2] + times[n / 2]) / 2.0;
    let mut line = format!(
        r#"{{"workload":"{name}","threads":{},"steps":{n},"median_ms":{median},"min_ms":{},"p90_ms":{}"#,
        rayon::current_num_threads(),
        times[0],
        times[(n - 1) * 9 / 10]
    );
    if let Some(flops) = workload.flops {
        line += &format!(r#","gflops":{}"#, flops / median / 1e6);
    }
    if let Some((batch, params)) = workload.network {
        let rate = batch as f64 / median * 1e3;
        line += &format!(r#","params":{params},"batch":{batch},"first_loss":{first},"last_loss":{last}"#);
        line += &format!(r#","samples_per_s":{rate}"#);
    }
    if let Some(mib) = peak_mib() {
        line += &format!(r#","peak_mib":{mib}"#);
    }
    Ok(line + "}")
}

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(name), seconds) = (args.next(), args.next().map_or(Ok(2.0), |s| s.parse())) else {
        eprintln!("usage: workload NAME [SECONDS], NAME one of {:?}", workloads::NAMES);
        return std::process::ExitCode::FAILURE;
    };
    let Ok(seconds) = seconds else {
        eprintln!("error: the seconds are not a number");
        return std::process::ExitCode::FAILURE;
    };
    match run(&name, seconds) {
        Ok(line) => {
            println!("{line}");
            std::process::ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
