//! Learning-rate schedules: plain functions of the step, so that a resumed run needs no state of theirs.

use std::f64::consts::PI;

/// Rises linearly from 0 over the first `warmup` of `total` steps, then falls along half a cosine to `last` times the
/// peak (Loshchilov and Hutter 2017): the factor for step `step`, counted from 0.
pub fn warmup_cosine(step: u64, warmup: u64, total: u64, last: f64) -> f64 {
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let done = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    last + (1.0 - last) * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
}

/// Multiplied by `gamma` at each of the `milestones` passed: the factor for step `step`.
pub fn multi_step(step: u64, milestones: &[u64], gamma: f64) -> f64 {
    milestones.iter().filter(|&&m| step >= m).fold(1.0, |factor, _| factor * gamma)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_pass_through_their_corners() {
        assert_eq!(warmup_cosine(0, 4, 100, 0.1), 0.25);
        assert_eq!(warmup_cosine(3, 4, 100, 0.1), 1.0);
        assert_eq!(warmup_cosine(4, 4, 100, 0.1), 1.0);
        assert!((warmup_cosine(52, 4, 100, 0.1) - 0.55).abs() < 1e-12);
        assert!((warmup_cosine(100, 4, 100, 0.1) - 0.1).abs() < 1e-12);
        assert_eq!(warmup_cosine(500, 4, 100, 0.1), warmup_cosine(100, 4, 100, 0.1));
        assert_eq!(multi_step(9, &[5, 10], 0.5), 0.5);
        assert_eq!(multi_step(10, &[5, 10], 0.5), 0.25);
    }
}
