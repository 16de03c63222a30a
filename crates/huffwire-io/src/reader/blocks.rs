//! Decoding blocks.

use huffwire::file::{EntryRef, Item};
use huffwire::{CodedBlock, Decoder, Kind};

use super::into::Spare;
#[cfg(feature = "gradient")]
use super::values;
use super::{Reader, describe, verify};
use crate::error::{Error, Result};

/// A block of a .hw file.
#[derive(Debug, Clone, Copy)]
pub struct BlockJob<'a> {
    /// The item that the block belongs to.
    pub item: &'a Item,
    /// The block's number in the item.
    pub index: usize,
    /// Where the block lies.
    pub block: EntryRef,
}

/// A decoded block, or why there is none.
#[derive(Default)]
struct Decoded {
    /// The coded bytes, if `read` tells that they were read, or if they are of quantized values.
    coded: Vec<u8>,
    /// Whether the coded bytes were read before they are decoded, or why they cannot be read.
    read: Option<Result<()>>,
    raw: Vec<u8>,
    error: Option<Error>,
}

impl Reader {
    /// All blocks of an item, for [`Reader::decode_blocks`].
    pub fn blocks(item: &Item) -> impl Iterator<Item = BlockJob<'_>> + Send {
        item.blocks().enumerate().map(move |(index, block)| BlockJob { item, index, block })
    }

    /// Decodes blocks and hands each result, in order, to `consume`, which decides what an error means. Blocks of plain
    /// tensors and of deltas are decoded on the threads of the reader. Those of quantized values are read there, and
    /// restored on the calling thread.
    ///
    /// # Errors
    /// [`Error::CodebooksMissing`], and the first error that `consume` returns.
    pub fn decode_blocks<'a, E: From<Error> + Send>(
        &self,
        jobs: impl Iterator<Item = BlockJob<'a>> + Send,
        mut consume: impl FnMut(&BlockJob<'a>, Result<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let prepare = |job: &BlockJob<'a>, slot: &mut Decoded, has_time: bool| {
            if has_time && job.item.kind == Kind::Tensor {
                slot.read = Some(self.read_coded(&job.block, &mut slot.coded));
            }
        };
        let work = |job: &BlockJob<'a>, slot: &mut Decoded| {
            slot.error = match job.item.kind {
                Kind::Tensor | Kind::Delta => self.decode_block(job, slot).err(),
                _ => self.read_block(job, &mut slot.coded).err(),
            };
            Ok(())
        };
        #[cfg(feature = "gradient")]
        let mut restorer = values::Restorer::new(self);
        let consume = |job: &BlockJob<'a>, slot: &mut Decoded| match slot.error.take() {
            Some(error) => consume(job, Err(error)),
            None => match job.item.kind {
                Kind::Tensor | Kind::Delta => consume(job, Ok(&slot.raw)),
                #[cfg(feature = "gradient")]
                Kind::Values => consume(job, restorer.restore(job, &slot.coded)),
                _ => consume(job, Err(self.unknown_kind(job.item))),
            },
        };
        self.options.workers.run_prepared(self.block_bytes, jobs, prepare, work, consume)
    }

    fn decode_block(&self, job: &BlockJob<'_>, slot: &mut Decoded) -> Result<()> {
        let BlockJob { item, block, .. } = job;
        let Decoded { coded, read, raw, .. } = slot;
        let read = read.take();
        let set = self.codebooks_of(item)?.id();
        let mut spare = self.spare()?;
        let Spare { decoder, coded: own, base, .. } = &mut spare;
        let result = match read {
            Some(read) => read.map(|()| &coded[..]),
            None => self.read_coded(block, own).map(|()| &own[..]),
        };
        let result = result.and_then(|bytes| {
            raw.resize(block.raw_bytes, 0);
            let coded = CodedBlock { dtype: item.dtype, set, checksum: block.checksum, bytes };
            self.decode_coded(job, &coded, (decoder, base), raw)
        });
        self.keep(spare);
        result
    }

    /// Decodes a block that was read. `base` is memory for that of a delta.
    pub(super) fn decode_coded(
        &self,
        job: &BlockJob<'_>,
        coded: &CodedBlock<'_>,
        (decoder, base): (&mut Decoder, &mut Vec<u8>),
        out: &mut [u8],
    ) -> Result<()> {
        match job.item.kind {
            Kind::Delta => self.decode_delta(job, coded, (decoder, base), out),
            _ => decoder.decode_block(coded, out).map_err(self.block_error(job)),
        }
    }

    /// Reads the coded bytes of a block that is not of a plain tensor, and verifies their checksum.
    pub(super) fn read_block(&self, job: &BlockJob<'_>, coded: &mut Vec<u8>) -> Result<()> {
        self.read_coded(&job.block, coded)?;
        verify(&job.block, coded, "a block").map_err(self.block_error(job))
    }

    pub(super) fn read_coded(&self, entry: &EntryRef, coded: &mut Vec<u8>) -> Result<()> {
        let missing = entry.coded_bytes.saturating_sub(coded.len());
        // In a file with holes a block of gigabytes takes no room on the disk.
        if coded.try_reserve(missing).is_err() {
            return Err(Error::OutOfMemory {
                path: self.file.label().to_owned(),
                what: "a block".to_owned(),
                bytes: entry.coded_bytes as u64,
            });
        }
        coded.resize(entry.coded_bytes, 0);
        self.file.read_exact_at(coded, entry.offset)
    }

    pub(super) fn block_error(&self, job: &BlockJob<'_>) -> impl FnOnce(huffwire::Error) -> Error {
        let BlockJob { item, index, block } = job;
        let what = format!("{}: block {index} at offset {}", describe(item), block.offset);
        Error::codec(self.file.label(), what)
    }
}
