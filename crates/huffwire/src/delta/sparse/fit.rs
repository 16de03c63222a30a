//! Fitting: which model makes a block shortest. All of it is arithmetic of integers, so that every machine makes the
//! same choice.

use super::super::form::Form;
use super::classes::Counts;
use super::magnitude::{Row, rows};
use super::model::{LEVELS, Levels, MAX_SIZE, Model, level, ticks};
use super::tables::{COSTS, FIRST_ROW, HAZARDS};

/// Prices are in units of 2^-13 bits.
const BIT: u64 = 1 << 13;

/// From the unit of the costs of magnitudes to that of prices.
const FINER: u32 = 13 - super::magnitude::COST_BITS;

/// Sizes of a step are first tried so far apart.
const COARSE: u16 = 8;

/// Prices of the classes of a block at any level.
struct Prices<'a> {
    counts: &'a Counts,
    rows: &'static [Row],
}

impl Prices<'_> {
    /// Which words of a class change.
    fn hazard(&self, class: usize, level: u8) -> u64 {
        let (words, changes) = (self.counts.words[class], self.counts.changes[class]);
        let cost = COSTS[usize::from(level).min(COSTS.len() - 1)];
        u64::from(words - changes) * u64::from(ticks(level)) + u64::from(changes) * u64::from(cost)
    }

    /// By how much the words of a class change, their signs apart.
    fn magnitude(&self, class: usize, level: u8) -> u64 {
        if self.counts.changes[class] == 0 {
            return 0;
        }
        let costs = self.rows[usize::from(level)].costs;
        let counts = self.counts.magnitudes(class);
        counts
            .iter()
            .zip(costs)
            .map(|(count, cost)| (u64::from(*count) * u64::from(cost)) << FINER)
            .sum()
    }

    fn both(&self, class: usize, level: u8) -> u64 {
        self.hazard(class, level) + self.magnitude(class, level)
    }

    /// The classes that a step decides about.
    fn normal(&self) -> impl Iterator<Item = usize> + '_ {
        self.counts.present.iter().copied().filter(|class| *class > 0)
    }

    /// The cheapest step.
    fn step(&self) -> (Model, u64) {
        let hazards =
            |size: u16| self.normal().map(|class| self.hazard(class, level(size, class))).sum();
        let near = cheapest((0..=MAX_SIZE).step_by(COARSE.into()), hazards).0;
        let window = near.saturating_sub(COARSE)..=(near + COARSE).min(MAX_SIZE);
        let all = |size: u16| self.normal().map(|class| self.both(class, level(size, class))).sum();
        let (size, price) = cheapest(window, all);
        let (zero, zeros) = if self.counts.words[0] == 0 {
            (0, 0)
        } else {
            cheapest(0..LEVELS as u8, |level| self.both(0, level))
        };
        (Model::Step { size, zero }, price + zeros + 24 * BIT)
    }

    /// The cheapest levels of each class.
    fn sent(&self) -> (Model, u64) {
        let present = &self.counts.present;
        let first = present.first().copied().unwrap_or(0);
        let last = present.last().copied().unwrap_or(0);
        let mut levels = vec![Levels::default(); last - first + 1];
        let mut price = 16 * BIT * (1 + levels.len() as u64);
        for &class in present {
            let hazard = cheapest(0..HAZARDS.len() as u8, |level| self.hazard(class, level));
            let magnitude = match self.counts.magnitudes(class).len() {
                0 => (0, 0),
                // No level has a cheaper first symbol than the lowest one.
                1 => (0, self.magnitude(class, 0)),
                _ => cheapest(magnitude_levels(), |level| self.magnitude(class, level)),
            };
            price += hazard.1 + magnitude.1;
            levels[class - first] = Levels { hazard: hazard.0, magnitude: magnitude.0 };
        }
        // Classes are numbers of 8 bits.
        (Model::Sent { first: first as u8, levels }, price)
    }

    /// Less than any levels that are sent can cost.
    fn sent_at_least(&self) -> u64 {
        let present = &self.counts.present;
        let spanned = present.last().map_or(0, |last| last - present[0]) as u64;
        let best = |class: &usize| {
            let levels = 0..HAZARDS.len() as u8;
            cheapest(levels, |level| self.hazard(*class, level)).1
        };
        16 * BIT * (2 + spanned) + present.iter().map(best).sum::<u64>()
    }
}

/// The levels that differ by their magnitudes: those below the first row of the table are all alike.
fn magnitude_levels() -> impl Iterator<Item = u8> {
    std::iter::once(0).chain(FIRST_ROW as u8..LEVELS as u8)
}

/// The first of the cheapest candidates, and its price.
fn cheapest<T: Copy + Default>(
    candidates: impl Iterator<Item = T>,
    price: impl Fn(T) -> u64,
) -> (T, u64) {
    let priced = candidates.map(|candidate| (candidate, price(candidate)));
    priced.min_by_key(|(_, price)| *price).unwrap_or_default()
}

/// The model that makes a block shortest.
pub(super) fn fit(form: Form, counts: &Counts) -> Model {
    let prices = Prices { counts, rows: rows(form.bytes()) };
    if form.classes() == 1 {
        return prices.sent().0;
    }
    let (step, price) = prices.step();
    if prices.sent_at_least() >= price {
        return step;
    }
    let (sent, other) = prices.sent();
    if other < price { sent } else { step }
}
