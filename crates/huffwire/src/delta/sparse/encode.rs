//! Encoding of sparse blocks.

use super::super::form::{Form, by_width, word};
use super::classes::Counts;
use super::clock::{self, AT_LIMIT, LIMIT, longer};
use super::fit::fit;
use super::magnitude::rows;
use super::model::{Model, Tables};
use super::rans::{self, Interval};
use super::tile::Tile;
use super::{MAX_CHAINS, TILE};
use crate::kernels::platform::Platform;
use crate::wire::put_varint;

/// Changes from which on there are two chains, and four.
const TWO_CHAINS: usize = 1 << 10;
const FOUR_CHAINS: usize = 1 << 12;

/// Memory that sparse blocks are encoded with.
#[derive(Debug)]
pub(in super::super) struct SparseScratch {
    differences: Vec<i64>,
    counts: Counts,
    chains: [Vec<Interval>; MAX_CHAINS],
    words: Vec<u32>,
}

impl SparseScratch {
    pub(in super::super) const fn new() -> Self {
        Self {
            differences: Vec::new(),
            counts: Counts::new(),
            chains: [const { Vec::new() }; MAX_CHAINS],
            words: Vec::new(),
        }
    }
}

/// Appends the payload of a sparse block; `indices` are the words that differ. Returns whether its levels are sent.
pub(in super::super) fn encode(
    platform: Platform,
    form: Form,
    (base, new): (&[u8], &[u8]),
    indices: &[u32],
    scratch: &mut SparseScratch,
    out: &mut Vec<u8>,
) -> bool {
    let SparseScratch { differences, counts, chains, words } = scratch;
    differences.clear();
    by_width!(form, B => {
        let (base, new) = (base.as_chunks::<B>().0, new.as_chunks::<B>().0);
        differences.extend(indices.iter().map(|index| {
            let index = *index as usize;
            form.difference(word(&base[index]), word(&new[index]))
        }));
    });
    counts.count(platform, form, base, indices, differences);
    let model = fit(form, counts);
    model.write(out);
    let tables = model.tables();
    let chains_log2 = match indices.len() {
        ..TWO_CHAINS => 0u8,
        TWO_CHAINS..FOUR_CHAINS => 1,
        _ => 2,
    };
    let chains = &mut chains[..1 << chains_log2];
    list_intervals(platform, form, &tables, base, (indices, differences), chains);
    out.push(chains_log2);
    words.clear();
    let mut starts = [0; MAX_CHAINS + 1];
    let mut states = [0; MAX_CHAINS];
    for (chain, intervals) in chains.iter().enumerate() {
        states[chain] = rans::encode(intervals, words);
        starts[chain + 1] = words.len();
        put_varint(out, (words.len() - starts[chain]) as u64);
    }
    for chain in 0..chains.len() {
        out.extend_from_slice(&states[chain].to_le_bytes());
        let words = words[starts[chain]..starts[chain + 1]].iter().rev();
        out.extend(words.flat_map(|word| word.to_le_bytes()));
    }
    matches!(model, Model::Sent { .. })
}

/// A chain on its way through its tiles.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    /// The time at the start of the next tile.
    time: u64,
    /// The time at the end of the last word that changed.
    last: u64,
}

impl Clock {
    /// Lets time pass until less than [`LIMIT`] is left to `time`.
    #[inline(always)]
    fn escape(&mut self, time: u64, intervals: &mut Vec<Interval>) {
        while time - self.last >= LIMIT {
            intervals.push(Interval { start: 0, size: AT_LIMIT, bits: clock::BITS });
            self.last += LIMIT;
        }
    }
}

/// Lists the intervals of all chains.
fn list_intervals(
    platform: Platform,
    form: Form,
    tables: &Tables,
    base: &[u8],
    (indices, differences): (&[u32], &[i64]),
    chains: &mut [Vec<Interval>],
) {
    let rows = rows(form.bytes());
    let mut clocks = [Clock::default(); MAX_CHAINS];
    chains.iter_mut().for_each(Vec::clear);
    let mut changes = indices.iter().zip(differences).peekable();
    let mut tile = Tile::new();
    for (number, words) in base.chunks(TILE * form.bytes()).enumerate() {
        let first = number * TILE;
        let chain = number & (chains.len() - 1);
        let (clock, intervals) = (&mut clocks[chain], &mut chains[chain]);
        tile.set(platform, form, tables, words);
        while let Some((index, difference)) =
            changes.next_if(|(index, _)| (**index as usize) < first + TILE)
        {
            let place = *index as usize - first;
            let class = usize::from(tile.classes[place]);
            let start = clock.time + u64::from(tile.start(tables, place));
            let end = start + u64::from(tables.ticks.all[class]);
            clock.escape(start, intervals);
            let low = longer((end - clock.last).min(LIMIT));
            let size = longer(start - clock.last) - low;
            intervals.push(Interval { start: low, size, bits: clock::BITS });
            rows[usize::from(tables.magnitudes[class])].push(*difference, intervals);
            clock.last = end;
        }
        clock.time += u64::from(tile.total);
    }
    for (clock, intervals) in clocks.iter_mut().zip(chains) {
        clock.escape(clock.time, intervals);
        let size = longer(clock.time - clock.last);
        intervals.push(Interval { start: 0, size, bits: clock::BITS });
    }
}
