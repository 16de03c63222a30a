//! The lane coder for AVX2: codes of at most 8 bits, 64 lanes as two halves of 32 bytes.
//!
//! Lanes are kept as in [`super::avx512`]: of the 16 to 23 unread bits of a lane, the lower 8 are its *reserve*,
//! the others its *window*, and only `d = n - 16` is stored of their number; after adding or dropping a code
//! bit 3 of `d ± len` says whether a byte moves, and the low three bits are the new `d`. What AVX2
//! lacks is done in other ways:
//!
//! * **Shifts of bytes and words by a distance of their own** are multiplications of words by powers of two, which
//!   `vpshufb` looks up by the distance.
//! * **Large tables** ([`tables`]) are several tables of 16 bytes, combined by exclusive or.
//! * **Expand and compress** ([`deal`]) are `vpshufb` with one of 256 patterns for each eight lanes.
//!
//! # What a step costs
//!
//! A step of 64 symbols is some 150 instructions in both directions: for the encoder 40 to look up codes and
//! lengths (of 64 slots), 50 for the lanes, 60 to store what they emit; for the decoder 35 to look up (where
//! three tables do), 50 for the lanes, 60 to deal words. Hardly any wait for another: the only chain
//! from step to step in the encoder is one multiplication, in the decoder a multiplication and a lookup, 20
//! cycles or so, since the words that a step deals go to the reserve and are not looked at before the
//! step after next. So a processor that does four or five instructions per cycle takes 30 to 40 cycles per step.
//! Of the ports, those of shuffles come next: 40 in the decoder.
#![allow(unsafe_code)]

mod deal;
mod decode;
mod encode;
mod tables;

pub(super) use decode::Decoder;
pub(super) use encode::Encoder;

use super::LANES;

/// Bytes of a vector: half of the lanes.
const HALF: usize = LANES / 2;

/// Something of each lane.
type Bytes = [[u8; HALF]; 2];
