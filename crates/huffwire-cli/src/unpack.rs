//! From the blocks of a .hw file to the bytes of its items.

use std::sync::Arc;

use anyhow::{Context, Result};
use huffwire::file::{BlockRef, Item};
use huffwire::{CodebookSet, Decoder};

use crate::container::Container;
use crate::pipeline::Workers;

/// A block to decode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    /// The item it belongs to.
    pub(crate) item: &'a Item,
    /// Its number in the item.
    pub(crate) index: usize,
    /// Where it lies.
    pub(crate) block: BlockRef,
}

/// All blocks of an item.
pub(crate) fn jobs(item: &Item) -> impl Iterator<Item = Job<'_>> + Send {
    item.blocks().enumerate().map(move |(index, block)| Job { item, index, block })
}

/// A decoded block, or why there is none.
#[derive(Default)]
struct Decoded {
    coded: Vec<u8>,
    raw: Vec<u8>,
    error: Option<anyhow::Error>,
}

/// Decodes blocks in parallel and hands each result, in order, to `consume`; an error names file,
/// tensor and block.
pub(crate) fn decode<'a>(
    container: &Container,
    set: &Arc<CodebookSet>,
    workers: &Workers,
    jobs: impl Iterator<Item = Job<'a>> + Send,
    mut consume: impl FnMut(&Job<'a>, Result<&[u8]>) -> Result<()>,
) -> Result<()> {
    let decoders = workers.each(|| Ok(Decoder::new(Arc::clone(set))))?;
    let work = |job: &Job<'a>, slot: &mut Decoded| {
        let result = decoders.with(|decoder| decode_block(container, decoder, job, slot));
        slot.error = result.err();
        Ok(())
    };
    workers.run(1 << container.directory.block_log2, jobs, work, |job, slot| {
        match slot.error.take() {
            None => consume(job, Ok(&slot.raw)),
            Some(error) => consume(job, Err(error)),
        }
    })
}

fn decode_block(
    container: &Container,
    decoder: &mut Decoder,
    job: &Job<'_>,
    slot: &mut Decoded,
) -> Result<()> {
    let Job { item, index, block } = job;
    slot.coded.clear();
    // In a file with holes a block of gigabytes takes no room on the disk.
    let reserved = slot.coded.try_reserve(block.coded_bytes);
    reserved.with_context(|| {
        let (label, bytes) = (container.file.label(), block.coded_bytes);
        format!("{label}: there is no memory for a block of {bytes} bytes")
    })?;
    slot.coded.resize(block.coded_bytes, 0);
    container.file.read_exact_at(&mut slot.coded, block.offset)?;
    slot.raw.resize(block.raw_bytes, 0);
    let checksums = container.directory.checksums;
    let result = decoder.decode_block(item.dtype, checksums, &slot.coded, &mut slot.raw);
    result.with_context(|| {
        let what = Container::describe(item);
        format!("{}: {what}: block {index} at offset {}", container.file.label(), block.offset)
    })
}
