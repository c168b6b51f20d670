//! Sampling of indices by weight, on integer prefix sums: exact, so the same on every device.
//!
//! Weights are scaled by the power of two that brings the largest below 2⁶² over the number of weights and truncated to
//! integers; a weight below 2⁻⁴⁰ of the largest (for up to a million weights) may count as 0. Sample `j` of row `r`
//! takes the first two words of block `first + r · samples + j`.

use crate::device::{Buffer, Memory, View};
use crate::kernels::mixed_devices;
use crate::random::philox;
use crate::{Error, Result};

/// The blocks of counters that `samples` from each of `rows` rows take.
pub fn multinomial_blocks(rows: usize, samples: usize) -> u64 {
    rows as u64 * samples as u64
}

/// Draws `samples` indices from each row of `weights` (R, N) into `out` (R, samples), i64. Without replacement no index
/// repeats within a row. Weights that cannot be sampled from are an error; on a CUDA device one of the next call that waits
/// for the device.
pub fn multinomial(
    weights: View<'_>,
    samples: usize,
    replacement: bool,
    key: [u32; 2],
    first: u64,
    out: &mut Buffer,
) -> Result<()> {
    let &[rows, n] = weights.dims() else {
        return Err(Error::shape("multinomial", "weights of shape (R, N)", &[*weights.layout().shape()]));
    };
    if out.len() != rows * samples {
        let expected = format!("an output of {rows} × {samples} elements, got {}", out.len());
        return Err(Error::argument("multinomial", expected));
    }
    match (weights.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => {
            let values = weights.to_f64_vec()?;
            let out = out.as_mut_slice::<i64>()?;
            if samples == 0 {
                return Ok(());
            }
            for (r, out) in out.chunks_mut(samples).enumerate() {
                let first = first.wrapping_add(r as u64 * samples as u64);
                row(&values[r * n..(r + 1) * n], replacement, key, first, out)?;
            }
            Ok(())
        }
        (Memory::Cuda(_), Memory::Cuda(out)) => {
            super::cuda::multinomial(weights, samples, replacement, key, first, out)
        }
        _ => Err(mixed_devices("multinomial")),
    }
}

fn row(weights: &[f64], replacement: bool, key: [u32; 2], first: u64, out: &mut [i64]) -> Result<()> {
    let mut counts = whole(weights)?;
    let available = counts.iter().filter(|&&c| c > 0).count();
    if !replacement && out.len() > available {
        let message = format!("{} samples without replacement from {available} positive weights", out.len());
        return Err(Error::argument("multinomial", message));
    }
    let mut total: u64 = counts.iter().sum();
    let mut ends = 0;
    let prefix: Vec<u64> = counts
        .iter()
        .map(|c| {
            ends += c;
            ends
        })
        .collect();
    for (j, out) in out.iter_mut().enumerate() {
        let block = first.wrapping_add(j as u64);
        let words = philox(key, [block as u32, (block >> 32) as u32, 0, 0]);
        let word = words[0] as u64 | (words[1] as u64) << 32;
        // Uniform in 0..total but for one part in 2⁶⁴ / total.
        let mut target = ((word as u128 * total as u128) >> 64) as u64;
        let index = if replacement {
            prefix.partition_point(|&end| end <= target)
        } else {
            let mut index = 0;
            while target >= counts[index] {
                target -= counts[index];
                index += 1;
            }
            total -= counts[index];
            counts[index] = 0;
            index
        };
        *out = index as i64;
    }
    Ok(())
}

/// The weights as integers whose sum fits in 62 bits.
fn whole(weights: &[f64]) -> Result<Vec<u64>> {
    let mut largest = 0f64;
    for &w in weights {
        if !(w >= 0.0 && w.is_finite()) {
            return Err(Error::argument("multinomial", format!("weights must be finite and at least 0, found {w}")));
        }
        largest = largest.max(w);
    }
    if largest == 0.0 {
        return Err(Error::argument("multinomial", "a row of weights has none above 0"));
    }
    let bits = 62 - weights.len().next_power_of_two().trailing_zeros() as i32;
    // The largest is below 2^(exponent + 1).
    // A subnormal number's exponent shows once it is scaled up.
    let up = if largest < f64::MIN_POSITIVE { 54 } else { 0 };
    let exponent = ((largest * 2f64.powi(up)).to_bits() >> 52) as i32 - 1023 - up;
    let shift = bits - exponent - 1;
    // In two exact steps: 2^shift may be out of range.
    let (a, b) = (2f64.powi(shift / 2), 2f64.powi(shift - shift / 2));
    Ok(weights.iter().map(|&w| u64::try_from((w * a * b) as i64).unwrap_or(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn weights_of_any_size_become_integers() {
        assert_eq!(whole(&[1.0, 3.0]).unwrap(), [1 << 59, 3 << 59]);
        for scale in [1e-300, 1.0, 1e300, 5e-324] {
            let counts = whole(&[scale, 0.0, scale]).unwrap();
            assert!(counts[0] == counts[2] && counts[1] == 0 && counts[0] >= 1 << 20, "{scale}: {counts:?}");
        }
        assert!(whole(&[0.0, -0.0]).is_err() && whole(&[1.0, f64::NAN]).is_err() && whole(&[-1.0]).is_err());
    }
}
