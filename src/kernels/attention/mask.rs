//! Masks on a tile of scores (keys × queries).

use super::AttentionDesc;
use crate::device::View;
use crate::device::cpu::{Float, Real};
use crate::{DType, Layout, Result};

enum Values<'a, T> {
    None,
    Keep(&'a [u8]),
    Add(&'a [T]),
}

/// The causal rule and the mask of a call.
pub(super) struct Mask<'a, T> {
    values: Values<'a, T>,
    layout: Layout,
    causal: bool,
}

/// Where a tile lies.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub b: usize,
    pub h: usize,
    pub query: usize,
    /// Queries that exist: the panel may be wider.
    pub queries: usize,
    pub key: usize,
}

impl<'a, T: Float> Mask<'a, T> {
    pub(super) fn new(desc: &AttentionDesc, mask: Option<View<'a>>, fallback: &Layout) -> Result<Self> {
        let (values, layout) = match mask {
            None => (Values::None, *fallback),
            Some(view) if view.dtype() == DType::U8 => (Values::Keep(view.buffer().as_slice()?), *view.layout()),
            Some(view) => (Values::Add(view.buffer().as_slice()?), *view.layout()),
        };
        Ok(Mask { values, layout, causal: desc.causal })
    }

    /// Sets masked scores to −∞ and adds what is added; `scores` has `nr` queries per key.
    pub(super) fn apply(&self, at: At, nr: usize, scores: &mut [T::Acc]) {
        let rows = scores.chunks_exact_mut(nr);
        let keys = rows.len();
        if self.causal && at.key + keys > at.query + 1 {
            for (k, row) in rows.enumerate() {
                // Queries before the key do not see it.
                let hidden = (at.key + k).saturating_sub(at.query).min(nr);
                row[..hidden].fill(T::Acc::NEG_INFINITY);
            }
        }
        let strides = self.layout.strides();
        let start = |q: usize| {
            let (b, h, query) = (at.b * strides[0], at.h * strides[1], (at.query + q) * strides[2]);
            self.layout.offset() + b + h + query + at.key * strides[3]
        };
        let mut each = |f: &dyn Fn(usize, &mut T::Acc)| {
            for q in 0..at.queries {
                let start = start(q);
                for k in 0..keys {
                    f(start + k * strides[3], &mut scores[k * nr + q]);
                }
            }
        };
        match self.values {
            Values::None => {}
            Values::Keep(keep) => each(&|i, score| {
                if keep[i] == 0 {
                    *score = T::Acc::NEG_INFINITY;
                }
            }),
            Values::Add(add) => each(&|i, score| *score += add[i].to_acc()),
        }
    }
}
