//! A vector sum through cudarc on a virtual H100: `cargo run -p virtual-gpu --example vector_sum`.

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use std::error::Error;

const PTX: &str = "
.version 7.0
.target sm_70
.address_size 64
.visible .entry sum(.param .u64 out, .param .u64 a, .param .u64 b, .param .u64 n)
{
    .reg .pred %p;
    .reg .b32 %r<4>;
    .reg .f32 %f<3>;
    .reg .b64 %rd<9>;
    ld.param.u64 %rd0, [out];
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [n];
    mov.u32 %r0, %ctaid.x;
    mov.u32 %r1, %ntid.x;
    mov.u32 %r2, %tid.x;
    mad.lo.u32 %r3, %r0, %r1, %r2;
    cvt.u64.u32 %rd4, %r3;
    setp.ge.u64 %p, %rd4, %rd3;
    @%p ret;
    shl.b64 %rd5, %rd4, 2;
    add.u64 %rd6, %rd1, %rd5;
    add.u64 %rd7, %rd2, %rd5;
    add.u64 %rd8, %rd0, %rd5;
    ld.global.f32 %f0, [%rd6];
    ld.global.f32 %f1, [%rd7];
    add.f32 %f2, %f0, %f1;
    st.global.f32 [%rd8], %f2;
    ret;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    let gpu = virtual_gpu::install()?;
    let context = CudaContext::new(0)?;
    let stream = context.default_stream();
    let a: Vec<f32> = (0..1_000).map(|value| value as f32).collect();
    let b: Vec<f32> = a.iter().map(|value| 0.5 * value).collect();
    let (a, b) = (stream.clone_htod(&a)?, stream.clone_htod(&b)?);
    let mut out = stream.alloc_zeros::<f32>(1_000)?;
    let sum = context.load_module(Ptx::from_src(PTX))?.load_function("sum")?;
    let mut launch = stream.launch_builder(&sum);
    launch.arg(&mut out).arg(&a).arg(&b).arg(&1_000u64);
    // SAFETY: the kernel takes three pointers to 1,000 floats and their number, and touches no more.
    unsafe { launch.launch(LaunchConfig::for_num_elems(1_000)) }?;
    let out = stream.clone_dtoh(&out)?;
    assert!(out.iter().zip(0..).all(|(&sum, index)| sum == 1.5 * index as f32));
    println!("{}: {} sums, the last is {}", context.name()?, out.len(), out[999]);
    print!("{}", gpu.profile_json());
    Ok(())
}
