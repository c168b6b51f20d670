//! Several devices: who may touch whose memory.
//!
//! Page-locked and managed memory is shown to every device. Plain memory of a device is shown to those whose contexts
//! have enabled peer access to the context it belongs to.

use super::abi::{self, CuResult, Handle, Out};
use super::call;
use super::context::{CONTEXTS, context, current};
use super::error::{Code, Res};
use super::memory::{self, Allocation, Origin};
use super::state::{Device, device, driver};
use super::table::lock;

/// Whether `viewer` should see the allocation beside its own device.
fn is_visible(allocation: &Allocation, viewer: &Device) -> bool {
    match allocation.origin {
        Origin::Pinned | Origin::Registered | Origin::Managed => true,
        _ => CONTEXTS.all().iter().any(|context| {
            context.device.ordinal == viewer.ordinal && lock(&context.peers).contains(&allocation.context)
        }),
    }
}

/// Shows a new allocation to the other devices that may touch it.
pub fn show(allocation: &Allocation) -> Res {
    for viewer in &driver()?.devices {
        let known = viewer.ordinal == allocation.device || viewer.memory.lookup(allocation.address).is_some();
        if !known && is_visible(allocation, viewer) {
            abi::register(&viewer.memory, allocation.address, allocation.bytes)?;
        }
    }
    Ok(())
}

/// Takes an allocation out of every other device's sight, before it is freed.
pub fn hide(allocation: &Allocation) {
    let Ok(driver) = driver() else { return };
    for viewer in driver.devices.iter().filter(|viewer| viewer.ordinal != allocation.device) {
        if viewer.memory.lookup(allocation.address).is_some_and(|found| found.base == allocation.address) {
            // It was found just now, so that freeing it cannot fail.
            let _ = viewer.memory.free(allocation.address);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceCanAccessPeer(out: Out<i32>, first: i32, second: i32) -> CuResult {
    call("cuDeviceCanAccessPeer", || {
        device(first)?;
        device(second)?;
        out.set(i32::from(first != second))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetP2PAttribute(out: Out<i32>, attribute: u32, first: i32, second: i32) -> CuResult {
    call("cuDeviceGetP2PAttribute", || {
        device(first)?;
        device(second)?;
        if first == second {
            return Err(Code::InvalidDevice.into());
        }
        match attribute {
            1 => out.set(0),
            2 | 3 => out.set(1),
            4 | 5 => out.set(0),
            _ => Err(Code::InvalidValue.into()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxEnablePeerAccess(peer: Handle, flags: u32) -> CuResult {
    call("cuCtxEnablePeerAccess", || {
        let own = current()?;
        let peer = context(peer)?;
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        if own.handle == peer.handle {
            return Err(Code::InvalidContext.into());
        }
        if own.device.ordinal == peer.device.ordinal {
            return Err(Code::PeerAccessUnsupported.into());
        }
        if !lock(&own.peers).insert(peer.handle) {
            return Err(Code::PeerAccessAlreadyEnabled.into());
        }
        memory::all().iter().filter(|allocation| allocation.context == peer.handle).try_for_each(show)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDisablePeerAccess(peer: Handle) -> CuResult {
    call("cuCtxDisablePeerAccess", || {
        let own = current()?;
        let peer = context(peer)?;
        if !lock(&own.peers).remove(&peer.handle) {
            return Err(Code::PeerAccessNotEnabled.into());
        }
        own.synchronise()?;
        for allocation in memory::all().iter().filter(|allocation| allocation.context == peer.handle) {
            if !is_visible(allocation, &own.device) {
                hide(allocation);
            }
        }
        Ok(())
    })
}
