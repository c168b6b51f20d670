//! Launches, checked before the driver sees them.

use super::GpuSpec;
use super::argument::Arguments;
use super::kernel_table::{KernelInfo, Param, Resources};
use super::module::{Kernel, Loaded};
use crate::{Error, Result};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUfunction_attribute_enum as Attribute, CUlaunchAttributeID_enum as LaunchAttribute};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The shape of a launch.
///
/// ```
/// use warpsmith::device::cuda::LaunchConfig;
///
/// // 64 clusters of two blocks.
/// let pairs = LaunchConfig { cluster: [2, 1, 1], ..LaunchConfig::linear(128, 256) };
/// assert_eq!(pairs.grid, [128, 1, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// Blocks: x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block: x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes; over 48 KiB it is opted in to.
    pub dynamic_shared: u32,
    /// Blocks of a cluster, which run at the same time and reach each other's shared memory: x, y, z, of which each
    /// divides the grid. At most eight, on compute capability 9.0 and later; [1, 1, 1] is none.
    pub cluster: [u32; 3],
    /// Whether all blocks have to run at the same time, as barriers across the grid need it;
    /// [`Kernel::resident_blocks`] tells how many can.
    pub cooperative: bool,
}

/// Blocks of a cluster that every device of compute capability 9.0 and later can run (CUDA C++ Programming Guide,
/// "Thread Block Clusters"); more are not portable.
const MOST_CLUSTER: u64 = 8;

impl LaunchConfig {
    /// A one-dimensional launch without dynamic shared memory, clusters or cooperation.
    pub fn linear(blocks: u32, threads: u32) -> Self {
        let (grid, block) = ([blocks, 1, 1], [threads, 1, 1]);
        LaunchConfig { grid, block, dynamic_shared: 0, cluster: [1; 3], cooperative: false }
    }

    /// As many blocks of `threads` as cover `count` items, at most `most`; at least one.
    pub fn covering(count: usize, threads: u32, most: u32) -> Self {
        let blocks = count.div_ceil(threads.max(1) as usize).clamp(1, most.max(1) as usize);
        Self::linear(blocks as u32, threads)
    }

    fn threads(&self) -> u64 {
        volume(self.block)
    }

    /// The attributes that the driver is to be told; the first so many of two.
    fn attributes(&self) -> ([sys::CUlaunchAttribute; 2], u32) {
        let [x, y, z] = self.cluster;
        let cluster =
            sys::CUlaunchAttributeValue { clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y, z } };
        let none = sys::CUlaunchAttribute {
            id: LaunchAttribute::CU_LAUNCH_ATTRIBUTE_IGNORE,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { pad: [0; 64] },
        };
        let mut attributes = [none; 2];
        let mut count = 0;
        if volume(self.cluster) > 1 {
            let id = LaunchAttribute::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
            attributes[count] = sys::CUlaunchAttribute { id, value: cluster, ..none };
            count += 1;
        }
        if self.cooperative {
            let id = LaunchAttribute::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
            let value = sys::CUlaunchAttributeValue { cooperative: 1 };
            attributes[count] = sys::CUlaunchAttribute { id, value, ..none };
            count += 1;
        }
        (attributes, count as u32)
    }

    /// Calls `f` with the launch as the driver takes it.
    fn with_driver<R>(&self, stream: sys::CUstream, f: impl FnOnce(&sys::CUlaunchConfig) -> R) -> R {
        let (mut attributes, count) = self.attributes();
        f(&sys::CUlaunchConfig {
            gridDimX: self.grid[0],
            gridDimY: self.grid[1],
            gridDimZ: self.grid[2],
            blockDimX: self.block[0],
            blockDimY: self.block[1],
            blockDimZ: self.block[2],
            sharedMemBytes: self.dynamic_shared,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: count,
        })
    }
}

fn volume(sides: [u32; 3]) -> u64 {
    sides.iter().fold(1u64, |product, &side| product.saturating_mul(u64::from(side)))
}

impl Kernel {
    /// Gives the kernel to the device's stream, after checking the launch against the kernel and the device.
    ///
    /// # Errors
    /// [`Error::Argument`] where an argument does not fit its parameter or the launch asks for more threads, registers,
    /// shared memory, clusters or blocks at a time than there are. What goes wrong in the kernel itself shows up at a
    /// later call.
    ///
    /// # Safety
    /// The kernel must stay within the memory that its arguments point to, and write only where a `DevicePtrMut`
    /// points to.
    pub unsafe fn launch<A: Arguments>(&self, config: &LaunchConfig, arguments: A) -> Result<()> {
        let info = &self.loaded.info;
        check_arguments(info, A::PARAMS)?;
        check_config(info, &self.loaded.resources, self.device.spec(), config)?;
        self.device.bind("launch")?;
        self.opt_in(config)?;
        if config.cooperative {
            check_resident(info, config, self.resident(config)?, self.device.spec())?;
        }
        let function = self.loaded.function;
        // Before the launch: with CUDA_LAUNCH_BLOCKING=1 its failure shows up in the call itself.
        self.device.recent().lock().push(&self.loaded);
        arguments.with_pointers(|pointers| {
            config.with_driver(self.device.stream(), |driver| {
                // SAFETY: the arguments have the number, sizes and types of the kernel's parameters (checked above) and
                // outlive the call, which copies them, as it does the attributes; for what the arguments point to the
                // caller answers.
                unsafe { sys::cuLaunchKernelEx(driver, function, pointers.as_mut_ptr(), std::ptr::null_mut()) }
                    .result()
                    .map_err(|error| match self.device.failed("launch", error) {
                        Error::Device { op, message } => {
                            Error::Device { op, message: format!("{}: {message}", info.name) }
                        }
                        lost => lost,
                    })
            })
        })
    }

    /// How many blocks of that shape the device can hold at a time, whatever the grid: what a cooperative launch may
    /// have at most. Whole clusters, where the launch has them.
    ///
    /// # Errors
    /// [`Error::Argument`] where the launch fits neither kernel nor device.
    pub fn resident_blocks(&self, config: &LaunchConfig) -> Result<u32> {
        check_config(&self.loaded.info, &self.loaded.resources, self.device.spec(), config)?;
        self.device.bind("occupancy")?;
        self.opt_in(config)?;
        self.resident(config)
    }

    /// The dynamic shared memory of a launch beyond what the function may have so far.
    fn opt_in(&self, config: &LaunchConfig) -> Result<()> {
        if config.dynamic_shared <= self.loaded.dynamic_shared.load(Ordering::Acquire) {
            return Ok(());
        }
        let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let (function, bytes) = (self.loaded.function, config.dynamic_shared as i32);
        // SAFETY: the function is of a loaded module whose context is current; `check_config` has bounded the value.
        unsafe { result::function::set_function_attribute(function, attribute, bytes) }
            .map_err(|error| self.device.failed("launch", error))?;
        self.loaded.dynamic_shared.fetch_max(config.dynamic_shared, Ordering::AcqRel);
        Ok(())
    }

    /// As `resident_blocks`, of a launch that was checked, with the context current.
    fn resident(&self, config: &LaunchConfig) -> Result<u32> {
        let function = self.loaded.function;
        let mut held = 0;
        let cluster = volume(config.cluster);
        // SAFETY: the function is of a loaded module, and both calls write the one integer.
        let status = unsafe {
            if cluster > 1 {
                let count = &raw mut held;
                config.with_driver(self.device.stream(), |driver| {
                    sys::cuOccupancyMaxActiveClusters(count, function, driver)
                })
            } else {
                let (threads, shared) = (config.threads() as i32, config.dynamic_shared as usize);
                sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut held, function, threads, shared)
            }
        };
        status.result().map_err(|error| self.device.failed("occupancy", error))?;
        // Clusters are counted over the device, blocks on one multiprocessor.
        let each = if cluster > 1 { cluster as u32 } else { self.device.spec().multiprocessors };
        Ok(u32::try_from(held).unwrap_or(0).saturating_mul(each))
    }
}

/// The last launches since the device was waited for: where a failure that shows up later may come from.
#[derive(Default)]
pub(super) struct Recent {
    last: [Option<Arc<Loaded>>; 8],
    count: usize,
    /// Launches of graphs, of whatever kernels.
    graphs: usize,
}

impl Recent {
    fn push(&mut self, launched: &Arc<Loaded>) {
        launched.launches.fetch_add(1, Ordering::Relaxed);
        self.last[self.count % self.last.len()] = Some(launched.clone());
        self.count += 1;
    }

    pub(super) fn push_graph(&mut self) {
        self.graphs += 1;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl std::fmt::Display for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.count.min(self.last.len());
        let names: Vec<&str> = (self.count - shown..self.count)
            .filter_map(|i| self.last[i % self.last.len()].as_ref())
            .map(|launched| launched.info.name.as_ref())
            .collect();
        if self.graphs > 0 {
            write!(f, "in one of {} launches of captured graphs, or ", self.graphs)?;
        }
        match (self.count, names.as_slice()) {
            (_, []) if self.graphs > 0 => {
                f.write_str("before them; run the steps without a graph to learn in which kernel")
            }
            (_, []) => f.write_str("nothing was launched since the device was last waited for"),
            (_, [only]) => write!(f, "in the launch of {only}"),
            (count, names) => {
                let of = if count > shown { format!(", the last of {count},") } else { String::new() };
                write!(f, "in one of the launches{of} of {}; ", names.join(", "))?;
                f.write_str("run again with CUDA_LAUNCH_BLOCKING=1 to learn in which")
            }
        }
    }
}

fn check_arguments(info: &KernelInfo, given: &[Param]) -> Result<()> {
    if warpsmith_build::accepts_all(&info.params, given) {
        return Ok(());
    }
    let given: Vec<String> = given.iter().map(ToString::to_string).collect();
    Err(Error::argument("launch", format!("{} was given ({})", info.signature(), given.join(", "))))
}

fn check_config(info: &KernelInfo, resources: &Resources, spec: &GpuSpec, config: &LaunchConfig) -> Result<()> {
    let refuse = |what: String| Err(Error::argument("launch", format!("{}: {what}", info.name)));
    let [x, y, z] = config.grid;
    if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
        return refuse(format!("a grid of {x}×{y}×{z} blocks; 1 to 2147483647 × 65535 × 65535 are possible"));
    }
    let threads = config.threads();
    let most = resources.max_threads.min(spec.threads_per_block);
    if threads == 0 || threads > u64::from(most) || config.block[2] > 64 {
        return refuse(format!("a block of {:?} threads; it is compiled for 1 to {most}", config.block));
    }
    if resources.required_block != [0; 3] && resources.required_block != config.block {
        return refuse(format!("a block of {:?} threads; it demands {:?}", config.block, resources.required_block));
    }
    let registers = resources.block_registers(threads as u32);
    if registers > spec.registers_per_block {
        return refuse(format!(
            "{} registers × {threads} threads take {registers} registers; a block has {} on {}",
            resources.registers, spec.registers_per_block, spec.name
        ));
    }
    let shared = u64::from(resources.static_shared) + u64::from(config.dynamic_shared);
    if shared > u64::from(spec.shared_per_block) {
        return refuse(format!(
            "{} + {} bytes of shared memory; a block has at most {} on {}",
            resources.static_shared, config.dynamic_shared, spec.shared_per_block, spec.name
        ));
    }
    check_cluster(info, resources, spec, config)
}

fn check_cluster(info: &KernelInfo, resources: &Resources, spec: &GpuSpec, config: &LaunchConfig) -> Result<()> {
    let refuse = |what: String| Err(Error::argument("launch", format!("{}: {what}", info.name)));
    let (cluster, size) = (config.cluster, volume(config.cluster));
    if resources.required_cluster != [0; 3] && resources.required_cluster != cluster {
        return refuse(format!("clusters of {cluster:?} blocks; it demands {:?}", resources.required_cluster));
    }
    if size == 1 {
        return Ok(());
    }
    if spec.compute_capability < (9, 0) {
        let (major, minor) = spec.compute_capability;
        return refuse(format!(
            "clusters of {cluster:?} blocks; {} has compute capability {major}.{minor}, and clusters start at 9.0: \
             launch a kernel without them there, with a cluster of [1, 1, 1]",
            spec.name
        ));
    }
    if size == 0 || size > MOST_CLUSTER {
        return refuse(format!("clusters of {cluster:?} blocks; 1 to {MOST_CLUSTER} in all are possible"));
    }
    if cluster.iter().zip(config.grid).any(|(&side, grid)| !grid.is_multiple_of(side)) {
        return refuse(format!(
            "clusters of {cluster:?} blocks do not divide a grid of {:?}; round it up and let the blocks beyond do nothing",
            config.grid
        ));
    }
    Ok(())
}

/// Blocks of a cooperative launch that are not resident would be waited for by those that are, for ever.
fn check_resident(info: &KernelInfo, config: &LaunchConfig, resident: u32, spec: &GpuSpec) -> Result<()> {
    let blocks = volume(config.grid);
    if blocks <= u64::from(resident) {
        return Ok(());
    }
    Err(Error::argument(
        "launch",
        format!(
            "{}: a cooperative grid of {blocks} blocks, of which {} holds {resident} at a time ({} threads and {} bytes \
             of dynamic shared memory each); ask Kernel::resident_blocks and let each block do more",
            info.name,
            spec.name,
            config.threads(),
            config.dynamic_shared
        ),
    ))
}

/// Includes the table of kernels that the crate's build script made with `warpsmith-build`: a static for each `.cu`
/// file, named as the file in capitals, and `MODULES` with all of them. Goes into a module of its own.
#[macro_export]
macro_rules! include_kernels {
    () => {
        use $crate::device::cuda::kernel_table;
        include!(concat!(env!("OUT_DIR"), "/warpsmith_kernels.rs"));
    };
}

/// Typed launches of kernels, like an `extern` block: each declaration is held against the signature that the table
/// has of the kernel, when the crate is compiled (or, for kernels embedded as source, when they are loaded).
///
/// A declaration gives a function that takes the device, the [`LaunchConfig`](crate::device::cuda::LaunchConfig) and
/// the arguments, and returns what [`Kernel::launch`](crate::device::cuda::Kernel::launch) does. The kernel is the one
/// of the function's name, or the one named behind `=`: a literal, or in brackets a constant expression.
///
/// ```ignore
/// warpsmith::launches! {
///     in kernels::MY;
///     /// y += a·x
///     pub unsafe fn saxpy(y: DevicePtrMut<'_, f32>, x: DevicePtr<'_, f32>, a: f32, n: u32);
///     /// The sum of each row.
///     pub unsafe fn sum_rows = "reduce<Sum, 256>" (out: DevicePtrMut<'_, f32>, x: DevicePtr<'_, f32>, columns: u32);
/// }
/// ```
#[macro_export]
macro_rules! launches {
    (in $table:path; $($declarations:tt)*) => {
        $crate::launches!(@ $table; $($declarations)*);
    };
    (@ $table:path;) => {};
    (@ $table:path; $(#[$meta:meta])* $vis:vis unsafe fn $name:ident
        ($($argument:ident: $ty:ty),* $(,)?); $($rest:tt)*) => {
        $crate::launches!(@one $table, stringify!($name), [$(#[$meta])*], $vis, $name, $($argument: $ty),*);
        $crate::launches!(@ $table; $($rest)*);
    };
    (@ $table:path; $(#[$meta:meta])* $vis:vis unsafe fn $name:ident = $kernel:literal
        ($($argument:ident: $ty:ty),* $(,)?); $($rest:tt)*) => {
        $crate::launches!(@one $table, $kernel, [$(#[$meta])*], $vis, $name, $($argument: $ty),*);
        $crate::launches!(@ $table; $($rest)*);
    };
    (@ $table:path; $(#[$meta:meta])* $vis:vis unsafe fn $name:ident = [$kernel:expr]
        ($($argument:ident: $ty:ty),* $(,)?); $($rest:tt)*) => {
        $crate::launches!(@one $table, $kernel, [$(#[$meta])*], $vis, $name, $($argument: $ty),*);
        $crate::launches!(@ $table; $($rest)*);
    };
    (@one $table:path, $kernel:expr, [$($meta:tt)*], $vis:vis, $name:ident, $($argument:ident: $ty:ty),*) => {
        const _: () = assert!(
            $table.admits($kernel, &[$(<$ty as $crate::device::cuda::Argument>::PARAM),*]),
            concat!("the table `", stringify!($table), "` has no kernel that is named and takes what `",
                stringify!($name), "` declares")
        );

        $($meta)*
        ///
        /// # Safety
        /// The kernel must stay within the memory that its arguments point to.
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(
            device: &$crate::device::cuda::CudaDevice,
            config: &$crate::device::cuda::LaunchConfig,
            $($argument: $ty),*
        ) -> $crate::Result<()> {
            static FOUND: $crate::device::cuda::KernelSlot = $crate::device::cuda::KernelSlot::new();
            let kernel = FOUND.kernel(device, &$table, $kernel)?;
            // SAFETY: the caller vouches for what the kernel does with the memory of its arguments.
            unsafe { kernel.launch(config, ($($argument,)*)) }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::kernel_table::{Arch, ParamType, Scalar};
    use std::borrow::Cow;

    fn info() -> KernelInfo {
        let param = Param { ty: ParamType::Scalar(Scalar::F32), offset: 0, size: 4, align: 4 };
        KernelInfo {
            name: Cow::Borrowed("scale"),
            entry: Cow::Borrowed("scale"),
            params: Cow::Owned(vec![param]),
            resources: Cow::Borrowed(&[]),
        }
    }

    fn resources() -> Resources {
        Resources {
            arch: Arch::new(8, 0, false),
            registers: 128,
            static_shared: 1024,
            local: 0,
            max_threads: 1024,
            required_block: [0; 3],
            required_cluster: [0; 3],
        }
    }

    fn spec() -> GpuSpec {
        GpuSpec {
            name: "a GPU".into(),
            compute_capability: (8, 0),
            multiprocessors: 108,
            shared_per_block: 166_912,
            shared_per_multiprocessor: 167_936,
            registers_per_block: 65_536,
            threads_per_block: 1024,
            l2_bytes: 40 << 20,
            memory_bytes: 40 << 30,
            driver_version: 12_090,
        }
    }

    #[test]
    fn a_launch_beyond_the_kernel_or_the_device_is_refused_before_the_driver_sees_it() {
        let check = |config: LaunchConfig| check_config(&info(), &resources(), &spec(), &config);
        let fits = LaunchConfig::linear(4, 512);
        assert!(check(fits).is_ok());
        assert!(check(LaunchConfig::linear(0, 512)).is_err(), "no block");
        assert!(check(LaunchConfig { grid: [1, 65_536, 1], ..fits }).is_err(), "too many rows of blocks");
        assert!(check(LaunchConfig::linear(1, 0)).is_err(), "no thread");
        assert!(check(LaunchConfig::linear(1, 1025)).is_err(), "more threads than a block has");
        let registers = check(LaunchConfig::linear(1, 513)).unwrap_err().to_string();
        assert!(registers.contains("69632"), "{registers}");
        assert!(check(LaunchConfig { dynamic_shared: 166_912 - 1024, ..fits }).is_ok());
        assert!(check(LaunchConfig { dynamic_shared: 166_912 - 1023, ..fits }).is_err(), "one byte too many");
        let exact = Resources { required_block: [256, 1, 1], ..resources() };
        assert!(check_config(&info(), &exact, &spec(), &fits).is_err(), "not the block that it demands");
    }

    #[test]
    fn clusters_divide_the_grid_on_devices_that_have_them() {
        let hopper = GpuSpec { compute_capability: (9, 0), ..spec() };
        let pairs = LaunchConfig { cluster: [2, 1, 1], ..LaunchConfig::linear(6, 64) };
        let check = |spec: &GpuSpec, resources: &Resources, config| check_config(&info(), resources, spec, &config);
        let told = |result: Result<()>| result.unwrap_err().to_string();
        assert!(check(&hopper, &resources(), pairs).is_ok());
        let old = told(check(&spec(), &resources(), pairs));
        assert!(old.contains("compute capability 8.0") && old.contains("9.0"), "{old}");
        let odd = told(check(&hopper, &resources(), LaunchConfig { cluster: [4, 1, 1], ..pairs }));
        assert!(odd.contains("[4, 1, 1]") && odd.contains("[6, 1, 1]"), "{odd}");
        assert!(check(&hopper, &resources(), LaunchConfig { cluster: [1, 2, 1], ..pairs }).is_err(), "along y");
        let large = LaunchConfig { cluster: [3, 3, 1], grid: [3, 3, 1], ..pairs };
        assert!(told(check(&hopper, &resources(), large)).contains("1 to 8"));
        assert!(check(&hopper, &resources(), LaunchConfig { cluster: [2, 2, 2], grid: [2; 3], ..pairs }).is_ok());
        assert!(check(&hopper, &resources(), LaunchConfig { cluster: [0, 1, 1], ..pairs }).is_err());
        let exact = Resources { required_cluster: [2, 1, 1], ..resources() };
        assert!(check(&hopper, &exact, pairs).is_ok());
        assert!(told(check(&hopper, &exact, LaunchConfig::linear(6, 64))).contains("demands [2, 1, 1]"));
    }

    #[test]
    fn cooperative_grids_are_at_most_what_is_resident() {
        let grid = LaunchConfig { grid: [3, 4, 1], cooperative: true, ..LaunchConfig::linear(1, 64) };
        assert!(check_resident(&info(), &grid, 12, &spec()).is_ok());
        let error = check_resident(&info(), &grid, 11, &spec()).unwrap_err().to_string();
        assert!(error.contains("12 blocks") && error.contains("11 at a time"), "{error}");
    }

    #[test]
    fn arguments_of_other_types_are_refused_with_both_signatures() {
        assert!(check_arguments(&info(), <(f32,)>::PARAMS).is_ok());
        let error = check_arguments(&info(), <(u32, f32)>::PARAMS).unwrap_err().to_string();
        assert!(error.contains("scale(f32)") && error.contains("(u32, f32)"), "{error}");
    }

    #[test]
    fn covering_launches_have_at_least_one_block_and_at_most_the_limit() {
        assert_eq!(LaunchConfig::covering(0, 256, 8).grid[0], 1);
        assert_eq!(LaunchConfig::covering(257, 256, 8).grid[0], 2);
        assert_eq!(LaunchConfig::covering(1 << 40, 256, 8).grid[0], 8);
    }
}
