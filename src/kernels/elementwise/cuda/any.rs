//! Launches of `kernels/elementwise_any.cu`: what exists for every dtype.

use super::{Operand, THREADS, at, covering, read};
use crate::device::View;
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::kernels::elementwise::{IntegerMap, Relation};
use crate::kernels::images::ELEMENTWISE_ANY;
use crate::kernels::params::{self, ElementwiseParams, StridedParams};
use crate::kernels::strided::{LIMIT, for_each_part};
use crate::kernels::unsupported_on_cuda;
use crate::shape::coalesce;
use crate::{DType, Layout, Result};

crate::launches! {
    in ELEMENTWISE_ANY;
    unsafe fn fill_1 = "fill<1>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
    unsafe fn fill_2 = "fill<2>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
    unsafe fn fill_4 = "fill<4>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
    unsafe fn fill_8 = "fill<8>" (out: DevicePtrMut<'_, u8>, bits: u64, count: u64);
}

/// The place of a dtype in tables of kernels; `None` for f64, which has none.
fn slot(dtype: DType) -> Option<usize> {
    DTYPES.iter().position(|&d| d == dtype)
}

const DTYPES: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];
/// Their names in errors.
const EVERY: &str = "f32, f16, bf16, i64, u32, u8";

/// out = x in the output's dtype, which is contiguous.
pub(in super::super) fn cast(input: View<'_>, to: DType, out: &mut CudaMemory) -> Result<()> {
    static CONTIGUOUS: [[KernelSlot; 6]; 6] = [const { [const { KernelSlot::new() }; 6] }; 6];
    static STRIDED: [[KernelSlot; 6]; 6] = [const { [const { KernelSlot::new() }; 6] }; 6];
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
            cells[i][j].get(&device, || device.kernel(&ELEMENTWISE_ANY, &format!("{kind}<{to}, {from}>")))
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
pub(in super::super) fn compare(relation: Relation, a: View<'_>, b: View<'_>, out: &mut CudaMemory) -> Result<()> {
    static KERNELS: [KernelSlot; 6] = [const { KernelSlot::new() }; 6];
    let (name, dtype, device) = (relation.name(), a.dtype(), out.device().clone());
    let Some(slot) = slot(dtype) else { return Err(unsupported_on_cuda(name, dtype, EVERY)) };
    let kernel =
        KERNELS[slot].get(&device, || device.kernel(&ELEMENTWISE_ANY, &format!("compare_strided<{dtype}>")))?;
    let relation = match relation {
        Relation::Eq => params::RELATION_EQ,
        Relation::Ne => params::RELATION_NE,
        Relation::Lt => params::RELATION_LT,
        Relation::Le => params::RELATION_LE,
        Relation::Gt => params::RELATION_GT,
        Relation::Ge => params::RELATION_GE,
        Relation::And => params::RELATION_AND,
        Relation::Or => params::RELATION_OR,
        Relation::Xor => params::RELATION_XOR,
    };
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
                relation,
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
pub(in super::super) fn select(mask: View<'_>, a: View<'_>, b: View<'_>, out: &mut CudaMemory) -> Result<()> {
    static KERNELS: [KernelSlot; 4] = [const { KernelSlot::new() }; 4];
    let (op, device, size) = ("where", out.device().clone(), a.dtype().size());
    let kernel = KERNELS[size.trailing_zeros() as usize]
        .get(&device, || device.kernel(&ELEMENTWISE_ANY, &format!("select_strided<u{}>", 8 * size)))?;
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
pub(in super::super) fn map_integer<const N: usize>(
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
    let kernel = KERNELS[slot].get(&device, || device.kernel(&ELEMENTWISE_ANY, &format!("map_integer<{dtype}>")))?;
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
pub(in super::super) fn fill(bits: u64, size: usize, count: usize, out: &mut CudaMemory) -> Result<()> {
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
        device.kernel(&ELEMENTWISE_ANY, &format!("copy_strided<{name}>"))
    })
}

fn transposing(device: &CudaDevice, size: usize) -> Result<Kernel> {
    static KERNELS: [KernelSlot; 4] = [const { KernelSlot::new() }; 4];
    KERNELS[size.trailing_zeros() as usize]
        .get(device, || device.kernel(&ELEMENTWISE_ANY, &format!("copy_transposed<u{}>", 8 * size)))
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
