//! Drawing the next token from a model's logits.

use crate::random::Philox;
use crate::{Error, Result};
use rand_core::Rng;

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 likely tokens become likelier; 0 takes the likeliest.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from (Fan et al. 2018); `None` for all.
    pub top_k: Option<usize>,
}

impl Default for Sampling {
    /// From the model's own distribution.
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: None }
    }
}

impl Sampling {
    /// The number of the token drawn. Equal logits rank by their numbers.
    ///
    /// ```
    /// use warpsmith::{models::Sampling, random::Philox};
    ///
    /// let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    /// assert_eq!(greedy.draw(&[0.5, 2.0, 2.0], &mut Philox::new(1))?, 1);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a temperature that is negative or not finite, a `top_k` of 0, no logits, or logits of which
    /// one is NaN or none is finite.
    pub fn draw(&self, logits: &[f64], rng: &mut Philox) -> Result<usize> {
        let refuse = |message: String| Err(Error::argument("sampling", message));
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) || self.top_k == Some(0) {
            return refuse(format!("needs a finite temperature of at least 0 and a top_k of at least 1: {self:?}"));
        }
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !most.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
            return refuse(format!("of {} logits one is NaN or none is finite", logits.len()));
        }
        let mut ranked: Vec<usize> = (0..logits.len()).collect();
        ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if self.temperature == 0.0 {
            return Ok(ranked[0]);
        }
        ranked.truncate(self.top_k.unwrap_or(logits.len()));
        let weights: Vec<f64> = ranked.iter().map(|&token| ((logits[token] - most) / self.temperature).exp()).collect();
        // 53 bits: the steps of a double below 1.
        let mut left = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * weights.iter().sum::<f64>();
        for (&token, weight) in ranked.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return Ok(token);
            }
        }
        // Only by rounding: the likeliest serves.
        Ok(ranked[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(sampling: Sampling, logits: &[f64]) -> Vec<f64> {
        let mut rng = Philox::new(9);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[sampling.draw(logits, &mut rng).unwrap()] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let logits = [0.0, 2f64.ln(), 5f64.ln(), f64::NEG_INFINITY];
        // Five deviations of a share of 20,000 draws are at most 0.018.
        for (found, expected) in shares(Sampling::default(), &logits).iter().zip([0.125, 0.25, 0.625, 0.0]) {
            assert!((found - expected).abs() < 0.018, "{found}, {expected}");
        }
        let sharper = Sampling { temperature: 0.5, ..Sampling::default() };
        for (found, expected) in shares(sharper, &logits).iter().zip([1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0, 0.0]) {
            assert!((found - expected).abs() < 0.018, "{found}, {expected}");
        }
        let two = Sampling { top_k: Some(2), ..Sampling::default() };
        for (found, expected) in shares(two, &logits).iter().zip([0.0, 2.0 / 7.0, 5.0 / 7.0, 0.0]) {
            assert!((found - expected).abs() < 0.018, "{found}, {expected}");
        }
    }

    #[test]
    fn logits_and_settings_without_sense_are_refused() {
        let draw = |sampling: Sampling, logits: &[f64]| sampling.draw(logits, &mut Philox::new(1));
        assert!(draw(Sampling { temperature: -1.0, ..Sampling::default() }, &[1.0]).is_err());
        assert!(draw(Sampling { temperature: f64::NAN, ..Sampling::default() }, &[1.0]).is_err());
        assert!(draw(Sampling { top_k: Some(0), ..Sampling::default() }, &[1.0]).is_err());
        for logits in [&[][..], &[f64::NAN, 1.0], &[f64::NEG_INFINITY], &[f64::INFINITY]] {
            assert!(draw(Sampling::default(), logits).is_err(), "{logits:?}");
        }
    }
}
