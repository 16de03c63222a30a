//! Changes: which words differ between two tensors.

use super::form::{Form, by_width};
use crate::kernels::deltas::{self, LINE};
use crate::kernels::platform::Platform;

/// What a delta changes, as pairs of an index and a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Changes {
    /// The words that change, in ascending order. Words are units of the element type; bytes where a unit has three.
    pub indices: Vec<u64>,
    /// The new words, little-endian, one behind the other.
    pub values: Vec<u8>,
}

/// The number of words that differ.
pub(super) fn count(form: Form, base: &[u8], new: &[u8]) -> usize {
    by_width!(form, B => {
        let words = base.as_chunks::<B>().0.iter().zip(new.as_chunks::<B>().0);
        words.map(|(a, b)| usize::from(a != b)).sum()
    })
}

/// Bytes that are compared before the words that differ are listed.
const PIECE: usize = 1 << 13;

/// Appends the indices of the words that differ.
pub(super) fn list(platform: Platform, form: Form, base: &[u8], new: &[u8], out: &mut Vec<u32>) {
    let mut differing = [0; PIECE / LINE];
    by_width!(form, B => {
        let mut first = 0;
        for (base, new) in base.chunks(PIECE).zip(new.chunks(PIECE)) {
            let differing = &mut differing[..base.len().div_ceil(LINE)];
            deltas::compare::<B>(platform, [base, new], differing);
            platform.run(#[inline(always)] || list_bits::<B>(differing, first, out));
            // No block has more words than 2^22.
            first += (base.len() / B) as u32;
        }
    });
}

/// Appends the indices of the words that differ, given by the bits of each line; `first` is the index of the first word.
///
/// Where little changes most lines are as they were, and most others have one word that is not. Neither is guessed: the
/// lines with bits are listed first, and of each of them two words are written, of which those count that differ.
#[inline(always)]
pub(super) fn list_bits<const B: usize>(differing: &[u64], first: u32, out: &mut Vec<u32>) {
    const LINES: usize = 64;
    const WORDS: usize = 256;
    for (piece, first) in differing.chunks(LINES).zip((first..).step_by(LINES * LINE / B)) {
        let (mut lines, mut count) = ([0; LINES + 1], 0);
        for (line, bits) in (0u8..).zip(piece) {
            lines[count] = line;
            count += usize::from(*bits != 0);
        }
        let (mut indices, mut found) = ([0; WORDS], 0);
        for line in &lines[..count] {
            let mut bits = piece[usize::from(*line)];
            let first = first + u32::from(*line) * (LINE / B) as u32;
            loop {
                for _ in 0..2 {
                    indices[found % WORDS] = first + (bits.trailing_zeros() & 63);
                    found += usize::from(bits != 0);
                    bits &= bits.wrapping_sub(1);
                }
                if bits == 0 {
                    break;
                }
            }
            if found > WORDS - LINE {
                out.extend_from_slice(&indices[..found]);
                found = 0;
            }
        }
        out.extend_from_slice(&indices[..found]);
    }
}

/// Appends the words at these indices.
pub(super) fn values(form: Form, bytes: &[u8], indices: &[u32], out: &mut Vec<u8>) {
    by_width!(form, B => {
        let words = bytes.as_chunks::<B>().0;
        out.extend(indices.iter().flat_map(|index| words[*index as usize]));
    });
}

/// Puts words at these indices, which count from `first` on.
pub(super) fn put(form: Form, (indices, first): (&[u32], u32), values: &[u8], bytes: &mut [u8]) {
    by_width!(form, B => {
        let words = bytes.as_chunks_mut::<B>().0;
        for (index, value) in indices.iter().zip(values.as_chunks::<B>().0) {
            words[(*index - first) as usize] = *value;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use huffwire_testing::{Random, noise};

    #[test]
    fn changes_are_listed_and_put() {
        let mut random = Random::new(3);
        for dtype in [Dtype::I8, Dtype::Bf16, Dtype::F32, Dtype::F64, Dtype::E3m2Packed] {
            let form = Form::of(dtype);
            for words in [0, 1, 31, 64, 65, 1000] {
                let base = noise(words * form.bytes(), 5);
                let mut new = base.clone();
                let expected: Vec<u32> =
                    (0..words as u32).filter(|_| random.below(9) == 0).collect();
                for &index in &expected {
                    let byte = index as usize * form.bytes() + random.below(form.bytes());
                    new[byte] ^= 1 << random.below(8);
                }
                for platform in Platform::available() {
                    let mut found = Vec::new();
                    list(platform, form, &base, &new, &mut found);
                    assert!(found == expected);
                }
                assert_eq!(count(form, &base, &new), expected.len());
                let mut moved = Vec::new();
                values(form, &new, &expected, &mut moved);
                let mut copy = base.clone();
                put(form, (&expected, 0), &moved, &mut copy);
                assert_eq!(copy, new);
            }
        }
    }
}
