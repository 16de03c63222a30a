//! Reading .hw files.

mod blocks;
mod codebooks;
mod deltas;
mod directory;
mod into;
mod messages;
mod slice;
#[cfg(feature = "gradient")]
mod values;

use std::ops::{Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use huffwire::file::{self, Directory, EntryRef, Item, Original, SetRef, TensorInfo};
use huffwire::{CodebookSet, CodedBlock, Decoder, INSPECT_BYTES, Kind};

use crate::analysis::Usage;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::input::{InputFile, Origin};
use crate::output::Output;
use crate::workers::Workers;

pub use blocks::BlockJob;
use deltas::WithBase;
use into::Spare;
pub use into::{Destination, Region};
use slice::is_full;

/// How to read a .hw file.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The most bytes that one call may decode; more are an error before anything is decoded. A small
    /// file can decode to very much, so set a limit where files come from strangers. Default: no limit.
    pub max_size: u64,
    /// The most bytes that the directory of a file may have. The directory is read when a file is opened, and takes
    /// some times as much memory as bytes. Default: 4 GiB, the directory of 100 TB of tensors.
    pub max_directory_size: u64,
    /// The threads that blocks are decoded on. Default: the calling thread.
    pub workers: Arc<Workers>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        let workers = Arc::new(Workers::caller());
        Self { max_size: u64::MAX, max_directory_size: 1 << 32, workers }
    }
}

/// What a tensor is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TensorFormat {
    /// Little-endian bytes and nothing else.
    #[default]
    Raw,
    /// A `.npy` file: the header that the array came with, or one of C order. See [`npy::header`] for
    /// types that NumPy does not have.
    Npy,
}

/// Reads a .hw file: lists what is in it, and decodes any part of it.
///
/// Every block of a .hw file can be decoded alone. So a read costs as much as the blocks (128 KiB by
/// default) that hold the requested bytes, wherever they lie. A reader can be shared among threads.
///
/// ```
/// use std::io::Cursor;
/// use huffwire::Dtype;
/// use huffwire::file::TensorInfo;
/// use huffwire_io::{Error, Output, ReadOptions, Reader, WriteOptions, Writer};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.hw");
/// # let mut writer = Writer::create(&path, false, WriteOptions::default())?;
/// # writer.begin_original("x")?;
/// # let info = |name: &str| TensorInfo { name: name.into(), dtype: "BF16".into(), shape: vec![500] };
/// # writer.add_tensor(info("layers.0.weight"), Dtype::Bf16, &[0x3f; 1000])?;
/// # writer.add_tensor(info("layers.1.weight"), Dtype::Bf16, &[0x40; 1000])?;
/// # writer.finish()?;
/// let reader = Reader::open(&path)?;
/// for (tensor, item) in reader.tensors() {
///     println!("{} {:?}: {} bytes", tensor.name, tensor.shape, item.raw_bytes);
/// }
/// assert_eq!(reader.read_range("layers.1.weight", 10..12)?, [0x40; 4]);
///
/// // From memory, or anything else that can seek; no call decodes more than 500 bytes.
/// let options = ReadOptions { max_size: 500, ..ReadOptions::default() };
/// let reader = Reader::from_reader(Cursor::new(std::fs::read(&path)?), options)?;
/// assert!(matches!(reader.read("layers.0.weight"), Err(Error::TooLarge { .. })));
/// assert!(matches!(reader.read("layers.weight"), Err(Error::NoSuchTensor { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    file: InputFile,
    directory: Directory,
    options: ReadOptions,
    /// In the order of the directory's list; `None` for a set that is neither embedded nor built in nor given.
    sets: Vec<Option<Arc<CodebookSet>>>,
    /// Sets that were given and are not in that list, which quantized values may need.
    others: Vec<Arc<CodebookSet>>,
    /// What deltas are restored with.
    with_base: Option<WithBase>,
    /// The size of the largest blocks, by which work is given out: so memory is bounded whatever they are.
    block_bytes: usize,
    /// Those that no thread uses at the moment.
    spares: Mutex<Vec<Spare>>,
}

/// Whether a file that begins so is a .hw file. Eight bytes are enough.
#[must_use]
pub fn is_hw_file(start: &[u8]) -> bool {
    start.starts_with(b"HUFFWIRE")
}

impl Reader {
    /// Opens the file `path` with default options.
    ///
    /// # Errors
    /// Those of [`InputFile::open`] and [`Reader::new`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(InputFile::open(path)?, ReadOptions::default())
    }

    /// Opens a .hw file in anything that can be read and can seek.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn from_reader(
        reader: impl std::io::Read + std::io::Seek + Send + 'static,
        options: ReadOptions,
    ) -> Result<Self> {
        Self::new(InputFile::from_reader("the .hw file", reader)?, options)
    }

    /// Reads and checks the directory of a .hw file.
    ///
    /// # Errors
    /// [`Error::Codec`] or [`Error::InvalidFormat`] when the file is no .hw file, was cut or is damaged;
    /// [`Error::TooLarge`].
    pub fn new(file: InputFile, options: ReadOptions) -> Result<Self> {
        let directory = directory::read(&file, options.max_directory_size)?;
        let builtin = CodebookSet::builtin();
        let at_hand = |set: &SetRef| {
            set.embedded.clone().or_else(|| (builtin.id() == set.id).then(|| Arc::clone(&builtin)))
        };
        let sets = directory.sets.iter().map(at_hand).collect();
        let block_bytes = directory.items().map(Item::block_bytes).max().unwrap_or(1);
        let (others, with_base, spares) = (Vec::new(), None, Mutex::default());
        Ok(Self { file, directory, options, sets, others, with_base, block_bytes, spares })
    }

    /// The .hw file.
    #[must_use]
    pub const fn file(&self) -> &InputFile {
        &self.file
    }

    /// The files that it reads, also those of a base: no output may replace one of them.
    #[must_use]
    pub fn origins(&self) -> Vec<&Origin> {
        let bases = self.base().map_or_else(Vec::new, |base| base.origins());
        std::iter::once(self.file.origin()).chain(bases).collect()
    }

    /// An error when the file or one of its bases is no longer as long as it was.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check_length(&self) -> Result<()> {
        self.file.check_length()?;
        self.base().map_or(Ok(()), |base| base.check_length())
    }

    /// What is in the file.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All tensors, in the order of the file: name, type and shape, and what is known of the bytes.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorInfo, &Item)> {
        self.directory.items().filter_map(|item| Some((item.tensor.as_ref()?, item)))
    }

    /// The tensor `name`. The first one if several originals have a tensor of that name.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn tensor(&self, name: &str) -> Result<&Item> {
        self.directory.tensor(name).ok_or_else(|| {
            let names = || self.tensors().map(|(tensor, _)| tensor.name.as_str());
            let similar = names().filter(|other| other.contains(name) || name.contains(*other));
            Error::NoSuchTensor {
                path: self.file.label().to_owned(),
                name: name.to_owned(),
                tensors: names().count(),
                similar: similar.take(3).map(str::to_owned).collect(),
            }
        })
    }

    /// Decodes a tensor: its elements as little-endian bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::CodebooksMissing`], [`Error::TooLarge`], and [`Error::Codec`] when
    /// a block is damaged.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.read_range(name, ..)
    }

    /// Decodes some elements of a tensor, counted from 0 in the order of memory; no block that holds none
    /// of them is read.
    ///
    /// # Errors
    /// As [`Reader::read`], and [`Error::Range`] when the range reaches outside the tensor, or begins or
    /// ends within a byte (elements of 4 or 6 bits).
    pub fn read_range(&self, name: &str, elements: impl RangeBounds<u64>) -> Result<Vec<u8>> {
        let item = self.tensor(name)?;
        let slice = self.slice(item, &elements)?;
        let bytes = slice.bytes.end - slice.bytes.start;
        let mut out = Vec::new();
        self.decode_slice(item, &slice.bytes, |part| {
            // Grows with what was decoded, never with what is claimed.
            if out.try_reserve(part.len()).is_err() {
                let (path, what) = (self.file.label().to_owned(), describe(item));
                return Err(Error::OutOfMemory { path, what, bytes });
            }
            out.extend_from_slice(part);
            Ok(())
        })?;
        self.check_length()?;
        Ok(out)
    }

    /// Decodes bytes of an item from `start` on, counted from 0, into `out`. The item has that many bytes.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) fn read_bytes(&self, item: &Item, start: u64, out: &mut [u8]) -> Result<()> {
        let mut at = 0;
        let wanted = start..start + out.len() as u64;
        self.decode_slice(item, &wanted, |part| {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
            Ok(())
        })
    }

    /// Writes a tensor, or some of its elements, to an output; returns the size of the elements in bytes.
    /// `progress` is called with the number of bytes done since its last call.
    ///
    /// # Errors
    /// As [`Reader::read_range`], [`Error::NotAnArray`], [`Error::Io`].
    pub fn write_tensor(
        &self,
        name: &str,
        elements: impl RangeBounds<u64>,
        format: TensorFormat,
        output: &mut Output,
        mut progress: impl FnMut(u64),
    ) -> Result<u64> {
        let item = self.tensor(name)?;
        let slice = self.slice(item, &elements)?;
        let bytes = slice.bytes.end - slice.bytes.start;
        if format == TensorFormat::Npy {
            match self.npy_header_of(item).filter(|_| is_full(&elements)) {
                Some(header) => {
                    self.decode_slice(header, &(0..header.raw_bytes), |part| output.write(part))?;
                }
                None => {
                    let dtype = item.tensor.as_ref().map_or("", |tensor| &tensor.dtype);
                    output.write(&npy::header(item.dtype, dtype, &slice.shape, bytes)?)?;
                }
            }
        }
        self.decode_slice(item, &slice.bytes, |part| {
            progress(part.len() as u64);
            output.write(part)
        })?;
        self.check_length()?;
        Ok(bytes)
    }

    /// Writes an original file, one of [`Directory::originals`], to an output. `progress` is called with the
    /// number of bytes done since its last call.
    ///
    /// # Errors
    /// [`Error::CodebooksMissing`], [`Error::TooLarge`], [`Error::Codec`], [`Error::Io`].
    pub fn write_original(
        &self,
        original: &Original,
        output: &mut Output,
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        let what = || format!("the original {:?}", original.name);
        self.check_size(what, original.raw_bytes())?;
        let empty = |item: &&Item| item.raw_bytes == 0;
        original.items.iter().filter(empty).try_for_each(|item| self.check_kind_header(item))?;
        let jobs = original.items.iter().flat_map(Self::blocks);
        self.decode_blocks(jobs, |_, decoded| {
            let bytes = decoded?;
            progress(bytes.len() as u64);
            output.write(bytes)
        })?;
        self.check_length()
    }

    /// Compares an original with a file, byte for byte. `progress` is called with the number of bytes done since its
    /// last call.
    ///
    /// # Errors
    /// [`Error::Differs`] when they are not the same, and those of [`Reader::write_original`].
    pub fn compare_original(
        &self,
        original: &Original,
        file: &InputFile,
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        let differs = |offset: u64| {
            let (path, hw) = (file.label().to_owned(), self.file.label().to_owned());
            Err(Error::Differs { path, hw, offset })
        };
        let (mut at, mut there) = (0, Vec::new());
        let jobs = original.items.iter().flat_map(Self::blocks);
        self.decode_blocks(jobs, |_, decoded| {
            let bytes = decoded?;
            let end = at + bytes.len() as u64;
            if end > file.bytes() {
                return differs(file.bytes());
            }
            there.resize(bytes.len(), 0);
            file.read_exact_at(&mut there, at)?;
            if there != bytes {
                let same = there.iter().zip(bytes).take_while(|(a, b)| a == b).count();
                return differs(at + same as u64);
            }
            at = end;
            progress(bytes.len() as u64);
            Ok(())
        })?;
        if at < file.bytes() { differs(at) } else { file.check_length() }
    }

    /// The header that an array had in the `.npy` file it comes from: only there it is told whether the
    /// array is in C or Fortran order.
    pub(crate) fn npy_header_of(&self, item: &Item) -> Option<&Item> {
        self.directory.originals.iter().find_map(|original| match &original.items[..] {
            [header, array] if std::ptr::eq(array, item) && original.name.ends_with(".npy") => {
                header.tensor.is_none().then_some(header)
            }
            _ => None,
        })
    }

    /// Checks what stands before the blocks of an item. Only items that are no plain tensors have such a thing: the
    /// quantizer and the scales of quantized values. Damage shows when blocks are decoded, too; but not every item has
    /// blocks.
    ///
    /// # Errors
    /// [`Error::Codec`] when it is damaged or of a kind that this library cannot read, [`Error::TooLarge`],
    /// [`Error::CodebooksMissing`], [`Error::Io`].
    pub fn check_kind_header(&self, item: &Item) -> Result<()> {
        match item.kind {
            Kind::Tensor => Ok(()),
            Kind::Delta => self.check_delta_header(item),
            #[cfg(feature = "gradient")]
            Kind::Values => self.open_values(item).map(drop),
            _ => Err(self.unknown_kind(item)),
        }
    }

    fn unknown_kind(&self, item: &Item) -> Error {
        let kind = item.kind;
        let error = huffwire::Error::UnknownKind { number: kind.number(), name: kind.name() };
        Error::codec(self.file.label(), describe(item))(error)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread decodes with.
    fn spare(&self) -> Result<Spare> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.decoder().map(Spare::from), Ok)
    }

    /// Keeps it for later; but not the memory of a block that a hostile file claims and that is larger than blocks are.
    fn keep(&self, spare: Spare) {
        if spare.coded.capacity() <= 2 * spare.raw.capacity().max(1 << 20) {
            self.idle().push(spare);
        }
    }

    /// A decoder with all codebooks at hand.
    fn decoder(&self) -> Result<Decoder> {
        let mut decoder = Decoder::builtin();
        for set in self.sets() {
            decoder =
                decoder.with_set(Arc::clone(set)).map_err(Error::codec(self.file.label(), ""))?;
        }
        Ok(decoder)
    }

    /// The kind header of an item that is no plain tensor. Its checksum was verified.
    fn read_kind_header(&self, item: &Item) -> Result<Vec<u8>> {
        let missing = || Error::invalid(self.file.label(), ".hw", "an item has no kind header");
        let entry = item.kind_header().ok_or_else(missing)?;
        let bytes = self.file.read(entry.offset..entry.offset + entry.coded_bytes as u64)?;
        verify(&entry, &bytes, "a kind header").map_err(self.kind_header_error(item))?;
        Ok(bytes)
    }

    fn kind_header_error(&self, item: &Item) -> impl FnOnce(huffwire::Error) -> Error {
        let offset = item.kind_header().map_or(0, |entry| entry.offset);
        let what = format!("{}: its kind header at offset {offset}", describe(item));
        Error::codec(self.file.label(), what)
    }

    /// Which codebooks and layouts the blocks of each item use, in the order of the directory; `None` for items that
    /// are no plain tensors, and for those whose codebooks are not at hand. Only the header of each block is read, so
    /// damage within a block is not noticed. `progress` is called with the number of bytes done since its last call.
    ///
    /// # Errors
    /// [`Error::Codec`] when the header of a block is damaged.
    pub fn usages(&self, mut progress: impl FnMut(u64)) -> Result<Vec<Option<Usage>>> {
        let decoder = self.decoder()?;
        let directory = &self.directory;
        let is_known = |item: &Item| item.kind == Kind::Tensor && self.codebooks_of(item).is_ok();
        let usage = |item: &Item| is_known(item).then(Usage::default);
        let mut usages: Vec<Option<Usage>> = directory.items().map(usage).collect();
        let jobs = directory
            .items()
            .enumerate()
            .filter(|(_, item)| is_known(item))
            .flat_map(|(number, item)| Self::blocks(item).map(move |job| (number, job)));
        let read = |(_, job): &(usize, BlockJob<'_>), slot: &mut Option<_>| {
            let BlockJob { item, block, .. } = job;
            let length = block.coded_bytes.min(INSPECT_BYTES) as u64;
            let header = self.file.read(block.offset..block.offset + length)?;
            let (dtype, set) = (item.dtype, self.codebooks_of(item)?.id());
            let coded = CodedBlock { dtype, set, checksum: None, bytes: &header };
            let info = decoder.inspect_block(&coded, block.raw_bytes);
            *slot = Some(info.map_err(self.block_error(job))?);
            Ok::<(), Error>(())
        };
        self.options.workers.run(
            1 << directory.block_log2,
            jobs,
            read,
            |(number, job), slot| {
                progress(job.block.raw_bytes as u64);
                if let (Some(info), Some(usage)) = (slot.take(), &mut usages[*number]) {
                    usage.add(&info);
                }
                Ok(())
            },
        )?;
        Ok(usages)
    }

    /// Decodes the bytes `wanted` of an item and hands them, part after part, to `consume`.
    fn decode_slice(
        &self,
        item: &Item,
        wanted: &Range<u64>,
        mut consume: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.check_size(|| describe(item), wanted.end - wanted.start)?;
        let overlap = |job: &BlockJob<'_>| {
            let start = job.block.raw_offset;
            let end = start + job.block.raw_bytes as u64;
            let from = wanted.start.clamp(start, end) - start;
            let to = wanted.end.clamp(start, end) - start;
            from as usize..to as usize
        };
        if item.raw_bytes == 0 {
            self.check_kind_header(item)?;
        }
        let jobs = Self::blocks(item).filter(|job| !overlap(job).is_empty());
        self.decode_blocks(jobs, |job, decoded| consume(&decoded?[overlap(job)]))
    }

    fn check_size(&self, what: impl FnOnce() -> String, bytes: u64) -> Result<()> {
        let limit = self.options.max_size;
        if bytes <= limit {
            return Ok(());
        }
        let (path, what) = (self.file.label().to_owned(), what());
        Err(Error::TooLarge { path, what, bytes, limit })
    }
}

/// Compares an entry with its checksum, if it has one.
fn verify(entry: &EntryRef, bytes: &[u8], what: &'static str) -> huffwire::Result<()> {
    let computed = file::checksum(bytes);
    match entry.checksum {
        Some(stored) if stored != computed => {
            Err(huffwire::Error::Checksum { what, stored, computed })
        }
        _ => Ok(()),
    }
}

/// What messages call an item.
fn describe(item: &Item) -> String {
    match &item.tensor {
        Some(tensor) => format!("tensor {:?}", tensor.name),
        None => "a header".to_owned(),
    }
}
