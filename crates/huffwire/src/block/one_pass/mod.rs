//! Blocks written and read in one pass over their elements, as nearly all blocks are.
//!
//! The writer takes the elements in pieces that fit the L1 cache, the last piece first, since lanes are encoded
//! backwards. It splits a piece, puts raw planes into their places in the block, and gives the symbols of plane 0 to
//! the lanes. The reader does the reverse. One pass is possible where plane 0 is in lanes, all other planes are raw or
//! constant, and no zeros are coded apart. The bytes are the same as those of [`super::plane_by_plane`].

mod read;
mod write;

pub(super) use read::{PieceScratch, alike, plan, read, read_two};
pub(super) use write::{WriteScratch, can_write, is_constant, write};

use crate::lanes::{self, Join};
use crate::planes::MAX_PLANES;

/// Units that are split, coded or merged at a time, where a block is done in one pass: few enough for
/// elements and planes to stay in the L1 cache, many enough for the change between the two to take no
/// time. A multiple of 64, so that pieces are whole steps and whole bytes of packed planes.
const PIECE: usize = 8192;

/// The pieces of a block of so many units, as (from, to): [`PIECE`] units each, except the last one, which also
/// has the rest. So the bytes that lanes carry come from the last piece alone. Where the lane coder splits and merges
/// within its loop, the last piece is as small as possible, and everything before it is one piece.
fn pieces(units: usize, fused: Option<Join>) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    let all_but_last = fused.map_or(0, |join| units.saturating_sub(join.carried()));
    let (size, count) = match all_but_last / lanes::LANES * lanes::LANES {
        0 => (PIECE, (units / PIECE).max(1)),
        all_but_last => (all_but_last, 2),
    };
    (0..count).map(move |index| {
        (index * size, if index + 1 == count { units } else { (index + 1) * size })
    })
}

/// The byte that a constant plane consists of when it is packed, but for padding: of the symbols of width 1 and 8 that
/// coders merge on their way.
const fn packed_constant(symbol: u8, width: u8) -> u8 {
    if width == 1 { 0u8.wrapping_sub(symbol & 1) } else { symbol }
}

/// By plane: the symbol that it consists of, if its header says so.
type Constants = [Option<u8>; MAX_PLANES];
