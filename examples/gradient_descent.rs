//! The smallest program that learns: y = w·x through three points, one weight, gradients by autograd.
//!
//! ```text
//! cargo run --release --example gradient_descent
//! ```

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use warpsmith::{Result, Tensor, Var};

fn command() -> Command {
    Command::new("gradient_descent")
        .about("Finds w in y = w·x by following the gradient of the mean squared error")
        .arg(Arg::new("device").long("device").default_value("cpu").help(support::DEVICES))
        .arg(Arg::new("steps").long("steps").default_value("20").value_parser(value_parser!(u64)).help("updates"))
        .arg(Arg::new("lr").long("lr").default_value("0.05").value_parser(value_parser!(f64)).help("learning rate"))
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let steps: u64 = args.get_one("steps").copied().unwrap_or_default();
    let lr: f64 = args.get_one("lr").copied().unwrap_or_default();

    let x = Tensor::from_slice(&[1f32, 2.0, 3.0], 3, &device)?;
    let y = Tensor::from_slice(&[2f32, 4.0, 6.0], 3, &device)?;
    let w = Var::new(&Tensor::full(0.5, (), x.dtype(), &device)?)?;
    for step in 1..=steps {
        let error = ((&w * &x)? - &y)?;
        let loss = error.square()?.mean(&[0])?;
        let gradient = loss.backward()?.expect(&w)?;
        let (now, loss, slope) = (w.item::<f32>()?, loss.item::<f32>()?, gradient.item::<f32>()?);
        println!("step {step:2}: w = {now:.6}, loss = {loss:.6}, gradient = {slope:+.6}");
        w.set(&(&w.snapshot()? - &gradient.affine(lr, 0.0)?)?)?;
    }
    figure("w", w.item::<f64>()?, Wanted::Near(2.0, 1e-3));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
