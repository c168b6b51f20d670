//! Real compilations. They need NVRTC (`cargo xtask nvrtc`) and no GPU.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use warpsmith_build::{
    Arch, Compiled, DEFAULT_ARCHS, Error, Format, Nvrtc, ParamType, Scalar, Source, compile, find, load_or_compile,
};

fn nvrtc() -> &'static Nvrtc {
    static NVRTC: OnceLock<Nvrtc> = OnceLock::new();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    NVRTC.get_or_init(|| find(&DEFAULT_ARCHS, Some(&target)).unwrap_or_else(|error| panic!("{error}")))
}

fn build(text: &str, arch: Arch) -> Result<Compiled, Error> {
    compile(nvrtc(), &Source::from_text("test", text), arch)
}

const SM_80: Arch = DEFAULT_ARCHS[0];
const SM_90A: Arch = DEFAULT_ARCHS[1];

#[test]
fn signatures_and_resources_are_read_alike_on_every_architecture() {
    let source = "
        struct Params { long long stride; int rows; };
        template <class T, int SIDE>
        __global__ void __launch_bounds__(SIDE) tile(T* out, const T* x, Params p, unsigned n) {
            __shared__ T shared[SIDE * 2];
            unsigned i = blockIdx.x * SIDE + threadIdx.x;
            shared[threadIdx.x] = i < n ? x[i * p.stride] : T(0);
            __syncthreads();
            if (i < n) out[i] = shared[SIDE - 1 - threadIdx.x] + T(p.rows);
        }
        template __global__ void tile<float, 96>(float*, const float*, Params, unsigned);
        template __global__ void tile<double, 32>(double*, const double*, Params, unsigned);
        extern \"C\" __global__ void __launch_bounds__(64) plain(void* out, float a, short b) {
            static_cast<float*>(out)[threadIdx.x] = a * b;
        }";
    for arch in DEFAULT_ARCHS {
        let compiled = build(source, arch).unwrap();
        assert_eq!((compiled.arch, compiled.warnings.as_str()), (arch, ""));
        let names: Vec<String> = compiled.kernels.iter().map(|kernel| kernel.signature()).collect();
        assert_eq!(
            names,
            [
                "plain([8 bytes aligned to 8], f32, [2 bytes aligned to 2])",
                "tile<f32, 96>(*mut f32, *const f32, [16 bytes aligned to 8], u32)",
                "tile<f64, 32>(*mut f64, *const f64, [16 bytes aligned to 8], u32)",
            ]
        );
        let tile = &compiled.kernels[1];
        let offsets: Vec<u32> = tile.params.iter().map(|param| param.offset).collect();
        assert_eq!(offsets, [0, 8, 16, 32]);
        assert_eq!(tile.params[0].ty, ParamType::Pointer { to: Some(Scalar::F32), mutable: true });
        let resources = tile.resources[0];
        assert_eq!((resources.static_shared, resources.local, resources.max_threads), (96 * 2 * 4, 0, 96));
        assert!((8..=64).contains(&resources.registers), "{} registers", resources.registers);
        let ptx = compiled.images.iter().find(|image| image.format == Format::Ptx).unwrap().decompress().unwrap();
        let ptx = String::from_utf8(ptx).unwrap();
        assert!(ptx.contains(&format!(".target {arch}")) && ptx.contains(".file\t1 \"test.cu\""));
        let cubin = compiled.images.iter().find(|image| image.format == Format::Cubin).unwrap();
        assert!(cubin.decompress().unwrap().starts_with(b"\x7fELF"));
    }
}

#[test]
fn a_parameter_that_is_aligned_to_64_is_placed_from_where_the_machine_s_block_starts() {
    let source = "
        struct alignas(64) CUtensorMap { unsigned long long opaque[16]; };
        __global__ void __launch_bounds__(32) k(float* x, const __grid_constant__ CUtensorMap map, int n) {
            x[0] = map.opaque[n];
        }";
    for arch in DEFAULT_ARCHS {
        let compiled = build(source, arch).unwrap();
        assert_eq!(compiled.kernels[0].signature(), "k(*mut f32, tensor map, i32)");
        let offsets: Vec<u32> = compiled.kernels[0].params.iter().map(|param| param.offset).collect();
        assert_eq!(offsets, [0, 64, 192], "as PTX has it");
    }
}

#[test]
fn the_tensor_cores_instructions_are_found_in_machine_code() {
    // One product of each kind that the architecture has, and a kernel without.
    let source = "
        __global__ void __launch_bounds__(128) plain(float* x) { x[threadIdx.x] = x[threadIdx.x] * 2.0f; }
        __global__ void __launch_bounds__(32) warp(float* x, unsigned a, unsigned b) {
            float d[4] = {0, 0, 0, 0};
            asm(\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, {%5, %5}, \"
                \"{%0, %1, %2, %3};\" : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a), \"r\"(b));
            for (int i = 0; i < 4; ++i) x[threadIdx.x * 4 + i] = d[i];
        }
        #if __CUDA_ARCH_FEAT_SM90_ALL
        __global__ void __launch_bounds__(128) group(float* x, unsigned long long a, unsigned long long b) {
            float d[4] = {0, 0, 0, 0};
            asm volatile(\"wgmma.fence.sync.aligned;\" ::: \"memory\");
            asm volatile(\"wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;\"
                : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"l\"(a), \"l\"(b));
            asm volatile(\"wgmma.commit_group.sync.aligned;\" ::: \"memory\");
            asm volatile(\"wgmma.wait_group.sync.aligned 0;\" ::: \"memory\");
            for (int i = 0; i < 4; ++i) x[threadIdx.x * 4 + i] = d[i];
        }
        #endif";
    for arch in DEFAULT_ARCHS {
        let compiled = build(source, arch).unwrap();
        let image = |format| compiled.images.iter().find(|image| image.format == format).unwrap();
        let code = image(Format::Cubin).machine_code().unwrap();
        let counts = |name: &str| {
            let one = code.iter().find(|one| one.entry.contains(name)).unwrap();
            assert!(one.instructions > 8 && one.registers >= 8, "{one:?}");
            (one.warp_products, one.warpgroup_products)
        };
        assert_eq!((counts("plain"), counts("warp")), ((0, 0), (1, 0)), "{arch}");
        if arch.specific {
            assert_eq!(counts("group"), (0, 1));
        }
        assert_eq!(code.len(), if arch.specific { 3 } else { 2 });
        assert!(image(Format::Ptx).machine_code().is_err());
        let sizes: Vec<Vec<u32>> = image(Format::Ptx).ptx_entries().unwrap().into_iter().map(|entry| entry.1).collect();
        assert!(sizes.contains(&vec![8]) && sizes.contains(&vec![8, 4, 4]), "{sizes:?}");
    }
}

#[track_caller]
fn refused(text: &str, arch: Arch, words: &str) {
    match build(text, arch) {
        Err(error @ (Error::Rule(_) | Error::Compile(_))) => {
            assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
        }
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("a kernel was accepted that should be refused for `{words}`"),
    }
}

#[test]
fn a_source_that_does_not_compile_gives_the_log() {
    refused("__global__ void __launch_bounds__(32) k(float* x) { *x = undeclared; }", SM_80, "undeclared");
    refused("#include \"nowhere.cuh\"\n", SM_80, "nowhere.cuh");
}

#[test]
fn a_kernel_without_launch_bounds_is_refused() {
    refused("__global__ void k(float* x) { *x = 1; }", SM_80, "__launch_bounds__");
}

#[test]
fn a_source_without_kernels_and_overloads_are_refused() {
    refused("template <class T> __global__ void __launch_bounds__(32) k(T* x) { *x = 1; }", SM_80, "no kernel");
    let overloads = "
        __global__ void __launch_bounds__(32) k(float* x) { *x = 1; }
        __global__ void __launch_bounds__(32) k(int* x) { *x = 1; }";
    refused(overloads, SM_80, "two kernels are named k");
}

#[test]
fn a_spill_is_refused() {
    // 128 sums in flight, and bounds that leave 32 registers.
    let source = "
        __global__ void __launch_bounds__(1024, 2) k(float* x, const float* y, int n) {
            float sum[128];
            #pragma unroll
            for (int j = 0; j < 128; ++j) sum[j] = 0;
            for (int i = 0; i < n; ++i) {
                float a = y[i];
                #pragma unroll
                for (int j = 0; j < 128; ++j) sum[j] = sum[j] * a + j;
            }
            #pragma unroll
            for (int j = 0; j < 128; ++j) x[threadIdx.x * 128 + j] = sum[j];
        }";
    for arch in DEFAULT_ARCHS {
        refused(source, arch, "spills");
    }
}

#[test]
fn a_serialised_tensor_core_pipeline_is_refused() {
    // The accumulators are touched while the product is in flight.
    let source = "
        __global__ void __launch_bounds__(128) k(float* out, unsigned long long a, unsigned long long b) {
            float d[4] = {0, 0, 0, 0};
            asm volatile(\"wgmma.fence.sync.aligned;\" ::: \"memory\");
            #define PRODUCT asm volatile(\"wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 \" \\
                \"{%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;\" \\
                : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"l\"(a), \"l\"(b))
            PRODUCT;
            d[0] += 1.0f;
            PRODUCT;
            asm volatile(\"wgmma.commit_group.sync.aligned;\" ::: \"memory\");
            asm volatile(\"wgmma.wait_group.sync.aligned 0;\" ::: \"memory\");
            for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = d[i];
        }";
    refused(source, SM_90A, "C75");
}

#[test]
fn a_parameter_block_that_older_drivers_refuse_is_refused() {
    let source = "
        struct Large { int items[1024]; };
        __global__ void __launch_bounds__(32) k(float* x, Large large) { *x = large.items[threadIdx.x]; }";
    refused(source, SM_80, "4104 bytes");
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("warpsmith-build-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn the_cache_returns_what_was_compiled_and_survives_damage() {
    let folder = folder("cache");
    let source = Source::from_text("cached", "__global__ void __launch_bounds__(32) k(float* x) { *x = 1; }");
    let first = load_or_compile(nvrtc(), &source, SM_80, &folder).unwrap();
    let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    // Marked, so that a second result shows where it came from.
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let at = bytes.windows(4).position(|window| window == b"_Z1k").unwrap();
    bytes[at + 3] = b'j';
    std::fs::write(&files[0], &bytes).unwrap();
    let marked = load_or_compile(nvrtc(), &source, SM_80, &folder).unwrap();
    assert_eq!(marked.kernels[0].entry, "_Z1jPf", "the cache was not read");
    std::fs::write(&files[0], &bytes[..bytes.len() / 2]).unwrap();
    let again = load_or_compile(nvrtc(), &source, SM_80, &folder).unwrap();
    let other = Source { options: vec!["-DX=1".into()], ..source };
    load_or_compile(nvrtc(), &other, SM_80, &folder).unwrap();
    let count = std::fs::read_dir(&folder).unwrap().count();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(again.kernels, first.kernels);
    assert_eq!(count, 2, "another macro definition is another result");
}

#[test]
fn headers_come_from_the_include_folders() {
    let folder = folder("include");
    std::fs::create_dir_all(folder.join("own")).unwrap();
    std::fs::create_dir_all(folder.join("shared")).unwrap();
    let file = folder.join("own/k.cu");
    std::fs::write(&file, "#include \"scale.cuh\"\n__global__ void __launch_bounds__(32) k(float* x) { *x *= SCALE; }")
        .unwrap();
    std::fs::write(folder.join("shared/scale.cuh"), "#pragma once\n#define SCALE 3.0f\n").unwrap();
    let found = Source::read(&file, "k.cu", &[folder.join("shared")]).unwrap().0;
    let missing = Source::read(&file, "k.cu", &[]).unwrap().0;
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(compile(nvrtc(), &found, SM_80).unwrap().kernels[0].name, "k");
    let error = compile(nvrtc(), &missing, SM_80).unwrap_err().to_string();
    assert!(error.contains("scale.cuh"), "{error}");
}
