//! k nearest neighbours on 1,797 handwritten digits: every fifth is held out, and is given the label that most of the k
//! training images nearest to it have.
//!
//! ```text
//! cargo run --release --example nearest_neighbours
//! ```
//!
//! Nothing is trained, and one matrix product does the work: ‖a − b‖² = ‖a‖² − 2a·b + ‖b‖² for all pairs at once.

mod support;

use clap::{Arg, ArgMatches, Command};
use std::process::ExitCode;
use support::digits::{self, Images};
use support::figures::{self, Wanted, figure};
use warpsmith::{Device, Result, Tensor};

/// How many neighbours vote.
const NEIGHBOURS: [usize; 6] = [1, 3, 5, 7, 11, 21];

/// The images as a matrix (images, pixels).
fn matrix(images: &Images, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(&images.pixels, [images.len(), images.side * images.side], device)
}

/// Squared distances (A, B) between the rows of two matrices (A, D) and (B, D).
fn squared_distances(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let norms = |x: &Tensor| (x * x)?.sum(&[1]);
    let (a_norms, b_norms) = (norms(a)?.unsqueeze(1)?, norms(b)?.unsqueeze(0)?);
    let products = a.matmul(&b.transpose(0, 1)?)?;
    a_norms - products * 2.0 + b_norms
}

/// The most frequent label; of equally frequent ones, that of the nearest.
fn vote(labels: &[i64]) -> i64 {
    let votes = |label: i64| labels.iter().filter(|&&l| l == label).count();
    let more = |best: i64, &label: &i64| if votes(label) > votes(best) { label } else { best };
    labels.iter().fold(labels[0], more)
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let (training, test) = digits::load()?;
    let distances = squared_distances(&matrix(&test, &device)?, &matrix(&training, &device)?)?;
    let most = NEIGHBOURS.into_iter().max().unwrap_or(1);
    let (_, nearest) = distances.topk(most, 1, false)?;
    let nearest = nearest.to_vec::<i64>()?;
    println!("{} test images, {} training images, on {device}", test.len(), training.len());
    let mut best = 0.0f64;
    for k in NEIGHBOURS {
        let guess = |neighbours: &[i64]| {
            let labels: Vec<i64> = neighbours[..k].iter().map(|&image| training.labels[image as usize]).collect();
            vote(&labels)
        };
        let right = nearest.chunks(most).zip(&test.labels).filter(|(near, label)| guess(near) == **label).count();
        let accuracy = right as f64 / test.len() as f64;
        println!("k = {k:2}: test accuracy {:.2} %", 100.0 * accuracy);
        best = best.max(accuracy);
        if k == 3 {
            figure("test accuracy, k = 3", accuracy, Wanted::AtLeast(0.97));
        }
    }
    figure("test accuracy, best k", best, Wanted::AtLeast(0.97));
    Ok(())
}

fn main() -> ExitCode {
    let device = Arg::new("device").long("device").value_name("VALUE").default_value("cpu").help(support::DEVICES);
    let about = "k nearest neighbours on handwritten digits";
    figures::exit(run(&Command::new("nearest_neighbours").about(about).arg(device).get_matches()))
}
