//! IDX files, good and bad.

use super::{Folder, message};
use warpsmith::data::{load_idx, read_idx};
use warpsmith::{DType, Result, Tensor};

fn read(bytes: &[u8]) -> Result<Tensor> {
    read_idx(bytes, bytes.len() as u64, "digits")
}

/// A file of this type, extents and elements.
fn idx(code: u8, extents: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, extents.len() as u8];
    bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

#[test]
fn every_type() {
    let bytes = read(&idx(0x08, &[2, 1, 2], &[0, 127, 128, 255])).unwrap();
    assert_eq!((bytes.dtype(), bytes.dims()), (DType::U8, &[2, 1, 2][..]));
    assert_eq!(bytes.to_vec::<u8>().unwrap(), [0, 127, 128, 255]);
    let signed = read(&idx(0x09, &[3], &[0x7f, 0x80, 0xff])).unwrap();
    assert_eq!(signed.to_vec::<i64>().unwrap(), [127, -128, -1]);
    let short = read(&idx(0x0b, &[2], &[0x01, 0x02, 0xff, 0xfe])).unwrap();
    assert_eq!(short.to_vec::<i64>().unwrap(), [258, -2]);
    let int = read(&idx(0x0c, &[2], &[0x80, 0, 0, 0, 0, 0, 1, 1])).unwrap();
    assert_eq!(int.to_vec::<i64>().unwrap(), [-2147483648, 257]);
    let float = read(&idx(0x0d, &[1, 2], &[0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0])).unwrap();
    assert_eq!(float.to_vec2::<f32>().unwrap(), [[1.0, -2.5]]);
    let double = read(&idx(0x0e, &[1], &[0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a])).unwrap();
    assert_eq!(double.to_vec::<f64>().unwrap(), [0.1]);
    let scalar = read(&idx(0x08, &[], &[7])).unwrap();
    assert_eq!((scalar.rank(), scalar.item::<u8>().unwrap()), (0, 7));
    assert_eq!(read(&idx(0x0d, &[0, 5], &[])).unwrap().dims(), [0, 5]);
}

#[test]
fn bad_files_are_errors_and_take_no_memory() {
    let good = idx(0x08, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "a file cut to {length} bytes is read");
    }
    assert!(message(read(&good[..15])).contains("cut off"));
    assert!(read(&[&good[..], &[0]].concat()).is_err());
    // The head claims 2⁴⁸ bytes, and more than can be counted.
    assert!(message(read(&idx(0x08, &[1 << 16, 1 << 16, 1 << 16], &[]))).contains("do not fit"));
    assert!(read(&idx(0x0e, &[u32::MAX, u32::MAX, 2], &[])).is_err());
    assert!(read(&idx(0x08, &[u32::MAX; 8], &[])).is_err());
    assert!(read(&idx(0x08, &[1; 9], &[0])).is_err());
    // A length that the file does not have.
    assert!(read_idx(&good[..9], good.len() as u64, "digits").is_err());
    assert!(message(read(&idx(0x0a, &[1], &[0]))).contains("0x0a"));
    assert!(message(read(&[0x1f, 0x8b, 8, 0, 0, 0])).contains("gunzip"));
    assert!(message(read(b"\x89PNG")).contains("digits: it begins with"));
}

#[test]
fn files() {
    let folder = Folder::new();
    let path = folder.file("labels", idx(0x08, &[4], &[3, 1, 4, 1]));
    assert_eq!(load_idx(&path).unwrap().to_vec::<u8>().unwrap(), [3, 1, 4, 1]);
    assert!(message(load_idx(folder.path().join("none"))).contains("none"));
}
