//! TensorBoard's event files: records as TensorFlow frames them (length, its check, bytes, their check), each holding
//! an `Event` of `event.proto` in protocol buffers' encoding.

use crate::train::Figures;
use crate::train::crc::crc32c;
use std::time::SystemTime;

/// The event that a file begins with.
pub(super) fn version() -> Vec<u8> {
    let mut event = time();
    bytes_field(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// A scalar for each figure.
pub(super) fn scalars(step: u64, figures: &Figures) -> Vec<u8> {
    let mut summary = vec![];
    for (name, value) in figures.iter() {
        // Summary.Value: the tag, and the simple value, a float.
        let mut entry = vec![];
        bytes_field(&mut entry, 1, name.as_bytes());
        entry.push(2 << 3 | 5);
        entry.extend((value as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &entry);
    }
    let mut event = time();
    event.push(2 << 3);
    varint(&mut event, step);
    bytes_field(&mut event, 5, &summary);
    record(&event)
}

/// `Event.wall_time`, seconds in a double.
fn time() -> Vec<u8> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut out = vec![1 << 3 | 1];
    out.extend(since.as_secs_f64().to_le_bytes());
    out
}

/// Seven bits a byte, the lowest first; all but the last have the top bit.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of bytes, a string or a message, whose number is below 16.
fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend_from_slice(event);
    out.extend(masked(event).to_le_bytes());
    out
}

/// Rotated and shifted, so that a check of bytes that hold checks is none of them.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
