//! The per-thread family: entry points whose names end in `_ptds` and `_ptsz` take stream 0 for the thread's own default
//! stream. Programs built with `CUDA_API_PER_THREAD_DEFAULT_STREAM` call these.

use super::abi::CuResult;
use std::cell::Cell;

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is inside an entry point of this family.
pub fn is_active() -> bool {
    ACTIVE.get()
}

/// Runs an entry point with stream 0 meaning the thread's own.
fn within(body: impl FnOnce() -> CuResult) -> CuResult {
    let before = ACTIVE.replace(true);
    let result = body();
    ACTIVE.set(before);
    result
}

macro_rules! per_thread {
    ($($name:ident = $base:ident($($argument:ident)*);)*) => {
        unsafe extern "C" {
            $(fn $base($($argument: usize),*) -> CuResult;)*
        }
        $(
            /// Arguments of at most a register pass through unchanged.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: usize),*) -> CuResult {
                // SAFETY: the entry point is defined in this crate. Its arguments are integers and pointers of at most 64
                // bits (and one structure of 64), each of which the C ABIs of 64-bit Linux pass in a register or stack
                // slot of its own, as they pass these; narrower ones ignore the rest.
                within(|| unsafe { $base($($argument),*) })
            }
        )*
    };
}

// Declared elsewhere with their real types.
#[allow(clashing_extern_declarations)]
mod table {
    use super::{CuResult, within};

    per_thread! {
        cuMemcpy_ptds = cuMemcpy(a b c);
        cuMemcpyHtoD_v2_ptds = cuMemcpyHtoD_v2(a b c);
        cuMemcpyDtoH_v2_ptds = cuMemcpyDtoH_v2(a b c);
        cuMemcpyDtoD_v2_ptds = cuMemcpyDtoD_v2(a b c);
        cuMemcpyPeer_ptds = cuMemcpyPeer(a b c d e);
        cuMemcpy2D_v2_ptds = cuMemcpy2D_v2(a);
        cuMemcpy2DUnaligned_v2_ptds = cuMemcpy2DUnaligned_v2(a);
        cuMemcpy3D_v2_ptds = cuMemcpy3D_v2(a);
        cuMemcpy3DPeer_ptds = cuMemcpy3DPeer(a);
        cuMemsetD8_v2_ptds = cuMemsetD8_v2(a b c);
        cuMemsetD16_v2_ptds = cuMemsetD16_v2(a b c);
        cuMemsetD32_v2_ptds = cuMemsetD32_v2(a b c);
        cuMemsetD2D8_v2_ptds = cuMemsetD2D8_v2(a b c d e);
        cuMemsetD2D16_v2_ptds = cuMemsetD2D16_v2(a b c d e);
        cuMemsetD2D32_v2_ptds = cuMemsetD2D32_v2(a b c d e);
        cuMemcpyAsync_ptsz = cuMemcpyAsync(a b c d);
        cuMemcpyHtoDAsync_v2_ptsz = cuMemcpyHtoDAsync_v2(a b c d);
        cuMemcpyDtoHAsync_v2_ptsz = cuMemcpyDtoHAsync_v2(a b c d);
        cuMemcpyDtoDAsync_v2_ptsz = cuMemcpyDtoDAsync_v2(a b c d);
        cuMemcpyPeerAsync_ptsz = cuMemcpyPeerAsync(a b c d e f);
        cuMemcpy2DAsync_v2_ptsz = cuMemcpy2DAsync_v2(a b);
        cuMemcpy3DAsync_v2_ptsz = cuMemcpy3DAsync_v2(a b);
        cuMemcpy3DPeerAsync_ptsz = cuMemcpy3DPeerAsync(a b);
        cuMemcpyBatchAsync_ptsz = cuMemcpyBatchAsync(a b c d e f g h i);
        cuMemcpyBatchAsync_v2_ptsz = cuMemcpyBatchAsync_v2(a b c d e f g h);
        cuMemsetD8Async_ptsz = cuMemsetD8Async(a b c d);
        cuMemsetD16Async_ptsz = cuMemsetD16Async(a b c d);
        cuMemsetD32Async_ptsz = cuMemsetD32Async(a b c d);
        cuMemsetD2D8Async_ptsz = cuMemsetD2D8Async(a b c d e f);
        cuMemsetD2D16Async_ptsz = cuMemsetD2D16Async(a b c d e f);
        cuMemsetD2D32Async_ptsz = cuMemsetD2D32Async(a b c d e f);
        cuMemPrefetchAsync_ptsz = cuMemPrefetchAsync(a b c d);
        cuMemPrefetchAsync_v2_ptsz = cuMemPrefetchAsync_v2(a b c d e);
        cuMemAllocAsync_ptsz = cuMemAllocAsync(a b c);
        cuMemAllocFromPoolAsync_ptsz = cuMemAllocFromPoolAsync(a b c d);
        cuMemFreeAsync_ptsz = cuMemFreeAsync(a b);
        cuStreamGetPriority_ptsz = cuStreamGetPriority(a b);
        cuStreamGetFlags_ptsz = cuStreamGetFlags(a b);
        cuStreamGetId_ptsz = cuStreamGetId(a b);
        cuStreamGetCtx_ptsz = cuStreamGetCtx(a b);
        cuStreamGetCtx_v2_ptsz = cuStreamGetCtx_v2(a b c);
        cuStreamGetDevice_ptsz = cuStreamGetDevice(a b);
        cuStreamWaitEvent_ptsz = cuStreamWaitEvent(a b c);
        cuStreamAddCallback_ptsz = cuStreamAddCallback(a b c d);
        cuStreamAttachMemAsync_ptsz = cuStreamAttachMemAsync(a b c d);
        cuStreamQuery_ptsz = cuStreamQuery(a);
        cuStreamSynchronize_ptsz = cuStreamSynchronize(a);
        cuStreamCopyAttributes_ptsz = cuStreamCopyAttributes(a b);
        cuStreamGetAttribute_ptsz = cuStreamGetAttribute(a b c);
        cuStreamSetAttribute_ptsz = cuStreamSetAttribute(a b c);
        cuStreamBeginCapture_v2_ptsz = cuStreamBeginCapture_v2(a b);
        cuStreamBeginCaptureToGraph_ptsz = cuStreamBeginCaptureToGraph(a b c d e f);
        cuStreamEndCapture_ptsz = cuStreamEndCapture(a b);
        cuStreamIsCapturing_ptsz = cuStreamIsCapturing(a b);
        cuStreamGetCaptureInfo_ptsz = cuStreamGetCaptureInfo(a b c);
        cuStreamGetCaptureInfo_v2_ptsz = cuStreamGetCaptureInfo_v2(a b c d e f);
        cuStreamGetCaptureInfo_v3_ptsz = cuStreamGetCaptureInfo_v3(a b c d e f g);
        cuStreamUpdateCaptureDependencies_ptsz = cuStreamUpdateCaptureDependencies(a b c d);
        cuStreamUpdateCaptureDependencies_v2_ptsz = cuStreamUpdateCaptureDependencies_v2(a b c d e);
        cuStreamWaitValue32_ptsz = cuStreamWaitValue32(a b c d);
        cuStreamWaitValue32_v2_ptsz = cuStreamWaitValue32_v2(a b c d);
        cuStreamWaitValue64_ptsz = cuStreamWaitValue64(a b c d);
        cuStreamWaitValue64_v2_ptsz = cuStreamWaitValue64_v2(a b c d);
        cuStreamWriteValue32_ptsz = cuStreamWriteValue32(a b c d);
        cuStreamWriteValue32_v2_ptsz = cuStreamWriteValue32_v2(a b c d);
        cuStreamWriteValue64_ptsz = cuStreamWriteValue64(a b c d);
        cuStreamWriteValue64_v2_ptsz = cuStreamWriteValue64_v2(a b c d);
        cuStreamBatchMemOp_ptsz = cuStreamBatchMemOp(a b c d);
        cuStreamBatchMemOp_v2_ptsz = cuStreamBatchMemOp_v2(a b c d);
        cuEventRecord_ptsz = cuEventRecord(a b);
        cuEventRecordWithFlags_ptsz = cuEventRecordWithFlags(a b c);
        cuLaunchKernel_ptsz = cuLaunchKernel(a b c d e f g h i j k);
        cuLaunchKernelEx_ptsz = cuLaunchKernelEx(a b c d);
        cuLaunchCooperativeKernel_ptsz = cuLaunchCooperativeKernel(a b c d e f g h i j);
        cuLaunchHostFunc_ptsz = cuLaunchHostFunc(a b c);
        cuLaunchHostFunc_v2_ptsz = cuLaunchHostFunc_v2(a b c d);
        cuGraphInstantiateWithParams_ptsz = cuGraphInstantiateWithParams(a b c);
        cuGraphUpload_ptsz = cuGraphUpload(a b);
        cuGraphLaunch_ptsz = cuGraphLaunch(a b);
    }
}
