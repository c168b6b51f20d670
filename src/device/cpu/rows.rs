//! Sums and maxima of rows, in a fixed order that depends on the length only.
//!
//! Blocks are summed in interleaved lanes, so that the loops vectorise, and block sums are added in f64: the error is
//! that of a sum of `BLOCK / LANES` terms however long the row is.

use super::{BLOCK, Real};

/// Interleaved partial sums: two AVX-512 vectors of f32.
const LANES: usize = 32;

/// The `K` sums of `f` over the elements of `N` slices of one length. Call inside [`vectorize`](super::vectorize).
#[inline(always)]
pub fn sums<A: Real, const N: usize, const K: usize>(x: [&[A]; N], f: impl Fn([A; N]) -> [A; K]) -> [f64; K] {
    let n = x[0].len();
    let x: [&[A]; N] = x.map(
        #[inline(always)]
        |x| &x[..n],
    );
    let mut total = [0.0; K];
    let mut from = 0;
    while from < n {
        let to = n.min(from + BLOCK);
        let part = block_sums(
            x.map(
                #[inline(always)]
                |x| &x[from..to],
            ),
            &f,
        );
        for k in 0..K {
            total[k] += part[k].to_f64();
        }
        from = to;
    }
    total
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "several slices and their lanes are walked in step")]
fn block_sums<A: Real, const N: usize, const K: usize>(x: [&[A]; N], f: &impl Fn([A; N]) -> [A; K]) -> [A; K] {
    let n = x[0].len();
    let mut lanes = [[A::ZERO; LANES]; K];
    let chunks: [&[[A; LANES]]; N] = x.map(
        #[inline(always)]
        |x| x.as_chunks().0,
    );
    let whole = n / LANES;
    for c in 0..whole {
        for l in 0..LANES {
            let values = f(std::array::from_fn(
                #[inline(always)]
                |i| chunks[i][c][l],
            ));
            for k in 0..K {
                lanes[k][l] += values[k];
            }
        }
    }
    for l in 0..n - whole * LANES {
        let values = f(std::array::from_fn(
            #[inline(always)]
            |i| x[i][whole * LANES + l],
        ));
        for k in 0..K {
            lanes[k][l] += values[k];
        }
    }
    lanes.map(
        #[inline(always)]
        |lanes| {
            merge(
                lanes,
                #[inline(always)]
                |a, b| a + b,
            )
        },
    )
}

/// The largest element, NaNs aside; negative infinity for an empty slice. Call inside
/// [`vectorize`](super::vectorize).
#[inline(always)]
pub fn largest<A: Real>(x: &[A]) -> A {
    let mut lanes = [A::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] = larger(lanes[l], chunk[l]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, v);
    }
    merge(lanes, larger)
}

/// `b` if it is larger, else `a`: one instruction, and a NaN in `b` is passed over.
#[inline(always)]
pub fn larger<A: Real>(a: A, b: A) -> A {
    if b > a { b } else { a }
}

#[inline(always)]
fn merge<A: Real>(mut lanes: [A; LANES], f: impl Fn(A, A) -> A) -> A {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] = f(lanes[l], lanes[l + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_on_integers_of_every_length() {
        for n in [0, 1, 31, 32, 33, 1023, 1024, 1025, 5000] {
            let x: Vec<f32> = (0..n).map(|i| (i % 97) as f32).collect();
            let [sum, squares] = sums([&x], |[v]| [v, v * v]);
            assert_eq!(sum, x.iter().map(|&v| v as f64).sum::<f64>(), "{n}");
            assert_eq!(squares, x.iter().map(|&v| (v * v) as f64).sum::<f64>(), "{n}");
        }
    }

    #[test]
    fn the_largest_is_found_in_every_place() {
        for n in [1, 32, 33, 70] {
            for at in 0..n {
                let mut x = vec![-1.0f64; n];
                x[at] = -0.5;
                assert_eq!(largest(&x), -0.5);
            }
        }
        assert_eq!(largest(&[f32::NAN, 1.0]), 1.0);
        assert_eq!(largest::<f32>(&[]), f32::NEG_INFINITY);
    }
}
