//! Elias codes of runs: what the paper compares with.

use std::fmt;

use dsi_bitstream::codes::gamma::GammaReadParam;
use dsi_bitstream::codes::omega::OmegaReadParam;
use dsi_bitstream::codes::{DeltaWrite, GammaWrite, OmegaWrite, len_delta, len_gamma, len_omega};
use dsi_bitstream::impls::{BufBitReader, BufBitWriter, MemWordReader, MemWordWriterVec};
use dsi_bitstream::traits::{BitRead, BitSeek, BitWrite, LE};

use super::super::states::{State, States, StatesMut, with_states};
use super::symbols::pairs;
use super::{
    Sizes, StateEncoder, malformed, put_count, read_count, too_long, too_wide, unzigzag, zigzag,
};
use crate::error::{Error, Result};

/// Which of Peter Elias's codes ("Universal codeword sets and representations of the integers", 1975).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EliasCode {
    /// γ: the length in unary.
    Gamma,
    /// δ: the length in γ.
    Delta,
    /// ω: the length, its length, and so on; "recursive" in QSGD's words.
    Omega,
}

impl EliasCode {
    /// Bits of a number from 0 up.
    pub(super) const fn bits(self, number: u64) -> u64 {
        let bits = match self {
            Self::Gamma => len_gamma(number),
            Self::Delta => len_delta(number),
            Self::Omega => len_omega(number),
        };
        bits as u64
    }
}

/// Elias codes over pairs of a state and its number of repetitions, as the paper's baseline: the state as a
/// number from 1 up that alternates in sign, then the repetitions.
///
/// The codes are those of `dsi-bitstream`, in its fastest configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elias {
    code: EliasCode,
}

impl Elias {
    /// With this code.
    #[must_use]
    pub const fn new(code: EliasCode) -> Self {
        Self { code }
    }
}

/// Evaluates an expression for each code, so that what it calls is compiled for each.
macro_rules! with_code {
    ($code:expr, $name:ident => $body:expr) => {
        match $code {
            EliasCode::Gamma => {
                type $name = Gamma;
                $body
            }
            EliasCode::Delta => {
                type $name = Delta;
                $body
            }
            EliasCode::Omega => {
                type $name = Omega;
                $body
            }
        }
    };
}

impl StateEncoder for Elias {
    fn name(&self) -> &'static str {
        match self.code {
            EliasCode::Gamma => "elias-gamma",
            EliasCode::Delta => "elias-delta",
            EliasCode::Omega => "elias-omega",
        }
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, states.len());
        with_code!(self.code, C => with_states!(States, states, states => {
            let mut bits = Bits::new();
            put_pairs::<C, _>(states, &mut bits);
            bits.finish(out)?;
        }));
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, states.len())?;
        let words = words(reader.rest());
        with_code!(self.code, C => with_states!(StatesMut, states, states => {
            decode::<C, _>(&words, states)
        }))
    }
}

fn put_pairs<C: Code, S: State>(states: &[S], bits: &mut Bits) {
    pairs(states, |state, run| {
        bits.put::<C>(zigzag(state.into()).into());
        bits.put::<C>((run - 1).into());
    });
}

fn decode<C: Code, S: State>(words: &Words, states: &mut [S]) -> Result<()> {
    let mut reader = words.reader();
    let mut at = 0;
    while at < states.len() {
        let state = take_state::<C>(&mut reader)?;
        let more = C::take(&mut reader)?;
        if more >= (states.len() - at) as u64 {
            return Err(too_long());
        }
        let run = more as usize + 1;
        let state = S::narrow(state).ok_or_else(|| too_wide(state))?;
        states[at] = state;
        if run > 1 {
            states[at..at + run].fill(state);
        }
        at += run;
    }
    words.finish(reader)
}

#[inline(always)]
fn take_state<C: Code>(reader: &mut CheckedReader<'_>) -> Result<i32> {
    let number = u32::try_from(C::take(reader)?);
    Ok(unzigzag(number.map_err(|_| malformed("a state beyond 32 bits"))?))
}

/// One of the codes, for numbers from 0 up (whose code is that of the number and 1).
pub(super) trait Code {
    fn put(writer: &mut Writer, number: u64) -> Result<usize, Never>;
    fn take(reader: &mut CheckedReader<'_>) -> Result<u64>;
}

/// The only error of writing to memory.
type Never = std::convert::Infallible;
type Writer = BufBitWriter<LE, MemWordWriterVec<u64, Vec<u64>>>;

pub(super) struct Gamma;
pub(super) struct Delta;
pub(super) struct Omega;

impl Code for Gamma {
    #[inline(always)]
    fn put(writer: &mut Writer, number: u64) -> Result<usize, Never> {
        writer.write_gamma(number)
    }

    #[inline(always)]
    fn take(reader: &mut CheckedReader<'_>) -> Result<u64> {
        reader.read_gamma_param::<false>().map_err(Stop::into_error)
    }
}

impl Code for Delta {
    #[inline(always)]
    fn put(writer: &mut Writer, number: u64) -> Result<usize, Never> {
        writer.write_delta(number)
    }

    #[inline(always)]
    fn take(reader: &mut CheckedReader<'_>) -> Result<u64> {
        // As the crate does it, but the length is looked at before it is believed.
        let bits = reader.read_gamma_param::<true>().map_err(Stop::into_error)?;
        if bits > MOST_BITS {
            return Err(Stop::TooLarge.into_error());
        }
        let low = reader.read_bits(bits as usize).map_err(Stop::into_error)?;
        Ok(low + (1 << bits) - 1)
    }
}

impl Code for Omega {
    #[inline(always)]
    fn put(writer: &mut Writer, number: u64) -> Result<usize, Never> {
        writer.write_omega(number)
    }

    #[inline(always)]
    fn take(reader: &mut CheckedReader<'_>) -> Result<u64> {
        reader.read_omega_param::<true>().map_err(Stop::into_error)
    }
}

/// Bits on their way to memory.
pub(super) struct Bits {
    writer: Writer,
    count: u64,
}

impl Bits {
    pub(super) fn new() -> Self {
        Self { writer: BufBitWriter::new(MemWordWriterVec::new(Vec::new())), count: 0 }
    }

    #[inline(always)]
    pub(super) fn put<C: Code>(&mut self, number: u64) {
        let Ok(bits) = C::put(&mut self.writer, number);
        self.count += bits as u64;
    }

    #[inline(always)]
    pub(super) fn put_bit(&mut self, bit: bool) {
        let Ok(bits) = self.writer.write_bits(bit.into(), 1);
        self.count += bits as u64;
    }

    /// Appends them to `out`, whole bytes.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<()> {
        let Ok(words) = self.writer.into_inner();
        let end = out.len() + self.count.div_ceil(8) as usize;
        for word in words.into_inner() {
            // As they lie in memory: the writer orders the bytes of words.
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.truncate(end);
        Ok(())
    }
}

/// Bytes as the words that a reader takes.
pub(super) struct Words {
    words: Vec<u32>,
    bytes: usize,
}

/// Bytes to words, zeros behind. They lie in memory as they come: the reader orders the bytes of words.
pub(super) fn words(bytes: &[u8]) -> Words {
    let (whole, rest) = bytes.as_chunks::<4>();
    let mut words: Vec<u32> = whole.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    if !rest.is_empty() {
        words.push(u32::from_ne_bytes(last));
    }
    Words { words, bytes: bytes.len() }
}

impl Words {
    pub(super) const fn reader(&self) -> CheckedReader<'_> {
        CheckedReader(BufBitReader::new(MemWordReader::new(self.words.as_slice())))
    }

    /// Succeeds when all bytes were read.
    pub(super) fn finish(&self, mut reader: CheckedReader<'_>) -> Result<()> {
        let position = reader.0.bit_pos().map_err(|_| Stop::End.into_error())?;
        let read = position.div_ceil(8);
        if read > self.bytes as u64 {
            return Err(Stop::End.into_error());
        }
        if read < self.bytes as u64 {
            return Err(malformed(format!("{} bytes too many", self.bytes as u64 - read)));
        }
        let left = (8 * read - position) as usize;
        match reader.read_bits(left) {
            Ok(0) => Ok(()),
            _ => Err(malformed("padding that is not zero")),
        }
    }
}

/// A reader that refuses lengths beyond any number of ours: what a damaged stream says would
/// otherwise be shifted by.
pub(super) struct CheckedReader<'a>(BufBitReader<LE, MemWordReader<u32, &'a [u32]>>);

/// Bits of the largest number, and some.
const MOST_BITS: u64 = 40;

/// Why reading cannot go on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    End,
    TooLarge,
}

impl Stop {
    #[cold]
    fn into_error(self) -> Error {
        match self {
            Self::End => malformed("it ends before the last state; it was cut, fetch it again"),
            Self::TooLarge => malformed("a number that is too large"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.into_error().fmt(f)
    }
}

impl std::error::Error for Stop {}

impl CheckedReader<'_> {
    #[inline(always)]
    pub(super) fn take_bit(&mut self) -> Result<bool> {
        Ok(self.read_bits(1).map_err(Stop::into_error)? == 1)
    }
}

impl BitRead<LE> for CheckedReader<'_> {
    type Error = Stop;
    type PeekWord = u64;
    const PEEK_BITS: usize = 32;

    #[inline(always)]
    fn read_bits(&mut self, count: usize) -> Result<u64, Stop> {
        if count as u64 > MOST_BITS {
            return Err(Stop::TooLarge);
        }
        self.0.read_bits(count).map_err(|_| Stop::End)
    }

    #[inline(always)]
    fn peek_bits(&mut self, count: usize) -> Result<u64, Stop> {
        self.0.peek_bits(count).map_err(|_| Stop::End)
    }

    #[inline(always)]
    fn skip_bits(&mut self, count: usize) -> Result<(), Stop> {
        self.0.skip_bits(count).map_err(|_| Stop::End)
    }

    #[inline(always)]
    fn skip_bits_after_peek(&mut self, count: usize) {
        self.0.skip_bits_after_peek(count);
    }

    #[inline(always)]
    fn read_unary(&mut self) -> Result<u64, Stop> {
        match self.0.read_unary() {
            Ok(number) if number <= MOST_BITS => Ok(number),
            Ok(_) => Err(Stop::TooLarge),
            Err(_) => Err(Stop::End),
        }
    }
}
