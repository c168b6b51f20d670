//! Learning-rate schedules: plain functions of the step, so that a resumed run needs no state of theirs. Each gives the
//! factor of the rate for a step, counted from 0; factors of several multiply together. Those that PyTorch has agree
//! with the closed forms of its documentation.

use std::f64::consts::PI;

/// Rises linearly from 0 over the first `warmup` of `total` steps, then falls along half a cosine to `last` times the
/// peak (Loshchilov and Hutter 2017).
pub fn warmup_cosine(step: u64, warmup: u64, total: u64, last: f64) -> f64 {
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let done = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    last + (1.0 - last) * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
}

/// Multiplied by `gamma` after each `every` steps: PyTorch's `StepLR`.
pub fn step(step: u64, every: u64, gamma: f64) -> f64 {
    exponential(step / every.max(1), gamma)
}

/// Multiplied by `gamma` at each of the `milestones` passed: PyTorch's `MultiStepLR`.
pub fn multi_step(step: u64, milestones: &[u64], gamma: f64) -> f64 {
    milestones.iter().filter(|&&m| step >= m).fold(1.0, |factor, _| factor * gamma)
}

/// Multiplied by `gamma` after each step: PyTorch's `ExponentialLR`.
pub fn exponential(step: u64, gamma: f64) -> f64 {
    gamma.powi(step.min(i32::MAX as u64) as i32)
}

/// Falls along half a cosine from 1 to `last` over `total` steps, and stays there: PyTorch's `CosineAnnealingLR` with
/// `eta_min` = `last` · rate, which rises again after them.
pub fn cosine(step: u64, total: u64, last: f64) -> f64 {
    let done = step.min(total) as f64 / total.max(1) as f64;
    last + (1.0 - last) * 0.5 * (1.0 + (PI * done).cos())
}

/// Goes linearly from `first` to `last` over `total` steps, and stays there: PyTorch's `LinearLR`. From a small number
/// to 1 it is a warm-up.
pub fn linear(step: u64, first: f64, last: f64, total: u64) -> f64 {
    first + (last - first) * (step.min(total) as f64 / total.max(1) as f64)
}

/// One cycle (Smith and Topin 2018) over `total` steps: up along half a cosine from 1/25 to the peak over the first
/// `rise` (0.3) of them, then down to 1/250,000. PyTorch's `OneCycleLR` with its defaults; the optimizer's rate is its
/// `max_lr`. Momentum stays as it is.
pub fn one_cycle(step: u64, total: u64, rise: f64) -> f64 {
    let (first, last) = (1.0 / 25.0, 1.0 / 25.0 / 1e4);
    let between = |from: f64, to: f64, share: f64| to + (from - to) * 0.5 * (1.0 + (PI * share).cos());
    let (top, end) = (rise * total as f64 - 1.0, total.saturating_sub(1) as f64);
    let step = (step as f64).min(end);
    if step <= top { between(first, 1.0, step / top) } else { between(1.0, last, (step - top) / (end - top)) }
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
