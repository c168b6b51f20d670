//! Launches of `kernels/gemm.cu`.

use super::plan::gpu::{Extents, GpuPlan, Loads, Stored, plan};
use super::{Activation, Epilogue, GemmDesc};
use crate::device::cuda::{Boxes, CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig, Swizzle, TensorMap};
use crate::device::{Buffer, Device, Memory, View};
use crate::kernels::elementwise::{Contiguous, contiguous};
use crate::kernels::images;
use crate::kernels::named::NamedKernel;
use crate::kernels::params::{ACTIVATION_GELU, ACTIVATION_NONE, ACTIVATION_RELU, EpilogueParams, GemmParams};
use crate::kernels::{mixed_devices, on_device, unsupported_on_cuda};
use crate::{DType, Element, Layout, Result, Shape};
use half::{bf16, f16};

const OP: &str = "matmul";

pub(super) fn gemm(
    desc: &GemmDesc,
    a: View<'_>,
    b: View<'_>,
    epilogue: Epilogue<'_>,
    before: Option<&mut Buffer>,
    out: &mut Buffer,
) -> Result<()> {
    match out.dtype() {
        DType::F32 => launch::<f32>(desc, a, b, epilogue, before, out),
        DType::F16 => launch::<f16>(desc, a, b, epilogue, before, out),
        DType::BF16 => launch::<bf16>(desc, a, b, epilogue, before, out),
        dtype => Err(unsupported_on_cuda(OP, dtype, "f32, f16, bf16")),
    }
}

/// A view that a kernel can read as it is, or a copy of it that it can.
enum Operand<'a> {
    InPlace(View<'a>),
    Copy(Contiguous<'a>),
}

impl<'a> Operand<'a> {
    fn new(view: View<'a>, in_place: bool) -> Result<Self> {
        Ok(if in_place { Operand::InPlace(view) } else { Operand::Copy(contiguous(view)?) })
    }

    fn view(&self) -> View<'_> {
        match self {
            Operand::InPlace(view) => *view,
            Operand::Copy(copy) => copy.view(),
        }
    }
}

/// A pointer to what a view reads, from its first element on.
fn pointer<'a, T: Element>(view: &View<'a>, device: &CudaDevice) -> Result<DevicePtr<'a, T>> {
    let layout = view.layout();
    let offset = if layout.numel() == 0 { 0 } else { layout.offset() };
    on_device(OP, view, device)?.read(offset, layout.span() - offset)
}

fn target<T: Element>(buffer: &mut Buffer, device: &CudaDevice) -> Result<DevicePtrMut<'static, T>> {
    let len = buffer.len();
    match buffer.memory_mut() {
        Memory::Cuda(memory) if memory.device() == device => {
            Ok(DevicePtrMut::from_address(memory.write::<T>(0, len)?.address()))
        }
        _ => Err(mixed_devices(OP)),
    }
}

/// The batch axes folded into two, such that all operands can be read in place if there is a way.
fn batch_axes(lead: &[usize], fits: impl Fn([usize; 2]) -> bool) -> [usize; 2] {
    let split = |at: usize| [lead[..at].iter().product(), lead[at..].iter().product()];
    (0..=lead.len()).map(split).find(|&axes| fits(axes)).unwrap_or(split(0))
}

/// The strides of a layout in a shape, where it has them.
fn strides<const N: usize>(layout: &Layout, dims: [usize; N]) -> Option<[usize; N]> {
    layout.reshape(&Shape::new(&dims).ok()?)?.strides().try_into().ok()
}

fn launch<T: Element>(
    desc: &GemmDesc,
    a: View<'_>,
    b: View<'_>,
    epilogue: Epilogue<'_>,
    before: Option<&mut Buffer>,
    out: &mut Buffer,
) -> Result<()> {
    let &GemmDesc { batch, m, n, k, .. } = desc;
    let Device::Cuda(device) = out.device() else { return Err(mixed_devices(OP)) };
    if out.is_empty() {
        return Ok(());
    }
    let shapes = |[outer, inner]: [usize; 2]| [[outer, inner, m, k], [outer, inner, k, n], [outer, inner, m, n]];
    let reads = |view: &View<'_>, extents: Extents| Stored::of(view.layout(), extents).is_some();
    let reads_residual = |view: &View<'_>, extents: Extents| strides(view.layout(), extents).is_some();
    let axes = batch_axes(&a.dims()[..a.dims().len() - 2], |axes| {
        let [of_a, of_b, of_r] = shapes(axes);
        reads(&a, of_a) && reads(&b, of_b) && epilogue.residual.is_none_or(|r| reads_residual(&r, of_r))
    });
    let [of_a, of_b, of_r] = shapes(axes);
    let (a, b) = (Operand::new(a, reads(&a, of_a))?, Operand::new(b, reads(&b, of_b))?);
    let residual = epilogue.residual.map(|r| Operand::new(r, reads_residual(&r, of_r))).transpose()?;
    let bias = epilogue.bias.map(|b| Operand::new(b, strides(b.layout(), [n]).is_some())).transpose()?;
    let (view_a, view_b) = (a.view(), b.view());
    let (Some(stored_a), Some(stored_b)) = (Stored::of(view_a.layout(), of_a), Stored::of(view_b.layout(), of_b))
    else {
        unreachable!("contiguous operands have contiguous rows")
    };
    let (at_a, at_b) = (pointer::<T>(&view_a, &device)?, pointer::<T>(&view_b, &device)?);
    let size = size_of::<T>();
    let loads = stored_a.loads(at_a.address(), size, of_a).min(stored_b.loads(at_b.address(), size, of_b));
    let plan = plan(desc, T::DTYPE, [stored_a.transposed, stored_b.transposed], loads, device.spec())?;

    let (bias_view, residual_view) = (bias.as_ref().map(Operand::view), residual.as_ref().map(Operand::view));
    let bias_stride = bias_view.and_then(|view| strides(view.layout(), [n])).map_or(0, |[stride]| stride);
    let residual_strides = residual_view.and_then(|view| strides(view.layout(), of_r)).unwrap_or_default();
    let at_bias = bias_view.map_or(Ok(DevicePtr::null()), |view| pointer::<T>(&view, &device))?;
    let at_residual = residual_view.map_or(Ok(DevicePtr::null()), |view| pointer::<T>(&view, &device))?;
    let [outer_r, inner_r, row_r, column_r] = residual_strides;
    let rows = Stored { transposed: false, line: row_r, outer: outer_r, inner: inner_r };
    let params = GemmParams {
        m: m as i32,
        n: n as i32,
        k: k as i32,
        batch: batch as i32,
        inner: axes[1] as i32,
        split: plan.split as i32,
        lda: stored_a.line as i64,
        ldb: stored_b.line as i64,
        outer_a: stored_a.outer as i64,
        inner_a: stored_a.inner as i64,
        outer_b: stored_b.outer as i64,
        inner_b: stored_b.inner as i64,
        outer_residual: outer_r as i64,
        inner_residual: inner_r as i64,
        epilogue: EpilogueParams {
            alpha: desc.alpha as f32,
            beta: desc.beta as f32,
            activation: activation(desc.activation),
            has_bias: u32::from(bias.is_some()),
            has_residual: u32::from(residual.is_some()),
            has_before: u32::from(before.is_some()),
            // Buffers start at multiples of 256 bytes.
            vector: u32::from((n * size).is_multiple_of(16)),
            vector_residual: u32::from(column_r == 1 && rows.vector(at_residual.address(), size, of_r)),
            bias_stride: bias_stride as i64,
            residual_row: row_r as i64,
            residual_column: column_r as i64,
        },
    };
    let at_before = before.map_or(Ok(DevicePtrMut::from_address(0)), |before| target::<T>(before, &device))?;
    let at_out = target::<T>(out, &device)?;
    let splits = plan.splits();
    let mut partial = match splits {
        1 => None,
        _ => Some(Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, splits * batch * m * n)?),
    };
    let at_partial = match &mut partial {
        Some(partial) => target::<f32>(partial, &device)?,
        None => DevicePtrMut::from_address(0),
    };
    let (again_out, again_before, sums) = (at_out.address(), at_before.address(), at_partial.alias());
    let (grid, dynamic_shared) = (plan.blocks(), plan.tile.dynamic_shared);
    let config = LaunchConfig { grid, dynamic_shared, ..LaunchConfig::linear(1, plan.tile.threads) };
    let kernel = plan.kernel().on(&device, plan.tile.unit.module())?;
    // SAFETY: A and B are read at the indices of their layouts, bias and residual likewise, where their pointers were
    // checked to lie in their buffers up to the layouts' spans; the output and the values before have batch·m·n elements
    // (checked by the family), and so has each split of the partial sums.
    unsafe {
        if plan.loads == Loads::Tma {
            let a = map(&plan, &device, at_a, &stored_a, of_a, [0, 1])?;
            let b = map(&plan, &device, at_b, &stored_b, of_b, [1, 0])?;
            kernel.launch(&config, (params, a, b, at_out, at_before, at_partial, at_bias, at_residual))?;
        } else {
            kernel.launch(&config, (params, at_out, at_before, at_partial, at_a, at_b, at_bias, at_residual))?;
        }
    }
    if splits > 1 {
        let kernel = sum_kernel(T::DTYPE).on(&device, &images::GEMM)?;
        let config = LaunchConfig::covering(batch * m * n, 256, 4 * device.spec().multiprocessors);
        let (at_out, at_before) =
            (DevicePtrMut::<T>::from_address(again_out), DevicePtrMut::<T>::from_address(again_before));
        // SAFETY: as above; the splits were all written by the launch before.
        unsafe { kernel.launch(&config, (params, at_out, at_before, sums, at_bias, at_residual))? };
    }
    Ok(())
}

/// An operand as `gemm_wgmma` loads it: lines, and the batch's two axes; boxes of 64 numbers of a line and as many lines
/// as a tile has, where those are the output's rows or columns (of which `side` tells which), or 64 lines of K.
fn map<'a, T: Element>(
    plan: &GpuPlan,
    device: &CudaDevice,
    first: DevicePtr<'a, T>,
    stored: &Stored,
    [outer, inner, rows, columns]: Extents,
    [side, along_k]: [usize; 2],
) -> Result<TensorMap<'a>> {
    let (len, lines) = if stored.transposed { (rows, columns) } else { (columns, rows) };
    // The lines of A run along K if they are its rows, those of B if they are its columns.
    let k_contiguous = stored.transposed == (along_k == 0);
    let box_lines = if k_contiguous { plan.tile.sides[side] } else { plan.tile.depth };
    // What the whole batch shares is there once.
    let each = |stride: usize, extent: usize| if stride == 0 { 1 } else { extent };
    let boxes = Boxes {
        dims: &[len, lines, each(stored.inner, inner), each(stored.outer, outer)],
        strides: &[stored.line, stored.inner, stored.outer],
        sides: &[64, box_lines as u32, 1, 1],
        swizzle: Swizzle::Bytes128,
    };
    TensorMap::new(device, first, &boxes)
}

fn activation(activation: Activation) -> u32 {
    match activation {
        Activation::None => ACTIVATION_NONE,
        Activation::Relu => ACTIVATION_RELU,
        Activation::Gelu => ACTIVATION_GELU,
    }
}

fn sum_kernel(dtype: DType) -> &'static NamedKernel {
    static F32: NamedKernel = NamedKernel::new("gemm_sum_splits<f32>");
    static F16: NamedKernel = NamedKernel::new("gemm_sum_splits<f16>");
    static BF16: NamedKernel = NamedKernel::new("gemm_sum_splits<bf16>");
    match dtype {
        DType::F16 => &F16,
        DType::BF16 => &BF16,
        _ => &F32,
    }
}
