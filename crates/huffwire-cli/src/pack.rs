//! From originals to the bytes of a .hw file.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use huffwire::BlockInfo;
use huffwire::calibrate::{Ideal, Profile};
use huffwire::file::{Directory, Writer};
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
    /// What perfect codes would make of it; `None` for an empty item.
    pub(crate) ideal: Option<Ideal>,
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
        let mut analyses = Analyses::default();
        output.write(&writer.header())?;
        let mut bytes = writer.header().len() as u64;
        workers.run(1 << block_log2, jobs(originals, block_log2), encode, |job, block| {
            pieces.announce(&mut writer, job.index + 1)?;
            writer.push_block(block.raw.len(), block.coded.len())?;
            output.write(&block.coded)?;
            bytes += block.coded.len() as u64;
            if self.analyse {
                analyses.add(job, block);
            }
            progress(block.raw.len() as u64);
            Ok(())
        })?;
        pieces.announce(&mut writer, usize::MAX)?;
        let analyses = analyses.finish(pieces.announced);
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

/// The analyses of items whose blocks arrive in order.
///
/// Histograms take kilobytes and a model has thousands of tensors: only those of the current item
/// are kept.
#[derive(Debug, Default)]
struct Analyses {
    items: Vec<Analysis>,
    current: Option<Profile>,
}

impl Analyses {
    fn add(&mut self, job: &Job<'_>, block: &mut Block) {
        self.items.resize_with(job.index + 1, Analysis::default);
        let item = &mut self.items[job.index];
        if let Some(info) = block.info.take() {
            item.usage.add(&info);
        }
        match (&mut self.current, block.profile.take()) {
            (Some(profile), Some(more)) => profile.merge(&more),
            (none, more) => *none = more,
        }
        if job.range.end == job.piece.range.end {
            item.ideal = self.current.take().map(|profile| profile.ideal());
        }
    }

    /// The analyses of all items, of which there are so many.
    fn finish(mut self, items: usize) -> Vec<Analysis> {
        self.items.resize_with(items, Analysis::default);
        self.items
    }
}

fn jobs(originals: &[Original], block_log2: u8) -> impl Iterator<Item = Job<'_>> + Send {
    let pieces = originals
        .iter()
        .flat_map(|original| original.pieces.iter().map(move |piece| (original, piece)));
    pieces.enumerate().flat_map(move |(index, (original, piece))| {
        let size = huffwire::block::block_bytes(piece.element, block_log2);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input_file::InputFile;
    use huffwire::{Dtype, SymbolRule};

    /// Thousands of tensors leave behind what is reported of them, and no histogram.
    #[test]
    fn analyses_do_not_keep_histograms() {
        const TENSORS: u64 = 2000;
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let piece = |n: u64| Piece {
            tensor: None,
            element: Dtype::Bf16,
            range: 65536 * n..65536 * (n + 1),
        };
        let original = Original {
            name: "x".to_owned(),
            file: InputFile::open(&path).unwrap(),
            pieces: (0..TENSORS).map(piece).collect(),
        };
        let mut profile = Profile::new(Dtype::Bf16, SymbolRule::Auto);
        profile.add(&[0; 2048]).unwrap();
        let mut analyses = Analyses::default();
        let mut blocks = 0;
        for job in jobs(std::slice::from_ref(&original), 15) {
            let mut block = Block { profile: Some(profile.clone()), ..Block::default() };
            analyses.add(&job, &mut block);
            blocks += 1;
            let last = job.range.end == job.piece.range.end;
            assert_eq!(analyses.current.is_none(), last, "only within a tensor");
            assert!(block.profile.is_none(), "nor does the block keep it, which is used again");
        }
        assert_eq!(blocks, 2 * TENSORS);
        let analyses = analyses.finish(TENSORS as usize);
        assert!(analyses.iter().all(|a| a.ideal.is_some_and(|ideal| ideal.raw_bytes == 4096)));
        assert!(size_of::<Analysis>() <= 256, "{} bytes a tensor", size_of::<Analysis>());
    }
}
