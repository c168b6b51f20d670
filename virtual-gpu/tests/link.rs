//! `cuLink*` with several inputs: functions, variables and constants across translation units.

mod support;

use cudarc::driver::sys::{self, CUjit_option, CUresult};
use std::ffi::c_void;
use support::{Context, check, download, function, launch, param, upload};

/// The kernel: out[i] = scale · shared_helper(i) + table[i mod 4], where all but the kernel lie in the other unit; its
/// own `helper` and `state` have namesakes there.
const MAIN: &str = r#"
.version 7.8
.target sm_80
.address_size 64
.file 1 "main.cu"
.extern .func (.param .b32 result) shared_helper(.param .b32 a);
.extern .global .align 4 .u32 scale;
.extern .const .align 4 .u32 table[4];
.global .align 4 .u32 state = 100;
.func (.reg .u32 %out) helper(.reg .u32 %in)
{
    .reg .u32 %t;
    ld.global.u32 %t, [state];
    add.u32 %out, %in, %t;
    ret;
}
.visible .entry k(.param .u64 p_out)
{
    .reg .b32 %r<12>; .reg .b64 %rd<6>;
    .loc 1 7 0
    ld.param.u64 %rd1, [p_out];
    mov.u32 %r1, %tid.x;
    {
        .param .b32 a; .param .b32 b;
        st.param.b32 [a], %r1;
        call.uni (b), shared_helper, (a);
        ld.param.b32 %r2, [b];
    }
    call (%r3), helper, (%r2);
    ld.global.u32 %r4, [scale];
    mul.lo.u32 %r5, %r3, %r4;
    and.b32 %r6, %r1, 3; mul.wide.u32 %rd2, %r6, 4; mov.u64 %rd3, table; add.u64 %rd3, %rd3, %rd2;
    ld.const.u32 %r7, [%rd3];
    add.u32 %r8, %r5, %r7;
    mul.wide.u32 %rd4, %r1, 4; add.u64 %rd5, %rd1, %rd4;
    st.global.u32 [%rd5], %r8; /* the end; of it */
    ret;
}
.section .debug_str { .b8 104, 101; }
"#;

const OTHER: &str = r#"
.version 8.0 // newer than the other
.target sm_75
.address_size 64
.file 1 "other.cu"
.visible .global .align 4 .u32 scale = 3;
.visible .const .align 4 .u32 table[4] = {10, 20, 30, 40};
.global .align 4 .u32 state = 5;
.global .align 8 .u64 pointer = state;
.weak .func (.reg .u32 %out) add(.reg .u32 %in) { add.u32 %out, %in, 1; ret; }
.func (.reg .u32 %out) helper(.reg .u32 %in)
{
    .reg .u32 %t; .reg .u64 %p;
    ld.global.u64 %p, [pointer];
    ld.global.u32 %t, [%p];
    mul.lo.u32 %out, %in, %t;
    ret;
}
.visible .func (.param .b32 result) shared_helper(.param .b32 a)
{
    .reg .b32 %r<4>;
    .loc 1 3 0
    ld.param.b32 %r1, [a];
    call (%r2), helper, (%r1);
    call (%r3), add, (%r2);
    st.param.b32 [result], %r3;
    ret;
}
"#;

/// A third unit with a weak function of the same name, which may be dropped.
const WEAK: &str = ".version 7.8\n.target sm_80\n.address_size 64\n\
                    .weak .func (.reg .u32 %out) add(.reg .u32 %in) { add.u32 %out, %in, 1; ret; }\n";

fn link(units: &[&str], log: &mut [u8]) -> Result<Vec<u8>, CUresult> {
    let mut state = std::ptr::null_mut();
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    check(unsafe { sys::cuLinkCreate_v2(2, options.as_mut_ptr(), values.as_mut_ptr(), &mut state) });
    let done = |result: CUresult| if result == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(result) };
    let complete = || {
        let kind = sys::CUjitInputType::CU_JIT_INPUT_PTX;
        let null = std::ptr::null_mut::<c_void>();
        for unit in units {
            let text = std::ffi::CString::new(*unit).expect("PTX has no zero inside");
            let (data, length) = (text.as_ptr().cast_mut().cast(), unit.len() + 1);
            let name = c"unit".as_ptr();
            done(unsafe { sys::cuLinkAddData_v2(state, kind, data, length, name, 0, null.cast(), null.cast()) })?;
        }
        let (mut image, mut size) = (std::ptr::null_mut(), 0);
        done(unsafe { sys::cuLinkComplete(state, &mut image, &mut size) })?;
        Ok(unsafe { std::slice::from_raw_parts(image.cast::<u8>(), size) }.to_vec())
    };
    let result = complete();
    check(unsafe { sys::cuLinkDestroy(state) });
    result
}

#[test]
fn units_call_each_other() {
    let _context = Context::new();
    for units in [&[MAIN, OTHER][..], &[OTHER, MAIN], &[WEAK, MAIN, OTHER]] {
        let mut log = [0; 1024];
        let image = link(units, &mut log).unwrap_or_else(|e| panic!("{e:?}: {}", String::from_utf8_lossy(&log)));
        let mut module = std::ptr::null_mut();
        check(unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) });
        let out = upload(&[0u32; 32]);
        check(launch(function(module, c"k"), 1, 32, 0, &mut [param(&out)]));
        let want: Vec<u32> = (0..32).map(|i| 3 * (5 * i + 1 + 100) + 10 * (i % 4 + 1)).collect();
        assert_eq!(download::<u32>(out, 32), want);
        // The variables have the names that they had.
        let (mut address, mut bytes) = (0, 0);
        check(unsafe { sys::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, c"scale".as_ptr()) });
        assert_eq!((download::<u32>(address, 1), bytes), (vec![3], 4));
        check(unsafe { sys::cuModuleUnload(module) });
    }
}

#[test]
fn what_does_not_link() {
    let _context = Context::new();
    let log_of = |units: &[&str]| {
        let mut log = vec![0u8; 2048];
        let result = link(units, &mut log);
        let text = String::from_utf8_lossy(&log).trim_end_matches('\0').to_string();
        (result.expect_err("does not link"), text)
    };
    let (code, log) = log_of(&[MAIN]);
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(log.contains("shared_helper"), "{log}");
    let (code, log) = log_of(&[MAIN, OTHER, OTHER]);
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(log.contains("defined twice"), "{log}");
    let (code, log) = log_of(&[MAIN, "this is no PTX"]);
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(log.contains("line 1, column 1"), "{log}");
    assert_eq!(link(&[], &mut []).err(), Some(CUresult::CUDA_ERROR_INVALID_VALUE));
}
