//! Canonical codes, and the tables that coders look symbols up in.

use super::lengths::{CodeLimit, Lengths};
use super::tables::Tables;

/// A codebook ready for use: its content and the tables derived from it.
///
/// Codes are canonical: sorted by length, then by slot, consecutive numbers, first code all zeros
/// (the escape sorts by its slot, [`Lengths::escape_slot`]). So long codes have the largest values,
/// which lets a narrow book find every code of over 6 bits in the top quarter of the code space.
#[derive(Debug, Clone)]
pub struct Codebook {
    lengths: Lengths,
    encode: [u16; 256],
    decode: Vec<u32>,
    prices: [u8; 256],
    /// The price of the last slot, and by slot how much less it costs.
    escaped: i16,
    savings: [i16; 256],
    origin: u8,
    /// Of short codes.
    tables: Option<Box<Tables>>,
}

/// Everything follows from the lengths.
impl PartialEq for Codebook {
    fn eq(&self, other: &Self) -> bool {
        self.lengths == other.lengths
    }
}

impl Eq for Codebook {}

impl Codebook {
    /// Derives the codes.
    #[must_use]
    pub fn new(lengths: Lengths) -> Self {
        let mut book = Self {
            lengths,
            encode: [0; 256],
            decode: Vec::new(),
            prices: [0; 256],
            escaped: 0,
            savings: [0; 256],
            origin: 0,
            tables: None,
        };
        book.rebuild(lengths);
        book
    }

    /// Makes this the codebook of other lengths, in the memory it already has.
    pub(crate) fn rebuild(&mut self, lengths: Lengths) {
        let limit = lengths.limit().bits();
        let escape_slot = lengths.escape_slot();
        let length_of = |slot: u8| match lengths.by_slot[usize::from(slot)] {
            _ if Some(slot) == escape_slot => lengths.escape(),
            length => length,
        };
        self.lengths = lengths;
        self.encode = [0; 256];
        self.decode.clear();
        let last = (lengths.alphabet().slots() - 1) as u8;
        for length in 1..=limit {
            for slot in (0..=last).filter(|&slot| length_of(slot) == length) {
                // A code of `length` bits owns every window that begins with it.
                let code = (self.decode.len() >> (limit - length)) as u16;
                self.encode[usize::from(slot)] = u16::from(length) << 12 | code;
                let windows = self.decode.len() + (1 << (limit - length));
                self.decode.resize(windows, 1 << (8 + length) | u32::from(slot));
            }
        }
        for (slot, price) in (0..=u8::MAX).zip(&mut self.prices) {
            *price = lengths.bits(slot) as u8;
        }
        self.escaped = i16::from(self.prices[255]);
        self.savings = self.prices.map(|price| self.escaped - i16::from(price));
        self.origin = lengths.origin();
        if let Some(escape_slot) = escape_slot {
            let escape = self.encode[usize::from(escape_slot)];
            for slot in 0..=last {
                if self.encode[usize::from(slot)] == 0 {
                    self.encode[usize::from(slot)] = escape;
                }
            }
        }
        self.make_tables();
    }

    fn make_tables(&mut self) {
        let Ok(decode) = self.decode.as_slice().try_into() else {
            return;
        };
        let tables = Tables::new(&self.lengths, &self.encode, decode);
        match &mut self.tables {
            Some(place) => **place = tables,
            none => *none = Some(Box::new(tables)),
        }
    }

    /// What vector coders look up short codes in; `None` for long codes.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.as_deref().filter(|_| self.limit() == CodeLimit::Short)
    }

    /// The content.
    #[must_use]
    pub const fn lengths(&self) -> &Lengths {
        &self.lengths
    }

    /// By slot: code length in bits 12..16, code in bits 0..12. Slots without a code of their own
    /// hold the escape's. (A 12-bit length fits: 12 < 16.)
    #[must_use]
    pub const fn encode_table(&self) -> &[u16; 256] {
        &self.encode
    }

    /// By the next 8 (short) or 12 (long) bits of the stream: the slot in bits 0..8, above them 2 to
    /// the power of the code's length, the factor that shifts the code out of a window.
    #[must_use]
    pub fn decode_table(&self) -> &[u32] {
        &self.decode
    }

    /// By slot: the bits that an ordinary symbol costs, escape and raw symbol included. In a centred book
    /// slots from 62 on stand for exponents outside the window.
    #[must_use]
    pub const fn prices(&self) -> &[u8; 256] {
        &self.prices
    }

    /// The price of the last slot, which in a centred book is that of every symbol outside the window; and
    /// by slot how many bits less it costs.
    pub(crate) const fn savings(&self) -> (i16, &[i16; 256]) {
        (self.escaped, &self.savings)
    }

    /// [`Lengths::origin`].
    pub(crate) const fn origin(&self) -> u8 {
        self.origin
    }

    /// The code of a slot as a string of 0 and 1, for people.
    #[must_use]
    pub fn code_string(&self, slot: u8) -> String {
        let entry = self.encode[usize::from(slot)];
        let (length, code) = (usize::from(entry >> 12), entry & 0xfff);
        if length == 0 { String::new() } else { format!("{code:0length$b}") }
    }

    /// Whether the lane coder uses 16-bit (short) or 32-bit (long) words for this book.
    #[must_use]
    pub const fn limit(&self) -> CodeLimit {
        self.lengths.limit()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Alphabet;
    use super::*;

    fn book() -> Codebook {
        let alphabet = Alphabet::Plain { width: 3 };
        let direct = [2, 1, 0, 0, 4, 0, 4, 0];
        Codebook::new(Lengths::new(alphabet, CodeLimit::Short, &direct, 3, 0).unwrap())
    }

    #[test]
    fn codes_are_canonical_and_prefix_free() {
        let book = book();
        assert_eq!(book.code_string(1), "0");
        assert_eq!(book.code_string(0), "10");
        assert_eq!(book.code_string(2), "110", "the escape sits in the first slot without a code");
        assert_eq!(book.code_string(7), "110");
        assert_eq!(book.code_string(4), "1110");
        assert_eq!(book.code_string(6), "1111");
    }

    #[test]
    fn decode_table_inverts_encode_table() {
        let book = book();
        assert_eq!(book.decode_table().len(), 256);
        for slot in [0u8, 1, 2, 4, 6] {
            let entry = book.encode_table()[usize::from(slot)];
            let (length, code) = (entry >> 12, entry & 0xfff);
            for rest in 0..1 << (8 - length) {
                let window = usize::from(code << (8 - length) | rest);
                assert_eq!(book.decode_table()[window], 1 << (8 + length) | u32::from(slot));
            }
        }
    }
}
