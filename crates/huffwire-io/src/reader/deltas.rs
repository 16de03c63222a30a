//! Deltas: items that are restored with the help of a base.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use huffwire::delta::{self, BlockHeader};
use huffwire::file::Item;
use huffwire::{CodedBlock, Decoder, Kind};

use super::{BlockJob, Reader, describe};
use crate::base::{Base, Place, Stored};
use crate::delta_usage::DeltaUsage;
use crate::error::{Error, Result};
use crate::workers::Workers;

/// The base of a file, and which of its items is the base of which delta.
#[derive(Debug)]
pub(super) struct WithBase {
    base: Arc<Base>,
    /// By the place of an item's kind header in the .hw file. An item without a match is missing.
    places: HashMap<u64, Place>,
    /// The kind headers, by the same places, that were found to be right: not each block need look again.
    checked: Mutex<HashSet<u64>>,
}

impl Reader {
    /// Restores deltas with this base.
    ///
    /// # Errors
    /// [`Error::LongChain`] where the base is the last of 32 deltas;
    /// [`Error::BrokenChain`] where the base is itself a delta, and makes something else than what this file was made
    /// for; [`Error::Codec`] when a block of either is damaged. Other mistakes show when they matter, or are told by
    /// [`Reader::check_base`].
    pub fn with_base(mut self, base: Arc<Base>) -> Result<Self> {
        base.check_chain(self.file.label())?;
        let mut places = HashMap::new();
        for original in &self.directory.originals {
            for item in original.items.iter().filter(|item| item.kind == Kind::Delta) {
                // Items that were added later may be more tensors; this one has a base.
                let place = base.find(&original.name, &Stored::of_item(item), true);
                let header = item.kind_header();
                places.extend(header.and_then(|header| Some((header.offset, place?))));
            }
        }
        self.with_base = Some(WithBase { base, places, checked: Mutex::default() });
        self.check_links()?;
        Ok(self)
    }

    /// The base that deltas are restored with.
    #[must_use]
    pub fn base(&self) -> Option<&Arc<Base>> {
        self.with_base.as_ref().map(|with_base| &with_base.base)
    }

    /// Whether the file has deltas, which cannot be restored without a base.
    #[must_use]
    pub fn has_deltas(&self) -> bool {
        self.deltas().next().is_some()
    }

    /// Checks that the base has a tensor of the right type and size for each delta of the file. That it has the right
    /// bytes, hashes tell when they are read.
    ///
    /// # Errors
    /// [`Error::BaseMissing`], [`Error::NotInBase`].
    pub fn check_base(&self) -> Result<()> {
        self.deltas().try_for_each(|item| self.place_of(item).map(drop))
    }

    /// What the deltas of the file consist of, in the order of the directory; `None` for all other items. Only the
    /// header of each block is read, so damage within a block is not noticed. No base is needed. `progress` is called
    /// with the number of bytes done since its last call.
    ///
    /// # Errors
    /// [`Error::Codec`] when the header of a block is damaged, [`Error::Io`].
    pub fn delta_usages(&self, mut progress: impl FnMut(u64)) -> Result<Vec<Option<DeltaUsage>>> {
        let mut usages = Vec::new();
        for item in self.directory.items() {
            if item.kind != Kind::Delta {
                usages.push(None);
                continue;
            }
            let mut usage = DeltaUsage::default();
            for job in Self::blocks(item) {
                let header = self.read_block_header(&job)?;
                let (raw, coded) = (job.block.raw_bytes, job.block.coded_bytes);
                usage.add(item.dtype, raw, coded, &header);
                progress(raw as u64);
            }
            usages.push(Some(usage));
        }
        Ok(usages)
    }

    /// Reads blocks of deltas and hands what is found, in order, to `consume`: their checksums are verified and their
    /// headers read, for which no base is needed. Whether they decode to what they should, only
    /// [`Reader::decode_blocks`] tells.
    ///
    /// # Errors
    /// The first error that `consume` returns.
    pub fn check_delta_blocks<'a, E: From<Error> + Send>(
        &self,
        jobs: impl Iterator<Item = BlockJob<'a>> + Send,
        mut consume: impl FnMut(&BlockJob<'a>, Result<BlockHeader>) -> Result<(), E>,
    ) -> Result<(), E> {
        let work = |job: &BlockJob<'a>, slot: &mut Option<Result<BlockHeader>>| {
            *slot = Some(self.check_delta_block(job));
            Ok(())
        };
        self.options.workers.run(self.block_bytes, jobs, work, |job, slot| match slot.take() {
            Some(checked) => consume(job, checked),
            None => Ok(()),
        })
    }

    fn check_delta_block(&self, job: &BlockJob<'_>) -> Result<BlockHeader> {
        let mut coded = Vec::new();
        self.read_block(job, &mut coded)?;
        let words = job.block.raw_bytes / delta::word_bytes(job.item.dtype);
        BlockHeader::read(&coded, words).map_err(self.block_error(job))
    }

    /// Decodes on the thread that asks for it from now on.
    pub(crate) fn decode_on_calling_thread(&mut self) {
        self.options.workers = Arc::new(Workers::caller());
    }

    /// Checks the kind header of a delta.
    pub(super) fn check_delta_header(&self, item: &Item) -> Result<()> {
        let header = self.read_kind_header(item)?;
        if header == delta::KIND_HEADER {
            return Ok(());
        }
        let detail = format!("{}: a kind header that this version does not know", describe(item));
        Err(Error::invalid(self.file.label(), ".hw", detail))
    }

    fn check_delta_header_once(&self, item: &Item) -> Result<()> {
        let Some((WithBase { checked, .. }, header)) =
            self.with_base.as_ref().zip(item.kind_header())
        else {
            return self.check_delta_header(item);
        };
        let lock = || checked.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().contains(&header.offset) {
            return Ok(());
        }
        self.check_delta_header(item)?;
        lock().insert(header.offset);
        Ok(())
    }

    /// Decodes a block of a delta with the base, whose bytes are read to `base_bytes`.
    pub(super) fn decode_delta(
        &self,
        job: &BlockJob<'_>,
        coded: &CodedBlock<'_>,
        (decoder, base_bytes): (&mut Decoder, &mut Vec<u8>),
        out: &mut [u8],
    ) -> Result<()> {
        let BlockJob { item, index, block } = job;
        let (base, place) = self.place_of(item)?;
        self.check_delta_header_once(item)?;
        base_bytes.resize(block.raw_bytes, 0);
        let read = base.read(place, block.raw_offset, base_bytes);
        read.map_err(|source| Error::BaseUnreadable {
            path: self.file.label().to_owned(),
            what: format!("{}: block {index}", describe(item)),
            base: base.label().to_owned(),
            source: Box::new(source),
        })?;
        let decoded = decoder.decode_delta_block(coded, base_bytes, out);
        decoded.map(drop).map_err(|source| match source {
            huffwire::Error::WrongBase { .. } => Error::WrongBase {
                path: self.file.label().to_owned(),
                what: format!("{}: block {index}", describe(item)),
                base: base.label().to_owned(),
                source: Box::new(source),
            },
            source => self.block_error(job)(source),
        })
    }

    /// The base of a delta, and where in it the base of this item lies: there are as many bytes of the same type.
    fn place_of(&self, item: &Item) -> Result<(&Base, Place)> {
        let place_in_file = || (self.file.label().to_owned(), describe(item));
        let Some(WithBase { base, places, .. }) = &self.with_base else {
            let (path, what) = place_in_file();
            return Err(Error::BaseMissing { path, what });
        };
        let refused = |detail: String| {
            let ((path, what), base) = (place_in_file(), base.label().to_owned());
            Err(Error::NotInBase { path, what, base, detail })
        };
        let place = item.kind_header().and_then(|header| places.get(&header.offset));
        let Some(&place) = place else {
            return refused("has no tensor of that name".to_owned());
        };
        let Stored { info, dtype, bytes } = base.item(place);
        if (dtype, bytes) == (item.dtype, item.raw_bytes) {
            return Ok((base, place));
        }
        let name = info.map_or("", |info| &info.name);
        refused(format!(
            "has the tensor {name:?} of {bytes} bytes of type {dtype}, where {} bytes of type {} are expected",
            item.raw_bytes, item.dtype
        ))
    }

    fn deltas(&self) -> impl Iterator<Item = &Item> {
        self.directory.items().filter(|item| item.kind == Kind::Delta)
    }

    /// Where the base is a delta, too: compares the results of its blocks with the bases of these. Nothing is decoded.
    fn check_links(&self) -> Result<()> {
        let Some(WithBase { base, places, .. }) = &self.with_base else { return Ok(()) };
        for item in self.deltas() {
            let header = item.kind_header();
            let before = header
                .and_then(|header| places.get(&header.offset))
                .and_then(|place| base.hw_item(*place));
            let Some((reader, before)) = before else { continue };
            let is_alike = (item.dtype, item.raw_bytes) == (before.dtype, before.raw_bytes);
            if before.kind != Kind::Delta || !is_alike {
                continue;
            }
            for (job, earlier) in Self::blocks(item).zip(Self::blocks(before)) {
                let expected = self.read_block_header(&job)?.base;
                let found = reader.read_block_header(&earlier)?.result;
                if expected != found {
                    // Unless one of the headers is damaged.
                    self.check_delta_block(&job)?;
                    reader.check_delta_block(&earlier)?;
                    let (path, base) = (self.file.label().to_owned(), base.label().to_owned());
                    let what = format!("{}: block {}", describe(item), job.index);
                    return Err(Error::BrokenChain { path, what, base, expected, found });
                }
            }
        }
        Ok(())
    }

    /// Reads the header of a block of a delta. Its checksum is that of the whole block, and is not verified.
    fn read_block_header(&self, job: &BlockJob<'_>) -> Result<BlockHeader> {
        let BlockJob { item, block, .. } = job;
        let length = block.coded_bytes.min(delta::MAX_HEADER_BYTES) as u64;
        let bytes = self.file.read(block.offset..block.offset + length)?;
        let words = block.raw_bytes / delta::word_bytes(item.dtype);
        let header = BlockHeader::read(&bytes, words);
        header.map_err(self.block_error(job))
    }
}
