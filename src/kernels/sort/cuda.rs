//! Launches of `kernels/sort.cu`: the radix sort, which the index family uses as well.

use super::SortDesc;
use crate::device::View;
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, KernelSlot, LaunchConfig};
use crate::kernels::images::SORT;
use crate::kernels::params::SortParams;
use crate::kernels::{on_device, unsupported_on_cuda};
use crate::{DType, Error, Result, with_dtype};

/// Threads of a block, as `sort.cu` has them.
const THREADS: u32 = 256;
/// Elements of a tile.
const TILE: usize = 4096;
/// Values of a digit.
const DIGITS: usize = 256;

crate::launches! {
    in SORT;
    unsafe fn count_digits(p: SortParams, counts: DevicePtrMut<'_, u32>, keys: DevicePtr<'_, u64>,
        positions: DevicePtr<'_, u32>);
    unsafe fn sum_digits(p: SortParams, counts: DevicePtrMut<'_, u32>, totals: DevicePtrMut<'_, u32>);
    unsafe fn move_elements = "move" (p: SortParams, to_keys: DevicePtrMut<'_, u64>, to_positions: DevicePtrMut<'_, u32>,
        keys: DevicePtr<'_, u64>, positions: DevicePtr<'_, u32>, counts: DevicePtr<'_, u32>,
        totals: DevicePtr<'_, u32>);
}

/// Blocks for `items` threads, as far as a few waves over the device go.
fn covering(device: &CudaDevice, items: usize) -> LaunchConfig {
    LaunchConfig::covering(items, THREADS, device.spec().multiprocessors.max(1) * 32)
}

/// Keys with their positions, to be sorted in device memory.
pub(crate) struct Radix {
    device: CudaDevice,
    /// Now and after the next pass.
    keys: [CudaMemory; 2],
    positions: [CudaMemory; 2],
    count: usize,
}

impl Radix {
    /// Room for `count` of them, below 2³².
    pub(crate) fn new(op: &'static str, device: &CudaDevice, count: usize) -> Result<Self> {
        if u32::try_from(count).is_err() {
            return Err(Error::argument(op, format!("{count} elements; a CUDA device sorts fewer than 2³²")));
        }
        let room = |size: usize| CudaMemory::uninit(device, count * size);
        Ok(Radix { device: device.clone(), keys: [room(8)?, room(8)?], positions: [room(4)?, room(4)?], count })
    }

    /// The addresses of keys and positions, to be written.
    pub(crate) fn write(&mut self) -> Result<(DevicePtrMut<'_, u64>, DevicePtrMut<'_, u32>)> {
        let keys = self.keys[0].write::<u8>(0, self.count * 8)?.address();
        Ok((DevicePtrMut::from_address(keys), self.positions[0].write(0, self.count)?))
    }

    /// The addresses of keys and positions as they are now.
    pub(crate) fn read(&self) -> Result<(DevicePtr<'_, u64>, DevicePtr<'_, u32>)> {
        let keys = self.keys[0].read::<u8>(0, self.count * 8)?.address();
        Ok((DevicePtr::from_address(keys), self.positions[0].read(0, self.count)?))
    }

    /// Sorts, stably, by the lower `bits` of the keys, and then by the row of the position, of `length` each.
    pub(crate) fn sort(&mut self, bits: u32, length: usize) -> Result<()> {
        let rows = self.count / length.max(1);
        let row_bits = usize::BITS - rows.saturating_sub(1).leading_zeros();
        let tiles = self.count.div_ceil(TILE);
        let mut counts = CudaMemory::uninit(&self.device, (tiles * DIGITS + DIGITS) * size_of::<u32>())?;
        for shift in (0..bits).step_by(8).chain((64..64 + row_bits).step_by(8)) {
            self.pass(shift, length, tiles, &mut counts)?;
        }
        Ok(())
    }

    fn pass(&mut self, shift: u32, length: usize, tiles: usize, counts: &mut CudaMemory) -> Result<()> {
        let (device, count) = (&self.device, self.count);
        let p =
            SortParams { count: count as u64, tiles: tiles as u64, length: length as u32, shift, ..Default::default() };
        let [keys, other_keys] = &mut self.keys;
        let [positions, other_positions] = &mut self.positions;
        let from = (keys.read::<u8>(0, count * 8)?.address(), positions.read::<u32>(0, count)?.address());
        let to = (other_keys.write::<u8>(0, count * 8)?.address(), other_positions.write::<u32>(0, count)?.address());
        let counted = counts.write::<u32>(0, (tiles + 1) * DIGITS)?.address();
        let totals = counted + (tiles * DIGITS * size_of::<u32>()) as u64;
        let blocks = LaunchConfig { block: [THREADS, 1, 1], ..LaunchConfig::covering(tiles, 1, 1 << 20) };
        // SAFETY: keys and positions have `count` elements each, the counts one for each digit of each tile, the totals
        // one for each digit.
        unsafe {
            let (keys, positions) = (DevicePtr::from_address(from.0), DevicePtr::from_address(from.1));
            count_digits(device, &blocks, p, DevicePtrMut::from_address(counted), keys, positions)?;
            let digits = LaunchConfig::linear(DIGITS as u32, THREADS);
            sum_digits(device, &digits, p, DevicePtrMut::from_address(counted), DevicePtrMut::from_address(totals))?;
            move_elements(
                device,
                &blocks,
                p,
                DevicePtrMut::from_address(to.0),
                DevicePtrMut::from_address(to.1),
                keys,
                positions,
                DevicePtr::from_address(counted),
                DevicePtr::from_address(totals),
            )?;
        }
        self.keys.swap(0, 1);
        self.positions.swap(0, 1);
        Ok(())
    }
}

const DTYPES: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];

/// Sorts the rows of a contiguous input.
pub(super) fn sort(
    desc: &SortDesc,
    length: usize,
    input: View<'_>,
    values: &mut CudaMemory,
    indices: &mut CudaMemory,
) -> Result<()> {
    static KERNELS: [[KernelSlot; 2]; 6] = [const { [const { KernelSlot::new() }; 2] }; 6];
    let (op, dtype, device) = ("sort", input.dtype(), values.device().clone());
    let Some(slot) = DTYPES.iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(op, dtype, "f32, f16, bf16, i64, u32, u8"));
    };
    let count = input.layout().numel();
    if count == 0 || desc.limit == 0 {
        return Ok(());
    }
    let find =
        |i: usize, kind: &str| KERNELS[slot][i].get(&device, || device.kernel(&SORT, &format!("{kind}<{dtype}>")));
    let p = SortParams {
        count: count as u64,
        tiles: 0,
        length: length as u32,
        limit: desc.limit as u32,
        shift: 0,
        descending: u32::from(desc.descending),
    };
    let mut radix = Radix::new(op, &device, count)?;
    let outputs = count / length * desc.limit;
    let memory = on_device(op, &input, &device)?;
    with_dtype!(dtype, T => {
        let x = memory.read::<T>(input.layout().offset(), count)?;
        let (keys, positions) = radix.write()?;
        // SAFETY: input, keys and positions have `count` elements.
        unsafe { find(0, "keys")?.launch(&covering(&device, count), (p, keys, positions, x))? };
        radix.sort(if size_of::<T>() == 8 { 64 } else { 32 }, length)?;
        let arguments =
            (p, values.write::<T>(0, outputs)?, indices.write::<i64>(0, outputs)?, x, radix.read()?.1);
        // SAFETY: as above, and there are `limit` outputs for each row.
        unsafe { find(1, "take")?.launch(&covering(&device, outputs), arguments) }
    })
}
