//! Launches of `kernels/elementwise.cu`.

use super::{IntegerMap, Relation};
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::device::{Buffer, Memory, View};
use crate::kernels::images::ELEMENTWISE;
use crate::kernels::params::{self, ElementwiseParams, MAX_OPERANDS, StridedParams};
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
        const NONE: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
        MapKernels { name, contiguous: NONE, strided: NONE, sum: NONE }
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
    unsafe fn fill_1 = "fill<1>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
    unsafe fn fill_2 = "fill<2>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
    unsafe fn fill_4 = "fill<4>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
    unsafe fn fill_8 = "fill<8>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
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

/// The place of a dtype in tables of kernels; `None` for f64, which has none.
fn slot(dtype: DType) -> Option<usize> {
    DTYPES.iter().position(|&d| d == dtype)
}

const DTYPES: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];
/// Their names in errors.
const EVERY: &str = "f32, f16, bf16, i64, u32, u8";

/// out = x in the output's dtype, which is contiguous.
pub(super) fn cast(input: View<'_>, to: DType, out: &mut CudaMemory) -> Result<()> {
    const ROW: [KernelSlot; 6] = [const { KernelSlot::new() }; 6];
    static CONTIGUOUS: [[KernelSlot; 6]; 6] = [ROW; 6];
    static STRIDED: [[KernelSlot; 6]; 6] = [ROW; 6];
    let (op, from) = ("cast", input.dtype());
    if from == to {
        return copy(input, &Layout::contiguous(*input.layout().shape()), out);
    }
    let Some((i, j)) = slot(to).zip(slot(from)) else {
        return Err(unsupported_on_cuda(op, if slot(to).is_none() { to } else { from }, EVERY));
    };
    let device = out.device().clone();
    crate::with_dtype!(from, From => crate::with_dtype!(to, To => {
        let operand = Operand::new::<From>(op, &input, &device)?;
        let numel = operand.layout.numel();
        let address = out.write::<To>(0, numel)?.address();
        if numel == 0 {
            return Ok(());
        }
        let find = |kind: &str, cells: &'static [[KernelSlot; 6]; 6]| {
            cells[i][j].get(&device, || device.kernel(&ELEMENTWISE, &format!("{kind}<{to}, {from}>")))
        };
        if operand.layout.is_contiguous() {
            let params = ElementwiseParams { count: numel as u64, ..Default::default() };
            let x = read::<From>(operand.address, operand.layout.offset());
            // SAFETY: input and output have `count` elements.
            return unsafe {
                let config = covering(&device, numel.div_ceil(4));
                find("cast", &CONTIGUOUS)?.launch(&config, (params, DevicePtrMut::<To>::from_address(address), x))
            };
        }
        let kernel = find("cast_strided", &STRIDED)?;
        let whole = Layout::contiguous(*operand.layout.shape());
        for_each_part(coalesce([whole, operand.layout]), LIMIT, &mut |parts| {
            let out = DevicePtrMut::<To>::from_address(at::<To>(address, parts[0].offset()));
            let x = read::<From>(operand.address, parts[1].offset());
            // SAFETY: the layouts stay inside the two buffers.
            unsafe { kernel.launch(&covering(&device, parts[0].numel()), (StridedParams::new(parts), out, x)) }
        })
    }))
}

/// out = relation(a, b), a contiguous mask.
pub(super) fn compare(relation: Relation, a: View<'_>, b: View<'_>, out: &mut CudaMemory) -> Result<()> {
    const ROW: [KernelSlot; 6] = [const { KernelSlot::new() }; 6];
    static KERNELS: [[KernelSlot; 6]; 9] = [ROW; 9];
    let (name, dtype, device) = (relation.name(), a.dtype(), out.device().clone());
    let Some(slot) = slot(dtype) else { return Err(unsupported_on_cuda(name, dtype, EVERY)) };
    let kernel = KERNELS[relation as usize][slot]
        .get(&device, || device.kernel(&ELEMENTWISE, &format!("compare_strided<r::{name}, {dtype}>")))?;
    crate::with_dtype!(dtype, T => {
        let (x, y) = (Operand::new::<T>(name, &a, &device)?, Operand::new::<T>(name, &b, &device)?);
        let whole = Layout::contiguous(*x.layout.shape());
        let address = out.write::<u8>(0, whole.numel())?.address();
        if whole.numel() == 0 {
            return Ok(());
        }
        for_each_part(coalesce([whole, x.layout, y.layout]), LIMIT, &mut |parts| {
            let arguments = (
                StridedParams::new(parts),
                DevicePtrMut::<u8>::from_address(at::<u8>(address, parts[0].offset())),
                read::<T>(x.address, parts[1].offset()),
                read::<T>(y.address, parts[2].offset()),
            );
            // SAFETY: the layouts stay inside the three buffers.
            unsafe { kernel.launch(&covering(&device, parts[0].numel()), arguments) }
        })
    })
}

/// out = mask ? a : b, contiguous.
pub(super) fn select(mask: View<'_>, a: View<'_>, b: View<'_>, out: &mut CudaMemory) -> Result<()> {
    static KERNELS: [KernelSlot; 4] = [const { KernelSlot::new() }; 4];
    let (op, device, size) = ("where", out.device().clone(), a.dtype().size());
    let kernel = KERNELS[size.trailing_zeros() as usize]
        .get(&device, || device.kernel(&ELEMENTWISE, &format!("select_strided<u{}>", 8 * size)))?;
    crate::with_dtype!(a.dtype(), T => {
        let masks = Operand::new::<u8>(op, &mask, &device)?;
        let (x, y) = (Operand::new::<T>(op, &a, &device)?, Operand::new::<T>(op, &b, &device)?);
        let whole = Layout::contiguous(*x.layout.shape());
        let address = out.write::<T>(0, whole.numel())?.address();
        if whole.numel() == 0 {
            return Ok(());
        }
        for_each_part(coalesce([whole, masks.layout, x.layout, y.layout]), LIMIT, &mut |parts| {
            let arguments = (
                StridedParams::new(parts),
                DevicePtrMut::<T>::from_address(at::<T>(address, parts[0].offset())),
                read::<u8>(masks.address, parts[1].offset()),
                read::<T>(x.address, parts[2].offset()),
                read::<T>(y.address, parts[3].offset()),
            );
            // SAFETY: the layouts stay inside the four buffers, and the kernel moves elements of the dtype's size.
            unsafe { kernel.launch(&covering(&device, parts[0].numel()), arguments) }
        })
    })
}

/// Integer functions of one or two operands into a contiguous output.
pub(super) fn map_integer<const N: usize>(
    f: IntegerMap<N>,
    views: &[View<'_>; N],
    dtype: DType,
    out: &mut CudaMemory,
) -> Result<()> {
    static KERNELS: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
    let (name, device) = (f.name(), out.device().clone());
    let Some(slot) = [DType::I64, DType::U32, DType::U8].iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(name, dtype, "i64, u32, u8"));
    };
    let (operation, a, b) = match f {
        IntegerMap::Add => (params::INTEGER_ADD, 0, 0),
        IntegerMap::Sub => (params::INTEGER_SUB, 0, 0),
        IntegerMap::Mul => (params::INTEGER_MUL, 0, 0),
        IntegerMap::Maximum => (params::INTEGER_MAXIMUM, 0, 0),
        IntegerMap::Minimum => (params::INTEGER_MINIMUM, 0, 0),
        IntegerMap::Neg => (params::INTEGER_NEG, 0, 0),
        IntegerMap::Abs => (params::INTEGER_ABS, 0, 0),
        IntegerMap::Sign => (params::INTEGER_SIGN, 0, 0),
        IntegerMap::Square => (params::INTEGER_SQUARE, 0, 0),
        IntegerMap::Affine { scale, shift } => (params::INTEGER_AFFINE, scale, shift),
        IntegerMap::Clamp { low, high } => (params::INTEGER_CLAMP, low, high),
    };
    let kernel = KERNELS[slot].get(&device, || device.kernel(&ELEMENTWISE, &format!("map_integer<{dtype}>")))?;
    crate::with_dtype!(dtype, T => {
        let (x, y) = (Operand::new::<T>(name, &views[0], &device)?, Operand::new::<T>(name, &views[N - 1], &device)?);
        let whole = Layout::contiguous(*x.layout.shape());
        let address = out.write::<T>(0, whole.numel())?.address();
        if whole.numel() == 0 {
            return Ok(());
        }
        for_each_part(coalesce([whole, x.layout, y.layout]), LIMIT, &mut |parts| {
            let arguments = (
                StridedParams::new(parts),
                operation,
                a,
                b,
                DevicePtrMut::<T>::from_address(at::<T>(address, parts[0].offset())),
                read::<T>(x.address, parts[1].offset()),
                read::<T>(y.address, parts[2].offset()),
            );
            // SAFETY: the layouts stay inside the three buffers.
            unsafe { kernel.launch(&covering(&device, parts[0].numel()), arguments) }
        })
    })
}

/// Writes one value, given as the bits of an element of `size` bytes, to all `count` elements.
pub(super) fn fill(bits: u64, size: usize, count: usize, out: &mut CudaMemory) -> Result<()> {
    let device = out.device().clone();
    let pointer = out.write::<u8>(0, count * size)?;
    if count == 0 {
        return Ok(());
    }
    // Repeated to fill a word.
    let bits = (0..8 / size).fold(0, |word, i| word | bits << (8 * size * i));
    let config = covering(&device, (count * size).div_ceil(16));
    // SAFETY: the memory has `count` elements of that size, and starts where an allocation does.
    unsafe {
        match size {
            1 => fill_1(&device, &config, pointer, bits, count as u64),
            2 => fill_2(&device, &config, pointer, bits, count as u64),
            4 => fill_4(&device, &config, pointer, bits, count as u64),
            _ => fill_8(&device, &config, pointer, bits, count as u64),
        }
    }
}

/// Extents of both dimensions of a transposition from which on the tiled kernel is taken.
const TILED: usize = 16;

/// Writes the view to the elements of `out` that `region` names; any dtype.
pub(crate) fn copy(input: View<'_>, region: &Layout, out: &mut CudaMemory) -> Result<()> {
    crate::with_dtype!(input.dtype(), T => {
        let device = out.device().clone();
        let x = Operand::new::<T>("copy", &input, &device)?;
        let to = out.write::<T>(0, region.span())?.address();
        if region.numel() == 0 {
            return Ok(());
        }
        for_each_part(coalesce([*region, x.layout]), LIMIT, &mut |parts| {
            let size = size_of::<T>();
            let offsets = parts.map(|p| p.offset() * size);
            let out = DevicePtrMut::<u8>::from_address(to + offsets[0] as u64);
            let from = DevicePtr::<u8>::from_address(x.address + offsets[1] as u64);
            if let Some(tiles) = transposed(parts) {
                let config = LaunchConfig::covering(tiles.count as usize, 1, device.spec().multiprocessors.max(1) * 32);
                let kernel = transposing(&device, size)?;
                // SAFETY: the layouts stay inside the two buffers, and the kernel moves elements of the dtype's size.
                return unsafe { kernel.launch(&LaunchConfig { block: [THREADS, 1, 1], ..config }, (tiles, out, from)) };
            }
            let (unit, parts) = widest(size, parts, [out.address(), from.address()]);
            let kernel = copying(&device, unit)?;
            // SAFETY: as above, in units of several elements that lie together on both sides.
            unsafe { kernel.launch(&covering(&device, parts[0].numel()), (StridedParams::new(&parts), out, from)) }
        })
    })
}

fn copying(device: &CudaDevice, unit: usize) -> Result<Kernel> {
    static KERNELS: [KernelSlot; 5] = [const { KernelSlot::new() }; 5];
    KERNELS[unit.trailing_zeros() as usize].get(device, || {
        // A vector of two words is spelled out.
        let name = if unit == 16 { "Vector<u64>".to_owned() } else { format!("u{}", 8 * unit) };
        device.kernel(&ELEMENTWISE, &format!("copy_strided<{name}>"))
    })
}

fn transposing(device: &CudaDevice, size: usize) -> Result<Kernel> {
    static KERNELS: [KernelSlot; 4] = [const { KernelSlot::new() }; 4];
    KERNELS[size.trailing_zeros() as usize]
        .get(device, || device.kernel(&ELEMENTWISE, &format!("copy_transposed<u{}>", 8 * size)))
}

/// The widest unit in which both sides can move, and the layouts in such units. The addresses are those of the first
/// elements.
fn widest(size: usize, parts: &[Layout; 2], addresses: [u64; 2]) -> (usize, [Layout; 2]) {
    let rank = parts[0].dims().len();
    let last = rank - 1;
    let runs = parts.iter().all(|p| p.strides()[last] == 1);
    let mut unit = 16;
    while unit > size {
        let elements = unit / size;
        let fits = runs
            && parts[0].dims()[last].is_multiple_of(elements)
            && addresses.iter().all(|a| a.is_multiple_of(unit as u64))
            && parts.iter().all(|p| p.strides()[..last].iter().all(|s| s.is_multiple_of(elements)));
        if fits {
            let wide = parts.map(|p| {
                let (mut dims, mut strides) = (p.dims().to_vec(), p.strides().to_vec());
                dims[last] /= elements;
                strides[..last].iter_mut().for_each(|s| *s /= elements);
                crate::Shape::new(&dims).and_then(|shape| Layout::new(shape, &strides, 0))
            });
            if let [Ok(out), Ok(from)] = wide {
                return (unit, [out, from]);
            }
        }
        unit /= 2;
    }
    (size, *parts)
}

/// The parameters of the tiled kernel where input and output run along different dimensions.
fn transposed(parts: &[Layout; 2]) -> Option<StridedParams> {
    let [out, from] = parts;
    let rank = out.dims().len();
    let last = rank - 1;
    let fast = (0..last).find(|&axis| from.strides()[axis] == 1 && from.dims()[axis] >= TILED)?;
    if out.strides()[last] != 1 || from.strides()[last] <= 1 || out.dims()[last] < TILED {
        return None;
    }
    let mut axes: Vec<usize> = (0..last).filter(|&axis| axis != fast).collect();
    axes.extend([fast, last]);
    let mut params = StridedParams::new(&parts.map(|p| p.permute(&axes)));
    let tiles = |axis: usize| out.dims()[axis].div_ceil(32);
    params.count = (out.numel() / out.dims()[fast] / out.dims()[last] * tiles(fast) * tiles(last)) as u32;
    Some(params)
}
