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

    /// Chains of some hundred roundings, and what is left where numbers of size 1 cancel.
    fn bound(expected: f64) -> f64 {
        1e-12 * expected.abs() + 4.0 * f64::EPSILON
    }

    fn same(found: impl Fn(u64) -> f64, expected: &[f64]) {
        for (step, &expected) in expected.iter().enumerate() {
            let found = found(step as u64);
            assert!((found - expected).abs() <= bound(expected), "step {step}: {found}, {expected}");
        }
    }

    /// PyTorch's schedulers compute each rate from the one before it: so does this, from its documentation.
    fn chain(n: usize, next: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        (1..n).fold(vec![1.0], |mut all, t| {
            all.push(next(t, all[t - 1]));
            all
        })
    }

    #[test]
    fn steps_and_powers_are_pytorchs() {
        same(|t| step(t, 30, 0.1), &chain(100, |t, lr| if t % 30 == 0 { lr * 0.1 } else { lr }));
        same(|t| exponential(t, 0.95), &chain(200, |_, lr| lr * 0.95));
        same(|t| multi_step(t, &[30, 80], 0.1), &chain(100, |t, lr| if t == 30 || t == 80 { lr * 0.1 } else { lr }));
        // The documentation's example of MultiStepLR with a rate of 0.05.
        for (epoch, lr) in [(0, 0.05), (29, 0.05), (30, 0.005), (79, 0.005), (80, 0.0005), (99, 0.0005)] {
            assert!((0.05 * multi_step(epoch, &[30, 80], 0.1) - lr).abs() < 1e-15);
        }
    }

    #[test]
    fn linear_is_pytorchs() {
        // The documentation's example: a rate of 0.05, start factor 0.5, four steps.
        same(|t| 0.05 * linear(t, 0.5, 1.0, 4), &[0.025, 0.03125, 0.0375, 0.04375, 0.05, 0.05, 0.05]);
        let (first, last, total) = (0.25, 0.75, 10);
        let next = |t: usize, lr: f64| {
            if t > total {
                return lr;
            }
            lr * (1.0 + (last - first) / (total as f64 * first + (t - 1) as f64 * (last - first)))
        };
        let mut expected = chain(15, next);
        expected.iter_mut().for_each(|lr| *lr *= first);
        same(|t| linear(t, first, last, total as u64), &expected);
    }

    #[test]
    fn cosine_is_pytorchs() {
        let (total, last) = (40, 0.1);
        let next = |t: usize, lr: f64| {
            let of = |t: usize| 1.0 + (PI * t as f64 / total as f64).cos();
            last + (lr - last) * of(t) / of(t - 1)
        };
        same(|t| cosine(t, total as u64, last), &chain(total, next));
        // What PyTorch 2 gives.
        for (step, expected) in
            [(1, 0.9986128001799076), (2, 0.994459753267812), (20, 0.5500000000000002), (39, 0.10138719982009242)]
        {
            assert!((cosine(step, 40, 0.1) - expected).abs() < 1e-12, "{step}");
        }
        assert!((cosine(40, 40, 0.1) - 0.1).abs() < 1e-15);
        assert_eq!(cosine(1000, 40, 0.1), cosine(40, 40, 0.1));
    }

    #[test]
    fn one_cycle_is_pytorchs() {
        // OneCycleLR(max_lr=1, total_steps=10): peak at step 0.3 · 10 − 1 = 2, end at step 9.
        let (low, high) = (0.04, 1.0);
        let half = |from: f64, to: f64, share: f64| (from + to) / 2.0 + (from - to) / 2.0 * (PI * share).cos();
        let mut expected = vec![low, half(low, high, 0.5), high];
        expected.extend((1..=7).map(|t| half(high, low / 1e4, f64::from(t) / 7.0)));
        same(|t| one_cycle(t, 10, 0.3), &expected);
        assert!((one_cycle(9, 10, 0.3) - 4e-6).abs() < 1e-15);
        assert_eq!(one_cycle(50, 10, 0.3), one_cycle(9, 10, 0.3));
        // What PyTorch 2 gives, with a peak between two steps too.
        let ten = [(1, 0.52), (3, 0.9504846320134737), (5, 0.6112620219362893), (8, 0.049519367986526286)];
        let ninety_nine = [
            (1, 0.04277635449857542),
            (29, 0.9998943310686162),
            (30, 0.9996622923608097),
            (31, 0.9983029032683899),
            (60, 0.5817626280790485),
            (98, 4e-06),
        ];
        for (total, rise, values) in [(10, 0.3, &ten[..]), (99, 0.305, &ninety_nine[..])] {
            for &(step, expected) in values {
                let found = one_cycle(step, total, rise);
                assert!((found - expected).abs() <= bound(expected), "{total}, step {step}: {found}, {expected}");
            }
        }
        // A peak between two steps is not touched.
        assert!((0..=99).map(|t| one_cycle(t, 99, 0.305)).fold(0.0, f64::max) < 1.0);
    }
}
