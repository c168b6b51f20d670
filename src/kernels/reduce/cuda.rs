//! Launches of `kernels/reduce.cu`.

use super::{Extreme, ReduceDesc, Reduction, Scan};
use crate::device::View;
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::kernels::images::REDUCE;
use crate::kernels::params::{Axes, Divisor, ReduceParams, ScanParams};
use crate::kernels::strided::LIMIT;
use crate::kernels::{on_device, unsupported_on_cuda};
use crate::shape::coalesce;
use crate::{DType, Element, Error, Layout, Result, Shape, with_dtype};

/// Threads of a block, as `reduce.cu` has them.
const THREADS: usize = 256;
/// Blocks that a reduction is cut into where it has few outputs.
const BLOCKS: usize = 1024;
/// Groups that each thread has at least where it is cut.
const GROUPS: usize = 8;
/// Bytes of the largest state between the two kernels.
const STATE: usize = 16;

/// How a reduction is laid over blocks: a function of shapes and strides, never of the device, for the order of every
/// addition follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// Whether the threads of one output are neighbours.
    rows: bool,
    /// Outputs of a block, and threads of each.
    x: usize,
    y: usize,
    /// Parts that the elements of an output are cut into, and elements of a part.
    parts: usize,
    share: usize,
}

impl Plan {
    fn new(outputs: usize, count: usize, rows: bool, group: usize) -> Self {
        let threads = (count / (2 * group)).next_power_of_two().clamp(1, THREADS);
        let (x, y) = if rows {
            (THREADS / threads, threads)
        } else {
            let wide = outputs.next_power_of_two().min(32);
            let y = threads.min(THREADS / wide);
            (THREADS / y, y)
        };
        let tiles = outputs.div_ceil(x).max(1);
        let most = count.div_ceil(y * group * GROUPS).max(1);
        let share = count.div_ceil((BLOCKS / tiles).clamp(1, most)).next_multiple_of(group).max(group);
        Plan { rows, x, y, parts: count.div_ceil(share).max(1), share }
    }
}

impl Axes {
    /// The walk of a layout; its offset goes into the pointer.
    pub(crate) fn new(layout: &Layout) -> Self {
        let rank = layout.dims().len();
        let mut axes = Axes { rank: rank as u32, ..Default::default() };
        for axis in 0..rank {
            axes.sizes[axis] = Divisor::new(layout.dims()[rank - 1 - axis].max(1));
            axes.strides[axis] = layout.strides()[rank - 1 - axis] as i64;
        }
        axes
    }
}

/// The kept axes in their order, and the reduced axes with the one of the smallest stride innermost; both merged.
fn split(desc: &ReduceDesc, layout: &Layout) -> Result<(Layout, Layout)> {
    let part = |axes: &[usize], offset: usize| -> Result<Layout> {
        let dims: Vec<usize> = axes.iter().map(|&axis| layout.dims()[axis]).collect();
        let strides: Vec<usize> = axes.iter().map(|&axis| layout.strides()[axis]).collect();
        let [merged] = coalesce([Layout::new(Shape::new(&dims)?, &strides, offset)?]);
        Ok(merged)
    };
    let axes = |flag: bool| desc.reduced.iter().enumerate().filter(move |&(_, &r)| r == flag).map(|(i, _)| i);
    let mut reduced: Vec<usize> = axes(true).collect();
    reduced.sort_by_key(|&axis| std::cmp::Reverse(layout.strides()[axis]));
    Ok((part(&axes(false).collect::<Vec<_>>(), layout.offset())?, part(&reduced, 0)?))
}

/// The elements of a group, as `reduce.cu` has them.
fn group(dtype: DType) -> usize {
    if dtype.size() == 2 { 8 } else { 4 }
}

/// The parameters of a launch; the pointer is to the input's first element.
fn params(op: &'static str, kept: &Layout, reduced: &Layout, dtype: DType) -> Result<ReduceParams> {
    let (outputs, count, group) = (kept.numel(), reduced.numel(), group(dtype));
    let (inner, stride) = (reduced.dims().last().copied().unwrap_or(1), reduced.strides().last().copied().unwrap_or(0));
    let across = kept.strides().last().copied().unwrap_or(0);
    let rows = outputs == 1 || across == 0 || (count > 1 && stride <= across);
    let plan = Plan::new(outputs, count, rows, group);
    let runs = reduced.dims().len() == 1 || inner.is_multiple_of(group);
    let chunk = (group * dtype.size()).min(16) / dtype.size();
    let outer = &reduced.strides()[..reduced.dims().len() - 1];
    let aligned = kept.offset().is_multiple_of(chunk)
        && kept.strides().iter().zip(kept.dims()).all(|(s, &d)| d == 1 || s.is_multiple_of(chunk))
        && outer.iter().all(|s| s.is_multiple_of(chunk));
    if outputs >= LIMIT || (count >= LIMIT && reduced.dims().len() > 1) {
        let message = format!("{outputs} results of {count} elements each: a CUDA device takes fewer than 2³¹ of both");
        return Err(Error::argument(op, message));
    }
    Ok(ReduceParams {
        outputs: outputs as u64,
        count: count as u64,
        share: plan.share as u64,
        parts: plan.parts as u32,
        x: plan.x as u32,
        y: plan.y as u32,
        rows: u32::from(rows),
        runs: u32::from(runs),
        vectors: u32::from(runs && stride == 1 && aligned),
        root: 0,
        divisor: 1.0,
        kept: Axes::new(kept),
        reduced: Axes::new(reduced),
    })
}

const DTYPES: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];
const EVERY: &str = "f32, f16, bf16, i64, u32, u8";
const OPERATIONS: [&str; 12] = [
    "sum",
    "product",
    "largest",
    "smallest",
    "norm1",
    "norm2",
    "logsumexp",
    "variance",
    "any_set",
    "all_set",
    "argmax",
    "argmin",
];

/// The kernels of one operation on one dtype.
fn kernels(device: &CudaDevice, operation: usize, dtype: DType, out: DType) -> Result<[Kernel; 2]> {
    type Cells = [[KernelSlot; 2]; 2];
    static KERNELS: [[Cells; 6]; 12] = [const { [const { [const { [const { KernelSlot::new() }; 2] }; 2] }; 6] }; 12];
    let name = OPERATIONS[operation];
    let Some(slot) = DTYPES.iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(name, dtype, EVERY));
    };
    // Half types give results of their own type or of f32.
    let cells = &KERNELS[operation][slot][usize::from(dtype != out)];
    let find = |i: usize, kind: &str, of: DType| {
        cells[i].get(device, || device.kernel(&REDUCE, &format!("{kind}<{name}, {of}, {out}>")))
    };
    // States are of what the elements are widened to.
    let wide = if dtype.is_float() { DType::F32 } else { DType::I64 };
    Ok([find(0, "reduce", dtype)?, find(1, "merge", wide)?])
}

/// Reduces into `out`, of dtype `to`.
pub(super) fn reduce(
    desc: &ReduceDesc,
    reduction: Reduction,
    input: View<'_>,
    to: DType,
    out: &mut CudaMemory,
) -> Result<()> {
    let (kept, reduced) = split(desc, input.layout())?;
    let mut params = params(reduction.name(), &kept, &reduced, input.dtype())?;
    let n = reduced.numel() as f64;
    let operation = match reduction {
        Reduction::Sum => "sum",
        Reduction::Mean => {
            params.divisor = n as f32;
            "sum"
        }
        Reduction::Product => "product",
        Reduction::Max => "largest",
        Reduction::Min => "smallest",
        Reduction::Norm1 => "norm1",
        Reduction::Norm2 => "norm2",
        Reduction::LogSumExp => "logsumexp",
        Reduction::Var { correction } | Reduction::Std { correction } => {
            params.divisor = (n - correction).max(0.0) as f32;
            params.root = u32::from(matches!(reduction, Reduction::Std { .. }));
            "variance"
        }
        Reduction::Any => "any_set",
        Reduction::All => "all_set",
    };
    let name = reduction.name();
    if input.dtype() == DType::F64 {
        return Err(unsupported_on_cuda(name, DType::F64, if to == DType::U8 { EVERY } else { "f32, f16, bf16" }));
    }
    let Some(operation) = OPERATIONS.iter().position(|&o| o == operation) else {
        unreachable!("every reduction has an operation");
    };
    with_dtype!(to, Out => {
        let target = out.write::<Out>(0, kept.numel())?;
        run::<Out>(name, operation, input, params, target, DevicePtrMut::from_address(0))
    })
}

/// The extreme along an axis and its position.
pub(super) fn extreme(
    which: Extreme,
    axis: usize,
    input: View<'_>,
    values: &mut CudaMemory,
    indices: &mut CudaMemory,
) -> Result<()> {
    let op = if which == Extreme::Max { "max" } else { "min" };
    let desc = ReduceDesc { reduced: (0..input.dims().len()).map(|i| i == axis).collect() };
    let (kept, reduced) = split(&desc, input.layout())?;
    let operation = if which == Extreme::Max { 10 } else { 11 };
    let params = params(op, &kept, &reduced, input.dtype())?;
    if input.dtype() == DType::F64 {
        return Err(unsupported_on_cuda(op, DType::F64, EVERY));
    }
    if values.device() != indices.device() {
        return Err(crate::kernels::mixed_devices(op));
    }
    with_dtype!(input.dtype(), T => {
        let places = indices.write::<i64>(0, kept.numel())?;
        run::<T>(op, operation, input, params, values.write::<T>(0, kept.numel())?, places)
    })
}

fn run<Out: Element>(
    op: &'static str,
    operation: usize,
    input: View<'_>,
    params: ReduceParams,
    out: DevicePtrMut<'_, Out>,
    indices: DevicePtrMut<'_, i64>,
) -> Result<()> {
    let crate::device::Memory::Cuda(memory) = input.buffer().memory() else {
        return Err(crate::kernels::mixed_devices(op));
    };
    if params.outputs == 0 {
        return Ok(());
    }
    let device = memory.device().clone();
    let [reduce, merge] = kernels(&device, operation, input.dtype(), Out::DTYPE)?;
    let (outputs, parts) = (params.outputs as usize, params.parts as usize);
    let jobs = outputs.div_ceil(params.x as usize) * parts;
    let config = LaunchConfig { block: [THREADS as u32, 1, 1], ..LaunchConfig::covering(jobs, 1, 1 << 22) };
    let mut states = CudaMemory::uninit(&device, if parts == 1 { 0 } else { outputs * parts * STATE })?;
    let scratch =
        if parts == 1 { DevicePtrMut::from_address(0) } else { states.write::<u8>(0, outputs * parts * STATE)? };
    let again = (
        DevicePtrMut::<Out>::from_address(out.address()),
        DevicePtrMut::<i64>::from_address(indices.address()),
        scratch.alias(),
    );
    with_dtype!(input.dtype(), T => {
        let x = memory.read::<T>(0, input.layout().span())?.address() + (input.layout().offset() * size_of::<T>()) as u64;
        // SAFETY: the walks stay inside the input's span, there are as many outputs as the kept axes have elements, and a
        // state of at most `STATE` bytes for each output of each part.
        unsafe { reduce.launch(&config, (params, out, indices, scratch, DevicePtr::<T>::from_address(x))) }
    })?;
    if parts == 1 {
        return Ok(());
    }
    let config = LaunchConfig::covering(outputs * 32, THREADS as u32, 1 << 20);
    // SAFETY: as above.
    unsafe { merge.launch(&config, (params, again.0, again.1, again.2)) }
}

/// The lanes of a scan.
fn lanes(dims: &[usize], axis: usize, reverse: bool) -> ScanParams {
    ScanParams {
        outer: dims[..axis].iter().product::<usize>() as u64,
        n: dims[axis] as u64,
        inner: dims[axis + 1..].iter().product::<usize>() as u64,
        reverse: u32::from(reverse),
        reserved: 0,
    }
}

/// Lanes that lie side by side from which on each has a thread, not a block.
const COLUMNS: u64 = 32;

/// Accumulates a contiguous input along an axis.
pub(super) fn scan(kind: Scan, axis: usize, input: View<'_>, out: &mut CudaMemory) -> Result<()> {
    static KERNELS: [[[KernelSlot; 6]; 2]; 2] = [const { [const { [const { KernelSlot::new() }; 6] }; 2] }; 2];
    let (op, dtype, device) = (kind.name(), input.dtype(), out.device().clone());
    let Some(slot) = DTYPES.iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(op, dtype, EVERY));
    };
    let params = lanes(input.dims(), axis, kind == Scan::ReverseSum);
    let to = if dtype.is_float() { dtype } else { DType::I64 };
    let (numel, columns) = (input.layout().numel(), params.inner >= COLUMNS);
    if numel == 0 {
        return Ok(());
    }
    let product = kind == Scan::Product;
    let kernel = KERNELS[usize::from(columns)][usize::from(product)][slot].get(&device, || {
        let (walk, what) = (if columns { "columns" } else { "lanes" }, if product { "Product" } else { "Sum" });
        device.kernel(&REDUCE, &format!("scan_{walk}<{what}, {dtype}, {to}>"))
    })?;
    let lanes = (params.outer * params.inner) as usize;
    let config = if columns {
        LaunchConfig::covering(lanes, THREADS as u32, 1 << 20)
    } else {
        LaunchConfig { block: [THREADS as u32, 1, 1], ..LaunchConfig::covering(lanes, 1, 1 << 20) }
    };
    let memory = on_device(op, &input, &device)?;
    with_dtype!(dtype, T => with_dtype!(to, Out => {
        let (x, out) = (memory.read::<T>(input.layout().offset(), numel)?, out.write::<Out>(0, numel)?);
        // SAFETY: input and output have the lanes' elements.
        unsafe { kernel.launch(&config, (params, out, x)) }
    }))
}

/// The gradient of running products, contiguous.
pub(super) fn cumprod_backward(axis: usize, x: View<'_>, g: View<'_>, out: &mut CudaMemory) -> Result<()> {
    static KERNELS: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
    let (op, dtype, device) = ("backward of cumprod", x.dtype(), out.device().clone());
    let Some(slot) = DTYPES[..3].iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(op, dtype, "f32, f16, bf16"));
    };
    let params = lanes(x.dims(), axis, false);
    let numel = x.layout().numel();
    if numel == 0 {
        return Ok(());
    }
    let kernel = KERNELS[slot].get(&device, || device.kernel(&REDUCE, &format!("cumprod_backward<{dtype}>")))?;
    let config = LaunchConfig::covering((params.outer * params.inner) as usize, THREADS as u32, 1 << 20);
    let mut before = CudaMemory::uninit(&device, numel * size_of::<f32>())?;
    let (xs, gs) = (on_device(op, &x, &device)?, on_device(op, &g, &device)?);
    with_dtype!(dtype, T => {
        let arguments = (
            params,
            out.write::<T>(0, numel)?,
            before.write::<f32>(0, numel)?,
            xs.read::<T>(x.layout().offset(), numel)?,
            gs.read::<T>(g.layout().offset(), numel)?,
        );
        // SAFETY: all have the lanes' elements.
        unsafe { kernel.launch(&config, arguments) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_fill_a_block_and_cover_every_element() {
        for rows in [false, true] {
            for outputs in [1, 2, 3, 31, 32, 33, 1000, 1 << 20] {
                for count in [0, 1, 7, 8, 9, 100, 4096, 1 << 20, (1 << 24) + 1] {
                    let plan = Plan::new(outputs, count, rows, 4);
                    assert_eq!(plan.x * plan.y, THREADS, "{plan:?}");
                    assert!(plan.x.is_power_of_two() && plan.y.is_power_of_two(), "{plan:?}");
                    assert!(plan.parts * plan.share >= count && plan.share.is_multiple_of(4), "{count}: {plan:?}");
                    assert!(plan.parts == 1 || (plan.parts - 1) * plan.share < count, "{count}: {plan:?}");
                    assert!(plan.parts == 1 || outputs.div_ceil(plan.x) * plan.parts <= 2 * BLOCKS, "{plan:?}");
                }
            }
        }
    }
}
