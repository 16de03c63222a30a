//! The memory that a block is decoded in.

use crate::codebook::{Codebook, Lengths};
use crate::plane_codec::PlaneReader;
use crate::planes::MAX_PLANES;

/// The memory for a block that is decoded plane by plane, and for the books that its header brings.
#[derive(Debug)]
pub(super) struct BlockScratch {
    pub(super) planes: Vec<Vec<u8>>,
    pub(super) compacted: Vec<u8>,
    pub(super) reader: PlaneReader,
    /// By plane: the book that its header brought.
    pub(super) embedded: Vec<Codebook>,
}

impl BlockScratch {
    pub(super) fn new() -> Self {
        Self {
            planes: vec![Vec::new(); MAX_PLANES],
            compacted: Vec::new(),
            reader: PlaneReader::default(),
            embedded: vec![Codebook::new(Lengths::placeholder()); MAX_PLANES],
        }
    }
}
