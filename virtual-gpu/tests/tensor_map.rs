//! Tensor maps: what is encoded is what was asked for, and each rule of the reference is enforced.

mod support;

use cudarc::driver::sys::{self, CUresult};
use support::h100;
use virtual_gpu::machine::tensor_map::{ElementType, TensorMap};

/// A 64 × 32 map of f32 with boxes of 32 × 8, to be changed in one place.
#[derive(Clone)]
struct Ask {
    element: sys::CUtensorMapDataType,
    rank: u32,
    address: u64,
    dims: Vec<u64>,
    strides: Vec<u64>,
    boxes: Vec<u32>,
    steps: Vec<u32>,
    interleave: sys::CUtensorMapInterleave,
    swizzle: sys::CUtensorMapSwizzle,
    fill: sys::CUtensorMapFloatOOBfill,
}

const F32: sys::CUtensorMapDataType = sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32;

fn ask() -> Ask {
    Ask {
        element: F32,
        rank: 2,
        address: 0x1000_0000,
        dims: vec![64, 32],
        strides: vec![256],
        boxes: vec![32, 8],
        steps: vec![1, 1],
        interleave: sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
        swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        fill: sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    }
}

#[repr(C, align(64))]
struct Aligned(sys::CUtensorMap);

fn encode(ask: &Ask) -> Result<TensorMap, CUresult> {
    h100();
    let mut map = Aligned(unsafe { std::mem::zeroed() });
    let result = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map.0,
            ask.element,
            ask.rank,
            ask.address as *mut _,
            ask.dims.as_ptr(),
            ask.strides.as_ptr(),
            ask.boxes.as_ptr(),
            ask.steps.as_ptr(),
            ask.interleave,
            ask.swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            ask.fill,
        )
    };
    match result {
        CUresult::CUDA_SUCCESS => {
            let bytes = unsafe { (&raw const map.0).cast::<[u8; 128]>().read() };
            Ok(TensorMap::from_bytes(&bytes).expect("the map decodes"))
        }
        refused => Err(refused),
    }
}

#[test]
fn a_tiled_map_carries_its_fields() {
    let map = encode(&ask()).expect("the map is right");
    assert_eq!((map.element, map.rank, map.address), (ElementType::F32, 2, 0x1000_0000));
    assert_eq!((&map.dims[..2], map.strides[0], &map.box_dims[..2]), (&[64, 32][..], 256, &[32, 8][..]));
    assert_eq!((map.swizzle, map.interleave, map.nan_fill, map.im2col), (3, 0, false, None));
}

#[test]
fn every_rule_refuses_what_breaks_it() {
    let breaks: [(&str, fn(&mut Ask)); 15] = [
        ("rank 0", |ask| ask.rank = 0),
        ("rank 6", |ask| ask.rank = 6),
        ("null address", |ask| ask.address = 0),
        ("address not aligned to 16", |ask| ask.address += 8),
        ("empty dimension", |ask| ask.dims[1] = 0),
        ("dimension over 2^32", |ask| ask.dims[1] = (1 << 32) + 1),
        ("stride not a multiple of 16", |ask| ask.strides[0] = 264),
        ("stride of 2^40", |ask| ask.strides[0] = 1 << 40),
        ("empty box", |ask| ask.boxes[1] = 0),
        ("box over 256", |ask| ask.boxes[1] = 257),
        ("box wider than the swizzle", |ask| ask.boxes[0] = 36),
        ("box not a multiple of 16 bytes", |ask| ask.boxes[0] = 31),
        ("step 0", |ask| ask.steps[1] = 0),
        ("step 9", |ask| ask.steps[1] = 9),
        ("interleave with rank 2", |ask| {
            ask.interleave = sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_16B;
        }),
    ];
    for (what, change) in breaks {
        let mut broken = ask();
        change(&mut broken);
        assert_eq!(encode(&broken).err(), Some(CUresult::CUDA_ERROR_INVALID_VALUE), "{what}");
    }
    let mut nan = ask();
    nan.fill = sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
    assert!(encode(&nan).expect("floats have NaN").nan_fill);
    nan.element = sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_INT32;
    assert_eq!(encode(&nan).err(), Some(CUresult::CUDA_ERROR_INVALID_VALUE));
}

#[test]
fn im2col_maps_and_new_addresses() {
    h100();
    let mut map = Aligned(unsafe { std::mem::zeroed() });
    let (dims, strides) = ([16u64, 10, 12, 2], [64u64, 640, 7_680]);
    let mut encode = |lower: [i32; 2], upper: [i32; 2], channels: u32, pixels: u32| unsafe {
        sys::cuTensorMapEncodeIm2col(
            &mut map.0,
            F32,
            4,
            0x2000_0000 as *mut _,
            dims.as_ptr(),
            strides.as_ptr(),
            lower.as_ptr(),
            upper.as_ptr(),
            channels,
            pixels,
            [1u32; 4].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    assert_eq!(encode([-129, 0], [0, 0], 16, 64), invalid);
    assert_eq!(encode([0, 0], [-10, 0], 16, 64), invalid);
    assert_eq!(encode([0, 0], [0, 0], 257, 64), invalid);
    assert_eq!(encode([0, 0], [0, 0], 16, 1_025), invalid);
    assert_eq!(encode([0, 0], [0, 0], 32, 64), invalid);
    support::check(encode([-1, -2], [-1, -2], 16, 64));
    support::check(unsafe { sys::cuTensorMapReplaceAddress(&mut map.0, 0x3000_0000 as *mut _) });
    let bytes = unsafe { (&raw const map.0).cast::<[u8; 128]>().read() };
    let decoded = TensorMap::from_bytes(&bytes).expect("the map decodes");
    let im2col = decoded.im2col.expect("it is im2col");
    assert_eq!((decoded.address, im2col.channels, im2col.pixels), (0x3000_0000, 16, 64));
    assert_eq!((&im2col.lower[..2], &im2col.upper[..2]), (&[-1, -2][..], &[-1, -2][..]));
    assert_eq!(unsafe { sys::cuTensorMapReplaceAddress(&mut map.0, 0x3000_0001 as *mut _) }, invalid);
}
