//! What deltas consist of.

use std::collections::BTreeMap;

use huffwire::Dtype;
use huffwire::delta::{self, BlockHeader, BlockKind};

/// What the blocks of a delta are, and how much changes: known without the base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeltaUsage {
    kinds: BTreeMap<BlockKind, BlockCounts>,
}

/// Blocks of one kind, and what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BlockCounts {
    /// How many blocks there are.
    pub blocks: u64,
    /// Their words (see [`huffwire::delta`]).
    pub words: u64,
    /// How many of them change.
    pub changes: u64,
    /// Their size in bytes.
    pub coded_bytes: u64,
}

impl DeltaUsage {
    /// Counts a block of so many bytes of elements and so many coded bytes.
    pub fn add(&mut self, dtype: Dtype, raw: usize, coded: usize, header: &BlockHeader) {
        let counts = self.kinds.entry(header.kind).or_default();
        counts.blocks += 1;
        counts.words += (raw / delta::word_bytes(dtype)) as u64;
        counts.changes += u64::from(header.changes);
        counts.coded_bytes += coded as u64;
    }

    /// Counts what another delta consists of.
    pub fn merge(&mut self, other: &Self) {
        for (kind, theirs) in &other.kinds {
            let counts = self.kinds.entry(*kind).or_default();
            counts.blocks += theirs.blocks;
            counts.words += theirs.words;
            counts.changes += theirs.changes;
            counts.coded_bytes += theirs.coded_bytes;
        }
    }

    /// The kinds of blocks, those that occur, in the order of their numbers.
    pub fn kinds(&self) -> impl Iterator<Item = (BlockKind, BlockCounts)> {
        self.kinds.iter().map(|(kind, counts)| (*kind, *counts))
    }

    /// How many words change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.kinds.values().map(|counts| counts.changes).sum()
    }

    /// How many words there are.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.kinds.values().map(|counts| counts.words).sum()
    }

    /// The share of the words that change, in percent.
    #[must_use]
    pub fn changed_percent(&self) -> f64 {
        match self.words() {
            0 => 0.0,
            words => 100.0 * self.changes() as f64 / words as f64,
        }
    }

    /// The size of all blocks in bits, for each change; `None` if nothing changes.
    #[must_use]
    pub fn bits_per_change(&self) -> Option<f64> {
        let coded: u64 = self.kinds.values().map(|counts| counts.coded_bytes).sum();
        let changes = self.changes();
        (changes > 0).then(|| 8.0 * coded as f64 / changes as f64)
    }

    /// The kinds of blocks for people: `sparse`, or `unchanged x30, sparse x2`.
    #[must_use]
    pub fn blocks(&self) -> String {
        let kinds = self.kinds.iter().map(|(kind, counts)| (kind.name().to_owned(), counts.blocks));
        crate::analysis::join(kinds)
    }
}
