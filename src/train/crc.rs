//! Cyclic redundancy checks of 32 bits, least significant bit first.

const fn table(polynomial: u32) -> [u32; 256] {
    let (mut out, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut remainder, mut bit) = (byte as u32, 0);
        while bit < 8 {
            remainder = if remainder & 1 == 1 { remainder >> 1 ^ polynomial } else { remainder >> 1 };
            bit += 1;
        }
        out[byte] = remainder;
        byte += 1;
    }
    out
}

fn check(table: &[u32; 256], bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ table[usize::from(crc as u8 ^ byte)])
}

/// CRC-32 (ISO 3309), as PNG has it.
#[cfg(feature = "train")]
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table(0xedb8_8320);
    check(&TABLE, bytes)
}

/// CRC-32C (Castagnoli 1993; RFC 3720), as TensorFlow's records have it.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table(0x82f6_3b78);
    check(&TABLE, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_standards() {
        // The catalogue's check string, and RFC 3720 B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        #[cfg(feature = "train")]
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
