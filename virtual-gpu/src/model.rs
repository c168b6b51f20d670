//! Device models: every number a modelled GPU is known by.

/// A GPU that the virtual device imitates.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceModel {
    /// Marketing name, as `cuDeviceGetName` reports it.
    pub name: &'static str,
    /// Compute capability, for example `(9, 0)`.
    pub compute: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Threads a block may have.
    pub max_threads_per_block: u32,
    /// Largest block extent per dimension.
    pub max_block: [u32; 3],
    /// Largest grid extent per dimension.
    pub max_grid: [u32; 3],
    /// Threads an SM holds.
    pub max_threads_per_multiprocessor: u32,
    /// Blocks an SM holds.
    pub max_blocks_per_multiprocessor: u32,
    /// Shared memory a block may have without opting in, in bytes.
    pub shared_per_block: u32,
    /// Shared memory a block may have after opting in, in bytes.
    pub shared_per_block_optin: u32,
    /// Shared memory of an SM, in bytes.
    pub shared_per_multiprocessor: u32,
    /// Shared memory the system reserves per block, in bytes.
    pub reserved_shared_per_block: u32,
    /// 32-bit registers a block may use.
    pub registers_per_block: u32,
    /// 32-bit registers of an SM.
    pub registers_per_multiprocessor: u32,
    /// Level-two cache in bytes.
    pub l2_bytes: u64,
    /// SM clock in kHz.
    pub clock_khz: u32,
    /// Memory clock in kHz.
    pub memory_clock_khz: u32,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: u32,
    /// Blocks a portable cluster may have; 1 where clusters are not supported.
    pub max_cluster: u32,
}

impl DeviceModel {
    /// NVIDIA A100 (SXM, 80 GB), compute capability 8.0.
    pub const A100: DeviceModel = DeviceModel {
        name: "NVIDIA A100-SXM4-80GB",
        compute: (8, 0),
        multiprocessors: 108,
        memory_bytes: 80 << 30,
        max_threads_per_block: 1024,
        max_block: [1024, 1024, 64],
        max_grid: [0x7fff_ffff, 65535, 65535],
        max_threads_per_multiprocessor: 2048,
        max_blocks_per_multiprocessor: 32,
        shared_per_block: 48 << 10,
        shared_per_block_optin: 163 << 10,
        shared_per_multiprocessor: 164 << 10,
        reserved_shared_per_block: 1 << 10,
        registers_per_block: 65536,
        registers_per_multiprocessor: 65536,
        l2_bytes: 40 << 20,
        clock_khz: 1_410_000,
        memory_clock_khz: 1_593_000,
        memory_bus_bits: 5120,
        max_cluster: 1,
    };

    /// NVIDIA GeForce RTX 4090, compute capability 8.9.
    pub const RTX_4090: DeviceModel = DeviceModel {
        name: "NVIDIA GeForce RTX 4090",
        compute: (8, 9),
        multiprocessors: 128,
        memory_bytes: 24 << 30,
        max_threads_per_multiprocessor: 1536,
        max_blocks_per_multiprocessor: 24,
        shared_per_block_optin: 99 << 10,
        shared_per_multiprocessor: 100 << 10,
        l2_bytes: 72 << 20,
        clock_khz: 2_520_000,
        memory_clock_khz: 10_501_000,
        memory_bus_bits: 384,
        ..DeviceModel::A100
    };

    /// NVIDIA H100 (SXM, 80 GB), compute capability 9.0.
    pub const H100: DeviceModel = DeviceModel {
        name: "NVIDIA H100 80GB HBM3",
        compute: (9, 0),
        multiprocessors: 132,
        shared_per_block_optin: 227 << 10,
        shared_per_multiprocessor: 228 << 10,
        l2_bytes: 50 << 20,
        clock_khz: 1_980_000,
        memory_clock_khz: 2_619_000,
        max_cluster: 8,
        ..DeviceModel::A100
    };
}
