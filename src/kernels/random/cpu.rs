//! Words are computed a batch of blocks at a time by a vectorised loop, then mapped to numbers by another.

use super::Distribution;
use super::variates::{Variate, gamma, normal_pair};
use crate::device::View;
use crate::device::cpu::{BLOCK, Float, Real, for_each_chunk, load_strided, vectorize};
use crate::random::philox;
use crate::shape::coalesce;
use crate::{DType, Layout, Result};

/// Elements that one thread takes at a time: whole batches.
const CHUNK: usize = 1 << 14;

/// Fills four words for each block from `first`.
#[inline(always)]
fn fill_words(key: [u32; 2], first: u64, words: &mut [u32]) {
    for (j, four) in words.chunks_exact_mut(4).enumerate() {
        let block = first.wrapping_add(j as u64);
        four.copy_from_slice(&philox(key, [block as u32, (block >> 32) as u32, 0, 0]));
    }
}

/// Calls `f(words, elements)` on batches: `BLOCK` words for as many elements as they serve.
fn for_each_batch<T: Send>(
    key: [u32; 2],
    first: u64,
    per_block: usize,
    out: &mut [T],
    f: impl Fn(usize, &[u32; BLOCK], &mut [T]) + Sync,
) {
    let batch = BLOCK / 4 * per_block;
    for_each_chunk(out, CHUNK, |chunk, out| {
        let mut words = [0; BLOCK];
        for (b, out) in out.chunks_mut(batch).enumerate() {
            let start = chunk * CHUNK + b * batch;
            let first = first.wrapping_add((start / per_block) as u64);
            let blocks = out.len().div_ceil(per_block);
            vectorize(
                #[inline(always)]
                || fill_words(key, first, &mut words[..4 * blocks]),
            );
            f(start, &words, out);
        }
    });
}

pub(super) fn fill<T: Float<Acc: Variate>>(
    distribution: Distribution,
    key: [u32; 2],
    first: u64,
    out: &mut [T],
) -> Result<()> {
    let per_block = distribution.per_block(T::DTYPE);
    let mut batch = |map: &(dyn Fn(&[u32; BLOCK], &mut [T::Acc]) + Sync), finish: &(dyn Fn(&mut [T]) + Sync)| {
        for_each_batch(key, first, per_block, out, |_, words, out| {
            let mut result = [T::Acc::ZERO; BLOCK];
            let result = &mut result[..out.len()];
            map(words, result);
            T::narrow(result, out);
            finish(out);
        });
    };
    match distribution {
        Distribution::Uniform { low, high } => {
            let digits = match T::DTYPE {
                DType::F64 => 53,
                DType::F16 => 11,
                DType::BF16 => 8,
                _ => 24,
            };
            let (start, range) = (T::Acc::of(low), T::Acc::of(high - low));
            let (low, high) = (T::from_f64(low), T::from_f64(high));
            let map = |words: &[u32; BLOCK], out: &mut [T::Acc]| {
                vectorize(
                    #[inline(always)]
                    || {
                        let width = T::Acc::WORDS;
                        for (o, w) in out.iter_mut().zip(words.chunks_exact(width)) {
                            *o = T::Acc::unit(w, digits).mul_add(range, start);
                        }
                    },
                );
            };
            // Rounding may reach the excluded bound; as PyTorch, such a draw counts as the lowest.
            let finish = |out: &mut [T]| out.iter_mut().filter(|x| **x >= high).for_each(|x| *x = low);
            batch(&map, &finish);
        }
        Distribution::Normal { mean, std } => {
            let (mean, std) = (T::Acc::of(mean), T::Acc::of(std));
            let map = |words: &[u32; BLOCK], out: &mut [T::Acc]| {
                let mut pairs = [T::Acc::ZERO; BLOCK];
                vectorize(
                    #[inline(always)]
                    || {
                        let width = 2 * T::Acc::WORDS;
                        for (o, w) in pairs.chunks_exact_mut(2).zip(words.chunks_exact(width)) {
                            let (a, b) = normal_pair::<T::Acc>(w);
                            o[0] = a.mul_add(std, mean);
                            o[1] = b.mul_add(std, mean);
                        }
                    },
                );
                out.copy_from_slice(&pairs[..out.len()]);
            };
            batch(&map, &|_| {});
        }
        Distribution::Bernoulli { p } => {
            let threshold = threshold(p);
            let map = |words: &[u32; BLOCK], out: &mut [T::Acc]| {
                vectorize(
                    #[inline(always)]
                    || {
                        for (o, &w) in out.iter_mut().zip(words) {
                            *o = if (w as u64) < threshold { T::Acc::ONE } else { T::Acc::ZERO };
                        }
                    },
                );
            };
            batch(&map, &|_| {});
        }
        Distribution::Gamma { shape, scale } => {
            let (shape, scale) = (T::Acc::of(shape), T::Acc::of(scale));
            for_each_chunk(out, CHUNK / 16, |chunk, out| {
                for (i, o) in out.iter_mut().enumerate() {
                    let block = first.wrapping_add((chunk * (CHUNK / 16) + i) as u64);
                    let attempt = |k| philox(key, [block as u32, (block >> 32) as u32, k, 0]);
                    *o = T::from_acc(gamma(shape, attempt) * scale);
                }
            });
        }
    }
    Ok(())
}

/// The words below which an event of probability p happens.
pub(super) fn threshold(p: f64) -> u64 {
    (p * 4294967296.0).round() as u64
}

pub(super) fn bernoulli<T: Float>(p: View<'_>, key: [u32; 2], first: u64, out: &mut [T]) -> Result<()> {
    let [layout] = coalesce([*p.layout()]);
    let all = p.buffer().as_slice::<T>()?;
    for_each_batch(key, first, 4, out, |start, words, out| {
        let mut p = [T::Acc::ZERO; BLOCK];
        load_strided(all, &layout, start, &mut p[..out.len()]);
        for ((o, &p), &w) in out.iter_mut().zip(&p).zip(words) {
            *o = if (w as f64) < p.to_f64() * 4294967296.0 {
                T::from_acc(T::Acc::ONE)
            } else {
                T::from_acc(T::Acc::ZERO)
            };
        }
    });
    Ok(())
}

pub(super) fn dropout<T: Float>(
    p: f64,
    key: [u32; 2],
    first: u64,
    input: Option<View<'_>>,
    whole: Layout,
    out: &mut [T],
) -> Result<()> {
    let [layout] = coalesce([input.map_or(whole, |i| *i.layout())]);
    let all = input.map(|i| i.buffer().as_slice::<T>()).transpose()?;
    let dropped = threshold(p);
    let scale = if p < 1.0 { T::Acc::of(1.0 / (1.0 - p)) } else { T::Acc::ZERO };
    for_each_batch(key, first, 4, out, |start, words, out| {
        let mut x = [T::Acc::ZERO; BLOCK];
        let x = &mut x[..out.len()];
        match all {
            Some(all) => load_strided(all, &layout, start, x),
            None => T::widen(out, x),
        }
        vectorize(
            #[inline(always)]
            || {
                for (x, &w) in x.iter_mut().zip(words) {
                    *x = if (w as u64) < dropped { T::Acc::ZERO } else { *x * scale };
                }
            },
        );
        T::narrow(x, out);
    });
    Ok(())
}
