//! Sizes of blocks.

use crate::dtype::Dtype;
use crate::plane_codec::{self, MAX_PLANE_HEADER_BYTES};
use crate::planes::MAX_PLANES;

/// Smallest and largest block, as powers of two of the bytes of elements it holds.
pub(crate) const BLOCK_LOG2: std::ops::RangeInclusive<u8> = 10..=20;

/// No header of a block is longer: a layout, and a header for each plane.
pub(crate) const MAX_HEADER_BYTES: usize = 1 + MAX_PLANES * MAX_PLANE_HEADER_BYTES;

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

/// The longest that [`super::BlockEncoder::encode`] can return for so many bytes.
pub(crate) const fn bound(bytes: usize) -> usize {
    1 + bytes
}

/// The buffer that [`super::BlockEncoder::encode`] needs for so many bytes.
pub(crate) const fn capacity(bytes: usize) -> usize {
    plane_codec::room(bound(bytes))
}
