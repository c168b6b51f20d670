//! Memory operations of streams: waiting for a value and writing one.

use super::abi::{CuResult, Handle, In};
use super::call;
use super::copy::check_range;
use super::error::{Code, Error, Res};
use super::layouts::BatchMemOp;
use super::memory::{self, allocation_at, locate};
use super::ops::Op;
use super::state::{Device, device};
use super::stream::{enqueue, resolve};
use std::sync::Arc;
use std::time::Duration;

/// `CUstreamBatchMemOpType`
const WAIT_32: u32 = 1;
const WRITE_32: u32 = 2;
const FLUSH: u32 = 3;
const WAIT_64: u32 = 4;
const WRITE_64: u32 = 5;
const BARRIER: u32 = 6;

/// The device through whose memory an address is reached.
fn device_of(address: u64) -> Res<&'static Arc<Device>> {
    if let Some(device) = locate(address) {
        return Ok(device);
    }
    let pinned = allocation_at(address).filter(|_| memory::is_pinned(address));
    match pinned {
        Some(pinned) => device(pinned.device),
        None => Err(Error::invalid(format!("{address:#x} is not memory that a device can reach"))),
    }
}

fn check(op: &BatchMemOp) -> Res {
    let bytes = match op.operation {
        WAIT_32 | WRITE_32 => 4,
        WAIT_64 | WRITE_64 => 8,
        FLUSH | BARRIER => return Ok(()),
        kind => return Err(Error::invalid(format!("{kind} is no memory operation of streams"))),
    };
    if !op.address.is_multiple_of(bytes) {
        return Err(Error::invalid(format!("{:#x} is not aligned to {bytes} bytes", op.address)));
    }
    check_range(device_of(op.address)?, op.address, bytes, "a memory operation of a stream")
}

fn read(address: u64, bytes: usize) -> Res<u64> {
    let mut value = [0; 8];
    device_of(address)?.memory.read(address, &mut value[..bytes], false)?;
    Ok(u64::from_le_bytes(value))
}

/// Whether a wait is over: at least (cyclically), equal, and, or not-or, by `CUstreamWaitValue_flags`.
fn holds(op: &BatchMemOp, value: u64) -> bool {
    let wide = op.operation == WAIT_64;
    let wanted = if wide { op.value } else { op.value & 0xffff_ffff };
    match op.flags & 3 {
        0 if wide => value.wrapping_sub(wanted) as i64 >= 0,
        0 => (value as u32).wrapping_sub(wanted as u32) as i32 >= 0,
        1 => value == wanted,
        2 => value & wanted != 0,
        _ if wide => !(value | wanted) != 0,
        _ => !(value as u32 | wanted as u32) != 0,
    }
}

/// Runs the operations in order; a wait ends when the host or another stream has written the value.
pub fn execute(ops: &[BatchMemOp]) -> Res {
    for op in ops {
        match op.operation {
            WAIT_32 | WAIT_64 => {
                let bytes = if op.operation == WAIT_32 { 4 } else { 8 };
                while !holds(op, read(op.address, bytes)?) {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
            WRITE_32 => device_of(op.address)?.memory.write(op.address, &op.value.to_le_bytes()[..4])?,
            WRITE_64 => device_of(op.address)?.memory.write(op.address, &op.value.to_le_bytes())?,
            _ => {}
        }
    }
    Ok(())
}

fn submit(stream: Handle, ops: Vec<BatchMemOp>) -> Res {
    let (context, stream) = resolve(stream)?;
    ops.iter().try_for_each(check)?;
    enqueue(&context, &stream, Op::Values(Arc::new(ops)), false)
}

fn one(operation: u32, address: u64, value: u64, flags: u32) -> Vec<BatchMemOp> {
    vec![BatchMemOp { operation, pad: 0, address, value, flags, pad2: 0, alias: 0, reserved: 0 }]
}

macro_rules! value_calls {
    ($($name:ident, $name_v2:ident, $value:ty, $operation:expr;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(stream: Handle, address: u64, value: $value, flags: u32) -> CuResult {
            call(stringify!($name), || submit(stream, one($operation, address, u64::from(value), flags)))
        }

        #[unsafe(no_mangle)]
        extern "C" fn $name_v2(stream: Handle, address: u64, value: $value, flags: u32) -> CuResult {
            call(stringify!($name), || submit(stream, one($operation, address, u64::from(value), flags)))
        }
    )*};
}

value_calls! {
    cuStreamWaitValue32, cuStreamWaitValue32_v2, u32, WAIT_32;
    cuStreamWaitValue64, cuStreamWaitValue64_v2, u64, WAIT_64;
    cuStreamWriteValue32, cuStreamWriteValue32_v2, u32, WRITE_32;
    cuStreamWriteValue64, cuStreamWriteValue64_v2, u64, WRITE_64;
}

/// The API's bound on a batch.
const MOST: u32 = 256;

#[unsafe(no_mangle)]
extern "C" fn cuStreamBatchMemOp_v2(stream: Handle, count: u32, ops: In<BatchMemOp>, flags: u32) -> CuResult {
    call("cuStreamBatchMemOp", || {
        if count > MOST || flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        submit(stream, ops.all(count as usize)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBatchMemOp(stream: Handle, count: u32, ops: In<BatchMemOp>, flags: u32) -> CuResult {
    cuStreamBatchMemOp_v2(stream, count, ops, flags)
}
