//! A driver of CUDA 12.0: newer PTX and large parameter blocks are refused, as by that driver.

mod support;

use cudarc::driver::sys::{self, CUmodule, CUresult};
use std::ffi::{CStr, CString, c_void};
use support::{Context, alloc, check, download, function, launch, param};
use virtual_gpu::Options;

fn driver(version: i32) {
    let gpu = Options::new().log(false).install().expect("the virtual GPU installs");
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        gpu.apply(&Options::new().driver_version(version)).expect("before cuInit the version can be chosen");
        check(unsafe { sys::cuInit(0) });
    });
}

/// The outcome of a load, and what the error log says.
fn load(text: &str) -> (CUresult, CUmodule, String) {
    let text = CString::new(text).expect("no zero inside");
    let mut log = [0u8; 1_024];
    use sys::CUjit_option::*;
    let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    let mut module = std::ptr::null_mut();
    let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
    let code = unsafe { sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options, values) };
    let said = CStr::from_bytes_until_nul(&log).expect("terminated").to_string_lossy().into_owned();
    (code, module, said)
}

/// Stores the last word of a parameter block of these bytes.
fn last_word(version: &str, bytes: usize) -> String {
    format!(
        ".version {version}\n.target sm_80\n.address_size 64\n\
         .visible .entry last(.param .u64 out, .param .align 8 .b8 block[{}])\n{{\n.reg .b32 %r<2>; .reg .b64 %rd<2>;\n\
         ld.param.u64 %rd1, [out]; ld.param.u32 %r1, [block+{}]; st.global.u32 [%rd1], %r1;\nret;\n}}\n",
        bytes - 8,
        bytes - 12
    )
}

#[test]
fn newer_ptx_and_larger_blocks_are_refused() {
    driver(12_000);
    let mut version = 0;
    check(unsafe { sys::cuDriverGetVersion(&mut version) });
    assert_eq!(version, 12_000);
    let _context = Context::on(0);
    for (ptx, want) in [("8.0", CUresult::CUDA_SUCCESS), ("8.1", CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION)] {
        let (code, _, said) = load(&last_word(ptx, 16));
        assert_eq!(code, want, "{ptx}: {said}");
        assert!(code == CUresult::CUDA_SUCCESS || said.contains("line 1") && said.contains("12000"), "{said}");
    }
    let (code, module, said) = load(&last_word("8.0", 4_096));
    assert_eq!(code, CUresult::CUDA_SUCCESS, "{said}");
    let mut block = vec![0u8; 4_088];
    block[4_084..].copy_from_slice(&77u32.to_le_bytes());
    let out = alloc(4);
    let pointers = &mut [param(&out), block.as_ptr().cast_mut().cast()];
    check(launch(function(module, c"last"), 1, 1, 0, pointers));
    assert_eq!(download::<u32>(out, 1), [77]);
    let (code, _, said) = load(&last_word("8.0", 4_100));
    assert_ne!(code, CUresult::CUDA_SUCCESS);
    assert!(said.contains("4096") && said.contains("line 4"), "{said}");
}
