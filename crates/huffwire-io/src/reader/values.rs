//! Restoring the floats of items of quantized values.

use huffwire::file::Item;
use huffwire::gradient::item::{Header, ItemReader, KindHeader};
use huffwire::gradient::quantize::Quantizer;

use super::{BlockJob, Reader, describe};
use crate::error::{Error, Result};

/// Restores blocks of quantized values, one after the other.
pub(super) struct Restorer<'r, 'a> {
    reader: &'r Reader,
    current: Option<Current<'a>>,
    raw: Vec<u8>,
}

/// The item whose block was restored last.
struct Current<'a> {
    item: &'a Item,
    values: ItemReader,
    /// The first block that was never restored.
    next: usize,
}

impl<'r, 'a> Restorer<'r, 'a> {
    pub(super) const fn new(reader: &'r Reader) -> Self {
        Self { reader, current: None, raw: Vec::new() }
    }

    /// Restores the floats of a block from its coded bytes, whose checksum was verified.
    pub(super) fn restore(&mut self, job: &BlockJob<'a>, coded: &[u8]) -> Result<&[u8]> {
        let is_open = self.current.as_ref().is_some_and(|open| std::ptr::eq(open.item, job.item));
        if !is_open {
            self.current = None;
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                let values = self.reader.open_values(job.item)?;
                none.insert(Current { item: job.item, values, next: 0 })
            }
        };
        // Only the blocks before tell which scales belong to a block of a sparsifier.
        if matches!(current.values.header().quantizer, Quantizer::Sparsify(_)) {
            let before = Reader::blocks(job.item).take(job.index).skip(current.next);
            for job in before {
                let mut coded = Vec::new();
                self.reader.read_block(&job, &mut coded)?;
                current.restore(self.reader, &job, &coded, &mut self.raw)?;
            }
        }
        current.restore(self.reader, job, coded, &mut self.raw)?;
        Ok(&self.raw)
    }
}

impl Current<'_> {
    fn restore(
        &mut self,
        reader: &Reader,
        job: &BlockJob<'_>,
        coded: &[u8],
        raw: &mut Vec<u8>,
    ) -> Result<()> {
        let more = job.block.raw_bytes.saturating_sub(raw.len());
        if raw.try_reserve(more).is_err() {
            let (path, what) = (reader.file.label().to_owned(), "a block".to_owned());
            return Err(Error::OutOfMemory { path, what, bytes: job.block.raw_bytes as u64 });
        }
        raw.resize(job.block.raw_bytes, 0);
        let restored = self.values.restore_block(job.index, coded, raw);
        // The library names the block; where it lies is known here alone.
        restored.map_err(|error| reader.block_error(job)(strip(error)))?;
        self.next = self.next.max(job.index + 1);
        Ok(())
    }
}

/// The error without the number of the block, which is told with its place.
fn strip(error: huffwire::Error) -> huffwire::Error {
    match error {
        huffwire::Error::InBlock { source, .. } => *source,
        error => error,
    }
}

impl Reader {
    /// What an item of quantized values tells of them: quantizer, encoder, number of scales; `None` for any other
    /// item. No block is decoded.
    ///
    /// # Errors
    /// [`Error::Codec`] when this is damaged, [`Error::Io`].
    pub fn values_header(&self, item: &Item) -> Result<Option<Header>> {
        if item.kind != huffwire::Kind::Values {
            return Ok(None);
        }
        let entry = self.read_kind_header(item)?;
        let header = Header::read(item.dtype, item.units(), &entry);
        header.map(Some).map_err(|error| self.kind_header_error(item)(error))
    }

    /// Decodes all of an item of quantized values but its blocks.
    pub(super) fn open_values(&self, item: &Item) -> Result<ItemReader> {
        let set = self.codebooks_of(item)?.id();
        let entry = self.read_kind_header(item)?;
        let failed = || self.kind_header_error(item);
        let header = Header::read(item.dtype, item.units(), &entry).map_err(failed())?;
        let scales = (header.scales as u64).saturating_mul(size_of::<f32>() as u64);
        self.check_size(|| format!("the scales of {}", describe(item)), scales)?;
        let mut decoder = self.decoder()?;
        let (dtype, units, bytes) = (item.dtype, item.units(), &entry[..]);
        let kind_header = KindHeader { dtype, units, set, bytes };
        ItemReader::new(&kind_header, &mut decoder).map_err(failed())
    }
}
