//! Items: the tensors of an original file, and the bytes around them.

use std::ops::Range;

use super::DIRECTORY;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::message::{Kind, block_bytes, check_block, check_kind_header, raw_sizes};
use crate::wire::{Reader, put_string, put_varint};

/// Bit of an item's first byte: it is a tensor, which has a name.
const NAMED: u8 = 0x80;
/// Bit of an item's first byte: its set is another than the first one listed.
const OTHER_SET: u8 = 0x40;

/// What a tensor is called in the original file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, as in the safetensors header.
    pub name: String,
    /// Element type as the original spells it: `BF16`, `<f4`.
    pub dtype: String,
    /// Shape, outermost dimension first.
    pub shape: Vec<u64>,
}

/// Run of bytes of an original file: a tensor, or what stands around tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// `None` for bytes that are no tensor, such as the safetensors header.
    pub tensor: Option<TensorInfo>,
    /// How the bytes are coded.
    pub kind: Kind,
    /// The element type.
    pub dtype: Dtype,
    /// Place of its codebook set in the directory's list.
    pub set: usize,
    /// Size of the original bytes.
    pub raw_bytes: u64,
    pub(super) block_log2: u8,
    /// Where the first entry lies in the huffwire file.
    pub(super) offset: u64,
    /// Coded bytes of each entry.
    pub(super) lengths: Vec<u32>,
    /// Checksums of the entries; empty if the file has none.
    pub(super) checks: Vec<u32>,
}

/// Where an entry lies: a block, or the kind header of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryRef {
    /// Offset in the huffwire file.
    pub offset: u64,
    /// Coded bytes.
    pub coded_bytes: usize,
    /// CRC-32C of these bytes, if the file has checksums.
    pub checksum: Option<u32>,
    /// Offset of its elements in the item, in bytes.
    pub raw_offset: u64,
    /// Bytes of its elements; 0 for a kind header.
    pub raw_bytes: usize,
}

impl Item {
    /// Coded bytes of all entries.
    #[must_use]
    pub fn coded_bytes(&self) -> u64 {
        self.lengths.iter().map(|&bytes| u64::from(bytes)).sum()
    }

    /// Number of units (see [`Dtype`]).
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.raw_bytes / self.dtype.unit_bytes() as u64
    }

    /// Bytes of elements in each block but the last.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        block_bytes(self.kind, self.dtype, self.block_log2)
    }

    /// The kind header of an item that is no plain tensor.
    #[must_use]
    pub fn kind_header(&self) -> Option<EntryRef> {
        (self.kind.leading_entries() > 0).then(|| self.entries().next())?
    }

    /// All blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = EntryRef> + '_ {
        self.entries().skip(self.kind.leading_entries())
    }

    /// The blocks that hold any of these bytes of the item.
    pub fn blocks_of(&self, bytes: Range<u64>) -> impl Iterator<Item = EntryRef> + '_ {
        self.blocks().filter(move |block| {
            block.raw_offset < bytes.end && block.raw_offset + block.raw_bytes as u64 > bytes.start
        })
    }

    /// All entries in order: the kind header, where there is one, and the blocks.
    pub fn entries(&self) -> impl Iterator<Item = EntryRef> + '_ {
        let (leading, size) = (self.kind.leading_entries(), self.block_bytes() as u64);
        let mut offset = self.offset;
        self.lengths.iter().enumerate().map(move |(index, &coded)| {
            let raw_offset = index.saturating_sub(leading) as u64 * size;
            let raw_bytes =
                if index < leading { 0 } else { (self.raw_bytes - raw_offset).min(size) as usize };
            let checksum = self.checks.get(index).copied();
            let coded_bytes = coded as usize;
            let entry = EntryRef { offset, coded_bytes, checksum, raw_offset, raw_bytes };
            offset += u64::from(coded);
            entry
        })
    }

    /// Reads an item of a directory that lists so many sets; its entries begin at `offset`.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        sets: usize,
        (block_log2, checksums): (u8, bool),
        offset: u64,
    ) -> Result<Self> {
        let first = reader.u8()?;
        let kind = Kind::from_number(first & !(NAMED | OTHER_SET))?;
        let tensor = (first & NAMED != 0).then(|| TensorInfo::read(reader)).transpose()?;
        let dtype = Dtype::from_number(reader.u8()?)
            .ok_or_else(|| reader.malformed("an unknown element type"))?;
        let other = first & OTHER_SET != 0;
        let set = if other { reader.size()? } else { 0 };
        if set >= sets || (other && set == 0) {
            return Err(reader.malformed("an item of a codebook set that is not listed"));
        }
        let raw_bytes = reader.varint()?;
        if dtype.values_in(raw_bytes).is_none() || raw_bytes > i64::MAX as u64 {
            return Err(reader.malformed("a size that no tensor of this type can have"));
        }
        let mut lengths = Vec::new();
        for _ in 0..kind.leading_entries() {
            let length = entry_length(reader)?;
            check_kind_header(kind, length as usize).map_err(|detail| reader.malformed(detail))?;
            lengths.push(length);
        }
        // A length takes at least a byte here, so a lying size ends with the directory.
        for raw in raw_sizes(raw_bytes, block_bytes(kind, dtype, block_log2)) {
            let coded = entry_length(reader)?;
            check_block(kind, dtype, raw, coded as usize)
                .map_err(|detail| reader.malformed(detail))?;
            lengths.push(coded);
        }
        let mut checks = Vec::new();
        if checksums {
            for _ in &lengths {
                checks.push(reader.u32()?);
            }
        }
        Ok(Self { tensor, kind, dtype, set, raw_bytes, block_log2, offset, lengths, checks })
    }

    /// Appends what [`Item::read`] reads.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let named = if self.tensor.is_some() { NAMED } else { 0 };
        let other_set = if self.set > 0 { OTHER_SET } else { 0 };
        out.push(self.kind.number() | named | other_set);
        if let Some(tensor) = &self.tensor {
            tensor.write(out);
        }
        out.push(self.dtype.number());
        if self.set > 0 {
            put_varint(out, self.set as u64);
        }
        put_varint(out, self.raw_bytes);
        for &length in &self.lengths {
            put_varint(out, length.into());
        }
        for check in &self.checks {
            out.extend_from_slice(&check.to_le_bytes());
        }
    }
}

fn entry_length(reader: &mut Reader<'_>) -> Result<u32> {
    let length = u32::try_from(reader.varint()?).ok().filter(|length| *length > 0);
    length.ok_or_else(|| reader.malformed("an entry of 0 bytes, or of more than 4 GiB"))
}

impl TensorInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (name, dtype) = (reader.string()?.to_owned(), reader.string()?.to_owned());
        let mut shape = Vec::new();
        for _ in 0..reader.varint()? {
            shape.push(reader.varint()?);
        }
        Ok(Self { name, dtype, shape })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_string(out, &self.name);
        put_string(out, &self.dtype);
        put_varint(out, self.shape.len() as u64);
        for &dimension in &self.shape {
            put_varint(out, dimension);
        }
    }
}

/// One original file inside a huffwire file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Original {
    /// Its name: a plain file name, never a path.
    pub name: String,
    /// Its bytes, in order and without gaps.
    pub items: Vec<Item>,
}

impl Original {
    /// Size of the original file.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.raw_bytes).sum()
    }

    /// The error of a name that cannot be one of an original file.
    pub(super) fn bad_name(name: &str) -> Error {
        Error::malformed(DIRECTORY, 0, format!("{name:?} is no plain file name"))
    }

    /// The error of a name that is there already.
    pub(super) fn taken_name(name: &str) -> Error {
        Error::malformed(DIRECTORY, 0, format!("two original files named {name:?}"))
    }
}
