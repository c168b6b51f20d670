//! Launches of `kernels/index.cu`. An index out of range is an error of the next call that waits for the device.

use super::Around;
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::device::{Buffer, Memory, View};
use crate::kernels::images::INDEX;
use crate::kernels::params::{IndexParams, SegmentParams, StridedParams, TriangleParams};
use crate::kernels::reduce::{Scan, scan};
use crate::kernels::sort::cuda::Radix;
use crate::kernels::strided::{LIMIT, for_each_part};
use crate::kernels::{elementwise, on_device, unsupported_on_cuda};
use crate::shape::coalesce;
use crate::{DType, Device, Element, Error, Layout, Result, Shape, with_dtype};

/// Threads of a block, as `index.cu` has them.
const THREADS: u32 = 256;
/// Sources that one thread adds up in a row.
const CHUNK: usize = 64;
const INTEGERS: [DType; 3] = [DType::I64, DType::U32, DType::U8];
const DTYPES: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];

crate::launches! {
    in INDEX;
    unsafe fn mark_first(count: u64, first: DevicePtrMut<'_, u8>, keys: DevicePtr<'_, u64>);
    unsafe fn number_runs(count: u64, keys: DevicePtrMut<'_, u64>, unique: DevicePtrMut<'_, i64>,
        first: DevicePtr<'_, u8>, numbers: DevicePtr<'_, i64>);
}

fn covering(device: &CudaDevice, items: usize) -> LaunchConfig {
    LaunchConfig::covering(items, THREADS, device.spec().multiprocessors.max(1) * 32)
}

fn out_of_range(op: &'static str, _: u32, index: i64, bound: i64) -> Error {
    Error::OutOfRange { op, what: "index", index, bound: bound as usize }
}

/// The place of an index's dtype.
fn integer(op: &'static str, dtype: DType) -> Result<usize> {
    let slot = INTEGERS.iter().position(|&d| d == dtype);
    slot.ok_or_else(|| Error::dtype(op, "indices of i64, u32 or u8", &[dtype]))
}

/// The address of a view's first element.
fn address<T: Element>(op: &'static str, view: &View<'_>, device: &CudaDevice) -> Result<u64> {
    let start = (view.layout().offset() * size_of::<T>()) as u64;
    Ok(on_device(op, view, device)?.read::<T>(0, view.layout().span())?.address() + start)
}

/// What a read by index reads: `out[i] = x[lane(i) + index(i) · step]`.
pub(super) struct Gather<'a> {
    pub op: &'static str,
    pub input: View<'a>,
    pub index: View<'a>,
    /// Where each output's lane begins in the input's buffer, over the shape of the outputs.
    pub lanes: Layout,
    /// Where each output's index lies, over the same shape.
    pub places: Layout,
    pub step: usize,
    pub bound: usize,
}

impl Gather<'_> {
    /// Units in which whole runs of elements move, for a step and lanes that allow it; the layouts in such units.
    fn widest(&self, layouts: [Layout; 3], address: u64) -> (usize, [Layout; 3]) {
        let size = self.input.dtype().size();
        let last = layouts[0].dims().len() - 1;
        let runs =
            layouts[0].strides()[last] == 1 && layouts[1].strides()[last] == 1 && layouts[2].strides()[last] == 0;
        for unit in [16, 8, 4, 2].into_iter().filter(|&unit| unit > size && runs) {
            let elements = unit / size;
            let fits = layouts[0].dims()[last].is_multiple_of(elements)
                && self.step.is_multiple_of(elements)
                && address.is_multiple_of(unit as u64)
                && layouts[..2].iter().all(|l| {
                    l.offset().is_multiple_of(elements)
                        && l.strides()[..last].iter().all(|s| s.is_multiple_of(elements))
                });
            if !fits {
                continue;
            }
            let mut dims = layouts[0].dims().to_vec();
            dims[last] /= elements;
            let wide = |l: &Layout, by: usize| {
                let mut strides: Vec<usize> = l.strides().iter().map(|s| s / by).collect();
                strides[last] = l.strides()[last];
                Shape::new(&dims).and_then(|shape| Layout::new(shape, &strides, l.offset() / by))
            };
            let [out, lanes, places] = &layouts;
            if let (Ok(out), Ok(lanes), Ok(places)) = (wide(out, elements), wide(lanes, elements), wide(places, 1)) {
                return (unit, [out, lanes, places]);
            }
        }
        (size, layouts)
    }

    pub(super) fn run(&self, out: &mut CudaMemory) -> Result<()> {
        const ROW: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
        static KERNELS: [[KernelSlot; 3]; 5] = [ROW; 5];
        let (op, device, dtype) = (self.op, out.device().clone(), self.index.dtype());
        let slot = integer(op, dtype)?;
        let (report, operation) = device.report(op, out_of_range)?;
        let whole = Layout::contiguous(*self.lanes.shape());
        let bytes = whole.numel() * self.input.dtype().size();
        let to = out.write::<u8>(0, bytes)?.address();
        if bytes == 0 {
            return Ok(());
        }
        let x = with_dtype!(self.input.dtype(), T => {
            on_device(op, &self.input, &device)?.read::<T>(0, self.input.layout().span())?.address()
        });
        let (unit, layouts) = self.widest([whole, self.lanes, self.places], x);
        let step = (self.step * self.input.dtype().size() / unit) as i64;
        let p = IndexParams { bound: self.bound as i64, step, destinations: 0, operation, reserved: 0 };
        let kernel = KERNELS[unit.trailing_zeros() as usize][slot].get(&device, || {
            let name = if unit == 16 { "Vector<u64>".to_owned() } else { format!("u{}", 8 * unit) };
            device.kernel(&INDEX, &format!("gather<{name}, {dtype}>"))
        })?;
        with_dtype!(dtype, I => {
            let index = on_device(op, &self.index, &device)?.read::<I>(0, self.index.layout().span())?.address();
            for_each_part(coalesce(layouts), LIMIT, &mut |parts| {
                let at = |address: u64, part: usize, size: usize| address + (parts[part].offset() * size) as u64;
                let arguments = (
                    StridedParams::new(parts),
                    p,
                    DevicePtrMut::<u8>::from_address(at(to, 0, unit)),
                    DevicePtr::<u8>::from_address(at(x, 1, unit)),
                    DevicePtr::<I>::from_address(at(index, 2, size_of::<I>())),
                    DevicePtrMut::<u8>::from_address(report),
                );
                // SAFETY: the walks stay inside outputs and indices, and lanes with an index below the bound, which the
                // kernel checks, inside the input; the report's memory stays.
                unsafe { kernel.launch(&covering(&device, parts[0].numel()), arguments) }
            })
        })
    }
}

/// Sources and the destinations that they are added to: destination `lane(i) + index(i) · step`, of `columns` numbers.
pub(super) struct Add<'a> {
    pub op: &'static str,
    pub index: View<'a>,
    /// Where each source's lane begins among the destinations.
    pub lanes: Layout,
    /// Where each source's index lies.
    pub places: Layout,
    pub step: usize,
    pub bound: usize,
    pub destinations: usize,
    pub columns: usize,
    /// Whether no two sources can have one destination.
    pub distinct: bool,
}

impl Add<'_> {
    /// The sources in the order of their destinations.
    fn sorted(&self, device: &CudaDevice) -> Result<Radix> {
        static KERNELS: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
        let (op, dtype, count) = (self.op, self.index.dtype(), self.lanes.numel());
        let slot = integer(op, dtype)?;
        let (report, operation) = device.report(op, out_of_range)?;
        let mut radix = Radix::new(op, device, count)?;
        let p = IndexParams {
            bound: self.bound as i64,
            step: self.step as i64,
            destinations: self.destinations as u64,
            operation,
            reserved: 0,
        };
        let kernel = KERNELS[slot].get(device, || device.kernel(&INDEX, &format!("destinations<{dtype}>")))?;
        with_dtype!(dtype, I => {
            let index = on_device(op, &self.index, device)?.read::<I>(0, self.index.layout().span())?.address();
            let whole = Layout::contiguous(*self.lanes.shape());
            // Every part numbers its own sources from 0; there is one, as there are fewer than 2³¹.
            if count >= LIMIT {
                return Err(Error::argument(op, format!("{count} sources; a CUDA device adds fewer than 2³¹ at once")));
            }
            let layouts = coalesce([whole, self.lanes, self.places]);
            let (keys, sources) = radix.write()?;
            let arguments = (
                StridedParams::new(&layouts),
                p,
                keys,
                sources,
                DevicePtr::<I>::from_address(index + (layouts[2].offset() * size_of::<I>()) as u64),
                DevicePtrMut::<u8>::from_address(report),
            );
            // SAFETY: the walk stays inside the indices, keys and sources; the report's memory stays.
            unsafe { kernel.launch(&covering(device, count), arguments)? };
        });
        if !self.distinct {
            // One more than the last destination is the number of the refused.
            radix.sort(usize::BITS - self.destinations.leading_zeros(), count)?;
        }
        Ok(radix)
    }

    /// Adds the rows of a contiguous source.
    pub(super) fn run(&self, source: View<'_>, out: &mut CudaMemory) -> Result<()> {
        let device = out.device().clone();
        supported(self.op, source.dtype())?;
        if self.lanes.numel() * self.columns == 0 {
            return Ok(());
        }
        let radix = self.sorted(&device)?;
        add_runs(self.op, &radix, self.lanes.numel(), self.columns, self.destinations, source, out)
    }
}

fn supported(op: &'static str, dtype: DType) -> Result<usize> {
    let slot = DTYPES.iter().position(|&d| d == dtype);
    slot.ok_or_else(|| unsupported_on_cuda(op, dtype, "f32, f16, bf16, i64, u32, u8"))
}

/// Adds rows by sorted destinations.
fn add_runs(
    op: &'static str,
    radix: &Radix,
    count: usize,
    columns: usize,
    destinations: usize,
    source: View<'_>,
    out: &mut CudaMemory,
) -> Result<()> {
    static KERNELS: [[KernelSlot; 2]; 6] = [const { [const { KernelSlot::new() }; 2] }; 6];
    let (device, dtype) = (out.device().clone(), source.dtype());
    let slot = supported(op, dtype)?;
    let find = |i: usize, kind: &str| -> Result<Kernel> {
        KERNELS[slot][i].get(&device, || device.kernel(&INDEX, &format!("{kind}<{dtype}>")))
    };
    let p = SegmentParams { count: count as u64, columns: columns as u64, destinations: destinations as u64 };
    let jobs = count.div_ceil(CHUNK) * columns;
    if jobs >= LIMIT {
        let message = format!("{count} rows of {columns} numbers are more than a CUDA device adds in one call");
        return Err(Error::argument(op, message));
    }
    let config = covering(&device, jobs);
    let rows = with_dtype!(dtype, T => address::<T>(op, &source, &device)?);
    let (keys, sources) = radix.read()?;
    let keys_again = DevicePtr::<u64>::from_address(keys.address());
    with_dtype!(dtype, T => {
        type A = <T as Element>::Acc;
        // What comes in from the chunk before and what goes on into the next.
        let mut sums = CudaMemory::uninit(&device, 2 * jobs * size_of::<A>())?;
        let incoming = sums.write::<A>(0, 2 * jobs)?.address();
        let outgoing = incoming + (jobs * size_of::<A>()) as u64;
        let to = out.write::<T>(0, destinations * columns)?.address();
        // SAFETY: there are `count` sources of `columns` numbers, as many keys, `destinations` rows of outputs, and a sum of
        // each kind for each chunk and column.
        unsafe {
            let arguments = (
                p,
                DevicePtrMut::<T>::from_address(to),
                DevicePtrMut::<A>::from_address(incoming),
                DevicePtrMut::<A>::from_address(outgoing),
                keys,
                sources,
                DevicePtr::<T>::from_address(rows),
            );
            find(0, "add_runs")?.launch(&config, arguments)?;
            if count <= CHUNK {
                return Ok(());
            }
            let arguments = (
                p,
                DevicePtrMut::<T>::from_address(to),
                DevicePtr::<A>::from_address(incoming),
                DevicePtr::<A>::from_address(outgoing),
                keys_again,
            );
            find(1, "join_runs")?.launch(&config, arguments)
        }
    })
}

/// The numbers that occur, ascending, and the sums of their rows. Waits for the device, for there is no telling how many.
pub(super) fn merge_rows(
    op: &'static str,
    index: View<'_>,
    rows: View<'_>,
    columns: usize,
    bound: usize,
    device: &CudaDevice,
) -> Result<(Buffer, Buffer)> {
    supported(op, rows.dtype())?;
    let (count, on) = (index.layout().numel(), Device::Cuda(device.clone()));
    if count == 0 {
        return Ok((Buffer::zeros(&on, DType::I64, 0)?, Buffer::zeros(&on, rows.dtype(), 0)?));
    }
    let [places] = coalesce([*index.layout()]);
    let lanes = Layout::new(*places.shape(), &vec![0; places.dims().len()], 0)?;
    let add = Add { op, index, lanes, places, step: 1, bound, destinations: bound, columns, distinct: false };
    let mut radix = add.sorted(device)?;
    let config = covering(device, count);
    let mut first = Buffer::uninit(&on, DType::U8, count)?;
    let mut numbers = Buffer::uninit(&on, DType::I64, count)?;
    let mut unique = Buffer::uninit(&on, DType::I64, count)?;
    if let Memory::Cuda(first) = first.memory_mut() {
        // SAFETY: as many marks as keys.
        unsafe { mark_first(device, &config, count as u64, first.write(0, count)?, radix.read()?.0)? };
    }
    let flat = Layout::contiguous(Shape::new(&[count])?);
    scan(Scan::Sum, 0, View::new(&first, flat)?, &mut numbers)?;
    let last = View::new(&numbers, flat.slice(0, count - 1, 1, 1))?.to_vec::<i64>()?;
    let runs = last.first().map_or(0, |&n| n as usize);
    if let (Memory::Cuda(first), Memory::Cuda(numbers), Memory::Cuda(unique)) =
        (first.memory(), numbers.memory(), unique.memory_mut())
    {
        let (unique, first, numbers) = (unique.write(0, count)?, first.read(0, count)?, numbers.read(0, count)?);
        let (keys, _) = radix.write()?;
        // SAFETY: as many marks and numbers as keys, and no more runs than those.
        unsafe { number_runs(device, &config, count as u64, keys, unique, first, numbers)? };
    }
    let mut found = Buffer::uninit(&on, DType::I64, runs)?;
    elementwise::copy(View::new(&unique, flat.slice(0, 0, runs, 1))?, &mut found)?;
    let mut sums = Buffer::zeros(&on, rows.dtype(), runs * columns)?;
    if let (Memory::Cuda(memory), true) = (sums.memory_mut(), columns > 0) {
        add_runs(op, &radix, count, columns, runs, rows, memory)?;
    }
    Ok((found, sums))
}

/// The layouts of sources about an axis: (outer, n) lanes of the destinations' rows, and places in the index.
pub(super) fn around(around: &Around, index: &View<'_>, row: usize) -> Result<(Layout, Layout)> {
    let n = index.layout().numel();
    let shape = Shape::new(&[around.outer, n])?;
    let stride = index.layout().strides().first().copied().unwrap_or(0);
    let lanes = Layout::new(shape, &[around.rows * row, 0], 0)?;
    Ok((lanes, Layout::new(shape, &[0, stride], index.layout().offset())?))
}

pub(super) fn triangle(
    op: &'static str,
    upper: bool,
    diagonal: i64,
    [rows, columns]: [usize; 2],
    x: View<'_>,
    out: &mut CudaMemory,
) -> Result<()> {
    static KERNELS: [KernelSlot; 4] = [const { KernelSlot::new() }; 4];
    let (device, size, count) = (out.device().clone(), x.dtype().size(), x.layout().numel());
    let kernel = KERNELS[size.trailing_zeros() as usize]
        .get(&device, || device.kernel(&INDEX, &format!("triangle<u{}>", 8 * size)))?;
    let from = with_dtype!(x.dtype(), T => address::<T>(op, &x, &device)?);
    let to = out.write::<u8>(0, count * size)?;
    if count == 0 {
        return Ok(());
    }
    let p = TriangleParams {
        count: count as u64,
        rows: rows as u64,
        columns: columns as u64,
        diagonal,
        upper: u32::from(upper),
        reserved: 0,
    };
    // SAFETY: input and output have `count` elements of that size.
    unsafe { kernel.launch(&covering(&device, count), (p, to, DevicePtr::<u8>::from_address(from))) }
}

pub(super) fn one_hot(op: &'static str, index: View<'_>, classes: usize, out: &mut CudaMemory) -> Result<()> {
    static KERNELS: [KernelSlot; 3] = [const { KernelSlot::new() }; 3];
    let (device, dtype, count) = (out.device().clone(), index.dtype(), index.layout().numel());
    let slot = integer(op, dtype)?;
    let index = elementwise::contiguous(index)?;
    let (report, operation) = device.report(op, out_of_range)?;
    let p = IndexParams { bound: classes as i64, step: 0, destinations: 0, operation, reserved: 0 };
    let to = out.write::<i64>(0, count * classes)?;
    if count * classes == 0 {
        return Ok(());
    }
    let kernel = KERNELS[slot].get(&device, || device.kernel(&INDEX, &format!("one_hot<{dtype}>")))?;
    with_dtype!(dtype, I => {
        let from = DevicePtr::<I>::from_address(address::<I>(op, &index.view(), &device)?);
        let arguments = (count as u64, p, to, from, DevicePtrMut::<u8>::from_address(report));
        // SAFETY: there are `count` indices and a row of outputs for each; the report's memory stays.
        unsafe { kernel.launch(&covering(&device, count * classes), arguments) }
    })
}
