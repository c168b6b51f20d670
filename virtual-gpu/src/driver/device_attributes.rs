//! `cuDeviceGetAttribute`: the numbers of the model under the numbers of cuda.h.

use super::abi::{CuResult, Out};
use super::call;
use super::device::pci_bus;
use super::error::Code;
use super::state::{Device, device};

/// One past the last attribute of the newest cuda.h.
const ATTRIBUTE_COUNT: u32 = 162;

/// The value of a `CUdevice_attribute`.
pub fn attribute(device: &Device, attribute: u32) -> Option<i32> {
    let model = device.model;
    let hopper = model.compute >= (9, 0);
    let yes_no = i32::from;
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Some(match attribute {
        1 => number(model.max_threads_per_block),
        2..=4 => number(model.max_block[attribute as usize - 2]),
        5..=7 => number(model.max_grid[attribute as usize - 5]),
        8 => number(model.shared_per_block),
        9 => number(model.constant_memory),
        10 => number(model.warp_size),
        11 => i32::MAX, // pitch
        12 => number(model.registers_per_block),
        13 => number(model.clock_khz),
        14 => 512, // texture alignment
        15 => 1,   // overlap of copies and kernels
        16 => number(model.multiprocessors),
        17 => 0, // run time limit on kernels
        18 => 0, // integrated
        19 => 1, // host memory can be mapped
        20 => 0, // compute mode: default
        21 | 22 | 55 | 56 => 131_072,
        23 | 57 => 65_536,
        24..=26 | 58..=60 => 16_384,
        27 | 28 | 42 | 45 | 46 | 54 | 61 | 63 | 64 | 66 | 73 | 74 => 32_768,
        29 | 43 | 62 | 65 => 2_048,
        67 | 68 => 2_046,
        30 => 512, // surface alignment
        31 => 1,   // concurrent kernels
        32 => yes_no(model.ecc),
        33 => pci_bus(device),
        34 => 0, // PCI device
        35 => 0, // TCC
        36 => number(model.memory_clock_khz),
        37 => number(model.memory_bus_bits),
        38 => i32::try_from(model.l2_bytes).unwrap_or(i32::MAX),
        39 => number(model.max_threads_per_multiprocessor),
        40 => number(model.copy_engines),
        41 => 1, // unified addressing
        44 => 1, // 2-D gather
        47 | 48 => 8_192,
        49 => 32_768,
        50 => 0,      // PCI domain
        51 => 32,     // texture pitch alignment
        52 => 32_768, // cubemap
        53 => 32_768,
        69 => 268_435_456,
        70 => 131_072,
        71 => 65_000,
        72 => 2_097_120,
        75 => number(model.compute.0),
        76 => number(model.compute.1),
        77 => 32_768,
        78 => 1, // stream priorities
        79 | 80 => 1,
        81 => number(model.shared_per_multiprocessor),
        82 => number(model.registers_per_multiprocessor),
        83 => 1, // managed memory
        84 => 0, // several GPUs on one board
        85 => device.ordinal,
        86 => 0, // native atomics between host and device
        87 => number(model.single_to_double_ratio),
        88 => 0, // pageable memory
        89 => 1, // managed memory by host and device at once
        90 => 1, // preemption
        91 => 1, // host pointers of registered memory serve the device
        92..=94 => 1,
        95 => 1, // cooperative launch
        96 => 0, // cooperative launch over several devices is gone from 13.0
        97 => number(model.shared_per_block_optin),
        98 => 0,  // flush of remote writes
        99 => 1,  // host memory can be registered
        100 => 0, // host page tables
        101 => 0,
        102 => 1, // virtual memory management
        103 => 0, // handles to other processes
        104 | 105 => 0,
        106 => number(model.max_blocks_per_multiprocessor),
        107 => 0, // compression
        108 => number(model.max_persisting_l2),
        109 => number(model.max_access_policy_window),
        110 => 0,
        111 => number(model.reserved_shared_per_block),
        112 => 0, // sparse arrays
        113 => 0, // read-only registration
        114 => 0,
        115 => 1, // memory pools
        116 => 0, // GPU direct
        117 | 118 => 0,
        119 => 0, // handle types of pools: none but the process itself
        120 => yes_no(hopper),
        121 => 0,
        122 | 123 => 1,
        124 => 0,
        125 => 0, // events of other processes
        126 => {
            if hopper {
                4
            } else {
                1
            }
        }
        127 => yes_no(hopper), // tensor maps
        128 => 0,
        129 => 0,
        130 => 0,  // NUMA: none
        131 => -1, // NUMA id
        132 => 0,  // multicast objects
        133 => 0,  // MPS
        134 => 0,
        135..=138 => 0,
        139 => model.pci_device_id as i32,
        140 => 0,
        141..=147 => 0,
        148..ATTRIBUTE_COUNT => 0,
        _ => return None,
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Out<i32>, number: u32, ordinal: i32) -> CuResult {
    call("cuDeviceGetAttribute", || {
        let device = device(ordinal)?;
        value.set(attribute(device, number).ok_or(Code::InvalidValue)?)
    })
}
