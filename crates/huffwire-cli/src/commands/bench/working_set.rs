//! The bytes that every candidate codes, and the memory that it codes them into.
//!
//! All of it is there, and touched, before the clock runs. Candidates share it: each decodes right after
//! it encoded, so nothing has to outlive its turn, and in the cache there is room for all three buffers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};

use ::huffwire::Dtype;
use anyhow::{Context, Result, bail};

use huffwire_io::{Input, Piece};

use super::candidate::Candidate;

/// Messages begin at cache lines, as tensors in frameworks do.
const LINE: usize = 64;

/// The messages, and memory for all that becomes of them.
pub(super) struct WorkingSet {
    pub(super) messages: Vec<Message>,
    pub(super) raw: Buffer,
    pub(super) coded: Buffer,
    pub(super) restored: Buffer,
}

/// What is coded by one call.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) dtype: Dtype,
    /// Its place in `raw` and in `restored`.
    pub(super) raw: Range<usize>,
    /// Its place in `coded`: room for whatever any candidate makes of it.
    pub(super) coded: Range<usize>,
}

impl WorkingSet {
    /// Bytes of elements.
    pub(super) fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.raw.len()).sum()
    }

    /// Reads the tensors of the files: `total` bytes of them, or each of them once, cut into messages
    /// of `message` bytes, or one for each tensor.
    pub(super) fn load(
        inputs: &[Input],
        total: Option<usize>,
        message: Option<usize>,
        candidates: &[Candidate],
    ) -> Result<Self> {
        let sources = sources(inputs);
        let shares = shares(&sources, total)?;
        // A size beyond all bounds should be refused before its messages are listed.
        reserve(shares.iter().fold(0, |sum, share| share.saturating_add(sum)).saturating_mul(3))?;
        let mut messages = Vec::new();
        let (mut raw_end, mut coded_end) = (0, 0);
        for (source, &share) in sources.iter().zip(&shares) {
            let dtype = source.dtype;
            for length in source.lengths(share, message)? {
                let capacities =
                    candidates.iter().map(|candidate| candidate.coder.bound(dtype, length));
                let capacity = capacities.max().unwrap_or(0);
                messages.push(Message {
                    dtype,
                    raw: raw_end..raw_end + length,
                    coded: coded_end..coded_end + capacity,
                });
                raw_end = (raw_end + length).next_multiple_of(LINE);
                coded_end = (coded_end + capacity).next_multiple_of(LINE);
            }
        }
        if messages.is_empty() {
            bail!(
                "there is nothing to measure: the input has no tensor, or --working-set holds no element"
            );
        }
        let mut raw = Buffer::new(raw_end)?;
        let mut rest = messages.iter();
        for (source, &share) in sources.iter().zip(&shares) {
            let mut reader = Reader { source, tensor: 0, at: 0 };
            let mut left = share;
            while left > 0
                && let Some(message) = rest.next()
            {
                reader.fill(&mut raw[message.raw.clone()])?;
                left -= message.raw.len();
            }
        }
        let (coded, restored) = (Buffer::new(coded_end)?, Buffer::new(raw_end)?);
        Ok(Self { messages, raw, coded, restored })
    }
}

/// The tensors of one element type.
struct Source<'a> {
    dtype: Dtype,
    tensors: Vec<(&'a Input, &'a Piece)>,
    bytes: usize,
}

fn sources(inputs: &[Input]) -> Vec<Source<'_>> {
    let mut types: BTreeMap<Dtype, Source<'_>> = BTreeMap::new();
    for input in inputs {
        for (_, piece) in input.tensors().filter(|(_, piece)| piece.bytes() > 0) {
            let dtype = piece.dtype;
            let fresh = || Source { dtype, tensors: Vec::new(), bytes: 0 };
            let source = types.entry(dtype).or_insert_with(fresh);
            source.tensors.push((input, piece));
            source.bytes += piece.bytes() as usize;
        }
    }
    types.into_values().collect()
}

/// How many bytes each element type gets: whole units, in the proportions of the input.
fn shares(sources: &[Source<'_>], total: Option<usize>) -> Result<Vec<usize>> {
    let Some(total) = total else { return Ok(sources.iter().map(|source| source.bytes).collect()) };
    let all: usize = sources.iter().map(|source| source.bytes).sum();
    let whole = |source: &Source<'_>, bytes: usize| bytes - bytes % source.dtype.unit_bytes();
    let share = |source: &Source<'_>| -> Result<usize> {
        let share = total as u128 * source.bytes as u128 / all.max(1) as u128;
        Ok(whole(source, usize::try_from(share)?))
    };
    let mut shares = sources.iter().map(share).collect::<Result<Vec<usize>>>()?;
    // What rounding left over goes to the largest that has elements so small.
    let mut left = total - shares.iter().sum::<usize>();
    let mut by_size: Vec<usize> = (0..sources.len()).collect();
    by_size.sort_by_key(|&index| Reverse(sources[index].bytes));
    for index in by_size {
        let more = whole(&sources[index], left);
        shares[index] += more;
        left -= more;
    }
    Ok(shares)
}

impl Source<'_> {
    /// The sizes of the messages that `share` bytes are cut into.
    fn lengths(&self, share: usize, message: Option<usize>) -> Result<Vec<usize>> {
        let unit = self.dtype.unit_bytes();
        let fixed = match message {
            Some(message) if message < unit => {
                let dtype = self.dtype;
                bail!(
                    "--message {message} is too small: an element of type {dtype} has {unit} bytes"
                );
            }
            Some(message) => Some(message - message % unit),
            None => None,
        };
        let mut lengths = Vec::new();
        let mut left = share;
        for (_, piece) in self.tensors.iter().cycle() {
            // With a fixed size the tensors serve as one long tensor.
            let length = fixed.unwrap_or(piece.bytes() as usize).min(left);
            if length == 0 {
                break;
            }
            lengths.push(length);
            left -= length;
        }
        Ok(lengths)
    }
}

/// Reads the tensors of a source one after the other, over and over.
struct Reader<'a> {
    source: &'a Source<'a>,
    tensor: usize,
    at: u64,
}

impl Reader<'_> {
    fn fill(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let (input, piece) = self.source.tensors[self.tensor];
            let left = piece.bytes() - self.at;
            let take = usize::try_from(left)?.min(out.len());
            let (now, later) = out.split_at_mut(take);
            input.file.read_exact_at(now, piece.range.start + self.at)?;
            out = later;
            self.at += take as u64;
            if self.at == piece.bytes() {
                self.at = 0;
                self.tensor = (self.tensor + 1) % self.source.tensors.len();
            }
        }
        Ok(())
    }
}

/// Memory that begins at a cache line, every page of which was written to.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    range: Range<usize>,
}

/// Memory that may not be there.
fn reserve(size: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(size);
    reserved.with_context(|| format!("there is no memory for {size} bytes"))?;
    Ok(bytes)
}

impl Buffer {
    fn new(size: usize) -> Result<Self> {
        let mut bytes = reserve(size.saturating_add(LINE))?;
        // Zeros from the system would be pages that do not exist yet; these are written.
        bytes.resize(size + LINE, 0x5a);
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        Ok(Self { bytes, range: start..start + size })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dtype: Dtype, bytes: usize) -> Source<'static> {
        Source { dtype, tensors: Vec::new(), bytes }
    }

    #[test]
    fn element_types_keep_their_shares_and_nothing_is_lost() {
        let sources = [source(Dtype::Bf16, 30), source(Dtype::Word64, 16)];
        assert_eq!(shares(&sources, None).unwrap(), [30, 16]);
        assert_eq!(shares(&sources, Some(1000)).unwrap(), [656, 344]);
        assert_eq!(shares(&sources, Some(1)).unwrap(), [0, 0]);
        let sources = [source(Dtype::Bf16, 80), source(Dtype::U8, 20)];
        assert_eq!(shares(&sources, Some(65_536)).unwrap(), [52_428, 13_108]);
        assert!(shares(&[], Some(1)).unwrap().is_empty());
    }

    #[test]
    fn buffers_begin_at_cache_lines() {
        let buffer = Buffer::new(100).unwrap();
        assert_eq!((buffer.len(), buffer.as_ptr().align_offset(LINE)), (100, 0));
        assert!(Buffer::new(usize::MAX).is_err());
    }
}
