//! The training text: the sources and the README of this crate.
//!
//! Real text is at hand without a download, and its statistics are those of code and prose.

use crate::rng::SplitMix64;

const SOURCES: [&str; 10] = [
    include_str!("lib.rs"),
    include_str!("adamw.rs"),
    include_str!("attention.rs"),
    include_str!("block.rs"),
    include_str!("model.rs"),
    include_str!("ops.rs"),
    include_str!("rng.rs"),
    include_str!("text.rs"),
    include_str!("weights.rs"),
    include_str!("../README.md"),
];

/// A text of bytes, each of which is one token.
pub(crate) struct Corpus {
    bytes: Vec<u8>,
}

impl Corpus {
    /// The text that ships with the program, tens of kilobytes.
    pub(crate) fn built_in() -> Self {
        Self { bytes: SOURCES.concat().into_bytes() }
    }

    /// Draws `count` stretches of `context + 1` bytes, with replacement: the first `context` bytes
    /// are the input, and the same stretch moved on by one byte is the target.
    pub(crate) fn sample(&self, rng: &mut SplitMix64, count: usize, context: usize) -> Vec<&[u8]> {
        let starts = self.bytes.len().saturating_sub(context);
        (0..count)
            .map(|_| rng.below(starts))
            .filter_map(|start| self.bytes.get(start..=start + context))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_text_is_long_enough_to_learn_from() {
        assert!(Corpus::built_in().bytes.len() > 20_000);
    }

    #[test]
    fn samples_reach_both_ends_and_have_the_asked_length() {
        let corpus = Corpus { bytes: b"abcd".to_vec() };
        let drawn = corpus.sample(&mut SplitMix64::new(1), 100, 2);
        assert_eq!(drawn.len(), 100);
        assert!(drawn.iter().all(|window| window.len() == 3));
        assert!(drawn.contains(&b"abc".as_slice()) && drawn.contains(&b"bcd".as_slice()));
    }

    #[test]
    fn a_text_shorter_than_the_context_gives_no_samples() {
        let corpus = Corpus { bytes: b"ab".to_vec() };
        assert!(corpus.sample(&mut SplitMix64::new(1), 4, 2).is_empty());
    }
}
