//! The byte format: blocks, messages for links, files for disks. Normative text: `docs/format.md`.
//!
//! Bytes from outside are parsed here (and codebooks in `codebook`, with the same reader). Every length
//! is checked before it is believed, and nothing is handed out after an error.

pub(crate) mod block;
pub(crate) mod checksum;
pub mod file;
pub(crate) mod frame;
pub mod message;
pub(crate) mod reader;
pub(crate) mod runs;

pub use block::{BlockInfo, PlaneInfo};
