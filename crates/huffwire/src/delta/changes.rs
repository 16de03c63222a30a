//! Changes: which words differ between two tensors.

use super::form::{Form, by_width};
use crate::kernels::deltas;
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

/// Appends the indices of the words that differ.
pub(super) fn list(platform: Platform, form: Form, base: &[u8], new: &[u8], out: &mut Vec<u32>) {
    deltas::differing(platform, form.bytes().trailing_zeros(), base, new, out);
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
