//! Launches of `kernels/optimizer.cu`: all parameters of a dtype in one, through a table of slots.

use super::{Grad, Rule, Slot};
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, Kernel, KernelSlot, LaunchConfig};
use crate::device::{Buffer, Memory, View};
use crate::kernels::elementwise::{Contiguous, contiguous};
use crate::kernels::images::OPTIMIZER;
use crate::kernels::params::{OPTIMIZER_TOUCH, OptimizerSlot};
use crate::kernels::{mixed_devices, on_device, unsupported_on_cuda};
use crate::{DType, Error, Result, with_dtype};

/// Threads of a block and elements that it takes, as `optimizer.cu` has them.
const THREADS: u32 = 256;
const CHUNK: usize = 4096;
const FLOATS: &str = "f32, f16, bf16";

crate::launches! {
    in OPTIMIZER;
    unsafe fn total(out: DevicePtrMut<'_, f64>, sums: DevicePtr<'_, f64>, count: u64);
}

/// A rule as the kernels know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleConstants {
    /// One of `OPTIMIZER_*` that name rules.
    pub rule: u32,
    /// Bits of `OPTIMIZER_*` that name switches.
    pub flags: u32,
    /// Its numbers, in the places that `OPTIMIZER_*` name.
    pub constants: [f32; 12],
}

/// A table of slots, and the blocks that they take.
#[derive(Default)]
struct Table {
    slots: Vec<OptimizerSlot>,
    blocks: usize,
}

impl Table {
    fn push(&mut self, slot: OptimizerSlot) {
        let blocks = (slot.count as usize).div_ceil(CHUNK);
        if blocks > 0 {
            self.slots.push(OptimizerSlot { first: self.blocks as u64, ..slot });
            self.blocks += blocks;
        }
    }

    /// The slots as words, in device memory.
    fn upload(&self, device: &CudaDevice) -> Result<CudaMemory> {
        let mut words: Vec<i64> = Vec::with_capacity(self.slots.len() * size_of::<OptimizerSlot>() / 8);
        for slot in &self.slots {
            let OptimizerSlot { param, grad, state, indices, count, rows, row, first, rule, flags, constants } = *slot;
            let [s0, s1, s2] = state;
            let long = [param, grad, s0, s1, s2, indices, count, rows, row, first];
            words.extend(long.map(|word| word as i64));
            let pair = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32) as i64;
            words.push(pair(rule, flags));
            words.extend(constants.chunks_exact(2).map(|c| pair(c[0].to_bits(), c[1].to_bits())));
        }
        let mut memory = CudaMemory::uninit(device, words.len() * size_of::<i64>())?;
        memory.copy_from_host(&words)?;
        Ok(memory)
    }

    fn config(&self, op: &'static str) -> Result<LaunchConfig> {
        match i32::try_from(self.blocks) {
            Ok(blocks) => Ok(LaunchConfig::linear(blocks as u32, THREADS)),
            Err(_) => Err(Error::argument(op, format!("{} blocks are more than a launch has", self.blocks))),
        }
    }
}

fn kernel(device: &CudaDevice, op: &'static str, which: usize, dtype: DType) -> Result<Kernel> {
    static FOUND: [[KernelSlot; 3]; 2] = [const { [const { KernelSlot::new() }; 3] }; 2];
    let Some(slot) = [DType::F32, DType::F16, DType::BF16].iter().position(|&d| d == dtype) else {
        return Err(unsupported_on_cuda(op, dtype, FLOATS));
    };
    let name = ["step", "squares"][which];
    FOUND[which][slot].get(device, || device.kernel(&OPTIMIZER, &format!("{name}<{dtype}>")))
}

/// The address of a contiguous view's first element.
fn address(op: &'static str, view: &View<'_>, device: &CudaDevice) -> Result<u64> {
    let (memory, layout) = (on_device(op, view, device)?, view.layout());
    with_dtype!(view.dtype(), T => Ok(memory.read::<T>(layout.offset(), layout.numel())?.address()))
}

/// Updates slots of one dtype.
pub(super) fn step<R: Rule<N>, const N: usize>(mut slots: Vec<&mut Slot<'_, R, N>>, dtype: DType) -> Result<()> {
    let Some(device) = slots.first().and_then(|slot| cuda(slot.param)).map(|memory| memory.device().clone()) else {
        return Err(mixed_devices(R::NAME));
    };
    let kernel = kernel(&device, R::NAME, 0, dtype)?;
    let mut table = Table::default();
    // Contiguous copies of gradients, where they were needed, live until the launch.
    let mut gradients: Vec<Contiguous<'_>> = Vec::with_capacity(slots.len());
    for slot in &mut slots {
        let Some(RuleConstants { rule, mut flags, constants }) = slot.rule.constants() else {
            return Err(Error::Unsupported {
                op: R::NAME,
                dtype,
                device: "cuda".into(),
                available: "none: the rule has no constants for a kernel".into(),
            });
        };
        let len = slot.param.len();
        let (mut indices, mut rows, mut row, mut count) = (0, 0, 1, len);
        let gradient = match slot.grad {
            Grad::Dense(view) => contiguous(view)?,
            Grad::Rows { indices: numbers, rows: values } => {
                rows = numbers.layout().numel();
                row = values.layout().numel().checked_div(rows).unwrap_or(0).max(1);
                indices = address(R::NAME, &numbers, &device)?;
                if slot.rule.zero_is_identity() {
                    flags |= OPTIMIZER_TOUCH;
                    count = rows * row;
                } else if rows == 0 {
                    // No row is there: any row's length serves, and no gradient is read.
                    row = len.max(1);
                }
                contiguous(values)?
            }
        };
        let sparse = matches!(slot.grad, Grad::Rows { .. });
        if sparse && rows == 0 && flags & OPTIMIZER_TOUCH != 0 {
            continue;
        }
        let param = with_dtype!(dtype, T => pointer(slot.param, &device, R::NAME, |m| {
            Ok(m.write::<T>(0, len)?.address())
        }))?;
        let mut state = [0; 3];
        for (place, buffer) in state.iter_mut().zip(&mut slot.state) {
            *place = pointer(buffer, &device, R::NAME, |m| Ok(m.write::<f32>(0, len)?.address()))?;
        }
        // A row-sparse gradient is told by its indices' address, which an empty one lacks.
        let indices = if sparse && indices == 0 { param } else { indices };
        let grad = address(R::NAME, &gradient.view(), &device)?;
        gradients.push(gradient);
        table.push(OptimizerSlot {
            param,
            grad,
            state,
            indices,
            count: count as u64,
            rows: rows as u64,
            row: row as u64,
            first: 0,
            rule,
            flags,
            constants,
        });
    }
    if table.blocks == 0 {
        return Ok(());
    }
    let memory = table.upload(&device)?;
    let slots = DevicePtr::<u8>::from_address(memory.read::<u8>(0, memory.len())?.address());
    // SAFETY: each slot's addresses are of as many elements as its count says, which only its own blocks touch, and the row
    // numbers of a row-sparse gradient are rows of the parameter.
    unsafe { kernel.launch(&table.config(R::NAME)?, (slots, table.slots.len() as u32)) }
}

fn cuda(buffer: &Buffer) -> Option<&CudaMemory> {
    match buffer.memory() {
        Memory::Cuda(memory) => Some(memory),
        Memory::Cpu(_) => None,
    }
}

fn pointer(
    buffer: &mut Buffer,
    device: &CudaDevice,
    op: &'static str,
    address: impl FnOnce(&mut CudaMemory) -> Result<u64>,
) -> Result<u64> {
    match buffer.memory_mut() {
        Memory::Cuda(memory) if memory.device() == device => address(memory),
        _ => Err(mixed_devices(op)),
    }
}

/// Σ g² over gradients of one device; waits for it.
pub(super) fn sum_of_squares(gradients: &[View<'_>], device: &CudaDevice) -> Result<f64> {
    let op = "sum_of_squares";
    let mut sum = 0.0;
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let mut table = Table::default();
        let mut copies = vec![];
        for g in gradients.iter().filter(|g| g.dtype() == dtype) {
            let g = contiguous(*g)?;
            let count = g.view().layout().numel() as u64;
            table.push(OptimizerSlot { grad: address(op, &g.view(), device)?, count, ..Default::default() });
            copies.push(g);
        }
        if table.blocks == 0 {
            continue;
        }
        let kernel = kernel(device, op, 1, dtype)?;
        let memory = table.upload(device)?;
        let slots = DevicePtr::<u8>::from_address(memory.read::<u8>(0, memory.len())?.address());
        let mut sums = CudaMemory::uninit(device, (table.blocks + 1) * size_of::<f64>())?;
        let partial = sums.write::<f64>(0, table.blocks)?;
        let parts = partial.alias();
        // SAFETY: each slot has as many elements as its count says; there is a sum for each block and one for all.
        unsafe { kernel.launch(&table.config(op)?, (slots, table.slots.len() as u32, partial))? };
        let out = sums.write::<f64>(table.blocks, 1)?;
        // SAFETY: as above.
        unsafe { total(device, &LaunchConfig::linear(1, THREADS), out, parts, table.blocks as u64)? };
        sum += sums.copy_range_to_host::<f64>(table.blocks, 1)?[0];
    }
    Ok(sum)
}
