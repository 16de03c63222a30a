//! Writing .hw files.

mod analyses;
mod blocks;
mod deltas;
mod messages;
#[cfg(feature = "gradient")]
pub(crate) mod values;

use std::path::Path;
use std::sync::Arc;

use huffwire::file::{self, Directory, NewItem, TensorInfo};
use huffwire::{CodebookSet, Dtype, EncodeOptions, Kind};

use crate::analysis::Analysis;
use crate::base::Base;
use crate::error::{Error, Result};
use crate::input::{Input, Piece};
use crate::output::Output;
use crate::workers::{PerThread, Workers};

use analyses::Analyses;
use blocks::{Block, Coded, Coder, Job, Part, Source};

/// How to write a .hw file.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The codebooks.
    pub codebooks: Arc<CodebookSet>,
    /// Whether the codebooks become part of the file. A reader needs them from elsewhere if not; the
    /// built-in codebooks are part of every reader.
    pub embed: bool,
    /// How to encode.
    pub encode: EncodeOptions,
    /// Whether to find out what [`Analysis`] tells.
    pub analyse: bool,
    /// Whether this includes [`Analysis::ideal`], which takes as long as the encoding.
    pub ideals: bool,
    /// The threads that blocks are encoded on. The file does not depend on them. Default: the calling
    /// thread.
    pub workers: Arc<Workers>,
    /// What deltas are made of: a tensor that has a counterpart here, of the same type and shape, becomes what changed
    /// from there; one of a single block (2^20 units) only where that is smaller. Larger ones are at most 0.1 % larger
    /// than without a base, and mostly smaller. A reader needs the same base. Default: none.
    pub base: Option<Arc<Base>>,
}

impl Default for WriteOptions {
    /// The built-in codebooks, not embedded; default encoding; no analysis; the calling thread; no base.
    fn default() -> Self {
        Self {
            codebooks: CodebookSet::builtin(),
            embed: false,
            encode: EncodeOptions::default(),
            analyse: false,
            ideals: true,
            workers: Arc::new(Workers::caller()),
            base: None,
        }
    }
}

impl WriteOptions {
    /// The same with other codebooks, which become part of the file unless they are the built-in ones.
    #[must_use]
    pub fn with_codebooks(mut self, codebooks: Arc<CodebookSet>) -> Self {
        self.embed = codebooks.id() != CodebookSet::builtin().id();
        self.codebooks = codebooks;
        self
    }
}

/// A .hw file that is complete.
#[derive(Debug)]
pub struct Written {
    /// What is in the file.
    pub directory: Directory,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// An analysis for each item of the directory, in its order; empty unless
    /// [`WriteOptions::analyse`] is set.
    pub analyses: Vec<Analysis>,
}

/// Writes a .hw file.
///
/// A .hw file holds the originals of one or more files. An original consists of tensors and of the bytes
/// around them. Whole files are added by [`Writer::add_inputs`]; tensors in memory by
/// [`Writer::begin_original`] and [`Writer::add_tensor`]. The file appears under its name when
/// [`Writer::finish`] is called, and not at all if the writer is dropped before.
///
/// ```
/// use huffwire::Dtype;
/// use huffwire::file::TensorInfo;
/// use huffwire_io::{Reader, WriteOptions, Writer};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("tensors.hw");
/// let values: Vec<u8> = (0..1000u32).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
///
/// let mut writer = Writer::create(&path, false, WriteOptions::default())?;
/// writer.begin_original("tensors")?;
/// let sine = TensorInfo { name: "sine".into(), dtype: "F32".into(), shape: vec![10, 100] };
/// writer.add_tensor(sine, Dtype::F32, &values)?;
/// writer.finish()?;
///
/// assert_eq!(Reader::open(&path)?.read("sine")?, values);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    output: Output,
    options: WriteOptions,
    directory: file::Writer,
    /// The place of the codebooks in the directory's list.
    set: usize,
    analyses: Analyses,
    items: usize,
    coders: PerThread<Coder>,
    /// Something was written only in part: the file cannot be completed.
    failed: bool,
}

impl Writer {
    /// A writer of the file `path`. `force` allows that a file of that name is replaced.
    ///
    /// # Errors
    /// Those of [`Output::create`] and [`Writer::new`].
    pub fn create(path: &Path, force: bool, options: WriteOptions) -> Result<Self> {
        Self::new(Output::create(path, force, &[])?, options)
    }

    /// A writer to any output.
    ///
    /// # Errors
    /// [`Error::Codec`] for options that make no sense, [`Error::Io`].
    pub fn new(mut output: Output, options: WriteOptions) -> Result<Self> {
        let WriteOptions { codebooks, embed, encode, .. } = &options;
        let invalid = |error| Error::codec(output.label(), "")(error);
        let coders = options.workers.each(|| Coder::new(codebooks, *encode)).map_err(invalid)?;
        let EncodeOptions { checksums, block_log2, .. } = *encode;
        let mut directory = file::Writer::new(checksums, block_log2).map_err(invalid)?;
        let set = directory.add_set(codebooks, *embed);
        output.write(&directory.header())?;
        Ok(Self {
            output,
            options,
            directory,
            set,
            analyses: Analyses::default(),
            items: 0,
            coders,
            failed: false,
        })
    }

    /// Adds whole files. `progress` is called with the number of bytes done since its last call.
    ///
    /// # Errors
    /// [`Error::Unwritable`] when two originals have the same name; those of reading and writing. The
    /// writer cannot complete the file then.
    pub fn add_inputs(&mut self, inputs: &[Input], progress: impl FnMut(u64)) -> Result<()> {
        let parts = inputs.iter().flat_map(|input| {
            let first = |index| (index == 0).then_some(input.name.as_str());
            let pieces = input.pieces.iter().enumerate();
            pieces.map(move |(index, piece)| Part::new(first(index), Source::Input(input), piece))
        });
        self.add(parts.collect(), progress)?;
        let unchanged = inputs.iter().try_for_each(|input| input.file.check_length());
        self.failed |= unchanged.is_err();
        unchanged
    }

    /// Adds a piece of a file to the current original. The caller adds the pieces in their order, and has
    /// [`InputFile::check_length`](crate::InputFile::check_length) called in the end. `progress` is called with
    /// the number of bytes done since its last call.
    ///
    /// # Errors
    /// As [`Writer::add_tensor`], and those of reading.
    pub fn add_piece(
        &mut self,
        input: &Input,
        piece: &Piece,
        progress: impl FnMut(u64),
    ) -> Result<()> {
        self.add(vec![Part::new(None, Source::Input(input), piece)], progress)
    }

    /// Begins an original: what is added next belongs to it. `name` is the name of the file when it is
    /// restored: a plain file name, which no other original of this file has.
    ///
    /// # Errors
    /// [`Error::Unwritable`].
    pub fn begin_original(&mut self, name: &str) -> Result<()> {
        let begun = self.directory.begin_original(name);
        begun.map_err(|error| unwritable(&self.output, &error))
    }

    /// Adds a tensor in memory to the current original.
    ///
    /// # Errors
    /// [`Error::Unwritable`] before the first [`Writer::begin_original`], [`Error::Io`].
    pub fn add_tensor(&mut self, tensor: TensorInfo, dtype: Dtype, bytes: &[u8]) -> Result<()> {
        let piece = Piece::tensor(tensor, dtype, 0..bytes.len() as u64);
        self.add(vec![Part::new(None, Source::Memory(bytes), &piece)], |_| ())
    }

    /// Adds several tensors in memory to the current original; small ones are coded in parallel, too. `progress` is
    /// called with the number of bytes done since its last call, and its error ends the work: the writer cannot
    /// complete the file then.
    ///
    /// # Errors
    /// As [`Writer::add_tensor`], and those of `progress`.
    pub fn add_tensors<'a, E: From<Error> + Send>(
        &mut self,
        tensors: impl IntoIterator<Item = (TensorInfo, Dtype, &'a [u8])>,
        progress: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let pieces = tensors.into_iter().map(|(tensor, dtype, bytes)| {
            (Piece::tensor(tensor, dtype, 0..bytes.len() as u64), bytes)
        });
        let pieces: Vec<_> = pieces.collect();
        let parts = pieces.iter();
        let parts = parts.map(|(piece, bytes)| Part::new(None, Source::Memory(bytes), piece));
        self.add_with(parts.collect(), progress)
    }

    /// Adds bytes that are no tensor to the current original.
    ///
    /// # Errors
    /// As [`Writer::add_tensor`].
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let piece = Piece::verbatim(0..bytes.len() as u64);
        self.add(vec![Part::new(None, Source::Memory(bytes), &piece)], |_| ())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Unwritable`] after an error that left the file incomplete.
    pub fn finish(mut self) -> Result<Written> {
        if self.failed {
            let path = self.output.label().to_owned();
            let detail = "the file is incomplete, because an error occurred before".to_owned();
            return Err(Error::Unwritable { path, detail });
        }
        self.options.base.as_ref().map_or(Ok(()), |base| base.check_length())?;
        let analyses = match self.options.analyse {
            true => self.analyses.finish(self.items),
            false => Vec::new(),
        };
        let end = self.directory.finish().map_err(|error| unwritable(&self.output, &error))?;
        self.output.write(&end)?;
        let bytes = self.output.written();
        self.output.finish()?;
        Ok(Written { directory: self.directory.directory().clone(), bytes, analyses })
    }

    /// Adds parts of originals.
    fn add(&mut self, parts: Vec<Part<'_>>, mut progress: impl FnMut(u64)) -> Result<()> {
        self.add_with(parts, |bytes| {
            progress(bytes);
            Ok(())
        })
    }

    fn add_with<E: From<Error> + Send>(
        &mut self,
        parts: Vec<Part<'_>>,
        mut progress: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        // Until the end is reached.
        let failed = std::mem::replace(&mut self.failed, true);
        let base = self.options.base.clone();
        let mut parts: Vec<Part<'_>> = parts;
        if let Some(base) = &base {
            deltas::match_parts(base, self.directory.directory(), &mut parts);
        }
        let Self { output, options, directory, set, analyses, items, coders, .. } = self;
        let first_item = *items;
        // Originals and items are announced when their turn comes, also those without blocks. Only of the last one it is
        // known what it has become.
        let mut announce =
            |directory: &mut file::Writer, output: &mut Output, until: usize, last: Kind| {
                while *items < first_item + until {
                    let Part { original, piece, .. } = &parts[*items - first_item];
                    *items += 1;
                    let kind = if *items == first_item + until { last } else { Kind::Tensor };
                    let begun = original.map_or(Ok(()), |name| directory.begin_original(name));
                    let (tensor, dtype) = (piece.tensor.clone(), piece.dtype);
                    let item = NewItem { tensor, kind, dtype, set: *set };
                    let begun = begun.and_then(|()| directory.begin_item(item));
                    begun.map_err(|error| unwritable(output, &error))?;
                    if kind == Kind::Delta {
                        deltas::write_kind_header(directory, output)?;
                    }
                }
                Ok::<(), Error>(())
            };
        let block_log2 = options.encode.block_log2;
        let encode = |job: &Job<'_>, block: &mut Block| {
            coders.with(|coder| coder.encode(options, job, block)).map_err(E::from)
        };
        // Of the largest blocks, so that memory is bounded.
        let block_bytes = parts.iter().map(|part| part.block_bytes(block_log2)).max();
        options.workers.run_prepared(
            block_bytes.unwrap_or(1).max(1 << block_log2),
            blocks::jobs(&parts, block_log2),
            Job::prepare,
            encode,
            |job, block| {
                announce(directory, output, job.index + 1, block.kind)?;
                for &Coded { raw_bytes, coded_bytes, checksum } in &block.coded {
                    let pushed = directory.push_block(raw_bytes, coded_bytes, checksum);
                    pushed.map_err(|error| unwritable(output, &error))?;
                }
                output.write(block.coded_bytes())?;
                if options.analyse {
                    let is_last = job.range.end == job.part.piece.range.end;
                    analyses.add(first_item + job.index, is_last, job.part.piece.dtype, block);
                }
                progress(job.range.end - job.range.start)
            },
        )?;
        announce(directory, output, parts.len(), Kind::Tensor)?;
        self.failed = failed;
        Ok(())
    }
}

fn unwritable(output: &Output, error: &huffwire::Error) -> Error {
    Error::Unwritable { path: output.label().to_owned(), detail: error.to_string() }
}
