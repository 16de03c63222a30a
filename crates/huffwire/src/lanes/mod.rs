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

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::codebook::{CodeLimit, Codebook};
use crate::error::{Error, Result};
use crate::platform::Platform;

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
/// the returned length is left undefined. Uses [`Platform::detect`].
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
    encode_on(Platform::detect(), book, slots, states, stream)
}

/// [`encode`] on a platform of the caller's choice.
///
/// # Errors
/// As [`encode`].
pub fn encode_on(
    platform: Platform,
    book: &Codebook,
    slots: &[u8],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let needed = states_bytes(book.limit());
    let available = states.len();
    let states = states.get_mut(..needed).ok_or(Error::OutputTooSmall { needed, available })?;
    match (platform, book.limit()) {
        #[cfg(target_arch = "x86_64")]
        (Platform::Avx512(proof), CodeLimit::Short) => {
            avx512::encode(proof, book, slots, states, stream)
        }
        (_, CodeLimit::Short) => portable::encode::<portable::Short>(book, slots, states, stream),
        (_, CodeLimit::Long) => portable::encode::<portable::Long>(book, slots, states, stream),
    }
}

/// Decodes `slots.len()` slots; `states` and `stream` must be exactly what [`encode`] made. Uses
/// [`Platform::detect`].
///
/// # Errors
/// [`Error::Malformed`] when a state has no sentinel, the stream ends too early, or the lanes do not
/// end where every encoder begins. The contents of `slots` are undefined after an error.
pub fn decode(book: &Codebook, states: &[u8], stream: &[u8], slots: &mut [u8]) -> Result<()> {
    decode_on(Platform::detect(), book, states, stream, slots)
}

/// [`decode`] on a platform of the caller's choice.
///
/// # Errors
/// As [`decode`].
pub fn decode_on(
    platform: Platform,
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<()> {
    let (needed, available) = (states_bytes(book.limit()), states.len());
    if available != needed {
        return Err(Error::Truncated { what: "lane states", offset: 0, needed, available });
    }
    match (platform, book.limit()) {
        #[cfg(target_arch = "x86_64")]
        (Platform::Avx512(proof), CodeLimit::Short) => {
            avx512::decode(proof, book, states, stream, slots)
        }
        (_, CodeLimit::Short) => portable::decode::<portable::Short>(book, states, stream, slots),
        (_, CodeLimit::Long) => portable::decode::<portable::Long>(book, states, stream, slots),
    }
}

// The errors of all implementations: platforms must not differ in what they report either.

const WHAT: &str = "a coded plane";

#[cold]
fn outside_alphabet() -> Error {
    Error::codebook("a symbol outside the codebook's alphabet")
}

#[cold]
const fn no_room(needed: usize, available: usize) -> Error {
    Error::OutputTooSmall { needed, available }
}

#[cold]
fn no_sentinel(offset: usize) -> Error {
    Error::malformed(WHAT, offset, "a lane state without its sentinel bit")
}

#[cold]
fn out_of_words() -> Error {
    Error::malformed(WHAT, 0, "the lanes want more words than the stream has")
}

#[cold]
fn wrong_end() -> Error {
    Error::malformed(WHAT, 0, "the lanes do not end where an encoder begins")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::CodebookSet;
    use crate::codebook::build::{Effort, plain};
    use crate::pmf::Pmf;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn book(limit: CodeLimit, skew: f64) -> Codebook {
        let weights: Vec<f64> = (0..256).map(|i| skew.powi(i) + 1e-9).collect();
        let pmf = Pmf::from_weights(&weights).unwrap();
        Codebook::new(plain(&pmf, 8, limit, Effort::Quick).unwrap().lengths)
    }

    /// Books that take every path: narrow, narrow by chance, wide, of few slots, long.
    static BOOKS: LazyLock<Vec<Codebook>> = LazyLock::new(|| {
        let mut books = CodebookSet::builtin().books().to_vec();
        for limit in [CodeLimit::Short, CodeLimit::Long] {
            books.extend([0.3, 0.5, 0.8, 0.97, 1.0].map(|skew| book(limit, skew)));
        }
        for width in [1, 3, 6, 7] {
            let weights: Vec<f64> = (1..=1 << width).map(f64::from).collect();
            let pmf = Pmf::from_weights(&weights).unwrap();
            let built = plain(&pmf, width, CodeLimit::Short, Effort::Quick).unwrap();
            books.push(Codebook::new(built.lengths));
        }
        books
    });

    /// What a platform makes of slots: states and stream, or the error.
    fn encoded(
        platform: Platform,
        book: &Codebook,
        slots: &[u8],
        room: usize,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut states = vec![0; states_bytes(book.limit())];
        let mut stream = vec![0; room];
        let length = encode_on(platform, book, slots, &mut states, &mut stream)?;
        stream.truncate(length);
        Ok((states, stream))
    }

    /// Decodes on every platform; all must agree, on errors too.
    fn decoded(book: &Codebook, states: &[u8], stream: &[u8], count: usize) -> Result<Vec<u8>> {
        let mut results = Platform::available().map(|platform| {
            let mut slots = vec![0xee; count];
            decode_on(platform, book, states, stream, &mut slots).map(|()| slots)
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first), "platforms decode differently");
        first
    }

    fn round_trip(book: &Codebook, slots: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let length = |s: &u8| u64::from(book.encode_table()[usize::from(*s)] >> 12);
        let bits: u64 = slots.iter().map(length).sum();
        let room = stream_capacity(book.limit(), bits);
        let mut results =
            Platform::available().map(|platform| encoded(platform, book, slots, room).unwrap());
        let (states, stream) = results.next().unwrap();
        for result in results {
            assert!(result.0 == states, "platforms end in different states");
            assert!(result.1 == stream, "platforms write different streams");
        }
        assert!(stream.len() as u64 <= bits / 8, "never longer than the code words");
        let decoded = decoded(book, &states, &stream, slots.len()).unwrap();
        let escape = book.lengths().escape_slot();
        let zero = (book.lengths().zero() > 0).then_some(crate::codebook::ZERO_SLOT as u8);
        for (&out, &slot) in decoded.iter().zip(slots) {
            let coded = book.lengths().direct(slot) > 0 || zero == Some(slot);
            assert_eq!(out, if coded { slot } else { escape.unwrap() });
        }
        (states, stream)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_slots_round_trip(
            slots in proptest::collection::vec(any::<u8>(), 0..2000),
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let last = (book.lengths().alphabet().slots() - 1) as u8;
            let slots: Vec<u8> = slots.iter().map(|slot| slot & last).collect();
            round_trip(book, &slots);
        }

        #[test]
        fn likely_slots_round_trip(
            windows in proptest::collection::vec(any::<prop::sample::Index>(), 0..2000),
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            // A random window finds each slot as often as its code's length says.
            let table = book.decode_table();
            let slot = |window: &prop::sample::Index| table[window.index(table.len())] as u8;
            let slots: Vec<u8> = windows.iter().map(slot).collect();
            round_trip(book, &slots);
        }

        #[test]
        fn damage_never_panics_and_all_platforms_agree_on_it(
            slots in proptest::collection::vec(0u8..20, 0..600),
            flips in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
            cut in any::<prop::sample::Index>(),
            longer in 0usize..200,
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let last = (book.lengths().alphabet().slots() - 1) as u8;
            let slots: Vec<u8> = slots.iter().map(|slot| slot & last).collect();
            let (mut states, mut stream) = round_trip(book, &slots);
            let count = slots.len();
            if !stream.is_empty() {
                let shorter = &stream[..cut.index(stream.len())];
                // Nearly always an error; the coder is no checksum.
                let _ = decoded(book, &states, shorter, count);
                for flip in &flips {
                    let bit = flip.index(8 * stream.len());
                    stream[bit / 8] ^= 1 << (bit % 8);
                }
                let _ = decoded(book, &states, &stream, count);
            }
            let _ = decoded(book, &states, &stream, count + longer);
            let _ = decoded(book, &states, &stream, count.saturating_sub(longer));
            for flip in &flips {
                let bit = flip.index(8 * states.len());
                states[bit / 8] ^= 1 << (bit % 8);
            }
            let _ = decoded(book, &states, &stream, count);
        }

        #[test]
        fn noise_is_decoded_alike(
            states in proptest::collection::vec(any::<u8>(), 256),
            stream in proptest::collection::vec(any::<u8>(), 0..400),
            sane in any::<bool>(),
            count in 0usize..700,
            book in any::<prop::sample::Index>(),
        ) {
            let book = book.get(&BOOKS);
            let mut states = states[..states_bytes(book.limit())].to_vec();
            if sane {
                // Every lane with a sentinel, so that more than the first step is reached.
                states.iter_mut().skip(1).step_by(2).for_each(|byte| *byte |= 1);
            }
            let _ = decoded(book, &states, &stream, count);
        }
    }

    #[test]
    fn every_count_near_whole_steps_round_trips() {
        for book in BOOKS.iter() {
            let last = (book.lengths().alphabet().slots() - 1) as u8;
            for count in (0..195).chain(8190..8194) {
                let slots: Vec<u8> = (0..count).map(|i| (i * i % 37) as u8 & last).collect();
                round_trip(book, &slots);
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
        assert_eq!(decoded(&book, &states, &[], 0), Ok(vec![]));
        assert_eq!(decoded(&book, &states, &[7], 0), Err(wrong_end()), "a word nobody takes");
        states[0] = 1;
        assert_eq!(decoded(&book, &states, &[], 0), Err(wrong_end()), "bits nobody takes");
        (states[0], states[1]) = (0, 2);
        assert_eq!(decoded(&book, &states, &[], 0), Err(wrong_end()), "a bit nobody takes");
        states[7] = 0;
        assert_eq!(decoded(&book, &states, &[], 0), Err(no_sentinel(6)));
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
        for platform in Platform::available() {
            let encode = |slots: &[u8], states: usize, room: usize| {
                let (mut states, mut stream) = (vec![0; states], vec![0; room]);
                encode_on(platform, &book, slots, &mut states, &mut stream)
            };
            assert_eq!(encode(&[2], 128, 64), Err(outside_alphabet()));
            assert_eq!(encode(&[1], 127, 64), Err(no_room(128, 127)));
            assert_eq!(encode(&[1; 2000], 128, 64), Err(no_room(64 + 16, 64)));
            assert_eq!(encode(&[1; 64], 128, 64), Ok(0));
        }
    }

    #[test]
    fn all_platforms_want_the_same_room() {
        for book in BOOKS.iter() {
            let slots: Vec<u8> = book.decode_table().iter().map(|entry| *entry as u8).collect();
            for room in (0..400).step_by(7) {
                let mut results =
                    Platform::available().map(|platform| encoded(platform, book, &slots, room));
                let first = results.next().unwrap();
                assert!(results.all(|result| result == first));
            }
        }
    }
}
