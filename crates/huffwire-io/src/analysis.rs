//! What is known of a compressed tensor beyond its size.

use std::collections::BTreeMap;

use huffwire::CodebookSet;
use huffwire::calibrate::Ideal;
use huffwire::{BlockInfo, PlaneMode};

use crate::delta_usage::DeltaUsage;

/// What is known of a tensor that was compressed, or of bytes around tensors.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// What perfect codes would make of it; `None` for an empty tensor, and for a delta.
    pub ideal: Option<Ideal>,
    /// The codebooks of its blocks.
    pub usage: Usage,
    /// What its blocks are, if it became a delta; there is no `ideal` then.
    pub delta: Option<DeltaUsage>,
}

/// Which codebooks and layouts the blocks of a tensor use, and how many blocks use each.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    resident: BTreeMap<u8, u64>,
    embedded: u64,
    constant: u64,
    raw: u64,
    layouts: BTreeMap<&'static str, u64>,
}

impl Usage {
    /// Counts a block. A raw plane counts only if the block codes nothing at all: the plane of
    /// signs and mantissas is usually raw.
    pub fn add(&mut self, block: &BlockInfo) {
        let layout = block.layout.map_or("verbatim", |layout| layout.name());
        *self.layouts.entry(layout).or_default() += 1;
        let mut coded = false;
        let mut constant = false;
        for plane in &block.planes {
            match &plane.mode {
                PlaneMode::Raw => {}
                PlaneMode::Constant(_) => constant = true,
                PlaneMode::Resident { book, .. } => {
                    *self.resident.entry(*book).or_default() += 1;
                    coded = true;
                }
                PlaneMode::Embedded { .. } => {
                    self.embedded += 1;
                    coded = true;
                }
            }
        }
        match (coded, constant) {
            (true, _) => {}
            (false, true) => self.constant += 1,
            (false, false) => self.raw += 1,
        }
    }

    /// How many blocks use each layout, in the order of the layouts' names.
    pub fn layout_counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.layouts.iter().map(|(name, blocks)| (*name, *blocks))
    }

    /// How many planes of blocks use each codebook, by its number in the set.
    pub fn resident_counts(&self) -> impl Iterator<Item = (u8, u64)> {
        self.resident.iter().map(|(book, planes)| (*book, *planes))
    }

    /// How many planes use codebooks of their own, how many blocks code nothing because they are constant, and how many
    /// because no code makes them smaller.
    #[must_use]
    pub const fn other_counts(&self) -> [(&'static str, u64); 3] {
        [("embedded", self.embedded), ("constant", self.constant), ("raw", self.raw)]
    }

    /// The layouts of the blocks: `exponent`, or `exponent x30, verbatim x2`.
    #[must_use]
    pub fn layouts(&self) -> String {
        join(self.layouts.iter().map(|(name, &count)| ((*name).to_owned(), count)))
    }

    /// The codebooks of the blocks: `#12 a1b2c3d4e5f60718`, or `#12 x30, #7 x2, embedded x1`. The
    /// most frequent first.
    #[must_use]
    pub fn codebooks(&self, set: &CodebookSet) -> String {
        let others = self.other_counts().into_iter().filter(|(_, count)| *count > 0);
        let books = self.resident.iter().map(|(book, &count)| (format!("#{book}"), count));
        let mut all: Vec<(String, u64)> =
            books.chain(others.map(|(name, count)| (name.to_owned(), count))).collect();
        if let ([(name, _)], Some((&number, _))) = (&all[..], self.resident.first_key_value())
            && let Ok(book) = set.book(number)
        {
            return format!("{name} {}", book.lengths().id());
        }
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        join(all.into_iter())
    }
}

pub(crate) fn join(mut counted: impl ExactSizeIterator<Item = (String, u64)>) -> String {
    if counted.len() == 1 {
        return counted.next().map_or_else(String::new, |(name, _)| name);
    }
    let parts: Vec<String> = counted.map(|(name, count)| format!("{name} x{count}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
