//! Launches of `kernels/conv.cu` and `kernels/conv_nhwc.cu`.

use super::plan::gpu::{GatherPlan, GpuRoute, THREADS, VectorPlan, gather_params, plan, vector_kernels, window_params};
use super::{ConvDesc, Direction, LAST};
use crate::device::cuda::{CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::device::{Buffer, Device, Memory, View};
use crate::kernels::elementwise::contiguous;
use crate::kernels::gemm::{Activation, Epilogue, GemmDesc, Precision, gemm};
use crate::kernels::named::NamedKernel;
use crate::kernels::params::WindowParams;
use crate::kernels::{images, mixed_devices, on_device, unsupported_on_cuda};
use crate::{DType, Element, Layout, Result, Shape};
use half::{bf16, f16};

const FLOATS: &str = "f32, f16, bf16";

/// The kernels of a dtype that are no tiles.
struct Kernels {
    sum_splits: NamedKernel,
    depthwise: [NamedKernel; 3],
    im2col: NamedKernel,
    col2im: NamedKernel,
}

macro_rules! kernels {
    ($cuda:literal) => {
        Kernels {
            sum_splits: NamedKernel::new(concat!("conv_sum_splits<", $cuda, ">")),
            depthwise: [
                NamedKernel::new(concat!("depthwise_forward<", $cuda, ">")),
                NamedKernel::new(concat!("depthwise_input<", $cuda, ">")),
                NamedKernel::new(concat!("depthwise_weight<", $cuda, ">")),
            ],
            im2col: NamedKernel::new(concat!("im2col<", $cuda, ">")),
            col2im: NamedKernel::new(concat!("col2im<", $cuda, ">")),
        }
    };
}

static F32: Kernels = kernels!("f32");
static F16: Kernels = kernels!("f16");
static BF16: Kernels = kernels!("bf16");

fn device_of(op: &'static str, out: &Buffer) -> Result<CudaDevice> {
    match out.device() {
        Device::Cuda(device) => Ok(device),
        Device::Cpu => Err(mixed_devices(op)),
    }
}

/// A pointer to all elements of a contiguous view.
fn pointer<'a, T: Element>(op: &'static str, view: &View<'a>, device: &CudaDevice) -> Result<DevicePtr<'a, T>> {
    let layout = view.layout();
    let offset = if layout.numel() == 0 { 0 } else { layout.offset() };
    on_device(op, view, device)?.read(offset, layout.numel())
}

fn target<'a, T: Element>(op: &'static str, buffer: &'a mut Buffer) -> Result<DevicePtrMut<'a, T>> {
    let len = buffer.len();
    match buffer.memory_mut() {
        Memory::Cuda(memory) => memory.write(0, len),
        Memory::Cpu(_) => Err(mixed_devices(op)),
    }
}

/// Threads for `count` elements, at most four blocks a multiprocessor.
fn each(count: usize, device: &CudaDevice) -> LaunchConfig {
    LaunchConfig::covering(count, 256, 4 * device.spec().multiprocessors)
}

pub(super) fn run(
    op: &'static str,
    direction: Direction,
    desc: &ConvDesc,
    a: View<'_>,
    b: View<'_>,
    bias: Option<View<'_>>,
    out: &mut Buffer,
) -> Result<()> {
    let call = Call { op, direction, desc };
    match out.dtype() {
        DType::F32 => call.run::<f32>(&F32, a, b, bias, out),
        DType::F16 => call.run::<f16>(&F16, a, b, bias, out),
        DType::BF16 => call.run::<bf16>(&BF16, a, b, bias, out),
        dtype => Err(unsupported_on_cuda(op, dtype, FLOATS)),
    }
}

/// A view of four axes, in the order of memory with channels last.
fn reordered(view: View<'_>) -> Result<View<'_>> {
    view.with_layout(view.layout().permute(&LAST))
}

/// A contiguous view as a matrix.
fn matrix(view: View<'_>, dims: [usize; 2], strides: [usize; 2]) -> Result<View<'_>> {
    view.with_layout(Layout::new(Shape::new(&dims)?, &strides, view.layout().offset())?)
}

struct Call<'a> {
    op: &'static str,
    direction: Direction,
    desc: &'a ConvDesc,
}

impl Call<'_> {
    fn run<T: Element>(
        &self,
        kernels: &Kernels,
        a: View<'_>,
        b: View<'_>,
        bias: Option<View<'_>>,
        out: &mut Buffer,
    ) -> Result<()> {
        let device = device_of(self.op, out)?;
        if out.is_empty() {
            return Ok(());
        }
        let last = self.desc.channels_last;
        let (a, b) = if last { (reordered(a)?, reordered(b)?) } else { (a, b) };
        let (a, b, bias) = (contiguous(a)?, contiguous(b)?, bias.map(contiguous).transpose()?);
        let (a, b, bias) = (a.view(), b.view(), bias.as_ref().map(|bias| bias.view()));
        let starts = [pointer::<T>(self.op, &a, &device)?, pointer::<T>(self.op, &b, &device)?];
        let aligned = starts.iter().all(|start| start.address().is_multiple_of(16));
        match plan(self.direction, self.desc, T::DTYPE, aligned, device.spec())? {
            GpuRoute::Pointwise if last => self.pixels(a, b, bias, out),
            GpuRoute::Pointwise => self.pointwise(a, b, bias, out),
            GpuRoute::Vectors(plan) => self.vectors::<T>(kernels, &device, &plan, a, b, bias, out),
            GpuRoute::Depthwise => self.depthwise::<T>(kernels, &device, a, b, bias, out),
            GpuRoute::Gather(plan) => self.gather::<T>(kernels, &device, &plan, a, b, bias, out),
        }
    }

    /// The weight (or its transpose) times each image, with the bias as a residual that is one number a row.
    fn pointwise(&self, a: View<'_>, weight: View<'_>, bias: Option<View<'_>>, out: &mut Buffer) -> Result<()> {
        let ConvDesc { batch, channels: [c, o], input: [h, w], .. } = *self.desc;
        let forward = self.direction == Direction::Forward;
        let (m, k, strides) = if forward { (o, c, [0, c, 1]) } else { (c, o, [0, 1, c]) };
        let n = h * w;
        let view = |view: View<'_>, dims: [usize; 3], strides: [usize; 3]| {
            Layout::new(Shape::new(&dims)?, &strides, view.layout().offset())
        };
        let weight = weight.with_layout(view(weight, [batch, m, k], strides)?)?;
        let images = a.with_layout(view(a, [batch, k, n], [k * n, n, 1])?)?;
        let residual = match bias {
            Some(bias) => Some(bias.with_layout(view(bias, [batch, m, n], [0, 1, 0])?)?),
            None => None,
        };
        let (activation, precision) = (Activation::None, Precision::Ieee);
        let desc = GemmDesc { batch, m, n, k, alpha: 1.0, beta: 0.0, activation, precision };
        gemm(&desc, weight, images, Epilogue { bias: None, residual }, None, out)
    }

    /// With channels last a batch's pixels are the rows of a matrix: times the weight (or its transpose), or, for the
    /// weight's gradient, two such matrices times each other.
    fn pixels(&self, a: View<'_>, b: View<'_>, bias: Option<View<'_>>, out: &mut Buffer) -> Result<()> {
        let ConvDesc { batch, channels: [c, o], input: [h, w], .. } = *self.desc;
        let pixels = batch * h * w;
        let ([m, n, k], left, right) = match self.direction {
            Direction::Forward => ([pixels, o, c], matrix(a, [pixels, c], [c, 1])?, matrix(b, [c, o], [1, c])?),
            Direction::Input => ([pixels, c, o], matrix(a, [pixels, o], [o, 1])?, matrix(b, [o, c], [c, 1])?),
            Direction::Weight => ([o, c, pixels], matrix(b, [o, pixels], [1, o])?, matrix(a, [pixels, c], [c, 1])?),
        };
        let (activation, precision) = (Activation::None, Precision::Ieee);
        let desc = GemmDesc { batch: 1, m, n, k, alpha: 1.0, beta: 0.0, activation, precision };
        gemm(&desc, left, right, Epilogue { bias, residual: None }, None, out)
    }

    fn depthwise<T: Element>(
        &self,
        kernels: &Kernels,
        device: &CudaDevice,
        a: View<'_>,
        b: View<'_>,
        bias: Option<View<'_>>,
        out: &mut Buffer,
    ) -> Result<()> {
        let op = self.op;
        let params = window_params(self.desc, bias.is_some())?;
        let (at_a, at_b) = (pointer::<T>(op, &a, device)?, pointer::<T>(op, &b, device)?);
        let at_bias = bias.map_or(Ok(DevicePtr::null()), |bias| pointer::<T>(op, &bias, device))?;
        let len = out.len();
        let at_out = target::<T>(op, out)?;
        let kernel = kernels.depthwise[self.direction as usize].on(device, &images::CONV)?;
        if self.direction == Direction::Weight {
            let blocks = u32::try_from(len).unwrap_or(u32::MAX).min(i32::MAX as u32);
            // SAFETY: x, y's gradient and the weight have the lengths of the descriptor (checked by the family), beyond
            // which the kernel computes no index; it writes each weight.
            return unsafe { kernel.launch(&LaunchConfig::linear(blocks, 256), (params, at_out, at_a, at_b)) };
        }
        // SAFETY: as above; the bias has a number for each channel of the output, where the parameters say there is one.
        unsafe { kernel.launch(&each(len, device), (params, at_out, at_a, at_b, at_bias)) }
    }

    #[allow(clippy::too_many_arguments)] // the operands of the family's call and what was found out about them
    fn gather<T: Element>(
        &self,
        kernels: &Kernels,
        device: &CudaDevice,
        plan: &GatherPlan,
        a: View<'_>,
        b: View<'_>,
        bias: Option<View<'_>>,
        out: &mut Buffer,
    ) -> Result<()> {
        let op = self.op;
        let params = gather_params(self.direction, self.desc, plan, bias.is_some());
        // The kernel's rows are channels of the weight, and of y's gradient where the weight's is computed.
        let (rows, windows) = (b, a);
        let (at_rows, at_windows) = (pointer::<T>(op, &rows, device)?, pointer::<T>(op, &windows, device)?);
        let at_bias = bias.map_or(Ok(DevicePtr::null()), |bias| pointer::<T>(op, &bias, device))?;
        let config = LaunchConfig { grid: plan.grid, ..LaunchConfig::linear(1, THREADS) };
        let kernel = plan.tile.kernels[self.direction as usize].on(device, &images::CONV)?;
        self.in_parts::<T>(kernels, device, params.splits, out, |at_out, at_partial| {
            // SAFETY: operands and output have the lengths of the descriptor (checked by the family), whose strides the
            // parameters hold; the kernel reads rows, columns and steps of k below their extents and positions inside an
            // image, and writes each output, or each number of each part, once.
            unsafe { kernel.launch(&config, (params, at_out, at_partial, at_rows, at_windows, at_bias)) }
        })
    }

    #[allow(clippy::too_many_arguments)] // as above
    fn vectors<T: Element>(
        &self,
        kernels: &Kernels,
        device: &CudaDevice,
        plan: &VectorPlan,
        a: View<'_>,
        b: View<'_>,
        bias: Option<View<'_>>,
        out: &mut Buffer,
    ) -> Result<()> {
        let op = self.op;
        let Some(found) = vector_kernels(T::DTYPE) else { unreachable!("the plan has found kernels of this dtype") };
        let (at_a, at_b) = (pointer::<T>(op, &a, device)?, pointer::<T>(op, &b, device)?);
        let at_bias = bias.map_or(Ok(DevicePtr::null()), |bias| pointer::<T>(op, &bias, device))?;
        let params = window_params(self.desc, bias.is_some())?;
        let (groups, [phases_x, phases]) = (self.desc.groups as u32, plan.phases);
        let config = LaunchConfig { grid: plan.grid, ..LaunchConfig::linear(1, THREADS) };
        let kernel = found[self.direction as usize].on(device, &images::CONV_NHWC)?;
        self.in_parts::<T>(kernels, device, plan.grid[1], out, |at_out, at_partial| {
            // SAFETY: as for `gather`; channels of a group are multiples of eight and the pointers of 16 bytes (checked by
            // the plan), so that the eight numbers of an access exist and are aligned.
            unsafe {
                kernel.launch(
                    &config,
                    (params, groups, phases_x, phases, plan.split, at_out, at_partial, at_a, at_b, at_bias),
                )
            }
        })
    }

    /// Calls `launch` with the output and with room for its parts, and adds them up if there are several.
    fn in_parts<T: Element>(
        &self,
        kernels: &Kernels,
        device: &CudaDevice,
        splits: u32,
        out: &mut Buffer,
        launch: impl FnOnce(DevicePtrMut<'_, T>, DevicePtrMut<'_, f32>) -> Result<()>,
    ) -> Result<()> {
        let (op, len) = (self.op, out.len());
        let mut partial = match splits {
            1 => None,
            _ => Some(Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, splits as usize * len)?),
        };
        let at_partial = match &mut partial {
            Some(partial) => target::<f32>(op, partial)?,
            None => DevicePtrMut::from_address(0),
        };
        let sums = at_partial.alias();
        let at_out = target::<T>(op, out)?;
        let again = DevicePtrMut::<T>::from_address(at_out.address());
        launch(at_out, at_partial)?;
        if splits > 1 {
            let kernel = kernels.sum_splits.on(device, &images::CONV)?;
            // SAFETY: the parts are `splits` times the output's length, all written by the launch before.
            unsafe { kernel.launch(&each(len, device), (len as u64, splits, again, sums))? };
        }
        Ok(())
    }
}

pub(super) fn im2col(desc: &ConvDesc, x: View<'_>, cols: &mut Buffer) -> Result<()> {
    let params = window_params(desc, false)?;
    match cols.dtype() {
        DType::F32 => columns::<f32>("im2col", &F32.im2col, params, x, cols),
        DType::F16 => columns::<f16>("im2col", &F16.im2col, params, x, cols),
        DType::BF16 => columns::<bf16>("im2col", &BF16.im2col, params, x, cols),
        dtype => Err(unsupported_on_cuda("im2col", dtype, FLOATS)),
    }
}

pub(super) fn col2im(desc: &ConvDesc, cols: View<'_>, x: &mut Buffer) -> Result<()> {
    let params = window_params(desc, false)?;
    match x.dtype() {
        DType::F32 => columns::<f32>("col2im", &F32.col2im, params, cols, x),
        DType::F16 => columns::<f16>("col2im", &F16.col2im, params, cols, x),
        DType::BF16 => columns::<bf16>("col2im", &BF16.col2im, params, cols, x),
        dtype => Err(unsupported_on_cuda("col2im", dtype, FLOATS)),
    }
}

fn columns<T: Element>(
    op: &'static str,
    kernel: &NamedKernel,
    params: WindowParams,
    from: View<'_>,
    to: &mut Buffer,
) -> Result<()> {
    let device = device_of(op, to)?;
    if to.is_empty() {
        return Ok(());
    }
    let from = contiguous(from)?;
    let from = from.view();
    let at_from = pointer::<T>(op, &from, &device)?;
    let config = each(to.len(), &device);
    let at_to = target::<T>(op, to)?;
    let kernel = kernel.on(&device, &images::CONV)?;
    // SAFETY: x and the columns have the lengths of the descriptor (checked by the family), beyond which the kernel
    // computes no index; it writes each element of its output.
    unsafe { kernel.launch(&config, (params, at_to, at_from)) }
}
