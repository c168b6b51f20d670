//! Memory pools and stream-ordered allocation.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::capture;
use super::error::{Code, Error, Res};
use super::layouts::{MemAccessDesc, MemLocation, MemPoolProps};
use super::memory::{Origin, allocate, begin_free};
use super::ops::Op;
use super::state::device;
use super::stream::{enqueue, resolve};
use super::table::{Table, lock};
use std::sync::{Arc, Mutex};

pub static POOLS: Table<Pool> = Table::new(4);

/// A pool. Freed memory goes back to the device at once, where it is quarantined; what the pool would keep is therefore
/// what is in use.
pub struct Pool {
    pub handle: Handle,
    pub device: i32,
    max_size: usize,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    used: u64,
    used_high: u64,
    /// `REUSE_*` and the release threshold, by `CUmemPool_attribute`.
    reuse: [u32; 3],
    threshold: u64,
    access: Vec<(i32, u32)>,
    destroyed: bool,
}

impl Pool {
    pub fn create(device: i32, max_size: usize) -> Arc<Pool> {
        let state = PoolState { reuse: [1; 3], ..PoolState::default() };
        POOLS.add(|handle| Pool { handle, device, max_size, state: Mutex::new(state) })
    }

    fn gave(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.used += bytes;
        state.used_high = state.used_high.max(state.used);
    }

    pub fn took_back(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.used = state.used.saturating_sub(bytes);
    }
}

fn pool(handle: Handle) -> Res<Arc<Pool>> {
    super::state::driver()?;
    let pool = POOLS.get(handle).ok_or(Code::InvalidValue)?;
    if lock(&pool.state).destroyed { Err(Code::InvalidValue.into()) } else { Ok(pool) }
}

fn allocate_async(out: Out<u64>, bytes: usize, pool_handle: Option<Handle>, stream: Handle) -> Res {
    out.check()?;
    let (context, stream) = resolve(stream)?;
    let pool = match pool_handle {
        Some(handle) => pool(handle)?,
        None => context.device.pool(),
    };
    if pool.device != context.device.ordinal {
        return Err(Error::new(Code::InvalidDevice, "the pool belongs to another device than the stream"));
    }
    if let Some(address) = capture::allocate(&context, &stream, bytes)? {
        return out.set(address);
    }
    if pool.max_size != 0 && lock(&pool.state).used.saturating_add(bytes as u64) > pool.max_size as u64 {
        return Err(Error::new(Code::OutOfMemory, format!("the pool may not grow past {} bytes", pool.max_size)));
    }
    let address = allocate(&context, bytes, Origin::Pool(pool.handle), 0)?;
    pool.gave(bytes as u64);
    out.set(address)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: Handle) -> CuResult {
    call("cuMemAllocAsync", || allocate_async(out, bytes, None, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocFromPoolAsync(out: Out<u64>, bytes: usize, pool: Handle, stream: Handle) -> CuResult {
    call("cuMemAllocFromPoolAsync", || allocate_async(out, bytes, Some(pool), stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> CuResult {
    call("cuMemFreeAsync", || {
        let (context, stream) = resolve(stream)?;
        if address == 0 {
            return Ok(());
        }
        if !stream.is_capturing() {
            begin_free(address)?;
        }
        enqueue(&context, &stream, Op::Free { address }, false)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolCreate(out: Out<Handle>, props: In<MemPoolProps>) -> CuResult {
    call("cuMemPoolCreate", || {
        out.check()?;
        let props = props.get()?;
        super::state::driver()?;
        // CU_MEM_ALLOCATION_TYPE_PINNED on a device, for this process
        if props.allocation_type != 1 || props.location.kind != 1 {
            return Err(Error::new(Code::NotSupported, "pools hold pinned memory of a device"));
        }
        if props.handle_types != 0 {
            return Err(Error::new(Code::NotSupported, "pools are not shared with other processes"));
        }
        let device = device(props.location.id)?;
        out.set(Pool::create(device.ordinal, props.max_size).handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolDestroy(handle: Handle) -> CuResult {
    call("cuMemPoolDestroy", || {
        let pool = pool(handle)?;
        let device = device(pool.device)?;
        if Arc::ptr_eq(&pool, &device.default_pool) {
            return Err(Error::invalid("the default pool of a device stays"));
        }
        lock(&pool.state).destroyed = true;
        POOLS.remove(handle);
        let mut current = lock(&device.current_pool);
        if Arc::ptr_eq(&current, &pool) {
            *current = device.default_pool.clone();
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(handle: Handle, _keep: usize) -> CuResult {
    // Nothing is kept that is not in use.
    call("cuMemPoolTrimTo", || pool(handle).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(handle: Handle, attribute: u32, value: In<u64>) -> CuResult {
    call("cuMemPoolSetAttribute", || {
        let pool = pool(handle)?;
        let mut state = lock(&pool.state);
        match attribute {
            1..=3 => state.reuse[attribute as usize - 1] = value.cast::<u32>().get()?,
            4 => state.threshold = value.get()?,
            // The high-water marks can be reset, to 0 only.
            6 | 8 if value.get()? == 0 => state.used_high = state.used,
            _ => return Err(Code::InvalidValue.into()),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolGetAttribute(handle: Handle, attribute: u32, value: Out<u64>) -> CuResult {
    call("cuMemPoolGetAttribute", || {
        let pool = pool(handle)?;
        let state = lock(&pool.state);
        match attribute {
            1..=3 => value.cast::<u32>().set(state.reuse[attribute as usize - 1]),
            4 => value.set(state.threshold),
            5 | 7 => value.set(state.used),
            6 | 8 => value.set(state.used_high),
            9 | 12 => value.cast::<u32>().set(1),
            10 => value.cast::<u32>().set(0),
            11 => value.cast::<i32>().set(pool.device),
            13 => value.set(pool.max_size as u64),
            14 => value.cast::<u32>().set(0),
            _ => Err(Code::InvalidValue.into()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAccess(handle: Handle, list: In<MemAccessDesc>, count: usize) -> CuResult {
    call("cuMemPoolSetAccess", || {
        let pool = pool(handle)?;
        for desc in list.all(count)? {
            let device = device(desc.location.id)?;
            if desc.location.kind != 1 || !matches!(desc.flags, 0 | 1 | 3) {
                return Err(Code::InvalidValue.into());
            }
            if device.ordinal == pool.device && desc.flags != 3 {
                return Err(Error::invalid("the device of a pool keeps its access"));
            }
            let mut state = lock(&pool.state);
            state.access.retain(|entry| entry.0 != device.ordinal);
            state.access.push((device.ordinal, desc.flags));
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolGetAccess(out: Out<u32>, handle: Handle, location: In<MemLocation>) -> CuResult {
    call("cuMemPoolGetAccess", || {
        let pool = pool(handle)?;
        let device = device(location.get()?.id)?;
        let own = if device.ordinal == pool.device { 3 } else { 0 };
        let state = lock(&pool.state);
        out.set(state.access.iter().find(|entry| entry.0 == device.ordinal).map_or(own, |entry| entry.1))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetDefaultMemPool(out: Out<Handle>, ordinal: i32) -> CuResult {
    call("cuDeviceGetDefaultMemPool", || out.set(device(ordinal)?.default_pool.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetMemPool(out: Out<Handle>, ordinal: i32) -> CuResult {
    call("cuDeviceGetMemPool", || out.set(device(ordinal)?.pool().handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceSetMemPool(ordinal: i32, handle: Handle) -> CuResult {
    call("cuDeviceSetMemPool", || {
        let (device, pool) = (device(ordinal)?, pool(handle)?);
        if pool.device != device.ordinal {
            return Err(Code::InvalidDevice.into());
        }
        *lock(&device.current_pool) = pool;
        Ok(())
    })
}

/// The device of a `CUmemLocation`.
fn device_at(location: In<MemLocation>, allocation_type: u32) -> Res<&'static std::sync::Arc<super::state::Device>> {
    let location = location.get()?;
    if location.kind != 1 || allocation_type != 1 {
        return Err(Error::new(Code::NotSupported, "pools hold pinned memory of a device"));
    }
    device(location.id)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetDefaultMemPool(out: Out<Handle>, location: In<MemLocation>, allocation_type: u32) -> CuResult {
    call("cuMemGetDefaultMemPool", || out.set(device_at(location, allocation_type)?.default_pool.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetMemPool(out: Out<Handle>, location: In<MemLocation>, allocation_type: u32) -> CuResult {
    call("cuMemGetMemPool", || out.set(device_at(location, allocation_type)?.pool().handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemSetMemPool(location: In<MemLocation>, allocation_type: u32, handle: Handle) -> CuResult {
    call("cuMemSetMemPool", || {
        let (device, pool) = (device_at(location, allocation_type)?, pool(handle)?);
        if pool.device != device.ordinal {
            return Err(Code::InvalidDevice.into());
        }
        *lock(&device.current_pool) = pool;
        Ok(())
    })
}

/// Bytes that allocation nodes of graphs hold on a device.
fn graph_bytes(ordinal: i32) -> u64 {
    let all = super::memory::all().into_iter();
    all.filter(|one| one.device == ordinal && one.origin == Origin::Graph).map(|one| one.bytes).sum()
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetGraphMemAttribute(ordinal: i32, attribute: u32, value: Out<u64>) -> CuResult {
    call("cuDeviceGetGraphMemAttribute", || {
        device(ordinal)?;
        // Memory of a graph stays as long as the graph, so that what is used, reserved and their peaks are one.
        if attribute > 3 { Err(Code::InvalidValue.into()) } else { value.set(graph_bytes(ordinal)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceSetGraphMemAttribute(ordinal: i32, attribute: u32, value: In<u64>) -> CuResult {
    call("cuDeviceSetGraphMemAttribute", || {
        device(ordinal)?;
        // The peaks can be reset, to 0 only.
        if matches!(attribute, 1 | 3) && value.get()? == 0 { Ok(()) } else { Err(Code::InvalidValue.into()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGraphMemTrim(ordinal: i32) -> CuResult {
    call("cuDeviceGraphMemTrim", || device(ordinal).map(|_| ()))
}
