"""A vector sum through libcuda by ctypes alone, as a program that knows nothing of virtual-gpu would write it."""

import ctypes
import sys

cuda = ctypes.CDLL("libcuda.so.1")


def check(code):
    if code != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(text))
        raise SystemExit(f"{text.value}")


PTX = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry sum(.param .u64 out, .param .u64 a, .param .u32 n)
{
    .reg .pred %p;
    .reg .b32 %r<6>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd0, [out];
    ld.param.u64 %rd1, [a];
    ld.param.u32 %r0, [n];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r1, %r1, %r2, %r3;
    setp.ge.u32 %p, %r1, %r0;
    @%p ret;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd3, %rd0, %rd2;
    add.u64 %rd4, %rd1, %rd2;
    ld.global.u32 %r4, [%rd3];
    ld.global.u32 %r5, [%rd4];
    add.u32 %r4, %r4, %r5;
    st.global.u32 [%rd3], %r4;
    ret;
}
\0"""

check(cuda.cuInit(0))
device, context = ctypes.c_int(), ctypes.c_void_p()
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
name = ctypes.create_string_buffer(100)
check(cuda.cuDeviceGetName(name, 100, device))
check(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device))
module, function = ctypes.c_void_p(), ctypes.c_void_p()
check(cuda.cuModuleLoadData(ctypes.byref(module), PTX))
check(cuda.cuModuleGetFunction(ctypes.byref(function), module, b"sum"))
N = 1000
Words = ctypes.c_uint32 * N
a, b, out = Words(*range(N)), Words(*(7 * i for i in range(N))), Words()
da, db = ctypes.c_uint64(), ctypes.c_uint64()
for pointer, data in ((da, a), (db, b)):
    check(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(4 * N)))
    check(cuda.cuMemcpyHtoD_v2(pointer, data, ctypes.c_size_t(4 * N)))
n = ctypes.c_uint32(N)
params = (ctypes.c_void_p * 3)(*(ctypes.addressof(value) for value in (da, db, n)))
check(cuda.cuLaunchKernel(function, 8, 1, 1, 128, 1, 1, 0, None, params, None))
check(cuda.cuCtxSynchronize())
check(cuda.cuMemcpyDtoH_v2(out, da, ctypes.c_size_t(4 * N)))
assert list(out) == [8 * i for i in range(N)]
check(cuda.cuMemFree_v2(da))
check(cuda.cuMemFree_v2(db))
check(cuda.cuCtxDestroy_v2(context))
print("ok", name.value.decode())
sys.stdout.flush()
