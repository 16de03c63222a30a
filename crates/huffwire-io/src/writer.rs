//! Writing .hw files.

#[cfg(feature = "gradient")]
pub(crate) mod values;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use huffwire::calibrate::Profile;
use huffwire::file::{self, Directory, NewItem, TensorInfo};
use huffwire::{
    BlockInfo, CodebookSet, CodedBlock, Decoder, Dtype, EncodeOptions, Encoder, Kind, Tensor,
};

use crate::analysis::Analysis;
use crate::error::{Error, Result};
use crate::input::{Input, Piece};
use crate::output::Output;
use crate::workers::{PerThread, Workers};

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
}

impl Default for WriteOptions {
    /// The built-in codebooks, not embedded; default encoding; no analysis; the calling thread.
    fn default() -> Self {
        Self {
            codebooks: CodebookSet::builtin(),
            embed: false,
            encode: EncodeOptions::default(),
            analyse: false,
            ideals: true,
            workers: Arc::new(Workers::caller()),
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

/// What each thread works with.
#[derive(Debug)]
struct Coder {
    encoder: Encoder,
    inspector: Decoder,
    /// The block that is encoded, unless it was read before.
    raw: Vec<u8>,
}

/// A block to encode.
struct Job<'a> {
    source: Source<'a>,
    piece: &'a Piece,
    /// The piece's number among all pieces of this call.
    index: usize,
    /// The place of its bytes in `source`.
    range: Range<u64>,
}

/// Where the bytes of a block are.
#[derive(Clone, Copy)]
enum Source<'a> {
    Input(&'a Input),
    Memory(&'a [u8]),
}

/// A block, raw and coded.
#[derive(Default)]
struct Block {
    /// The bytes to encode, if [`Block::read`] tells that they were read.
    raw: Vec<u8>,
    /// Whether the bytes were read before they are encoded, or why they cannot be read.
    read: Option<Result<()>>,
    raw_bytes: usize,
    /// The coded block, and behind it what was there before.
    buffer: Vec<u8>,
    coded_bytes: usize,
    checksum: Option<u32>,
    profile: Option<Profile>,
    info: Option<BlockInfo>,
}

impl Block {
    fn coded(&self) -> &[u8] {
        &self.buffer[..self.coded_bytes]
    }
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
        let coder = || {
            let encoder = Encoder::new(Arc::clone(codebooks), *encode)?;
            let inspector = Decoder::new(Arc::clone(codebooks));
            Ok(Coder { encoder, inspector, raw: Vec::new() })
        };
        let invalid = |error| Error::codec(output.label(), "")(error);
        let coders = options.workers.each(coder).map_err(invalid)?;
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
        let pieces = inputs.iter().flat_map(|input| {
            let first = |index| (index == 0).then_some(input.name.as_str());
            let pieces = input.pieces.iter().enumerate();
            pieces.map(move |(index, piece)| (first(index), Source::Input(input), piece))
        });
        self.add(&pieces.collect::<Vec<_>>(), progress)?;
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
        self.add(&[(None, Source::Input(input), piece)], progress)
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
        self.add(&[(None, Source::Memory(bytes), &piece)], |_| ())
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
        let sources = pieces.iter().map(|(piece, bytes)| (None, Source::Memory(bytes), piece));
        self.add_with(&sources.collect::<Vec<_>>(), progress)
    }

    /// Adds bytes that are no tensor to the current original.
    ///
    /// # Errors
    /// As [`Writer::add_tensor`].
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let piece = Piece::verbatim(0..bytes.len() as u64);
        self.add(&[(None, Source::Memory(bytes), &piece)], |_| ())
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

    /// Adds pieces; the first of an original comes with the name of the original.
    fn add(
        &mut self,
        pieces: &[(Option<&str>, Source<'_>, &Piece)],
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        self.add_with(pieces, |bytes| {
            progress(bytes);
            Ok(())
        })
    }

    fn add_with<E: From<Error> + Send>(
        &mut self,
        pieces: &[(Option<&str>, Source<'_>, &Piece)],
        mut progress: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        // Until the end is reached.
        let failed = std::mem::replace(&mut self.failed, true);
        let Self { output, options, directory, set, analyses, items, coders, .. } = self;
        let first_item = *items;
        // Originals and pieces are announced when their turn comes, also those without blocks.
        let mut announce = |directory: &mut file::Writer, output: &Output, until: usize| {
            while *items < first_item + until {
                let (name, _, piece) = pieces[*items - first_item];
                let begun = name.map_or(Ok(()), |name| directory.begin_original(name));
                let (tensor, dtype) = (piece.tensor.clone(), piece.dtype);
                let item = NewItem { tensor, kind: Kind::Tensor, dtype, set: *set };
                let begun = begun.and_then(|()| directory.begin_item(item));
                begun.map_err(|error| unwritable(output, &error))?;
                *items += 1;
            }
            Ok::<(), Error>(())
        };
        let block_log2 = options.encode.block_log2;
        let encode = |job: &Job<'_>, block: &mut Block| {
            coders.with(|coder| coder.encode(options, job, block)).map_err(E::from)
        };
        let jobs = jobs(pieces, block_log2);
        options.workers.run_prepared(
            1 << block_log2,
            jobs,
            Job::prepare,
            encode,
            |job, block| {
                announce(directory, output, job.index + 1)?;
                let pushed =
                    directory.push_block(block.raw_bytes, block.coded_bytes, block.checksum);
                pushed.map_err(|error| unwritable(output, &error))?;
                output.write(block.coded())?;
                if options.analyse {
                    analyses.add(
                        first_item + job.index,
                        job.range.end == job.piece.range.end,
                        block,
                    );
                }
                progress(block.raw_bytes as u64)
            },
        )?;
        announce(directory, output, pieces.len())?;
        self.failed = failed;
        Ok(())
    }
}

fn unwritable(output: &Output, error: &huffwire::Error) -> Error {
    Error::Unwritable { path: output.label().to_owned(), detail: error.to_string() }
}

impl Coder {
    fn encode(&mut self, options: &WriteOptions, job: &Job<'_>, block: &mut Block) -> Result<()> {
        let dtype = job.piece.dtype;
        let read = block.read.take();
        let raw = match (job.source, read) {
            (Source::Memory(bytes), _) => &bytes[job.range.start as usize..job.range.end as usize],
            (Source::Input(_), Some(read)) => {
                read?;
                &block.raw[..]
            }
            (Source::Input(input), None) => {
                job.read(input, &mut self.raw)?;
                &self.raw[..]
            }
        };
        block.raw_bytes = raw.len();
        let label = match job.source {
            Source::Input(input) => input.file.label(),
            Source::Memory(_) => "memory",
        };
        let failed = || Error::codec(label, format!("tensor {:?}", job.piece.name()));
        let tensor = Tensor::new(dtype, raw).named(job.piece.name());
        let encoded =
            self.encoder.encode_block_over(&tensor, &mut block.buffer).map_err(failed())?;
        block.coded_bytes = encoded.bytes;
        block.checksum = encoded.checksum;
        if options.analyse {
            if options.ideals {
                let mut profile = Profile::new(dtype, options.encode.rule);
                profile.add(raw).map_err(failed())?;
                block.profile = Some(profile);
            }
            let set = self.encoder.set().id();
            let coded = CodedBlock { dtype, set, checksum: None, bytes: block.coded() };
            let info = self.inspector.inspect_block(&coded, raw.len());
            block.info = Some(info.map_err(failed())?);
        }
        Ok(())
    }
}

/// The analyses of items whose blocks arrive in order.
///
/// Histograms take kilobytes and a model has thousands of tensors: only those of the current item are
/// kept.
#[derive(Debug, Default)]
struct Analyses {
    items: Vec<Analysis>,
    current: Option<Profile>,
}

impl Analyses {
    fn add(&mut self, index: usize, is_last: bool, block: &mut Block) {
        self.items.resize_with(index + 1, Analysis::default);
        let item = &mut self.items[index];
        if let Some(info) = block.info.take() {
            item.usage.add(&info);
        }
        match (&mut self.current, block.profile.take()) {
            (Some(profile), Some(more)) => profile.merge(&more),
            (none, more) => *none = more,
        }
        if is_last {
            item.ideal = self.current.take().map(|profile| profile.ideal());
        }
    }

    /// The analyses of all items, of which there are so many.
    fn finish(mut self, items: usize) -> Vec<Analysis> {
        self.items.resize_with(items, Analysis::default);
        self.items
    }
}

fn jobs<'a>(
    pieces: &'a [(Option<&'a str>, Source<'a>, &'a Piece)],
    block_log2: u8,
) -> impl Iterator<Item = Job<'a>> {
    pieces.iter().enumerate().flat_map(move |(index, &(_, source, piece))| {
        let size = huffwire::block::block_bytes(piece.dtype, block_log2);
        let starts = piece.range.clone().step_by(size);
        starts.map(move |start| {
            let range = start..piece.range.end.min(start + size as u64);
            Job { source, piece, index, range }
        })
    })
}

impl Job<'_> {
    /// Reads the block before it is encoded if there is time, and always if it is of a stream: that must be read in order,
    /// so not by the threads that encode.
    fn prepare(&self, block: &mut Block, has_time: bool) {
        if let Source::Input(input) = self.source
            && (has_time || input.file.is_stream())
        {
            block.read = Some(self.read(input, &mut block.raw));
        }
    }

    fn read(&self, input: &Input, raw: &mut Vec<u8>) -> Result<()> {
        raw.resize((self.range.end - self.range.start) as usize, 0);
        input.file.read_exact_at(raw, self.range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use huffwire::SymbolRule;

    /// Thousands of tensors leave behind what is reported of them, and no histogram.
    #[test]
    fn analyses_do_not_keep_histograms() {
        const TENSORS: u64 = 2000;
        let piece =
            |n: u64| Piece { tensor: None, dtype: Dtype::Bf16, range: 65536 * n..65536 * (n + 1) };
        let pieces: Vec<Piece> = (0..TENSORS).map(piece).collect();
        let pieces: Vec<_> =
            pieces.iter().map(|piece| (None, Source::Memory(&[]), piece)).collect();
        let mut profile = Profile::new(Dtype::Bf16, SymbolRule::Auto);
        profile.add(&[0; 2048]).unwrap();
        let mut analyses = Analyses::default();
        let mut blocks = 0;
        for job in jobs(&pieces, 15) {
            let mut block = Block { profile: Some(profile.clone()), ..Block::default() };
            let last = job.range.end == job.piece.range.end;
            analyses.add(job.index, last, &mut block);
            blocks += 1;
            assert_eq!(analyses.current.is_none(), last, "only within a tensor");
            assert!(block.profile.is_none(), "nor does the block keep it, which is used again");
        }
        assert_eq!(blocks, 2 * TENSORS);
        let analyses = analyses.finish(TENSORS as usize);
        assert!(analyses.iter().all(|a| a.ideal.is_some_and(|ideal| ideal.raw_bytes == 4096)));
        assert!(size_of::<Analysis>() <= 256, "{} bytes a tensor", size_of::<Analysis>());
    }
}
