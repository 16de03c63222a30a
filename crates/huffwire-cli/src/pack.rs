//! From originals to the bytes of a .hw file.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use huffwire::calibrate::Profile;
use huffwire::file::{Directory, Item, Writer};
use huffwire::format::BlockInfo;
use huffwire::{CodebookSet, Decoder, EncodeOptions, Encoder};

use crate::input::{Original, Piece};
use crate::output::Output;
use crate::pipeline::Workers;
use crate::usage::Usage;

/// How to pack.
#[derive(Debug)]
pub(crate) struct Packing {
    /// The codebooks.
    pub(crate) set: Arc<CodebookSet>,
    /// Whether the codebooks go into the file.
    pub(crate) embed: bool,
    /// How to encode.
    pub(crate) options: EncodeOptions,
    /// Whether to find out what [`Analysis`] holds, which takes as long as the encoding.
    pub(crate) analyse: bool,
}

/// A written file.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Its directory.
    pub(crate) directory: Directory,
    /// Its size.
    pub(crate) bytes: u64,
    /// For every item, in order, if asked for.
    pub(crate) analyses: Vec<Analysis>,
}

/// What is known of an item beyond its size.
#[derive(Debug, Default)]
pub(crate) struct Analysis {
    /// Histograms; `None` for an empty item.
    pub(crate) profile: Option<Profile>,
    /// The codebooks of its blocks.
    pub(crate) usage: Usage,
}

/// A block to encode.
struct Job<'a> {
    original: &'a Original,
    piece: &'a Piece,
    /// The piece's number among all pieces.
    index: usize,
    range: Range<u64>,
}

/// What becomes of it.
#[derive(Default)]
struct Block {
    raw: Vec<u8>,
    coded: Vec<u8>,
    profile: Option<Profile>,
    info: Option<BlockInfo>,
}

impl Packing {
    /// Encodes all originals into `output`. `progress` is told of raw bytes done.
    pub(crate) fn pack(
        &self,
        workers: &Workers,
        originals: &[Original],
        output: &mut Output,
        progress: impl Fn(u64),
    ) -> Result<Packed> {
        let EncodeOptions { checksums, block_log2, .. } = self.options;
        let coders = workers.each(|| {
            Ok((Encoder::new(Arc::clone(&self.set), self.options)?, Decoder::new(self.set.clone())))
        })?;
        let encode = |job: &Job<'_>, block: &mut Block| {
            coders.with(|(encoder, decoder)| self.encode(encoder, decoder, job, block))
        };
        let mut writer = Writer::new(&self.set, self.embed, checksums, block_log2)?;
        let mut pieces = Announcer::new(originals);
        let mut analyses = Vec::new();
        output.write(&writer.header())?;
        let mut bytes = writer.header().len() as u64;
        workers.run(1 << block_log2, jobs(originals, block_log2), encode, |job, block| {
            pieces.announce(&mut writer, job.index + 1)?;
            writer.push_block(block.raw.len(), block.coded.len())?;
            output.write(&block.coded)?;
            bytes += block.coded.len() as u64;
            if self.analyse {
                analyses.resize_with(job.index + 1, Analysis::default);
                analyses[job.index].add(block);
            }
            progress(block.raw.len() as u64);
            Ok(())
        })?;
        pieces.announce(&mut writer, usize::MAX)?;
        analyses.resize_with(pieces.announced, Analysis::default);
        let end = writer.finish();
        output.write(&end)?;
        bytes += end.len() as u64;
        Ok(Packed { directory: writer.directory().clone(), bytes, analyses })
    }

    fn encode(
        &self,
        encoder: &mut Encoder,
        decoder: &Decoder,
        job: &Job<'_>,
        block: &mut Block,
    ) -> Result<()> {
        let element = job.piece.element;
        block.raw.resize((job.range.end - job.range.start) as usize, 0);
        job.original.file.read_exact_at(&mut block.raw, job.range.start)?;
        block.coded.clear();
        encoder.set_tensor(job.piece.name());
        let context = || format!("{}: {:?}", job.original.file.label(), job.piece.name());
        encoder.encode_block(element, &block.raw, &mut block.coded).with_context(context)?;
        if self.analyse {
            let mut profile = Profile::new(element, self.options.rule);
            profile.add(&block.raw)?;
            block.profile = Some(profile);
            let (checksums, bytes) = (self.options.checksums, block.raw.len());
            block.info = Some(decoder.inspect_block(element, checksums, &block.coded, bytes)?);
        }
        Ok(())
    }
}

impl Analysis {
    fn add(&mut self, block: &mut Block) {
        if let Some(info) = &block.info {
            self.usage.add(info);
        }
        match (&mut self.profile, block.profile.take()) {
            (Some(profile), Some(more)) => profile.merge(&more),
            (none, more) => *none = more,
        }
    }
}

fn jobs(originals: &[Original], block_log2: u8) -> impl Iterator<Item = Job<'_>> + Send {
    let pieces = originals
        .iter()
        .flat_map(|original| original.pieces.iter().map(move |piece| (original, piece)));
    pieces.enumerate().flat_map(move |(index, (original, piece))| {
        let size = Item::block_bytes(piece.element, block_log2);
        let starts = piece.range.clone().step_by(size);
        starts.map(move |start| {
            let range = start..piece.range.end.min(start + size as u64);
            Job { original, piece, index, range }
        })
    })
}

/// Tells the writer of originals and pieces when their turn comes, also of those without blocks.
struct Announcer<'a> {
    pieces: Box<dyn Iterator<Item = (Option<&'a str>, &'a Piece)> + 'a>,
    announced: usize,
}

impl<'a> Announcer<'a> {
    fn new(originals: &'a [Original]) -> Self {
        let pieces = originals.iter().flat_map(|original| {
            let first = |index| (index == 0).then_some(original.name.as_str());
            original.pieces.iter().enumerate().map(move |(index, piece)| (first(index), piece))
        });
        Self { pieces: Box::new(pieces), announced: 0 }
    }

    /// Announces pieces until so many are, or all.
    fn announce(&mut self, writer: &mut Writer, until: usize) -> Result<()> {
        while self.announced < until {
            let Some((source, piece)) = self.pieces.next() else { break };
            if let Some(name) = source {
                writer.begin_source(name)?;
            }
            writer.begin_item(piece.tensor.clone(), piece.element)?;
            self.announced += 1;
        }
        Ok(())
    }
}
