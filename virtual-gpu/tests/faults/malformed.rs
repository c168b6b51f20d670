//! PTX that is refused when it is loaded.

use super::kernel;
use virtual_gpu::machine::{LoadOptions, Program};
use virtual_gpu::model::DeviceModel;

#[test]
fn malformed_ptx_is_refused_with_its_place() {
    let model = DeviceModel::A100;
    let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
    for (body, says) in [
        ("add.u32 %r5, %r1;", "operands"),
        ("add.frob.u32 %r5, %r1, %r2;", "frob"),
        ("tcgen05.alloc %r5;", "not implemented"),
        ("bra NOWHERE;", "NOWHERE"),
        ("mov.u32 %r5, %nosuch;", "%nosuch"),
        ("add.u32 %r5, %q1, 1;", "%q1"),
        ("ld.global.u32 %r5, [nosuch];", "nosuch"),
    ] {
        let error =
            Program::load(&kernel(body, false), &model, &options).err().unwrap_or_else(|| panic!("taken: {body}"));
        assert!(error.message.contains(says), "{body}: {error}");
        assert!(error.line >= 20 && error.column >= 1, "{body}: {error}");
    }
    for text in ["", "garbage", ".version 8.0", ".version 99.0\n.target sm_80", ".version 8.0\n.target sm_99"] {
        assert!(Program::load(text, &model, &options).is_err(), "taken: {text}");
    }
}
