//! The devices that the virtual GPU can play: every number a program can ask for, in one table.
//!
//! Sources: the CUDA C++ programming guide (compute capability tables), the whitepapers of the three architectures and
//! what `cuDeviceGetAttribute` answers on the real devices.

/// What is known about one GPU model; immutable, one of [`MODELS`].
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceModel {
    /// Short name for `VIRTUAL_GPU_DEVICE` and `--device`: `a100`, `rtx4090`, `h100`.
    pub id: &'static str,
    /// The name that `cuDeviceGetName` gives.
    pub name: &'static str,
    /// Compute capability, for example `(9, 0)`.
    pub compute: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Global memory in bytes.
    pub memory_bytes: u64,
    /// L2 cache in bytes.
    pub l2_bytes: u64,
    /// Largest part of L2 that can be set aside for persisting accesses, in bytes.
    pub max_persisting_l2: u32,
    /// Largest access policy window in bytes.
    pub max_access_policy_window: u32,
    /// Shared memory of one multiprocessor in bytes.
    pub shared_per_multiprocessor: u32,
    /// Shared memory a block may have without opting in, in bytes.
    pub shared_per_block: u32,
    /// Shared memory a block may have after opting in, in bytes.
    pub shared_per_block_optin: u32,
    /// Shared memory the driver keeps for itself in every block, in bytes.
    pub reserved_shared_per_block: u32,
    /// 32-bit registers of one multiprocessor.
    pub registers_per_multiprocessor: u32,
    /// 32-bit registers one block may have.
    pub registers_per_block: u32,
    /// 32-bit registers one thread may have.
    pub max_registers_per_thread: u32,
    /// Registers are given to warps in steps of this many.
    pub register_allocation_unit: u32,
    /// Shared memory is given to blocks in steps of this many bytes.
    pub shared_allocation_unit: u32,
    /// Threads resident on one multiprocessor.
    pub max_threads_per_multiprocessor: u32,
    /// Blocks resident on one multiprocessor.
    pub max_blocks_per_multiprocessor: u32,
    /// Threads of one block.
    pub max_threads_per_block: u32,
    /// Largest block, per dimension.
    pub max_block: [u32; 3],
    /// Largest grid, per dimension.
    pub max_grid: [u32; 3],
    /// Blocks of the largest portable cluster; 1 where clusters do not exist.
    pub max_cluster: u32,
    /// Blocks of the largest cluster after `NON_PORTABLE_CLUSTER_SIZE_ALLOWED`; 1 where clusters do not exist.
    pub max_cluster_non_portable: u32,
    /// Lanes of a warp.
    pub warp_size: u32,
    /// Constant memory a module may declare, in bytes.
    pub constant_memory: u32,
    /// Local memory one thread may have, in bytes.
    pub max_local_per_thread: u32,
    /// Core clock in kHz.
    pub clock_khz: u32,
    /// Memory clock in kHz.
    pub memory_clock_khz: u32,
    /// Memory bus width in bits.
    pub memory_bus_bits: u32,
    /// Copy engines.
    pub copy_engines: u32,
    /// Ratio of single to double precision throughput.
    pub single_to_double_ratio: u32,
    /// ECC is on.
    pub ecc: bool,
    /// PCI device id (device in the high half, vendor in the low half).
    pub pci_device_id: u32,
}

impl DeviceModel {
    /// Compute capability as PTX targets write it: 80, 89, 90.
    pub fn sm(&self) -> u32 {
        self.compute.0 * 10 + self.compute.1
    }

    /// The model called `id` (see [`DeviceModel::id`]; case, `-`, `_`, spaces and a leading `rtx` do not matter).
    pub fn find(id: &str) -> Option<&'static DeviceModel> {
        let plain = |text: &str| -> String {
            let text: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
            text.strip_prefix("rtx").map(str::to_owned).unwrap_or(text)
        };
        let wanted = plain(id);
        MODELS.iter().find(|model| plain(model.id) == wanted || format!("sm{}", model.sm()) == wanted)
    }
}

const GIB: u64 = 1 << 30;
const MIB: u32 = 1 << 20;
const KIB: u32 = 1 << 10;

impl DeviceModel {
    /// NVIDIA A100 (SXM4, 40 GB), compute capability 8.0.
    pub const A100: DeviceModel = DeviceModel {
        id: "a100",
        name: "NVIDIA A100-SXM4-40GB",
        compute: (8, 0),
        multiprocessors: 108,
        memory_bytes: 40 * GIB - 512 * MIB as u64,
        l2_bytes: 40 << 20,
        max_persisting_l2: 30 * MIB,
        max_access_policy_window: 128 * MIB,
        shared_per_multiprocessor: 164 * KIB,
        shared_per_block: 48 * KIB,
        shared_per_block_optin: 163 * KIB,
        reserved_shared_per_block: KIB,
        registers_per_multiprocessor: 65_536,
        registers_per_block: 65_536,
        max_registers_per_thread: 255,
        register_allocation_unit: 256,
        shared_allocation_unit: 128,
        max_threads_per_multiprocessor: 2_048,
        max_blocks_per_multiprocessor: 32,
        max_threads_per_block: 1_024,
        max_block: [1_024, 1_024, 64],
        max_grid: [0x7fff_ffff, 65_535, 65_535],
        max_cluster: 1,
        max_cluster_non_portable: 1,
        warp_size: 32,
        constant_memory: 64 * KIB,
        max_local_per_thread: 512 * KIB,
        clock_khz: 1_410_000,
        memory_clock_khz: 1_215_000,
        memory_bus_bits: 5_120,
        copy_engines: 3,
        single_to_double_ratio: 2,
        ecc: true,
        pci_device_id: 0x20b0_10de,
    };

    /// NVIDIA GeForce RTX 4090, compute capability 8.9.
    pub const RTX_4090: DeviceModel = DeviceModel {
        id: "rtx4090",
        name: "NVIDIA GeForce RTX 4090",
        compute: (8, 9),
        multiprocessors: 128,
        memory_bytes: 24 * GIB - 480 * MIB as u64,
        l2_bytes: 72 << 20,
        max_persisting_l2: 49 * MIB + 512 * KIB,
        max_access_policy_window: 128 * MIB - 8 * KIB,
        shared_per_multiprocessor: 100 * KIB,
        shared_per_block_optin: 99 * KIB,
        max_threads_per_multiprocessor: 1_536,
        max_blocks_per_multiprocessor: 24,
        clock_khz: 2_520_000,
        memory_clock_khz: 10_501_000,
        memory_bus_bits: 384,
        copy_engines: 2,
        single_to_double_ratio: 64,
        ecc: false,
        pci_device_id: 0x2684_10de,
        ..DeviceModel::A100
    };

    /// NVIDIA H100 (SXM5, 80 GB), compute capability 9.0.
    pub const H100: DeviceModel = DeviceModel {
        id: "h100",
        name: "NVIDIA H100 80GB HBM3",
        compute: (9, 0),
        multiprocessors: 132,
        memory_bytes: 80 * GIB - 832 * MIB as u64,
        l2_bytes: 50 << 20,
        max_persisting_l2: 32 * MIB,
        shared_per_multiprocessor: 228 * KIB,
        shared_per_block_optin: 227 * KIB,
        max_cluster: 8,
        max_cluster_non_portable: 16,
        clock_khz: 1_980_000,
        memory_clock_khz: 2_619_000,
        pci_device_id: 0x2330_10de,
        ..DeviceModel::A100
    };
}

/// Every model, the default one (H100) last.
pub static MODELS: [DeviceModel; 3] = [DeviceModel::A100, DeviceModel::RTX_4090, DeviceModel::H100];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_spelling() {
        for (spelling, sm) in
            [("A100", 80), ("rtx-4090", 89), ("4090", 89), ("RTX 4090", 89), ("h100", 90), ("sm_90", 90)]
        {
            assert_eq!(DeviceModel::find(spelling).map(DeviceModel::sm), Some(sm), "{spelling}");
        }
        assert_eq!(DeviceModel::find("gtx"), None);
    }

    #[test]
    fn a_block_never_has_more_than_its_multiprocessor() {
        for model in &MODELS {
            assert_eq!(
                model.shared_per_block_optin + model.reserved_shared_per_block,
                model.shared_per_multiprocessor,
                "{}",
                model.id
            );
        }
    }
}
