"""The calls of NVIDIA's own Python bindings (PyPI cuda-bindings): device, pool, stream, events, graph, library, launch."""

import ctypes

from cuda.bindings import driver as cuda


def check(result):
    code, *values = result
    assert code == cuda.CUresult.CUDA_SUCCESS, cuda.cuGetErrorName(code)
    return values[0] if len(values) == 1 else values


PTX = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry scale(.param .u64 data, .param .f32 factor)
{
    .reg .b32 %r;
    .reg .f32 %f<2>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd0, [data];
    ld.param.f32 %f1, [factor];
    mov.u32 %r, %tid.x;
    mul.wide.u32 %rd1, %r, 4;
    add.u64 %rd2, %rd0, %rd1;
    ld.global.f32 %f0, [%rd2];
    mul.f32 %f0, %f0, %f1;
    st.global.f32 [%rd2], %f0;
    ret;
}
"""

check(cuda.cuInit(0))
device = check(cuda.cuDeviceGet(0))
major = check(
    cuda.cuDeviceGetAttribute(cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
)
context = check(cuda.cuDevicePrimaryCtxRetain(device))
check(cuda.cuCtxSetCurrent(context))
stream = check(cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
module = check(cuda.cuModuleLoadData(PTX))
scale = check(cuda.cuModuleGetFunction(module, b"scale"))

N = 32
host = (ctypes.c_float * N)(*range(N))
data = check(cuda.cuMemAllocAsync(4 * N, stream))
start, end = (check(cuda.cuEventCreate(0)) for _ in range(2))
check(cuda.cuMemcpyHtoDAsync(data, ctypes.addressof(host), 4 * N, stream))
check(cuda.cuEventRecord(start, stream))
arguments = ((data, ctypes.c_float(2.0)), (None, ctypes.c_float))
check(cuda.cuLaunchKernel(scale, 1, 1, 1, N, 1, 1, 0, stream, arguments, 0))
check(cuda.cuEventRecord(end, stream))
check(cuda.cuStreamSynchronize(stream))
assert check(cuda.cuEventElapsedTime(start, end)) > 0

check(cuda.cuStreamBeginCapture(stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED))
check(cuda.cuLaunchKernel(scale, 1, 1, 1, N, 1, 1, 0, stream, arguments, 0))
graph = check(cuda.cuStreamEndCapture(stream))
executable = check(cuda.cuGraphInstantiate(graph, 0))
for _ in range(2):
    check(cuda.cuGraphLaunch(executable, stream))
check(cuda.cuMemcpyDtoHAsync(ctypes.addressof(host), data, 4 * N, stream))
check(cuda.cuMemFreeAsync(data, stream))
check(cuda.cuStreamSynchronize(stream))
assert list(host) == [8.0 * i for i in range(N)], list(host)

library = check(cuda.cuLibraryLoadData(PTX, [], [], 0, [], [], 0))
kernel = check(cuda.cuLibraryGetKernel(library, b"scale"))
assert check(cuda.cuKernelGetFunction(kernel))
code, _ = cuda.cuModuleLoadData(b".version 7.0\nnonsense")
assert code == cuda.CUresult.CUDA_ERROR_INVALID_PTX
check(cuda.cuLibraryUnload(library))
check(cuda.cuGraphExecDestroy(executable))
check(cuda.cuGraphDestroy(graph))
check(cuda.cuStreamDestroy(stream))
check(cuda.cuDevicePrimaryCtxRelease(device))
print("ok", major)
