//! LZ4 blocks, the compression of PTX in fat binaries (format: the LZ4 block format description by Y. Collet).

/// Decompresses a block into exactly `size` bytes; `None` where it is not one.
pub fn decompress(mut input: &[u8], size: usize) -> Option<Vec<u8>> {
    /// What a header lies about can be no larger than this.
    const LIMIT: usize = 1 << 30;
    if size > LIMIT {
        return None;
    }
    let mut output: Vec<u8> = Vec::with_capacity(size);
    // A length of 15 goes on in bytes, as long as they are 255.
    let length = |input: &mut &[u8], start: usize| -> Option<usize> {
        let mut length = start;
        if start == 15 {
            loop {
                let (&byte, rest) = input.split_first()?;
                *input = rest;
                length = length.checked_add(usize::from(byte))?;
                if byte != 255 {
                    break;
                }
            }
        }
        Some(length)
    };
    while output.len() < size {
        let (&token, rest) = input.split_first()?;
        input = rest;
        let literals = length(&mut input, usize::from(token >> 4))?;
        let (literal, rest) = input.split_at_checked(literals)?;
        output.extend_from_slice(literal);
        input = rest;
        if output.len() >= size {
            // The last sequence is literals alone.
            break;
        }
        let (offset, rest) = input.split_at_checked(2)?;
        input = rest;
        let offset = usize::from(u16::from_le_bytes([offset[0], offset[1]]));
        let matched = length(&mut input, usize::from(token & 15))?.checked_add(4)?;
        let start = output.len().checked_sub(offset).filter(|_| offset != 0)?;
        if output.len().checked_add(matched)? > size {
            return None;
        }
        // Overlapping on purpose: a match may repeat what it writes itself.
        for at in start..start + matched {
            output.push(output[at]);
        }
    }
    (output.len() == size).then_some(output)
}

#[cfg(test)]
mod tests {
    use super::decompress;

    #[test]
    fn literals_matches_and_overlaps() {
        // "abc", then 9 bytes from 3 back (overlapping), then "!".
        let block = [0x35, b'a', b'b', b'c', 3, 0, 0x10, b'!'];
        assert_eq!(decompress(&block, 13).as_deref(), Some(&b"abcabcabcabc!"[..]));
    }

    #[test]
    fn long_lengths_continue() {
        let mut block = vec![0xf0, 255, 30];
        block.extend(vec![7u8; 300]);
        assert_eq!(decompress(&block, 300), Some(vec![7u8; 300]));
    }

    #[test]
    fn broken_blocks_are_refused() {
        assert_eq!(decompress(&[], 1), None);
        assert_eq!(decompress(&[0x10, b'a', 9, 0], 20), None);
        assert_eq!(decompress(&[0x10, b'a', 0, 0, 0], 20), None);
        assert_eq!(decompress(&[0xff], 20), None);
        assert_eq!(decompress(&[0x10, b'a'], usize::MAX), None);
    }
}
