//! A block: the unit of random access and of parallel work. See `docs/format.md`, "Block".

mod decode;
mod encode;
mod inspect;
mod read;
mod write;

pub(crate) use decode::BlockDecoder;
pub(crate) use encode::{BlockEncoder, Method};
pub use inspect::{BlockInfo, PlaneInfo};

use crate::codebook::MAX_LENGTHS_BYTES;
use crate::dtype::Dtype;
use crate::lanes;
use crate::planes::MAX_PLANES;

const WHAT: &str = "a block";

/// First byte of a block that holds the elements as they are.
const VERBATIM: u8 = 0;
/// Modes of a plane; lower numbers are numbers of resident books.
const EMBEDDED: u8 = 0xfd;
const CONSTANT: u8 = 0xfe;
const RAW: u8 = 0xff;

/// Smallest and largest block, as powers of two of the bytes of elements it holds.
pub(crate) const BLOCK_LOG2: std::ops::RangeInclusive<u8> = 10..=20;

/// No header of a block is longer: a layout, and for each plane a codebook and its fields.
pub(crate) const MAX_HEADER_BYTES: usize = 1 + MAX_PLANES * (MAX_LENGTHS_BYTES + 16);

/// Room that an encoder needs beyond the bytes of a block: whole groups of words are stored.
const SLACK: usize = 4 * lanes::LANES;

/// Units that are split, coded or merged at a time, where a block is done in one pass: few enough for
/// elements and planes to stay in the L1 cache, many enough for the change between the two to take no
/// time. A multiple of 64, so that pieces are whole steps and whole bytes of packed planes.
const PIECE: usize = 8192;

/// Slots handled at a time: few enough that a byte can count them, so that the compiler makes vectors
/// of it.
const SLOT_CHUNK: usize = 128;

/// Whole units per block of `2^block_log2` bytes; a `block_log2` outside its range counts as the end of
/// the range that is nearer.
pub(crate) const fn units_per_block(dtype: Dtype, block_log2: u8) -> usize {
    let log2 = match block_log2 {
        ..10 => 10,
        10..=20 => block_log2,
        21.. => 20,
    };
    (1 << log2) / dtype.unit_bytes()
}

/// Bytes of elements in each block but the last: the most whole units that `2^block_log2` bytes hold. A
/// `block_log2` outside 10 to 20 counts as the end of that range that is nearer.
#[must_use]
pub const fn block_bytes(dtype: Dtype, block_log2: u8) -> usize {
    units_per_block(dtype, block_log2) * dtype.unit_bytes()
}

/// The longest coded block for so many bytes, checksum included.
pub(crate) const fn block_bound(bytes: usize, checksums: bool) -> usize {
    bound(bytes) + if checksums { 4 } else { 0 }
}

/// The longest that [`BlockEncoder::encode`] can return for so many bytes.
pub(crate) const fn bound(bytes: usize) -> usize {
    1 + bytes
}

/// The buffer that [`BlockEncoder::encode`] needs for so many bytes.
pub(crate) const fn capacity(bytes: usize) -> usize {
    bound(bytes) + SLACK
}
