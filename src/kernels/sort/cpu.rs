//! Each element becomes an integer that orders as it does, with its position below: all distinct, so that an unstable
//! sort gives the one stable result, on any number of threads.

use super::SortDesc;
use crate::Element;
use crate::device::cpu::{GRAIN, for_each_part};
use half::{bf16, f16};
use rayon::prelude::*;

/// A row from this length on is itself sorted in parallel.
const LONG: usize = 1 << 15;

/// A dtype with an order-preserving integer image.
pub(super) trait Sortable: Element {
    /// The key in the upper bits, the position in the lower 32.
    type Packed: Ord + Copy + Send + Sync;
    fn pack(self, position: u32, descending: bool) -> Self::Packed;
    fn position(packed: Self::Packed) -> u32;
}

/// The bits of a float, ordered as integers: negative numbers reversed below positive ones.
fn key32(x: f32) -> u32 {
    if x.is_nan() {
        return u32::MAX;
    }
    let bits = (x + 0.0).to_bits(); // −0 becomes 0
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn key64(x: f64) -> u64 {
    if x.is_nan() {
        return u64::MAX;
    }
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

macro_rules! sortable {
    ($ty:ty, $key:ty, $packed:ty, |$x:ident| $image:expr) => {
        impl Sortable for $ty {
            type Packed = $packed;
            #[inline(always)]
            fn pack(self, position: u32, descending: bool) -> $packed {
                let $x = self;
                let key: $key = $image;
                (if descending { !key } else { key } as $packed) << 32 | position as $packed
            }
            #[inline(always)]
            fn position(packed: $packed) -> u32 {
                packed as u32
            }
        }
    };
}

sortable!(f32, u32, u64, |x| key32(x));
sortable!(f16, u32, u64, |x| key32(x.to_f32()));
sortable!(bf16, u32, u64, |x| key32(x.to_f32()));
sortable!(u32, u32, u64, |x| x);
sortable!(u8, u32, u64, |x| x as u32);
sortable!(f64, u64, u128, |x| key64(x));
sortable!(i64, u64, u128, |x| x as u64 ^ 1 << 63);

pub(super) fn sort<T: Sortable>(desc: &SortDesc, length: usize, x: &[T], values: &mut [T], indices: &mut [i64]) {
    let k = desc.limit;
    if values.is_empty() {
        return;
    }
    if length >= LONG || x.len() <= GRAIN / 8 {
        let mut keys = Vec::new();
        for ((x, values), indices) in x.chunks(length).zip(values.chunks_mut(k)).zip(indices.chunks_mut(k)) {
            row(desc, x, values, indices, &mut keys);
        }
    } else {
        let group = (GRAIN / 8 / length).max(1);
        let outputs = values.chunks_mut(group * k).zip(indices.chunks_mut(group * k)).zip(x.chunks(group * length));
        for_each_part(outputs.collect(), |_, ((values, indices), x)| {
            let mut keys = Vec::new();
            for ((x, values), indices) in x.chunks(length).zip(values.chunks_mut(k)).zip(indices.chunks_mut(k)) {
                row(desc, x, values, indices, &mut keys);
            }
        });
    }
}

fn row<T: Sortable>(desc: &SortDesc, x: &[T], values: &mut [T], indices: &mut [i64], keys: &mut Vec<T::Packed>) {
    keys.clear();
    keys.extend(x.iter().enumerate().map(|(i, &x)| x.pack(i as u32, desc.descending)));
    if desc.limit < keys.len() {
        keys.select_nth_unstable(desc.limit);
        keys.truncate(desc.limit);
    }
    if keys.len() >= LONG {
        keys.par_sort_unstable();
    } else {
        keys.sort_unstable();
    }
    for ((v, i), &key) in values.iter_mut().zip(indices).zip(keys.iter()) {
        let position = T::position(key);
        *v = x[position as usize];
        *i = position as i64;
    }
}
