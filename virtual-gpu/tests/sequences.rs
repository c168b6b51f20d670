//! Sequences of driver calls drawn at random over a few live and dead handles: whatever the order, a code comes out and the
//! process lives.
//!
//! `VIRTUAL_GPU_FUZZ` is the number of thousand calls (5 where it is not set), from a fixed seed; `VIRTUAL_GPU_FUZZ_SEED`
//! chooses another.

mod support;

use cudarc::driver::sys::{self, CUresult};
use std::ffi::c_void;
use support::{Context, check};

/// Calls of one context: a fault ends it, and what follows would be refused at the door.
const CALLS: u64 = 250;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Random numbers (Knuth's MMIX generator, upper bits).
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// Handles that were made so far, dead ones too, and some that never were.
struct Handles {
    streams: Vec<sys::CUstream>,
    events: Vec<sys::CUevent>,
    memory: Vec<u64>,
    graphs: Vec<sys::CUgraph>,
    nodes: Vec<sys::CUgraphNode>,
    execs: Vec<sys::CUgraphExec>,
    functions: Vec<sys::CUfunction>,
    pools: Vec<sys::CUmemoryPool>,
    /// Graphs put into graphs: they are copied, so that many of them in each other are exponentially many.
    children: u32,
    host: [u8; 256],
}

/// Adds what a call made.
fn keep<T>(list: &mut Vec<T>, new: T, result: CUresult) -> CUresult {
    if result == CUresult::CUDA_SUCCESS {
        list.push(new);
    }
    result
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

/// One call with arguments from anywhere. Host pointers are null or good: no driver can tell others from good ones.
unsafe fn call(h: &mut Handles, draw: &mut Draw) -> CUresult {
    let (stream, event, graph) = (draw.of(&h.streams), draw.of(&h.events), draw.of(&h.graphs));
    let (node, exec, function, pool) = (draw.of(&h.nodes), draw.of(&h.execs), draw.of(&h.functions), draw.of(&h.pools));
    let (address, other) = (draw.of(&h.memory).wrapping_add(draw.below(3) as u64), draw.of(&h.memory));
    let bytes = draw.below(80);
    let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    let null = std::ptr::null_mut::<c_void>();
    let after = [node];
    let count = draw.below(2);
    let host = h.host.as_mut_ptr();
    unsafe {
        match draw.below(44) {
            0 => {
                let mut new = null.cast();
                let result = sys::cuStreamCreate(&mut new, draw.below(3) as u32);
                keep(&mut h.streams, new, result)
            }
            1 => {
                let mut new = null.cast();
                let result = sys::cuEventCreate(&mut new, draw.below(9) as u32);
                keep(&mut h.events, new, result)
            }
            2 => {
                let mut new = 0;
                let result = sys::cuMemAlloc_v2(&mut new, bytes);
                keep(&mut h.memory, new, result)
            }
            3 => {
                let mut new = 0;
                let result = sys::cuMemAllocAsync(&mut new, bytes, stream);
                keep(&mut h.memory, new, result)
            }
            4 => sys::cuMemFree_v2(address),
            5 => sys::cuMemFreeAsync(address, stream),
            6 => sys::cuEventRecord(event, stream),
            7 => sys::cuStreamWaitEvent(stream, event, draw.below(3) as u32),
            8 => sys::cuStreamBeginCapture_v2(stream, relaxed),
            9 => {
                let mut new = null.cast();
                let result = sys::cuStreamEndCapture(stream, &mut new);
                keep(&mut h.graphs, new, result)
            }
            10 => sys::cuMemsetD8Async(address, 1, bytes, stream),
            11 => sys::cuMemcpyHtoDAsync_v2(address, host.cast_const().cast(), bytes.min(64), stream),
            12 => sys::cuMemcpyDtoDAsync_v2(address, other, bytes, stream),
            13 => sys::cuStreamSynchronize(stream),
            14 => sys::cuEventQuery(event),
            15 => {
                let mut new = null.cast();
                let result = sys::cuGraphInstantiateWithFlags(&mut new, graph, draw.below(20) as u64);
                keep(&mut h.execs, new, result)
            }
            16 => sys::cuGraphDestroy(graph),
            17 => sys::cuStreamDestroy_v2(stream),
            18 => sys::cuEventDestroy_v2(event),
            19 => sys::cuMemcpyDtoHAsync_v2(host.cast(), address, bytes.min(64), stream),
            // Numbers that name nothing, and sizes that nothing has.
            20 => sys::cuMemsetD32Async(address, 7, usize::MAX >> draw.below(64), stream),
            21 => {
                let far = address.wrapping_add(bytes as u64);
                sys::cuMemcpyDtoDAsync_v2(address, far, usize::MAX >> draw.below(64), stream)
            }
            22 => sys::cuStreamWaitEvent(stream, event, u32::MAX >> draw.below(32)),
            23 => {
                let text = support::kernels::PTX.as_bytes();
                let mut cut = text[..if draw.below(4) == 0 { draw.below(text.len()) } else { text.len() }].to_vec();
                cut.push(0);
                let mut module = null.cast();
                let result = sys::cuModuleLoadData(&mut module, cut.as_ptr().cast());
                for name in [c"add", c"mark", c"shared", c"cluster", c"nobody"] {
                    let mut new = null.cast();
                    let found = sys::cuModuleGetFunction(&mut new, module, name.as_ptr());
                    keep(&mut h.functions, new, found);
                }
                let (mut at, mut size) = (0, 0);
                let found = sys::cuModuleGetGlobal_v2(&mut at, &mut size, module, c"counter".as_ptr());
                keep(&mut h.memory, at, found);
                if draw.below(3) == 0 { sys::cuModuleUnload(module) } else { result }
            }
            24 | 25 => {
                let numbers = [draw.below(3) as u32, draw.of(&[1, 32, 0, 70_000]), draw.of(&[0, 1_024, 300_000])];
                let (out, a, b, n) = (address, other, other, draw.below(200) as u32);
                let mut params = [support::param(&out), support::param(&a), support::param(&b), support::param(&n)];
                let given = if draw.below(9) == 0 { null.cast() } else { params.as_mut_ptr() };
                sys::cuLaunchKernel(
                    function,
                    numbers[0],
                    1,
                    1,
                    numbers[1],
                    1,
                    1,
                    numbers[2],
                    stream,
                    given,
                    null.cast(),
                )
            }
            26 => sys::cuGraphLaunch(exec, stream),
            27 => sys::cuGraphExecDestroy(exec),
            28 => {
                let mut info: sys::CUgraphExecUpdateResultInfo = std::mem::zeroed();
                sys::cuGraphExecUpdate_v2(exec, graph, &mut info)
            }
            29 => {
                let mut new = null.cast();
                let result = sys::cuGraphCreate(&mut new, draw.below(2) as u32);
                keep(&mut h.graphs, new, result)
            }
            30 => {
                let mut new = null.cast();
                let result = sys::cuGraphAddEmptyNode(&mut new, graph, after.as_ptr(), count);
                keep(&mut h.nodes, new, result)
            }
            31 => {
                let mut new = null.cast();
                let mut context = null.cast();
                sys::cuCtxGetCurrent(&mut context);
                let params = sys::CUDA_MEMSET_NODE_PARAMS {
                    dst: address,
                    pitch: draw.below(100),
                    value: 3,
                    elementSize: draw.below(6) as u32,
                    width: draw.below(20),
                    height: draw.below(3),
                };
                let result = sys::cuGraphAddMemsetNode(&mut new, graph, after.as_ptr(), count, &params, context);
                keep(&mut h.nodes, new, result)
            }
            32 if h.children < 6 => {
                h.children += 1;
                let child = draw.of(&h.graphs);
                let mut new = null.cast();
                let result = sys::cuGraphAddChildGraphNode(&mut new, graph, after.as_ptr(), count, child);
                keep(&mut h.nodes, new, result)
            }
            33 => {
                let params = sys::CUDA_HOST_NODE_PARAMS { fn_: Some(nothing), userData: null };
                let mut new = null.cast();
                let result = sys::cuGraphAddHostNode(&mut new, graph, after.as_ptr(), count, &params);
                keep(&mut h.nodes, new, result)
            }
            34 => sys::cuGraphDestroyNode(node),
            35 => sys::cuLaunchHostFunc(stream, Some(nothing), null),
            36 => {
                let mut new = null;
                let result = sys::cuMemAllocHost_v2(&mut new, bytes);
                keep(&mut h.memory, new as u64, result)
            }
            37 => {
                let mut new = 0;
                let result = sys::cuMemAllocManaged(&mut new, bytes, draw.below(4) as u32);
                keep(&mut h.memory, new, result)
            }
            38 => {
                let mut new = null.cast();
                let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
                properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
                properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
                properties.location.id = draw.below(3) as i32 - 1;
                let result = sys::cuMemPoolCreate(&mut new, &properties);
                keep(&mut h.pools, new, result)
            }
            39 => {
                let mut new = 0;
                let result = sys::cuMemAllocFromPoolAsync(&mut new, bytes, pool, stream);
                keep(&mut h.memory, new, result)
            }
            40 => {
                if draw.below(2) == 0 {
                    sys::cuMemPoolDestroy(pool)
                } else {
                    sys::cuMemPoolTrimTo(pool, bytes)
                }
            }
            41 => {
                let mut blocks = 0;
                sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                    &mut blocks,
                    function,
                    draw.below(3_000) as i32 - 9,
                    bytes,
                )
            }
            42 => {
                let copy = sys::CUDA_MEMCPY2D {
                    srcHost: host.cast_const().cast(),
                    srcPitch: draw.of(&[0, 8, 16]),
                    dstDevice: address,
                    dstPitch: draw.of(&[0, 8, 64, usize::MAX]),
                    WidthInBytes: draw.below(17),
                    Height: draw.below(9),
                    ..support::copy_2d()
                };
                sys::cuMemcpy2DAsync_v2(&copy, stream)
            }
            _ => {
                let mut milliseconds = 0.0;
                let other = draw.of(&h.events);
                sys::cuEventElapsedTime(&mut milliseconds, event, other)
            }
        }
    }
}

#[test]
fn random_sequences_survive() {
    // Reading what was never written, and every race, would end the context, and with it the reach of the sequence.
    let gpu = support::h100();
    let seed = setting("VIRTUAL_GPU_FUZZ_SEED", 1);
    let rounds = setting("VIRTUAL_GPU_FUZZ", 5) * 1_000 / CALLS;
    let (mut done, mut all) = (0, 0);
    for round in 0..rounds {
        let mut draw = Draw(0x1234_5678_9abc_def0 ^ seed << 20 ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Half of the rounds with all checks.
        gpu.apply(&virtual_gpu::Options::new().checks("all")).expect("checks can change");
        if round % 2 == 0 {
            gpu.apply(&virtual_gpu::Options::new().checks("-uninitialised,-races")).expect("checks can change");
        }
        let _context = Context::new();
        let mut handles = Handles {
            streams: vec![std::ptr::null_mut(), 1 as sys::CUstream, 2 as sys::CUstream, 0x55 as sys::CUstream],
            events: vec![std::ptr::null_mut()],
            memory: vec![0],
            graphs: vec![std::ptr::null_mut()],
            nodes: vec![std::ptr::null_mut()],
            execs: vec![std::ptr::null_mut()],
            functions: vec![std::ptr::null_mut()],
            pools: vec![std::ptr::null_mut()],
            children: 0,
            host: [0; 256],
        };
        for _ in 0..CALLS {
            // Any code will do.
            done += usize::from(unsafe { call(&mut handles, &mut draw) } == CUresult::CUDA_SUCCESS);
            all += 1;
        }
        for stream in &handles.streams[4..] {
            let _any = unsafe { sys::cuStreamDestroy_v2(*stream) };
        }
        gpu.clear_faults();
    }
    check(unsafe { sys::cuInit(0) });
    assert!(10 * done > all, "{done} of {all} calls did something");
}
