//! The lane coder for AVX2: codes of at most 8 bits, 64 lanes as two halves of 32 bytes.
//!
//! Lanes are kept as in [`crate::kernels::avx512`]. Of the `n` unread bits of a lane, 16 to 23, the lower 8 are its
//! *lookahead* and the others its *window*. Only `d = n - 16` is stored. When a code is added or dropped, bit 3 of
//! `d ± len` says whether a byte moves, and the low three bits are the new `d`. Instructions that AVX2 lacks are
//! replaced:
//!
//! * **Shifts of bytes and words by a distance of their own** are multiplications of words by powers of two, which
//!   `vpshufb` looks up by the distance.
//! * **Large tables** ([`tables`]) are several tables of 16 bytes, combined by exclusive or.
//! * **Expand and compress** ([`refill`]) are `vpshufb` with one of 256 patterns for each eight lanes.
//!
//! # What a step costs
//!
//! A step of 64 symbols is some 170 instructions in both directions: for the encoder 50 to look up codes and lengths
//! (of 64 slots), 60 for the lanes, 60 to store the words that lanes emit; for the decoder 35 to look up (where three
//! tables are enough), 60 for the lanes, 70 for the refill. The only chain from step to step is a multiplication in the
//! encoder, and a multiplication and a lookup in the decoder, some 20 cycles: a word that a lane takes becomes
//! lookahead, which is not looked at before the step after the next. So the number of instructions decides. 100 of them
//! are vector instructions, which three ports share on Intel's processors: 35 cycles. A processor with five
//! instructions a cycle takes as long for all of them. Measured are 50 cycles, because 16 registers do not hold all
//! vectors, and some are stored and loaded again.

mod decode;
mod encode;
mod refill;
mod tables;

use super::Avx2;
use crate::error::Result;
use crate::kernels::lanes::{ByLimit, CARRIED_BYTES, LANES, Reading, SlotMap};
use crate::kernels::portable::lanes::{Bits12, Decoder12, LaneEncoder, With};
use crate::kernels::tables::{Tables as CodeTables, Vectors};

/// 12-bit codes have no coder of their own here.
pub(crate) type Encoder = ByLimit<encode::Encoder, LaneEncoder<Bits12>>;
pub(crate) type Decoder<'t> = ByLimit<decode::Decoder<'t>, With<Avx2, Decoder12<'t>>>;

pub(super) fn encoder(
    proof: Avx2,
    tables: &CodeTables,
    map: SlotMap,
    carried: &[u8; CARRIED_BYTES],
    keep_escapes: bool,
) -> Encoder {
    match &tables.vectors {
        Vectors::Bits8(codes) => {
            let slots = tables.slots;
            ByLimit::Bits8(encode::Encoder::new(proof, codes, slots, map, carried, keep_escapes))
        }
        Vectors::Bits12(_) => ByLimit::Bits12(LaneEncoder::new(tables, map, carried, keep_escapes)),
    }
}

pub(super) fn decoder<'t>(
    proof: Avx2,
    tables: &'t CodeTables,
    reading: Reading<'_>,
    states: &[u8],
    stream: &'t [u8],
) -> Result<Decoder<'t>> {
    let base = reading.base();
    Ok(match &tables.vectors {
        Vectors::Bits8(_) => {
            ByLimit::Bits8(decode::Decoder::new(proof, &tables.decode, base, states, stream)?)
        }
        Vectors::Bits12(_) => {
            let lanes = Decoder12::new(tables, base, states, stream)?;
            ByLimit::Bits12(With { kernels: proof, lanes })
        }
    })
}

/// Bytes of a vector: half of the lanes.
const HALF: usize = LANES / 2;

/// Something of each lane.
type Bytes = [[u8; HALF]; 2];
