//! Slots: what symbols are to codebooks and to the tables of their codes.

/// Window slots of a centred alphabet: exponents `base ..= base + 61`, modulo 256.
pub const WINDOW: usize = 62;
/// Slot of the escape symbol in a centred alphabet.
pub const ESCAPE_SLOT: usize = 62;
/// Slot of the exact-zero symbol in a centred alphabet.
pub const ZERO_SLOT: usize = 63;

/// Which symbols a codebook is about, and how they map to *slots*, the indices of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alphabet {
    /// Exponents relative to a base that each block chooses: 62 window slots, one slot for the
    /// escape, one for the exact zero. Scale does not matter to such a book, only shape does.
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

/// How long codes may be, and with it the word size of the lane coder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodeLimit {
    /// Up to 8 bits; 16-bit lane states, refilled by bytes.
    Bits8,
    /// Up to 12 bits; 32-bit lane states, refilled by 16-bit words.
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
