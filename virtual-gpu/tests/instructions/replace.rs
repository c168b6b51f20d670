//! `tensormap.replace`: a kernel rewrites every field of a map in shared or global memory and copies a box through it.

use super::machine::{Random, block, kernel, load, run};
use virtual_gpu::machine::tensor_map::{ElementType, TensorMap};

use virtual_gpu::model::DeviceModel;

/// A map of bytes that has nothing in common with what the tests want.
fn template() -> TensorMap {
    TensorMap {
        element: ElementType::U8,
        rank: 1,
        address: 0x1_0000,
        dims: [64, 0, 0, 0, 0],
        strides: [0; 4],
        box_dims: [16, 0, 0, 0, 0],
        element_strides: [1; 5],
        interleave: 0,
        swizzle: 3,
        l2_promotion: 0,
        nan_fill: true,
        im2col: None,
    }
}

/// Replacements that make a map of an 8 × 6 × 5 tensor of 32-bit floats at %rd1, with boxes of 4 × 3 × 2.
fn replacements(space: &str, at: &str) -> String {
    let mut out = String::new();
    let mut one = |field: &str, ty: &str, rest: String| {
        out += &format!("tensormap.replace.tile.{field}{space}.b1024.{ty} [{at}], {rest};\n");
    };
    one("global_address", "b64", "%rd1".into());
    one("rank", "b32", "2".into());
    for (k, (dim, boxed)) in [(8, 4), (6, 3), (5, 2)].into_iter().enumerate() {
        one("global_dim", "b32", format!("{k}, {dim}"));
        one("box_dim", "b32", format!("{k}, {boxed}"));
        one("element_stride", "b32", format!("{k}, 1"));
    }
    one("global_stride", "b64", "0, 32".into());
    one("global_stride", "b64", "1, %rd40".into());
    one("elemtype", "b32", "7".into());
    one("interleave_layout", "b32", "0".into());
    one("swizzle_mode", "b32", "0".into());
    one("fill_mode", "b32", "0".into());
    out
}

/// A box at (2, 4, 4) through the map at %rd41, to %rd3.
const COPY: &str = "
    setp.ne.u32 %p1, %r1, 0; @%p1 bra WAIT;
    mbarrier.init.shared::cta.b64 [bar], 1; fence.proxy.async.shared::cta;
    mov.u32 %r5, 2; mov.u32 %r6, 4; mov.u32 %r7, 4;
    mbarrier.arrive.expect_tx.shared::cta.b64 %rd50, [bar], 96;
    cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [data], [%rd41, {%r5,%r6,%r7}], [bar];
    WAIT: bar.sync 0;
    L: mbarrier.try_wait.parity.shared::cta.b64 %p2, [bar], 0; @!%p2 bra L;
    setp.ge.u32 %p3, %r1, 24; @%p3 ret;
    shl.b32 %r8, %r1, 2; mov.u32 %r9, data; add.u32 %r9, %r9, %r8; ld.shared.u32 %r10, [%r9];
    cvt.u64.u32 %rd51, %r8; add.u64 %rd51, %rd51, %rd3; st.global.u32 [%rd51], %r10;";

/// Bodies that rewrite a map in shared memory and copy it, or in global memory, before a box is copied through it.
fn bodies() -> Vec<String> {
    let begin = "mov.u32 %r1, %tid.x; mov.b64 %rd40, 192; mov.b64 %rd41, %rd2; setp.ne.u32 %p8, %r1, 0;\n";
    let mut in_shared = begin.to_string() + "@%p8 bra COPIED;\n";
    for at in (0..128).step_by(8) {
        in_shared += &format!("ld.global.u64 %rd42, [%rd2+{at}]; st.shared.u64 [map+{at}], %rd42;\n");
    }
    in_shared += &replacements(".shared::cta", "map");
    let copied = |scope: &str| {
        format!(
            "{in_shared}COPIED: bar.warp.sync -1;\n\
             tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.{scope}.sync.aligned [%rd2], [map], 128;\n\
             fence.proxy.tensormap::generic.acquire.{scope} [%rd2], 128;\n"
        )
    };
    let in_global = |space: &str| {
        format!(
            "{begin}@%p8 bra DONE;\n{}DONE: fence.proxy.tensormap::generic.release.gpu; bar.warp.sync -1;\n\
             fence.proxy.tensormap::generic.acquire.gpu [%rd2], 128;\n",
            replacements(space, "%rd2")
        )
    };
    let scopes = ["cta", "cluster", "gpu", "sys"];
    scopes.map(copied).into_iter().chain([".global", ""].map(in_global)).map(|body| body + COPY).collect()
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    bodies().iter().map(|body| kernel("sm_90a", 3, "", body)).collect()
}

#[test]
fn every_field() {
    let mut random = Random(7);
    let data: Vec<u8> = (0..8 * 6 * 5 * 4).map(|_| random.next() as u8).collect();
    let buffers = [data.clone(), template().to_bytes().to_vec(), vec![0; 96]];
    let head = ".shared .align 128 .b8 map[128]; .shared .align 128 .b8 data[128]; .shared .align 8 .b64 bar;";
    for body in bodies() {
        let text = kernel("sm_90a", 3, head, &body);
        for seed in 0..4 {
            let out =
                run(&text, &block(DeviceModel::H100, 32), &buffers, seed).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let map = TensorMap::from_bytes(&out[1].clone().try_into().expect("128 bytes")).expect("still a map");
            let want = TensorMap {
                element: ElementType::F32,
                rank: 3,
                address: map.address,
                dims: [8, 6, 5, 0, 0],
                strides: [32, 192, 0, 0],
                box_dims: [4, 3, 2, 0, 0],
                element_strides: [1; 5],
                swizzle: 0,
                nan_fill: false,
                ..template()
            };
            assert_eq!(map, want);
            for n in 0..24 {
                let (x, y, z) = (2 + n % 4, 4 + n / 4 % 3, 4 + n / 12);
                // Beyond the tensor the box is zero.
                let at = 4 * (x + 8 * (y + 6 * z));
                let want = if y < 6 && z < 5 { data[at..at + 4].to_vec() } else { vec![0; 4] };
                assert_eq!(out[2][4 * n..4 * n + 4], want, "({x}, {y}, {z})");
            }
        }
    }
}

/// `.elemtype` has numbers of its own (PTX ISA, table "Tensormap new_val validity").
#[test]
fn element_types() {
    use ElementType::*;
    let types = [U8, U16, U32, S32, U64, S64, F16, F32, F32Ftz, F64, Bf16, Tf32, Tf32Ftz];
    for (n, want) in types.into_iter().enumerate() {
        let body = format!(
            "tensormap.replace.tile.elemtype.global.b1024.b32 [%rd1], {n};\n\
             tensormap.replace.tile.swizzle_mode.global.b1024.b32 [%rd1], {};\n\
             tensormap.replace.tile.interleave_layout.global.b1024.b32 [%rd1], {};\n\
             tensormap.replace.tile.fill_mode.global.b1024.b32 [%rd1], {};",
            n % 4,
            n % 3,
            n % 2
        );
        let text = kernel("sm_90a", 1, "", &body);
        let out = run(&text, &block(DeviceModel::H100, 1), &[template().to_bytes().to_vec()], 0);
        let bytes = out.unwrap_or_else(|e| panic!("{e}")).remove(0).try_into().expect("128 bytes");
        let map = TensorMap::from_bytes(&bytes).expect("still a map");
        let fields = (map.element, usize::from(map.swizzle), usize::from(map.interleave), usize::from(map.nan_fill));
        assert_eq!(fields, (want, n % 4, n % 3, n % 2));
    }
}

#[test]
fn faults() {
    let head = ".shared .align 128 .b8 data[128]; .shared .align 8 .b64 bar;";
    let broken = |replacement: &str| {
        let begin = "mov.u32 %r1, %tid.x; mov.b64 %rd40, 192; mov.b64 %rd41, %rd2;\n";
        let body = format!("{begin}{}{replacement}\n{COPY}", replacements(".global", "%rd2"));
        let buffers = [vec![1; 960], template().to_bytes().to_vec(), vec![0; 96]];
        run(&kernel("sm_90a", 3, head, &body), &block(DeviceModel::H100, 1), &buffers, 0).expect_err(replacement).report
    };
    for (replacement, want) in [
        ("tensormap.replace.tile.global_stride.global.b1024.b64 [%rd2], 0, 40;", "not a multiple of 16"),
        ("tensormap.replace.tile.box_dim.global.b1024.b32 [%rd2], 0, 3;", "12 bytes wide"),
        ("tensormap.replace.tile.box_dim.global.b1024.b32 [%rd2], 1, 257;", "257 elements"),
        ("tensormap.replace.tile.element_stride.global.b1024.b32 [%rd2], 1, 9;", "element stride 9"),
        ("tensormap.replace.tile.rank.global.b1024.b32 [%rd2], 5;", "rank 6"),
        ("tensormap.replace.tile.rank.global.b1024.b32 [%rd2], 1;", "3-dimensional"),
        ("tensormap.replace.tile.rank.global.b1024.b32 [%rd1], 1;", "no tensor map"),
    ] {
        let report = broken(replacement);
        assert!(report.contains(want), "{want}: {report}");
    }
    for refused in [
        "tensormap.replace.tile.global_address.global.b1024.b32 [%rd1], %r1;",
        "tensormap.replace.tile.box_dim.global.b1024.b32 [%rd1], %r1, 4;",
        "tensormap.replace.tile.global_stride.global.b1024.b64 [%rd1], 4, 16;",
        "tensormap.replace.tile.elemtype.global.b1024.b32 [%rd1], 13;",
        "tensormap.replace.tile.swizzle_mode.global.b1024.b32 [%rd1], %r1;",
        "tensormap.replace.tile.swizzle_atomicity.global.b1024.b32 [%rd1], 0;",
        "tensormap.replace.tile.rank.local.b1024.b32 [%rd1], 0;",
    ] {
        let e = load(&kernel("sm_90a", 1, "", refused), &DeviceModel::H100).err().expect(refused);
        assert!(e.message.contains("tensormap.replace"), "{e}");
    }
}
