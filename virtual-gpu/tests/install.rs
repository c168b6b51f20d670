//! Installing: twice, from threads, every name, settings that come too late, the command line.

mod support;

use cudarc::driver::sys;
use std::process::Command;
use virtual_gpu::{InstallError, Options};

const NAMES: &str = include_str!("../src/driver/names.txt");

#[test]
fn installing_again_gives_the_same_driver() {
    support::h100();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| virtual_gpu::install().expect("installed already"));
        }
    });
    assert!(unsafe { sys::is_culib_present() });
}

#[test]
fn devices_and_driver_come_before_the_first_call() {
    let gpu = support::h100();
    let late = Options::new().devices(&[&virtual_gpu::model::DeviceModel::A100]);
    assert!(matches!(gpu.apply(&late), Err(InstallError::Setting(_))));
    assert!(matches!(gpu.apply(&Options::new().driver_version(12_080)), Err(InstallError::Setting(_))));
    assert!(matches!(gpu.apply(&Options::new().checks("nonsense")), Err(InstallError::Setting(_))));
    gpu.apply(&Options::new().schedule(0)).expect("the schedule can change");
}

#[test]
fn every_name_is_exported() {
    support::h100();
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("the loader gives the installed object");
    let mut count = 0;
    for name in NAMES.lines() {
        unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.unwrap_or_else(|error| panic!("{error}"));
        count += 1;
    }
    assert!(count >= 514, "{count} names");
}

#[test]
fn an_unimplemented_call_says_so() {
    let gpu = support::h100();
    let mut array = std::ptr::null_mut();
    let result = unsafe { sys::cuArrayCreate_v2(&mut array, std::ptr::null()) };
    assert_eq!(result, sys::CUresult::CUDA_ERROR_NOT_SUPPORTED);
    assert!(gpu.last_error().is_some_and(|text| text.contains("cuArrayCreate")));
}

#[test]
fn proc_addresses_are_those_of_the_symbols() {
    support::h100();
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("the loader gives the installed object");
    let mut address = std::ptr::null_mut();
    let mut status = sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    let symbol = c"cuMemAlloc".as_ptr();
    support::check(unsafe { sys::cuGetProcAddress_v2(symbol, &mut address, 12_000, 0, &mut status) });
    let direct = unsafe { library.get::<unsafe extern "C" fn()>(b"cuMemAlloc_v2") }.expect("exported");
    assert_eq!(address as usize, *direct as usize);
    assert_eq!(status, sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS);
    support::check(unsafe { sys::cuGetProcAddress_v2(c"cuNone".as_ptr(), &mut address, 12_000, 0, &mut status) });
    assert!(address.is_null());
    assert_eq!(status, sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_virtual-gpu"));
    command.env_remove("VIRTUAL_GPU_DEVICE");
    command
}

#[test]
fn info_lists_the_models_and_finds_the_library() {
    let output = command().arg("info").output().expect("the command line runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for id in ["a100", "rtx4090", "h100"] {
        assert!(text.contains(id), "{text}");
    }
    assert!(text.contains("libvirtual_gpu"), "{text}");
}

#[test]
fn run_sets_the_environment_and_passes_the_status_on() {
    let script = "test -e \"${LD_LIBRARY_PATH%%:*}/libcuda.so.1\" && test \"$VIRTUAL_GPU_DEVICE\" = a100 && exit 7";
    let status = command().args(["run", "--device", "a100", "sh", "-c", script]).status().expect("runs");
    assert_eq!(status.code(), Some(7));
    let status = command().args(["run", "sh", "-c", "kill -9 $$"]).status().expect("runs");
    assert_eq!(status.code(), Some(137));
}

#[test]
fn run_refuses_what_it_does_not_know() {
    for arguments in [&["run"][..], &["run", "--colour", "x", "true"], &["walk"], &["run", "--device"]] {
        assert_eq!(command().args(arguments).output().expect("runs").status.code(), Some(2), "{arguments:?}");
    }
}
