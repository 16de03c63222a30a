//! Blocks on their way into a file: read, and encoded by the threads.

use std::ops::Range;
use std::sync::Arc;

use huffwire::calibrate::Profile;
use huffwire::delta::{self, BlockHeader};
use huffwire::{
    BlockInfo, CodebookSet, CodedBlock, Decoder, EncodeOptions, Encoder, Kind, Tensor, block,
};

use super::WriteOptions;
use crate::base::{Base, Place};
use crate::error::{Error, Result};
use crate::input::{Input, Piece};

/// A part of an original: a tensor, or what stands around tensors.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// The name of the original, if this is the first part of it.
    pub(super) original: Option<&'a str>,
    source: Source<'a>,
    pub(super) piece: &'a Piece,
    /// What it is encoded as a delta of.
    pub(super) base: Option<(&'a Base, Place)>,
}

/// Where the bytes of a part are.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Input(&'a Input),
    Memory(&'a [u8]),
    Base(&'a Base, Place),
}

/// A block to encode.
pub(super) struct Job<'a> {
    pub(super) part: &'a Part<'a>,
    /// The number of the part among all parts of this call.
    pub(super) index: usize,
    /// The place of its bytes in the source.
    pub(super) range: Range<u64>,
}

/// A block, raw and coded.
pub(super) struct Block {
    /// The bytes to encode, if [`Block::read`] tells that they were read.
    raw: Vec<u8>,
    /// Whether the bytes were read before they are encoded, or why they cannot be read.
    read: Option<Result<()>>,
    /// What its item is.
    pub(super) kind: Kind,
    /// The coded block; or several, if a block of a delta became plain ones.
    pub(super) coded: Vec<Coded>,
    /// The coded bytes of all of them, and behind them what was there before.
    pub(super) buffer: Vec<u8>,
    pub(super) profile: Option<Profile>,
    pub(super) infos: Vec<BlockInfo>,
    pub(super) header: Option<BlockHeader>,
}

/// A coded block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded {
    pub(super) raw_bytes: usize,
    pub(super) coded_bytes: usize,
    pub(super) checksum: Option<u32>,
}

/// What each thread works with.
#[derive(Debug)]
pub(super) struct Coder {
    pub(super) encoder: Encoder,
    inspector: Decoder,
    /// The block that is encoded, unless it was read before.
    raw: Vec<u8>,
    /// What it is encoded as a delta of, and the delta.
    pub(super) base: Vec<u8>,
    pub(super) delta: Vec<u8>,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            raw: Vec::new(),
            read: None,
            kind: Kind::Tensor,
            coded: Vec::new(),
            buffer: Vec::new(),
            profile: None,
            infos: Vec::new(),
            header: None,
        }
    }
}

impl Block {
    /// The bytes of all coded blocks.
    pub(super) fn coded_bytes(&self) -> &[u8] {
        let bytes = self.coded.iter().map(|coded| coded.coded_bytes).sum::<usize>();
        &self.buffer[..bytes]
    }
}

impl<'a> Part<'a> {
    pub(super) const fn new(
        original: Option<&'a str>,
        source: Source<'a>,
        piece: &'a Piece,
    ) -> Self {
        Self { original, source, piece, base: None }
    }

    /// Bytes of elements in each of its blocks but the last.
    pub(super) fn block_bytes(&self, block_log2: u8) -> usize {
        match self.base {
            None => block::block_bytes(self.piece.dtype, block_log2),
            Some(_) => delta::block_bytes(self.piece.dtype),
        }
    }

    /// What messages call the source.
    fn label(&self) -> &'a str {
        match self.source {
            Source::Input(input) => input.file.label(),
            Source::Memory(_) => "memory",
            Source::Base(base, _) => base.label(),
        }
    }

    /// The error of an encoder.
    pub(super) fn failed(&self) -> impl FnOnce(huffwire::Error) -> Error {
        Error::codec(self.label(), format!("tensor {:?}", self.piece.name()))
    }
}

/// The blocks of all parts, in order.
pub(super) fn jobs<'a>(parts: &'a [Part<'a>], block_log2: u8) -> impl Iterator<Item = Job<'a>> {
    parts.iter().enumerate().flat_map(move |(index, part)| {
        let size = part.block_bytes(block_log2);
        let Range { start, end } = part.piece.range;
        let starts = (start..end).step_by(size);
        starts.map(move |start| Job { part, index, range: start..end.min(start + size as u64) })
    })
}

impl Job<'_> {
    /// Reads the block before it is encoded if there is time, and always if it is of a stream: that must be read in order,
    /// so not by the threads that encode.
    pub(super) fn prepare(&self, block: &mut Block, has_time: bool) {
        if let Source::Input(input) = self.part.source
            && (has_time || input.file.is_stream())
        {
            block.read = Some(self.read(&mut block.raw));
        }
    }

    fn read(&self, raw: &mut Vec<u8>) -> Result<()> {
        let Range { start, end } = self.range;
        raw.resize((end - start) as usize, 0);
        match self.part.source {
            Source::Memory(bytes) => raw.copy_from_slice(&bytes[start as usize..end as usize]),
            Source::Input(input) => input.file.read_exact_at(raw, start)?,
            Source::Base(base, place) => base.read(place, start, raw)?,
        }
        Ok(())
    }
}

impl Coder {
    pub(super) fn new(
        codebooks: &Arc<CodebookSet>,
        options: EncodeOptions,
    ) -> huffwire::Result<Self> {
        let encoder = Encoder::new(Arc::clone(codebooks), options)?;
        let inspector = Decoder::new(Arc::clone(codebooks));
        Ok(Self { encoder, inspector, raw: Vec::new(), base: Vec::new(), delta: Vec::new() })
    }

    pub(super) fn encode(
        &mut self,
        options: &WriteOptions,
        job: &Job<'_>,
        block: &mut Block,
    ) -> Result<()> {
        let mut own = std::mem::take(&mut self.raw);
        let mut read_before = std::mem::take(&mut block.raw);
        let encoded = match (job.part.source, block.read.take()) {
            (Source::Memory(bytes), _) => {
                let Range { start, end } = job.range;
                self.encode_raw(options, job, &bytes[start as usize..end as usize], block)
            }
            (_, Some(read)) => {
                read.and_then(|()| self.encode_raw(options, job, &read_before, block))
            }
            (_, None) => {
                job.read(&mut own).and_then(|()| self.encode_raw(options, job, &own, block))
            }
        };
        std::mem::swap(&mut self.raw, &mut own);
        std::mem::swap(&mut block.raw, &mut read_before);
        encoded
    }

    fn encode_raw(
        &mut self,
        options: &WriteOptions,
        job: &Job<'_>,
        raw: &[u8],
        block: &mut Block,
    ) -> Result<()> {
        (block.kind, block.header) = (Kind::Tensor, None);
        block.coded.clear();
        if job.part.base.is_some() && self.encode_delta(job, raw, block)? {
            return Ok(());
        }
        // Unless that was done to see which is smaller.
        if block.coded.is_empty() {
            self.encode_plain(job, raw, block)?;
        }
        if options.analyse {
            self.analyse(options, job, raw, block)?;
        }
        Ok(())
    }

    /// Encodes plain blocks: one, or as many as a block of a delta would have held.
    pub(super) fn encode_plain(
        &mut self,
        job: &Job<'_>,
        raw: &[u8],
        block: &mut Block,
    ) -> Result<()> {
        let Part { piece, .. } = job.part;
        let size = block::block_bytes(piece.dtype, self.encoder.options().block_log2);
        let is_one = raw.len() <= size;
        if !is_one {
            block.buffer.clear();
        }
        for raw in raw.chunks(size) {
            let tensor = Tensor::new(piece.dtype, raw).named(piece.name());
            let encoded = match is_one {
                true => self.encoder.encode_block_over(&tensor, &mut block.buffer),
                false => self.encoder.encode_block(&tensor, &mut block.buffer),
            };
            let encoded = encoded.map_err(job.part.failed())?;
            let (coded_bytes, checksum) = (encoded.bytes, encoded.checksum);
            block.coded.push(Coded { raw_bytes: raw.len(), coded_bytes, checksum });
        }
        Ok(())
    }

    fn analyse(
        &self,
        options: &WriteOptions,
        job: &Job<'_>,
        raw: &[u8],
        block: &mut Block,
    ) -> Result<()> {
        let dtype = job.part.piece.dtype;
        if options.ideals {
            let mut profile = Profile::new(dtype, options.encode.rule);
            profile.add(raw).map_err(job.part.failed())?;
            block.profile = Some(profile);
        }
        let set = self.encoder.set().id();
        let mut at = 0;
        for coded in &block.coded {
            let bytes = &block.buffer[at..at + coded.coded_bytes];
            at += coded.coded_bytes;
            let stored = CodedBlock { dtype, set, checksum: None, bytes };
            let info = self.inspector.inspect_block(&stored, coded.raw_bytes);
            block.infos.push(info.map_err(job.part.failed())?);
        }
        Ok(())
    }
}
