//! Table of a message: the lengths of all entries, and their checksums, in front of them. So all entries are found
//! by one sum over the table, on several threads or on a GPU.

use crate::wire::crc32c;

/// Bytes of a length or a checksum in the table.
const FIELD_BYTES: usize = 4;

/// Bytes of the table of so many entries.
pub(crate) const fn table_bytes(entries: usize, checksums: bool) -> usize {
    entries.saturating_mul(if checksums { 2 * FIELD_BYTES } else { FIELD_BYTES })
}

/// What binds an entry to its place: its checksum depends on that of the header, and on its number and length.
///
/// The place has a checksum of its own, and the two are combined by exclusive or: so that of the entry, which takes
/// the time, is the plain one, for which processors and libraries have fast code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The checksum of the message's header.
    pub(crate) header: u32,
}

impl Seal {
    /// The checksum of entry `number`.
    pub(crate) fn check(self, number: usize, entry: &[u8]) -> u32 {
        let mut place = [0; 3 * FIELD_BYTES];
        place[..4].copy_from_slice(&self.header.to_le_bytes());
        place[4..8].copy_from_slice(&(number as u32).to_le_bytes());
        place[8..].copy_from_slice(&(entry.len() as u32).to_le_bytes());
        crc32c(&place) ^ crc32c(entry)
    }
}

/// Table of consecutive entries, as read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    lengths: &'a [[u8; FIELD_BYTES]],
    /// Empty where there are no checksums.
    checks: &'a [[u8; FIELD_BYTES]],
    /// The number of the first of these entries in the message.
    first: usize,
}

impl<'a> Table<'a> {
    /// The table in `bytes`, which are exactly [`table_bytes`].
    pub(crate) fn new(bytes: &'a [u8], entries: usize) -> Self {
        let (lengths, checks) = bytes.as_chunks().0.split_at(entries);
        Self { lengths, checks, first: 0 }
    }

    /// How many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The number of the first of these entries in the message.
    pub(crate) const fn first(&self) -> usize {
        self.first
    }

    /// The length of an entry, counted from the first of these.
    pub(crate) fn length(&self, entry: usize) -> usize {
        u32::from_le_bytes(self.lengths[entry]) as usize
    }

    /// The checksum of an entry, if entries have one.
    pub(crate) fn check(&self, entry: usize) -> Option<u32> {
        self.checks.get(entry).map(|check| u32::from_le_bytes(*check))
    }

    /// The length of all entries.
    pub(crate) fn total(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(u32::from_le_bytes(*length))).sum()
    }

    /// The entries before `at`, and the others.
    pub(crate) fn split_at(self, at: usize) -> [Self; 2] {
        let (lengths, other_lengths) = self.lengths.split_at(at);
        let (checks, other_checks) = self.checks.split_at(at.min(self.checks.len()));
        let other = Self { lengths: other_lengths, checks: other_checks, first: self.first + at };
        [Self { lengths, checks, first: self.first }, other]
    }
}

/// Table of consecutive entries, to be filled.
#[derive(Debug)]
pub(crate) struct TableMut<'a> {
    lengths: &'a mut [[u8; FIELD_BYTES]],
    /// Empty where there are no checksums.
    checks: &'a mut [[u8; FIELD_BYTES]],
    seal: Seal,
    first: usize,
}

impl<'a> TableMut<'a> {
    /// A table in `bytes`, which are exactly [`table_bytes`].
    pub(crate) fn new(bytes: &'a mut [u8], entries: usize, seal: Seal) -> Self {
        let (lengths, checks) = bytes.as_chunks_mut().0.split_at_mut(entries);
        Self { lengths, checks, seal, first: 0 }
    }

    /// Takes out the first entries.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        let (lengths, other_lengths) = std::mem::take(&mut self.lengths).split_at_mut(count);
        let checked = count.min(self.checks.len());
        let (checks, other_checks) = std::mem::take(&mut self.checks).split_at_mut(checked);
        let (seal, first) = (self.seal, self.first);
        (self.lengths, self.checks, self.first) = (other_lengths, other_checks, first + count);
        Self { lengths, checks, seal, first }
    }

    /// Fills the row of an entry, counted from the first of these.
    pub(crate) fn fill(&mut self, entry: usize, bytes: &[u8]) {
        self.lengths[entry] = (bytes.len() as u32).to_le_bytes();
        if let Some(check) = self.checks.get_mut(entry) {
            *check = self.seal.check(self.first + entry, bytes).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_table_are_filled_and_read_apart() {
        let seal = Seal { header: 7 };
        for checksums in [false, true] {
            let mut bytes = vec![0; table_bytes(5, checksums)];
            let mut table = TableMut::new(&mut bytes, 5, seal);
            let mut front = table.take(2);
            table.fill(2, &[1; 30]);
            front.fill(1, &[2; 20]);
            let [front, rest] = Table::new(&bytes, 5).split_at(2);
            assert_eq!((front.len(), rest.len(), rest.first()), (2, 3, 2));
            assert_eq!((front.length(1), rest.length(2), rest.total()), (20, 30, 30));
            assert_eq!(front.check(1), checksums.then(|| seal.check(1, &[2; 20])));
            assert_eq!(rest.check(2), checksums.then(|| seal.check(4, &[1; 30])));
        }
    }

    #[test]
    fn the_checksum_depends_on_the_place() {
        let check = |header, number, entry: &[u8]| Seal { header }.check(number, entry);
        let here = check(1, 2, b"entry");
        assert_ne!(here, check(1, 3, b"entry"));
        assert_ne!(here, check(2, 2, b"entry"));
        assert_ne!(here, check(1, 2, b"entrz"));
    }
}
