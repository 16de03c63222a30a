//! Codebooks over symbols of any alphabet: made, written, read, used.

use sha2::{Digest, Sha256};

use super::super::states::{State, States, with_states};
use super::bits::{BitReader, BitWriter};
use super::code::{Code, Codes, Decoder, MAX_CODES, is_complete, lengths, several};
use super::symbols::{Alphabet, Counts, Symbol, gaps, pairs, zero_runs};
use super::{malformed, too_long, unzigzag, zigzag};
use crate::codebook::CodebookId;
use crate::error::{Error, Result};

/// Which symbols have codes, and how long these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Book {
    alphabet: Alphabet,
    /// In the order of [`Symbol::key`].
    symbols: Vec<Symbol>,
    /// One for each symbol, and one for the escape if there is one.
    lengths: Vec<u8>,
}

/// What the length of the first code is told relative to.
const FIRST_LENGTH: u8 = 6;

impl Book {
    /// The best book for symbols of these positive weights, in the order of [`Symbol::key`]. Symbols that
    /// are not among them take the escape, where one is wanted or needed.
    pub(super) fn new(
        alphabet: Alphabet,
        mut weighed: Vec<(Symbol, f64)>,
        mut escape: Option<f64>,
    ) -> Self {
        if weighed.len() >= MAX_CODES {
            // The lightest go without.
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

    /// The best book for symbols that were counted. With an escape, if wanted, that was never seen.
    pub(super) fn counted(alphabet: Alphabet, counts: &Counts, escape: bool) -> Self {
        let weighed = counts.sorted().into_iter().map(|(symbol, count)| (symbol, count as f64));
        Self::new(alphabet, weighed.collect(), escape.then_some(UNSEEN))
    }

    pub(super) const fn alphabet(&self) -> Alphabet {
        self.alphabet
    }

    pub(super) const fn has_escape(&self) -> bool {
        self.lengths.len() > self.symbols.len()
    }

    /// Writes symbols and lengths, each relative to the one before. Returns the number of bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let mut writer = BitWriter::new(out);
        writer.put_gamma(self.alphabet.number());
        writer.put_gamma(self.symbols.len() as u32);
        writer.put(self.has_escape().into(), 1);
        let (mut state, mut run) = (0, 0);
        for symbol in &self.symbols {
            let number = zigzag(symbol.state);
            // There is nothing to tell where a state has one run, and it is not that of the last symbol.
            if number != state {
                run = 0;
            }
            let capped = self.alphabet.cap(symbol.state) == 1;
            writer.put_gamma(number - state);
            if !capped {
                writer.put_gamma(symbol.run - run - 1);
            }
            (state, run) = (number, symbol.run);
        }
        // A lone code has no length.
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
        let alphabet = Alphabet::from_number(reader.take_gamma()?)?;
        let count = reader.take_gamma()? as usize;
        let escape = reader.take(1) == 1;
        let codes = count + usize::from(escape);
        if codes == 0 || codes > MAX_CODES {
            return Err(malformed(format!("a codebook of {codes} codes")));
        }
        // Each symbol takes bits: what is allocated lies within what was received.
        let mut symbols: Vec<Symbol> = Vec::new();
        for _ in 0..count {
            let last = symbols.last().map_or((0, 0), |last| last.key());
            let number = last.0.checked_add(reader.take_gamma()?);
            let number = number.ok_or_else(|| malformed("a state beyond 32 bits"))?;
            let state = unzigzag(number);
            let before = if number == last.0 { last.1 } else { 0 };
            let cap = alphabet.cap(state);
            let gap = if cap == 1 { 0 } else { reader.take_gamma()? };
            let run = gap.checked_add(1).and_then(|gap| before.checked_add(gap));
            match run.filter(|run| *run <= cap) {
                Some(run) => symbols.push(Symbol { state, run }),
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

    /// The id: the first 8 bytes of SHA-256 over the written form.
    pub(super) fn id(&self) -> CodebookId {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        let digest =
            Sha256::new().chain_update(b"huffwire state book\0").chain_update(&bytes).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        CodebookId(id)
    }

    pub(super) fn codes(&self) -> Codes {
        Codes::new(&self.symbols, &self.lengths)
    }

    /// Decodes states, which must take all of `bytes`.
    pub(super) fn decode<S: State>(&self, bytes: &[u8], states: &mut [S]) -> Result<()> {
        let decoder = Decoder::new(&self.symbols, &self.lengths);
        let mut reader = BitReader::new(bytes);
        // A table of several symbols an entry is worth making where there are more than it has entries.
        let quick = states.len() >= QUICK_FROM;
        match self.alphabet {
            Alphabet::States if quick => several::states(&decoder, &mut reader, states)?,
            Alphabet::States => several::one_by_one(&decoder, &mut reader, states)?,
            // Runs of zeros need only be skipped.
            _ => {
                states.fill(S::default());
                several::runs(&decoder, &mut reader, states, quick)?;
            }
        }
        match reader.finish()? {
            [] => Ok(()),
            left => Err(malformed(format!("{} bytes too many", left.len()))),
        }
    }
}

/// States from which on a table of several symbols an entry is made.
const QUICK_FROM: usize = 1 << 13;

/// Weight of an escape that was never seen: the lightest of all.
pub(super) const UNSEEN: f64 = 1e-3;

/// Writes the codes of states.
pub(super) fn encode(alphabet: Alphabet, codes: &Codes, states: States<'_>, out: &mut Vec<u8>) {
    with_states!(States, states, states => encode_states(alphabet, codes, states, out));
}

fn encode_states<S: State>(alphabet: Alphabet, codes: &Codes, states: &[S], out: &mut Vec<u8>) {
    let mut writer = BitWriter::new(out);
    let put = |symbol: Symbol, writer: &mut BitWriter<'_>| {
        if !codes.put(symbol, writer) {
            put_escaped(symbol, writer);
        }
    };
    match alphabet {
        Alphabet::States => {
            let table = codes.of_states();
            let (triples, rest) = states.as_chunks::<3>();
            for triple in triples {
                let triple = triple.map(Into::into);
                let are_put = triple.iter().all(|state| is_narrow(*state))
                    && Code::put_all(triple.map(|state| table[byte(state)]), &mut writer);
                if !are_put {
                    let symbols = triple.map(|state| Symbol { state, run: 1 });
                    symbols.into_iter().for_each(|symbol| put(symbol, &mut writer));
                }
            }
            for &state in rest {
                put(Symbol { state: state.into(), run: 1 }, &mut writer);
            }
        }
        Alphabet::Pairs => pairs(states, |state, run| {
            put(Symbol { state: state.into(), run }, &mut writer);
        }),
        Alphabet::ZeroRuns(most) => {
            let (table, zeros) = (codes.of_states(), codes.of_zeros(most.min(MOST_IN_TABLE)));
            let last = gaps(states, |gap, state| {
                let state = state.into();
                if is_narrow(state)
                    && let Some(zeros) = zeros.get(gap)
                    && Code::put_all([*zeros, table[byte(state)]], &mut writer)
                {
                    return;
                }
                zero_runs(gap, most, |run| put(Symbol { state: 0, run }, &mut writer));
                put(Symbol { state, run: 1 }, &mut writer);
            });
            zero_runs(last, most, |run| put(Symbol { state: 0, run }, &mut writer));
        }
    }
    writer.finish();
}

/// Runs of zeros whose codes are looked up together with that of the state behind them.
const MOST_IN_TABLE: u32 = 1 << 10;

/// Whether a state is one of a byte.
#[inline(always)]
fn is_narrow(state: i32) -> bool {
    i8::try_from(state).is_ok()
}

/// The byte of a state.
#[inline(always)]
const fn byte(state: i32) -> usize {
    state as u8 as usize
}

/// What follows an escape.
#[cold]
fn put_escaped(symbol: Symbol, writer: &mut BitWriter<'_>) {
    writer.put_gamma(zigzag(symbol.state));
    writer.put_gamma(symbol.run - 1);
}

#[cold]
pub(super) fn take_escaped(reader: &mut BitReader<'_>) -> Result<Symbol> {
    let state = unzigzag(reader.take_gamma()?);
    let run = reader.take_gamma()?.checked_add(1).ok_or_else(too_long)?;
    Ok(Symbol { state, run })
}

/// Bits that symbols take, codebook not counted.
pub(super) fn coded_bits(codes: &Codes, counts: &Counts) -> u64 {
    let gamma = |number: u32| u64::from(2 * (u64::from(number) + 1).ilog2() + 1);
    let bits = |(symbol, count): (Symbol, u64)| {
        let (bits, found) = codes.bits(symbol);
        let raw = if found { 0 } else { gamma(zigzag(symbol.state)) + gamma(symbol.run - 1) };
        count * (u64::from(bits) + raw)
    };
    counts.sorted().into_iter().map(bits).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_are_read_as_they_were_written() {
        let states: Vec<i32> = (0..3000).map(|i| (i * i % 97 - 40) / 9 * (i % 2)).collect();
        for alphabet in [Alphabet::States, Alphabet::Pairs, Alphabet::ZeroRuns(7)] {
            for escape in [false, true] {
                let counts = alphabet.count((&states[..]).into());
                let book = Book::counted(alphabet, &counts, escape);
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
        let book = Book::new(Alphabet::States, Vec::new(), None);
        assert!(book.has_escape());
        let mut bytes = Vec::new();
        book.write(&mut bytes);
        assert!(Book::read(&bytes).is_ok());
    }

    #[test]
    fn more_symbols_than_codes_escape() {
        let weighed = |i: i32| (Symbol { state: i, run: 1 }, f64::from(1 + i % 7));
        let mut weighed: Vec<_> = (0..70_000).map(weighed).collect();
        weighed.sort_by_key(|(symbol, _)| symbol.key());
        let book = Book::new(Alphabet::States, weighed, None);
        assert!(book.has_escape());
        assert_eq!(book.lengths.len(), MAX_CODES);
    }
}
