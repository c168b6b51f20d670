// Kernels of tests/launches.rs: barriers across a grid and across a cluster, and boxes through a tensor map.

typedef unsigned u32;
typedef unsigned short u16;
typedef unsigned long long u64;

struct alignas(64) CUtensorMap {
    u64 opaque[16];
};

// 128 bytes that are no tensor map.
struct alignas(64) Other {
    u64 opaque[16];
};

// Every block adds its number to the total, waits for all others, and writes the whole total. `arrived` and `total`
// start at 0.
extern "C" __global__ void __launch_bounds__(32) meet(u32* out, u32* total, u32* arrived) {
    if (threadIdx.x == 0) {
        atomicAdd(total, blockIdx.x);
        __threadfence();
        atomicAdd(arrived, 1);
        u32 seen;
        do {
            asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
        } while (seen < gridDim.x);
        asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(out[blockIdx.x]) : "l"(total) : "memory");
    }
}

#if __CUDA_ARCH__ >= 900

// Each block writes the number that its neighbour in the cluster has put into its shared memory.
template <u32 BLOCKS>
__global__ void __launch_bounds__(32) exchange(u32* out) {
    __shared__ u32 mine;
    u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (threadIdx.x == 0) mine = blockIdx.x * 10;
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
    u32 here = static_cast<u32>(__cvta_generic_to_shared(&mine));
    u32 there, value;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"((rank + 1) % BLOCKS));
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(there) : "memory");
    if (threadIdx.x == 0) out[blockIdx.x] = value;
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
template __global__ void exchange<2>(u32*);
template __global__ void exchange<4>(u32*);

__global__ void __launch_bounds__(32) __cluster_dims__(2, 1, 1) pairs(u32* out) {
    u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (threadIdx.x == 0) out[blockIdx.x] = rank;
}

// Copies the box of 8×4 numbers at (x, y) to `out`.
__global__ void __launch_bounds__(32)
    copy_box(const __grid_constant__ CUtensorMap map, u32* out, int x, int y) {
    __shared__ alignas(128) u32 box[32];
    __shared__ alignas(8) u64 full;
    u32 bar = static_cast<u32>(__cvta_generic_to_shared(&full));
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(bar) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 128;" ::"r"(bar) : "memory");
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
            ::"r"(static_cast<u32>(__cvta_generic_to_shared(box))), "l"(&map), "r"(x), "r"(y), "r"(bar)
            : "memory");
    }
    __syncthreads();
    asm volatile(
        "{\n\t.reg .pred done;\nWAIT:\n\tmbarrier.try_wait.parity.shared::cta.b64 done, [%0], 0;\n\t"
        "@!done bra WAIT;\n\t}" ::"r"(bar)
        : "memory");
    out[threadIdx.x] = box[threadIdx.x];
}

__global__ void __launch_bounds__(32) take_other(const __grid_constant__ Other other, u32* out) {
    out[threadIdx.x] = static_cast<u32>(other.opaque[threadIdx.x % 16]);
}

#endif
