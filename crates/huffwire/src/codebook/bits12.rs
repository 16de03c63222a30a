//! The tables of 12-bit codes that vector coders use.

use super::lengths::Lengths;
use crate::kernels::tables::{BUCKET, Bits12, MARK, MOST_BOUNDS};

impl Bits12 {
    /// From the codes by slot, and all slots with a code in the order of their codes.
    pub(super) fn fill(lengths: &Lengths, encode: &[u16; 256], order: &[u8]) -> Self {
        let escape = lengths.escape_slot().map(|slot| encode[usize::from(slot)].to_le_bytes());
        let codes = [0, 1].map(|half| encode.map(|entry| entry.to_le_bytes()[half]));
        let mut tables = Self {
            codes,
            escape,
            window: None,
            in_window: [[0; 64]; 3],
            slots: [0; 256],
            offsets: [0; 64],
            shifts: [0; 64],
            bounds: [[u8::MAX; 64]; MOST_BOUNDS],
            most_bounds: 0,
            peaked: false,
            ranks: [0; 64],
            tail: [0; 2 * BUCKET],
            shifts_by_rank: [0; 64],
        };
        tables.find_window(lengths, encode);
        tables.rank(encode, order);
        tables
    }

    fn find_window(&mut self, lengths: &Lengths, encode: &[u16; 256]) {
        let direct = |slot: &u8| lengths.direct(*slot) > 0;
        self.window = if lengths.alphabet().slots() <= 64 {
            Some(0)
        } else {
            let first = (0..=u8::MAX).find(direct).unwrap_or(0);
            let last = (0..=u8::MAX).rfind(direct).unwrap_or(u8::MAX);
            (self.escape.is_some() && last - first < 63).then_some(first)
        };
        let Some(first) = self.window else { return };
        let [low, high, marked] = &mut self.in_window;
        for index in 0..64 {
            // The window may reach beyond the last slot: then what lies there takes the escape too.
            let slot = first.checked_add(index as u8).filter(|_| first == 0 || index < 63);
            let entry = match (slot, self.escape) {
                (None, Some(escape)) => u16::from_le_bytes(escape),
                _ => encode[usize::from(slot.unwrap_or(0))],
            };
            [low[index], high[index]] = entry.to_le_bytes();
            let mark = if slot.is_some_and(|slot| direct(&slot)) { 0 } else { MARK };
            marked[index] = (entry >> 12) as u8 | mark;
        }
    }

    fn rank(&mut self, encode: &[u16; 256], order: &[u8]) {
        let (mut window, mut last) = (0, 0);
        let mut bounds = [0; 64];
        // Where codes of over 6 bits begin.
        let mut long = 4096;
        for (rank, &slot) in order.iter().enumerate() {
            let length = usize::from(encode[usize::from(slot)] >> 12);
            let shift = (length as u8).wrapping_neg();
            if length != last {
                let code = (window >> (12 - length)) as u8;
                self.offsets[usize::from(shift % 64)] = (rank as u8).wrapping_sub(code);
                if window % BUCKET != 0 {
                    let (bucket, bounds) = (window / BUCKET, &mut bounds[window / BUCKET]);
                    for bound in self.bounds.iter_mut().skip(*bounds).take(length - last) {
                        bound[bucket] = (window - 1) as u8;
                    }
                    *bounds += length - last;
                }
                if last <= 6 && length > 6 {
                    long = window;
                }
                last = length;
            }
            let next = window + (1 << (12 - length));
            let buckets = window.div_ceil(BUCKET)..next.div_ceil(BUCKET);
            self.shifts[buckets.clone()].fill(shift);
            if rank < 64 {
                self.ranks[buckets].fill(rank as u8);
                self.shifts_by_rank[rank] = shift;
                self.tail[window.saturating_sub(62 * BUCKET).min(2 * BUCKET)..].fill(rank as u8);
            }
            self.slots[rank] = slot;
            window = next;
        }
        for (half, tail) in self.tail.as_chunks_mut::<BUCKET>().0.iter_mut().enumerate() {
            for rank in tail {
                *rank = rank.wrapping_sub(self.ranks[62 + half]);
            }
        }
        self.most_bounds = bounds.into_iter().max().unwrap_or(0);
        self.peaked = order.len() <= 64 && long >= 62 * BUCKET;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Alphabet, CodeLimit, Codebook};
    use super::*;
    use crate::kernels::tables::Vectors;
    use proptest::prelude::*;

    fn vectors(book: &Codebook) -> &Bits12 {
        match &book.tables().vectors {
            Vectors::Bits12(tables) => tables,
            Vectors::Bits8(_) => panic!("codes of at most 8 bits"),
        }
    }

    /// What a decoder makes of a window: length and slot.
    fn found(tables: &Bits12, window: usize) -> (u8, u8) {
        let bucket = window / BUCKET;
        let beyond = tables.bounds.iter().filter(|bound| window as u8 > bound[bucket]);
        let shift = tables.shifts[bucket].wrapping_sub(beyond.count() as u8);
        let length = shift.wrapping_neg();
        let code = (window >> (12 - length)) as u8;
        let rank = code.wrapping_add(tables.offsets[usize::from(shift % 64)]);
        if tables.peaked {
            let place = window.saturating_sub(62 * BUCKET);
            let looked_up = tables.ranks[bucket].wrapping_add(tables.tail[place]);
            assert_eq!(looked_up, rank);
            assert_eq!(tables.shifts_by_rank[usize::from(rank)], shift);
        }
        (length, tables.slots[usize::from(rank)])
    }

    fn check(book: &Codebook) {
        let tables = vectors(book);
        for (window, entry) in book.decode_table().iter().enumerate() {
            let length = (entry >> 8).trailing_zeros() as u8;
            assert_eq!(found(tables, window), (length, *entry as u8));
        }
        for (slot, &entry) in book.encode_table().iter().enumerate() {
            let halves = [tables.codes[0][slot], tables.codes[1][slot]];
            assert_eq!(u16::from_le_bytes(halves), entry);
            if let Some(first) = tables.window
                && (slot < 64 || book.lengths().alphabet().slots() > 64)
            {
                let index = slot.wrapping_sub(usize::from(first)).min(63);
                let [low, high, marked] = tables.in_window.map(|table| table[index]);
                assert_eq!(u16::from_le_bytes([low, high]), entry);
                let takes_escape = book.lengths().direct(slot as u8) == 0;
                assert_eq!(marked, (entry >> 12) as u8 | if takes_escape { MARK } else { 0 });
            }
        }
    }

    /// A book with so many codes of each length, from symbol `first` on; the last one is the escape.
    fn book(counts: [usize; 13], first: usize) -> Option<Codebook> {
        let lengths = (0..=12u8).flat_map(|length| vec![length; counts[usize::from(length)]]);
        let lengths: Vec<u8> = lengths.collect();
        let (&escape, lengths) = lengths.split_last()?;
        let mut direct = [0; 256];
        direct.get_mut(first..first + lengths.len())?.copy_from_slice(lengths);
        let alphabet = Alphabet::Plain { width: 8 };
        Lengths::new(alphabet, CodeLimit::Bits12, &direct, escape, 0).ok().map(Codebook::new)
    }

    proptest! {
        #[test]
        fn every_window_is_found(
            shares in proptest::collection::vec(0u32..=100, 12),
            first in 0usize..200,
        ) {
            // Of the code space that is left, a share for each length; the longest take the rest.
            let (mut counts, mut left) = ([0; 13], 4096);
            let mut codes = 0;
            for (length, share) in (1..12).zip(&shares) {
                let width = 4096 >> length;
                let most = (left / width * *share as usize / 100).min(250 - codes);
                counts[length] = most;
                codes += most;
                left -= most * width;
            }
            counts[12] = left;
            if let Some(book) = book(counts, first) {
                check(&book);
            }
        }
    }

    #[test]
    fn all_kinds_of_books() {
        let peaked = book([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2], 100).unwrap();
        let tables = vectors(&peaked);
        assert!(tables.peaked && tables.window == Some(100));
        check(&peaked);
        // Five bounds in the last bucket but two.
        let many = book([0, 0, 0, 0, 0, 0, 61, 1, 1, 1, 1, 1, 130], 0).unwrap();
        let tables = vectors(&many);
        assert!(!tables.peaked && tables.window.is_none() && tables.most_bounds == MOST_BOUNDS);
        check(&many);
        // At most 63 codes, but long ones everywhere.
        let flat = book([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 3);
        assert!(flat.is_none(), "no code");
        let few = book([0, 1, 0, 0, 0, 0, 0, 63, 2, 0, 0, 0, 0], 3).unwrap();
        assert!(!vectors(&few).peaked);
        check(&few);
    }
}
