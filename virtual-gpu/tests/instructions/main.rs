//! Every instruction form against an independent reference: exact numbers, wide integers, plain loops; on edge values and
//! random ones, on every value of 16- and 8-bit types. `coverage` compares the tables with what the machine accepts.

mod compare;
mod control;
mod convert;
mod copies;
mod coverage;
mod effects;
mod exact;
mod float;
mod forms;
mod harness;
mod integer;
#[path = "../support/machine.rs"]
mod machine;
mod matrix;
mod mbarrier;
mod memory;
mod moves;
mod reductions;
mod replace;
mod sparse;
mod tensors;
mod video;
mod warp;
mod wgmma;
mod wmma;

/// The same tables on the code for machines without vector extensions, in a process of its own.
#[test]
fn portable_code() {
    const SETTING: &str = "VIRTUAL_GPU_PORTABLE";
    if std::env::var_os(SETTING).is_some() {
        return;
    }
    let program = std::env::current_exe().expect("a test has a file");
    let output = std::process::Command::new(program)
        .args(["--skip", "coverage"])
        .env(SETTING, "1")
        .output()
        .expect("the test runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}
