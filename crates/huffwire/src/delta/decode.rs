//! Decoding of blocks, whose bytes may be hostile.

use super::form::Form;
use super::header::{BlockHeader, BlockKind, WHAT};
use super::sparse::{self, Found};
use super::{changes, encode, parts};
use crate::block::BlockDecoder;
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::ids::ContentHash;
use crate::kernels::platform::Platform;
use crate::set::CodebookSet;

/// How the blocks of a delta were encoded, as far as it must be known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoding<'a> {
    pub(crate) set: &'a CodebookSet,
    pub(crate) dtype: Dtype,
}

/// Memory that a thread decodes with.
#[derive(Debug)]
pub(crate) struct DecodeWorker {
    platform: Platform,
    blocks: BlockDecoder,
    /// What the last block changed.
    pub(super) changes: Found,
    /// The elements of a block.
    pub(super) elements: Vec<u8>,
}

impl DecodeWorker {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            blocks: BlockDecoder::new(platform),
            changes: Found::default(),
            elements: Vec::new(),
        }
    }

    /// Memory for the elements of a block, to be given back.
    pub(super) fn take_elements(&mut self, bytes: usize) -> Result<Vec<u8>> {
        let mut elements = std::mem::take(&mut self.elements);
        let more = bytes.saturating_sub(elements.len());
        reserve(&mut elements, more, "a block of a delta")?;
        elements.resize(bytes, 0);
        Ok(elements)
    }

    /// Decodes a block into `out`, which is as long as its base. The contents of `out` are undefined after an error.
    /// The base was checked by [`check_base`]; the result has the right hash, and the worker knows which words changed.
    pub(crate) fn decode(
        &mut self,
        decoding: &Decoding<'_>,
        block: &[u8],
        base: &[u8],
        out: &mut [u8],
    ) -> Result<BlockHeader> {
        let form = Form::of(decoding.dtype);
        let words = base.len() / form.bytes();
        let (header, payload) = BlockHeader::read_with_payload(block, words)?;
        self.changes.clear();
        match header.kind {
            BlockKind::Unchanged => {
                out.copy_from_slice(base);
                return Ok(header);
            }
            BlockKind::Plain => {
                parts::decode(&mut self.blocks, decoding.set, decoding.dtype, payload, out)?;
            }
            BlockKind::Dense => {
                let integers = form.integers();
                parts::decode(&mut self.blocks, decoding.set, integers, payload, out)?;
                encode::add(self.platform, form, base, out);
            }
            BlockKind::Step | BlockKind::Densities => {
                let (platform, sent) = (self.platform, header.kind == BlockKind::Densities);
                let changes = header.changes;
                sparse::decode(platform, form, sent, payload, base, changes, &mut self.changes)?;
            }
        }
        let Found { indices, values } = &mut self.changes;
        if header.kind.is_sparse() {
            out.copy_from_slice(base);
            changes::put(form, indices, values, out);
        } else {
            changes::list(self.platform, form, base, out, indices);
            changes::values(form, out, indices, values);
            check_count(&header, indices.len())?;
        }
        check_result(&header, out)?;
        Ok(header)
    }
}

/// Compares the base of a block with the hash in the block.
pub(crate) fn check_base(dtype: Dtype, block: &[u8], base: &[u8]) -> Result<()> {
    let header = BlockHeader::read(block, base.len() / Form::of(dtype).bytes())?;
    let found = ContentHash::of(base);
    if found == header.base {
        return Ok(());
    }
    let (expected, applied) = (header.base, found == header.result);
    Err(Error::WrongBase { expected, found, applied })
}

fn check_count(header: &BlockHeader, found: usize) -> Result<()> {
    let announced = header.changes as usize;
    if found == announced {
        return Ok(());
    }
    let detail = format!("{found} changes where {announced} are announced");
    Err(Error::malformed(WHAT, 33, detail))
}

fn check_result(header: &BlockHeader, out: &[u8]) -> Result<()> {
    let (expected, found) = (header.result, ContentHash::of(out));
    if found == expected { Ok(()) } else { Err(Error::WrongResult { expected, found }) }
}
