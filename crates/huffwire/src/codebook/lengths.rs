//! The content of a codebook: which symbols have codes, and how long each one is.

pub use crate::alphabet::{Alphabet, CodeLimit, ESCAPE_SLOT, WINDOW, ZERO_SLOT};
use crate::error::{Error, Result};
use crate::ids::CodebookId;

/// Bits that the raw symbol behind an escape takes.
pub const ESCAPE_RAW_BITS: u64 = 8;

/// Largest size of [`Lengths::write`]'s output.
pub const MAX_LENGTHS_BYTES: usize = 3 + (256 + 2) / 2;

/// The lengths of a complete canonical prefix code: the whole content of a codebook.
///
/// A code is *complete* (its Kraft sum is exactly 1) and every symbol is codable: directly, or by
/// the escape code followed by 8 raw bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    pub(super) alphabet: Alphabet,
    pub(super) limit: CodeLimit,
    /// Code length per slot, 0 for a symbol that must take the escape. The slots of escape and
    /// zero hold their lengths in a centred alphabet.
    pub(super) by_slot: [u8; 256],
    /// Length of the escape code, 0 when every symbol has a code of its own.
    pub(super) escape: u8,
}

impl Lengths {
    /// Checks code lengths and makes them the content of a codebook.
    ///
    /// `direct` holds a length per ordinary symbol (62 or `2^width` of them), 0 for none;
    /// `escape` and `zero` are 0 for none, and `zero` must be 0 in a plain alphabet.
    ///
    /// # Errors
    /// [`Error::InvalidCodebook`] when a length exceeds the limit, the code is not complete, an
    /// escape is missing or superfluous, or a centred book of 8-bit codes is not narrow (see
    /// [`Lengths::is_narrow`]).
    pub fn new(
        alphabet: Alphabet,
        limit: CodeLimit,
        direct: &[u8],
        escape: u8,
        zero: u8,
    ) -> Result<Self> {
        if direct.len() != alphabet.symbols() || alphabet.slots() > 256 || alphabet.slots() < 2 {
            return Err(Error::codebook(format!(
                "{} lengths for an alphabet of {} symbols",
                direct.len(),
                alphabet.symbols()
            )));
        }
        let mut by_slot = [0; 256];
        by_slot[..direct.len()].copy_from_slice(direct);
        match alphabet {
            Alphabet::Centred => {
                by_slot[ESCAPE_SLOT] = escape;
                by_slot[ZERO_SLOT] = zero;
            }
            Alphabet::Plain { .. } if zero != 0 => {
                return Err(Error::codebook("a plain alphabet has no zero symbol of its own"));
            }
            Alphabet::Plain { .. } => {}
        }
        let lengths = Self { alphabet, limit, by_slot, escape };
        match lengths.defect() {
            None => Ok(lengths),
            Some(defect) => Err(Error::codebook(defect)),
        }
    }

    /// The same for constants: a build-time error takes the place of the typed one, so that a
    /// wrong table cannot be compiled.
    #[allow(clippy::panic)] // Evaluated by the compiler only; see the `const` items that call it.
    pub(crate) const fn constant(
        alphabet: Alphabet,
        limit: CodeLimit,
        first: usize,
        direct: &[u8],
        escape: u8,
        zero: u8,
    ) -> Self {
        let mut by_slot = [0; 256];
        let mut index = 0;
        while index < direct.len() {
            by_slot[first + index] = direct[index];
            index += 1;
        }
        if matches!(alphabet, Alphabet::Centred) {
            by_slot[ESCAPE_SLOT] = escape;
            by_slot[ZERO_SLOT] = zero;
        }
        let lengths = Self { alphabet, limit, by_slot, escape };
        match lengths.defect() {
            None => lengths,
            Some(_) => panic!("a built-in codebook is no valid code"),
        }
    }

    /// Some valid lengths, for tables that are going to be rebuilt.
    pub(crate) const fn placeholder() -> Self {
        Self::constant(Alphabet::Plain { width: 1 }, CodeLimit::Bits8, 0, &[1, 1], 0, 0)
    }

    /// What is wrong with these lengths, if anything.
    const fn defect(&self) -> Option<&'static str> {
        let limit = self.limit.bits();
        let unit = 1u32 << limit;
        let (mut kraft, mut beyond_six, mut uncoded) = (0u32, 0u32, 0usize);
        let slots = self.alphabet.slots();
        let mut direct = false;
        let mut slot = 0;
        while slot < slots {
            let length = self.by_slot[slot];
            if length > limit {
                return Some("a code is longer than the limit");
            }
            if length == 0 {
                uncoded += 1;
            } else {
                direct |= slot < self.alphabet.symbols();
                kraft += unit >> length;
                if length > 6 {
                    beyond_six += unit >> length;
                }
            }
            slot += 1;
        }
        if self.escape > limit {
            return Some("the escape code is longer than the limit");
        }
        if let Alphabet::Plain { .. } = self.alphabet {
            if self.escape > 0 {
                kraft += unit >> self.escape;
                if uncoded == 0 {
                    return Some("an escape although every symbol has a code");
                }
            } else if uncoded > 0 {
                return Some("a symbol with neither a code nor an escape");
            }
        } else if self.escape == 0 {
            return Some("a centred codebook needs an escape");
        } else if !direct {
            return Some("a centred codebook without a code for any exponent");
        }
        if kraft != unit {
            return Some("the code is not complete: its Kraft sum is not 1");
        }
        let centred_short =
            matches!(self.alphabet, Alphabet::Centred) && matches!(self.limit, CodeLimit::Bits8);
        if centred_short && beyond_six * 4 > unit {
            return Some("codes of over 6 bits take more than a quarter of the code space");
        }
        None
    }

    /// The alphabet.
    #[must_use]
    pub const fn alphabet(&self) -> Alphabet {
        self.alphabet
    }

    /// The limit on code lengths.
    #[must_use]
    pub const fn limit(&self) -> CodeLimit {
        self.limit
    }

    /// Whether this is a *narrow* book: at most 64 slots, codes of at most 8 bits, and at most a
    /// quarter of the code space under codes of more than 6 bits, so that two 64-entry tables in
    /// vector registers decode it. Every centred book of 8-bit codes is narrow; all others are *wide*.
    #[must_use]
    pub const fn is_narrow(&self) -> bool {
        matches!((self.alphabet, self.limit), (Alphabet::Centred, CodeLimit::Bits8))
    }

    /// Code length of an ordinary symbol's slot; 0 when it takes the escape.
    #[must_use]
    pub fn direct(&self, slot: u8) -> u8 {
        if usize::from(slot) < self.alphabet.symbols() {
            self.by_slot[usize::from(slot)]
        } else {
            0
        }
    }

    /// Code lengths of all ordinary symbols, 0 where a symbol takes the escape.
    #[must_use]
    pub fn ordinary_lengths(&self) -> &[u8] {
        &self.by_slot[..self.alphabet.symbols()]
    }

    /// How many codes there are.
    pub(crate) fn codes(&self) -> usize {
        let in_slots = self.by_slot.iter().filter(|&&length| length > 0).count();
        // Elsewhere the escape has a slot among the others.
        in_slots + usize::from(self.escape > 0 && self.alphabet != Alphabet::Centred)
    }

    /// Length of the escape code; 0 when there is none.
    #[must_use]
    pub const fn escape(&self) -> u8 {
        self.escape
    }

    /// Length of the exact-zero code; 0 when there is none.
    #[must_use]
    pub const fn zero(&self) -> u8 {
        match self.alphabet {
            Alphabet::Centred => self.by_slot[ZERO_SLOT],
            Alphabet::Plain { .. } => 0,
        }
    }

    /// Bits that an ordinary symbol costs: its code, or the escape code and 8 raw bits.
    #[must_use]
    pub fn bits(&self, slot: u8) -> u64 {
        match self.direct(slot) {
            0 => u64::from(self.escape) + ESCAPE_RAW_BITS,
            length => u64::from(length),
        }
    }

    /// The slot whose table entry is the escape: 62 in a centred alphabet, in a plain one the
    /// first symbol without a code, which the decoder can never produce otherwise.
    #[must_use]
    pub fn escape_slot(&self) -> Option<u8> {
        match self.alphabet {
            _ if self.escape == 0 => None,
            Alphabet::Centred => Some(ESCAPE_SLOT as u8),
            Alphabet::Plain { .. } => {
                self.ordinary_lengths().iter().position(|&l| l == 0).map(|slot| slot as u8)
            }
        }
    }

    /// The mean slot under the distribution that the lengths imply (`p = 2^-length`), rounded:
    /// where a centred book expects the mean exponent of a block.
    #[must_use]
    pub fn origin(&self) -> u8 {
        let unit = 1u64 << self.limit.bits();
        let (mut mass, mut moment) = (0, 0);
        for (slot, &length) in self.ordinary_lengths().iter().enumerate() {
            if length > 0 {
                mass += unit >> length;
                moment += (unit >> length) * slot as u64;
            }
        }
        ((2 * moment + mass).checked_div(2 * mass)).unwrap_or(0) as u8
    }

    /// The id: the first 8 bytes of SHA-256 over the serialized content, so that two ends can tell
    /// that they hold the same book.
    #[must_use]
    pub fn id(&self) -> CodebookId {
        let mut bytes = Vec::with_capacity(MAX_LENGTHS_BYTES);
        self.write(&mut bytes);
        CodebookId::of(&bytes)
    }

    /// Appends the serialized form: at most [`MAX_LENGTHS_BYTES`] bytes, see `docs/format.md`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut buffer = [0; MAX_LENGTHS_BYTES];
        let length = self.write_to(&mut buffer);
        out.extend_from_slice(&buffer[..length]);
    }

    /// Writes the serialized form to the start of `out` and returns its length.
    pub(crate) fn write_to(&self, out: &mut [u8; MAX_LENGTHS_BYTES]) -> usize {
        let width = match self.alphabet {
            Alphabet::Centred => 0,
            Alphabet::Plain { width } => width,
        };
        let direct = self.ordinary_lengths();
        let first = direct.iter().position(|&l| l > 0).unwrap_or(0);
        let last = direct.iter().rposition(|&l| l > 0).unwrap_or(0);
        out[0] = width << 4 | u8::from(self.limit == CodeLimit::Bits12);
        out[1] = first as u8;
        out[2] = last as u8;
        let tail = [self.escape, self.zero()];
        let nibbles = direct[first..=last].iter().chain(&tail);
        let mut end = 3;
        for (index, &nibble) in nibbles.enumerate() {
            if index % 2 == 0 {
                out[end] = nibble;
                end += 1;
            } else {
                out[end - 1] |= nibble << 4;
            }
        }
        end
    }

    /// Reads what [`Lengths::write`] wrote from the start of `bytes`; returns the content and the
    /// number of bytes it took.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`] or [`Error::InvalidCodebook`]; only the canonical
    /// serialization is accepted, so equal books have equal bytes.
    pub fn read(bytes: &[u8]) -> Result<(Self, usize)> {
        const WHAT: &str = "a codebook";
        let truncated =
            |needed| Error::Truncated { what: WHAT, offset: 0, needed, available: bytes.len() };
        let &[kind, first, last, ref rest @ ..] = bytes else {
            return Err(truncated(3));
        };
        let alphabet = match kind >> 4 {
            0 => Alphabet::Centred,
            width @ 1..=8 => Alphabet::Plain { width },
            _ => return Err(Error::malformed(WHAT, 0, "symbols of more than 8 bits")),
        };
        let limit = match kind & 15 {
            0 => CodeLimit::Bits8,
            1 => CodeLimit::Bits12,
            _ => return Err(Error::malformed(WHAT, 0, "an unknown code limit")),
        };
        let (first, last) = (usize::from(first), usize::from(last));
        if first > last || last >= alphabet.symbols() {
            return Err(Error::malformed(WHAT, 1, "symbols outside the alphabet"));
        }
        let count = last - first + 1;
        let size = (count + 2).div_ceil(2);
        let nibbles = rest.get(..size).ok_or_else(|| truncated(3 + size))?;
        let nibble = |index: usize| nibbles[index / 2] >> (4 * (index % 2)) & 15;
        let mut direct = [0; 256];
        for index in 0..count {
            direct[first + index] = nibble(index);
        }
        if direct[first] == 0 || direct[last] == 0 {
            return Err(Error::malformed(WHAT, 1, "a range that begins or ends without a code"));
        }
        if count % 2 == 1 && nibbles[size - 1] >> 4 != 0 {
            return Err(Error::malformed(WHAT, 2 + size, "padding that is not zero"));
        }
        let direct = &direct[..alphabet.symbols()];
        let lengths = Self::new(alphabet, limit, direct, nibble(count), nibble(count + 1))?;
        Ok((lengths, 3 + size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(direct: &[u8], escape: u8) -> Result<Lengths> {
        Lengths::new(Alphabet::Plain { width: 2 }, CodeLimit::Bits8, direct, escape, 0)
    }

    #[test]
    fn incomplete_and_oversubscribed_codes_are_refused() {
        assert!(plain(&[1, 2, 3, 3], 0).is_ok());
        assert!(plain(&[1, 2, 3, 4], 0).is_err());
        assert!(plain(&[1, 1, 2, 2], 0).is_err());
        assert!(plain(&[1, 2, 0, 0], 2).is_ok());
        assert!(plain(&[1, 1, 0, 0], 0).is_err(), "uncoded symbols without an escape");
        assert!(plain(&[1, 2, 3, 4], 4).is_err(), "an escape nobody can need");
        assert!(plain(&[9, 2, 1, 3], 0).is_err());
    }

    #[test]
    fn narrow_books_keep_long_codes_in_a_quarter() {
        let mut direct = [0; WINDOW];
        direct[..2].fill(2); // half of the code space
        direct[2..4].fill(6);
        direct[4..].fill(7);
        assert!(Lengths::new(Alphabet::Centred, CodeLimit::Bits8, &direct, 7, 7).is_err());
        let long = Lengths::new(Alphabet::Centred, CodeLimit::Bits12, &direct, 7, 7);
        assert!(long.is_ok_and(|lengths| !lengths.is_narrow()));
    }

    #[test]
    fn serialization_is_canonical() {
        let lengths = plain(&[0, 1, 2, 0], 2).unwrap();
        let mut bytes = Vec::new();
        lengths.write(&mut bytes);
        assert_eq!(bytes, [0x20, 1, 2, 0x21, 0x02]);
        assert_eq!(Lengths::read(&bytes), Ok((lengths, 5)));
        for cut in 0..bytes.len() {
            assert!(Lengths::read(&bytes[..cut]).is_err());
        }
        assert_eq!(lengths.escape_slot(), Some(0));
        assert_eq!((lengths.bits(1), lengths.bits(0)), (1, 10));
    }
}
