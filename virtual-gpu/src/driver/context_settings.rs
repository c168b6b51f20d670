//! What can be set on a context: flags, limits, preferences.

use super::abi::{CuResult, Out};
use super::call;
use super::context::current;
use super::error::Code;
use super::table::lock;
use std::sync::atomic::Ordering;

/// Priorities run from 0 (the least) to this (the greatest).
pub const GREATEST_PRIORITY: i32 = -5;

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetFlags(out: Out<u32>) -> CuResult {
    call("cuCtxGetFlags", || out.set(current()?.flags.load(Ordering::Relaxed)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(flags: u32) -> CuResult {
    call("cuCtxSetFlags", || {
        if flags & !0xff != 0 {
            return Err(Code::InvalidValue.into());
        }
        current()?.set_flags(flags);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetLimit(out: Out<usize>, limit: u32) -> CuResult {
    call("cuCtxGetLimit", || out.set(current()?.limit(limit).ok_or(Code::UnsupportedLimit)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> CuResult {
    call("cuCtxSetLimit", || {
        let context = current()?;
        let mut limits = lock(&context.limits);
        let slot = limits.get_mut(&limit).ok_or(Code::UnsupportedLimit)?;
        let model = context.device.model;
        *slot = match limit {
            0 if value > model.max_local_per_thread as usize => return Err(Code::InvalidValue.into()),
            // The device takes the next granularity that it has.
            5 => value.clamp(32, 128).next_power_of_two(),
            6 => value.min(model.max_persisting_l2 as usize),
            _ => value,
        };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCacheConfig(out: Out<u32>) -> CuResult {
    call("cuCtxGetCacheConfig", || out.set(current()?.cache_config.load(Ordering::Relaxed)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCacheConfig(config: u32) -> CuResult {
    call("cuCtxSetCacheConfig", || {
        let context = current()?;
        if config > 3 {
            return Err(Code::InvalidValue.into());
        }
        context.cache_config.store(config, Ordering::Relaxed);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetSharedMemConfig(out: Out<u32>) -> CuResult {
    call("cuCtxGetSharedMemConfig", || out.set(current()?.shared_config.load(Ordering::Relaxed)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetSharedMemConfig(config: u32) -> CuResult {
    call("cuCtxSetSharedMemConfig", || {
        let context = current()?;
        if config > 2 {
            return Err(Code::InvalidValue.into());
        }
        // Devices of these models have banks of four bytes only and ignore the wish, as real ones do.
        context.shared_config.store(config, Ordering::Relaxed);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) -> CuResult {
    call("cuCtxGetStreamPriorityRange", || {
        current()?;
        least.set_if_wanted(0)?;
        greatest.set_if_wanted(GREATEST_PRIORITY)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxResetPersistingL2Cache() -> CuResult {
    call("cuCtxResetPersistingL2Cache", || current().map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetExecAffinity(_out: usize, _kind: u32) -> CuResult {
    call("cuCtxGetExecAffinity", || Err(Code::UnsupportedExecAffinity.into()))
}
