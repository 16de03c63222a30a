//! What a block holds, class by class: words of the base, and changes by their magnitude.

use super::super::form::{Form, by_width, word};
use super::TILE;
use super::magnitude::{symbol, symbols};
use super::model::CLASSES;
use super::tile::classify;
use crate::kernels::bytes::histogram;
use crate::kernels::platform::Platform;

/// In blocks of at least so many words only the first ones of each tile are counted, one in [`ONE_IN`].
const SAMPLED_WORDS: usize = 1 << 16;
const ONE_IN: usize = 16;

/// Counts of a block by class.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// Words of the base; of a large block estimated by a sample. At least the changes.
    pub(super) words: Vec<u32>,
    /// Words that change.
    pub(super) changes: Vec<u32>,
    /// By class, `symbols` for each: how often each magnitude occurs.
    magnitudes: Vec<u32>,
    symbols: usize,
    /// The classes that occur, in ascending order.
    pub(super) present: Vec<usize>,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self {
            words: Vec::new(),
            changes: Vec::new(),
            magnitudes: Vec::new(),
            symbols: 0,
            present: Vec::new(),
        }
    }

    /// How often each magnitude occurs in a class.
    pub(super) fn magnitudes(&self, class: usize) -> &[u32] {
        &self.magnitudes[class * self.symbols..][..self.symbols]
    }

    /// Counts a base and its changes, given as indices and differences.
    pub(super) fn count(
        &mut self,
        platform: Platform,
        form: Form,
        base: &[u8],
        indices: &[u32],
        differences: &[i64],
    ) {
        self.symbols = symbols(form.bytes());
        reset(&mut self.words, CLASSES);
        reset(&mut self.changes, CLASSES);
        reset(&mut self.magnitudes, form.classes() * self.symbols);
        self.count_words(platform, form, base);
        by_width!(form, B => {
            let words = base.as_chunks::<B>().0;
            for (index, difference) in indices.iter().zip(differences) {
                let class = form.class(word(&words[*index as usize]));
                self.changes[class] += 1;
                self.magnitudes[class * self.symbols + symbol(*difference).0] += 1;
            }
        });
        for (words, changes) in self.words.iter_mut().zip(&self.changes) {
            *words = (*words).max(*changes);
        }
        self.present.clear();
        self.present.extend((0..form.classes()).filter(|class| self.words[*class] > 0));
    }

    fn count_words(&mut self, platform: Platform, form: Form, base: &[u8]) {
        let count = base.len() / form.bytes();
        if form.classes() == 1 {
            self.words[0] = count as u32;
            return;
        }
        let one_in = if count < SAMPLED_WORDS { 1 } else { ONE_IN };
        let mut classes = [0; TILE];
        for tile in base.chunks(TILE * form.bytes()) {
            let words = (tile.len() / form.bytes()).min(TILE / one_in);
            classify(platform, form, &tile[..words * form.bytes()], &mut classes[..words]);
            let counts = histogram(platform, &classes[..words]);
            for (words, count) in self.words.iter_mut().zip(counts) {
                *words += count * one_in as u32;
            }
        }
    }
}

fn reset(counts: &mut Vec<u32>, length: usize) {
    counts.clear();
    counts.resize(length, 0);
}
