//! Codebooks over the symbols of a run alphabet: how they are made, written, read and used.

use sha2::{Digest, Sha256};

use super::super::values::{Value, Values, with_values};
use super::bits::{BitReader, BitWriter};
use super::code::{
    Code, Codes, Decoder, MAX_CODES, is_complete, lengths, multi_symbol, put_escaped,
};
use super::symbols::{Counts, RunAlphabet, Symbol, gaps, pairs, zero_runs};
use super::{malformed, unzigzag, zigzag};
use crate::error::{Error, Result};
use crate::ids::CodebookId;

/// A codebook: the symbols that have codes, and the lengths of the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Book {
    alphabet: RunAlphabet,
    /// In the order of [`Symbol::key`].
    symbols: Vec<Symbol>,
    /// A length for each symbol, and one more for the escape if there is one.
    lengths: Vec<u8>,
}

/// The length that stands in for the code before the first one, as lengths are written as differences.
const FIRST_LENGTH: u8 = 6;

impl Book {
    /// The best book for symbols with positive weights, given in the order of [`Symbol::key`]. `escape` is the weight of
    /// the escape, for all other symbols; `None` for a book without an escape, unless there are too many symbols.
    pub(super) fn new(
        alphabet: RunAlphabet,
        mut weighed: Vec<(Symbol, f64)>,
        mut escape: Option<f64>,
    ) -> Self {
        if weighed.len() >= MAX_CODES {
            // The lightest symbols get no code.
            weighed.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.key().cmp(&b.0.key())));
            let lightest = weighed.split_off(MAX_CODES - 1);
            let sum: f64 = lightest.iter().map(|(_, weight)| weight).sum();
            escape = Some(escape.unwrap_or(0.0) + sum);
            weighed.sort_by_key(|(symbol, _)| symbol.key());
        }
        if weighed.is_empty() {
            escape = Some(1.0);
        }
        let weights = weighed.iter().map(|(_, weight)| *weight).chain(escape);
        let lengths = lengths(&weights.collect::<Vec<_>>());
        let symbols = weighed.into_iter().map(|(symbol, _)| symbol).collect();
        Self { alphabet, symbols, lengths }
    }

    /// The best book for counted symbols. With `escape` it has an escape too, of the smallest weight.
    pub(super) fn from_counts(alphabet: RunAlphabet, counts: &Counts, escape: bool) -> Self {
        let weighed = counts.sorted().into_iter().map(|(symbol, count)| (symbol, count as f64));
        Self::new(alphabet, weighed.collect(), escape.then_some(UNSEEN))
    }

    pub(super) const fn alphabet(&self) -> RunAlphabet {
        self.alphabet
    }

    pub(super) const fn has_escape(&self) -> bool {
        self.lengths.len() > self.symbols.len()
    }

    /// Appends the book: symbols and lengths, each as a difference from the one before. Returns the number of bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let mut writer = BitWriter::new(out);
        writer.put_gamma(self.alphabet.number());
        writer.put_gamma(self.symbols.len() as u32);
        writer.put(self.has_escape().into(), 1);
        let (mut value, mut run) = (0, 0);
        for symbol in &self.symbols {
            let number = zigzag(symbol.value);
            // Runs are differences only between symbols of the same value.
            if number != value {
                run = 0;
            }
            let capped = self.alphabet.cap(symbol.value) == 1;
            writer.put_gamma(number - value);
            if !capped {
                writer.put_gamma(symbol.run - run - 1);
            }
            (value, run) = (number, symbol.run);
        }
        // A book of one code has no lengths.
        if self.lengths.len() > 1 {
            let mut last = FIRST_LENGTH;
            for &length in &self.lengths {
                writer.put_gamma(zigzag(i32::from(length) - i32::from(last)));
                last = length;
            }
        }
        writer.finish();
        out.len() - start
    }

    /// Reads what [`Book::write`] wrote; returns the bytes after it.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let mut reader = BitReader::new(bytes);
        let alphabet = RunAlphabet::from_number(reader.take_gamma()?)?;
        let count = reader.take_gamma()? as usize;
        let escape = reader.take(1) == 1;
        let codes = count + usize::from(escape);
        if codes == 0 || codes > MAX_CODES {
            return Err(malformed(format!("a codebook of {codes} codes")));
        }
        // Each symbol takes at least a bit, so memory is bounded by the bytes received.
        let mut symbols: Vec<Symbol> = Vec::new();
        for _ in 0..count {
            let last = symbols.last().map_or((0, 0), |last| last.key());
            let number = last.0.checked_add(reader.take_gamma()?);
            let number = number.ok_or_else(|| malformed("a value beyond 32 bits"))?;
            let value = unzigzag(number);
            let before = if number == last.0 { last.1 } else { 0 };
            let cap = alphabet.cap(value);
            let gap = if cap == 1 { 0 } else { reader.take_gamma()? };
            let run = gap.checked_add(1).and_then(|gap| before.checked_add(gap));
            match run.filter(|run| *run <= cap) {
                Some(run) => symbols.push(Symbol { value, run }),
                None => return Err(malformed("a run that the alphabet does not have")),
            }
            if reader.is_exhausted() {
                break;
            }
        }
        let mut lengths = Vec::new();
        if codes == 1 {
            lengths.push(0);
        } else {
            let mut last = FIRST_LENGTH;
            for _ in 0..codes {
                let length = i64::from(last) + i64::from(unzigzag(reader.take_gamma()?));
                last = u8::try_from(length).map_err(|_| malformed("a code of no such length"))?;
                lengths.push(last);
                if reader.is_exhausted() {
                    break;
                }
            }
        }
        let rest = reader.finish()?;
        if !is_complete(&lengths) {
            return Err(Error::codebook("its codes are not complete"));
        }
        Ok((Self { alphabet, symbols, lengths }, rest))
    }

    /// The id of the book: the first 8 bytes of SHA-256 over a prefix and the written form.
    pub(super) fn id(&self) -> CodebookId {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        let digest = Sha256::new()
            .chain_update(b"huffwire book of quantized values\0")
            .chain_update(&bytes)
            .finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        CodebookId(id)
    }

    pub(super) fn codes(&self) -> Codes {
        Codes::new(&self.symbols, &self.lengths)
    }

    /// Decodes values from all of `bytes`.
    pub(super) fn decode<S: Value>(&self, bytes: &[u8], values: &mut [S]) -> Result<()> {
        let decoder = Decoder::new(&self.symbols, &self.lengths);
        let mut reader = BitReader::new(bytes);
        // The table with several symbols in an entry pays where there are more values than entries.
        let quick = values.len() >= QUICK_FROM;
        match self.alphabet {
            RunAlphabet::Values if quick => multi_symbol::values(&decoder, &mut reader, values)?,
            RunAlphabet::Values => multi_symbol::one_by_one(&decoder, &mut reader, values)?,
            // Then runs of zeros need only be skipped.
            _ => {
                values.fill(S::default());
                multi_symbol::runs(&decoder, &mut reader, values, quick)?;
            }
        }
        match reader.finish()? {
            [] => Ok(()),
            left => Err(malformed(format!("{} bytes too many", left.len()))),
        }
    }
}

/// From this number of values on, a table with several symbols in an entry is made.
const QUICK_FROM: usize = 1 << 13;

/// The weight of an escape that did not occur: less than any symbol's.
pub(super) const UNSEEN: f64 = 1e-3;

/// Writes the codes of values.
pub(super) fn encode(alphabet: RunAlphabet, codes: &Codes, values: Values<'_>, out: &mut Vec<u8>) {
    with_values!(Values, values, values => encode_values(alphabet, codes, values, out));
}

fn encode_values<S: Value>(alphabet: RunAlphabet, codes: &Codes, values: &[S], out: &mut Vec<u8>) {
    let mut writer = BitWriter::new(out);
    let put = |symbol: Symbol, writer: &mut BitWriter<'_>| {
        if !codes.put(symbol, writer) {
            put_escaped(symbol, writer);
        }
    };
    match alphabet {
        RunAlphabet::Values => {
            let table = codes.of_values();
            let (triples, rest) = values.as_chunks::<3>();
            for triple in triples {
                let triple = triple.map(Into::into);
                let are_put = triple.iter().all(|value| is_narrow(*value))
                    && Code::put_all(triple.map(|value| table[byte(value)]), &mut writer);
                if !are_put {
                    let symbols = triple.map(|value| Symbol { value, run: 1 });
                    symbols.into_iter().for_each(|symbol| put(symbol, &mut writer));
                }
            }
            for &value in rest {
                put(Symbol { value: value.into(), run: 1 }, &mut writer);
            }
        }
        RunAlphabet::Pairs => pairs(values, |value, run| {
            put(Symbol { value: value.into(), run }, &mut writer);
        }),
        RunAlphabet::ZeroRuns(most) => {
            let (table, zeros) = (codes.of_values(), codes.of_zeros(most.min(MOST_IN_TABLE)));
            let last = gaps(values, |gap, value| {
                let value = value.into();
                if is_narrow(value)
                    && let Some(zeros) = zeros.get(gap)
                    && Code::put_all([*zeros, table[byte(value)]], &mut writer)
                {
                    return;
                }
                zero_runs(gap, most, |run| put(Symbol { value: 0, run }, &mut writer));
                put(Symbol { value, run: 1 }, &mut writer);
            });
            zero_runs(last, most, |run| put(Symbol { value: 0, run }, &mut writer));
        }
    }
    writer.finish();
}

/// The longest run of zeros whose code is looked up together with the code of the value after it.
const MOST_IN_TABLE: u32 = 1 << 10;

/// Whether a value fits a byte.
#[inline(always)]
fn is_narrow(value: i32) -> bool {
    i8::try_from(value).is_ok()
}

/// The byte of a value.
#[inline(always)]
const fn byte(value: i32) -> usize {
    value as u8 as usize
}

/// Number of bits of the codes of counted symbols. The codebook is not included.
pub(super) fn coded_bits(codes: &Codes, counts: &Counts) -> u64 {
    let gamma = |number: u32| u64::from(2 * (u64::from(number) + 1).ilog2() + 1);
    let bits = |(symbol, count): (Symbol, u64)| {
        let (bits, found) = codes.bits(symbol);
        let raw = if found { 0 } else { gamma(zigzag(symbol.value)) + gamma(symbol.run - 1) };
        count * (u64::from(bits) + raw)
    };
    counts.sorted().into_iter().map(bits).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_are_read_as_they_were_written() {
        let values: Vec<i32> = (0..3000).map(|i| (i * i % 97 - 40) / 9 * (i % 2)).collect();
        for alphabet in [RunAlphabet::Values, RunAlphabet::Pairs, RunAlphabet::ZeroRuns(7)] {
            for escape in [false, true] {
                let counts = alphabet.count((&values[..]).into());
                let book = Book::from_counts(alphabet, &counts, escape);
                let mut bytes = Vec::new();
                let length = book.write(&mut bytes);
                assert_eq!(length, bytes.len());
                bytes.push(0xff);
                assert_eq!(Book::read(&bytes), Ok((book, &[0xff][..])));
                for cut in 0..length {
                    assert!(Book::read(&bytes[..cut]).is_err(), "{alphabet:?} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_book_of_nothing_has_an_escape() {
        let book = Book::new(RunAlphabet::Values, Vec::new(), None);
        assert!(book.has_escape());
        let mut bytes = Vec::new();
        book.write(&mut bytes);
        assert!(Book::read(&bytes).is_ok());
    }

    #[test]
    fn more_symbols_than_codes_escape() {
        let weighed = |i: i32| (Symbol { value: i, run: 1 }, f64::from(1 + i % 7));
        let mut weighed: Vec<_> = (0..70_000).map(weighed).collect();
        weighed.sort_by_key(|(symbol, _)| symbol.key());
        let book = Book::new(RunAlphabet::Values, weighed, None);
        assert!(book.has_escape());
        assert_eq!(book.lengths.len(), MAX_CODES);
    }
}
