//! Primary contexts: one per device, counted.

use super::abi::{CuResult, Handle, Out};
use super::call;
use super::context::{CONTEXTS, Context};
use super::error::{Code, Res};
use super::state::{Device, device};
use super::table::lock;
use std::sync::Arc;

/// The primary context of a device. Its handle outlives release and reset, as on a real driver, so that a thread that has
/// it current finds the new one.
pub struct Primary {
    pub handle: Handle,
    pub count: u32,
    pub flags: u32,
    pub context: Option<Arc<Context>>,
}

impl Primary {
    pub fn new() -> Primary {
        Primary { handle: CONTEXTS.reserve(), count: 0, flags: 0, context: None }
    }
}

/// Retains the primary context, creating it where there is none.
pub fn retain(device: &Arc<Device>) -> Arc<Context> {
    let mut primary = lock(&device.primary);
    primary.count += 1;
    let (handle, flags) = (primary.handle, primary.flags);
    primary.context.get_or_insert_with(|| Context::create(handle, device, flags, true)).clone()
}

const FLAGS_MASK: u32 = 0xff;

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: Out<Handle>, ordinal: i32) -> CuResult {
    call("cuDevicePrimaryCtxRetain", || {
        context.check()?;
        let device = device(ordinal)?;
        if device.is_lost() {
            return Err(Code::DeviceUnavailable.into());
        }
        context.set(retain(device).handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(ordinal: i32) -> CuResult {
    call("cuDevicePrimaryCtxRelease", || {
        // Held to the end: the next context gets the same handle, which must not be taken away with this one.
        let mut primary = lock(&device(ordinal)?.primary);
        primary.count = primary.count.checked_sub(1).ok_or(Code::InvalidContext)?;
        if primary.count == 0
            && let Some(context) = primary.context.take()
        {
            context.destroy();
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset_v2(ordinal: i32) -> CuResult {
    call("cuDevicePrimaryCtxReset", || {
        let device = device(ordinal)?;
        // The count stays: whoever retained it may still release it, and finds a fresh context meanwhile.
        let mut primary = lock(&device.primary);
        if let Some(context) = primary.context.take() {
            context.destroy();
            if primary.count > 0 {
                primary.context = Some(Context::create(primary.handle, device, primary.flags, true));
            }
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxGetState(ordinal: i32, flags: Out<u32>, active: Out<i32>) -> CuResult {
    call("cuDevicePrimaryCtxGetState", || {
        let primary = lock(&device(ordinal)?.primary);
        flags.set(primary.flags)?;
        active.set(i32::from(primary.context.is_some()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxSetFlags_v2(ordinal: i32, flags: u32) -> CuResult {
    call("cuDevicePrimaryCtxSetFlags", || {
        if flags & !FLAGS_MASK != 0 {
            return Err(Code::InvalidValue.into());
        }
        let mut primary = lock(&device(ordinal)?.primary);
        primary.flags = flags;
        if let Some(context) = &primary.context {
            context.set_flags(flags);
        }
        Ok(())
    })
}

/// The context of a device that work without a current context may use (`cuLibrary*` modules).
pub fn of_device(ordinal: i32) -> Res<Arc<Context>> {
    lock(&device(ordinal)?.primary).context.clone().ok_or_else(|| Code::InvalidContext.into())
}
