//! Canonical codes, and the tables that coders look symbols up in.

use std::sync::OnceLock;

use super::bits8;
use super::lengths::{Alphabet, CodeLimit, ESCAPE_RAW_BITS, Lengths, ZERO_SLOT};
use super::multi_symbol::MultiSymbol;
use crate::kernels::tables::{Bits12, Tables, Vectors};
use crate::stats::{Pmf, saving_percent};

/// A codebook ready for use: its content and the tables derived from it.
///
/// Codes are canonical: sorted by length, then by slot, consecutive numbers, first code all zeros
/// (the escape sorts by its slot, [`Lengths::escape_slot`]). So long codes have the largest values,
/// which lets a narrow book find every code of over 6 bits in the top quarter of the code space.
#[derive(Debug, Clone)]
pub struct Codebook {
    lengths: Lengths,
    tables: Tables,
    /// Made when it is first needed; `None` for 12-bit codes.
    multi_symbol: OnceLock<Option<MultiSymbol>>,
    prices: [u8; 256],
    /// The price of the last slot, and by slot how much less it costs.
    escaped: i16,
    savings: [i16; 256],
    origin: u8,
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
            tables: Tables::default(),
            multi_symbol: OnceLock::new(),
            prices: [0; 256],
            escaped: 0,
            savings: [0; 256],
            origin: 0,
        };
        book.rebuild(lengths);
        book
    }

    /// Makes this the codebook of other lengths, in the memory it already has.
    pub(crate) fn rebuild(&mut self, lengths: Lengths) {
        self.lengths = lengths;
        self.multi_symbol = OnceLock::new();
        let slots = lengths.alphabet().slots();
        let escape_slot = lengths.escape_slot().map(usize::from);
        // The length of the code that a slot has, the escape's included.
        let mut by_slot = lengths.by_slot;
        if let Some(slot) = escape_slot {
            by_slot[slot] = lengths.escape();
        }
        let (order, codes) = in_order(&by_slot);
        self.fill(&by_slot, &order[..codes]);
        if let Some(slot) = escape_slot {
            let escape = self.tables.encode[slot];
            for entry in &mut self.tables.encode[..slots] {
                *entry = if *entry == 0 { escape } else { *entry };
            }
        }

        let through_escape = lengths.escape() + ESCAPE_RAW_BITS as u8;
        let symbols = lengths.alphabet().symbols();
        self.prices = [through_escape; 256];
        for (price, &length) in self.prices.iter_mut().zip(&lengths.by_slot[..symbols]) {
            *price = if length > 0 { length } else { through_escape };
        }
        self.escaped = i16::from(self.prices[255]);
        let escaped = self.escaped;
        self.savings = self.prices.map(|price| escaped - i16::from(price));
        self.origin = lengths.origin();
        self.make_tables(&order[..codes]);
    }

    /// Fills the tables from slots in the order of their codes: a code of `length` bits owns every window that
    /// begins with it.
    fn fill(&mut self, by_slot: &[u8; 256], order: &[u8]) {
        let limit = self.lengths.limit().bits();
        let Tables { encode, decode, .. } = &mut self.tables;
        *encode = [0; 256];
        decode.resize(1 << limit, 0);
        let mut windows = 0;
        for &slot in order {
            let length = by_slot[usize::from(slot)];
            let code = (windows >> (limit - length)) as u16;
            encode[usize::from(slot)] = u16::from(length) << 12 | code;
            let end = windows + (1 << (limit - length));
            let entry = 1 << (8 + length) | u32::from(slot);
            // A complete code fills the table, and not more.
            for window in &mut decode[windows..end] {
                *window = entry;
            }
            windows = end;
        }
    }

    /// Fills what follows from the codes.
    fn make_tables(&mut self, order: &[u8]) {
        let (lengths, tables) = (&self.lengths, &mut self.tables);
        tables.slots = lengths.alphabet().slots();
        tables.escape = lengths.escape_slot();
        tables.has_zero = lengths.zero() > 0;
        tables.escapes = [true; 256];
        for (escapes, &length) in tables.escapes.iter_mut().zip(lengths.ordinary_lengths()) {
            *escapes = length == 0;
        }
        if lengths.alphabet() == Alphabet::Centred {
            tables.escapes[ZERO_SLOT] = false;
        }
        let vectors = &mut tables.vectors;
        match tables.decode.as_slice().try_into() {
            Ok(decode) => {
                let filled = bits8::fill(lengths, &tables.encode, decode);
                match vectors {
                    Vectors::Bits8(place) => **place = filled,
                    other => *other = Vectors::Bits8(Box::new(filled)),
                }
            }
            Err(_) => {
                let filled = Bits12::fill(lengths, &tables.encode, order);
                match vectors {
                    Vectors::Bits12(place) => **place = filled,
                    other => *other = Vectors::Bits12(Box::new(filled)),
                }
            }
        }
    }

    /// What lane coders look codes up in.
    pub(crate) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The table that tells several codes at a time; `None` for 12-bit codes.
    pub(crate) fn multi_symbol(&self) -> Option<&MultiSymbol> {
        self.multi_symbol.get_or_init(|| MultiSymbol::new(self)).as_ref()
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
        &self.tables.encode
    }

    /// By the next 8 (short) or 12 (long) bits of the stream: the slot in bits 0..8, above them 2 to
    /// the power of the code's length, the factor that shifts the code out of a window.
    #[must_use]
    pub fn decode_table(&self) -> &[u32] {
        &self.tables.decode
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

    /// Mean code length on symbols that follow a PMF, in bits per symbol, escapes included.
    ///
    /// For a centred book the symbols are exponents, `base` is the exponent of slot 0, and a 257th
    /// symbol is the exact zero; for a plain book `base` is 0.
    #[must_use]
    pub fn mean_bits(&self, pmf: &Pmf, base: u8) -> f64 {
        let probabilities = pmf.probabilities();
        let price = |symbol: u8| f64::from(self.prices[usize::from(symbol.wrapping_sub(base))]);
        let coded: f64 = (0..=u8::MAX).zip(probabilities).map(|(s, p)| p * price(s)).sum();
        let zero = match self.lengths.zero() {
            0 => price(0),
            length => f64::from(length),
        };
        coded + probabilities.get(256).map_or(0.0, |p| p * zero)
    }

    /// Percent saved by this book, fixed in advance, on symbols of `raw_bits` bits that follow a
    /// PMF; see [`Codebook::mean_bits`].
    #[must_use]
    pub fn saving_percent(&self, pmf: &Pmf, base: u8, raw_bits: f64) -> f64 {
        saving_percent(raw_bits, self.mean_bits(pmf, base))
    }

    /// The code of a slot as a string of 0 and 1, for people.
    #[must_use]
    pub fn code_string(&self, slot: u8) -> String {
        let entry = self.tables.encode[usize::from(slot)];
        let (length, code) = (usize::from(entry >> 12), entry & 0xfff);
        if length == 0 { String::new() } else { format!("{code:0length$b}") }
    }

    /// Whether the lane coder uses 16-bit (short) or 32-bit (long) words for this book.
    #[must_use]
    pub const fn limit(&self) -> CodeLimit {
        self.lengths.limit()
    }
}

/// Slots with a code in canonical order, by length, then by slot; and how many there are. Those without lie behind
/// them.
fn in_order(by_slot: &[u8; 256]) -> ([u8; 256], usize) {
    let mut places = [0usize; 16];
    for &length in by_slot {
        places[usize::from(length % 16)] += 1;
    }
    let codes = 256 - places[0];
    let mut next = 0;
    for place in &mut places[1..] {
        next += std::mem::replace(place, next);
    }
    places[0] = codes;
    let mut order = [0; 256];
    for (slot, &length) in (0..=u8::MAX).zip(by_slot) {
        let place = &mut places[usize::from(length % 16)];
        order[*place] = slot;
        *place += 1;
    }
    (order, codes)
}

#[cfg(test)]
mod tests {
    use super::super::Alphabet;
    use super::*;

    fn book() -> Codebook {
        let alphabet = Alphabet::Plain { width: 3 };
        let direct = [2, 1, 0, 0, 4, 0, 4, 0];
        Codebook::new(Lengths::new(alphabet, CodeLimit::Bits8, &direct, 3, 0).unwrap())
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

    #[test]
    fn a_codebook_costs_its_lengths_and_its_escapes() {
        let plain = Alphabet::Plain { width: 2 };
        let lengths = Lengths::new(plain, CodeLimit::Bits8, &[1, 2, 0, 0], 2, 0).unwrap();
        let book = Codebook::new(lengths);
        let pmf = Pmf::from_weights(&[2.0, 1.0, 1.0, 0.0]).unwrap();
        assert_eq!(book.mean_bits(&pmf, 0), 0.5 + 0.5 + 0.25 * 10.0);
        assert_eq!(book.saving_percent(&pmf, 0, 7.0), 50.0);
        assert_eq!((pmf.huffman_bits(), pmf.huffman_compressibility(3.0)), (1.5, 50.0));

        let mut direct = [0; 62];
        direct[10..12].copy_from_slice(&[1, 2]);
        let lengths = Lengths::new(Alphabet::Centred, CodeLimit::Bits8, &direct, 3, 3).unwrap();
        let mut weights = [0.0; 257];
        (weights[2], weights[3], weights[200], weights[256]) = (1.0, 1.0, 1.0, 1.0);
        let pmf = Pmf::from_weights(&weights).unwrap();
        // Exponents 2 and 3 lie in slots 10 and 11, 200 outside the window.
        let bits = Codebook::new(lengths).mean_bits(&pmf, 248);
        assert_eq!(bits, (1.0 + 2.0 + 11.0 + 3.0) / 4.0);
    }
}
