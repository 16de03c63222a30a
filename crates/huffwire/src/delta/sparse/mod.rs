//! Sparse blocks: which words change, and by how much. See `docs/format.md`, section 16.3.
//!
//! # One number describes a block
//!
//! A step of an optimizer moves each weight by about as much, whatever its size; whether its bits change depends on its
//! exponent. So each *class* of words (those of one exponent) has a chance of a change and a distribution of
//! magnitudes, and all of them follow from one number for the block, the size of the step ([`model`]). Nothing else is
//! sent, and both ends know the classes, because both have the base. Where that does not describe a block, a chance and a
//! distribution for each class are sent.
//!
//! # The hazard clock
//!
//! Each word of the base that does not change moves a clock by its *hazard*, `-log2` of the probability that it does not
//! change ([`clock`]). On that clock changes come like radioactive decay: the time from one to the next is
//! exponential, whatever the classes. So a change is one interval of that distribution, coded by [`rans`], and
//! classes are never sorted apart.

mod classes;
mod clock;
mod decode;
mod encode;
mod fit;
mod magnitude;
mod model;
mod rans;
mod tables;
mod tile;

pub(super) use decode::{Found, FoundTile, decode};
pub(super) use encode::{SparseScratch, encode};

/// Words in a tile: consecutive tiles belong to the chains in turn.
pub(super) const TILE: usize = 1 << 12;

/// Most chains that a block has.
pub(super) const MAX_CHAINS: usize = 4;
