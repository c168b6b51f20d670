//! Linear regression four ways: in closed form, by full-batch, stochastic and mini-batch gradient descent, on the
//! diabetes set (442 patients, 10 measurements, the disease's progression a year later).
//!
//! ```text
//! cargo xtask data diabetes
//! cargo run --release --example linear_regression
//! ```

mod support;

use clap::{Arg, ArgMatches, Command, value_parser};
use std::process::ExitCode;
use support::figures::{self, Wanted, figure};
use support::generator;
use warpsmith::random::permutation;
use warpsmith::{DType, Device, Error, Reduction, Result, Tensor, Var};

fn command() -> Command {
    Command::new("linear_regression")
        .about("Linear regression in closed form and by full-batch, stochastic and mini-batch gradient descent")
        .arg(Arg::new("device").long("device").default_value("cpu").help(support::DEVICES))
        .arg(Arg::new("seed").long("seed").default_value("1").value_parser(value_parser!(u64)).help("of the shuffles"))
}

/// Standardised measurements with a column of ones before them (N, 11), and the progression (N), standardised too.
fn load(device: &Device) -> Result<(Tensor, Tensor)> {
    let table = support::fetched::numbers(&support::fetched::folder("diabetes")?.join("diabetes.csv"), 1)?;
    let table = table.to_dtype(DType::F64)?;
    let (n, columns) = (table.dims()[0], table.dims()[1]);
    let table = ((&table - &table.mean_keepdim(&[0])?)? / table.std_keepdim(&[0], 0.0)?)?;
    let ones = Tensor::ones([n, 1], DType::F64, &Device::Cpu)?;
    let x = Tensor::cat(&[&ones, &table.narrow(1, 0, columns - 1)?], 1)?;
    let y = table.select(1, columns as isize - 1)?;
    Ok((x.to_dtype(DType::F32)?.to_device(device)?, y.to_dtype(DType::F32)?.to_device(device)?))
}

/// The weights that solve XᵀX w = Xᵀy, by Gaussian elimination in f64.
fn closed_form(x: &Tensor, y: &Tensor) -> Result<Vec<f64>> {
    let (x, y) = (x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?, y.to_device(&Device::Cpu)?.to_dtype(DType::F64)?);
    let mut a = x.transpose(0, 1)?.matmul(&x)?.to_vec2::<f64>()?;
    let mut b = x.transpose(0, 1)?.matmul(&y)?.to_vec::<f64>()?;
    let n = b.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&j, &k| a[j][i].abs().total_cmp(&a[k][i].abs())).unwrap_or(i);
        a.swap(i, pivot);
        b.swap(i, pivot);
        for j in 0..n {
            if j != i {
                let factor = a[j][i] / a[i][i];
                for k in i..n {
                    a[j][k] -= factor * a[i][k];
                }
                b[j] -= factor * b[i];
            }
        }
    }
    Ok((0..n).map(|i| b[i] / a[i][i]).collect())
}

/// Gradient descent in batches of `batch` rows; the rate falls to nothing along a straight line. One thing differs
/// between the three ways: how many rows each step sees.
fn descend(x: &Tensor, y: &Tensor, batch: usize, epochs: u64, rate: f64, seed: u64) -> Result<Vec<f64>> {
    let w = Var::new(&Tensor::zeros(x.dim(1)?, x.dtype(), x.device())?)?;
    let n = y.numel();
    for epoch in 0..epochs {
        let order = permutation(n, &mut generator(seed, 1, epoch));
        let order = Tensor::from_iter(order.into_iter().map(|place| place as i64), x.device())?;
        let (x, y) =
            if batch < n { (x.index_select(0, &order)?, y.index_select(0, &order)?) } else { (x.clone(), y.clone()) };
        for start in (0..n).step_by(batch) {
            let count = batch.min(n - start);
            let (x, y) = (x.narrow(0, start, count)?, y.narrow(0, start, count)?);
            let gradient = x.matmul(&w)?.mse_loss(&y, Reduction::Mean)?.backward()?.expect(&w)?;
            let left = 1.0 - (epoch as f64 + start as f64 / n as f64) / epochs as f64;
            w.set(&(w.snapshot()? - gradient.affine(rate * left, 0.0)?)?)?;
        }
    }
    w.to_f64_vec()
}

fn run(args: &ArgMatches) -> Result<()> {
    let device = support::device(args.get_one::<String>("device").map_or("cpu", String::as_str))?;
    let seed = args.get_one::<u64>("seed").copied().unwrap_or_default();
    let (x, y) = load(&device)?;
    let n = y.numel();
    let error = |w: &[f64]| -> Result<f64> {
        let w = Tensor::from_iter(w.iter().map(|&w| w as f32), &device)?;
        x.matmul(&w)?.mse_loss(&y, Reduction::Mean)?.item::<f64>()
    };
    let exact = closed_form(&x, &y)?;
    let best = error(&exact)?;
    println!("closed form: R² = {:.5}, weights {exact:.3?}", 1.0 - best);
    if !best.is_finite() {
        return Err(Error::argument("linear regression", "the measurements determine no weights"));
    }
    let ways = [("full batch", n, 3000, 0.2), ("stochastic", 1, 60, 0.01), ("mini-batch", 32, 400, 0.1)];
    for (name, batch, epochs, rate) in ways {
        let w = descend(&x, &y, batch, epochs, rate, seed)?;
        println!("{name}: R² = {:.5}, weights {w:.3?}", 1.0 - error(&w)?);
        // How far its predictions are from those of the closed form, as a share of the progression's spread.
        let apart = Tensor::from_iter(w.iter().zip(&exact).map(|(w, e)| (w - e) as f32), &device)?;
        let apart = x.matmul(&apart)?.square()?.mean(&[0])?.item::<f64>()?.sqrt();
        figure(&format!("{name}: predictions from those of the closed form"), apart, Wanted::AtMost(0.01));
    }
    figure("R² of the closed form", 1.0 - best, Wanted::AtLeast(0.51));
    Ok(())
}

fn main() -> ExitCode {
    figures::exit(run(&command().get_matches()))
}
