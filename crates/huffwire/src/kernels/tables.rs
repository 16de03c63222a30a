//! Tables that lane coders look codes up in: plain arrays, which coders only read.
//!
//! They are filled when a codebook is made, because filling them takes too long to do for each block.

use crate::alphabet::CodeLimit;

/// In a table of code lengths: this code stands for something else, an escaped symbol or an exact zero.
pub(crate) const MARK: u8 = 0x80;

/// Windows of 12 bits that one register of bytes cannot tell apart.
pub(crate) const BUCKET: usize = 64;

/// Boundaries between code lengths that can lie within a bucket, not at the start of it: those after lengths
/// 7 to 11. (A code of 6 bits fills a bucket.)
pub(crate) const MOST_BOUNDS: usize = 5;

/// The tables of a code.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// Slots of the alphabet: all that are encoded are below.
    pub(crate) slots: usize,
    /// By slot: code length in bits 12..16, code in bits 0..12. Slots without a code of their own
    /// hold the escape's. (A 12-bit length fits: 12 < 16.)
    pub(crate) encode: [u16; 256],
    /// By the next 8 or 12 bits of the stream, whatever the limit is: the slot in bits 0..8, above them 2 to
    /// the power of the code's length, the factor that shifts the code out of a window.
    pub(crate) decode: Vec<u32>,
    /// By slot, whether it takes the escape.
    pub(crate) escapes: [bool; 256],
    /// The slot whose code is the escape.
    pub(crate) escape: Option<u8>,
    /// Whether the slot after that one is the exact zero's, and has a code.
    pub(crate) has_zero: bool,
    /// What vector coders look codes up in.
    pub(crate) vectors: Vectors,
}

impl Default for Tables {
    /// Tables to be filled.
    fn default() -> Self {
        Self {
            slots: 0,
            encode: [0; 256],
            decode: Vec::new(),
            escapes: [false; 256],
            escape: None,
            has_zero: false,
            vectors: Vectors::Bits8(Box::default()),
        }
    }
}

impl Tables {
    /// How long codes may be.
    pub(crate) const fn limit(&self) -> CodeLimit {
        match self.vectors {
            Vectors::Bits8(_) => CodeLimit::Bits8,
            Vectors::Bits12(_) => CodeLimit::Bits12,
        }
    }
}

/// What vector coders look codes up in, by code limit.
#[derive(Debug, Clone)]
pub(crate) enum Vectors {
    Bits8(Box<Bits8>),
    Bits12(Box<Bits12>),
}

/// Tables of 8-bit codes as vector coders want them: bytes, 64 to a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits8 {
    /// Codes by slot.
    pub(crate) codes: [u8; 256],
    /// Lengths by slot, with [`MARK`].
    pub(crate) lengths: [u8; 256],
    /// By the next 8 bits of a stream: slot, and length with [`MARK`].
    pub(crate) window_slots: [u8; 256],
    pub(crate) window_lengths: [u8; 256],
    /// Whether all codes of over 6 bits lie in the top quarter of the code space. Then the tables by window
    /// need 128 entries, and hold no more: 64 by the upper six bits of a window; and 64 with what has to
    /// be added to that, by the lower six bits of windows from 0xc0 on (nothing at 0xc0 itself, where all
    /// smaller windows may be sent).
    pub(crate) halved: bool,
}

/// Tables of 12-bit codes as vector coders want them: bytes, 64 to a register. "Shifts" are the lengths of codes, taken from 0: modulo 16 what brings a code on top
/// of 16 bits to the bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits12 {
    /// By slot: lower bytes of the codes; upper bytes, with the lengths in their upper halves.
    pub(crate) codes: [[u8; 256]; 2],
    /// What `codes` has for slots that take the escape.
    pub(crate) escape: Option<[u8; 2]>,
    /// The first of 63 slots beyond which there is nothing but the escape, if there is one (0 for at most 64
    /// slots). Then from it on: lower and upper bytes of the codes, and lengths with [`MARK`]; the last
    /// entry is for all slots beyond.
    pub(crate) window: Option<u8>,
    pub(crate) in_window: [[u8; 64]; 3],

    /// Slots in the order of their codes: a slot's index here is its rank.
    pub(crate) slots: [u8; 256],
    /// By the lower six bits of a shift: what to add to a code of this length, in its lower byte, to have its rank.
    pub(crate) offsets: [u8; 64],
    /// By bucket: the shift for its first window.
    pub(crate) shifts: [u8; 64],
    /// By bucket: the lower bytes of windows beyond which codes are longer by one bit more. 255: none.
    pub(crate) bounds: [[u8; 64]; MOST_BOUNDS],
    /// How many of them any bucket has at most.
    pub(crate) most_bounds: usize,
    /// Whether there are at most 64 codes, and those of over 6 bits lie in the last two buckets. Then:
    pub(crate) peaked: bool,
    /// By bucket: the rank of its first window's code.
    pub(crate) ranks: [u8; 64],
    /// For each window of the last two buckets: what has to be added to that.
    pub(crate) tail: [u8; 2 * BUCKET],
    /// By rank.
    pub(crate) shifts_by_rank: [u8; 64],
}

impl Default for Bits8 {
    fn default() -> Self {
        let zeros = [0; 256];
        Self {
            codes: zeros,
            lengths: zeros,
            window_slots: zeros,
            window_lengths: zeros,
            halved: false,
        }
    }
}
