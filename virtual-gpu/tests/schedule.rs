//! Under every seed a program that waits for what it needs gets the same results.

mod support;

use cudarc::driver::sys;
use support::kernels::PTX;
use support::{Context, alloc, check, download, event, function, launch, module, param, pinned, stream, upload};
use virtual_gpu::Options;

#[test]
fn ordered_programs_do_not_depend_on_the_seed() {
    let gpu = support::h100();
    for seed in 0..10 {
        gpu.apply(&Options::new().schedule(seed)).expect("the schedule can change");
        let _context = Context::new();
        // A pipeline over two streams: upload, hand over by an event, sum, hand back, download.
        let (copies, kernels) = (stream(true), stream(true));
        let (ready, done) = (event(), event());
        let add = function(module(PTX), c"add");
        let (input, output) = (pinned(256), pinned(256));
        let (a, b, out) = (alloc(1_024), upload(&[1.0f32; 256]), alloc(1_024));
        for round in 0..4u32 {
            for (index, word) in input.iter_mut().enumerate() {
                *word = (index as f32 + round as f32).to_bits();
            }
            check(unsafe { sys::cuMemcpyHtoDAsync_v2(a, input.as_ptr().cast(), 1_024, copies) });
            check(unsafe { sys::cuEventRecord(ready, copies) });
            check(unsafe { sys::cuStreamWaitEvent(kernels, ready, 0) });
            let count = 256u32;
            let mut params = [param(&out), param(&a), param(&b), param(&count)];
            let (null, list) = (std::ptr::null_mut(), params.as_mut_ptr());
            check(unsafe { sys::cuLaunchKernel(add, 2, 1, 1, 128, 1, 1, 0, kernels, list, null) });
            check(unsafe { sys::cuEventRecord(done, kernels) });
            check(unsafe { sys::cuStreamWaitEvent(copies, done, 0) });
            check(unsafe { sys::cuMemcpyDtoHAsync_v2(output.as_mut_ptr().cast(), out, 1_024, copies) });
            check(unsafe { sys::cuStreamSynchronize(copies) });
            let expected: Vec<u32> = (0..256).map(|index| (index as f32 + round as f32 + 1.0).to_bits()).collect();
            assert_eq!(output, expected, "seed {seed}, round {round}");
        }
    }
}

#[test]
fn the_null_streams_rule_holds_under_every_seed() {
    let gpu = support::h100();
    for seed in 0..10 {
        gpu.apply(&Options::new().schedule(seed)).expect("the schedule can change");
        let _context = Context::new();
        let mark = function(module(PTX), c"mark");
        let (first, second) = (stream(false), stream(false));
        let out = alloc(4);
        check(unsafe { sys::cuMemsetD32Async(out, 1, 1, first) });
        check(launch(mark, 1, 7, 0, &mut [param(&out)]));
        let copy = alloc(4);
        check(unsafe { sys::cuMemcpyDtoDAsync_v2(copy, out, 4, second) });
        check(unsafe { sys::cuStreamSynchronize(second) });
        assert_eq!(download::<u32>(copy, 1), [7], "seed {seed}");
    }
}
