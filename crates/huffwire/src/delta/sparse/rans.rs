//! Range coding by asymmetric numeral systems (Duda, arXiv 1311.2540), with a state of 64 bits and words of 32.
//!
//! The encoder is a stack: what it is given last the decoder gets first.

use super::super::header::WHAT;
use crate::error::{Error, Result};

/// The state before the first interval is encoded, and after the last one is decoded: the smallest.
pub(super) const START: u64 = 1 << 31;

/// The largest state, and one more.
const END: u64 = 1 << 63;

/// Interval of numbers of `bits` bits: at most 30.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: u32,
    /// At least 1.
    pub(super) size: u32,
    pub(super) bits: u32,
}

/// Encoder of a chain.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) state: u64,
    /// What the decoder takes, the last word first.
    pub(super) words: Vec<u32>,
}

impl Encoder {
    pub(super) const fn new() -> Self {
        Self { state: START, words: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.state = START;
        self.words.clear();
    }

    #[inline(always)]
    fn put(&mut self, Interval { start, size, bits }: Interval) {
        let size = u64::from(size);
        if self.state >= size << (63 - bits) {
            self.words.push(self.state as u32);
            self.state >>= 32;
        }
        let (whole, part) = (self.state / size, self.state % size);
        self.state = (whole << bits) + part + u64::from(start);
    }
}

/// Encodes the intervals of each chain, the last one first. The chains take turns: while one waits for its division,
/// the others have theirs to do.
pub(super) fn encode(chains: &[Vec<Interval>], encoders: &mut [Encoder]) {
    let longest = chains.iter().map(Vec::len).max().unwrap_or(0);
    for turn in 0..longest {
        for (intervals, encoder) in chains.iter().zip(&mut *encoders) {
            if let Some(place) = intervals.len().checked_sub(turn + 1) {
                encoder.put(intervals[place]);
            }
        }
    }
}

/// Decodes intervals in the order in which they were given to the encoder.
#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    state: u64,
    words: std::slice::Iter<'a, [u8; 4]>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(state: u64, words: &'a [[u8; 4]]) -> Result<Self> {
        if !(START..END).contains(&state) {
            return Err(Error::malformed(WHAT, 0, "a state that no chain has"));
        }
        Ok(Self { state, words: words.iter() })
    }

    /// A number in the next interval, of so many bits.
    #[inline(always)]
    pub(super) const fn peek(&self, bits: u32) -> u32 {
        (self.state & ((1 << bits) - 1)) as u32
    }

    /// Takes an interval, in which the number that was last seen lies.
    #[inline(always)]
    pub(super) fn take(&mut self, Interval { start, size, bits }: Interval) -> Result<()> {
        let above = u64::from(self.peek(bits) - start);
        self.state = u64::from(size) * (self.state >> bits) + above;
        if self.state < START {
            let word = self.words.next();
            let word = word.ok_or_else(|| Error::malformed(WHAT, 0, "a chain ends too early"))?;
            self.state = self.state << 32 | u64::from(u32::from_le_bytes(*word));
        }
        Ok(())
    }

    /// Succeeds at the end.
    pub(super) fn finish(&self) -> Result<()> {
        if self.state == START && self.words.as_slice().is_empty() {
            return Ok(());
        }
        Err(Error::malformed(WHAT, 0, "a chain does not end where it began"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intervals_come_back(
            intervals in prop::collection::vec((1u32..=30, any::<u32>(), any::<u32>()), 0..300),
        ) {
            let intervals: Vec<Interval> = intervals
                .into_iter()
                .map(|(bits, start, size)| {
                    let start = start % (1 << bits);
                    Interval { start, size: 1 + size % ((1 << bits) - start), bits }
                })
                .collect();
            // Chains of other lengths beside it change nothing.
            let chains = [intervals.clone(), intervals[..intervals.len() / 2].to_vec()];
            let mut encoders = [Encoder::new(), Encoder::new()];
            encode(&chains, &mut encoders);
            for (intervals, Encoder { state, words }) in chains.iter().zip(encoders) {
                let words: Vec<[u8; 4]> = words.into_iter().rev().map(u32::to_le_bytes).collect();
                let mut decoder = Decoder::new(state, &words).unwrap();
                for &interval in intervals {
                    let Interval { start, size, bits } = interval;
                    prop_assert!((start..start + size).contains(&decoder.peek(bits)));
                    decoder.take(interval).unwrap();
                }
                prop_assert!(decoder.finish().is_ok());
            }
        }
    }

    #[test]
    fn impossible_states_are_refused() {
        assert!(Decoder::new(START - 1, &[]).is_err());
        assert!(Decoder::new(END, &[]).is_err());
        let decoder = Decoder::new(START + 1, &[]).unwrap();
        assert!(decoder.finish().is_err());
    }
}
