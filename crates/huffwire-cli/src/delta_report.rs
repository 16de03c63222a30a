//! What is told of deltas, for people and for programs.

use huffwire_io::{DeltaUsage, Matches};
use serde::Serialize;

use crate::report::{count, printable};

/// Names that are told to people; of more the number is.
const NAMES: usize = 3;

/// How much changes, and by what that is told.
#[derive(Debug, Serialize)]
pub(crate) struct DeltaReport {
    words: u64,
    changed_words: u64,
    changed_percent: f64,
    /// `None` if nothing changes.
    bits_per_change: Option<f64>,
    blocks: Vec<BlockReport>,
}

/// The blocks of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct BlockReport {
    kind: &'static str,
    blocks: u64,
    words: u64,
    changed_words: u64,
    coded_bytes: u64,
}

impl DeltaReport {
    pub(crate) fn of(usage: &DeltaUsage) -> Self {
        let blocks = usage.kinds().map(|(kind, counts)| BlockReport {
            kind: kind.name(),
            blocks: counts.blocks,
            words: counts.words,
            changed_words: counts.changes,
            coded_bytes: counts.coded_bytes,
        });
        Self {
            words: usage.words(),
            changed_words: usage.changes(),
            changed_percent: usage.changed_percent(),
            bits_per_change: usage.bits_per_change(),
            blocks: blocks.collect(),
        }
    }

    /// `0.803 % of 4718592 words change, 13.7 bits for each`.
    pub(crate) fn text(&self) -> String {
        let changed = format!("{} of {} words change", share(self.changed_percent), self.words);
        match self.bits_per_change {
            Some(bits) => format!("{changed}, {bits:.1} bits for each"),
            None => changed,
        }
    }

    /// The share that changes, and the bits for each change.
    pub(crate) fn cells(&self) -> (String, String) {
        let bits =
            self.bits_per_change.map_or_else(String::new, |bits| format!("{bits:.1} bits each, "));
        let kinds: Vec<String> = match &self.blocks[..] {
            [one] => vec![one.kind.to_owned()],
            several => several.iter().map(|b| format!("{} x{}", b.kind, b.blocks)).collect(),
        };
        let kinds = if kinds.is_empty() { "no blocks".to_owned() } else { kinds.join(", ") };
        (format!("{} changed", share(self.changed_percent)), format!("{bits}{kinds}"))
    }

    /// The blocks of each kind.
    pub(crate) fn blocks(&self) -> &[BlockReport] {
        &self.blocks
    }
}

impl BlockReport {
    /// A row of a table.
    pub(crate) fn row(&self) -> [String; 5] {
        let bits = match self.changed_words {
            0 => "-".to_owned(),
            changes => format!("{:.1}", 8.0 * self.coded_bytes as f64 / changes as f64),
        };
        let percent = 100.0 * self.changed_words as f64 / self.words.max(1) as f64;
        [
            self.kind.to_owned(),
            self.blocks.to_string(),
            share(percent),
            crate::report::size(self.coded_bytes),
            bits,
        ]
    }
}

/// How the tensors were matched with those of a base.
#[derive(Debug, Serialize)]
pub(crate) struct MatchReport {
    /// Tensors that the base has with the same type and shape.
    matched_tensors: usize,
    new_tensors: Vec<String>,
    reshaped_tensors: Vec<String>,
    gone_tensors: Vec<String>,
}

impl MatchReport {
    pub(crate) fn new(matches: Matches) -> Self {
        let Matches { matched, new, reshaped, gone, .. } = matches;
        Self {
            matched_tensors: matched.len(),
            new_tensors: new,
            reshaped_tensors: reshaped,
            gone_tensors: gone,
        }
    }

    /// A line for each sort of tensors that are not the same in both files.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (names, what) in [
            (&self.new_tensors, "is not in the base, and is stored whole"),
            (&self.reshaped_tensors, "has another type or shape in the base, and is stored whole"),
            (&self.gone_tensors, "of the base is gone"),
        ] {
            if names.is_empty() {
                continue;
            }
            let mut list: Vec<String> =
                names.iter().take(NAMES).map(|name| printable(name)).collect();
            if names.len() > NAMES {
                list.push(format!("{} more", names.len() - NAMES));
            }
            let what = match names.len() {
                1 => what.to_owned(),
                _ => what.replace("is ", "are ").replace("has ", "have "),
            };
            let tensors = count(names.len() as u64, "tensor");
            text.push_str(&format!("{tensors} {what}: {}\n", list.join(", ")));
        }
        text
    }
}

/// What several deltas consist of together.
pub(crate) fn sum<'a>(usages: impl Iterator<Item = &'a DeltaUsage>) -> DeltaUsage {
    let mut all = DeltaUsage::default();
    usages.for_each(|usage| all.merge(usage));
    all
}

/// How many times smaller: `252`, `9.41`.
pub(crate) fn ratio(raw: u64, coded: u64) -> String {
    let ratio = raw as f64 / coded.max(1) as f64;
    if ratio < 99.95 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

/// A share that may be small.
fn share(percent: f64) -> String {
    format!("{percent:.3} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_without_a_base_are_told() {
        let mut matches = Matches::default();
        matches.matched = vec!["same".into()];
        matches.new = vec!["a".into()];
        matches.gone = ["b", "c", "d", "e\n"].map(str::to_owned).to_vec();
        let text = MatchReport::new(matches).text();
        assert_eq!(
            text,
            "1 tensor is not in the base, and is stored whole: a\n\
             4 tensors of the base are gone: b, c, d, 1 more\n"
        );
    }
}
