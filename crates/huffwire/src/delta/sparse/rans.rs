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

/// Interval with what it takes to divide by its size without a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Divided {
    interval: Interval,
    /// `2^64` divided by the size, or a little less.
    reciprocal: u64,
}

impl Divided {
    /// Any interval.
    pub(super) const fn new(interval: Interval) -> Self {
        Self { interval, reciprocal: u64::MAX / interval.size as u64 }
    }

    /// An interval of at least 14 bits, faster: its quotients have less than 50 bits, for which floats are exact enough.
    #[inline(always)]
    pub(super) fn wide(interval: Interval) -> Self {
        debug_assert!(interval.bits >= 14);
        const BELOW: f64 = (u64::MAX << 12) as f64;
        let bits = (BELOW / f64::from(interval.size)).to_bits();
        // The number as an integer, by shifts: there are vectors of these on all processors.
        let reciprocal = (bits << 11 | 1 << 63) >> (1023 + 63 - (bits >> 52));
        Self { interval, reciprocal }
    }

    /// The same interval, further up.
    #[inline(always)]
    pub(super) const fn moved(mut self, up: u32) -> Self {
        self.interval.start += up;
        self
    }

    /// The state behind this one, which has room for the interval.
    #[inline(always)]
    fn put_on(self, state: u64) -> u64 {
        let Interval { start, size, bits } = self.interval;
        let size = u64::from(size);
        // The reciprocal may be too small, and the quotient by one.
        let quotient = ((u128::from(state) * u128::from(self.reciprocal)) >> 64) as u64;
        let one_more = state - quotient * size >= size;
        // The quotient goes up by `bits`, and the rest stays below it.
        let spread = (1 << bits) - size;
        state + u64::from(start) + quotient * spread + if one_more { spread } else { 0 }
    }
}

/// Encoder of a chain.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) state: u64,
    /// What the decoder takes, the last word first; of the words behind those that count nothing is known.
    words: Vec<u32>,
    count: usize,
}

impl Encoder {
    pub(super) const fn new() -> Self {
        Self { state: START, words: Vec::new(), count: 0 }
    }

    /// What the decoder takes, the last word first.
    pub(super) fn words(&self) -> &[u32] {
        &self.words[..self.count]
    }
}

/// Encodes the intervals of each chain, the last one first.
#[inline(always)]
pub(super) fn encode(chains: &[&[Divided]], encoders: &mut [Encoder]) {
    let (fours, others) = chains.as_chunks::<4>();
    let (encoders_of_fours, encoders_of_others) = encoders.as_chunks_mut::<4>();
    for (chains, encoders) in fours.iter().zip(encoders_of_fours) {
        encode_together(chains, encoders);
    }
    for (chain, encoder) in others.iter().zip(encoders_of_others) {
        encode_together(std::array::from_ref(chain), std::array::from_mut(encoder));
    }
}

/// Encodes some chains, which take turns: while one waits for its products, the others have theirs to do.
#[inline(always)]
fn encode_together<const N: usize>(chains: &[&[Divided]; N], encoders: &mut [Encoder; N]) {
    for (chain, encoder) in chains.iter().zip(&mut *encoders) {
        // An interval makes one word at most.
        encoder.words.resize(encoder.words.len().max(chain.len()), 0);
        (encoder.state, encoder.count) = (START, 0);
    }
    let shortest = chains.iter().map(|chain| chain.len()).min().unwrap_or(0);
    let mut chains = chains.map(|chain| chain.split_at(shortest));
    let mut states = [START; N];
    let mut counts = [0; N];
    let mut words = encoders.each_mut().map(|encoder| &mut encoder.words[..]);
    let mut put = |chain: usize, divided: Divided| {
        let (state, Interval { size, bits, .. }) = (states[chain], divided.interval);
        // The word is written and counted if it is due, so that the processor has nothing to guess.
        words[chain][counts[chain]] = state as u32;
        let due = state >= u64::from(size) << (63 - bits);
        counts[chain] += usize::from(due);
        states[chain] = divided.put_on(if due { state >> 32 } else { state });
    };
    for (number, (_, rest)) in chains.iter().enumerate() {
        rest.iter().rev().for_each(|interval| put(number, *interval));
    }
    for turn in (0..shortest).rev() {
        for (number, (together, _)) in chains.iter_mut().enumerate() {
            put(number, together[turn]);
        }
    }
    for (encoder, (state, count)) in encoders.iter_mut().zip(states.into_iter().zip(counts)) {
        (encoder.state, encoder.count) = (state, count);
    }
}

/// Decodes intervals in the order in which they were given to the encoder.
#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    state: u64,
    words: &'a [[u8; 4]],
    /// Words that were taken. A chain that ends too early takes words that are not there, which are zeros.
    taken: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(state: u64, words: &'a [[u8; 4]]) -> Result<Self> {
        if !(START..END).contains(&state) {
            return Err(Error::malformed(WHAT, 0, "a state that no chain has"));
        }
        Ok(Self { state, words, taken: 0 })
    }

    /// A number in the next interval, of so many bits.
    #[inline(always)]
    pub(super) const fn peek(&self, bits: u32) -> u32 {
        (self.state & ((1 << bits) - 1)) as u32
    }

    /// Takes an interval, in which the number that was last seen lies. Whether there was enough to take,
    /// [`Decoder::check`] tells later.
    #[inline(always)]
    pub(super) fn take(&mut self, Interval { start, size, bits }: Interval) {
        let above = u64::from(self.peek(bits) - start);
        let state = u64::from(size) * (self.state >> bits) + above;
        let word = self.words.get(self.taken).map_or(0, |word| u32::from_le_bytes(*word));
        // The next word is looked at in any case, so that the processor has nothing to guess.
        let due = state < START;
        self.state = if due { state << 32 | u64::from(word) } else { state };
        self.taken += usize::from(due);
    }

    /// Fails once more words were taken than there are.
    pub(super) fn check(&self) -> Result<()> {
        if self.taken <= self.words.len() {
            return Ok(());
        }
        Err(Error::malformed(WHAT, 0, "a chain ends too early"))
    }

    /// Succeeds at the end.
    pub(super) fn finish(&self) -> Result<()> {
        self.check()?;
        if self.state == START && self.taken == self.words.len() {
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
            let some = |count: usize| intervals[..intervals.len() * count / 7].to_vec();
            let chains = [some(7), some(3), some(0), some(6), some(2), some(7)];
            let divided = chains.clone().map(|chain| {
                chain.into_iter().map(Divided::new).collect::<Vec<_>>()
            });
            let divided = divided.each_ref().map(Vec::as_slice);
            let mut encoders = [const { Encoder::new() }; 6];
            // What was encoded before leaves nothing.
            for count in [1, 5, chains.len()] {
                encode(&divided[..count], &mut encoders[..count]);
            }
            for (intervals, encoder) in chains.iter().zip(encoders) {
                let words: Vec<[u8; 4]> =
                    encoder.words().iter().rev().map(|word| word.to_le_bytes()).collect();
                let mut decoder = Decoder::new(encoder.state, &words).unwrap();
                for &interval in intervals {
                    let Interval { start, size, bits } = interval;
                    prop_assert!((start..start + size).contains(&decoder.peek(bits)));
                    decoder.take(interval);
                }
                prop_assert!(decoder.finish().is_ok());
                if let Some((_, fewer)) = words.split_last() {
                    let mut cut = Decoder::new(encoder.state, fewer).unwrap();
                    for &interval in intervals {
                        if !(interval.start..interval.start + interval.size).contains(&cut.peek(interval.bits)) {
                            break;
                        }
                        cut.take(interval);
                    }
                    prop_assert!(cut.finish().is_err());
                }
            }
        }
    }

    proptest! {
        /// Compared with divisions, at the largest states and at those where a quotient begins.
        #[test]
        fn quotients_are_exact(bits in 1u32..=30, size: u32, state: u64, of_size in 0u64..3) {
            let size = 1 + size % (1 << bits);
            let interval = Interval { start: 5, size, bits };
            let size = u64::from(size);
            let end = size << (63 - bits);
            let state = state % end;
            let near = (state / size * size).saturating_sub(1) + of_size;
            for state in [state, near.min(end - 1), end - 1] {
                let expected = ((state / size) << bits) + state % size + 5;
                prop_assert_eq!(Divided::new(interval).put_on(state), expected);
                if bits >= 14 {
                    prop_assert_eq!(Divided::wide(interval).put_on(state), expected);
                }
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
