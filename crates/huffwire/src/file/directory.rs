//! Directory of a file: its codebook sets, its original files, and where the entries of each item lie.

use std::collections::HashSet;
use std::sync::Arc;

use super::frame::write_trailer;
use super::item::{Item, Original};
use super::{DIRECTORY, HEADER_BYTES, MAX_SETS, is_plain_name, read_header};
use crate::block;
use crate::error::{Error, Result};
use crate::ids::SetId;
use crate::set::CodebookSet;
use crate::wire::{Reader, crc32c, put_string, put_varint};

/// Codebook set that items of a file are coded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRef {
    /// Its id.
    pub id: SetId,
    /// The set itself, when the file holds it.
    pub embedded: Option<Arc<CodebookSet>>,
}

/// Everything about a huffwire file but its entries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Directory {
    /// Whether each entry has a CRC-32C of its coded bytes.
    pub checksums: bool,
    /// Blocks of tensors hold at most `2^block_log2` bytes of elements.
    pub block_log2: u8,
    /// The codebook sets that items name by their place in this list.
    pub sets: Vec<SetRef>,
    /// The original files.
    pub originals: Vec<Original>,
}

impl Directory {
    /// Reads a directory. `header` are the first [`HEADER_BYTES`] bytes of the file, `offset` and
    /// `check` what [`read_trailer`](super::read_trailer) told.
    ///
    /// # Errors
    /// A typed error for everything that is no directory of exactly the entries that lie between
    /// header and directory.
    pub fn read(header: &[u8], bytes: &[u8], offset: u64, check: u32) -> Result<Self> {
        let checksums = read_header(header)?;
        let computed = crc32c(bytes);
        if check != computed {
            return Err(Error::Checksum { what: DIRECTORY, stored: check, computed });
        }
        let mut reader = Reader::new(DIRECTORY, bytes);
        let block_log2 = reader.u8()?;
        if !block::BLOCK_LOG2.contains(&block_log2) {
            return Err(reader.malformed("a block size outside 1 KiB to 1 MiB"));
        }
        let mut sets: Vec<SetRef> = Vec::new();
        let count = reader.varint()?;
        if count > MAX_SETS as u64 {
            let (what, limit) = ("the list of codebook sets of a file", MAX_SETS as u64);
            return Err(Error::TooLarge { what, found: count, limit });
        }
        for _ in 0..count {
            let set = SetRef::read(&mut reader)?;
            if sets.iter().any(|known| known.id == set.id) {
                return Err(reader.malformed("a codebook set that is listed twice"));
            }
            sets.push(set);
        }
        let mut originals = Vec::new();
        let mut names = HashSet::new();
        let mut next = HEADER_BYTES as u64;
        for _ in 0..reader.varint()? {
            let name = reader.string()?.to_owned();
            if !is_plain_name(&name) {
                return Err(Original::bad_name(&name));
            }
            if !names.insert(name.clone()) {
                return Err(Original::taken_name(&name));
            }
            let mut items = Vec::new();
            for _ in 0..reader.varint()? {
                let item = Item::read(&mut reader, sets.len(), (block_log2, checksums), next)?;
                next += item.coded_bytes();
                items.push(item);
            }
            originals.push(Original { name, items });
        }
        reader.finish()?;
        if next != offset {
            return Err(reader.malformed("the entries do not fill the space before the directory"));
        }
        Ok(Self { checksums, block_log2, sets, originals })
    }

    /// The directory and the trailer, for a file whose entries end at `offset`.
    pub(super) fn write(&self, offset: u64) -> Vec<u8> {
        let mut out = vec![self.block_log2];
        put_varint(&mut out, self.sets.len() as u64);
        for set in &self.sets {
            set.write(&mut out);
        }
        put_varint(&mut out, self.originals.len() as u64);
        for original in &self.originals {
            put_string(&mut out, &original.name);
            put_varint(&mut out, original.items.len() as u64);
            for item in &original.items {
                item.write(&mut out);
            }
        }
        write_trailer(&mut out, offset);
        out
    }

    /// All items of all original files.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.originals.iter().flat_map(|original| &original.items)
    }

    /// The first tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Item> {
        self.items().find(|item| item.tensor.as_ref().is_some_and(|tensor| tensor.name == name))
    }

    /// The id of the set that an item is coded with. (The place is in the list: it was checked when the directory was
    /// read, or given out by [`Writer::add_set`](super::Writer::add_set).)
    #[must_use]
    pub fn set_of(&self, item: &Item) -> Option<SetId> {
        self.sets.get(item.set).map(|set| set.id)
    }

    /// Size of all original files.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.originals.iter().map(Original::raw_bytes).sum()
    }
}

impl SetRef {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let id = SetId(reader.array()?);
        let embedded = match reader.size()? {
            0 => None,
            size => Some(Arc::new(CodebookSet::from_bytes(reader.take(size)?)?)),
        };
        if embedded.as_ref().is_some_and(|embedded| embedded.id() != id) {
            return Err(reader.malformed("the embedded codebook set is not the one named"));
        }
        Ok(Self { id, embedded })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        let embedded = self.embedded.as_ref().map(|set| set.to_bytes()).unwrap_or_default();
        put_varint(out, embedded.len() as u64);
        out.extend_from_slice(&embedded);
    }
}
