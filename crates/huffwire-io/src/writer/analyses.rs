//! Analyses of items whose blocks arrive in order.

use huffwire::Dtype;
use huffwire::calibrate::Profile;

use super::blocks::Block;
use crate::analysis::Analysis;

/// The analyses of items whose blocks arrive in order.
///
/// Histograms take kilobytes and a model has thousands of tensors: only those of the current item are
/// kept.
#[derive(Debug, Default)]
pub(super) struct Analyses {
    items: Vec<Analysis>,
    current: Option<Profile>,
}

impl Analyses {
    pub(super) fn add(&mut self, index: usize, is_last: bool, dtype: Dtype, block: &mut Block) {
        self.items.resize_with(index + 1, Analysis::default);
        let item = &mut self.items[index];
        for info in block.infos.drain(..) {
            item.usage.add(&info);
        }
        if let (Some(header), [coded]) = (block.header.take(), &block.coded[..]) {
            let usage = item.delta.get_or_insert_default();
            usage.add(dtype, coded.raw_bytes, coded.coded_bytes, &header);
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
    pub(super) fn finish(mut self, items: usize) -> Vec<Analysis> {
        self.items.resize_with(items, Analysis::default);
        self.items
    }
}

#[cfg(test)]
mod tests {
    use huffwire::SymbolRule;

    use super::super::blocks::{Part, Source, jobs};
    use super::*;
    use crate::input::Piece;

    /// Thousands of tensors leave behind what is reported of them, and no histogram.
    #[test]
    fn analyses_do_not_keep_histograms() {
        const TENSORS: u64 = 2000;
        let piece =
            |n: u64| Piece { tensor: None, dtype: Dtype::Bf16, range: 65536 * n..65536 * (n + 1) };
        let pieces: Vec<Piece> = (0..TENSORS).map(piece).collect();
        let parts: Vec<_> =
            pieces.iter().map(|piece| Part::new(None, Source::Memory(&[]), piece)).collect();
        let mut profile = Profile::new(Dtype::Bf16, SymbolRule::Auto);
        profile.add(&[0; 2048]).unwrap();
        let mut analyses = Analyses::default();
        let mut blocks = 0;
        for job in jobs(&parts, 15) {
            let mut block = Block::default();
            block.profile = Some(profile.clone());
            let last = job.range.end == job.part.piece.range.end;
            analyses.add(job.index, last, Dtype::Bf16, &mut block);
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
