//! Encoding of blocks: each is the cheapest of the kinds that it can have.

use super::form::{Form, by_width, set_word, word};
use super::hashing::Hashes;
use super::header::{BlockHeader, BlockKind};
use super::parts;
use super::sparse::{self, SparseScratch};
use super::survey::Survey;
use crate::block::BlockEncoder;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::kernels::platform::Platform;
use crate::message::delta_block_bound;
use crate::plan::{Level, Policy};
use crate::set::CodebookSet;

/// A sparse block that is so much smaller than its elements is taken without a look at the other kinds.
const SMALL: usize = 32;

/// A block in which more words change is tried as a sparse one at [`Level::Max`] alone: of so many words all but one may
/// change. It would often be smaller, but changes are decoded one by one, and blocks of other kinds many times as fast.
const UNCHANGED_IN: usize = 3;

/// How the blocks of a delta are encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding<'a> {
    pub(crate) set: &'a CodebookSet,
    pub(crate) dtype: Dtype,
    /// For elements.
    pub(crate) plain: &'a Policy,
    /// For differences of elements, which are integers.
    pub(crate) differences: &'a Policy,
    /// Parts hold at most `2^block_log2` bytes.
    pub(crate) block_log2: u8,
}

/// Memory that a thread encodes with.
#[derive(Debug)]
pub(crate) struct EncodeWorker {
    platform: Platform,
    blocks: BlockEncoder,
    survey: Survey,
    sparse: SparseScratch,
    differences: Vec<u8>,
    coded: Vec<u8>,
    candidate: Vec<u8>,
    /// A block on its way to its place.
    pub(super) block: Vec<u8>,
}

impl EncodeWorker {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            blocks: BlockEncoder::new(platform),
            survey: Survey::default(),
            sparse: SparseScratch::new(),
            differences: Vec::new(),
            coded: Vec::new(),
            candidate: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Appends a block: the whole units of `new`, given as many of the base. `ahead` is what is probably encoded next, of
    /// both; it may be fetched meanwhile.
    pub(crate) fn encode(
        &mut self,
        encoding: &Encoding<'_>,
        (base, new): (&[u8], &[u8]),
        ahead: [&[u8]; 2],
        out: &mut Vec<u8>,
    ) -> Result<BlockHeader> {
        let form = Form::of(encoding.dtype);
        let words = new.len() / form.bytes();
        let most = match encoding.plain.level() {
            Level::Fast => words - words / UNCHANGED_IN,
            Level::Max => words,
        };
        let hashes = self.survey.make(self.platform, form, (base, new), most);
        let Hashes { base: base_hash, result } = hashes;
        let changes = self.survey.indices.len();
        let mut header = BlockHeader {
            kind: BlockKind::Unchanged,
            // No block has more words than 2^22.
            changes: changes as u32,
            base: base_hash,
            result,
        };
        if changes == 0 {
            header.write(out);
            return Ok(header);
        }
        self.candidate.clear();
        header.kind = self.encode_payload(encoding, form, (base, new), ahead, changes <= most)?;
        let start = out.len();
        header.write(out);
        out.extend_from_slice(&self.candidate);
        debug_assert!(
            out.len() - start <= delta_block_bound(encoding.dtype, new.len(), encoding.block_log2)
        );
        Ok(header)
    }

    /// Fills the candidate with the cheapest payload; `may_be_sparse` tells whether it may be a sparse one.
    fn encode_payload(
        &mut self,
        encoding: &Encoding<'_>,
        form: Form,
        (base, new): (&[u8], &[u8]),
        ahead: [&[u8]; 2],
        may_be_sparse: bool,
    ) -> Result<BlockKind> {
        let Encoding { set, dtype, plain, differences, block_log2 } = *encoding;
        let Self { platform, blocks, survey, sparse, coded, candidate, .. } = self;
        let mut best = BlockKind::Unchanged;
        if may_be_sparse {
            let sent = sparse::encode(*platform, form, base, ahead, survey, sparse, candidate);
            best = if sent { BlockKind::Densities } else { BlockKind::Step };
            if candidate.len() <= new.len() / SMALL {
                return Ok(best);
            }
        }
        // What is appended next stays if it is shorter than what was there.
        let keep = |best: &mut BlockKind, kind, candidate: &mut Vec<u8>, before: usize| {
            if *best == BlockKind::Unchanged || candidate.len() < 2 * before {
                candidate.drain(..before);
                *best = kind;
            } else {
                candidate.truncate(before);
            }
        };
        let before = candidate.len();
        subtract(*platform, form, base, new, &mut self.differences);
        let (policy, integers) = ((set, differences), (form.integers(), block_log2));
        parts::encode(blocks, policy, integers, &self.differences, coded, candidate)?;
        keep(&mut best, BlockKind::Dense, candidate, before);
        let before = candidate.len();
        parts::encode(blocks, (set, plain), (dtype, block_log2), new, coded, candidate)?;
        keep(&mut best, BlockKind::Plain, candidate, before);
        Ok(best)
    }
}

/// Fills `out` with the differences of all words.
fn subtract(platform: Platform, form: Form, base: &[u8], new: &[u8], out: &mut Vec<u8>) {
    out.resize(base.len(), 0);
    platform.run(
        #[inline(always)]
        || {
            by_width!(form, B => {
                let words = base.as_chunks::<B>().0.iter().zip(new.as_chunks::<B>().0);
                for ((base, new), out) in words.zip(out.as_chunks_mut::<B>().0) {
                    let difference = form.difference(word(base), word(new));
                    set_word(out, form.zigzag(difference));
                }
            });
        },
    );
}

/// Turns differences of all words into new words.
pub(super) fn add(platform: Platform, form: Form, base: &[u8], differences: &mut [u8]) {
    platform.run(
        #[inline(always)]
        || {
            by_width!(form, B => {
                let words = base.as_chunks::<B>().0.iter();
                for (base, out) in words.zip(differences.as_chunks_mut::<B>().0) {
                    let difference = Form::unzigzag(word(out));
                    set_word(out, form.moved(word(base), difference));
                }
            });
        },
    );
}
