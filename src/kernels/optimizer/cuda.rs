//! Launches of `kernels/optimizer.cu`: all parameters in one, through a table of slots that stays on the device.

use super::rules::Encoded;
use super::{Grad, Scaling, Settings, Slot};
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::device::{Buffer, Memory, View};
use crate::kernels::elementwise::{Contiguous, contiguous};
use crate::kernels::images::OPTIMIZER;
use crate::kernels::params::{self, LossScaling, OptimizerSlot};
use crate::kernels::{mixed_devices, on_device, unsupported_on_cuda};
use crate::{DType, Device, Error, Result, with_dtype};

/// Threads of a block and elements that it takes, as `optimizer.cu` has them.
const THREADS: u32 = 256;
const CHUNK: usize = 4096;

crate::launches! {
    in OPTIMIZER;
    unsafe fn step(slots: DevicePtr<'_, u8>, count: u32, block: DevicePtr<'_, f64>, found: DevicePtr<'_, f64>);
    unsafe fn squares(slots: DevicePtr<'_, u8>, count: u32, sums: DevicePtrMut<'_, f64>);
    unsafe fn total(found: DevicePtrMut<'_, f64>, norm: DevicePtrMut<'_, f32>, sums: DevicePtr<'_, f64>, count: u64,
        block: DevicePtr<'_, f64>, loss_scale: DevicePtrMut<'_, f32>, steps: DevicePtrMut<'_, i64>,
        scaling: LossScaling);
}

/// The blocks of a parameter of `len` elements: at least one, which counts its updates.
pub(super) fn blocks(len: usize) -> usize {
    len.div_ceil(CHUNK).max(1)
}

/// A table of slots in device memory, and the blocks that they take.
#[derive(Default)]
struct Table {
    words: Vec<i64>,
    slots: u32,
    blocks: usize,
    memory: Option<CudaMemory>,
    /// The address of the table that a graph being captured has for itself: its gradients stay where they are.
    of_graph: Option<u64>,
}

impl Table {
    /// The same slots as before keep the table where it is.
    fn set(&mut self, device: &CudaDevice, slots: &[OptimizerSlot]) -> Result<()> {
        let (mut words, mut first) = (Vec::with_capacity(size_of_val(slots) / 8), 0);
        for slot in slots {
            let blocks = blocks(slot.count as usize);
            push_words(&OptimizerSlot { first: first as u64, ..*slot }, &mut words);
            first += blocks;
        }
        (self.slots, self.blocks) = (slots.len() as u32, first);
        self.of_graph = device.graph_constant(&words)?;
        if self.of_graph.is_some() {
            return Ok(());
        }
        if self.memory.is_some() && words == self.words {
            return Ok(());
        }
        let bytes = words.len() * size_of::<i64>();
        let mut memory = match self.memory.take() {
            Some(memory) if memory.len() >= bytes => memory,
            _ => CudaMemory::uninit(device, bytes)?,
        };
        memory.copy_from_host(&words)?;
        self.memory = Some(memory);
        self.words = words;
        Ok(())
    }

    fn config(&self) -> Result<LaunchConfig> {
        match i32::try_from(self.blocks) {
            Ok(blocks) => Ok(LaunchConfig::linear(blocks as u32, THREADS)),
            Err(_) => Err(Error::argument("optimizer", format!("{} blocks are more than a launch has", self.blocks))),
        }
    }

    fn pointer(&self) -> Result<DevicePtr<'_, u8>> {
        match (&self.memory, self.of_graph) {
            (_, Some(address)) => Ok(DevicePtr::from_address(address)),
            (Some(memory), None) => memory.read::<u8>(0, memory.len()),
            (None, None) => unreachable!("a table is set before it is used"),
        }
    }
}

fn push_words(slot: &OptimizerSlot, words: &mut Vec<i64>) {
    let OptimizerSlot { param, grad, master, state, indices, counts, count, rows, row, first, .. } = *slot;
    let [s0, s1, s2] = state;
    let long = [param, grad, master, s0, s1, s2, indices, counts, count, rows, row, first];
    words.extend(long.map(|word| word as i64));
    let pair = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32) as i64;
    words.extend([pair(slot.rule, slot.flags), pair(slot.dtype, slot.group)]);
    words.extend(slot.options.map(|option| option.to_bits() as i64));
}

/// What stays at its address from step to step.
pub(super) struct Fixed {
    device: CudaDevice,
    /// Bounds and rates, in the places that `OPTIMIZER_*` name.
    block: CudaMemory,
    /// What the block has.
    told: Vec<f64>,
    /// What was found of the gradients.
    found: CudaMemory,
    /// A sum of squares for each block.
    sums: CudaMemory,
    table: Table,
}

impl Fixed {
    pub fn new(device: &CudaDevice, groups: usize) -> Result<Self> {
        let numbers = |count: usize| CudaMemory::uninit(device, count * size_of::<f64>());
        Ok(Fixed {
            device: device.clone(),
            block: numbers(params::OPTIMIZER_RATES as usize + groups)?,
            told: vec![],
            found: numbers(2)?,
            sums: numbers(0)?,
            table: Table::default(),
        })
    }

    pub fn prepare(&mut self, settings: &Settings) -> Result<()> {
        let mut block = vec![0.0; params::OPTIMIZER_RATES as usize];
        block[params::OPTIMIZER_MAX_NORM as usize] = settings.max_norm.unwrap_or(f64::INFINITY);
        block[params::OPTIMIZER_BOUND as usize] = settings.bound;
        block.extend(&settings.rates);
        if block != self.told {
            self.block.copy_from_host(&block)?;
            self.told = block;
        }
        Ok(())
    }

    pub fn launch(
        &mut self,
        slots: &mut [Slot<'_>],
        settings: &Settings,
        scaling: Option<Scaling<'_>>,
    ) -> Result<Option<Buffer>> {
        // Contiguous copies of gradients, where they were needed, live until the launch.
        let mut gradients: Vec<Contiguous<'_>> = Vec::with_capacity(slots.len());
        let mut rows = Vec::with_capacity(slots.len());
        for slot in slots {
            let (row, gradient) = encode(slot, &self.device)?;
            gradients.extend(gradient);
            rows.push(row);
        }
        self.table.set(&self.device, &rows)?;
        let measured = settings.max_norm.is_some() || scaling.is_some();
        let mut norm = None;
        if measured {
            let buffer = self.measure(scaling)?;
            norm = settings.max_norm.is_some().then_some(buffer);
        }
        let found = if measured { self.found.read(0, 2)? } else { DevicePtr::null() };
        let block = self.block.read(0, self.told.len())?;
        // SAFETY: each slot's addresses are of as many elements as its count says, which only its own blocks touch; the
        // row numbers of a row-sparse gradient are rows of the parameter, and the block has a rate for every group.
        unsafe {
            step(&self.device, &self.table.config()?, self.table.pointer()?, self.table.slots, block, found)?;
        }
        Ok(norm)
    }

    /// The norm of the table's gradients, and in `found` what the step takes of it.
    fn measure(&mut self, scaling: Option<Scaling<'_>>) -> Result<Buffer> {
        let (device, blocks) = (&self.device, self.table.blocks);
        if self.sums.len() < blocks * size_of::<f64>() {
            self.sums = CudaMemory::uninit(device, blocks * size_of::<f64>())?;
        }
        let block = self.block.read(0, self.told.len())?;
        measure(device, &self.table, block, &mut self.found, &mut self.sums, scaling)
    }
}

fn measure(
    device: &CudaDevice,
    table: &Table,
    block: DevicePtr<'_, f64>,
    found: &mut CudaMemory,
    sums: &mut CudaMemory,
    scaling: Option<Scaling<'_>>,
) -> Result<Buffer> {
    let mut norm = Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, 1)?;
    let sums = sums.write::<f64>(0, table.blocks)?;
    let parts = sums.alias();
    // SAFETY: each slot has as many elements of a gradient as it says; there is a sum for each block.
    unsafe { squares(device, &table.config()?, table.pointer()?, table.slots, sums)? };
    let mut by = LossScaling { growth: 1.0, backoff: 1.0, interval: 1 };
    let (mut scale, mut steps) = (DevicePtrMut::from_address(0), DevicePtrMut::from_address(0));
    if let Some(scaling) = scaling {
        by = LossScaling { growth: scaling.growth, backoff: scaling.backoff, interval: scaling.interval };
        scale = memory(scaling.scale, device, "loss scale")?.write::<f32>(0, 1)?;
        steps = memory(scaling.steps, device, "loss scale")?.write::<i64>(0, 2)?;
    }
    let out = memory(&mut norm, device, "norm")?.write::<f32>(0, 1)?;
    let found = found.write(0, 2)?;
    // SAFETY: the kernel reads the sums, and reads and writes what `OPTIMIZER_*` name; pointers that are not null are
    // of a factor and its two counts.
    unsafe {
        total(
            device,
            &LaunchConfig::linear(1, THREADS),
            found,
            out,
            parts,
            table.blocks as u64,
            block,
            scale,
            steps,
            by,
        )?;
    }
    Ok(norm)
}

/// The address of a contiguous view's first element.
fn address(op: &'static str, view: &View<'_>, device: &CudaDevice) -> Result<u64> {
    let (memory, layout) = (on_device(op, view, device)?, view.layout());
    with_dtype!(view.dtype(), T => Ok(memory.read::<T>(layout.offset(), layout.numel())?.address()))
}

fn memory<'a>(buffer: &'a mut Buffer, device: &CudaDevice, op: &'static str) -> Result<&'a mut CudaMemory> {
    match buffer.memory_mut() {
        Memory::Cuda(memory) if memory.device() == device => Ok(memory),
        _ => Err(mixed_devices(op)),
    }
}

fn code(op: &'static str, dtype: DType) -> Result<u32> {
    match dtype {
        DType::F32 => Ok(params::OPTIMIZER_F32),
        DType::F16 => Ok(params::OPTIMIZER_F16),
        DType::BF16 => Ok(params::OPTIMIZER_BF16),
        _ => Err(unsupported_on_cuda(op, dtype, "f32, f16, bf16")),
    }
}

/// A slot as the kernels take it, and its gradient.
fn encode<'a>(slot: &'a mut Slot<'_>, device: &CudaDevice) -> Result<(OptimizerSlot, Option<Contiguous<'a>>)> {
    let (op, len, dtype) = (slot.rule.name(), slot.param.len(), slot.param.dtype());
    let Encoded { rule, mut flags, options } = slot.rule.encoded();
    let (mut indices, mut rows, mut row, mut count) = (0, 0, 1, len);
    let gradient = match slot.grad {
        Grad::Dense(view) => contiguous(view)?,
        Grad::Rows { indices: numbers, rows: values } => {
            rows = numbers.layout().numel();
            row = values.layout().numel().checked_div(rows).unwrap_or(0).max(1);
            indices = address(op, &numbers, device)?;
            if slot.rule.zero_is_identity() {
                flags |= params::OPTIMIZER_TOUCH;
                count = rows * row;
            } else if rows == 0 {
                // No row is there: any row's length serves, and no gradient is read.
                row = len.max(1);
            }
            contiguous(values)?
        }
    };
    let sparse = matches!(slot.grad, Grad::Rows { .. });
    let param = with_dtype!(dtype, T => memory(slot.param, device, op)?.write::<T>(0, len)?.address());
    let mut state = [0; 3];
    for (place, buffer) in state.iter_mut().zip(slot.state.iter_mut()) {
        *place = memory(buffer, device, op)?.write::<f32>(0, len)?.address();
    }
    let master = match &mut slot.master {
        Some(master) => memory(master, device, op)?.write::<f32>(0, len)?.address(),
        None => 0,
    };
    let counts = memory(slot.count, device, op)?.write::<i64>(0, blocks(len))?.address();
    let encoded = OptimizerSlot {
        param,
        grad: address(op, &gradient.view(), device)?,
        master,
        state,
        // A row-sparse gradient is told by its indices' address, which an empty one lacks.
        indices: if sparse && indices == 0 { counts } else { indices },
        counts,
        count: count as u64,
        rows: rows as u64,
        row: row as u64,
        first: 0,
        rule,
        flags,
        dtype: code(op, dtype)?,
        group: slot.group as u32,
        options,
    };
    Ok((encoded, Some(gradient)))
}

/// The norm of gradients of one device.
pub(super) fn norm(gradients: &[View<'_>], device: &CudaDevice) -> Result<Buffer> {
    let (mut table, mut copies, mut slots) = (Table::default(), vec![], vec![]);
    for &g in gradients {
        let g = contiguous(g)?;
        let (count, dtype) = (g.view().layout().numel() as u64, code("norm", g.view().dtype())?);
        slots.push(OptimizerSlot { grad: address("norm", &g.view(), device)?, count, dtype, ..Default::default() });
        copies.push(g);
    }
    table.set(device, &slots)?;
    let mut found = CudaMemory::uninit(device, 2 * size_of::<f64>())?;
    let mut sums = CudaMemory::uninit(device, table.blocks * size_of::<f64>())?;
    measure(device, &table, DevicePtr::null(), &mut found, &mut sums, None)
}
