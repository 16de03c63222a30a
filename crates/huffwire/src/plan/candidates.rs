//! The books that are considered for a plane, with what their prices are made of side by side.
//!
//! A sender prices tens of books for every block. One by one, each takes a sum over 64 slots, and adding up the parts of a
//! vector takes longer than the multiplications do. So centred books are priced sixteen at a time: each lane of a vector
//! adds up for a book of its own, and nothing has to be added across lanes.
//!
//! For that the slots of all books have to lie side by side. A book is priced with its origin at the centre of the
//! block; so the savings of a book are kept by their distance from the origin, and the counts are taken from the centre on.

use crate::codebook::{Alphabet, Codebook};
use crate::kernels::platform::Platform;
use crate::kernels::sums::{self, AT_ONCE, Row};
use crate::set::CodebookSet;
use crate::stats::Counts;

/// With fewer books, most lanes of a vector would have none.
const TOGETHER_FROM: usize = 6;

/// The books of a set that are considered for a plane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates {
    numbers: Vec<u8>,
    together: Option<Together>,
}

/// Savings of centred books, by distance from their origins.
#[derive(Debug, Clone)]
struct Together {
    books: Vec<Priced>,
    /// Distance of the first symbol from the centre.
    first: i16,
    /// By group of [`AT_ONCE`] books: a row for each two symbols.
    groups: Vec<Vec<Row>>,
}

/// What the price of a book follows from, but for its savings. Here it is read in order, and not from book to book.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Priced {
    pub(crate) number: u8,
    pub(crate) origin: u8,
    /// Bits of the code of an exact zero; 0 if the book has none.
    pub(crate) zero: u8,
    /// Bits of a symbol outside of the book's window.
    pub(crate) outside: i16,
}

/// Room for all books of a set.
pub(crate) const MAX_CANDIDATES: usize = 256;

impl Candidates {
    /// No book.
    #[cfg(feature = "gradient")]
    pub(crate) const NONE: Self = Self { numbers: Vec::new(), together: None };

    /// Books of a set, by number.
    pub(crate) fn new(set: &CodebookSet, numbers: Vec<u8>) -> Self {
        let books: Option<Vec<&Codebook>> =
            numbers.iter().map(|&number| set.book(number).ok()).collect();
        let together = books
            .filter(|books| (TOGETHER_FROM..=MAX_CANDIDATES).contains(&books.len()))
            .and_then(|books| Together::new(&numbers, &books));
        Self { numbers, together }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub(crate) fn numbers(&self) -> &[u8] {
        &self.numbers
    }

    /// Each book with what it saves, where its origin is the centre of the counts; `None` where that is not known of all
    /// books at once.
    pub(crate) fn saved<'a>(
        &'a self,
        platform: Platform,
        counts: &Counts,
        centre: u8,
        room: &'a mut [i32; MAX_CANDIDATES],
    ) -> Option<impl Iterator<Item = (Priced, i32)> + 'a> {
        let Together { books, first, groups } = self.together.as_ref()?;
        let from = i16::from(centre) + first;
        let window = counts.small_window(from.rem_euclid(256) as u8)?;
        for (rows, sums) in groups.iter().zip(room.as_chunks_mut().0) {
            sums::weighted(platform, window, rows, sums);
        }
        Some(books.iter().copied().zip(room.iter().copied()))
    }
}

impl Together {
    /// `None` unless all books are centred.
    fn new(numbers: &[u8], books: &[&Codebook]) -> Option<Self> {
        if books.iter().any(|book| book.lengths().alphabet() != Alphabet::Centred) {
            return None;
        }
        // Whatever is out of all windows saves nothing.
        let saving = |book: &Codebook| {
            let slots = (0i16..).zip(book.savings().1).filter(|(_, saved)| **saved != 0);
            let origin = i16::from(book.origin());
            slots.map(|(slot, &saved)| (slot - origin, saved)).collect::<Vec<_>>()
        };
        let savings: Vec<_> = books.iter().map(|book| saving(book)).collect();
        let distances = || savings.iter().flatten().map(|(distance, _)| *distance);
        let (first, last) = (distances().min()?, distances().max()?);
        let rows = usize::try_from((last - first) / 2 + 1).ok()?;
        let groups = savings.chunks(AT_ONCE).map(|group| {
            let mut table = vec![[[0; 2]; AT_ONCE]; rows];
            for (lane, savings) in group.iter().enumerate() {
                for &(distance, saved) in savings {
                    let at = (distance - first) as usize;
                    table[at / 2][lane][at % 2] = saved;
                }
            }
            table
        });
        let priced = numbers.iter().zip(books).map(|(&number, book)| Priced {
            number,
            origin: book.origin(),
            zero: book.lengths().zero(),
            outside: book.savings().0,
        });
        let (books, groups) = (priced.collect(), groups.collect());
        (2 * rows <= Counts::WINDOW).then_some(Self { books, first, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::price;
    use crate::stats::Counts;
    use huffwire_testing::Random;

    #[test]
    fn books_save_together_what_they_save_alone() {
        let set = CodebookSet::builtin();
        let of = |centred: bool| {
            (0..set.books().len() as u8).filter(move |&number| {
                let alphabet =
                    CodebookSet::builtin().books()[usize::from(number)].lengths().alphabet();
                (alphabet == Alphabet::Centred) == centred
            })
        };
        let candidates = Candidates::new(&set, of(true).collect());
        assert!(candidates.together.is_some());
        assert!(Candidates::new(&set, of(false).collect()).together.is_none());
        assert!(Candidates::new(&set, of(true).take(2).collect()).together.is_none());
        let mut random = Random::new(7);
        let mut counts = Counts::new();
        for platform in Platform::available() {
            for centre in 0..=u8::MAX {
                let spread = 1 + random.below(60);
                let symbols: Vec<u8> =
                    (0..2048).map(|_| centre.wrapping_add(random.below(spread) as u8)).collect();
                counts.count(platform, &symbols, &[], 1);
                let mut room = [0; MAX_CANDIDATES];
                for (priced, saved) in
                    candidates.saved(platform, &counts, centre, &mut room).unwrap()
                {
                    let book = set.book(priced.number).unwrap();
                    let base = centre.wrapping_sub(book.origin());
                    let together = price::price_of_saved(&counts, priced.outside, i64::from(saved));
                    assert_eq!(together, price::price(&counts, book, base), "{priced:?}");
                }
            }
        }
    }
}
