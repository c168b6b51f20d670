//! A derivative is what a quotient of differences tends to: f(x) = 3x² − 4x at x = 1, by shrinking steps and by
//! autograd, with a picture of f, its tangent and the error of each step.
//!
//! ```text
//! cargo run --release --example derivative
//! ```

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use warpsmith::train::{Curve, draw_curves};
use warpsmith::{Device, Error, Result, Tensor, Var};

fn command() -> Command {
    let out = Arg::new("out").long("out").default_value("out/derivative").value_parser(value_parser!(PathBuf));
    Command::new("derivative")
        .about("The derivative of 3x² − 4x at x = 1: numerically, by autograd, and as a picture")
        .arg(out.help("folder for the picture"))
}

fn f(x: f64) -> f64 {
    3.0 * x * x - 4.0 * x
}

fn run(args: &ArgMatches) -> Result<()> {
    let mut step = 0.1;
    let mut errors = vec![];
    let mut numeric = f64::NAN;
    for digits in 1..=8 {
        numeric = (f(1.0 + step) - f(1.0)) / step;
        println!("h = {step:.8}: (f(1 + h) − f(1)) / h = {numeric:.8}");
        errors.push((digits as f64, (numeric - 2.0).abs().log10()));
        step /= 10.0;
    }

    // The same function on tensors: autograd gives the slope itself.
    let x = Var::new(&Tensor::scalar(1f64, &Device::Cpu)?)?;
    let y = (x.square()?.affine(3.0, 0.0)? - x.affine(4.0, 0.0)?)?;
    let slope = y.backward()?.expect(&x)?.item::<f64>()?;
    println!("autograd: f(1) = {}, f'(1) = {slope}", y.item::<f64>()?);

    let points = || (0..=60).map(|i| i as f64 * 0.05);
    let curves = vec![
        Curve::new("3x² − 4x", points().map(|x| (x, f(x))).collect()),
        Curve::new("tangent at 1", points().map(|x| (x, f(1.0) + slope * (x - 1.0))).collect()),
    ];
    let shrinking = vec![Curve::new("error", errors)];
    let out = args.get_one::<PathBuf>("out").cloned().unwrap_or_default();
    std::fs::create_dir_all(&out).map_err(|source| Error::Io { action: "creating", path: out.clone(), source })?;
    let path = out.join("derivative.svg");
    draw_curves(&path, &[("f", "x", curves), ("log10 of the error", "−log10 of h", shrinking)])?;
    println!("wrote {}", path.display());
    figure("numeric derivative", numeric, Wanted::Near(2.0, 1e-6));
    figure("derivative by autograd", slope, Wanted::Near(2.0, 0.0));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
