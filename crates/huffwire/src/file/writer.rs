//! Writing a file: the record of what was written so far, and the bytes in front of and behind the entries.

use std::collections::HashSet;
use std::sync::Arc;

use super::directory::{Directory, SetRef};
use super::frame::write_header;
use super::item::{Item, Original, TensorInfo};
use super::{HEADER_BYTES, MAX_SETS, is_plain_name};
use crate::block;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::message::{Kind, check_block, check_kind_header};
use crate::set::CodebookSet;

/// What is known of an item before its entries are written.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// `None` for bytes that are no tensor.
    pub tensor: Option<TensorInfo>,
    /// How the bytes are coded.
    pub kind: Kind,
    /// The element type.
    pub dtype: Dtype,
    /// Place of its codebook set, from [`Writer::add_set`].
    pub set: usize,
}

/// Keeps the books of a file that is being written.
///
/// The caller writes [`Writer::header`], then entries in the order in which it announces them here,
/// then what [`Writer::finish`] returns.
#[derive(Debug)]
pub struct Writer {
    directory: Directory,
    names: HashSet<String>,
    offset: u64,
}

impl Writer {
    /// A file whose tensors have blocks of at most `2^block_log2` bytes, and whose entries have checksums or not.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a block size outside 1 KiB to 1 MiB.
    pub fn new(checksums: bool, block_log2: u8) -> Result<Self> {
        if !block::BLOCK_LOG2.contains(&block_log2) {
            return Err(Error::InvalidOption("block_log2 must lie in 10..=20".into()));
        }
        let (sets, originals) = (Vec::new(), Vec::new());
        let directory = Directory { checksums, block_log2, sets, originals };
        Ok(Self { directory, names: HashSet::new(), offset: HEADER_BYTES as u64 })
    }

    /// Lists a codebook set, and embeds it if `embed` says so; returns its place for items. A set that is listed
    /// keeps its place.
    pub fn add_set(&mut self, set: &Arc<CodebookSet>, embed: bool) -> usize {
        let sets = &mut self.directory.sets;
        let place = sets.iter().position(|known| known.id == set.id()).unwrap_or_else(|| {
            sets.push(SetRef { id: set.id(), embedded: None });
            sets.len() - 1
        });
        if embed {
            sets[place].embedded = Some(Arc::clone(set));
        }
        place
    }

    /// The first bytes of the file.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        write_header(self.directory.checksums)
    }

    /// Begins an original file.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the name is not a plain file name, or taken; [`Error::InvalidOption`] when the item
    /// before lacks its kind header.
    pub fn begin_original(&mut self, name: &str) -> Result<()> {
        self.check_last()?;
        if !is_plain_name(name) {
            return Err(Original::bad_name(name));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(Original::taken_name(name));
        }
        self.directory.originals.push(Original { name: name.to_owned(), items: Vec::new() });
        Ok(())
    }

    /// Begins an item of the current original file. An item may be empty.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] before the first [`Writer::begin_original`], for a set that is not listed or more sets
    /// than a file may have, or when the item before lacks its kind header.
    pub fn begin_item(&mut self, item: NewItem) -> Result<()> {
        self.check_last()?;
        let NewItem { tensor, kind, dtype, set } = item;
        if set >= self.directory.sets.len() {
            return Err(Error::InvalidOption("an item of a set that is not listed".into()));
        }
        if self.directory.sets.len() > MAX_SETS {
            let detail = format!("a file of more than {MAX_SETS} codebook sets");
            return Err(Error::InvalidOption(detail.into()));
        }
        let (block_log2, offset) = (self.directory.block_log2, self.offset);
        let original = self.directory.originals.last_mut();
        let original =
            original.ok_or(Error::InvalidOption("an item outside an original".into()))?;
        let (lengths, checks) = (Vec::new(), Vec::new());
        let item =
            Item { tensor, kind, dtype, set, raw_bytes: 0, block_log2, offset, lengths, checks };
        original.items.push(item);
        Ok(())
    }

    /// Announces the kind header of the current item, which must not be a plain tensor: `coded_bytes` and their
    /// [`checksum`](super::checksum).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where no kind header belongs, for an empty one or one above 4 GiB, for one of a delta
    /// that is not [`delta::KIND_HEADER`](crate::delta::KIND_HEADER) long, or without the checksum that the file asks
    /// for.
    pub fn push_kind_header(&mut self, coded_bytes: usize, checksum: Option<u32>) -> Result<()> {
        let item = self.current("a kind header outside an item")?;
        if item.kind.leading_entries() != 1 || !item.lengths.is_empty() {
            return Err(Error::InvalidOption("a kind header where none belongs".into()));
        }
        let checked = check_kind_header(item.kind, coded_bytes);
        checked.map_err(|detail| Error::InvalidOption(detail.into()))?;
        self.push(0, coded_bytes, checksum)
    }

    /// Announces the next block of the current item: how many bytes of elements it holds, its coded bytes, and their
    /// [`checksum`](super::checksum).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] before the first item, for sizes that no reader would accept, when
    /// the previous block of the item was not a full one, or without the checksum that the file asks for.
    pub fn push_block(
        &mut self,
        raw_bytes: usize,
        coded_bytes: usize,
        checksum: Option<u32>,
    ) -> Result<()> {
        let item = self.current("a block outside an item")?;
        if item.lengths.len() < item.kind.leading_entries() {
            return Err(Error::InvalidOption("a block before the item's kind header".into()));
        }
        let size = item.block_bytes();
        let whole = item.dtype.values_in(raw_bytes as u64).is_some();
        if raw_bytes == 0 || raw_bytes > size || !whole {
            let detail = "a block holds whole elements, and no more than fit";
            return Err(Error::InvalidOption(detail.into()));
        }
        if !item.raw_bytes.is_multiple_of(size as u64) {
            return Err(Error::InvalidOption("only the last block of an item may be short".into()));
        }
        let checked = check_block(item.kind, item.dtype, raw_bytes, coded_bytes);
        checked.map_err(|detail| Error::InvalidOption(detail.into()))?;
        self.push(raw_bytes, coded_bytes, checksum)
    }

    /// Checks that the item begun last is complete.
    fn check_last(&self) -> Result<()> {
        let last = self.directory.originals.last().and_then(|file| file.items.last());
        if last.is_some_and(|item| item.lengths.len() < item.kind.leading_entries()) {
            return Err(Error::InvalidOption("an item without its kind header".into()));
        }
        Ok(())
    }

    fn current(&mut self, missing: &'static str) -> Result<&mut Item> {
        let item = self.directory.originals.last_mut().and_then(|file| file.items.last_mut());
        item.ok_or(Error::InvalidOption(missing.into()))
    }

    fn push(&mut self, raw_bytes: usize, coded_bytes: usize, checksum: Option<u32>) -> Result<()> {
        if checksum.is_some() != self.directory.checksums {
            let detail = "a checksum where the file has none, or none where it has them";
            return Err(Error::InvalidOption(detail.into()));
        }
        let length = u32::try_from(coded_bytes).ok().filter(|length| *length > 0);
        let length = length.ok_or(Error::InvalidOption("an entry of an impossible size".into()))?;
        let item = self.current("an entry outside an item")?;
        item.raw_bytes += raw_bytes as u64;
        item.lengths.push(length);
        item.checks.extend(checksum);
        self.offset += u64::from(length);
        Ok(())
    }

    /// The directory as it stands.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The last bytes of the file: directory and trailer.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when the last item lacks its kind header.
    pub fn finish(&self) -> Result<Vec<u8>> {
        self.check_last()?;
        Ok(self.directory.write(self.offset))
    }
}
