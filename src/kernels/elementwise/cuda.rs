//! Launches of `kernels/elementwise.cu`, and in `any` of `kernels/elementwise_any.cu`.

mod any;

pub(crate) use any::copy;
pub(super) use any::{cast, compare, fill, map_integer, select};

use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::device::{Buffer, Memory, View};
use crate::kernels::images::ELEMENTWISE;
use crate::kernels::params::{ElementwiseParams, MAX_OPERANDS, StridedParams};
use crate::kernels::strided::{LIMIT, for_each_part};
use crate::kernels::{on_device, unsupported_on_cuda};
use crate::shape::coalesce;
use crate::{DType, Element, Layout, Result};
use half::{bf16, f16};

/// Threads of a block, as `elementwise.cu` has them.
const THREADS: u32 = 256;
/// The dtypes of the float functions.
const FLOATS: &str = "f32, f16, bf16";
/// The functors that have a kernel for strided operands; the others are given contiguous copies.
const STRIDED: [&str; 12] = [
    "add",
    "sub",
    "mul",
    "div",
    "mul_add",
    "add_relu",
    "maximum",
    "minimum",
    "pow",
    "scaled_sign",
    "scaled_exp_difference",
    "equal",
];
/// The most partial sums of a map that is summed.
const SUMS: usize = 1024;
/// Vectors that a thread adds up before there are that many.
const VECTORS: usize = 8;

/// The kernels of one functor, found at their first launch.
pub struct MapKernels {
    name: &'static str,
    contiguous: [KernelSlot; 3],
    strided: [KernelSlot; 3],
    sum: [KernelSlot; 3],
}

impl MapKernels {
    /// Those of the functor of that name in `kernels/elementwise.cu`.
    pub const fn new(name: &'static str) -> Self {
        MapKernels {
            name,
            contiguous: [const { KernelSlot::new() }; 3],
            strided: [const { KernelSlot::new() }; 3],
            sum: [const { KernelSlot::new() }; 3],
        }
    }

    fn find<T: Element>(&self, cells: &[KernelSlot; 3], kind: &str, device: &CudaDevice) -> Result<Kernel> {
        let slot = match T::DTYPE {
            DType::F32 => 0,
            DType::F16 => 1,
            _ => 2,
        };
        let name = self.name;
        cells[slot].get(device, || device.kernel(&ELEMENTWISE, &format!("{kind}<f::{name}, {}>", T::DTYPE)))
    }
}

/// A launch of one thread for each of `items`, as far as a few waves over the device go; kernels loop over the rest.
fn covering(device: &CudaDevice, items: usize) -> LaunchConfig {
    LaunchConfig::covering(items, THREADS, device.spec().multiprocessors.max(1) * 32)
}

/// An operand's memory, address and layout.
#[derive(Clone, Copy)]
struct Operand {
    address: u64,
    layout: Layout,
}

impl Operand {
    fn new<T: Element>(op: &'static str, view: &View<'_>, device: &CudaDevice) -> Result<Self> {
        let layout = *view.layout();
        Ok(Operand { address: on_device(op, view, device)?.read::<T>(0, layout.span())?.address(), layout })
    }

    fn is_scalar(&self) -> bool {
        self.layout.numel() > 1 && self.layout.strides().iter().all(|&s| s == 0)
    }

    fn is_direct(&self) -> bool {
        self.layout.is_contiguous() || self.is_scalar()
    }
}

/// The address of an element.
fn at<T>(address: u64, offset: usize) -> u64 {
    address + (offset * size_of::<T>()) as u64
}

fn read<'a, T>(address: u64, offset: usize) -> DevicePtr<'a, T> {
    DevicePtr::from_address(at::<T>(address, offset))
}

/// The operands of a map: `None` is the output itself.
struct Operands<'a> {
    op: &'static str,
    views: &'a [Option<View<'a>>],
    device: CudaDevice,
}

impl Operands<'_> {
    /// Calls `run` with operands of a contiguous kernel, copying those that neither are contiguous nor one number.
    fn direct<T: Element>(
        &self,
        own: Operand,
        run: impl FnOnce(&ElementwiseParams, [DevicePtr<'_, T>; MAX_OPERANDS as usize]) -> Result<()>,
    ) -> Result<()> {
        let mut params = ElementwiseParams { count: own.layout.numel() as u64, ..Default::default() };
        let mut pointers = [(); MAX_OPERANDS as usize].map(|()| DevicePtr::null());
        let mut copies: Vec<Buffer> = vec![];
        for (i, view) in self.views.iter().enumerate() {
            let mut operand = match view {
                Some(view) => Operand::new::<T>(self.op, view, &self.device)?,
                None => own,
            };
            if let Some(view) = view
                && !operand.is_direct()
            {
                let copy = super::packed(*view)?;
                let Memory::Cuda(memory) = copy.memory() else {
                    unreachable!("a copy is where its source is");
                };
                let layout = Layout::contiguous(*operand.layout.shape());
                operand = Operand { address: memory.read::<T>(0, copy.len())?.address(), layout };
                copies.push(copy);
            }
            params.scalars |= u32::from(operand.is_scalar()) << i;
            pointers[i] = read(operand.address, operand.layout.offset());
        }
        // The copies are freed in stream order, after the launch.
        run(&params, pointers)
    }
}

/// out = f(views), over a contiguous output.
pub(super) fn map(
    kernels: &'static MapKernels,
    constants: [f32; 2],
    views: &[Option<View<'_>>],
    whole: Layout,
    dtype: DType,
    out: &mut CudaMemory,
) -> Result<()> {
    match dtype {
        DType::F32 => map_of::<f32>(kernels, constants, views, whole, out),
        DType::F16 => map_of::<f16>(kernels, constants, views, whole, out),
        DType::BF16 => map_of::<bf16>(kernels, constants, views, whole, out),
        _ => Err(unsupported_on_cuda(kernels.name, dtype, FLOATS)),
    }
}

fn map_of<T: Element>(
    kernels: &'static MapKernels,
    [a, b]: [f32; 2],
    views: &[Option<View<'_>>],
    whole: Layout,
    out: &mut CudaMemory,
) -> Result<()> {
    let device = out.device().clone();
    let numel = whole.numel();
    let address = out.write::<T>(0, numel)?.address();
    if numel == 0 {
        return Ok(());
    }
    let shape = *whole.shape();
    let own = Operand { address, layout: Layout::contiguous(shape) };
    let mut operands = [own; MAX_OPERANDS as usize];
    for (operand, view) in operands.iter_mut().zip(views) {
        if let Some(view) = view {
            *operand = Operand::new::<T>(kernels.name, view, &device)?;
        }
    }
    if operands.iter().all(Operand::is_direct) || !STRIDED.contains(&kernels.name) {
        let kernel = kernels.find::<T>(&kernels.contiguous, "map", &device)?;
        return Operands { op: kernels.name, views, device }.direct::<T>(own, |params, pointers| {
            let scalar = |i: usize| params.scalars >> i & 1 == 1;
            let mut addresses = pointers.iter().enumerate().filter(|&(i, _)| !scalar(i)).map(|(_, p)| p.address());
            let aligned = address.is_multiple_of(16) && addresses.all(|address| address.is_multiple_of(16));
            let lanes = 16 / size_of::<T>();
            let vectors = if aligned { numel / lanes } else { 0 };
            let params = ElementwiseParams { vectors: vectors as u64, a, b, ..*params };
            // A thread for each vector and for each element beyond them.
            let config = LaunchConfig::covering(numel - vectors * (lanes - 1), THREADS, i32::MAX as u32);
            let out = DevicePtrMut::<T>::from_address(address);
            let [x0, x1, x2, x3] = pointers;
            // SAFETY: every operand has as many elements as the output, whose memory has `count`, or is one number; an
            // operand that is the output is read by the thread that writes the element.
            unsafe { kernel.launch(&config, (params, out, x0, x1, x2, x3)) }
        });
    }
    let kernel = kernels.find::<T>(&kernels.strided, "map_strided", &device)?;
    let [o0, o1, o2, o3] = operands;
    let layouts = coalesce([own.layout, o0.layout, o1.layout, o2.layout, o3.layout]);
    for_each_part(layouts, LIMIT, &mut |parts| {
        let params = StridedParams { a, b, ..StridedParams::new(parts) };
        let pointer = |i: usize| read::<T>(operands[i].address, parts[i + 1].offset());
        let arguments = (
            params,
            DevicePtrMut::<T>::from_address(at::<T>(address, parts[0].offset())),
            pointer(0),
            pointer(1),
            pointer(2),
            pointer(3),
        );
        // SAFETY: the layouts stay inside the operands' buffers, which `Operand::new` has compared with their spans.
        unsafe { kernel.launch(&covering(&device, parts[0].numel()), arguments) }
    })
}

/// out[0] = scale · Σ f(views).
pub(super) fn sum(
    kernels: &'static MapKernels,
    constants: [f32; 2],
    views: &[Option<View<'_>>],
    whole: Layout,
    scale: f64,
    dtype: DType,
    out: &mut CudaMemory,
) -> Result<()> {
    match dtype {
        DType::F32 => sum_of::<f32>(kernels, constants, views, whole, scale, out),
        DType::F16 => sum_of::<f16>(kernels, constants, views, whole, scale, out),
        DType::BF16 => sum_of::<bf16>(kernels, constants, views, whole, scale, out),
        _ => Err(unsupported_on_cuda(kernels.name, dtype, FLOATS)),
    }
}

crate::launches! {
    in ELEMENTWISE;
    unsafe fn finish_f32 = "finish_sum<f32>"
        (out: DevicePtrMut<'_, f32>, sums: DevicePtr<'_, f64>, count: u32, scale: f64);
    unsafe fn finish_f16 = "finish_sum<f16>"
        (out: DevicePtrMut<'_, f16>, sums: DevicePtr<'_, f64>, count: u32, scale: f64);
    unsafe fn finish_bf16 = "finish_sum<bf16>"
        (out: DevicePtrMut<'_, bf16>, sums: DevicePtr<'_, f64>, count: u32, scale: f64);
}

fn sum_of<T: Element>(
    kernels: &'static MapKernels,
    [a, b]: [f32; 2],
    views: &[Option<View<'_>>],
    whole: Layout,
    scale: f64,
    out: &mut CudaMemory,
) -> Result<()> {
    let device = out.device().clone();
    let address = out.write::<T>(0, 1)?.address();
    // How many sums there are is a function of the count alone, and with it the order of every addition.
    let share = THREADS as usize * VECTORS * (16 / size_of::<T>());
    let blocks = whole.numel().div_ceil(share).clamp(1, SUMS);
    let mut sums = CudaMemory::uninit(&device, blocks * size_of::<f64>())?;
    let kernel = kernels.find::<T>(&kernels.sum, "map_sum", &device)?;
    let config = LaunchConfig::linear(blocks as u32, THREADS);
    let own = Operand { address: 0, layout: Layout::contiguous(*whole.shape()) };
    let partial = sums.write::<f64>(0, blocks)?;
    Operands { op: kernels.name, views, device: device.clone() }.direct::<T>(own, |params, [x0, x1, x2, x3]| {
        // SAFETY: every operand has `count` elements or is one number, and there is a sum for each block.
        unsafe { kernel.launch(&config, (ElementwiseParams { a, b, ..*params }, partial, x0, x1, x2, x3)) }
    })?;
    let (sums, count, one) = (sums.read::<f64>(0, blocks)?, blocks as u32, LaunchConfig::linear(1, THREADS));
    // SAFETY: there are `count` sums, and the output has an element.
    unsafe {
        match T::DTYPE {
            DType::F32 => finish_f32(&device, &one, DevicePtrMut::from_address(address), sums, count, scale),
            DType::F16 => finish_f16(&device, &one, DevicePtrMut::from_address(address), sums, count, scale),
            _ => finish_bf16(&device, &one, DevicePtrMut::from_address(address), sums, count, scale),
        }
    }
}
