//! Decoding of blocks, whose bytes may be hostile.

use super::form::Form;
use super::hashing::{Hashes, PairHasher};
use super::header::{BlockHeader, BlockKind, WHAT};
use super::sparse::{self, Found, FoundTile, TILE};
use super::{changes, encode, parts};
use crate::block::BlockDecoder;
use crate::dtype::Dtype;
use crate::error::{Error, Result, reserve};
use crate::ids::{ContentHash, ContentHasher};
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
                let mut hash = ContentHasher::new();
                self.decode_sparse(form, &header, payload, base, |tile| {
                    let out = &mut out[tile.first as usize * form.bytes()..][..tile.base.len()];
                    put_tile(form, &tile, out);
                    hash.write(out);
                })?;
                check_result(&header, hash.finish())?;
                return Ok(header);
            }
        }
        check_count(&header, changes::count(form, base, out))?;
        check_result(&header, ContentHash::of(out))?;
        Ok(header)
    }

    /// Decodes a block for its changes. Base and result have the right hashes then; if no more than `most` words change,
    /// the worker knows which ones do. After another error than that of a wrong base, the base may be wrong, too.
    pub(super) fn find_changes(
        &mut self,
        decoding: &Decoding<'_>,
        block: &[u8],
        base: &[u8],
        most: usize,
    ) -> Result<BlockHeader> {
        let form = Form::of(decoding.dtype);
        let words = base.len() / form.bytes();
        let (header, payload) = BlockHeader::read_with_payload(block, words)?;
        if !header.kind.is_sparse() {
            check_base(decoding.dtype, block, base)?;
            if header.kind == BlockKind::Unchanged {
                self.reserve(form, 0)?;
                return Ok(header);
            }
            let mut elements = self.take_elements(base.len())?;
            let decoded = self.decode(decoding, block, base, &mut elements);
            let listed = decoded.and_then(|header| {
                if header.changes as usize <= most {
                    self.list(form, &header, base, &elements)?;
                }
                Ok(header)
            });
            self.elements = elements;
            return listed;
        }
        // Tile by tile, while the batch of the chains that it belongs to is in the cache.
        let mut elements = self.take_elements(base.len().min(TILE * form.bytes()))?;
        let mut hasher = PairHasher::new(self.platform, base.len());
        let decoded = self.decode_sparse(form, &header, payload, base, |tile| {
            let new = if tile.indices.is_empty() {
                tile.base
            } else {
                let new = &mut elements[..tile.base.len()];
                put_tile(form, &tile, new);
                new
            };
            hasher.write([tile.base, new], !tile.indices.is_empty(), [&[]; 2]);
        });
        self.elements = elements;
        decoded?;
        let Hashes { base: of_base, result } = hasher.finish();
        compare_base(&header, of_base)?;
        check_result(&header, result)?;
        Ok(header)
    }

    /// What the block changes that was looked at last by [`DecodeWorker::find_changes`].
    pub(super) const fn changes(&self) -> &Found {
        &self.changes
    }

    /// Lists the changes from `base` to `new`.
    fn list(&mut self, form: Form, header: &BlockHeader, base: &[u8], new: &[u8]) -> Result<()> {
        self.reserve(form, header.changes)?;
        let Found { indices, values } = &mut self.changes;
        changes::list(self.platform, form, base, new, indices);
        changes::values(form, new, indices, values);
        Ok(())
    }

    /// Forgets the changes of the last block, and takes memory for those of another. There are no more of them than the
    /// base has words.
    fn reserve(&mut self, form: Form, changes: u32) -> Result<()> {
        self.changes.clear();
        let (changes, what) = (changes as usize, "the changes of a delta");
        reserve(&mut self.changes.indices, changes, what)?;
        reserve(&mut self.changes.values, changes * form.bytes(), what)
    }

    /// Decodes a sparse block for its changes, and hands on tile by tile.
    fn decode_sparse(
        &mut self,
        form: Form,
        header: &BlockHeader,
        payload: &[u8],
        base: &[u8],
        take_tile: impl FnMut(FoundTile<'_>),
    ) -> Result<()> {
        self.reserve(form, header.changes)?;
        sparse::decode(self.platform, form, header, payload, base, &mut self.changes, take_tile)
    }
}

/// Fills `out` with the new words of a tile.
fn put_tile(form: Form, tile: &FoundTile<'_>, out: &mut [u8]) {
    out.copy_from_slice(tile.base);
    changes::put(form, (tile.indices, tile.first), tile.values, out);
}

/// Compares the base of a block with the hash in the block.
pub(crate) fn check_base(dtype: Dtype, block: &[u8], base: &[u8]) -> Result<()> {
    let header = BlockHeader::read(block, base.len() / Form::of(dtype).bytes())?;
    compare_base(&header, ContentHash::of(base))
}

fn compare_base(header: &BlockHeader, found: ContentHash) -> Result<()> {
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

fn check_result(header: &BlockHeader, found: ContentHash) -> Result<()> {
    let expected = header.result;
    if found == expected { Ok(()) } else { Err(Error::WrongResult { expected, found }) }
}
