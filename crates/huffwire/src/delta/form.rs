//! Forms of words: how the bits of a type are compared, ordered and put into classes.

use std::hint::select_unpredictable;

use crate::dtype::Dtype;
use crate::kernels::deltas::Words;

/// Evaluates an expression with the bytes of a word as a constant.
macro_rules! by_width {
    ($form:expr, $B:ident => $body:expr) => {
        match $form.bytes() {
            1 => {
                const $B: usize = 1;
                $body
            }
            2 => {
                const $B: usize = 2;
                $body
            }
            4 => {
                const $B: usize = 4;
                $body
            }
            _ => {
                const $B: usize = 8;
                $body
            }
        }
    };
}
pub(crate) use by_width;

/// Form of the words of an element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Bytes of a word: 1, 2, 4 or 8.
    bytes: usize,
    /// Where the exponent of a float lies: its lowest bit, and how many bits it has. Words of other types have none.
    exponent: Option<(u32, u32)>,
}

impl Form {
    pub(crate) const fn of(dtype: Dtype) -> Self {
        let exponent = match dtype.coding() {
            Dtype::Bf16 => Some((7, 8)),
            Dtype::F16 => Some((10, 5)),
            Dtype::F32 => Some((23, 8)),
            Dtype::E4m3 => Some((3, 4)),
            Dtype::E5m2 => Some((2, 5)),
            _ => None,
        };
        let bytes = match dtype.unit_bytes() {
            3 => 1,
            bytes => bytes,
        };
        Self { bytes, exponent }
    }

    /// Bytes of a word.
    pub(crate) const fn bytes(self) -> usize {
        self.bytes
    }

    /// The type of words of this size that are integers.
    pub(crate) const fn integers(self) -> Dtype {
        match self.bytes {
            1 => Dtype::U8,
            2 => Dtype::Word16,
            4 => Dtype::Word32,
            _ => Dtype::Word64,
        }
    }

    /// All bits of a word.
    const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes)
    }

    const fn sign(self) -> u64 {
        1 << (8 * self.bytes - 1)
    }

    /// How many classes there are: one for each exponent, or one for all.
    pub(crate) const fn classes(self) -> usize {
        match self.exponent {
            Some((_, bits)) => 1 << bits,
            None => 1,
        }
    }

    /// The class of a word: its exponent.
    #[inline(always)]
    pub(crate) const fn class(self, word: u64) -> usize {
        let (shift, mask) = self.class_bits();
        ((word >> shift) as u8 & mask) as usize
    }

    /// How far to shift a word, and which bits are its class then.
    #[inline(always)]
    const fn class_bits(self) -> (u32, u8) {
        match self.exponent {
            Some((shift, bits)) => (shift, ((1u32 << bits) - 1) as u8),
            None => (0, 0),
        }
    }

    /// Words, for kernels that look at their classes.
    pub(crate) const fn words(self, bytes: &[u8]) -> Words<'_> {
        let (shift, mask) = self.class_bits();
        Words { bytes, word_bytes: self.bytes, shift, mask }
    }

    /// The place of a word in the order of values: that of floats is the order of the numbers, -0 right before +0.
    /// Integers stay as they are: differences modulo `2^bits` do not depend on signs.
    #[inline(always)]
    fn place(self, word: u64) -> u64 {
        if self.exponent.is_none() {
            return word;
        }
        // Of positive numbers the sign is flipped, of negative ones all bits are.
        word ^ select_unpredictable(self.is_negative(word), self.mask(), self.sign())
    }

    /// The word at a place.
    #[inline(always)]
    fn at_place(self, place: u64) -> u64 {
        if self.exponent.is_none() {
            return place;
        }
        place ^ select_unpredictable(self.is_negative(place), self.sign(), self.mask())
    }

    /// Whether the highest bit of a word is set, which no processor can guess.
    #[inline(always)]
    const fn is_negative(self, word: u64) -> bool {
        word & self.sign() != 0
    }

    /// The difference of two words, as a signed number.
    #[inline(always)]
    pub(crate) fn difference(self, base: u64, new: u64) -> i64 {
        let difference = self.place(new).wrapping_sub(self.place(base));
        let unused = 64 - 8 * self.bytes as u32;
        (difference << unused) as i64 >> unused
    }

    /// The word that differs so much from the base.
    #[inline(always)]
    pub(crate) fn moved(self, base: u64, difference: i64) -> u64 {
        self.at_place(self.place(base).wrapping_add(difference as u64) & self.mask())
    }

    /// A difference as a word: 0, -1, 1, -2, 2 and so on become 0, 1, 2, 3, 4.
    #[inline(always)]
    pub(crate) const fn zigzag(self, difference: i64) -> u64 {
        ((difference << 1) ^ (difference >> 63)) as u64 & self.mask()
    }

    /// The difference that a word stands for.
    #[inline(always)]
    pub(crate) const fn unzigzag(word: u64) -> i64 {
        (word >> 1) as i64 ^ -((word & 1) as i64)
    }
}

/// Reads a word.
#[inline(always)]
pub(crate) fn word<const B: usize>(bytes: &[u8; B]) -> u64 {
    let mut all = [0; 8];
    all[..B].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

/// Writes a word.
#[inline(always)]
pub(crate) fn set_word<const B: usize>(bytes: &mut [u8; B], word: u64) {
    bytes.copy_from_slice(&word.to_le_bytes()[..B]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [Dtype; 9] = [
        Dtype::Bf16,
        Dtype::F16,
        Dtype::F32,
        Dtype::E4m3,
        Dtype::E5m2,
        Dtype::E3m2Packed,
        Dtype::I8,
        Dtype::I32,
        Dtype::F64,
    ];

    proptest! {
        #[test]
        fn differences_lead_from_the_base_to_the_new_word(a: u64, b: u64, near in -300i64..300) {
            for dtype in TYPES {
                let form = Form::of(dtype);
                let (a, b) = (a & form.mask(), b & form.mask());
                let difference = form.difference(a, b);
                prop_assert_eq!(form.moved(a, difference), b);
                prop_assert_eq!(difference == 0, a == b);
                prop_assert_eq!(Form::unzigzag(form.zigzag(difference)), difference);
                let near = if form.bytes() == 1 { near % 128 } else { near };
                prop_assert_eq!(form.difference(a, form.moved(a, near)), near);
                prop_assert!(form.class(a) < form.classes());
            }
        }
    }

    #[test]
    fn floats_are_in_the_order_of_their_numbers() {
        let form = Form::of(Dtype::Bf16);
        let [one, next, zero, minus_zero, minus_one] = [0x3f80, 0x3f81, 0, 0x8000, 0xbf80];
        assert_eq!(form.difference(one, next), 1);
        assert_eq!(form.difference(minus_zero, zero), 1);
        assert_eq!(form.difference(minus_one, 0xbf81), -1);
        assert_eq!(form.class(minus_one), 127);
    }
}
