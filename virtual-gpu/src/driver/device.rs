//! Initialisation, driver version, and what a device says about itself apart from its attributes.

use super::abi::{CuResult, In, Out};
use super::call;
use super::config;
use super::error::{Code, Res};
use super::state::{Device, device, driver, initialise};
use std::ffi::c_char;

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: u32) -> CuResult {
    call("cuInit", || {
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        initialise();
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Out<i32>) -> CuResult {
    // The one call that works before cuInit.
    call("cuDriverGetVersion", || version.set(config::read(|config| config.driver_version)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(out: Out<i32>, ordinal: i32) -> CuResult {
    call("cuDeviceGet", || {
        device(ordinal)?;
        out.set(ordinal)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Out<i32>) -> CuResult {
    call("cuDeviceGetCount", || count.set(driver()?.devices.len() as i32))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: Out<c_char>, len: i32, ordinal: i32) -> CuResult {
    call("cuDeviceGetName", || {
        let len = usize::try_from(len).map_err(|_| Code::InvalidValue)?;
        name.set_text(device(ordinal)?.model.name, len)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, ordinal: i32) -> CuResult {
    call("cuDeviceTotalMem", || bytes.set(device(ordinal)?.model.memory_bytes as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, ordinal: i32) -> CuResult {
    call("cuDeviceComputeCapability", || {
        let compute = device(ordinal)?.model.compute;
        major.set(compute.0 as i32)?;
        minor.set(compute.1 as i32)
    })
}

/// Sixteen bytes that name a device: model and ordinal.
fn uuid(device: &Device) -> [u8; 16] {
    let mut uuid = *b"virtual-gpu\0\0\0\0\0";
    uuid[11] = device.model.compute.0 as u8;
    uuid[12] = device.model.compute.1 as u8;
    uuid[15] = device.ordinal as u8;
    uuid
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(out: Out<[u8; 16]>, ordinal: i32) -> CuResult {
    call("cuDeviceGetUuid", || out.set(uuid(device(ordinal)?)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(out: Out<[u8; 16]>, ordinal: i32) -> CuResult {
    call("cuDeviceGetUuid", || out.set(uuid(device(ordinal)?)))
}

/// The PCI bus that a device sits on.
pub fn pci_bus(device: &Device) -> i32 {
    device.ordinal + 1
}

fn pci_name(device: &Device) -> String {
    format!("0000:{:02X}:00.0", pci_bus(device))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetPCIBusId(out: Out<c_char>, len: i32, ordinal: i32) -> CuResult {
    call("cuDeviceGetPCIBusId", || {
        let name = pci_name(device(ordinal)?);
        match usize::try_from(len) {
            Ok(len) if len > name.len() => out.set_text(&name, len),
            _ => Err(Code::InvalidValue.into()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetByPCIBusId(out: Out<i32>, name: In<c_char>) -> CuResult {
    call("cuDeviceGetByPCIBusId", || {
        // `[domain]:[bus]:[device].[function]`, the domain and the function optional.
        let name = name.text()?;
        let parts: Vec<&str> = name.split(':').collect();
        let bus = match parts[..] {
            [_, bus, _] | [bus, _] => i32::from_str_radix(bus, 16).map_err(|_| Code::InvalidValue)?,
            _ => return Err(Code::InvalidValue.into()),
        };
        let devices = &driver()?.devices;
        let found = devices.iter().find(|device| pci_bus(device) == bus).ok_or(Code::InvalidDevice)?;
        out.set(found.ordinal)
    })
}

/// `CUdevprop`.
#[repr(C)]
struct Properties {
    max_threads_per_block: i32,
    max_block: [i32; 3],
    max_grid: [i32; 3],
    shared_per_block: i32,
    constant_memory: i32,
    warp_size: i32,
    max_pitch: i32,
    registers_per_block: i32,
    clock_khz: i32,
    texture_alignment: i32,
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetProperties(out: Out<Properties>, ordinal: i32) -> CuResult {
    call("cuDeviceGetProperties", || {
        let model = device(ordinal)?.model;
        out.set(Properties {
            max_threads_per_block: model.max_threads_per_block as i32,
            max_block: model.max_block.map(|extent| extent as i32),
            max_grid: model.max_grid.map(|extent| extent as i32),
            shared_per_block: model.shared_per_block as i32,
            constant_memory: model.constant_memory as i32,
            warp_size: model.warp_size as i32,
            max_pitch: i32::MAX,
            registers_per_block: model.registers_per_block as i32,
            clock_khz: model.clock_khz as i32,
            texture_alignment: 512,
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetExecAffinitySupport(supported: Out<i32>, _kind: u32, ordinal: i32) -> CuResult {
    call("cuDeviceGetExecAffinitySupport", || {
        device(ordinal)?;
        supported.set(0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFlushGPUDirectRDMAWrites(_target: u32, _scope: u32) -> CuResult {
    // Nothing is buffered on the way here.
    call("cuFlushGPUDirectRDMAWrites", || driver().map(|_| ()))
}

/// `cuGetExportTable` offers private interfaces; there are none here.
#[unsafe(no_mangle)]
extern "C" fn cuGetExportTable(table: Out<usize>, _id: In<[u8; 16]>) -> CuResult {
    call("cuGetExportTable", || -> Res {
        table.set_if_wanted(0)?;
        Err(Code::NotFound.into())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStart() -> CuResult {
    call("cuProfilerStart", || {
        super::context::current()?;
        super::profile::set_recording(true);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStop() -> CuResult {
    call("cuProfilerStop", || {
        super::context::current()?;
        super::profile::set_recording(false);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerInitialize(_config: In<c_char>, _output: In<c_char>, _mode: u32) -> CuResult {
    call("cuProfilerInitialize", || Err(Code::NotSupported.into()))
}
