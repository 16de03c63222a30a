//! Messages: one tensor on its way over a link. See `docs/format.md`, section 8.
//!
//! A message is a header of 16 bytes, a table with the lengths and then the checksums of all entries, and the entries:
//! a kind header for kinds other than tensors, and blocks. A message carries no set: the receiver holds the same
//! [`CodebookSet`](crate::CodebookSet), which the header names by 32 bits of its id.
//!
//! [`Encoder`](crate::Encoder) and [`Decoder`](crate::Decoder) make and read messages. This module has what can be
//! known of a message without decoding it: its [`Header`], and how long it can become ([`bound`]).

mod decode;
mod encode;
mod header;
mod lengths;
mod parsed;
mod range;
mod table;

pub(crate) use decode::{Decoding, decode, decode_batch, decode_to_vec};
pub(crate) use encode::{EncodeWorker, Encoding, begin, encode};
pub(crate) use header::VALUES_LOG2;
pub use header::{HEADER_BYTES, Header, Kind};
pub(crate) use lengths::{
    DELTA_BLOCK_OVERHEAD, DELTA_HEADER_BYTES, block_bytes, check_block, check_kind_header,
    check_lengths, delta_block_bound, raw_sizes,
};
pub(crate) use parsed::{Parsed, write_entries};
pub(crate) use range::decode_range;
pub(crate) use table::{Seal, Table, table_bytes};

use crate::block;
use crate::dtype::Dtype;

const WHAT: &str = "a message";

/// The longest message for `units` units of a type, whatever their values, under blocks of
/// `2^block_log2` bytes (the default of [`EncodeOptions`](crate::EncodeOptions) is 17): 16 bytes, and
/// 9 for each block, on top of the elements. A buffer of so many bytes is enough for
/// [`Encoder::encode`](crate::Encoder::encode).
#[must_use]
pub const fn bound(dtype: Dtype, units: usize, block_log2: u8) -> usize {
    let bytes = units.saturating_mul(dtype.unit_bytes());
    let blocks = units.div_ceil(block::units_per_block(dtype, block_log2));
    let table = table_bytes(blocks, true);
    bytes.saturating_add(blocks).saturating_add(table).saturating_add(HEADER_BYTES)
}
