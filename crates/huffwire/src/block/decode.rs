//! Decoding of blocks, whose bytes may be hostile.

use super::header::Kind;
use super::one_pass::{self, PieceScratch};
use super::plane_by_plane;
use super::scratch::BlockScratch;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::lanes::CachePolicy;
use crate::set::CodebookSet;

/// Decodes blocks; owns the scratch memory, so that a block costs no allocation.
#[derive(Debug)]
pub(crate) struct BlockDecoder {
    platform: Platform,
    /// Of two blocks that are decoded side by side.
    blocks: [BlockScratch; 2],
    pieces: PieceScratch,
}

impl BlockDecoder {
    pub(crate) fn new(platform: Platform) -> Self {
        let blocks = [BlockScratch::new(), BlockScratch::new()];
        Self { platform, blocks, pieces: PieceScratch::default() }
    }

    /// Decodes a block of exactly `out.len()` bytes of elements, whole units, at most 1 MiB. The
    /// contents of `out` are undefined after an error.
    pub(crate) fn decode(
        &mut self,
        set: &CodebookSet,
        dtype: Dtype,
        block: &[u8],
        cache: CachePolicy<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let Self { platform, blocks: [scratch, _], pieces } = self;
        let (mut header, embedded) = (None, &mut scratch.embedded);
        let block = match Kind::read(set, dtype, block, out.len(), embedded, &mut header)? {
            Kind::Verbatim(elements) => {
                out.copy_from_slice(elements);
                return Ok(());
            }
            Kind::Coded(block) => block,
        };
        match one_pass::plan(&block, set, &scratch.embedded) {
            Some(pass) => one_pass::read(*platform, &pass, cache, pieces, out),
            None => plane_by_plane::read(*platform, set, &block, scratch, out),
        }
    }

    /// Decodes two blocks, side by side if they are alike; else one after the other. An error tells which
    /// block it is about.
    pub(crate) fn decode_two(
        &mut self,
        set: &CodebookSet,
        dtype: Dtype,
        blocks: [&[u8]; 2],
        caches: [CachePolicy<'_>; 2],
        [first, second]: [&mut [u8]; 2],
    ) -> std::result::Result<(), (usize, Error)> {
        // Which of two errors comes first depends on the pieces, hence on the platform: after one, the
        // blocks are decoded one after the other.
        let outs = [&mut *first, &mut *second];
        if let Some(Ok(())) = self.decode_side_by_side(set, dtype, blocks, caches, outs) {
            return Ok(());
        }
        self.decode(set, dtype, blocks[0], caches[0], first).map_err(|error| (0, error))?;
        self.decode(set, dtype, blocks[1], caches[1], second).map_err(|error| (1, error))
    }

    /// `None` when the blocks are not alike, or something is wrong with a header.
    fn decode_side_by_side(
        &mut self,
        set: &CodebookSet,
        dtype: Dtype,
        blocks: [&[u8]; 2],
        caches: [CachePolicy<'_>; 2],
        outs: [&mut [u8]; 2],
    ) -> Option<Result<()>> {
        let size = outs[0].len();
        if size != outs[1].len() {
            return None;
        }
        let Self { platform, blocks: [a, b], pieces } = self;
        let mut headers = [None; 2];
        let [header_a, header_b] = &mut headers;
        let read_a = Kind::read(set, dtype, blocks[0], size, &mut a.embedded, header_a);
        let Ok(Kind::Coded(block_a)) = read_a else { return None };
        let read_b = Kind::read(set, dtype, blocks[1], size, &mut b.embedded, header_b);
        let Ok(Kind::Coded(block_b)) = read_b else { return None };
        let passes = (
            one_pass::plan(&block_a, set, &a.embedded),
            one_pass::plan(&block_b, set, &b.embedded),
        );
        match passes {
            (Some(first), Some(second)) if one_pass::alike(&first, &second) => {
                Some(one_pass::read_two(*platform, [&first, &second], caches, pieces, outs))
            }
            // As if each one were alone.
            (Some(_), _) | (_, Some(_)) => None,
            (None, None) => {
                Some(plane_by_plane::read_two(*platform, set, [a, b], [&block_a, &block_b], outs))
            }
        }
    }
}
