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
    /// What the last sparse block changed, or what was listed last.
    changes: Found,
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

    /// Takes memory for blocks of so many bytes and changes.
    pub(super) fn grow(&mut self, form: Form, bytes: usize, changes: u32) -> Result<()> {
        self.elements = self.take_elements(bytes)?;
        self.changes.clear();
        self.reserve(form, changes)
    }

    /// Decodes a block into `out`, which is as long as its base. The contents of `out` are undefined after an error.
    /// The base was checked by [`check_base`]; the result has the right hash.
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
                self.reserve(form, header.changes)?;
                sparse::decode(platform, form, sent, payload, base, changes, &mut self.changes)?;
                let Found { indices, values } = &self.changes;
                out.copy_from_slice(base);
                changes::put(form, indices, values, out);
            }
        }
        if !header.kind.is_sparse() {
            check_count(&header, changes::count(form, base, out))?;
        }
        check_result(&header, out)?;
        Ok(header)
    }

    /// The changes of the block that was decoded last: from `base` to `new`, its result.
    pub(super) fn list(
        &mut self,
        form: Form,
        header: &BlockHeader,
        base: &[u8],
        new: &[u8],
    ) -> Result<&Found> {
        if matches!(header.kind, BlockKind::Plain | BlockKind::Dense) {
            self.changes.clear();
            self.reserve(form, header.changes)?;
            let Found { indices, values } = &mut self.changes;
            changes::list(self.platform, form, base, new, indices);
            changes::values(form, new, indices, values);
        }
        Ok(&self.changes)
    }

    /// Takes memory for the changes of a block. There are no more of them than the base has words.
    fn reserve(&mut self, form: Form, changes: u32) -> Result<()> {
        let (changes, what) = (changes as usize, "the changes of a delta");
        reserve(&mut self.changes.indices, changes, what)?;
        reserve(&mut self.changes.values, changes * form.bytes(), what)
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
