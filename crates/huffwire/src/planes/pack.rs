//! Raw planes: symbols of 1 to 8 bits packed without gaps, lowest bits first.

/// Bytes of `count` packed symbols of `width` bits.
pub(crate) const fn packed_bytes(count: usize, width: u8) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Packs symbols below `2^width` into exactly [`packed_bytes`] bytes.
///
/// Eight symbols of `width` bits fill `width` bytes, so whole groups of eight need no carry.
pub(crate) fn pack(symbols: &[u8], width: u8, out: &mut [u8]) {
    if width == 8 {
        out.copy_from_slice(symbols);
        return;
    }
    for (symbols, out) in symbols.chunks(8).zip(out.chunks_mut(width.into())) {
        let mut bits = 0u64;
        for (index, &symbol) in symbols.iter().enumerate() {
            bits |= u64::from(symbol) << (index * usize::from(width));
        }
        out.copy_from_slice(&bits.to_le_bytes()[..out.len()]);
    }
}

/// Unpacks [`packed_bytes`] bytes; `false` when a padding bit is set.
pub(crate) fn unpack(packed: &[u8], width: u8, symbols: &mut [u8]) -> bool {
    if width == 8 {
        symbols.copy_from_slice(packed);
        return true;
    }
    let mut padding = 0;
    for (symbols, packed) in symbols.chunks_mut(8).zip(packed.chunks(width.into())) {
        let mut bytes = [0; 8];
        bytes[..packed.len()].copy_from_slice(packed);
        let mut bits = u64::from_le_bytes(bytes);
        for symbol in symbols {
            *symbol = (bits & ((1 << width) - 1)) as u8;
            bits >>= width;
        }
        padding = bits;
    }
    padding == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_inverts_pack_at_every_width_and_count() {
        for width in 1..=8u8 {
            for count in 0..40 {
                let symbols: Vec<u8> = (0..count)
                    .map(|i| (i * 37 + 11) as u8 & (0xff >> (8 - width)))
                    .collect();
                let mut packed = vec![0; packed_bytes(count, width)];
                pack(&symbols, width, &mut packed);
                let mut unpacked = vec![0xee; count];
                assert!(unpack(&packed, width, &mut unpacked));
                assert_eq!(symbols, unpacked);
            }
        }
    }

    #[test]
    fn padding_bits_must_be_zero() {
        assert!(unpack(&[0b0000_0101], 3, &mut [0]));
        assert!(!unpack(&[0b1000_0101], 3, &mut [0]));
    }
}
