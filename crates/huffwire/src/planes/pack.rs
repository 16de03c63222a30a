//! Raw planes: symbols of 1 to 8 bits packed without gaps, lowest bits first.

use crate::kernels::bytes;
use crate::kernels::platform::Platform;

/// Bytes of `count` packed symbols of `width` bits.
pub(crate) const fn packed_bytes(count: usize, width: u8) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Runs a function on a platform with the width as a constant: loops over a fixed number of bits become
/// vectors.
macro_rules! with_constant_width {
    ($platform:expr, $function:ident, $width:expr, $($argument:expr),*) => {
        match $width {
                2 => $platform.run(#[inline(always)] || $function::<2>($($argument),*)),
            3 => $platform.run(#[inline(always)] || $function::<3>($($argument),*)),
            4 => $platform.run(#[inline(always)] || $function::<4>($($argument),*)),
            5 => $platform.run(#[inline(always)] || $function::<5>($($argument),*)),
            6 => $platform.run(#[inline(always)] || $function::<6>($($argument),*)),
            7 => $platform.run(#[inline(always)] || $function::<7>($($argument),*)),
            _ => $platform.run(#[inline(always)] || $function::<8>($($argument),*)),
        }
    };
}

/// Packs symbols below `2^width` into exactly [`packed_bytes`] bytes.
pub(crate) fn pack(platform: Platform, symbols: &[u8], width: u8, out: &mut [u8]) {
    if width == 1 {
        return bytes::pack_bits(platform, symbols, out);
    }
    with_constant_width!(platform, pack_groups, width, symbols, out);
}

/// Unpacks [`packed_bytes`] bytes; `false` when a padding bit is set.
pub(crate) fn unpack(platform: Platform, packed: &[u8], width: u8, symbols: &mut [u8]) -> bool {
    if width == 1 {
        bytes::unpack_bits(platform, packed, symbols);
        let last = packed.last().map_or(0, |last| u32::from(*last));
        return last >> (8 - (8 * packed.len() - symbols.len())) == 0;
    }
    with_constant_width!(platform, unpack_groups, width, packed, symbols)
}

/// Eight symbols of `W` bits fill `W` bytes, so groups of eight need no carry.
#[inline(always)]
fn pack_groups<const W: usize>(symbols: &[u8], out: &mut [u8]) {
    if W == 8 {
        out.copy_from_slice(symbols);
        return;
    }
    let combine = |symbols: &[u8]| {
        let bits = symbols.iter().enumerate().map(|(i, &symbol)| u64::from(symbol) << (i * W));
        bits.sum::<u64>().to_le_bytes()
    };
    let (groups, rest) = symbols.as_chunks::<8>();
    let (packed, last) = out.split_at_mut(groups.len() * W);
    for (group, packed) in groups.iter().zip(packed.as_chunks_mut::<W>().0) {
        packed.copy_from_slice(&combine(group)[..W]);
    }
    let last_bytes = last.len();
    last.copy_from_slice(&combine(rest)[..last_bytes]);
}

#[inline(always)]
fn unpack_groups<const W: usize>(packed: &[u8], symbols: &mut [u8]) -> bool {
    if W == 8 {
        symbols.copy_from_slice(packed);
        return true;
    }
    let bits_of = |packed: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..packed.len()].copy_from_slice(packed);
        u64::from_le_bytes(bytes)
    };
    let symbol_at = |bits: u64, i: usize| (bits >> (i * W)) as u8 & (0xff >> (8 - W));
    let (groups, rest) = symbols.as_chunks_mut::<8>();
    let (packed, last) = packed.split_at(groups.len() * W);
    for (group, packed) in groups.iter_mut().zip(packed.as_chunks::<W>().0) {
        let bits = bits_of(packed);
        *group = std::array::from_fn(|i| symbol_at(bits, i));
    }
    let bits = bits_of(last);
    rest.iter_mut().enumerate().for_each(|(i, symbol)| *symbol = symbol_at(bits, i));
    bits >> (rest.len() * W) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_inverts_pack_at_every_width_and_count() {
        for width in 1..=8u8 {
            for count in 0..140 {
                let symbols: Vec<u8> =
                    (0..count).map(|i| (i * 37 + 11) as u8 & (0xff >> (8 - width))).collect();
                for platform in Platform::available() {
                    let mut packed = vec![0; packed_bytes(count, width)];
                    pack(platform, &symbols, width, &mut packed);
                    let mut unpacked = vec![0xee; count];
                    assert!(unpack(platform, &packed, width, &mut unpacked));
                    assert_eq!(symbols, unpacked);
                }
            }
        }
    }

    #[test]
    fn padding_bits_must_be_zero() {
        assert!(unpack(Platform::Portable, &[0b0000_0101], 3, &mut [0]));
        assert!(!unpack(Platform::Portable, &[0b1000_0101], 3, &mut [0]));
    }
}
