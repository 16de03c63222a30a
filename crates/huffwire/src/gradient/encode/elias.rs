//! Elias codes of runs: the baseline of Gajjala et al. (2020).

use std::fmt;

use dsi_bitstream::codes::gamma::GammaReadParam;
use dsi_bitstream::codes::omega::OmegaReadParam;
use dsi_bitstream::codes::{DeltaWrite, GammaWrite, OmegaWrite, len_delta, len_gamma, len_omega};
use dsi_bitstream::impls::{BufBitReader, BufBitWriter, MemWordReader, MemWordWriterVec};
use dsi_bitstream::traits::{BitRead, BitSeek, BitWrite, LE};

use super::super::values::{Value, Values, ValuesMut, with_values};
use super::symbols::pairs;
use super::{
    Sizes, ValueEncoder, cut, malformed, put_count, read_count, too_long, too_wide, unzigzag,
    zigzag,
};
use crate::error::{Error, Result};

/// The codes of Peter Elias ("Universal codeword sets and representations of the integers", 1975).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EliasCode {
    /// γ: the length of the number in unary, then the number.
    Gamma,
    /// δ: the length of the number in γ, then the number.
    Delta,
    /// ω: the length of the number, before it the length of that length, and so on. QSGD calls it "recursive".
    Omega,
}

impl EliasCode {
    /// Number of bits of the code of `number`, which is that of `number + 1` in Elias's papers.
    pub(super) const fn bits(self, number: u64) -> u64 {
        let bits = match self {
            Self::Gamma => len_gamma(number),
            Self::Delta => len_delta(number),
            Self::Omega => len_omega(number),
        };
        bits as u64
    }
}

/// Elias codes over pairs of a value and its number of repetitions, the baseline of Gajjala et al. (2020). Each value
/// is a number from 1 up, for 0, -1, 1, -2 and so on; the number of repetitions follows.
///
/// The codes come from the crate `dsi-bitstream`, in its fastest configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elias {
    code: EliasCode,
}

impl Elias {
    /// An encoder with this code.
    #[must_use]
    pub const fn new(code: EliasCode) -> Self {
        Self { code }
    }
}

/// Evaluates an expression that is compiled for each code apart.
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

impl ValueEncoder for Elias {
    fn name(&self) -> &'static str {
        match self.code {
            EliasCode::Gamma => "elias-gamma",
            EliasCode::Delta => "elias-delta",
            EliasCode::Omega => "elias-omega",
        }
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, values.len());
        with_code!(self.code, C => with_values!(Values, values, values => {
            let mut bits = Bits::new();
            put_pairs::<C, _>(values, &mut bits);
            bits.finish(out)?;
        }));
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, values.len())?;
        let words = words(reader.rest());
        with_code!(self.code, C => with_values!(ValuesMut, values, values => {
            decode::<C, _>(&words, values)
        }))
    }
}

fn put_pairs<C: Code, S: Value>(values: &[S], bits: &mut Bits) {
    pairs(values, |value, run| {
        bits.put::<C>(zigzag(value.into()).into());
        bits.put::<C>((run - 1).into());
    });
}

fn decode<C: Code, S: Value>(words: &Words, values: &mut [S]) -> Result<()> {
    let mut reader = words.reader();
    let mut at = 0;
    while at < values.len() {
        let value = take_value::<C>(&mut reader)?;
        let more = C::take(&mut reader)?;
        if more >= (values.len() - at) as u64 {
            return Err(too_long());
        }
        let run = more as usize + 1;
        let value = S::narrow(value).ok_or_else(|| too_wide(value))?;
        values[at] = value;
        if run > 1 {
            values[at..at + run].fill(value);
        }
        at += run;
    }
    words.finish(reader)
}

#[inline(always)]
fn take_value<C: Code>(reader: &mut CheckedReader<'_>) -> Result<i32> {
    let number = u32::try_from(C::take(reader)?);
    Ok(unzigzag(number.map_err(|_| malformed("a value beyond 32 bits"))?))
}

/// One of the codes, for numbers from 0 up. The code of a number is that of the number plus 1 in Elias's papers.
pub(super) trait Code {
    fn put(writer: &mut Writer, number: u64) -> Result<usize, Never>;
    fn take(reader: &mut CheckedReader<'_>) -> Result<u64>;
}

/// The error of writing to memory, which never occurs.
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
        // The crate does the same, but without checking the length.
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

/// A writer of codes.
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

    /// Appends the written bits to `out`, filled to whole bytes.
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

/// The bytes of a stream as the words that the reader takes.
pub(super) struct Words {
    words: Vec<u32>,
    bytes: usize,
    /// Number of bits of 0 at the end of the bytes.
    zeros: usize,
}

/// Bytes as words, with zeros behind the last byte. Bytes keep their order in memory: the reader orders the bytes of
/// words.
pub(super) fn words(bytes: &[u8]) -> Words {
    let (whole, rest) = bytes.as_chunks::<4>();
    let mut words: Vec<u32> = whole.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    if !rest.is_empty() {
        words.push(u32::from_ne_bytes(last));
    }
    let empty = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let last = bytes.len().checked_sub(empty + 1).map_or(0, |last| bytes[last].leading_zeros());
    Words { words, bytes: bytes.len(), zeros: 8 * empty + last as usize }
}

impl Words {
    pub(super) const fn reader(&self) -> CheckedReader<'_> {
        let reader = BufBitReader::new(MemWordReader::new(self.words.as_slice()));
        // From 33 zeros on a number is too large, however it would go on. (Some may belong to the code before it.)
        let (bytes, most) = (self.bytes, 32);
        let all_zeros = if self.zeros > most { Stop::TooLarge } else { Stop::End { bytes } };
        CheckedReader { reader, bytes, all_zeros }
    }

    /// Ends reading: an error unless all bytes were read, and no more.
    pub(super) fn finish(&self, mut reader: CheckedReader<'_>) -> Result<()> {
        let position = reader.reader.bit_pos().map_err(|_| cut(self.bytes))?;
        let read = position.div_ceil(8);
        if read > self.bytes as u64 {
            return Err(cut(self.bytes));
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

/// A reader that refuses lengths beyond those of any valid number. Without that, a damaged stream could make the crate
/// shift by too many bits.
pub(super) struct CheckedReader<'a> {
    reader: BufBitReader<LE, MemWordReader<u32, &'a [u32]>>,
    /// Bytes of the stream.
    bytes: usize,
    /// The reason for which a number stops whose zeros go on to the end.
    all_zeros: Stop,
}

/// More bits than the largest valid number has.
const MOST_BITS: u64 = 40;

/// The reasons for which reading stops.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// The stream has no more than so many bytes.
    End {
        bytes: usize,
    },
    TooLarge,
}

impl Stop {
    #[cold]
    fn into_error(self) -> Error {
        match self {
            Self::End { bytes } => cut(bytes),
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
    const fn end(&self) -> Stop {
        Stop::End { bytes: self.bytes }
    }

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
        self.reader.read_bits(count).map_err(|_| self.end())
    }

    #[inline(always)]
    fn peek_bits(&mut self, count: usize) -> Result<u64, Stop> {
        self.reader.peek_bits(count).map_err(|_| self.end())
    }

    #[inline(always)]
    fn skip_bits(&mut self, count: usize) -> Result<(), Stop> {
        self.reader.skip_bits(count).map_err(|_| self.end())
    }

    #[inline(always)]
    fn skip_bits_after_peek(&mut self, count: usize) {
        self.reader.skip_bits_after_peek(count);
    }

    #[inline(always)]
    fn read_unary(&mut self) -> Result<u64, Stop> {
        match self.reader.read_unary() {
            Ok(number) if number <= MOST_BITS => Ok(number),
            Ok(_) => Err(Stop::TooLarge),
            Err(_) => Err(self.all_zeros),
        }
    }
}
