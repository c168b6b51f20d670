//! Launches: parameters are taken at the call, limits checked there, and the grid runs when its turn comes.

use super::abi::{CuResult, Handle, In};
use super::call;
use super::config;
use super::context::{Context, current};
use super::error::{Code, Error, Res};
use super::event::{self, EVENTS};
use super::function::{Function, function};
use super::inject::{self, LaunchFate};
use super::layouts::{LaunchAttribute, LaunchConfigC};
use super::ops::Op;
use super::queue::current_tag;
use super::state::driver;
use super::stream::{enqueue, resolve};
use super::table::lock;
use super::{occupancy, profile};
use crate::machine::{self, Dependence, LaunchConfig, StreamTag};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// `CU_LAUNCH_PARAM_*`
const PARAM_END: usize = 0;
const PARAM_BUFFER: usize = 1;
const PARAM_BUFFER_SIZE: usize = 2;

/// A launch with its parameters.
pub struct Launch {
    pub function: Arc<Function>,
    pub config: LaunchConfig,
    pub params: Vec<u8>,
    /// Launch attributes as given, for graph nodes.
    pub attributes: Vec<LaunchAttribute>,
    /// The array behind `kernelParams` that a graph node hands out.
    pointers: OnceLock<Vec<usize>>,
}

/// What a caller asks for, before it is checked.
pub struct Request {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub attributes: Vec<LaunchAttribute>,
    pub cooperative: bool,
}

/// Takes the parameters from `kernelParams` (a pointer per parameter) or `extra` (one buffer).
pub fn read_params(function: &Function, pointers: In<usize>, extra: In<usize>) -> Res<Vec<u8>> {
    let entry = function.entry();
    let size = entry.param_bytes as usize;
    let mut block = vec![0; size];
    if !pointers.is_null() {
        if !extra.is_null() {
            return Err(Error::invalid("both kernelParams and extra are given"));
        }
        for (index, param) in entry.params.iter().enumerate() {
            let bytes = In::<u8>::at_address(pointers.at(index)?)
                .bytes(param.size as usize)
                .map_err(|_| Error::invalid(format!("`{}`: the pointer to parameter {index} is null", entry.name)))?;
            block[param.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        return Ok(block);
    }
    if extra.is_null() {
        if entry.params.is_empty() {
            return Ok(block);
        }
        return Err(Error::invalid(format!("`{}` has {} parameters and got none", entry.name, entry.params.len())));
    }
    let (mut buffer, mut length) = (0, None);
    // Pairs of a key and a value, up to the end mark; each key once.
    for pair in 0.. {
        match extra.at(2 * pair)? {
            PARAM_END => break,
            PARAM_BUFFER => buffer = extra.at(2 * pair + 1)?,
            PARAM_BUFFER_SIZE => length = Some(In::<usize>::at_address(extra.at(2 * pair + 1)?).get()?),
            key => return Err(Error::invalid(format!("extra: {key} is no CU_LAUNCH_PARAM key"))),
        }
        if pair > 4 {
            return Err(Error::invalid("extra does not end with CU_LAUNCH_PARAM_END"));
        }
    }
    let length = length.ok_or_else(|| Error::invalid("extra has no buffer size"))?;
    // A structure may be padded at its end.
    if length < size || length > size.next_multiple_of(16) {
        return Err(Error::invalid(format!(
            "`{}` takes {size} bytes of parameters, the buffer has {length}",
            entry.name
        )));
    }
    Ok(In::<u8>::at_address(buffer).bytes(length)?[..size].to_vec())
}

/// Checks a request against device and function.
pub fn prepare(context: &Context, function: &Arc<Function>, request: Request, params: Vec<u8>) -> Res<Launch> {
    let model = context.device.model;
    let entry = function.entry();
    let name = &entry.name;
    if function.module.context != context.handle {
        return Err(Error::new(
            Code::InvalidHandle,
            format!("`{name}` belongs to a module of another context than the stream"),
        ));
    }
    let Request { grid, block, shared, attributes, mut cooperative } = request;
    let mut programmatic = false;
    let mut cluster = None;
    for attribute in &attributes {
        match attribute.id {
            2 => cooperative |= attribute.value[0] != 0,
            4 => cluster = Some([attribute.value[0], attribute.value[1], attribute.value[2]]),
            6 => programmatic |= attribute.value[0] != 0,
            0 | 1 | 3 | 5 | 7..=14 | 16..=18 => {}
            id => return Err(Error::invalid(format!("{id} is no launch attribute"))),
        }
    }
    let outside =
        |extent: [u32; 3], most: [u32; 3]| extent.iter().zip(most).any(|(&value, most)| value == 0 || value > most);
    if outside(grid, model.max_grid) {
        return Err(Error::invalid(format!("`{name}`: the grid {grid:?} is outside 1 to {:?}", model.max_grid)));
    }
    let threads: u64 = block.iter().map(|&extent| u64::from(extent)).product();
    if outside(block, model.max_block) || threads > u64::from(model.max_threads_per_block) {
        return Err(Error::invalid(format!(
            "`{name}`: the block {block:?} is outside 1 to {:?}, or has more than {} threads",
            model.max_block, model.max_threads_per_block
        )));
    }
    if let Some(required) = entry.req_ntid
        && required != block
    {
        return Err(Error::invalid(format!("`{name}` declares .reqntid {required:?} and is launched with {block:?}")));
    }
    if let Some(most) = entry.max_ntid
        && threads > most.iter().map(|&extent| u64::from(extent)).product()
    {
        return Err(Error::invalid(format!("`{name}` declares .maxntid {most:?} and is launched with {block:?}")));
    }
    if threads > u64::from(function.max_threads()?) {
        return Err(Error::new(
            Code::LaunchOutOfResources,
            format!(
                "`{name}`: {threads} threads of {} registers each are more than the {} registers of a block",
                function.declared_registers().unwrap_or(0),
                model.registers_per_block
            ),
        ));
    }
    let dynamic = function.max_dynamic_shared()?;
    if shared > dynamic {
        return Err(Error::invalid(format!(
            "`{name}`: {shared} bytes of dynamic shared memory beside {} static ones; {dynamic} are allowed before \
             CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES raises it (at most to {})",
            entry.static_shared_bytes,
            model.shared_per_block_optin.saturating_sub(entry.static_shared_bytes)
        )));
    }
    if entry.static_shared_bytes > model.shared_per_block {
        return Err(Error::new(
            Code::LaunchOutOfResources,
            format!("`{name}`: {} bytes of static shared memory are more than a block has", entry.static_shared_bytes),
        ));
    }
    if params.len() > 4_096 && driver()?.version < 12_010 {
        return Err(Error::invalid(format!(
            "`{name}`: {} bytes of parameters; drivers before 12.1 take 4,096",
            params.len()
        )));
    }
    let cluster = cluster_of(function, cluster, grid)?;
    if cooperative {
        let resident = occupancy::resident_blocks(function, threads as u32, shared)? * model.multiprocessors;
        let blocks: u64 = grid.iter().map(|&extent| u64::from(extent)).product();
        if blocks > u64::from(resident) {
            return Err(Error::new(
                Code::CooperativeLaunchTooLarge,
                format!("`{name}`: a cooperative grid of {blocks} blocks, of which {resident} can be resident"),
            ));
        }
    }
    let non_portable_cluster = lock(&function.attributes).non_portable_cluster;
    let config = LaunchConfig {
        grid,
        block,
        cluster,
        dynamic_shared: shared,
        max_dynamic_shared: dynamic,
        non_portable_cluster,
        cooperative,
        programmatic,
        stream: StreamTag::default(),
        l2: false,
        cubin_registers: function.cubin_registers,
        model: model.clone(),
    };
    Ok(Launch { function: function.clone(), config, params, attributes, pointers: OnceLock::new() })
}

/// The cluster of a launch, from its attribute, the kernel's declaration or the function's attribute.
fn cluster_of(function: &Function, asked: Option<[u32; 3]>, grid: [u32; 3]) -> Res<[u32; 3]> {
    let entry = function.entry();
    let model = function.model()?;
    let wrong = |text: String| Error::new(Code::InvalidClusterSize, format!("`{}`: {text}", entry.name));
    let attributes = lock(&function.attributes).clone();
    let set = Some(attributes.cluster).filter(|cluster| cluster.iter().any(|&extent| extent != 0));
    let declared = entry.req_nctapercluster;
    if let (Some(asked), Some(declared)) = (asked, declared)
        && asked != declared
    {
        return Err(wrong(format!("declares clusters of {declared:?} and is launched with {asked:?}")));
    }
    let Some(cluster) = asked.or(declared).or(set) else {
        if entry.explicit_cluster {
            return Err(wrong("declares .explicitcluster and is launched without a cluster".to_owned()));
        }
        return Ok([1; 3]);
    };
    let size: u64 = cluster.iter().map(|&extent| u64::from(extent)).product();
    if size == 0 || cluster.iter().zip(grid).any(|(&extent, grid)| !grid.is_multiple_of(extent)) {
        return Err(wrong(format!("clusters of {cluster:?} blocks do not divide a grid of {grid:?}")));
    }
    let most = if attributes.non_portable_cluster { model.max_cluster_non_portable } else { model.max_cluster };
    if size > u64::from(most) || entry.max_cluster_rank.is_some_and(|rank| size > u64::from(rank)) {
        return Err(wrong(format!(
            "clusters of {size} blocks; {} allows {most}{}",
            model.name,
            if attributes.non_portable_cluster || model.max_cluster == 1 {
                ""
            } else {
                " without CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED"
            }
        )));
    }
    Ok(cluster)
}

impl Launch {
    /// Runs the grid to its end on this thread.
    pub fn execute(&self, context: &Arc<Context>, dependence: Dependence<'_>) -> Res {
        let entry = self.function.entry();
        match inject::launch() {
            LaunchFate::Runs => {}
            LaunchFate::Fails => {
                return Err(Error::new(
                    Code::LaunchFailed,
                    format!("the launch of `{}` was made to fail by fault injection", entry.name),
                ));
            }
            LaunchFate::LosesDevice => {
                context.device.lost.store(true, Ordering::Release);
                return Err(Error::new(
                    Code::DeviceUnavailable,
                    format!("device {} was lost by fault injection", context.device.ordinal),
                ));
            }
        }
        let (checks, schedule) = config::read(|config| (config.checks, config.schedule));
        let module = &self.function.module.instance;
        let l2 = config::read(|config| config.profile.is_some());
        let config = LaunchConfig { stream: current_tag(), l2, ..self.config.clone() };
        let entry = self.function.index;
        let report = machine::launch_dependent(module, entry, &config, &self.params, &checks, schedule, dependence)?;
        profile::record(self, &report);
        Ok(())
    }

    /// The address of an array of pointers to the parameters, which lives as long as the launch.
    pub fn pointers(&self) -> usize {
        let base = self.params.as_ptr().expose_provenance();
        let all = || self.function.entry().params.iter().map(|param| base + param.offset as usize).collect();
        self.pointers.get_or_init(all).as_ptr().expose_provenance()
    }

    /// The launch with the stream that it runs in.
    pub fn in_stream(mut self, stream: u64) -> Launch {
        self.config.stream = StreamTag { stream, ..StreamTag::default() };
        self
    }
}

/// A whole launch from an entry point.
fn launch(handle: Handle, request: Request, stream: Handle, pointers: In<usize>, extra: In<usize>) -> Res {
    let function = function(handle)?;
    let (context, stream) = resolve(stream)?;
    let params = read_params(&function, pointers, extra)?;
    let events = events(&request.attributes)?;
    let launch = prepare(&context, &function, request, params)?.in_stream(stream.queue.id());
    enqueue(&context, &stream, Op::Kernel(Arc::new(launch)), false)?;
    // Events that attributes ask for: the end of the grid is within what "launched" or "triggered" promise.
    events.iter().try_for_each(|event| event::record(&context, &stream, event, false))
}

/// The events of the attributes "programmatic event" and "launch completion event".
fn events(attributes: &[LaunchAttribute]) -> Res<Vec<Arc<event::Event>>> {
    let asked = attributes.iter().filter(|attribute| matches!(attribute.id, 7 | 12));
    asked
        .map(|attribute| {
            let handle = u64::from(attribute.value[0]) | u64::from(attribute.value[1]) << 32;
            EVENTS.get(handle as usize).ok_or_else(|| Code::InvalidHandle.into())
        })
        .collect()
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel(
    handle: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: Handle,
    pointers: In<usize>,
    extra: In<usize>,
) -> CuResult {
    call("cuLaunchKernel", || {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let request = Request { grid, block, shared, attributes: Vec::new(), cooperative: false };
        launch(handle, request, stream, pointers, extra)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchCooperativeKernel(
    handle: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: Handle,
    pointers: In<usize>,
) -> CuResult {
    call("cuLaunchCooperativeKernel", || {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let request = Request { grid, block, shared, attributes: Vec::new(), cooperative: true };
        launch(handle, request, stream, pointers, In::at_address(0))
    })
}

/// More attributes than there are make no sense.
const MOST_ATTRIBUTES: u32 = 64;

/// The request inside a `CUlaunchConfig`, with its stream.
pub fn read_config(config: In<LaunchConfigC>) -> Res<(Request, Handle)> {
    let config = config.get()?;
    if config.attribute_count > MOST_ATTRIBUTES {
        return Err(Error::invalid(format!("{} launch attributes", config.attribute_count)));
    }
    let attributes = config.attributes.all(config.attribute_count as usize)?;
    let (grid, block, shared) = (config.grid, config.block, config.shared_bytes);
    Ok((Request { grid, block, shared, attributes, cooperative: false }, config.stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernelEx(
    config: In<LaunchConfigC>,
    handle: Handle,
    pointers: In<usize>,
    extra: In<usize>,
) -> CuResult {
    call("cuLaunchKernelEx", || {
        let (request, stream) = read_config(config)?;
        launch(handle, request, stream, pointers, extra)
    })
}

/// The launch of the first CUDA versions: block, shared memory and parameters were set on the function.
fn legacy_launch(handle: Handle, width: i32, height: i32, stream: Handle) -> Res {
    let function = function(handle)?;
    let (context, stream) = if stream == 0 {
        let context = current()?;
        let stream = lock(&context.streams).legacy.clone();
        (context, stream)
    } else {
        resolve(stream)?
    };
    let legacy = lock(&function.legacy).clone();
    let extent = |value: i32| u32::try_from(value).map_err(|_| Code::InvalidValue);
    let size = function.entry().param_bytes as usize;
    if legacy.params.len() < size {
        return Err(Error::invalid(format!("{} of {size} bytes of parameters are set", legacy.params.len())));
    }
    let grid = [extent(width)?, extent(height)?, 1];
    let request =
        Request { grid, block: legacy.block, shared: legacy.shared, attributes: Vec::new(), cooperative: false };
    let launch = prepare(&context, &function, request, legacy.params[..size].to_vec())?.in_stream(stream.queue.id());
    enqueue(&context, &stream, Op::Kernel(Arc::new(launch)), false)
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunch(handle: Handle) -> CuResult {
    call("cuLaunch", || legacy_launch(handle, 1, 1, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchGrid(handle: Handle, width: i32, height: i32) -> CuResult {
    call("cuLaunchGrid", || legacy_launch(handle, width, height, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchGridAsync(handle: Handle, width: i32, height: i32, stream: Handle) -> CuResult {
    call("cuLaunchGridAsync", || legacy_launch(handle, width, height, stream))
}
