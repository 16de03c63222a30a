//! Deltas that were decoded and found to be right, and are still to be written over their base.

use std::sync::Arc;

use super::block_bytes;
use super::changes::{self, Changes};
use super::decode::{DecodeWorker, Decoding, check_base};
use super::form::Form;
use super::header::BlockKind;
use super::message::{Blocks, verify};
use super::sparse::Found;
use crate::error::{Error, Result, reserve};
use crate::message::{Header, Parsed};
use crate::parallel::{Share, Workers, each};
use crate::set::CodebookSet;

/// Changes are kept while fewer than one word in so many changes; other blocks are decoded again.
const KEPT_SHARE: usize = 8;

/// Delta that was decoded, whose base and result were found to be right, and which is ready to be written.
///
/// [`Decoder::prepare_delta`](crate::Decoder::prepare_delta) makes it and
/// [`Decoder::commit_delta`](crate::Decoder::commit_delta) writes it. It holds the changes of blocks in which few words
/// change; other blocks are decoded a second time when they are written.
#[derive(Debug, Clone)]
pub struct Prepared<'m> {
    pub(crate) message: Parsed<'m>,
    pub(crate) set: Arc<CodebookSet>,
    blocks: Vec<Block>,
}

/// What is left to do for a block.
#[derive(Debug, Clone, Default)]
enum Block {
    #[default]
    Nothing,
    Put(Kept),
    /// To decode it again.
    Again,
}

/// Changes that are kept: words, counted from the start of their block, and their values.
#[derive(Debug, Clone, Default)]
struct Kept {
    indices: Vec<u32>,
    values: Vec<u8>,
}

impl Prepared<'_> {
    /// The header of the message.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.message.header
    }

    /// Bytes of memory that it holds, the message apart.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let kept = |block: &Block| match block {
            Block::Put(kept) => 4 * kept.indices.len() + kept.values.len(),
            _ => 0,
        };
        self.blocks.iter().map(|block| size_of::<Block>() + kept(block)).sum()
    }
}

/// Decodes a delta, and compares base and result with the hashes in it. Nothing is written.
pub(crate) fn prepare<'m>(
    message: Parsed<'m>,
    set: Arc<CodebookSet>,
    workers: &mut Workers<DecodeWorker>,
    base: &[u8],
) -> Result<Prepared<'m>> {
    verify(&message, base)?;
    let dtype = message.header.dtype;
    let (form, size) = (Form::of(dtype), block_bytes(dtype));
    let decoding = Decoding { set: &set, dtype };
    let mut blocks = vec![Block::Nothing; base.len().div_ceil(size)];
    let threads = Share::new(workers.size(), size, base.len()).threads;
    let jobs = Blocks::of(&message)?.zip(base.chunks(size)).zip(&mut blocks);
    each(workers, threads, jobs, |worker, (((index, _, block), base), kept)| {
        *kept = prepare_block(worker, &decoding, form, block, base)
            .map_err(|error| error.in_block(index as u64))?;
        Ok(())
    })?;
    Ok(Prepared { message, set, blocks })
}

fn prepare_block(
    worker: &mut DecodeWorker,
    decoding: &Decoding<'_>,
    form: Form,
    block: &[u8],
    base: &[u8],
) -> Result<Block> {
    let header = worker.find_changes(decoding, block, base)?;
    let Found { indices, values } = &worker.changes;
    if header.kind == BlockKind::Unchanged {
        return Ok(Block::Nothing);
    }
    if indices.len() >= base.len() / form.bytes() / KEPT_SHARE {
        return Ok(Block::Again);
    }
    let mut kept = Kept::default();
    reserve(&mut kept.indices, indices.len(), "the changes of a delta")?;
    reserve(&mut kept.values, values.len(), "the changes of a delta")?;
    kept.indices.extend_from_slice(indices);
    kept.values.extend_from_slice(values);
    Ok(Block::Put(kept))
}

/// Writes a prepared delta over its base.
pub(crate) fn commit(
    prepared: &Prepared<'_>,
    workers: &mut Workers<DecodeWorker>,
    base: &mut [u8],
) -> Result<()> {
    let Prepared { message, set, blocks } = prepared;
    let dtype = message.header.dtype;
    let needed = message.header.raw_bytes()?;
    if base.len() != needed {
        return Err(Error::OutputLength { needed, available: base.len() });
    }
    let (form, size) = (Form::of(dtype), block_bytes(dtype));
    let decoding = Decoding { set, dtype };
    let threads = Share::new(workers.size(), size, base.len()).threads;
    // Blocks that are decoded again need the base as it was: all of them are tried before any is written.
    if blocks.iter().any(|block| matches!(block, Block::Again)) {
        let jobs = Blocks::of(message)?.zip(base.chunks(size)).zip(blocks);
        each(workers, threads, jobs, |_, (((index, _, block), base), kept)| match kept {
            Block::Again => {
                check_base(dtype, block, base).map_err(|error| error.in_block(index as u64))
            }
            _ => Ok(()),
        })?;
    }
    let jobs = Blocks::of(message)?.zip(base.chunks_mut(size)).zip(blocks);
    each(workers, threads, jobs, |worker, (((index, _, block), base), kept)| {
        match kept {
            Block::Nothing => {}
            Block::Put(kept) => changes::put(form, (&kept.indices, 0), &kept.values, base),
            Block::Again => {
                let mut elements = worker.take_elements(base.len())?;
                let decoded = worker.decode(&decoding, block, base, &mut elements);
                if decoded.is_ok() {
                    base.copy_from_slice(&elements);
                }
                worker.elements = elements;
                decoded.map_err(|error| error.in_block(index as u64))?;
            }
        }
        Ok(())
    })
}

/// Decodes a delta into a list of changes; base and result have the right hashes.
pub(crate) fn list(
    message: &Parsed<'_>,
    decoding: &Decoding<'_>,
    worker: &mut DecodeWorker,
    base: &[u8],
) -> Result<Changes> {
    verify(message, base)?;
    let (form, size) = (Form::of(decoding.dtype), block_bytes(decoding.dtype));
    let words = (size / form.bytes()) as u64;
    let mut all = Changes::default();
    for ((index, _, block), base) in Blocks::of(message)?.zip(base.chunks(size)) {
        let found = worker.find_changes(decoding, block, base);
        found.map_err(|error| error.in_block(index as u64))?;
        let Found { indices, values } = &worker.changes;
        reserve(&mut all.indices, indices.len(), "the changes of a delta")?;
        reserve(&mut all.values, values.len(), "the changes of a delta")?;
        let first = index as u64 * words;
        all.indices.extend(indices.iter().map(|word| first + u64::from(*word)));
        all.values.extend_from_slice(values);
    }
    Ok(all)
}
