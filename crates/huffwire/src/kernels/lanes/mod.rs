//! The lane coder: 64 prefix-code streams that advance together and share one stream of refill words.
//!
//! # The machine
//!
//! The symbols of a plane are mapped to *slots*, the indices of the tables. There are 64 lanes: slot `i` belongs to lane
//! `i mod 64`, and is coded in step `i div 64`. A lane of the decoder holds a *window* of `n` unread bits. Refill words
//! have `w` bits: 8 for codes of at most 8 bits, 16 for codes of at most 12 bits. Between steps `16 <= n < 16 + w`.
//! One step of the decoder:
//!
//! 1. The top 8 (or 12) bits of each window index the decode table, which tells the slot and the length of its code.
//! 2. Each lane drops as many bits as the code has.
//! 3. Each lane left with `n < 16` takes the next word of the shared stream, in descending order of lanes. The word
//!    goes below the lane's bits, and the lane then has `n + w`.
//!
//! The encoder does the same backwards: it begins with the last step, and in each step with the first lane. A lane holds
//! a number `v` of `n` bits, those that are still unread for the decoder, the next one on top. To encode a code of `len`
//! bits:
//!
//! 1. If `n + len >= 16 + w`, the low `w` bits of `v` are emitted, `v >>= w` and `n -= w`.
//! 2. `v |= code << n` and `n += len`.
//!
//! # Why the decoder takes exactly the words that the encoder emitted
//!
//! Look at one lane and one symbol. The encoder goes from `n` to `n'`, the decoder from `n'` back to `n`.
//!
//! The encoder either emits, and `n' = n + len - w`, or does not, and `n' = n + len`. Codes have 1 to `w` bits
//! (8 of 8, 12 of 16), so `n + len` lies in `17 ..= 15 + 2w`, and exactly one of the two choices puts `n'` in
//! `16 ..= 15 + w`: to emit when `n + len >= 16 + w`, not to emit otherwise.
//!
//! The decoder at `n'` drops `len` bits and has `n' - len`. That is `n - w < 16` if the encoder emitted, and `n >= 16` if
//! it did not. So a lane has fewer than 16 bits left exactly where a word was emitted.
//!
//! The shared stream is a stack. The encoder goes through the steps in descending order, and through the lanes of each
//! step in ascending order, and pushes words; the decoder goes the other way in both, and pops words. By induction from
//! the end, the word that it finds on top is the one that was emitted at this place.
//!
//! Lanes beyond the end of a partial last step neither code nor refill in that step, on both sides.
//!
//! # Why windows have 16 bits, when codes have 8
//!
//! A window of 8 bits would be enough to index a table of 256 entries. But the byte that a lane takes would then be
//! looked at in the very next step, and the processor could do nothing before it had reached its lane: that was half of
//! the 29 cycles of a step. With 8 bits of *lookahead* below the window the byte is not looked at before the step after
//! the next, and bytes go to their lanes while the next codes are looked up. Lookahead takes no space in what is stored,
//! as the next section says.
//!
//! # What is stored
//!
//! * The encoder starts with `n = 16` in every lane, and there the decoder must end. That is a cheap
//!   test that the stream was read as it was written. It is no checksum.
//! * These first 16 bits of 64 lanes can have any value, and the decoder finds them in the lanes at the end. So the
//!   lanes *carry* 128 bytes of the block's payload, which would otherwise be stored in front of the plane
//!   (see `docs/format.md`). A coded plane therefore costs the 64 sentinels and what rounding takes, some 40 bytes.
//! * The encoder's last states are the decoder's first ones. They are stored as words of `16 + w` bits: `v` with
//!   a sentinel bit above it (`1 << n | v`), so that one word tells both `n` and `v`. A word below `1 << 16` has no
//!   sentinel, which is an error. The 24-bit words of 8-bit codes are stored by place: the lowest bytes of
//!   all lanes, the middle ones, the highest ones. The 32-bit words of 12-bit codes follow one another.
//! * The stack is stored bottom first, in the order of emission, and *the decoder reads it from its end to its start*. So
//!   the encoder writes forwards into the final place without knowing the length beforehand, and nothing has to be
//!   moved; the decoder knows the length. The words of a step lie in the order of lanes, as the instructions
//!   "compress" and "expand" have them. Emitted bits number `Σ len - Σ (n_end - 16)`, hence a stream is never longer than
//!   its code words.
//!
//! # Why lanes
//!
//! A vector register holds the windows of 64 lanes. Table lookups are permutations of the bytes of registers. That the
//! lanes which need a word take the next ones in order is one "expand" instruction, and its reverse is one
//! "compress". A GPU warp does the same with a ballot and a population count. Nothing depends on the number
//! of threads or the width of registers: every implementation reads and writes the same bytes, and the portable one
//! defines them.

mod by_limit;
mod coder;
pub(crate) mod errors;

pub(super) use by_limit::ByLimit;
pub(crate) use coder::{Decoder, Encoder};
pub(crate) use errors::wrong_count;
pub(super) use errors::{no_room, no_sentinel, out_of_words, wrong_end};

use super::Kernels;
use super::tables::Tables;
use crate::alphabet::{Alphabet, CodeLimit, ESCAPE_SLOT};
use crate::error::Result;
use crate::kernels::platform::Platform;

/// Lanes of the coder.
pub const LANES: usize = 64;

/// Bytes that the lanes carry along: two for each.
pub const CARRIED_BYTES: usize = 2 * LANES;

/// A lane has at least so many unread bits between two steps.
pub(super) const FLOOR: u32 = 16;

/// Bytes of the stored lane states: 64 words of 24 (8-bit codes) or 32 bits (12-bit codes).
#[must_use]
pub const fn states_bytes(limit: CodeLimit) -> usize {
    match limit {
        CodeLimit::Bits8 => 3 * LANES,
        CodeLimit::Bits12 => 4 * LANES,
    }
}

/// Bytes of a word of the shared stream.
pub(crate) const fn word_bytes(limit: CodeLimit) -> usize {
    match limit {
        CodeLimit::Bits8 => 1,
        CodeLimit::Bits12 => 2,
    }
}

/// Bytes that an encoder may touch when the code words of the slots have `bits` bits in total: the
/// longest possible stream, and room for one more group of words, since whole groups are stored.
#[must_use]
pub const fn stream_capacity(limit: CodeLimit, bits: u64) -> usize {
    (bits / 8) as usize + LANES * word_bytes(limit)
}

/// How symbols become slots: `min(symbol - base, last)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotMap {
    pub(super) base: u8,
    pub(super) last: u8,
}

impl SlotMap {
    /// Symbols that are slots.
    pub(crate) const IDENTITY: Self = Self { base: 0, last: u8::MAX };

    /// The map for the symbols of an alphabet. Exact zeros are no symbols of their own here: whoever codes them
    /// apart maps symbols to slots himself.
    pub(crate) const fn new(alphabet: Alphabet, base: u8) -> Self {
        match alphabet {
            Alphabet::Centred => Self { base, last: ESCAPE_SLOT as u8 },
            Alphabet::Plain { .. } => Self::IDENTITY,
        }
    }

    #[inline]
    pub(crate) const fn slot(self, symbol: u8) -> u8 {
        let slot = symbol.wrapping_sub(self.base);
        if slot < self.last { slot } else { self.last }
    }

    /// What slot 0 stands for.
    #[cfg(test)]
    pub(crate) const fn base(self) -> u8 {
        self.base
    }

    /// By symbol, whether it takes the escape.
    pub(crate) fn escapes(self, tables: &Tables) -> [bool; 256] {
        std::array::from_fn(|symbol| tables.escapes[usize::from(self.slot(symbol as u8))])
    }
}

/// Symbols that took the escape, collected from the last one to the first.
#[derive(Debug, Default)]
pub(crate) struct Escapes {
    /// In front of the room for symbols lies that for a whole vector, of which only the last bytes are symbols.
    bytes: Vec<u8>,
    start: usize,
}

impl Escapes {
    /// Forgets all; makes room for `most`.
    pub(crate) fn clear(&mut self, most: usize) {
        if self.bytes.len() < LANES + most {
            self.bytes.resize(LANES + most, 0);
        }
        self.start = self.bytes.len();
    }

    /// Room for so many in front of those there are.
    #[inline]
    pub(super) fn front(&mut self, count: usize) -> &mut [u8] {
        // There never are more than `clear` made room for.
        let end = self.start;
        self.start = end.saturating_sub(count);
        &mut self.bytes[self.start..end]
    }

    /// The vector whose last `count` bytes are the room in front of those there are. What is put in its other bytes does
    /// not matter. There always is one for symbols: [`Self::clear`] made room for it in front of all.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    pub(super) fn front_vector(&mut self, count: usize) -> Option<&mut [u8; LANES]> {
        let end = self.start;
        debug_assert!(count == 0 || count <= LANES && end >= LANES + count);
        self.start = end.saturating_sub(count);
        self.bytes.get_mut(..end)?.last_chunk_mut()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// How elements, and what the other plane has of them, move between memory and processor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum CachePolicy<'a> {
    /// Through the caches: they are there already, or will soon be read from there.
    #[default]
    Cached,
    /// From memory: there is more than caches hold. `ahead` is what will be read next, to be fetched
    /// meanwhile.
    Fetching {
        /// The next block.
        ahead: &'a [u8],
    },
    /// From memory, and what is written goes past the caches.
    Streaming {
        /// The next block.
        ahead: &'a [u8],
    },
}

impl<'a> CachePolicy<'a> {
    /// Whether what is written goes past the caches.
    pub(super) const fn streams(self) -> bool {
        matches!(self, Self::Streaming { .. })
    }

    /// What is to be fetched.
    pub(super) const fn ahead(self) -> &'a [u8] {
        match self {
            Self::Cached => &[],
            Self::Fetching { ahead } | Self::Streaming { ahead } => ahead,
        }
    }
}

/// How elements are made of symbols and of what another plane has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// 16-bit words, interleaved in groups of 64 (see [`super::interleave`]): symbols are the high bytes, the other
    /// plane has the low ones.
    High,
    /// Bytes: symbols are the magnitudes, of so many bits, the other plane has the signs above them, packed lowest
    /// bit first. What is above the sign is 0.
    Signs { width: u8 },
}

impl Join {
    /// Elements for which the other plane has as many bytes as the lanes carry.
    pub(crate) const fn carried(self) -> usize {
        match self {
            Self::High => CARRIED_BYTES,
            Self::Signs { .. } => 8 * CARRIED_BYTES,
        }
    }
}

/// Elements to be split: symbols go into lanes, the rest to another plane. Both are whole groups of 64.
pub(crate) struct ToSplit<'a> {
    pub(crate) join: Join,
    pub(crate) elements: &'a [u8],
    pub(crate) other: &'a mut [u8],
    pub(crate) cache: CachePolicy<'a>,
}

/// Elements to be put together from symbols that come out of lanes and from another plane. Both are whole groups
/// of 64.
pub(crate) struct ToMerge<'a> {
    pub(crate) join: Join,
    pub(crate) other: &'a [u8],
    pub(crate) elements: &'a mut [u8],
    /// What a streaming policy has ahead is fetched; it is empty where the processor knows by itself what comes next.
    pub(crate) cache: CachePolicy<'a>,
}

impl ToMerge<'_> {
    pub(super) const fn reborrow(&mut self) -> ToMerge<'_> {
        let Self { join, other, elements, cache } = self;
        ToMerge { join: *join, other, elements, cache: *cache }
    }

    /// What follows so many symbols, whole steps.
    pub(super) fn after(self, symbols: usize) -> Self {
        let Self { join, other, elements, cache } = self;
        let (other_from, elements_from) = match join {
            Join::High => (symbols, 2 * symbols),
            Join::Signs { .. } => (symbols / 8, symbols),
        };
        let (other, elements) = (&other[other_from..], &mut elements[elements_from..]);
        Self { join, other, elements, cache }
    }
}

/// What a decoder makes of slots.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading<'a> {
    /// Nothing.
    Slots,
    /// Symbols: slots plus `base`; the next of `escapes` where the slot is the escape. There must be as many of
    /// them, and no zeros.
    Symbols { base: u8, escapes: &'a [u8] },
}

impl Reading<'_> {
    /// What slot 0 stands for.
    pub(super) const fn base(self) -> u8 {
        match self {
            Self::Slots => 0,
            Self::Symbols { base, .. } => base,
        }
    }

    /// Whether escapes and zeros are of interest.
    pub(super) const fn marks(self) -> bool {
        matches!(self, Self::Symbols { .. })
    }
}

/// Symbols that stand for something else: escapes and, in a centred book, exact zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// The symbol that the escape's slot becomes.
    pub(super) escape: u8,
    /// The symbol that the zero's slot becomes; the same if there is no zero.
    pub(super) zero: u8,
}

/// What is left of the escapes, and whether anything was wrong with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a> {
    pub(super) marks: Option<Marks>,
    pub(super) left: &'a [u8],
    pub(super) wrong: bool,
}

impl<'a> Escaped<'a> {
    fn new(tables: &Tables, reading: Reading<'a>) -> Self {
        let Reading::Symbols { base, escapes } = reading else {
            return Self { marks: None, left: &[], wrong: false };
        };
        let marks = tables.escape.map(|slot| {
            let escape = slot.wrapping_add(base);
            // The zero's slot is the one after the escape's.
            let zero = if tables.has_zero { escape.wrapping_add(1) } else { escape };
            Marks { escape, zero }
        });
        Self { marks, left: escapes, wrong: false }
    }

    /// Puts escapes where they belong in decoded symbols.
    pub(super) fn complete(&mut self, kernels: impl Kernels, symbols: &mut [u8]) {
        let Some(Marks { escape, zero }) = self.marks else { return };
        if zero != escape {
            let any = |symbols: &[u8]| symbols.iter().fold(false, |any, &s| any | (s == zero));
            self.wrong |= kernels.run(|| any(symbols));
        }
        let due = kernels.replace(escape, self.left, symbols);
        self.wrong |= due > self.left.len();
        self.left = self.left.get(due..).unwrap_or(&[]);
    }

    fn finish(&self) -> Result<()> {
        if self.wrong || !self.left.is_empty() { Err(wrong_count()) } else { Ok(()) }
    }
}

/// Whether a platform's coders can split and merge within their loops, which saves a pass over the elements.
pub(crate) fn fuses(platform: Platform, limit: CodeLimit, join: Join) -> bool {
    super::on!(platform, kernels => kernels.fuses(limit, join))
}

/// A platform's encoder; see [`Encoder`].
pub(crate) trait EncodeLanes {
    /// See [`Encoder::push`]. `end` is the number of bytes in the stream.
    fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()>;

    /// See [`Encoder::push_split`].
    fn push_split(
        &mut self,
        _: ToSplit<'_>,
        _stream: &mut [u8],
        _end: &mut usize,
        _: &mut Escapes,
    ) -> Result<bool> {
        Err(errors::not_fused())
    }

    /// Writes the lane states.
    fn finish(&self, states: &mut [u8]);
}

/// A platform's decoder; see [`Decoder`].
pub(crate) trait DecodeLanes {
    /// See [`Decoder::pull`].
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()>;

    /// See [`Decoder::pull_two`].
    fn pull_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        [first.pull(first_escaped, first_symbols), second.pull(second_escaped, second_symbols)]
    }

    /// See [`Decoder::pull_merged`].
    fn pull_merged(&mut self, _: &mut Escaped<'_>, _: ToMerge<'_>) -> Result<()> {
        Err(errors::not_fused())
    }

    /// See [`Decoder::pull_merged_of_two`].
    fn pull_merged_of_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [first_elements, second_elements]: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        [
            first.pull_merged(first_escaped, first_elements),
            second.pull_merged(second_escaped, second_elements),
        ]
    }

    /// Checks the end; returns what the lanes carried.
    fn finish(&self) -> Result<[u8; CARRIED_BYTES]>;
}
