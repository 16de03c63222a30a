//! Alphabets of codebooks. An alphabet maps symbols to slots, the indices of the tables of codes.

/// Number of ordinary slots of a centred alphabet: exponents `base ..= base + 61`, modulo 256.
pub const WINDOW: usize = 62;
/// Slot of the escape symbol in a centred alphabet.
pub const ESCAPE_SLOT: usize = 62;
/// Slot of the exact-zero symbol in a centred alphabet.
pub const ZERO_SLOT: usize = 63;

/// Alphabet of a codebook: which symbols it has, and how they map to *slots*, the indices of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alphabet {
    /// Exponents relative to a base that each block chooses: 62 ordinary slots, one slot for the escape, one
    /// for the exact zero. Such a book fits tensors of any scale.
    Centred,
    /// The symbols `0 .. 2^width` themselves, `1 <= width <= 8`.
    Plain {
        /// Bits of a symbol.
        width: u8,
    },
}

impl Alphabet {
    /// Slots of the tables: 64, or `2^width`.
    #[must_use]
    pub const fn slots(self) -> usize {
        match self {
            Self::Centred => 64,
            Self::Plain { width } => 1 << width,
        }
    }

    /// Slots that stand for ordinary symbols: 62, or `2^width`.
    #[must_use]
    pub const fn symbols(self) -> usize {
        match self {
            Self::Centred => WINDOW,
            Self::Plain { width } => 1 << width,
        }
    }
}

/// Limit on the length of codes. It also decides how long the words and the states of the lane coder are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodeLimit {
    /// Codes of up to 8 bits; lanes have states of 24 bits and take bytes.
    Bits8,
    /// Codes of up to 12 bits; lanes have states of 32 bits and take words of 16 bits.
    Bits12,
}

impl CodeLimit {
    /// The longest code allowed, in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits8 => 8,
            Self::Bits12 => 12,
        }
    }
}
