//! Pictures in folders: a PNG made here by hand (RFC 2083, stored blocks of RFC 1951), a small JPEG.

use super::{Folder, message};
use std::path::Path;
use warpsmith::data::{DataLoader, Dataset, ImageFolder};
use warpsmith::random::Philox;

/// The CRC of PNG chunks, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc(&body).to_be_bytes()].concat()
}

/// 8 bits per channel; type 0 is grey, 2 is red, green and blue.
fn png(width: u32, height: u32, kind: u8, pixels: &[u8]) -> Vec<u8> {
    let row = pixels.len() / height as usize;
    let filtered: Vec<u8> = pixels.chunks(row).flat_map(|row| [&[0], row].concat()).collect();
    let length = filtered.len() as u16;
    let (mut a, mut b) = (1u32, 0u32);
    for byte in &filtered {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let mut packed = vec![0x78, 0x01, 1];
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(&filtered);
    packed.extend((b << 16 | a).to_be_bytes());
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, kind, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &head)[..], &chunk(b"IDAT", &packed), &chunk(b"IEND", &[])].concat()
}

fn write(folder: &Folder, path: &str, content: &[u8]) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn classes_are_folders_and_samples_pictures() {
    let folder = Folder::new();
    let colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 51, 102, 153, 0, 0, 0, 255, 255, 255];
    write(&folder, "b/one.png", &png(3, 2, 2, &colours));
    write(&folder, "b/TWO.PNG", &png(3, 2, 0, &[0, 51, 102, 153, 204, 255]));
    write(&folder, "b/notes.txt", b"none");
    write(&folder, "a/grey.jpg", include_bytes!("grey.jpg"));
    write(&folder, "empty.png", b"in no class");
    std::fs::create_dir(folder.path().join("c")).unwrap();
    let set = ImageFolder::open(folder.path()).unwrap();
    assert_eq!((set.classes(), set.labels()), (&["a", "b", "c"].map(String::from)[..], vec![0, 1, 1]));

    let mut rng = Philox::new(0);
    // TWO.PNG comes before one.png: capitals first.
    let grey = set.get(1, &mut rng).unwrap();
    assert_eq!((grey[0].dims(), grey[1].item::<i64>().unwrap()), (&[3, 2, 3][..], 1));
    assert_eq!(grey[0].to_vec3::<f32>().unwrap()[2], [[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]);
    let colour = set.get(2, &mut rng).unwrap()[0].to_vec3::<f32>().unwrap();
    assert_eq!(colour[0], [[1.0, 0.0, 0.0], [0.2, 0.0, 1.0]]);
    assert_eq!(colour[1], [[0.0, 1.0, 0.0], [0.4, 0.0, 1.0]]);
    assert_eq!(colour[2], [[0.0, 0.0, 1.0], [0.6, 0.0, 1.0]]);
    let jpeg = set.get(0, &mut rng).unwrap();
    assert_eq!((jpeg[0].dims(), jpeg[1].item::<i64>().unwrap()), (&[3, 8, 8][..], 0));
    assert!(jpeg[0].to_vec::<f32>().unwrap().iter().all(|v| (v - 128.0 / 255.0).abs() < 2.0 / 255.0));

    let alike = set.clone().grey().size([4, 6]);
    let batch = DataLoader::new(alike, 3).workers(1).epoch(0).next().unwrap().unwrap();
    assert_eq!(batch[0].dims(), [3, 1, 4, 6]);
    assert_eq!(batch[1].to_vec::<i64>().unwrap(), [0, 1, 1]);
    assert!(message(DataLoader::new(set.clone(), 3).epoch(0).next().unwrap()).contains("batch 0 of epoch 0"));
    assert!(set.get(3, &mut rng).is_err());
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::new();
    assert!(message(ImageFolder::open(folder.path())).contains("no PNG or JPEG"));
    assert!(message(ImageFolder::open(Path::new("/nowhere/at/all"))).contains("/nowhere/at/all"));
    let whole = png(3, 2, 0, &[1; 6]);
    write(&folder, "a/cut.png", &whole[..whole.len() - 20]);
    let text = message(DataLoader::new(ImageFolder::open(folder.path()).unwrap(), 1).epoch(0).next().unwrap());
    assert!(text.contains("cut.png") && text.contains("sample 0"), "{text}");
}
