//! What a block holds, class by class: words of the base, and changes by their magnitude.

use super::super::form::Form;
use super::super::survey::Survey;
use super::magnitude::{symbol, symbols};
use super::model::CLASSES;
use crate::kernels::bytes::histogram;
use crate::kernels::platform::Platform;

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
    /// By class: how many of the symbols there are up to the last one that occurs.
    used: Vec<usize>,
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
            used: Vec::new(),
            present: Vec::new(),
        }
    }

    /// How often each magnitude occurs in a class, up to the last one that does.
    pub(super) fn magnitudes(&self, class: usize) -> &[u32] {
        &self.magnitudes[class * self.symbols..][..self.used[class]]
    }

    /// Counts what a survey found.
    pub(super) fn count(&mut self, platform: Platform, form: Form, survey: &Survey) {
        self.symbols = symbols(form.bytes());
        reset(&mut self.words, CLASSES);
        reset(&mut self.changes, CLASSES);
        reset(&mut self.magnitudes, form.classes() * self.symbols);
        if form.classes() == 1 {
            self.words[0] = survey.words as u32;
        } else {
            let counts = histogram(platform, &survey.sample);
            self.words.copy_from_slice(&counts.map(|count| count * survey.sampled_one_in as u32));
        }
        for (class, difference) in survey.classes.iter().zip(&survey.differences) {
            let class = usize::from(*class);
            self.changes[class] += 1;
            self.magnitudes[class * self.symbols + symbol(*difference).0] += 1;
        }
        for (words, changes) in self.words.iter_mut().zip(&self.changes) {
            *words = (*words).max(*changes);
        }
        let last = |counts: &[u32]| counts.iter().rposition(|count| *count > 0);
        let classes = self.magnitudes.chunks(self.symbols);
        self.used.clear();
        self.used.extend(classes.map(|counts| last(counts).map_or(0, |last| last + 1)));
        self.present.clear();
        self.present.extend((0..form.classes()).filter(|class| self.words[*class] > 0));
    }
}

fn reset(counts: &mut Vec<u32>, length: usize) {
    counts.clear();
    counts.resize(length, 0);
}
