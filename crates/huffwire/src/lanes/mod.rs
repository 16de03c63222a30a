//! The lane coder: 64 prefix-code streams advancing together, one shared stream of refill words.
//!
//! # The machine
//!
//! A plane's slots (symbols mapped to table indices) are dealt to 64 lanes: slot `i` belongs to lane
//! `i mod 64` at step `i div 64`. A lane of the decoder holds a *window* of `n` unread bits. With
//! words of `w` bits (8 for short codes, 16 for long ones) `w <= n < 2w` between steps. One step:
//!
//! 1. the top 8 (short) or 12 (long) bits of each window index the decode table, which tells the
//!    slot and the length of its code;
//! 2. each lane drops that many bits;
//! 3. each lane left with `n < w`, in ascending order of lanes, takes the next word of the shared
//!    stream, puts it below its bits, and has `n + w`.
//!
//! The encoder runs the film backwards: last step first, last lane first. A lane holds `v`, its `n` unread
//! bits as a number, the bit to be read next on top. To encode a code of `len` bits:
//!
//! 1. if `n + len >= 2w`, the low `w` bits of `v` are emitted, `v >>= w`, `n -= w`;
//! 2. `v |= code << n`, `n += len`.
//!
//! # Why the decoder takes exactly the words the encoder gave
//!
//! Look at one lane and one symbol. The encoder goes from `n` to `n'`, the decoder from `n'` back to
//! `n`. The encoder emits or not, so `n' = n + len - w` or `n' = n + len`. Codes have 1 to `w` bits
//! (8 of 8, 12 of 16), so `n + len` lies in `w + 1 ..= 3w - 1`, and exactly one of the two choices
//! puts `n'` in `w ..= 2w - 1`: "emit" when `n + len >= 2w`, "do not" otherwise. The decoder at `n'`
//! drops `len` bits and has `n' - len`, which is `n - w < w` if the encoder emitted and `n >= w` if
//! it did not. So "fewer than `w` bits left" holds exactly when a word was emitted at this place. The
//! shared stream is a stack: the encoder goes through steps, and lanes within a step, in descending
//! order and pushes, the decoder goes through both in ascending order and pops, so what it finds on
//! top is, by induction from the end, the word that was emitted at this place.
//!
//! Lanes beyond the end of a partial last step neither code nor refill in it, on both sides.
//!
//! # What is stored
//!
//! * The encoder starts with `v = 0`, `n = w` in every lane, which is where the decoder must end: a
//!   cheap test that the stream was read as it was written. It is no checksum.
//! * The encoder's last states are the decoder's first. They are stored in lane order as
//!   little-endian words of `2w` bits, `v` with a sentinel bit above it (`1 << n | v`), so that one
//!   word tells both; a word below `1 << w` has no sentinel in its place and is an error.
//! * The stack is stored bottom first, in the order of emission: the *decoder reads it from its end to
//!   its start*. So the encoder writes forwards into its final place without knowing the length
//!   beforehand, and nothing has to be moved; the decoder, who knows the length, does not mind the
//!   direction. Since the words of a step lie in descending lanes, a vector decoder can load and
//!   reverse the next 64 words before it knows how many of them the step takes. Emitted bits number `Σ len - Σ (n_end - w)`, hence a stream is never longer
//!   than the code words it stands for.
//!
//! # Why lanes
//!
//! A vector register holds the windows of 64 lanes; table lookups are byte permutations of
//! registers; "the lanes that need a word take the next ones in order" is one expand instruction,
//! its reverse one compress. A GPU warp does the same with a ballot and a population count. Nothing
//! depends on the number of threads or the width of the registers: every implementation reads and
//! writes the same bytes, and the one in portable safe Rust (`portable.rs`) defines them.

mod portable;

use crate::codebook::{CodeLimit, Codebook};
use crate::error::{Error, Result};

/// Lanes of the coder.
pub const LANES: usize = 64;

/// Bytes of the stored lane states: 64 words of 16 (short codes) or 32 bits (long codes).
#[must_use]
pub const fn states_bytes(limit: CodeLimit) -> usize {
    match limit {
        CodeLimit::Short => 2 * LANES,
        CodeLimit::Long => 4 * LANES,
    }
}

/// Bytes that [`encode`] may touch when the code words of the slots have `bits` bits in total: the
/// longest possible stream, and room for one more group of words, since whole groups are stored.
#[must_use]
pub const fn stream_capacity(limit: CodeLimit, bits: u64) -> usize {
    (bits / 8) as usize + states_bytes(limit) / 2
}

/// Encodes `slots` with the codes of `book`; returns the length of the stream in bytes.
///
/// `states` takes [`states_bytes`] bytes. `stream` needs [`stream_capacity`] bytes; what lies beyond
/// the returned length is left undefined.
///
/// # Errors
/// [`Error::OutputTooSmall`] when `states` or `stream` is too short, [`Error::InvalidCodebook`] when
/// a slot lies outside the book's alphabet.
pub fn encode(
    book: &Codebook,
    slots: &[u8],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let alphabet = book.lengths().alphabet().slots();
    if alphabet < 256 && slots.iter().any(|&slot| usize::from(slot) >= alphabet) {
        return Err(Error::codebook("a symbol outside the codebook's alphabet"));
    }
    let needed = states_bytes(book.limit());
    let available = states.len();
    let states = states.get_mut(..needed).ok_or(Error::OutputTooSmall { needed, available })?;
    match book.limit() {
        CodeLimit::Short => portable::encode::<portable::Short>(book, slots, states, stream),
        CodeLimit::Long => portable::encode::<portable::Long>(book, slots, states, stream),
    }
}

/// Decodes `slots.len()` slots; `states` and `stream` must be exactly what [`encode`] made.
///
/// # Errors
/// [`Error::Malformed`] when a state has no sentinel, the stream ends too early, or the lanes do not
/// end where every encoder begins. The contents of `slots` are undefined after an error.
pub fn decode(book: &Codebook, states: &[u8], stream: &[u8], slots: &mut [u8]) -> Result<()> {
    if states.len() != states_bytes(book.limit()) {
        return Err(Error::Truncated {
            what: "lane states",
            offset: 0,
            needed: states_bytes(book.limit()),
            available: states.len(),
        });
    }
    match book.limit() {
        CodeLimit::Short => portable::decode::<portable::Short>(book, states, stream, slots),
        CodeLimit::Long => portable::decode::<portable::Long>(book, states, stream, slots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::build::{Effort, plain};
    use crate::pmf::Pmf;
    use proptest::prelude::*;

    fn book(limit: CodeLimit, skew: f64) -> Codebook {
        let weights: Vec<f64> = (0..256).map(|i| skew.powi(i) + 1e-9).collect();
        let pmf = Pmf::from_weights(&weights).unwrap();
        Codebook::new(plain(&pmf, 8, limit, Effort::Quick).unwrap().lengths)
    }

    fn round_trip(book: &Codebook, slots: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let length = |s: &u8| u64::from(book.encode_table()[usize::from(*s)] >> 12);
        let bits: u64 = slots.iter().map(length).sum();
        let mut states = vec![0; states_bytes(book.limit())];
        let mut stream = vec![0; stream_capacity(book.limit(), bits)];
        let length = encode(book, slots, &mut states, &mut stream).unwrap();
        assert!(length as u64 <= bits / 8, "never longer than the code words");
        stream.truncate(length);
        let mut decoded = vec![0; slots.len()];
        decode(book, &states, &stream, &mut decoded).unwrap();
        let escape = book.lengths().escape_slot();
        for (&out, &slot) in decoded.iter().zip(slots) {
            let coded = book.lengths().direct(slot) > 0;
            assert_eq!(out, if coded { slot } else { escape.unwrap() });
        }
        (states, stream)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_slots_round_trip(
            slots in proptest::collection::vec(any::<u8>(), 0..2000),
            skew in 0.3f64..1.0,
            long in any::<bool>(),
        ) {
            let limit = if long { CodeLimit::Long } else { CodeLimit::Short };
            round_trip(&book(limit, skew), &slots);
        }

        #[test]
        fn damage_never_panics(
            slots in proptest::collection::vec(0u8..20, 0..600),
            flip in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
            long in any::<bool>(),
        ) {
            let book = book(if long { CodeLimit::Long } else { CodeLimit::Short }, 0.8);
            let (mut states, mut stream) = round_trip(&book, &slots);
            let mut out = vec![0; slots.len()];
            if !stream.is_empty() {
                let shorter = &stream[..cut.index(stream.len())];
                prop_assert!(decode(&book, &states, shorter, &mut out).is_err());
                let bit = flip.index(8 * stream.len());
                stream[bit / 8] ^= 1 << (bit % 8);
                let _ = decode(&book, &states, &stream, &mut out);
            }
            let bit = flip.index(8 * states.len());
            states[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&book, &states, &stream, &mut out);
        }
    }

    #[test]
    fn every_count_near_whole_steps_round_trips() {
        for limit in [CodeLimit::Short, CodeLimit::Long] {
            let book = book(limit, 0.7);
            for count in (0..130).chain(8190..8194) {
                let slots: Vec<u8> = (0..count).map(|i| (i * i % 37) as u8).collect();
                round_trip(&book, &slots);
            }
        }
    }

    #[test]
    fn the_stream_is_what_the_essay_says() {
        // One lane, codes 0, 10, 11: v = 0, n = 8. The encoder pushes `11`, then `10`, then `0`.
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
        let state = u16::from_le_bytes([states[0], states[1]]);
        assert_eq!(state, 1 << 13 | 0b0_10_11 << 8, "sentinel, then the codes in decoding order");
        let state = u16::from_le_bytes([states[2], states[3]]);
        assert_eq!(state, 1 << 12 | 0b11_11 << 8);
    }

    #[test]
    fn the_stream_is_a_stack_over_steps_and_lanes() {
        // Codes of 8 bits: every lane emits in every step what it took in the step after.
        let alphabet = crate::codebook::Alphabet::Plain { width: 8 };
        let lengths = crate::codebook::Lengths::new(alphabet, CodeLimit::Short, &[8; 256], 0, 0);
        let slots: Vec<u8> = (1..=192).collect();
        let (states, stream) = round_trip(&Codebook::new(lengths.unwrap()), &slots);
        let descending = slots[64..].iter().rev().copied();
        let expected: Vec<u8> = [0; LANES].into_iter().chain(descending).collect();
        assert_eq!(stream, expected);
        let first: Vec<u8> = slots[..64].iter().flat_map(|&slot| [slot, 1]).collect();
        assert_eq!(states, first);
    }

    #[test]
    fn a_state_without_sentinel_and_a_wrong_end_are_errors() {
        let book = book(CodeLimit::Short, 0.5);
        let mut states = [0, 1].repeat(LANES);
        assert_eq!(decode(&book, &states, &[], &mut []), Ok(()));
        assert!(decode(&book, &states, &[7], &mut []).is_err(), "a word nobody takes");
        states[0] = 1;
        assert!(decode(&book, &states, &[], &mut []).is_err(), "bits nobody takes");
        states[1] = 0;
        assert!(decode(&book, &states, &[], &mut []).is_err(), "no sentinel");
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
        assert!(encode(&book, &[2], &mut [0; 128], &mut [0; 64]).is_err());
        assert!(encode(&book, &[1], &mut [0; 127], &mut [0; 64]).is_err());
        assert!(encode(&book, &[1; 2000], &mut [0; 128], &mut [0; 64]).is_err());
    }
}
