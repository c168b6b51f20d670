//! Fault injection: the n-th allocation fails, the n-th launch fails, the device is lost.

use super::error::{Code, Error, Res};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts down to a fault; 0 is "never".
static ALLOCATION: AtomicU64 = AtomicU64::new(0);
static LAUNCH: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// What is to fail, each counted from now, the next one being 1; `None` leaves a countdown as it is.
#[derive(Default, Clone, Copy)]
pub struct Injection {
    pub allocation: Option<u64>,
    pub launch: Option<u64>,
    pub lost: Option<u64>,
}

impl Injection {
    /// `allocation=3,launch=1,lost=2`: the third allocation, the first launch, the device at the second launch; 0 is never.
    pub fn parse(text: &str) -> Result<Injection, String> {
        let mut injection = Injection::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || format!("`{part}` is none of allocation=N, launch=N, lost=N");
            let (what, count) = part.split_once('=').ok_or_else(wrong)?;
            let count = Some(count.trim().parse::<u64>().map_err(|_| wrong())?);
            match what.trim() {
                "allocation" => injection.allocation = count,
                "launch" => injection.launch = count,
                "lost" => injection.lost = count,
                _ => return Err(wrong()),
            }
        }
        Ok(injection)
    }

    pub fn install(self) {
        for (counter, value) in [(&ALLOCATION, self.allocation), (&LAUNCH, self.launch), (&LOST, self.lost)] {
            if let Some(value) = value {
                counter.store(value, Ordering::Relaxed);
            }
        }
    }
}

/// Takes one from a countdown; true when it reaches its end with this call.
fn due(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1)
}

/// Called for every allocation.
pub fn allocation() -> Res {
    if due(&ALLOCATION) {
        return Err(Error::new(Code::OutOfMemory, "this allocation was made to fail by fault injection"));
    }
    Ok(())
}

/// What injection does to a launch.
#[derive(PartialEq, Eq, Debug)]
pub enum LaunchFate {
    Runs,
    Fails,
    LosesDevice,
}

/// Called for every launch.
pub fn launch() -> LaunchFate {
    // Both countdowns run, whichever strikes.
    match (due(&LOST), due(&LAUNCH)) {
        (true, _) => LaunchFate::LosesDevice,
        (false, true) => LaunchFate::Fails,
        (false, false) => LaunchFate::Runs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_parsed_and_wrong_text_refused() {
        let injection = Injection::parse("allocation=3, lost=1").unwrap();
        assert_eq!((injection.allocation, injection.launch, injection.lost), (Some(3), None, Some(1)));
        assert!(Injection::parse("allocation").is_err() && Injection::parse("x=1").is_err());
    }

    #[test]
    fn a_countdown_strikes_once() {
        let counter = AtomicU64::new(2);
        assert_eq!((0..4).map(|_| due(&counter)).collect::<Vec<_>>(), [false, true, false, false]);
    }
}
