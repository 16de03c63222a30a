//! Deltas that were decoded and found to be right, and are still to be written over their base.

use std::sync::Arc;

use super::changes::{self, Changes};
use super::decode::{DecodeWorker, Decoding, check_base};
use super::form::Form;
use super::header::BlockKind;
use super::message::Delta;
use super::sparse::Found;
use crate::error::{Error, Result, reserve};
use crate::ids::ContentHash;
use crate::message::{Header, Parsed};
use crate::parallel::{Workers, each};
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
    message: &'m [u8],
    delta: Delta<'m>,
    set: Arc<CodebookSet>,
    blocks: Vec<Block>,
}

/// What is left to do for a block.
#[derive(Debug, Clone, Default)]
enum Block {
    #[default]
    Nothing,
    Put(Kept),
    /// To decode it again; so many words change.
    Again(u32),
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
        self.delta.header()
    }

    /// How many words change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let changes = |block: &Block| match block {
            Block::Nothing => 0,
            Block::Put(kept) => kept.indices.len() as u64,
            Block::Again(changes) => u64::from(*changes),
        };
        self.blocks.iter().map(changes).sum()
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

    /// What was prepared, without the message: for callers that keep the message elsewhere.
    #[must_use]
    pub fn detach(self) -> Detached {
        let Self { message, set, blocks, .. } = self;
        Detached { message: ContentHash::of(message), set, blocks }
    }
}

/// Prepared delta without its message, which it needs again to be written.
///
/// ```
/// use huffwire::{Decoder, Dtype, Encoder, Expected};
///
/// let mut weights = vec![1u8; 100_000];
/// let new = vec![2u8; 100_000];
/// let message = Encoder::builtin().encode_delta_to_vec(Dtype::U8, &weights, &new)?;
///
/// let mut decoder = Decoder::builtin();
/// let detached = decoder.prepare_delta(&message, &Expected::anything(), &weights)?.detach();
/// let prepared = detached.attach(&message, None)?;
/// decoder.commit_delta(&prepared, &mut weights)?;
/// assert_eq!(weights, new);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Detached {
    /// The hash of the message: others may have the same header.
    message: ContentHash,
    set: Arc<CodebookSet>,
    blocks: Vec<Block>,
}

impl Detached {
    /// The delta with its message, the one that it was prepared from.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for a message with other bytes; those of a context that is not the message's.
    pub fn attach(self, message: &[u8], context: Option<u64>) -> Result<Prepared<'_>> {
        let Self { message: prepared, set, blocks } = self;
        let found = ContentHash::of(message);
        if found != prepared {
            let (expected, found) = (prepared.to_string(), found.to_string());
            let what = "the hash of the message of a prepared delta";
            return Err(Error::Unexpected { what, expected, found });
        }
        let delta = Delta::of(Parsed::read(message, context)?)?;
        Ok(Prepared { message, delta, set, blocks })
    }
}

/// Decodes a delta, and compares base and result with the hashes in it. Nothing is written.
pub(crate) fn prepare<'m>(
    (message, delta): (&'m [u8], Delta<'m>),
    set: Arc<CodebookSet>,
    workers: &mut Workers<DecodeWorker>,
    base: &[u8],
) -> Result<Prepared<'m>> {
    delta.verify_for(base)?;
    let (dtype, size) = (delta.header().dtype, delta.block_bytes());
    let form = Form::of(dtype);
    let decoding = Decoding { set: &set, dtype };
    let mut blocks = vec![Block::Nothing; base.len().div_ceil(size)];
    let threads = delta.threads(workers);
    let jobs = delta.blocks().zip(base.chunks(size)).zip(&mut blocks);
    let prepared = each(workers, threads, jobs, |worker, (((index, _, block), base), kept)| {
        *kept = prepare_block(worker, &decoding, form, block, base)
            .map_err(|error| error.in_block(index as u64))?;
        Ok(())
    });
    wrong_base_first(prepared, &delta, workers, base)?;
    Ok(Prepared { message, delta, set, blocks })
}

/// The error of a base that is not the right one, if that is so; else the result that is there.
///
/// A block's base is compared right before the block is decoded or with it, while it is in the cache. So the first error
/// may be another one, although the same block or a later one tells that the delta is not for this base at all.
fn wrong_base_first<T>(
    found: Result<T>,
    delta: &Delta<'_>,
    workers: &mut Workers<DecodeWorker>,
    base: &[u8],
) -> Result<T> {
    if found.is_err() {
        delta.compare_base(workers, base)?;
    }
    found
}

fn prepare_block(
    worker: &mut DecodeWorker,
    decoding: &Decoding<'_>,
    form: Form,
    block: &[u8],
    base: &[u8],
) -> Result<Block> {
    let most = (base.len() / form.bytes() / KEPT_SHARE).saturating_sub(1);
    let header = worker.find_changes(decoding, block, base, most)?;
    if header.kind == BlockKind::Unchanged {
        return Ok(Block::Nothing);
    }
    if header.changes as usize > most {
        return Ok(Block::Again(header.changes));
    }
    let Found { indices, values } = worker.changes();
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
    let Prepared { delta, set, blocks, .. } = prepared;
    let needed = delta.bytes();
    if base.len() != needed {
        return Err(Error::OutputLength { needed, available: base.len() });
    }
    let (dtype, size) = (delta.header().dtype, delta.block_bytes());
    let form = Form::of(dtype);
    let decoding = Decoding { set, dtype };
    let threads = delta.threads(workers);
    // Blocks that are decoded again need the base as it was: all of them are tried before any is written. And memory for
    // them is taken before, so that nothing fails after the first byte was written.
    let most = blocks.iter().filter_map(|block| match block {
        Block::Again(changes) => Some(*changes),
        _ => None,
    });
    if let Some(changes) = most.max() {
        let jobs = delta.blocks().zip(base.chunks(size)).zip(blocks);
        each(workers, threads, jobs, |_, (((index, _, block), base), kept)| match kept {
            Block::Again(_) => {
                check_base(dtype, block, base).map_err(|error| error.in_block(index as u64))
            }
            _ => Ok(()),
        })?;
        workers.each_one(threads, |worker| worker.grow(form, size.min(base.len()), changes))?;
    }
    let jobs = delta.blocks().zip(base.chunks_mut(size)).zip(blocks);
    each(workers, threads, jobs, |worker, (((index, _, block), base), kept)| {
        match kept {
            Block::Nothing => {}
            Block::Put(kept) => changes::put(form, (&kept.indices, 0), &kept.values, base),
            Block::Again(_) => {
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
    delta: &Delta<'_>,
    decoding: &Decoding<'_>,
    workers: &mut Workers<DecodeWorker>,
    base: &[u8],
) -> Result<Changes> {
    delta.verify_for(base)?;
    let listed = list_blocks(delta, decoding, workers.own(), base);
    wrong_base_first(listed, delta, workers, base)
}

fn list_blocks(
    delta: &Delta<'_>,
    decoding: &Decoding<'_>,
    worker: &mut DecodeWorker,
    base: &[u8],
) -> Result<Changes> {
    let size = delta.block_bytes();
    let words = (size / Form::of(decoding.dtype).bytes()) as u64;
    let mut all = Changes::default();
    for ((index, _, block), base) in delta.blocks().zip(base.chunks(size)) {
        let found = worker.find_changes(decoding, block, base, usize::MAX);
        found.map_err(|error| error.in_block(index as u64))?;
        let Found { indices, values } = worker.changes();
        reserve(&mut all.indices, indices.len(), "the changes of a delta")?;
        reserve(&mut all.values, values.len(), "the changes of a delta")?;
        let first = index as u64 * words;
        all.indices.extend(indices.iter().map(|word| first + u64::from(*word)));
        all.values.extend_from_slice(values);
    }
    Ok(all)
}
