//! The codes of QSGD: gaps and levels in Elias ω.

use super::super::values::{Value, Values, ValuesMut, with_values};
use super::elias::{Bits, Code, Omega, Words, words};
use super::symbols::gaps;
use super::{Sizes, ValueEncoder, malformed, put_count, read_count, too_long, too_wide};
use crate::error::Result;

/// The two codes of the QSGD paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QsgdScheme {
    /// For each value that is not 0: the number of zeros before it, its sign, and its level (section 3.2 and appendix
    /// A.2). For few levels, where most values are 0.
    Sparse,
    /// For each value: its level plus 1, and its sign if it is not 0 (appendix A.3). For many levels.
    Dense,
}

/// The codes of QSGD (Alistarh et al., NIPS 2017). All numbers are in Elias ω. Norms are not part of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QsgdElias {
    scheme: QsgdScheme,
}

impl QsgdElias {
    /// An encoder with this scheme.
    #[must_use]
    pub const fn new(scheme: QsgdScheme) -> Self {
        Self { scheme }
    }
}

impl ValueEncoder for QsgdElias {
    fn name(&self) -> &'static str {
        match self.scheme {
            QsgdScheme::Sparse => "qsgd-elias",
            QsgdScheme::Dense => "qsgd-elias-dense",
        }
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, values.len());
        let mut bits = Bits::new();
        with_values!(Values, values, values => match self.scheme {
            QsgdScheme::Sparse => put_sparse(values, &mut bits),
            QsgdScheme::Dense => put_dense(values, &mut bits),
        });
        bits.finish(out)?;
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, values.len())?;
        let words = words(reader.rest());
        with_values!(ValuesMut, values, values => match self.scheme {
            QsgdScheme::Sparse => take_sparse(&words, values),
            QsgdScheme::Dense => take_dense(&words, values),
        })
    }
}

fn put_sparse<S: Value>(values: &[S], bits: &mut Bits) {
    let last = gaps(values, |gap, value| {
        let value: i32 = value.into();
        bits.put::<Omega>(gap as u64);
        bits.put_bit(value < 0);
        bits.put::<Omega>((value.unsigned_abs() - 1).into());
    });
    // A last gap tells the decoder where the values end.
    bits.put::<Omega>(last as u64);
}

fn take_sparse<S: Value>(words: &Words, values: &mut [S]) -> Result<()> {
    let mut reader = words.reader();
    values.fill(S::default());
    let mut rest = values;
    loop {
        let gap = Omega::take(&mut reader)?;
        let gap = usize::try_from(gap).ok().filter(|gap| *gap <= rest.len());
        let [value, after @ ..] = &mut rest[gap.ok_or_else(too_long)?..] else { break };
        let negative = reader.take_bit()?;
        *value = signed(Omega::take(&mut reader)? + 1, negative)?;
        rest = after;
    }
    words.finish(reader)
}

fn put_dense<S: Value>(values: &[S], bits: &mut Bits) {
    for &value in values {
        let value: i32 = value.into();
        bits.put::<Omega>(value.unsigned_abs().into());
        if value != 0 {
            bits.put_bit(value < 0);
        }
    }
}

fn take_dense<S: Value>(words: &Words, values: &mut [S]) -> Result<()> {
    let mut reader = words.reader();
    for value in values {
        let level = Omega::take(&mut reader)?;
        let negative = level != 0 && reader.take_bit()?;
        *value = signed(level, negative)?;
    }
    words.finish(reader)
}

#[inline(always)]
fn signed<S: Value>(level: u64, negative: bool) -> Result<S> {
    // Levels have 41 bits at most.
    let level = level as i64;
    let value = i32::try_from(if negative { -level } else { level });
    let value = value.map_err(|_| malformed("a value beyond 32 bits"))?;
    S::narrow(value).ok_or_else(|| too_wide(value))
}
