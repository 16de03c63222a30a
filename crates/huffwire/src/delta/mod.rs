//! Deltas: what changed in a tensor that the receiver has already. See `docs/format.md`, section 16.
//!
//! Between two steps of training most bits of the weights stay as they are. A delta is made from two tensors of one type
//! and size, the *base* and the *new* one, and turns the base into the new one. It is bound to both by hashes of their
//! blocks ([`ContentHash`](crate::ContentHash)), which find accidents: a wrong base, an update that was skipped or applied twice.
//!
//! [`Encoder::encode_delta`](crate::Encoder::encode_delta) makes messages of kind [`Delta`](crate::Kind::Delta),
//! [`Decoder::decode_delta`](crate::Decoder::decode_delta) and [`Decoder::apply_delta`](crate::Decoder::apply_delta)
//! read them. This module has what can be known of a delta without its base.
//!
//! ```
//! use huffwire::{Decoder, Dtype, Encoder, delta};
//!
//! let base: Vec<u8> = (0..20_000u16).flat_map(u16::to_le_bytes).collect();
//! let mut new = base.clone();
//! new[1000] ^= 1;
//! let message = Encoder::builtin().encode_delta_to_vec(Dtype::Bf16, &base, &new)?;
//! assert!(message.len() < 100);
//!
//! let info = delta::Info::read(&message, None)?;
//! assert_eq!(info.changes(), 1);
//!
//! let mut weights = base.clone();
//! Decoder::builtin().apply_delta(&message, &mut weights)?;
//! assert_eq!(weights, new);
//! # Ok::<(), huffwire::Error>(())
//! ```
//!
//! # Words
//!
//! What changes, is counted and has an index is a *word*: a unit of the element type (see [`Dtype`]), but a byte where
//! a unit has three bytes.

mod changes;
mod decode;
mod encode;
mod entries;
mod form;
mod hashing;
mod header;
mod message;
mod parts;
mod prepared;
mod sparse;
mod survey;

pub use changes::Changes;
pub use entries::{join_message, split_message};
pub use header::{BlockHeader, BlockKind};
pub use message::Info;
pub use prepared::{Detached, Prepared};

pub(crate) use decode::{DecodeWorker, Decoding, check_base as check_block};
pub(crate) use encode::{EncodeWorker, Encoding};
pub(crate) use message::{Delta, bound, check_size, encode};
pub(crate) use prepared::{commit, list, prepare};

use crate::dtype::Dtype;
use crate::message::{self as messages, Kind, VALUES_LOG2};

/// Units in each block of a delta but the last.
pub const BLOCK_UNITS: usize = 1 << VALUES_LOG2;

/// The kind header of every delta. Its one byte says how content is hashed: by XXH3-128.
pub const KIND_HEADER: [u8; messages::DELTA_HEADER_BYTES] = [1];

/// The most bytes of the header of a block: so many are enough for [`BlockHeader::read`].
pub const MAX_HEADER_BYTES: usize = header::MAX_BYTES;

/// Bytes of a word of a type: of a unit, but 1 where a unit has three bytes.
#[must_use]
pub const fn word_bytes(dtype: Dtype) -> usize {
    form::Form::of(dtype).bytes()
}

/// The type of the differences of a type's words: integers.
pub(crate) const fn integers(dtype: Dtype) -> Dtype {
    form::Form::of(dtype).integers()
}

/// Bytes of elements in each block of a delta but the last.
#[must_use]
pub const fn block_bytes(dtype: Dtype) -> usize {
    messages::block_bytes(Kind::Delta, dtype, VALUES_LOG2)
}
