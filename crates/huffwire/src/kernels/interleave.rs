//! Kernels that interleave words: the bytes of 16- or 32-bit words, sorted by their place, in groups
//! of 64 words; and back.
//!
//! # The order
//!
//! Byte `p` of an interleaved group belongs to word `(p mod b) * 64 / b + p div b` of the group, where `b` is the bytes
//! of a word. The 64 words are thus `b` sequences of `64 / b` words, and the order takes one word of each sequence in
//! turn. The last group, if it is not whole, stays in order.
//!
//! The reason: think of a group of 16-bit words as two vectors of 32 words, `A` and `B`. The bytes of
//! `A >> 8 | B & 0xff00` are the upper bytes of `A` and `B` in turn, those of `A & 0xff | B << 8` the lower ones. So
//! interleaved planes are made by shifts and bitwise selections within words, at any width of vectors, and words are made from
//! planes in the same way. Planes in the order of words need shuffles across the vector in both directions, which most
//! processors do on one port only, the one that the lane coder needs most.
//!
//! Words are rotated to the left by one bit beforehand: the sign of a float goes to the lowest bit, the
//! exponent to the top.

use super::Kernels;
use super::platform::{Platform, on};
use super::portable::interleave as portable;

/// Words in a group.
pub(crate) const GROUP: usize = 64;

/// Words in the whole groups that all of the slices have.
fn in_groups(word_bytes: usize, words: &[u8], planes: &[&[u8]]) -> usize {
    let planes = planes.iter().map(|plane| plane.len() / GROUP);
    planes.fold(words.len() / (GROUP * word_bytes), usize::min) * GROUP
}

/// Splits little-endian 16-bit words, rotated by one, into their low and high bytes.
///
/// All three must have room for as many words; if not, the least decides.
pub(crate) fn split16(platform: Platform, words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let whole = in_groups(2, words, &[low, high]);
    let (words, last_words) = words.split_at(2 * whole);
    let (low, last_low) = low.split_at_mut(whole);
    let (high, last_high) = high.split_at_mut(whole);
    on!(platform, kernels => kernels.split16(words, low, high));
    portable::split16(last_words, last_low, last_high);
}

/// The inverse of [`split16`].
pub(crate) fn merge16(platform: Platform, low: &[u8], high: &[u8], words: &mut [u8]) {
    let whole = in_groups(2, words, &[low, high]);
    let (words, last_words) = words.split_at_mut(2 * whole);
    let (low, last_low) = low.split_at(whole);
    let (high, last_high) = high.split_at(whole);
    on!(platform, kernels => kernels.merge16(low, high, words));
    portable::merge16(last_low, last_high, last_words);
}

/// Splits little-endian 32-bit words, rotated by one, into their bytes, lowest first.
///
/// All must have room for as many words; if not, the least decides.
pub(crate) fn split32(platform: Platform, words: &[u8], [b0, b1, b2, b3]: [&mut [u8]; 4]) {
    let whole = in_groups(4, words, &[b0, b1, b2, b3]);
    let (words, last_words) = words.split_at(4 * whole);
    let [(b0, last0), (b1, last1), (b2, last2), (b3, last3)] =
        [b0, b1, b2, b3].map(|bytes| bytes.split_at_mut(whole));
    on!(platform, kernels => kernels.split32(words, [b0, b1, b2, b3]));
    portable::split32(last_words, [last0, last1, last2, last3]);
}

/// The inverse of [`split32`].
pub(crate) fn merge32(platform: Platform, bytes: [&[u8]; 4], words: &mut [u8]) {
    let whole = in_groups(4, words, &bytes);
    let (words, last_words) = words.split_at_mut(4 * whole);
    on!(platform, kernels => kernels.merge32(bytes.map(|bytes| &bytes[..whole]), words));
    portable::merge32(bytes.map(|bytes| &bytes[whole..]), last_words);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the essay says, word by word.
    fn interleaved<const B: usize>(
        words: &[[u8; B]],
        rotate: fn([u8; B]) -> [u8; B],
    ) -> [Vec<u8>; B] {
        let whole = words.len() / GROUP * GROUP;
        let source = |p: usize| match p {
            p if p >= whole => p,
            p => p / GROUP * GROUP + (p % B) * (GROUP / B) + p % GROUP / B,
        };
        std::array::from_fn(|byte| {
            (0..words.len()).map(|p| rotate(words[source(p)])[byte]).collect()
        })
    }

    #[test]
    fn all_platforms_interleave_as_the_essay_says_and_back() {
        let noise = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 11) as u8;
        for count in (0..200).chain([640, 1000]) {
            let words: Vec<[u8; 2]> =
                (0..count).map(|i| [noise(2 * i), noise(2 * i + 1)]).collect();
            let rotate = |word| u16::from_le_bytes(word).rotate_left(1).to_le_bytes();
            let expected = interleaved(&words, rotate);
            for platform in Platform::available() {
                let (mut low, mut high) = (vec![0; count], vec![0; count]);
                split16(platform, words.as_flattened(), &mut low, &mut high);
                assert!([&low, &high] == [&expected[0], &expected[1]], "{platform} {count}");
                let mut merged = vec![0; 2 * count];
                merge16(platform, &low, &high, &mut merged);
                assert!(merged == words.as_flattened(), "{platform} {count}");
            }

            let words: Vec<[u8; 4]> =
                (0..count).map(|i| [0, 1, 2, 3].map(|byte| noise(4 * i + byte))).collect();
            let rotate = |word| u32::from_le_bytes(word).rotate_left(1).to_le_bytes();
            let expected = interleaved(&words, rotate);
            for platform in Platform::available() {
                let mut bytes = [0; 4].map(|_| vec![0; count]);
                split32(platform, words.as_flattened(), bytes.each_mut().map(|b| &mut b[..]));
                assert!(bytes == expected, "{platform} {count}");
                let mut merged = vec![0; 4 * count];
                merge32(platform, bytes.each_ref().map(|b| &b[..]), &mut merged);
                assert!(merged == words.as_flattened(), "{platform} {count}");
            }
        }
    }
}
