//! Blocks of elements are widened to f32 (or read in place), mapped by a vectorised loop and narrowed. The walk over
//! memory is compiled once per dtype; only the loop over a block is compiled per function.

use super::Map;
use crate::device::View;
use crate::device::cpu::{BLOCK, Float, Real, for_each_chunk, load_elements, load_strided, map_ranges, vectorize};
use crate::shape::coalesce;
use crate::{Element, Layout, Result};

/// Elements that one thread takes at a time. A cheap map of fewer is done sooner than another thread wakes up.
const CHUNK: usize = 1 << 15;

/// A function over blocks of equal length.
pub(super) type Apply<'a, const N: usize, A> = &'a (dyn Fn([&[A]; N], &mut [A]) + Sync);

/// The loop over a block, to be made an [`Apply`] of. Generic in what it computes only, so that dtypes which share an
/// accumulator and the ways of walking memory share its code: it is most of the family's compile time (which is also why it
/// fills its arrays by loops: `array::map` and `from_fn` are compiled anew for each closure).
pub(super) fn apply<const N: usize, F: Map<N>, A: Real>(f: F, x: [&[A]; N], out: &mut [A]) {
    let n = out.len();
    let mut rows: [&[A]; N] = [&[]; N];
    for i in 0..N {
        rows[i] = &x[i][..n];
    }
    vectorize(
        #[inline(always)]
        || {
            for j in 0..n {
                let mut x = [A::ZERO; N];
                for i in 0..N {
                    x[i] = rows[i][j];
                }
                out[j] = f.eval(x);
            }
        },
    );
}

/// Inputs with their axes merged; `None` stands for the output itself.
struct Inputs<'a, const N: usize, T> {
    all: [Option<&'a [T]>; N],
    layouts: [Layout; N],
}

impl<'a, const N: usize, T: Element> Inputs<'a, N, T> {
    fn new(views: &[Option<View<'a>>; N], whole: Layout) -> Result<Self> {
        let layouts = coalesce(views.map(|v| v.map_or(whole, |v| *v.layout())));
        let mut all = [None; N];
        for (slice, view) in all.iter_mut().zip(views) {
            *slice = view.map(|v| v.buffer().as_slice::<T>()).transpose()?;
        }
        Ok(Inputs { all, layouts })
    }

    /// Elements `start..start + n` of an input, where they lie in one run.
    fn run(&self, i: usize, start: usize, n: usize) -> Option<&'a [T]> {
        let from = self.layouts[i].offset() + start;
        self.all[i].filter(|_| self.layouts[i].is_contiguous()).map(|all| &all[from..from + n])
    }

    fn is_constant(&self, i: usize) -> bool {
        self.all[i].is_some() && self.layouts[i].strides().iter().all(|&s| s == 0)
    }
}

/// out = f(inputs), where an input of `None` is the output's own earlier value. `whole` is the output's layout.
pub(super) fn map<const N: usize, T: Float>(
    f: Apply<'_, N, T::Acc>,
    views: &[Option<View<'_>>; N],
    whole: Layout,
    out: &mut [T],
) -> Result<()> {
    let inputs = Inputs::<N, T>::new(views, whole)?;
    for_each_chunk(out, CHUNK, |chunk, out| map_chunk(f, &inputs, chunk * CHUNK, out));
    Ok(())
}

fn map_chunk<const N: usize, T: Float>(
    f: Apply<'_, N, T::Acc>,
    inputs: &Inputs<'_, N, T>,
    start: usize,
    out: &mut [T],
) {
    let direct: [Option<&[T::Acc]>; N] =
        std::array::from_fn(|i| inputs.run(i, start, out.len()).and_then(|run| T::as_acc(run)));
    if let Some(out) = T::as_acc_mut(out)
        && direct.iter().all(Option::is_some)
    {
        return f(direct.map(Option::unwrap_or_default), out);
    }
    let mut blocks = [[T::Acc::default(); BLOCK]; N];
    let mut result = [T::Acc::default(); BLOCK];
    for i in (0..N).filter(|&i| inputs.is_constant(i)) {
        blocks[i] = [inputs.all[i].map_or(T::Acc::ZERO, |all| all[inputs.layouts[i].offset()].to_acc()); BLOCK];
    }
    for (b, out) in out.chunks_mut(BLOCK).enumerate() {
        let n = out.len();
        for (i, block) in blocks.iter_mut().enumerate() {
            match inputs.all[i] {
                None => T::widen(out, &mut block[..n]),
                Some(_) if direct[i].is_some() || inputs.is_constant(i) => {}
                Some(all) => load_strided(all, &inputs.layouts[i], start + b * BLOCK, &mut block[..n]),
            }
        }
        let x: [&[T::Acc]; N] =
            std::array::from_fn(|i| direct[i].map_or(&blocks[i][..n], |d| &d[b * BLOCK..b * BLOCK + n]));
        match T::as_acc_mut(out) {
            Some(out) => f(x, out),
            None => {
                f(x, &mut result[..n]);
                T::narrow(&result[..n], out);
            }
        }
    }
}

/// Σ f(inputs) over all elements: eight lanes per block, then f64, in an order that depends on the count only.
pub(super) fn sum<const N: usize, T: Float>(f: Apply<'_, N, T::Acc>, views: &[View<'_>; N]) -> Result<f64> {
    let inputs = Inputs::<N, T>::new(&views.map(Some), *views[0].layout())?;
    let partial = map_ranges(views[0].layout().numel(), CHUNK, |range| {
        let mut blocks = [[T::Acc::default(); BLOCK]; N];
        let mut result = [T::Acc::default(); BLOCK];
        let mut total = 0.0;
        for start in range.clone().step_by(BLOCK) {
            let n = BLOCK.min(range.end - start);
            for (i, block) in blocks.iter_mut().enumerate() {
                if let Some(all) = inputs.all[i] {
                    load_strided(all, &inputs.layouts[i], start, &mut block[..n]);
                }
            }
            f(std::array::from_fn(|i| &blocks[i][..n]), &mut result[..n]);
            total += lane_sum(&result[..n]);
        }
        total
    });
    Ok(partial.into_iter().sum())
}

fn lane_sum<A: Real>(x: &[A]) -> f64 {
    let mut lanes = [A::ZERO; 8];
    for c in x.chunks(8) {
        for (l, &v) in lanes.iter_mut().zip(c) {
            *l += v;
        }
    }
    lanes.iter().map(|l| l.to_f64()).sum()
}

/// Integer maps, in i64, wrapping to the dtype.
pub(super) fn map_integer<const N: usize, T: Element<Acc = i64>>(
    f: &(dyn Fn([i64; N]) -> i64 + Sync),
    views: &[View<'_>; N],
    out: &mut [T],
) -> Result<()> {
    combine(
        &|x: [&[T]; N], out: &mut [T]| {
            for (j, o) in out.iter_mut().enumerate() {
                *o = T::from_acc(f(std::array::from_fn(|i| x[i][j].to_acc())));
            }
        },
        views,
        out,
    )
}

/// out = f(inputs) for inputs of any one dtype and an output of another, without conversions.
pub(super) fn combine<const N: usize, T: Element, U: Element>(
    f: &(dyn Fn([&[T]; N], &mut [U]) + Sync),
    views: &[View<'_>; N],
    out: &mut [U],
) -> Result<()> {
    let inputs = Inputs::<N, T>::new(&views.map(Some), *views[0].layout())?;
    for_each_chunk(out, CHUNK, |chunk, out| {
        let mut blocks = [[T::default(); BLOCK]; N];
        for (b, out) in out.chunks_mut(BLOCK).enumerate() {
            let (n, start) = (out.len(), chunk * CHUNK + b * BLOCK);
            let x = load(&inputs, start, n, &mut blocks);
            f(x, out);
        }
    });
    Ok(())
}

fn load<'a, const N: usize, T: Element>(
    inputs: &Inputs<'a, N, T>,
    start: usize,
    n: usize,
    blocks: &'a mut [[T; BLOCK]; N],
) -> [&'a [T]; N] {
    for (i, block) in blocks.iter_mut().enumerate() {
        if let (None, Some(all)) = (inputs.run(i, start, n), inputs.all[i]) {
            load_elements(all, &inputs.layouts[i], start, &mut block[..n]);
        }
    }
    let blocks = &*blocks;
    std::array::from_fn(|i| inputs.run(i, start, n).unwrap_or(&blocks[i][..n]))
}

/// out = a where the mask is not 0, else b.
pub(super) fn select<T: Element>(mask: View<'_>, a: View<'_>, b: View<'_>, out: &mut [T]) -> Result<()> {
    // All three are merged alike, so that one block of each covers the same elements.
    let [mask_layout, a_layout, b_layout] = coalesce([*mask.layout(), *a.layout(), *b.layout()]);
    let masks = Inputs { all: [Some(mask.buffer().as_slice::<u8>()?)], layouts: [mask_layout] };
    let values = Inputs {
        all: [Some(a.buffer().as_slice::<T>()?), Some(b.buffer().as_slice::<T>()?)],
        layouts: [a_layout, b_layout],
    };
    for_each_chunk(out, CHUNK, |chunk, out| {
        let (mut mask_block, mut blocks) = ([[0; BLOCK]], [[T::default(); BLOCK]; 2]);
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let (n, start) = (out.len(), chunk * CHUNK + block * BLOCK);
            let [mask] = load(&masks, start, n, &mut mask_block);
            let [a, b] = load(&values, start, n, &mut blocks);
            vectorize(
                #[inline(always)]
                || {
                    for (o, ((&m, &a), &b)) in out.iter_mut().zip(mask.iter().zip(a).zip(b)) {
                        *o = if m != 0 { a } else { b };
                    }
                },
            );
        }
    });
    Ok(())
}
