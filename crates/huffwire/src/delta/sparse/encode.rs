//! Encoding of sparse blocks.

use super::super::form::Form;
use super::super::survey::Survey;
use super::classes::Counts;
use super::clock::{self, AT_LIMIT, LIMIT, LONGER, longer};
use super::fit::fit;
use super::magnitude::{Row, low_bits, rows};
use super::model::{Model, Tables};
use super::rans::{self, Divided, Encoder, Interval};
use super::tile::Tile;
use super::{MAX_CHAINS, TILE};
use crate::kernels::deltas::{self, Chances, GROUP, Spots};
use crate::kernels::platform::Platform;
use crate::wire::put_varint;

/// Changes from which on there are two chains, and four.
const TWO_CHAINS: usize = 1 << 10;
const FOUR_CHAINS: usize = 1 << 12;

/// Memory that sparse blocks are encoded with.
#[derive(Debug)]
pub(in super::super) struct SparseScratch {
    counts: Counts,
    chains: [Intervals; MAX_CHAINS],
    encoders: [Encoder; MAX_CHAINS],
    tile: Box<Tile>,
    changes: TileChanges,
}

impl SparseScratch {
    pub(in super::super) fn new() -> Self {
        Self {
            counts: Counts::new(),
            chains: [const { Intervals::new() }; MAX_CHAINS],
            encoders: [const { Encoder::new() }; MAX_CHAINS],
            tile: Box::new(Tile::new()),
            changes: TileChanges::default(),
        }
    }
}

/// Appends the payload of a sparse block, given what the survey of it found. Returns whether its levels are sent.
/// `ahead` may be fetched meanwhile.
pub(in super::super) fn encode(
    platform: Platform,
    form: Form,
    base: &[u8],
    ahead: [&[u8]; 2],
    survey: &Survey,
    scratch: &mut SparseScratch,
    out: &mut Vec<u8>,
) -> bool {
    let SparseScratch { counts, chains, encoders, tile, changes } = scratch;
    counts.count(platform, form, survey);
    let model = fit(form, counts);
    model.write(out);
    let chains_log2 = match survey.indices.len() {
        ..TWO_CHAINS => 0u8,
        TWO_CHAINS..FOUR_CHAINS => 1,
        _ => 2,
    };
    let count = 1 << chains_log2;
    let tables = &model.tables();
    let listing = Listing { platform, form, tables, rows: rows(form.bytes()) };
    let encoders = &mut encoders[..count];
    platform.run(
        #[inline(always)]
        || {
            let ahead = Ahead { platform, rest: ahead, at_once: TILE * form.bytes() / 4 };
            listing.list(base, ahead, survey, (tile, changes), &mut chains[..count]);
            rans::encode(&chains.each_ref().map(Intervals::listed)[..count], encoders);
        },
    );
    out.push(chains_log2);
    for encoder in &*encoders {
        put_varint(out, encoder.words().len() as u64);
    }
    for encoder in &*encoders {
        out.extend_from_slice(&encoder.state.to_le_bytes());
        out.extend(encoder.words().iter().rev().flat_map(|word| word.to_le_bytes()));
    }
    matches!(model, Model::Sent { .. })
}

/// The intervals of a chain.
#[derive(Debug)]
struct Intervals {
    /// Of those behind the ones that count nothing is known.
    all: Vec<Divided>,
    count: usize,
}

/// Most intervals of a change: one for the time, one for the symbol, and four for the bits of its magnitude.
const MOST_INTERVALS: usize = 6;

impl Intervals {
    const fn new() -> Self {
        Self { all: Vec::new(), count: 0 }
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    fn listed(&self) -> &[Divided] {
        &self.all[..self.count]
    }

    /// Makes room for so many changes.
    fn reserve(&mut self, changes: usize) {
        let needed = self.count + MOST_INTERVALS * changes;
        if needed > self.all.len() {
            let nothing = Divided::new(Interval { start: 0, size: 1, bits: 0 });
            self.all.resize(needed.next_power_of_two(), nothing);
        }
    }

    /// Appends an interval, for which there is room.
    #[inline(always)]
    fn put(&mut self, divided: Divided) {
        self.all[self.count] = divided;
        self.count += 1;
    }

    /// Appends the interval of a time.
    fn push_time(&mut self, start: u32, size: u32) {
        self.reserve(1);
        self.put(Divided::wide(Interval { start, size, bits: clock::BITS }));
    }
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
    fn escape(&mut self, time: u64, intervals: &mut Intervals) {
        while time - self.last >= LIMIT {
            intervals.push_time(0, AT_LIMIT);
            self.last += LIMIT;
        }
    }
}

/// What is known of the changes in a tile, one after the other.
#[derive(Debug, Default)]
struct TileChanges {
    places: Vec<u16>,
    /// The classes of the words of their groups.
    groups: Vec<[u8; GROUP]>,
    /// The time at the start of their groups.
    before: Vec<u32>,
    chances: Vec<Chances>,
}

impl TileChanges {
    /// Looks up the changes, `first` being the number of the first word of the tile.
    #[inline(always)]
    fn set(&mut self, tile: &Tile, indices: &[u32], first: usize) {
        let Self { places, groups, before, chances } = self;
        places.clear();
        places.extend(indices.iter().map(|index| (*index as usize - first) as u16));
        let numbers = || places.iter().map(|place| usize::from(*place) % TILE / GROUP);
        groups.clear();
        groups.extend(numbers().map(|group| tile.classes_of(group)));
        before.clear();
        before.extend(numbers().map(|group| tile.group_start(group)));
        chances.resize(places.len(), [0; 2]);
    }
}

/// What is looked at after the block. It is fetched while the block is listed, which leaves the memory idle: a little
/// at once, since the processor waits for the memory when it has asked for too much.
#[derive(Debug)]
struct Ahead<'a> {
    platform: Platform,
    rest: [&'a [u8]; 2],
    at_once: usize,
}

impl Ahead<'_> {
    fn fetch(&mut self) {
        for rest in &mut self.rest {
            let (next, behind) = rest.split_at(self.at_once.min(rest.len()));
            deltas::fetch(self.platform, next);
            *rest = behind;
        }
    }
}

/// How intervals are listed.
#[derive(Debug, Clone, Copy)]
struct Listing<'a> {
    platform: Platform,
    form: Form,
    tables: &'a Tables,
    rows: &'static [Row],
}

impl Listing<'_> {
    /// Lists the intervals of all chains.
    #[inline(always)]
    fn list(
        self,
        base: &[u8],
        mut ahead: Ahead<'_>,
        survey: &Survey,
        (tile, changes): (&mut Tile, &mut TileChanges),
        chains: &mut [Intervals],
    ) {
        let mut clocks = [Clock::default(); MAX_CHAINS];
        chains.iter_mut().for_each(Intervals::clear);
        let tile_bytes = TILE * self.form.bytes();
        let tiles = base.chunks(tile_bytes);
        for (number, (words, range)) in tiles.zip(survey.tiles()).enumerate() {
            let chain = number & (chains.len() - 1);
            let (clock, intervals) = (&mut clocks[chain], &mut chains[chain]);
            ahead.fetch();
            tile.set(self.platform, self.form, self.tables, words);
            ahead.fetch();
            if let Some(next) = base.chunks(tile_bytes).nth(number + 1) {
                deltas::fetch(self.platform, next);
            }
            changes.set(tile, &survey.indices[range.clone()], number * TILE);
            ahead.fetch();
            let differences = (&survey.classes[range.clone()], &survey.differences[range]);
            if !self.list_tile(tile, changes, differences, clock, intervals) {
                self.list_far(tile, changes, differences, clock, intervals);
            }
            ahead.fetch();
            clock.time += u64::from(tile.total);
        }
        for (clock, intervals) in clocks.iter_mut().zip(chains) {
            clock.escape(clock.time, intervals);
            let size = longer(clock.time - clock.last);
            intervals.push_time(0, size);
        }
    }

    /// Lists the intervals of a tile in which no change is far from the one before it. Returns `false`, and lists nothing
    /// of the tile, if there is one that is.
    #[inline(always)]
    fn list_tile(
        self,
        tile: &Tile,
        changes: &mut TileChanges,
        (classes, differences): (&[u8], &[i64]),
        clock: &mut Clock,
        intervals: &mut Intervals,
    ) -> bool {
        let Some(last) = changes.places.last().copied() else { return true };
        clock.escape(clock.time, intervals);
        let TileChanges { places, groups, before, chances } = changes;
        let spots = Spots { classes: groups, before, places };
        // The change before may have ended before the tile: what is computed with this time wraps around.
        let ended = clock.last.wrapping_sub(clock.time) as u32;
        let falling = (&LONGER, LIMIT as u32);
        let ticks = &self.tables.ticks;
        if !deltas::time_changes(self.platform, spots, ticks, falling, ended, chances) {
            return false;
        }
        let changes = chances.iter().zip(classes).zip(differences);
        intervals.reserve(chances.len());
        for ((chances, class), difference) in changes {
            let [high, low] = *chances;
            let time = Interval { start: low, size: high - low, bits: clock::BITS };
            intervals.put(Divided::wide(time));
            self.put_difference(*class, *difference, intervals);
        }
        clock.last = clock.time + u64::from(tile.start_and_end(ticks, usize::from(last)).1);
        true
    }

    /// Lists the intervals of a tile, whatever they are.
    fn list_far(
        self,
        tile: &Tile,
        changes: &TileChanges,
        (classes, differences): (&[u8], &[i64]),
        clock: &mut Clock,
        intervals: &mut Intervals,
    ) {
        let changes = changes.places.iter().zip(classes).zip(differences);
        for ((place, class), difference) in changes {
            let (start, end) = tile.start_and_end(&self.tables.ticks, usize::from(*place));
            let [start, end] = [start, end].map(|time| clock.time + u64::from(time));
            clock.escape(start, intervals);
            let low = longer((end - clock.last).min(LIMIT));
            let size = longer(start - clock.last) - low;
            intervals.push_time(low, size);
            intervals.reserve(1);
            self.put_difference(*class, *difference, intervals);
            clock.last = end;
        }
    }

    #[inline(always)]
    fn put_difference(self, class: u8, difference: i64, intervals: &mut Intervals) {
        let level = self.tables.magnitudes[usize::from(class)];
        let (symbol, bits) = self.rows[usize::from(level)].divided(difference);
        intervals.put(symbol);
        if bits > 0 {
            low_bits(difference, bits).for_each(|piece| intervals.put(piece));
        }
    }
}
