//! What an example shows at its end, in lines that `cargo xtask models` reads into docs/models.md.

use std::fmt;
use std::process::ExitCode;
use warpsmith::Result;

/// What a figure must be for its example to have reached what it promises.
#[derive(Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// A value, and how far from it is near enough.
    Near(f64, f64),
    /// More than another figure of the same run.
    Above(f64),
    /// Less than another figure of the same run.
    Below(f64),
}

impl Wanted {
    fn reached(self, value: f64) -> bool {
        match self {
            Wanted::AtLeast(bound) => value >= bound,
            Wanted::AtMost(bound) => value <= bound,
            Wanted::Near(middle, reach) => (value - middle).abs() <= reach,
            Wanted::Above(other) => value > other,
            Wanted::Below(other) => value < other,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::AtLeast(bound) => write!(f, "at least {}", short(*bound)),
            Wanted::AtMost(bound) => write!(f, "at most {}", short(*bound)),
            Wanted::Near(middle, reach) => write!(f, "{} ± {}", short(*middle), short(*reach)),
            Wanted::Above(other) => write!(f, "above {}", short(*other)),
            Wanted::Below(other) => write!(f, "below {}", short(*other)),
        }
    }
}

/// Five places, without zeros at the end; smaller numbers by their exponent.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.5}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Prints a figure: its name, value, what is wanted of it, and whether that is reached. A run that was told to do less
/// than its default prints the same; only the default is held to it.
pub fn figure(name: &str, value: f64, wanted: Wanted) {
    let word = if wanted.reached(value) { "reached" } else { "missed" };
    println!("figure: {name} = {} (wanted: {wanted}): {word}", short(value));
}

/// The end of an example's `main`: an error goes to standard error; a run that Ctrl-C ended exits with 130.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
