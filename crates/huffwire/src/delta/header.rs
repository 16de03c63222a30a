//! Header of a block of a delta.

use crate::error::{Error, Result};
use crate::ids::ContentHash;
use crate::message::DELTA_BLOCK_OVERHEAD;
use crate::wire::{Reader, put_varint};

pub(super) const WHAT: &str = "a block of a delta";

/// The longest header: what stands before the parts is that, and their size.
pub(super) const MAX_BYTES: usize = DELTA_BLOCK_OVERHEAD - 1;

/// What a block of a delta holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum BlockKind {
    /// Nothing: the new elements are those of the base.
    Unchanged = 0,
    /// The new elements, coded without the base.
    Plain = 1,
    /// The differences of all words.
    Dense = 2,
    /// The words that change, and by how much, described by the size of an optimizer's step.
    Step = 3,
    /// The words that change, and by how much, described by a density for each exponent.
    Densities = 4,
}

impl BlockKind {
    const ALL: [Self; 5] = [Self::Unchanged, Self::Plain, Self::Dense, Self::Step, Self::Densities];

    /// The number that stands for this kind in the format.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether the block lists the words that change.
    #[must_use]
    pub const fn is_sparse(self) -> bool {
        matches!(self, Self::Step | Self::Densities)
    }

    /// The name of the kind, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Plain => "plain",
            Self::Dense => "dense",
            Self::Step => "sparse",
            Self::Densities => "sparse, with densities",
        }
    }
}

/// What a block of a delta tells without its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockHeader {
    /// What the block holds.
    pub kind: BlockKind,
    /// How many words differ (see [the module](super)).
    pub changes: u32,
    /// The hash of the base's bytes.
    pub base: ContentHash,
    /// The hash of the new bytes.
    pub result: ContentHash,
}

impl BlockHeader {
    /// Reads the header of a block that holds so many words. Only the first bytes of a block are needed.
    ///
    /// # Errors
    /// A typed error when the header cannot be read.
    pub fn read(block: &[u8], words: usize) -> Result<Self> {
        Self::take(&mut Reader::new(WHAT, block), words)
    }

    /// The same with what follows the header in a whole block.
    pub(super) fn read_with_payload(block: &[u8], words: usize) -> Result<(Self, &[u8])> {
        let mut reader = Reader::new(WHAT, block);
        let header = Self::take(&mut reader, words)?;
        if header.kind == BlockKind::Unchanged {
            reader.finish()?;
            return Ok((header, &[]));
        }
        Ok((header, reader.rest()))
    }

    fn take(reader: &mut Reader<'_>, words: usize) -> Result<Self> {
        let number = reader.u8()?;
        let kind = BlockKind::ALL.into_iter().find(|kind| kind.number() == number);
        let kind = kind.ok_or_else(|| Error::malformed(WHAT, 0, "an unknown kind of block"))?;
        let base = ContentHash(reader.array()?);
        if kind == BlockKind::Unchanged {
            return Ok(Self { kind, changes: 0, base, result: base });
        }
        let result = ContentHash(reader.array()?);
        let changes = reader.varint()?;
        let possible = changes > 0 && changes <= words as u64;
        match u32::try_from(changes) {
            Ok(changes) if possible => Ok(Self { kind, changes, base, result }),
            _ => Err(reader.malformed(format!("{changes} changes in a block of {words} words"))),
        }
    }

    /// Appends the header.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind.number());
        out.extend_from_slice(&self.base.0);
        if self.kind != BlockKind::Unchanged {
            out.extend_from_slice(&self.result.0);
            put_varint(out, self.changes.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_back() {
        let hashes = (ContentHash::of(b"base"), ContentHash::of(b"result"));
        for kind in BlockKind::ALL {
            let (result, changes) = match kind {
                BlockKind::Unchanged => (hashes.0, 0),
                _ => (hashes.1, 300),
            };
            let header = BlockHeader { kind, changes, base: hashes.0, result };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            assert_eq!(BlockHeader::read(&bytes, 300), Ok(header));
            assert!(bytes.len() <= MAX_BYTES);
            for cut in 0..bytes.len() {
                assert!(BlockHeader::read(&bytes[..cut], 300).is_err());
            }
            if kind != BlockKind::Unchanged {
                assert!(BlockHeader::read(&bytes, 299).is_err(), "more changes than words");
            }
            // What follows is the payload, but an unchanged block has none.
            bytes.push(7);
            assert_eq!(BlockHeader::read(&bytes, 300), Ok(header));
            match BlockHeader::read_with_payload(&bytes, 300) {
                Ok(read) => assert_eq!(read, (header, &[7][..])),
                Err(_) => assert_eq!(kind, BlockKind::Unchanged),
            }
        }
        assert!(BlockHeader::read(&[9; 40], 300).is_err());
        // More changes than a header can hold, even where there are more words.
        #[cfg(target_pointer_width = "64")]
        {
            let mut bytes = vec![BlockKind::Plain.number()];
            bytes.extend_from_slice(&[0; 32]);
            put_varint(&mut bytes, 1 << 32);
            assert!(BlockHeader::read(&bytes, 1 << 33).is_err());
        }
    }
}
