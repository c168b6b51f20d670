//! User objects: what a graph keeps alive for the program.

use super::abi::{CuResult, Handle, HostFn, Out, call_host};
use super::call;
use super::error::{Code, Error, Res};
use super::graph::graph;
use super::table::{Table, lock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

static OBJECTS: Table<UserObject> = Table::new(14);

struct UserObject {
    data: usize,
    destroy: HostFn,
    count: Mutex<u32>,
}

fn object(handle: Handle) -> Res<Arc<UserObject>> {
    super::state::driver()?;
    OBJECTS.get(handle).ok_or_else(|| Code::InvalidValue.into())
}

fn retain(handle: Handle, count: u32) -> Res {
    if count == 0 {
        return Err(Code::InvalidValue.into());
    }
    let object = object(handle)?;
    let mut held = lock(&object.count);
    *held = held.checked_add(count).ok_or(Code::InvalidValue)?;
    Ok(())
}

fn release(handle: Handle, count: u32) -> Res {
    let object = object(handle)?;
    let gone = {
        let mut held = lock(&object.count);
        let left = held.checked_sub(count).filter(|_| count > 0);
        *held = left.ok_or_else(|| Error::invalid("more references are released than there are"))?;
        *held == 0
    };
    if gone {
        OBJECTS.remove(handle);
        call_host(object.destroy, object.data);
    }
    Ok(())
}

/// Takes the references that an executable graph holds beside its graph's.
pub fn retain_all(objects: &BTreeMap<Handle, u32>) {
    for (&handle, &count) in objects {
        // The graph holds it, so that it is there.
        let _ = retain(handle, count);
    }
}

/// Gives up the references of a graph that is destroyed.
pub fn release_all(objects: BTreeMap<Handle, u32>) {
    for (handle, count) in objects {
        // Released too often by the program: nothing is left to do.
        let _ = release(handle, count);
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuUserObjectCreate(out: Out<Handle>, data: usize, destroy: HostFn, count: u32, flags: u32) -> CuResult {
    call("cuUserObjectCreate", || {
        super::state::driver()?;
        out.check()?;
        // CU_USER_OBJECT_NO_DESTRUCTOR_SYNC is the only value there is, and has to be given.
        if destroy.is_none() || count == 0 || flags != 1 {
            return Err(Code::InvalidValue.into());
        }
        let handle = OBJECTS.reserve();
        OBJECTS.insert(handle, Arc::new(UserObject { data, destroy, count: Mutex::new(count) }));
        out.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuUserObjectRetain(handle: Handle, count: u32) -> CuResult {
    call("cuUserObjectRetain", || retain(handle, count))
}

#[unsafe(no_mangle)]
extern "C" fn cuUserObjectRelease(handle: Handle, count: u32) -> CuResult {
    call("cuUserObjectRelease", || release(handle, count))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphRetainUserObject(graph_handle: Handle, handle: Handle, count: u32, flags: u32) -> CuResult {
    call("cuGraphRetainUserObject", || {
        let graph = graph(graph_handle)?;
        object(handle)?;
        match flags {
            0 => retain(handle, count)?,
            // CU_GRAPH_USER_OBJECT_MOVE: the caller's references become the graph's.
            1 if count > 0 => {}
            _ => return Err(Code::InvalidValue.into()),
        }
        *lock(&graph.objects).entry(handle).or_default() += count;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphReleaseUserObject(graph_handle: Handle, handle: Handle, count: u32) -> CuResult {
    call("cuGraphReleaseUserObject", || {
        let graph = graph(graph_handle)?;
        {
            let mut objects = lock(&graph.objects);
            let held = objects.get_mut(&handle).ok_or(Code::InvalidValue)?;
            *held = held.checked_sub(count).ok_or(Code::InvalidValue)?;
            if *held == 0 {
                objects.remove(&handle);
            }
        }
        release(handle, count)
    })
}
