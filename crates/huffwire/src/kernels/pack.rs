//! Kernels for raw planes: symbols of 1 to 8 bits, a byte each, packed without gaps, lowest bits first; and back.

use super::Kernels;
use super::platform::{Platform, on};
use super::portable::pack as portable;

/// Bytes of `count` packed symbols of `width` bits.
pub(crate) const fn packed_bytes(count: usize, width: u8) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Packs symbols below `2^width` into exactly [`packed_bytes`] bytes; what is left of the last byte is 0.
pub(crate) fn pack(platform: Platform, symbols: &[u8], width: u8, out: &mut [u8]) {
    if width >= 8 {
        return out.copy_from_slice(symbols);
    }
    // Eight symbols of so many bits fill so many bytes.
    let groups = symbols.len() / 8;
    let (symbols, last_symbols) = symbols.split_at(8 * groups);
    let (out, last_out) = out.split_at_mut(usize::from(width) * groups);
    on!(platform, kernels => kernels.pack(width, symbols, out));
    portable::pack_last(width, last_symbols, last_out);
}

/// Unpacks [`packed_bytes`] bytes; `false` when a bit is set that belongs to no symbol.
pub(crate) fn unpack(platform: Platform, packed: &[u8], width: u8, symbols: &mut [u8]) -> bool {
    if width >= 8 {
        symbols.copy_from_slice(packed);
        return true;
    }
    let groups = symbols.len() / 8;
    let (packed, last_packed) = packed.split_at(usize::from(width) * groups);
    let (symbols, last_symbols) = symbols.split_at_mut(8 * groups);
    on!(platform, kernels => kernels.unpack(width, packed, symbols));
    portable::unpack_last(width, last_packed, last_symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> u8 {
        ((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    /// Symbols, and what `docs/format.md` says of them, bit by bit.
    fn expected(count: usize, width: u8) -> (Vec<u8>, Vec<u8>) {
        let symbols: Vec<u8> = (0..count).map(|i| noise(i) & (0xff >> (8 - width))).collect();
        let mut packed = vec![0; packed_bytes(count, width)];
        for (i, symbol) in symbols.iter().enumerate() {
            for bit in 0..usize::from(width) {
                let place = i * usize::from(width) + bit;
                packed[place / 8] |= (symbol >> bit & 1) << (place % 8);
            }
        }
        (symbols, packed)
    }

    #[test]
    fn all_platforms_pack_as_the_format_says_and_back() {
        for width in 1..=8 {
            for count in (0..300).chain([1024, 4099]) {
                let (symbols, expected) = expected(count, width);
                for platform in Platform::available() {
                    let mut packed = vec![0xee; expected.len()];
                    pack(platform, &symbols, width, &mut packed);
                    assert!(packed == expected, "{platform} {width} {count}");
                    let mut unpacked = vec![0xee; count];
                    assert!(unpack(platform, &packed, width, &mut unpacked));
                    assert!(unpacked == symbols, "{platform} {width} {count}");
                }
            }
        }
    }

    #[test]
    fn bits_that_belong_to_no_symbol_must_be_zero() {
        for platform in Platform::available() {
            for width in 1..=8 {
                for count in [1, 7, 9, 63, 65, 131] {
                    let (symbols, mut packed) = expected(count, width);
                    for place in count * usize::from(width)..8 * packed.len() {
                        packed[place / 8] ^= 1 << (place % 8);
                        let mut unpacked = vec![0xee; count];
                        assert!(!unpack(platform, &packed, width, &mut unpacked));
                        assert!(unpacked == symbols, "{platform} {width} {count}");
                        packed[place / 8] ^= 1 << (place % 8);
                    }
                }
            }
        }
    }
}
