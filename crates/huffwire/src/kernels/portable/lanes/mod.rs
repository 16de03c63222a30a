//! The lane coder in portable safe Rust: the reference that defines the bytes.
//!
//! The compiler can see that no index is out of bounds, and no branch depends on the data in a way that processors
//! cannot predict. Shifts by a variable distance are slow on older processors, and vectors of 16-bit words do not
//! have them. A shift by the length of a code is therefore a multiplication by a power of two, which the tables have
//! for each code.
//!
//! The encoder codes one lane after the other. The decoder of 8-bit codes does three things in turn: arithmetic on all
//! lanes, which the compiler turns into vector instructions; look-ups, lane by lane; and the refill, lane by lane.

mod decode;
mod encode;

pub(crate) use decode::{Decoder, decoder};
pub(crate) use encode::{Encoder, encoder};
// Platforms without vectors for codes of 12 bits.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use {
    decode::{Decoder12, With},
    encode::LaneEncoder,
};

use crate::kernels::lanes::LANES;

/// Words of a code limit: everything in which the encoders of 8-bit and 12-bit codes differ.
pub(crate) trait Word: std::fmt::Debug {
    /// Bits of a refill word; a lane holds [`FLOOR`](crate::kernels::lanes::FLOOR) bits and fewer than a word more.
    const BITS: u32;
    /// Bytes of a refill word.
    const BYTES: usize = Self::BITS as usize / 8;
    /// Reads the state word of a lane.
    fn state(states: &[u8], lane: usize) -> u32;
    /// Writes the state word of a lane.
    fn put_state(states: &mut [u8], lane: usize, state: u32);
    /// The words one step can move: one per lane.
    type Group: AsRef<[u8]>;
    /// A group of zeros.
    const GROUP: Self::Group;
    /// Sets word `index` of a group.
    fn put(group: &mut Self::Group, index: usize, word: u64);
}

/// Codes of at most 8 bits: 24-bit states, refilled by bytes.
#[derive(Debug)]
pub(crate) struct Bits8;

/// Codes of at most 12 bits: 32-bit states, refilled by 16-bit words.
#[derive(Debug)]
pub(crate) struct Bits12;

impl Word for Bits8 {
    const BITS: u32 = 8;
    type Group = [u8; LANES];
    const GROUP: Self::Group = [0; LANES];

    fn state(states: &[u8], lane: usize) -> u32 {
        let [low, middle, high] = [0, 1, 2].map(|place| states[place * LANES + lane]);
        u32::from_le_bytes([low, middle, high, 0])
    }

    fn put_state(states: &mut [u8], lane: usize, state: u32) {
        let bytes = state.to_le_bytes();
        for place in 0..3 {
            states[place * LANES + lane] = bytes[place];
        }
    }

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u64) {
        group[index % LANES] = word as u8;
    }
}

impl Word for Bits12 {
    const BITS: u32 = 16;
    type Group = [u8; 2 * LANES];
    const GROUP: Self::Group = [0; 2 * LANES];

    fn state(states: &[u8], lane: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&states[4 * lane..4 * lane + 4]);
        u32::from_le_bytes(word)
    }

    fn put_state(states: &mut [u8], lane: usize, state: u32) {
        states[4 * lane..4 * lane + 4].copy_from_slice(&state.to_le_bytes());
    }

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u64) {
        let at = 2 * (index % LANES);
        [group[at], group[at + 1]] = (word as u16).to_le_bytes();
    }
}
