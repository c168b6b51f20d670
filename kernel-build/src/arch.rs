//! GPU architectures as NVRTC names them.

use crate::{Error, Result};
use std::fmt;

/// What machine code is compiled for: a compute capability and, for `a` targets, the features of that chip alone.
///
/// Machine code without a suffix runs on its own major version at the same or a higher minor (sm_80 on 8.0, 8.6 and
/// 8.9); with the suffix `a` it runs on exactly its compute capability (CUDA C++ Programming Guide, "Compute
/// Capabilities", "Feature availability").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch {
    /// Major compute capability: 8 in 8.6.
    pub major: u8,
    /// Minor compute capability: 6 in 8.6.
    pub minor: u8,
    /// Whether the target has the suffix `a` (architecture-specific features such as wgmma).
    pub specific: bool,
}

impl Arch {
    /// An architecture from its parts.
    pub const fn new(major: u8, minor: u8, specific: bool) -> Self {
        Self { major, minor, specific }
    }

    /// Reads `80`, `90a` or `120`, as `WARPSMITH_CUDA_ARCHS` lists them.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (digits, specific) = match text.strip_suffix('a') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse::<u16>() {
            Ok(number @ 50..=255) if all_digits => {
                Ok(Self { major: (number / 10) as u8, minor: (number % 10) as u8, specific })
            }
            _ => Err(Error::Setting(format!(
                "`{text}` is not a CUDA architecture; write the compute capability without its dot, \
                 such as 80, 90a or 120"
            ))),
        }
    }

    /// Whether machine code for this architecture runs on a device of compute capability `major.minor`.
    pub const fn machine_code_runs_on(self, major: u8, minor: u8) -> bool {
        if self.specific {
            self.major == major && self.minor == minor
        } else {
            self.major == major && self.minor <= minor
        }
    }

    /// Whether PTX for this architecture can be compiled for a device of compute capability `major.minor`.
    pub const fn ptx_runs_on(self, major: u8, minor: u8) -> bool {
        if self.specific {
            self.major == major && self.minor == minor
        } else {
            self.major < major || (self.major == major && self.minor <= minor)
        }
    }

    pub(crate) const fn number(self) -> u32 {
        self.major as u32 * 10 + self.minor as u32
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.number(), if self.specific { "a" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_nonsense_is_refused() {
        for (text, shown) in [("80", "sm_80"), ("90a", "sm_90a"), (" 120", "sm_120")] {
            assert_eq!(Arch::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "a", "sm_80", "8.0", "+80", "9999", "12"] {
            assert!(Arch::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn machine_code_stays_within_its_major_and_a_targets_within_their_chip() {
        let sm_80 = Arch::new(8, 0, false);
        assert!(sm_80.machine_code_runs_on(8, 9) && !sm_80.machine_code_runs_on(9, 0));
        assert!(sm_80.ptx_runs_on(9, 0) && sm_80.ptx_runs_on(12, 0) && !sm_80.ptx_runs_on(7, 5));
        let sm_90a = Arch::new(9, 0, true);
        assert!(sm_90a.machine_code_runs_on(9, 0) && !sm_90a.machine_code_runs_on(10, 0));
        assert!(sm_90a.ptx_runs_on(9, 0) && !sm_90a.ptx_runs_on(12, 0));
        assert!(!Arch::new(8, 6, false).machine_code_runs_on(8, 0));
    }
}
