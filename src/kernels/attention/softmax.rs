//! The softmax of one tile of scores (keys × queries): every query is a lane.

use crate::device::cpu::{Real, larger, vectorize_wide};

/// Runs the body with `$n` bound to a constant number of lanes: loops over them then unroll to whole registers.
macro_rules! with_lanes {
    ($nr:expr, $n:ident => $body:expr) => {
        match $nr {
            32 => {
                const $n: usize = 32;
                $body
            }
            16 => {
                const $n: usize = 16;
                $body
            }
            8 => {
                const $n: usize = 8;
                $body
            }
            4 => {
                const $n: usize = 4;
                $body
            }
            _ => {
                const $n: usize = 2;
                $body
            }
        }
    };
}

/// The running softmax of a panel of queries (Milakov & Gimelshein 2018; Dao 2023, FlashAttention-2): maximum, sum of
/// exponentials below it, and the factor by which the last tile changed what was accumulated before.
pub(super) struct Running<A> {
    pub max: Vec<A>,
    pub sum: Vec<A>,
    pub factor: Vec<A>,
}

impl<A: Real> Running<A> {
    pub(super) fn new(nr: usize) -> Self {
        Running { max: vec![A::NEG_INFINITY; nr], sum: vec![A::ZERO; nr], factor: vec![A::ONE; nr] }
    }

    pub(super) fn reset(&mut self) {
        self.max.fill(A::NEG_INFINITY);
        self.sum.fill(A::ZERO);
    }

    /// Takes a tile in: scores become exponentials below the new maximum, `out` (rows of queries) is rescaled to it.
    pub(super) fn take(&mut self, scores: &mut [A], out: &mut [A]) {
        let nr = self.max.len();
        vectorize_wide(
            #[inline(always)]
            || {
                with_lanes!(nr, N => online::<A, N>(scores, &mut self.max, &mut self.sum, &mut self.factor));
                if self.factor.iter().any(|&f| f != A::ONE) {
                    with_lanes!(nr, N => rescale::<A, N>(out, &self.factor));
                }
            },
        );
    }
}

#[inline(always)]
fn online<A: Real, const N: usize>(scores: &mut [A], max: &mut [A], sum: &mut [A], factor: &mut [A]) {
    let rows = scores.as_chunks_mut::<N>().0;
    let (max, sum, factor) = (&mut max[..N], &mut sum[..N], &mut factor[..N]);
    let mut top = [A::ZERO; N];
    top.copy_from_slice(max);
    for row in rows.iter() {
        for j in 0..N {
            top[j] = larger(top[j], row[j]);
        }
    }
    // A query that has seen nothing but masked keys: any finite number keeps exp(−∞) = 0.
    let mut below = [A::ZERO; N];
    for j in 0..N {
        below[j] = if top[j] == A::NEG_INFINITY { A::ZERO } else { top[j] };
        factor[j] = (max[j] - below[j]).exp();
        max[j] = top[j];
    }
    let mut total = [A::ZERO; N];
    for row in rows {
        for j in 0..N {
            row[j] = (row[j] - below[j]).exp();
            total[j] += row[j];
        }
    }
    for j in 0..N {
        sum[j] = sum[j] * factor[j] + total[j];
    }
}

#[inline(always)]
fn rescale<A: Real, const N: usize>(out: &mut [A], factor: &[A]) {
    let factor = &factor[..N];
    for row in out.as_chunks_mut::<N>().0 {
        for j in 0..N {
            row[j] *= factor[j];
        }
    }
}

/// Scores become probabilities, from the saved log of the sum.
pub(super) fn probabilities<A: Real>(scores: &mut [A], lse: &[A]) {
    #[inline(always)]
    fn lanes<A: Real, const N: usize>(scores: &mut [A], lse: &[A]) {
        let lse = &lse[..N];
        for row in scores.as_chunks_mut::<N>().0 {
            for j in 0..N {
                row[j] = (row[j] - lse[j]).exp();
            }
        }
    }
    let nr = lse.len();
    vectorize_wide(
        #[inline(always)]
        || with_lanes!(nr, N => lanes::<A, N>(scores, lse)),
    );
}

/// The gradient of the scores: p · (dp − delta), written over dp.
pub(super) fn score_gradient<A: Real>(p: &[A], delta: &[A], dp: &mut [A]) {
    #[inline(always)]
    fn lanes<A: Real, const N: usize>(p: &[A], delta: &[A], dp: &mut [A]) {
        let delta = &delta[..N];
        for (p, dp) in p.as_chunks::<N>().0.iter().zip(dp.as_chunks_mut::<N>().0) {
            for j in 0..N {
                dp[j] = p[j] * (dp[j] - delta[j]);
            }
        }
    }
    let nr = delta.len();
    vectorize_wide(
        #[inline(always)]
        || with_lanes!(nr, N => lanes::<A, N>(p, delta, dp)),
    );
}
