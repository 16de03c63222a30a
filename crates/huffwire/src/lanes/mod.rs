//! The lane coder: 64 prefix-code streams advancing together, one shared stream of refill words.
//!
//! # The machine
//!
//! A plane's slots (symbols mapped to table indices) are dealt to 64 lanes: slot `i` belongs to lane
//! `i mod 64` at step `i div 64`. A lane of the decoder holds a *window* of `n` unread bits. With
//! words of `w` bits (8 for short codes, 16 for long ones) `16 <= n < 16 + w` between steps. One step:
//!
//! 1. the top 8 (short) or 12 (long) bits of each window index the decode table, which tells the
//!    slot and the length of its code;
//! 2. each lane drops that many bits;
//! 3. each lane left with `n < 16`, in descending order of lanes, takes the next word of the shared
//!    stream, puts it below its bits, and has `n + w`.
//!
//! The encoder runs the film backwards: last step first, and in each the first lane first. A lane holds `v`, its `n` unread
//! bits as a number, the bit to be read next on top. To encode a code of `len` bits:
//!
//! 1. if `n + len >= 16 + w`, the low `w` bits of `v` are emitted, `v >>= w`, `n -= w`;
//! 2. `v |= code << n`, `n += len`.
//!
//! # Why the decoder takes exactly the words the encoder gave
//!
//! Look at one lane and one symbol. The encoder goes from `n` to `n'`, the decoder from `n'` back to
//! `n`. The encoder emits or not, so `n' = n + len - w` or `n' = n + len`. Codes have 1 to `w` bits
//! (8 of 8, 12 of 16), so `n + len` lies in `17 ..= 15 + 2w`, and exactly one of the two choices
//! puts `n'` in `16 ..= 15 + w`: "emit" when `n + len >= 16 + w`, "do not" otherwise. The decoder at `n'`
//! drops `len` bits and has `n' - len`, which is `n - w < 16` if the encoder emitted and `n >= 16` if
//! it did not. So "fewer than 16 bits left" holds exactly when a word was emitted at this place. The
//! shared stream is a stack: the encoder goes through the steps in descending order, the lanes of each in
//! ascending order, and pushes; the decoder goes the other way in both and pops, so what it finds on
//! top is, by induction from the end, the word that was emitted at this place.
//!
//! Lanes beyond the end of a partial last step neither code nor refill in it, on both sides.
//!
//! # Why 16 bits, when codes have 8
//!
//! A window of 8 bits would do for a table of 256 entries. But then the byte that a lane takes may be looked at in
//! the very next step, and the processor can do nothing before it has been dealt: that was half
//! of the 29 cycles of a step. With 8 bits in reserve the byte is not looked at before the step after, and
//! dealing it happens beside the next lookup. The reserve costs nothing, see below.
//!
//! # What is stored
//!
//! * The encoder starts with `n = 16` in every lane, which is where the decoder must end: a
//!   cheap test that the stream was read as it was written. It is no checksum.
//! * These first 16 bits of 64 lanes are free: whatever they are, the decoder has them in its hands
//!   at the end. They carry 128 bytes of the block's payload that would otherwise lie in front of the plane
//!   (see `format::block`). So a coded plane costs the 64 sentinels and what rounding takes, some 40 bytes.
//! * The encoder's last states are the decoder's first. They are stored as words of `16 + w` bits, `v` with
//!   a sentinel bit above it (`1 << n | v`), so that one word tells both; a word below `1 << 16` has no
//!   sentinel in its place and is an error. The 24-bit words of short codes are stored by place: the lowest
//!   bytes of all lanes, the middle ones, the highest ones; the 32-bit words of long codes one after the
//!   other.
//! * The stack is stored bottom first, in the order of emission: the *decoder reads it from its end to
//!   its start*. So the encoder writes forwards into its final place without knowing the length
//!   beforehand, and nothing has to be moved; the decoder, who knows the length, does not mind the
//!   direction. The words of a step lie in the order of lanes, as "compress" writes and "expand" reads
//!   them. Emitted bits number `Σ len - Σ (n_end - 16)`, hence a stream is never longer than the code words it stands for.
//!
//! # Why lanes
//!
//! A vector register holds the windows of 64 lanes; table lookups are byte permutations of
//! registers; "the lanes that need a word take the next ones in order" is one expand instruction,
//! its reverse one compress. A GPU warp does the same with a ballot and a population count. Nothing
//! depends on the number of threads or the width of the registers: every implementation reads and
//! writes the same bytes, and the one in portable safe Rust (`portable.rs`) defines them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_long;
mod portable;

use crate::bytes;
use crate::codebook::{Alphabet, CodeLimit, Codebook, ESCAPE_SLOT, Lengths, ZERO_SLOT};
use crate::error::{Error, Result};
use crate::platform::Platform;

/// Lanes of the coder.
pub const LANES: usize = 64;

/// Bytes that the lanes carry along: two for each.
pub const INITIAL_BYTES: usize = 2 * LANES;

/// A lane has at least so many unread bits between two steps.
const FLOOR: u32 = 16;

/// Bytes of the stored lane states: 64 words of 24 (short codes) or 32 bits (long codes).
#[must_use]
pub const fn states_bytes(limit: CodeLimit) -> usize {
    match limit {
        CodeLimit::Short => 3 * LANES,
        CodeLimit::Long => 4 * LANES,
    }
}

/// Bytes of a word of the shared stream.
pub(crate) const fn word_bytes(limit: CodeLimit) -> usize {
    match limit {
        CodeLimit::Short => 1,
        CodeLimit::Long => 2,
    }
}

/// Bytes that [`encode`] may touch when the code words of the slots have `bits` bits in total: the
/// longest possible stream, and room for one more group of words, since whole groups are stored.
#[must_use]
pub const fn stream_capacity(limit: CodeLimit, bits: u64) -> usize {
    (bits / 8) as usize + LANES * word_bytes(limit)
}

/// How symbols become slots: `min(symbol - base, last)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotMap {
    base: u8,
    last: u8,
}

impl SlotMap {
    /// Symbols that are slots.
    pub(crate) const IDENTITY: Self = Self { base: 0, last: u8::MAX };

    /// For the symbols of an alphabet. Exact zeros are no symbols of their own here: whoever codes them
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

    /// By symbol, whether it takes the escape.
    fn escapes(self, lengths: &Lengths) -> [bool; 256] {
        std::array::from_fn(|symbol| {
            let slot = self.slot(symbol as u8);
            let zero = lengths.alphabet() == Alphabet::Centred && usize::from(slot) == ZERO_SLOT;
            lengths.direct(slot) == 0 && !zero
        })
    }
}

/// Symbols that took the escape, collected from the last one to the first.
#[derive(Debug, Default)]
pub(crate) struct Escapes {
    bytes: Vec<u8>,
    start: usize,
}

impl Escapes {
    /// Forgets all; makes room for `most`.
    pub(crate) fn clear(&mut self, most: usize) {
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        self.start = self.bytes.len();
    }

    /// Room for so many in front of those there are.
    #[inline]
    fn front(&mut self, count: usize) -> &mut [u8] {
        // There never are more than `clear` made room for.
        let end = self.start;
        self.start = end.saturating_sub(count);
        &mut self.bytes[self.start..end]
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// How elements and residue flow between memory and processor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Flow<'a> {
    /// Through the caches, where they are, or from where they will soon be read.
    #[default]
    Cached,
    /// From memory: there is more than caches hold. `ahead` is what will be read next, to be fetched
    /// meanwhile.
    Fetching {
        /// The next block.
        ahead: &'a [u8],
    },
    /// The same, and what is written goes past the caches.
    Streaming {
        /// The next block.
        ahead: &'a [u8],
    },
}

/// How elements are made of symbols and of what another plane has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// 16-bit words, dealt in groups of 64 (see [`crate::deal`]): symbols are the high bytes, the others the
    /// low ones.
    High,
    /// Bytes: symbols are the magnitudes, of so many bits, the others the signs above them, packed lowest bit
    /// first. What is above the sign is 0.
    Signs { width: u8 },
}

impl Join {
    /// Elements for which the other plane has as many bytes as the lanes carry.
    pub(crate) const fn carried(self) -> usize {
        match self {
            Self::High => INITIAL_BYTES,
            Self::Signs { .. } => 8 * INITIAL_BYTES,
        }
    }
}

impl<'a> Flow<'a> {
    /// Whether what is written goes past the caches.
    const fn streams(self) -> bool {
        matches!(self, Self::Streaming { .. })
    }

    /// What is to be fetched.
    const fn ahead(self) -> &'a [u8] {
        match self {
            Self::Cached => &[],
            Self::Fetching { ahead } | Self::Streaming { ahead } => ahead,
        }
    }
}

/// Elements to be split: symbols go into lanes, the rest to another plane. Both are whole groups of 64.
pub(crate) struct ToSplit<'a> {
    pub(crate) join: Join,
    pub(crate) elements: &'a [u8],
    pub(crate) other: &'a mut [u8],
    pub(crate) flow: Flow<'a>,
}

/// Elements to be put together from symbols that come out of lanes and from another plane. Both are whole groups
/// of 64.
pub(crate) struct ToMerge<'a> {
    pub(crate) join: Join,
    pub(crate) other: &'a [u8],
    pub(crate) elements: &'a mut [u8],
    /// `ahead` of a streaming flow is fetched; empty where the processor knows by itself what comes next.
    pub(crate) flow: Flow<'a>,
}

/// Whether a platform's coders can split and merge on their way, which saves a pass over the elements.
pub(crate) const fn fuses(platform: Platform, limit: CodeLimit, join: Join) -> bool {
    match (platform, limit, join) {
        #[cfg(target_arch = "x86_64")]
        (Platform::Avx512(_), CodeLimit::Short, _) => true,
        #[cfg(target_arch = "x86_64")]
        (Platform::Avx2(_), CodeLimit::Short, Join::High) => true,
        _ => false,
    }
}

/// A plane on its way into lanes, piece by piece, **the last piece first**.
#[derive(Debug)]
pub(crate) struct Encoder<'b> {
    kernel: EncoderKernel<'b>,
    /// Bytes in the stream.
    end: usize,
}

#[derive(Debug)]
enum EncoderKernel<'b> {
    Short(portable::Encoder<'b, portable::Short>),
    Long(portable::Encoder<'b, portable::Long>),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Encoder),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Encoder<'b>),
    #[cfg(target_arch = "x86_64")]
    Avx512Long(avx512_long::Encoder<'b>),
}

impl<'b> Encoder<'b> {
    /// Lanes that carry `initial`; `keep_escapes` says whether [`Encoder::push`] collects what
    /// takes the escape.
    pub(crate) fn new(
        platform: Platform,
        book: &'b Codebook,
        map: SlotMap,
        initial: &[u8; INITIAL_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let kernel =
            match (platform, book.tables(), book.long_tables()) {
                #[cfg(target_arch = "x86_64")]
                (Platform::Avx2(proof), Some(tables), _) => EncoderKernel::Avx2(
                    avx2::Encoder::new(proof, tables, book, map, initial, keep_escapes),
                ),
                #[cfg(target_arch = "x86_64")]
                (Platform::Avx512(proof), Some(tables), _) => EncoderKernel::Avx512(
                    avx512::Encoder::new(proof, book, tables, map, initial, keep_escapes),
                ),
                #[cfg(target_arch = "x86_64")]
                (Platform::Avx512(proof), _, Some(tables)) => EncoderKernel::Avx512Long(
                    avx512_long::Encoder::new(proof, book, tables, map, initial, keep_escapes),
                ),
                (_, Some(_), _) => {
                    EncoderKernel::Short(portable::Encoder::new(book, map, initial, keep_escapes))
                }
                (_, None, _) => {
                    EncoderKernel::Long(portable::Encoder::new(book, map, initial, keep_escapes))
                }
            };
        Self { kernel, end: 0 }
    }

    /// Encodes a piece, which goes before those pushed so far. All pieces but the first one pushed, the
    /// plane's last, must be whole steps.
    ///
    /// `stream` is the same slice in all calls; it needs [`stream_capacity`].
    ///
    /// # Errors
    /// [`Error::OutputTooSmall`] when it does not have it.
    pub(crate) fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        escapes: &mut Escapes,
    ) -> Result<()> {
        let end = &mut self.end;
        match &mut self.kernel {
            EncoderKernel::Short(kernel) => kernel.push(symbols, stream, end, escapes),
            EncoderKernel::Long(kernel) => kernel.push(symbols, stream, end, escapes),
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx2(kernel) => kernel.push(symbols, stream, end, escapes),
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx512(kernel) => kernel.push(symbols, stream, end, escapes),
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx512Long(kernel) => kernel.push(symbols, stream, end, escapes),
        }
    }

    /// Splits elements on the way. Only where it [`fuses`]. `false` when a bit is set that has no place
    /// in either plane.
    ///
    /// # Errors
    /// As [`Encoder::push`].
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "none fuses"))]
    pub(crate) fn push_split(
        &mut self,
        elements: ToSplit<'_>,
        stream: &mut [u8],
        escapes: &mut Escapes,
    ) -> Result<bool> {
        match &mut self.kernel {
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx2(kernel) if elements.join == Join::High => {
                kernel.push_words(elements, stream, &mut self.end, escapes).map(|()| true)
            }
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx512(kernel) => {
                kernel.push_split(elements, stream, &mut self.end, escapes)
            }
            _ => Err(not_fused()),
        }
    }

    /// Writes the [`states_bytes`]; returns the length of the stream in bytes.
    pub(crate) fn finish(&self, states: &mut [u8]) -> usize {
        match &self.kernel {
            EncoderKernel::Short(kernel) => kernel.finish(states),
            EncoderKernel::Long(kernel) => kernel.finish(states),
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx2(kernel) => kernel.finish(states),
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx512(kernel) => kernel.finish(states),
            #[cfg(target_arch = "x86_64")]
            EncoderKernel::Avx512Long(kernel) => kernel.finish(states),
        }
        self.end
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

/// Symbols that stand for something else: escapes and, in a centred book, exact zeros.
#[derive(Debug, Clone, Copy)]
struct Marks {
    /// The symbol that the escape's slot becomes.
    escape: u8,
    /// The symbol that the zero's slot becomes; the same if there is no zero.
    zero: u8,
}

/// What is left of the escapes, and whether anything was wrong with them.
#[derive(Debug, Clone, Copy)]
struct Escaped<'a> {
    marks: Option<Marks>,
    left: &'a [u8],
    wrong: bool,
}

impl<'a> Escaped<'a> {
    fn new(book: &Codebook, reading: Reading<'a>) -> Self {
        let Reading::Symbols { base, escapes } = reading else {
            return Self { marks: None, left: &[], wrong: false };
        };
        let lengths = book.lengths();
        let marks = lengths.escape_slot().map(|slot| {
            let escape = slot.wrapping_add(base);
            // The zero's slot is the one after the escape's.
            let zero = if lengths.zero() > 0 { escape.wrapping_add(1) } else { escape };
            Marks { escape, zero }
        });
        Self { marks, left: escapes, wrong: false }
    }

    /// Puts escapes where they belong in decoded symbols.
    fn complete(&mut self, platform: Platform, symbols: &mut [u8]) {
        let Some(Marks { escape, zero }) = self.marks else { return };
        if zero != escape {
            let any = |symbols: &[u8]| symbols.iter().fold(false, |any, &s| any | (s == zero));
            self.wrong |= platform.run(|| any(symbols));
        }
        let due = bytes::replace(platform, escape, self.left, symbols);
        self.wrong |= due > self.left.len();
        self.left = self.left.get(due..).unwrap_or(&[]);
    }

    fn finish(&self) -> Result<()> {
        if self.wrong || !self.left.is_empty() { Err(wrong_count()) } else { Ok(()) }
    }
}

/// A plane on its way out of the lanes, piece by piece, the first piece first.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    platform: Platform,
    kernel: DecoderKernel<'a>,
    escaped: Escaped<'a>,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are two at most, and a block allocates nothing"
)]
enum DecoderKernel<'a> {
    Short(portable::ShortDecoder<'a>),
    Long(portable::LongDecoder<'a>),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Decoder<'a>),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Decoder<'a>),
    #[cfg(target_arch = "x86_64")]
    Avx512Long(avx512_long::Decoder<'a>),
}

impl<'a> Decoder<'a> {
    /// Lanes as [`Encoder::finish`] left them.
    ///
    /// # Errors
    /// [`Error::Truncated`] for states of the wrong size, [`Error::Malformed`] for one without a
    /// sentinel.
    pub(crate) fn new(
        platform: Platform,
        book: &'a Codebook,
        reading: Reading<'a>,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let (needed, available) = (states_bytes(book.limit()), states.len());
        if available != needed {
            return Err(Error::Truncated { what: "lane states", offset: 0, needed, available });
        }
        let base = match reading {
            Reading::Slots => 0,
            Reading::Symbols { base, .. } => base,
        };
        let kernel = match (platform, book.tables(), book.long_tables()) {
            #[cfg(target_arch = "x86_64")]
            (Platform::Avx2(proof), Some(_), _) => {
                DecoderKernel::Avx2(avx2::Decoder::new(proof, book, base, states, stream)?)
            }
            #[cfg(target_arch = "x86_64")]
            (Platform::Avx512(proof), Some(tables), _) => {
                let kernel = avx512::Decoder::new(proof, book, tables, reading, states, stream);
                DecoderKernel::Avx512(kernel?)
            }
            #[cfg(target_arch = "x86_64")]
            (Platform::Avx512(proof), _, Some(tables)) => DecoderKernel::Avx512Long(
                avx512_long::Decoder::new(proof, tables, base, states, stream)?,
            ),
            (_, Some(_), _) => {
                DecoderKernel::Short(portable::ShortDecoder::new(book, base, states, stream)?)
            }
            (_, None, _) => {
                DecoderKernel::Long(portable::LongDecoder::new(book, base, states, stream)?)
            }
        };
        Ok(Self { platform, kernel, escaped: Escaped::new(book, reading) })
    }

    /// Decodes the next piece. All pieces but the last one must be whole steps.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the stream ends too early. The contents of `symbols` are undefined then.
    pub(crate) fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        match &mut self.kernel {
            DecoderKernel::Short(kernel) => kernel.pull(symbols),
            DecoderKernel::Long(kernel) => kernel.pull(symbols),
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx2(kernel) => kernel.pull(symbols),
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx512(kernel) => return kernel.pull(&mut self.escaped, symbols),
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx512Long(kernel) => kernel.pull(symbols),
        }?;
        self.escaped.complete(self.platform, symbols);
        Ok(())
    }

    /// [`Decoder::pull`] for two planes at a time, which a processor can do side by side.
    pub(crate) fn pull_two(
        [first, second]: [&mut Self; 2],
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        match (&mut first.kernel, &mut second.kernel) {
            #[cfg(target_arch = "x86_64")]
            (DecoderKernel::Avx512(a), DecoderKernel::Avx512(b)) => {
                let escaped = [&mut first.escaped, &mut second.escaped];
                avx512::Decoder::pull_two([a, b], escaped, [first_symbols, second_symbols])
            }
            #[cfg(target_arch = "x86_64")]
            (DecoderKernel::Avx512Long(a), DecoderKernel::Avx512Long(b)) => {
                let outs = [&mut *first_symbols, &mut *second_symbols];
                let results = avx512_long::Decoder::pull_two([a, b], outs);
                first.escaped.complete(first.platform, first_symbols);
                second.escaped.complete(second.platform, second_symbols);
                results
            }
            _ => [first.pull(first_symbols), second.pull(second_symbols)],
        }
    }

    /// Puts elements together on the way. Only where it [`fuses`].
    ///
    /// # Errors
    /// As [`Decoder::pull`].
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "none fuses"))]
    pub(crate) fn pull_merged(&mut self, elements: ToMerge<'_>) -> Result<()> {
        match &mut self.kernel {
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx2(kernel) if elements.join == Join::High => {
                kernel.pull_words(&mut self.escaped, elements)
            }
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx512(kernel) => kernel.pull_merged(&mut self.escaped, elements),
            _ => Err(not_fused()),
        }
    }

    /// [`Decoder::pull_merged`] for two planes at a time, which are joined in the same way.
    pub(crate) fn pull_merged_of_two(
        [first, second]: [&mut Self; 2],
        [first_elements, second_elements]: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        match (&mut first.kernel, &mut second.kernel) {
            #[cfg(target_arch = "x86_64")]
            (DecoderKernel::Avx512(a), DecoderKernel::Avx512(b)) => {
                avx512::Decoder::pull_merged_of_two(
                    [a, b],
                    [&mut first.escaped, &mut second.escaped],
                    [first_elements, second_elements],
                )
            }
            _ => [first.pull_merged(first_elements), second.pull_merged(second_elements)],
        }
    }

    /// Checks the end; returns what the lanes carried.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the lanes do not end where every encoder begins, or the escapes were too few
    /// or too many, or there were zeros among the symbols.
    pub(crate) fn finish(&self) -> Result<[u8; INITIAL_BYTES]> {
        let initial = match &self.kernel {
            DecoderKernel::Short(kernel) => kernel.finish(),
            DecoderKernel::Long(kernel) => kernel.finish(),
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx2(kernel) => kernel.finish(),
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx512(kernel) => kernel.finish(),
            #[cfg(target_arch = "x86_64")]
            DecoderKernel::Avx512Long(kernel) => kernel.finish(),
        }?;
        self.escaped.finish()?;
        Ok(initial)
    }
}

/// Encodes `slots` with the codes of `book`; returns the length of the stream in bytes.
///
/// `initial` are bytes that [`decode`] gives back. `states` takes [`states_bytes`] bytes. `stream` needs
/// [`stream_capacity`] bytes; what lies beyond the returned length is left undefined. Uses
/// [`Platform::detect`].
///
/// # Errors
/// [`Error::OutputTooSmall`] when `states` or `stream` is too short, [`Error::InvalidCodebook`] when
/// a slot lies outside the book's alphabet.
pub fn encode(
    book: &Codebook,
    slots: &[u8],
    initial: &[u8; INITIAL_BYTES],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    encode_on(Platform::detect(), book, slots, initial, states, stream)
}

/// [`encode`] on a platform of the caller's choice.
///
/// # Errors
/// As [`encode`].
pub fn encode_on(
    platform: Platform,
    book: &Codebook,
    slots: &[u8],
    initial: &[u8; INITIAL_BYTES],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let needed = states_bytes(book.limit());
    let available = states.len();
    let states = states.get_mut(..needed).ok_or(Error::OutputTooSmall { needed, available })?;
    let last = (book.lengths().alphabet().slots() - 1) as u8;
    let highest = platform.run(|| slots.iter().fold(0, |highest, &slot| slot.max(highest)));
    if highest > last {
        return Err(Error::codebook("a symbol outside the codebook's alphabet"));
    }
    let mut encoder = Encoder::new(platform, book, SlotMap::IDENTITY, initial, false);
    encoder.push(slots, stream, &mut Escapes::default())?;
    Ok(encoder.finish(states))
}

/// Decodes `slots.len()` slots; `states` and `stream` must be exactly what [`encode`] made. Returns its
/// `initial`. Uses [`Platform::detect`].
///
/// # Errors
/// [`Error::Malformed`] when a state has no sentinel, the stream ends too early, or the lanes do not
/// end where every encoder begins. The contents of `slots` are undefined after an error.
pub fn decode(
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<[u8; INITIAL_BYTES]> {
    decode_on(Platform::detect(), book, states, stream, slots)
}

/// [`decode`] on a platform of the caller's choice.
///
/// # Errors
/// As [`decode`].
pub fn decode_on(
    platform: Platform,
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<[u8; INITIAL_BYTES]> {
    let mut decoder = Decoder::new(platform, book, Reading::Slots, states, stream)?;
    decoder.pull(slots)?;
    decoder.finish()
}

// The errors of all implementations: platforms must not differ in what they report either.

const WHAT: &str = "a coded plane";

/// Nobody asks a coder to split or merge without asking [`fuses`] first.
#[cold]
const fn not_fused() -> Error {
    Error::InvalidOption(std::borrow::Cow::Borrowed(
        "this platform does not split and merge on its way",
    ))
}

#[cold]
const fn no_room(needed: usize, available: usize) -> Error {
    Error::OutputTooSmall { needed, available }
}

#[cold]
fn no_sentinel(lane: usize) -> Error {
    Error::malformed(WHAT, 0, format!("the state of lane {lane} lacks its sentinel bit"))
}

#[cold]
fn out_of_words() -> Error {
    Error::malformed(WHAT, 0, "the lanes want more words than the stream has")
}

#[cold]
pub(crate) fn wrong_count() -> Error {
    Error::malformed(WHAT, 0, "the decoded symbols do not match the counts in the header")
}

#[cold]
fn wrong_end() -> Error {
    Error::malformed(WHAT, 0, "the lanes do not end where an encoder begins")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::CodebookSet;
    use crate::codebook::build::{Effort, plain};
    use crate::deal;
    use crate::pmf::Pmf;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn book(limit: CodeLimit, skew: f64) -> Codebook {
        let weights: Vec<f64> = (0..256).map(|i| skew.powi(i) + 1e-9).collect();
        let pmf = Pmf::from_weights(&weights).unwrap();
        Codebook::new(plain(&pmf, 8, limit, Effort::Quick).unwrap().lengths)
    }

    /// Books that take every path: narrow, narrow by chance, wide, of few slots, long.
    static BOOKS: LazyLock<Vec<Codebook>> = LazyLock::new(|| {
        let mut books = CodebookSet::builtin().books().to_vec();
        for limit in [CodeLimit::Short, CodeLimit::Long] {
            books.extend([0.3, 0.5, 0.8, 0.97, 1.0].map(|skew| book(limit, skew)));
        }
        books.extend([MANY_BOUNDS, TWO_BOUNDS].map(sorted));
        for width in [1, 3, 6, 7] {
            let weights: Vec<f64> = (1..=1 << width).map(f64::from).collect();
            let pmf = Pmf::from_weights(&weights).unwrap();
            let built = plain(&pmf, width, CodeLimit::Short, Effort::Quick).unwrap();
            books.push(Codebook::new(built.lengths));
        }
        books
    });

    /// How many codes of each length from 6 bits on: of those over 6 bits, some of five lengths, or of two, within
    /// 64 windows, and not the last ones.
    const MANY_BOUNDS: [usize; 7] = [61, 1, 1, 1, 1, 1, 130];
    const TWO_BOUNDS: [usize; 7] = [61, 1, 1, 18, 0, 0, 0];

    /// A book of these codes, the last one for the escape.
    fn sorted(counts: [usize; 7]) -> Codebook {
        let lengths = (6..).zip(counts).flat_map(|(length, count)| vec![length; count]);
        let mut direct: Vec<u8> = lengths.collect();
        let escape = direct.pop().unwrap();
        direct.resize(256, 0);
        let alphabet = Alphabet::Plain { width: 8 };
        Codebook::new(Lengths::new(alphabet, CodeLimit::Long, &direct, escape, 0).unwrap())
    }

    /// Something that no lane has by chance.
    const INITIAL: [u8; INITIAL_BYTES] = {
        let mut bytes = [0; INITIAL_BYTES];
        let mut i = 0;
        while i < bytes.len() {
            bytes[i] = (i * i + 3 * i + 7) as u8;
            i += 1;
        }
        bytes
    };

    /// What a platform makes of slots: states and stream, or the error.
    fn encoded(
        platform: Platform,
        book: &Codebook,
        slots: &[u8],
        room: usize,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut states = vec![0; states_bytes(book.limit())];
        let mut stream = vec![0; room];
        let length = encode_on(platform, book, slots, &INITIAL, &mut states, &mut stream)?;
        stream.truncate(length);
        Ok((states, stream))
    }

    /// Decodes on every platform; all must agree, on errors too.
    fn decoded(
        book: &Codebook,
        states: &[u8],
        stream: &[u8],
        count: usize,
    ) -> Result<(Vec<u8>, [u8; INITIAL_BYTES])> {
        let mut results = Platform::available().map(|platform| {
            let mut slots = vec![0xee; count];
            decode_on(platform, book, states, stream, &mut slots).map(|initial| (slots, initial))
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first), "platforms decode differently");
        first
    }

    fn round_trip(book: &Codebook, slots: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let length = |s: &u8| u64::from(book.encode_table()[usize::from(*s)] >> 12);
        let bits: u64 = slots.iter().map(length).sum();
        let room = stream_capacity(book.limit(), bits);
        let mut results =
            Platform::available().map(|platform| encoded(platform, book, slots, room).unwrap());
        let (states, stream) = results.next().unwrap();
        for result in results {
            assert!(result.0 == states, "platforms end in different states");
            assert!(result.1 == stream, "platforms write different streams");
        }
        assert!(stream.len() as u64 <= bits / 8, "never longer than the code words");
        let (decoded, initial) = decoded(book, &states, &stream, slots.len()).unwrap();
        assert_eq!(initial, INITIAL);
        let escape = book.lengths().escape_slot();
        let zero = (book.lengths().zero() > 0).then_some(crate::codebook::ZERO_SLOT as u8);
        for (&out, &slot) in decoded.iter().zip(slots) {
            let coded = book.lengths().direct(slot) > 0 || zero == Some(slot);
            assert_eq!(out, if coded { slot } else { escape.unwrap() });
        }
        (states, stream)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_slots_round_trip(
            slots in proptest::collection::vec(any::<u8>(), 0..2000),
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let last = (book.lengths().alphabet().slots() - 1) as u8;
            let slots: Vec<u8> = slots.iter().map(|slot| slot & last).collect();
            round_trip(book, &slots);
        }

        #[test]
        fn likely_slots_round_trip(
            windows in proptest::collection::vec(any::<prop::sample::Index>(), 0..2000),
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            // A random window finds each slot as often as its code's length says.
            let table = book.decode_table();
            let slot = |window: &prop::sample::Index| table[window.index(table.len())] as u8;
            let slots: Vec<u8> = windows.iter().map(slot).collect();
            round_trip(book, &slots);
        }

        #[test]
        fn damage_never_panics_and_all_platforms_agree_on_it(
            slots in proptest::collection::vec(0u8..20, 0..600),
            flips in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
            cut in any::<prop::sample::Index>(),
            longer in 0usize..200,
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let last = (book.lengths().alphabet().slots() - 1) as u8;
            let slots: Vec<u8> = slots.iter().map(|slot| slot & last).collect();
            let (mut states, mut stream) = round_trip(book, &slots);
            let count = slots.len();
            if !stream.is_empty() {
                let shorter = &stream[..cut.index(stream.len())];
                // Nearly always an error; the coder is no checksum.
                let _ = decoded(book, &states, shorter, count);
                for flip in &flips {
                    let bit = flip.index(8 * stream.len());
                    stream[bit / 8] ^= 1 << (bit % 8);
                }
                let _ = decoded(book, &states, &stream, count);
            }
            let _ = decoded(book, &states, &stream, count + longer);
            let _ = decoded(book, &states, &stream, count.saturating_sub(longer));
            for flip in &flips {
                let bit = flip.index(8 * states.len());
                states[bit / 8] ^= 1 << (bit % 8);
            }
            let _ = decoded(book, &states, &stream, count);
        }

        #[test]
        fn noise_is_decoded_alike(
            states in proptest::collection::vec(any::<u8>(), 256),
            stream in proptest::collection::vec(any::<u8>(), 0..400),
            sane in any::<bool>(),
            count in 0usize..700,
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let mut states = states[..states_bytes(book.limit())].to_vec();
            if sane {
                // Every lane with a sentinel, so that more than the first step is reached.
                let short = book.limit() == CodeLimit::Short;
                let (from, step) = if short { (2 * LANES, 1) } else { (3, 4) };
                states.iter_mut().skip(from).step_by(step).for_each(|byte| *byte |= 1);
            }
            let _ = decoded(book, &states, &stream, count);
        }
    }

    #[test]
    fn every_count_near_whole_steps_round_trips() {
        for book in BOOKS.iter() {
            let last = (book.lengths().alphabet().slots() - 1) as u8;
            for count in (0..195).chain(8190..8194) {
                let slots: Vec<u8> = (0..count).map(|i| (i * i % 37) as u8 & last).collect();
                round_trip(book, &slots);
            }
        }
    }

    /// The state of a lane of short codes.
    fn state(states: &[u8], lane: usize) -> u32 {
        [0, 1, 2].iter().map(|place| u32::from(states[place * LANES + lane]) << (8 * place)).sum()
    }

    #[test]
    fn the_stream_is_what_the_essay_says() {
        // One lane, codes 0, 10, 11, n = 16. The encoder puts `11` on top, then `10`, then `0`.
        let lengths = crate::codebook::Lengths::new(
            crate::codebook::Alphabet::Plain { width: 2 },
            CodeLimit::Short,
            &[1, 2, 0, 0],
            2,
            0,
        );
        let book = Codebook::new(lengths.unwrap());
        let mut slots = vec![3; 129];
        (slots[0], slots[64]) = (0, 1);
        let (states, stream) = round_trip(&book, &slots);
        assert!(stream.is_empty(), "five bits fit the window of lane 0");
        let initial =
            |lane: usize| u32::from(INITIAL[lane]) | u32::from(INITIAL[LANES + lane]) << 8;
        let first = 1 << 21 | 0b0_10_11 << 16 | initial(0);
        assert_eq!(state(&states, 0), first, "sentinel, then the codes in decoding order");
        assert_eq!(state(&states, 1), 1 << 20 | 0b11_11 << 16 | initial(1));
    }

    #[test]
    fn the_stream_is_a_stack_over_steps_and_lanes() {
        // Codes of 8 bits: every lane emits in every step what it takes two steps later.
        let alphabet = crate::codebook::Alphabet::Plain { width: 8 };
        let lengths = crate::codebook::Lengths::new(alphabet, CodeLimit::Short, &[8; 256], 0, 0);
        let slots: Vec<u8> = (1..=192).collect();
        let (states, stream) = round_trip(&Codebook::new(lengths.unwrap()), &slots);
        let (low, high) = INITIAL.split_at(LANES);
        let pushed = low.iter().chain(high).chain(&slots[128..]);
        assert!(stream.iter().eq(pushed));
        let places = slots[64..128].iter().chain(&slots[..64]).chain(&[1; LANES]);
        assert!(states.iter().eq(places));
    }

    #[test]
    fn a_state_without_sentinel_and_a_wrong_end_are_errors() {
        let book = book(CodeLimit::Short, 0.5);
        let mut states = [[7; 2 * LANES].as_slice(), &[1; LANES]].concat();
        assert_eq!(decoded(&book, &states, &[], 0), Ok((vec![], [7; INITIAL_BYTES])));
        assert_eq!(decoded(&book, &states, &[7], 0), Err(wrong_end()), "a word nobody takes");
        states[2 * LANES + 5] = 2;
        assert_eq!(decoded(&book, &states, &[], 0), Err(wrong_end()), "a bit nobody takes");
        states[2 * LANES + 6] = 0;
        assert_eq!(decoded(&book, &states, &[], 0), Err(no_sentinel(6)));
    }

    #[test]
    fn slots_outside_the_alphabet_and_small_buffers_are_refused() {
        let lengths = crate::codebook::Lengths::new(
            crate::codebook::Alphabet::Plain { width: 1 },
            CodeLimit::Short,
            &[1, 1],
            0,
            0,
        );
        let book = Codebook::new(lengths.unwrap());
        for platform in Platform::available() {
            let encode = |slots: &[u8], states: usize, room: usize| {
                let (mut states, mut stream) = (vec![0; states], vec![0; room]);
                encode_on(platform, &book, slots, &INITIAL, &mut states, &mut stream)
            };
            assert!(matches!(encode(&[2], 192, 64), Err(Error::InvalidCodebook { .. })));
            assert_eq!(encode(&[1], 191, 64), Err(no_room(192, 191)));
            assert_eq!(encode(&[1; 2000], 192, 64), Err(no_room(64 + 16, 64)));
            assert_eq!(encode(&[1; 64], 192, 64), Ok(0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Piece by piece, symbols instead of slots, escapes kept, two planes at a time: as in one go.
        #[test]
        fn pieces_are_as_good_as_the_whole(
            symbols in proptest::collection::vec(any::<u8>(), 0..3000),
            others in proptest::collection::vec(any::<u8>(), 0..3000),
            narrow in 0u8..9,
            base in any::<u8>(),
            book in any::<prop::sample::Index>(),
            piece in 1usize..9,
        ) {
            let book = book.get(&BOOKS);
            let alphabet = book.lengths().alphabet();
            let map = SlotMap::new(alphabet, base);
            let base = map.base;
            let likely = |symbol: &u8| match alphabet {
                Alphabet::Centred => (symbol >> narrow.min(7)).wrapping_add(base).wrapping_add(27),
                Alphabet::Plain { width } => symbol >> narrow.min(7) & (0xff >> (8 - width)),
            };
            let planes = [&symbols, &others].map(|p| p.iter().map(likely).collect::<Vec<u8>>());
            let size = 64 * piece;
            for platform in Platform::available() {
                let mut coded = Vec::new();
                for plane in &planes {
                    let slots: Vec<u8> = plane.iter().map(|&symbol| map.slot(symbol)).collect();
                    let room = stream_capacity(book.limit(), 12 * slots.len() as u64);
                    let (states, stream) = encoded(platform, book, &slots, room).unwrap();
                    let (mut other_states, mut other) = (states.clone(), vec![0; room]);
                    let mut escapes = Escapes::default();
                    escapes.clear(plane.len());
                    let mut encoder = Encoder::new(platform, book, map, &INITIAL, true);
                    for piece in plane.chunks(size).rev() {
                        encoder.push(piece, &mut other, &mut escapes).unwrap();
                    }
                    let length = encoder.finish(&mut other_states);
                    prop_assert!(states == other_states && stream == other[..length]);
                    let table = map.escapes(book.lengths());
                    let escaped = plane.iter().copied().filter(|s| table[usize::from(*s)]);
                    prop_assert!(escaped.eq(escapes.as_slice().iter().copied()));
                    coded.push((states, stream, escapes));
                }
                let new = |(states, stream), escapes| {
                    let reading = Reading::Symbols { base, escapes };
                    Decoder::new(platform, book, reading, states, stream)
                };
                let mut alone = vec![0; planes[0].len()];
                let (states, stream, escapes) = &coded[0];
                let mut decoder = new((states, stream), escapes.as_slice()).unwrap();
                for piece in alone.chunks_mut(size) {
                    decoder.pull(piece).unwrap();
                }
                prop_assert_eq!(decoder.finish(), Ok(INITIAL));

                let mut both = planes.clone().map(|plane| vec![0; plane.len()]);
                let [mut a, mut b] = [0, 1].map(|i| {
                    let (states, stream, escapes) = &coded[i];
                    new((states, stream), escapes.as_slice()).unwrap()
                });
                let [first, second] = &mut both;
                let whole = first.len().min(second.len()) / size * size;
                let (first, first_rest) = first.split_at_mut(whole);
                let (second, second_rest) = second.split_at_mut(whole);
                for (first, second) in first.chunks_mut(size).zip(second.chunks_mut(size)) {
                    let results = Decoder::pull_two([&mut a, &mut b], [first, second]);
                    prop_assert!(results.iter().all(Result::is_ok));
                }
                let results = Decoder::pull_two([&mut a, &mut b], [first_rest, second_rest]);
                prop_assert!(results.iter().all(Result::is_ok));
                prop_assert_eq!([a.finish(), b.finish()], [Ok(INITIAL), Ok(INITIAL)]);
                prop_assert!(both[0] == alone);

                prop_assert!(both == planes);

                // One escape too few, one too many.
                let (states, stream, escapes) = &coded[0];
                let more = [escapes.as_slice(), &[1]].concat();
                let fewer = escapes.as_slice().split_last().map(|(_, fewer)| fewer);
                for escapes in [Some(&more[..]), fewer].into_iter().flatten() {
                    let mut decoder = new((states, stream), escapes).unwrap();
                    prop_assert_eq!(decoder.pull(&mut alone), Ok(()));
                    prop_assert_eq!(decoder.finish(), Err(wrong_count()));
                }
            }
        }

        /// Elements that are split and merged on the way: as if that were done before and after.
        #[test]
        fn elements_are_split_and_merged_on_the_way(
            bytes in proptest::collection::vec(any::<u8>(), 0..6000),
            others in proptest::collection::vec(any::<u8>(), 0..6000),
            likely in 1u8..40,
            rarely in prop::sample::select(&[1u8, 6, 100][..]),
            base in any::<u8>(),
            cut in 0usize..200,
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let map = SlotMap::new(book.lengths().alphabet(), base);
            for platform in Platform::available() {
                for join in joins(book).filter(|join| fuses(platform, book.limit(), *join)) {
                    let flow = if likely & 1 == 0 {
                        Flow::Streaming { ahead: &bytes[..bytes.len() / usize::from(likely)] }
                    } else {
                        Flow::Cached
                    };
                    let case = Case { platform, book, map, join, flow };
                    let last = (book.lengths().alphabet().symbols() - 1) as u8;
                    let planes = [&bytes, &others].map(|bytes| {
                        let steps = bytes.len() / 128;
                        let (symbols, other) = bytes.split_at(64 * steps);
                        // Mostly in the window, now and then anything.
                        let symbol = |&b: &u8| match b.checked_add(rarely) {
                            Some(_) => map.base.wrapping_add((b % likely) & last),
                            None => b.reverse_bits() & last,
                        };
                        let symbols = symbols.iter().map(symbol).collect();
                        let other = other[..other_bytes(join, 64 * steps)].to_vec();
                        case.split((symbols, other))
                    });
                    case.merge(&planes, cut);
                }
            }
        }
    }

    /// The ways in which a book's symbols can be a part of elements.
    fn joins(book: &Codebook) -> impl Iterator<Item = Join> {
        let signs = match book.lengths().alphabet() {
            Alphabet::Plain { width } if width < 8 => Some(Join::Signs { width }),
            _ => None,
        };
        signs.into_iter().chain([Join::High])
    }

    /// Bytes of the other plane.
    fn other_bytes(join: Join, symbols: usize) -> usize {
        if join == Join::High { symbols } else { symbols / 8 }
    }

    /// How elements are split and merged.
    #[derive(Clone, Copy)]
    struct Case<'a> {
        platform: Platform,
        book: &'a Codebook,
        map: SlotMap,
        join: Join,
        flow: Flow<'a>,
    }

    /// Elements, and what they are coded as.
    struct Split {
        elements: Vec<u8>,
        symbols: Vec<u8>,
        other: Vec<u8>,
        states: Vec<u8>,
        stream: Vec<u8>,
        escapes: Vec<u8>,
    }

    impl<'s> Case<'s> {
        /// Encodes elements in both ways.
        fn split(self, (symbols, other): (Vec<u8>, Vec<u8>)) -> Split {
            let Self { platform, book, map, join, .. } = self;
            let elements = match join {
                Join::High => {
                    let mut words = vec![0; 2 * symbols.len()];
                    deal::merge16(platform, &other, &symbols, &mut words);
                    words
                }
                Join::Signs { width } => {
                    let sign = |i: usize| other[i / 8] >> (i % 8) & 1;
                    symbols.iter().enumerate().map(|(i, s)| sign(i) << width | s).collect()
                }
            };
            let room = stream_capacity(book.limit(), 12 * symbols.len() as u64);
            let flows = [
                None,
                Some(Flow::Cached),
                Some(Flow::Fetching { ahead: &elements }),
                Some(Flow::Streaming { ahead: &[] }),
            ];
            let coded = flows.map(|flow| {
                let mut encoder = Encoder::new(platform, book, map, &INITIAL, true);
                let (mut stream, mut escapes) = (vec![0; room], Escapes::default());
                escapes.clear(symbols.len());
                let mut split = other.clone();
                if let Some(flow) = flow {
                    split.fill(0);
                    let input = ToSplit { join, elements: &elements, other: &mut split, flow };
                    let pushed = encoder.push_split(input, &mut stream, &mut escapes);
                    assert_eq!(pushed, Ok(true));
                } else {
                    encoder.push(&symbols, &mut stream, &mut escapes).unwrap();
                }
                let mut states = vec![0; states_bytes(book.limit())];
                let length = encoder.finish(&mut states);
                stream.truncate(length);
                (states, stream, escapes.as_slice().to_vec(), split)
            });
            assert!(coded.iter().all(|way| *way == coded[0]), "{join:?}");
            let [(states, stream, escapes, other), ..] = coded;
            Split { elements, symbols, other, states, stream, escapes }
        }

        fn open<'a>(
            &'a self,
            split: &'a Split,
            stream: &'a [u8],
            escapes: &'a [u8],
        ) -> Decoder<'a> {
            let reading = Reading::Symbols { base: self.map.base, escapes };
            Decoder::new(self.platform, self.book, reading, &split.states, stream).unwrap()
        }

        fn output<'a>(self, split: &'a Split, elements: &'a mut [u8]) -> ToMerge<'a>
        where
            's: 'a,
        {
            ToMerge { join: self.join, other: &split.other, elements, flow: self.flow }
        }

        /// Decodes elements alone and two at a time; also where `cut` words are missing, or an escape, or one is too
        /// many.
        fn merge(self, planes: &[Split; 2], cut: usize) {
            let [whole, _] = planes;
            let fewer = &whole.stream[..whole.stream.len().saturating_sub(cut)];
            let more = [&whole.escapes[..], &[1]].concat();
            let short = whole.escapes.split_last().map_or(&more[..], |(_, fewer)| fewer);
            let all = (&whole.stream[..], &whole.escapes[..]);
            let ways =
                [all, (fewer, &whole.escapes), (&whole.stream, &more), (&whole.stream, short)];
            for (stream, escapes) in ways {
                let mut symbols = vec![0; whole.symbols.len()];
                let mut apart = self.open(whole, stream, escapes);
                let expected = apart.pull(&mut symbols).and_then(|()| apart.finish());
                let intact = (stream, escapes) == all;
                assert_eq!(
                    expected == Ok(INITIAL),
                    intact || whole.stream.is_empty() && escapes == all.1
                );

                let mut elements = vec![0; whole.elements.len()];
                let mut alone = self.open(whole, stream, escapes);
                let pulled = alone.pull_merged(self.output(whole, &mut elements));
                assert_eq!(pulled.and_then(|()| alone.finish()), expected);
                assert!(!intact || elements == whole.elements);

                let mut merged = planes.each_ref().map(|split| vec![0; split.elements.len()]);
                for order in [[0, 1], [1, 0]] {
                    let mut coders = order.map(|index| match index {
                        0 => self.open(whole, stream, escapes),
                        _ => self.open(&planes[1], &planes[1].stream, &planes[1].escapes),
                    });
                    merged.iter_mut().for_each(|elements| elements.fill(0));
                    let [first, second] = &mut merged;
                    let (first, second) =
                        if order == [0, 1] { (first, second) } else { (second, first) };
                    let outs = [
                        self.output(&planes[order[0]], first),
                        self.output(&planes[order[1]], second),
                    ];
                    let [a, b] = &mut coders;
                    let pulled = Decoder::pull_merged_of_two([a, b], outs);
                    let mut results = pulled.into_iter().zip(&coders).zip(order);
                    assert!(results.all(|((pulled, coder), index)| {
                        let result = pulled.and_then(|()| coder.finish());
                        if index == 0 { result == expected } else { result == Ok(INITIAL) }
                    }));
                    assert!(merged[1] == planes[1].elements);
                    assert!(!intact || merged[0] == whole.elements);
                }
            }
        }
    }

    /// Who looks at memory after an error must see what was written to it past the caches, and later than that
    /// what he writes himself.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_way_out_orders_what_went_past_the_caches() {
        use crate::platform::avx512::FENCES;
        const SYMBOLS: usize = 8 * LANES;
        for book in BOOKS.iter() {
            let map = SlotMap::new(book.lengths().alphabet(), 0);
            let last = book.lengths().alphabet().symbols() - 1;
            for platform in Platform::available() {
                for join in joins(book).filter(|join| fuses(platform, book.limit(), *join)) {
                    let flow = Flow::Streaming { ahead: &[] };
                    let case = Case { platform, book, map, join, flow };
                    let symbols = (0..SYMBOLS).map(|i| ((i * i % 7) & last) as u8).collect();
                    let split = case.split((symbols, vec![0x5a; other_bytes(join, SYMBOLS)]));
                    for cut in [false, true] {
                        let stream = if cut { &[][..] } else { &split.stream };
                        let mut decoders =
                            [(); 3].map(|()| case.open(&split, stream, &split.escapes));
                        let [alone, first, second] = &mut decoders;
                        // Lines begin where whole ones are.
                        let mut room = [(); 3].map(|()| vec![0; split.elements.len() + 64]);
                        let [a, b, c] = room.each_mut().map(|room| {
                            let start = room.as_ptr().align_offset(64);
                            case.output(&split, &mut room[start..][..split.elements.len()])
                        });
                        let before = FENCES.get();
                        let pulled = alone.pull_merged(a);
                        assert!(FENCES.get() > before, "{platform:?}, {join:?}, {cut}");
                        assert_eq!(pulled.is_err(), cut && !split.stream.is_empty());
                        let before = FENCES.get();
                        let [_, _] = Decoder::pull_merged_of_two([first, second], [b, c]);
                        assert!(FENCES.get() >= before + 2, "{platform:?}, {join:?}, {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn bits_above_the_sign_are_noticed() {
        for book in BOOKS.iter().filter(|book| book.limit() == CodeLimit::Short) {
            let Some(join @ Join::Signs { width }) = joins(book).next() else { continue };
            for platform in Platform::available().filter(|p| fuses(*p, CodeLimit::Short, join)) {
                for (place, bit) in (0..256).zip((0..8).cycle()) {
                    let mut elements = vec![0; 256];
                    elements[place] = 1 << bit;
                    let mut encoder =
                        Encoder::new(platform, book, SlotMap::IDENTITY, &INITIAL, true);
                    let (mut stream, mut signs) = ([0; 512], [0; 32]);
                    let mut escapes = Escapes::default();
                    escapes.clear(elements.len());
                    let flow = Flow::Cached;
                    let input = ToSplit { join, elements: &elements, other: &mut signs, flow };
                    let fits = encoder.push_split(input, &mut stream, &mut escapes).unwrap();
                    assert_eq!(fits, bit <= width);
                    assert_eq!(signs[place / 8], u8::from(bit == width) << (place % 8));
                }
            }
        }
    }

    #[test]
    fn all_platforms_want_the_same_room() {
        for book in BOOKS.iter() {
            let slots: Vec<u8> = book.decode_table().iter().map(|entry| *entry as u8).collect();
            for room in (0..400).step_by(7) {
                let mut results =
                    Platform::available().map(|platform| encoded(platform, book, &slots, room));
                let first = results.next().unwrap();
                assert!(results.all(|result| result == first));
            }
        }
    }
}
