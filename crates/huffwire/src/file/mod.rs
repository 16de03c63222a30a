//! Files: whole `.safetensors`, `.npy` or raw files, any tensor of them decodable alone. See
//! `docs/format.md`, "File".
//!
//! This module makes and reads the bytes; where they come from and go to is the caller's business.
//! A file is a header, blocks one after the other, and at the end a directory and a trailer that
//! points to it. So a writer never has to go back, and a reader finds every block from the
//! directory alone.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::block::{self, block_bound};
use crate::wire::{Reader, crc32c, put_string, put_varint};

pub(crate) mod frame;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::ids::SetId;
use crate::set::CodebookSet;
use frame::Frame;

const DIRECTORY: &str = "the directory of a huffwire file";
const CHECKSUMS: u16 = 1;

static FRAME: Frame = Frame {
    magic: b"HUFFWIRE",
    end_magic: b"HWDE",
    version: 1,
    flags: CHECKSUMS,
    file: "a huffwire file",
    header: "the header of a huffwire file",
    trailer: "the trailer of a huffwire file",
    other: "is no huffwire file",
};

/// Bytes of the file header.
pub const HEADER_BYTES: usize = frame::HEADER_BYTES;
/// Bytes of the trailer, the last of the file.
pub const TRAILER_BYTES: usize = frame::TRAILER_BYTES;

/// What the tensor was called where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, as in the safetensors header.
    pub name: String,
    /// Element type as the source spelled it: `BF16`, `<f4`.
    pub dtype: String,
    /// Shape, outermost dimension first.
    pub shape: Vec<u64>,
}

/// A run of bytes of an original file: a tensor, or what stands around tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `None` for bytes that are no tensor, such as the safetensors header.
    pub tensor: Option<TensorInfo>,
    /// The type the bytes were coded as.
    pub dtype: Dtype,
    /// Size of the original bytes.
    pub raw_bytes: u64,
    block_log2: u8,
    /// Where the first block lies in the huffwire file.
    offset: u64,
    /// Coded bytes of each block, checksum included.
    blocks: Vec<u32>,
}

/// Where a block lies, coded and raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Offset in the huffwire file.
    pub offset: u64,
    /// Coded bytes.
    pub coded_bytes: usize,
    /// Offset of its elements in the item, in bytes.
    pub raw_offset: u64,
    /// Bytes of its elements.
    pub raw_bytes: usize,
}

impl Item {
    /// Coded bytes of all blocks.
    #[must_use]
    pub fn coded_bytes(&self) -> u64 {
        self.blocks.iter().map(|&bytes| u64::from(bytes)).sum()
    }

    /// Number of units (see [`Dtype`]).
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.raw_bytes / self.dtype.unit_bytes() as u64
    }

    /// All blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRef> + '_ {
        let size = block::block_bytes(self.dtype, self.block_log2);
        let mut offset = self.offset;
        self.blocks.iter().enumerate().map(move |(index, &coded)| {
            let raw_offset = index as u64 * size as u64;
            let raw_bytes = (self.raw_bytes - raw_offset).min(size as u64) as usize;
            let block = BlockRef { offset, coded_bytes: coded as usize, raw_offset, raw_bytes };
            offset += u64::from(coded);
            block
        })
    }

    /// The blocks that hold any of these bytes of the item.
    pub fn blocks_of(&self, bytes: Range<u64>) -> impl Iterator<Item = BlockRef> + '_ {
        self.blocks().filter(move |block| {
            block.raw_offset < bytes.end && block.raw_offset + block.raw_bytes as u64 > bytes.start
        })
    }
}

/// One original file inside a huffwire file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name: a plain file name, never a path.
    pub name: String,
    /// Its bytes, in order and without gaps.
    pub items: Vec<Item>,
}

impl Source {
    /// Size of the original file.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.raw_bytes).sum()
    }
}

/// Everything about a huffwire file but its blocks.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Whether every block carries a CRC-32C of its coded bytes.
    pub checksums: bool,
    /// Blocks hold at most `2^block_log2` bytes of elements.
    pub block_log2: u8,
    /// The codebook set that the blocks were coded with.
    pub set: SetId,
    /// The set itself, when it is embedded.
    pub embedded: Option<Arc<CodebookSet>>,
    /// The original files.
    pub sources: Vec<Source>,
}

/// Reads the header of a file; returns whether its blocks carry checksums.
///
/// # Errors
/// A typed error when the bytes are no header of a version this library reads.
pub fn read_header(bytes: &[u8]) -> Result<bool> {
    Ok(FRAME.read_header(bytes)? & CHECKSUMS != 0)
}

/// Reads the trailer (the last [`TRAILER_BYTES`] bytes) of a file of `file_bytes` bytes; returns
/// where the directory lies, and the checksum to pass to [`Directory::read`].
///
/// # Errors
/// A typed error when it is no trailer, or points outside the file.
pub fn read_trailer(trailer: &[u8], file_bytes: u64) -> Result<(Range<u64>, u32)> {
    FRAME.read_trailer(trailer, file_bytes)
}

impl Directory {
    /// Reads a directory. `header` are the first [`HEADER_BYTES`] bytes of the file, `offset` and
    /// `check` what [`read_trailer`] told.
    ///
    /// # Errors
    /// A typed error for everything that is no directory of exactly the blocks that lie between
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
        let set = SetId(reader.array()?);
        let embedded = match reader.size()? {
            0 => None,
            size => Some(Arc::new(CodebookSet::from_bytes(reader.take(size)?)?)),
        };
        if embedded.as_ref().is_some_and(|embedded| embedded.id() != set) {
            return Err(reader.malformed("the embedded codebook set is not the one named"));
        }
        let mut sources = Vec::new();
        let mut names = HashSet::new();
        let mut next_block = HEADER_BYTES as u64;
        for _ in 0..reader.varint()? {
            let name = reader.string()?.to_owned();
            if !is_plain_name(&name) {
                return Err(reader.malformed(format!("{name:?} is no plain file name")));
            }
            if !names.insert(name.clone()) {
                return Err(reader.malformed(format!("two original files named {name:?}")));
            }
            let mut items = Vec::new();
            for _ in 0..reader.varint()? {
                let item = read_item(&mut reader, block_log2, checksums, next_block)?;
                next_block += item.coded_bytes();
                items.push(item);
            }
            sources.push(Source { name, items });
        }
        reader.finish()?;
        if next_block != offset {
            return Err(reader.malformed("the blocks do not fill the space before the directory"));
        }
        Ok(Self { checksums, block_log2, set, embedded, sources })
    }

    /// All items of all sources.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.sources.iter().flat_map(|source| &source.items)
    }

    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Item> {
        self.items().find(|item| item.tensor.as_ref().is_some_and(|tensor| tensor.name == name))
    }

    /// Size of all original files.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.sources.iter().map(Source::raw_bytes).sum()
    }
}

fn read_item(
    reader: &mut Reader<'_>,
    block_log2: u8,
    checksums: bool,
    offset: u64,
) -> Result<Item> {
    let tensor = match reader.u8()? {
        0 => None,
        1 => {
            let (name, dtype) = (reader.string()?.to_owned(), reader.string()?.to_owned());
            let mut shape = Vec::new();
            for _ in 0..reader.varint()? {
                shape.push(reader.varint()?);
            }
            Some(TensorInfo { name, dtype, shape })
        }
        _ => return Err(reader.malformed("an unknown kind of item")),
    };
    let dtype = Dtype::from_number(reader.u8()?)
        .ok_or_else(|| reader.malformed("an unknown element type"))?;
    let raw_bytes = reader.varint()?;
    if !raw_bytes.is_multiple_of(dtype.unit_bytes() as u64) || raw_bytes > i64::MAX as u64 {
        return Err(reader.malformed("a size that no tensor of this type can have"));
    }
    let size = block::block_bytes(dtype, block_log2) as u64;
    let mut blocks = Vec::new();
    let mut left = raw_bytes;
    // A block's length takes at least a byte here, so a lying size ends with the directory.
    while left > 0 {
        let raw = left.min(size);
        let coded = reader.varint()?;
        if coded == 0 || coded > block_bound(raw as usize, checksums) as u64 {
            return Err(reader.malformed("a block larger than blocks can be"));
        }
        blocks.push(coded as u32);
        left -= raw;
    }
    Ok(Item { tensor, dtype, raw_bytes, block_log2, offset, blocks })
}

/// Whether a name can be joined to a folder without leaving it.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !name.is_empty() && name != "." && name != ".." && !name.contains(forbidden)
}

/// Keeps the books of a file that is being written.
///
/// The caller writes [`Writer::header`], then blocks in the order in which it announces them here,
/// then what [`Writer::finish`] returns.
#[derive(Debug)]
pub struct Writer {
    directory: Directory,
    names: HashSet<String>,
    offset: u64,
}

impl Writer {
    /// A file whose blocks are coded with `set`, which is embedded if `embed` says so.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a block size outside 1 KiB to 1 MiB.
    pub fn new(
        set: &Arc<CodebookSet>,
        embed: bool,
        checksums: bool,
        block_log2: u8,
    ) -> Result<Self> {
        if !block::BLOCK_LOG2.contains(&block_log2) {
            return Err(Error::InvalidOption("block_log2 must lie in 10..=20".into()));
        }
        let embedded = embed.then(|| Arc::clone(set));
        let directory =
            Directory { checksums, block_log2, set: set.id(), embedded, sources: Vec::new() };
        Ok(Self { directory, names: HashSet::new(), offset: HEADER_BYTES as u64 })
    }

    /// The first bytes of the file.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        FRAME.write_header(u16::from(self.directory.checksums) * CHECKSUMS)
    }

    /// Begins an original file.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the name is not a plain file name, or taken.
    pub fn begin_source(&mut self, name: &str) -> Result<()> {
        if !is_plain_name(name) {
            let detail = format!("{name:?} is no plain file name");
            return Err(Error::malformed("a source", 0, detail));
        }
        if !self.names.insert(name.to_owned()) {
            let detail = format!("two original files named {name:?}");
            return Err(Error::malformed("a source", 0, detail));
        }
        self.directory.sources.push(Source { name: name.to_owned(), items: Vec::new() });
        Ok(())
    }

    /// Begins an item of the current original file. An item may be empty.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] before the first [`Writer::begin_source`].
    pub fn begin_item(&mut self, tensor: Option<TensorInfo>, dtype: Dtype) -> Result<()> {
        let (block_log2, offset) = (self.directory.block_log2, self.offset);
        let source = self.directory.sources.last_mut();
        let source = source.ok_or(Error::InvalidOption("an item outside a source".into()))?;
        let blocks = Vec::new();
        source.items.push(Item { tensor, dtype, raw_bytes: 0, block_log2, offset, blocks });
        Ok(())
    }

    /// Announces the next block of the current item.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] before the first item, for sizes that no reader would accept, or when
    /// the previous block of the item was not a full one.
    pub fn push_block(&mut self, raw_bytes: usize, coded_bytes: usize) -> Result<()> {
        let item = self.directory.sources.last_mut().and_then(|source| source.items.last_mut());
        let item = item.ok_or(Error::InvalidOption("a block outside an item".into()))?;
        let size = block::block_bytes(item.dtype, item.block_log2) as u64;
        let whole = raw_bytes.is_multiple_of(item.dtype.unit_bytes());
        if raw_bytes == 0 || raw_bytes as u64 > size || !whole {
            return Err(Error::InvalidOption(
                "a block holds whole units, and no more than fit".into(),
            ));
        }
        if !item.raw_bytes.is_multiple_of(size) {
            return Err(Error::InvalidOption("only the last block of an item may be short".into()));
        }
        if coded_bytes == 0 || coded_bytes > block_bound(raw_bytes, self.directory.checksums) {
            return Err(Error::InvalidOption(
                "a coded block of a size that blocks never have".into(),
            ));
        }
        item.raw_bytes += raw_bytes as u64;
        item.blocks.push(coded_bytes as u32);
        self.offset += coded_bytes as u64;
        Ok(())
    }

    /// The directory as it stands.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The last bytes of the file: directory and trailer.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let directory = &self.directory;
        let mut out = vec![directory.block_log2];
        out.extend_from_slice(&directory.set.0);
        let embedded = directory.embedded.as_ref().map(|set| set.to_bytes()).unwrap_or_default();
        put_varint(&mut out, embedded.len() as u64);
        out.extend_from_slice(&embedded);
        put_varint(&mut out, directory.sources.len() as u64);
        for source in &directory.sources {
            put_string(&mut out, &source.name);
            put_varint(&mut out, source.items.len() as u64);
            for item in &source.items {
                write_item(&mut out, item);
            }
        }
        FRAME.write_trailer(&mut out, self.offset);
        out
    }
}

fn write_item(out: &mut Vec<u8>, item: &Item) {
    out.push(u8::from(item.tensor.is_some()));
    if let Some(tensor) = &item.tensor {
        put_string(out, &tensor.name);
        put_string(out, &tensor.dtype);
        put_varint(out, tensor.shape.len() as u64);
        for &dimension in &tensor.shape {
            put_varint(out, dimension);
        }
    }
    out.push(item.dtype.number());
    put_varint(out, item.raw_bytes);
    for &coded in &item.blocks {
        put_varint(out, u64::from(coded));
    }
}
