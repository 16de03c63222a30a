//! Writing items that are deltas.

use huffwire::delta;
use huffwire::file::{self, Directory, checksum};
use huffwire::{Kind, Tensor};

use super::blocks::{Block, Coded, Coder, Job, Part, Source};
use super::{Writer, unwritable};
use crate::base::{Base, Place, Stored};
use crate::error::Result;
use crate::input::Piece;
use crate::output::Output;

/// Finds the bases of parts that are added to a file with this directory.
pub(super) fn match_parts<'a>(base: &'a Base, directory: &Directory, parts: &mut [Part<'a>]) {
    let begun = directory.originals.last();
    let mut original = begun.map_or("", |original| original.name.as_str());
    let before = directory.items().filter(|item| item.tensor.is_some()).count();
    let is_only = before + parts.iter().filter(|part| part.piece.tensor.is_some()).count() == 1;
    for part in parts {
        original = part.original.unwrap_or(original);
        let place = base.find_like(original, &Stored::of_piece(part.piece), is_only);
        part.base = place.map(|place| (base, place));
    }
}

/// Writes the kind header of a delta that was just begun.
pub(super) fn write_kind_header(directory: &mut file::Writer, output: &mut Output) -> Result<()> {
    let check = directory.directory().checksums.then(|| checksum(&delta::KIND_HEADER));
    let pushed = directory.push_kind_header(delta::KIND_HEADER.len(), check);
    pushed.map_err(|error| unwritable(output, &error))?;
    output.write(&delta::KIND_HEADER)
}

/// About what a delta takes beside its blocks: the kind header, its length and its checksum.
const ITEM_OVERHEAD: usize = 6;

/// A delta that is so many times smaller than the elements is taken without a look at plain blocks.
const SMALL: usize = 8;

impl Coder {
    /// Encodes a block of a delta; false if plain blocks are smaller and the whole item can still consist of them.
    pub(super) fn encode_delta(
        &mut self,
        job: &Job<'_>,
        raw: &[u8],
        block: &mut Block,
    ) -> Result<bool> {
        let Part { piece, base: Some((base, place)), .. } = *job.part else { return Ok(false) };
        self.base.resize(raw.len(), 0);
        base.read(place, job.range.start - piece.range.start, &mut self.base)?;
        self.delta.clear();
        let tensor = Tensor::new(piece.dtype, raw).named(piece.name());
        let encoded = self.encoder.encode_delta_block(&self.base, &tensor, &mut self.delta);
        let encoded = encoded.map_err(job.part.failed())?;
        if job.range == piece.range && SMALL * encoded.bytes > raw.len() {
            self.encode_plain(job, raw, block)?;
            if block.coded_bytes().len() <= encoded.bytes + ITEM_OVERHEAD {
                return Ok(false);
            }
        }
        std::mem::swap(&mut block.buffer, &mut self.delta);
        block.kind = Kind::Delta;
        block.header = Some(encoded.header);
        let (coded_bytes, checksum) = (encoded.bytes, encoded.checksum);
        block.coded.clear();
        block.coded.push(Coded { raw_bytes: raw.len(), coded_bytes, checksum });
        Ok(true)
    }
}

impl Writer {
    /// Adds all originals of a base: its tensors, restored, and what stands around them. With
    /// [`WriteOptions::base`](super::WriteOptions::base) they become deltas of that other base: so a chain of deltas is
    /// folded into one, and a delta is reversed. `progress` is called with the number of bytes done since its last call.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use huffwire_io::{Base, RawOptions, ReadOptions, Reader, TensorFile, WriteOptions, Writer};
    /// # use huffwire_io::Input;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = |name: &str| folder.path().join(name);
    /// # let raw = RawOptions::new(huffwire::Dtype::U8);
    /// # std::fs::write(path("0.bin"), [1; 1000])?;
    /// # std::fs::write(path("1.bin"), [[1; 500], [2; 500]].concat())?;
    /// # let base = Arc::new(Base::open(&path("0.bin"), Some(&raw))?);
    /// # let options = WriteOptions { base: Some(base), ..WriteOptions::default() };
    /// # let mut writer = Writer::create(&path("1.hw"), false, options)?;
    /// # writer.add_inputs(&Input::open(&path("1.bin"), Some(&raw))?, |_| ())?;
    /// # writer.finish()?;
    /// // What turns the result of a delta back into its base.
    /// let old = || TensorFile::open(&path("0.bin"), Some(&raw), ReadOptions::default());
    /// let delta = TensorFile::open(&path("1.hw"), None, ReadOptions::default())?;
    /// let new = Base::chain([old()?, delta])?.map(Arc::new);
    /// let options = WriteOptions { base: new.clone(), ..WriteOptions::default() };
    /// let mut writer = Writer::create(&path("back.hw"), false, options)?;
    /// writer.add_base(&Base::new(old()?), |_| ())?;
    /// writer.finish()?;
    /// let back = Reader::open(&path("back.hw"))?.with_base(new.unwrap())?;
    /// assert_eq!(back.read("0.bin")?, [1; 1000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Writer::add_inputs`], and those of decoding.
    pub fn add_base(&mut self, base: &Base, mut progress: impl FnMut(u64)) -> Result<()> {
        for (original, (name, items)) in base.originals().into_iter().enumerate() {
            self.begin_original(name)?;
            let piece = |Stored { info, dtype, bytes }| Piece {
                tensor: info.cloned(),
                dtype,
                range: 0..bytes,
            };
            let pieces: Vec<Piece> = items.into_iter().map(piece).collect();
            let source = |item| Source::Base(base, Place::new(original, item));
            let parts = pieces.iter().enumerate();
            let parts = parts.map(|(item, piece)| Part::new(None, source(item), piece));
            self.add(parts.collect(), &mut progress)?;
        }
        let unchanged = base.check_length();
        self.failed |= unchanged.is_err();
        unchanged
    }
}
