//! LZ4 blocks: matches alone, no entropy coder.

use ::huffwire::Dtype;
use anyhow::Result;
use lz4_flex::block;

use super::super::candidate::{Candidate, Coder, Label};

pub(super) fn candidate() -> Candidate {
    Candidate::new(Label { codec: "lz4", threads: 1, ..Label::default() }, Lz4)
}

struct Lz4;

impl Coder for Lz4 {
    fn bound(&self, _dtype: Dtype, bytes: usize) -> usize {
        block::get_maximum_output_size(bytes)
    }

    fn encode(&mut self, _dtype: Dtype, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        Ok(block::compress_into(raw, out)?)
    }

    fn decode(&mut self, message: &[u8], out: &mut [u8]) -> Result<()> {
        block::decompress_into(message, out)?;
        Ok(())
    }
}
