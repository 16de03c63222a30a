//! The lane coder for NEON: codes of at most 8 bits, 64 lanes as four quarters of 16 bytes.
//!
//! Of the 16 to 23 unread bits of a lane, the lower 8 are its *lookahead*, the others its *window*; only `d = n - 16` is
//! stored of their number. Three vectors hold the bytes of 16 lanes, and a fourth one their `d`. NEON shifts each
//! byte by a distance of its own, to the left or, where that is negative, to the right, and gives 0 where nothing is
//! left of it. That is all that lanes need:
//!
//! * **Decoder**: the next 8 bits are `high << (8 - d) | low >> d`. Dropping a code changes `d` alone. A lane that needs a
//!   word moves all its bytes up by one.
//! * **Encoder**: a window has its bits at the bottom, so its low byte is the one that becomes the lookahead. A
//!   code goes above `d` bits of the high byte, `high | code << d`; what does not fit there, `code >> (8 - d)`,
//!   matters only where the lane emits a word, and all its bytes move down by one.
//!
//! `tbl` reads a table of 64 bytes, which is what narrow books have: three of them for a step of the decoder, two for one
//! of the encoder. Larger tables are several of 64: each one gives 0 for what lies beyond it.
//!
//! There are no compress and expand: eight lanes at a time are moved by [patterns](crate::kernels::patterns). A bit for
//! each lane in one register of 64 says which lanes are to be moved; the numbers of bits in its bytes, multiplied
//! by 0x0101..., say where those of each eight lanes begin.
#![allow(unsafe_code)]

mod decode;
mod encode;

use core::arch::aarch64::*;

use super::Neon;
use super::isa::load_table;
use crate::error::Result;
use crate::kernels::lanes::{ByLimit, CARRIED_BYTES, LANES, Reading, SlotMap};
use crate::kernels::portable::lanes::{Bits12, Decoder12, LaneEncoder, With};
use crate::kernels::tables::{Tables, Vectors};

/// 12-bit codes have no coder of their own here.
pub(crate) type Encoder<'t> = ByLimit<encode::Encoder<'t>, LaneEncoder<Bits12>>;
pub(crate) type Decoder<'t> = ByLimit<decode::Decoder<'t>, With<Neon, Decoder12<'t>>>;

pub(super) fn encoder<'t>(
    proof: Neon,
    tables: &'t Tables,
    map: SlotMap,
    carried: &[u8; CARRIED_BYTES],
    keep_escapes: bool,
) -> Encoder<'t> {
    match &tables.vectors {
        Vectors::Bits8(codes) => {
            let slots = tables.slots;
            ByLimit::Bits8(encode::Encoder::new(proof, codes, slots, map, carried, keep_escapes))
        }
        Vectors::Bits12(_) => ByLimit::Bits12(LaneEncoder::new(tables, map, carried, keep_escapes)),
    }
}

pub(super) fn decoder<'t>(
    proof: Neon,
    tables: &'t Tables,
    reading: Reading<'_>,
    states: &[u8],
    stream: &'t [u8],
) -> Result<Decoder<'t>> {
    let (base, slots) = (reading.base(), tables.slots);
    Ok(match &tables.vectors {
        Vectors::Bits8(codes) => {
            ByLimit::Bits8(decode::Decoder::new(proof, codes, slots, base, states, stream)?)
        }
        Vectors::Bits12(_) => {
            let lanes = Decoder12::new(tables, base, states, stream)?;
            ByLimit::Bits12(With { kernels: proof, lanes })
        }
    })
}

/// Bytes of a vector: a quarter of the lanes.
const QUARTER: usize = LANES / 4;

/// Something of each lane.
type Bytes = [[u8; QUARTER]; 4];

/// A table of up to 256 bytes.
type Table = [uint8x16x4_t; 4];

#[inline]
#[target_feature(enable = "neon")]
fn load_quarters(bytes: &[u8; 256]) -> Table {
    let (quarters, _) = bytes.as_chunks::<64>();
    [
        load_table(&quarters[0]),
        load_table(&quarters[1]),
        load_table(&quarters[2]),
        load_table(&quarters[3]),
    ]
}

/// The bytes of a table of 64, 128 or 256 entries at the places in `index`.
#[inline]
#[target_feature(enable = "neon")]
fn look_up<const ENTRIES: usize>(table: &Table, index: uint8x16_t) -> uint8x16_t {
    let mut found = vqtbl4q_u8(table[0], index);
    if ENTRIES >= 128 {
        found = vqtbx4q_u8(found, table[1], vsubq_u8(index, vdupq_n_u8(64)));
    }
    if ENTRIES >= 256 {
        found = vqtbx4q_u8(found, table[2], vsubq_u8(index, vdupq_n_u8(128)));
        found = vqtbx4q_u8(found, table[3], vsubq_u8(index, vdupq_n_u8(192)));
    }
    found
}

/// Which lanes are set (all bits of their bytes), by bits; and how many are in front of those of the next eight lanes, by
/// bytes.
#[inline]
#[target_feature(enable = "neon")]
fn chosen([a, b, c, d]: [uint8x16_t; 4], places: uint8x16_t) -> (u64, u64) {
    let (a, b) = (vandq_u8(a, places), vandq_u8(b, places));
    let (c, d) = (vandq_u8(c, places), vandq_u8(d, places));
    let fours = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
    let bits = vget_low_u8(vpaddq_u8(fours, fours));
    let counts = vget_lane_u64::<0>(vreinterpret_u64_u8(vcnt_u8(bits)));
    let counts = counts.wrapping_mul(0x0101_0101_0101_0101);
    (vget_lane_u64::<0>(vreinterpret_u64_u8(bits)), counts)
}

/// The bit of each byte in [`chosen`].
const PLACES: [u8; QUARTER] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
