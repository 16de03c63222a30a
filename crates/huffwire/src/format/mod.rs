//! The byte format: blocks, messages for links, files for disks. Normative text: `docs/format.md`.
//!
//! This is the only place that parses bytes from outside. Every length is checked before it is
//! believed, and nothing is handed out after an error.

pub(crate) mod block;
pub(crate) mod checksum;
pub mod file;
pub mod message;
pub(crate) mod reader;

pub use block::{BlockInfo, PlaneInfo};
