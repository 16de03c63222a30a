//! `auto`: the encoder whose stream should be the smallest.

use super::super::values::{ValueBuf, Values, ValuesMut};
use super::book::{Book, coded_bits};
use super::symbols::{Counts, Symbol};
use super::{
    Bitmap, Elias, EliasCode, Huffman, MAX_RUNS, QsgdElias, QsgdScheme, Rlh, RunAlphabet,
    RunLengths, Sizes, ValueEncoder, bitmap, cut, malformed, zigzag,
};
use crate::error::Result;

/// The choice among encoders: it estimates the size of each stream from a sample of the values, and uses the encoder
/// with the smallest. Among encoders within a percent of the smallest it uses the fastest.
///
/// The stream is that of the chosen encoder, followed by a byte that names the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auto;

/// The estimated size of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The encoder's [`name`](ValueEncoder::name).
    pub name: &'static str,
    /// Bytes of the stream, codebook included.
    pub bytes: f64,
}

/// Number of consecutive values in a piece of the sample. They are consecutive so that the sample has runs.
const PIECE: usize = 4096;
/// Number of pieces in the sample.
const PIECES: usize = 4;

/// The encoders that may be chosen.
#[derive(Debug, Clone, Copy)]
enum Candidate {
    Bitmap,
    RunLengths,
    Huffman,
    Rlh,
    Qsgd,
    Elias(EliasCode),
}

/// All candidates, the fastest first. The number of a candidate in streams is its place here.
const fn candidates() -> [Candidate; 8] {
    [
        Candidate::Bitmap,
        Candidate::RunLengths,
        Candidate::Huffman,
        Candidate::Rlh,
        Candidate::Qsgd,
        Candidate::Elias(EliasCode::Gamma),
        Candidate::Elias(EliasCode::Delta),
        Candidate::Elias(EliasCode::Omega),
    ]
}

impl Candidate {
    fn encoder(self) -> Box<dyn ValueEncoder> {
        match self {
            Self::Bitmap => Box::new(Bitmap::default()),
            Self::RunLengths => Box::new(RunLengths),
            Self::Huffman => Box::new(Huffman),
            Self::Rlh => Box::new(Rlh),
            Self::Qsgd => Box::new(QsgdElias::new(QsgdScheme::Sparse)),
            Self::Elias(code) => Box::new(Elias::new(code)),
        }
    }

    fn run<R>(self, work: impl FnOnce(&dyn ValueEncoder) -> R) -> R {
        match self {
            Self::Bitmap => BITMAP.with(|bitmap| work(bitmap)),
            _ => work(&*self.encoder()),
        }
    }
}

thread_local! {
    /// A bitmap encoder for each thread, since it keeps its memory for the next call: new megabytes take longer than
    /// coding the values in them.
    static BITMAP: Bitmap = Bitmap::default();
}

/// The estimated sizes of the streams of all encoders that [`Auto`] may choose. They follow from counts of the symbols
/// in a sample of 16384 values; nothing is encoded.
#[must_use]
pub fn estimates(values: Values<'_>) -> Vec<Estimate> {
    let sample = sample(values);
    let sample = sample.view();
    let scale = values.len() as f64 / sample.len().max(1) as f64;
    let single = RunAlphabet::Values.count(sample);
    let rlh = RunAlphabet::Pairs.count(sample);
    let pairs = rlh.sorted();
    let zeros = RunAlphabet::ZeroRuns(MAX_RUNS).count(sample).sorted();
    let bytes_of = |bits: u64| bits as f64 / 8.0 * scale;
    let huffman = |book: Book, counts: &Counts| {
        let mut codebook = Vec::new();
        book.write(&mut codebook);
        // A codebook grows with the number of different symbols, which grows far slower than the number of values.
        let growth = 1.0 + scale.log2() / 4.0;
        bytes_of(coded_bits(&book.codes(), counts)) + codebook.len() as f64 * growth
    };
    let of_pairs = |price: &dyn Fn(Symbol) -> u64| {
        bytes_of(pairs.iter().map(|&(symbol, count)| count * price(symbol)).sum())
    };
    let elias = |code: EliasCode| {
        let bits = |number: u32| code.bits(number.into());
        of_pairs(&|symbol| bits(zigzag(symbol.value)) + bits(symbol.run - 1))
    };
    let varint = |number: u32| 8 * u64::from((32 - number.leading_zeros()).max(1).div_ceil(7));
    let omega = |number: u32| EliasCode::Omega.bits(number.into());
    // Each run of zeros is a gap before a value. A value without zeros before it has a gap of 0, which takes one bit.
    let gaps = zeros.iter().map(|&(symbol, count)| match symbol.value {
        0 => count * (omega(symbol.run) - 1),
        value => count * (2 + omega(value.unsigned_abs() - 1)),
    });
    candidates()
        .iter()
        .map(|candidate| {
            let bytes = match candidate {
                // A stream of that encoder holds no more.
                Candidate::Bitmap if values.len() > bitmap::MOST_VALUES => f64::INFINITY,
                Candidate::Bitmap => BITMAP.with(|bitmap| bitmap.estimate(sample, scale)),
                Candidate::RunLengths => {
                    of_pairs(&|symbol| varint(zigzag(symbol.value)) + varint(symbol.run - 1))
                }
                Candidate::Huffman => {
                    huffman(Book::from_counts(RunAlphabet::Values, &single, false), &single)
                }
                Candidate::Rlh => huffman(Book::from_counts(RunAlphabet::Pairs, &rlh, false), &rlh),
                Candidate::Qsgd => bytes_of(gaps.clone().sum()),
                Candidate::Elias(code) => elias(*code),
            };
            Estimate { name: candidate.encoder().name(), bytes }
        })
        .collect()
}

/// The sample: all values if there are few, else pieces at equal distances.
fn sample(values: Values<'_>) -> ValueBuf {
    let all = values.len();
    let starts: Vec<usize> = if all <= PIECE * PIECES {
        vec![0]
    } else {
        (0..PIECES).map(|piece| piece * (all - PIECE) / (PIECES - 1)).collect()
    };
    let length = if starts.len() == 1 { all } else { PIECE };
    let pieces = starts.iter().map(|&start| values.slice(start, start + length));
    let mut sample = match values {
        Values::I8(_) => ValueBuf::I8(Vec::new()),
        Values::I32(_) => ValueBuf::I32(Vec::new()),
    };
    for piece in pieces {
        match (&mut sample, piece) {
            (ValueBuf::I8(sample), Values::I8(piece)) => sample.extend_from_slice(piece),
            (ValueBuf::I32(sample), Values::I32(piece)) => sample.extend_from_slice(piece),
            _ => {}
        }
    }
    sample
}

impl Auto {
    /// The name of the encoder that [`Auto`] uses for these values.
    #[must_use]
    pub fn choose(values: Values<'_>) -> &'static str {
        candidates()[best(values)].encoder().name()
    }

    /// The name of the encoder that made a stream of `auto`.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) when the last byte names no encoder.
    pub fn chosen(stream: &[u8]) -> Result<&'static str> {
        Ok(split(stream)?.1.encoder().name())
    }
}

fn best(values: Values<'_>) -> usize {
    let estimates = estimates(values);
    let least = estimates.iter().fold(f64::INFINITY, |least, estimate| estimate.bytes.min(least));
    // A stream that is a percent or a few bytes longer is good enough, because the first candidates are faster.
    let good = |estimate: &Estimate| estimate.bytes <= least * 1.01 + 16.0;
    estimates.iter().position(good).unwrap_or(0)
}

/// The stream without its last byte, and the encoder that made it.
fn split(stream: &[u8]) -> Result<(&[u8], Candidate)> {
    let (&number, stream) = stream.split_last().ok_or_else(|| cut(0))?;
    let candidate = candidates().get(usize::from(number)).copied();
    Ok((stream, candidate.ok_or_else(|| malformed(format!("an encoder of number {number}")))?))
}

impl ValueEncoder for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let index = best(values);
        let sizes = candidates()[index].run(|encoder| encoder.encode(values, out))?;
        out.push(index as u8);
        Ok(Sizes { total: sizes.total + 1, ..sizes })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let (stream, candidate) = split(stream)?;
        candidate.run(|encoder| encoder.decode(stream, values))
    }
}
