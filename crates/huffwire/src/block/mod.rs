//! A block: the unit of random access and of parallel work. See `docs/format.md`, "Block".
//!
//! ```text
//! elements -> Planner: sample, counts, BlockHeader -> one pass, or plane by plane -> block
//! block -> BlockHeader::read -> ReadBlock -> one pass, or plane by plane -> elements
//! ```
//!
//! The plan of a block is its header before the sizes are known. Planes are written and read by
//! [`crate::plane_codec`] one after the other; nearly all blocks can do with one pass over the elements
//! ([`one_pass`]).

mod decode;
mod encode;
mod header;
mod inspect;
mod one_pass;
mod plane_by_plane;
mod planner;
mod size;

pub(crate) use decode::BlockDecoder;
pub(crate) use encode::BlockEncoder;
pub use inspect::{BlockInfo, PlaneInfo, PlaneMode, PlaneParts};
pub use size::block_bytes;
pub(crate) use size::{BLOCK_LOG2, MAX_HEADER_BYTES, bound, capacity, units_per_block};

const WHAT: &str = "a block";

/// First byte of a block that holds the elements as they are.
const VERBATIM: u8 = 0;
