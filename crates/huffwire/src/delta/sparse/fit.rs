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

/// Sizes of a step, and levels of magnitudes, are first tried so far apart.
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

    /// The cheapest hazard of each class that is present, and its price.
    fn hazards(&self) -> Vec<(u8, u64)> {
        let present = self.counts.present.iter();
        present
            .map(|class| {
                let price = |level| self.hazard(*class, level);
                let level = LEVEL_AND_NEXT
                    .partition_point(|[before, level]| price(*level) < price(*before))
                    .checked_sub(1)
                    .map_or(0, |step| LEVEL_AND_NEXT[step][1]);
                (level, price(level))
            })
            .collect()
    }

    /// What levels cost that are sent, their magnitudes apart, given the hazards of the classes that are present.
    fn sent_at_least(&self, hazards: &[(u8, u64)]) -> u64 {
        let present = &self.counts.present;
        let spanned = present.last().map_or(0, |last| last - present[0]) as u64;
        16 * BIT * (2 + spanned) + hazards.iter().map(|(_, price)| price).sum::<u64>()
    }

    /// The cheapest levels of each class, given the hazards of those that are present.
    fn sent(&self, hazards: &[(u8, u64)]) -> (Model, u64) {
        let present = &self.counts.present;
        let first = present.first().copied().unwrap_or(0);
        let last = present.last().copied().unwrap_or(0);
        let mut levels = vec![Levels::default(); last - first + 1];
        let mut price = self.sent_at_least(hazards);
        for (&class, &(hazard, _)) in present.iter().zip(hazards) {
            let (magnitude, of_magnitudes) = self.cheapest_magnitude(class);
            price += of_magnitudes;
            levels[class - first] = Levels { hazard, magnitude };
        }
        // Classes are numbers of 8 bits.
        (Model::Sent { first: first as u8, levels }, price)
    }

    /// The level that makes the magnitudes of a class cheapest, as far as coarse steps find it.
    fn cheapest_magnitude(&self, class: usize) -> (u8, u64) {
        // The levels below the first row of the table are all alike, and no level has a cheaper first symbol.
        if self.counts.magnitudes(class).len() <= 1 {
            return (0, self.magnitude(class, 0));
        }
        let (lowest, highest) = (FIRST_ROW as u16 - 1, LEVELS as u16 - 1);
        let level = |number: u16| if number == lowest { 0 } else { number as u8 };
        let price = |number| self.magnitude(class, level(number));
        let near = cheapest((lowest..=highest).step_by(COARSE.into()), price).0;
        let window = near.saturating_sub(COARSE).max(lowest)..=(near + COARSE).min(highest);
        let (number, price) = cheapest(window, price);
        (level(number), price)
    }
}

/// The levels whose hazard is not that of the level before: each of them and the next one.
///
/// The information that a word changes is a convex function of the hazard. So from level to level the price of a class falls
/// up to some level, and never again: which that is, a binary search tells.
const LEVEL_AND_NEXT: [[u8; 2]; DISTINCT - 1] = {
    let mut pairs = [[0; 2]; DISTINCT - 1];
    let (mut count, mut level) = (0, 1);
    while level < HAZARDS.len() {
        if HAZARDS[level] != HAZARDS[level - 1] {
            pairs[count][1] = level as u8;
            count += 1;
            if count < pairs.len() {
                pairs[count][0] = level as u8;
            }
        }
        level += 1;
    }
    pairs
};

/// How many hazards there are.
const DISTINCT: usize = {
    let (mut count, mut level) = (1, 1);
    while level < HAZARDS.len() {
        if HAZARDS[level] != HAZARDS[level - 1] {
            count += 1;
        }
        level += 1;
    }
    count
};

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
    let hazards = prices.hazards();
    if form.classes() == 1 {
        return prices.sent(&hazards).0;
    }
    let (step, price) = prices.step();
    if prices.sent_at_least(&hazards) >= price {
        return step;
    }
    let (sent, other) = prices.sent(&hazards);
    if other < price { sent } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hazard_found_is_the_cheapest(
            words in prop_oneof![0u32..100, 0u32..1 << 22],
            share in prop_oneof![Just(0.0), Just(1.0), 0.0..1e-4, 0.0..1.0f64],
        ) {
            let mut counts = Counts::new();
            counts.words = vec![words];
            counts.changes = vec![(f64::from(words) * share) as u32];
            counts.present = vec![0];
            let prices = Prices { counts: &counts, rows: rows(2) };
            let all = cheapest(0..HAZARDS.len() as u8, |level| prices.hazard(0, level));
            prop_assert_eq!(prices.hazards(), [all]);
        }
    }

    #[test]
    fn each_distinct_hazard_is_in_a_pair() {
        assert_eq!(LEVEL_AND_NEXT[0], [0, 3]);
        assert_eq!(LEVEL_AND_NEXT.last(), Some(&[63, 64]));
        assert!(LEVEL_AND_NEXT.windows(2).all(|pairs| pairs[0][1] == pairs[1][0]));
    }
}
