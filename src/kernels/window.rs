//! Sliding windows along one axis: what pooling and convolution share.

use crate::{Error, Result};
use std::ops::Range;

/// A sliding window along one axis: output `o` reads positions `o · stride - padding + tap · dilation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The number of taps.
    pub kernel: usize,
    /// From one output to the next.
    pub stride: usize,
    /// Positions before the first and after the last.
    pub padding: usize,
    /// From one tap to the next.
    pub dilation: usize,
}

impl Window {
    /// Positions from the first tap to the last, both included.
    pub fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Checks the numbers themselves.
    pub fn check(&self, op: &'static str) -> Result<()> {
        let Window { kernel, stride, dilation, padding } = *self;
        let limit = 1 << 31;
        if kernel == 0 || stride == 0 || dilation == 0 {
            let message = format!("kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1");
            return Err(Error::argument(op, message));
        }
        if [kernel, stride, padding, dilation, kernel.saturating_mul(dilation)].iter().any(|&x| x >= limit) {
            return Err(Error::argument(op, format!("{self:?} reaches beyond 2^31 positions")));
        }
        Ok(())
    }

    /// The number of outputs over `len` positions; an error where not one window fits. With `ceil` a last window may
    /// reach past the padding, if it starts inside the input or its left padding (as PyTorch).
    pub fn outputs(&self, len: usize, ceil: bool, op: &'static str) -> Result<usize> {
        self.check(op)?;
        let Some(room) = (len + 2 * self.padding).checked_sub(self.reach()) else {
            let message = format!(
                "a kernel of {} with dilation {} does not fit {len} positions padded by {} on each side",
                self.kernel, self.dilation, self.padding
            );
            return Err(Error::argument(op, message));
        };
        let outputs = if ceil { room.div_ceil(self.stride) } else { room / self.stride } + 1;
        let past = (outputs - 1) * self.stride >= len + self.padding;
        Ok(if ceil && past { outputs - 1 } else { outputs })
    }

    /// The outputs (of `outputs`) for which `tap` reads one of `len` positions, not padding.
    pub fn valid(&self, tap: usize, len: usize, outputs: usize) -> Range<usize> {
        let shift = tap * self.dilation;
        let from = self.padding.saturating_sub(shift).div_ceil(self.stride);
        let to = (len + self.padding).saturating_sub(shift).div_ceil(self.stride).min(outputs);
        from.min(to)..to
    }

    /// The position that `tap` of output `o` reads, where [`valid`](Self::valid).
    pub fn position(&self, o: usize, tap: usize) -> usize {
        o * self.stride + tap * self.dilation - self.padding
    }

    /// The taps of output `o` that read one of `len` positions.
    pub fn taps(&self, o: usize, len: usize) -> Range<usize> {
        let start = o * self.stride;
        let from = self.padding.saturating_sub(start).div_ceil(self.dilation);
        let to = (len + self.padding).saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        from.min(to)..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_outputs_and_taps_are_those_that_hit_the_input() {
        for len in 1..9usize {
            for w in [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 2), (2, 3, 1, 1), (5, 2, 4, 1), (2, 1, 3, 4)] {
                let w = Window { kernel: w.0, stride: w.1, padding: w.2, dilation: w.3 };
                let Ok(outputs) = w.outputs(len, false, "test") else { continue };
                for o in 0..outputs {
                    for tap in 0..w.kernel {
                        let at = (o * w.stride + tap * w.dilation) as i64 - w.padding as i64;
                        let inside = (0..len as i64).contains(&at);
                        assert_eq!(w.valid(tap, len, outputs).contains(&o), inside, "{w:?} {len} {o} {tap}");
                        assert_eq!(w.taps(o, len).contains(&tap), inside, "{w:?} {len} {o} {tap}");
                    }
                }
            }
        }
    }
}
